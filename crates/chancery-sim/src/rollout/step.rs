//! What happens in one step: the engine is told what is known, and what it decides becomes durable or does not.

use chancery_core::clock::Served;
use chancery_core::epoch::Epoch;
use chancery_core::id::{PrincipalId, VerifierId};
use chancery_core::key::Key;
use chancery_core::rollout::{
    Cause, Change, Observed, Order, Outcome, Overridable, Override, Paths, Rollout, Situation,
    StageName, Status, Step as Looked, Verdict, Verifier,
};
use chancery_core::schedule::{Accept, Schedule};
use chancery_core::state::{KeyEvent, KeyState};

use super::books::{self, Broken, Evidence, Step};
use super::fixtures::{self, VERIFIERS, epoch};
use super::world::{Decided, Heard, Picture, Row, World};
use super::{Action, Fault, PERSON, Rollouts, Sight};

/// What the engine is told, apart from what it is borrowed from.
struct Told {
    key: Key,
    verifiers: Vec<Verifier>,
    schedule: Epoch,
    verdict: Option<(Outcome, u64, Vec<VerifierId>)>,
    samples: u64,
    exercised: Paths,
    broken: Vec<u32>,
    old_seen: Option<Served>,
    now: u64,
    epoch: u64,
}

impl Told {
    /// What is so.
    fn of(world: &World) -> Self {
        let picture = &world.picture;
        let ids = VERIFIERS.into_iter().zip(world.verifiers);
        let said = |(id, heard): (VerifierId, Heard)| Verifier {
            id,
            acknowledged: heard.acknowledged.map(epoch),
        };
        let [one, two, liar] = VERIFIERS;
        let verdict = picture.verdict.map(|(sight, at)| match sight {
            Sight::Plain(outcome) => (outcome, at, vec![one, two]),
            Sight::FailureOfOne => (Outcome::Fail, at, vec![liar, liar, liar]),
        });
        Self {
            key: Key::clone(&world.key),
            verifiers: ids.map(said).collect(),
            schedule: epoch(picture.schedule),
            verdict,
            samples: u64::from(picture.has_samples),
            exercised: if picture.has_paths { Paths::ALL } else { Paths::NONE },
            broken: world.broken.into_iter().collect(),
            old_seen: picture.old_seen.map(Served::from_ms),
            now: world.served(),
            epoch: world.epoch,
        }
    }

