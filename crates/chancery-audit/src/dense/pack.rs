//! Makes the dense form of a segment, frame by frame.

use super::BUNDLE_RECORDS;
use super::layout::{
    BUNDLE_ROW_BYTES, BundleRow, CHECKSUM_BYTES, DenseHead, FRAME_ROW_BYTES, FrameRow, widen,
};
use crate::codec::LayoutError;
use crate::frame::{FRAME_HEADER_BYTES, item_length_at, length_at};
use crate::segment::{BLOCK_BYTES, SegmentHeader};

/// Bundles are gathered in parts of so many bytes: 1 MiB. So none of it is moved, however much there comes to be.
const PART_BYTES: usize = 1024 * 1024;

/// A dense segment that is being made.
#[derive(Debug)]
pub struct Packer {
    header: SegmentHeader,
    frames: Vec<FrameRow>,
    /// The bundles one behind the other, each with its checksum but for the last.
    parts: Vec<Vec<u8>>,
    bundles: Vec<Bundle>,
    next_index: u64,
    next_block: u32,
}

/// A bundle that is gathered.
#[derive(Debug, Default)]
struct Bundle {
    /// The bytes of its items.
    length: usize,
    /// Their checksum.
    checksum: u32,
}

impl Packer {
    /// Begins with the header of a segment.
    #[must_use]
    pub fn new(header: SegmentHeader) -> Self {
        let (next_index, next_block) = (header.frontier.size(), 1);
        let (frames, parts, bundles) = (Vec::new(), Vec::new(), Vec::new());
        Self { header, frames, parts, bundles, next_index, next_block }
    }

    /// Takes the next frame of the segment, with its padding or without.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if it is none; then nothing of the segment may be removed.
    pub fn add(&mut self, frame: &[u8]) -> Result<(), LayoutError> {
        let length = length_at(frame).ok_or(LayoutError)?;
        let used = frame.get(..length).ok_or(LayoutError)?;
        let (header, rest) = used.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or(LayoutError)?;
        let (mut items, checksum) = rest.split_last_chunk::<CHECKSUM_BYTES>().ok_or(LayoutError)?;
        while !items.is_empty() {
            let length = item_length_at(items).ok_or(LayoutError)?;
            let (item, others) = items.split_at_checked(length).ok_or(LayoutError)?;
            self.item(item);
            items = others;
        }
        let blocks = u32::try_from(length.div_ceil(BLOCK_BYTES)).map_err(|_| LayoutError)?;
        self.frames.push(FrameRow { block: self.next_block, header: *header, checksum: *checksum });
        self.next_block = self.next_block.checked_add(blocks).ok_or(LayoutError)?;
        Ok(())
    }

    fn item(&mut self, item: &[u8]) {
        if self.bundles.is_empty() || self.next_index.is_multiple_of(BUNDLE_RECORDS) {
            self.close_bundle();
            self.bundles.push(Bundle::default());
        }
        if let Some(bundle) = self.bundles.last_mut() {
            bundle.length += item.len();
            bundle.checksum = crc32c::crc32c_append(bundle.checksum, item);
        }
        self.put(item);
        self.next_index += 1;
    }

    /// Puts the checksum behind the last bundle, if there is one.
    fn close_bundle(&mut self) {
        if let Some(checksum) = self.bundles.last().map(|bundle| bundle.checksum) {
            self.put(&checksum.to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let has_room = |part: &&mut Vec<u8>| part.capacity() - part.len() >= bytes.len();
        if let Some(part) = self.parts.last_mut().filter(has_room) {
            return part.extend_from_slice(bytes);
        }
        let mut part = Vec::with_capacity(PART_BYTES.max(bytes.len()));
        part.extend_from_slice(bytes);
        self.parts.push(part);
    }

    /// Where the frame behind the last would begin in the segment, in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.next_block) * widen(BLOCK_BYTES)
    }

    /// The dense form of the segment, which has `segment_bytes`, as parts one behind the other.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there are more frames or records than a segment can have.
    pub fn finish(mut self, segment_bytes: u64) -> Result<Vec<Vec<u8>>, LayoutError> {
        self.close_bundle();
        let count = |length: usize| u32::try_from(length).map_err(|_| LayoutError);
        let tables = self.frames.len() * FRAME_ROW_BYTES + self.bundles.len() * BUNDLE_ROW_BYTES;
        let bundled: usize = self.parts.iter().map(Vec::len).sum();
        let head = DenseHead {
            segment: self.header,
            segment_bytes,
            frames: count(self.frames.len())?,
            bundles: count(self.bundles.len())?,
            file_bytes: widen(BLOCK_BYTES + tables + bundled),
        };
        let mut bytes = Vec::with_capacity(BLOCK_BYTES + tables);
        bytes.extend_from_slice(&head.to_bytes());
        for row in &self.frames {
            bytes.extend_from_slice(&row.to_bytes());
        }
        let mut offset = head.bundles_offset();
        for (number, bundle) in (0..).zip(&self.bundles) {
            let length = count(bundle.length + CHECKSUM_BYTES)?;
            let row = BundleRow { first_index: head.bundle_start(number), offset, bytes: length };
            bytes.extend_from_slice(&row.to_bytes());
            offset += u64::from(length);
        }
        self.parts.insert(0, bytes);
        Ok(self.parts)
    }
}
