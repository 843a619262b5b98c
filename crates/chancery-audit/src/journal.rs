//! The reduction journal: what takes authority away, kept where neither store nor log can take it.
//!
//! A file of 4 MiB, preallocated, in blocks of 4 KiB. The first two are headers, of which the one with the
//! higher generation counts; every other block holds one entry of that generation, or nothing of it.
//!
//! ```text
//! offset  size  header              offset  size  entry
//! 0       8     magic "CHYRED1\n"   0       8     magic "CHYREDE\n"
//! 8       32    log id              8       8     generation
//! 40      8     generation          16      4     number, from 0
//! 48      4044  zeros               20      4     bytes of the request
//! 4092    4     CRC32C              24      8     when it was accepted, milliseconds since 1970
//!                                   32      …     the request; then zeros
//!                                   4092    4     CRC32C
//! ```
//!
//! **Invariant:** an entry that was acknowledged is never written again before the generation moves on, and
//! the generation moves on only when every entry is recorded in the log.
//!
//! What it does not do: say what a request means or who may make it. The entries are signed by their
//! principals; without a secret nothing more can be bound here, so who can write to the disk can take an
//! entry away (SECURITY says so).

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::segment::BLOCK_BYTES;

/// The file's name.
pub const JOURNAL_FILE: &str = "journal";

/// What the file is called until it is whole.
const JOURNAL_UNMADE_FILE: &str = "journal.new";

/// The file's bytes: 4 MiB, room for 1 022 entries; one of them revokes all that a key ever issued.
pub const JOURNAL_BYTES: u64 = 4 * 1024 * 1024;

/// The blocks before the first entry: one header for even generations, one for odd ones, so that a header
/// is never written over the one that counts.
const HEADER_BLOCKS: u64 = 2;

/// The most entries.
pub const ENTRIES_MAX: u32 = 1_022;

const HEADER_MAGIC: &[u8; 8] = b"CHYRED1\n";
const ENTRY_MAGIC: &[u8; 8] = b"CHYREDE\n";

/// Where an entry's request begins.
const REQUEST_OFFSET: usize = 32;

/// The longest request, in bytes: what a block leaves.
pub const REQUEST_BYTES_MAX: usize = BLOCK_BYTES - REQUEST_OFFSET - 4;

const _: () = assert!((HEADER_BLOCKS + ENTRIES_MAX as u64) * BLOCK_BYTES as u64 == JOURNAL_BYTES);

/// A reduction in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A time at which its signature is alive, in milliseconds since 1970: that at which it was accepted, or, where
    /// the clock was suspect, perhaps a later one.
    pub alive_ms: u64,
    /// The request, signed by its principal.
    pub request: Vec<u8>,
}

/// The journal cannot be used, or cannot take an entry.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system failed; nothing is known about what was being written, and it is not tried again.
    #[error("the reduction journal cannot be read or written")]
    Io(#[from] io::Error),
    /// Every block is taken.
    #[error("the reduction journal is full: {ENTRIES_MAX} reductions wait to be recorded")]
    Full,
    /// The request is longer than a block.
    #[error("a reduction of {bytes} bytes is longer than the {REQUEST_BYTES_MAX} of the journal")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// An acknowledged entry is gone or altered.
    #[error(
        "the reduction journal is damaged at block {block}: acknowledged reductions may be gone"
    )]
    Damaged {
        /// The block, from 0.
        block: u64,
    },
    /// It belongs to another log.
    #[error("the reduction journal is of another service")]
    OtherLog,
}

/// An open journal.
pub struct Journal {
    file: Box<dyn DiskFile>,
    log_id: [u8; 32],
    generation: u64,
    entries: u32,
    failed: bool,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("generation", &self.generation)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `disk` and reads its entries, the oldest first; makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`] where an entry is followed by others and is not whole, or a header is not;
    /// [`JournalError::OtherLog`]; [`JournalError::Io`].
    pub fn open(disk: &dyn Disk, log_id: [u8; 32]) -> Result<(Self, Vec<Entry>), JournalError> {
        if !disk.list()?.iter().any(|name| name == JOURNAL_FILE) {
            make(disk, &log_id)?;
        }
        let file = disk.open(JOURNAL_FILE)?;
        // An entry that an earlier process wrote and did not live to sync is durable before it counts.
        file.sync()?;
        let bytes = disk.read_whole(JOURNAL_FILE)?;
        if u64::try_from(bytes.len()).ok() != Some(JOURNAL_BYTES) {
            return Err(JournalError::Damaged { block: last_block(bytes.len()) });
        }
        let blocks = bytes.as_chunks::<BLOCK_BYTES>().0;
        let generation = generation(blocks, &log_id)?;
        let entries = entries(blocks, generation)?;
        let count = u32::try_from(entries.len()).unwrap_or(ENTRIES_MAX);
        Ok((Self { file, log_id, generation, entries: count, failed: false }, entries))
    }

    /// How many entries wait to be recorded.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.entries
    }

    /// Whether nothing waits to be recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Takes an entry. When this returns, it is durable.
    ///
    /// # Errors
    ///
    /// [`JournalError::Full`] and [`JournalError::TooLong`], without effect; [`JournalError::Io`], after
    /// which nothing is known about the entry and no other is taken.
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        if self.entries >= ENTRIES_MAX {
            return Err(JournalError::Full);
        }
        let bytes = entry.request.len();
        if bytes > REQUEST_BYTES_MAX {
            return Err(JournalError::TooLong { bytes });
        }
        let block = entry_block(entry, self.generation, self.entries);
        self.write(&block, HEADER_BLOCKS + u64::from(self.entries))?;
        self.entries += 1;
        Ok(())
    }

    /// Forgets every entry: all are recorded.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`]; then they may still be there, and no other is taken.
    pub fn clear(&mut self) -> Result<(), JournalError> {
        let next = self.generation + 1;
        self.write(&header_block(&self.log_id, next), next % HEADER_BLOCKS)?;
        self.generation = next;
        self.entries = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], block: u64) -> Result<(), JournalError> {
        if self.failed {
            return Err(io::Error::other("a write or sync failed before").into());
        }
        // True unless both succeed: what failed once is never tried again.
        self.failed = true;
        self.file.write_at(bytes, offset(block))?;
        self.file.sync()?;
        self.failed = false;
        Ok(())
    }
}

