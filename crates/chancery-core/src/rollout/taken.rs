//! A step that a rollout took, as it is kept: what was so before, what was seen, what came of it, and why.
//!
//! The engine is a function of a row and a [`Situation`]. A [`Taken`] holds both, as far as the engine looks at them, so
//! that whoever has the plan can run it again: [`Taken::check`] comes to the same change or says what differs. Verdicts are
//! made again from what was counted. That it was counted so, and that the situation was what it is said to be, is the
//! service's word; it is on record, since the record of a step commits to its [`StepRow`].
//!
//! **Invariant:** [`Taken::of`] and [`Taken::check`] agree: what the one makes of a change, the other accepts, and nothing
//! else with the same situation.
//!
//! What is *not* here: hashing. Whoever stores a step fills in the digests of its row, and whoever checks a chain of them
//! compares these.

use minicbor::{Decode, Encode};

mod seen;

pub use seen::{KeySeen, Seen, VerdictSeen, VersionSeen};

use super::cause::{Cause, Ground, Halt, Why};
use super::change::{Change, VersionChange};
use super::counted::Counted;
use super::gate::{Acknowledged, Gate};
use super::order::Order;
use super::plan::{Metric, Plan};
use super::start::NewRollout;
use super::tick::Step;
use super::{Moment, Overridable, Override, Rollout, Situation, Status};
use crate::bundle::Issued;
use crate::clock::{Quality, Reading, Served};
use crate::epoch::Epoch;
use crate::id::{KeyId, PrincipalId, RolloutId, TenantId};
use crate::schedule::Schedule;

/// How many steps of a key's rollouts are kept, the latest: 128. The longest plan has 16 stages; each further step takes a
/// person's order or follows one. So the last eight rollouts at least are kept whole that nobody holds up. Further steps
/// take the places of the first, so that no number of them keeps a rollout from going back.
pub const STEPS_KEPT: u32 = 128;

/// Who had a step taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Asked {
    /// Nobody: the rollout was looked at.
    #[n(0)]
    Nobody,
    /// Whoever had it begin, as the rollout says.
    #[n(1)]
    Start {
        /// How long the version there was could protect yet, in milliseconds, if that was known.
        #[n(0)]
        remaining_ms: Option<u64>,
    },
    /// A person who ordered it.
    #[n(2)]
    Order {
        /// Who.
        #[n(0)]
        by: PrincipalId,
        /// What.
        #[n(1)]
        order: Order,
    },
}

/// What of a rollout never changes, but for its plan, of which this is the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Lasting {
    /// The version that protected before.
    #[n(0)]
    pub from: u32,
    /// The version that it brings in.
    #[n(1)]
    pub to: u32,
    /// Why it is made.
    #[n(2)]
    pub cause: Cause,
    /// Who asked for it; the service itself if nobody.
    #[n(3)]
    pub by: Option<PrincipalId>,
    /// The digest of the plan's encoding.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub plan_digest: [u8; 32],
}

/// What of a rollout changes with its steps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct State {
    /// The stage it is in: a place in the plan.
    #[n(0)]
    pub stage: u8,
    /// Since when, and under which schedule.
    #[n(1)]
    pub entered: Moment,
    /// Since when its longest time counts.
    #[n(2)]
    pub counted: Served,
    /// How it stands.
    #[n(3)]
    pub status: Status,
    /// How far the new version was acknowledged when it began to protect.
    #[n(4)]
    pub acknowledged: Option<Acknowledged>,
    /// Since when the old version protects nothing any more.
    #[n(5)]
    pub alone: Option<Served>,
    /// Since when verifiers are told that one signature is enough.
    #[n(6)]
    pub released: Option<Served>,
    /// What people went past.
    #[n(7)]
    pub overrides: Vec<Override>,
    /// The epoch of the row.
    #[n(8)]
    pub epoch: Epoch,
    /// When it was over, in time served.
    #[n(9)]
    pub ended: Option<Served>,
    /// The epoch of the schedule by which the old version protects nothing any more.
    #[n(10)]
    pub alone_epoch: Option<Epoch>,
}

