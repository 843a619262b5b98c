//! Refusals without a record of their own, those before authentication and those for which the audit had no
//! room, summed up: once a minute a record for each reason, and never a sync of its own.

use chancery_audit::record::{Counted, Facts, Kind};
use chancery_audit::sealer::{Prepared, Sealer};
use chancery_core::clock::Reading;
use chancery_core::id::TenantId;
use chancery_core::reason::Reason;

use crate::counters::Counters;

/// At most one summary in this time, in milliseconds.
const INTERVAL_MS: u64 = 60_000;

/// How often a reason was given.
pub(crate) struct Summary {
    pub(crate) reason: Reason,
    pub(crate) count: u64,
    pub(crate) prepared: Prepared,
}

/// Makes the summaries.
pub(crate) struct Summaries {
    sealer: Sealer,
    last_ms: u64,
}

impl Summaries {
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer, last_ms: 0 }
    }

    /// The summaries that are due, of what was refused since the last ones. What no record could be made of
    /// stays counted.
    pub(crate) fn due(&mut self, now: Reading, counters: &Counters) -> Vec<Summary> {
        if now.unix_ms < self.last_ms.saturating_add(INTERVAL_MS) {
            return Vec::new();
        }
        let refusals = counters.take_unsummarised();
        if !refusals.is_empty() {
            self.last_ms = now.unix_ms;
        }
        let records = refusals.into_iter().filter_map(|(reason, count)| {
            let mut facts = Facts::new(TenantId::SYSTEM, now, Kind::Refusals);
            facts.refused = Some(reason);
            facts.counted = Counted::Yes;
            let prepared = self.sealer.prepare(&facts, None);
            let prepared = prepared.inspect_err(|_| counters.unsummarised_many(reason, count));
            Some(Summary { reason, count, prepared: prepared.ok()? })
        });
        records.collect()
    }
}
