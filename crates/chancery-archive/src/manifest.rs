//! What an archive says of its segments: an entry for each, chained, and seals over them.
//!
//! Both are JSON with fields in a fixed order and a line feed at the end, and have one spelling: what is read is written
//! again and compared. Hashes are in hexadecimal.
//!
//! **Invariant:** a [`Sealed`] is made by [`Seal::check`] alone, from a checkpoint that the log's own keys signed.

use chancery_audit::origin::hex;
use chancery_audit::proof::{ProofError, Trust};
use chancery_crypto::primitive::sha256;
use chancery_log::note::Note;
use chancery_log::{Hash, TreeHead, verify_consistency};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What an entry begins with.
const ENTRY_FORMAT: &str = "chancery archive entry 1";

/// What a seal begins with.
const SEAL_FORMAT: &str = "chancery archive seal 1";

/// The hash before the first entry.
pub const NO_ENTRY: [u8; 32] = [0; 32];

/// A segment in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    format: String,
    /// The log's origin.
    pub origin: String,
    /// The segment's number.
    pub segment: u64,
    /// The number of its first frame.
    pub first_frame: u64,
    /// The index of its first record.
    pub first_index: u64,
    /// The index behind its last record.
    pub end_index: u64,
    /// The root of the tree behind its last record.
    root: String,
    /// The time of its latest frame, in milliseconds since 1970; 0 if it has none.
    pub latest_ms: u64,
    /// The bytes of its dense form.
    pub bytes: u64,
    /// SHA-256 of them.
    sha256: String,
    /// SHA-256 of the entry before it; zeros for the first.
    previous: String,
}

/// What an entry says of a segment besides its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// The segment's number.
    pub segment: u64,
    /// The number of its first frame.
    pub first_frame: u64,
    /// The index of its first record.
    pub first_index: u64,
    /// The tree behind its last record.
    pub end: TreeHead,
    /// The time of its latest frame.
    pub latest_ms: u64,
}

/// A checkpoint over archived segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    format: String,
    /// The log's origin.
    pub origin: String,
    /// How many segments it covers, from the first.
    pub segments: u64,
    /// How many records they have.
    pub size: u64,
    /// The root of the tree over those.
    root: String,
    /// SHA-256 of the last segment's entry.
    head: String,
    /// The torn ends that belong to them, by their names.
    pub kept: Vec<String>,
    /// What leads from that tree to the checkpoint's (RFC 9162, 2.1.4.1).
    consistency: Vec<String>,
    /// The checkpoint.
    checkpoint: String,
}

/// What a seal proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The tree over the records of the segments.
    pub tree: TreeHead,
    /// How many segments there are.
    pub segments: u64,
    /// SHA-256 of the last entry.
    pub head: [u8; 32],
    /// The tree of the checkpoint.
    pub checkpoint: TreeHead,
    /// The torn ends.
    pub kept: Vec<String>,
}

/// What an archive says does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are neither entry nor seal.
    #[error("it is not what this archive writes")]
    Form,
    /// It is of another log.
    #[error("it is of the log `{0}`")]
    OtherLog(String),
    /// The checkpoint is not signed as the policy asks.
    #[error("its checkpoint is not signed as the policy asks")]
    Checkpoint(#[from] ProofError),
    /// The checkpoint does not cover the segments.
    #[error("its checkpoint does not cover what it says it covers")]
    NotCovered,
}

impl Entry {
    /// The entry of a segment, behind the one of that hash.
    #[must_use]
    pub fn new(origin: &str, described: Described, dense: &[u8], previous: &[u8; 32]) -> Self {
        let Described { segment, first_frame, first_index, end, latest_ms } = described;
        Self {
            format: ENTRY_FORMAT.to_owned(),
            origin: origin.to_owned(),
            segment,
            first_frame,
            first_index,
            end_index: end.size,
            root: hex(end.root.as_bytes()),
            latest_ms,
            bytes: u64::try_from(dense.len()).unwrap_or(u64::MAX),
            sha256: hex(&sha256(&[dense])),
            previous: hex(previous),
        }
    }

    /// Its text.
    #[must_use]
    pub fn to_text(&self) -> String {
        text_of(self)
    }

