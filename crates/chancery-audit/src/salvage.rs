//! What can still be read of a log that is damaged: its frames, and which records are lost between them.
//!
//! [`FrameReader`](crate::frames::FrameReader) stops at the first thing that is not what it must be. This goes on: it
//! looks at every block of every segment for a frame that follows, and says what lies between. Frames are told by
//! their checksums alone, which keep out accidents and nobody who alters files on purpose: what they hold is to be
//! opened and held against its leaf before anybody believes it.

use std::io;
use std::ops::Range;

use crate::disk::Disk;
use crate::frame::Frame;
use crate::segment::{BLOCK_BYTES, SegmentHeader, file_name, file_number};

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
    /// The segment that is looked at, and how far that has come.
    bytes: Vec<u8>,
    offset: usize,
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
        let mut segments = segments(disk)?;
        segments.reverse();
        if let Some(first) = segments.iter().position(|it| begins_by(disk, *it, range.start)) {
            segments.truncate(first + 1);
        }
        Ok(Self { disk, range, segments, bytes: Vec::new(), offset: 0, found: None })
    }

    /// The next whole frame with records of the range.
    fn find(&mut self) -> Option<Box<Frame>> {
        loop {
            while let Some(rest) = self.bytes.get(self.offset..).filter(|it| !it.is_empty()) {
                let Ok((frame, encoded)) = Frame::decode(rest) else {
                    self.offset += BLOCK_BYTES;
                    continue;
                };
                self.offset += encoded.bytes.len();
                let records = frame.first_index..frame.end_index();
                if records.start < self.range.end && records.end > self.range.start {
                    return Some(Box::new(frame));
                }
            }
            let number = self.segments.pop()?;
            self.bytes = self.disk.read_whole(&file_name(number)).unwrap_or_default();
            self.offset = BLOCK_BYTES;
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
    for number in segments(disk)?.into_iter().rev() {
        let bytes = disk.read_whole(&file_name(number)).unwrap_or_default();
        let blocks = (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES).rev();
        let frames = blocks.filter_map(|at| Frame::decode(bytes.get(at..)?).ok());
        if let Some((frame, _)) = frames.into_iter().next() {
            return Ok(frame.end_index());
        }
        if let Some(header) = header(disk, number) {
            return Ok(header.frontier.size());
        }
    }
    Ok(0)
}

/// The numbers of the segments, ascending.
fn segments(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(|name| file_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether a segment says that it begins with the record at `index`, or before it.
fn begins_by(disk: &dyn Disk, number: u64, index: u64) -> bool {
    header(disk, number).is_some_and(|header| header.frontier.size() <= index)
}

fn header(disk: &dyn Disk, number: u64) -> Option<SegmentHeader> {
    SegmentHeader::parse(&disk.read_range(&file_name(number), 0, BLOCK_BYTES).ok()?).ok()
}
