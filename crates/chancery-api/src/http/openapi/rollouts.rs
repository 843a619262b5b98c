//! The schemas of rollouts and their plans.

use chancery_core::automatic::Held;
use chancery_core::limits::{PLAN_STAGES_MAX, SELECTOR_NAMES_MAX, STAGE_TRIGGERS_MAX};
use chancery_core::purpose::Usage;
use chancery_core::rollout::{
    Advance, Cause, Comparator, Halt, Kind, Lacking, Metric, Path, Response, StageName, Word,
};
use chancery_core::schedule::{Accept, Mode};
use serde_json::{Value, json};

use super::{boolean, integer, list, number, object, reference, string, time, word};
use crate::http::commands::{RuleWord, overridable_name};

pub(super) fn rollouts() -> Vec<(&'static str, Value)> {
    vec![
        ("Gate", gate_schema()),
        ("Measured", measured_schema()),
        ("OverrideBody", object(&[("gate", gates())], &[])),
        ("Plan", plan_schema()),
        ("KeptRollout", kept_rollout_schema()),
        ("Rollout", rollout_schema()),
        (
            "Rollouts",
            object(&[("rollouts", list(&reference("Rollout"))), ("more", boolean())], &[]),
        ),
        ("ReadStepsBody", object(&[("from", number())], &[])),
        (
            "RotateBody",
            object(
                &[("plan", reference("Plan")), ("reason", causes())],
                &[("algorithm", reference("Algorithm")), ("version", number())],
            ),
        ),
        ("Automatic", automatic_schema()),
        ("KeyRotation", key_rotation_schema()),
        (
            "Rotations",
            object(
                &[
                    ("rules", list(&reference("UsageRule"))),
                    ("keys", list(&reference("KeyRotation"))),
                    ("more", boolean()),
                ],
                &[],
            ),
        ),
        (
            "RuleBody",
            object(
                &[("rule", word(&RuleWord::ALL))],
                &[
                    ("automatic", reference("Automatic")),
                    ("key", reference("Name")),
                    ("usage", usages()),
                ],
            ),
        ),
        ("UsageRule", usage_rule_schema()),
        ("Stage", stage_schema()),
        ("StillRolloutBody", object(&[("for_ms", time())], &[])),
        ("Steps", object(&[("steps", list(&reference("Bytes"))), ("more", boolean())], &[])),
        ("Trigger", trigger_schema()),
    ]
}

fn of<W: Word>() -> Value {
    let words = W::all();
    word(&words.iter().map(|(text, _)| *text).collect::<Vec<_>>())
}

fn causes() -> Value {
    word(&Cause::ALL.iter().map(|cause| cause.code()).collect::<Vec<_>>())
}

fn usages() -> Value {
    word(&Usage::ALL.map(Usage::name))
}

fn automatic_schema() -> Value {
    object(
        &[
            ("every_ms", time()),
            ("spread_ms", time()),
            ("replaces_imported", boolean()),
            ("stands_by", boolean()),
            ("plan", reference("Plan")),
        ],
        &[("uses", time()), ("algorithm", reference("Algorithm"))],
    )
}

fn usage_rule_schema() -> Value {
    object(
        &[
            ("usage", usages()),
            ("rule", word(&RuleWord::ALL)),
            ("by", reference("Id")),
            ("since_served_ms", time()),
        ],
        &[("automatic", reference("Automatic"))],
    )
}

fn key_rotation_schema() -> Value {
    object(
        &[("key", reference("Name")), ("version", number())],
        &[
            ("rule_of", word(&["key", "usage"])),
            ("left_ms", time()),
            ("standby", number()),
            ("held", word(&Held::ALL.map(Held::code))),
        ],
    )
}

fn gates() -> Value {
    use chancery_core::rollout::Overridable::{Acknowledgement, Quiet, Remaining};
    word(&[Acknowledgement, Quiet, Remaining].map(overridable_name))
}

fn bounded(items: &Value, most: usize) -> Value {
    json!({"type": "array", "maxItems": most, "items": items})
}

fn parts() -> Value {
    integer(1_000_000)
}

