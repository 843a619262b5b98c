//! Frames: what one write puts on the disk.
//!
//! ```text
//! offset  size  field (big-endian)
//! 0       4     magic, "CHYF"
//! 4       1     format version, 1
//! 5       3     zeros
//! 8       4     length of the frame, checksum included, padding not
//! 12      4     incarnation
//! 16      8     frame number
//! 24      8     index of the first record
//! 32      4     number of records
//! 36      4     zeros
//! 40      8     time, in milliseconds since 1970
//! 48      16    boot nonce
//! 64      32    hash of the frame before: SHA-256 of its bytes, padding not
//! 96      32    root of the tree after the last record
//! 128     32    frame root: RFC 6962 root of this frame's leaves
//! 160     64    signature of the head of the frame before; zeros in frame 0
//! 224     …     items
//! …       4     CRC32C of everything before
//! …       …     zeros to a multiple of 4 KiB
//!
//! item:
//! 0       1     format version, 1
//! 1       1     kind
//! 2       2     month, since January 1970
//! 4       16    tenant
//! 20      4     lane
//! 24      8     counter
//! 32      8     use index, masked
//! 40      8     number of the command in the store's outbox; 0 for a use
//! 48      32    root of the record's commitments
//! 80      2     length of the pseudonymous section, sealed
//! 82      2     length of the identity section, sealed
//! 84      2     length of the payload section, sealed
//! 86      2     zeros
//! 88      4     length of the sealed answer; 0 if none is kept
//! 92      …     the three sections
//! …       72    if an answer is kept: entry name (32), request digest (32), time in the id (8)
//! …       …     the sealed answer
//! ```
//!
//! The *head* of a frame is what the receipt key signs. It is no checkpoint and no note:
//!
//! ```text
//! RECEIPT_HEAD ‖ log id (32) ‖ incarnation (4) ‖ frame number (8) ‖ first index (8) ‖ tree size (8)
//!              ‖ tree root (32) ‖ frame root (32)
//! ```

use chancery_core::id::TenantId;
use chancery_core::idempotency::{EntryName, RequestDigest};
use chancery_core::limits::FRAME_AUDIT_BYTES_MAX;
use chancery_crypto::labels;
use chancery_crypto::primitive::sha256;
use chancery_crypto::section::RecordNonce;
use chancery_log::{Hash, root_of};

use crate::codec::{LayoutError, Reader, length16, length32};
use crate::record::{Facts, Kind, hash_of_leaf, record_nonce};
use crate::sealer::Month;
use crate::segment::BLOCK_BYTES;

mod facts;
mod view;

pub use facts::FrameFacts;
pub use view::{FrameView, ItemView};

/// What a frame begins with.
pub const MAGIC: &[u8; 4] = b"CHYF";

/// The bytes before the items.
pub const FRAME_HEADER_BYTES: usize = 224;

const FORMAT: u8 = 1;

/// The bytes of an item before its sections.
const ITEM_HEADER_BYTES: usize = 92;

/// Where in them the lengths of the sections stand.
const ITEM_LENGTHS_OFFSET: usize = 80;

/// The bytes of a kept answer before what is sealed.
const ANSWER_HEADER_BYTES: usize = 72;

/// An answer kept beside a record, outside the leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerBlock {
    /// The operation id's name in the index.
    pub name: EntryName,
    /// The request's digest.
    pub digest: RequestDigest,
    /// The time in the id, in milliseconds since 1970.
    pub id_ms: u64,
    /// The answer, sealed under the tenant's answer key of the month.
    pub sealed: Vec<u8>,
}

/// One record as it stands in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is about.
    pub kind: Kind,
    /// Whose keys seal it: the month's …
    pub month: Month,
    /// … and the tenant's.
    pub tenant: TenantId,
    /// The lane that made it.
    pub lane: u32,
    /// The lane's counter.
    pub counter: u64,
    /// The use index under its mask.
    pub masked_use_index: u64,
    /// The number of its command in the store's outbox; 0 for a use.
    pub command: u64,
    /// The root of its commitments.
    pub root: Hash,
    /// Section 1, sealed.
    pub pseudonymous: Vec<u8>,
    /// Section 2, sealed.
    pub identity: Vec<u8>,
    /// Section 3, sealed.
    pub payload: Vec<u8>,
    /// The answer that is kept, if one is.
    pub answer: Option<AnswerBlock>,
}

