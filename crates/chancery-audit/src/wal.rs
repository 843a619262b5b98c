//! The write-ahead log: frames go out one at a time, each written once and synced once.
//!
//! [`Chain`] composes: it knows the tree, the hash of the last frame and the signature of its head. [`Wal`]
//! writes: it owns the open segment and the spare behind it. They are apart so that the head can be signed
//! while the frame is being synced.
//!
//! **Invariant:** bytes that were synced are never written again; a write or sync that failed is never
//! tried again, since nothing is known about the bytes then. The caller ends the process.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_core::limits::FRAME_AUDIT_BYTES_MAX;
use chancery_crypto::primitive::sha256;
use chancery_log::{Frontier, Hash, root_of};

use crate::disk::{Disk, DiskFile};
use crate::frame::{EncodedFrame, Frame, Head, Item};
use crate::partner::Partner;
use crate::segment::{BLOCK_BYTES, SegmentHeader, file_name};
pub use crate::segments::read_frame_at;

/// The file that becomes the next segment.
pub const SPARE_FILE: &str = "spare";

/// What the spare is called until it is whole.
const SPARE_UNMADE_FILE: &str = "spare.new";

// The longest frame fits into an empty segment many times over.
const _: () = assert!(FRAME_AUDIT_BYTES_MAX.next_multiple_of(BLOCK_BYTES) * 4 < 64 * 1024 * 1024);

/// Where a frame stands: the segment's number, and the block in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The segment.
    pub segment: u32,
    /// The block, in units of 4 KiB from the segment's start.
    pub block: u32,
}

impl Address {
    /// The byte offset in the segment.
    #[must_use]
    pub fn offset(self) -> u64 {
        u64::from(self.block) * 4096
    }

    /// As one number.
    #[must_use]
    pub fn to_number(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.block)
    }

    /// From one number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
        Self { segment: half(number >> 32), block: half(number) }
    }
}

/// Where the log ends, and what the next frame continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The incarnation of the next frame.
    pub incarnation: u32,
    /// The number of the next frame.
    pub next_frame: u64,
    /// The hash of the last frame; zeros if there is none.
    pub previous_hash: [u8; 32],
    /// The tree so far.
    pub frontier: Frontier,
    /// The head of the last frame, whose signature the next one stores.
    pub last_head: Option<Head>,
    /// The number of the next segment.
    pub next_segment: u64,
}

/// Composes frames.
#[derive(Debug)]
pub struct Chain {
    log_id: [u8; 32],
    boot_nonce: [u8; 16],
    incarnation: u32,
    next_frame: u64,
    previous_hash: [u8; 32],
    previous_signature: [u8; 64],
    frontier: Frontier,
    /// Room for a frame's bytes.
    room: Vec<u8>,
}

/// A frame that is encoded and not hashed.
#[derive(Debug)]
pub struct Begun {
    frame: Frame,
    head: Head,
    bytes: Arc<Vec<u8>>,
    /// Of them, without the padding.
    length: usize,
}

/// A frame that is ready to be written, and what is to be signed about it.
#[derive(Debug)]
pub struct Composed {
    /// The frame.
    pub frame: Frame,
    /// Its bytes.
    pub encoded: EncodedFrame,
    /// Its head.
    pub head: Head,
}

impl Chain {
    /// Goes on at `tail`, whose last head was signed with `previous_signature`.
    #[must_use]
    pub fn resume(
        tail: &Tail,
        log_id: [u8; 32],
        boot_nonce: [u8; 16],
        previous_signature: [u8; 64],
    ) -> Self {
        Self {
            log_id,
            boot_nonce,
            incarnation: tail.incarnation,
            next_frame: tail.next_frame,
            previous_hash: tail.previous_hash,
            previous_signature,
            frontier: tail.frontier.clone(),
            room: Vec::new(),
        }
    }

    /// Composes the next frame. The head's signature is to be handed to [`Chain::signed`] before the next.
    pub fn compose(&mut self, records: Vec<(Item, Hash)>, unix_ms: u64) -> Composed {
        let begun = self.begin((records, unix_ms), &Partner::none());
        let hash = begun.hash();
        self.complete(begun, hash)
    }

    /// Begins to compose the next frame: all but its hash, which [`Self::complete`] is to be given before the next.
    pub fn begin(
        &mut self,
        (records, unix_ms): (Vec<(Item, Hash)>, u64),
        partner: &Partner,
    ) -> Begun {
        let first_index = self.frontier.size();
        let (items, leaves): (Vec<Item>, Vec<Hash>) = records.into_iter().unzip();
        let frame_root = self.append(leaves, partner);
        let frame = Frame {
            incarnation: self.incarnation,
            number: self.next_frame,
            first_index,
            unix_ms,
            boot_nonce: self.boot_nonce,
            previous_hash: self.previous_hash,
            tree_root: self.frontier.root(),
            frame_root,
            previous_signature: self.previous_signature,
            items,
        };
        let mut bytes = std::mem::take(&mut self.room);
        let length = frame.encode_in(&mut bytes);
        Begun { head: frame.head(self.log_id), frame, bytes: Arc::new(bytes), length }
    }

