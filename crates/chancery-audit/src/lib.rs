//! The audit stream: records, the write-ahead log they stand in, recovery, and verification from files alone.
//!
//! A record is eight groups, each committed with a salt of its own ([`record`]); the leaf is the root of the
//! commitments and tells a mirror nothing. Records stand in frames ([`frame`]), frames in preallocated
//! segments ([`segment`]), each frame chained to the one before it; one frame is written and synced at a
//! time ([`wal`]). After a crash [`recovery`] finds the end, and anybody who has the files can check all of
//! it with [`verify`].
//!
//! **Invariant:** bytes that were acknowledged are never written again.

#![deny(clippy::disallowed_methods)]

pub mod called;
pub mod codec;
pub mod dense;
pub mod disclosure;
pub mod disk;
pub mod evidence;
pub mod frame;
pub mod frames;
pub mod gap;
pub mod index;
pub mod journal;
pub mod opening;
pub mod origin;
pub mod page;
pub mod partner;
pub mod proof;
pub mod pruned;
pub mod publish;
pub mod receipt;
pub mod record;
pub mod recovery;
pub mod repack;
pub mod resume;
pub mod salvage;
pub mod sealer;
pub mod segment;
pub mod segments;
pub mod shelf;
pub mod shown;
pub mod verify;
pub mod wal;
pub mod witnessed;