impl Item {
    /// An item without its contents.
    #[must_use]
    pub fn new(facts: &Facts, month: Month, lane: u32, counter: u64) -> Self {
        Self {
            kind: facts.kind,
            month,
            tenant: facts.tenant,
            lane,
            counter,
            masked_use_index: 0,
            command: 0,
            root: Hash::from([0; 32]),
            pseudonymous: Vec::new(),
            identity: Vec::new(),
            payload: Vec::new(),
            answer: None,
        }
    }

    /// The record's nonce.
    #[must_use]
    pub fn nonce(&self) -> RecordNonce {
        record_nonce(self.lane, self.counter)
    }

    /// The hash of its leaf in the log.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        hash_of_leaf(&self.root)
    }

    /// The bytes it takes in a frame.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let sections = self.pseudonymous.len() + self.identity.len() + self.payload.len();
        let answer =
            self.answer.as_ref().map_or(0, |block| ANSWER_HEADER_BYTES + block.sealed.len());
        ITEM_HEADER_BYTES + sections + answer
    }

    /// Its bytes, as they stand in a frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_bytes());
        self.write(&mut bytes);
        bytes
    }

    fn write(&self, out: &mut Vec<u8>) {
        let answer = self.answer.as_ref();
        out.extend_from_slice(&[FORMAT, self.kind.number()]);
        out.extend_from_slice(&self.month.to_be_bytes());
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(&self.nonce());
        out.extend_from_slice(&self.masked_use_index.to_be_bytes());
        out.extend_from_slice(&self.command.to_be_bytes());
        out.extend_from_slice(self.root.as_bytes());
        for section in [&self.pseudonymous, &self.identity, &self.payload] {
            out.extend_from_slice(&length16(section));
        }
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&answer.map_or([0; 4], |block| length32(&block.sealed)));
        for section in [&self.pseudonymous, &self.identity, &self.payload] {
            out.extend_from_slice(section);
        }
        if let Some(block) = answer {
            out.extend_from_slice(&block.name);
            out.extend_from_slice(&block.digest);
            out.extend_from_slice(&block.id_ms.to_be_bytes());
            out.extend_from_slice(&block.sealed);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, LayoutError> {
        ItemView::read(reader).map(ItemView::to_item)
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// How often the log was continued after a torn end.
    pub incarnation: u32,
    /// Its number.
    pub number: u64,
    /// The index of its first record.
    pub first_index: u64,
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
    /// Its records.
    pub items: Vec<Item>,
}

/// What the receipt key signs of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The log.
    pub log_id: [u8; 32],
    /// The incarnation.
    pub incarnation: u32,
    /// The frame's number.
    pub number: u64,
    /// The index of its first record.
    pub first_index: u64,
    /// The size of the tree after its last.
    pub tree_size: u64,
    /// The root of that tree.
    pub tree_root: Hash,
    /// The root over the frame's own leaves.
    pub frame_root: Hash,
}

impl Head {
    /// The bytes that are signed, label included.
    #[must_use]
    pub fn to_signed_bytes(&self) -> Vec<u8> {
        [labels::RECEIPT_HEAD, &self.to_bytes()].concat()
    }

    /// Reads the bytes without the label.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let head = Self {
            log_id: reader.array().ok()?,
            incarnation: reader.u32().ok()?,
            number: reader.u64().ok()?,
            first_index: reader.u64().ok()?,
            tree_size: reader.u64().ok()?,
            tree_root: Hash::from(reader.array::<32>().ok()?),
            frame_root: Hash::from(reader.array::<32>().ok()?),
        };
        reader.end().ok().map(|()| head)
    }

    /// The bytes without the label.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts: [&[u8]; 7] = [
            &self.log_id,
            &self.incarnation.to_be_bytes(),
            &self.number.to_be_bytes(),
            &self.first_index.to_be_bytes(),
            &self.tree_size.to_be_bytes(),
            self.tree_root.as_bytes(),
            self.frame_root.as_bytes(),
        ];
        parts.concat()
    }
}

