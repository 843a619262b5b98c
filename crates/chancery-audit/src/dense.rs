//! A closed segment without its padding: what the log keeps for years.
//!
//! At low load a frame takes a block of 4 KiB for a few hundred bytes. Once a segment is closed and under a
//! checkpoint, nothing is written to it any more, and its dense form takes its place: the items of all frames one
//! behind the other, and tables by which a frame or a record is found with a few reads. The layout stands in
//! `docs/formats/dense-segment.md`.
//!
//! **Invariant:** the segment comes back from its dense form byte for byte, so every hash, signature and receipt over
//! it still holds, and whoever knows a frame by its place in the segment finds it at that place.
//!
//! Every byte of the file is under a checksum or compared. [`Packer`] writes, [`Dense`] reads; they share the layout
//! and nothing else, so that what one wrote is checked by the other before anything is removed for it.

mod layout;
mod pack;
mod read;
#[cfg(test)]
mod tests;

pub use layout::{BundleRow, DenseHead, FrameRow};
pub use pack::Packer;
pub use read::{Dense, DenseError, Source};

/// So many records a full bundle has: those of one entry bundle of the published log (C2SP tlog-tiles), whose leaves
/// are a complete subtree.
pub const BUNDLE_RECORDS: u64 = 256;

/// What the name of a dense segment ends with.
const SUFFIX: &str = ".dense";

/// The file's name.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

/// The number in a dense segment's name, if it is one.
#[must_use]
pub fn file_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// The name of the file until it is known to be whole.
#[must_use]
pub fn unverified_name(number: u64) -> String {
    format!("{}.new", file_name(number))
}
