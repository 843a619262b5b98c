//! The raw group-commit loop: what is left of an append when nothing is asked, decided, sealed or hashed.
//!
//! It writes frames of given numbers of records and of bytes, in the way the service writes its own: into preallocated,
//! zeroed files, one `pwrite` and one `fdatasync` for each frame, one in flight at a time, by the same code
//! ([`DirectoryDisk`]). Callers hand their records over one by one ([`Callers`]), each record as bytes of its own; a frame
//! takes those that waited longest, copies them, and is checked by CRC32C. Nothing else is done.
//!
//! In a second form it also hashes as much as the log's format asks of whoever gives records their places, in the cheapest
//! way there is: that bounds what any append of this format can reach on one thread, whatever else it does.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use chancery_audit::disk::{DirectoryDisk, Disk as _, DiskFile};
use chancery_audit::segment::SEGMENT_BYTES;
use chancery_crypto::primitive::sha256;

use super::callers::{Callers, Looped};
use super::lanes::OUTSTANDING;
use super::sizes::FrameSize;

/// The file that frames go to, over and over again: blocks that were written once cost the same each time.
const FILE: &str = "segment";

/// What is done besides writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing.
    None,
    /// What the format has hashed.
    Hashes,
}

/// The blocks of SHA-256 that a record's place takes, besides those of its frame: 2 for the commitment of its key group, 6
/// for three inner nodes above it, 1 for its leaf, and 2 for a node in each of two trees.
const PLACE_BLOCKS: usize = 2 + 6 + 1 + 2 * 2;

/// The bytes that are padded to those blocks (FIPS 180-4, 5.1.1).
const PLACE_BYTES: usize = PLACE_BLOCKS * 64 - 9;

/// Writes the frames into a file in `directory`.
pub(super) fn run(directory: &Path, frames: &[FrameSize], work: Work) -> Result<Looped> {
    std::fs::create_dir_all(directory)?;
    let disk = DirectoryDisk::open(directory)?;
    disk.create_zeroed(FILE, SEGMENT_BYTES)?;
    let most = frames.iter().map(|frame| frame.records).max().unwrap_or_default();
    let (records, bytes) = total(frames);
    let each = bytes / records.max(1);
    let outstanding = usize::try_from(OUTSTANDING)?.max(most);
    let callers = Callers::start((0..records).map(move |_| vec![0x5a_u8; each]), outstanding)?;
    Loop { file: disk.open(FILE)?, offset: 0, callers, work }.run(frames)
}

/// All records and bytes of frames.
pub(super) fn total(frames: &[FrameSize]) -> (usize, usize) {
    frames
        .iter()
        .fold((0, 0), |(records, bytes), frame| (records + frame.records, bytes + frame.bytes))
}

struct Loop {
    file: Box<dyn DiskFile>,
    offset: u64,
    callers: Callers<Vec<u8>>,
    work: Work,
}

impl Loop {
    fn run(mut self, frames: &[FrameSize]) -> Result<Looped> {
        let longest = frames.iter().map(|frame| frame.bytes).max().unwrap_or_default();
        let (mut buffer, mut looped) = (vec![0_u8; longest], Looped::default());
        let started = Instant::now();
        for frame in frames {
            let taken = self.callers.take(frame.records, frame.records)?;
            let bytes = buffer.get_mut(..frame.bytes).context("a frame has room")?;
            fill(bytes, taken.iter().map(|handed| &handed.record));
            if self.work == Work::Hashes {
                hash(bytes, taken.len());
            }
            self.write(bytes)?;
            let now = Instant::now();
            for handed in &taken {
                looped.note(now - handed.came);
            }
            self.callers.tell(taken.len())?;
        }
        let looped = looped.close(started.elapsed(), 1);
        self.callers.end()?;
        Ok(looped)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let length = u64::try_from(bytes.len())?;
        if self.offset + length > SEGMENT_BYTES {
            self.offset = 0;
        }
        self.file.write_at(bytes, self.offset)?;
        self.file.sync()?;
        self.offset += length;
        Ok(())
    }
}

/// Hashes a frame, and as many bytes for each of its records as its place takes.
fn hash(frame: &[u8], records: usize) {
    let place = [0x5a; PLACE_BYTES];
    for _ in 0..records {
        std::hint::black_box(sha256(&[std::hint::black_box(&place)]));
    }
    std::hint::black_box(sha256(&[frame]));
}

/// Copies records as far as there is room, and puts a checksum behind them.
fn fill<'r>(bytes: &mut [u8], records: impl Iterator<Item = &'r Vec<u8>>) {
    let Some((mut room, checksum)) = bytes.split_last_chunk_mut::<4>() else { return };
    for record in records {
        let (place, rest) = room.split_at_mut(record.len().min(room.len()));
        place.copy_from_slice(record.get(..place.len()).unwrap_or_default());
        room = rest;
    }
    room.fill(0);
    *checksum = [0; 4];
    let sum = crc32c::crc32c(bytes.get(..bytes.len() - 4).unwrap_or_default());
    if let Some(checksum) = bytes.last_chunk_mut::<4>() {
        *checksum = sum.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_of_every_frame_is_written_and_answered() {
        let directory = std::env::temp_dir().join(format!("chancery-raw-{}", std::process::id()));
        let frame = |records, blocks: usize| FrameSize { records, bytes: blocks * 4_096 };
        let frames = [frame(3, 1), frame(1_000, 80), frame(1_200, 99)];
        let looped = run(&directory, &frames, Work::Hashes);
        let written = std::fs::read(directory.join(FILE));
        std::fs::remove_dir_all(&directory).unwrap();
        let looped = looped.unwrap();
        assert_eq!(looped.records, 2_203);
        assert!(looped.percentile(99) >= looped.percentile(50));
        let written = written.unwrap();
        let (covered, checksum) = written[..4_096].split_last_chunk().unwrap();
        assert_eq!(crc32c::crc32c(covered), u32::from_be_bytes(*checksum));
        // Three records of the mean size, and nothing behind them.
        let (records, rest) = covered.split_at(3 * (180 * 4_096 / 2_203));
        assert!(records.iter().all(|byte| *byte == 0x5a) && rest.iter().all(|byte| *byte == 0));
    }
}
