//! The plans that come with the service.
//!
//! Each passes its own check. Their bounds suit verifiers that fetch a bundle every few minutes and artefacts that
//! live a day; whoever has others writes a plan.

use std::time::Duration;

use super::plan::{
    Advance, Bounds, Comparator, Kind, Lacking, Metric, Path, Paths, Plan, Response, Stage,
    StageName, Trigger,
};
use crate::clock::millis;
use crate::name::Name;
use crate::schedule::{Accept, Fraction, Mode, Selector};

/// A plan that comes with the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// A canary, two steps, two days of soak.
    Standard,
    /// Five steps, more samples, a week of soak; a person ends the canary.
    Careful,
    /// From ready to full at once.
    Emergency,
    /// Two signatures for all before the new one stands alone.
    Migration,
    /// For keys that are seldom used: probes in the place of traffic.
    Quiet,
}

/// 2 995 samples without a failure bound a rate under 0.1 % at 95 %: ln(0.05) / ln(0.999).
const SAMPLES_FOR_A_THOUSANDTH: u64 = 2_995;

/// The first look at a version, which bounds a rate under 1 % at 95 %: ln(0.05) / ln(0.99).
const SAMPLES_FOR_A_HUNDREDTH: u64 = 299;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A millionth is the unit of thresholds.
const MILLION: u64 = 1_000_000;

impl Builtin {
    /// Every plan.
    pub const ALL: [Self; 5] =
        [Self::Standard, Self::Careful, Self::Emergency, Self::Migration, Self::Quiet];

    /// Its name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Careful => "careful",
            Self::Emergency => "emergency",
            Self::Migration => "migration",
            Self::Quiet => "quiet",
        }
    }

    /// The one of a name.
    #[must_use]
    pub fn named(name: &Name) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == name.as_str())
    }

    /// The plan itself.
    #[must_use]
    pub fn plan(self) -> Option<Plan> {
        let (kind, stages) = match self {
            Self::Standard => (Kind::Routine, standard()),
            Self::Careful => (Kind::Routine, careful()),
            Self::Emergency => (Kind::Emergency, emergency()),
            Self::Migration => (Kind::Routine, migration()),
            Self::Quiet => (Kind::Routine, quiet()),
        };
        // The code is a name; the test below holds it to that.
        let name = self.code().parse().ok()?;
        Some(Plan { name, kind, bounds: BOUNDS, stages })
    }
}

/// Verifiers that fetch every five minutes, artefacts that live a day, and a year of protecting.
const BOUNDS: Bounds = Bounds {
    propagation_ms: minutes(5),
    verifier_cache_ms: minutes(15),
    reprotect_ms: 0,
    artefact_life_ms: hours(24),
    safety_ms: minutes(10),
    quiet_ms: hours(1),
    cryptoperiod_ms: hours(366 * 24),
};

const fn minutes(n: u64) -> u64 {
    n * 60_000
}

const fn hours(n: u64) -> u64 {
    minutes(60 * n)
}

fn standard() -> Vec<Stage> {
    vec![
        publish(),
        ready(),
        partial(StageName::Canary, 10_000, 30 * MINUTE, SAMPLES_FOR_A_HUNDREDTH),
        partial(StageName::Ramp, 100_000, HOUR, SAMPLES_FOR_A_THOUSANDTH),
        partial(StageName::Ramp, 500_000, HOUR, SAMPLES_FOR_A_THOUSANDTH),
        whole(StageName::Full, 4 * HOUR),
        soak(2 * DAY),
        after(StageName::Retire, DAY),
        after(StageName::Destroy, Duration::ZERO),
    ]
}

fn careful() -> Vec<Stage> {
    let canary = partial(StageName::Canary, 1_000, 4 * HOUR, SAMPLES_FOR_A_THOUSANDTH);
    vec![
        publish(),
        ready(),
        Stage { advance: Advance::Person, ..canary },
        partial(StageName::Ramp, 10_000, 4 * HOUR, SAMPLES_FOR_A_THOUSANDTH),
        partial(StageName::Ramp, 100_000, 12 * HOUR, SAMPLES_FOR_A_THOUSANDTH),
        partial(StageName::Ramp, 250_000, 12 * HOUR, SAMPLES_FOR_A_THOUSANDTH),
        partial(StageName::Ramp, 500_000, DAY, SAMPLES_FOR_A_THOUSANDTH),
        whole(StageName::Full, DAY),
        soak(7 * DAY),
        after(StageName::Retire, 7 * DAY),
        after(StageName::Destroy, Duration::ZERO),
    ]
}

