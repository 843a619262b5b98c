//! What a prune of the audit log is asked for as.

use minicbor::{Decode, Encode};

/// Which segments of the audit log to remove, and where they are archived.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PruneAudit {
    /// So many, from the first on.
    #[n(0)]
    pub segments: u64,
    /// SHA-256 of the last one's entry in the archive.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub entry: [u8; 32],
    /// The archive, for whoever looks for them: one line of at most [`PRUNE_LOCATION_BYTES_MAX`] bytes.
    #[n(2)]
    pub location: String,
}

/// The longest name of an archive, in bytes: 512.
pub const PRUNE_LOCATION_BYTES_MAX: usize = 512;

impl PruneAudit {
    /// Whether the location is one line, and short enough.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let is_line = !self.location.chars().any(char::is_control);
        is_line && self.location.len() <= PRUNE_LOCATION_BYTES_MAX
    }
}
