//! Reads a dense segment: a frame as it stood in the segment, or one record, with a few short reads.
//!
//! Whoever reads a frame may read it out of order; [`Dense::check`] and then every frame in turn is what shows that
//! every byte of the file is as it was written.

use std::borrow::Cow;
use std::io;

use super::BUNDLE_RECORDS;
use super::layout::{
    BUNDLE_ROW_BYTES, BundleRow, CHECKSUM_BYTES, DenseHead, FRAME_ROW_BYTES, FrameRow, checked,
    widen,
};
use crate::codec::{LayoutError, Reader};
use crate::disk::DiskFile;
use crate::frame::{FRAME_HEADER_BYTES, Item, item_length_at};
use crate::segment::BLOCK_BYTES;

/// A bundle has at most so many bytes: 1 GiB, far beyond 256 items of the longest.
const BUNDLE_BYTES_MAX: u32 = 1 << 30;

/// Bytes that are read by their position.
pub trait Source {
    /// Reads `length` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::UnexpectedEof`] if there are fewer.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Cow<'_, [u8]>>;
}

impl Source for Vec<u8> {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Cow<'_, [u8]>> {
        range(self, offset, length)
    }
}

impl Source for &[u8] {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Cow<'_, [u8]>> {
        range(self, offset, length)
    }
}

impl Source for Box<dyn DiskFile> {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Cow<'_, [u8]>> {
        DiskFile::read_at(&**self, offset, length).map(Cow::Owned)
    }
}

fn range(bytes: &[u8], offset: u64, length: usize) -> io::Result<Cow<'_, [u8]>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Cow::Borrowed(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?))
}