/// It waits for no clock before the new version protects, and still for every verifier.
fn emergency() -> Vec<Stage> {
    let at_once = |stage: Stage| Stage { min_ms: 0, ..stage };
    // There may be nothing left to go back to, so nobody is asked to try.
    let verified = |stage: Stage| Stage { exercised: Paths::NONE.with(Path::NewVerified), ..stage };
    vec![
        at_once(publish()),
        at_once(ready()),
        verified(whole(StageName::Full, HOUR)),
        verified(soak(2 * DAY)),
        after(StageName::Retire, DAY),
        after(StageName::Destroy, Duration::ZERO),
    ]
}

fn migration() -> Vec<Stage> {
    let both = |stage: Stage| Stage { mode: Mode::DualSign, ..stage };
    vec![
        publish(),
        ready(),
        both(partial(StageName::Canary, 10_000, HOUR, SAMPLES_FOR_A_HUNDREDTH)),
        both(partial(StageName::Ramp, 250_000, 4 * HOUR, SAMPLES_FOR_A_THOUSANDTH)),
        both(partial(StageName::Ramp, 1_000_000, 2 * DAY, SAMPLES_FOR_A_THOUSANDTH)),
        whole(StageName::Full, DAY),
        soak(7 * DAY),
        after(StageName::Retire, 7 * DAY),
        after(StageName::Destroy, Duration::ZERO),
    ]
}

/// Nobody may use or verify anything for days, so that only the service's own probes tell.
fn quiet() -> Vec<Stage> {
    let probe = Trigger { window_ms: millis(HOUR), stale_ms: millis(HOUR), ..probe() };
    let probed = |stage: Stage, exercised| Stage {
        exercised,
        triggers: vec![probe.clone()],
        // The first probe after a restart is waited for.
        on_no_data: Lacking::Wait,
        ..stage
    };
    let returns = Paths::NONE.with(Path::RollbackProbed);
    vec![
        publish(),
        ready(),
        probed(partial(StageName::Canary, 100_000, HOUR, SAMPLES_FOR_A_HUNDREDTH), Paths::NONE),
        probed(whole(StageName::Full, 4 * HOUR), returns),
        // Before the point of no return something of either version is verified, by hand if nobody else does.
        probed(soak(2 * DAY), returns.with(Path::OldVerified).with(Path::NewVerified)),
        after(StageName::Retire, DAY),
        after(StageName::Destroy, Duration::ZERO),
    ]
}

/// A stage in which nothing protects and nothing is waited for.
fn bare(name: StageName) -> Stage {
    Stage {
        name,
        fraction: Fraction::NONE,
        mode: Mode::PublishOnly,
        accept: Accept::AnyOf,
        selector: Selector::default(),
        min_ms: 0,
        max_ms: millis(30 * DAY),
        min_samples: 0,
        exercised: Paths::NONE,
        acknowledged: Fraction::NONE,
        triggers: Vec::new(),
        on_deadline: Response::Pause,
        on_no_data: Lacking::Pause,
        on_inconclusive: Lacking::Pause,
        advance: Advance::Automatic,
    }
}

fn publish() -> Stage {
    Stage { min_ms: BOUNDS.propagation_ms, ..bare(StageName::Publish) }
}

fn ready() -> Stage {
    let min_ms = BOUNDS.verifier_cache_ms + BOUNDS.safety_ms;
    Stage { min_ms, acknowledged: Fraction::WHOLE, ..bare(StageName::Ready) }
}

fn partial(name: StageName, ppm: u32, min: Duration, min_samples: u64) -> Stage {
    Stage {
        fraction: Fraction::from_ppm(ppm).unwrap_or_default(),
        mode: Mode::NewOnly,
        min_ms: millis(min),
        max_ms: millis(7 * DAY),
        min_samples,
        exercised: Paths::NONE.with(Path::NewVerified).with(Path::OldVerified),
        acknowledged: Fraction::WHOLE,
        triggers: triggers(),
        on_inconclusive: Lacking::Wait,
        ..bare(name)
    }
}

fn whole(name: StageName, min: Duration) -> Stage {
    Stage {
        fraction: Fraction::WHOLE,
        mode: Mode::NewOnly,
        min_ms: millis(min),
        exercised: Paths::NONE.with(Path::NewVerified).with(Path::RollbackProbed),
        triggers: triggers(),
        ..bare(name)
    }
}

