//! The archive of a log: its closed segments in an object store, and back from there.
//!
//! ```text
//! ID/origin                         the file of that name
//! ID/policy                         the keys that sign the log's checkpoints
//! ID/segments/NUMBER.dense          a closed segment
//! ID/entries/NUMBER.json            what it is, and the hash of the entry before it
//! ID/kept/torn-….bin                a torn end that a segment tells of
//! ID/seals/SEGMENTS-SIZE.json       a checkpoint over the first so many segments
//! ```
//!
//! ID is the part of the log's origin behind `chancery.log/`, so that one store has room for many. Entries are a chain
//! ([`manifest::Entry`]), and a seal proves that a signed checkpoint covers all that they name
//! ([`manifest::Seal`]): a store that alters, drops or makes up anything is found by whoever has the log's policy.
//!
//! **Invariant:** an object is written once. It is put where nothing stands, read back and compared; what stands there
//! already must be the same. An entry is there only for a segment that was read back, and a seal for entries.
//!
//! It reads the files of a log and asks the service nothing; it has no key of the service's.

pub mod archiving;
pub mod http;
pub mod manifest;
pub mod restoring;
pub mod store;
pub mod target;

/// The path of an object of a log.
pub(crate) fn path_of(id: &str, object: &str) -> String {
    format!("{id}/{object}")
}
