//! Each rule is broken, and says so at its place; bounds are tried on both sides.

use super::*;
use crate::limits::SELECTOR_NAMES_MAX;
use crate::rollout::Builtin;
use crate::rollout::plan::Metric;
use crate::schedule::Selector;

fn standard() -> Plan {
    Builtin::Standard.plan().unwrap()
}

/// What is found in a plan that was changed.
fn found(mut plan: Plan, change: impl FnOnce(&mut Plan)) -> Vec<String> {
    change(&mut plan);
    let findings = plan.check();
    findings.iter().map(|finding| format!("{} {}", finding.rule.code(), finding.place)).collect()
}

/// The standard plan, changed, breaks exactly these rules.
#[track_caller]
fn check(change: impl FnOnce(&mut Plan), expected: &[&str]) {
    assert_eq!(found(standard(), change), expected);
}

fn regions(names: &[&str]) -> Selector {
    let regions = names.iter().map(|name| name.parse().unwrap()).collect();
    Selector { regions, ..Selector::default() }
}

// The stages of the standard plan.
const READY: usize = 1;
const CANARY: usize = 2;
const RAMP: usize = 3;
const FULL: usize = 5;
const SOAK: usize = 6;
const RETIRE: usize = 7;

#[test]
fn stages_stand_in_their_order_and_none_that_every_plan_has_is_missing() {
    check(|plan| plan.stages[8].name = StageName::Retire, &["stage-order stage[8].name"]);
    check(|plan| plan.stages.truncate(8), &[]);
    check(
        |plan| drop(plan.stages.remove(READY)),
        &[
            "acknowledgement-too-low acknowledged",
            "stage-missing stage",
            "publish-wait-too-short stage[0].min",
        ],
    );
    check(|plan| plan.stages.truncate(RETIRE), &["stage-missing stage"]);
    check(
        |plan| plan.stages.clear(),
        &["paths-missing exercised", "stage-count stage", "stage-missing stage"],
    );
}

#[test]
fn a_plan_has_as_many_stages_as_it_may_and_no_more() {
    let with_ramps = |count: usize| {
        move |plan: &mut Plan| {
            let ramp = plan.stages[RAMP].clone();
            for n in 0..count {
                let ppm = 100_001 + u32::try_from(n).unwrap();
                let fraction = Fraction::from_ppm(ppm).unwrap();
                plan.stages.insert(RAMP + 1 + n, Stage { fraction, ..ramp.clone() });
            }
        }
    };
    check(with_ramps(PLAN_STAGES_MAX - 9), &[]);
    check(with_ramps(PLAN_STAGES_MAX - 8), &["stage-count stage"]);
}

#[test]
fn the_first_to_protect_is_a_canary_of_a_tenth_at_most() {
    let canary = |ppm| {
        move |plan: &mut Plan| {
            plan.stages[CANARY].fraction = Fraction::from_ppm(ppm).unwrap();
            plan.stages[RAMP].fraction = Fraction::from_ppm(200_000).unwrap();
        }
    };
    check(canary(CANARY_MAX_PPM), &[]);
    check(canary(CANARY_MAX_PPM + 1), &["canary-missing stage[2].fraction"]);
    check(|plan| drop(plan.stages.remove(CANARY)), &["canary-missing stage[2].fraction"]);
}

#[test]
fn durations_are_within_their_bounds() {
    let (stage, bound) = (millis(STAGE_DURATION_MAX), millis(PLAN_DURATION_MAX));
    check(|plan| plan.stages[RAMP].max_ms = stage, &[]);
    check(|plan| plan.stages[RAMP].max_ms = stage + 1, &["duration stage[3].max"]);
    check(|plan| plan.stages[READY].max_ms = plan.stages[READY].min_ms, &[]);
    check(
        |plan| plan.stages[READY].max_ms = plan.stages[READY].min_ms - 1,
        &["duration stage[1].max"],
    );
    check(|plan| plan.stages[8].max_ms = 0, &["duration stage[8].max"]);
    check(|plan| plan.bounds.cryptoperiod_ms = bound, &[]);
    check(|plan| plan.bounds.cryptoperiod_ms = bound + 1, &["duration cryptoperiod"]);
}

