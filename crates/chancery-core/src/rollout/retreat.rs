//! How a rollout goes back: to the schedule there was, under a new epoch; or, where that version may never protect
//! again, to a standby; or, where there is none, nowhere.
//!
//! **Invariant:** nothing here changes a state but to activate a standby, and nothing is taken out of the trust bundle:
//! what the new version signed stays verifiable.

use super::cause::Halt;
use super::change::{Change, VersionChange};
use super::gate::{Acknowledged, left_ms};
use super::{Ending, Moment, Rollout, Situation, Status};
use crate::key::KeyVersion;
use crate::schedule::{Accept, Schedule};
use crate::state::KeyState;

impl Rollout {
    /// The change by which it goes back; nothing if there is no way, and it is paused already.
    pub(super) fn retreat(&self, halt: Halt, ending: Ending, at: &Situation<'_>) -> Option<Change> {
        if !self.has_return() {
            return self.paused(halt, at);
        }
        let is_given_up = !self.is_trial() && halt == Halt::Person && ending == Ending::Aborted;
        if is_given_up {
            return Some(self.ended(halt, ending, at));
        }
        if !self.may_return(at) {
            return self.stood_by(halt, at).or_else(|| self.paused(halt, at));
        }
        // What does not verify cannot be one of two signatures either.
        let is_asked = self.asks_both() || self.unreleased_ms(at) > 0;
        if is_asked && halt != Halt::SelfVerification {
            return Some(self.withdrawing(halt, ending, at));
        }
        Some(self.ended(halt, ending, at))
    }

    /// The change by which it would go back now, for whoever tries that without effect.
    #[must_use]
    pub fn probe_return(&self, at: &Situation<'_>) -> Option<Change> {
        let change = self.retreat(Halt::Person, Ending::RolledBack, at)?;
        (!matches!(change.rollout.status, Status::Paused(_))).then_some(change)
    }

    /// Whether the bundle says in its stage that verifiers ask for both signatures.
    pub(super) fn asks_both(&self) -> bool {
        self.current().is_some_and(|stage| stage.accept == Accept::AllOf)
    }

    /// What is left until every verifier that asked for both signatures has been told that one is enough.
    pub(super) fn unreleased_ms(&self, at: &Situation<'_>) -> u64 {
        let wait_ms = self.plan.bounds.publication_ms();
        self.released.map_or(0, |since| left_ms(since, wait_ms, at.now))
    }

    /// Whether the version there was may protect again.
    pub(super) fn may_return(&self, at: &Situation<'_>) -> bool {
        let protects = at.key.version(self.from).is_some_and(KeyVersion::protects);
        protects && !self.cause.forbids_return()
    }

    fn ended(&self, halt: Halt, ending: Ending, at: &Situation<'_>) -> Change {
        let mut change = self.next(at);
        change.schedule = Schedule::settled(self.from);
        change.rollout.status = match ending {
            Ending::RolledBack => Status::RolledBack(halt),
            Ending::Aborted => Status::Aborted(halt),
        };
        change
    }

    /// Both go on signing until every verifier has been told that one signature is enough.
    fn withdrawing(&self, halt: Halt, ending: Ending, at: &Situation<'_>) -> Change {
        let mut change = self.next(at);
        let moving = change.schedule.moving.as_mut();
        if let Some(share) = moving.and_then(|moving| moving.share.as_mut()) {
            share.accept = Accept::AnyOf;
        }
        change.rollout.entered = Moment { served: at.now, epoch: change.epoch };
        // They are told now, if they are asked for both now, whenever they were told before.
        let told = if self.asks_both() { None } else { self.released };
        change.rollout.released = told.or(Some(at.now));
        change.rollout.status = Status::Withdrawing { halt, ending };
        change
    }

    /// The end of that, if it has come.
    pub(super) fn withdrawn(
        &self,
        halt: Halt,
        ending: Ending,
        at: &Situation<'_>,
    ) -> Option<Change> {
        if !self.may_return(at) {
            return self.stood_by(halt, at).or_else(|| self.paused(halt, at));
        }
        let is_told = self.unreleased_ms(at) == 0;
        let is_broken = at.observed.broken.contains(&self.to)
            || !at.key.version(self.to).is_some_and(KeyVersion::protects);
        (is_told || is_broken).then(|| self.ended(halt, ending, at))
    }

    /// A third version that verifiers know takes over, if there is one that is newer than the one there was and never came in.
    fn stood_by(&self, halt: Halt, at: &Situation<'_>) -> Option<Change> {
        let version = self.standby(at)?;
        let mut change = self.next(at);
        change.versions.push(VersionChange::Activate { version });
        change.schedule = Schedule::settled(version);
        change.rollout.status = Status::OnStandby { halt, version };
        Some(change)
    }

    /// The first version that could take over.
    pub(super) fn standby(&self, at: &Situation<'_>) -> Option<u32> {
        let mut versions = at.key.versions.iter();
        versions.find(|version| self.may_stand_by(version, at)).map(|version| version.number)
    }

    fn may_stand_by(&self, version: &KeyVersion, at: &Situation<'_>) -> bool {
        // What is older, or protected once, was left or given up, and nobody knows here why.
        let is_third = version.number > self.from && version.number != self.to;
        let may_protect = version.state == KeyState::PreActivation
            && version.given_up.is_none()
            && version.destruction.is_none()
            && !at.observed.broken.contains(&version.number);
        let asked = self.plan.acknowledgement();
        let is_known = version.published.is_some_and(|published| {
            let epochs = (published.epoch, at.epoch);
            Acknowledged::count(epochs, asked, at.verifiers).is_enough()
        });
        is_third && may_protect && is_known && self.unpropagated_ms(version.number, at) == 0
    }
}
