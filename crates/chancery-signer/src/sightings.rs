//! What is seen of the keys that rollouts move: counted as it happens, judged when a rollout is looked at.
//!
//! Lanes and pool count here what they do with such a key, and what verifiers report is taken in when it is judged. All
//! of it is in memory: after a restart nothing was seen, and a rollout waits until it is seen again. A stage's counts
//! begin with its schedule; what was decided under an earlier one is not counted, however late it comes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use chancery_core::authority::Moving;
use chancery_core::clock::Served;
use chancery_core::epoch::Epoch;
use chancery_core::handle::Operation;
use chancery_core::id::{KeyId, RolloutId, VerifierId};
use chancery_core::key::Key;
use chancery_core::reason::Reason;
use chancery_core::rollout::{
    Counted, Judged, Measured, Metric, Observed, Pair, Path, Paths, Rollout, Series, Side, Sight,
    Stage, Tally, Trigger, Verdict, Verifier, Window, judge, points,
};

use crate::counters::lock;

/// Parts of a window whose course is kept: 16.
const PARTS: u64 = 16;

/// A report of the last minute says what is seen now: windows of quiet are of hours.
const SEEN_NOW_MS: u64 = 60_000;

/// Every key that a rollout moves.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    keys: Mutex<BTreeMap<KeyId, Sighting>>,
}

/// What is seen of one of them, in one stage.
#[derive(Debug)]
struct Sighting {
    rollout: RolloutId,
    /// The epoch of the schedule that it is seen under.
    schedule: Epoch,
    from: u32,
    to: u32,
    series: Series,
    exercised: Paths,
    /// Versions whose fresh signatures did not verify, in any stage.
    broken: Vec<u32>,
    /// When the old version was last seen; first, when somebody began to look.
    old_seen: Served,
    probed: Option<Served>,
}

/// What verifiers reported of both versions of a key.
pub(crate) trait Reports {
    /// In the last so many milliseconds: by verifier.
    fn within(&self, window_ms: u64) -> Vec<(VerifierId, Pair)>;
}

/// What has been done with a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) operation: Operation,
    pub(crate) version: u32,
    pub(crate) took: Duration,
    pub(crate) failed: Option<Reason>,
    pub(crate) now: Served,
}

/// What a look at a rollout is made with. By default nobody has looked.
#[derive(Default)]
pub(crate) struct Looked {
    schedule: Epoch,
    samples: u64,
    exercised: Paths,
    broken: Vec<u32>,
    old_seen: Option<Served>,
    remaining: Option<u64>,
    pub(crate) verifiers: Vec<Verifier>,
    found: Vec<Found>,
    counted: Vec<Counted>,
}

/// How much a look brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The verdicts.
    Verdicts,
    /// What they rest on as well, which is kept with a step.
    Counts,
}

/// One trigger, judged.
struct Found {
    trigger: u8,
    metric: Metric,
    judged: Judged,
    at: Served,
    reporters: Vec<VerifierId>,
}

impl Sightings {
    /// Counts what was done with a key while a rollout moved it.
    pub(crate) fn count(&self, key: &Key, done: &Done) {
        let Some(rollout) = key.rollout() else { return };
        let mut keys = lock(&self.keys);
        let Some(sighting) = keys.get_mut(&key.id).filter(|it| it.rollout == rollout) else {
            return;
        };
        // Decided under the schedule before.
        if key.authority_epoch < sighting.schedule {
            return;
        }
        sighting.count(done);
    }

    /// A fresh signature of a version did not verify.
    pub(crate) fn faulted(&self, key: &Key, version: u32, now: Served) {
        let mut keys = lock(&self.keys);
        let Some(sighting) = keys.get_mut(&key.id) else { return };
        if !sighting.broken.contains(&version) {
            sighting.broken.push(version);
        }
        if let Some(side) = sighting.side(version) {
            sighting.series.count(now, side, |tally| tally.faults += 1);
        }
    }

