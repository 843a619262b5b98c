//! Ciphertexts as they lie in a place, and how many there are of each version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chancery_core::context::Context;
use chancery_core::id::KeyId;
use chancery_core::limits::BATCH_ITEMS_MAX;
use chancery_crypto::chunked::{FileHeader, WRAPPED_BYTES_MAX};
use chancery_crypto::envelope::{HEADER_BYTES, Header};

use super::directory::Identity;

/// How much of a file is read to find its header: the longest one of the chunked format, 5 + 2 + 1 024 + 32 bytes and
/// room, of which a plain envelope's takes 99.
pub(super) const START_BYTES: usize = WRAPPED_BYTES_MAX + 64;

const _: () = assert!(HEADER_BYTES <= START_BYTES);

/// The most ciphertexts that one request carries.
pub(super) const BATCH_ITEMS: usize = BATCH_ITEMS_MAX;

/// The most bytes of ciphertexts that one request carries: 512 KiB, in base64 half of what a request may have.
pub(super) const BATCH_BYTES: usize = 512 * 1024;

/// Whose ciphertexts are meant.
#[derive(Clone, Debug)]
pub(crate) struct Of {
    /// The key.
    pub(crate) key: KeyId,
    /// The versions that it has, in order.
    pub(crate) versions: Vec<u32>,
}

/// What the beginning of a ciphertext says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An envelope of the key, by its version.
    Envelope(u32),
    /// A file in the chunked format, whose data key that version wrapped.
    Chunked(u32),
    /// It is no ciphertext of the key.
    Other(&'static str),
}

/// What the beginning of something of that length says.
pub(super) fn named(of: &Of, start: &[u8], length: u64) -> Named {
    if let Ok(header) = Header::parse_start(start, length) {
        return version(of, &header).map_or_else(Named::Other, Named::Envelope);
    }
    let Ok(file) = FileHeader::read(&mut &*start) else {
        return Named::Other("it is not a ciphertext");
    };
    match Header::parse(file.wrapped()) {
        Ok(header) => version(of, &header).map_or_else(Named::Other, Named::Chunked),
        Err(_) => Named::Other("it is not a ciphertext"),
    }
}

fn version(of: &Of, header: &Header) -> Result<u32, &'static str> {
    let named = header.origin.key;
    if named.key != of.key {
        return Err("it is of another key");
    }
    let has_it = of.versions.binary_search(&named.version).is_ok();
    has_it.then_some(named.version).ok_or("it names a version that the key does not have")
}

/// Whether `new` can be what the service made of `old`: an envelope of the key, as long as that, under the version that is
/// claimed, which the key has or was given since its versions were asked for.
///
/// What it holds cannot be seen. The one suite of envelopes keeps lengths: a header and a tag of fixed length, and the
/// plaintext's bytes.
pub(super) fn can_follow(of: &Of, (old, new): (&[u8], &[u8]), claimed: u32) -> bool {
    let Ok(header) = Header::parse(new) else { return false };
    let named = header.origin.key;
    let is_newer = of.versions.last().is_none_or(|last| claimed > *last);
    named.key == of.key
        && named.version == claimed
        && new.len() == old.len()
        && (is_newer || of.versions.binary_search(&claimed).is_ok())
}

/// How many ciphertexts there are of each version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    by_version: BTreeMap<u32, u64>,
    others: u64,
}

impl Tally {
    pub(super) fn count(&mut self, named: Named) {
        match named {
            Named::Envelope(version) | Named::Chunked(version) => {
                *self.by_version.entry(version).or_default() += 1;
            }
            Named::Other(_) => self.others += 1,
        }
    }

    /// How many are of a version.
    pub(crate) fn of(&self, version: u32) -> u64 {
        self.by_version.get(&version).copied().unwrap_or_default()
    }

    /// How many things are no ciphertexts of the key.
    pub(crate) fn others(&self) -> u64 {
        self.others
    }

    /// How many things there are.
    pub(crate) fn total(&self) -> u64 {
        self.by_version.values().sum::<u64>() + self.others
    }
}

/// Where an item lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// In a file, which was this one when it was read.
    File(PathBuf, Identity),
    /// On a line, by its number from 1; with its bytes as they are, and its end.
    Line(u64, Vec<u8>),
}

impl Lies {
    /// What it is called where failures are listed.
    pub(super) fn text(&self) -> String {
        match self {
            Self::File(path, _) => path.display().to_string(),
            Self::Line(number, _) => format!("line {number}"),
        }
    }
}

/// What is to be done with an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Nothing: it is under the version that protects, or an empty line.
    Keep {
        /// Whether it is a ciphertext.
        is_done: bool,
    },
    /// Encrypt it again, in the context that it says, or that of the whole campaign.
    Rewrap(Vec<u8>, Option<Context>),
    /// It cannot be encrypted again, and stays.
    Leave(&'static str),
}

/// One thing that lies in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) lies: Lies,
    pub(super) todo: Todo,
}

