//! A part of the index, as it is written.
//!
//! ```text
//! offset  size  field (big-endian)
//! 0       4     magic, "CHIX"
//! 4       1     format version, 1
//! 5       3     zeros
//! 8       32    log id
//! 40      8     segment
//! 48      8     offset in it of the first frame
//! 56      8     offset behind the last frame
//! 64      8     index of the first record
//! 72      8     number of records
//! 80      8     time of the earliest frame, in milliseconds since 1970
//! 88      8     time of the latest
//! 96      32    root of the tree behind the last record
//! 128     8     length of the body as it is sealed
//! 136     32    SHA-256 of the body as it is sealed
//! 168     32    SHA-256 of everything before
//! 200     …     body, sealed
//!
//! body     = CBOR [frames, [partition …]]
//! frames   = bytes: for each frame how many records and how many blocks of 4 KiB it has, as CBOR numbers
//! partition = [tenant, month, [field …]]      in ascending order of tenant and month, the nine fields in that of
//!                                             their numbers
//! field    = [terms, lists]   terms: 6 bytes each, ascending
//!                             lists: for each term a CBOR array of numbers: the first record that has it, counted
//!                             from the part's first, then how many records further the next is, and so on
//! ```

use std::ops::Range;

use chancery_core::cbor;
use chancery_core::id::TenantId;
use chancery_crypto::primitive::sha256;
use chancery_log::Hash;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode};

use super::{FIELDS, Field, TERM_BYTES, Term};
use crate::codec::{LayoutError, Reader};
use crate::sealer::Month;
use crate::segment::BLOCK_BYTES;

const MAGIC: &[u8; 4] = b"CHIX";

const FORMAT: u8 = 1;

/// The bytes before the body.
pub const PART_HEAD_BYTES: usize = 200;

/// A body has at most so many bytes: 64 MiB, some thirty times what the records of a part take.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The bytes are no part of an index of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no part of an index, or an altered one")]
pub struct PartError;

impl From<LayoutError> for PartError {
    fn from(_: LayoutError) -> Self {
        Self
    }
}

/// What a part covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// The log.
    pub log_id: [u8; 32],
    /// The segment that its frames stand in.
    pub segment: u64,
    /// Where its first frame begins.
    pub offset: u64,
    /// Where its last frame ends.
    pub end_offset: u64,
    /// Its first record.
    pub first_index: u64,
    /// How many records it covers.
    pub records: u64,
    /// The time of its earliest frame, in milliseconds since 1970.
    pub earliest_ms: u64,
    /// The time of its latest frame.
    pub latest_ms: u64,
    /// The root of the tree behind its last record.
    pub tree_root: Hash,
    body_length: u64,
    body_hash: [u8; 32],
}

impl PartHead {
    /// The index of the record behind the last.
    #[must_use]
    pub fn end_index(&self) -> u64 {
        self.first_index.saturating_add(self.records)
    }

    /// What a part's body is sealed to: all that the head says of the log, so that none of it can be altered alone.
    #[must_use]
    pub fn binding(&self) -> [u8; 32] {
        sha256(&[&self.covered()])
    }

    /// Where the frames stand, before it is known what the body holds.
    pub(super) fn new(log_id: [u8; 32], segment: u64, offset: u64, first_index: u64) -> Self {
        Self {
            log_id,
            segment,
            offset,
            end_offset: offset,
            first_index,
            records: 0,
            earliest_ms: u64::MAX,
            latest_ms: 0,
            tree_root: Hash::from_bytes([0; 32]),
            body_length: 0,
            body_hash: [0; 32],
        }
    }

