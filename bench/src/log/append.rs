//! Appends in this process: the log alone, without lanes, keys and sockets.
//!
//! Callers hand over records as a lane makes them, committed and sealed but for what their place decides. From there on
//! everything is done as in the service and by the same code: a place and a use index for each, its leaf, tree and frame,
//! one `pwrite` and `fdatasync`, the release of what was sealed until then, and the signature of the frame's head. Beside it
//! a thread makes checkpoints as the service does: frames read back from the disk past the page cache, the tree computed
//! by the second path and compared, both signatures, tiles and checkpoint published. It makes one every 100 ms, ten times
//! as often as the service, so that a run of a second has some.
//!
//! What it leaves out: the lock record, which a start makes known, and the index.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::partner::{Partner, Placed, finish};
use chancery_audit::publish::{Publisher, Recomputed};
use chancery_audit::sealer::Prepared;
use chancery_audit::segment::SEGMENT_BYTES;
use chancery_audit::shelf::Shelf;
use chancery_audit::wal::{Chain, SegmentStart, Tail, Wal, prepare_spare};
use chancery_client::unix_ms;
use chancery_core::limits::FRAME_RECORDS_MAX;
use chancery_core::sequencer::{Claim, Recovered, Sequencer};
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::notes::{CheckpointSeeds, CheckpointSigner};
use chancery_log::Frontier;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::KeyName;

use super::callers::{Callers, Handed, Looped};
use super::lanes::OUTSTANDING;
use super::sizes::FrameSize;
use crate::ablation::signer::{BOOT, Signer};

/// The most records of one run: what is prepared beforehand lies in memory, some 1 KiB each.
const RECORDS_MAX: u64 = 200_000;

/// How long the thread that makes checkpoints rests between two.
const CHECKPOINT_REST: Duration = Duration::from_millis(100);

/// What a run came to.
pub(super) struct Appended {
    pub(super) looped: Looped,
    pub(super) frames: Vec<FrameSize>,
    /// Until a checkpoint covered every record.
    pub(super) covered: Duration,
    pub(super) checkpoints: u64,
}

/// Appends so many records, or as many as are prepared at once, to a fresh log in `directory`.
pub(super) fn run(directory: &Path, records: u64) -> Result<Appended> {
    let [audit, log] = ["audit", "log"].map(|name| directory.join(name));
    for path in [&audit, &log] {
        std::fs::create_dir_all(path)?;
    }
    let signer = Signer::make()?;
    let records = records.min(RECORDS_MAX);
    let prepared = (0..records).map(|_| signer.prepared()).collect::<Result<Vec<_>>>()?;
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(&audit)?);
    let append = Append::begin(&disk, signer.claim()?)?;
    let size = Arc::new(AtomicU64::new(0));
    let is_done = Arc::new(AtomicBool::new(false));
    let checkpoints = {
        let (disk, size, is_done) = (Arc::clone(&disk), Arc::clone(&size), Arc::clone(&is_done));
        let mut checkpoints = Checkpoints::begin(&log)?;
        std::thread::spawn(move || checkpoints.run(&*disk, &size, &is_done))
    };
    let callers = Callers::start(prepared.into_iter(), usize::try_from(OUTSTANDING)?)?;
    let started = Instant::now();
    let appended = append.run(callers, records, &size);
    is_done.store(true, Ordering::Release);
    let (covered, made) =
        checkpoints.join().map_err(|_| anyhow!("the checkpoints ended badly"))??;
    let (looped, frames) = appended?;
    ensure!(covered == records, "{covered} of {records} records are under a checkpoint");
    Ok(Appended { looped, frames, covered: started.elapsed(), checkpoints: made })
}

