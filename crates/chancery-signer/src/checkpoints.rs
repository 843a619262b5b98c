//! Checkpoints: what the log promises others, once a second while it grows unless the operator says otherwise.
//!
//! A round goes in one order, and each step needs what the one before has made: frames are read back from the
//! disk and the tree over them is computed by a second path ([`Publisher::advance`]); the lock record moves on
//! ([`LockRecord::advance`]); the checkpoint is signed, by a signer that does not go back; tiles are published,
//! then the checkpoint. A crash anywhere leaves what the next round goes on from.
//!
//! At a start, before any key is used, the same is done up to what the lock record remembers, and held against
//! it ([`Checkpoints::open`]).

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery_audit::disk::Disk;
use chancery_audit::origin::Origin;
use chancery_audit::publish::{
    CHECKPOINT_FILE, LOG_DIRECTORY, POLICY_FILE, PublishError, Publisher, Recomputed, policy_text,
    read_hashes,
};
use chancery_audit::shelf::{Shelf, make_root};
use chancery_core::clock::Reading;
use chancery_crypto::notes::{CheckpointSeeds, CheckpointSignError, CheckpointSigner, NoteKey};
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{KeyName, Note, NoteVerifier, VerifierKey};
use chancery_log::tile::TileTree;
use chancery_log::{Hash, TreeHead};

use crate::config::{LockRecordWish, SignerError};
use crate::counters::lock;
use crate::entropy;
use crate::lock_record::{LockError, LockRecord};
use crate::sequencer::halt;
use crate::service::Shared;

/// How often one is made while it does not: a heartbeat, by which silence can be told from absence.
const HEARTBEAT: Duration = Duration::from_mins(1);

/// No checkpoint is made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The lock record does not advance.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The log cannot be read back or published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// It is not signed.
    #[error(transparent)]
    Sign(#[from] CheckpointSignError),
}

/// What makes the checkpoints of this log.
pub(crate) struct Checkpoints {
    publisher: Publisher,
    lock: LockRecord,
    signer: CheckpointSigner,
    origin: KeyName,
    /// What was computed last, signed or not.
    last: Option<Recomputed>,
    signed_at: Option<Instant>,
    /// How many were signed since the start.
    made: u64,
    /// How many records the checkpoint covers that was published last by this start.
    covered: u64,
}

/// Where the log ends at a start.
pub(crate) struct Opening<'o> {
    pub(crate) data: &'o Path,
    pub(crate) lock_directory: &'o Path,
    pub(crate) wish: LockRecordWish,
    pub(crate) disk: &'o dyn Disk,
    pub(crate) origin: &'o Origin,
    pub(crate) seeds: CheckpointSeeds<'o>,
    /// How many records the log has.
    pub(crate) size: u64,
}

impl Checkpoints {
    /// Takes up what was published, and holds the log against what the lock record remembers.
    pub(crate) fn open(opening: &Opening<'_>) -> Result<Self, SignerError> {
        let origin: KeyName =
            opening.origin.name().parse().map_err(|_| SignerError::Certificate)?;
        let directory = opening.data.join(LOG_DIRECTORY);
        make_root(&directory)
            .map_err(SignerError::system("the directory of the published log cannot be made"))?;
        let lock = LockRecord::open(opening.lock_directory, &origin)?;
        let signer = CheckpointSigner::new(origin.clone(), &opening.seeds, lock.remembered());
        let signer = signer.map_err(|_| SignerError::Certificate)?;
        let before = published(&directory, &signer)?;
        check_lock(&lock, before, opening)?;
        let publisher = take_up(&directory, before);
        let (last, signed_at) = (None, None);
        let (made, covered) = (0, 0);
        let mut checkpoints =
            Self { publisher, lock, signer, origin, last, signed_at, made, covered };
        let known: Vec<TreeHead> =
            checkpoints.lock.remembered().into_iter().chain(before).collect();
        checkpoints.hold_against(&known, opening.disk)?;
        checkpoints.write_policy(&directory)?;
        Ok(checkpoints)
    }

