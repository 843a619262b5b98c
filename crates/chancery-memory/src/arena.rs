//! The arena: a locked region and who holds which part of it.
//!
//! An [`Arena`] is a counted reference; the memory is unmapped when the last of them,
//! and with it the last secret, is gone.
//!
//! Invariant: the bytes of a [`Block`] are touched by its holder alone, and free bytes
//! are zero.
//!
//! One lock guards the bookkeeping; it is held for a bounded number of steps, and never
//! while secret bytes are read, written or zeroized.
#![expect(unsafe_code, reason = "turns blocks of mapped memory into slices")]

use std::fmt;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

use crate::buddy::{Block, Buddy};
use crate::region::{ArenaError, ArenaKind, Region};

/// The default arena: 4 MiB.
///
/// Half of the usual limit on locked memory, 8 MiB; the other half is left to libraries
/// that lock memory of their own. With the hooks installed it holds the 270 KB of the
/// crypto library's random generator and some 20 000 parsed Ed25519 keys (192 bytes
/// each) or 450 of RSA-3072 (8 448 bytes each).
pub const ARENA_BYTES: usize = 4 << 20;

/// The limit on locked memory that Linux gives a process unless told otherwise: 8 MiB
/// (`MLOCK_LIMIT` in the kernel's `include/uapi/linux/resource.h`).
const MEMLOCK_BYTES_USUAL: usize = 8 << 20;

const _: () = assert!(2 * ARENA_BYTES <= MEMLOCK_BYTES_USUAL);

/// Locked memory for secrets, shared by all who hold it.
#[derive(Clone)]
pub struct Arena {
    shared: Arc<Shared>,
}

struct Shared {
    kind: ArenaKind,
    region: Region,
    blocks: Mutex<Buddy>,
}

/// The arena has no room for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for {requested} bytes in the arena, {in_use} of {capacity} are in use")]
pub struct Exhausted {
    requested: usize,
    in_use: usize,
    capacity: usize,
}

impl Arena {
    /// Sets up an arena of [`ARENA_BYTES`], of secret memory where the kernel has it.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if memory of neither kind is to be had.
    pub fn new() -> Result<Self, ArenaError> {
        Self::with_capacity(ARENA_BYTES)
    }

    /// Sets up an arena of `capacity` bytes, of secret memory where the kernel has it.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if `capacity` is not a power of two of at least a page, or memory
    /// of neither kind is to be had.
    pub fn with_capacity(capacity: usize) -> Result<Self, ArenaError> {
        Self::with_kind(ArenaKind::MemfdSecret, capacity)
            .or_else(|_| Self::with_kind(ArenaKind::Locked, capacity))
    }

    /// Sets up an arena of `capacity` bytes of the one kind that is asked for.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] as for [`with_capacity`](Self::with_capacity), or if there is no
    /// memory of this kind.
    pub fn with_kind(kind: ArenaKind, capacity: usize) -> Result<Self, ArenaError> {
        let region = Region::map(kind, capacity)?;
        let blocks = Mutex::new(Buddy::new(capacity));
        Ok(Self { shared: Arc::new(Shared { kind, region, blocks }) })
    }

    /// Where the memory comes from.
    #[must_use]
    pub fn kind(&self) -> ArenaKind {
        self.shared.kind
    }

    /// The size of the arena in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.region.capacity()
    }

    /// The bytes taken, each secret rounded up to its block.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.blocks().in_use()
    }

    /// Takes a block of `len` bytes, all zero.
    pub(crate) fn take(&self, len: usize) -> Result<Block, Exhausted> {
        let mut blocks = self.blocks();
        blocks.take(len).ok_or_else(|| Exhausted {
            requested: len,
            in_use: blocks.in_use(),
            capacity: self.capacity(),
        })
    }

    /// Zeroizes a block and takes it back.
    ///
    /// # Safety
    ///
    /// `block` was taken from this arena, and nothing refers to its bytes any more.
    #[expect(clippy::needless_pass_by_value, reason = "the block ends here")]
    pub(crate) unsafe fn give(&self, block: Block) {
        let start = self.address(&block).as_ptr();
        // SAFETY: the block lies in our mapping, and the caller lets us have its bytes.
        unsafe { slice::from_raw_parts_mut(start, block.len()) }.zeroize();
        self.blocks().give(&block);
    }

    /// The address at which a block of this arena begins.
    pub(crate) fn address(&self, block: &Block) -> NonNull<u8> {
        debug_assert!(block.offset() + block.len() <= self.capacity());
        // SAFETY: the allocator hands out offsets within the region's capacity.
        unsafe { self.shared.region.start().add(block.offset()) }
    }

    /// How far `address` lies into the arena, if it does.
    pub(crate) fn offset_of(&self, address: *const u8) -> Option<usize> {
        let start = self.shared.region.start().as_ptr().addr();
        address.addr().checked_sub(start).filter(|offset| *offset < self.capacity())
    }

    /// The bookkeeping. A panic cannot leave it half changed, so that poison is ignored.
    fn blocks(&self) -> MutexGuard<'_, Buddy> {
        self.shared.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("kind", &self.kind())
            .field("capacity", &self.capacity())
            .field("in_use", &self.in_use())
            .finish()
    }
}

