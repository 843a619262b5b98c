//! Segments: preallocated files of frames.
//!
//! ```text
//! offset  size  field of the header (4 KiB, big-endian)
//! 0       8     magic, "CHYSEG1\n"
//! 8       32    log id
//! 40      8     segment number, from 0
//! 48      8     bytes of the whole segment
//! 56      4     incarnation
//! 60      4     number of peaks
//! 64      8     number of the first frame
//! 72      8     index of the first record, which is the size of the tree before it
//! 80      32    hash of the frame before the first
//! 112     2048  peaks of the tree before it, largest first; then zeros
//! 2160    1932  zeros
//! 4092    4     CRC32C of everything before
//! ```
//!
//! A segment holds frames from offset 4096 on, each at a multiple of 4 KiB; then zeros. A segment that will
//! take no more is cut behind its last frame.

use chancery_log::{Frontier, Hash};

use crate::codec::{LayoutError, Reader};

/// The unit in which a segment is laid out, in bytes: a later write never touches a page that holds
/// acknowledged bytes.
pub const BLOCK_BYTES: usize = 4096;

/// The bytes of a new segment: 64 MiB, about 90 000 records. A segment is filled in seconds at full load and
/// preallocated in well under one.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"CHYSEG1\n";

/// The most peaks: one for each bit of the size.
const PEAKS_MAX: usize = 64;

/// Where the header's fields end; zeros follow, and the checksum.
pub(crate) const FIELDS_END: usize = 112 + PEAKS_MAX * 32;

/// What is known where a segment begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log.
    pub log_id: [u8; 32],
    /// The segment's number.
    pub number: u64,
    /// Its bytes, header included, as it was preallocated.
    pub bytes: u64,
    /// The incarnation in which it was begun.
    pub incarnation: u32,
    /// The number of its first frame.
    pub first_frame: u64,
    /// The hash of the frame before that.
    pub previous_hash: [u8; 32],
    /// The tree before its first record.
    pub frontier: Frontier,
}

/// The file's name.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.seg")
}

/// The number in a segment file's name, if it is one.
#[must_use]
pub fn file_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

impl SegmentHeader {
    /// The 4 KiB of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let peaks = self.frontier.peaks();
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.log_id);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.bytes.to_be_bytes());
        bytes.extend_from_slice(&self.incarnation.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(peaks.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&self.first_frame.to_be_bytes());
        bytes.extend_from_slice(&self.frontier.size().to_be_bytes());
        bytes.extend_from_slice(&self.previous_hash);
        for peak in peaks {
            bytes.extend_from_slice(peak.as_bytes());
        }
        bytes.resize(BLOCK_BYTES - 4, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// Reads the 4 KiB.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if a bit is other than [`SegmentHeader::to_bytes`] would have written it.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let block = bytes.get(..BLOCK_BYTES).ok_or(LayoutError)?;
        let mut reader = Reader::new(block);
        reader.expect(MAGIC)?;
        let log_id = reader.array()?;
        let number = reader.u64()?;
        let whole = reader.u64()?;
        let incarnation = reader.u32()?;
        let peaks = usize::try_from(reader.u32()?).map_err(|_| LayoutError)?;
        if peaks > PEAKS_MAX {
            return Err(LayoutError);
        }
        let first_frame = reader.u64()?;
        let size = reader.u64()?;
        let previous_hash = reader.array()?;
        let peaks = (0..peaks).map(|_| reader.array().map(Hash::from));
        let frontier = Frontier::from_parts(size, peaks.collect::<Result<_, _>>()?);
        let frontier = frontier.map_err(|_| LayoutError)?;
        let header = Self {
            log_id,
            number,
            bytes: whole,
            incarnation,
            first_frame,
            previous_hash,
            frontier,
        };
        // Every bit counts, the zeros and the checksum included.
        if header.to_bytes() == block { Ok(header) } else { Err(LayoutError) }
    }

    /// Reads it from its fields alone, as a dense segment has them: what stands between magic and zeros.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if they are none of a header.
    pub(crate) fn of_fields(fields: &[u8]) -> Result<Self, LayoutError> {
        let mut bytes = [MAGIC.as_slice(), fields].concat();
        if bytes.len() != FIELDS_END {
            return Err(LayoutError);
        }
        bytes.resize(BLOCK_BYTES - 4, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        Self::parse(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_found() {
        let mut frontier = Frontier::new();
        for leaf in 0..5_u8 {
            frontier.append(chancery_log::leaf_hash(&[leaf]));
        }
        let header = SegmentHeader {
            log_id: [1; 32],
            number: 3,
            bytes: SEGMENT_BYTES,
            incarnation: 1,
            first_frame: 9,
            previous_hash: [2; 32],
            frontier,
        };
        let bytes = header.to_bytes();
        assert_eq!(SegmentHeader::parse(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::parse(&altered).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_segment_has_one_name() {
        assert_eq!(file_number(&file_name(255)), Some(255));
        for name in ["ff.seg", "00000000000000FF.seg", "00000000000000ff.seg.new", "spare"] {
            assert_eq!(file_number(name), None, "{name}");
        }
    }
}