#[test]
fn no_plan_lets_a_version_protect_before_verifiers_can_have_it() {
    check(|plan| plan.stages[READY].min_ms -= 1, &["publish-wait-too-short stage[1].min"]);
    check(|plan| plan.bounds.propagation_ms += 1, &["publish-wait-too-short stage[1].min"]);
    let emergency = found(Builtin::Emergency.plan().unwrap(), |plan| plan.bounds.safety_ms += 1);
    assert_eq!(emergency, [""; 0]);
}

#[test]
fn no_plan_retires_a_version_while_what_it_made_lives() {
    let waits = |plan: &Plan| plan.wait_ms(FULL, RETIRE);
    check(|plan| plan.bounds.artefact_life_ms += waits(plan) - plan.bounds.retirement_ms(), &[]);
    let too_short = "retire-wait-too-short stage[6].min";
    let over = |plan: &Plan| waits(plan) - plan.bounds.retirement_ms() + 1;
    check(|plan| plan.bounds.artefact_life_ms += over(plan), &[too_short]);
    check(|plan| plan.bounds.reprotect_ms += over(plan), &[too_short]);
    let emergency = Builtin::Emergency.plan().unwrap();
    assert_eq!(
        found(emergency, |plan| plan.stages[3].min_ms = 0),
        ["retire-wait-too-short stage[3].min"]
    );
}

#[test]
fn the_quiet_window_is_as_long_as_a_verifier_keeps_a_bundle() {
    check(|plan| plan.bounds.quiet_ms = plan.bounds.verifier_cache_ms, &[]);
    check(
        |plan| plan.bounds.quiet_ms = plan.bounds.verifier_cache_ms - 1,
        &["quiet-window-missing quiet"],
    );
}

#[test]
fn a_plan_leaves_time_for_a_step_to_become_durable() {
    check(|plan| plan.bounds.safety_ms = 1, &[]);
    check(|plan| plan.bounds.safety_ms = 0, &["safety-missing safety"]);
}

#[test]
fn a_plan_that_outlasts_the_cryptoperiod_is_refused() {
    check(|plan| plan.bounds.cryptoperiod_ms = plan.shortest_ms(), &[]);
    check(
        |plan| plan.bounds.cryptoperiod_ms = plan.shortest_ms() - 1,
        &["cryptoperiod-unmet cryptoperiod"],
    );
    let plan = standard();
    let purpose = "sign.bound:invoice".parse().unwrap();
    let check_with = |remaining| {
        let remaining_ms = Some(remaining);
        plan.check_for(&Subject { purpose: &purpose, cause: Cause::Cryptoperiod, remaining_ms })
    };
    assert_eq!(check_with(plan.shortest_ms()), []);
    assert_eq!(check_with(plan.shortest_ms() - 1)[0].rule, Rule::Cryptoperiod);
}

#[test]
fn each_stage_that_protects_has_triggers_and_not_too_many() {
    for (at, stage) in standard().stages.iter().enumerate() {
        let rule = format!("no-trigger stage[{at}].trigger");
        let expected: &[&str] = if stage.name.is_trial() { &[&rule] } else { &[] };
        check(|plan| plan.stages[at].triggers.clear(), expected);
    }
    let triggers = |count| {
        move |plan: &mut Plan| {
            let trigger = plan.stages[RAMP].triggers[3].clone();
            plan.stages[RAMP].triggers = vec![trigger; count];
        }
    };
    check(triggers(STAGE_TRIGGERS_MAX), &[]);
    check(triggers(STAGE_TRIGGERS_MAX + 1), &["trigger-count stage[3].trigger"]);
}

#[test]
fn windows_make_sense() {
    let trigger = |change: fn(&mut Trigger)| {
        move |plan: &mut Plan| {
            plan.stages[RAMP].max_ms = millis(STAGE_DURATION_MAX);
            change(&mut plan.stages[RAMP].triggers[2]);
        }
    };
    let window = "trigger-window stage[3].trigger[2].window";
    let stale = "trigger-window stage[3].trigger[2].stale";
    check(trigger(|it| it.window_ms = millis(TRIGGER_WINDOW_MAX)), &[]);
    check(trigger(|it| it.window_ms = millis(TRIGGER_WINDOW_MAX) + 1), &[window]);
    check(trigger(|it| it.short_window_ms = Some(it.window_ms - 1)), &[]);
    check(trigger(|it| it.short_window_ms = Some(it.window_ms)), &[window]);
    check(trigger(|it| it.short_window_ms = Some(0)), &[window]);
    check(trigger(|it| it.window_ms = 0), &[window]);
    check(trigger(|it| it.stale_ms = 0), &[stale]);
    check(|plan| plan.stages[RAMP].max_ms = plan.stages[RAMP].min_ms, &[]);
    let longer_than_its_stage = |plan: &mut Plan| {
        let max_ms = plan.stages[RAMP].max_ms;
        plan.stages[RAMP].triggers[2].window_ms = max_ms + 1;
    };
    check(longer_than_its_stage, &[window]);
}