/// A frame as it was encoded: what is written, and what identifies it.
#[derive(Debug)]
pub struct EncodedFrame {
    /// The bytes, padding included.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, padding not.
    pub hash: [u8; 32],
}

impl Frame {
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

    /// The index after its last record.
    #[must_use]
    pub fn end_index(&self) -> u64 {
        self.first_index.saturating_add(u64::try_from(self.items.len()).unwrap_or(u64::MAX))
    }

    /// The root over the leaves of its items, computed from them.
    #[must_use]
    pub fn root_of_items(&self) -> Hash {
        let leaves: Vec<_> = self.items.iter().map(Item::leaf_hash).collect();
        root_of(&leaves)
    }

    /// Encodes it.
    #[must_use]
    pub fn encode(&self) -> EncodedFrame {
        let mut bytes = Vec::new();
        let length = self.encode_in(&mut bytes);
        let hash = sha256(&[bytes.get(..length).unwrap_or_default()]);
        EncodedFrame { bytes, hash }
    }

    /// Encodes it without its hash, in room that is kept, and says how long it is without its padding.
    pub(crate) fn encode_in(&self, bytes: &mut Vec<u8>) -> usize {
        let items: usize = self.items.iter().map(Item::encoded_bytes).sum();
        let whole = FRAME_HEADER_BYTES + items + 4;
        bytes.clear();
        bytes.reserve(whole.next_multiple_of(BLOCK_BYTES));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[FORMAT, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&self.incarnation.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.first_index.to_be_bytes());
        let count = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.unix_ms.to_be_bytes());
        bytes.extend_from_slice(&self.boot_nonce);
        bytes.extend_from_slice(&self.previous_hash);
        bytes.extend_from_slice(self.tree_root.as_bytes());
        bytes.extend_from_slice(self.frame_root.as_bytes());
        bytes.extend_from_slice(&self.previous_signature);
        for item in &self.items {
            item.write(bytes);
        }
        let length = u32::try_from(bytes.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = bytes.get_mut(8..12) {
            place.copy_from_slice(&length);
        }
        bytes.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
        let length = bytes.len();
        bytes.resize(length.next_multiple_of(BLOCK_BYTES), 0);
        length
    }

    /// Reads a frame from the start of `bytes`, and says how many bytes it takes, padding included.
    ///
    /// It admits what [`Frame::decode`] admits, since there is one way to write a frame and this reads no other, and does
    /// not encode it again. That is for who reads much and needs no hash of it.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if a bit is other than [`Frame::encode`] would have written it.
    pub fn read_back(bytes: &[u8]) -> Result<(Self, usize), LayoutError> {
        let (frame, padded) = FrameView::read_back(bytes)?;
        Ok((frame.to_frame()?, padded))
    }

    /// Decodes a frame from the start of `bytes`, and says how many bytes it takes, padding included.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if a bit is other than [`Frame::encode`] would have written it.
    pub fn decode(bytes: &[u8]) -> Result<(Self, EncodedFrame), LayoutError> {
        let frame = FrameView::read(bytes)?.to_frame()?;
        let encoded = frame.encode();
        // Every bit counts, the padding included.
        if bytes.starts_with(&encoded.bytes) { Ok((frame, encoded)) } else { Err(LayoutError) }
    }
}

/// The length that a frame at the start of `bytes` claims, if it begins as frames do and could be there.
#[must_use]
pub fn length_at(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    reader.expect(MAGIC).ok()?;
    reader.expect(&[FORMAT, 0, 0, 0]).ok()?;
    let length = usize::try_from(reader.u32().ok()?).ok()?;
    (FRAME_HEADER_BYTES + 4..=FRAME_AUDIT_BYTES_MAX).contains(&length).then_some(length)
}

