//! Refusals before authentication, summed up: one record a minute, and never a sync of its own.

use std::collections::BTreeMap;

use chancery_audit::record::{Facts, Kind};
use chancery_audit::sealer::Sealer;
use chancery_core::cbor;
use chancery_core::clock::{Quality, Reading, Served};
use chancery_core::id::TenantId;
use chancery_core::reason::Reason;
use chancery_core::sequencer::{Claim, Mark};
use chancery_crypto::primitive::sha256;

use crate::counters::Counters;
use crate::outlet::Answer;
use crate::sequencer::{Finished, Way};

/// At most one summary in this time, in milliseconds.
const INTERVAL_MS: u64 = 60_000;

/// Makes the summaries.
pub(crate) struct Summaries {
    sealer: Sealer,
    last_ms: u64,
}

impl Summaries {
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer, last_ms: 0 }
    }

    /// The summary that is due, if anything was refused since the last.
    pub(crate) fn due(&mut self, now_ms: u64, counters: &Counters) -> Option<Finished> {
        if now_ms < self.last_ms.saturating_add(INTERVAL_MS) {
            return None;
        }
        let refusals = counters.take_unsummarised();
        if refusals.is_empty() {
            return None;
        }
        self.last_ms = now_ms;
        let prepared = self.sealer.prepare(&facts(&refusals, now_ms), None).ok()?;
        Some(Finished {
            claim: Claim { tenant: TenantId::SYSTEM, decided: Mark::STANDING, counted: None },
            prepared,
            links: Vec::new(),
            command: 0,
            entry: None,
            answer: Answer::None,
            way: Way::Nowhere,
        })
    }
}

/// The record names the most frequent reason, the size of the total, and commits to all counts.
fn facts(refusals: &BTreeMap<Reason, u64>, now_ms: u64) -> Facts {
    let now = Reading { unix_ms: now_ms, quality: Quality::Plausible, served: Served::default() };
    let total: u64 = refusals.values().sum();
    let counts: Vec<(Reason, u64)> =
        refusals.iter().map(|(reason, count)| (*reason, *count)).collect();
    let mut facts = Facts::new(TenantId::SYSTEM, now, Kind::Refusals);
    facts.refused = counts.iter().max_by_key(|(_, count)| *count).map(|(reason, _)| *reason);
    facts.input_bytes = usize::try_from(total).unwrap_or(usize::MAX);
    facts.message = sha256(&[&cbor::encode(&counts)]);
    facts
}
