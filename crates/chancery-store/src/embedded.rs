//! The embedded driver: one redb file, one process.
//!
//! Two tables. `rows` maps a name to the row's revision (8 bytes, big-endian) followed by its
//! value; `meta` holds the format version and the store's revision. One transaction here is one
//! redb transaction.
//!
//! **Invariants:**
//!
//! - Every commit is durable and in two phases: the pages are synced before the header names them.
//!   A commit that was acknowledged and is later found damaged is therefore reported as corrupt,
//!   where redb's one-phase commit would fall back to the one before.
//! - An error while committing ends this handle. Nothing is synced again, and every later call
//!   says *unavailable* until the file is opened anew; opening repairs what a crash left, without
//!   a hand.
//! - A file under its final name is whole: it is made under another name and renamed.
//! - The file is the owner's alone, a regular file with one name, and locked while it is open.
//!
//! Opening for writing verifies the checksum of every page, because redb says that it may panic
//! on a file altered from outside that it has not verified. A panic inside redb is caught and
//! reported as corruption all the same.
//!
//! The checksums are not cryptographic and the header's choice between its two commits is not
//! covered by them: whoever alters the file on purpose can show an older state, which the signer
//! finds out, not this driver.
//!
//! Watches live in memory: nothing committed before the file was opened can be watched. A reader
//! beside the writer is deliberately refused; tools ask the signer, or wait until it has stopped.

use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageBackend, Table, TableDefinition, WriteTransaction,
};

use crate::contract::{CommitError, Page, Source, Store, StoreError};
use crate::row::{Revision, Row, RowName};
use crate::transaction::{Transaction, Write};
use crate::watch::{Change, Feed, Watch};

mod examine;
mod file;
mod overlay;
#[cfg(test)]
mod tests;

pub use examine::{Closed, Examined};
pub use file::{PrivateDirError, private_dir};

/// The memory that redb may use for its cache, in bytes: 16 MiB.
///
/// The signer keeps what it uses in caches of its own and the kernel keeps the file's pages, so
/// this only has to hold the upper tree levels and the pages of one transaction (1 MiB of
/// values). redb's own default is 1 GiB.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The format of the tables, as `meta` holds it.
const FORMAT_VERSION: u64 = 1;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";

/// What the file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Makes the file, which must not exist, and opens it for reading and writing. Its directory
    /// is locked (`flock`) meanwhile, so nobody else may hold that lock.
    Create,
    /// Opens the file, which must exist, for reading alone. Many readers may do so at a time,
    /// beside no writer.
    ReadOnly,
    /// Opens the file, which must exist, for reading and writing, and repairs what a crash left.
    ReadWrite,
}

/// The file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is no store, or is damaged. Restore a backup.
    #[error("the store file is corrupt")]
    Corrupt {
        /// What was found.
        source: Source,
    },
    /// There is a file already. The caller is at fault.
    #[error("the store file exists already")]
    Exists,
    /// The file was written in another format, by a newer version or an older one.
    #[error("the store file has format {found}, not {FORMAT_VERSION}")]
    Format {
        /// The version that was found.
        found: u64,
    },
    /// Another process has the file open.
    #[error("the store file is open in another process")]
    Locked,
    /// There is no file. The caller is at fault.
    #[error("there is no store file")]
    Missing,
    /// The file was not closed cleanly, and opening it for reading alone cannot repair it. Open
    /// it for writing once.
    #[error("the store file was not closed cleanly and must be opened for writing once")]
    NeedsRepair,
    /// Others could read or replace the file. The operator is at fault.
    #[error("the store file is not safe to use: {reason}")]
    Unsafe {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error("the store file cannot be opened")]
    Unavailable {
        /// Its error.
        source: Source,
    },
}

/// What redb's own check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Every page was as it should be.
    Sound,
    /// redb's own accounting was wrong, and is now repaired. A damaged row is an error instead.
    Repaired,
}

/// A store in one file.
#[derive(Debug)]
pub struct Embedded {
    backend: Backend,
    /// Held from the first read of a transaction until its changes are published.
    turn: Mutex<()>,
    failed: AtomicBool,
    feed: Feed,
}

