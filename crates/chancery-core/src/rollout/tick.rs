//! What a rollout does by itself, whenever it is looked at: go on, stop, go back, or stay.

use super::cause::Halt;
use super::change::{Change, VersionChange, retiring};
use super::gate::{Gate, left_ms};
use super::observed::Standing;
use super::order::Refused;
use super::plan::{Lacking, Response, Stage, StageName, Trigger};
use super::{Ending, Moment, Rollout, Situation, Status};
use crate::clock::millis;
use crate::key::{Key, KeyVersion};
use crate::limits::DESTRUCTION_DELAY;
use crate::schedule::{Accept, Fraction, Mode, Moving, Schedule, Share};
use crate::state::KeyState;

/// What a look at a rollout comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This changes.
    Change(Box<Change>),
    /// Nothing does: these are the gates of its stage, and at least one is closed, or it is paused or over.
    Stay(Vec<Gate>),
}

/// What keeps a rollout from going on, and what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alarm {
    pub(super) halt: Halt,
    pub(super) measure: Measure,
    /// The trigger behind it: its place in the stage.
    pub(super) trigger: Option<u8>,
}

/// What is done on an alarm. In the order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measure {
    Pause,
    RollBack,
    Abort,
}

impl From<Response> for Measure {
    fn from(response: Response) -> Self {
        match response {
            Response::Pause => Self::Pause,
            Response::RollBack => Self::RollBack,
        }
    }
}

impl Measure {
    fn of_lacking(lacking: Lacking) -> Option<Self> {
        match lacking {
            Lacking::Wait => None,
            Lacking::Pause => Some(Self::Pause),
            Lacking::RollBack => Some(Self::RollBack),
        }
    }
}

impl Rollout {
    /// Looks at a rollout. Two looks at one situation come to the same.
    ///
    /// # Errors
    ///
    /// [`Refused::Stray`] if the key is not this rollout's to move.
    pub fn tick(&self, at: &Situation<'_>) -> Result<Step, Refused> {
        if self.status.is_over() {
            return Ok(Step::Stay(Vec::new()));
        }
        if !self.moves(at.key) {
            return Err(Refused::Stray);
        }
        let change = match self.status {
            Status::Withdrawing { halt, ending } => self.withdrawn(halt, ending, at),
            Status::Paused(_) => self.alarm(at).and_then(|alarm| self.answer(alarm, at)),
            _ => match self.alarm(at) {
                Some(alarm) => self.answer(alarm, at),
                None => self.gates(at).iter().all(Gate::is_open).then(|| self.advanced(at)),
            },
        };
        let stay = || Step::Stay(self.gates(at));
        Ok(change.map_or_else(stay, |change| Step::Change(Box::new(change.closed()))))
    }

    /// What is done on an alarm, if that is anything.
    fn answer(&self, alarm: Alarm, at: &Situation<'_>) -> Option<Change> {
        match alarm.measure {
            Measure::Pause => self.paused(alarm.halt, at),
            Measure::RollBack => self.retreat(alarm.halt, Ending::RolledBack, at),
            Measure::Abort => self.retreat(alarm.halt, Ending::Aborted, at),
        }
    }

    /// The worst that keeps it from going on.
    pub(super) fn alarm(&self, at: &Situation<'_>) -> Option<Alarm> {
        let stage = self.current()?;
        let of_version = self.alarm_of_version(at.key, at.observed.broken);
        let of_triggers = self.standings(at).into_iter().filter_map(|(place, standing)| {
            let trigger = stage.triggers.get(usize::from(place))?;
            let alarm = self.alarm_of_trigger(stage, trigger, standing, at)?;
            Some(Alarm { trigger: Some(place), ..alarm })
        });
        // Who paused it has as long as that takes.
        let is_late = !matches!(self.status, Status::Paused(_))
            && left_ms(self.counted, stage.max_ms, at.now) == 0;
        let measure = stage.on_deadline.into();
        let of_deadline = is_late.then_some(Alarm { halt: Halt::Deadline, measure, trigger: None });
        let all = of_version.into_iter().chain(of_triggers).chain(of_deadline);
        // The first of the worst.
        all.reduce(|one, next| if next.measure > one.measure { next } else { one })
    }

    fn alarm_of_version(&self, key: &Key, broken: &[u32]) -> Option<Alarm> {
        if broken.contains(&self.to) {
            let (halt, measure) = (Halt::SelfVerification, Measure::Abort);
            return Some(Alarm { halt, measure, trigger: None });
        }
        let may_protect = |version: &KeyVersion| {
            let is_new = version.state == KeyState::PreActivation && !self.is_trial();
            version.destruction.is_none() && (is_new || version.state == KeyState::Active)
        };
        let is_usable = key.version(self.to).is_some_and(may_protect);
        let (halt, measure) = (Halt::VersionUnusable, Measure::RollBack);
        (!is_usable).then_some(Alarm { halt, measure, trigger: None })
    }

