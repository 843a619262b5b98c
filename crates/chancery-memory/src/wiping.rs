//! A global allocator that wipes what is given back.
//!
//! Secrets pass through buffers that no type of ours owns: a library's own vector, the old place of a vector
//! that grew. [`Wiping`] zeroizes every block before it returns to the heap, so that freed memory holds
//! nothing. It does so from [`begin`] on; only the signer asks for it.
//!
//! Invariant: once begun, no byte of a block that was given back is other than zero.
//!
//! What it does not cover: memory that is still owned, and what C code takes from `malloc` itself; the crypto
//! library's memory goes through [`crate::hooks`].
#![expect(unsafe_code, reason = "the trait of global allocators is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::arch::asm;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

static BEGUN: AtomicBool = AtomicBool::new(false);

/// An allocator that wipes, over one that does not.
#[derive(Debug, Default)]
pub struct Wiping<A = System>(A);

impl Wiping {
    /// Over the system's allocator.
    #[must_use]
    pub const fn system() -> Self {
        Self(System)
    }
}

/// Wipes whatever is given back from now on.
pub fn begin() {
    BEGUN.store(true, Ordering::Relaxed);
}

// SAFETY: every call goes to `A`, which is an allocator, with the arguments that it was made with; what is
// written is inside the block.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if BEGUN.load(Ordering::Relaxed) {
            // SAFETY: the caller gives the whole block back.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.0.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !BEGUN.load(Ordering::Relaxed) {
            // SAFETY: the caller's promise is the one that is asked for.
            return unsafe { self.0.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller promises a size that is not zero and fits the alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the layout is not empty.
        let new = unsafe { self.0.alloc(new_layout) };
        if !new.is_null() {
            let kept = layout.size().min(new_size);
            // SAFETY: both blocks have so many bytes, and the new one is none of the old.
            unsafe { ptr::copy_nonoverlapping(block, new, kept) };
            // SAFETY: the block came from here, with this layout; the caller uses the new one from now on.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

/// So much of the stack is wiped: 256 KiB, more than any call path of a start or of a disclosure has, and little of the
/// 8 MiB of a main thread or the 2 MiB of another.
const STACK_BYTES: usize = 256 * 1024;

/// Zeroizes what calls that have returned left on this thread's stack.
///
/// What a caller has in its own frame stays; so what handled secrets must not have been inlined into it.
#[expect(clippy::large_stack_arrays, reason = "it is the stack that is to be wiped")]
#[inline(never)]
pub fn wipe_stack() {
    let mut left = [MaybeUninit::<u8>::uninit(); STACK_BYTES];
    // SAFETY: the array has so many bytes, and is this call's.
    unsafe { wipe(left.as_mut_ptr().cast(), STACK_BYTES) };
}

/// Calls what handles secrets, and zeroizes what it left on this thread's stack. What it returns is not wiped.
pub fn on_wiped_stack<T>(run: impl FnOnce() -> T) -> T {
    let done = called(run);
    wipe_stack();
    done
}

/// A call with a frame of its own, which is below that of the caller and so is wiped.
#[inline(never)]
fn called<T>(run: impl FnOnce() -> T) -> T {
    run()
}

/// Zeroizes a block that is about to be given back.
///
/// # Safety
///
/// `block` has `size` bytes, and nobody else uses them.
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: as the caller promises.
    unsafe { block.write_bytes(0, size) };
    // The compiler may leave out writes to memory that is freed next. It does not know that the memory is
    // not read here.
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags, readonly)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    /// Gives out pieces of one buffer and takes nothing back, so that what was freed can be looked at.
    #[repr(align(16))]
    struct Pieces {
        bytes: UnsafeCell<[u8; 256]>,
        next: std::cell::Cell<usize>,
    }

    impl Pieces {
        fn seen(&self) -> [u8; 256] {
            // SAFETY: no reference to the bytes is kept anywhere.
            unsafe { *self.bytes.get() }
        }
    }

    // SAFETY: the pieces do not overlap and are aligned as the tests ask; more than 256 bytes are not asked for.
    unsafe impl GlobalAlloc for Pieces {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let at = self.next.get().next_multiple_of(layout.align());
            self.next.set(at + layout.size());
            assert!(self.next.get() <= 256);
            // SAFETY: it stays inside the buffer.
            unsafe { self.bytes.get().cast::<u8>().add(at) }
        }

        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }

    #[inline(never)]
    fn leave_on_stack(value: u8) {
        std::hint::black_box(&mut [value; 4_096]);
    }

    /// How many bytes of that value a call of the same depth finds.
    #[inline(never)]
    fn found_on_stack(value: u8) -> usize {
        let mut left = [MaybeUninit::<u8>::uninit(); 4_096];
        let first = left.as_mut_ptr().cast::<u8>();
        // SAFETY: there is no instruction; the compiler takes it that the bytes were written there.
        unsafe { asm!("/* {0} */", in(reg) first, options(nostack, preserves_flags)) };
        // SAFETY: the array has so many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(first, 4_096) };
        bytes.iter().map(|byte| usize::from(*byte == value)).sum()
    }

    #[test]
    fn what_a_call_left_on_the_stack_is_gone() {
        leave_on_stack(0xa7);
        assert!(found_on_stack(0xa7) > 1_000, "it is there until it is wiped");
        wipe_stack();
        assert_eq!(found_on_stack(0xa7), 0);
    }

    #[test]
    fn what_is_called_on_a_wiped_stack_leaves_nothing_there_and_gives_what_it_gives() {
        let given = on_wiped_stack(|| {
            leave_on_stack(0xa9);
            7
        });
        assert_eq!((given, found_on_stack(0xa9)), (7, 0));
    }

    /// A block of so many bytes of that value.
    fn filled(allocator: &Wiping<Pieces>, layout: Layout, value: u8) -> *mut u8 {
        // SAFETY: the layout is not empty.
        let block = unsafe { allocator.alloc(layout) };
        // SAFETY: the block has so many bytes.
        unsafe { block.write_bytes(value, layout.size()) };
        block
    }

    #[test]
    fn freed_and_moved_blocks_hold_nothing_once_it_has_begun() {
        let pieces = Pieces { bytes: UnsafeCell::new([0; 256]), next: std::cell::Cell::new(0) };
        let allocator = Wiping(pieces);
        let layout = Layout::from_size_align(40, 8).unwrap();
        let early = filled(&allocator, layout, 0xaa);
        // SAFETY: it came from there with this layout, and is not used again.
        unsafe { allocator.dealloc(early, layout) };
        assert_eq!(allocator.0.seen()[..40], [0xaa; 40]);
        begin();
        let moved = filled(&allocator, layout, 0xbb);
        // SAFETY: it came from there with this layout, and is not used again.
        let grown = unsafe { allocator.realloc(moved, layout, 80) };
        assert_eq!(allocator.0.seen()[40..80], [0; 40]);
        assert_eq!(allocator.0.seen()[80..120], [0xbb; 40]);
        // SAFETY: the block has 80 bytes.
        unsafe { grown.write_bytes(0xcc, 80) };
        // SAFETY: it came from there with this layout, and is not used again.
        unsafe { allocator.dealloc(grown, Layout::from_size_align(80, 8).unwrap()) };
        assert_eq!(allocator.0.seen()[80..160], [0; 80]);
    }
}
