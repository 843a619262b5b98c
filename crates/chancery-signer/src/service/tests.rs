//! A signer in this process, on a real directory: what its log says to the next start.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use chancery_audit::verify::verify_disk;

use super::*;
use crate::config::RootSource;

/// A directory of this process, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chancery-{name}-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn config(&self) -> SignerConfig {
        SignerConfig {
            data: self.0.clone(),
            root_key: RootSource::Keyfile(self.0.join("root.key")),
            recovery_key: self.0.join("recovery.key"),
            endpoint: "https://127.0.0.1:1".into(),
            names: vec!["localhost".into()],
            segment_bytes: 1 << 20,
            front_user: None,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a first start leaves in the outbox: the record of how it began.
fn outbox_of(config: &SignerConfig, arena: &Arena) -> Vec<(u64, OutboxEntry)> {
    load(config, arena).unwrap().outbox
}

/// What the next start would find in the log.
fn read_again(shared: &Shared) -> Result<Opened, SignerError> {
    let vault = lock(&shared.vault);
    let core = lock(&shared.core);
    audit::open(&shared.disk, &shared.origin, &vault, &core.authority)
}

#[test]
fn an_outbox_that_is_drained_twice_condemns_its_signer() {
    let scratch = Scratch::new("drained-twice");
    let (config, arena) = (scratch.config(), Arena::new().unwrap());
    let outbox = outbox_of(&config, &arena);
    assert_eq!(outbox.len(), 1);
    let shared = start(config, arena).unwrap();
    let once = read_again(&shared).unwrap();
    assert_eq!(once.last_command, 1);
    verify_disk(&*shared.disk).unwrap();
    // The planted fault: what is on record is recorded again.
    open_log(&shared, None, &outbox).unwrap();
    let error = read_again(&shared).map(|_| ()).unwrap_err();
    let SignerError::Audit(error) = error else { panic!("{error}") };
    assert!(error.to_string().contains("twice"), "{error}");
    verify_disk(&*shared.disk).unwrap_err();
}
