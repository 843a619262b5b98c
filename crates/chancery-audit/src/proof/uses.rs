//! Proofs of all uses of a key version in a part of the log, also that there were none.
//!
//! ```text
//! proof  = CBOR [2, checkpoint (text), [record, …], policy digest (32)]     the last if it is named
//! record = [index, [hash (32), …], opening (bytes)]
//! ```
//!
//! Each record is a use of the version, or says how many there were before it; the use indices of a version have
//! no gap. So between the first and the last of them the log has these uses and no other; from its beginning on, where
//! the first says that there was none before it.
//!
//! Pseudonyms change by the month, since their keys do. A proof over several months has one record more that says how
//! many uses there were and shows what the version was called before ([`crate::called`]); records stand in the order
//! of those names, and from that record on there is one name.

use chancery_core::cbor;
use chancery_log::TreeHead;
use chancery_log::note::Note;
use chancery_log::tile::{TileError, TileReader};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use super::record::RecordProof;
use super::{ProofError, Trust, Vouched};
use crate::called::{Called, Names};
use crate::opening::{Opened, Opening, OpeningError};
use crate::record::{Counted, KeyGroup, Kind, Pseudonym};

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
    #[n(3)]
    policy: Option<ByteArray<32>>,
}

/// All uses of a key version in a part of the log.
#[derive(Clone, Debug)]
pub struct Uses {
    /// The first record of that part.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// The version, under the pseudonyms of the last month.
    pub version: KeyGroup,
    /// What it was called before: the key's pseudonym, and the first record under it.
    pub before: Vec<(u64, Pseudonym)>,
    /// The uses: the record's index, the number of the use, and what else is shown.
    pub uses: Vec<(u64, u64, Opened)>,
    /// The checkpoint that all of it is under, and who signed that.
    pub vouched: Vouched,
}

/// What one record says of the count.
struct Counts {
    called: Called,
    version: KeyGroup,
    is_use: bool,
    number: u64,
}

/// A record that was opened.
struct Entry {
    index: u64,
    counts: Counts,
    opened: Opened,
}

/// What the version is called in the months of a proof, the oldest first; the last is its name now.
struct Months(Vec<Called>);

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
        let records = RecordProof::of_each(records, tree, tiles)?;
        Ok(Self { format: FORMAT, checkpoint: checkpoint.to_string(), records, policy: None })
    }

    /// The same, naming the policy under which it was made.
    #[must_use]
    pub fn naming(self, policy: Option<[u8; 32]>) -> Self {
        Self { policy: policy.map(ByteArray::from), ..self }
    }

    /// The digest of the policy that it names: a word of who made the proof, signed by nobody.
    #[must_use]
    pub fn policy(&self) -> Option<[u8; 32]> {
        self.policy.map(|digest| *digest)
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
        let tree = &vouched.checkpoint.tree;
        let entries = self.records.iter().map(|record| entry(record, tree));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(ProofError::NotAProof);
        };
        // Before the first use, and before a statement that there was none, there was none in this log.
        let from = if first.counts.number == 0 { 0 } else { first.index };
        let (to, version) = (last.index, last.counts.version.clone());
        let before = Months::of(&entries)?.followed(&entries)?;
        leaves_nothing_out(&entries)?;
        let uses = entries.into_iter().filter(|entry| entry.counts.is_use);
        let uses = uses.map(|entry| (entry.index, entry.counts.number, entry.opened)).collect();
        Ok(Uses { from, to, version, before, uses, vouched })
    }
}

/// Each use has the number after that of the one before it, and is behind it; of one version.
fn leaves_nothing_out(entries: &[Entry]) -> Result<(), ProofError> {
    let mut expected = entries.first().map_or(0, |first| first.counts.number);
    let mut before: Option<&Entry> = None;
    for entry in entries {
        let Counts { version, number, is_use, .. } = &entry.counts;
        let follows = before.is_none_or(|before| {
            let known = &before.counts.version;
            entry.index > before.index
                && (version.version, version.counted) == (known.version, known.counted)
        });
        if *number != expected || !follows {
            return Err(ProofError::Gap { index: entry.index });
        }
        expected = expected.saturating_add(u64::from(*is_use));
        before = Some(entry);
    }
    Ok(())
}

impl Months {
    /// What the records show: the names of one, and its own; or one name alone.
    fn of(entries: &[Entry]) -> Result<Self, ProofError> {
        let mut shown =
            entries.iter().filter_map(|entry| Some((entry, entry.opened.names.as_ref()?)));
        let (own, names) = match (shown.next(), shown.next()) {
            (Some((entry, names)), None) => (Some(entry), Names::months(names)),
            (None, _) => (entries.last(), &[][..]),
            // Which of two would count is nowhere said.
            (Some(_), Some(_)) => return Err(ProofError::NotAProof),
        };
        let own = own.map(|entry| entry.counts.called);
        if own.is_some_and(|own| names.contains(&own)) {
            return Err(ProofError::NotAProof);
        }
        Ok(Self(names.iter().copied().chain(own).collect()))
    }

    /// Follows the version through its names: no record is of another, and none goes back. Gives each name but the last
    /// with the first record under it.
    fn followed(&self, entries: &[Entry]) -> Result<Vec<(u64, Pseudonym)>, ProofError> {
        let mut left = self.0.iter();
        let mut current = left.next();
        let mut found: Vec<(u64, Called)> = Vec::new();
        for entry in entries {
            let called = entry.counts.called;
            while current.is_some_and(|name| *name != called) {
                current = left.next();
            }
            if current.is_none() {
                return Err(ProofError::Gap { index: entry.index });
            }
            if found.last().is_none_or(|(_, last)| *last != called) {
                found.push((entry.index, called));
            }
        }
        found.pop();
        Ok(found.into_iter().map(|(index, called)| (index, called.key())).collect())
    }
}

fn entry(record: &RecordProof, tree: &TreeHead) -> Result<Entry, ProofError> {
    let opened = record.open(tree)?;
    Ok(Entry { index: record.index, counts: counts(&opened)?, opened })
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
    Ok(Counts { called: Called::of(&version), version, is_use, number: key.use_index })
}