/// The last stage with a way back: a person ends it.
fn soak(min: Duration) -> Stage {
    Stage { advance: Advance::Person, ..whole(StageName::Soak, min) }
}

fn after(name: StageName, min: Duration) -> Stage {
    Stage { min_ms: millis(min), max_ms: millis(365 * DAY), advance: Advance::Person, ..bare(name) }
}

fn trigger(metric: Metric, comparator: Comparator, threshold: u64, window: Duration) -> Trigger {
    Trigger {
        metric,
        comparator,
        threshold,
        window_ms: millis(window),
        short_window_ms: None,
        stale_ms: millis(5 * MINUTE),
        response: Response::RollBack,
        reporters: 0,
    }
}

fn probe() -> Trigger {
    trigger(Metric::ProbeFailures, Comparator::Above, 0, MINUTE)
}

fn triggers() -> Vec<Trigger> {
    // The burn rates of the SRE workbook, chapter 5, table 5-8: the fastest pair.
    let burn = trigger(Metric::BudgetBurn, Comparator::Above, 14 * MILLION + 400_000, HOUR);
    let failures = trigger(Metric::VerifyFailureRate, Comparator::Above, 1_000, MINUTE);
    let unknown = trigger(Metric::UnknownKeyRate, Comparator::Above, 1_000, MINUTE);
    vec![
        Trigger { reporters: 2, ..failures },
        Trigger { reporters: 2, response: Response::Pause, ..unknown },
        Trigger { short_window_ms: Some(millis(5 * MINUTE)), ..burn },
        probe(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;
    use crate::rollout::cause::Cause;
    use crate::rollout::check::{Rule, Subject};

    #[test]
    fn each_plan_passes_its_check_and_is_found_by_its_name() {
        for builtin in Builtin::ALL {
            let plan = builtin.plan().unwrap();
            assert_eq!(plan.check(), [], "{builtin:?}");
            assert_eq!(Builtin::named(&plan.name), Some(builtin));
            assert_eq!(cbor::decode(&cbor::encode(&plan), "plan"), Ok(plan));
        }
        assert_eq!(Builtin::named(&"other".parse().unwrap()), None);
    }

    #[test]
    fn a_migration_is_for_formats_that_hold_two_signatures_and_for_no_recovery() {
        let plan = Builtin::Migration.plan().unwrap();
        let rules = |purpose: &str, cause| {
            let purpose = purpose.parse().unwrap();
            let subject = Subject { purpose: &purpose, cause, remaining_ms: None };
            let findings = plan.check_for(&subject).into_iter().map(|finding| finding.rule);
            findings.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(rules("sign.dsse:text/plain", Cause::Migration), []);
        assert_eq!(rules("sign.jws-json:grant+jwt", Cause::Migration), []);
        assert_eq!(rules("sign.jws:at+jwt", Cause::Migration), [Rule::DualSigning]);
        assert_eq!(rules("encrypt.aead:card", Cause::Migration), [Rule::DualSigning]);
        assert_eq!(rules("mac.bound:webhook", Cause::Migration), [Rule::DualSigning]);
        assert_eq!(rules("sign.bound:a", Cause::Compromise), [Rule::DualInRecovery]);
    }

    #[test]
    fn a_quiet_rollout_asks_for_traffic_in_soak_alone() {
        let plan = Builtin::Quiet.plan().unwrap();
        let trial: Vec<_> = plan.stages.iter().filter(|stage| stage.name.is_trial()).collect();
        assert!(trial.iter().all(|stage| stage.counts_probes()));
        let asked = trial.iter().flat_map(|stage| &stage.triggers).map(|it| it.metric);
        assert!(
            asked.clone().count() > 0
                && asked.into_iter().all(|metric| metric == Metric::ProbeFailures)
        );
        let takes_traffic = |stage: &&Stage| stage.exercised.contains(Path::NewVerified);
        let names: Vec<_> =
            trial.into_iter().filter(takes_traffic).map(|stage| stage.name).collect();
        assert_eq!(names, [StageName::Soak]);
        assert!(!Builtin::Standard.plan().unwrap().stages[2].counts_probes());
    }

    #[test]
    fn an_emergency_waits_for_verifiers_and_not_for_clocks_before_it_protects() {
        let plan = Builtin::Emergency.plan().unwrap();
        assert_eq!((plan.shortest_ms(), plan.acknowledgement()), (0, Fraction::WHOLE));
    }
}
