//! Rollouts, for people and for programs.

use chancery_api::http::plan::{StageObject, TriggerObject};
use chancery_api::http::replies::{GateObject, MeasuredObject, RolloutObject};
use chancery_core::rollout::{Metric, Word as _};

use crate::cli::Shared;
use crate::commands::answer_json;
use crate::exit::Failure;
use crate::plan_text::duration_text;
use crate::render::{View, show};

/// Lists rollouts.
pub(super) fn list(shared: &Shared, rollouts: &[RolloutObject]) -> Result<(), Failure> {
    let rows = rollouts.iter().map(|rollout| {
        vec![
            rollout.key.to_string(),
            rollout.id.to_string(),
            format!("{} → {}", rollout.from, rollout.to),
            stage_name(rollout).to_owned(),
            standing(rollout),
            waits(rollout),
        ]
    });
    let head = vec!["key", "rollout", "version", "stage", "state", "waits for"];
    let view = View::Rows { head, rows: rows.collect() };
    Ok(show(shared.format, &view, &answer_json(&rollouts)?)?)
}

/// Shows one; with the place of its record, if it was just changed.
pub(super) fn one(
    shared: &Shared,
    rollout: &RolloutObject,
    log_index: Option<u64>,
) -> Result<(), Failure> {
    let mut fields = fields(rollout);
    fields.extend(log_index.map(|index| ("on record as", index.to_string())));
    Ok(show(shared.format, &View::Fields(fields), &answer_json(rollout)?)?)
}

/// A rollout as names and values, with a line for each gate.
pub(super) fn fields(rollout: &RolloutObject) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("rollout", rollout.id.to_string()),
        ("key", rollout.key.to_string()),
        ("version", format!("{} → {}", rollout.from, rollout.to)),
        ("plan", format!("{} ({})", rollout.plan.name, rollout.reason)),
        ("stage", stage_line(rollout)),
        ("state", standing(rollout)),
    ];
    let gates = rollout.gates.iter().map(|gate| {
        let mark = if gate.open { "open" } else { "waits" };
        (mark, gate_text(gate, rollout))
    });
    fields.extend(gates);
    let passed = rollout.overrides.iter();
    fields.extend(passed.map(|it| ("went past", format!("{}, by {}", it.gate, it.by))));
    fields
}

/// The stage it is in.
pub(super) fn stage(rollout: &RolloutObject) -> Option<&StageObject> {
    rollout.plan.stages.get(usize::from(rollout.stage))
}

/// Its name.
pub(super) fn stage_name(rollout: &RolloutObject) -> &'static str {
    stage(rollout).map_or("", |stage| stage.name.code())
}

fn stage_line(rollout: &RolloutObject) -> String {
    let Some(stage) = stage(rollout) else { return String::new() };
    let (place, of) = (rollout.stage.saturating_add(1), rollout.plan.stages.len());
    let for_ms = rollout.now_served_ms.saturating_sub(rollout.entered_served_ms);
    let share = match stage.fraction_ppm {
        0 => String::new(),
        ppm => format!(", {} for {} %", stage.mode.spelt(), f64::from(ppm) / 10_000.0),
    };
    format!("{} ({place} of {of}){share}, for {}", stage.name.code(), about(for_ms))
}

/// How it stands, and why.
pub(super) fn standing(rollout: &RolloutObject) -> String {
    let halt = rollout.halt.map(|halt| format!(": {halt}")).unwrap_or_default();
    let standby = rollout.standby.map(|version| format!(", version {version}")).unwrap_or_default();
    format!("{}{standby}{halt}", rollout.status)
}

/// What it waits for, in a few words.
pub(super) fn waits(rollout: &RolloutObject) -> String {
    let closed = rollout.gates.iter().filter(|gate| !gate.open);
    closed.map(|gate| gate_text(gate, rollout)).collect::<Vec<_>>().join("; ")
}

