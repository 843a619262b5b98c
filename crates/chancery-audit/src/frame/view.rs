//! Frames and items that are read where they stand, without a copy.
//!
//! For who reads many and needs little of each. There is one way to read an item: [`Item`] is made of what is read here.

use chancery_core::id::TenantId;
use chancery_crypto::primitive::sha256;
use chancery_crypto::section::RecordNonce;
use chancery_log::Hash;

use super::{AnswerBlock, FORMAT, FRAME_HEADER_BYTES, Frame, FrameFacts, Item, length_at};
use crate::codec::{LayoutError, Reader, is_zeros};
use crate::record::{Kind, hash_of_leaf, record_nonce};
use crate::sealer::Month;
use crate::segment::BLOCK_BYTES;

/// A frame as it stands, padding not.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'b> {
    /// What its header says.
    pub facts: FrameFacts,
    bytes: &'b [u8],
}

/// An item as it stands.
#[derive(Clone, Copy, Debug)]
pub struct ItemView<'b> {
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
    pub pseudonymous: &'b [u8],
    /// Section 2, sealed.
    pub identity: &'b [u8],
    /// Section 3, sealed.
    pub payload: &'b [u8],
    /// What stands before a kept answer, and the answer.
    answer: Option<(AnswerHead, &'b [u8])>,
}

/// Entry name, request digest, and the time in the id.
type AnswerHead = ([u8; 32], [u8; 32], u64);

impl<'b> FrameView<'b> {
    /// Reads the frame at the start of `bytes`, whose checksum must be right.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if none stands there whole.
    pub fn read(bytes: &'b [u8]) -> Result<Self, LayoutError> {
        let length = length_at(bytes).ok_or(LayoutError)?;
        let bytes = bytes.get(..length).ok_or(LayoutError)?;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(LayoutError)?;
        if crc32c::crc32c(body).to_be_bytes() != *checksum {
            return Err(LayoutError);
        }
        Self::of_checked(bytes)
    }

    /// Reads a frame from the start of `bytes`, and says how many bytes it takes, padding included.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if its checksum or its padding is not what it must be.
    pub fn read_back(bytes: &'b [u8]) -> Result<(Self, usize), LayoutError> {
        let frame = Self::read(bytes)?;
        let padded = frame.padded_bytes();
        let padding = bytes.get(frame.bytes.len()..padded).ok_or(LayoutError)?;
        is_zeros(padding).then_some((frame, padded)).ok_or(LayoutError)
    }

    /// The same by itself.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if an item is none.
    pub fn to_frame(&self) -> Result<Frame, LayoutError> {
        let FrameFacts { incarnation, number, first_index, unix_ms, .. } = self.facts;
        let items: Result<_, _> = self.items().map(|item| item.map(ItemView::to_item)).collect();
        Ok(Frame {
            incarnation,
            number,
            first_index,
            unix_ms,
            boot_nonce: self.facts.boot_nonce,
            previous_hash: self.facts.previous_hash,
            tree_root: self.facts.tree_root,
            frame_root: self.facts.frame_root,
            previous_signature: self.facts.previous_signature,
            items: items?,
        })
    }

    /// The frame whose bytes these are, of which the checksum is known to be right.
    pub(crate) fn of_checked(bytes: &'b [u8]) -> Result<Self, LayoutError> {
        let header = bytes.first_chunk::<FRAME_HEADER_BYTES>().ok_or(LayoutError)?;
        Ok(Self { facts: FrameFacts::of(header)?, bytes })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The bytes that it takes in a segment, padding included.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        self.bytes.len().next_multiple_of(BLOCK_BYTES)
    }

    /// Its hash, which the next frame has.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[self.bytes])
    }

    /// Its items, in order; an error where one is none, or where they are more or fewer than it says.
    pub fn items(&self) -> impl Iterator<Item = Result<ItemView<'b>, LayoutError>> + use<'b> {
        let end = self.bytes.len().saturating_sub(4);
        let items = self.bytes.get(FRAME_HEADER_BYTES..end).unwrap_or_default();
        let mut reader = Reader::new(items);
        let mut left = self.facts.records;
        std::iter::from_fn(move || {
            if left == 0 {
                let rest = std::mem::replace(&mut reader, Reader::new(&[]));
                return rest.end().err().map(Err);
            }
            left -= 1;
            Some(ItemView::read(&mut reader).inspect_err(|_| left = 0))
        })
    }
}