/// What the sequencer's thread has.
struct Append {
    disk: Arc<dyn Disk>,
    sequencer: Sequencer,
    claim: Claim,
    chain: Chain,
    wal: Wal,
    key: PrivateKey,
    partner: Partner,
    spare: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Append {
    fn begin(disk: &Arc<dyn Disk>, claim: Claim) -> Result<Self> {
        let tail = Tail {
            incarnation: 0,
            next_frame: 0,
            previous_hash: [0; 32],
            frontier: Frontier::new(),
            last_head: None,
            next_segment: 0,
        };
        let wal = Wal::begin(Arc::clone(disk), BOOT.log_id, SEGMENT_BYTES, &tail)?;
        let mut append = Self {
            disk: Arc::clone(disk),
            sequencer: Sequencer::resume(Recovered::default()),
            claim,
            chain: Chain::resume(&tail, BOOT.log_id, BOOT.boot_nonce, [0; 64]),
            wal,
            key: PrivateKey::generate(Suite::Ed25519)?,
            partner: partner(),
            spare: None,
        };
        append.prepare_spare();
        append.wait_for_spare()?;
        Ok(append)
    }

    fn run(
        mut self,
        mut callers: Callers<Prepared>,
        records: u64,
        size: &AtomicU64,
    ) -> Result<(Looped, Vec<FrameSize>)> {
        let (mut looped, mut frames, mut done) = (Looped::default(), Vec::new(), 0);
        let started = Instant::now();
        while done < records {
            let taken = callers.take(1, FRAME_RECORDS_MAX)?;
            let count = taken.len();
            let bytes = self.frame(taken, &mut looped, |now| size.store(now, Ordering::Release))?;
            callers.tell(count)?;
            frames.push(FrameSize { records: count, bytes });
            done += u64::try_from(count)?;
        }
        let looped = looped.close(started.elapsed(), 1);
        callers.end()?;
        self.wait_for_spare()?;
        Ok((looped, frames))
    }

    /// Writes a frame of these records, and lets go what waits for it.
    fn frame(
        &mut self,
        taken: Vec<Handed<Prepared>>,
        looped: &mut Looped,
        durable_to: impl Fn(u64),
    ) -> Result<usize> {
        let (mut records, mut sealed) =
            (Vec::with_capacity(taken.len()), Vec::with_capacity(taken.len()));
        for Handed { came, record } in taken {
            let seat =
                self.sequencer.join(&self.claim).map_err(|_| anyhow!("the authority moved"))?;
            records.push(Placed::new(record, seat.use_index, 0));
            sealed.push(self.sequencer.seal(came, &seat));
        }
        let batch = self.sequencer.close().context("a batch")?;
        let before = self.chain.frontier().clone();
        let records = finish(records, &self.partner);
        let begun = self.chain.begin((records, unix_ms()), &self.partner);
        if !self.wal.fits(begun.padded_bytes()) {
            self.roll(&self.chain.segment_start(begun.frame(), before))?;
        }
        let key = &self.key;
        let meanwhile = || (begun.hash(), key.sign(&begun.head().to_signed_bytes()));
        let (_, (hash, signature)) =
            self.wal.write_while(&begun, (&self.partner, Instant::now), meanwhile)?;
        let composed = self.chain.complete(begun, hash);
        let durable = self.sequencer.synced(&batch);
        durable_to(composed.head.tree_size);
        let now = Instant::now();
        for sealed in sealed {
            let released =
                sealed.release(durable).map_err(|_| anyhow!("a result is not durable"))?;
            looped.note(now - released.into_inner());
        }
        let signature = signature?.try_into().map_err(|_| anyhow!("a signature has 64 bytes"))?;
        self.chain.signed(signature);
        let bytes = composed.encoded.bytes.len();
        self.chain.reuse(composed.encoded.bytes);
        self.partner.discard(composed.frame);
        Ok(bytes)
    }

    fn roll(&mut self, start: &SegmentStart) -> Result<()> {
        self.wait_for_spare()?;
        self.wal.roll(start)?;
        self.prepare_spare();
        Ok(())
    }

    /// Has the next segment made beside.
    fn prepare_spare(&mut self) {
        let disk = Arc::clone(&self.disk);
        self.spare = Some(std::thread::spawn(move || Ok(prepare_spare(&*disk, SEGMENT_BYTES)?)));
    }

    fn wait_for_spare(&mut self) -> Result<()> {
        let Some(making) = self.spare.take() else { return Ok(()) };
        making.join().map_err(|_| anyhow!("the next segment was not made"))?
    }
}

/// The thread that takes its part of large frames, as the service has one.
fn partner() -> Partner {
    let (partner, jobs) = Partner::new();
    std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
    partner
}

/// What makes checkpoints.
struct Checkpoints {
    publisher: Publisher,
    signer: CheckpointSigner,
    origin: KeyName,
    made: u64,
}

impl Checkpoints {
    fn begin(log: &Path) -> Result<Self> {
        let origin: KeyName = "bench.example/log".parse()?;
        let seeds = CheckpointSeeds { ed25519: &[1; 32], ml_dsa_44: &[2; 32] };
        let signer = CheckpointSigner::new(origin.clone(), &seeds, None)?;
        Ok(Self { publisher: Publisher::new(Shelf::at(log)), signer, origin, made: 0 })
    }

    /// Makes them until nothing more comes and all there is is covered; how many records that are, and checkpoints.
    fn run(
        &mut self,
        disk: &dyn Disk,
        size: &AtomicU64,
        is_done: &AtomicBool,
    ) -> Result<(u64, u64)> {
        loop {
            let is_last = is_done.load(Ordering::Acquire);
            let durable = size.load(Ordering::Acquire);
            while let Some(state) = self.publisher.advance(disk, durable)? {
                self.publish(state)?;
            }
            if is_last {
                return Ok((self.publisher.size(), self.made));
            }
            std::thread::sleep(CHECKPOINT_REST);
        }
    }

    fn publish(&mut self, state: Recomputed) -> Result<()> {
        let checkpoint = Checkpoint { origin: self.origin.clone(), tree: state.tree() };
        let note = self.signer.sign(&checkpoint, unix_ms() / 1_000)?;
        self.publisher.publish(&note)?;
        self.made += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_appended_answered_and_covered() {
        let directory =
            std::env::temp_dir().join(format!("chancery-append-{}", std::process::id()));
        let appended = run(&directory, 3_000);
        std::fs::remove_dir_all(&directory).unwrap();
        let appended = appended.unwrap();
        assert_eq!(appended.looped.records, 3_000);
        assert_eq!(appended.frames.iter().map(|frame| frame.records).sum::<usize>(), 3_000);
        assert!(appended.checkpoints >= 1 && appended.covered >= appended.looped.elapsed);
    }
}
