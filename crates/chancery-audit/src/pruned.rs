//! The note that a log's first segments are gone from its directory on purpose, and where they are instead.
//!
//! ```text
//! chancery audit pruned 1
//! segments N                 so many segments are gone, from the first
//! size N                     so many records they have
//! root HEX                   the tree behind them
//! head HEX                   the head of their last frame
//! hash HEX                   the hash of that frame
//! latest N                   the time of that frame, in milliseconds since 1970
//! entry HEX                  SHA-256 of the last one's entry in the archive
//! at N                       milliseconds since 1970
//! location TEXT              the archive
//! signature HEX              of the receipt key, over AUDIT_PRUNED ‖ every line before
//! ```
//!
//! The file `pruned` lies in the log's directory. It is durable before the first segment is removed, and the log has a
//! record of the command before that. Whoever reads the log from its files begins behind what is gone: with the tree and
//! the head that the note names, so that the chain of frames and signatures holds from there on. Published hashes stay,
//! so that proofs do.
//!
//! **Invariant:** only the service signs one, so that nobody else can take the beginning of a log away and call it pruned.

use std::io;

use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels;
use chancery_log::{Hash, TreeHead};

use crate::dense;
use crate::disk::Disk;
use crate::frame::Head;
use crate::origin::{Origin, hex};
use crate::resume::RESUME_FILE;
use crate::segments::Segments;

/// The name of the file.
pub const PRUNED_FILE: &str = "pruned";

/// The name of the copy of the resume file that was there when segments were pruned: without their frames, a start needs
/// one that is whole.
pub const BASE_FILE: &str = "resume.base";

const FORMAT: &str = "chancery audit pruned 1";

/// What was pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// How many segments, from the first.
    pub segments: u64,
    /// The tree over their records.
    pub tree: TreeHead,
    /// The head of their last frame.
    pub head: Head,
    /// The hash of that frame.
    pub hash: [u8; 32],
    /// The time of that frame, in milliseconds since 1970: no record among them is later.
    pub latest_ms: u64,
    /// SHA-256 of the last one's entry in the archive.
    pub entry: [u8; 32],
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where they are archived.
    pub location: String,
}

/// The file is none that the log's service has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file `{PRUNED_FILE}` is not one that this log's service has signed, or was altered")]
pub struct PrunedError;