    /// Counts a probe of the new version.
    pub(crate) fn probed(&self, moving: &Moving, is_good: bool, now: Served) {
        let mut keys = lock(&self.keys);
        let Some(sighting) = keys.get_mut(&moving.key).filter(|it| it.rollout == moving.rollout)
        else {
            return;
        };
        sighting.series.count(now, Side::New, |tally| {
            tally.probes += 1;
            tally.probe_failures += u64::from(!is_good);
        });
    }

    /// Whether the new version was not probed for so long; from then on it was.
    pub(crate) fn is_probe_due(&self, rollout: &Rollout, now: Served, every_ms: u64) -> bool {
        let mut keys = lock(&self.keys);
        let Some(sighting) = keys.get_mut(&rollout.key).filter(|it| it.rollout == rollout.id)
        else {
            return false;
        };
        let is_due =
            sighting.probed.is_none_or(|last| now.as_ms().saturating_sub(last.as_ms()) >= every_ms);
        if is_due {
            sighting.probed = Some(now);
        }
        is_due
    }

    /// Looks at a rollout: begins to count if it is in another stage than before, and judges its triggers.
    pub(crate) fn look(
        &self,
        rollout: &Rollout,
        (verifiers, reports): (Vec<Verifier>, &dyn Reports),
        (now, detail): (Served, Detail),
    ) -> Looked {
        let mut keys = lock(&self.keys);
        let known = keys.remove(&rollout.key);
        let sighting = Sighting::of(rollout, known, now);
        let looked = sighting.looked(rollout, (verifiers, reports), (now, detail));
        keys.insert(rollout.key, sighting);
        looked
    }

    /// Forgets the keys that no rollout moves any more.
    pub(crate) fn keep(&self, is_moved: impl Fn(KeyId) -> bool) {
        lock(&self.keys).retain(|key, _| is_moved(*key));
    }
}

impl Sighting {
    /// The one there is, if it is of this stage; else a new one.
    fn of(rollout: &Rollout, known: Option<Self>, now: Served) -> Self {
        let known = known.filter(|it| it.rollout == rollout.id);
        let schedule = rollout.entered.epoch;
        match known {
            Some(known) if known.schedule == schedule => known,
            known => Self {
                rollout: rollout.id,
                schedule,
                from: rollout.from,
                to: rollout.to,
                series: rollout.current().map(Series::of).unwrap_or_default(),
                exercised: Paths::NONE,
                broken: known.map(|it| it.broken).unwrap_or_default(),
                old_seen: now,
                probed: None,
            },
        }
    }

    fn side(&self, version: u32) -> Option<Side> {
        match version {
            version if version == self.to => Some(Side::New),
            version if version == self.from => Some(Side::Old),
            _ => None,
        }
    }

    fn count(&mut self, done: &Done) {
        let Some(side) = self.side(done.version) else { return };
        if side == Side::Old {
            self.old_seen = self.old_seen.max(done.now);
        }
        if undoes(done.operation) && done.failed.is_none() {
            self.exercised = self.exercised.with(path(side));
        }
        if !done.operation.protects() {
            return;
        }
        let nanoseconds = u64::try_from(done.took.as_nanos()).unwrap_or(u64::MAX);
        self.series.count(done.now, side, |tally| {
            tally.requests += 1;
            tally.errors += u64::from(done.failed.is_some_and(is_ours));
            tally.latency.count(nanoseconds);
        });
    }

