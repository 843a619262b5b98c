//! What people order of a rollout, and why it is refused.
//!
//! An order opens no gate but the one that waits for a person, and those that may be overridden by name. Who may give
//! which is not asked here.

use minicbor::{Decode, Encode};

use super::cause::Halt;
use super::change::Change;
use super::gate::Gate;
use super::{Ending, Overridable, Override, Rollout, Situation, Status};
use crate::id::PrincipalId;

/// What a person wants of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Order {
    /// To stay where it is. Triggers go on acting.
    #[n(0)]
    Pause,
    /// To go on.
    #[n(1)]
    Resume,
    /// To enter the next stage, which waits for nothing else.
    #[n(2)]
    Advance,
    /// To go back.
    #[n(3)]
    RollBack,
    /// To be given up.
    #[n(4)]
    Abort,
    /// To go past a gate.
    #[n(5)]
    Override(#[n(0)] Overridable),
}

impl Order {
    /// The last part of the path by which it is given.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::RollBack => "rollback",
            Self::Abort => "abort",
            Self::Override(_) => "override",
        }
    }

    /// Whether it keeps the new version from protecting for more, whatever it finds.
    #[must_use]
    pub const fn holds_back(self) -> bool {
        matches!(self, Self::Pause | Self::RollBack | Self::Abort)
    }
}

/// An order is refused, or a look at a rollout makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The rollout is over.
    #[error("the rollout is over")]
    Over,
    /// It is going back.
    #[error("the rollout is going back; verifiers are told first")]
    Withdrawing,
    /// It is paused.
    #[error("the rollout is paused; resume it first")]
    Paused,
    /// It is not paused.
    #[error("the rollout is not paused")]
    NotPaused,
    /// The old version is retired.
    #[error(
        "the old version is retired: there is no way back from there; rotate to another version"
    )]
    PastNoReturn,
    /// The version there was may not protect again, and no standby can take over.
    #[error(
        "the version before may not protect again, and no published standby can take over; publish one"
    )]
    NoWayBack,
    /// Something keeps it from going on.
    #[error("the rollout does not go on: {0}")]
    Alarmed(Halt),
    /// Gates are closed.
    #[error("gates are closed: {}", closed(.0))]
    GatesClosed(Vec<Gate>),
    /// The gate was gone past already.
    #[error("that gate is overridden already")]
    OverriddenAlready,
    /// Nobody is named.
    #[error("an order names the person who gives it")]
    Nameless,
    /// The key is not this rollout's to move.
    #[error("the key is not moved by this rollout")]
    Stray,
}

fn closed(gates: &[Gate]) -> String {
    let closed = gates.iter().filter(|gate| !gate.is_open()).map(Gate::code);
    closed.collect::<Vec<_>>().join(", ")
}

impl Rollout {
    /// Carries out a person's order.
    ///
    /// # Errors
    ///
    /// [`Refused`]; then nothing changes.
    pub fn order(
        &self,
        by: PrincipalId,
        order: Order,
        at: &Situation<'_>,
    ) -> Result<Change, Refused> {
        if by.is_nobody() {
            return Err(Refused::Nameless);
        }
        if self.status.is_over() {
            return Err(Refused::Over);
        }
        if !self.moves(at.key) {
            return Err(Refused::Stray);
        }
        if matches!(self.status, Status::Withdrawing { .. }) {
            return Err(Refused::Withdrawing);
        }
        let change = match order {
            Order::Pause => self.paused(Halt::Person, at).ok_or(Refused::Paused),
            Order::Resume => self.resumed(at),
            Order::Advance => self.advanced_by_order(at),
            Order::RollBack => self.returned(Ending::RolledBack, at),
            Order::Abort => self.returned(Ending::Aborted, at),
            Order::Override(what) => self.overridden_by(by, what, at),
        };
        change.map(Change::closed)
    }

    fn resumed(&self, at: &Situation<'_>) -> Result<Change, Refused> {
        if !matches!(self.status, Status::Paused(_)) {
            return Err(Refused::NotPaused);
        }
        let mut change = self.next(at);
        change.rollout.status = Status::Running;
        change.rollout.counted = at.now;
        Ok(change)
    }

    fn advanced_by_order(&self, at: &Situation<'_>) -> Result<Change, Refused> {
        if matches!(self.status, Status::Paused(_)) {
            return Err(Refused::Paused);
        }
        if let Some(alarm) = self.alarm(at) {
            return Err(Refused::Alarmed(alarm.halt));
        }
        let gates = self.gates(at);
        if gates.iter().all(|gate| gate.is_open() || matches!(gate, Gate::Person)) {
            Ok(self.advanced(at))
        } else {
            Err(Refused::GatesClosed(gates))
        }
    }

    fn returned(&self, ending: Ending, at: &Situation<'_>) -> Result<Change, Refused> {
        if !self.has_return() {
            return Err(Refused::PastNoReturn);
        }
        self.retreat(Halt::Person, ending, at).ok_or(Refused::NoWayBack)
    }

    fn overridden_by(
        &self,
        by: PrincipalId,
        what: Overridable,
        at: &Situation<'_>,
    ) -> Result<Change, Refused> {
        if self.overridden(what).is_some() {
            return Err(Refused::OverriddenAlready);
        }
        let mut change = self.next(at);
        let epoch = change.epoch;
        change.rollout.overrides.push(Override { what, by, epoch, at: at.now });
        Ok(change)
    }
}