    /// Its hash, which the next one has.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[self.to_text().as_bytes()])
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Form`] if it is none, or written otherwise.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let entry: Self = parse(bytes)?;
        let is_one = entry.format == ENTRY_FORMAT && entry.to_text().as_bytes() == bytes;
        is_one.then_some(entry).ok_or(ManifestError::Form)
    }

    /// Whether it follows the entry of that hash.
    #[must_use]
    pub fn follows(&self, previous: &[u8; 32]) -> bool {
        self.previous == hex(previous)
    }

    /// Whether these are the bytes of its segment.
    #[must_use]
    pub fn is_of(&self, dense: &[u8]) -> bool {
        u64::try_from(dense.len()) == Ok(self.bytes) && self.sha256 == hex(&sha256(&[dense]))
    }

    /// Whether the tree behind its last record is that one.
    #[must_use]
    pub fn ends_with(&self, tree: &TreeHead) -> bool {
        self.end_index == tree.size && self.root == hex(tree.root.as_bytes())
    }
}

impl Seal {
    /// The seal over a log's segments; `consistency` leads from `sealed.tree` to the tree of `checkpoint`.
    #[must_use]
    pub fn new(origin: &str, sealed: &Sealed, consistency: &[Hash], checkpoint: &Note) -> Self {
        Self {
            format: SEAL_FORMAT.to_owned(),
            origin: origin.to_owned(),
            segments: sealed.segments,
            size: sealed.tree.size,
            root: hex(sealed.tree.root.as_bytes()),
            head: hex(&sealed.head),
            kept: sealed.kept.clone(),
            consistency: consistency.iter().map(|hash| hex(hash.as_bytes())).collect(),
            checkpoint: checkpoint.to_string(),
        }
    }

    /// Its text.
    #[must_use]
    pub fn to_text(&self) -> String {
        text_of(self)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Form`] if it is none, or written otherwise.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let seal: Self = parse(bytes)?;
        let is_one = seal.format == SEAL_FORMAT && seal.to_text().as_bytes() == bytes;
        is_one.then_some(seal).ok_or(ManifestError::Form)
    }

    /// Checks it: the checkpoint is signed as the policy asks, is of the log of that origin, and covers the segments.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], which says what does not hold.
    pub fn check(&self, origin: &str, trust: &Trust) -> Result<Sealed, ManifestError> {
        let note = Note::parse(self.checkpoint.as_bytes()).map_err(|_| ManifestError::Form)?;
        let vouched = trust.vouched(note)?;
        let named = vouched.checkpoint.origin.to_string();
        if self.origin != origin || named != origin {
            return Err(ManifestError::OtherLog(named));
        }
        let tree = TreeHead { size: self.size, root: Hash::from(unhex(&self.root)?) };
        let hashes = self.consistency.iter().map(|hash| Ok(Hash::from(unhex(hash)?)));
        let hashes: Vec<Hash> = hashes.collect::<Result<_, ManifestError>>()?;
        let checkpoint = vouched.checkpoint.tree;
        let held = verify_consistency(&tree, &checkpoint, &hashes);
        held.map_err(|_| ManifestError::NotCovered)?;
        let (segments, kept) = (self.segments, self.kept.clone());
        Ok(Sealed { tree, segments, head: unhex(&self.head)?, checkpoint, kept })
    }
}

fn text_of(value: &impl Serialize) -> String {
    // Numbers and texts alone: that cannot fail.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|_| ManifestError::Form)
}

fn unhex(text: &str) -> Result<[u8; 32], ManifestError> {
    let pairs = text.as_bytes().as_chunks::<2>().0.iter();
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Option<Vec<u8>> = bytes.collect();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.filter(|bytes| hex(bytes) == text).ok_or(ManifestError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(previous: &[u8; 32]) -> Entry {
        let end = TreeHead { size: 9, root: Hash::from([2; 32]) };
        let described =
            Described { segment: 1, first_frame: 3, first_index: 4, end, latest_ms: 17 };
        Entry::new("chancery.log/a", described, b"dense", previous)
    }

    #[test]
    fn an_entry_has_one_spelling_and_is_of_one_segment() {
        let one = entry(&NO_ENTRY);
        let text = one.to_text();
        assert_eq!(Entry::parse(text.as_bytes()).unwrap(), one);
        assert!(one.is_of(b"dense") && !one.is_of(b"dense ") && !one.is_of(b"densf"));
        assert!(one.follows(&NO_ENTRY) && !one.follows(&one.hash()));
        assert!(entry(&one.hash()).follows(&one.hash()));
        for other in [text.trim_end().to_owned(), text.replace("\":", "\": "), text.to_uppercase()]
        {
            assert!(Entry::parse(other.as_bytes()).is_err(), "{other}");
        }
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] ^= 1;
            assert!(Entry::parse(&altered).ok().as_ref() != Some(&one), "byte {at}");
        }
    }
}
