//! Rollouts: a key's schedule moved in stages, with a way back until the point of no return.
//!
//! Rotation is two rollouts in one: the verifying half of a version is published everywhere, and then its protecting
//! half is used, for few, for more, for all (RFC 7583, 2). A [`Rollout`] is a row; the engine is three functions of the
//! row and of what is known ([`Situation`]): [`Rollout::start`], [`Rollout::tick`], [`Rollout::order`]. Each gives a
//! [`Change`] that takes effect as a whole under one new epoch, or says what is in its way. Time is handed in and is time
//! served, so that no wall clock makes a wait shorter.
//!
//! **Invariant:** a stage is left when all its gates are open at once, and by nothing else. Until `retire` the version
//! there was stays Active, and going back is one change. No schedule is moved onto a version that does not protect,
//! and where the reason is compromise never back onto the one there was: such a rollout pauses or moves to a standby.
//! Nothing is ever taken out of the trust bundle. What is missing, stale or not a number opens no gate.
//!
//! What is *not* here: the analysis that yields verdicts, counting of samples, who may order what, and the registry of
//! verifiers. They hand in what they know.

use minicbor::{Decode, Encode};

use crate::clock::Served;
use crate::epoch::Epoch;
use crate::id::{KeyId, PrincipalId, RolloutId, TenantId};
use crate::key::Key;

mod analysis;
mod builtin;
mod cause;
mod change;
mod check;
mod cohort;
mod counted;
mod gate;
mod observed;
mod order;
mod plan;
mod retreat;
mod start;
mod taken;
mod tick;
mod view;
mod words;

pub use analysis::{Finding as Judged, Latency, Pair, Series, Side, Tally, judge};
pub use builtin::Builtin;
pub use cause::{Cause, CauseError, Ground, Halt, Why};
pub use change::{Change, ChangeError, VersionChange};
pub use check::{Finding, Place, Rule, Subject, holds_two};
pub use cohort::{Cohorts, point};
pub use counted::{Count, Counted, POINTS_MAX, Point, Window, points};
pub use gate::{Acknowledged, Gate};
pub use observed::{Observed, Outcome, Standing, Verdict, Verifier};
pub use order::{Order, Refused};
pub use plan::{
    Advance, Bounds, Comparator, Kind, Lacking, Metric, Path, Paths, Plan, Response, Stage,
    StageName, Trigger,
};
pub use start::{NewRollout, StartError};
pub use taken::{
    Asked, KeySeen, Lasting, STEPS_KEPT, Seen, State, StepRow, Taken, Unsound, VerdictSeen,
    VersionSeen,
};
pub use tick::Step;
pub use view::{Measured, RolloutView, Rotation, Sight};
pub use words::Word;

/// What is known when a step is decided.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The key as it is stored.
    pub key: &'a Key,
    /// Every verifier that is registered for it.
    pub verifiers: &'a [Verifier],
    /// What was seen.
    pub observed: &'a Observed<'a>,
    /// The time served.
    pub now: Served,
    /// The tenant's epoch; a change takes the next one.
    pub epoch: Epoch,
}

/// How a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Status {
    /// It goes on when its gates open.
    #[n(0)]
    Running,
    /// It waits for a person.
    #[n(1)]
    Paused(#[n(0)] Halt),
    /// It goes back; verifiers that ask for two signatures are told first that one is enough.
    #[n(2)]
    Withdrawing {
        /// Why.
        #[n(0)]
        halt: Halt,
        /// How it will have ended.
        #[n(1)]
        ending: Ending,
    },
    /// The schedule is what it was before.
    #[n(3)]
    RolledBack(#[n(0)] Halt),
    /// It was given up; the schedule is what it was before.
    #[n(4)]
    Aborted(#[n(0)] Halt),
    /// There was no way back, and a third version protects.
    #[n(5)]
    OnStandby {
        /// Why.
        #[n(0)]
        halt: Halt,
        /// Which.
        #[n(1)]
        version: u32,
    },
    /// The new version alone is left.
    #[n(6)]
    Done,
}

/// How a rollout that goes back ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Ending {
    /// As [`Status::RolledBack`].
    #[n(0)]
    RolledBack,
    /// As [`Status::Aborted`].
    #[n(1)]
    Aborted,
}

impl Status {
    /// Its spelling in views and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused(_) => "paused",
            Self::Withdrawing { .. } => "withdrawing",
            Self::RolledBack(_) => "rolled-back",
            Self::Aborted(_) => "aborted",
            Self::OnStandby { .. } => "on-standby",
            Self::Done => "done",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        self.went_back() || matches!(self, Self::Done)
    }

    /// Whether the version that it brought in was given up.
    #[must_use]
    pub const fn went_back(self) -> bool {
        matches!(self, Self::RolledBack(_) | Self::Aborted(_) | Self::OnStandby { .. })
    }
}