enum Backend {
    /// Where the handle is being dropped.
    Closed,
    ReadOnly(ReadOnlyDatabase),
    ReadWrite(Database),
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("an earlier error ended this handle; the store must be opened again")]
    Ended,
    #[error("the storage engine panicked")]
    Panicked,
    #[error("the store is open for reading alone")]
    ReadOnly,
    #[error("the revisions are exhausted")]
    RevisionsExhausted,
    #[error("a stored row or the metadata does not decode")]
    Undecodable,
}

impl Embedded {
    /// Opens the store file at `path`, in a directory that exists and that [`private_dir`] made.
    ///
    /// A new file is readable and writable by its owner alone, whatever the umask. No symbolic
    /// link is followed to the file.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the file is then as it was, save for repairs after a crash.
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self, OpenError> {
        match mode {
            OpenMode::Create => {
                let draft = file::Draft::new(path)?;
                let embedded = Self::create_in(backend(draft.file()?)?)?;
                draft.publish()?;
                Ok(embedded)
            }
            OpenMode::ReadOnly => Self::read_in(backend(file::existing(path, mode)?)?),
            OpenMode::ReadWrite => Self::open_in(backend(file::existing(path, mode)?)?),
        }
    }

    /// Lets redb verify every page and its accounting of free space.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if a page is damaged; the handle has then ended.
    pub fn check_integrity(&mut self) -> Result<Integrity, StoreError> {
        self.alive()?;
        let Backend::ReadWrite(database) = &mut self.backend else {
            return Err(unavailable(Refusal::ReadOnly));
        };
        match guarded(|| database.check_integrity().map_err(fault)) {
            Ok(true) => Ok(Integrity::Sound),
            Ok(false) => Ok(Integrity::Repaired),
            Err(error) => Err(self.end(error)),
        }
    }

    fn create_in(backend: impl StorageBackend) -> Result<Self, OpenError> {
        opened(|| {
            let database = builder().create_with_backend(backend).map_err(open_fault)?;
            initialize(&database)?;
            Self::over(Backend::ReadWrite(database))
        })
    }

    fn open_in(backend: impl StorageBackend) -> Result<Self, OpenError> {
        opened(|| {
            let database = builder().create_with_backend(backend).map_err(open_fault)?;
            Self::over(Backend::ReadWrite(database))
        })
    }

    fn read_in(backend: impl StorageBackend) -> Result<Self, OpenError> {
        opened(|| {
            let database = builder().open_read_only_with_backend(backend).map_err(open_fault)?;
            Self::over(Backend::ReadOnly(database))
        })
    }

    fn over(backend: Backend) -> Result<Self, OpenError> {
        let read = backend.begin_read()?;
        let meta = read.open_table(META).map_err(fault)?;
        let found = meta_value(&meta, META_FORMAT)?;
        if found != FORMAT_VERSION {
            return Err(OpenError::Format { found });
        }
        let revision = Revision::new(meta_value(&meta, META_REVISION)?);
        read.open_table(ROWS).map_err(fault)?;
        Ok(Self {
            backend,
            turn: Mutex::new(()),
            failed: AtomicBool::new(false),
            feed: Feed::new(revision),
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.alive()?;
        match catch_unwind(AssertUnwindSafe(|| work(&self.backend.begin_read()?))) {
            Ok(result) => result,
            Err(_panic) => Err(self.end(corrupt(Refusal::Panicked))),
        }
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) { Err(unavailable(Refusal::Ended)) } else { Ok(()) }
    }

    /// Ends the handle because of `error`, and hands the error back.
    fn end<E>(&self, error: E) -> E {
        self.failed.store(true, Ordering::Release);
        self.feed.close();
        error
    }

    fn commit_in_turn(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        self.alive().map_err(failed)?;
        let Backend::ReadWrite(database) = &self.backend else {
            return Err(failed(Refusal::ReadOnly));
        };
        let staged = match guarded(|| Staged::prepare(database, transaction)) {
            Ok(staged) => staged,
            Err(error @ CommitError::Conflict { .. }) => return Err(error),
            Err(error) => return Err(self.end(error)),
        };
        let Staged { write, revision, changes } = staged;
        guarded(|| write.commit().map_err(commit_fault)).map_err(|error| self.end(error))?;
        self.feed.publish(revision, changes);
        Ok(revision)
    }
}

impl Drop for Embedded {
    /// After a panic, closing redb may panic too; its file and lock go all the same.
    fn drop(&mut self) {
        let backend = std::mem::replace(&mut self.backend, Backend::Closed);
        let _closed = catch_unwind(AssertUnwindSafe(|| drop(backend)));
    }
}

impl Store for Embedded {
    fn get(&self, name: &RowName) -> Result<Option<Row>, StoreError> {
        self.read(|read| {
            let rows = read.open_table(ROWS).map_err(fault)?;
            let stored = rows.get_owned(name.as_bytes()).map_err(fault)?;
            stored.map(|stored| decode(name.as_bytes(), stored.value())).transpose()
        })
    }

