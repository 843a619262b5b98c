//! What a witness cosigned last of each log: one row of the store for each origin.
//!
//! ```text
//! row name    "latest/" ‖ SHA-256(origin)
//! value       the note that was cosigned: the log's signatures that are known, and both of the witness'
//! ```
//!
//! The row is what was given away, so that it proves itself: it is read by the witness' own keys.
//!
//! **Invariant:** what is read was cosigned by this witness for this origin; anything else is [`LatestError`].
//!
//! That somebody put an older row back, cosigned as it was, does not show here.

use std::num::NonZeroU64;

use chancery_crypto::notes::{Cosigner, NoteKey};
use chancery_crypto::primitive::sha256;
use chancery_log::TreeHead;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::cosignature::split_time;
use chancery_log::note::{Note, NoteSignature, NoteVerifier};
use chancery_store::{
    CommitError, Expected, ROW_VALUE_BYTES_MAX, Revision, RowName, Store, StoreError, Transaction,
};

use crate::limits::KEYS_OF_LOG_MAX;

/// What row names begin with.
const PREFIX: &[u8] = b"latest/";

/// A signature line of ML-DSA-44: name of 255 bytes, and 4 + 8 + 2 420 bytes in base64; the longest there is.
const LINE_BYTES_MAX: usize = 4 + 255 + 1 + (4 + 8 + 2_420_usize).div_ceil(3) * 4 + 1;

/// A checkpoint and the empty line behind it.
const CHECKPOINT_BYTES_MAX: usize = 255 + 1 + 19 + 1 + 44 + 1 + 1;

// The note with a signature of every key of the log, and two of the witness, fits in a row.
const _: () =
    assert!(CHECKPOINT_BYTES_MAX + (KEYS_OF_LOG_MAX + 2) * LINE_BYTES_MAX <= ROW_VALUE_BYTES_MAX);

/// SHA-256 of an origin, by which its checkpoint is found.
pub type OriginHash = [u8; 32];

/// What was cosigned last.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The note, with the cosignatures.
    pub note: Note,
    /// Its tree.
    pub tree: TreeHead,
    /// When it was cosigned, in seconds since 1970.
    pub time_s: NonZeroU64,
    /// The cosignatures by themselves.
    pub cosignatures: [NoteSignature; 2],
    revision: Revision,
}

impl Latest {
    /// Whether it is of this tree and time, so that cosigning again would say nothing new.
    #[must_use]
    pub fn says(&self, checkpoint: &Checkpoint, time_s: NonZeroU64) -> bool {
        self.tree == checkpoint.tree && self.time_s == time_s
    }
}

/// The state cannot be read or replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LatestError {
    /// The outcome is unknown, or the store cannot commit any more.
    #[error("the state could not be made durable")]
    Commit(#[source] CommitError),
    /// The row is not what this witness cosigned.
    #[error("what the store has of a log is not what this witness cosigned")]
    Forged,
    /// Another request was first; nothing was changed.
    #[error("another request was first")]
    Overtaken,
    /// The store cannot be read.
    #[error("the state cannot be read")]
    Store(#[from] StoreError),
}

/// The rows, and the keys by which they are known.
pub struct Rows {
    store: Box<dyn Store>,
    own: [NoteKey; 2],
}

impl Rows {
    /// The rows of a witness.
    ///
    /// # Errors
    ///
    /// [`LatestError::Forged`] if its keys verify nothing.
    pub fn new(store: Box<dyn Store>, cosigner: &Cosigner) -> Result<Self, LatestError> {
        let [ed25519, ml_dsa_44] = cosigner
            .verifier_keys()
            .map(|key| NoteKey::new(key.clone()).map_err(|_| LatestError::Forged));
        Ok(Self { store, own: [ed25519?, ml_dsa_44?] })
    }

    /// What was cosigned last for an origin.
    ///
    /// # Errors
    ///
    /// [`LatestError::Store`] or [`LatestError::Forged`].
    pub fn read(&self, origin: &OriginHash) -> Result<Option<Latest>, LatestError> {
        let Some(row) = self.store.get(&name(origin)?)? else { return Ok(None) };
        let latest = self.verify(origin, &row.value, row.revision);
        latest.ok_or(LatestError::Forged).map(Some)
    }

    fn verify(&self, origin: &OriginHash, value: &[u8], revision: Revision) -> Option<Latest> {
        let note = Note::parse(value).ok()?;
        let [ed25519, ml_dsa_44] = &self.own;
        let signed = note.clone().verify(&[ed25519, ml_dsa_44]).ok()?;
        let checkpoint: Checkpoint = signed.text().parse().ok()?;
        let is_whole = signed.by().len() == self.own.len()
            && origin_hash(checkpoint.origin.as_str()) == *origin;
        let by =
            |key: &NoteKey| note.signatures().iter().find(|line| key.key().made(line)).cloned();
        let (one, other) = (by(ed25519)?, by(ml_dsa_44)?);
        let said = [split_time(one.bytes())?.0, split_time(other.bytes())?.0];
        let time_s = NonZeroU64::new(said[0]).filter(|_| said[0] == said[1])?;
        let cosignatures = [one, other];
        is_whole.then_some(Latest { note, tree: checkpoint.tree, time_s, cosignatures, revision })
    }

    /// Puts `note` in the place of what was read, and gives its cosignatures out once that is durable.
    ///
    /// # Errors
    ///
    /// [`LatestError::Overtaken`] if another was put there since, [`LatestError::Commit`]; then no cosignature
    /// leaves.
    pub fn replace(
        &self,
        origin: &OriginHash,
        read: Option<&Latest>,
        note: &Note,
        cosignatures: [NoteSignature; 2],
    ) -> Result<[NoteSignature; 2], LatestError> {
        let name = name(origin)?;
        let expected = read.map_or(Expected::Absent, |latest| Expected::At(latest.revision));
        let transaction = Transaction::new().expect(name.clone(), expected);
        match self.store.commit(transaction.put(name, note.to_string().into_bytes())) {
            Ok(_) => Ok(cosignatures),
            Err(CommitError::Conflict { .. }) => Err(LatestError::Overtaken),
            Err(error) => Err(LatestError::Commit(error)),
        }
    }
}

/// The hash of an origin.
#[must_use]
pub fn origin_hash(origin: &str) -> OriginHash {
    sha256(&[origin.as_bytes()])
}

fn name(origin: &OriginHash) -> Result<RowName, LatestError> {
    RowName::new([PREFIX, origin].concat()).map_err(|_| LatestError::Forged)
}