fn plan_schema() -> Value {
    let bounds = [
        "propagation_ms",
        "verifier_cache_ms",
        "reprotect_ms",
        "artefact_life_ms",
        "safety_ms",
        "quiet_ms",
        "cryptoperiod_ms",
    ];
    let bounds = object(&bounds.map(|name| (name, time())), &[]);
    let stages = bounded(&reference("Stage"), PLAN_STAGES_MAX);
    let name = reference("Name");
    object(&[("name", name), ("kind", of::<Kind>()), ("bounds", bounds), ("stages", stages)], &[])
}

fn stage_schema() -> Value {
    let names = || bounded(&reference("Name"), SELECTOR_NAMES_MAX);
    object(
        &[
            ("name", of::<StageName>()),
            ("fraction_ppm", parts()),
            ("mode", of::<Mode>()),
            ("accept", of::<Accept>()),
            ("min_ms", time()),
            ("max_ms", time()),
            ("min_samples", time()),
            ("acknowledged_ppm", parts()),
            ("on_deadline", of::<Response>()),
            ("on_no_data", of::<Lacking>()),
            ("on_inconclusive", of::<Lacking>()),
            ("advance", of::<Advance>()),
        ],
        &[
            ("environments", names()),
            ("regions", names()),
            ("services", names()),
            ("exercised", list(&of::<Path>())),
            ("triggers", bounded(&reference("Trigger"), STAGE_TRIGGERS_MAX)),
        ],
    )
}

fn trigger_schema() -> Value {
    object(
        &[
            ("metric", of::<Metric>()),
            ("comparator", of::<Comparator>()),
            ("threshold", time()),
            ("window_ms", time()),
            ("stale_ms", time()),
            ("action", of::<Response>()),
            ("reporters", integer(u64::from(u16::MAX))),
        ],
        &[("short_window_ms", time())],
    )
}

fn statuses() -> Value {
    word(&["running", "paused", "withdrawing", "rolled-back", "aborted", "on-standby", "done"])
}

fn halts() -> Value {
    word(&Halt::ALL.iter().map(|halt| halt.code()).collect::<Vec<_>>())
}

fn kept_rollout_schema() -> Value {
    object(
        &[
            ("id", reference("Id")),
            ("from", number()),
            ("to", number()),
            ("reason", causes()),
            ("plan_digest", reference("Bytes")),
            ("first_step", number()),
            ("first_ms", time()),
            ("last_step", number()),
            ("last_ms", time()),
            ("status", statuses()),
        ],
        &[("by", reference("Id")), ("halt", halts())],
    )
}

fn rollout_schema() -> Value {
    let epoch = || reference("Epoch");
    let passed = object(&[("gate", gates()), ("by", reference("Id")), ("epoch", epoch())], &[]);
    object(
        &[
            ("id", reference("Id")),
            ("key", reference("Name")),
            ("from", number()),
            ("to", number()),
            ("reason", causes()),
            ("plan", reference("Plan")),
            ("plan_digest", reference("Bytes")),
            ("stage", integer(u64::from(u8::MAX))),
            ("status", statuses()),
            ("entered_served_ms", time()),
            ("entered_epoch", epoch()),
            ("now_served_ms", time()),
            ("epoch", epoch()),
            ("gates", list(&reference("Gate"))),
            ("measured", list(&reference("Measured"))),
            ("overrides", list(&passed)),
        ],
        &[("by", reference("Id")), ("halt", halts()), ("standby", number())],
    )
}

fn gate_schema() -> Value {
    object(
        &[("gate", string()), ("open", boolean())],
        &[
            ("left_ms", time()),
            ("have", time()),
            ("need", time()),
            ("of", time()),
            ("missing", list(&of::<Path>())),
            ("trigger", integer(u64::from(u8::MAX))),
            ("standing", string()),
            ("state", string()),
            ("overridden_by", reference("Id")),
        ],
    )
}

fn measured_schema() -> Value {
    object(
        &[
            ("trigger", integer(u64::from(u8::MAX))),
            ("metric", of::<Metric>()),
            ("samples", time()),
        ],
        &[("value", time()), ("control", time())],
    )
}