/// A block held together with its arena, as one owned slice.
pub(crate) struct Slot {
    arena: Arena,
    // Invariant: taken from `arena`; `None` only while dropping.
    block: Option<Block>,
}

impl Slot {
    /// Takes `len` bytes, all zero.
    pub(crate) fn take(arena: &Arena, len: usize) -> Result<Self, Exhausted> {
        Ok(Self { block: Some(arena.take(len)?), arena: arena.clone() })
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        let Some(block) = &self.block else { return &[] };
        let start = self.arena.address(block).as_ptr();
        // SAFETY: the slot alone holds the block, whose bytes are mapped and were
        // initialized by the kernel; the slice borrows the slot.
        unsafe { slice::from_raw_parts(start, block.len()) }
    }

    /// The bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let Some(block) = &self.block else { return &mut [] };
        let start = self.arena.address(block).as_ptr();
        // SAFETY: as in `bytes`; the slot is borrowed mutably, so this is the only slice.
        unsafe { slice::from_raw_parts_mut(start, block.len()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            // SAFETY: the block is from this arena, and slices of it borrowed the slot.
            unsafe { self.arena.give(block) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 1 << 16;

    #[test]
    fn an_arena_of_an_asked_for_kind_is_of_that_kind() {
        for kind in [ArenaKind::Locked, ArenaKind::MemfdSecret] {
            match Arena::with_kind(kind, CAPACITY) {
                Err(ArenaError::NoSecretMemory { source }) => println!("skipped: {source}"),
                arena => assert_eq!(arena.unwrap().kind(), kind),
            }
        }
    }

    #[test]
    fn the_default_arena_prefers_secret_memory() {
        let expected = match Arena::with_kind(ArenaKind::MemfdSecret, CAPACITY) {
            Ok(_) => ArenaKind::MemfdSecret,
            Err(_) => ArenaKind::Locked,
        };
        let arena = Arena::new().unwrap();
        assert_eq!((arena.kind(), arena.capacity()), (expected, ARENA_BYTES));
        assert_eq!(arena.in_use(), 0);
    }

    #[test]
    fn an_arena_that_is_full_says_so_and_recovers() {
        let arena = Arena::with_capacity(CAPACITY).unwrap();
        let all = Slot::take(&arena, CAPACITY).unwrap();
        let refused = Slot::take(&arena, 1).err().unwrap();
        assert_eq!(refused, Exhausted { requested: 1, in_use: CAPACITY, capacity: CAPACITY });
        drop(all);
        assert_eq!(arena.in_use(), 0);
        assert!(Slot::take(&arena, 1).is_ok());
    }

    #[test]
    fn a_given_back_block_is_zero() {
        for kind in [ArenaKind::Locked, ArenaKind::MemfdSecret] {
            let Ok(arena) = Arena::with_kind(kind, CAPACITY) else { continue };
            let mut slot = Slot::take(&arena, CAPACITY).unwrap();
            slot.bytes_mut().fill(0xa5);
            drop(slot);
            let again = Slot::take(&arena, CAPACITY).unwrap();
            assert_eq!(again.bytes(), vec![0; CAPACITY]);
        }
    }

    #[test]
    fn a_slot_keeps_its_arena_mapped() {
        let arena = Arena::with_capacity(CAPACITY).unwrap();
        let mut slot = Slot::take(&arena, 100).unwrap();
        drop(arena);
        slot.bytes_mut().fill(7);
        assert_eq!(slot.bytes(), [7; 100]);
    }

    #[test]
    fn an_address_is_found_only_inside_the_arena() {
        let arena = Arena::with_capacity(CAPACITY).unwrap();
        let start = arena.shared.region.start().as_ptr();
        assert_eq!(arena.offset_of(start), Some(0));
        assert_eq!(arena.offset_of(start.wrapping_add(CAPACITY - 1)), Some(CAPACITY - 1));
        assert_eq!(arena.offset_of(start.wrapping_add(CAPACITY)), None);
        assert_eq!(arena.offset_of(start.wrapping_sub(1)), None);
    }
}
