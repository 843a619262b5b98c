//! What every record says of the program that made it: the hash of the executable, and of what it was started with.

use chancery_audit::record::BuildGroup;
use chancery_crypto::primitive::sha256;

use crate::config::SignerConfig;

/// The group of a signer with this configuration.
pub(crate) fn group(config: &SignerConfig) -> BuildGroup {
    let retention = config.retention_ms.map(u64::to_be_bytes);
    let declared = retention.as_ref().map_or::<&[u8], _>(&[], |kept| kept);
    let configuration = sha256(&[config.endpoint.as_bytes(), declared]);
    BuildGroup { build: executable(), configuration }
}

/// What runs: the hash of our own executable, by the way that is open wherever it stands.
fn executable() -> [u8; 32] {
    let bytes = std::fs::read("/proc/self/exe");
    bytes.map(|bytes| sha256(&[&bytes])).unwrap_or_default()
}
