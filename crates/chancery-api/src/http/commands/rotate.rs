//! The bodies of what concerns rollouts.

use chancery_core::command::Command;
use chancery_core::id::RolloutId;
use chancery_core::rollout::{Cause, Order, Overridable, Rotation};
use chancery_core::suite::Suite;
use serde::{Deserialize, Serialize};

use super::{EmptyBody, key_in};
use crate::http::fields::{object, spelt, text};
use crate::http::plan::PlanObject;
use crate::http::routes::{Found, OrderKind};
use crate::http::{HttpError, parse, render};

/// The gates that a named person may go past, as they are spelt.
const OVERRIDABLE: [(Overridable, &str); 3] = [
    (Overridable::Acknowledgement, "acknowledged"),
    (Overridable::Quiet, "quiet"),
    (Overridable::Remaining, "counted"),
];

/// The spelling of a gate that a named person may go past.
#[must_use]
pub fn overridable_name(gate: Overridable) -> &'static str {
    OVERRIDABLE.iter().find(|row| row.0 == gate).map_or("", |row| row.1)
}

/// The gate of a spelling.
#[must_use]
pub fn overridable_of(name: &str) -> Option<Overridable> {
    OVERRIDABLE.iter().find(|row| row.1 == name).map(|row| row.0)
}

spelt!(gate: Overridable, overridable_name, overridable_of);

/// The body of [`Command::Rotate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// How it goes.
    #[serde(deserialize_with = "object")]
    pub plan: PlanObject,
    /// Why.
    #[serde(with = "text")]
    pub reason: Cause,
    /// The new version's algorithm, if that is another than the key's now.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub algorithm: Option<Suite>,
    /// The version that comes in, if it is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// The body of [`Command::OrderRollout`] that goes past a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideBody {
    /// Which gate.
    #[serde(with = "gate")]
    pub gate: Overridable,
}

/// The body of [`Command::StillRollout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StillRolloutBody {
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

/// The body of [`Command::ReadSteps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadStepsBody {
    /// From the step of this number on.
    pub from: u32,
}

pub(super) fn rotate_body(rotation: &Rotation) -> Vec<u8> {
    render(&RotateBody {
        plan: (&rotation.plan).into(),
        reason: rotation.cause,
        algorithm: rotation.suite,
        version: rotation.version,
    })
}

pub(super) fn order_body(order: Order) -> Vec<u8> {
    match order {
        Order::Override(gate) => render(&OverrideBody { gate }),
        _ => render(&EmptyBody {}),
    }
}

pub(super) fn rotate(found: Found<'_>, body: RotateBody) -> Result<Command, HttpError> {
    Ok(Command::Rotate(Rotation {
        key: key_in(found)?,
        plan: body.plan.try_into()?,
        cause: body.reason,
        suite: body.algorithm,
        version: body.version,
    }))
}

pub(super) fn order(found: Found<'_>, kind: OrderKind, body: &[u8]) -> Result<Command, HttpError> {
    let order = match kind {
        OrderKind::Override => {
            let OverrideBody { gate } = parse(body)?;
            Order::Override(gate)
        }
        OrderKind::Plain(order) => {
            let EmptyBody {} = parse(body)?;
            order
        }
    };
    Ok(Command::OrderRollout { rollout: rollout_in(found)?, order })
}

pub(super) fn rollout_in(found: Found<'_>) -> Result<RolloutId, HttpError> {
    let error =
        HttpError::Malformed("the path names a rollout by a UUID in lower case with hyphens");
    found.variable.parse().map_err(|_| error)
}
