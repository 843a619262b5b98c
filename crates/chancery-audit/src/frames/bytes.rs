//! Frames as bytes, for who hands them on: their checksums are looked at, and nothing is decoded.

use super::{FrameReader, PIECE_BYTES, ReadBackError};
use crate::dense;
use crate::disk::Disk;
use crate::frame::{FRAME_HEADER_BYTES, FrameFacts, FrameView};
use crate::segment::BLOCK_BYTES;
use crate::segments::read_back;

/// What became of appending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The frame is there, padding not.
    Frame(FrameFacts),
    /// No frame follows that is durable.
    Nothing,
    /// The next frame takes more than there is room for, and is still the next. Nothing of what it says was checked.
    TooLong(FrameFacts),
}

impl FrameReader {
    /// Appends the next frame as it stands, if it takes `room` bytes at most.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if what stands there is another one. A frame that is being written is none yet.
    pub fn append_next(
        &mut self,
        disk: &dyn Disk,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<Appended, ReadBackError> {
        loop {
            let padded = |reader: &mut Self, disk: &dyn Disk| reader.append_padded(disk, room, out);
            let appended = match self.in_first_form(disk, padded)? {
                Some(appended) => appended,
                None => self.append_dense(room, out)?,
            };
            if appended != Appended::Nothing || !self.next_segment(disk)? {
                return Ok(appended);
            }
        }
    }

    fn append_padded(
        &mut self,
        disk: &dyn Disk,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<Appended, ReadBackError> {
        if self.header().is_none() {
            // The piece ends here, or was read before the frame was written.
            self.read(disk, PIECE_BYTES)?;
        }
        let Some(facts) = self.header() else { return Ok(Appended::Nothing) };
        if facts.first_index != self.next_index {
            return Err(self.corrupt());
        }
        let length = usize::try_from(facts.length).unwrap_or(usize::MAX);
        if length > room {
            return Ok(Appended::TooLong(facts));
        }
        if !self.append_left(out) {
            self.read(disk, PIECE_BYTES.max(length.next_multiple_of(BLOCK_BYTES)))?;
            if !self.append_left(out) {
                return Ok(Appended::Nothing);
            }
        }
        let padded = length.next_multiple_of(BLOCK_BYTES);
        self.taken += padded;
        self.step(facts.end_index(), padded);
        Ok(Appended::Frame(facts))
    }

    /// What the next frame says of itself, as far as it was read.
    fn header(&self) -> Option<FrameFacts> {
        FrameFacts::of(self.left().first_chunk::<FRAME_HEADER_BYTES>()?).ok()
    }

    /// Appends the next frame, if it was read whole.
    fn append_left(&self, out: &mut Vec<u8>) -> bool {
        let frame = FrameView::read(self.left());
        frame.is_ok_and(|frame| {
            out.extend_from_slice(frame.bytes());
            true
        })
    }

    fn append_dense(&mut self, room: usize, out: &mut Vec<u8>) -> Result<Appended, ReadBackError> {
        let segment = self.segment;
        let Some((dense, row)) = &mut self.dense else { return Ok(Appended::Nothing) };
        if *row == dense.head().frames {
            return Ok(Appended::Nothing);
        }
        let offset = dense.head().frame_row_offset(*row);
        let corrupt = || ReadBackError::Corrupt { file: dense::file_name(segment), offset };
        let header = dense.row(*row).map_err(|error| read_back(segment, error))?.header;
        let facts = FrameFacts::of(&header).map_err(|_| corrupt())?;
        if facts.first_index != self.next_index {
            return Err(corrupt());
        }
        if usize::try_from(facts.length).is_ok_and(|length| length > room) {
            return Ok(Appended::TooLong(facts));
        }
        let bytes = dense.frame(*row).map_err(|error| read_back(segment, error))?;
        let frame = FrameView::read(&bytes).map_err(|_| corrupt())?;
        out.extend_from_slice(frame.bytes());
        *row += 1;
        self.step(facts.end_index(), bytes.len());
        Ok(Appended::Frame(facts))
    }

    /// Goes on to the frame that holds the record at `index`; whether that is durable.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if the way there is not whole.
    pub fn seek(&mut self, disk: &dyn Disk, index: u64) -> Result<bool, ReadBackError> {
        let mut passed = Vec::new();
        loop {
            // Without room for it, the next frame says what it has and is not passed.
            match self.append_next(disk, 0, &mut passed)? {
                Appended::TooLong(facts) if facts.end_index() > index => return Ok(true),
                Appended::TooLong(_) => {}
                Appended::Nothing | Appended::Frame(_) => return Ok(false),
            }
            passed.clear();
            self.append_next(disk, usize::MAX, &mut passed)?;
        }
    }

    /// The beginning of the segment in which the record at `index` stands, or would.
    ///
    /// # Errors
    ///
    /// [`ReadBackError`] if the segments cannot be listed, or it was pruned.
    pub fn in_segment_of(disk: &dyn Disk, index: u64) -> Result<Self, ReadBackError> {
        Self::segment_of(disk, index)
    }
}
