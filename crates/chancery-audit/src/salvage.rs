//! What can still be read of a log that is damaged: its frames, and which records are lost between them.
//!
//! [`FrameReader`](crate::frames::FrameReader) stops at the first thing that is not what it must be. This goes on: it
//! looks at every block of every segment for a frame that follows, or in a dense one at every row of its table, and says
//! what lies between. Frames are told by
//! their checksums alone, which keep out accidents and nobody who alters files on purpose: what they hold is to be
//! opened and held against its leaf before anybody believes it.

use std::io;
use std::ops::Range;

use crate::disk::Disk;
use crate::frame::Frame;
use crate::segment::{BLOCK_BYTES, file_name};
use crate::segments::{OpenDense, Segments, header, open_dense};

/// What comes next in a damaged log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Salvaged {
    /// A frame that is whole.
    Frame(Box<Frame>),
    /// Records that no whole frame holds.
    Lost(Range<u64>),
}

/// Goes through a range of records.
pub struct Salvage<'d> {
    disk: &'d dyn Disk,
    /// The records to come.
    range: Range<u64>,
    /// The segments to come, the last first.
    segments: Vec<u64>,
    /// The segment that is looked at.
    looked: Looked,
    /// A frame that was found behind records that are lost.
    found: Option<Box<Frame>>,
}

impl<'d> Salvage<'d> {
    /// Begins with the record at `range.start`.
    ///
    /// # Errors
    ///
    /// The system's, if the directory cannot be read. What a file holds that cannot be read is lost.
    pub fn new(disk: &'d dyn Disk, range: Range<u64>) -> io::Result<Self> {
        let mut segments: Vec<u64> = Segments::list(disk)?.numbers().rev().collect();
        if let Some(first) = segments.iter().position(|it| begins_by(disk, *it, range.start)) {
            segments.truncate(first + 1);
        }
        Ok(Self { disk, range, segments, looked: Looked::nothing(), found: None })
    }

    /// The next whole frame with records of the range.
    fn find(&mut self) -> Option<Box<Frame>> {
        loop {
            while let Some(frame) = self.looked.next_frame() {
                let records = frame.first_index..frame.end_index();
                if records.start < self.range.end && records.end > self.range.start {
                    return Some(Box::new(frame));
                }
            }
            self.looked = Looked::at(self.disk, self.segments.pop()?);
        }
    }

    /// What lies before `end`, which nothing holds.
    fn lost_until(&mut self, end: u64) -> Salvaged {
        Salvaged::Lost(std::mem::replace(&mut self.range.start, end)..end)
    }
}

impl Iterator for Salvage<'_> {
    type Item = Salvaged;

    fn next(&mut self) -> Option<Salvaged> {
        if self.range.is_empty() {
            return None;
        }
        match self.found.take().or_else(|| self.find()) {
            None => Some(self.lost_until(self.range.end)),
            Some(frame) if frame.first_index > self.range.start => {
                let lost = self.lost_until(frame.first_index);
                self.found = Some(frame);
                Some(lost)
            }
            Some(frame) => {
                self.range.start = frame.end_index();
                Some(Salvaged::Frame(frame))
            }
        }
    }
}

/// How many records a log has by its last whole frame.
///
/// # Errors
///
/// The system's, if the directory cannot be read.
pub fn size(disk: &dyn Disk) -> io::Result<u64> {
    for number in Segments::list(disk)?.numbers().rev() {
        if let Some(frame) = Looked::at(disk, number).last_frame() {
            return Ok(frame.end_index());
        }
        if let Ok(header) = header(disk, number) {
            return Ok(header.frontier.size());
        }
    }
    Ok(0)
}

/// A segment that is looked at, and how far that has come.
enum Looked {
    /// As it was written, up to an offset.
    Padded(Vec<u8>, usize),
    /// In its dense form, up to a row of its frame table.
    Dense(Box<OpenDense>, u32),
}

impl Looked {
    fn nothing() -> Self {
        Self::Padded(Vec::new(), 0)
    }

    /// From the beginning. Of one that cannot be read there is nothing.
    fn at(disk: &dyn Disk, number: u64) -> Self {
        if let Ok(bytes) = disk.read_whole(&file_name(number)) {
            return Self::Padded(bytes, BLOCK_BYTES);
        }
        open_dense(disk, number)
            .map_or_else(|_| Self::nothing(), |dense| Self::Dense(Box::new(dense), 0))
    }

    /// The next frame that is whole.
    fn next_frame(&mut self) -> Option<Frame> {
        match self {
            Self::Padded(bytes, offset) => {
                while let Some(rest) = bytes.get(*offset..).filter(|it| !it.is_empty()) {
                    if let Ok((frame, length)) = Frame::read_back(rest) {
                        *offset += length;
                        return Some(frame);
                    }
                    *offset += BLOCK_BYTES;
                }
                None
            }
            Self::Dense(dense, row) => {
                while *row < dense.head().frames {
                    let frame = frame_of(dense, *row);
                    *row += 1;
                    if frame.is_some() {
                        return frame;
                    }
                }
                None
            }
        }
    }

    /// The last frame that is whole.
    fn last_frame(mut self) -> Option<Frame> {
        match &mut self {
            Self::Padded(bytes, _) => {
                let mut blocks = (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES).rev();
                blocks.find_map(|at| Some(Frame::read_back(bytes.get(at..)?).ok()?.0))
            }
            Self::Dense(dense, _) => {
                let mut rows = (0..dense.head().frames).rev();
                rows.find_map(|row| frame_of(dense, row))
            }
        }
    }
}

fn frame_of(dense: &mut OpenDense, row: u32) -> Option<Frame> {
    Some(Frame::read_back(&dense.frame(row).ok()?).ok()?.0)
}

/// Whether a segment says that it begins with the record at `index`, or before it.
fn begins_by(disk: &dyn Disk, number: u64, index: u64) -> bool {
    header(disk, number).is_ok_and(|header| header.frontier.size() <= index)
}
