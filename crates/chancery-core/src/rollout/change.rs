//! What a step of a rollout changes: the next row, the schedule, and versions, all under one new epoch.
//!
//! **Invariant:** a change applies to the key that it was decided on and to no other. It carries that key's epoch, and
//! whoever applies it compares: a decision that was overtaken comes to nothing, however long it was under way. Nor does
//! one that took longer to become durable than its plan adds to waits for safety, since waits count from decisions.

use minicbor::{Decode, Encode};

use super::{Moment, Rollout};
use crate::clock::Served;
use crate::epoch::Epoch;
use crate::key::{Key, KeyVersion, Published, VersionError};
use crate::schedule::Schedule;
use crate::state::{KeyEvent, KeyState};

/// What happens to one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum VersionChange {
    /// Its verifying half goes into the trust bundle.
    #[n(0)]
    Publish {
        /// Which.
        #[n(0)]
        version: u32,
        /// When.
        #[n(1)]
        at: Served,
    },
    /// It may protect from here on.
    #[n(1)]
    Activate {
        /// Which.
        #[n(0)]
        version: u32,
    },
    /// It moves along the state table.
    #[n(2)]
    Move {
        /// Which.
        #[n(0)]
        version: u32,
        /// By what.
        #[n(1)]
        event: KeyEvent,
    },
    /// Its destruction is scheduled.
    #[n(3)]
    ScheduleDestruction {
        /// Which.
        #[n(0)]
        version: u32,
        /// For when.
        #[n(1)]
        due: Served,
    },
}

/// What a step changes. Either all of it takes effect or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// The rollout's next row.
    pub rollout: Rollout,
    /// The key's authority epoch that it was decided on.
    pub fence: Epoch,
    /// When it was decided.
    pub decided: Served,
    /// The epoch under which it takes effect.
    pub epoch: Epoch,
    /// The key's schedule from then on.
    pub schedule: Schedule,
    /// What happens to versions.
    pub versions: Vec<VersionChange>,
}

/// A change does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The key has changed since.
    #[error("the key has changed since this was decided; decide again")]
    Overtaken,
    /// It took too long.
    #[error("this was decided longer ago than the plan's safety; decide again")]
    Late,
    /// It is of another key.
    #[error("the change is of another key")]
    OtherKey,
    /// The epoch is not after the key's and the tenant's.
    #[error("the tenant has used that epoch since this was decided; decide again")]
    EpochReused,
    /// A version does not admit it.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl Change {
    /// The change, of a rollout that says when it was over, if it is.
    pub(super) fn closed(mut self) -> Self {
        self.rollout.ended = self.rollout.status.is_over().then_some(self.decided);
        self
    }

    /// The key with this change, at the moment when it becomes durable: the time, and the tenant's epoch before it.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; then nothing of it is to be applied.
    pub fn applied(&self, key: &Key, now: Moment) -> Result<Key, ChangeError> {
        if key.id != self.rollout.key {
            return Err(ChangeError::OtherKey);
        }
        if key.authority_epoch != self.fence {
            return Err(ChangeError::Overtaken);
        }
        let under_way = now.served.as_ms().saturating_sub(self.decided.as_ms());
        if under_way > self.rollout.plan.bounds.safety_ms {
            return Err(ChangeError::Late);
        }
        if self.epoch <= self.fence.max(now.epoch) {
            return Err(ChangeError::EpochReused);
        }
        let mut next = key.clone();
        self.versions.iter().try_for_each(|change| self.apply(change, &mut next))?;
        next.reschedule(self.schedule.clone())?;
        if self.rollout.status.went_back() {
            next.give_up(self.rollout.to, self.epoch)?;
        }
        next.authority_epoch = self.epoch;
        Ok(next)
    }

    fn apply(&self, change: &VersionChange, key: &mut Key) -> Result<(), VersionError> {
        match *change {
            VersionChange::Publish { version, at } => {
                key.publish(version, Published { epoch: self.epoch, at })
            }
            VersionChange::Activate { version } => key.activate(version, self.epoch, self.decided),
            VersionChange::Move { version, event } => key.apply(version, event),
            VersionChange::ScheduleDestruction { version, due } => {
                key.schedule_destruction(version, due)
            }
        }
    }

    /// Whether it takes protecting away from a version that has it, or moves one towards its end: then nothing that was
    /// decided before is released after it.
    #[must_use]
    pub fn is_reduction(&self, key: &Key) -> bool {
        let before = key.schedule();
        let protected = [Some(before.version), before.incoming()];
        let protects = [Some(self.schedule.version), self.schedule.incoming()];
        let loses = protected.into_iter().flatten().any(|it| !protects.contains(&Some(it)));
        let ends = self.versions.iter().any(|change| match change {
            VersionChange::Move { event, .. } => event.is_reduction(),
            VersionChange::ScheduleDestruction { .. } => true,
            VersionChange::Publish { .. } | VersionChange::Activate { .. } => false,
        });
        loses || ends
    }
}

/// The event by which a version that is retired leaves its state, if it must.
pub(super) fn retiring(version: &KeyVersion) -> Option<KeyEvent> {
    matches!(version.state, KeyState::Active | KeyState::Suspended).then_some(KeyEvent::Deactivate)
}
