//! What unit tests share.

use std::path::{Path, PathBuf};

use crate::event::Event;
use crate::ocsf::{Source, Writer};
use crate::record::{Outcome, Record};

/// A directory of one test's own, removed when it ends.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("chancery-export-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The log of the tests.
pub(crate) fn source() -> Source {
    Source { origin: "log.example/1".into(), version: "1.2.3".into() }
}

/// A record of a signature.
pub(crate) fn record(index: u64) -> Record {
    Record {
        log_index: index,
        time_ms: 1_763_964_305_000 + index,
        operation: "sign".into(),
        outcome: Outcome::Committed,
        code: "".into(),
        key: Some("invoices".into()),
        version: Some(1),
        use_index: Some(index),
        actor: None,
        count: None,
        handle: None,
        leaf: [u8::try_from(index % 256).unwrap(); 32],
    }
}

/// The event of a signature.
pub(crate) fn event(index: u64) -> Event {
    Event::of(&mut Writer::new(source()), &record(index))
}
