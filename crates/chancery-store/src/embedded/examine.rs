//! Looking at a store file without changing it, even where opening it would repair it.
//!
//! redb verifies pages only while it opens a file for writing, and commits what it repaired. So that it can, it
//! is given the file with an [`Overlay`], in which its writes stay.
//!
//! **Invariant:** no byte of the file is written, whatever is found.

use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend as _};

use super::overlay::Overlay;
use super::{
    Backend, CACHE_BYTES, Embedded, Integrity, OpenError, OpenMode, backend, builder, file,
    open_fault, opened,
};

/// How the file was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// By a crash, or by whoever copied it meanwhile. The next opening for writing repairs that.
    ByCrash,
    /// Cleanly.
    Cleanly,
}

/// A store that was looked at, every page of it, and not changed.
#[derive(Debug)]
pub struct Examined {
    /// The store as it would be after its next opening for writing. Nothing reaches the file.
    pub store: Embedded,
    /// What redb's own check found.
    pub integrity: Integrity,
    /// How the file was left.
    pub closed: Closed,
}

impl Embedded {
    /// Verifies every page of the file at `path`, and changes nothing of it: repairs stay in memory.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; a damaged page is [`OpenError::Corrupt`].
    pub fn examine(path: &Path) -> Result<Examined, OpenError> {
        // First, because only an opening that verifies says of a damaged file that it is one, and no more.
        drop(opened(|| Self::over_copy(&builder(), path))?);
        match Self::open(path, OpenMode::ReadOnly).map(drop) {
            Ok(()) => Self::examine_closed(path),
            Err(OpenError::NeedsRepair) => Ok(Examined {
                store: opened(|| Self::over_copy(&builder(), path))?,
                // What a crash left of the accounting is no finding.
                integrity: Integrity::Sound,
                closed: Closed::ByCrash,
            }),
            Err(error) => Err(error),
        }
    }

    /// Opens the bytes of a store file, of which every page is verified. The file is not needed any more: no lock is
    /// taken on it, and repairs stay in memory.
    ///
    /// Bytes that were read while somebody wrote to the file may be those of no one moment; then pages do not hold
    /// ([`OpenError::Corrupt`]), and the file is to be read again.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        if bytes.is_empty() {
            // redb would make a new store of it.
            return Err(OpenError::Corrupt { source: "the file is empty".into() });
        }
        let memory = InMemoryBackend::new();
        let filled = memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, bytes));
        filled.map_err(|error| OpenError::Unavailable { source: error.into() })?;
        Self::open_in(memory)
    }

    /// Opens without verifying, which would repair the accounting before it can be looked at.
    fn examine_closed(path: &Path) -> Result<Examined, OpenError> {
        let mut trusting = Database::builder();
        trusting.set_cache_size(CACHE_BYTES);
        let mut store = opened(|| Self::over_copy(&trusting, path))?;
        let integrity = store.check_integrity()?;
        Ok(Examined { store, integrity, closed: Closed::Cleanly })
    }

    fn over_copy(builder: &redb::Builder, path: &Path) -> Result<Self, OpenError> {
        let file = backend(file::existing(path, OpenMode::ReadOnly)?)?;
        let overlay =
            Overlay::over(file).map_err(|error| OpenError::Unavailable { source: error.into() })?;
        let database = builder.create_with_backend(overlay).map_err(open_fault)?;
        Self::over(Backend::ReadWrite(database))
    }
}
