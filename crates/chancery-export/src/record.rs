//! A record of the audit log, as far as events say what it says.

use std::borrow::Cow;
use std::sync::Arc;

use chancery_core::id::{HandleId, PrincipalId};

/// Whether what a record tells of was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Committed,
    /// It was not.
    Refused,
}

/// A record that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its index in the log.
    pub log_index: u64,
    /// When it was, in milliseconds since 1970.
    pub time_ms: u64,
    /// What was done, by its name in the audit.
    pub operation: Cow<'static, str>,
    /// Whether it was done.
    pub outcome: Outcome,
    /// The code of the reason for which it was refused, or done; or nothing.
    pub code: Cow<'static, str>,
    /// The key's name; nothing where there is none, or no name is known.
    pub key: Option<Arc<str>>,
    /// The key's version.
    pub version: Option<u32>,
    /// Which use of the key version it was.
    pub use_index: Option<u64>,
    /// Who did it.
    pub actor: Option<PrincipalId>,
    /// With which handle, or under which link.
    pub handle: Option<HandleId>,
    /// How many there were, of a record that says so.
    pub count: Option<u64>,
    /// The hash of its leaf.
    pub leaf: [u8; 32],
}