/// A dense segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DenseError {
    /// The bytes at an offset of the file are not what they must be.
    #[error("at offset {offset}: {what}")]
    Corrupt {
        /// The byte offset in the dense file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The system refused.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}

/// The bundle that was read last.
#[derive(Debug)]
struct Bundle {
    number: u32,
    items: Vec<u8>,
    /// Where each item ends.
    ends: Vec<usize>,
}

/// A dense segment.
#[derive(Debug)]
pub struct Dense<S> {
    source: S,
    head: DenseHead,
    bundle: Option<Bundle>,
}

impl<S: Source> Dense<S> {
    /// Reads the head.
    ///
    /// # Errors
    ///
    /// [`DenseError`] if there is none.
    pub fn open(source: S) -> Result<Self, DenseError> {
        let block = read(&source, 0, BLOCK_BYTES, "the file ends within its head")?;
        let head = DenseHead::parse(&block)
            .map_err(|_| corrupt(0, "the dense segment's head is altered"))?;
        Ok(Self { source, head, bundle: None })
    }

    /// What it says of itself.
    #[must_use]
    pub fn head(&self) -> &DenseHead {
        &self.head
    }

    /// The row of a frame, counted from the segment's first.
    ///
    /// # Errors
    ///
    /// [`DenseError`] if it is altered, or there is none of that number.
    pub fn row(&self, number: u32) -> Result<FrameRow, DenseError> {
        let offset = self.head.frame_row_offset(number);
        if number >= self.head.frames {
            return Err(corrupt(offset, "the segment has no such frame"));
        }
        let what = "the row of a frame is altered";
        let bytes = read(&self.source, offset, FRAME_ROW_BYTES, what)?;
        FrameRow::parse(&bytes).map_err(|_| corrupt(offset, what))
    }

    /// The frame that stands at a block of the segment; the number of frames if the last one ends there.
    ///
    /// # Errors
    ///
    /// [`DenseError`] if the way there is altered; nothing if no frame begins or ends there.
    pub fn frame_at(&self, block: u32) -> Result<Option<u32>, DenseError> {
        let number = self.partition(|row| Ok(row.block < block))?;
        if number == self.head.frames {
            return Ok((self.end_block()? == block).then_some(number));
        }
        Ok((self.row(number)?.block == block).then_some(number))
    }

    /// The frame that holds a record.
    ///
    /// # Errors
    ///
    /// [`DenseError`] if the way there is altered; nothing if the segment does not have the record.
    pub fn frame_of(&self, index: u64) -> Result<Option<u32>, DenseError> {
        let ends = |row: &FrameRow| row.facts().map(|facts| facts.end_index());
        let number = self.partition(|row| Ok(ends(row)? <= index))?;
        if number == self.head.frames {
            return Ok(None);
        }
        Ok((index >= self.head.segment.frontier.size()).then_some(number))
    }

    /// The number of rows from the first on of which something holds that holds of no later one.
    fn partition(
        &self,
        holds: impl Fn(&FrameRow) -> Result<bool, LayoutError>,
    ) -> Result<u32, DenseError> {
        let (mut low, mut high) = (0, self.head.frames);
        while low < high {
            let middle = low + (high - low) / 2;
            let altered = |_| self.altered_frame(middle);
            if holds(&self.row(middle)?).map_err(altered)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The block behind the last frame.
    fn end_block(&self) -> Result<u32, DenseError> {
        let Some(last) = self.head.frames.checked_sub(1) else { return Ok(1) };
        let row = self.row(last)?;
        let facts = row.facts().map_err(|_| self.altered_frame(last))?;
        row.block.checked_add(facts.blocks()).ok_or_else(|| self.altered_frame(last))
    }

    /// A frame as it stood in the segment, padding included.
    ///
    /// # Errors
    ///
    /// [`DenseError`], which names the offset in the dense file.
    pub fn frame(&mut self, number: u32) -> Result<Vec<u8>, DenseError> {
        let mut bytes = Vec::new();
        self.append_frame(number, &mut bytes).map(|()| bytes)
    }

    /// The same behind other bytes; where it fails, what is there of it is of no use.
    ///
    /// # Errors
    ///
    /// [`DenseError`], which names the offset in the dense file.
    pub fn append_frame(&mut self, number: u32, bytes: &mut Vec<u8>) -> Result<(), DenseError> {
        let row = self.row(number)?;
        let facts = row.facts().map_err(|_| self.altered_frame(number))?;
        let length = usize::try_from(facts.length).map_err(io::Error::other)?;
        let start = bytes.len();
        bytes.reserve(length.next_multiple_of(BLOCK_BYTES));
        bytes.extend_from_slice(&row.header);
        for index in facts.first_index..facts.end_index() {
            bytes.extend_from_slice(self.item_bytes(index)?);
            // Of a header that is altered nobody knows how many items it may ask for.
            if bytes.len() - start > length {
                return Err(self.altered_frame(number));
            }
        }
        bytes.extend_from_slice(&row.checksum);
        if bytes.len() - start != length || length < FRAME_HEADER_BYTES + CHECKSUM_BYTES {
            return Err(self.altered_frame(number));
        }
        bytes.resize(start + length.next_multiple_of(BLOCK_BYTES), 0);
        Ok(())
    }

    /// One record by its index.
    ///
    /// # Errors
    ///
    /// [`DenseError`] if it, or the way there, is altered; nothing if the segment does not have it.
    pub fn item(&mut self, index: u64) -> Result<Option<Item>, DenseError> {
        if self.head.bundle_of(index).is_none() || self.frame_of(index)?.is_none() {
            return Ok(None);
        }
        let mut reader = Reader::new(self.item_bytes(index)?);
        let item = Item::read(&mut reader).and_then(|item| reader.end().map(|()| item));
        let altered = |_| corrupt(self.head.bundles_offset(), "a record is altered");
        Ok(Some(item.map_err(altered)?))
    }

    fn item_bytes(&mut self, index: u64) -> Result<&[u8], DenseError> {
        let missing = corrupt(self.head.bundles_offset(), "a frame has a record that is missing");
        let Some(number) = self.head.bundle_of(index) else { return Err(missing) };
        if self.bundle.as_ref().is_none_or(|bundle| bundle.number != number) {
            self.bundle = Some(self.read_bundle(number)?);
        }
        let position = usize::try_from(index - self.head.bundle_start(number));
        let item = self.bundle.as_ref().zip(position.ok());
        item.and_then(|(bundle, position)| bundle.item(position)).ok_or(missing)
    }

    /// The row of a bundle.
    ///
    /// # Errors
    ///
    /// [`DenseError`] if it is altered.
    pub fn bundle_row(&self, number: u32) -> Result<BundleRow, DenseError> {
        let offset = self.head.bundle_row_offset(number);
        let what = "the row of a bundle is altered";
        let bytes = read(&self.source, offset, BUNDLE_ROW_BYTES, what)?;
        let row = BundleRow::parse(&bytes).ok();
        let is_ours = |row: &BundleRow| {
            row.first_index == self.head.bundle_start(number) && row.bytes <= BUNDLE_BYTES_MAX
        };
        row.filter(is_ours).ok_or(corrupt(offset, what))
    }

    fn read_bundle(&self, number: u32) -> Result<Bundle, DenseError> {
        let row = self.bundle_row(number)?;
        let altered = || corrupt(row.offset, "a bundle of records is altered");
        let length = usize::try_from(row.bytes).map_err(io::Error::other)?;
        let bytes = read(&self.source, row.offset, length, "a bundle of records is cut")?;
        let items = checked(&bytes).map_err(|_| altered())?.len();
        let mut bytes = bytes.into_owned();
        bytes.truncate(items);
        let bundle = Bundle::of(number, bytes).ok_or_else(altered)?;
        let full = BUNDLE_RECORDS - row.first_index % BUNDLE_RECORDS;
        let count = widen(bundle.ends.len());
        let is_last = number + 1 == self.head.bundles;
        if count == full || (is_last && count < full) { Ok(bundle) } else { Err(altered()) }
    }

    /// Checks how the file is laid out: that its bundles follow one another to its end, that its frames follow one
    /// another in the segment, and that their records are those of the bundles. `file_bytes` is what the file has.
    ///
    /// # Errors
    ///
    /// [`DenseError`], which names the first offset at which something is wrong.
    pub fn check(&self, file_bytes: u64) -> Result<(), DenseError> {
        let (mut block, mut index) = (1, self.head.segment.frontier.size());
        for number in 0..self.head.frames {
            let row = self.row(number)?;
            let facts = row.facts().map_err(|_| self.altered_frame(number))?;
            if row.block != block || facts.first_index != index {
                return Err(self.altered_frame(number));
            }
            block = block.checked_add(facts.blocks()).ok_or_else(|| self.altered_frame(number))?;
            index = facts.end_index();
        }
        self.check_bundles(index, file_bytes)?;
        let end = u64::from(block) * widen(BLOCK_BYTES);
        // Whole as it was preallocated, or cut behind its last frame.
        if [end, self.head.segment.bytes.max(end)].contains(&self.head.segment_bytes) {
            return Ok(());
        }
        Err(corrupt(0, "the segment is said to end where no segment does"))
    }

    fn check_bundles(&self, end_index: u64, file_bytes: u64) -> Result<(), DenseError> {
        let last = end_index.checked_sub(1).filter(|_| self.head.frames > 0);
        if last.map_or(Some(0), |last| self.head.bundle_of(last).map(|number| number + 1))
            != Some(self.head.bundles)
        {
            return Err(corrupt(0, "the segment's bundles are not those of its frames"));
        }
        let mut offset = self.head.bundles_offset();
        for number in 0..self.head.bundles {
            let row = self.bundle_row(number)?;
            if row.offset != offset {
                let at = self.head.bundle_row_offset(number);
                return Err(corrupt(at, "a bundle is said to be where it is not"));
            }
            offset += u64::from(row.bytes);
        }
        if offset != self.head.file_bytes {
            return Err(corrupt(0, "the file is said to have another length than it needs"));
        }
        if file_bytes != self.head.file_bytes {
            let at = file_bytes.min(self.head.file_bytes);
            return Err(corrupt(at, "the file was cut, or has grown"));
        }
        Ok(())
    }

    fn altered_frame(&self, number: u32) -> DenseError {
        corrupt(self.head.frame_row_offset(number), "a frame is altered")
    }
}

impl Bundle {
    fn of(number: u32, items: Vec<u8>) -> Option<Self> {
        let mut ends = Vec::new();
        let mut end = 0;
        while let Some(rest) = items.get(end..).filter(|rest| !rest.is_empty()) {
            end += item_length_at(rest)?;
            ends.push(end);
        }
        (end == items.len()).then_some(Self { number, items, ends })
    }

    fn item(&self, position: usize) -> Option<&[u8]> {
        let start = match position.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.items.get(start..*self.ends.get(position)?)
    }
}

fn read<'s>(
    source: &'s impl Source,
    offset: u64,
    length: usize,
    what: &'static str,
) -> Result<Cow<'s, [u8]>, DenseError> {
    source.read_at(offset, length).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => corrupt(offset, what),
        _ => DenseError::Io(error),
    })
}

fn corrupt(offset: u64, what: &'static str) -> DenseError {
    DenseError::Corrupt { offset, what }
}
