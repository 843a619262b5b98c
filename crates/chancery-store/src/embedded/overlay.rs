//! A file that is read, and writes that stay in memory: redb may repair and commit, and the file is as it was.
//!
//! What is written is kept page by page; a check of a sound store writes its header and its accounting of free
//! space, a few pages. Locks are those of a reader: many may look at a time, beside no writer.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// The bytes that are kept together: redb's page.
const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// The file, and what was written over it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// How much of the file still shows: it was never cut shorter than that.
    shown: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

/// A part of one page: the page's number, the part, and where it lies among the bytes asked for.
struct Part {
    page: u64,
    within: std::ops::Range<usize>,
    among: std::ops::Range<usize>,
}

impl Overlay {
    pub(super) fn over(file: FileBackend) -> io::Result<Self> {
        let length = file.len()?;
        let written = Written { length, shown: length, pages: BTreeMap::new() };
        Ok(Self { file, written: Mutex::new(written) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as the file has it, with zeros behind the end of what shows.
    fn original(&self, shown: u64, page: u64) -> io::Result<Box<[u8; PAGE_BYTES]>> {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        let start = page * PAGE;
        let length = usize::try_from(shown.saturating_sub(start)).unwrap_or(usize::MAX);
        if let Some(bytes) = bytes.get_mut(..length.min(PAGE_BYTES)).filter(|it| !it.is_empty()) {
            self.file.read(start, bytes)?;
        }
        Ok(bytes)
    }
}

/// The parts of pages that `length` bytes from `offset` on touch.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let rest = length.checked_sub(done).filter(|&rest| rest > 0)?;
        let at = offset + done as u64;
        let start = usize::try_from(at % PAGE).unwrap_or_default();
        let taken = rest.min(PAGE_BYTES - start);
        let part =
            Part { page: at / PAGE, within: start..start + taken, among: done..done + taken };
        done += taken;
        Some(part)
    })
}

fn outside() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        let end = offset.checked_add(out.len() as u64).ok_or_else(outside)?;
        if end > written.length {
            return Err(outside());
        }
        for part in parts(offset, out.len()) {
            let target = out.get_mut(part.among).ok_or_else(outside)?;
            let page = match written.pages.get(&part.page) {
                Some(page) => page.get(part.within).map(<[u8]>::to_vec),
                None => {
                    self.original(written.shown, part.page)?.get(part.within).map(<[u8]>::to_vec)
                }
            };
            target.copy_from_slice(&page.ok_or_else(outside)?);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            // What comes back when it grows again is zeros.
            let kept = length.div_ceil(PAGE);
            written.pages.retain(|&page, _| page < kept);
            if let (Some(page), at) = (written.pages.get_mut(&(length / PAGE)), length % PAGE) {
                let at = usize::try_from(at).unwrap_or_default();
                page.iter_mut().skip(at).for_each(|byte| *byte = 0);
            }
            written.shown = written.shown.min(length);
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for part in parts(offset, data.len()) {
            let mut page = match written.pages.remove(&part.page) {
                Some(page) => page,
                None => self.original(written.shown, part.page)?,
            };
            let (target, source) = (page.get_mut(part.within), data.get(part.among));
            let (target, source) = target.zip(source).ok_or_else(outside)?;
            target.copy_from_slice(source);
            written.pages.insert(part.page, page);
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A step of the pseudo-random walk below.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(*state >> 40).unwrap()
    }

    /// Against a plain vector: writes and lengths across pages, and the file that never changes.
    #[test]
    fn what_is_read_is_what_was_written_and_the_file_is_as_it_was() {
        let path = std::env::temp_dir().join(format!("chancery-overlay-{}", std::process::id()));
        let mut expected: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        fs::write(&path, &expected).unwrap();
        let before = expected.clone();
        let file = FileBackend::new(fs::File::open(&path).unwrap()).unwrap();
        let (overlay, mut state) = (Overlay::over(file).unwrap(), 7);
        for round in 0..2_000_u32 {
            let at = next(&mut state) % (expected.len() + 1);
            if round % 10 == 0 {
                expected.resize(at + next(&mut state) % 9_000, 0);
                overlay.set_len(expected.len() as u64).unwrap();
                continue;
            }
            let data = vec![round.to_le_bytes()[0]; next(&mut state) % 6_000];
            expected.resize(expected.len().max(at + data.len()), 0);
            expected[at..at + data.len()].copy_from_slice(&data);
            overlay.write(at as u64, &data).unwrap();
            let mut read = vec![0; expected.len()];
            overlay.read(0, &mut read).unwrap();
            assert!(read == expected, "round {round}");
        }
        assert!(overlay.read(overlay.len().unwrap(), &mut [0]).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(&path).unwrap();
    }
}