/// A moment: in time served, by which waits count, and as a place in the tenant's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Moment {
    /// The time served.
    #[n(0)]
    pub served: Served,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
}

/// A gate that a named person may go past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Overridable {
    /// Too few verifiers acknowledged the new version.
    #[n(0)]
    Acknowledgement,
    /// The old version is seen yet, or nobody looks.
    #[n(1)]
    Quiet,
    /// Something is encrypted under the old version, or nobody counts.
    #[n(2)]
    Remaining,
}

/// That a person went past a gate. Each gate once at most, so a row has three at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Override {
    /// Which gate.
    #[n(0)]
    pub what: Overridable,
    /// Who.
    #[n(1)]
    pub by: PrincipalId,
    /// Under which epoch.
    #[n(2)]
    pub epoch: Epoch,
    /// When, in time served.
    #[n(3)]
    pub at: Served,
}

/// A staged change of one key's schedule, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Rollout {
    /// What names it.
    #[n(0)]
    pub id: RolloutId,
    /// Whose it is.
    #[n(1)]
    pub tenant: TenantId,
    /// Which key.
    #[n(2)]
    pub key: KeyId,
    /// The version that protected before.
    #[n(3)]
    pub from: u32,
    /// The version that it brings in.
    #[n(4)]
    pub to: u32,
    /// Why it is made.
    #[n(5)]
    pub cause: Cause,
    /// Who asked for it; the service itself if nobody.
    #[n(6)]
    pub by: Option<PrincipalId>,
    /// The plan, as it was checked.
    #[n(7)]
    pub plan: Plan,
    /// The digest of the plan's encoding, as its maker gave it.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub plan_digest: [u8; 32],
    /// The stage it is in: a place in the plan.
    #[n(9)]
    pub stage: u8,
    /// Since when, and the epoch of the schedule that came with it.
    #[n(10)]
    pub entered: Moment,
    /// Since when its longest time counts: a pause that was ended begins it anew.
    #[n(11)]
    pub counted: Served,
    /// How it stands.
    #[n(12)]
    pub status: Status,
    /// How far the new version was acknowledged when it began to protect.
    #[n(13)]
    pub acknowledged: Option<Acknowledged>,
    /// Since when the old version protects nothing any more.
    #[n(14)]
    pub alone: Option<Served>,
    /// Since when verifiers that asked for both signatures are told that one is enough.
    #[n(15)]
    pub released: Option<Served>,
    /// What people went past.
    #[n(16)]
    pub overrides: Vec<Override>,
    /// The epoch of this row.
    #[n(17)]
    pub epoch: Epoch,
    /// When it was over, in time served.
    #[n(18)]
    pub ended: Option<Served>,
    /// The epoch of the schedule by which the old version protects nothing any more.
    #[n(19)]
    pub alone_epoch: Option<Epoch>,
}

impl Rollout {
    /// The stage it is in.
    #[must_use]
    pub fn current(&self) -> Option<&Stage> {
        self.plan.stage(self.stage)
    }

    /// Whether its new version may protect, for whomever, while the old one could again.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.current().is_some_and(|stage| stage.name.is_trial())
    }

    /// Whether there is a way back as far as its stage says.
    #[must_use]
    pub fn has_return(&self) -> bool {
        self.current().is_some_and(|stage| stage.name.has_return())
    }

    /// Who went past a gate.
    #[must_use]
    pub fn overridden(&self, what: Overridable) -> Option<PrincipalId> {
        self.overrides.iter().find(|it| it.what == what).map(|it| it.by)
    }

    /// Whether `self` may stand where `before` stood: what is stored goes on and never back.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let lasting = |it: &Self| (it.id, it.tenant, it.key, it.from, it.to, it.cause, it.by);
        lasting(self) == lasting(before)
            && self.plan == before.plan
            && self.plan_digest == before.plan_digest
            && self.epoch > before.epoch
            && self.stage >= before.stage
            && self.overrides.starts_with(&before.overrides)
            && !before.status.is_over()
    }

    /// The row after this one, under the next epoch, with nothing changed yet.
    fn next(&self, at: &Situation<'_>) -> Change {
        let epoch = at.epoch.next();
        Change {
            rollout: Self { epoch, ..self.clone() },
            fence: at.key.authority_epoch,
            decided: at.now,
            epoch,
            schedule: at.key.schedule(),
            versions: Vec::new(),
        }
    }

    /// Whether the key is this rollout's to move.
    fn moves(&self, key: &Key) -> bool {
        key.id == self.key && key.rollout() == Some(self.id)
    }
}

#[cfg(test)]
mod tests;