    fn range(
        &self,
        prefix: &[u8],
        after: Option<&RowName>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.read(|read| {
            let rows = read.open_table(ROWS).map_err(fault)?;
            let bounds = (range_start(prefix, after), Bound::Unbounded);
            let mut page = Page::new(limit);
            for entry in rows.range_owned::<&[u8]>(bounds).map_err(fault)? {
                let (name, stored) = entry.map_err(fault)?;
                if page.is_full() || !name.value().starts_with(prefix) {
                    break;
                }
                if page.take(decode(name.value(), stored.value())?).is_err() {
                    break;
                }
            }
            Ok(page.into_rows())
        })
    }

    fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        transaction.validate()?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.commit_in_turn(transaction)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        self.read(|read| {
            let meta = read.open_table(META).map_err(fault)?;
            meta_value(&meta, META_REVISION).map(Revision::new)
        })
    }

    fn watch(&self, from: Revision) -> Result<Watch, StoreError> {
        self.alive()?;
        self.feed.subscribe(from).map_err(unavailable)
    }
}

/// A transaction that only waits for its commit.
struct Staged {
    write: WriteTransaction,
    revision: Revision,
    changes: Vec<Change>,
}

impl Staged {
    /// Compares and writes, without committing. A transaction that is not committed leaves no
    /// trace, so every error here is proof of no effect.
    fn prepare(database: &Database, transaction: Transaction) -> Result<Self, CommitError> {
        let mut write = database.begin_write().map_err(|error| failed(fault(error)))?;
        write.set_durability(Durability::Immediate).map_err(|error| failed(fault(error)))?;
        write.set_two_phase_commit(true);
        match stage(&write, transaction) {
            Ok((revision, changes)) => Ok(Self { write, revision, changes }),
            Err(error) => {
                write.abort().map_err(|abort| failed(fault(abort)))?;
                Err(error)
            }
        }
    }
}

fn stage(
    write: &WriteTransaction,
    transaction: Transaction,
) -> Result<(Revision, Vec<Change>), CommitError> {
    let mut rows = write.open_table(ROWS).map_err(|error| failed(fault(error)))?;
    let mut meta = write.open_table(META).map_err(|error| failed(fault(error)))?;
    compare(&rows, &transaction)?;
    let last = Revision::new(meta_value(&meta, META_REVISION).map_err(failed)?);
    let revision = last.next().ok_or_else(|| failed(Refusal::RevisionsExhausted))?;
    let mut changes = Vec::new();
    for write in transaction.into_writes() {
        changes.extend(apply(&mut rows, write, revision).map_err(failed)?);
    }
    meta.insert(META_REVISION, revision.get()).map_err(|error| failed(fault(error)))?;
    Ok((revision, changes))
}

fn compare(rows: &Table<'_, &[u8], &[u8]>, transaction: &Transaction) -> Result<(), CommitError> {
    for compare in transaction.compares() {
        let name = compare.name.as_bytes();
        let stored = rows.get(name).map_err(|error| failed(fault(error)))?;
        let row = stored.map(|stored| decode(name, stored.value())).transpose().map_err(failed)?;
        let found = row.map(|row| row.revision);
        if !compare.expected.holds(found) {
            let (name, expected) = (compare.name.clone(), compare.expected);
            return Err(CommitError::Conflict { name, expected, found });
        }
    }
    Ok(())
}

/// Makes one write, and says what changed: deleting a row that does not exist changes nothing.
fn apply(
    rows: &mut Table<'_, &[u8], &[u8]>,
    write: Write,
    revision: Revision,
) -> Result<Option<Change>, StoreError> {
    match write {
        Write::Delete { name } => {
            let removed = rows.remove(name.as_bytes()).map_err(fault)?.is_some();
            Ok(removed.then_some(Change { revision, name, value: None }))
        }
        Write::Put { name, value } => {
            let stored = [&revision.get().to_be_bytes()[..], &value].concat();
            rows.insert(name.as_bytes(), stored.as_slice()).map_err(fault)?;
            Ok(Some(Change { revision, name, value: Some(value) }))
        }
    }
}

