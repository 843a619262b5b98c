//! A witness on a store in a directory, and logs that it knows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use chancery_crypto::notes::{CheckpointSeeds, CheckpointSigner, Cosigner, NoteKey};
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::Note;
use chancery_log::policy::Policy;
use chancery_log::witness::AddCheckpoint;
use chancery_log::{Hash, TreeHead, consistency_proof, leaf_hash, root_of};
use chancery_store::{Embedded, OpenMode, RowName, Store, Transaction, private_dir};

use super::Witness;
use crate::latest::{LatestError, origin_hash};
use crate::logs::Logs;

/// The usual time, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;

/// The origins that the witness knows.
const KNOWN: [&str; 2] = ["example.org/log", "example.org/second"];

/// A directory of one test's own, removed when it ends.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("chancery-witness-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        private_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn store(&self) -> Box<dyn Store> {
        let path = self.path("store");
        let mode = if path.exists() { OpenMode::ReadWrite } else { OpenMode::Create };
        Box::new(Embedded::open(&path, mode).unwrap())
    }

    pub(crate) fn opened(&self) -> Result<Witness, LatestError> {
        Witness::new(self.store(), logs(), cosigner())
    }

    pub(crate) fn witness(&self) -> Witness {
        self.opened().unwrap()
    }

    pub(crate) fn row(&self, origin: &str) -> Vec<u8> {
        self.store().get(&row_name(origin)).unwrap().unwrap().value
    }

    pub(crate) fn put_row(&self, origin: &str, value: Vec<u8>) {
        self.store().commit(Transaction::new().put(row_name(origin), value)).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The keys of the witness.
pub(crate) fn cosigner() -> Cosigner {
    let seeds = CheckpointSeeds { ed25519: &[8; 32], ml_dsa_44: &[9; 32] };
    Cosigner::new("witness.example/w1".parse().unwrap(), &seeds).unwrap()
}

/// The same, to verify with.
pub(crate) fn keys() -> [NoteKey; 2] {
    cosigner().verifier_keys().map(|key| NoteKey::new(key.clone()).unwrap())
}

fn row_name(origin: &str) -> RowName {
    RowName::new([b"latest/".as_slice(), &origin_hash(origin)].concat()).unwrap()
}

/// A witness on any store.
pub(crate) fn witness(store: Box<dyn Store>) -> Witness {
    Witness::new(store, logs(), cosigner()).unwrap()
}

fn logs() -> Logs {
    let lines = KNOWN.map(|origin| {
        let signer = signer(origin);
        signer.verifier_keys().map(|key| format!("log {key}\n")).concat()
    });
    Logs::of(&Policy::parse(&format!("{}quorum none\n", lines.concat())).unwrap()).unwrap()
}

/// A signer that has signed nothing; its keys are the origin's own.
fn signer(origin: &str) -> CheckpointSigner {
    let seed = origin_hash(origin);
    let seeds = CheckpointSeeds { ed25519: &seed, ml_dsa_44: &seed };
    CheckpointSigner::new(origin.parse().unwrap(), &seeds, None).unwrap()
}

/// A log of any size, whose leaves are numbers.
pub(crate) struct Log {
    origin: &'static str,
    first: u64,
}

impl Log {
    pub(crate) fn new(origin: &'static str) -> Self {
        Self { origin, first: 0 }
    }

    /// Another history of the same log.
    pub(crate) fn forked(origin: &'static str) -> Self {
        Self { origin, first: 1 }
    }

    fn leaves(&self, size: u64) -> Vec<Hash> {
        (self.first..self.first + size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let tree = TreeHead { size, root: root_of(&self.leaves(size)) };
        Checkpoint { origin: self.origin.parse().unwrap(), tree }
    }

    /// The signed checkpoint of that size.
    pub(crate) fn note(&self, size: u64) -> Note {
        signer(self.origin).sign(&self.checkpoint(size), NOW).unwrap()
    }

    /// The request that continues `old`, or claims to.
    pub(crate) fn request(&self, old: u64, new: u64) -> Vec<u8> {
        self.with(old, new, self.note(new))
    }

    /// The same, signed by a key that the witness does not know.
    pub(crate) fn unsigned_request(&self, old: u64, new: u64) -> Vec<u8> {
        let checkpoint = self.checkpoint(new);
        let seeds = CheckpointSeeds { ed25519: &[1; 32], ml_dsa_44: &[1; 32] };
        let mut signer = CheckpointSigner::new(checkpoint.origin.clone(), &seeds, None).unwrap();
        self.with(old, new, signer.sign(&checkpoint, NOW).unwrap())
    }

    fn with(&self, old: u64, new: u64, note: Note) -> Vec<u8> {
        let proof = consistency_proof(&self.leaves(new), old).unwrap_or_default();
        AddCheckpoint::new(old, proof, note).unwrap().to_string().into_bytes()
    }
}

/// The status of the answer to a request at the usual time.
pub(crate) fn status(witness: &Witness, request: &[u8]) -> u16 {
    witness.add(request, NOW).unwrap().status()
}
