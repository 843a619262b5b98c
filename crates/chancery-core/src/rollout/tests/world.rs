//! A key, a rollout of it, and everything that is known, to be changed field by field.

use super::super::*;
use crate::clock::{Quality, Reading};
use crate::id::VerifierId;
use crate::key::{KeyVersion, tests as keys};
use crate::schedule::{Accept, Fraction, Mode, Selector};
use crate::state::KeyState;

pub(super) const PERSON: PrincipalId = PrincipalId::from_bytes([5; 16]);
pub(super) const ROLLOUT: RolloutId = RolloutId::from_bytes([1; 16]);
pub(super) const OTHER: RolloutId = RolloutId::from_bytes([2; 16]);

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch { generation: 0, number }
}

pub(super) fn verifier_id(number: u8) -> VerifierId {
    VerifierId::from_bytes([number; 16])
}

/// P, C and S are 10 ms, L is 100 ms: 30 ms from publication, 120 ms until retirement.
pub(super) fn bounds() -> Bounds {
    Bounds {
        propagation_ms: 10,
        verifier_cache_ms: 10,
        reprotect_ms: 0,
        artefact_life_ms: 100,
        safety_ms: 10,
        quiet_ms: 20,
        cryptoperiod_ms: 10_000,
    }
}

fn trigger(metric: Metric, response: Response, reporters: u16) -> Trigger {
    Trigger {
        metric,
        comparator: Comparator::Above,
        threshold: 10,
        window_ms: 15,
        short_window_ms: None,
        stale_ms: 20,
        response,
        reporters,
    }
}

fn stage(name: StageName, ppm: u32, min_ms: u64) -> Stage {
    let is_trial = name.is_trial();
    let triggers = vec![
        trigger(Metric::VerifyFailureRate, Response::RollBack, 2),
        trigger(Metric::ErrorRate, Response::Pause, 0),
    ];
    Stage {
        name,
        fraction: Fraction::from_ppm(ppm).unwrap(),
        mode: if is_trial { Mode::NewOnly } else { Mode::PublishOnly },
        accept: Accept::AnyOf,
        selector: Selector::default(),
        min_ms,
        max_ms: 1_000,
        min_samples: if is_trial { 100 } else { 0 },
        exercised: if is_trial { Paths::ALL } else { Paths::NONE },
        acknowledged: Fraction::NONE,
        triggers: if is_trial { triggers } else { Vec::new() },
        on_deadline: Response::Pause,
        on_no_data: Lacking::Pause,
        on_inconclusive: Lacking::Wait,
        advance: Advance::Automatic,
    }
}

pub(super) fn plan() -> Plan {
    let by_person = |stage: Stage| Stage { advance: Advance::Person, ..stage };
    let ready = Stage { acknowledged: Fraction::WHOLE, ..stage(StageName::Ready, 0, 20) };
    Plan {
        name: "tests".parse().unwrap(),
        kind: Kind::Routine,
        bounds: bounds(),
        stages: vec![
            stage(StageName::Publish, 0, 10),
            ready,
            stage(StageName::Canary, 50_000, 30),
            stage(StageName::Ramp, 500_000, 30),
            stage(StageName::Full, 1_000_000, 60),
            by_person(stage(StageName::Soak, 1_000_000, 60)),
            by_person(stage(StageName::Retire, 0, 30)),
            by_person(stage(StageName::Destroy, 0, 0)),
        ],
    }
}

pub(super) fn new_rollout() -> NewRollout {
    NewRollout {
        id: ROLLOUT,
        to: 2,
        cause: Cause::Requested,
        by: Some(PERSON),
        plan: plan(),
        plan_digest: [7; 32],
        remaining_ms: None,
    }
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) samples: u64,
    pub(super) exercised: Paths,
    pub(super) outcomes: Vec<(u8, Outcome)>,
    pub(super) verdict_at: u64,
    pub(super) reporters: Vec<VerifierId>,
    pub(super) broken: Vec<u32>,
    pub(super) last_old: Option<Served>,
    pub(super) remaining: Option<u64>,
}

