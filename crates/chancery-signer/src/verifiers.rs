//! What registered verifiers say: which bundle each uses, and what came of its verifying.
//!
//! It is kept in memory alone, in bounds. After a start nobody has acknowledged anything until they say so again, and what
//! is not known is not ready. Counts are a verifier's own since its start; what is kept of them is what each report adds
//! to the one before, for an hour.
//!
//! **Invariant:** a verifier's word goes neither back in bundles nor in sequence, and is about a bundle that was issued
//! with that digest. The first report that is heard of a verifier adds nothing: how old its counts are is not known.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery_api::message::{HeardView, VerifierView};
use chancery_core::authority::{Authority, Refusal};
use chancery_core::bundle::{BundleRow, Issued};
use chancery_core::clock::Served;
use chancery_core::id::{KeyId, PrincipalId, TenantId, VerifierId};
use chancery_core::limits::REPORTS_KEPT;
use chancery_core::reason::Reason;
use chancery_core::rollout::Verifier;
use chancery_core::verifier::{Report, VerifierRow, VersionCounts};

use crate::counters::{Counters, lock};
use crate::entropy;
use crate::service::Shared;

/// How long what reports add is kept, in milliseconds of time served: as long as the longest window of a trigger on them.
const KEPT_MS: u64 = REPORTS_KEPT.as_secs() * 1_000;

/// Reports of one version are added up while they come within so many milliseconds: 1 s, so that what was seen before a
/// stage began is not taken for what is seen in it.
const BUCKET_MS: u64 = 1_000;

/// The most that is kept of one verifier's reports: 2 048 buckets, some 130 KiB; the oldest go first.
const BUCKETS_MAX: usize = 2_048;

/// The most versions whose counts are remembered of one verifier: 4 096. What it says of more is not evidence.
const VERSIONS_MAX: usize = 4_096;

/// What every verifier said.
#[derive(Debug, Default)]
pub(crate) struct Verifiers {
    heard: Mutex<BTreeMap<(TenantId, PrincipalId), Heard>>,
    taken: AtomicU64,
    stale: AtomicU64,
    unknown: AtomicU64,
    contradicting: AtomicU64,
}

/// What one verifier said.
#[derive(Debug)]
struct Heard {
    bundle: Issued,
    sequence: u64,
    since_ms: u64,
    at: Served,
    totals: BTreeMap<(KeyId, u32), VersionCounts>,
    added: VecDeque<Added>,
}

/// What a verifier's reports of a version added, and when that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// When the first of it came.
    pub(crate) at: Served,
    /// How many it has accepted, refused, and could not judge.
    pub(crate) counts: VersionCounts,
}

/// What one verifier reported of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Which verifier.
    pub(crate) verifier: VerifierId,
    /// The oldest first.
    pub(crate) added: Vec<Added>,
}

impl Verifiers {
    /// The registered verifiers of a key, each with the tenant's epoch that its bundle shows.
    pub(crate) fn acknowledged(
        &self,
        authority: &Authority,
        (tenant, key): (TenantId, KeyId),
    ) -> Vec<Verifier> {
        let heard = lock(&self.heard);
        let verifiers = authority.verifiers(tenant).filter(|row| row.is_of(key));
        let one = |row: &VerifierRow| {
            let acknowledged = heard.get(&(tenant, row.principal)).map(|heard| heard.bundle.as_of);
            Verifier { id: row.id(), acknowledged }
        };
        verifiers.map(one).collect()
    }

    /// What the registered verifiers of a key reported of a version since then; of those who reported nothing, nothing.
    pub(crate) fn reports(
        &self,
        authority: &Authority,
        (tenant, key, version): (TenantId, KeyId, u32),
        since: Served,
    ) -> Vec<Reported> {
        let heard = lock(&self.heard);
        let is_asked = |added: &&Added| {
            (added.counts.key, added.counts.version) == (key, version) && added.at >= since
        };
        let one = |row: &VerifierRow| {
            let heard = heard.get(&(tenant, row.principal))?;
            let added: Vec<_> = heard.added.iter().filter(is_asked).copied().collect();
            (!added.is_empty()).then(|| Reported { verifier: row.id(), added })
        };
        authority.verifiers(tenant).filter(|row| row.is_of(key)).filter_map(one).collect()
    }

    /// Takes a report of a registered verifier.
    fn take(
        &self,
        row: Option<&BundleRow>,
        (whose, at): ((TenantId, PrincipalId), Served),
        report: &Report,
    ) -> Result<(), Refusal> {
        let bundle = self.issued(row, report)?;
        let mut all = lock(&self.heard);
        let Some(heard) = all.get_mut(&whose) else {
            all.insert(whose, Heard::first(bundle, at, report));
            Counters::add(&self.taken, 1);
            return Ok(());
        };
        if report.sequence <= heard.sequence || report.bundle < heard.bundle.number {
            Counters::add(&self.stale, 1);
            let detail = "a later report of this verifier was heard, or one of a newer bundle";
            return Err(refused(Reason::ReportStale, detail));
        }
        heard.go_on(bundle, at, report);
        Counters::add(&self.taken, 1);
        Ok(())
    }

    /// The bundle that a report is about, if it was issued so.
    fn issued(&self, row: Option<&BundleRow>, report: &Report) -> Result<Issued, Refusal> {
        let issued = row.map(|row| row.issued.as_slice()).unwrap_or_default();
        let found = issued.iter().find(|issued| issued.number == report.bundle).copied();
        let Some(found) = found else {
            Counters::add(&self.unknown, 1);
            let detail = "no bundle of that number is remembered; fetch the latest one";
            return Err(refused(Reason::BundleUnknown, detail));
        };
        if found.digest != report.digest || found.as_of != report.as_of {
            Counters::add(&self.contradicting, 1);
            eprintln!(
                "chancery signer: a verifier reports a trust bundle {}.{} that was issued with another content: \
                 somebody else signs bundles, or the verifier is not what it was",
                report.bundle.generation, report.bundle.number
            );
            let detail =
                "the bundle of that number was issued with another content; keep yours as evidence";
            return Err(refused(Reason::BundleUnknown, detail));
        }
        Ok(found)
    }

