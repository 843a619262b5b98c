//! The locked arena for secret bytes.
//!
//! An [`Arena`] is one region of memory that is never swapped, dumped or handed to a
//! child process. [`SecretBytes`] are boxes carved out of it, and [`hooks`] directs
//! the crypto library's own allocations there. [`wiping`] leaves nothing in what the
//! ordinary heap gets back. [`process`] closes the ways in which a
//! whole process gives its memory away.
//!
//! Invariant: every free byte of an arena is zero, since a block is zeroized when it
//! is given back.
//!
//! What this does not cover: copies in registers and on stacks, and values that a
//! library keeps outside its allocator (`aws-lc-rs` holds HMAC and HKDF state inline).
//!
//! This is the only crate with unsafe code; it stands in the modules `region`,
//! `arena`, `hooks` and `wiping`. The crate is for Linux.

mod arena;
mod buddy;
pub mod hooks;
pub mod process;
mod region;
mod secret;
pub mod wiping;

pub use arena::{ARENA_BYTES, Arena, Exhausted};
pub use region::{ARENA_BYTES_MAX, ArenaError, ArenaKind};
pub use secret::SecretBytes;
