//! A disk in memory that remembers what was done to it, and that fails on command.
//!
//! From its record every state is rebuilt that a kill or a power loss could leave, and each is
//! opened: the last acknowledged commit is there, and the one under way is there as a whole or
//! not at all.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::StorageBackend;

use super::{name, put};
use crate::contract::{CommitError, Store, StoreError};
use crate::embedded::{CACHE_BYTES, Embedded, OpenError};
use crate::row::{ROW_VALUE_BYTES_MAX, Revision, Row, RowName};
use crate::transaction::Transaction;
use crate::watch::WatchError;

#[derive(Clone, Debug)]
enum Action {
    SetLen(usize),
    Sync,
    Write { offset: usize, data: Vec<u8> },
}

/// How an action fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    AfterIt,
    InsteadOfIt,
    /// As redb might, where its own assertions do not hold.
    WithPanic,
}

#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    record: Vec<Action>,
    fault: Option<(usize, Fails)>,
    unreadable: bool,
}

/// Clones share the same platter.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

impl Platter {
    fn act(&mut self, action: Action) -> io::Result<()> {
        let place = self.record.len();
        let fault = self.fault.filter(|(at, _)| *at == place).map(|(_, fails)| fails);
        if matches!(fault, None | Some(Fails::AfterIt)) {
            apply(&mut self.bytes, &action);
        }
        self.record.push(action);
        match fault {
            Some(Fails::WithPanic) => panic!("injected panic"),
            Some(_) => Err(io::Error::other("injected fault")),
            None => Ok(()),
        }
    }
}

fn apply(bytes: &mut Vec<u8>, action: &Action) {
    match action {
        Action::SetLen(len) => bytes.resize(*len, 0),
        Action::Sync => {}
        Action::Write { offset, data } => {
            let end = offset + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(data);
        }
    }
}