/// A gate in words.
pub(super) fn gate_text(gate: &GateObject, rollout: &RolloutObject) -> String {
    let left = || gate.left_ms.map_or_else(|| "nobody looked".into(), left);
    let number = |number: Option<u64>| number.map_or_else(|| "?".into(), |it| it.to_string());
    let (have, need) = (number(gate.have), number(gate.need));
    let text = match gate.gate.as_str() {
        "elapsed" => format!("the stage's shortest time: {}", left()),
        "propagated" => format!("every verifier can have the new version: {}", left()),
        "released" => format!("verifiers are told that one signature is enough: {}", left()),
        "outlived" => format!("what the old version made runs out: {}", left()),
        "quiet" => format!("nothing of the old version is seen: {}", left()),
        "acknowledged" => {
            format!("verifiers: {have} of {} have it, {need} must", number(gate.of))
        }
        "sampled" => format!("answers of the new version: {have} of {need}"),
        "exercised" if gate.missing.is_empty() => "paths gone".into(),
        "exercised" => format!("paths to go: {}", gate.missing.join(", ")),
        "counted" if gate.have.is_none() => {
            "ciphertexts of the old version left: nobody knows (`chancery reprotect status` says why)".into()
        }
        "counted" => format!("ciphertexts of the old version left: {have}"),
        "usable" => format!("the new version is {}", gate.state.as_deref().unwrap_or("?")),
        "person" => "a person (`chancery rollout advance`)".into(),
        _ => trigger_text(gate, rollout),
    };
    match gate.overridden_by {
        Some(by) => format!("{text} (gone past by {by})"),
        None => text,
    }
}

fn left(ms: u64) -> String {
    if ms == 0 { "done".into() } else { format!("{} left", about(ms)) }
}

/// A duration for people: the largest two units of it.
pub(super) fn about(ms: u64) -> String {
    const UNITS: [u64; 4] = [86_400_000, 3_600_000, 60_000, 1_000];
    let unit = UNITS.into_iter().find(|unit| ms >= *unit);
    let Some(unit) = unit else { return duration_text(ms) };
    let finer = UNITS.into_iter().find(|finer| *finer < unit).unwrap_or(1_000);
    let (whole, rest) = (ms / unit * unit, ms % unit / finer * finer);
    let rest = if rest > 0 { duration_text(rest) } else { String::new() };
    format!("{}{rest}", duration_text(whole))
}

fn trigger_text(gate: &GateObject, rollout: &RolloutObject) -> String {
    let place = gate.trigger.unwrap_or_default();
    let trigger = stage(rollout).and_then(|stage| stage.triggers.get(usize::from(place)));
    let name = trigger.map_or("a trigger", |trigger| trigger.metric.code());
    let measured = rollout.measured.iter().find(|measured| measured.trigger == place);
    let found = measured.zip(trigger).map(|(it, trigger)| compared(it, trigger));
    let found = found.unwrap_or_default();
    format!("{name}: {}{found}", gate.standing.as_deref().unwrap_or("?"))
}

/// The new version against the old one, and against the bound.
fn compared(measured: &MeasuredObject, trigger: &TriggerObject) -> String {
    let text = |value: u64| match trigger.metric {
        metric if metric.is_count() => value.to_string(),
        Metric::BudgetBurn | Metric::LatencyRatio => format!("{:.2}", millionths(value)),
        _ => format!("{:.3} %", millionths(value) * 100.0),
    };
    let Some(value) = measured.value else { return format!(", {} seen", measured.samples) };
    let control = measured.control.map(|control| format!(", before {}", text(control)));
    let bound = format!("{} {}", trigger.comparator.spelt(), text(trigger.threshold));
    format!(
        ", {}{} of {} (fires {bound})",
        text(value),
        control.unwrap_or_default(),
        measured.samples
    )
}

fn millionths(value: u64) -> f64 {
    // What is shown has three decimals.
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    f64::from(value) / 1_000_000.0
}
