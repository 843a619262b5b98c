//! Proposals: what takes other people than the one who wants it.
//!
//! Somebody proposes a change, others approve it, and who proposed it carries it out. Each of the three is a command
//! under a signature of its own, and each says the whole of what is proposed: nobody approves a number that stands for
//! something else.
//!
//! **Invariant:** no approval is the proposer's own, none counts twice, and what was carried out or withdrawn stays so.

use minicbor::{Decode, Encode};

use crate::command::Command;
use crate::disclosure::Disclosure;
use crate::id::{PrincipalId, ProposalId, TenantId};
use crate::name::Name;
use crate::principal::Role;

/// What can be proposed. The rest is done by who may do it, or by nobody.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Proposed {
    /// [`Command::CreatePrincipal`].
    #[n(0)]
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
    /// [`Command::Disclose`].
    #[n(1)]
    Disclose(#[n(0)] Disclosure),
}

impl Proposed {
    /// The command that is carried out.
    #[must_use]
    pub fn command(&self) -> Command {
        match self.clone() {
            Self::CreatePrincipal { name, role, public } => {
                Command::CreatePrincipal { name, role, public }
            }
            Self::Disclose(disclosure) => Command::Disclose(disclosure),
        }
    }

    /// Whether it is break-glass: everything that can be disclosed.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self::Disclose(disclosure) = self else { return false };
        disclosure.is_everything()
    }

    /// A command as something to propose, if it can be proposed.
    #[must_use]
    pub fn of(command: &Command) -> Option<Self> {
        match command.clone() {
            Command::CreatePrincipal { name, role, public } => {
                Some(Self::CreatePrincipal { name, role, public })
            }
            Command::Disclose(disclosure) => Some(Self::Disclose(disclosure)),
            _ => None,
        }
    }
}

/// How a proposal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Ending {
    /// It was carried out.
    #[n(0)]
    CarriedOut,
    /// It was withdrawn, by who proposed it or by who would not approve it.
    #[n(1)]
    Withdrawn,
}

/// A proposal and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Proposal {
    /// What names it.
    #[n(0)]
    pub id: ProposalId,
    /// Where it was made.
    #[n(1)]
    pub tenant: TenantId,
    /// Its place among the tenant's, below [`crate::limits::PROPOSALS_MAX`]; taken again when it is over.
    #[n(2)]
    pub place: u8,
    /// Who proposed it.
    #[n(3)]
    pub proposer: PrincipalId,
    /// What is proposed.
    #[n(4)]
    pub proposed: Proposed,
    /// When it runs out, in milliseconds since 1970.
    #[n(5)]
    pub expires_ms: u64,
    /// Who has approved it, in the order of their approvals.
    #[n(6)]
    pub approvals: Vec<PrincipalId>,
    /// How it ended.
    #[n(7)]
    pub ending: Option<Ending>,
}

impl Proposal {
    /// Whether it can still be approved or carried out.
    #[must_use]
    pub fn is_open(&self, now_ms: u64) -> bool {
        self.ending.is_none() && now_ms < self.expires_ms
    }
}