    /// Reads back as many records as are remembered, or were published, and compares.
    fn hold_against(&mut self, trees: &[TreeHead], disk: &dyn Disk) -> Result<(), SignerError> {
        let mut trees = trees.to_vec();
        trees.sort_unstable_by_key(|tree| tree.size);
        for tree in trees {
            if !self.has(tree, disk)? {
                return Err(SignerError::Fork);
            }
        }
        Ok(())
    }

    /// Whether the log begins with this tree.
    pub(crate) fn has(&mut self, tree: TreeHead, disk: &dyn Disk) -> Result<bool, SignerError> {
        let unread = |error: PublishError| SignerError::Checkpoint(error.to_string());
        while self.publisher.size() < tree.size {
            match self.publisher.advance(disk, tree.size).map_err(unread)? {
                Some(read) => self.last = Some(read),
                None => return Ok(false),
            }
        }
        Ok(self.root_at(tree.size)? == tree.root)
    }

    /// The root of the first `size` records, which were read back or published.
    fn root_at(&self, size: u64) -> Result<Hash, SignerError> {
        if let Some(last) = self.last.filter(|last| last.tree().size == size) {
            return Ok(last.tree().root);
        }
        let (files, published) = (self.publisher.shelf(), self.publisher.size());
        let root = TileTree::new(published, |tile| read_hashes(files, tile)).root_at(size);
        root.map_err(|error| SignerError::Checkpoint(error.to_string()))
    }

    fn write_policy(&self, directory: &Path) -> Result<(), SignerError> {
        let policy = policy_text(self.signer.verifier_keys());
        let mut files = Shelf::at(directory);
        if files.read(POLICY_FILE).is_ok_and(|known| known == policy.as_bytes()) {
            return Ok(());
        }
        let written = files.put(POLICY_FILE, policy.as_bytes());
        written.map_err(SignerError::system("the log's policy file cannot be written"))
    }

    /// One round: makes a checkpoint of what is durable, if there is something new or a heartbeat is due.
    fn round(&mut self, disk: &dyn Disk, size: u64, now: Reading) -> Result<(), CheckpointError> {
        if self.lock.remembered().is_none() && self.publisher.size() == 0 {
            // So there is a checkpoint wherever there are tiles.
            self.sign(Recomputed::nothing(), now)?;
        }
        while let Some(state) = self.publisher.advance(disk, size)? {
            self.last = Some(state);
            self.sign(state, now)?;
        }
        let is_due = self.signed_at.is_none_or(|at| at.elapsed() >= HEARTBEAT);
        match self.last.filter(|_| is_due) {
            Some(state) => self.sign(state, now),
            None => Ok(()),
        }
    }

    fn sign(&mut self, state: Recomputed, now: Reading) -> Result<(), CheckpointError> {
        let locked = self.lock.advance(state)?;
        let checkpoint = Checkpoint { origin: self.origin.clone(), tree: locked.tree() };
        let note = self.signer.sign(&checkpoint, now.unix_ms / 1_000)?;
        self.publisher.publish(&note)?;
        self.signed_at = Some(Instant::now());
        self.made += 1;
        self.covered = locked.tree().size;
        Ok(())
    }

    /// Whether there ever was a checkpoint that somebody else may remember.
    pub(crate) fn is_published(&self) -> bool {
        self.lock.remembered().is_some() || self.publisher.size() > 0
    }

    /// The keys that sign them.
    pub(crate) fn verifier_keys(&self) -> [&VerifierKey; 2] {
        self.signer.verifier_keys()
    }

    /// How many records a checkpoint covers that this start has published; what it read back lies under it.
    pub(crate) fn published_size(&self) -> u64 {
        self.covered
    }

    /// Refuses a store by which fewer people are enough than the lock directory remembers.
    pub(crate) fn hold_approvals(&self, stored: u8) -> Result<(), SignerError> {
        let unread = "it cannot be read how many approvals are asked for";
        if self.lock.approvals().map_err(SignerError::system(unread))? > stored {
            let why =
                "it asks for fewer approvals than the lock directory remembers: it was taken back";
            return Err(SignerError::Inconsistent(why));
        }
        self.raise_approvals(stored)
    }

