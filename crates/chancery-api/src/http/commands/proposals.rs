//! The bodies of what concerns proposals.

use chancery_core::command::Command;
use chancery_core::id::ProposalId;
use chancery_core::proposal::Proposed;
use serde::{Deserialize, Serialize};

use super::disclose::disclosure;
use super::{CreatePrincipalBody, DiscloseBody, create_principal, create_principal_body};
use crate::http::HttpError;
use crate::http::fields::object;
use crate::http::routes::Found;

/// What is proposed: one field, named for the command, with that command's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProposedObject {
    /// Make a principal.
    CreatePrincipal(#[serde(deserialize_with = "object")] CreatePrincipalBody),
    /// Hand out what opens audit records.
    Disclose(#[serde(deserialize_with = "object")] DiscloseBody),
}

impl From<&Proposed> for ProposedObject {
    fn from(proposed: &Proposed) -> Self {
        match proposed {
            Proposed::CreatePrincipal { name, role, public } => {
                Self::CreatePrincipal(create_principal_body(name, *role, public))
            }
            Proposed::Disclose(disclosure) => Self::Disclose(disclosure.into()),
        }
    }
}

impl TryFrom<ProposedObject> for Proposed {
    type Error = HttpError;

    fn try_from(object: ProposedObject) -> Result<Self, HttpError> {
        match object {
            ProposedObject::CreatePrincipal(body) => {
                let (name, role, public) = create_principal(body)?;
                Ok(Self::CreatePrincipal { name, role, public })
            }
            ProposedObject::Disclose(body) => Ok(Self::Disclose(disclosure(body)?)),
        }
    }
}

/// The body of [`Command::Propose`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposeBody {
    /// What.
    pub proposed: ProposedObject,
    /// How long it can be approved and carried out, in milliseconds.
    pub ttl_ms: u64,
}

/// The body of [`Command::Approve`] and [`Command::CarryOut`]: what the proposal proposes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposedBody {
    /// What.
    pub proposed: ProposedObject,
}

/// The body of [`Command::RaiseApprovals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaiseApprovalsBody {
    /// So many people besides the proposer from now on.
    pub approvals: u8,
}

pub(super) fn propose(ProposeBody { proposed, ttl_ms }: ProposeBody) -> Result<Command, HttpError> {
    Ok(Command::Propose { proposed: proposed.try_into()?, ttl_ms })
}

pub(super) fn approve(found: Found<'_>, body: ProposedBody) -> Result<Command, HttpError> {
    let (proposal, proposed) = (proposal_in(found)?, body.proposed.try_into()?);
    Ok(Command::Approve { proposal, proposed })
}

pub(super) fn carry_out(found: Found<'_>, body: ProposedBody) -> Result<Command, HttpError> {
    let (proposal, proposed) = (proposal_in(found)?, body.proposed.try_into()?);
    Ok(Command::CarryOut { proposal, proposed })
}

pub(super) fn proposal_in(found: Found<'_>) -> Result<ProposalId, HttpError> {
    let error =
        HttpError::Malformed("the path names a proposal by a UUID in lower case with hyphens");
    found.variable.parse().map_err(|_| error)
}