/// A step: how a rollout came from one state to the next.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Taken {
    /// Which rollout it is of, but for what names it.
    #[n(0)]
    pub lasting: Lasting,
    /// When, in milliseconds since 1970.
    #[n(1)]
    pub unix_ms: u64,
    /// How good that is.
    #[n(2)]
    pub quality: Quality,
    /// Who had it taken.
    #[n(3)]
    pub asked: Asked,
    /// Why.
    #[n(4)]
    pub why: Why,
    /// The trigger behind that: its place in the stage that was left.
    #[n(5)]
    pub trigger: Option<u8>,
    /// The state before; none of a start.
    #[n(6)]
    pub before: Option<State>,
    /// The state after.
    #[n(7)]
    pub after: State,
    /// Which versions protect from then on, and for whom.
    #[n(8)]
    pub schedule: Schedule,
    /// What happened to versions.
    #[n(9)]
    pub versions: Vec<VersionChange>,
    /// What it was decided on.
    #[n(10)]
    pub seen: Seen,
    /// The gates of the stage before, as they stood.
    #[n(11)]
    pub gates: Vec<Gate>,
    /// What the verdicts rest on.
    #[n(12)]
    pub counted: Vec<Counted>,
    /// The trust bundle that verifiers were given by then.
    #[n(13)]
    pub bundle: Option<Issued>,
    /// Of a start the plan, which outlasts the rollout's row with it; none of other steps, nor of what was stored before
    /// plans were.
    #[n(14)]
    pub plan: Option<Box<Plan>>,
}

/// A step in its place, as it is stored. The record of the step commits to SHA-256 of its encoding.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct StepRow {
    /// Whose.
    #[n(0)]
    pub tenant: TenantId,
    /// Which key.
    #[n(1)]
    pub key: KeyId,
    /// Which rollout.
    #[n(2)]
    pub rollout: RolloutId,
    /// How many steps of that rollout there were before it.
    #[n(3)]
    pub number: u32,
    /// SHA-256 of the row of the step before; zeros for the first.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub previous: [u8; 32],
    /// SHA-256 of the rollout's row after it.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub row: [u8; 32],
    /// The step.
    #[n(6)]
    pub taken: Taken,
    /// How many steps of the key there were before it, of all its rollouts; none of what was stored before those were
    /// counted, when each rollout's first step took the first place again.
    #[n(7)]
    pub ordinal: Option<u32>,
}

impl StepRow {
    /// The kind in the name of its row: 13.
    pub const KIND: u8 = 13;

    /// Its place among the steps of its key: the key (16) ‖ its ordinal modulo [`STEPS_KEPT`] (1).
    #[must_use]
    pub fn place(&self) -> [u8; 17] {
        Self::place_of(self.key, self.ordinal())
    }

    /// By what its place goes.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.ordinal.unwrap_or(self.number)
    }

    /// The place of the step of that ordinal.
    #[must_use]
    pub fn place_of(key: KeyId, ordinal: u32) -> [u8; 17] {
        let mut place = [0; 17];
        let (of_key, of_step) = place.split_at_mut(16);
        of_key.copy_from_slice(key.as_bytes());
        // Fewer than 256.
        of_step.fill(u8::try_from(ordinal % STEPS_KEPT).unwrap_or(u8::MAX));
        place
    }
}

/// A step is none that the engine takes on what it says that it was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// It is of another plan than its own form admits, or says twice what is so once.
    #[error("it contradicts itself")]
    Form,
    /// The engine does not take a step there.
    #[error("the engine takes no step on what was seen")]
    NoStep,
    /// It takes another one.
    #[error("the engine comes to another state, schedule or change of versions on what was seen")]
    OtherStep,
    /// The gates stood otherwise.
    #[error("the gates did not stand so on what was seen")]
    Gates,
    /// It was taken for another reason.
    #[error("the engine takes it for another reason")]
    OtherReason,
    /// A verdict is not what was counted.
    #[error("the verdict on trigger {0} does not follow from what was counted")]
    Verdict(u8),
}

impl Taken {
    /// What a change is kept as.
    #[must_use]
    pub fn of(
        (before, asked): (Option<&Rollout>, Asked),
        change: &Change,
        at: &Situation<'_>,
        (counted, bundle): (&[Counted], Option<Issued>),
        now: Reading,
    ) -> Self {
        let (why, trigger) = why((before, asked), change, at);
        Self {
            lasting: Lasting::of(&change.rollout),
            unix_ms: now.unix_ms,
            quality: now.quality,
            asked,
            why,
            trigger,
            before: before.map(State::of),
            after: State::of(&change.rollout),
            schedule: change.schedule.clone(),
            versions: change.versions.clone(),
            seen: Seen::of(&change.rollout, at),
            gates: before.map(|before| before.gates(at)).unwrap_or_default(),
            counted: counted.to_vec(),
            bundle,
            plan: before.is_none().then(|| Box::new(change.rollout.plan.clone())),
        }
    }