#[test]
fn a_short_window_is_of_the_burn_alone_and_reports_are_of_the_last_hour() {
    let window = "trigger-window stage[3].trigger[0].window";
    let trigger = |change: fn(&mut Trigger)| {
        move |plan: &mut Plan| change(&mut plan.stages[RAMP].triggers[0])
    };
    check(trigger(|it| it.window_ms = millis(REPORTS_KEPT)), &[]);
    check(trigger(|it| it.window_ms = millis(REPORTS_KEPT) + 1), &[window]);
    check(trigger(|it| it.short_window_ms = Some(1)), &[window]);
}

#[test]
fn no_trigger_compares_with_what_never_comes() {
    let threshold = "threshold-never-met stage[2].trigger[3].threshold";
    for metric in Metric::ALL.into_iter().filter(|metric| !metric.is_reported()) {
        let with = |value| {
            move |plan: &mut Plan| {
                let trigger = &mut plan.stages[CANARY].triggers[3];
                (trigger.metric, trigger.threshold) = (metric, value);
            }
        };
        match metric.never_reached() {
            Some(never) => {
                check(with(never - 1), &[]);
                check(with(never), &[threshold]);
            }
            None => check(with(u64::MAX), &[]),
        }
    }
    let percent = |plan: &mut Plan| plan.stages[CANARY].triggers[0].threshold = 5_000_000;
    check(percent, &["threshold-never-met stage[2].trigger[0].threshold"]);
}

#[test]
fn one_verifier_moves_no_trigger() {
    let reporters = |at: usize, count| {
        move |plan: &mut Plan| {
            plan.stages[CANARY].triggers[at].reporters = count;
        }
    };
    check(reporters(0, REPORTERS_MIN), &[]);
    check(reporters(0, REPORTERS_MIN - 1), &["reporters-too-few stage[2].trigger[0].reporters"]);
    check(reporters(2, 1), &["reporters-too-few stage[2].trigger[2].reporters"]);
    for metric in Metric::ALL {
        let is_reported = metric.is_reported();
        let change = move |plan: &mut Plan| plan.stages[CANARY].triggers[3].metric = metric;
        let expected: &[&str] =
            if is_reported { &["reporters-too-few stage[2].trigger[3].reporters"] } else { &[] };
        check(change, expected);
    }
}

#[test]
fn nine_of_ten_verifiers_acknowledge_a_version_before_it_protects() {
    let asked = |ppm| {
        move |plan: &mut Plan| {
            plan.stages[READY].acknowledged = Fraction::from_ppm(ppm).unwrap();
        }
    };
    check(asked(ACKNOWLEDGED_MIN_PPM), &[]);
    check(asked(ACKNOWLEDGED_MIN_PPM - 1), &["acknowledgement-too-low acknowledged"]);
}

#[test]
fn shares_rise_and_go_with_their_stage() {
    let fraction = |at: usize, ppm| {
        move |plan: &mut Plan| {
            plan.stages[at].fraction = Fraction::from_ppm(ppm).unwrap();
        }
    };
    check(fraction(RAMP, 10_001), &[]);
    check(fraction(RAMP, 10_000), &["fraction-not-rising stage[3].fraction"]);
    check(fraction(RAMP, 9_999), &["fraction-not-rising stage[3].fraction"]);
    check(fraction(READY, 1), &["fraction-of-stage stage[1].fraction"]);
    check(fraction(RETIRE, 1), &["fraction-of-stage stage[7].fraction"]);
    check(fraction(FULL, 999_999), &["fraction-of-stage stage[5].fraction"]);
}

#[test]
fn modes_go_with_their_stage_and_never_back() {
    let mode = |at: usize, mode| move |plan: &mut Plan| plan.stages[at].mode = mode;
    check(mode(CANARY, Mode::DualSign), &[]);
    check(mode(RAMP, Mode::DualSign), &["mode-of-stage stage[3].mode"]);
    check(
        mode(RAMP, Mode::PublishOnly),
        &["mode-of-stage stage[3].mode", "mode-of-stage stage[3].mode"],
    );
    check(
        mode(FULL, Mode::DualSign),
        &["mode-of-stage stage[5].mode", "mode-of-stage stage[5].mode"],
    );
    check(mode(READY, Mode::NewOnly), &["mode-of-stage stage[1].mode"]);
}

