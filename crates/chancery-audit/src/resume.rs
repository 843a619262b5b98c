//! The resume file: where the log stood at a segment's end or an orderly stop, so that a start reads the rest alone.
//!
//! ```text
//! resume = CBOR [1, size, root (32), next frame, previous hash (32), incarnation, next segment,
//!                [peak (32), …], last head or null, mark ms or null, served ms, last command,
//!                [[key (16), version, next use index], …],
//!                [[tenant (16), head hash (32)], …],
//!                [[entry name (32), request digest (32), time in the id, address, item], …],
//!                [[link (16), subject (16), handle (16), until ms, uses], …],
//!                [[tenant (16), day, audit bytes], …]]
//!
//! file   = "CHYRSM1\n" ‖ sealed resume ‖ CRC32C of everything before (4)
//! ```
//!
//! The signer seals it as a row of the system tenant whose name is `resume` and the log's id. It says nothing that the frames do not:
//! if it is missing or altered, all frames are read instead. If the log is *shorter* than it says, the log
//! was taken back, and the service does not start.

use chancery_core::cbor;
use chancery_core::counts::Recorded;
use chancery_core::handle::LinkId;
use chancery_core::id::{HandleId, KeyId, PrincipalId, TenantId};
use chancery_core::idempotency::{EntryName, Place, RequestDigest};
use chancery_log::{Frontier, Hash};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::frame::Head;
use crate::wal::Tail;

/// The file's name in the log's directory.
pub const RESUME_FILE: &str = "resume";

const FORMAT: u8 = 1;

const MAGIC: &[u8; 8] = b"CHYRSM1\n";

/// The bytes of the file around a sealed resume.
#[must_use]
pub fn to_file(sealed: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), sealed].concat();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

/// The sealed resume in a file, if no bit of the file was altered by accident.
#[must_use]
pub fn from_file(bytes: &[u8]) -> Option<&[u8]> {
    let (body, checksum) = bytes.split_last_chunk::<4>()?;
    let is_whole = crc32c::crc32c(body).to_be_bytes() == *checksum;
    body.strip_prefix(MAGIC).filter(|_| is_whole)
}

/// What the log said up to some point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Where it goes on.
    pub tail: Tail,
    /// The high-water mark, in milliseconds since 1970.
    pub mark_ms: Option<u64>,
    /// The time served, in milliseconds.
    pub served_ms: u64,
    /// The number of the last command on record.
    pub last_command: u64,
    /// The use index that comes next, by key version.
    pub uses: Vec<UseIndex>,
    /// The last head of each tenant.
    pub heads: Vec<HeadHash>,
    /// The operation ids that are remembered.
    pub entries: Vec<Entry>,
    /// The links of handles whose uses are counted.
    pub links: Vec<LinkUses>,
    /// What each tenant has written on its last day.
    pub spent: Vec<SpentBytes>,
}

/// What a tenant has written in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SpentBytes {
    /// The tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// The day, from 1970 on.
    #[n(1)]
    pub day: u64,
    /// The bytes.
    #[n(2)]
    pub bytes: u64,
}

/// How often a link of a handle was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct LinkUses {
    #[n(0)]
    link: LinkId,
    #[n(1)]
    subject: PrincipalId,
    #[n(2)]
    handle: HandleId,
    #[n(3)]
    until_ms: u64,
    #[n(4)]
    uses: u64,
}

impl From<Recorded> for LinkUses {
    fn from(Recorded { link, subject, handle, until_ms, uses }: Recorded) -> Self {
        Self { link, subject, handle, until_ms, uses }
    }
}

impl From<LinkUses> for Recorded {
    fn from(LinkUses { link, subject, handle, until_ms, uses }: LinkUses) -> Self {
        Self { link, subject, handle, until_ms, uses }
    }
}

/// The use index that comes next of a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct UseIndex {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The version.
    #[n(1)]
    pub version: u32,
    /// The index that comes next.
    #[n(2)]
    pub next: u64,
}

/// The last head of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HeadHash {
    /// The tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// SHA-256 of its sealed head.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: [u8; 32],
}

/// An operation id that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Entry {
    /// Its name in the index.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: EntryName,
    /// The request's digest.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: RequestDigest,
    /// The time in the id, in milliseconds since 1970.
    #[n(2)]
    pub id_ms: u64,
    /// Where the frame stands.
    #[n(3)]
    address: u64,
    /// The item in the frame.
    #[n(4)]
    item: u32,
}

impl Entry {
    /// An entry whose answer stands at `place`.
    #[must_use]
    pub fn new(name: EntryName, digest: RequestDigest, id_ms: u64, place: Place) -> Self {
        Self { name, digest, id_ms, address: place.address, item: place.item }
    }

    /// Where its answer stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { address: self.address, item: self.item }
    }
}