    /// Appends to the tree; the root over these leaves alone.
    fn append(&mut self, leaves: Vec<Hash>, partner: &Partner) -> Hash {
        let frontier = &mut self.frontier;
        if !partner.helps_with(leaves.len()) {
            frontier.extend(&leaves);
            return root_of(&leaves);
        }
        let leaves = Arc::new(leaves);
        let theirs = Arc::clone(&leaves);
        partner.both(move || root_of(&theirs), || frontier.extend(&leaves)).0
    }

    /// Completes a frame with its hash: the next one continues it.
    pub fn complete(&mut self, begun: Begun, hash: [u8; 32]) -> Composed {
        let Begun { frame, head, bytes, .. } = begun;
        self.previous_hash = hash;
        self.next_frame += 1;
        let bytes = Arc::unwrap_or_clone(bytes);
        Composed { frame, encoded: EncodedFrame { bytes, hash }, head }
    }

    /// Takes the bytes of a frame that nobody needs any more as room for the next.
    pub fn reuse(&mut self, bytes: Vec<u8>) {
        self.room = bytes;
    }

    /// The signature of the head of the last composed frame.
    pub fn signed(&mut self, signature: [u8; 64]) {
        self.previous_signature = signature;
    }

    /// The tree so far.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Where the log goes on, in a segment of that number, after the frame whose head that was.
    #[must_use]
    pub fn tail(&self, next_segment: u64, last_head: Option<Head>) -> Tail {
        Tail {
            incarnation: self.incarnation,
            next_frame: self.next_frame,
            previous_hash: self.previous_hash,
            frontier: self.frontier.clone(),
            last_head,
            next_segment,
        }
    }

    /// What a segment that begins with the frame just begun or composed says of itself.
    ///
    /// `before` is the tree before that frame.
    #[must_use]
    pub fn segment_start(&self, frame: &Frame, before: Frontier) -> SegmentStart {
        SegmentStart {
            incarnation: self.incarnation,
            first_frame: frame.number,
            previous_hash: frame.previous_hash,
            frontier: before,
        }
    }
}

impl Begun {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Its head, which is to be signed.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The bytes that it takes, padding included.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// SHA-256 of its bytes, padding not.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[self.bytes.get(..self.length).unwrap_or_default()])
    }
}

/// What a segment's header says about its first frame.
#[derive(Clone, Debug)]
pub struct SegmentStart {
    /// The incarnation.
    pub incarnation: u32,
    /// The number of the first frame.
    pub first_frame: u64,
    /// The hash of the frame before.
    pub previous_hash: [u8; 32],
    /// The tree before.
    pub frontier: Frontier,
}

impl SegmentStart {
    /// The start of a segment that goes on at `tail`.
    #[must_use]
    pub fn at(tail: &Tail) -> Self {
        Self {
            incarnation: tail.incarnation,
            first_frame: tail.next_frame,
            previous_hash: tail.previous_hash,
            frontier: tail.frontier.clone(),
        }
    }
}

/// A frame that is on the disk.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Where.
    pub address: Address,
    /// How long the disk took.
    pub took: Duration,
}

/// Writes frames.
pub struct Wal {
    disk: Arc<dyn Disk>,
    log_id: [u8; 32],
    segment_bytes: u64,
    segment: Arc<dyn DiskFile>,
    number: u64,
    end: u64,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("number", &self.number)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// A write or a sync failed: what is on the disk is unknown, and the process must end.
    #[error("the audit log cannot be written; what the disk holds must be read again")]
    Failed(#[source] io::Error),
    /// The segment's file was replaced or unlinked under the service.
    #[error("the audit log's open segment is no longer the file of that name")]
    Unlinked,
    /// There is no room for the next segment.
    #[error("the next audit segment cannot be preallocated; make room on the disk")]
    NoRoom(#[source] io::Error),
}

impl Wal {
    /// Begins a segment at `tail`, out of the spare, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`WalError`].
    pub fn begin(
        disk: Arc<dyn Disk>,
        log_id: [u8; 32],
        segment_bytes: u64,
        tail: &Tail,
    ) -> Result<Self, WalError> {
        let start = SegmentStart::at(tail);
        let number = tail.next_segment;
        prepare_spare(&*disk, segment_bytes)?;
        let segment = take_spare(&*disk, &header(log_id, number, segment_bytes, &start))?;
        Ok(Self { disk, log_id, segment_bytes, segment, number, end: 4096 })
    }

    /// Whether a frame of `bytes` goes into the open segment.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.end.saturating_add(bytes) <= self.segment_bytes
    }

    /// The bytes that are left in the open segment.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.segment_bytes.saturating_sub(self.end)
    }

