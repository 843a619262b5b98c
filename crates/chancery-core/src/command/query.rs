//! Which audit records are asked for.

use minicbor::{Decode, Encode};

use crate::action::Action;
use crate::id::{HandleId, OperationId, PrincipalId};
use crate::name::Name;

/// The most audit records that one answer holds.
pub const QUERY_RECORDS_MAX: u32 = 1_000;

/// Which audit records to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct AuditQuery {
    /// Of this key.
    #[n(0)]
    pub key: Option<Name>,
    /// By this principal.
    #[n(1)]
    pub actor: Option<PrincipalId>,
    /// With this outcome: `committed` or `refused`.
    #[n(2)]
    pub outcome: Option<u8>,
    /// Of this operation.
    #[n(3)]
    pub operation: Option<OperationId>,
    /// Not before this time, in milliseconds since 1970.
    #[n(4)]
    pub since_ms: Option<u64>,
    /// At most so many, the newest.
    #[n(5)]
    pub limit: u32,
    /// With an index in the log below this one: where an earlier page began.
    #[n(6)]
    pub before: Option<u64>,
    /// With an index in the log above this one, and then the oldest instead of the newest: where an earlier page ended.
    #[n(7)]
    pub after: Option<u64>,
    /// Of this version of its key.
    #[n(8)]
    pub version: Option<u32>,
    /// With this handle.
    #[n(9)]
    pub handle: Option<HandleId>,
    /// Refused for this reason, by its number.
    #[n(10)]
    pub reason: Option<u16>,
    /// Where this was done.
    #[n(11)]
    pub action: Option<Action>,
    /// Before this time, in milliseconds since 1970.
    #[n(12)]
    pub until_ms: Option<u64>,
    /// With an output of this SHA-256, such as a signature.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub output: Option<[u8; 32]>,
}
