//! The body of `add-checkpoint`, as it is read and written.
//!
//! **Invariant:** a request has one spelling: what is read is written the same.

use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError, encode_hash, parse_decimal, parse_hash};
use crate::hash::{HASH_BYTES, Hash};
use crate::note::{NOTE_BYTES_MAX, Note, NoteError};
use crate::tree::TREE_SIZE_MAX;

/// The most hashes of a consistency proof in a request: 63, which is what the specification allows.
pub const CONSISTENCY_HASHES_MAX: usize = 63;

/// A hash in base64 with its line feed: four characters for each three bytes.
const HASH_LINE_BYTES: usize = HASH_BYTES.div_ceil(3) * 4 + 1;

/// The line of the old size, of at most 19 digits, and the empty line.
const OLD_LINE_BYTES_MAX: usize = "old 9223372036854775807\n\n".len();

/// The longest request: old size, proof, checkpoint; 67 KiB.
pub const ADD_CHECKPOINT_BYTES_MAX: usize =
    OLD_LINE_BYTES_MAX + CONSISTENCY_HASHES_MAX * HASH_LINE_BYTES + NOTE_BYTES_MAX;

// The largest size has 19 digits.
const _: () = assert!(TREE_SIZE_MAX == 9_223_372_036_854_775_807);

/// A checkpoint that is to be cosigned; its signatures were not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is believed to have cosigned last.
    pub old: u64,
    /// Proves that the tree of `old` leaves is the beginning of the checkpoint's.
    pub proof: Vec<Hash>,
    note: Note,
    checkpoint: Checkpoint,
}

/// The bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// What stands for the checkpoint is none.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The old size, the proof or the empty line is not of the form that it must be.
    #[error("not a request to add a checkpoint")]
    Form,
    /// What stands for the checkpoint is no note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It is longer than is read.
    #[error("a request has at most {ADD_CHECKPOINT_BYTES_MAX} bytes")]
    TooLong,
}

impl AddCheckpoint {
    /// The request for a checkpoint.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if the note is of no checkpoint, or the proof has more hashes than may be sent.
    pub fn new(old: u64, proof: Vec<Hash>, note: Note) -> Result<Self, RequestError> {
        if old > TREE_SIZE_MAX || proof.len() > CONSISTENCY_HASHES_MAX {
            return Err(RequestError::Form);
        }
        let checkpoint = note.unverified_text().parse()?;
        Ok(Self { old, proof, note, checkpoint })
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > ADD_CHECKPOINT_BYTES_MAX {
            return Err(RequestError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RequestError::Form)?;
        let (head, note) = text.split_once("\n\n").ok_or(RequestError::Form)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(parse_decimal).ok_or(RequestError::Form)?;
        // One more than may be there is enough to refuse them.
        let proof: Option<Vec<Hash>> =
            lines.take(CONSISTENCY_HASHES_MAX + 1).map(parse_hash).collect();
        Self::new(old, proof.ok_or(RequestError::Form)?, Note::parse(note.as_bytes())?)
    }

    /// The checkpoint, which nobody may have signed.
    #[must_use]
    pub fn unverified_checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with its signatures, unchecked.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", encode_hash(hash)))?;
        write!(f, "\n{}", self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, but for its second signature.
    const EXAMPLE: &str = "\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
";

    const HASH: &str = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";

    /// The example with another head.
    fn headed(head: &str) -> String {
        let (_, note) = EXAMPLE.split_once("\n\n").unwrap();
        format!("{head}\n{note}")
    }

    fn parse(text: &str) -> Result<AddCheckpoint, RequestError> {
        AddCheckpoint::parse(text.as_bytes())
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written_the_same() {
        let request = parse(EXAMPLE).unwrap();
        assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
        assert_eq!(request.unverified_checkpoint().tree.size, 20_852_163);
        assert_eq!(request.to_string(), EXAMPLE);
    }

    #[test]
    fn a_request_has_no_hash_or_up_to_63() {
        for count in [0, 1, CONSISTENCY_HASHES_MAX] {
            let text = headed(&format!("old 7\n{}", HASH.repeat(count)));
            let request = parse(&text).unwrap();
            assert_eq!((request.proof.len(), request.to_string()), (count, text));
        }
        let beyond = headed(&format!("old 7\n{}", HASH.repeat(CONSISTENCY_HASHES_MAX + 1)));
        assert_eq!(parse(&beyond), Err(RequestError::Form));
        let note = parse(EXAMPLE).unwrap().note;
        let hashes = vec![crate::EMPTY_ROOT; CONSISTENCY_HASHES_MAX + 1];
        assert_eq!(AddCheckpoint::new(7, hashes, note), Err(RequestError::Form));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let hash = HASH.trim_end();
        for head in [
            String::new(),
            "7\n".into(),
            "old\n".into(),
            "old \n".into(),
            "old 07\n".into(),
            "old +7\n".into(),
            "old -7\n".into(),
            "old 7 \n".into(),
            "old  7\n".into(),
            "Old 7\n".into(),
            "old 7\r\n".into(),
            " old 7\n".into(),
            "old 0x7\n".into(),
            "old 9223372036854775808\n".into(),
            "old 18446744073709551616\n".into(),
            format!("old 7\n{hash} \n"),
            format!("old 7\n{hash}\r\n"),
            format!("old 7\n{}\n", &hash[..40]),
            format!("old 7\n{}\n", hash.trim_end_matches('=')),
            format!("old 7\n{hash}{hash}\n"),
            // Bits behind the last byte that are not 0.
            format!("old 7\n{}x=\n", &hash[..42]),
            format!("old 7\n{}\n", hash.replace('P', "-")),
            format!("{HASH}old 7\n"),
            "old 7\nold 8\n".into(),
        ] {
            assert_eq!(parse(&headed(&head)), Err(RequestError::Form), "{head:?}");
        }
        assert_eq!(parse("old 7\n"), Err(RequestError::Form));
        assert_eq!(AddCheckpoint::parse(b"old 7\n\n\xff"), Err(RequestError::Form));
        assert!(parse(&headed("old 9223372036854775807\n")).is_ok());
    }

    #[test]
    fn what_stands_for_the_checkpoint_is_one_in_a_note() {
        let (head, note) = EXAMPLE.split_once("\n\n").unwrap();
        for bad in ["", "\n", "text\n", note.trim_end(), &format!("{note}\n")] {
            let refused = parse(&format!("{head}\n\n{bad}")).unwrap_err();
            assert_eq!(refused, RequestError::Note(NoteError::NotANote), "{bad:?}");
        }
        // A second empty line is part of the text, which then is no checkpoint.
        let refused = parse(&format!("{head}\n\n\n{note}")).unwrap_err();
        assert_eq!(refused, RequestError::Checkpoint(CheckpointError));
        let extended = EXAMPLE.replace("q2I=\n", "q2I=\nextension\n");
        assert_eq!(parse(&extended), Err(RequestError::Checkpoint(CheckpointError)));
    }

    #[test]
    fn a_request_that_is_too_long_is_not_read() {
        let long = vec![b'o'; ADD_CHECKPOINT_BYTES_MAX + 1];
        assert_eq!(AddCheckpoint::parse(&long), Err(RequestError::TooLong));
        assert_eq!(AddCheckpoint::parse(&long[1..]), Err(RequestError::Form));
    }
}