    /// Has the lock directory remember how many approvals are asked for.
    pub(crate) fn raise_approvals(&self, approvals: u8) -> Result<(), SignerError> {
        let unwritten = "the lock directory cannot remember how many approvals are asked for";
        self.lock.raise_approvals(approvals).map_err(SignerError::disk(unwritten))
    }

    /// The lock record's file, and how many records it remembers.
    pub(crate) fn lock_record(&self) -> (String, u64) {
        let size = self.lock.remembered().map_or(0, |tree| tree.size);
        (self.lock.path().display().to_string(), size)
    }
}

/// Starts the thread that makes them.
pub(crate) fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        // For who looks at the process; without it nothing is wrong.
        let _ = rustix::thread::set_name(c"checkpoints");
        loop {
            std::thread::sleep(shared.checkpoint_every);
            make(&shared, &shared.checkpoints);
        }
    });
}

/// Makes a checkpoint of what is durable now.
pub(crate) fn make(shared: &Shared, checkpoints: &Mutex<Checkpoints>) {
    let size = lock(&shared.progress).size;
    let now = lock(&shared.core).now(entropy::sample());
    let mut checkpoints = lock(checkpoints);
    let made = checkpoints.round(&*shared.disk, size, now);
    shared.counters.checkpoints.store(checkpoints.made, Ordering::Relaxed);
    drop(checkpoints);
    match made {
        Ok(()) => {}
        // What was read back is not what was written, or somebody else signs in our place.
        Err(
            error @ (CheckpointError::Publish(PublishError::OtherRoot { .. })
            | CheckpointError::Lock(LockError::Moved)
            | CheckpointError::Sign(_)),
        ) => halt(&error),
        // Answers do not wait for it: it is tried again, and its age shows.
        Err(error) => eprintln!("chancery signer: no checkpoint was made: {error}"),
    }
}

/// The tree of the published checkpoint, if there is one. One that this log did not sign is none of ours.
pub(crate) fn published(
    directory: &Path,
    signer: &CheckpointSigner,
) -> Result<Option<TreeHead>, SignerError> {
    let Ok(bytes) = Shelf::at(directory).read(CHECKPOINT_FILE) else { return Ok(None) };
    let keys = signer.verifier_keys().map(|key| NoteKey::new(key.clone()));
    let [Ok(ed25519), Ok(ml_dsa)] = keys else { return Err(SignerError::Certificate) };
    let known: [&dyn NoteVerifier; 2] = [&ed25519, &ml_dsa];
    let verified = Note::parse(&bytes).and_then(|note| note.verify(&known));
    let checkpoint = verified.ok().and_then(|verified| verified.text().parse::<Checkpoint>().ok());
    let checkpoint = checkpoint
        .ok_or(SignerError::Checkpoint("the published checkpoint is not of this log".into()))?;
    Ok(Some(checkpoint.tree))
}

/// The log must have what is remembered, and what was published must be remembered.
fn check_lock(
    lock: &LockRecord,
    published: Option<TreeHead>,
    opening: &Opening<'_>,
) -> Result<(), SignerError> {
    let remembered = lock.remembered();
    if remembered.is_none() && published.is_some() && opening.wish == LockRecordWish::Kept {
        return Err(SignerError::LockRecordMissing(lock.path().to_owned()));
    }
    let most = remembered.into_iter().chain(published).map(|tree| tree.size).max();
    match most {
        Some(remembered) if remembered > opening.size => Err(SignerError::TakenBack {
            remembered,
            found: opening.size,
            record: lock.path().to_owned(),
        }),
        _ => Ok(()),
    }
}

/// What was published is derived: where it cannot be taken up, it is computed anew from the frames.
fn take_up(directory: &Path, published: Option<TreeHead>) -> Publisher {
    let taken_up = published.map(|tree| Publisher::take_up(Shelf::at(directory), tree));
    match taken_up {
        Some(Ok(goes_on)) => goes_on,
        Some(Err(error)) => {
            eprintln!("chancery signer: the tiles are made anew from the log: {error}");
            Publisher::new(Shelf::at(directory))
        }
        None => Publisher::new(Shelf::at(directory)),
    }
}