    fn alarm_of_trigger(
        &self,
        stage: &Stage,
        trigger: &Trigger,
        standing: Standing,
        at: &Situation<'_>,
    ) -> Option<Alarm> {
        let since = self.entered.served.max(self.counted);
        let (halt, measure) = match standing {
            Standing::Pass | Standing::FewReporters { .. } => return None,
            Standing::Fail => (Halt::Trigger, trigger.response.into()),
            Standing::NotANumber => (Halt::NotANumber, Measure::Pause),
            Standing::Stale => (Halt::Stale, Measure::Pause),
            // Its first window is not over.
            Standing::NoData if left_ms(since, trigger.window_ms, at.now) > 0 => return None,
            Standing::NoData => (Halt::NoData, Measure::of_lacking(stage.on_no_data)?),
            Standing::Inconclusive => {
                (Halt::Inconclusive, Measure::of_lacking(stage.on_inconclusive)?)
            }
        };
        Some(Alarm { halt, measure, trigger: None })
    }

    /// The rollout paused, unless it is.
    pub(super) fn paused(&self, halt: Halt, at: &Situation<'_>) -> Option<Change> {
        if matches!(self.status, Status::Paused(_)) {
            return None;
        }
        let mut change = self.next(at);
        change.rollout.status = Status::Paused(halt);
        Some(change)
    }

    /// The rollout in its next stage, or done behind the last. Its gates are open.
    pub(super) fn advanced(&self, at: &Situation<'_>) -> Change {
        let mut change = self.next(at);
        let Some(stage) = self.next_stage() else {
            change.rollout.status = Status::Done;
            change.schedule = Schedule::settled(self.to);
            return change;
        };
        let rollout = &mut change.rollout;
        rollout.stage = self.stage.saturating_add(1);
        rollout.entered = Moment { served: at.now, epoch: change.epoch };
        rollout.counted = at.now;
        if self.asks_both() && stage.accept == Accept::AnyOf {
            rollout.released = Some(at.now);
        }
        match stage.name {
            StageName::Publish | StageName::Ready => {}
            StageName::Retire => self.retire(at, &mut change),
            StageName::Destroy => self.destroy(at, &mut change),
            StageName::Canary | StageName::Ramp | StageName::Full | StageName::Soak => {
                self.enter_trial(stage, at, &mut change);
            }
        }
        change
    }

    fn enter_trial(&self, stage: &Stage, at: &Situation<'_>, change: &mut Change) {
        if !self.is_trial() {
            change.versions.push(VersionChange::Activate { version: self.to });
            let asked = self.plan.acknowledgement();
            change.rollout.acknowledged = Some(self.acknowledgement(asked, at));
        }
        let is_alone = stage.mode == Mode::NewOnly
            && stage.fraction == Fraction::WHOLE
            && stage.selector.is_everybody();
        if is_alone {
            change.rollout.alone = self.alone.or(Some(at.now));
            change.rollout.alone_epoch = self.alone_epoch.or(Some(change.epoch));
        }
        change.schedule = self.schedule_of(stage);
    }

    /// The schedule of a stage in which the new version protects.
    fn schedule_of(&self, stage: &Stage) -> Schedule {
        let Stage { fraction, mode, accept, .. } = *stage;
        let selector = stage.selector.clone();
        let share = Share { version: self.to, fraction, mode, accept, selector };
        let moving = Some(Moving { rollout: self.id, share: Some(share) });
        Schedule { version: self.from, moving }
    }

    /// From here on there is no way back.
    fn retire(&self, at: &Situation<'_>, change: &mut Change) {
        let moving = Some(Moving { rollout: self.id, share: None });
        change.schedule = Schedule { version: self.to, moving };
        if let Some(event) = at.key.version(self.from).and_then(retiring) {
            change.versions.push(VersionChange::Move { version: self.from, event });
        }
    }

    fn destroy(&self, at: &Situation<'_>, change: &mut Change) {
        change.rollout.status = Status::Done;
        change.schedule = Schedule::settled(self.to);
        let is_left = |version: &KeyVersion| {
            version.destruction.is_none() && version.state != KeyState::Destroyed
        };
        if at.key.version(self.from).is_some_and(is_left) {
            let due = at.now.plus_ms(millis(DESTRUCTION_DELAY));
            change.versions.push(VersionChange::ScheduleDestruction { version: self.from, due });
        }
    }
}