    /// Its counters, named as Prometheus names them.
    pub(crate) fn exposition(&self) -> Vec<(String, u64)> {
        let named = [
            ("taken", &self.taken),
            ("stale", &self.stale),
            ("unknown-bundle", &self.unknown),
            ("contradicting-bundle", &self.contradicting),
        ];
        let one = |(outcome, counter): (&str, &AtomicU64)| {
            let name = format!("chancery_verifier_reports_total{{outcome=\"{outcome}\"}}");
            (name, counter.load(Ordering::Relaxed))
        };
        named.map(one).to_vec()
    }
}

impl Heard {
    fn first(bundle: Issued, at: Served, report: &Report) -> Self {
        let (totals, added) = (BTreeMap::new(), VecDeque::new());
        let (sequence, since_ms) = (report.sequence, report.since_ms);
        let mut heard = Self { bundle, sequence, since_ms, at, totals, added };
        for counts in &report.counts {
            heard.remember(counts);
        }
        heard
    }

    fn go_on(&mut self, bundle: Issued, at: Served, report: &Report) {
        if report.since_ms != self.since_ms {
            // It was started anew since it was heard last, and counts from nothing.
            self.totals.clear();
        }
        (self.bundle, self.at) = (bundle, at);
        (self.sequence, self.since_ms) = (report.sequence, report.since_ms);
        for counts in &report.counts {
            let before = self.totals.get(&(counts.key, counts.version)).copied();
            if self.remember(counts) {
                self.add(at, more(counts, before));
            }
        }
        let oldest = Served::from_ms(at.as_ms().saturating_sub(KEPT_MS));
        while self.added.front().is_some_and(|added| added.at < oldest)
            || self.added.len() > BUCKETS_MAX
        {
            self.added.pop_front();
        }
    }

    /// Remembers counts, if there is room.
    fn remember(&mut self, counts: &VersionCounts) -> bool {
        let place = (counts.key, counts.version);
        let has_room = self.totals.len() < VERSIONS_MAX || self.totals.contains_key(&place);
        if has_room {
            self.totals.insert(place, *counts);
        }
        has_room
    }

    fn add(&mut self, at: Served, more: VersionCounts) {
        if (more.verified, more.failed, more.unknown) == (0, 0, 0) {
            return;
        }
        let is_same = |added: &&mut Added| {
            (added.counts.key, added.counts.version) == (more.key, more.version)
        };
        let recent = |added: &Added| added.at.plus_ms(BUCKET_MS) > at;
        let last = self.added.iter_mut().rev().take_while(|added| recent(added)).find(is_same);
        if let Some(last) = last {
            last.counts.verified = last.counts.verified.saturating_add(more.verified);
            last.counts.failed = last.counts.failed.saturating_add(more.failed);
            last.counts.unknown = last.counts.unknown.saturating_add(more.unknown);
        } else {
            self.added.push_back(Added { at, counts: more });
        }
    }

    fn view(&self, now: Served) -> HeardView {
        let sum = |of: fn(&VersionCounts) -> u64| {
            self.totals.values().map(of).fold(0, u64::saturating_add)
        };
        HeardView {
            bundle: self.bundle.number,
            as_of: self.bundle.as_of,
            ago_ms: now.as_ms().saturating_sub(self.at.as_ms()),
            verified: sum(|counts| counts.verified),
            failed: sum(|counts| counts.failed),
            unknown: sum(|counts| counts.unknown),
        }
    }
}

/// What counts are above those before. One that fell adds nothing.
fn more(now: &VersionCounts, before: Option<VersionCounts>) -> VersionCounts {
    let Some(before) = before else { return *now };
    VersionCounts {
        verified: now.verified.saturating_sub(before.verified),
        failed: now.failed.saturating_sub(before.failed),
        unknown: now.unknown.saturating_sub(before.unknown),
        ..*now
    }
}

/// Takes a report whose principal may make it.
pub(crate) fn report(
    shared: &Shared,
    whose: (TenantId, PrincipalId),
    report: &Report,
) -> Result<(), Refusal> {
    let (row, now) = {
        let mut core = lock(&shared.core);
        let now = core.now(entropy::sample());
        (core.authority.bundle(whose.0).cloned(), now)
    };
    shared.verifiers.take(row.as_deref(), (whose, now.served), report)?;
    shared.sightings.told_of(report.counts.iter().map(|counts| counts.key));
    Ok(())
}

/// The registered verifiers of a tenant, as its readers see them.
pub(crate) fn list(shared: &Shared, tenant: TenantId) -> Vec<VerifierView> {
    let mut core = lock(&shared.core);
    let now = core.now(entropy::sample()).served;
    let authority = &core.authority;
    let heard = lock(&shared.verifiers.heard);
    let named = |key: &KeyId| authority.key(tenant, *key).map(|key| key.name.clone());
    let one = |row: &VerifierRow| {
        Some(VerifierView {
            principal: row.principal,
            name: authority.principal(row.principal)?.name.clone(),
            keys: row.keys.iter().filter_map(named).collect(),
            heard: heard.get(&(tenant, row.principal)).map(|heard| heard.view(now)),
        })
    };
    authority.verifiers(tenant).filter_map(one).collect()
}

fn refused(reason: Reason, detail: &str) -> Refusal {
    Refusal { reason, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