    fn hear<T>(&self, ask: impl FnOnce(&Situation<'_>) -> T) -> T {
        let verdicts = self.verdict.iter().map(|(outcome, at, reporters)| Verdict {
            trigger: 0,
            outcome: *outcome,
            value: None,
            at: Served::from_ms(*at),
            reporters,
        });
        let verdicts: Vec<_> = verdicts.collect();
        let observed = Observed {
            schedule: self.schedule,
            samples: self.samples,
            exercised: self.exercised,
            verdicts: &verdicts,
            broken: &self.broken,
            old_seen: self.old_seen,
            remaining: None,
        };
        ask(&Situation {
            key: &self.key,
            verifiers: &self.verifiers,
            observed: &observed,
            now: Served::from_ms(self.now),
            epoch: epoch(self.epoch),
        })
    }

    /// What the fault makes of it.
    fn twist(&mut self, fault: Fault, rollout: Option<&Rollout>) {
        let stage = rollout.and_then(Rollout::current).map(|stage| stage.name);
        let published = rollout.and_then(|rollout| self.key.version(rollout.to)?.published);
        let published = published.map(|published| published.epoch);
        match fault {
            Fault::SignBeforeAcknowledged => {
                self.verifiers.iter_mut().for_each(|it| it.acknowledged = published);
            }
            Fault::StaleAcknowledgement => self.acknowledge(published, |said, by| said < by),
            Fault::LaterAcknowledgement => {
                let now = epoch(self.epoch);
                self.acknowledge(published, |said, _| said > now);
            }
            Fault::ClockJumps if stage == Some(StageName::Ready) => self.now += 3,
            Fault::RollBackToCompromised => self.forget_compromise(rollout),
            Fault::AdvanceOnNotANumber => self.pass(Outcome::NotANumber),
            Fault::AdvanceOnNoData => self.pass(Outcome::NoData),
            Fault::DelayedVerdict => {
                self.schedule = rollout.map_or(self.schedule, |rollout| rollout.entered.epoch);
            }
            Fault::StaleVerdict => {
                let now = self.now;
                self.verdict.iter_mut().for_each(|(_, at, _)| *at = now);
            }
            Fault::LoneReporter => {
                self.verdict.iter_mut().for_each(|(_, _, by)| *by = VERIFIERS.to_vec());
            }
            Fault::TwoRollouts if rollout.is_none() => self.key.moving = None,
            Fault::EpochReused => self.epoch = self.key.authority_epoch.number,
            _ => {}
        }
    }

    fn acknowledge(&mut self, published: Option<Epoch>, counts: impl Fn(Epoch, Epoch) -> bool) {
        let Some(published) = published else { return };
        for verifier in &mut self.verifiers {
            if verifier.acknowledged.is_some_and(|said| counts(said, published)) {
                verifier.acknowledged = Some(published);
            }
        }
    }

    fn pass(&mut self, instead: Outcome) {
        let wrong = self.verdict.iter_mut().filter(|(outcome, ..)| *outcome == instead);
        wrong.for_each(|(outcome, ..)| *outcome = Outcome::Pass);
    }

    fn forget_compromise(&mut self, rollout: Option<&Rollout>) {
        let Some(from) = rollout.map(|rollout| rollout.from) else { return };
        let mut versions = self.key.versions.iter_mut();
        if let Some(version) = versions.find(|version| version.number == from) {
            version.state = KeyState::Active;
        }
    }
}

impl Rollouts {
    /// What comes of an action; nothing if it is refused.
    pub(super) fn happen(&self, world: &World, action: Action) -> Result<Option<World>, Broken> {
        let mut next = world.clone();
        match action {
            Action::Start(slot) => return Ok(self.start(next, slot)),
            Action::Tick(slot) => return Ok(self.tick(next, slot)),
            Action::Order(slot, order) => return Ok(self.order(next, slot, PERSON, order)),
            Action::OrderOfNobody(slot) => return Ok(self.order_of_nobody(next, slot)),
            Action::Commit => return self.commit(world),
            Action::Event(version, event) => return event_of(world, version, event),
            Action::Wait => {
                next.now += 1;
                next.age();
            }
            Action::Crash => crash(&mut next),
            Action::Other => {
                next.spent.others += 1;
                next.epoch += 1;
            }
            Action::Break => {
                next.spent.events += 1;
                next.broken = Some(2);
            }
            Action::Fetch(0) => next.verifiers[0].under_way = Some(next.bundle()),
            Action::Fetch(_) => next.verifiers[1].acknowledged = Some(next.bundle()),
            Action::Deliver(_) => deliver(&mut next),
            Action::LieOfNow => next.verifiers[2].acknowledged = Some(next.bundle()),
            // So far ahead that no epoch of a run comes to it.
            Action::LieOfLater => next.verifiers[2].acknowledged = Some(u64::MAX),
            Action::See(_) | Action::SeeLate(_) | Action::Answer | Action::Exercise => {
                see(&mut next, action);
            }
            Action::OldSeen => {
                see(&mut next, action);
                next.picture.old_seen = Some(next.served());
            }
        }
        let now = next.now;
        next.books.keep(&next.key.clone(), now);
        Ok(Some(next))
    }

    fn told(&self, world: &World, rollout: Option<&Rollout>) -> Told {
        let mut told = Told::of(world);
        if let Some(fault) = self.fault {
            told.twist(fault, rollout);
        }
        told
    }

    fn start(&self, mut world: World, slot: usize) -> Option<World> {
        let new = fixtures::new_rollout(slot, world.beginning())?;
        let told = self.told(&world, None);
        let mut change = told.hear(|at| Rollout::start(&new, at)).ok()?;
        if self.fault == Some(Fault::CanaryWithoutTrigger) {
            let stages = change.rollout.plan.stages.iter_mut();
            stages.for_each(|stage| stage.triggers.clear());
        }
        if new.cause.forbids_return() {
            world.books.burn(change.rollout.from);
        }
        let evidence = world.evidence(true);
        Some(decided(world, slot, change, evidence))
    }

