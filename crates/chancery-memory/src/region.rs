//! One mapping of locked memory between two guard pages.
//!
//! ```text
//! | guard page, no access | capacity bytes, read and write | guard page, no access |
//! ```
//!
//! The memory comes from `memfd_secret(2)`, which takes the pages out of the kernel's
//! own map, or is anonymous and locked with `mlock2(2)`. Either way it is not swapped,
//! is left out of core dumps (`MADV_DONTDUMP`), and does not reach a child process:
//! secret memory is not inherited (`MADV_DONTFORK`), locked memory is inherited as
//! zeros (`MADV_WIPEONFORK`, which the kernel allows for private mappings alone).
//!
//! Invariant: every page of a [`Region`] is present from the start, so that no later
//! access can fail for want of memory.
//!
//! A region hands out addresses, not references; who may touch which bytes is decided
//! in the module `arena`.
#![expect(unsafe_code, reason = "mapping memory is unsafe by nature")]

use std::ffi::{c_long, c_uint, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{OFlags, ftruncate};
use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MlockFlags, MprotectFlags, ProtFlags, madvise, mlock_with, mmap,
    mmap_anonymous, mprotect, munmap,
};
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

/// The largest arena: 1 GiB, far beyond any sensible memory-lock limit.
pub const ARENA_BYTES_MAX: usize = 1 << 30;

/// `memfd_secret(2)`; the number is the same on every architecture Linux added it for.
const SYS_MEMFD_SECRET: c_long = 447;

unsafe extern "C" {
    /// The C library's `syscall(2)`; the standard library links it already.
    fn syscall(number: c_long, ...) -> c_long;
}

/// Where an arena's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArenaKind {
    /// Anonymous memory, locked: the kernel itself can still read it.
    Locked,
    /// `memfd_secret`: outside the kernel's own map of memory as well.
    MemfdSecret,
}

