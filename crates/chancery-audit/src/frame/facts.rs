//! What the header of a frame says, read without its items.

use chancery_core::limits::FRAME_RECORDS_MAX;
use chancery_log::Hash;

use super::{FRAME_HEADER_BYTES, Head, length_at};
use crate::codec::{LayoutError, Reader};
use crate::segment::BLOCK_BYTES;

/// What the header of a frame says, without its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFacts {
    /// The bytes of the frame, checksum included, padding not.
    pub length: u32,
    /// The incarnation.
    pub incarnation: u32,
    /// The frame's number.
    pub number: u64,
    /// The index of its first record.
    pub first_index: u64,
    /// How many records it has.
    pub records: u32,
    /// When it was closed, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Of the start that wrote it.
    pub boot_nonce: [u8; 16],
    /// The hash of the frame before.
    pub previous_hash: [u8; 32],
    /// The root of the tree after its last record.
    pub tree_root: Hash,
    /// The root over its own leaves.
    pub frame_root: Hash,
    /// The signature of the head of the frame before.
    pub previous_signature: [u8; 64],
}

impl FrameFacts {
    /// Reads them from the bytes before a frame's items.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if they are no frame's.
    pub fn of(header: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, LayoutError> {
        length_at(header).ok_or(LayoutError)?;
        let mut reader = Reader::new(header);
        reader.bytes(8)?;
        let (length, incarnation) = (reader.u32()?, reader.u32()?);
        let (number, first_index) = (reader.u64()?, reader.u64()?);
        let records = reader.u32()?;
        if !usize::try_from(records).is_ok_and(|count| count <= FRAME_RECORDS_MAX) {
            return Err(LayoutError);
        }
        reader.expect(&[0; 4])?;
        Ok(Self {
            length,
            incarnation,
            number,
            first_index,
            records,
            unix_ms: reader.u64()?,
            boot_nonce: reader.array()?,
            previous_hash: reader.array()?,
            tree_root: Hash::from(reader.array::<32>()?),
            frame_root: Hash::from(reader.array::<32>()?),
            previous_signature: reader.array()?,
        })
    }

    /// The index after its last record.
    #[must_use]
    pub fn end_index(&self) -> u64 {
        self.first_index.saturating_add(u64::from(self.records))
    }

    /// The blocks that it takes in a segment.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        let block = u32::try_from(BLOCK_BYTES).unwrap_or(u32::MAX);
        self.length.div_ceil(block)
    }

    /// The head, in the log of that id.
    #[must_use]
    pub fn head(&self, log_id: [u8; 32]) -> Head {
        Head {
            log_id,
            incarnation: self.incarnation,
            number: self.number,
            first_index: self.first_index,
            tree_size: self.end_index(),
            tree_root: self.tree_root,
            frame_root: self.frame_root,
        }
    }
}
