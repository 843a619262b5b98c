//! Commands: what principals ask for under their own signature, and what they are answered.
//!
//! A command has one canonical encoding, and the principal signs that: the signature base follows RFC
//! 9421, section 2.5, over the method, the canonical path, the idempotency key and the digest of the
//! encoded command, and says when it was made and when it runs out. The signer rebuilds the base from
//! the command itself, so whatever a front claims about the request changes nothing.

use minicbor::{Decode, Encode};

use crate::automatic::{Rule, RuleFor};
use crate::campaign::{CampaignOrder, Progress};
use crate::census::{Declaration, Found};
use crate::context::Pair;
use crate::disclosure::{Disclosed, Disclosure};
use crate::handle::{LinkId, Operations};
use crate::id::{CampaignId, OperationId, PrincipalId, ProposalId, RolloutId};
use crate::name::{Name, Scope};
use crate::principal::{Right, Role};
use crate::proposal::Proposed;
use crate::purpose::Purpose;
use crate::record_group::RecordGroups;
use crate::rollout::{Order, Rotation};
use crate::state::KeyEvent;
use crate::suite::Suite;
use crate::verifier::{NewVerifier, Report};

mod answer;
mod prune;
mod query;
mod route;
mod signature;

pub use answer::Answer;
pub use prune::{PRUNE_LOCATION_BYTES_MAX, PruneAudit};
pub use query::{AuditQuery, QUERY_RECORDS_MAX};
pub use route::event_name;
pub use signature::SignatureParameters;

/// What a new key is to be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct NewKey {
    /// Its name.
    #[n(0)]
    pub name: Name,
    /// What it is for.
    #[n(1)]
    pub purpose: Purpose,
    /// Its algorithm.
    #[n(2)]
    pub suite: Suite,
    /// Environment, region and service.
    #[n(3)]
    pub scope: Scope,
    /// Whether an answer leaves only when a quorum of witnesses has cosigned its record.
    #[n(4)]
    pub witnessed: bool,
}

/// What a new handle is to be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct NewHandle {
    /// The key.
    #[n(0)]
    pub key: Name,
    /// What may be done.
    #[n(1)]
    pub operations: Operations,
    /// How long it lives, in milliseconds.
    #[n(2)]
    pub ttl_ms: u64,
    /// What the context must contain.
    #[n(3)]
    pub pins: Vec<Pair>,
    /// The Ed25519 key whose possession its user must prove, or empty.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub holder: Vec<u8>,
    /// To whom; the issuer itself if not said.
    #[n(5)]
    pub subject: Option<PrincipalId>,
    /// How often it may be used, all that is narrowed from it included; as often as one likes if not said.
    #[n(6)]
    pub max_uses: Option<u64>,
}

