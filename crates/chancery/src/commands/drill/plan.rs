//! The plans of drills: every stage and every wait of a real one, in seconds.

use anyhow::{Context as _, Result, bail};
use chancery_core::rollout::{
    Bounds, Builtin, Comparator, Lacking, Metric, Path, Paths, Plan, Response, StageName, Trigger,
};
use chancery_core::schedule::Fraction;

use super::fault::Fault;

/// The unit of a drill's waits, in milliseconds: 400.
const UNIT_MS: u64 = 400;

/// How long a canary lasts in which something is to be induced: 30 s, longer than each of them takes.
const HELD_MS: u64 = 30_000;

/// The window in which verifiers must have reported, where their silence is to pause: 3 s, six reports.
const SILENCE_MS: u64 = 3_000;

/// How much a version may be slower: three times, in millionths.
const SLOWER_PPM: u64 = 3_000_000;

/// Answers of the new version that a stage asks for: 12 without a failure bound a rate under a quarter at 95 %.
const SAMPLES: u64 = 12;

/// The plan of a drill; it passes the check of every plan.
pub(super) fn plan(fault: Fault) -> Result<Plan> {
    let mut plan = Builtin::Standard.plan().context("there is no standard plan")?;
    plan.name = "drill".parse().context("no name")?;
    plan.bounds = Bounds {
        propagation_ms: UNIT_MS,
        verifier_cache_ms: UNIT_MS,
        reprotect_ms: 0,
        artefact_life_ms: UNIT_MS,
        safety_ms: 2 * UNIT_MS,
        quiet_ms: UNIT_MS,
        cryptoperiod_ms: 30 * 86_400_000,
    };
    plan.stages.retain(|stage| stage.fraction.ppm() != 500_000);
    let (tenth, half) = (Fraction::from_ppm(100_000), Fraction::from_ppm(500_000));
    let (tenth, half) = tenth.zip(half).context("no fraction")?;
    for stage in &mut plan.stages {
        stage.min_ms = match stage.name {
            StageName::Ready => 3 * UNIT_MS,
            StageName::Soak => 4 * UNIT_MS,
            _ => UNIT_MS,
        };
        stage.max_ms = 3_600_000;
        if stage.name.is_trial() {
            stage.min_samples = SAMPLES;
            stage.triggers = triggers(fault);
            stage.on_no_data = Lacking::Wait;
            stage.on_inconclusive = Lacking::Wait;
        }
        match stage.name {
            StageName::Canary => stage.fraction = tenth,
            StageName::Ramp => stage.fraction = half,
            StageName::Soak => stage.exercised = Paths::NONE.with(Path::NewVerified),
            _ => {}
        }
        if is_held(fault) && stage.name == StageName::Canary {
            stage.min_ms = HELD_MS;
        }
        if fault == Fault::MissingTelemetry && stage.name.is_trial() {
            stage.on_no_data = Lacking::Pause;
        }
    }
    match plan.check().first() {
        None => Ok(plan),
        Some(finding) => bail!("the drill's own plan breaks a rule: {finding}"),
    }
}

/// Whether something is to be induced in the canary, which must not end before.
const fn is_held(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::VerifyFailures | Fault::SlowVersion | Fault::MissingTelemetry | Fault::Restart
    )
}

fn triggers(fault: Fault) -> Vec<Trigger> {
    let trigger = |metric: Metric, threshold, window_ms| Trigger {
        metric,
        comparator: Comparator::Above,
        threshold,
        window_ms,
        short_window_ms: None,
        stale_ms: 60_000,
        response: Response::RollBack,
        reporters: if metric.is_reported() { 2 } else { 0 },
    };
    let errors = trigger(Metric::ErrorRate, 250_000, 60_000);
    match fault {
        Fault::VerifyFailures => vec![errors, trigger(Metric::VerifyFailureRate, 5_000, 60_000)],
        Fault::SlowVersion => vec![errors, trigger(Metric::LatencyRatio, SLOWER_PPM, 60_000)],
        Fault::MissingTelemetry => {
            vec![errors, trigger(Metric::VerifyFailureRate, 500_000, SILENCE_MS)]
        }
        _ => vec![errors],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_each_drill_passes_the_check_and_has_every_stage() {
        for fault in Fault::ALL {
            let plan = plan(fault).unwrap();
            let names: std::collections::BTreeSet<_> =
                plan.stages.iter().map(|stage| stage.name).collect();
            assert_eq!(names.len(), StageName::ALL.len(), "{fault:?}");
        }
    }
}