/// Some of them, which go together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Its place in the order of reading, from 0.
    pub(super) number: u64,
    pub(super) items: Vec<Item>,
    /// Where reading goes on behind it, of a file of lines: bytes from its beginning, and lines.
    pub(super) behind: (u64, u64),
    bytes: usize,
}

impl Batch {
    pub(super) fn numbered(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    pub(super) fn push(&mut self, item: Item) {
        let line = if let Lies::Line(_, line) = &item.lies { line.len() } else { 0 };
        let sent = if let Todo::Rewrap(bytes, _) = &item.todo { bytes.len() } else { 0 };
        self.bytes += line + sent;
        self.items.push(item);
    }

    /// Whether something of that length would be too much for it.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        let is_long = self.bytes + bytes > BATCH_BYTES && !self.items.is_empty();
        is_long || self.items.len() >= BATCH_ITEMS
    }
}

#[cfg(test)]
pub(super) mod tests {
    use chancery_crypto::chunked::SALT_BYTES;

    use super::*;

    pub(in crate::reprotect) fn of() -> Of {
        Of { key: KeyId::from_bytes([2; 16]), versions: vec![1, 2] }
    }

    /// The form of an envelope, which opens under no key.
    pub(in crate::reprotect) fn envelope(key: u8, version: u32) -> Vec<u8> {
        let suite = chancery_core::suite::Suite::Aes256Gcm.number().to_be_bytes();
        let head = [b"CHEN".as_slice(), &[1], &suite, &[key; 16], &version.to_be_bytes()].concat();
        [head, vec![7; HEADER_BYTES - 27 + 20]].concat()
    }

    fn check(bytes: &[u8], expected: Named) {
        let start = &bytes[..bytes.len().min(START_BYTES)];
        assert_eq!(named(&of(), start, bytes.len() as u64), expected);
    }

    #[test]
    fn a_header_names_key_and_version() {
        check(&envelope(2, 1), Named::Envelope(1));
        check(&envelope(2, 2), Named::Envelope(2));
        check(&envelope(2, 3), Named::Other("it names a version that the key does not have"));
        check(&envelope(3, 1), Named::Other("it is of another key"));
        check(b"", Named::Other("it is not a ciphertext"));
        check(&envelope(2, 1)[..HEADER_BYTES], Named::Other("it is not a ciphertext"));
        check(b"a letter", Named::Other("it is not a ciphertext"));
    }

    #[test]
    fn what_is_no_ciphertext_of_the_key_does_not_take_the_place_of_one() {
        let old = envelope(2, 1);
        let check = |new: &[u8], claimed, expected| {
            assert_eq!(can_follow(&of(), (&old, new), claimed), expected, "{claimed} {new:?}");
        };
        check(&envelope(2, 2), 2, true);
        // A version that the key was given since.
        check(&envelope(2, 3), 3, true);
        check(&envelope(2, 0), 0, false);
        check(&envelope(2, 2), 1, false);
        check(&envelope(3, 2), 2, false);
        check(b"", 2, false);
        check(&vec![0; old.len()], 2, false);
        check(&[envelope(2, 2), vec![7]].concat(), 2, false);
        check(&envelope(2, 2)[..old.len() - 1], 2, false);
        let gap = Of { versions: vec![1, 3], ..of() };
        assert!(!can_follow(&gap, (&old, &envelope(2, 2)), 2));
    }

    #[test]
    fn a_file_of_chunks_counts_for_the_version_that_wrapped_its_key() {
        let wrapped = envelope(2, 2);
        let length = u16::try_from(wrapped.len()).unwrap().to_be_bytes();
        let header = [b"CHCF".as_slice(), &[1], &length, &wrapped, &[1; SALT_BYTES]].concat();
        let file = [header, vec![9; 200_000]].concat();
        check(&file, Named::Chunked(2));
    }

    #[test]
    fn a_tally_counts_each_version_and_what_is_none() {
        let mut tally = Tally::default();
        let all = [Named::Envelope(1), Named::Chunked(1), Named::Envelope(2), Named::Other("")];
        for named in all {
            tally.count(named);
        }
        assert_eq!([tally.of(1), tally.of(2), tally.of(3)], [2, 1, 0]);
        assert_eq!((tally.others(), tally.total()), (1, 4));
    }

    #[test]
    fn a_batch_is_full_by_number_and_by_bytes_and_takes_one_however_long() {
        let item = |length| Item {
            lies: Lies::Line(1, Vec::new()),
            todo: Todo::Rewrap(vec![0; length], None),
        };
        let mut batch = Batch::numbered(0);
        assert!(!batch.is_full_for(2 * BATCH_BYTES));
        batch.push(item(BATCH_BYTES));
        assert!(batch.is_full_for(1));
        let mut batch = Batch::numbered(0);
        for _ in 0..BATCH_ITEMS {
            assert!(!batch.is_full_for(1));
            batch.push(item(1));
        }
        assert!(batch.is_full_for(1));
    }
}
