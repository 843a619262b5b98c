//! The thread that puts the dense form of closed segments in their place.
//!
//! It takes one segment a round, at low priority, once the log goes on in another and a published checkpoint covers all
//! of it. Whoever reads the log reads either form; nobody waits for this thread. What it does on the disk, and in
//! which order, is [`chancery_audit::repack`]'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery_audit::repack::{RepackError, Repacked, repack};
use chancery_audit::segments::{Segments, header};

use crate::counters::{Counters, lock};
use crate::service::Shared;

/// How often it is looked for a segment to repack.
const ROUND: Duration = Duration::from_secs(1);

/// How long it rests after a failure: 1 min. Every try begins with a new file, and frees nothing that is not there
/// twice.
const REST: Duration = Duration::from_mins(1);

/// How much the scheduler prefers others, as `nice` counts: as far as that goes.
const NICENESS: i32 = 19;

/// What it has done.
#[derive(Debug, Default)]
pub(crate) struct RepackCounters {
    padded: AtomicU64,
    dense: AtomicU64,
    repacked: AtomicU64,
    saved_bytes: AtomicU64,
    failures: AtomicU64,
}

impl RepackCounters {
    /// All of them, named as Prometheus names them.
    pub(crate) fn exposition(&self) -> Vec<(String, u64)> {
        let named = [
            ("chancery_audit_segments{form=\"padded\"}", &self.padded),
            ("chancery_audit_segments{form=\"dense\"}", &self.dense),
            ("chancery_audit_repacked_segments_total", &self.repacked),
            ("chancery_audit_repack_saved_bytes_total", &self.saved_bytes),
            ("chancery_audit_repack_failures_total", &self.failures),
        ];
        let load = |(name, counter): (&str, &AtomicU64)| {
            (name.to_owned(), counter.load(Ordering::Relaxed))
        };
        named.map(load).to_vec()
    }

    fn count(&self, segments: &Segments) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.padded.store(number(segments.padded.len()), Ordering::Relaxed);
        self.dense.store(number(segments.dense.len()), Ordering::Relaxed);
    }
}

/// Starts the thread.
pub(crate) fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        // For who looks at the process; without it nothing is wrong.
        let _ = rustix::thread::set_name(c"repacker");
        // A kernel that refuses leaves the thread at the common priority, which is slower, not wrong.
        let _ = rustix::process::nice(NICENESS);
        let mut said = String::new();
        loop {
            std::thread::sleep(ROUND);
            let Err(error) = round(&shared) else { continue };
            Counters::add(&shared.repacked.failures, 1);
            let text = format!("{error}");
            if text != said {
                eprintln!("chancery signer: a segment stays as it was written: {text}");
                said = text;
            }
            std::thread::sleep(REST);
        }
    });
}

/// Repacks one segment, if one is ready.
fn round(shared: &Shared) -> Result<(), RepackError> {
    let disk = &*shared.disk;
    let segments = Segments::list(disk)?;
    shared.repacked.count(&segments);
    let Some(number) = next(shared, &segments)? else { return Ok(()) };
    let Repacked { before, after } = repack(disk, number)?;
    Counters::add(&shared.repacked.repacked, 1);
    Counters::add(&shared.repacked.saved_bytes, before.saturating_sub(after));
    shared.repacked.count(&Segments::list(disk)?);
    Ok(())
}

/// The first segment that is there as it was written, is closed, and lies wholly under a published checkpoint.
fn next(shared: &Shared, segments: &Segments) -> Result<Option<u64>, RepackError> {
    let Some(open) = segments.padded.last() else { return Ok(None) };
    let Some(number) = segments.padded.first().copied().filter(|first| first < open) else {
        return Ok(None);
    };
    let published = lock(&shared.checkpoints).published_size();
    // The segment behind may be named and not written to yet; its header is durable before its name is.
    let end = header(&*shared.disk, number + 1)?.frontier.size();
    Ok((end <= published).then_some(number))
}