impl Disk {
    fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Platter { bytes, ..Platter::default() })))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> Vec<u8> {
        self.platter().bytes.clone()
    }

    fn recorded(&self) -> usize {
        self.platter().record.len()
    }

    fn open(&self) -> Embedded {
        Embedded::open_in(self.clone()).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        let offset = usize::try_from(offset).unwrap();
        if platter.unreadable {
            return Err(io::Error::other("injected fault"));
        }
        match platter.bytes.get(offset..offset + out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.platter().act(Action::SetLen(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.platter().act(Action::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.platter().act(Action::Write { offset, data: data.to_vec() })
    }
}

/// The transactions of a run: they create, grow, replace and delete.
fn transactions() -> Vec<Transaction> {
    let long = |byte: u8, count: usize| vec![byte; count];
    vec![
        put("a", "1"),
        put("b", "2").put(name("c"), long(3, 20_000)),
        put("a", "3").delete(name("b")),
        Transaction::new().put(name("d"), long(4, 60_000)).put(name("e"), long(5, 60_000)),
        Transaction::new().delete(name("c")).delete(name("d")),
        put("f", "6").put(name("a"), long(7, 5_000)),
    ]
}

fn all(store: &Embedded) -> Vec<Row> {
    store.range(b"", None, 100).unwrap()
}

/// A run on a new disk.
struct Run {
    disk: Disk,
    /// How many actions were on record when each commit was acknowledged; the first is the empty
    /// store's.
    acknowledged: Vec<usize>,
    /// The rows at each revision.
    states: Vec<Vec<Row>>,
}

impl Run {
    fn new() -> Self {
        let disk = Disk::default();
        let store = Embedded::create_in(disk.clone()).unwrap();
        let (mut acknowledged, mut states) = (vec![disk.recorded()], vec![Vec::new()]);
        for transaction in transactions() {
            store.commit(transaction).unwrap();
            acknowledged.push(disk.recorded());
            states.push(all(&store));
        }
        drop(store);
        Self { disk, acknowledged, states }
    }

    fn record(&self) -> Vec<Action> {
        self.disk.platter().record.clone()
    }

    /// Opens what a crash after `actions` left, and checks it.
    fn check(&self, bytes: Vec<u8>, actions: usize, what: &str) {
        let disk = Disk::of(bytes);
        let opened = Embedded::open_in(disk.clone());
        let store = opened.unwrap_or_else(|error| panic!("{what} {actions}: {error:?}"));
        let revision = store.revision().unwrap().get();
        let least = self.acknowledged.iter().filter(|at| **at <= actions).count() as u64 - 1;
        assert!((least..=least + 1).contains(&revision), "{what} {actions}: {revision}");
        assert_eq!(
            all(&store),
            self.states[usize::try_from(revision).unwrap()],
            "{what} {actions}"
        );
        // It works on, and what it writes then survives too.
        assert_eq!(store.commit(put("z", "z")).unwrap(), Revision::new(revision + 1));
        drop(store);
        assert_eq!(disk.open().revision().unwrap(), Revision::new(revision + 1));
    }
}

#[test]
fn a_kill_at_any_write_loses_nothing_acknowledged() {
    let run = Run::new();
    let record = run.record();
    let mut bytes = Vec::new();
    for (place, action) in record.iter().enumerate() {
        if place >= run.acknowledged[0] {
            run.check(bytes.clone(), place, "killed before action");
            if let Action::Write { offset, data } = action {
                let torn = Action::Write { offset: *offset, data: data[..data.len() / 2].to_vec() };
                let mut bytes = bytes.clone();
                apply(&mut bytes, &torn);
                run.check(bytes, place, "killed within action");
            }
        }
        apply(&mut bytes, action);
    }
    run.check(bytes, record.len(), "closed after action");
}

#[test]
fn a_power_loss_at_any_write_loses_nothing_acknowledged() {
    let run = Run::new();
    let record = run.record();
    for place in run.acknowledged[0]..=record.len() {
        let done = &record[..place];
        let synced = done.iter().rposition(|action| matches!(action, Action::Sync)).unwrap() + 1;
        // Of what was not synced, the disk kept nothing, the even, the odd, or the last alone.
        let kept: [&dyn Fn(usize) -> bool; 4] =
            [&|_| false, &|at| at % 2 == 0, &|at| at % 2 == 1, &|at| at + 1 == place];
        for keeps in kept {
            let mut bytes = Vec::new();
            for (at, action) in done.iter().enumerate() {
                // Growing the file is journaled by the file system and not reordered behind.
                if at < synced || matches!(action, Action::SetLen(_)) || keeps(at) {
                    apply(&mut bytes, action);
                }
            }
            run.check(bytes, place, "power lost after action");
        }
    }
}

/// A commit that was acknowledged is never taken back for a page of it that rots: the header says
/// that its pages were synced, so the damage is no torn write.
#[test]
fn a_rotten_page_of_the_last_commit_is_corrupt() {
    let run = Run::new();
    let record = run.record();
    let [.., before, last] = run.acknowledged[..] else { panic!("too few commits") };
    let mut bytes = Vec::new();
    record[..last].iter().for_each(|action| apply(&mut bytes, action));
    let pages = record[before..last].iter().filter_map(|action| match action {
        // The header is at the start of the file.
        Action::Write { offset, .. } if *offset > 0 => Some(*offset),
        _ => None,
    });
    let mut refused = 0;
    for page in pages {
        let mut bytes = bytes.clone();
        bytes[page + 4] ^= 1;
        match Embedded::open_in(Disk::of(bytes)) {
            Ok(store) => assert_eq!(Some(&all(&store)), run.states.last(), "page {page}"),
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("page {page}: {other:?}"),
        }
    }
    assert!(refused > 0);
}

/// Every action of a commit fails, in every way.
#[test]
fn a_failing_disk_ends_the_handle_and_is_never_synced_again() {
    let (mut failures, mut unknowns) = (0, 0);
    for fails in [Fails::AfterIt, Fails::InsteadOfIt, Fails::WithPanic] {
        for place in 0.. {
            match commit_failing_at(place, fails) {
                Some(CommitError::Failed { .. }) => failures += 1,
                Some(CommitError::Unknown { .. }) => unknowns += 1,
                Some(other) => panic!("action {place} {fails:?}: {other:?}"),
                None => {
                    assert!(place > 3, "a commit of {place} actions");
                    break;
                }
            }
        }
    }
    assert!(failures > 0 && unknowns > 0, "{failures} failures, {unknowns} unknown");
}

/// Lets one action of a commit fail, checks all that follows, and gives the commit's error; or
/// none if the commit has fewer actions.
fn commit_failing_at(place: usize, fails: Fails) -> Option<CommitError> {
    let disk = Disk::default();
    let store = Embedded::create_in(disk.clone()).unwrap();
    store.commit(put("a", "1").put(name("b"), vec![1; 9000])).unwrap();
    let before = all(&store);
    let mut watch = store.watch(Revision::new(1)).unwrap();
    let failing = disk.recorded() + place;
    disk.platter().fault = Some((failing, fails));
    let result = store.commit(put("a", "2").put(name("c"), vec![2; 30_000]));
    if disk.recorded() <= failing {
        assert_eq!(result.unwrap(), Revision::new(2));
        return None;
    }
    let error = result.unwrap_err();
    assert_ended(&store);
    assert_eq!(watch.next(Duration::ZERO), Err(WatchError::Unavailable));
    drop(store);
    let synced = disk.platter().record[failing + 1..].iter().any(|a| matches!(a, Action::Sync));
    assert!(!synced, "action {place} {fails:?}: synced again");

    let reopened = Disk::of(disk.bytes()).open();
    match reopened.revision().unwrap().get() {
        1 => assert_eq!(all(&reopened), before),
        2 => {
            assert!(matches!(error, CommitError::Unknown { .. }), "{error:?} had an effect");
            assert_eq!(all(&reopened).len(), 3);
        }
        other => panic!("revision {other}"),
    }
    Some(error)
}

#[test]
fn a_disk_that_cannot_be_read_is_unavailable() {
    let run = Run::new();
    // More rows than the cache holds, so that reading them again goes to the disk.
    let store = run.disk.open();
    let rows = CACHE_BYTES / ROW_VALUE_BYTES_MAX + 100;
    for number in 0..rows as u64 {
        let name = RowName::new(number.to_be_bytes()).unwrap();
        store.commit(Transaction::new().put(name, vec![9; ROW_VALUE_BYTES_MAX])).unwrap();
    }
    run.disk.platter().unreadable = true;
    let walked = crate::check(&store);
    assert!(matches!(walked, Err(StoreError::Unavailable { .. })), "{walked:?}");
    drop(store);
    let opened = Embedded::open_in(run.disk.clone());
    assert!(matches!(opened, Err(OpenError::Unavailable { .. })), "{opened:?}");
    let opened = Embedded::read_in(run.disk.clone());
    assert!(matches!(opened, Err(OpenError::Unavailable { .. })), "{opened:?}");
}

fn assert_ended(store: &Embedded) {
    let unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable { .. });
    assert!(store.get(&name("a")).is_err_and(|error| unavailable(&error)));
    assert!(store.range(b"", None, 1).is_err_and(|error| unavailable(&error)));
    assert!(store.revision().is_err_and(|error| unavailable(&error)));
    assert!(store.watch(Revision::ZERO).is_err_and(|error| unavailable(&error)));
    let refused = store.commit(put("a", "3"));
    assert!(matches!(refused, Err(CommitError::Failed { .. })), "{refused:?}");
}
