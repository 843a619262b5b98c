//! A rollout, in JSON.

use chancery_core::id::{PrincipalId, RolloutId};
use chancery_core::name::Name;
use chancery_core::rollout::{
    Cause, Gate, Halt, Measured, Metric, Override, RolloutView, Standing, Status, Word,
};
use serde::{Deserialize, Serialize};

use super::EpochObject;
use crate::http::commands::overridable_name;
use crate::http::fields::{Base64, text, word};
use crate::http::plan::PlanObject;
use crate::http::replies::state_name;
use crate::message::KeptRollout;

/// A [`RolloutView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutObject {
    /// What names it.
    #[serde(with = "text")]
    pub id: RolloutId,
    /// The key's name.
    #[serde(with = "text")]
    pub key: Name,
    /// The version that protected before.
    pub from: u32,
    /// The version that it brings in.
    pub to: u32,
    /// Why it is made.
    #[serde(with = "text")]
    pub reason: Cause,
    /// Who asked for it; absent if it was the service itself.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub by: Option<PrincipalId>,
    /// Its plan.
    pub plan: PlanObject,
    /// The digest of the plan.
    pub plan_digest: Base64,
    /// The stage it is in: a place in the plan, from 0.
    pub stage: u8,
    /// `running`, `paused`, `withdrawing`, `rolled-back`, `aborted`, `on-standby` or `done`.
    pub status: String,
    /// Why it stopped or went back.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub halt: Option<Halt>,
    /// The version that took over, of one `on-standby`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<u32>,
    /// Since when it is in the stage, in milliseconds for which the service has run.
    pub entered_served_ms: u64,
    /// The epoch of the schedule that came with the stage.
    pub entered_epoch: EpochObject,
    /// The time by which the gates were looked at.
    pub now_served_ms: u64,
    /// The epoch of its row.
    pub epoch: EpochObject,
    /// Every gate of its stage.
    pub gates: Vec<GateObject>,
    /// What the analysis found, trigger by trigger.
    pub measured: Vec<MeasuredObject>,
    /// What people went past.
    pub overrides: Vec<OverrideObject>,
}

/// A [`Gate`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateObject {
    /// What it waits for.
    pub gate: String,
    /// Whether it is open.
    pub open: bool,
    /// What is left of its wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<u64>,
    /// How many there must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need: Option<u64>,
    /// Of how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Which paths were not gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The trigger's place in the stage, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<u8>,
    /// How the trigger stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
    /// The version's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Who goes on regardless.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub overridden_by: Option<PrincipalId>,
}

/// [`Measured`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredObject {
    /// The trigger's place in the stage, from 0.
    pub trigger: u8,
    /// What it looks at.
    #[serde(with = "word")]
    pub metric: Metric,
    /// The value of the new version, in millionths or as a count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// That of the old one at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<u64>,
    /// On how many answers it rests.
    pub samples: u64,
}

/// An [`Override`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideObject {
    /// Which gate.
    pub gate: String,
    /// Who.
    #[serde(with = "text")]
    pub by: PrincipalId,
    /// Under which epoch.
    pub epoch: EpochObject,
}

/// A page of rollouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutsObject {
    /// The latest of each key, in the order of the keys' names.
    pub rollouts: Vec<RolloutObject>,
    /// Whether another page follows.
    pub more: bool,
}

/// A [`KeptRollout`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRolloutObject {
    /// What names it.
    #[serde(with = "text")]
    pub id: RolloutId,
    /// The version that protected before.
    pub from: u32,
    /// The version that it brought in.
    pub to: u32,
    /// Why it was made.
    #[serde(with = "text")]
    pub reason: Cause,
    /// Who asked for it; absent if it was the service itself.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub by: Option<PrincipalId>,
    /// The digest of its plan.
    pub plan_digest: Base64,
    /// The number of the first step that is kept; the first of all is 0.
    pub first_step: u32,
    /// When that was taken, in milliseconds since 1970.
    pub first_ms: u64,
    /// The number of the last step.
    pub last_step: u32,
    /// When that was taken, in milliseconds since 1970.
    pub last_ms: u64,
    /// As of a rollout.
    pub status: String,
    /// Why it stopped or went back.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub halt: Option<Halt>,
}