    /// Runs the engine again, and judges again what was counted. Gives the rollout's row after the step.
    ///
    /// # Errors
    ///
    /// [`Unsound`], which says what differs.
    pub fn check(&self, row: &StepRow, plan: &Plan) -> Result<Rollout, Unsound> {
        let after = self.again(row, plan)?;
        self.judged(plan)?;
        Ok(after)
    }

    /// Runs the engine again.
    pub(super) fn again(&self, row: &StepRow, plan: &Plan) -> Result<Rollout, Unsound> {
        let rollout = |state: &State| self.lasting.rollout(row, plan, state);
        let (before, after) = (self.before.as_ref().map(rollout), rollout(&self.after));
        let key = self.seen.key.key(row)?;
        let reporters = self.seen.reporters()?;
        let verdicts: Vec<_> = self.seen.verdicts(&reporters).collect();
        let compared = self.seen.situation(&key, &self.seen.observed(&verdicts), |at| {
            let change = self.change((before.as_ref(), &after), at)?;
            let is_same = change.rollout == after
                && change.schedule == self.schedule
                && change.versions == self.versions;
            let moment = Moment { served: at.now, epoch: at.epoch };
            if !is_same || change.applied(at.key, moment).is_err() {
                return Err(Unsound::OtherStep);
            }
            let mut again = Self::of(
                (before.as_ref(), self.asked),
                &change,
                at,
                (&self.counted, self.bundle),
                self.reading(at.now),
            );
            again.plan = again.plan.filter(|_| self.plan.is_some());
            self.compare(&again)
        });
        compared.map(|()| after)
    }

    fn compare(&self, again: &Self) -> Result<(), Unsound> {
        if self.gates != again.gates {
            return Err(Unsound::Gates);
        }
        if (self.why, self.trigger) != (again.why, again.trigger) {
            return Err(Unsound::OtherReason);
        }
        if self == again { Ok(()) } else { Err(Unsound::Form) }
    }

    fn reading(&self, served: Served) -> Reading {
        let Self { unix_ms, quality, .. } = *self;
        Reading { unix_ms, quality, served, wall_ms: unix_ms }
    }

    fn change(
        &self,
        (before, after): (Option<&Rollout>, &Rollout),
        at: &Situation<'_>,
    ) -> Result<Change, Unsound> {
        let change = match (before, self.asked) {
            (None, Asked::Start { remaining_ms }) => {
                Rollout::start(&NewRollout::again(after, remaining_ms), at).ok()
            }
            (Some(before), Asked::Order { by, order }) => before.order(by, order, at).ok(),
            (Some(before), Asked::Nobody) => match before.tick(at) {
                Ok(Step::Change(change)) => Some(*change),
                _ => None,
            },
            _ => return Err(Unsound::Form),
        };
        change.ok_or(Unsound::NoStep)
    }

    /// Judges again what was counted: every verdict rests on counts, and all counts are of a verdict.
    fn judged(&self, plan: &Plan) -> Result<(), Unsound> {
        let stage = self.before.as_ref().and_then(|before| plan.stage(before.stage));
        let triggers = stage.map(|stage| stage.triggers.as_slice()).unwrap_or_default();
        if self.counted.len() != self.seen.verdicts.len() {
            return Err(Unsound::Form);
        }
        for (verdict, counted) in self.seen.verdicts.iter().zip(&self.counted) {
            let unsound = Unsound::Verdict(verdict.trigger);
            let trigger = triggers.get(usize::from(verdict.trigger)).ok_or(unsound)?;
            let found = counted.judge(trigger);
            let is_of_it = counted.trigger == verdict.trigger && counted.is_well_formed(trigger);
            if !is_of_it || (found.outcome, found.value) != (verdict.outcome, verdict.value) {
                return Err(unsound);
            }
        }
        Ok(())
    }
}

impl NewRollout {
    /// What a rollout was asked for as.
    fn again(rollout: &Rollout, remaining_ms: Option<u64>) -> Self {
        let Rollout { id, to, cause, by, plan_digest, .. } = *rollout;
        Self { id, to, cause, by, plan: rollout.plan.clone(), plan_digest, remaining_ms }
    }
}

