//! Makes the dense form of a segment, frame by frame.

use super::BUNDLE_RECORDS;
use super::layout::{
    BUNDLE_ROW_BYTES, BundleRow, CHECKSUM_BYTES, DenseHead, FRAME_ROW_BYTES, FrameRow, widen,
    with_checksum,
};
use crate::codec::LayoutError;
use crate::frame::{EncodedFrame, FRAME_HEADER_BYTES, item_length_at, length_at};
use crate::segment::{BLOCK_BYTES, SegmentHeader};

/// A dense segment that is being made.
#[derive(Debug)]
pub struct Packer {
    header: SegmentHeader,
    frames: Vec<FrameRow>,
    /// The items of each bundle.
    bundles: Vec<Vec<u8>>,
    next_index: u64,
    next_block: u32,
}

impl Packer {
    /// Begins with the header of a segment.
    #[must_use]
    pub fn new(header: SegmentHeader) -> Self {
        let next_index = header.frontier.size();
        Self { header, frames: Vec::new(), bundles: Vec::new(), next_index, next_block: 1 }
    }

    /// Takes the next frame of the segment.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if it is none; then nothing of the segment may be removed.
    pub fn add(&mut self, frame: &EncodedFrame) -> Result<(), LayoutError> {
        let length = length_at(&frame.bytes).ok_or(LayoutError)?;
        let used = frame.bytes.get(..length).ok_or(LayoutError)?;
        let (header, rest) = used.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or(LayoutError)?;
        let (mut items, checksum) = rest.split_last_chunk::<CHECKSUM_BYTES>().ok_or(LayoutError)?;
        while !items.is_empty() {
            let length = item_length_at(items).ok_or(LayoutError)?;
            let (item, others) = items.split_at_checked(length).ok_or(LayoutError)?;
            self.item(item);
            items = others;
        }
        let blocks = u32::try_from(frame.bytes.len() / BLOCK_BYTES).map_err(|_| LayoutError)?;
        self.frames.push(FrameRow { block: self.next_block, header: *header, checksum: *checksum });
        self.next_block = self.next_block.checked_add(blocks).ok_or(LayoutError)?;
        Ok(())
    }

    fn item(&mut self, item: &[u8]) {
        if self.bundles.is_empty() || self.next_index.is_multiple_of(BUNDLE_RECORDS) {
            self.bundles.push(Vec::new());
        }
        if let Some(bundle) = self.bundles.last_mut() {
            bundle.extend_from_slice(item);
        }
        self.next_index += 1;
    }

    /// Where the frame behind the last would begin in the segment, in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.next_block) * widen(BLOCK_BYTES)
    }

    /// The dense form of the segment, which has `segment_bytes`.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if there are more frames or records than a segment can have.
    pub fn finish(self, segment_bytes: u64) -> Result<Vec<u8>, LayoutError> {
        let count = |length: usize| u32::try_from(length).map_err(|_| LayoutError);
        let tables = self.frames.len() * FRAME_ROW_BYTES + self.bundles.len() * BUNDLE_ROW_BYTES;
        let bundled: usize = self.bundles.iter().map(|items| items.len() + CHECKSUM_BYTES).sum();
        let whole = BLOCK_BYTES + tables + bundled;
        let head = DenseHead {
            segment: self.header,
            segment_bytes,
            frames: count(self.frames.len())?,
            bundles: count(self.bundles.len())?,
            file_bytes: widen(whole),
        };
        let mut bytes = Vec::with_capacity(whole);
        bytes.extend_from_slice(&head.to_bytes());
        for row in &self.frames {
            bytes.extend_from_slice(&row.to_bytes());
        }
        let mut offset = head.bundles_offset();
        for (number, items) in (0..).zip(&self.bundles) {
            let length = count(items.len() + CHECKSUM_BYTES)?;
            let row = BundleRow { first_index: head.bundle_start(number), offset, bytes: length };
            bytes.extend_from_slice(&row.to_bytes());
            offset += u64::from(length);
        }
        for items in self.bundles {
            bytes.extend_from_slice(&with_checksum(items));
        }
        Ok(bytes)
    }
}
