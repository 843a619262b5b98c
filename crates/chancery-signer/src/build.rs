//! What every record says of the program that made it: the hash of the executable, and of what it was started with.

use chancery_audit::record::BuildGroup;
use chancery_crypto::primitive::sha256;

use crate::config::{SignerConfig, Unwitnessed};

/// The group of a signer with this configuration.
pub(crate) fn group(config: &SignerConfig) -> BuildGroup {
    BuildGroup { build: executable(), configuration: sha256(&[declared(config).as_bytes()]) }
}

/// What an operator declares at a start, a line for each thing.
fn declared(config: &SignerConfig) -> String {
    let retention = config.retention_ms.map(|kept| format!("retention {kept}\n"));
    let witnesses = config.others.iter().flat_map(|others| {
        let unwitnessed = match others.unwitnessed {
            Unwitnessed::Refuse => "unwitnessed refuse\n".to_owned(),
            Unwitnessed::ServeFor(most) => format!("unwitnessed {}\n", most.as_secs()),
        };
        [unwitnessed, others.witnesses.clone()]
    });
    let first = format!("endpoint {}\n", config.endpoint);
    [first].into_iter().chain(retention).chain(witnesses).collect()
}

/// What runs: the hash of our own executable, by the way that is open wherever it stands.
fn executable() -> [u8; 32] {
    let bytes = std::fs::read("/proc/self/exe");
    bytes.map(|bytes| sha256(&[&bytes])).unwrap_or_default()
}