    /// Reads the head, which is at the start of a part.
    ///
    /// # Errors
    ///
    /// [`PartError`] if there is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, PartError> {
        let bytes = bytes.get(..PART_HEAD_BYTES).ok_or(PartError)?;
        let (signed, hash) = bytes.split_at(PART_HEAD_BYTES - 32);
        let mut reader = Reader::new(signed);
        let is_ours = reader.array::<4>()? == *MAGIC
            && reader.array::<1>()? == [FORMAT]
            && reader.array::<3>()? == [0; 3];
        let log_id = reader.array()?;
        let mut number = || reader.array().map(u64::from_be_bytes);
        let (segment, offset, end_offset) = (number()?, number()?, number()?);
        let (first_index, records) = (number()?, number()?);
        let (earliest_ms, latest_ms) = (number()?, number()?);
        let tree_root = Hash::from_bytes(reader.array()?);
        let body_length = u64::from_be_bytes(reader.array()?);
        let body_hash = reader.array()?;
        let is_whole =
            is_ours && sha256(&[signed]) == hash && first_index.checked_add(records).is_some();
        let head = Self {
            log_id,
            segment,
            offset,
            end_offset,
            first_index,
            records,
            earliest_ms,
            latest_ms,
            tree_root,
            body_length,
            body_hash,
        };
        is_whole.then_some(head).ok_or(PartError)
    }

    /// Reads the head of a whole part, and gives its sealed body, which is what the head says.
    ///
    /// # Errors
    ///
    /// [`PartError`] if it is none, or was altered anywhere.
    pub fn of_whole(bytes: &[u8]) -> Result<(Self, &[u8]), PartError> {
        let head = Self::parse(bytes)?;
        let sealed = bytes.get(PART_HEAD_BYTES..).ok_or(PartError)?;
        let is_whole = u64::try_from(sealed.len()) == Ok(head.body_length)
            && sealed.len() <= BODY_BYTES_MAX
            && sha256(&[sealed]) == head.body_hash;
        is_whole.then_some((head, sealed)).ok_or(PartError)
    }

    /// The head up to what it says of the body.
    fn covered(&self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[FORMAT, 0, 0, 0], &self.log_id].concat();
        let places = [self.segment, self.offset, self.end_offset, self.first_index, self.records];
        for number in places.into_iter().chain([self.earliest_ms, self.latest_ms]) {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(self.tree_root.as_bytes());
        bytes
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.covered();
        bytes.extend_from_slice(&self.body_length.to_be_bytes());
        bytes.extend_from_slice(&self.body_hash);
        let hash = sha256(&[&bytes]);
        bytes.extend_from_slice(&hash);
        bytes
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Body {
    #[n(0)]
    pub(super) frames: ByteVec,
    #[n(1)]
    pub(super) partitions: Vec<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Partition {
    #[n(0)]
    pub(super) tenant: TenantId,
    #[n(1)]
    pub(super) month: Month,
    #[n(2)]
    pub(super) fields: Vec<Listed>,
}

/// The terms of one field, and who has them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Listed {
    #[n(0)]
    pub(super) terms: ByteVec,
    #[n(1)]
    pub(super) lists: ByteVec,
}

/// A part that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    head: PartHead,
    body: Body,
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// The segment.
    pub segment: u64,
    /// The offset in it.
    pub offset: u64,
    /// Its first record.
    pub first_index: u64,
}

/// What is asked for in a partition: of each field one of these terms. An empty list asks for every record.
pub type Wanted = Vec<(Field, Vec<Term>)>;

