//! The embedded driver against the suite, the model, damaged files, failing disks and kills.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Embedded, OpenMode};
use crate::conformance::{Harness, run};
use crate::contract::{CommitError, Store, StoreError};
use crate::row::{Revision, RowName};
use crate::transaction::Transaction;

mod differential;
mod disk;
mod files;
mod kill;

/// A private directory that lives as long as this.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("chancery-store-{}-{number}", std::process::id()));
        super::private_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path, mode: OpenMode) -> Embedded {
    Embedded::open(path, mode).unwrap()
}

fn name(text: &str) -> RowName {
    RowName::new(text).unwrap()
}

fn put(text: &str, value: &str) -> Transaction {
    Transaction::new().put(name(text), value.into())
}

#[test]
fn the_embedded_driver_conforms() {
    let dir: RefCell<Dir> = RefCell::new(Dir::new());
    let fresh = || -> Box<dyn Store> {
        *dir.borrow_mut() = Dir::new();
        Box::new(open(&dir.borrow().file(), OpenMode::Create))
    };
    let reopen = |old: Box<dyn Store>| -> Box<dyn Store> {
        drop(old);
        Box::new(open(&dir.borrow().file(), OpenMode::ReadWrite))
    };
    run(&Harness { fresh: &fresh, reopen: &reopen }).unwrap();
}

#[test]
fn a_reader_alone_sees_the_rows_and_writes_none() {
    let dir = Dir::new();
    open(&dir.file(), OpenMode::Create).commit(put("a", "1")).unwrap();
    let mut reader = open(&dir.file(), OpenMode::ReadOnly);
    let second = open(&dir.file(), OpenMode::ReadOnly);
    assert_eq!(second.get(&name("a")).unwrap().unwrap().value, b"1");
    assert_eq!(reader.revision().unwrap(), Revision::new(1));
    let refused = reader.commit(put("a", "2"));
    assert!(matches!(refused, Err(CommitError::Failed { .. })), "{refused:?}");
    assert_eq!(reader.get(&name("a")).unwrap().unwrap().value, b"1");
    let refused = reader.check_integrity();
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
}

#[test]
fn a_sound_store_passes_both_checks() {
    let dir = Dir::new();
    let mut store = open(&dir.file(), OpenMode::Create);
    store.commit(put("a", "1").put(name("b"), vec![7; 5000])).unwrap();
    assert_eq!(store.check_integrity().unwrap(), super::Integrity::Sound);
    let report = crate::check(&store).unwrap();
    assert!(report.is_sound());
    assert_eq!((report.rows, report.value_bytes, report.revision.get()), (2, 5001, 1));
    // The handle goes on after the check.
    assert_eq!(store.commit(put("c", "")).unwrap(), Revision::new(2));
}
