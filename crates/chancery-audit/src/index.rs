//! Where records stand, by what they say: an index of the log, in parts that never change.
//!
//! A part covers consecutive frames of one segment. For each tenant and month it lists *terms*, each with the
//! records that have it. A term is the beginning of a pseudonym or of a keyed hash, under the keys of that
//! tenant and month: what is shredded there is found by nobody here. The lists are sealed, since which records have
//! something in common is nobody's business who cannot open them.
//!
//! It is derived, and it may lead to records that say something else: whoever looks something up opens the record and
//! compares. A part that is missing or altered is noticed and made anew from the frames ([`Builder`]).

pub mod build;
pub mod part;

pub use build::{Builder, PART_LOG_BYTES};
pub use part::{FramePlace, Part, PartError, PartHead, Wanted};

/// The directory of the index in the data directory.
pub const INDEX_DIRECTORY: &str = "index";

/// What every part's name ends with.
const SUFFIX: &str = ".idx";

/// A field by which records are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// The pseudonym of the key.
    Key = 0,
    /// A version of it.
    Version = 1,
    /// The pseudonym of the actor.
    Actor = 2,
    /// The pseudonym of the handle.
    Credential = 3,
    /// Kind and number of what was done.
    Action = 4,
    /// What came of it.
    Outcome = 5,
    /// Why it was refused.
    Reason = 6,
    /// The keyed hash of the operation id.
    Operation = 7,
    /// The digest of the output.
    Output = 8,
}

/// How many fields there are.
pub const FIELDS: usize = 9;

/// The bytes of a term: 6, so that among the millions of records of a part few have one by chance.
pub const TERM_BYTES: usize = 6;

/// What a record is found by in one field.
pub type Term = [u8; TERM_BYTES];

/// What a record is found by, field by field.
pub type Terms = [Option<Term>; FIELDS];

/// The beginning of a pseudonym.
#[must_use]
pub fn term(pseudonym: &[u8; 16]) -> Term {
    pseudonym.first_chunk().copied().unwrap_or_default()
}

/// The name of the part that begins with the record at `first_index`.
#[must_use]
pub fn file_name(first_index: u64) -> String {
    format!("{first_index:016x}{SUFFIX}")
}

/// The record that the part of that name begins with.
#[must_use]
pub fn first_index(name: &str) -> Option<u64> {
    let first = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (file_name(first) == name).then_some(first)
}

#[cfg(test)]
mod tests;