    fn tick(&self, world: World, slot: usize) -> Option<World> {
        let stored = world.rollout(slot)?.clone();
        let rollout = self.remembered(&stored);
        let told = self.told(&world, Some(&rollout));
        let looked = told.hear(|at| rollout.tick(at)).ok()?;
        let change = match looked {
            Looked::Change(change) => *change,
            Looked::Stay(_) if self.fault == Some(Fault::NoReturnByItself) => {
                told.hear(|at| rollout.order(PERSON, Order::Advance, at)).ok()?
            }
            Looked::Stay(_) => return None,
        };
        let evidence = world.evidence(false);
        Some(decided(world, slot, change, evidence))
    }

    fn order(&self, mut world: World, slot: usize, by: PrincipalId, order: Order) -> Option<World> {
        let rollout = self.remembered(world.rollout(slot)?);
        let told = self.told(&world, Some(&rollout));
        let change = told.hear(|at| rollout.order(by, order, at)).ok()?;
        world.spent.orders += u8::from(order != Order::Advance);
        let evidence = world.evidence(true);
        Some(decided(world, slot, change, evidence))
    }

    /// The engine refuses it, so a fault carries out what it refuses.
    fn order_of_nobody(&self, world: World, slot: usize) -> Option<World> {
        let what = Overridable::Acknowledgement;
        let nobody = PrincipalId::from_bytes([0; 16]);
        if self.fault != Some(Fault::NamelessOverride) {
            return self.order(world, slot, nobody, Order::Override(what));
        }
        let mut next = self.order(world, slot, PERSON, Order::Override(what))?;
        let mut row = Decided::clone(next.decided.as_deref()?);
        let nameless = |it: &mut Override| it.by = nobody;
        row.change.rollout.overrides.iter_mut().for_each(nameless);
        next.decided = Some(Row::of_decided(row));
        Some(next)
    }

    /// The row as the engine is given it.
    fn remembered(&self, rollout: &Rollout) -> Rollout {
        let mut rollout = rollout.clone();
        let is_alone = rollout.alone.is_some();
        match self.fault {
            Some(Fault::ReasonForgotten) => rollout.cause = Cause::Requested,
            Some(Fault::NobodyIsTold) => {
                let at = usize::from(rollout.stage);
                if let Some(stage) = rollout.plan.stages.get_mut(at) {
                    stage.accept = Accept::AnyOf;
                }
                rollout.released = None;
            }
            Some(Fault::RetireEarly) if is_alone => {
                rollout.alone = Some(Served::default());
                rollout.entered.served = Served::default();
            }
            _ => {}
        }
        rollout
    }

    /// What was decided becomes durable, all of it, unless it was overtaken.
    fn commit(&self, world: &World) -> Result<Option<World>, Broken> {
        let Some(row) = world.decided.as_ref() else { return Ok(None) };
        let mut next = World { decided: None, ..world.clone() };
        let slot = row.slot;
        let Some(key) = self.applied(world, row) else {
            let is_overtaken = world.is_overtaken() || self.fault.is_some();
            return books::applies(is_overtaken).map(|()| Some(next));
        };
        let follows = world.rollout(slot).is_none_or(|before| row.change.rollout.follows(before));
        if !follows && self.fault.is_none() {
            // The service would not load such a row.
            return Err(books::UNFOLLOWED);
        }
        next.key = Row::of_key(key);
        next.epoch = row.change.epoch.number;
        let is_half = self.fault == Some(Fault::HalfWritten);
        if let Some(place) = next.rollouts.get_mut(slot)
            && !is_half
        {
            *place = Some(Row::of_rollout(row.change.rollout.clone()));
        }
        let now = next.now;
        Step { before: world, after: &next, decided: row }.check()?;
        next.books.keep(&next.key.clone(), now);
        next.age();
        Ok(Some(next))
    }

