//! Reads frames back from the disk, one after the other, from any record on.
//!
//! This is for what is derived from the log while it grows: it reads past the page cache, a piece at a time,
//! and stops where nothing more is durable. Whether the frames are the log's is not decided here: whoever
//! reads them computes the tree over their records and holds it against a root that is known. In which form a segment
//! is makes no difference to who reads: places are those of the segment as it was written.

use std::io;

use crate::codec::LayoutError;
use crate::dense;
use crate::disk::{Disk, Piece};
use crate::frame::{Frame, FrameView, length_at};
use crate::index::FramePlace;
use crate::pruned::Pruned;
use crate::segment::{BLOCK_BYTES, file_name};
use crate::segments::{OpenDense, Segments, block_of, header, open_dense, read_back};

mod bytes;

pub use bytes::Appended;

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
    /// The system refused, or the frames were pruned, as it then says.
    #[error("the log cannot be read back: {0}")]
    Disk(#[from] io::Error),
}

/// A frame that was read, and whose checksum is right.
enum Ready {
    /// So many bytes of what was read and not taken.
    Left(usize),
    /// These.
    Apart(Vec<u8>),
}

/// A place between two frames.
#[derive(Debug)]
pub struct FrameReader {
    segment: u64,
    offset: u64,
    next_index: u64,
    /// What was read, from `offset` on behind what of it was taken.
    piece: Piece,
    taken: usize,
    /// Where the last frame that was given stands, and how long it is with its padding.
    last: Option<(FramePlace, u64)>,
    /// The segment's dense form, where it has no other any more, and the row of the next frame.
    dense: Option<(OpenDense, u32)>,
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
        Self {
            segment,
            offset,
            next_index,
            piece: Piece::default(),
            taken: 0,
            last: None,
            dense: None,
        }
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
        for number in Segments::list(disk)?.numbers().rev() {
            let first = header(disk, number)?.frontier.size();
            if first <= index {
                let offset = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
                return Ok(Self::at(FramePlace { segment: number, offset, first_index: first }));
            }
        }
        match Pruned::explains(disk, 0) {
            Some(pruned) => Err(pruned.error().into()),
            None => Err(ReadBackError::Corrupt { file: file_name(0), offset: 0 }),
        }
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
        self.look_at_next(disk, |frame, _| frame.to_frame())
    }

    /// Looks at the next frame where it was read, without a copy of it, and is told where it stands; nothing if none is
    /// durable yet.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if what stands there is another one, or `look` finds it to be none.
    pub fn look_at_next<T>(
        &mut self,
        disk: &dyn Disk,
        look: impl FnOnce(&FrameView<'_>, FramePlace) -> Result<T, LayoutError>,
    ) -> Result<Option<T>, ReadBackError> {
        loop {
            if let Some(ready) = self.ready_in_segment(disk)? {
                return self.look_at(&ready, look).map(Some);
            }
            if !self.next_segment(disk)? {
                return Ok(None);
            }
        }
    }

    /// Where no frame follows, the next segment does, or nothing.
    fn next_segment(&mut self, disk: &dyn Disk) -> Result<bool, ReadBackError> {
        let next = match header(disk, self.segment + 1) {
            Err(ReadBackError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            next => next?,
        };
        if next.frontier.size() != self.next_index {
            return Err(self.corrupt());
        }
        self.segment += 1;
        self.offset = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
        self.forget();
        self.dense = None;
        Ok(true)
    }

    /// Looks at the next frame of the same segment, if there is one.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if what stands there is another one, or `look` finds it to be none.
    pub(crate) fn look_at_next_in_segment<T>(
        &mut self,
        disk: &dyn Disk,
        look: impl FnOnce(&FrameView<'_>, FramePlace) -> Result<T, LayoutError>,
    ) -> Result<Option<T>, ReadBackError> {
        let ready = self.ready_in_segment(disk)?;
        ready.map(|ready| self.look_at(&ready, look)).transpose()
    }

    /// Reads the next frame of the same segment, if there is one.
    fn ready_in_segment(&mut self, disk: &dyn Disk) -> Result<Option<Ready>, ReadBackError> {
        match self.in_first_form(disk, Self::padded_frame)? {
            Some(length) => Ok(length.map(Ready::Left)),
            None => self.dense_frame().map(|bytes| bytes.map(Ready::Apart)),
        }
    }

    /// Looks at a frame that was read, and goes on behind it.
    fn look_at<T>(
        &mut self,
        ready: &Ready,
        look: impl FnOnce(&FrameView<'_>, FramePlace) -> Result<T, LayoutError>,
    ) -> Result<T, ReadBackError> {
        let (bytes, used) = match ready {
            Ready::Left(length) => (self.left().get(..*length).unwrap_or_default(), *length),
            Ready::Apart(bytes) => (bytes.as_slice(), 0),
        };
        let frame = FrameView::of_checked(bytes).map_err(|_| self.corrupt())?;
        if frame.facts.first_index != self.next_index {
            return Err(self.corrupt());
        }
        let seen = look(&frame, self.place()).map_err(|_| self.corrupt())?;
        let (end, padded) = (frame.facts.end_index(), frame.padded_bytes());
        self.taken += used.next_multiple_of(BLOCK_BYTES);
        self.step(end, padded);
        Ok(seen)
    }

    /// What reading the segment in its first form gives; nothing if it has another one now.
    fn in_first_form<T>(
        &mut self,
        disk: &dyn Disk,
        read: impl FnOnce(&mut Self, &dyn Disk) -> Result<T, ReadBackError>,
    ) -> Result<Option<T>, ReadBackError> {
        if self.dense.is_some() {
            return Ok(None);
        }
        match read(self, disk) {
            // The segment was repacked, before or between two reads.
            Err(ReadBackError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {
                self.turn_to_dense(disk).map(|()| None)
            }
            read => read.map(Some),
        }
    }

    fn turn_to_dense(&mut self, disk: &dyn Disk) -> Result<(), ReadBackError> {
        let dense = match open_dense(disk, self.segment) {
            Err(ReadBackError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {
                return self.pass_pruned(disk, error);
            }
            opened => opened?,
        };
        let block = block_of(self.offset).ok_or_else(|| self.corrupt())?;
        let row = dense.frame_at(block).map_err(|error| read_back(self.segment, error))?;
        self.dense = Some((dense, row.ok_or_else(|| self.corrupt())?));
        self.forget();
        Ok(())
    }

    /// From the end of what was pruned the log goes on in the segment behind; within it nothing is to be read.
    fn pass_pruned(&mut self, disk: &dyn Disk, error: io::Error) -> Result<(), ReadBackError> {
        match Pruned::explains(disk, self.segment) {
            Some(pruned) if pruned.first_index() == self.next_index => {
                self.segment = pruned.segments - 1;
                Ok(())
            }
            Some(pruned) => Err(pruned.error().into()),
            None => Err(error.into()),
        }
    }

    /// The next frame of the dense form, padding not.
    fn dense_frame(&mut self) -> Result<Option<Vec<u8>>, ReadBackError> {
        let Some((dense, row)) = &mut self.dense else { return Ok(None) };
        if *row == dense.head().frames {
            return Ok(None);
        }
        let mut bytes = dense.frame(*row).map_err(|error| read_back(self.segment, error))?;
        let offset = dense.head().frame_row_offset(*row);
        *row += 1;
        let Ok((frame, _)) = FrameView::read_back(&bytes) else {
            return Err(ReadBackError::Corrupt { file: dense::file_name(self.segment), offset });
        };
        let length = frame.bytes().len();
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// Reads the next frame, and says how long it is without its padding.
    fn padded_frame(&mut self, disk: &dyn Disk) -> Result<Option<usize>, ReadBackError> {
        let length =
            |bytes: &[u8]| FrameView::read_back(bytes).map(|(frame, _)| frame.bytes().len());
        let mut read = length(self.left());
        if read.is_err() {
            // The piece ends within the frame, or was read before the frame was written.
            self.read(disk, PIECE_BYTES)?;
            let claimed = length_at(&self.piece).unwrap_or_default();
            if claimed > self.piece.len() {
                self.read(disk, claimed.next_multiple_of(BLOCK_BYTES))?;
            }
            read = length(self.left());
        }
        Ok(read.ok())
    }

    /// Where the next frame stands in this segment.
    fn place(&self) -> FramePlace {
        FramePlace { segment: self.segment, offset: self.offset, first_index: self.next_index }
    }

    /// Goes on behind a frame that takes so many bytes, where the record at `end` is next.
    fn step(&mut self, end: u64, length: usize) {
        let length = u64::try_from(length).unwrap_or_default();
        self.last = Some((self.place(), length));
        self.offset += length;
        self.next_index = end;
    }

    fn read(&mut self, disk: &dyn Disk, length: usize) -> Result<(), ReadBackError> {
        self.forget();
        Ok(disk.read_piece(&file_name(self.segment), self.offset, length, &mut self.piece)?)
    }

    fn forget(&mut self) {
        self.piece.clear();
        self.taken = 0;
    }

    /// What was read and not taken yet.
    fn left(&self) -> &[u8] {
        self.piece.get(self.taken..).unwrap_or_default()
    }

    pub(crate) fn corrupt(&self) -> ReadBackError {
        ReadBackError::Corrupt { file: file_name(self.segment), offset: self.offset }
    }
}