/// The block in which a file of so many bytes ends.
fn last_block(bytes: usize) -> u64 {
    u64::try_from(bytes / BLOCK_BYTES).unwrap_or(u64::MAX)
}

fn offset(block: u64) -> u64 {
    block * 4_096
}

fn make(disk: &dyn Disk, log_id: &[u8; 32]) -> Result<(), JournalError> {
    disk.create_zeroed(JOURNAL_UNMADE_FILE, JOURNAL_BYTES)?;
    let file = disk.open(JOURNAL_UNMADE_FILE)?;
    file.write_at(&header_block(log_id, 0), 0)?;
    file.sync()?;
    disk.rename(JOURNAL_UNMADE_FILE, JOURNAL_FILE)?;
    Ok(disk.sync_directory()?)
}

/// The generation of the header that counts. The other one may be torn, being written when power failed.
fn generation(blocks: &[[u8; BLOCK_BYTES]], log_id: &[u8; 32]) -> Result<u64, JournalError> {
    let headers = blocks.iter().take(2).filter_map(parse_header);
    let (of, generation) =
        headers.max_by_key(|(_, number)| *number).ok_or(JournalError::Damaged { block: 0 })?;
    if of == *log_id { Ok(generation) } else { Err(JournalError::OtherLog) }
}

/// The entries of a generation. Only the last write may be torn: nothing of this generation, or of a later
/// one, stands behind the first block that holds no entry of it.
fn entries(blocks: &[[u8; BLOCK_BYTES]], generation: u64) -> Result<Vec<Entry>, JournalError> {
    let mut entries = Vec::new();
    let mut end = None;
    for (number, block) in (0..).zip(blocks.iter().skip(2)) {
        let parsed = parse_entry(block);
        let at = HEADER_BLOCKS + u64::from(number);
        match parsed {
            Some((of, place, entry)) if (of, place) == (generation, number) && end.is_none() => {
                entries.push(entry);
            }
            Some((of, _, _)) if of >= generation => {
                return Err(JournalError::Damaged { block: end.unwrap_or(at) });
            }
            _ => {
                end.get_or_insert(at);
            }
        }
    }
    Ok(entries)
}

fn header_block(log_id: &[u8; 32], generation: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_BYTES);
    bytes.extend_from_slice(HEADER_MAGIC);
    bytes.extend_from_slice(log_id);
    bytes.extend_from_slice(&generation.to_be_bytes());
    sealed(bytes)
}

fn entry_block(entry: &Entry, generation: u64, number: u32) -> Vec<u8> {
    let length = u32::try_from(entry.request.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(BLOCK_BYTES);
    bytes.extend_from_slice(ENTRY_MAGIC);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&entry.alive_ms.to_be_bytes());
    bytes.extend_from_slice(&entry.request);
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(BLOCK_BYTES - 4, 0);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn parse_header(block: &[u8; BLOCK_BYTES]) -> Option<([u8; 32], u64)> {
    let mut reader = crate::codec::Reader::new(block);
    reader.expect(HEADER_MAGIC).ok()?;
    let (log_id, generation) = (reader.array().ok()?, reader.u64().ok()?);
    // Every bit counts, the zeros and the checksum included.
    (header_block(&log_id, generation) == block).then_some((log_id, generation))
}

fn parse_entry(block: &[u8; BLOCK_BYTES]) -> Option<(u64, u32, Entry)> {
    let mut reader = crate::codec::Reader::new(block);
    reader.expect(ENTRY_MAGIC).ok()?;
    let (generation, number) = (reader.u64().ok()?, reader.u32().ok()?);
    let length = usize::try_from(reader.u32().ok()?).ok()?;
    let alive_ms = reader.u64().ok()?;
    let end = REQUEST_OFFSET.checked_add(length).filter(|end| *end <= BLOCK_BYTES - 4)?;
    let request = block.get(REQUEST_OFFSET..end)?.to_vec();
    let entry = Entry { alive_ms, request };
    (entry_block(&entry, generation, number) == block).then_some((generation, number, entry))
}
