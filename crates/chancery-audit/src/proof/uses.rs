//! Proofs of all uses of a key version in a part of the log, also that there were none.
//!
//! ```text
//! proof  = CBOR [2, checkpoint (text), [record, …]]
//! record = [index, [hash (32), …], opening (bytes)]
//! ```
//!
//! Each record is a use of the version, or says how many there were before it; the use indices of a version have
//! no gap. So between the first and the last of them the log has these uses and no other; from its beginning on, where
//! the first says that there was none before it.
//!
//! Pseudonyms change by the month, since their keys do: one proof is of one month.

use chancery_core::cbor;
use chancery_log::note::Note;
use chancery_log::tile::{TileError, TileReader, TileTree};
use chancery_log::{Hash, Leaf, TreeHead, verify_inclusion};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::{ProofError, Trust, Vouched};
use crate::opening::{Opened, Opening, OpeningError};
use crate::record::{Counted, KeyGroup, Kind};

const FORMAT: u8 = 2;

/// The most records of one proof: 16 384, of about 1 KiB each.
pub const USES_MAX: usize = 16 * 1024;

/// A proof of the uses of a key version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct UsesProof {
    #[n(0)]
    format: u8,
    #[n(1)]
    checkpoint: String,
    #[n(2)]
    records: Vec<RecordProof>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct RecordProof {
    #[n(0)]
    index: u64,
    #[n(1)]
    path: Vec<ByteArray<32>>,
    #[cbor(n(2), with = "minicbor::bytes")]
    opening: Vec<u8>,
}

/// All uses of a key version in a part of the log.
#[derive(Clone, Debug)]
pub struct Uses {
    /// The first record of that part.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// The version, under the pseudonyms of the month.
    pub version: KeyGroup,
    /// The uses: the record's index, the number of the use, and what else is shown.
    pub uses: Vec<(u64, u64, Opened)>,
    /// The checkpoint that all of it is under, and who signed that.
    pub vouched: Vouched,
}

/// What one record says of the count.
#[derive(Clone)]
struct Counts {
    version: KeyGroup,
    is_use: bool,
    number: u64,
}

impl UsesProof {
    /// Makes a proof of records that were opened, in their order in the log.
    ///
    /// # Errors
    ///
    /// [`TileError`] if a tile is missing, or is not that of the checkpoint's tree.
    pub fn make(
        records: &[(u64, Opening)],
        (checkpoint, tree): (&Note, TreeHead),
        tiles: impl TileReader,
    ) -> Result<Self, TileError> {
        let mut published = TileTree::new(tree.size, tiles);
        let mut proved = |(index, opening): &(u64, Opening)| {
            let path = published.inclusion_proof(*index)?;
            let leaf = Leaf { index: *index, hash: opening.leaf() };
            verify_inclusion(&leaf, &tree, &path)
                .map_err(|_| TileError::OutOfTree { size: tree.size })?;
            let path = path.iter().map(|hash| (*hash.as_bytes()).into()).collect();
            Ok(RecordProof { index: *index, path, opening: opening.to_bytes() })
        };
        let records = records.iter().map(&mut proved).collect::<Result<_, _>>()?;
        Ok(Self { format: FORMAT, checkpoint: checkpoint.to_string(), records })
    }

    /// Its encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotAProof`] if the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        let proof: Option<Self> = cbor::decode(bytes, "proof").ok();
        let is_one =
            |proof: &Self| proof.format == FORMAT && (1..=USES_MAX).contains(&proof.records.len());
        proof.filter(is_one).ok_or(ProofError::NotAProof)
    }

    /// Checks it.
    ///
    /// # Errors
    ///
    /// [`ProofError`], which says what does not hold.
    pub fn check(&self, trust: &Trust) -> Result<Uses, ProofError> {
        let vouched = trust.vouched(Note::parse(self.checkpoint.as_bytes())?)?;
        let mut first: Option<(u64, Counts)> = None;
        let (mut last, mut uses) = (None, Vec::new());
        for record in &self.records {
            let opened = record.open(&vouched.checkpoint.tree)?;
            let counts = counts(&opened)?;
            let (_, begin) = first.get_or_insert_with(|| (record.index, counts.clone()));
            let next = begin.number.saturating_add(u64::try_from(uses.len()).unwrap_or(u64::MAX));
            let is_behind = last.is_none_or(|last| record.index > last);
            if counts.number != next || counts.version != begin.version || !is_behind {
                return Err(ProofError::Gap { index: record.index });
            }
            last = Some(record.index);
            if counts.is_use {
                uses.push((record.index, counts.number, opened));
            }
        }
        let (Some((index, begin)), Some(to)) = (first, last) else {
            return Err(ProofError::NotAProof);
        };
        // Before the first use, and before a statement that there was none, there was none in this log.
        let from = if begin.number == 0 { 0 } else { index };
        Ok(Uses { from, to, version: begin.version, uses, vouched })
    }
}

impl RecordProof {
    fn open(&self, tree: &TreeHead) -> Result<Opened, ProofError> {
        let opening = Opening::parse(&self.opening)?;
        let path: Vec<Hash> = self.path.iter().map(|hash| Hash::from(**hash)).collect();
        let leaf = Leaf { index: self.index, hash: opening.leaf() };
        verify_inclusion(&leaf, tree, &path)?;
        Ok(opening.open()?)
    }
}

/// What a record says of the count of a version: it is a use, or a statement of how many there were.
fn counts(opened: &Opened) -> Result<Counts, ProofError> {
    let (Some(operation), Some(key)) = (&opened.operation, &opened.key) else {
        return Err(OpeningError::NotAnOpening.into());
    };
    let is_use = match (operation.kind, key.group.counted) {
        (Kind::Use, Counted::Yes) => true,
        (Kind::Count, Counted::Yes) => false,
        _ => return Err(ProofError::NotAUse),
    };
    // Where the key is may differ from one use to the next, and says nothing of which it is.
    let version = KeyGroup { protection: 0, ..key.group.clone() };
    Ok(Counts { version, is_use, number: key.use_index })
}