/// The arena could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// The capacity is not one that an arena can have.
    #[error("an arena has a power of two from {min} to {max} bytes, found {found}")]
    Capacity {
        /// The smallest capacity, one page.
        min: usize,
        /// The largest capacity.
        max: usize,
        /// The capacity that was asked for.
        found: usize,
    },
    /// The limit on locked memory is too low.
    #[error(
        "locking {wanted} bytes was refused, the limit is {limit}; raise it with \
         `ulimit -l` or `LimitMEMLOCK=`"
    )]
    LockRefused {
        /// The bytes to be locked.
        wanted: usize,
        /// The limit in force, in bytes; the largest number if there is none.
        limit: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// Memory could not be mapped or set up.
    #[error("secret memory could not be mapped")]
    Map {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel has no `memfd_secret`, or it is switched off.
    #[error("this kernel offers no secret memory")]
    NoSecretMemory {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A mapping of locked memory with its guard pages.
#[derive(Debug)]
pub(crate) struct Region {
    // Invariant: `base` begins a mapping of guard, `capacity` bytes, guard.
    base: NonNull<c_void>,
    capacity: usize,
    guard: usize,
}

// SAFETY: a region is two numbers and the duty to unmap; nothing in it belongs to the
// thread that mapped it.
unsafe impl Send for Region {}
// SAFETY: a shared region gives out addresses only; it reads and writes nothing.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `capacity` bytes of the given kind, all zero and present.
    pub(crate) fn map(kind: ArenaKind, capacity: usize) -> Result<Self, ArenaError> {
        let (min, max) = (page_size(), ARENA_BYTES_MAX);
        if !capacity.is_power_of_two() || !(min..=max).contains(&capacity) {
            return Err(ArenaError::Capacity { min, max, found: capacity });
        }
        let region = Self::reserve(capacity)?;
        match kind {
            ArenaKind::Locked => region.lock()?,
            ArenaKind::MemfdSecret => region.cover_with_secret_memory()?,
        }
        region.advise(Advice::LinuxDontDump)?;
        Ok(region)
    }

    /// Where the usable bytes begin.
    pub(crate) fn start(&self) -> NonNull<u8> {
        // SAFETY: the mapping has `guard` bytes before the usable ones.
        unsafe { self.base.cast::<u8>().add(self.guard) }
    }

    /// How many usable bytes there are.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes address space for the bytes and both guards, with no access to any.
    fn reserve(capacity: usize) -> Result<Self, ArenaError> {
        let guard = page_size();
        let whole = capacity + 2 * guard;
        // SAFETY: a fresh private mapping at an address of the kernel's choice changes
        // no memory that exists.
        let base = unsafe {
            mmap_anonymous(ptr::null_mut(), whole, ProtFlags::empty(), MapFlags::PRIVATE)
        };
        let base = NonNull::new(base.map_err(cannot_map)?);
        let base = base.ok_or_else(|| cannot_map(Errno::NOMEM))?;
        Ok(Self { base, capacity, guard })
    }

    /// Opens the reserved bytes and locks them.
    fn lock(&self) -> Result<(), ArenaError> {
        let (start, len) = (self.start().as_ptr().cast(), self.capacity);
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the bytes are our own mapping, and nothing refers to them yet.
        unsafe { mprotect(start, len, access) }.map_err(cannot_map)?;
        self.advise(Advice::LinuxWipeOnFork)?;
        // SAFETY: as above; without flags `mlock2` also makes every page present.
        unsafe { mlock_with(start, len, MlockFlags::empty()) }
            .map_err(|error| lock_refused(len, error))
    }

    /// Puts secret memory over the reserved bytes and makes every page present.
    fn cover_with_secret_memory(&self) -> Result<(), ArenaError> {
        let memory = memfd_secret().map_err(|source| ArenaError::NoSecretMemory { source })?;
        let (start, len) = (self.start().as_ptr(), self.capacity);
        ftruncate(&memory, len as u64).map_err(cannot_map)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: the fixed address lies within our own reservation, to which nothing
        // refers yet.
        unsafe { mmap(start.cast(), len, access, flags, &memory, 0) }
            .map_err(|error| lock_refused(len, error))?;
        self.advise(Advice::LinuxDontFork)?;
        self.touch_every_page();
        Ok(())
    }

    fn touch_every_page(&self) {
        for offset in (0..self.capacity).step_by(self.guard) {
            // SAFETY: `offset` is below `capacity`.
            let page = unsafe { self.start().add(offset) };
            // SAFETY: the byte is mapped for writing, and nothing refers to it yet.
            unsafe { page.write_volatile(0) };
        }
    }

    fn advise(&self, advice: Advice) -> Result<(), ArenaError> {
        // SAFETY: the advice given here changes what forks and dumps see, not the bytes.
        unsafe { madvise(self.start().as_ptr().cast(), self.capacity, advice) }.map_err(cannot_map)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let whole = self.capacity + 2 * self.guard;
        // SAFETY: the mapping is ours, and whoever held bytes of it also held the region.
        let unmapped = unsafe { munmap(self.base.as_ptr(), whole) };
        debug_assert!(unmapped.is_ok(), "a whole mapping is always unmapped");
    }
}

/// Opens a secret memory file, closed on `exec`.
fn memfd_secret() -> io::Result<OwnedFd> {
    let flags: c_uint = OFlags::CLOEXEC.bits();
    // SAFETY: `memfd_secret` takes one integer and touches no memory of ours.
    let opened = unsafe { syscall(SYS_MEMFD_SECRET, flags) };
    let opened = i32::try_from(opened).ok().filter(|descriptor| *descriptor >= 0);
    let descriptor = opened.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just opened this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn cannot_map(error: Errno) -> ArenaError {
    ArenaError::Map { source: error.into() }
}

/// What a refusal to lock or to map lockable memory means: mostly, that the limit is low.
fn lock_refused(wanted: usize, error: Errno) -> ArenaError {
    match error {
        Errno::AGAIN | Errno::NOMEM | Errno::PERM => {
            let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
            ArenaError::LockRefused { wanted, limit, source: error.into() }
        }
        _ => cannot_map(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;

    const CAPACITY: usize = 1 << 16;

    /// The mapping of `kind`, or nothing where the kernel has no such memory.
    fn mapped(kind: ArenaKind) -> Option<Region> {
        match Region::map(kind, CAPACITY) {
            Err(ArenaError::NoSecretMemory { source }) => {
                println!("skipped: no secret memory here: {source}");
                None
            }
            region => Some(region.unwrap()),
        }
    }

    fn regions() -> impl Iterator<Item = (ArenaKind, Region)> {
        [ArenaKind::Locked, ArenaKind::MemfdSecret]
            .into_iter()
            .filter_map(|kind| Some((kind, mapped(kind)?)))
    }

    /// The part of `smaps` about the mapping for which `wanted` holds of its bounds.
    fn smaps_entry(wanted: impl Fn(usize, usize) -> bool) -> String {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines =
            smaps.lines().skip_while(|line| !bounds(line).is_some_and(|b| wanted(b.0, b.1)));
        let head = lines.next().unwrap();
        let rest = lines.take_while(|line| bounds(line).is_none());
        [head].into_iter().chain(rest).collect::<Vec<_>>().join("\n")
    }

    fn bounds(line: &str) -> Option<(usize, usize)> {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
    }

    #[test]
    fn the_memory_is_locked_and_left_out_of_dumps() {
        for (kind, region) in regions() {
            let start = region.start().as_ptr().addr();
            let entry = smaps_entry(|from, to| (from, to) == (start, start + CAPACITY));
            let flags = entry.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
            let expected = match kind {
                ArenaKind::Locked => [" dd", " lo", " wf"],
                ArenaKind::MemfdSecret => [" dd", " lo", " dc"],
            };
            for flag in expected {
                assert!(flags.contains(flag), "{kind:?}: {flag} in {flags}");
            }
        }
    }

    #[test]
    fn both_ends_have_a_guard_page_without_access() {
        for (kind, region) in regions() {
            let start = region.start().as_ptr().addr();
            let end = start + CAPACITY;
            for entry in [smaps_entry(|_, to| to == start), smaps_entry(|from, _| from == end)] {
                assert_eq!(entry.split(' ').nth(1), Some("---p"), "{kind:?}: {entry}");
            }
        }
    }

    #[test]
    fn every_page_is_present_from_the_start() {
        for (kind, region) in regions() {
            let start = region.start().as_ptr().addr();
            let entry = smaps_entry(|from, _| from == start);
            let resident = entry.lines().find(|line| line.starts_with("Rss:")).unwrap();
            let kib = format!(" {} kB", CAPACITY / 1024);
            assert!(resident.ends_with(&kib), "{kind:?}: {resident}");
        }
    }

    /// Shows what sets the kinds apart: the kernel reads locked memory for another process.
    #[test]
    fn the_kernel_itself_cannot_read_secret_memory() {
        let memory = fs::File::open("/proc/self/mem").unwrap();
        for (kind, region) in regions() {
            let start = region.start().as_ptr().addr() as u64;
            let read = memory.read_exact_at(&mut [0; 64], start);
            assert_eq!(read.is_ok(), kind == ArenaKind::Locked, "{kind:?}: {read:?}");
        }
    }

    #[test]
    fn a_dropped_region_is_unmapped() {
        // A size of its own, lest another test map the same bounds meanwhile.
        let capacity = 4 * CAPACITY;
        let region = Region::map(ArenaKind::Locked, capacity).unwrap();
        let start = region.start().as_ptr().addr();
        let entry = format!("{start:x}-{:x} rw-", start + capacity);
        let mapped = || fs::read_to_string("/proc/self/maps").unwrap().contains(&entry);
        assert!(mapped());
        drop(region);
        assert!(!mapped());
    }

    #[test]
    fn a_capacity_that_no_arena_can_have_is_refused() {
        for found in [0, 1, page_size() - 1, page_size() * 3, ARENA_BYTES_MAX * 2] {
            let refused = Region::map(ArenaKind::Locked, found).unwrap_err();
            assert!(matches!(refused, ArenaError::Capacity { found: f, .. } if f == found));
        }
    }
}
