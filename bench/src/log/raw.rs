//! The raw group-commit loop: what is left of an append when nothing is asked, decided, sealed or hashed.
//!
//! It writes the frames that the service wrote, by their numbers of records and of bytes, in the way the service does:
//! into preallocated, zeroed files, one `pwrite` and one `fdatasync` for each frame, one in flight at a time, by the same
//! code ([`DirectoryDisk`]). Callers keep as many records outstanding as those of the service do, and each frame takes
//! the records that waited longest, copies them, and is checked by CRC32C. They are told when it is on the disk, and
//! come again at once. Nothing else is done: it is the most that a log of such frames could be on this disk.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use chancery_audit::disk::{DirectoryDisk, Disk as _, DiskFile};
use chancery_audit::segment::SEGMENT_BYTES;

use super::lanes::{OUTSTANDING, percentile};
use super::sizes::FrameSize;
use crate::report::{float, ratio};

/// The file that frames go to, over and over again: blocks that were written once cost the same each time.
const FILE: &str = "segment";

/// What the loop came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Looped {
    pub(super) records: u64,
    pub(super) elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Looped {
    /// The rate.
    pub(super) fn per_second(&self) -> f64 {
        ratio(float(self.records), self.elapsed.as_secs_f64())
    }

    /// The latency that this share, in hundredths, kept.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.latencies, percent)
    }
}

/// Records that came together; when they did is their number's worth of moments.
type Came = Vec<Instant>;

/// Writes the frames into a file in `directory`.
pub(super) fn run(directory: &Path, frames: &[FrameSize]) -> Result<Looped> {
    std::fs::create_dir_all(directory)?;
    let disk = DirectoryDisk::open(directory)?;
    disk.create_zeroed(FILE, SEGMENT_BYTES)?;
    let most = frames.iter().map(|frame| frame.records).max().unwrap_or_default();
    let (asking, asked) = channel();
    let (telling, told) = channel();
    let callers = std::thread::spawn(move || callers(&asking, &told));
    let outstanding = usize::try_from(OUTSTANDING)?.max(most);
    let loop_ =
        Loop { file: disk.open(FILE)?, offset: 0, asked, telling, waiting: VecDeque::new() };
    let looped = loop_.run(frames, outstanding)?;
    callers.join().map_err(|_| anyhow!("the callers ended badly"))?;
    Ok(looped)
}

/// Comes again as often as it is told.
fn callers(asking: &Sender<Came>, told: &Receiver<usize>) {
    for records in told {
        if asking.send(vec![Instant::now(); records]).is_err() {
            return;
        }
    }
}

struct Loop {
    file: Box<dyn DiskFile>,
    offset: u64,
    asked: Receiver<Came>,
    telling: Sender<usize>,
    waiting: VecDeque<Instant>,
}

impl Loop {
    fn run(mut self, frames: &[FrameSize], outstanding: usize) -> Result<Looped> {
        let longest = frames.iter().map(|frame| frame.bytes).max().unwrap_or_default();
        let (record, mut buffer) = (vec![0x5a_u8; longest], vec![0_u8; longest]);
        let mut looped = Looped::default();
        self.telling.send(outstanding)?;
        let started = Instant::now();
        for frame in frames {
            self.wait_for(frame.records)?;
            let bytes = buffer.get_mut(..frame.bytes).context("a frame has room")?;
            fill(bytes, frame.records, &record);
            self.write(bytes)?;
            let now = Instant::now();
            let came = self.waiting.drain(..frame.records);
            looped.latencies.extend(came.map(|came| now - came));
            self.telling.send(frame.records)?;
        }
        looped.elapsed = started.elapsed();
        looped.latencies.sort_unstable();
        looped.records = u64::try_from(looped.latencies.len())?;
        Ok(looped)
    }

    fn wait_for(&mut self, records: usize) -> Result<()> {
        while self.waiting.len() < records {
            self.waiting.extend(self.asked.recv()?);
        }
        Ok(())
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

/// Copies records one by one, and puts their checksum behind them.
fn fill(bytes: &mut [u8], records: usize, record: &[u8]) {
    let each = bytes.len().saturating_sub(4) / records.max(1);
    for place in bytes.chunks_exact_mut(each.max(1)).take(records) {
        place.copy_from_slice(record.get(..place.len()).unwrap_or_default());
    }
    if let Some((covered, checksum)) = bytes.split_last_chunk_mut::<4>() {
        *checksum = crc32c::crc32c(covered).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_of_every_frame_is_written_and_answered() {
        let directory = std::env::temp_dir().join(format!("chancery-raw-{}", std::process::id()));
        let frame = |records, blocks: usize| FrameSize { records, bytes: blocks * 4_096 };
        let looped = run(&directory, &[frame(3, 1), frame(1_000, 80), frame(1_200, 99)]);
        let written = std::fs::read(directory.join(FILE));
        std::fs::remove_dir_all(&directory).unwrap();
        let looped = looped.unwrap();
        assert_eq!((looped.records, looped.latencies.len()), (2_203, 2_203));
        assert!(looped.percentile(99) >= looped.percentile(50));
        let written = written.unwrap();
        let (covered, checksum) = written[..4_096].split_last_chunk().unwrap();
        assert_eq!(crc32c::crc32c(covered), u32::from_be_bytes(*checksum));
    }
}