    fn looked(
        &self,
        rollout: &Rollout,
        (verifiers, reports): (Vec<Verifier>, &dyn Reports),
        (now, detail): (Served, Detail),
    ) -> Looked {
        let triggers = rollout.current().map(|stage| stage.triggers.as_slice()).unwrap_or_default();
        let places = || (0..).zip(triggers);
        let found = places().map(|(place, trigger)| self.judge(place, trigger, reports, now));
        let found = found.collect();
        let counted = places().filter(|_| detail == Detail::Counts);
        let counted = counted.map(|(place, trigger)| self.counted(place, trigger, reports, now));
        let counted = counted.collect();
        let since_stage =
            reports.within(now.as_ms().saturating_sub(rollout.entered.served.as_ms()));
        let exercised = since_stage.iter().fold(self.exercised, |paths, (_, pair)| {
            let of = |paths: Paths, side, verified| {
                if verified > 0 { paths.with(path(side)) } else { paths }
            };
            of(of(paths, Side::New, pair.new.verified), Side::Old, pair.old.verified)
        });
        Looked {
            schedule: self.schedule,
            samples: self.samples(rollout),
            exercised,
            broken: self.broken.clone(),
            old_seen: Some(self.old_seen_by(reports, now)),
            remaining: None,
            verifiers,
            found,
            counted,
        }
    }

    /// How many answers the new version gave; of a key that nobody may use, how many probes of it there were too.
    fn samples(&self, rollout: &Rollout) -> u64 {
        let new = &self.series.all().new;
        let counts_probes = rollout.current().is_some_and(Stage::counts_probes);
        new.answered().saturating_add(if counts_probes { new.probes } else { 0 })
    }

    /// When the old version was last seen, here or by a verifier.
    fn old_seen_by(&self, reports: &dyn Reports, now: Served) -> Served {
        let is_seen = |window_ms: u64| {
            let reported = reports.within(window_ms);
            reported.iter().any(|(_, pair)| pair.old.verified > 0 || pair.old.rejected > 0)
        };
        if is_seen(SEEN_NOW_MS) { now } else { self.old_seen }
    }

    /// What was counted over the windows of a trigger, and by whom what verifiers report.
    fn windows(
        &self,
        trigger: &Trigger,
        reports: &dyn Reports,
        now: Served,
    ) -> (Pair, Option<Pair>, Vec<VerifierId>) {
        if trigger.metric.is_reported() {
            let reported = reports.within(trigger.window_ms);
            return (sum(&reported), None, who_report(trigger, &reported));
        }
        let long = self.series.window(now, trigger.window_ms);
        let short = trigger.short_window_ms.map(|short| self.series.window(now, short));
        (long, short, Vec::new())
    }

    /// The same, to be kept, with its course.
    fn counted(&self, place: u8, trigger: &Trigger, reports: &dyn Reports, now: Served) -> Counted {
        let metric = trigger.metric;
        let (long, short, _) = self.windows(trigger, reports, now);
        let points = if metric.is_reported() {
            let course = course(reports, trigger.window_ms, now);
            points(metric, &course.iter().map(|(at, pair)| (*at, pair)).collect::<Vec<_>>())
        } else {
            self.series.points(metric, now, trigger.window_ms)
        };
        let short = short.map(|short| Window::of(metric, &short));
        Counted { trigger: place, long: Window::of(metric, &long), short, points }
    }

    fn judge(&self, place: u8, trigger: &Trigger, reports: &dyn Reports, now: Served) -> Found {
        let (long, short, reporters) = self.windows(trigger, reports, now);
        let judged = judge(trigger, &long, short.as_ref());
        Found { trigger: place, metric: trigger.metric, judged, at: now, reporters }
    }
}

/// Whether an operation shows that what a version made is good: it verifies, or it opens.
fn undoes(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Verify | Operation::VerifyMac | Operation::Decrypt | Operation::Unwrap
    )
}

fn path(side: Side) -> Path {
    match side {
        Side::New => Path::NewVerified,
        Side::Old => Path::OldVerified,
    }
}

/// Whether a failure is the service's or the key's, and not the caller's.
fn is_ours(reason: Reason) -> bool {
    matches!(reason, Reason::Unavailable | Reason::KeyUnusable)
}

