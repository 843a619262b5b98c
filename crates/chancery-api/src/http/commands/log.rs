//! The bodies of what concerns the store and the audit log as such.

use chancery_core::command::{Command, PruneAudit};
use chancery_core::name::Name;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use serde::{Deserialize, Serialize};

use crate::http::HttpError;
use crate::http::fields::{Base64, text};

/// The body of [`Command::InspectStore`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InspectStoreBody {
    /// Rows after this name; all, if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Base64>,
}

/// The body of [`Command::CountUses`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountUsesBody {
    /// The key.
    #[serde(with = "text")]
    pub key: Name,
    /// The version.
    pub version: u32,
}

/// The body of [`Command::PruneAudit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneAuditBody {
    /// How many segments, from the first on.
    pub segments: u64,
    /// SHA-256 of the last one's entry in the archive.
    pub entry: Base64,
    /// The archive.
    pub location: String,
}

/// The body of [`Command::ReadFrames`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadFramesBody {
    /// The index of a record in the first frame.
    pub from: u64,
    /// How many bytes of that frame are there already.
    pub skip: u32,
}

/// The body of [`Command::OpenRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRecordBody {
    /// The record's index in the log.
    pub log_index: u64,
    /// The names of the groups.
    pub groups: Vec<String>,
}

pub(super) fn inspect_store(body: InspectStoreBody) -> Command {
    Command::InspectStore { after: body.after.map(|after| after.0).unwrap_or_default() }
}

pub(super) fn prune_audit(body: PruneAuditBody) -> Result<Command, HttpError> {
    let PruneAuditBody { segments, entry, location } = body;
    let error = HttpError::Malformed("`entry` is a hash of 32 bytes");
    let entry = entry.0.try_into().map_err(|_| error)?;
    Ok(Command::PruneAudit(PruneAudit { segments, entry, location }))
}

pub(super) fn open_record(
    OpenRecordBody { log_index, groups }: OpenRecordBody,
) -> Result<Command, HttpError> {
    let error = HttpError::Malformed("`groups` names one group of a record or more, each once");
    let groups = groups.iter().map(|name| RecordGroup::from_name(name).ok_or(error));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    Ok(Command::OpenRecord { index: log_index, groups: RecordGroups::of(&groups).ok_or(error)? })
}
