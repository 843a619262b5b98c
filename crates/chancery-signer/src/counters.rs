//! Counters of the signer, in the names that Prometheus knows them by.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery_core::handle::Operation;
use chancery_core::reason::Reason;

/// Everything that is counted. Label sets are closed: no caller can make a new one.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) frame_bytes: AtomicU64,
    pub(crate) redecided: AtomicU64,
    pub(crate) sync_nanoseconds: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    /// Of the log's files, before lanes were taken.
    pub(crate) start_bytes_read: AtomicU64,
    uses: [AtomicU64; Operation::ALL.len()],
    refusals: Mutex<BTreeMap<Reason, u64>>,
    unsummarised: Mutex<BTreeMap<Reason, u64>>,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn used(&self, operation: Operation) {
        if let Some(counter) = self.uses.get(usize::from(operation.number())) {
            Self::add(counter, 1);
        }
    }

    pub(crate) fn refused(&self, reason: Reason) {
        *lock(&self.refusals).entry(reason).or_default() += 1;
    }

    /// A refusal before authentication: it has no record of its own and waits for the next summary.
    pub(crate) fn refused_early(&self, reason: Reason) {
        self.refused(reason);
        self.unsummarised(reason);
    }

    /// One that was counted, and has no record of its own.
    pub(crate) fn unsummarised(&self, reason: Reason) {
        self.unsummarised_many(reason, 1);
    }

    /// So many of them.
    pub(crate) fn unsummarised_many(&self, reason: Reason, count: u64) {
        *lock(&self.unsummarised).entry(reason).or_default() += count;
    }

    /// Takes what has not been summarised yet.
    pub(crate) fn take_unsummarised(&self) -> BTreeMap<Reason, u64> {
        std::mem::take(&mut *lock(&self.unsummarised))
    }

    /// All of them, named as Prometheus names them.
    pub(crate) fn exposition(&self) -> Vec<(String, u64)> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut all = vec![
            ("chancery_audit_records_total".to_owned(), load(&self.records)),
            ("chancery_audit_frames_total".to_owned(), load(&self.frames)),
            ("chancery_audit_frame_bytes_total".to_owned(), load(&self.frame_bytes)),
            ("chancery_audit_sync_nanoseconds_total".to_owned(), load(&self.sync_nanoseconds)),
            ("chancery_audit_checkpoints_total".to_owned(), load(&self.checkpoints)),
            ("chancery_audit_start_bytes_read".to_owned(), load(&self.start_bytes_read)),
            ("chancery_uses_redecided_total".to_owned(), load(&self.redecided)),
            ("chancery_arena_fallbacks_total".to_owned(), chancery_memory::hooks::fallbacks()),
            (
                "chancery_invariant_violations_total{property=\"2\"}".to_owned(),
                load(&self.violations),
            ),
        ];
        for (operation, counter) in Operation::ALL.iter().zip(&self.uses) {
            let name = format!("chancery_uses_total{{operation=\"{}\"}}", operation.name());
            all.push((name, load(counter)));
        }
        for (reason, count) in &*lock(&self.refusals) {
            all.push((format!("chancery_refusals_total{{reason=\"{reason}\"}}"), *count));
        }
        all
    }
}

/// A lock whose holder panicked is still a lock: the process aborts on a panic anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
