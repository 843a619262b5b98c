//! One witness, asked to cosign one checkpoint.
//!
//! The first request proves nothing: it says that the witness has cosigned this very checkpoint. One that has not
//! names the size that it has cosigned last, and the proof is made from there.
//!
//! **Invariant:** what comes back as a cosignature is of a key that the policy names for this witness, verifies
//! over the checkpoint, and says when it was made.

use std::time::Instant;

use chancery_audit::witnessed::Standing;
use chancery_crypto::notes::NoteKey;
use chancery_log::cosignature::split_time;
use chancery_log::note::{KeyName, Note, NoteSignature, NoteVerifier as _};
use chancery_log::tile::{TileError, TileReader, TileTree};
use chancery_log::witness::{AddCheckpoint, Answer, Refusal, RequestError};
use chancery_log::{Hash, TreeHead};

use super::exchange::{Exchange, ExchangeError};

/// How often a witness may say that it has cosigned another size meanwhile: 4 times; others submit as well.
const TURNS_MAX: usize = 4;

/// A witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It holds more than there is.
    #[error(
        "it has cosigned {seen} records, and the checkpoint has {size}: the log was taken back, or others submit newer \
         checkpoints"
    )]
    Ahead {
        /// How many it has cosigned.
        seen: u64,
        /// How many there are.
        size: u64,
    },
    /// No answer of a witness came.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// A cosignature does not hold.
    #[error("its cosignature by `{0}` does not hold")]
    Forged(KeyName),
    /// A key that the policy names for it has not signed.
    #[error("its answer has no cosignature by the key `{0}` that the policy names")]
    Missing(KeyName),
    /// It says another size each time.
    #[error(
        "others submit checkpoints to it all the time, or it does not know what it has cosigned"
    )]
    Moving,
    /// It refused.
    #[error("it refused: {0}")]
    Refused(Refusal),
    /// The checkpoint makes no request.
    #[error("the checkpoint cannot be submitted: {0}")]
    Request(#[from] RequestError),
    /// The published files do not lead from what it has cosigned to the checkpoint.
    #[error("no proof from the {from} records that it has cosigned: {source}")]
    Unproved {
        /// How many it has cosigned.
        from: u64,
        /// What is missing.
        source: TileError,
    },
}

impl AskError {
    /// What it says of what the witness holds.
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self::Ahead { seen, .. } => Standing::Ahead(*seen),
            Self::Refused(Refusal::Inconsistent) => Standing::Differs,
            other => Standing::Away(other.to_string()),
        }
    }
}

/// A witness, as a policy names it.
pub(crate) struct Place<'p> {
    /// Where it is.
    pub(crate) url: &'p str,
    /// Its names in the policy, one for each key.
    pub(crate) names: Vec<&'p str>,
    /// Its keys.
    pub(crate) keys: Vec<&'p NoteKey>,
}

impl Place<'_> {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        format!("{} at {}", self.names.join(", "), self.url)
    }

    /// Has it cosign a checkpoint.
    pub(crate) fn ask(
        &self,
        exchange: &Exchange,
        (note, tree): (&Note, TreeHead),
        tiles: impl TileReader,
        deadline: Instant,
    ) -> Result<Vec<NoteSignature>, AskError> {
        let mut tiles = TileTree::new(tree.size, tiles);
        let mut old = tree.size;
        for _ in 0..TURNS_MAX {
            let proof = proof(&mut tiles, old, tree.size)?;
            let request = AddCheckpoint::new(old, proof, note.clone())?;
            match exchange.ask(self.url, &request, deadline)? {
                Answer::Cosigned(lines) => return self.verified(note, &lines),
                Answer::Refused(Refusal::OldSize { latest }) if latest > tree.size => {
                    return Err(AskError::Ahead { seen: latest, size: tree.size });
                }
                // The very size that it was asked about: what it holds of that size is another tree.
                Answer::Refused(Refusal::OldSize { latest })
                    if latest == old && old == tree.size =>
                {
                    return Err(AskError::Refused(Refusal::Inconsistent));
                }
                Answer::Refused(Refusal::OldSize { latest }) => old = latest,
                Answer::Refused(refusal) => return Err(AskError::Refused(refusal)),
            }
        }
        Err(AskError::Moving)
    }

    /// One cosignature of each of its keys; what others signed is passed over.
    fn verified(
        &self,
        note: &Note,
        lines: &[NoteSignature],
    ) -> Result<Vec<NoteSignature>, AskError> {
        let of = |key: &&NoteKey| {
            let name = || key.key().name().clone();
            let line = lines.iter().find(|line| key.key().made(line));
            let line = line.ok_or_else(|| AskError::Missing(name()))?;
            let has_time = split_time(line.bytes()).is_some_and(|(time_s, _)| time_s > 0);
            if has_time && key.verifies(note.unverified_text(), line.bytes()) {
                Ok(line.clone())
            } else {
                Err(AskError::Forged(name()))
            }
        };
        self.keys.iter().map(of).collect()
    }
}

/// The proof from `old` records; none is needed from nothing, or from as many as there are.
fn proof<R: TileReader>(
    tiles: &mut TileTree<R>,
    old: u64,
    size: u64,
) -> Result<Vec<Hash>, AskError> {
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    tiles.consistency_proof(old).map_err(|source| AskError::Unproved { from: old, source })
}