impl Seen {
    fn nothing() -> Self {
        Self {
            samples: 0,
            exercised: Paths::NONE,
            outcomes: Vec::new(),
            verdict_at: 0,
            reporters: Vec::new(),
            broken: Vec::new(),
            last_old: None,
            remaining: None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) key: Key,
    pub(super) rollout: Rollout,
    pub(super) verifiers: Vec<Verifier>,
    pub(super) seen: Seen,
    pub(super) now: u64,
    pub(super) epoch: Epoch,
    /// What was done by looks and orders so far.
    pub(super) steps: Vec<StepRow>,
}

const READING: Reading =
    Reading { unix_ms: 5, quality: Quality::Plausible, served: Served::from_ms(0), wall_ms: 5 };

/// A step in a place of its own.
fn row(change: &Change, taken: Taken) -> StepRow {
    let Rollout { tenant, key, id, .. } = change.rollout;
    let (previous, row) = ([0; 32], [0; 32]);
    StepRow { tenant, key, rollout: id, number: 0, previous, row, taken, ordinal: Some(0) }
}

impl World {
    /// A key with a second version, and no rollout of it. (The row is one that was never applied.)
    pub(super) fn before() -> Self {
        let mut key = keys::sample("k");
        key.add(keys::next_version(&key)).unwrap();
        key.authority_epoch = epoch(10);
        let verifiers = [1, 2, 3].map(|n| Verifier { id: verifier_id(n), acknowledged: None });
        let observed = Observed::NOTHING;
        let at = Situation {
            key: &key,
            verifiers: &verifiers,
            observed: &observed,
            now: Served::from_ms(1_000),
            epoch: epoch(10),
        };
        let rollout = Rollout::start(&new_rollout(), &at).unwrap().rollout;
        let (seen, verifiers) = (Seen::nothing(), verifiers.to_vec());
        let steps = Vec::new();
        Self { key, rollout, verifiers, seen, now: 1_000, epoch: epoch(10), steps }
    }

    /// A rollout that has just begun.
    pub(super) fn new() -> Self {
        Self::before().started(&new_rollout())
    }

    pub(super) fn started(mut self, new: &NewRollout) -> Self {
        self.start(new);
        self
    }

    /// A rollout that has just come to a stage.
    pub(super) fn at(name: StageName) -> Self {
        let mut world = Self::new();
        world.advance_to(name);
        world
    }

    pub(super) fn advance_to(&mut self, name: StageName) {
        while self.rollout.current().unwrap().name < name {
            self.open_gates();
            if matches!(self.tick(), Step::Stay(_)) {
                self.order(Order::Advance).unwrap();
            }
        }
        self.seen = Seen::nothing();
    }

    pub(super) fn start(&mut self, new: &NewRollout) {
        let change = self.with(|at| Rollout::start(new, at)).unwrap();
        let asked = Asked::Start { remaining_ms: new.remaining_ms };
        self.keep(None, asked, &change);
        self.apply(change);
    }

    /// Keeps a change as a step, from which the engine comes to it again.
    fn keep(&mut self, before: Option<&Rollout>, asked: Asked, change: &Change) {
        let now = Reading { served: Served::from_ms(self.now), ..READING };
        let of = |at: &Situation<'_>| Taken::of((before, asked), change, at, (&[], None), now);
        let taken = self.with(of);
        let row = row(change, taken);
        assert_eq!(row.taken.again(&row, &change.rollout.plan), Ok(change.rollout.clone()));
        self.steps.push(row);
    }