/// The file's layout.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Layout {
    #[n(0)]
    format: u8,
    #[n(1)]
    size: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    root: [u8; 32],
    #[n(3)]
    next_frame: u64,
    #[cbor(n(4), with = "minicbor::bytes")]
    previous_hash: [u8; 32],
    #[n(5)]
    incarnation: u32,
    #[n(6)]
    next_segment: u64,
    #[n(7)]
    peaks: Vec<ByteArray<32>>,
    #[n(8)]
    last_head: Option<HeadLayout>,
    #[n(9)]
    mark_ms: Option<u64>,
    #[n(10)]
    served_ms: u64,
    #[n(11)]
    last_command: u64,
    #[n(12)]
    uses: Vec<UseIndex>,
    #[n(13)]
    heads: Vec<HeadHash>,
    #[n(14)]
    entries: Vec<Entry>,
    #[n(15)]
    links: Vec<LinkUses>,
    #[n(16)]
    spent: Vec<SpentBytes>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct HeadLayout {
    #[cbor(n(0), with = "minicbor::bytes")]
    log_id: [u8; 32],
    #[n(1)]
    incarnation: u32,
    #[n(2)]
    number: u64,
    #[n(3)]
    first_index: u64,
    #[n(4)]
    tree_size: u64,
    #[cbor(n(5), with = "minicbor::bytes")]
    tree_root: [u8; 32],
    #[cbor(n(6), with = "minicbor::bytes")]
    frame_root: [u8; 32],
}

impl Resume {
    /// The bytes that are sealed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let tail = &self.tail;
        let peaks = tail.frontier.peaks().iter().map(|peak| (*peak.as_bytes()).into());
        cbor::encode(&Layout {
            format: FORMAT,
            size: tail.frontier.size(),
            root: *tail.frontier.root().as_bytes(),
            next_frame: tail.next_frame,
            previous_hash: tail.previous_hash,
            incarnation: tail.incarnation,
            next_segment: tail.next_segment,
            peaks: peaks.collect(),
            last_head: tail.last_head.map(HeadLayout::of),
            mark_ms: self.mark_ms,
            served_ms: self.served_ms,
            last_command: self.last_command,
            uses: self.uses.clone(),
            heads: self.heads.clone(),
            entries: self.entries.clone(),
            links: self.links.clone(),
            spent: self.spent.clone(),
        })
    }

    /// Reads the bytes, once they were opened.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let layout: Layout = cbor::decode(bytes, "resume file").ok()?;
        let peaks = layout.peaks.iter().map(|peak| Hash::from(**peak)).collect();
        let frontier = Frontier::from_parts(layout.size, peaks).ok()?;
        if layout.format != FORMAT || frontier.root() != Hash::from(layout.root) {
            return None;
        }
        Some(Self {
            tail: Tail {
                incarnation: layout.incarnation,
                next_frame: layout.next_frame,
                previous_hash: layout.previous_hash,
                frontier,
                last_head: layout.last_head.map(HeadLayout::into_head),
                next_segment: layout.next_segment,
            },
            mark_ms: layout.mark_ms,
            served_ms: layout.served_ms,
            last_command: layout.last_command,
            uses: layout.uses,
            heads: layout.heads,
            entries: layout.entries,
            links: layout.links,
            spent: layout.spent,
        })
    }
}

impl HeadLayout {
    fn of(head: Head) -> Self {
        Self {
            log_id: head.log_id,
            incarnation: head.incarnation,
            number: head.number,
            first_index: head.first_index,
            tree_size: head.tree_size,
            tree_root: *head.tree_root.as_bytes(),
            frame_root: *head.frame_root.as_bytes(),
        }
    }

    fn into_head(self) -> Head {
        Head {
            log_id: self.log_id,
            incarnation: self.incarnation,
            number: self.number,
            first_index: self.first_index,
            tree_size: self.tree_size,
            tree_root: Hash::from(self.tree_root),
            frame_root: Hash::from(self.frame_root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_file_survives_its_encoding() {
        let mut frontier = Frontier::new();
        for leaf in 0..11_u8 {
            frontier.append(chancery_log::leaf_hash(&[leaf]));
        }
        let head = Head {
            log_id: [1; 32],
            incarnation: 2,
            number: 6,
            first_index: 9,
            tree_size: 11,
            tree_root: frontier.root(),
            frame_root: Hash::from([4; 32]),
        };
        let resume = Resume {
            tail: Tail {
                incarnation: 2,
                next_frame: 7,
                previous_hash: [3; 32],
                frontier,
                last_head: Some(head),
                next_segment: 1,
            },
            mark_ms: Some(5),
            served_ms: 6,
            last_command: 7,
            uses: vec![UseIndex { key: KeyId::from_bytes([8; 16]), version: 1, next: 9 }],
            heads: vec![HeadHash { tenant: TenantId::from_bytes([1; 16]), hash: [2; 32] }],
            entries: vec![Entry::new([1; 32], [2; 32], 3, Place { address: 4, item: 5 })],
            links: vec![LinkUses {
                link: LinkId([4; 16]),
                subject: PrincipalId::from_bytes([5; 16]),
                handle: HandleId::from_bytes([6; 16]),
                until_ms: 6,
                uses: 7,
            }],
            spent: vec![SpentBytes { tenant: TenantId::from_bytes([1; 16]), day: 8, bytes: 9 }],
        };
        let bytes = resume.to_bytes();
        assert_eq!(Resume::parse(&bytes), Some(resume));
        assert_eq!(Resume::parse(&bytes[..bytes.len() - 1]), None);
    }
}