impl Part {
    pub(super) fn new<E>(
        mut head: PartHead,
        body: Body,
        seal: impl FnOnce(&PartHead, &[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<(Self, Vec<u8>), E> {
        let sealed = seal(&head, &cbor::encode(&body))?;
        head.body_length = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
        head.body_hash = sha256(&[&sealed]);
        let bytes = [head.to_bytes(), sealed].concat();
        Ok((Self { head, body }, bytes))
    }

    /// Reads a part, whose body `open` opens.
    ///
    /// # Errors
    ///
    /// [`PartError`] if it is none, was altered anywhere, or does not open.
    pub fn parse<B: AsRef<[u8]>>(
        bytes: &[u8],
        open: impl FnOnce(&PartHead, &[u8]) -> Option<B>,
    ) -> Result<Self, PartError> {
        let (head, sealed) = PartHead::of_whole(bytes)?;
        let body = open(&head, sealed).ok_or(PartError)?;
        let body: Body = cbor::decode(body.as_ref(), "part of an index").map_err(|_| PartError)?;
        Ok(Self { head, body })
    }

    /// What it covers.
    #[must_use]
    pub fn head(&self) -> &PartHead {
        &self.head
    }

    /// The records that may be what is asked for, in ascending order; `wanted` says what that is in each partition,
    /// `None` if nothing is.
    ///
    /// # Errors
    ///
    /// [`PartError`] if a list is none.
    pub fn find(
        &self,
        mut wanted: impl FnMut(TenantId, Month) -> Option<Wanted>,
    ) -> Result<Vec<u64>, PartError> {
        let mut found = Vec::new();
        for partition in &self.body.partitions {
            let Some(wanted) = wanted(partition.tenant, partition.month) else { continue };
            // Every record has an action.
            let mut records = if wanted.is_empty() {
                partition.listed(Field::Action)?.all()?
            } else {
                let (field, terms) = wanted.first().ok_or(PartError)?;
                partition.listed(*field)?.any_of(terms)?
            };
            for (field, terms) in wanted.iter().skip(1) {
                let others = partition.listed(*field)?.any_of(terms)?;
                records.retain(|record| others.binary_search(record).is_ok());
            }
            found.extend(records);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found.into_iter().map(|record| self.head.first_index.saturating_add(record)).collect())
    }

    /// The frames, each with the range of its records.
    ///
    /// # Errors
    ///
    /// [`PartError`] if what says so ends too early.
    pub fn frames(&self) -> Result<Vec<(FramePlace, Range<u64>)>, PartError> {
        let mut decoder = Decoder::new(&self.body.frames);
        let (mut offset, mut index) = (self.head.offset, self.head.first_index);
        let mut frames = Vec::new();
        while decoder.position() < self.body.frames.len() {
            let mut number = || decoder.u64().map_err(|_| PartError);
            let (records, blocks) = (number()?, number()?);
            let place = FramePlace { segment: self.head.segment, offset, first_index: index };
            let block_bytes = u64::try_from(BLOCK_BYTES).map_err(|_| PartError)?;
            index = index.checked_add(records).ok_or(PartError)?;
            offset = blocks
                .checked_mul(block_bytes)
                .and_then(|b| offset.checked_add(b))
                .ok_or(PartError)?;
            frames.push((place, place.first_index..index));
        }
        let is_whole = (index, offset) == (self.head.end_index(), self.head.end_offset);
        is_whole.then_some(frames).ok_or(PartError)
    }
}

impl Partition {
    fn listed(&self, field: Field) -> Result<&Listed, PartError> {
        self.fields.get(field as usize).filter(|_| self.fields.len() == FIELDS).ok_or(PartError)
    }
}

impl Listed {
    /// The records that have one of the terms, in ascending order.
    fn any_of(&self, wanted: &[Term]) -> Result<Vec<u64>, PartError> {
        let mut lists = Decoder::new(&self.lists);
        let mut found = Vec::new();
        let (terms, _) = self.terms.as_chunks::<TERM_BYTES>();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        for term in terms {
            if wanted.binary_search(term).is_ok() {
                read_list(&mut lists, |record| found.push(record))?;
            } else {
                read_list(&mut lists, |_| ())?;
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn all(&self) -> Result<Vec<u64>, PartError> {
        let mut lists = Decoder::new(&self.lists);
        let mut found = Vec::new();
        for _ in 0..self.terms.len() / TERM_BYTES {
            read_list(&mut lists, |record| found.push(record))?;
        }
        found.sort_unstable();
        Ok(found)
    }
}

fn read_list(lists: &mut Decoder<'_>, mut each: impl FnMut(u64)) -> Result<(), PartError> {
    let length = lists.array().ok().flatten().ok_or(PartError)?;
    let mut record = 0_u64;
    for _ in 0..length {
        let further = lists.u64().map_err(|_| PartError)?;
        record = record.checked_add(further).ok_or(PartError)?;
        each(record);
    }
    Ok(())
}
