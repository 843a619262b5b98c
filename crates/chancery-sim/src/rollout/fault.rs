//! Faults that can be planted: each alters what the real engine is told, or what it said, in one way.

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every verifier counts as having acknowledged.
    SignBeforeAcknowledged,
    /// An acknowledgement of any epoch counts.
    StaleAcknowledgement,
    /// An acknowledgement of an epoch that is not there yet counts.
    LaterAcknowledgement,
    /// Waits before a version protects go by a clock that jumps.
    ClockJumps,
    /// Waits before a version is retired go by a clock that jumps.
    RetireEarly,
    /// A version that may not protect counts as Active when a rollout goes back.
    RollBackToCompromised,
    /// Going back to one signature waits for nobody who asks for both.
    NobodyIsTold,
    /// The reason of a rollout is forgotten.
    ReasonForgotten,
    /// Going back makes a compromised version Active again.
    Revive,
    /// Going back takes the new version out of the trust bundle.
    Unpublish,
    /// What is not a number passes.
    AdvanceOnNotANumber,
    /// What is not there passes.
    AdvanceOnNoData,
    /// What was seen under another schedule counts for this one.
    DelayedVerdict,
    /// An old verdict counts as new.
    StaleVerdict,
    /// A report counts for more than the one that made it.
    LoneReporter,
    /// A rollout begins though the key has one.
    TwoRollouts,
    /// A change takes an epoch that the tenant has used.
    EpochReused,
    /// A change applies to a key that has changed since.
    Overtaken,
    /// The key is written and the rollout's row is not.
    HalfWritten,
    /// A plan loses its triggers after its check.
    CanaryWithoutTrigger,
    /// An order of nobody is taken.
    NamelessOverride,
    /// The engine orders what a person is to order.
    NoReturnByItself,
}

impl Fault {
    /// Every fault, with the property that it breaks.
    pub const ALL: [(Self, u8); 22] = [
        (Self::SignBeforeAcknowledged, 8),
        (Self::StaleAcknowledgement, 8),
        (Self::LaterAcknowledgement, 8),
        (Self::ClockJumps, 8),
        (Self::RetireEarly, 8),
        (Self::RollBackToCompromised, 9),
        (Self::NobodyIsTold, 8),
        (Self::ReasonForgotten, 9),
        (Self::Revive, 5),
        (Self::Unpublish, 8),
        (Self::AdvanceOnNotANumber, 14),
        (Self::AdvanceOnNoData, 14),
        (Self::DelayedVerdict, 14),
        (Self::StaleVerdict, 14),
        (Self::LoneReporter, 14),
        (Self::TwoRollouts, 9),
        (Self::EpochReused, 6),
        (Self::Overtaken, 6),
        (Self::HalfWritten, 9),
        (Self::CanaryWithoutTrigger, 14),
        (Self::NamelessOverride, 8),
        (Self::NoReturnByItself, 9),
    ];
}