/// What a principal asks for. Numbers under 32 change authority, numbers from 32 read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Make a key and its first version.
    #[n(1)]
    CreateKey(#[n(0)] NewKey),
    /// Bring a key in, wrapped to the one-time key of that id.
    #[n(2)]
    ImportKey {
        /// What it is to be.
        #[n(0)]
        new: NewKey,
        /// The one-time key, as `begin-import` named it.
        #[cbor(n(1), with = "minicbor::bytes")]
        one_time: [u8; 16],
        /// The PKCS#8 bytes, sealed to it.
        #[cbor(n(2), with = "minicbor::bytes")]
        sealed: Vec<u8>,
    },
    /// Move a version along the state table; the scheduled one if none is named.
    #[n(3)]
    ChangeVersion {
        /// The key.
        #[n(0)]
        key: Name,
        /// The version.
        #[n(1)]
        version: Option<u32>,
        /// What happens to it.
        #[n(2)]
        event: KeyEvent,
    },
    /// Schedule a version's destruction.
    #[n(4)]
    ScheduleDestruction {
        /// The key.
        #[n(0)]
        key: Name,
        /// The version.
        #[n(1)]
        version: u32,
    },
    /// Take a scheduled destruction back.
    #[n(5)]
    CancelDestruction {
        /// The key.
        #[n(0)]
        key: Name,
        /// The version.
        #[n(1)]
        version: u32,
    },
    /// Issue a handle.
    #[n(6)]
    IssueHandle(#[n(0)] NewHandle),
    /// Revoke one link of a handle, and all that was narrowed from it.
    #[n(7)]
    RevokeHandle {
        /// The link.
        #[n(0)]
        link: LinkId,
    },
    /// Revoke every handle of a key that was issued before now.
    #[n(8)]
    RevokeIssued {
        /// The key.
        #[n(0)]
        key: Name,
    },
    /// Make a principal.
    #[n(9)]
    CreatePrincipal {
        /// Its name.
        #[n(0)]
        name: Name,
        /// Its role.
        #[n(1)]
        role: Role,
        /// Its Ed25519 public key.
        #[cbor(n(2), with = "minicbor::bytes")]
        public: [u8; 32],
    },
    /// Ask for a one-time key to wrap an import to.
    #[n(10)]
    BeginImport,
    /// Revoke every handle that a principal issued, or that was issued to it, before now.
    #[n(12)]
    RevokeIssuedOf {
        /// The principal.
        #[n(0)]
        principal: PrincipalId,
    },
    /// Put on record how many uses of a key version there are so far.
    #[n(13)]
    CountUses {
        /// The key.
        #[n(0)]
        key: Name,
        /// The version.
        #[n(1)]
        version: u32,
    },
    /// Hand out what opens records to somebody who has the log's files.
    #[n(14)]
    Disclose(#[n(0)] Disclosure),
    /// Remove archived segments of the audit log from the data directory.
    #[n(15)]
    PruneAudit(#[n(0)] PruneAudit),
    /// Propose what takes approvals.
    #[n(17)]
    Propose {
        /// What.
        #[n(0)]
        proposed: Proposed,
        /// How long it can be approved and carried out, in milliseconds.
        #[n(1)]
        ttl_ms: u64,
    },
    /// Approve what somebody else has proposed.
    #[n(18)]
    Approve {
        /// The proposal.
        #[n(0)]
        proposal: ProposalId,
        /// What it proposes: that is what is approved.
        #[n(1)]
        proposed: Proposed,
    },
    /// Take a proposal off the table.
    #[n(19)]
    Withdraw {
        /// The proposal.
        #[n(0)]
        proposal: ProposalId,
    },
    /// Do what one has proposed and others have approved.
    #[n(20)]
    CarryOut {
        /// The proposal.
        #[n(0)]
        proposal: ProposalId,
        /// What it proposes.
        #[n(1)]
        proposed: Proposed,
    },
    /// Raise how many people besides the proposer approve. It cannot be lowered.
    #[n(21)]
    RaiseApprovals {
        /// So many from now on.
        #[n(0)]
        approvals: u8,
    },
    /// Bring another version of a key in, by a rollout.
    #[n(22)]
    Rotate(#[n(0)] Rotation),
    /// Order something of a rollout.
    #[n(23)]
    OrderRollout {
        /// The rollout.
        #[n(0)]
        rollout: RolloutId,
        /// What it is to do.
        #[n(1)]
        order: Order,
    },
    /// Register a verifier, whose acknowledgements and reports count from now on.
    #[n(24)]
    RegisterVerifier(#[n(0)] NewVerifier),
    /// Remove a verifier.
    #[n(25)]
    RemoveVerifier {
        /// The principal that speaks for it.
        #[n(0)]
        principal: PrincipalId,
    },
    /// Say by which rule a key, or every key of a usage, is rotated without anybody asking.
    #[n(28)]
    SetRule {
        /// Which.
        #[n(0)]
        rule_for: RuleFor,
        /// The rule.
        #[n(1)]
        rule: Rule,
    },
    /// Declare what a scan of an inventory of a key's ciphertexts found, or that the inventory is no more.
    #[n(29)]
    DeclareInventory(#[n(0)] Declaration),
    /// Order something of a campaign that encrypts an inventory again.
    #[n(30)]
    OrderCampaign(#[n(0)] CampaignOrder),
    /// Have the service not look at the rollout of a scratch key for a while, as in a drill.
    #[n(31)]
    StillRollout {
        /// The rollout.
        #[n(0)]
        rollout: RolloutId,
        /// For how long, in milliseconds of time served.
        #[n(1)]
        for_ms: u64,
    },
    /// Read the keys, in the order of their names.
    #[n(32)]
    ListKeys {
        /// Those after this name.
        #[n(0)]
        after: Option<Name>,
    },
    /// Read one key.
    #[n(33)]
    ShowKey {
        /// The key.
        #[n(0)]
        key: Name,
    },
    /// Read how the service stands.
    #[n(34)]
    ReadStatus,
    /// Read one operation of one's own.
    #[n(35)]
    ReadOperation {
        /// The operation.
        #[n(0)]
        id: OperationId,
    },
    /// Read audit records.
    #[n(36)]
    QueryAudit(#[n(0)] AuditQuery),
    /// Read the store's rows as they are sealed, in the order of their names.
    #[n(37)]
    InspectStore {
        /// Those after this name; all, if it is empty.
        #[cbor(n(0), with = "minicbor::bytes")]
        after: Vec<u8>,
    },
    /// Open some groups of an audit record, to be shown to somebody else.
    #[n(38)]
    OpenRecord {
        /// Its index in the log.
        #[n(0)]
        index: u64,
        /// Which groups; the others stay closed.
        #[n(1)]
        groups: RecordGroups,
    },
    /// Read frames of the audit log as they are sealed.
    #[n(39)]
    ReadFrames {
        /// From the frame on that holds the record with this index.
        #[n(0)]
        from: u64,
        /// Without so many bytes of that frame, which an earlier page had.
        #[n(1)]
        skip: u32,
    },
    /// Read the proposals that are remembered.
    #[n(40)]
    ListProposals,
    /// Read the latest rollout of each key, in the order of the keys' names.
    #[n(41)]
    ListRollouts {
        /// Those of keys after this name.
        #[n(0)]
        after: Option<Name>,
    },
    /// Read one rollout, and what it waits for.
    #[n(42)]
    ShowRollout {
        /// The rollout.
        #[n(0)]
        rollout: RolloutId,
    },
    /// Say which trust bundle a verifier uses, and what came of its verifying.
    #[n(43)]
    Report(#[n(0)] Report),
    /// Read the registered verifiers.
    #[n(44)]
    ListVerifiers,
    /// Read which keys are rotated without anybody asking, and when; in the order of their names.
    #[n(47)]
    ListRotations {
        /// Those after this name.
        #[n(0)]
        after: Option<Name>,
    },
    /// Read the steps of a rollout that are kept.
    #[n(48)]
    ReadSteps {
        /// The rollout.
        #[n(0)]
        rollout: RolloutId,
        /// From the step of this number on.
        #[n(1)]
        from: u32,
    },
    /// Read the rollouts of a key of which steps are kept, the latest first.
    #[n(49)]
    ListKeptRollouts {
        /// The key.
        #[n(0)]
        key: Name,
    },
    /// Read what is known of the ciphertexts of keys: inventories, campaigns, and how often each version was used.
    #[n(45)]
    ReadCensus(#[n(0)] CensusQuery),
    /// Say how far a campaign is.
    #[n(46)]
    ReportCampaign {
        /// The campaign.
        #[n(0)]
        campaign: CampaignId,
        /// How far it is.
        #[n(1)]
        progress: Progress,
    },
}

/// Of which keys the census is read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum CensusQuery {
    /// Of this one.
    #[n(0)]
    Of(#[n(0)] Name),
    /// Of those that have inventories, in the order of their names, after this one.
    #[n(1)]
    After(#[n(0)] Option<Name>),
}

/// The most keys that one page of a list holds.
pub const LIST_PAGE: usize = 200;

/// The most rollouts that one page of a list holds: 50, whose plans are at most as long as the commands they came in.
pub const ROLLOUTS_PAGE: usize = 50;

/// The most keys that one page of what is said of their rotation holds: 200; a page has the rules of usages too.
pub const ROTATIONS_PAGE: usize = 200;
/// The most steps that one page holds: 12, of at most 64 KiB each, in base64 within a frame of 2 MiB.
pub const STEPS_PAGE: usize = 12;
/// The most keys that one page of a census holds: 8, of which each has 100 KiB of counts at most.
pub const CENSUS_PAGE: usize = 8;

impl Command {
    /// The right that a role needs for it.
    #[must_use]
    pub fn right(&self) -> Right {
        match self {
            Self::CreateKey(_) | Self::ImportKey { .. } | Self::BeginImport => Right::CreateKey,
            Self::ChangeVersion { event, .. } if event.is_reduction() => Right::ReduceKey,
            Self::ChangeVersion { .. } | Self::CancelDestruction { .. } => Right::RestoreKey,
            Self::ScheduleDestruction { .. } => Right::DestroyKey,
            Self::IssueHandle(_) => Right::IssueHandle,
            Self::RevokeHandle { .. } | Self::RevokeIssued { .. } | Self::RevokeIssuedOf { .. } => {
                Right::RevokeHandle
            }
            Self::CreatePrincipal { .. } => Right::CreatePrincipal,
            Self::ListKeys { .. }
            | Self::ShowKey { .. }
            | Self::ReadStatus
            | Self::ReadOperation { .. }
            | Self::ListProposals
            | Self::ListRollouts { .. }
            | Self::ShowRollout { .. }
            | Self::ListRotations { .. }
            | Self::ReadSteps { .. }
            | Self::ListKeptRollouts { .. }
            | Self::ListVerifiers
            | Self::ReadCensus(_) => Right::Read,
            // What events say, an auditor is shown record by record as well.
            Self::QueryAudit(_)
            | Self::OpenRecord { .. }
            | Self::ReadFrames { .. }
            | Self::CountUses { .. }
            | Self::Disclose(Disclosure { what: Disclosed::Events { .. }, .. }) => Right::ReadAudit,
            Self::Disclose(_) => Right::Disclose,
            Self::InspectStore { .. } => Right::InspectStore,
            Self::PruneAudit(_) => Right::PruneAudit,
            Self::Propose { .. } | Self::CarryOut { .. } => Right::Propose,
            Self::Approve { .. } | Self::Withdraw { .. } => Right::Approve,
            Self::RaiseApprovals { .. } => Right::RaiseApprovals,
            // What is taken out of the census opens the gate that an override goes past.
            Self::Rotate(_)
            | Self::OrderRollout { .. }
            | Self::SetRule { .. }
            | Self::StillRollout { .. }
            | Self::DeclareInventory(Declaration { found: Found::Withdrawn, .. }) => Right::Rotate,
            Self::RegisterVerifier(_) | Self::RemoveVerifier { .. } => Right::ManageVerifiers,
            Self::Report(_) => Right::Report,
            Self::DeclareInventory(_) | Self::OrderCampaign(_) | Self::ReportCampaign { .. } => {
                Right::Reprotect
            }
        }
    }

    /// Whether it leaves everything as it is, the log too.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let is_recorded = matches!(self, Self::CountUses { .. } | Self::Disclose(_));
        let reads = matches!(
            self.right(),
            Right::Read | Right::ReadAudit | Right::InspectStore | Right::Report
        );
        reads && !is_recorded || matches!(self, Self::ReportCampaign { .. })
    }

    /// Whether it only takes authority away, whatever it finds.
    #[must_use]
    pub fn is_reduction(&self) -> bool {
        match self {
            Self::ChangeVersion { event, .. } => event.is_reduction(),
            Self::RevokeHandle { .. }
            | Self::RevokeIssued { .. }
            | Self::RevokeIssuedOf { .. }
            | Self::ScheduleDestruction { .. } => true,
            _ => false,
        }
    }

    /// Its number in audit records: the one of its encoding.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::CreateKey(_) => 1,
            Self::ImportKey { .. } => 2,
            Self::ChangeVersion { .. } => 3,
            Self::ScheduleDestruction { .. } => 4,
            Self::CancelDestruction { .. } => 5,
            Self::IssueHandle(_) => 6,
            Self::RevokeHandle { .. } => 7,
            Self::RevokeIssued { .. } => 8,
            Self::CreatePrincipal { .. } => 9,
            Self::BeginImport => 10,
            // 11 is the destruction that the service does by itself.
            Self::RevokeIssuedOf { .. } => 12,
            Self::CountUses { .. } => 13,
            Self::Disclose(_) => 14,
            Self::PruneAudit(_) => 15,
            // 16 is the retirement of a log, which no service takes.
            Self::Propose { .. } => 17,
            Self::Approve { .. } => 18,
            Self::Withdraw { .. } => 19,
            Self::CarryOut { .. } => 20,
            Self::RaiseApprovals { .. } => 21,
            Self::Rotate(_) => 22,
            Self::OrderRollout { .. } => 23,
            Self::RegisterVerifier(_) => 24,
            Self::RemoveVerifier { .. } => 25,
            // 26 is the issue of a trust bundle, 27 a step of a rollout, which the service does by itself.
            Self::SetRule { .. } => 28,
            Self::DeclareInventory(_) => 29,
            Self::OrderCampaign(_) => 30,
            Self::StillRollout { .. } => 31,
            Self::ListKeys { .. } => 32,
            Self::ShowKey { .. } => 33,
            Self::ReadStatus => 34,
            Self::ReadOperation { .. } => 35,
            Self::QueryAudit(_) => 36,
            Self::InspectStore { .. } => 37,
            Self::OpenRecord { .. } => 38,
            Self::ReadFrames { .. } => 39,
            Self::ListProposals => 40,
            Self::ListRollouts { .. } => 41,
            Self::ShowRollout { .. } => 42,
            Self::Report(_) => 43,
            Self::ListVerifiers => 44,
            Self::ReadCensus(_) => 45,
            Self::ReportCampaign { .. } => 46,
            Self::ListRotations { .. } => 47,
            Self::ReadSteps { .. } => 48,
            Self::ListKeptRollouts { .. } => 49,
        }
    }
}

#[cfg(test)]
mod tests;