    fn applied(&self, world: &World, decided: &Decided) -> Option<Key> {
        let mut now = world.moment();
        let mut change = decided.change.clone();
        let mut key = Key::clone(&world.key);
        match self.fault {
            Some(Fault::Overtaken) => {
                key.authority_epoch = Epoch::default();
                change.fence = key.authority_epoch;
                now.epoch = key.authority_epoch;
            }
            Some(Fault::EpochReused) => now.epoch = key.authority_epoch,
            Some(Fault::RollBackToCompromised) => {
                let state = key.version(change.rollout.from)?.state;
                set_state(&mut key, change.rollout.from, KeyState::Active);
                let mut applied = change.applied(&key, now).ok()?;
                if applied.version(change.rollout.from)?.state == KeyState::Active {
                    set_state(&mut applied, change.rollout.from, state);
                }
                return Some(applied);
            }
            _ => {}
        }
        let mut applied = change.applied(&key, now).ok()?;
        let is_back = applied.schedule() == Schedule::settled(change.rollout.from)
            || matches!(change.rollout.status, Status::Paused(_));
        if self.fault == Some(Fault::Revive)
            && is_back
            && applied.version(change.rollout.from)?.state == KeyState::Compromised
        {
            set_state(&mut applied, change.rollout.from, KeyState::Active);
        }
        if self.fault == Some(Fault::Unpublish) && is_back {
            let to = change.rollout.to;
            let mut versions = applied.versions.iter_mut();
            versions.find(|version| version.number == to)?.published = None;
        }
        Some(applied)
    }
}

/// Whether a person could take the schedule back now.
pub(super) fn way_back(world: &World, rollout: &Rollout) -> bool {
    let change = Told::of(world).hear(|at| rollout.order(PERSON, Order::RollBack, at));
    let Ok(change) = change else { return false };
    let Ok(key) = change.applied(&world.key, world.moment()) else { return false };
    // Verifiers that ask for both are told first.
    let is_told = matches!(change.rollout.status, Status::Withdrawing { .. })
        && key.schedule().accept() == Accept::AnyOf;
    is_told || key.schedule() == Schedule::settled(rollout.from)
}

fn set_state(key: &mut Key, number: u32, state: KeyState) {
    let mut versions = key.versions.iter_mut();
    if let Some(version) = versions.find(|version| version.number == number) {
        version.state = state;
    }
}

fn decided(mut world: World, slot: usize, change: Change, evidence: Evidence) -> World {
    world.decided = Some(Row::of_decided(Decided { change, slot, evidence }));
    world
}

/// A command of somebody's moves a version along the state table, at once.
fn event_of(world: &World, version: u32, event: KeyEvent) -> Result<Option<World>, Broken> {
    let mut key = Key::clone(&world.key);
    if key.apply(version, event).is_err() {
        return Ok(None);
    }
    let mut next = world.clone();
    next.spent.events += 1;
    next.epoch += 1;
    key.authority_epoch = epoch(next.epoch);
    books::check_key(&world.key, &key)?;
    next.books.keep(&key, next.now);
    next.key = Row::of_key(key);
    Ok(Some(next))
}

/// What was decided is lost, with what was in memory alone and a moment of the time served.
fn crash(world: &mut World) {
    world.spent.crashes += 1;
    world.decided = None;
    world.picture = Picture::default();
    world.broken = None;
    if world.served() > 0 {
        world.lost += 1;
    }
}

fn deliver(world: &mut World) {
    if let [heard, ..] = &mut world.verifiers
        && let Some(under_way) = heard.under_way.take()
    {
        heard.acknowledged = Some(under_way);
    }
}

/// The analysis looks at the schedule there is, but where its picture is late.
fn see(world: &mut World, action: Action) {
    let (schedule, at) = (world.schedule(), world.served());
    let is_late = matches!(action, Action::SeeLate(_));
    if world.picture.schedule != schedule && !is_late {
        let old_seen = world.picture.old_seen;
        world.picture = Picture { schedule, old_seen, ..Default::default() };
    }
    match action {
        Action::See(sight) | Action::SeeLate(sight) => world.picture.verdict = Some((sight, at)),
        Action::Answer => world.picture.has_samples = true,
        Action::Exercise => world.picture.has_paths = true,
        _ => {}
    }
}
