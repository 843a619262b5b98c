//! The body of an audit query.

use chancery_core::action::Action;
use chancery_core::command::AuditQuery;
use chancery_core::id::{HandleId, OperationId, PrincipalId};
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::http::HttpError;
use crate::http::fields::{Base64, text};

/// The numbers of outcomes in an [`AuditQuery`]: those of the variants of
/// [`crate::message::UseResult`].
const OUTCOMES: [(QueriedOutcome, u8); 2] =
    [(QueriedOutcome::Committed, 0), (QueriedOutcome::Refused, 1)];

/// An outcome that audit records are asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueriedOutcome {
    /// It was done.
    Committed,
    /// Nothing was done.
    Refused,
}

impl QueriedOutcome {
    fn number(self) -> u8 {
        OUTCOMES.iter().find(|row| row.0 == self).map_or(0, |row| row.1)
    }

    fn from_number(number: u8) -> Option<Self> {
        OUTCOMES.iter().find(|row| row.1 == number).map(|row| row.0)
    }
}

/// The body that asks for audit records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQueryBody {
    /// Of this key.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub key: Option<Name>,
    /// By this principal.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub actor: Option<PrincipalId>,
    /// With this outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<QueriedOutcome>,
    /// Of this operation.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub operation_id: Option<OperationId>,
    /// Not before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// At most so many, the newest.
    pub limit: u32,
    /// With an index in the log below this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// With an index in the log above this one, and then the oldest instead of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Of this version of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// With this handle.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub handle: Option<HandleId>,
    /// Refused with this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where this was done.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub action: Option<Action>,
    /// Before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// With an output of this SHA-256, such as a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<Base64>,
}

pub(super) fn audit_query_body(query: &AuditQuery) -> Result<AuditQueryBody, HttpError> {
    let unknown = HttpError::Malformed("records have the outcomes 0, committed, and 1, refused");
    let outcome = query.outcome.map(|number| QueriedOutcome::from_number(number).ok_or(unknown));
    let unknown = HttpError::Malformed("no refusal has a reason of that number");
    let reason = query.reason.map(|number| Reason::from_number(number).ok_or(unknown));
    Ok(AuditQueryBody {
        key: query.key.clone(),
        actor: query.actor,
        outcome: outcome.transpose()?,
        operation_id: query.operation,
        since_ms: query.since_ms,
        before: query.before,
        limit: query.limit,
        after: query.after,
        version: query.version,
        handle: query.handle,
        code: reason.transpose()?.map(|reason| reason.code().to_owned()),
        action: query.action,
        until_ms: query.until_ms,
        output_sha256: query.output.map(|digest| Base64(digest.to_vec())),
    })
}

pub(super) fn audit_query(body: AuditQueryBody) -> Result<AuditQuery, HttpError> {
    let named = |code: String| Reason::ALL.iter().find(|reason| reason.code() == code);
    let unknown = HttpError::Malformed("`code` is the code of a refusal, such as `key-unusable`");
    let reason = body.code.map(|code| named(code).ok_or(unknown)).transpose()?;
    let digest = HttpError::Malformed("`output_sha256` has 32 bytes");
    let output = body.output_sha256.map(|output| output.0.try_into().map_err(|_| digest));
    Ok(AuditQuery {
        key: body.key,
        actor: body.actor,
        outcome: body.outcome.map(QueriedOutcome::number),
        operation: body.operation_id,
        since_ms: body.since_ms,
        before: body.before,
        limit: body.limit,
        after: body.after,
        version: body.version,
        handle: body.handle,
        reason: reason.map(|reason| reason.number()),
        action: body.action,
        until_ms: body.until_ms,
        output: output.transpose()?,
    })
}