impl From<KeptRollout> for KeptRolloutObject {
    fn from(kept: KeptRollout) -> Self {
        let KeptRollout { id, lasting, first, first_ms, last, last_ms, status } = kept;
        Self {
            id,
            from: lasting.from,
            to: lasting.to,
            reason: lasting.cause,
            by: lasting.by,
            plan_digest: Base64(lasting.plan_digest.to_vec()),
            first_step: first,
            first_ms,
            last_step: last,
            last_ms,
            status: status.code().to_owned(),
            halt: why(status).0,
        }
    }
}

impl From<RolloutView> for RolloutObject {
    fn from(view: RolloutView) -> Self {
        let rollout = view.rollout;
        let (halt, standby) = why(rollout.status);
        Self {
            id: rollout.id,
            key: view.key,
            from: rollout.from,
            to: rollout.to,
            reason: rollout.cause,
            by: rollout.by,
            plan: (&rollout.plan).into(),
            plan_digest: Base64(rollout.plan_digest.to_vec()),
            stage: rollout.stage,
            status: rollout.status.code().into(),
            halt,
            standby,
            entered_served_ms: rollout.entered.served.as_ms(),
            entered_epoch: rollout.entered.epoch.into(),
            now_served_ms: view.now.as_ms(),
            epoch: rollout.epoch.into(),
            gates: view.gates.iter().map(GateObject::from).collect(),
            measured: view.measured.iter().map(MeasuredObject::from).collect(),
            overrides: rollout.overrides.iter().map(OverrideObject::from).collect(),
        }
    }
}

/// Why it stopped or went back, and which version took over.
fn why(status: Status) -> (Option<Halt>, Option<u32>) {
    match status {
        Status::Running | Status::Done => (None, None),
        Status::OnStandby { halt, version } => (Some(halt), Some(version)),
        Status::Paused(halt)
        | Status::Withdrawing { halt, .. }
        | Status::RolledBack(halt)
        | Status::Aborted(halt) => (Some(halt), None),
    }
}

impl From<&Gate> for GateObject {
    fn from(gate: &Gate) -> Self {
        let object = || Self { gate: gate.code().into(), open: gate.is_open(), ..Self::default() };
        match gate {
            Gate::Elapsed { left_ms }
            | Gate::Propagated { left_ms }
            | Gate::Released { left_ms }
            | Gate::Outlived { left_ms } => Self { left_ms: Some(*left_ms), ..object() },
            Gate::Acknowledged(acknowledged) => Self {
                have: Some(acknowledged.have.into()),
                need: Some(acknowledged.need.into()),
                of: Some(acknowledged.of.into()),
                overridden_by: acknowledged.overridden,
                ..object()
            },
            Gate::Sampled { have, need } => {
                Self { have: Some(*have), need: Some(*need), ..object() }
            }
            Gate::Exercised { missing } => {
                let missing = missing.iter().map(|path| path.spelt().into()).collect();
                Self { missing, ..object() }
            }
            Gate::Trigger { place, standing } => {
                let standing = Some(standing_text(*standing));
                Self { trigger: Some(*place), standing, ..object() }
            }
            Gate::Usable { state } => Self { state: Some(state_name(*state).into()), ..object() },
            Gate::Quiet { left_ms, overridden } => {
                Self { left_ms: *left_ms, overridden_by: *overridden, ..object() }
            }
            Gate::Counted { remaining, overridden } => {
                Self { have: *remaining, overridden_by: *overridden, ..object() }
            }
            Gate::Person => object(),
        }
    }
}

fn standing_text(standing: Standing) -> String {
    match standing {
        Standing::Pass => "pass".into(),
        Standing::Fail => "fail".into(),
        Standing::FewReporters { have, need } => format!("few-reporters {have}/{need}"),
        Standing::Inconclusive => "inconclusive".into(),
        Standing::NoData => "no-data".into(),
        Standing::Stale => "stale".into(),
        Standing::NotANumber => "not-a-number".into(),
    }
}

impl From<&Measured> for MeasuredObject {
    fn from(measured: &Measured) -> Self {
        let Measured { trigger, metric, value, control, samples } = *measured;
        Self { trigger, metric, value, control, samples }
    }
}

impl From<&Override> for OverrideObject {
    fn from(it: &Override) -> Self {
        Self { gate: overridable_name(it.what).into(), by: it.by, epoch: it.epoch.into() }
    }
}