    /// Ends the open segment and begins the next. The spare must have been prepared.
    ///
    /// # Errors
    ///
    /// [`WalError`].
    pub fn roll(&mut self, start: &SegmentStart) -> Result<(), WalError> {
        let number = self.number + 1;
        let next =
            take_spare(&*self.disk, &header(self.log_id, number, self.segment_bytes, start))?;
        let full = std::mem::replace(&mut self.segment, next);
        full.truncate(self.end).map_err(WalError::Failed)?;
        self.number = number;
        self.end = 4096;
        Ok(())
    }

    /// Writes a frame and syncs it, and does something else while the disk works, or behind it where a hand-over is not
    /// worth it. The frame is on the disk when this returns, and not before; how long that took is read off `clock`.
    ///
    /// # Errors
    ///
    /// [`WalError`]; then nothing is known about the frame, and nothing more may be written.
    pub fn write_while<T>(
        &mut self,
        begun: &Begun,
        (partner, clock): (&Partner, fn() -> Instant),
        meanwhile: impl FnOnce() -> T,
    ) -> Result<(Written, T), WalError> {
        let address = self.address()?;
        let (segment, bytes, end) = (Arc::clone(&self.segment), Arc::clone(&begun.bytes), self.end);
        let write = move || {
            let started = clock();
            segment.write_at(&bytes, end)?;
            segment.sync().map(|()| clock() - started)
        };
        let (took, made) = if partner.helps_with(begun.frame.items.len()) {
            partner.both(write, meanwhile)
        } else {
            (write(), meanwhile())
        };
        let took = took.map_err(WalError::Failed)?;
        self.end += u64::try_from(begun.padded_bytes()).unwrap_or(u64::MAX);
        Ok((Written { address, took }, made))
    }

    /// Where the next frame comes to stand.
    fn address(&self) -> Result<Address, WalError> {
        let number = |number| {
            u32::try_from(number).map_err(|error| WalError::Failed(io::Error::other(error)))
        };
        Ok(Address { segment: number(self.number)?, block: number(self.end / 4096)? })
    }

    /// The bytes of a whole segment.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Cuts the open segment behind its last frame: an orderly stop.
    ///
    /// # Errors
    ///
    /// [`WalError::Failed`].
    pub fn finish(&self) -> Result<(), WalError> {
        self.segment.truncate(self.end).map_err(WalError::Failed)
    }

    /// The number of the segment after the open one.
    #[must_use]
    pub fn next_segment(&self) -> u64 {
        self.number + 1
    }

    /// Checks that the open segment is still the file of its name.
    ///
    /// # Errors
    ///
    /// [`WalError::Unlinked`] if it is not.
    pub fn check_linked(&self) -> Result<(), WalError> {
        match self.segment.is_linked() {
            Ok(true) => Ok(()),
            Ok(false) => Err(WalError::Unlinked),
            Err(error) => Err(WalError::Failed(error)),
        }
    }
}

fn header(log_id: [u8; 32], number: u64, bytes: u64, start: &SegmentStart) -> SegmentHeader {
    SegmentHeader {
        log_id,
        number,
        bytes,
        incarnation: start.incarnation,
        first_frame: start.first_frame,
        previous_hash: start.previous_hash,
        frontier: start.frontier.clone(),
    }
}

/// Makes the spare if there is none, and makes it anew if a crash left it half begun.
///
/// # Errors
///
/// [`WalError::NoRoom`] if it cannot be had whole.
pub fn prepare_spare(disk: &dyn Disk, segment_bytes: u64) -> Result<(), WalError> {
    let spare = match disk.read_whole(SPARE_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(WalError::Failed(error)),
    };
    let is_whole = u64::try_from(spare.len()).unwrap_or(u64::MAX) == segment_bytes;
    if is_whole && spare.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    // It has the name only once its sync has succeeded, so that a later try never takes one whose sync failed.
    let made = disk
        .create_zeroed(SPARE_UNMADE_FILE, segment_bytes)
        .and_then(|()| disk.rename(SPARE_UNMADE_FILE, SPARE_FILE))
        .and_then(|()| disk.sync_directory());
    made.map_err(WalError::NoRoom)
}

/// Gives the spare its header and, once that is durable, its name.
fn take_spare(disk: &dyn Disk, header: &SegmentHeader) -> Result<Arc<dyn DiskFile>, WalError> {
    let name = file_name(header.number);
    let spare = disk.open(SPARE_FILE).map_err(WalError::Failed)?;
    spare.write_at(&header.to_bytes(), 0).map_err(WalError::Failed)?;
    spare.sync().map_err(WalError::Failed)?;
    // A crash here leaves a spare with a header: the next start makes it anew.
    disk.rename(SPARE_FILE, &name).map_err(WalError::Failed)?;
    disk.sync_directory().map_err(WalError::Failed)?;
    disk.open(&name).map(Arc::from).map_err(WalError::Failed)
}

/// Reads the frame at an address.
///
/// # Errors
///
/// The system's, or [`io::ErrorKind::InvalidData`] if no frame stands there.
pub fn read_frame(disk: &dyn Disk, address: Address) -> io::Result<Frame> {
    read_frame_at(disk, u64::from(address.segment), address.offset())
}
