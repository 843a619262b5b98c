//! Where things stand in a dense segment.
//!
//! ```text
//! offset  size  field (big-endian)
//! 0       8     magic, "CHYDNS1\n"
//! 8       2152  bytes 8 to 2159 of the segment's header, as they are
//! 2160    8     bytes of the segment
//! 2168    4     number of frames
//! 2172    4     number of bundles
//! 2176    8     bytes of this file
//! 2184    1908  zeros
//! 4092    4     CRC32C of everything before
//! 4096    …     frame rows
//! …       …     bundle rows
//! …       …     bundles
//!
//! frame row (236):  block of the frame in the segment (4), header of the frame (224), checksum of the frame (4),
//!                   CRC32C of the 232 bytes before (4)
//! bundle row (24):  index of the first record (8), offset in this file (8), bytes with checksum (4),
//!                   CRC32C of the 20 bytes before (4)
//! bundle:           items, one behind the other, then CRC32C of them (4)
//! ```

use super::BUNDLE_RECORDS;
use crate::codec::{LayoutError, Reader};
use crate::frame::{FRAME_HEADER_BYTES, FrameFacts};
use crate::segment::{self, BLOCK_BYTES, SegmentHeader};

const MAGIC: &[u8; 8] = b"CHYDNS1\n";

/// The bytes of a row of the frame table.
pub(super) const FRAME_ROW_BYTES: usize = 4 + FRAME_HEADER_BYTES + 4 + 4;

/// The bytes of a row of the bundle table.
pub(super) const BUNDLE_ROW_BYTES: usize = 8 + 8 + 4 + 4;

/// The bytes of a checksum.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// What a dense segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseHead {
    /// The segment's header.
    pub segment: SegmentHeader,
    /// The bytes of the segment: behind its last frame where it was cut, or as it was preallocated.
    pub segment_bytes: u64,
    /// How many frames it has.
    pub frames: u32,
    /// How many bundles its records are in.
    pub bundles: u32,
    /// The bytes of the dense form.
    pub file_bytes: u64,
}

/// A frame without its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRow {
    /// The block of the segment at which it begins.
    pub block: u32,
    /// Its header as it stands in the segment.
    pub header: [u8; FRAME_HEADER_BYTES],
    /// Its checksum.
    pub checksum: [u8; CHECKSUM_BYTES],
}

/// Where a bundle stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleRow {
    /// The index of its first record.
    pub first_index: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes with its checksum.
    pub bytes: u32,
}

impl DenseHead {
    /// Where the row of the frame of that number in the segment, from 0, begins.
    #[must_use]
    pub fn frame_row_offset(&self, row: u32) -> u64 {
        widen(BLOCK_BYTES) + u64::from(row) * widen(FRAME_ROW_BYTES)
    }

    /// Where the row of the bundle of that number begins.
    #[must_use]
    pub fn bundle_row_offset(&self, row: u32) -> u64 {
        self.frame_row_offset(self.frames) + u64::from(row) * widen(BUNDLE_ROW_BYTES)
    }

    /// Where the first bundle begins.
    #[must_use]
    pub fn bundles_offset(&self) -> u64 {
        self.bundle_row_offset(self.bundles)
    }

    /// The number of the bundle that a record stands in, if it is one of the segment's.
    #[must_use]
    pub fn bundle_of(&self, index: u64) -> Option<u32> {
        let first = self.segment.frontier.size();
        if index < first {
            return None;
        }
        let number = u32::try_from(index / BUNDLE_RECORDS - first / BUNDLE_RECORDS).ok()?;
        (number < self.bundles).then_some(number)
    }

    /// The index of the first record of a bundle.
    #[must_use]
    pub fn bundle_start(&self, number: u32) -> u64 {
        let first = self.segment.frontier.size();
        let start = (first / BUNDLE_RECORDS + u64::from(number)) * BUNDLE_RECORDS;
        start.max(first)
    }

    /// The block of 4 KiB.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.segment.to_bytes();
        bytes.truncate(segment::FIELDS_END);
        if let Some(magic) = bytes.first_chunk_mut() {
            *magic = *MAGIC;
        }
        bytes.extend_from_slice(&self.segment_bytes.to_be_bytes());
        bytes.extend_from_slice(&self.frames.to_be_bytes());
        bytes.extend_from_slice(&self.bundles.to_be_bytes());
        bytes.extend_from_slice(&self.file_bytes.to_be_bytes());
        bytes.resize(BLOCK_BYTES - CHECKSUM_BYTES, 0);
        with_checksum(bytes)
    }

    /// Reads the block.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if a bit is other than [`DenseHead::to_bytes`] would have written it.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let block = bytes.get(..BLOCK_BYTES).ok_or(LayoutError)?;
        let mut reader = Reader::new(block);
        reader.expect(MAGIC)?;
        let fields = reader.bytes(segment::FIELDS_END - MAGIC.len())?;
        let head = Self {
            segment: SegmentHeader::of_fields(fields)?,
            segment_bytes: reader.u64()?,
            frames: reader.u32()?,
            bundles: reader.u32()?,
            file_bytes: reader.u64()?,
        };
        if head.to_bytes() == block { Ok(head) } else { Err(LayoutError) }
    }
}

impl FrameRow {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        with_checksum([self.block.to_be_bytes().as_slice(), &self.header, &self.checksum].concat())
    }

    /// Reads a row.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if its checksum does not hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(checked(bytes)?);
        let row = Self { block: reader.u32()?, header: reader.array()?, checksum: reader.array()? };
        reader.end().map(|()| row)
    }

    /// What the header says of the frame.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if it is no header of a frame.
    pub fn facts(&self) -> Result<FrameFacts, LayoutError> {
        FrameFacts::of(&self.header)
    }
}

impl BundleRow {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts: [&[u8]; 3] = [
            &self.first_index.to_be_bytes(),
            &self.offset.to_be_bytes(),
            &self.bytes.to_be_bytes(),
        ];
        with_checksum(parts.concat())
    }

    /// Reads a row.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if its checksum does not hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(checked(bytes)?);
        let row = Self { first_index: reader.u64()?, offset: reader.u64()?, bytes: reader.u32()? };
        reader.end().map(|()| row)
    }
}

/// Bytes with their checksum behind them.
pub(super) fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes
}

/// Bytes without the checksum behind them, if that holds.
pub(super) fn checked(bytes: &[u8]) -> Result<&[u8], LayoutError> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(LayoutError)?;
    let is_whole = crc32c::crc32c(body).to_be_bytes() == *checksum;
    is_whole.then_some(body).ok_or(LayoutError)
}

/// A length in memory as one in a file.
pub(super) fn widen(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
