//! Principals and the built-in roles.
//!
//! A principal here is a local one: it has a signing key, and what changes authority carries its
//! signature. [`Role::may`] is the whole of who may give which command; who uses keys holds a handle
//! instead, so that using and administering stay apart.

use minicbor::{Decode, Encode};

use crate::epoch::Epoch;
use crate::id::{PrincipalId, TenantId};
use crate::name::Name;

/// What a principal is there to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Runs the service and administers keys.
    #[n(0)]
    Operator,
    /// Makes keys and issues handles for a service.
    #[n(1)]
    Developer,
    /// Reads.
    #[n(2)]
    Auditor,
    /// Approves what operators propose.
    #[n(3)]
    Approver,
    /// Says which trust bundle a verifier uses, and what came of its verifying.
    #[n(4)]
    Verifier,
}

/// What a command asks for, as far as roles go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Make or import a key.
    CreateKey,
    /// Take a version's authority away: suspend, deactivate, report compromise.
    ReduceKey,
    /// Give it back: resume, activate, cancel a destruction.
    RestoreKey,
    /// Schedule a destruction.
    DestroyKey,
    /// Issue a handle.
    IssueHandle,
    /// Revoke handles.
    RevokeHandle,
    /// Read metadata.
    Read,
    /// Read the audit.
    ReadAudit,
    /// Make principals.
    CreatePrincipal,
    /// Look at the store's sealed rows.
    InspectStore,
    /// Hand out what opens audit records.
    Disclose,
    /// Remove archived segments of the audit log.
    PruneAudit,
    /// Propose what takes approvals, and carry it out.
    Propose,
    /// Approve what others propose, or withdraw it.
    Approve,
    /// Raise the number of approvals.
    RaiseApprovals,
    /// Bring another version of a key in by a rollout, and say what becomes of that.
    Rotate,
    /// Register and remove verifiers.
    ManageVerifiers,
    /// Report for a verifier.
    Report,
    /// Declare inventories of ciphertexts, and run campaigns that encrypt them again.
    Reprotect,
}

impl Role {
    /// Every role, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Operator, Self::Developer, Self::Auditor, Self::Approver, Self::Verifier];

    /// Whether the role includes the right. The whole table.
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        match self {
            Self::Operator => true,
            Self::Developer => matches!(
                right,
                Right::CreateKey
                    | Right::IssueHandle
                    | Right::ReduceKey
                    | Right::RevokeHandle
                    | Right::Read
                    | Right::Reprotect
            ),
            Self::Auditor => matches!(right, Right::Read | Right::ReadAudit),
            Self::Approver => matches!(right, Right::Read | Right::Approve),
            Self::Verifier => matches!(right, Right::Report),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::Auditor => "auditor",
            Self::Approver => "approver",
            Self::Verifier => "verifier",
        }
    }
}

/// Someone who signs commands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Principal {
    /// What names it.
    #[n(0)]
    pub id: PrincipalId,
    /// Where it acts.
    #[n(1)]
    pub tenant: TenantId,
    /// What people call it.
    #[n(2)]
    pub name: Name,
    /// What it is there to do.
    #[n(3)]
    pub role: Role,
    /// Its Ed25519 public key (RFC 8032, 5.1.5).
    #[cbor(n(4), with = "minicbor::bytes")]
    pub public: [u8; 32],
    /// Handles that it issued, or that were issued to it, before this epoch are void.
    #[n(5)]
    pub min_issue_epoch: Epoch,
}