fn decode(name: &[u8], stored: &[u8]) -> Result<Row, StoreError> {
    let Some((revision, value)) = stored.split_first_chunk() else {
        return Err(corrupt(Refusal::Undecodable));
    };
    let name = RowName::new(name).map_err(corrupt)?;
    let revision = Revision::new(u64::from_be_bytes(*revision));
    Ok(Row { name, value: value.to_vec(), revision })
}

/// Where the rows begin that start with `prefix` and lie behind `after`.
fn range_start<'a>(prefix: &'a [u8], after: Option<&'a RowName>) -> Bound<&'a [u8]> {
    match after.map(RowName::as_bytes) {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}

fn meta_value(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, StoreError> {
    match meta.get(name).map_err(fault)? {
        Some(value) => Ok(value.value()),
        None => Err(corrupt(Refusal::Undecodable)),
    }
}

fn initialize(database: &Database) -> Result<(), StoreError> {
    let mut write = database.begin_write().map_err(fault)?;
    write.set_durability(Durability::Immediate).map_err(fault)?;
    write.set_two_phase_commit(true);
    write.open_table(ROWS).map_err(fault)?;
    let mut meta = write.open_table(META).map_err(fault)?;
    meta.insert(META_FORMAT, FORMAT_VERSION).map_err(fault)?;
    meta.insert(META_REVISION, Revision::ZERO.get()).map_err(fault)?;
    drop(meta);
    write.commit().map_err(fault)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn backend(file: File) -> Result<FileBackend, OpenError> {
    FileBackend::new(file).map_err(open_fault)
}

impl Backend {
    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        match self {
            Self::Closed => return Err(unavailable(Refusal::Ended)),
            Self::ReadOnly(database) => database.begin_read(),
            Self::ReadWrite(database) => database.begin_read(),
        }
        .map_err(fault)
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::ReadOnly(_) => "ReadOnly",
            Self::ReadWrite(_) => "ReadWrite",
        })
    }
}

/// An error of a redb call whose panic is an error too.
trait FromPanic {
    fn from_panic() -> Self;
}

impl FromPanic for StoreError {
    fn from_panic() -> Self {
        corrupt(Refusal::Panicked)
    }
}

impl FromPanic for CommitError {
    /// Whether the panic came before or after the point of no return is not known.
    fn from_panic() -> Self {
        Self::Unknown { source: Refusal::Panicked.into() }
    }
}

/// Runs redb, which may panic on damaged files.
fn guarded<T, E: FromPanic>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| Err(E::from_panic()))
}

fn opened<T>(work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_panic| Err(OpenError::Corrupt { source: Refusal::Panicked.into() }))
}

fn corrupt(source: impl Into<Source>) -> StoreError {
    StoreError::Corrupt { source: source.into() }
}

fn unavailable(source: impl Into<Source>) -> StoreError {
    StoreError::Unavailable { source: source.into() }
}

fn failed(source: impl Into<Source>) -> CommitError {
    CommitError::Failed { source: source.into() }
}

/// Says of an error of redb whether the file is at fault or the world.
fn fault(error: impl Into<redb::Error>) -> StoreError {
    use std::io::ErrorKind;
    let error = error.into();
    match &error {
        redb::Error::Corrupted(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::UpgradeRequired(_) => corrupt(error),
        // A file of another kind, and one that was cut short.
        redb::Error::Io(io)
            if matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            corrupt(error)
        }
        _ => match error {
            // The system's own words, so that who asks can tell a failing disk.
            redb::Error::Io(io) => unavailable(io),
            error => unavailable(error),
        },
    }
}

fn open_fault(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::Locked
        }
        DatabaseError::RepairAborted => OpenError::NeedsRepair,
        error => fault(error).into(),
    }
}

/// redb, `CommitError`: a poisoned transaction is rolled back; after any other error its changes
/// "may already have become durable".
fn commit_fault(error: redb::CommitError) -> CommitError {
    match error {
        redb::CommitError::TransactionPoisoned => failed(fault(error)),
        error => CommitError::Unknown { source: fault(error).into() },
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { source } => Self::Corrupt { source },
            StoreError::Unavailable { source } => Self::Unavailable { source },
        }
    }
}