    /// Lets as much happen as the stage waits for, but for a person.
    pub(super) fn open_gates(&mut self) {
        self.now += 1_000;
        let stage = self.rollout.current().unwrap().clone();
        self.now = self.now.min(self.rollout.counted.as_ms() + stage.max_ms - 1);
        let verdicts = stage.triggers.iter().zip(0..).map(|(_, place)| (place, Outcome::Pass));
        let epoch = self.epoch;
        self.verifiers.iter_mut().for_each(|verifier| verifier.acknowledged = Some(epoch));
        self.seen = Seen {
            samples: stage.min_samples,
            exercised: stage.exercised,
            outcomes: verdicts.collect(),
            verdict_at: self.now,
            last_old: Some(Served::from_ms(self.now - 20)),
            remaining: Some(0),
            ..Seen::nothing()
        };
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&Situation<'_>) -> T) -> T {
        let seen = &self.seen;
        let verdict = |&(trigger, outcome)| Verdict {
            trigger,
            outcome,
            value: None,
            at: Served::from_ms(seen.verdict_at),
            reporters: &seen.reporters,
        };
        let verdicts: Vec<_> = seen.outcomes.iter().map(verdict).collect();
        let observed = Observed {
            schedule: self.rollout.entered.epoch,
            samples: seen.samples,
            exercised: seen.exercised,
            verdicts: &verdicts,
            broken: &seen.broken,
            old_seen: seen.last_old,
            remaining: seen.remaining,
        };
        f(&Situation {
            key: &self.key,
            verifiers: &self.verifiers,
            observed: &observed,
            now: Served::from_ms(self.now),
            epoch: self.epoch,
        })
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { served: Served::from_ms(self.now), epoch: self.epoch }
    }

    pub(super) fn apply(&mut self, change: Change) {
        self.key = change.applied(&self.key, self.moment()).unwrap();
        self.epoch = change.epoch;
        if change.rollout.id == self.rollout.id && self.key.rollout() == Some(self.rollout.id) {
            // The row of `before` was never applied, so the first one need not follow it.
            assert!(change.rollout.follows(&self.rollout) || change.rollout.stage == 0);
        }
        self.rollout = change.rollout;
    }

    pub(super) fn looked(&self) -> Step {
        self.with(|at| self.rollout.tick(at)).unwrap()
    }

    pub(super) fn tick(&mut self) -> Step {
        let step = self.looked();
        if let Step::Change(change) = &step {
            self.keep(Some(&self.rollout.clone()), Asked::Nobody, change);
            self.apply(Change::clone(change));
        }
        step
    }

    pub(super) fn order(&mut self, order: Order) -> Result<(), Refused> {
        let change = self.with(|at| self.rollout.order(PERSON, order, at))?;
        self.keep(Some(&self.rollout.clone()), Asked::Order { by: PERSON, order }, &change);
        self.apply(change);
        Ok(())
    }

    /// The gates that are closed.
    pub(super) fn closed(&self) -> Vec<Gate> {
        let gates = self.with(|at| self.rollout.gates(at));
        gates.into_iter().filter(|gate| !gate.is_open()).collect()
    }

    pub(super) fn needs_person(&self) -> bool {
        self.closed() == [Gate::Person]
    }

    /// Adds a third version, and publishes it now.
    pub(super) fn add_standby(&mut self) {
        let number = self.add_version();
        let (epoch, at) = (self.epoch, Served::from_ms(self.now));
        self.key.publish(number, crate::key::Published { epoch, at }).unwrap();
    }

    pub(super) fn add_version(&mut self) -> u32 {
        let version =
            KeyVersion { suite: None, destruction: None, ..keys::next_version(&self.key) };
        let number = version.number;
        self.key.add(version).unwrap();
        number
    }

    pub(super) fn state(&self, number: u32) -> KeyState {
        self.key.version(number).unwrap().state
    }

    pub(super) fn describe(&self) -> String {
        let protects = match self.key.schedule().share() {
            None => format!("{} for all", self.key.scheduled),
            Some(share) => format!("{} for {}", share.version, share.fraction.ppm()),
        };
        let stage = self.rollout.current().unwrap().name.code();
        let (one, two) = (self.state(1), self.state(2));
        format!("{stage}: {protects}; {one:?} {two:?}; epoch {}", self.epoch.number)
    }
}