impl Pruned {
    /// The index of the first record that is there.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.tree.size
    }

    /// What whoever asks for an earlier record is told.
    #[must_use]
    pub fn told(&self) -> String {
        format!(
            "records below {} were pruned on {}, and are archived at {}; `chancery audit restore` brings them back",
            self.tree.size,
            date(self.at_ms),
            self.location
        )
    }

    fn lines(&self) -> String {
        let Self { segments, tree, head, hash, latest_ms, entry, at_ms, location } = self;
        format!(
            "{FORMAT}\nsegments {segments}\nsize {}\nroot {}\nhead {}\nhash {}\nlatest {latest_ms}\nentry {}\nat {at_ms}\nlocation {location}\n",
            tree.size,
            hex(tree.root.as_bytes()),
            hex(&head.to_bytes()),
            hex(hash),
            hex(entry)
        )
    }

    /// The file's text, signed.
    ///
    /// # Errors
    ///
    /// [`PrunedError`] if the key does not sign, or the location is no one line.
    pub fn signed(&self, key: &PrivateKey) -> Result<String, PrunedError> {
        if self.location.chars().any(char::is_control) {
            return Err(PrunedError);
        }
        let lines = self.lines();
        let signature = key.sign(&to_be_signed(&lines)).map_err(|_| PrunedError)?;
        Ok(format!("{lines}signature {}\n", hex(&signature)))
    }

    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// [`PrunedError`] if the log's service has not signed exactly that.
    pub fn parse(bytes: &[u8], origin: &Origin) -> Result<Self, PrunedError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PrunedError)?;
        let pruned = read(text).ok_or(PrunedError)?;
        let lines = pruned.lines();
        let signature = text.strip_prefix(&lines).and_then(|rest| rest.strip_prefix("signature "));
        let signature = signature.and_then(|rest| unhex::<64>(rest.strip_suffix('\n')?));
        let signature = signature.ok_or(PrunedError)?;
        let key = origin.verifier().map_err(|_| PrunedError)?;
        key.verify(&to_be_signed(&lines), &signature).map_err(|_| PrunedError)?;
        if pruned.head.log_id == origin.log_id { Ok(pruned) } else { Err(PrunedError) }
    }

    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// The system's; `InvalidData` if it is not one that the log's service has signed.
    pub fn read(disk: &dyn Disk, origin: &Origin) -> io::Result<Option<Self>> {
        match disk.read_whole(PRUNED_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Self::parse(&bytes?, origin)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    /// Makes the note durable, and before it the copy of the resume file: from then on the segments may go.
    ///
    /// # Errors
    ///
    /// The system's; it can be done again.
    pub fn begin(&self, disk: &dyn Disk, key: &PrivateKey) -> io::Result<()> {
        let text = self.signed(key).map_err(io::Error::other)?;
        disk.write_whole(BASE_FILE, &disk.read_whole(RESUME_FILE)?)?;
        disk.write_whole(PRUNED_FILE, text.as_bytes())
    }

    /// Removes the segments that the note says are gone, as far as they are there.
    ///
    /// # Errors
    ///
    /// The system's; it can be done again.
    pub fn remove(&self, disk: &dyn Disk) -> io::Result<()> {
        for number in Segments::list(disk)?.dense.range(..self.segments) {
            disk.remove(&dense::file_name(*number))?;
        }
        disk.sync_directory()
    }

    /// What the file says to whoever asks for a segment that is gone. It explains an error and proves nothing, so that
    /// its signature is not looked at.
    pub(crate) fn explains(disk: &dyn Disk, segment: u64) -> Option<Self> {
        let bytes = disk.read_whole(PRUNED_FILE).ok()?;
        let pruned = read(std::str::from_utf8(&bytes).ok()?)?;
        (segment < pruned.segments).then_some(pruned)
    }

    /// As the error of whoever asked.
    pub(crate) fn error(&self) -> io::Error {
        io::Error::other(self.told())
    }
}

fn to_be_signed(lines: &str) -> Vec<u8> {
    [labels::AUDIT_PRUNED, lines.as_bytes()].concat()
}

fn read(text: &str) -> Option<Pruned> {
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    field("chancery").filter(|rest| format!("chancery {rest}") == FORMAT)?;
    let segments = field("segments")?.parse().ok()?;
    let size = field("size")?.parse().ok()?;
    let root = Hash::from(unhex::<32>(field("root")?)?);
    let head = Head::parse(&unhex::<HEAD_BYTES>(field("head")?)?)?;
    let hash = unhex(field("hash")?)?;
    let latest_ms = field("latest")?.parse().ok()?;
    let entry = unhex(field("entry")?)?;
    let at_ms = field("at")?.parse().ok()?;
    let location = field("location")?.to_owned();
    let tree = TreeHead { size, root };
    Some(Pruned { segments, tree, head, hash, latest_ms, entry, at_ms, location })
}

/// The bytes of a head without its label.
const HEAD_BYTES: usize = 32 + 4 + 8 + 8 + 8 + 32 + 32;

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let pairs = text.as_bytes().as_chunks::<2>().0.iter();
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: [u8; N] = bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    (hex(&bytes) == text).then_some(bytes)
}

/// A day, as `2026-11-24`, in the calendar that is reckoned from 1 March of year 0, so that leap days come last.
fn date(unix_ms: u64) -> String {
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = unix_ms / 86_400_000 + DAYS_BEFORE_1970;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

#[cfg(test)]
mod tests {
    use chancery_core::suite::Suite;

    use super::*;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::from_secret(Suite::Ed25519, &[byte; 32]).unwrap()
    }

    fn pruned(origin: &Origin) -> Pruned {
        let tree = TreeHead { size: 90, root: Hash::from([2; 32]) };
        let head = Head {
            log_id: origin.log_id,
            incarnation: 1,
            number: 40,
            first_index: 88,
            tree_size: 90,
            tree_root: tree.root,
            frame_root: Hash::from([3; 32]),
        };
        Pruned {
            segments: 3,
            tree,
            head,
            hash: [4; 32],
            latest_ms: 1_795_000_000_000,
            entry: [5; 32],
            at_ms: 1_795_996_800_000,
            location: "s3://audit/a".into(),
        }
    }

    #[test]
    fn a_note_is_taken_as_the_service_signed_it_and_not_otherwise() {
        let origin = Origin::of_signer(&key(1)).unwrap();
        let pruned = pruned(&origin);
        let text = pruned.signed(&key(1)).unwrap();
        assert_eq!(Pruned::parse(text.as_bytes(), &origin), Ok(pruned.clone()));
        assert!(Pruned::parse(pruned.signed(&key(2)).unwrap().as_bytes(), &origin).is_err());
        for bit in 0..text.len() * 8 {
            let mut altered = text.clone().into_bytes();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Pruned::parse(&altered, &origin), Err(PrunedError), "bit {bit}");
        }
        let two_lines = Pruned { location: "a\nsegments 9".into(), ..pruned };
        assert_eq!(two_lines.signed(&key(1)), Err(PrunedError));
    }

    #[test]
    fn days_have_their_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_787, "2026-11-30"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days * 86_400_000 + 5), expected);
        }
    }
}
