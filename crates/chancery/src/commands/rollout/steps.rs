//! `rollout steps`: the steps that a rollout took, and why.

use anyhow::{Context as _, anyhow};
use chancery_api::http::replies::AnswerObject;
use chancery_client::Client;
use chancery_core::cbor;
use chancery_core::command::Command;
use chancery_core::id::RolloutId;
use chancery_core::rollout::{Asked, State, StepRow};
use serde_json::{Value, json};

use crate::cli::Shared;
use crate::commands::{read, unexpected};
use crate::exit::Failure;
use crate::moment;
use crate::render::{View, show};

/// Reads page after page of the steps that are kept, of which there is one at least.
pub(super) fn read_all(client: &Client, rollout: RolloutId) -> Result<Vec<StepRow>, Failure> {
    let mut steps: Vec<StepRow> = Vec::new();
    loop {
        let from = steps.last().map_or(0, |last| last.number.saturating_add(1));
        let answer = read(client, &Command::ReadSteps { rollout, from })?;
        let AnswerObject::Steps(page) = answer else { return Err(unexpected()) };
        let is_last = !page.more || page.steps.is_empty();
        for step in page.steps {
            let step = cbor::decode(&step.0, "step of a rollout");
            steps.push(step.context("the service's answer is of another version")?);
        }
        if is_last && steps.is_empty() {
            return Err(Failure::Failed(anyhow!(
                "no steps of such a rollout are kept: there is none with this id, it was begun by an earlier version, or the \
                 steps of later ones took their places (`chancery rollout history KEY` lists those that are kept)"
            )));
        }
        if is_last {
            return Ok(steps);
        }
    }
}

/// Shows them.
pub(super) fn show_all(shared: &Shared, steps: &[StepRow]) -> Result<(), Failure> {
    let head = vec!["step", "time", "state", "stage", "why", "by", "epoch"];
    let rows = steps.iter().map(|step| {
        vec![
            step.number.to_string(),
            moment::text(step.taken.unix_ms),
            step.taken.after.status.code().to_owned(),
            way(step),
            reason(step),
            by(step),
            step.taken.after.epoch.number.to_string(),
        ]
    });
    let view = View::Rows { head, rows: rows.collect() };
    let all: Vec<Value> = steps.iter().map(in_json).collect();
    Ok(show(shared.format, &view, &json!(all))?)
}

/// From which stage to which, as places in the plan.
pub(super) fn way(step: &StepRow) -> String {
    let place = |state: &State| u32::from(state.stage) + 1;
    let after = place(&step.taken.after);
    match step.taken.before.as_ref().map(place) {
        None => format!("→ {after}"),
        Some(before) if before == after => after.to_string(),
        Some(before) => format!("{before} → {after}"),
    }
}

/// Why, and by which trigger.
pub(super) fn reason(step: &StepRow) -> String {
    let trigger = step.taken.trigger.map(|place| format!(", trigger {}", u32::from(place) + 1));
    format!("{}{}", step.taken.why.code(), trigger.unwrap_or_default())
}

/// Who had it taken.
pub(super) fn by(step: &StepRow) -> String {
    let person = match step.taken.asked {
        Asked::Nobody => None,
        Asked::Start { .. } => step.taken.lasting.by,
        Asked::Order { by, .. } => Some(by),
    };
    person.map_or_else(|| "the service".to_owned(), |person| person.to_string())
}

/// A step for programs.
pub(super) fn in_json(step: &StepRow) -> Value {
    let taken = &step.taken;
    let epoch = taken.after.epoch;
    json!({
        "number": step.number,
        "time_ms": taken.unix_ms,
        "status": taken.after.status.code(),
        "stage_before": taken.before.as_ref().map(|before| before.stage),
        "stage": taken.after.stage,
        "why": taken.why.code(),
        "trigger": taken.trigger,
        "by": by(step),
        "epoch": {"generation": epoch.generation, "number": epoch.number},
        "gates": taken.gates.iter().map(|gate| json!({"gate": gate.code(), "open": gate.is_open()})).collect::<Vec<_>>(),
    })
}
