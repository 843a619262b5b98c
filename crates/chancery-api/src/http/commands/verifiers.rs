//! Verifiers in JSON: who is registered, and what they say.

use chancery_core::command::Command;
use chancery_core::epoch::Epoch;
use chancery_core::id::{KeyId, PrincipalId};
use chancery_core::name::Name;
use chancery_core::verifier::{NewVerifier, Report, VersionCounts};
use serde::{Deserialize, Serialize};

use crate::http::HttpError;
use crate::http::fields::{Base64, text};
use crate::http::replies::EpochObject;

/// The body of [`Command::RegisterVerifier`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterVerifierBody {
    /// The principal that speaks for it.
    #[serde(with = "text")]
    pub principal: PrincipalId,
    /// The keys that it verifies for; all, if the list is empty.
    pub keys: Vec<String>,
}

/// The body of [`Command::Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    /// The number of the bundle that it uses.
    pub bundle: EpochObject,
    /// The tenant's epoch which that shows.
    pub as_of: EpochObject,
    /// Its digest.
    pub digest: Base64,
    /// Grows with each report.
    pub sequence: u64,
    /// When the verifier was started, in milliseconds since 1970.
    pub since_ms: u64,
    /// What came of its verifying since.
    pub counts: Vec<VersionCountsObject>,
}

/// What came of verifying signatures that name a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionCountsObject {
    /// The key.
    #[serde(with = "text")]
    pub key: KeyId,
    /// The version.
    pub version: u32,
    /// How many were accepted.
    pub verified: u64,
    /// How many were refused.
    pub failed: u64,
    /// How many could not be judged.
    pub unknown: u64,
}

pub(super) fn register_body(new: &NewVerifier) -> RegisterVerifierBody {
    let keys = new.keys.iter().map(ToString::to_string).collect();
    RegisterVerifierBody { principal: new.principal, keys }
}

pub(super) fn register(body: &RegisterVerifierBody) -> Result<Command, HttpError> {
    let error = HttpError::Malformed(
        "`keys` names keys by 1 to 64 lower-case letters, digits, `-`, `_` or `.`",
    );
    let keys = body.keys.iter().map(|name| name.parse::<Name>().map_err(|_| error));
    let keys = keys.collect::<Result<_, _>>()?;
    Ok(Command::RegisterVerifier(NewVerifier { principal: body.principal, keys }))
}

pub(super) fn report_body(report: &Report) -> ReportBody {
    let counts = |it: &VersionCounts| VersionCountsObject {
        key: it.key,
        version: it.version,
        verified: it.verified,
        failed: it.failed,
        unknown: it.unknown,
    };
    ReportBody {
        bundle: report.bundle.into(),
        as_of: report.as_of.into(),
        digest: Base64(report.digest.to_vec()),
        sequence: report.sequence,
        since_ms: report.since_ms,
        counts: report.counts.iter().map(counts).collect(),
    }
}

pub(super) fn report(body: ReportBody) -> Result<Command, HttpError> {
    let error = HttpError::Malformed("`digest` is a hash of 32 bytes");
    let digest = body.digest.0.try_into().map_err(|_| error)?;
    let epoch = |it: EpochObject| Epoch { generation: it.generation, number: it.number };
    let counts = body.counts.into_iter().map(|it| VersionCounts {
        key: it.key,
        version: it.version,
        verified: it.verified,
        failed: it.failed,
        unknown: it.unknown,
    });
    Ok(Command::Report(Report {
        bundle: epoch(body.bundle),
        as_of: epoch(body.as_of),
        digest,
        sequence: body.sequence,
        since_ms: body.since_ms,
        counts: counts.collect(),
    }))
}
