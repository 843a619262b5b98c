//! Proofs of what a log says, checked with a policy and nothing else: no network, no service, no key of it.
//!
//! One record is shown by the text of C2SP tlog-proof, whose `extra` is its [`Opening`], alone or with the digest of a policy; all uses of a key version,
//! by a [`UsesProof`]; what is said of whole trees, by a [`TreeProof`]. Whose word counts is for the policy (C2SP tlog-policy) to say: [`Trust`].
//!
//! **Invariant:** [`Used`], [`Uses`] and [`Trees`] are made by a check alone.

mod record;
mod trees;
mod trust;
mod uses;

use chancery_core::cbor;
use chancery_log::note::NoteError;
use chancery_log::tile::{TileError, TileReader, TileTree};
use chancery_log::tlog_proof::{TlogProof, TlogProofError};
use chancery_log::{ConsistencyError, InclusionError, Leaf, TreeHead, verify_inclusion};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::opening::{Opened, Opening, OpeningError};
pub(crate) use record::RecordProof;
pub use trees::{TreeProof, Trees};
pub use trust::{Trust, TrustError, Vouched};
pub use uses::{USES_MAX, Uses, UsesProof};

/// The longest proof that is read: 32 MiB, as much as the uses of one proof can take.
pub const PROOF_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// What is signed is no checkpoint, or two are of different logs.
    #[error("what is signed is not a checkpoint, or the two are of different logs")]
    NotACheckpoint,
    /// The bytes are no proof.
    #[error("not a proof")]
    NotAProof,
    /// The record is not under the checkpoint.
    #[error("the record is not in the log of the checkpoint")]
    Inclusion(#[from] InclusionError),
    /// One tree does not continue the other.
    #[error("the later checkpoint does not continue the earlier one")]
    Consistency(#[from] ConsistencyError),
    /// A use is left out, stands twice, or is of another key version than the ones before it.
    #[error(
        "record {index} does not follow the one before it: a use is left out, or is of another key version"
    )]
    Gap {
        /// The record's index.
        index: u64,
    },
    /// A record is no use of a key, and no statement of how many there were.
    #[error("a record is no use of a key version, and does not say how many there were")]
    NotAUse,
    /// The two checkpoints do not contradict each other.
    #[error("the two checkpoints do not contradict each other")]
    NoFork,
    /// What stands for a checkpoint is no note, or a signature of a key that is known does not hold.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Nobody whom the policy names as a log signed the checkpoint in its own name.
    #[error("no log that the policy names signed the checkpoint")]
    Unsigned,
    /// Too few witnesses signed it.
    #[error("fewer witnesses signed the checkpoint than the policy asks for")]
    Quorum,
    /// What is shown of the record is not what it commits to.
    #[error(transparent)]
    Opening(#[from] OpeningError),
    /// The form of the proof of one record is wrong.
    #[error(transparent)]
    Form(#[from] TlogProofError),
}

/// The number of the form of `extra` that holds an opening and names a policy; an opening alone has another.
const NAMING: u8 = 2;

/// An opening, and the policy under which the proof of it was made.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Naming {
    #[n(0)]
    form: u8,
    #[n(1)]
    policy: ByteArray<32>,
    #[cbor(n(2), with = "minicbor::bytes")]
    opening: Vec<u8>,
}

/// A record, proved to be in a log.
#[derive(Clone, Debug)]
pub struct Used {
    /// Its index in the log.
    pub index: u64,
    /// What it says, as far as it was opened.
    pub opened: Opened,
    /// The checkpoint that it is under, and who signed that.
    pub vouched: Vouched,
    /// The digest of the policy that the proof names: a word of who made it, signed by nobody.
    pub policy: Option<[u8; 32]>,
}

/// Makes the proof that a log says what `opening` shows, under `checkpoint`; naming a policy, if there is one to name.
///
/// # Errors
///
/// [`TileError`] if a tile is missing, or the checkpoint is of fewer records.
pub fn prove(
    (index, opening): (u64, &Opening),
    (checkpoint, tree): (chancery_log::note::Note, TreeHead),
    tiles: impl TileReader,
    policy: Option<[u8; 32]>,
) -> Result<TlogProof, TileError> {
    let path = TileTree::new(tree.size, tiles).inclusion_proof(index)?;
    // What tiles say is not believed: the path must lead to the root that was signed.
    let leaf = Leaf { index, hash: opening.leaf() };
    verify_inclusion(&leaf, &tree, &path).map_err(|_| TileError::OutOfTree { size: tree.size })?;
    let opening = opening.to_bytes();
    let extra = match policy {
        None => opening,
        Some(policy) => cbor::encode(&Naming { form: NAMING, policy: policy.into(), opening }),
    };
    Ok(TlogProof { extra, index, path, checkpoint })
}

/// Checks the proof of one record.
///
/// # Errors
///
/// [`ProofError`], which says what does not hold.
pub fn check(bytes: &[u8], trust: &Trust) -> Result<Used, ProofError> {
    let TlogProof { extra, index, path, checkpoint } = TlogProof::parse(bytes)?;
    let naming = cbor::decode::<Naming>(&extra, "extra").ok();
    let naming = naming.filter(|naming| naming.form == NAMING);
    let opening = naming.as_ref().map_or(&extra, |naming| &naming.opening);
    let opening = Opening::parse(opening)?;
    let policy = naming.map(|naming| *naming.policy);
    let vouched = trust.vouched(checkpoint)?;
    let leaf = Leaf { index, hash: opening.leaf() };
    verify_inclusion(&leaf, &vouched.checkpoint.tree, &path)?;
    Ok(Used { index, opened: opening.open()?, vouched, policy })
}