impl<'b> ItemView<'b> {
    /// Reads the next item.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if none stands there.
    pub fn read(reader: &mut Reader<'b>) -> Result<Self, LayoutError> {
        reader.expect(&[FORMAT])?;
        let kind = Kind::from_number(reader.u8()?).ok_or(LayoutError)?;
        let month = reader.u16()?;
        let tenant = TenantId::from_bytes(reader.array()?);
        let (lane, counter) = (reader.u32()?, reader.u64()?);
        let (masked_use_index, command) = (reader.u64()?, reader.u64()?);
        let root = Hash::from(reader.array::<32>()?);
        let lengths = [reader.u16()?, reader.u16()?, reader.u16()?].map(usize::from);
        reader.expect(&[0, 0])?;
        let answer = usize::try_from(reader.u32()?).map_err(|_| LayoutError)?;
        let [pseudonymous, identity, payload] = lengths;
        Ok(Self {
            kind,
            month,
            tenant,
            lane,
            counter,
            masked_use_index,
            command,
            root,
            pseudonymous: reader.bytes(pseudonymous)?,
            identity: reader.bytes(identity)?,
            payload: reader.bytes(payload)?,
            answer: (answer > 0).then(|| read_answer(reader, answer)).transpose()?,
        })
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

    /// The same by itself.
    #[must_use]
    pub fn to_item(self) -> Item {
        Item {
            kind: self.kind,
            month: self.month,
            tenant: self.tenant,
            lane: self.lane,
            counter: self.counter,
            masked_use_index: self.masked_use_index,
            command: self.command,
            root: self.root,
            pseudonymous: self.pseudonymous.to_vec(),
            identity: self.identity.to_vec(),
            payload: self.payload.to_vec(),
            answer: self.answer.map(|((name, digest, id_ms), sealed)| AnswerBlock {
                name,
                digest,
                id_ms,
                sealed: sealed.to_vec(),
            }),
        }
    }
}

fn read_answer<'b>(
    reader: &mut Reader<'b>,
    length: usize,
) -> Result<(AnswerHead, &'b [u8]), LayoutError> {
    let head = (reader.array()?, reader.array()?, reader.u64()?);
    Ok((head, reader.bytes(length)?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{frame, item};
    use super::*;

    fn viewed(bytes: &[u8]) -> Result<Vec<Item>, LayoutError> {
        FrameView::read(bytes)?.items().map(|item| item.map(ItemView::to_item)).collect()
    }

    #[test]
    fn a_frame_is_seen_as_it_is_read() {
        let mut with_answer = item(2);
        with_answer.answer =
            Some(AnswerBlock { name: [1; 32], digest: [2; 32], id_ms: 3, sealed: vec![9; 20] });
        let frame = frame(vec![item(1), with_answer]);
        let encoded = frame.encode();
        let view = FrameView::read(&encoded.bytes).unwrap();
        assert_eq!(view.hash(), encoded.hash);
        assert_eq!((view.facts.boot_nonce, view.facts.previous_hash), ([4; 16], [5; 32]));
        assert_eq!(viewed(&encoded.bytes), Ok(frame.items));
    }

    /// With a checksum that is right for it, too, no item is seen that is not read.
    #[test]
    fn no_altered_byte_is_seen_that_is_not_read() {
        let bytes = frame(vec![item(1), item(2)]).encode().bytes;
        let length = length_at(&bytes).unwrap();
        assert!(viewed(&bytes[..length - 1]).is_err());
        for place in 0..length - 4 {
            for altered_byte in [0, 1, 0xff, bytes[place].wrapping_add(1)] {
                let mut altered = bytes.clone();
                altered[place] = altered_byte;
                if altered != bytes {
                    assert!(viewed(&altered).is_err(), "byte {place}");
                }
                let sum = crc32c::crc32c(&altered[..length - 4]).to_be_bytes();
                altered[length - 4..length].copy_from_slice(&sum);
                let read = Frame::decode(&altered).map(|(frame, _)| frame.items);
                assert_eq!(viewed(&altered), read, "byte {place}");
            }
        }
    }
}
