//! How far a sink has the log's records, in a file.
//!
//! ```text
//! chancery-export-cursor 1
//! origin log.example/1
//! next 1235
//! last 1234 N2Q1…
//! crc32c 0a1b2c3d
//! ```
//!
//! `next` is the index that the next record has or is above; `last`, which is absent before the first one, is index and
//! leaf hash of the record that was acknowledged last, by which another log of the same name is found out.
//! `docs/formats/export-cursor.md` has the rules.
//!
//! **Invariant:** the file is replaced whole and is durable when [`CursorFile::save`] returns. One that is not exactly as
//! it is written here is refused: nothing is guessed, and nothing is exported past a record that was not acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::files::{Lasting, beside, replace};
use crate::limits::CURSOR_BYTES_MAX;

const HEAD: &str = "chancery-export-cursor 1";

/// How far a sink has the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The log's origin.
    pub origin: String,
    /// Every record below this index, of those that the auditor is shown, was acknowledged.
    pub next: u64,
    /// The record that was acknowledged last.
    pub last: Option<Last>,
}

/// A record that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its index in the log.
    pub index: u64,
    /// Its leaf hash, in base64.
    pub leaf: String,
}

impl Cursor {
    /// Before the first record of a log.
    #[must_use]
    pub fn begin(origin: &str) -> Self {
        Self { origin: origin.into(), next: 0, last: None }
    }

    /// As it stands in its file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let last = self.last.as_ref();
        let last = last.map(|Last { index, leaf }| format!("last {index} {leaf}\n"));
        let body = format!(
            "{HEAD}\norigin {}\nnext {}\n{}",
            self.origin,
            self.next,
            last.unwrap_or_default()
        );
        let sum = crc32c::crc32c(body.as_bytes());
        format!("{body}crc32c {sum:08x}\n")
    }

    /// Reads what [`Self::to_text`] wrote; `None` of anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        field("chancery-export-cursor")?;
        let origin = field("origin")?.to_owned();
        let next = field("next")?.parse().ok()?;
        // `last` or, where there is none, the sum.
        let last = field("last").and_then(Last::parse);
        let cursor = Self { origin, next, last };
        let is_behind = cursor.last.as_ref().is_none_or(|last| last.index < next);
        (is_behind && cursor.to_text() == text).then_some(cursor)
    }
}

impl Last {
    fn parse(text: &str) -> Option<Self> {
        let (index, leaf) = text.split_once(' ')?;
        Some(Self { index: index.parse().ok()?, leaf: leaf.into() })
    }
}

/// The cursor's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// It is not one.
    #[error(
        "the cursor is damaged: put back a copy, which sends records again, or remove it to export from the start"
    )]
    Damaged,
    /// The system refused.
    #[error("the cursor cannot be read or written")]
    Io(#[from] io::Error),
    /// Another process has it.
    #[error("another export has this cursor")]
    Taken,
}

/// The file, which is this process' alone.
#[derive(Debug)]
pub struct CursorFile {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl CursorFile {
    /// Opens the file, and reads the cursor if there is one.
    ///
    /// # Errors
    ///
    /// [`CursorError`] if it is damaged, or in use.
    pub fn open(path: &Path) -> Result<(Self, Option<Cursor>), CursorError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(beside(path, "lock")?)?;
        // The file itself is replaced, so that a lock on it would be one on a file that is gone.
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => CursorError::Taken,
            error => CursorError::Io(error.into()),
        })?;
        let cursor = match File::open(path) {
            Ok(file) => Some(read(file)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        Ok((Self { path: path.into(), _lock: lock }, cursor))
    }

    /// Replaces the cursor; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`CursorError::Io`], and then the old one or the new one is there.
    pub fn save(&self, cursor: &Cursor) -> Result<(), CursorError> {
        Ok(replace(&self.path, cursor.to_text().as_bytes(), Lasting::Power)?)
    }
}

fn read(file: File) -> Result<Cursor, CursorError> {
    let mut text = String::new();
    match file.take(CURSOR_BYTES_MAX).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(CursorError::Damaged),
        Err(error) => Err(error.into()),
        Ok(_) => Cursor::parse(&text).ok_or(CursorError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::Scratch;

    fn cursor() -> Cursor {
        let last = Some(Last { index: 1_234, leaf: "N2Q1".into() });
        Cursor { origin: "log.example/1".into(), next: 1_300, last }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for cursor in [cursor(), Cursor::begin("log.example/1")] {
            assert_eq!(Cursor::parse(&cursor.to_text()), Some(cursor));
        }
        let text =
            "chancery-export-cursor 1\norigin log.example/1\nnext 1300\nlast 1234 N2Q1\ncrc32c ";
        assert!(cursor().to_text().starts_with(text), "{}", cursor().to_text());
    }

    #[test]
    fn one_that_was_cut_or_altered_anywhere_is_none() {
        let text = cursor().to_text();
        for length in 0..text.len() {
            assert_eq!(Cursor::parse(&text[..length]), None, "{length}");
        }
        for place in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let parsed = String::from_utf8(bytes).ok().and_then(|text| Cursor::parse(&text));
                assert_eq!(parsed, None, "bit {bit} of byte {place}");
            }
        }
        assert_eq!(Cursor::parse(&format!("{text}\n")), None);
    }

    #[test]
    fn a_cursor_behind_its_own_last_record_is_none() {
        let behind = Cursor { next: 1_234, ..cursor() };
        assert_eq!(Cursor::parse(&behind.to_text()), None);
    }

    #[test]
    fn what_was_saved_is_there_when_it_is_opened_again() {
        let scratch = Scratch::new("cursor");
        let path = scratch.path("c");
        let (file, none) = CursorFile::open(&path).unwrap();
        assert_eq!(none, None);
        file.save(&Cursor::begin("o")).unwrap();
        file.save(&cursor()).unwrap();
        assert!(matches!(CursorFile::open(&path), Err(CursorError::Taken)));
        drop(file);
        assert_eq!(CursorFile::open(&path).unwrap().1, Some(cursor()));
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_is() {
        let scratch = Scratch::new("cursor-damaged");
        let path = scratch.path("c");
        for bytes in [&b""[..], b"\xff", &cursor().to_text().as_bytes()[1..]] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(CursorFile::open(&path), Err(CursorError::Damaged)));
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_cursor_that_cannot_be_replaced_is_an_error() {
        let scratch = Scratch::new("cursor-stuck");
        let (file, _) = CursorFile::open(&scratch.path("c")).unwrap();
        fs::create_dir(scratch.path(".c.part")).unwrap();
        assert!(matches!(file.save(&cursor()), Err(CursorError::Io(_))));
        assert!(CursorFile::open(&scratch.path("no/such/c")).is_err());
    }
}