fn sum(reported: &[(VerifierId, Pair)]) -> Pair {
    let add = |mut sum: Tally, one: &Tally| {
        sum.verified = sum.verified.saturating_add(one.verified);
        sum.rejected = sum.rejected.saturating_add(one.rejected);
        sum.unknown = sum.unknown.saturating_add(one.unknown);
        sum
    };
    reported.iter().fold(Pair::default(), |sum, (_, pair)| Pair {
        new: add(sum.new, &pair.new),
        old: add(sum.old, &pair.old),
    })
}

/// What verifiers reported in each sixteenth of the time before now, in which they reported anything.
fn course(reports: &dyn Reports, window_ms: u64, now: Served) -> Vec<(Served, Pair)> {
    let part_ms = (window_ms / PARTS).max(1);
    let since = |parts: u64| sum(&reports.within(parts.saturating_mul(part_ms)));
    let mut spans = Vec::new();
    let mut longer = since(PARTS);
    for parts in (0..PARTS).rev() {
        let shorter = if parts == 0 { Pair::default() } else { since(parts) };
        let between = less(&longer, &shorter);
        if between != Pair::default() {
            let ago_ms = part_ms.saturating_mul(parts + 1);
            spans.push((Served::from_ms(now.as_ms().saturating_sub(ago_ms)), between));
        }
        longer = shorter;
    }
    spans
}

/// What verifiers reported in the longer of two times and not in the shorter.
fn less(longer: &Pair, shorter: &Pair) -> Pair {
    let tally = |longer: &Tally, shorter: &Tally| Tally {
        verified: longer.verified.saturating_sub(shorter.verified),
        rejected: longer.rejected.saturating_sub(shorter.rejected),
        unknown: longer.unknown.saturating_sub(shorter.unknown),
        ..Tally::default()
    };
    Pair { new: tally(&longer.new, &shorter.new), old: tally(&longer.old, &shorter.old) }
}

/// The verifiers whose own reports hold what the trigger looks for.
fn who_report(trigger: &Trigger, reported: &[(VerifierId, Pair)]) -> Vec<VerifierId> {
    let fails = |pair: &Pair| match trigger.metric {
        Metric::UnknownKeyRate => pair.new.unknown > 0,
        _ => pair.new.rejected > 0,
    };
    reported.iter().filter(|(_, pair)| fails(pair)).map(|(id, _)| *id).collect()
}

impl Looked {
    /// A look in which going back was tried.
    pub(crate) fn with_return_probed(self) -> Self {
        Self { exercised: self.exercised.with(Path::RollbackProbed), ..self }
    }

    /// A look with how many ciphertexts of the old version are left, if anybody knows.
    pub(crate) fn with_remaining(self, remaining: Option<u64>) -> Self {
        Self { remaining, ..self }
    }

    /// Hands the look to a decision.
    pub(crate) fn show<R>(&self, decide: impl FnOnce(&Sight<'_>) -> R) -> R {
        let verdicts: Vec<Verdict<'_>> = self.found.iter().map(Found::verdict).collect();
        let observed = Observed {
            schedule: self.schedule,
            samples: self.samples,
            exercised: self.exercised,
            verdicts: &verdicts,
            broken: &self.broken,
            old_seen: self.old_seen,
            remaining: self.remaining,
        };
        let counted = &self.counted;
        decide(&Sight { verifiers: &self.verifiers, observed: &observed, counted })
    }

    /// What people are shown of it.
    pub(crate) fn measured(&self) -> Vec<Measured> {
        let measured = |found: &Found| {
            let Judged { value, control, samples, .. } = found.judged;
            Measured { trigger: found.trigger, metric: found.metric, value, control, samples }
        };
        self.found.iter().map(measured).collect()
    }
}

impl Found {
    fn verdict(&self) -> Verdict<'_> {
        let Judged { outcome, value, .. } = self.judged;
        Verdict { trigger: self.trigger, outcome, value, at: self.at, reporters: &self.reporters }
    }
}

#[cfg(test)]
mod tests;
