//! A file that is read back from the disk window by window, so that it is never in memory as a whole.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;

use crate::dense::Source;
use crate::disk::{Disk, Piece};
use crate::segment::BLOCK_BYTES;

/// The bytes of a window: 1 MiB, or what is asked for if that is more.
const WINDOW_BYTES: usize = 1024 * 1024;

/// So many windows there are: one on each of the tables of a dense segment, and one on its bundles.
const WINDOWS: usize = 3;

/// The windows on a file.
pub(super) struct Windows<'d> {
    disk: &'d dyn Disk,
    name: String,
    /// The one that was looked through last in front.
    seen: RefCell<[Window; WINDOWS]>,
}

/// What is seen of the file from an offset on.
#[derive(Default)]
struct Window {
    offset: u64,
    piece: Piece,
}

impl<'d> Windows<'d> {
    pub(super) fn on(disk: &'d dyn Disk, name: String) -> Self {
        Self { disk, name, seen: RefCell::default() }
    }

    /// Whether the file has so many bytes and no more.
    pub(super) fn has_length(&self, length: u64) -> io::Result<bool> {
        let block = u64::try_from(BLOCK_BYTES).map_err(io::Error::other)?;
        let last = length - length % block;
        let behind = self.disk.read_range(&self.name, last, 2 * BLOCK_BYTES)?;
        Ok(u64::try_from(behind.len()).is_ok_and(|behind| last + behind == length))
    }
}

impl Source for Windows<'_> {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Cow<'_, [u8]>> {
        let windows = &mut *self.seen.borrow_mut();
        let known = windows.iter().position(|window| window.get(offset, length).is_some());
        if let Some(part) = windows.get_mut(..=known.unwrap_or(WINDOWS - 1)) {
            part.rotate_right(1);
        }
        let Some(window) = windows.first_mut() else { return Err(io::ErrorKind::Other.into()) };
        if known.is_none() {
            window.open(self.disk, &self.name, (offset, length))?;
        }
        let seen = window.get(offset, length).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Cow::Owned(seen.to_vec()))
    }
}

impl Window {
    fn get(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        self.piece.get(start..start.checked_add(length)?)
    }

    /// Opens it where these bytes are seen, if the file has them.
    fn open(
        &mut self,
        disk: &dyn Disk,
        name: &str,
        (offset, length): (u64, usize),
    ) -> io::Result<()> {
        let block = u64::try_from(BLOCK_BYTES).map_err(io::Error::other)?;
        self.piece.clear();
        self.offset = offset - offset % block;
        let before = usize::try_from(offset % block).map_err(io::Error::other)?;
        let wanted = before.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = wanted.next_multiple_of(BLOCK_BYTES).max(WINDOW_BYTES);
        disk.read_piece(name, self.offset, bytes, &mut self.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DirectoryDisk;

    #[test]
    fn whatever_is_asked_for_in_whatever_order_is_what_the_file_has_there() {
        let path = std::env::temp_dir().join(format!("chancery-windows-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let disk = DirectoryDisk::open(&path).unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(6 * WINDOW_BYTES + 77).collect();
        disk.write_new("file", &[&bytes]).unwrap();
        let windows = Windows::on(&disk, "file".into());
        let end = bytes.len();
        let far = 3 * WINDOW_BYTES + 5;
        let asked = [(0, 10), (far, 10), (10, 10), (5, 2 * WINDOW_BYTES), (far + 10, 10), (end, 0)];
        for (at, length) in asked.into_iter().cycle().take(20) {
            let seen = windows.read_at(at as u64, length).unwrap();
            assert!(*seen == bytes[at..at + length], "{length} bytes at {at}");
        }
        for (at, length) in [(end - 1, 2), (end + 1, 1), (0, end + 1), (5 << 40, 1)] {
            let error = windows.read_at(at as u64, length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length} bytes at {at}");
        }
        for (length, expected) in [(end, true), (end - 1, false), (end + 1, false), (0, false)] {
            assert_eq!(windows.has_length(length as u64).unwrap(), expected, "{length} bytes");
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
}
