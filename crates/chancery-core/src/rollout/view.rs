//! What is asked for when a key is rotated, and what people are shown of a rollout.

use minicbor::{Decode, Encode};

use super::cause::Cause;
use super::counted::Counted;
use super::gate::Gate;
use super::plan::{Metric, Plan};
use super::{Observed, Rollout, Verifier};
use crate::clock::Served;
use crate::name::Name;
use crate::suite::Suite;

/// A rotation that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Rotation {
    /// The key.
    #[n(0)]
    pub key: Name,
    /// How it goes.
    #[n(1)]
    pub plan: Plan,
    /// Why.
    #[n(2)]
    pub cause: Cause,
    /// The new version's algorithm; that of the version that protects if not said.
    #[n(3)]
    pub suite: Option<Suite>,
    /// The version that comes in: a standby that the key has. A new one is made if not said.
    #[n(4)]
    pub version: Option<u32>,
}

/// What the shell has seen when a step is decided.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Every verifier that is registered for the key.
    pub verifiers: &'a [Verifier],
    /// What was seen.
    pub observed: &'a Observed<'a>,
    /// What its verdicts rest on, one by one; it decides nothing, and is kept with a step.
    pub counted: &'a [Counted],
}

impl Sight<'_> {
    /// It has looked at nothing.
    pub const NOTHING: Self = Sight { verifiers: &[], observed: &Observed::NOTHING, counted: &[] };
}

/// What the analysis found for one trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Measured {
    /// The trigger's place in the stage.
    #[n(0)]
    pub trigger: u8,
    /// What it looks at.
    #[n(1)]
    pub metric: Metric,
    /// The value of the new version, in millionths.
    #[n(2)]
    pub value: Option<u64>,
    /// That of the old one at the same time, where the two are compared.
    #[n(3)]
    pub control: Option<u64>,
    /// How many answers it rests on.
    #[n(4)]
    pub samples: u64,
}

/// A rollout as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RolloutView {
    /// The key's name.
    #[n(0)]
    pub key: Name,
    /// What is stored.
    #[n(1)]
    pub rollout: Rollout,
    /// Every gate of its stage, open or not; none when it is over.
    #[n(2)]
    pub gates: Vec<Gate>,
    /// What the analysis found, trigger by trigger.
    #[n(3)]
    pub measured: Vec<Measured>,
    /// The time served, by which `gates` was made.
    #[n(4)]
    pub now: Served,
}
