//! What is seen of the keys that rollouts move: counted as it happens, judged when a rollout is looked at.
//!
//! Lanes and pool count here what they do with such a key, and what verifiers report is taken in when it is judged. All
//! of it is in memory: after a restart nothing was seen, and a rollout waits until it is seen again. A stage's counts
//! begin with its schedule; what was decided under an earlier one is not counted, however late it comes.

use std::collections::{BTreeMap, BTreeSet};
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
    Stage, Trigger, Verdict, Verifier, Window, judge, points,
};

use crate::counters::lock;

mod reported;

pub(crate) use reported::Reports;
use reported::{course, decisive};

/// How long a look may be away from the one before: ten minutes. A machine that was suspended for longer did not see whether
/// anything of the old version came by; that of thousands of rollouts each has its turn late is no such thing.
const LOOKS_APART_MAX_MS: u64 = 600_000;

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
    /// When somebody last looked.
    looked: Served,
    /// Whether something was seen since, or the stage has just begun.
    is_fresh: bool,
    probed: Option<Served>,
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
        sighting.is_fresh = true;
        if let Some(side) = sighting.side(version) {
            sighting.series.count(now, side, |tally| tally.faults += 1);
        }
    }

    /// Verifiers reported something of these keys.
    pub(crate) fn told_of(&self, told: impl Iterator<Item = KeyId>) {
        let mut keys = lock(&self.keys);
        for key in told {
            if let Some(sighting) = keys.get_mut(&key) {
                sighting.is_fresh = true;
            }
        }
    }

    /// The keys of which something was seen since somebody looked, or that have just come into a stage.
    pub(crate) fn fresh(&self) -> BTreeSet<KeyId> {
        let keys = lock(&self.keys);
        keys.iter().filter(|(_, sighting)| sighting.is_fresh).map(|(key, _)| *key).collect()
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
        let is_of_stage =
            known.as_ref().is_some_and(|known| known.schedule == rollout.entered.epoch);
        let mut sighting = Sighting::of(rollout, known, now);
        sighting.see(reports, now);
        sighting.is_fresh = !is_of_stage;
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
                looked: now,
                is_fresh: true,
                probed: None,
            },
        }
    }

    /// Takes in when the old version was last seen, by a verifier or while nobody looked.
    fn see(&mut self, reports: &dyn Reports, now: Served) {
        let nobody_looked = now.as_ms().saturating_sub(self.looked.as_ms()) > LOOKS_APART_MAX_MS;
        let seen = if nobody_looked { Some(now) } else { reports.old_seen() };
        self.old_seen = self.old_seen.max(seen.unwrap_or_default());
        self.looked = now;
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
        self.is_fresh = true;
        // What is refused because of what was asked says nothing of a version, however often it is asked.
        if !done.operation.protects() || done.failed.is_some_and(|reason| !is_ours(reason)) {
            return;
        }
        let nanoseconds = u64::try_from(done.took.as_nanos()).unwrap_or(u64::MAX);
        self.series.count(done.now, side, |tally| {
            tally.requests += 1;
            tally.errors += u64::from(done.failed.is_some());
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
            old_seen: Some(self.old_seen),
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

    /// What was counted over the windows of a trigger, and by whom what verifiers report.
    fn windows(
        &self,
        trigger: &Trigger,
        reports: &dyn Reports,
        now: Served,
    ) -> (Pair, Option<Pair>, Vec<VerifierId>) {
        if trigger.metric.is_reported() {
            let (counts, by) = decisive(trigger, &reports.within(trigger.window_ms));
            return (counts, None, by);
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