/// The bytes that an item at the start of `bytes` says it takes, if it begins as items do.
pub(crate) fn item_length_at(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes.get(..ITEM_HEADER_BYTES)?);
    reader.expect(&[FORMAT]).ok()?;
    reader.bytes(ITEM_LENGTHS_OFFSET - 1).ok()?;
    let mut sections = 0;
    for _ in 0..3 {
        sections += usize::from(reader.u16().ok()?);
    }
    reader.expect(&[0, 0]).ok()?;
    let answer = usize::try_from(reader.u32().ok()?).ok()?;
    let answer = if answer > 0 { answer.checked_add(ANSWER_HEADER_BYTES)? } else { 0 };
    answer.checked_add(ITEM_HEADER_BYTES + sections)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn item(counter: u64) -> Item {
        Item {
            kind: Kind::Use,
            month: 682,
            tenant: TenantId::from_bytes([1; 16]),
            lane: 1,
            counter,
            masked_use_index: 9,
            command: 0,
            root: Hash::from([u8::try_from(counter % 251).unwrap(); 32]),
            pseudonymous: vec![1; 300],
            identity: vec![2; 50],
            payload: vec![3; 118],
            answer: None,
        }
    }

    pub(super) fn frame(items: Vec<Item>) -> Frame {
        let mut frame = Frame {
            incarnation: 0,
            number: 7,
            first_index: 20,
            unix_ms: 5,
            boot_nonce: [4; 16],
            previous_hash: [5; 32],
            tree_root: Hash::from([6; 32]),
            frame_root: Hash::from([0; 32]),
            previous_signature: [7; 64],
            items,
        };
        frame.frame_root = frame.root_of_items();
        frame
    }

    #[test]
    fn a_frame_survives_its_encoding() {
        let mut with_answer = item(2);
        with_answer.answer =
            Some(AnswerBlock { name: [1; 32], digest: [2; 32], id_ms: 3, sealed: vec![9; 20] });
        let frame = frame(vec![item(1), with_answer]);
        let encoded = frame.encode();
        assert_eq!(encoded.bytes.len() % BLOCK_BYTES, 0);
        let (decoded, again) = Frame::decode(&encoded.bytes).unwrap();
        assert_eq!((&decoded, again.hash), (&frame, encoded.hash));
        assert_eq!(Frame::read_back(&encoded.bytes), Ok((frame, encoded.bytes.len())));
    }

    #[test]
    fn every_flipped_bit_is_found_padding_included() {
        let bytes = frame(vec![item(1)]).encode().bytes;
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&altered).is_err(), "bit {bit}");
            assert!(Frame::read_back(&altered).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_found() {
        let bytes = frame(vec![item(1)]).encode().bytes;
        for length in (0..bytes.len()).step_by(97) {
            assert!(Frame::decode(&bytes[..length]).is_err(), "{length} bytes");
            assert!(Frame::read_back(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    /// With a checksum that is right for it, too, nothing is read that would be written otherwise.
    #[test]
    fn no_altered_byte_is_read_back_that_is_not_decoded() {
        let mut with_answer = item(2);
        with_answer.answer =
            Some(AnswerBlock { name: [1; 32], digest: [2; 32], id_ms: 3, sealed: vec![9; 20] });
        let bytes = frame(vec![item(1), with_answer]).encode().bytes;
        let length = length_at(&bytes).unwrap();
        for place in 0..length - 4 {
            for altered_byte in [0, 1, 0xff, bytes[place].wrapping_add(1)] {
                let mut altered = bytes.clone();
                altered[place] = altered_byte;
                let sum = crc32c::crc32c(&altered[..length - 4]).to_be_bytes();
                altered[length - 4..length].copy_from_slice(&sum);
                let decoded = Frame::decode(&altered).map(|(frame, all)| (frame, all.bytes.len()));
                assert_eq!(Frame::read_back(&altered), decoded, "byte {place}");
            }
        }
    }

    #[test]
    fn an_item_takes_the_bytes_it_says() {
        let mut out = Vec::new();
        item(1).write(&mut out);
        assert_eq!(out.len(), item(1).encoded_bytes());
    }
}