#[test]
fn a_stage_that_protects_asks_for_something_to_have_happened() {
    check(|plan| plan.stages[RAMP].min_samples = 1, &[]);
    check(|plan| plan.stages[RAMP].min_samples = 0, &["samples-missing stage[3].min-samples"]);
    let unprobed = |plan: &mut Plan| {
        for stage in &mut plan.stages {
            stage.exercised = stage.exercised.without(Paths::NONE.with(Path::RollbackProbed));
        }
    };
    check(unprobed, &["paths-missing exercised"]);
}

#[test]
fn nothing_goes_past_the_point_of_no_return_by_itself() {
    let automatic = |at: usize| {
        move |plan: &mut Plan| {
            plan.stages[at].advance = Advance::Automatic;
        }
    };
    check(automatic(SOAK), &["automatic-past-no-return stage[6].advance"]);
    check(automatic(RETIRE), &["automatic-past-no-return stage[7].advance"]);
}

#[test]
fn selectors_widen_up_to_everybody() {
    let selectors = |canary: Selector, ramp: Selector| {
        move |plan: &mut Plan| {
            plan.stages[CANARY].selector = canary;
            plan.stages[RAMP].selector = ramp;
        }
    };
    let narrows = ["selector-narrows stage[3].selector"];
    check(selectors(regions(&["eu"]), regions(&["eu", "us"])), &[]);
    check(selectors(regions(&["eu"]), regions(&["us"])), &narrows);
    check(selectors(Selector::default(), regions(&["us"])), &narrows);
    check(
        |plan| plan.stages[SOAK].selector = regions(&["eu"]),
        &["selector-narrows stage[6].selector", "selector-narrows stage[6].selector"],
    );
    let names: Vec<_> = (0..=SELECTOR_NAMES_MAX).map(|n| format!("r{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    check(|plan| plan.stages[CANARY].selector = regions(&names[1..]), &[]);
    check(
        |plan| plan.stages[CANARY].selector = regions(&names),
        &["selector-narrows stage[2].selector"],
    );
}

/// A migration whose verifiers ask for both signatures for a while.
fn with_all_of(before_ms: u64, after_ms: u64) -> Vec<String> {
    found(Builtin::Migration.plan().unwrap(), |plan| {
        let whole = Stage { min_ms: before_ms, ..plan.stages[4].clone() };
        let all_of = Stage { accept: Accept::AllOf, min_ms: 1, ..whole.clone() };
        let any_of = Stage { min_ms: after_ms, ..whole.clone() };
        plan.stages.splice(4..5, [whole, all_of, any_of]);
    })
}

#[test]
fn all_of_comes_late_and_is_taken_back_before_one_stands_alone() {
    let bounds = Builtin::Migration.plan().unwrap().bounds;
    let (alive, told) = (bounds.retirement_ms(), bounds.publication_ms());
    assert_eq!(with_all_of(alive, told), [""; 0]);
    assert_eq!(with_all_of(alive - 1, told), ["all-of-too-early stage[5].accept"]);
    assert_eq!(with_all_of(alive, told - 1), ["all-of-then-single stage[5].accept"]);
    check(
        |plan| plan.stages[FULL].accept = Accept::AllOf,
        &["all-of-too-early stage[5].accept", "all-of-then-single stage[5].accept"],
    );
}

#[test]
fn every_rule_has_a_name_of_its_own_and_advice() {
    for (at, rule) in Rule::ALL.iter().enumerate() {
        assert!(Rule::ALL[..at].iter().all(|other| other.code() != rule.code()));
        assert!(!rule.advice().is_empty() && !rule.advice().ends_with('.'));
        let source = include_str!("tests.rs");
        let elsewhere = include_str!("../builtin.rs");
        let is_tried =
            source.contains(rule.code()) || elsewhere.contains(&format!("Rule::{rule:?}"));
        assert!(is_tried, "no test breaks `{}`", rule.code());
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let found = found(standard(), |plan| {
        plan.bounds.quiet_ms = 0;
        plan.stages[CANARY].triggers.clear();
        plan.stages[SOAK].advance = Advance::Automatic;
    });
    assert_eq!(found.len(), 3);
}
