//! Reads frames back from the disk, one after the other, from any record on.
//!
//! This is for what is derived from the log while it grows: it reads past the page cache, a piece at a time,
//! and stops where nothing more is durable. Whether the frames are the log's is not decided here: whoever
//! reads them computes the tree over their records and holds it against a root that is known.

use std::io;

use crate::disk::Disk;
use crate::frame::{Frame, length_at};
use crate::index::FramePlace;
use crate::segment::{BLOCK_BYTES, SegmentHeader, file_name, file_number};

/// What is read at once: 1 MiB, or a frame if that is longer.
const PIECE_BYTES: usize = 1024 * 1024;

/// Frames cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// A file is not what it must be.
    #[error("`{file}` at offset {offset}: no frame that belongs there")]
    Corrupt {
        /// The file.
        file: String,
        /// The byte offset.
        offset: u64,
    },
    /// The system refused.
    #[error("the log cannot be read back")]
    Disk(#[from] io::Error),
}

/// A place between two frames.
#[derive(Debug)]
pub struct FrameReader {
    segment: u64,
    offset: u64,
    next_index: u64,
    /// What was read, from `offset` on behind what of it was taken.
    piece: Vec<u8>,
    taken: usize,
    /// Where the last frame that was given stands, and how long it is with its padding.
    last: Option<(FramePlace, u64)>,
}

impl FrameReader {
    /// The place of the frame that begins with the record at `index`, which is the size of a tree that a frame
    /// ended with.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if no frame begins there.
    pub fn from_record(disk: &dyn Disk, index: u64) -> Result<Self, ReadBackError> {
        let mut reader = Self::segment_of(disk, index)?;
        reader.skip_to(disk, index).map(|()| reader)
    }

    /// The place behind a frame, where the one with the record at `place.first_index` begins or nothing does yet.
    #[must_use]
    pub fn at(place: FramePlace) -> Self {
        let FramePlace { segment, offset, first_index: next_index } = place;
        Self { segment, offset, next_index, piece: Vec::new(), taken: 0, last: None }
    }

    /// Where the frame stands that was given last, and how long it is with its padding.
    #[must_use]
    pub fn last(&self) -> Option<(FramePlace, u64)> {
        self.last
    }

    /// The frame that holds the record at `index`, if that is durable.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if the way there is not whole.
    pub fn frame_of(disk: &dyn Disk, index: u64) -> Result<Option<Frame>, ReadBackError> {
        let mut reader = Self::segment_of(disk, index)?;
        while let Some(frame) = reader.next_frame(disk)? {
            if reader.next_index > index {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// The beginning of the segment in which the record at `index` stands, or would.
    fn segment_of(disk: &dyn Disk, index: u64) -> Result<Self, ReadBackError> {
        let mut numbers: Vec<u64> =
            disk.list()?.iter().filter_map(|name| file_number(name)).collect();
        numbers.sort_unstable();
        while let Some(number) = numbers.pop() {
            let first = header(disk, number)?.frontier.size();
            if first <= index {
                let offset = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
                return Ok(Self::at(FramePlace { segment: number, offset, first_index: first }));
            }
        }
        Err(ReadBackError::Corrupt { file: file_name(0), offset: 0 })
    }

    fn skip_to(&mut self, disk: &dyn Disk, index: u64) -> Result<(), ReadBackError> {
        while self.next_index < index {
            if self.next_frame(disk)?.is_none() {
                return Err(self.corrupt());
            }
        }
        if self.next_index == index { Ok(()) } else { Err(self.corrupt()) }
    }

    /// The index of the record that the next frame begins with.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// The next frame, if there is one.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if what stands there is another one. A frame that is being written is none yet.
    pub fn next_frame(&mut self, disk: &dyn Disk) -> Result<Option<Frame>, ReadBackError> {
        loop {
            if let Some(frame) = self.frame_here(disk)? {
                return Ok(Some(frame));
            }
            // Where no frame follows, the next segment does, or nothing.
            let next = match header(disk, self.segment + 1) {
                Err(ReadBackError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                next => next?,
            };
            if next.frontier.size() != self.next_index {
                return Err(self.corrupt());
            }
            self.segment += 1;
            self.offset = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
            self.piece.clear();
            self.taken = 0;
        }
    }

    fn frame_here(&mut self, disk: &dyn Disk) -> Result<Option<Frame>, ReadBackError> {
        let mut read = Frame::read_back(self.left());
        if read.is_err() {
            // The piece ends within the frame, or was read before the frame was written.
            self.read(disk, PIECE_BYTES)?;
            let length = length_at(&self.piece).unwrap_or_default();
            if length > self.piece.len() {
                self.read(disk, length.next_multiple_of(BLOCK_BYTES))?;
            }
            read = Frame::read_back(self.left());
        }
        let Ok((frame, used)) = read else { return Ok(None) };
        if frame.first_index != self.next_index {
            return Err(self.corrupt());
        }
        let length = u64::try_from(used).unwrap_or_default();
        self.taken += used;
        let place =
            FramePlace { segment: self.segment, offset: self.offset, first_index: self.next_index };
        self.last = Some((place, length));
        self.offset += length;
        self.next_index += u64::try_from(frame.items.len()).unwrap_or_default();
        Ok(Some(frame))
    }

    fn read(&mut self, disk: &dyn Disk, length: usize) -> Result<(), ReadBackError> {
        self.piece = disk.read_range(&file_name(self.segment), self.offset, length)?;
        self.taken = 0;
        Ok(())
    }

    /// What was read and not taken yet.
    fn left(&self) -> &[u8] {
        self.piece.get(self.taken..).unwrap_or_default()
    }

    fn corrupt(&self) -> ReadBackError {
        ReadBackError::Corrupt { file: file_name(self.segment), offset: self.offset }
    }
}

fn header(disk: &dyn Disk, number: u64) -> Result<SegmentHeader, ReadBackError> {
    let file = file_name(number);
    let block = disk.read_range(&file, 0, BLOCK_BYTES)?;
    SegmentHeader::parse(&block).map_err(|_| ReadBackError::Corrupt { file, offset: 0 })
}
