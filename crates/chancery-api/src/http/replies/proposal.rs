//! A proposal, in JSON.

use chancery_core::id::{PrincipalId, ProposalId};
use chancery_core::proposal::{Ending, Proposal};
use serde::{Deserialize, Serialize};

use crate::http::commands::ProposedObject;
use crate::http::fields::text;

/// How a proposal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndingName {
    /// It was carried out.
    CarriedOut,
    /// It was withdrawn.
    Withdrawn,
}

impl From<Ending> for EndingName {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::CarriedOut => Self::CarriedOut,
            Ending::Withdrawn => Self::Withdrawn,
        }
    }
}

/// A [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalObject {
    /// What names it.
    #[serde(with = "text")]
    pub id: ProposalId,
    /// Who proposed it.
    #[serde(with = "text")]
    pub proposer: PrincipalId,
    /// What is proposed.
    pub proposed: ProposedObject,
    /// When it runs out, in milliseconds since 1970.
    pub expires_ms: u64,
    /// The ids of the principals who have approved it, in the order of their approvals.
    pub approvals: Vec<String>,
    /// How it ended; absent while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<EndingName>,
}

impl From<&Proposal> for ProposalObject {
    fn from(proposal: &Proposal) -> Self {
        Self {
            id: proposal.id,
            proposer: proposal.proposer,
            proposed: (&proposal.proposed).into(),
            expires_ms: proposal.expires_ms,
            approvals: proposal.approvals.iter().map(ToString::to_string).collect(),
            ending: proposal.ending.map(EndingName::from),
        }
    }
}
