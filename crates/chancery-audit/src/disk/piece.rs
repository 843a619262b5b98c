//! Bytes that were read from a file, in room that is kept for the next that are.
//!
//! Direct reads land on a grid of [`DIRECT_ALIGNMENT`] bytes in memory as well. A piece keeps such room: whoever reads a
//! file piece by piece clears and moves nothing for each of them.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt as _;

/// Direct reads start, end and land at multiples of this.
pub(super) const DIRECT_ALIGNMENT: usize = 4096;

/// Some bytes of a file.
#[derive(Debug, Default)]
pub struct Piece {
    room: Vec<u8>,
    /// Where in it they stand.
    filled: Range<usize>,
}

impl Piece {
    /// Takes what a direct read gives of a range that starts on the grid of direct reads.
    ///
    /// # Errors
    ///
    /// The system's; then the piece is empty.
    pub(super) fn read_direct(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        self.clear();
        let end = range.end.min(file.metadata()?.len());
        let length = usize::try_from(end.saturating_sub(range.start)).map_err(io::Error::other)?;
        // The last read is asked for a block more than there can be, and so meets the end of the file.
        let wanted = length.next_multiple_of(DIRECT_ALIGNMENT) + DIRECT_ALIGNMENT;
        if self.room.len() < wanted + DIRECT_ALIGNMENT {
            // Made anew, so that the system gives pages that are zero already.
            self.room = vec![0; wanted + DIRECT_ALIGNMENT];
        }
        let start = self.room.as_ptr().align_offset(DIRECT_ALIGNMENT);
        let aligned = self.room.get_mut(start..start + wanted).ok_or(io::ErrorKind::Other)?;
        let read = fill(file, range.start, length, aligned)?;
        self.filled = start..start + read.min(length);
        Ok(())
    }

    /// Forgets them; the room stays.
    pub fn clear(&mut self) {
        self.filled = 0..0;
    }
}

impl From<Vec<u8>> for Piece {
    fn from(room: Vec<u8>) -> Self {
        let filled = 0..room.len();
        Self { room, filled }
    }
}

impl From<Piece> for Vec<u8> {
    fn from(Piece { mut room, filled }: Piece) -> Self {
        room.truncate(filled.end);
        room.drain(..filled.start.min(room.len()));
        room
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.room.get(self.filled.clone()).unwrap_or_default()
    }
}

/// Reads until so many bytes are there, or the file ends.
fn fill(file: &File, start: u64, length: usize, aligned: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < length {
        let place = aligned.get_mut(filled..).ok_or(io::ErrorKind::Other)?;
        let offset = start + u64::try_from(filled).map_err(io::Error::other)?;
        let read = file.read_at(place, offset)?;
        filled += read;
        // A direct read that stops off the grid has met the end of the file.
        if read == 0 || !read.is_multiple_of(DIRECT_ALIGNMENT) {
            break;
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_read_again_has_nothing_of_the_one_before() {
        let path = std::env::temp_dir().join(format!("chancery-piece-{}", std::process::id()));
        let bytes: Vec<u8> = (0..=250).cycle().take(20_000).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut piece = Piece::default();
        for range in [0..20_000, 4_096..8_192, 16_384..90_000, 8_192..8_192, 24_576..30_000, 0..1] {
            piece.read_direct(&file, range.clone()).unwrap();
            let range = [range.start, range.end].map(|at| usize::try_from(at.min(20_000)).unwrap());
            assert_eq!(*piece, bytes[range[0]..range[1]], "{range:?}");
        }
        assert_eq!(Vec::from(piece), [0]);
        let mut whole = Piece::from(bytes.clone());
        assert_eq!(*whole, bytes);
        whole.clear();
        assert!(whole.is_empty() && Vec::from(whole).is_empty());
    }
}