/// Why the engine made a change, and the trigger behind that.
fn why(
    (before, asked): (Option<&Rollout>, Asked),
    change: &Change,
    at: &Situation<'_>,
) -> (Why, Option<u8>) {
    let Some(before) = before else { return (Why::Cause(change.rollout.cause), None) };
    if let Asked::Order { order, .. } = asked {
        return (of_order(order), None);
    }
    if let Status::Withdrawing { halt, .. } = before.status {
        return (of_withdrawal(before, halt, change, at), None);
    }
    let Some(alarm) = before.alarm(at) else { return (Why::Ground(Ground::GatesOpen), None) };
    let triggers = before.current().map(|stage| stage.triggers.as_slice()).unwrap_or_default();
    let trigger = alarm.trigger.and_then(|place| triggers.get(usize::from(place)));
    let why = match (alarm.halt, trigger) {
        (Halt::Trigger, Some(trigger)) => Why::Ground(of_metric(trigger.metric)),
        (halt, _) => Why::Halt(halt),
    };
    (why, alarm.trigger)
}

fn of_order(order: Order) -> Why {
    match order {
        Order::Pause | Order::RollBack | Order::Abort => Why::Halt(Halt::Person),
        Order::Resume => Why::Ground(Ground::Resumed),
        Order::Advance => Why::Ground(Ground::Advanced),
        Order::Override(Overridable::Acknowledgement) => {
            Why::Ground(Ground::OverriddenAcknowledgement)
        }
        Order::Override(Overridable::Quiet) => Why::Ground(Ground::OverriddenQuiet),
        Order::Override(Overridable::Remaining) => Why::Ground(Ground::OverriddenRemaining),
    }
}

/// Why a rollout that was going back is where it is then.
fn of_withdrawal(before: &Rollout, halt: Halt, change: &Change, at: &Situation<'_>) -> Why {
    let is_back = matches!(change.rollout.status, Status::RolledBack(_) | Status::Aborted(_));
    if !is_back {
        return Why::Halt(halt);
    }
    if before.unreleased_ms(at) == 0 {
        return Why::Ground(Ground::Told);
    }
    let is_broken = at.observed.broken.contains(&before.to);
    Why::Halt(if is_broken { Halt::SelfVerification } else { Halt::VersionUnusable })
}

const fn of_metric(metric: Metric) -> Ground {
    match metric {
        Metric::VerifyFailureRate => Ground::VerifyFailureRate,
        Metric::UnknownKeyRate => Ground::UnknownKeyRate,
        Metric::ErrorRate => Ground::ErrorRate,
        Metric::BudgetBurn => Ground::BudgetBurn,
        Metric::LatencyRatio => Ground::LatencyRatio,
        Metric::SelfVerifyFailures => Ground::SelfVerifyFailures,
        Metric::ProbeFailures => Ground::ProbeFailures,
    }
}

impl Lasting {
    fn of(rollout: &Rollout) -> Self {
        let Rollout { from, to, cause, by, plan_digest, .. } = *rollout;
        Self { from, to, cause, by, plan_digest }
    }

    /// The rollout's row in a state.
    fn rollout(&self, row: &StepRow, plan: &Plan, state: &State) -> Rollout {
        let Self { from, to, cause, by, plan_digest } = *self;
        let State {
            stage,
            entered,
            counted,
            status,
            acknowledged,
            alone,
            released,
            epoch,
            ended,
            alone_epoch,
            ..
        } = *state;
        Rollout {
            id: row.rollout,
            tenant: row.tenant,
            key: row.key,
            from,
            to,
            cause,
            by,
            plan: plan.clone(),
            plan_digest,
            stage,
            entered,
            counted,
            status,
            acknowledged,
            alone,
            released,
            overrides: state.overrides.clone(),
            epoch,
            ended,
            alone_epoch,
        }
    }
}

impl State {
    fn of(rollout: &Rollout) -> Self {
        let Rollout {
            stage,
            entered,
            counted,
            status,
            acknowledged,
            alone,
            released,
            epoch,
            ended,
            alone_epoch,
            ..
        } = *rollout;
        let overrides = rollout.overrides.clone();
        Self {
            stage,
            entered,
            counted,
            status,
            acknowledged,
            alone,
            released,
            overrides,
            epoch,
            ended,
            alone_epoch,
        }
    }
}
