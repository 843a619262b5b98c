//! Directs the crypto library's allocations into the arena.
//!
//! AWS-LC looks for three functions at link time, `OPENSSL_memory_alloc`, `_free` and
//! `_get_size` (weak symbols in its `crypto/mem.c`; the crate `aws-lc-sys` leaves their
//! names unprefixed), and if it finds them takes and returns all its memory through
//! them. They are defined here, so every program that links this crate has them.
//!
//! Before [`install`], and when the arena is full, memory comes from the ordinary heap
//! and is counted; it is zeroized when freed all the same.
//!
//! ```text
//! | size (8 bytes), zero (8 bytes) | the bytes the library sees |
//! ```
//!
//! Invariant: memory goes back to where its address says it came from.
//!
//! What AWS-LC keeps on the stack, or what its Rust wrapper keeps in its own values,
//! does not pass through here. As AWS-LC demands, nothing here calls back into it.
#![expect(unsafe_code, reason = "C functions that hand out raw memory")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::ptr;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroize;

use crate::arena::Arena;
use crate::buddy::Block;

/// The header before each allocation; 16 bytes keep the rest aligned as by `malloc`.
const HEADER_BYTES: usize = 16;

/// The alignment that C code expects of `malloc` on the machines we build for.
const ALIGNMENT: usize = 16;

const _: () = assert!(HEADER_BYTES >= size_of::<usize>());
const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT));
const _: () = assert!(crate::buddy::BLOCK_BYTES_MIN.is_multiple_of(ALIGNMENT));

static INSTALLED: OnceLock<Arena> = OnceLock::new();
static IN_ARENA: AtomicU64 = AtomicU64::new(0);
static BEFORE_INSTALL: AtomicU64 = AtomicU64::new(0);
static ARENA_FULL: AtomicU64 = AtomicU64::new(0);

/// How many of the crypto library's allocations came from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocations {
    /// From the arena.
    pub in_arena: u64,
    /// From the ordinary heap, because no arena was installed yet.
    pub before_install: u64,
    /// From the ordinary heap, because the arena was full.
    pub arena_full: u64,
}

/// The hooks already serve an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library's allocations already go to an arena")]
pub struct AlreadyInstalled;

/// Sends the crypto library's allocations to `arena` from now on.
///
/// The arena then lives as long as the process. Call it before the first use of the
/// library, and check after that use that [`allocations`] counts some in the arena: in
/// a build where the library is linked in another way the hooks have no effect.
///
/// A child made by `fork` does not have the arena's contents, and must not use the
/// library before `exec`.
///
/// # Errors
///
/// [`AlreadyInstalled`] on a second call.
pub fn install(arena: &Arena) -> Result<(), AlreadyInstalled> {
    INSTALLED.set(arena.clone()).map_err(|_| AlreadyInstalled)
}

/// The crypto library's allocations so far.
#[must_use]
pub fn allocations() -> Allocations {
    Allocations {
        in_arena: IN_ARENA.load(Ordering::Relaxed),
        before_install: BEFORE_INSTALL.load(Ordering::Relaxed),
        arena_full: ARENA_FULL.load(Ordering::Relaxed),
    }
}

/// The allocations that went to the ordinary heap because the arena was full.
#[must_use]
pub fn fallbacks() -> u64 {
    ARENA_FULL.load(Ordering::Relaxed)
}

/// AWS-LC's request for `size` bytes; null if there are none.
#[unsafe(export_name = "OPENSSL_memory_alloc")]
extern "C" fn memory_alloc(size: usize) -> *mut c_void {
    let Some(total) = size.checked_add(HEADER_BYTES) else { return ptr::null_mut() };
    let base = from_arena(total).unwrap_or_else(|| from_heap(total));
    if base.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: `base` begins at least `HEADER_BYTES` bytes of ours, aligned for a `usize`.
    unsafe { base.cast::<usize>().write(size) };
    // SAFETY: the allocation goes on for `size` bytes after the header.
    unsafe { base.byte_add(HEADER_BYTES) }
}

/// AWS-LC's return of memory that `memory_alloc` gave out; it never passes null.
///
/// # Safety
///
/// `bytes` came from `memory_alloc` and is not used again.
#[unsafe(export_name = "OPENSSL_memory_free")]
unsafe extern "C" fn memory_free(bytes: *mut c_void) {
    // SAFETY: the caller's promise is the one that `memory_get_size` asks for.
    let total = unsafe { memory_get_size(bytes) } + HEADER_BYTES;
    // SAFETY: `memory_alloc` put a header before every allocation.
    let base = unsafe { bytes.byte_sub(HEADER_BYTES) };
    let home = INSTALLED.get().and_then(|arena| Some((arena, arena.offset_of(base.cast())?)));
    match home {
        // SAFETY: `memory_alloc` took this block from the arena, and it is not used again.
        Some((arena, offset)) => unsafe { arena.give(Block::named(offset, total)) },
        // SAFETY: outside the arena there is only what `from_heap` gave out.
        None => unsafe { to_heap(base.cast(), total) },
    }
}

/// The size that was asked for when `bytes` was given out.
///
/// # Safety
///
/// `bytes` came from `memory_alloc` and was not freed.
#[unsafe(export_name = "OPENSSL_memory_get_size")]
unsafe extern "C" fn memory_get_size(bytes: *mut c_void) -> usize {
    // SAFETY: `memory_alloc` put a header before every allocation.
    let header = unsafe { bytes.byte_sub(HEADER_BYTES) };
    // SAFETY: the header begins with the size, which the library does not write to.
    unsafe { header.cast::<usize>().read() }
}

/// `total` bytes of the arena, if one is installed and has them; counts either way.
fn from_arena(total: usize) -> Option<*mut c_void> {
    let taken = INSTALLED.get().map(|arena| arena.take(total).map(|block| arena.address(&block)));
    let (counter, address) = match taken {
        Some(Ok(address)) => (&IN_ARENA, Some(address.as_ptr().cast())),
        Some(Err(_)) => (&ARENA_FULL, None),
        None => (&BEFORE_INSTALL, None),
    };
    counter.fetch_add(1, Ordering::Relaxed);
    address
}

/// `total` bytes of the ordinary heap, all zero, or null.
fn from_heap(total: usize) -> *mut c_void {
    match Layout::from_size_align(total, ALIGNMENT) {
        // SAFETY: `total` is at least the header's length, hence not zero.
        Ok(layout) => unsafe { alloc_zeroed(layout) }.cast(),
        Err(_) => ptr::null_mut(),
    }
}

/// Zeroizes and frees what `from_heap` gave out.
///
/// # Safety
///
/// `base` came from `from_heap(total)` and is not used again.
unsafe fn to_heap(base: *mut u8, total: usize) {
    let Ok(layout) = Layout::from_size_align(total, ALIGNMENT) else { return };
    // SAFETY: the bytes are one allocation of `total` bytes that nobody else refers to.
    unsafe { slice::from_raw_parts_mut(base, total) }.zeroize();
    // SAFETY: `from_heap` allocated it with the same layout.
    unsafe { dealloc(base, layout) };
}
