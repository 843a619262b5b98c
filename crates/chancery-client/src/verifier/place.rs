//! Where a verifier keeps its bundle: a directory of its own.
//!
//! ```text
//! state       canonical CBOR of [1, when the service was heard, the bundle's file]
//! lock        held by the verifier that uses the directory
//! evidence/   signed heads that contradict each other, named by number and digest
//! ```
//!
//! **Invariant:** the state is written beside, synced, renamed into its place, and the directory synced, before a bundle
//! is used. A state that does not open is an error and never a fresh start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use chancery_core::cbor;
use chancery_core::epoch::Epoch;
use chancery_core::limits::BUNDLE_BYTES_MAX;
use chancery_crypto::bundle::{Assembly, BundleError, Pins, TrustBundle};
use chancery_crypto::primitive::sha256;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use rustix::fs::{FlockOperation, flock};

use super::hexadecimal;

/// The version of the state's form.
const FORMAT: u8 = 1;

/// The longest state that is read, in bytes.
const STATE_BYTES_MAX: u64 = 2 * BUNDLE_BYTES_MAX;

/// The most heads that are kept as evidence: 64. The first ones say all that later ones could.
const EVIDENCE_MAX: usize = 64;

const STATE: &str = "state";
const LOCK: &str = "lock";
const EVIDENCE: &str = "evidence";

/// A verifier's directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// What is in it is no state of a verifier's, or the pinned keys have not signed it.
    #[error(
        "the verifier's state in `{path}` is not to be trusted; move it away only if it is known how far bundles had come"
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with the bundle in it.
        #[source]
        source: Option<BundleError>,
    },
    /// Another verifier uses it.
    #[error("another verifier uses `{0}`")]
    InUse(PathBuf),
    /// The system refused.
    #[error("the verifier's directory `{path}` cannot be used")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct State {
    #[n(0)]
    format: u8,
    #[n(1)]
    heard_ms: u64,
    #[n(2)]
    bundle: ByteVec,
}

/// A verifier's directory.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    _lock: File,
}

/// A bundle with when the service was heard last.
type Found = (TrustBundle, u64);

impl Place {
    /// Opens the directory, makes it if there is none, and reads what is in it.
    pub(super) fn open(directory: &Path, pins: &Pins) -> Result<(Self, Option<Found>), PlaceError> {
        let directory = directory.to_owned();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PlaceError::Io { path, source }
        };
        fs::create_dir_all(&directory).map_err(failed(&directory))?;
        let lock = directory.join(LOCK);
        let lock_file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
        let lock_file = lock_file.map_err(failed(&lock))?;
        match flock(&lock_file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(PlaceError::InUse(directory)),
            locked => locked.map_err(io::Error::from).map_err(failed(&lock))?,
        }
        let path = directory.join(STATE);
        let found = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(found(&path, &read.map_err(failed(&path))?, pins)?),
        };
        Ok((Self { directory, _lock: lock_file }, found))
    }

    /// Puts a bundle in the place of the one before.
    pub(super) fn put(&self, bundle: &TrustBundle, heard_ms: u64) -> Result<(), PlaceError> {
        let state = State { format: FORMAT, heard_ms, bundle: bundle.to_file().into() };
        write(&self.directory, STATE, &cbor::encode(&state))
    }

    /// Keeps signed heads that contradict each other.
    pub(super) fn keep_evidence(&self, number: Epoch, heads: [&[u8]; 2]) -> Result<(), PlaceError> {
        let directory = self.directory.join(EVIDENCE);
        let failed = |source| PlaceError::Io { path: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(failed)?;
        let kept = fs::read_dir(&directory).map_err(failed)?.count();
        if kept >= EVIDENCE_MAX {
            return Ok(());
        }
        for head in heads {
            let digest = hexadecimal(&sha256(&[head]));
            let name = format!("{}.{}-{digest}.head", number.generation, number.number);
            if !directory.join(&name).exists() {
                write(&directory, &name, head)?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(STATE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn found(path: &Path, bytes: &[u8], pins: &Pins) -> Result<Found, PlaceError> {
    let error = |source| PlaceError::State { path: path.to_owned(), source };
    let state: State = cbor::decode(bytes, "state").map_err(|_| error(None))?;
    if state.format != FORMAT {
        return Err(error(None));
    }
    let bundle = Assembly::whole(&state.bundle, pins).map_err(|source| error(Some(source)))?;
    Ok((bundle, state.heard_ms))
}

/// Writes a file beside its place, syncs it, renames it there, and syncs the directory.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), PlaceError> {
    let path = directory.join(name);
    let temporary = directory.join(format!(".{name}.new"));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    });
    written.map_err(|source| PlaceError::Io { path, source })
}
