//! The segments of a log, each in the form that it has: as it was preallocated and written, or dense.
//!
//! Everything that reads closed segments comes through here, and knows a frame by its place in the segment as it was
//! written, whichever form is there. While a segment is being repacked both are: the first form counts until it is
//! gone. A repack may come between two reads, so that a file that is missing in one form is looked for in the other.

use std::collections::BTreeSet;
use std::io;

use crate::dense::{self, Dense, DenseError, DenseHead};
use crate::disk::{Disk, DiskFile};
use crate::frame::{FRAME_HEADER_BYTES, Frame, length_at};
use crate::frames::ReadBackError;
use crate::pruned::Pruned;
use crate::segment::{self, BLOCK_BYTES, SegmentHeader};

/// A dense segment on a disk.
pub(crate) type OpenDense = Dense<Box<dyn DiskFile>>;

/// Which segments a log has, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// Those that are there as they were written.
    pub padded: BTreeSet<u64>,
    /// Those that are there in their dense form; one that is in both is being repacked.
    pub dense: BTreeSet<u64>,
}

impl Segments {
    /// Lists them.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn list(disk: &dyn Disk) -> io::Result<Self> {
        let mut segments = Self::default();
        disk.list()?.iter().for_each(|name| {
            segments.take(name);
        });
        Ok(segments)
    }

    /// Takes a file's name, if it is a segment's.
    pub(crate) fn take(&mut self, name: &str) -> bool {
        if let Some(number) = segment::file_number(name) {
            self.padded.insert(number);
            return true;
        }
        dense::file_number(name).is_some_and(|number| {
            self.dense.insert(number);
            true
        })
    }

    /// The numbers of all, in order.
    #[must_use]
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        let mut numbers: Vec<u64> = self.padded.union(&self.dense).copied().collect();
        numbers.sort_unstable();
        numbers.into_iter()
    }
}

/// A segment's bytes, in the form that counts.
pub(crate) enum SegmentBytes {
    /// As it was written.
    Padded(Vec<u8>),
    /// In its dense form.
    Dense(Vec<u8>),
}

/// Reads a segment whole.
///
/// # Errors
///
/// The system's.
pub(crate) fn read_whole(disk: &dyn Disk, number: u64) -> io::Result<SegmentBytes> {
    match disk.read_whole(&segment::file_name(number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.read_whole(&dense::file_name(number)).map(SegmentBytes::Dense)
        }
        read => read.map(SegmentBytes::Padded),
    }
}

/// The header of a segment.
///
/// # Errors
///
/// [`ReadBackError`] if there is none in either form.
pub fn header(disk: &dyn Disk, number: u64) -> Result<SegmentHeader, ReadBackError> {
    let corrupt = |file| move |_| ReadBackError::Corrupt { file, offset: 0 };
    let file = segment::file_name(number);
    match disk.read_range(&file, 0, BLOCK_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = dense::file_name(number);
            let block = disk.read_range(&file, 0, BLOCK_BYTES)?;
            DenseHead::parse(&block).map(|head| head.segment).map_err(corrupt(file))
        }
        block => SegmentHeader::parse(&block?).map_err(corrupt(file)),
    }
}

/// Opens the dense form of a segment.
///
/// # Errors
///
/// [`ReadBackError`] if there is none.
pub(crate) fn open_dense(disk: &dyn Disk, number: u64) -> Result<OpenDense, ReadBackError> {
    let file = disk.open(&dense::file_name(number))?;
    Dense::open(file).map_err(|error| read_back(number, error))
}

/// What is wrong in a dense segment, by the name of its file.
pub(crate) fn read_back(number: u64, error: DenseError) -> ReadBackError {
    match error {
        DenseError::Corrupt { offset, .. } => {
            ReadBackError::Corrupt { file: dense::file_name(number), offset }
        }
        DenseError::Io(error) => ReadBackError::Disk(error),
    }
}

/// Reads the frame that stands at an offset of a segment, in whichever form that is.
///
/// # Errors
///
/// The system's; `InvalidData` if no frame stands there.
pub fn read_frame_at(disk: &dyn Disk, number: u64, offset: u64) -> io::Result<Frame> {
    let bytes = match disk.open(&segment::file_name(number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            dense_frame_at(disk, number, offset)?
        }
        file => padded_frame_at(&*file?, offset)?,
    };
    let (frame, _) = Frame::decode(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(frame)
}

fn padded_frame_at(file: &dyn DiskFile, offset: u64) -> io::Result<Vec<u8>> {
    let start = file.read_at(offset, FRAME_HEADER_BYTES)?;
    let length = length_at(&start).ok_or(io::ErrorKind::InvalidData)?;
    file.read_at(offset, length.next_multiple_of(BLOCK_BYTES))
}

fn dense_frame_at(disk: &dyn Disk, number: u64, offset: u64) -> io::Result<Vec<u8>> {
    let refused = |error: DenseError| match error {
        DenseError::Io(error) => error,
        corrupt @ DenseError::Corrupt { .. } => io::Error::new(io::ErrorKind::InvalidData, corrupt),
    };
    let file = disk.open(&dense::file_name(number)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Pruned::explains(disk, number).map_or(error, |pruned| pruned.error())
        }
        _ => error,
    });
    let mut dense = Dense::open(file?).map_err(refused)?;
    let block = block_of(offset).ok_or(io::ErrorKind::InvalidData)?;
    let found = dense.frame_at(block).map_err(refused)?;
    dense.frame(found.ok_or(io::ErrorKind::InvalidData)?).map_err(refused)
}

/// The block that an offset in a segment is the start of.
pub(crate) fn block_of(offset: u64) -> Option<u32> {
    let block = u64::try_from(BLOCK_BYTES).ok()?;
    offset.is_multiple_of(block).then(|| u32::try_from(offset / block).ok()).flatten()
}
