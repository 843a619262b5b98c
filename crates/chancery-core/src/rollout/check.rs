//! The static check of a plan: everything that is wrong with it, before anybody approves it.
//!
//! Each finding names its rule and its place in the plan, so that a front end for a text form finds the line. The
//! engine starts no plan that has one. What a stage waits for by the bounds of the plan, the engine waits for by
//! itself as well ([`super::gate`]): a plan that lies about its stages gains nothing.

use std::fmt;

use super::cause::Cause;
use super::plan::{Advance, Kind, Metric, Path, Paths, Plan, Stage, StageName, Trigger};
use crate::clock::millis;
use crate::limits::{
    ACKNOWLEDGED_MIN_PPM, CANARY_MAX_PPM, PLAN_DURATION_MAX, PLAN_STAGES_MAX, REPORTERS_MIN,
    REPORTS_KEPT, STAGE_DURATION_MAX, STAGE_TRIGGERS_MAX, TRIGGER_WINDOW_MAX,
};
use crate::purpose::{Purpose, Usage};
use crate::schedule::{Accept, Fraction, Mode};

/// Where in a plan something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The stage, from 0; none is the plan itself.
    pub stage: Option<usize>,
    /// The trigger in it, from 0.
    pub trigger: Option<usize>,
    /// The field, as it is spelled in plans.
    pub field: &'static str,
}

impl Place {
    const fn plan(field: &'static str) -> Self {
        Self { stage: None, trigger: None, field }
    }

    const fn stage(stage: usize, field: &'static str) -> Self {
        Self { stage: Some(stage), trigger: None, field }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = self.stage {
            write!(f, "stage[{stage}].")?;
        }
        if let Some(trigger) = self.trigger {
            write!(f, "trigger[{trigger}].")?;
        }
        f.write_str(self.field)
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $advice:literal;)*) => {
        /// A rule that plans keep.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its stable name.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What is wrong and what to do.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

rules! {
    /// Fewer or more stages than a plan may have.
    StageCount = "stage-count", "a plan has 1 to 16 stages";
    /// The stages are not in their order, or one stands twice.
    StageOrder = "stage-order", "stages stand in the order publish, ready, canary, ramp (any number), full, soak, retire, destroy, each but ramp once";
    /// A stage that every plan has is missing.
    StageMissing = "stage-missing", "a plan has at least publish, ready, full, soak and retire";
    /// A new version begins with everybody.
    CanaryMissing = "canary-missing", "the first stage that protects is a canary of a tenth at most; only an emergency does without";
    /// A duration is out of its bounds.
    Duration = "duration", "a stage takes at least `min`, at most `max`, which is between 1 ms and 400 days; bounds are twenty years at most";
    /// The new version could protect before every verifier can have it.
    PublishWait = "publish-wait-too-short", "the stages before the new version protects take at least propagation, verifier cache and safety together";
    /// The old version could be retired while what it made lives.
    RetireWait = "retire-wait-too-short", "the stages from full until retire take at least re-protection, propagation, the longer of verifier cache and artefact life, and safety together";
    /// The old version could be retired while it is in use.
    QuietWindow = "quiet-window-missing", "say for how long nobody may have seen the old version before it is retired; at least as long as verifiers keep a bundle";
    /// Nothing is added for what a decision takes to become durable.
    Safety = "safety-missing", "say what waits are longer for safety; a step must become durable within that";
    /// The cryptoperiod ends before the new version protects.
    Cryptoperiod = "cryptoperiod-unmet", "from publication until full takes longer than the version may protect; shorten the stages or start earlier";
    /// Nothing stops a stage in which the new version protects.
    NoTrigger = "no-trigger", "each stage in which the new version protects has a trigger until retire";
    /// More triggers than a stage may have.
    TriggerCount = "trigger-count", "a stage has at most 8 triggers";
    /// A window, or the age of a verdict, makes no sense.
    TriggerWindow = "trigger-window", "a window is 1 ms to 30 days, of what verifiers report to an hour, and no longer than its stage may take; budget-burn alone has a short window, which is shorter; a verdict may be 1 ms old up to a stage's longest";
    /// A trigger compares with what never comes.
    Threshold = "threshold-never-met", "a rate is compared with less than 1 (0.01 is a hundredth), a budget burn with less than 1000";
    /// One verifier could cause a rollback.
    Reporters = "reporters-too-few", "what verifiers report takes at least 2 of them; what they do not report takes none";
    /// A stage asks for fewer verifiers than a plan may.
    Acknowledgement = "acknowledgement-too-low", "before the new version protects, at least nine of ten verifiers acknowledge it; going on with fewer is a named person's act";
    /// A later stage has a smaller share.
    FractionNotRising = "fraction-not-rising", "each stage that protects has a larger share than the one before, or another mode";
    /// A stage's share does not go with its name.
    FractionOfStage = "fraction-of-stage", "publish and ready have no share, a canary and a ramp some, full and soak the whole; from retire on there is none";
    /// A stage's mode does not go with its name.
    ModeOfStage = "mode-of-stage", "publish, ready, retire and destroy only publish; full and soak are new only; dual signing comes before them and never again";
    /// A stage that protects can pass without anything having happened.
    Samples = "samples-missing", "a canary and a ramp ask for at least one sample";
    /// The old version could be retired though the new one was never verified.
    Paths = "paths-missing", "before retire, the old and the new version are verified and a rollback is probed; an emergency asks for the new one alone";
    /// The engine could go past the point of no return by itself.
    AutomaticPastNoReturn = "automatic-past-no-return", "retire and destroy are entered by a person alone";
    /// A later stage means fewer.
    SelectorNarrows = "selector-narrows", "each selector covers the one before, full and soak are for everybody, and a list has at most 16 names";
    /// Verifiers would refuse what is alive.
    AllOfTooEarly = "all-of-too-early", "all-of comes after the whole was signed by both, for as long as what was signed by one lives; all of that in stages of dual signing";
    /// Verifiers would refuse what is signed next.
    AllOfThenSingle = "all-of-then-single", "after all-of comes a stage of dual signing and any-of, for as long as verifiers keep a bundle";
    /// The format holds one signature.
    DualSigning = "dual-signing-impossible", "the key's format holds one signature; take a plan without dual signing, or a format that holds several";
    /// Migration and recovery at once.
    DualInRecovery = "dual-in-recovery", "a version that is compromised or lost signs nothing beside another; recover first, migrate later";
}

/// A rule that a plan breaks, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// Which.
    pub rule: Rule,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.place, self.rule.advice(), self.rule.code())
    }
}

/// What a plan is to be carried out on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The key's purpose.
    pub purpose: &'a Purpose,
    /// Why it is carried out.
    pub cause: Cause,
    /// How long the version there is may protect yet, in milliseconds, if that is known.
    pub remaining_ms: Option<u64>,
}

/// The stages that no plan does without.
const REQUIRED: [StageName; 5] =
    [StageName::Publish, StageName::Ready, StageName::Full, StageName::Soak, StageName::Retire];

impl Plan {
    /// Everything that is wrong with the plan by itself, in the order of places.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.check_order(&mut findings);
        self.check_bounds(&mut findings);
        self.check_waits(&mut findings);
        self.check_accept(&mut findings);
        self.check_paths(&mut findings);
        for (at, stage) in self.stages.iter().take(PLAN_STAGES_MAX).enumerate() {
            check_stage(at, stage, &mut findings);
            check_gates(at, stage, self.kind, &mut findings);
            let pairs = stage.triggers.iter().take(STAGE_TRIGGERS_MAX).enumerate();
            pairs.for_each(|(of, trigger)| check_trigger((at, of), trigger, stage, &mut findings));
        }
        self.check_pairs(&mut findings);
        findings.sort_unstable();
        findings
    }

    /// Everything that is wrong with the plan, by itself and for a key.
    #[must_use]
    pub fn check_for(&self, subject: &Subject<'_>) -> Vec<Finding> {
        let mut findings = self.check();
        let is_dual = |stage: &Stage| stage.mode == Mode::DualSign;
        for (at, _) in self.stages.iter().enumerate().filter(|(_, stage)| is_dual(stage)) {
            let place = Place::stage(at, "mode");
            if !holds_two(subject.purpose) {
                findings.push(Finding { place, rule: Rule::DualSigning });
            }
            if subject.cause.is_recovery() {
                findings.push(Finding { place, rule: Rule::DualInRecovery });
            }
        }
        if subject.remaining_ms.is_some_and(|remaining| self.shortest_ms() > remaining) {
            let place = Place::plan("cryptoperiod");
            findings.push(Finding { place, rule: Rule::Cryptoperiod });
        }
        findings.sort_unstable();
        findings.dedup();
        findings
    }

    fn check_order(&self, findings: &mut Vec<Finding>) {
        let mut report = |place, rule| findings.push(Finding { place, rule });
        if self.stages.is_empty() || self.stages.len() > PLAN_STAGES_MAX {
            report(Place::plan("stage"), Rule::StageCount);
        }
        for (at, pair) in self.stages.windows(2).enumerate() {
            let [one, next] = pair else { continue };
            let repeats = one.name == next.name && one.name == StageName::Ramp;
            if one.name >= next.name && !repeats {
                report(Place::stage(at + 1, "name"), Rule::StageOrder);
            }
        }
        let has = |name: &StageName| self.stages.iter().any(|stage| stage.name == *name);
        if !REQUIRED.iter().all(has) {
            report(Place::plan("stage"), Rule::StageMissing);
        }
        let first = self.stages.iter().enumerate().find(|(_, stage)| stage.name.is_trial());
        let is_canary = |stage: &Stage| {
            stage.name == StageName::Canary && stage.fraction.ppm() <= CANARY_MAX_PPM
        };
        if let Some((at, stage)) = first
            && self.kind != Kind::Emergency
            && !is_canary(stage)
        {
            report(Place::stage(at, "fraction"), Rule::CanaryMissing);
        }
    }

    fn check_bounds(&self, findings: &mut Vec<Finding>) {
        let bounds = &self.bounds;
        let fields = [
            ("propagation", bounds.propagation_ms),
            ("verifier-cache", bounds.verifier_cache_ms),
            ("re-protect", bounds.reprotect_ms),
            ("artefact-life", bounds.artefact_life_ms),
            ("safety", bounds.safety_ms),
            ("quiet", bounds.quiet_ms),
            ("cryptoperiod", bounds.cryptoperiod_ms),
        ];
        let is_over = |ms: u64| ms > millis(PLAN_DURATION_MAX);
        for (field, _) in fields.into_iter().filter(|(_, ms)| is_over(*ms)) {
            findings.push(Finding { place: Place::plan(field), rule: Rule::Duration });
        }
        if bounds.quiet_ms == 0 || bounds.quiet_ms < bounds.verifier_cache_ms {
            findings.push(Finding { place: Place::plan("quiet"), rule: Rule::QuietWindow });
        }
        if bounds.safety_ms == 0 {
            findings.push(Finding { place: Place::plan("safety"), rule: Rule::Safety });
        }
        if self.shortest_ms() > bounds.cryptoperiod_ms {
            let place = Place::plan("cryptoperiod");
            findings.push(Finding { place, rule: Rule::Cryptoperiod });
        }
    }

    fn check_waits(&self, findings: &mut Vec<Finding>) {
        let mut report = |at, rule| {
            findings.push(Finding { place: Place::stage(at, "min"), rule });
        };
        let first = self.stages.iter().position(|stage| stage.name.is_trial());
        if let Some(at) = first
            && self.kind != Kind::Emergency
            && self.wait_ms(0, at) < self.bounds.publication_ms()
        {
            report(at.saturating_sub(1), Rule::PublishWait);
        }
        let full = self.stages.iter().position(|stage| stage.name == StageName::Full);
        let retire = self.stages.iter().position(|stage| stage.name == StageName::Retire);
        if let (Some(full), Some(retire)) = (full, retire)
            && self.wait_ms(full, retire) < self.bounds.retirement_ms()
        {
            report(retire.saturating_sub(1), Rule::RetireWait);
        }
    }

    /// The shortest time from the start of one stage to that of another.
    fn wait_ms(&self, from: usize, to: usize) -> u64 {
        let between = self.stages.get(from..to).unwrap_or_default();
        between.iter().fold(0, |sum, stage| sum.saturating_add(stage.min_ms))
    }

    fn check_accept(&self, findings: &mut Vec<Finding>) {
        let is_both = |stage: &Stage| {
            stage.mode == Mode::DualSign
                && stage.fraction == Fraction::WHOLE
                && stage.selector.is_everybody()
        };
        let any_of = |stage: &&Stage| is_both(stage) && stage.accept == Accept::AnyOf;
        for (at, stage) in self.stages.iter().enumerate() {
            if stage.accept == Accept::AnyOf {
                continue;
            }
            let place = Place::stage(at, "accept");
            let before = self.stages.iter().take(at).rev().take_while(any_of);
            let signed_ms = before.fold(0, |sum: u64, stage| sum.saturating_add(stage.min_ms));
            if !is_both(stage) || signed_ms < self.bounds.retirement_ms() {
                findings.push(Finding { place, rule: Rule::AllOfTooEarly });
            }
            let after = self.stages.iter().skip(at + 1).take_while(any_of);
            let told_ms = after.fold(0, |sum: u64, stage| sum.saturating_add(stage.min_ms));
            if told_ms < self.bounds.publication_ms() {
                findings.push(Finding { place, rule: Rule::AllOfThenSingle });
            }
        }
    }

    fn check_paths(&self, findings: &mut Vec<Finding>) {
        let trials = self.stages.iter().filter(|stage| stage.name.is_trial());
        let gone = trials.fold(Paths::NONE, |paths, stage| paths.union(stage.exercised));
        let asked = match self.kind {
            Kind::Emergency => Paths::NONE.with(Path::NewVerified),
            Kind::Routine => Paths::ALL,
        };
        if !asked.without(gone).is_empty() {
            findings.push(Finding { place: Place::plan("exercised"), rule: Rule::Paths });
        }
        if self.acknowledgement().ppm() < ACKNOWLEDGED_MIN_PPM {
            let place = Place::plan("acknowledged");
            findings.push(Finding { place, rule: Rule::Acknowledgement });
        }
    }

    fn check_pairs(&self, findings: &mut Vec<Finding>) {
        for (at, pair) in self.stages.windows(2).enumerate().take(PLAN_STAGES_MAX) {
            let [one, next] = pair else { continue };
            let mut report = |field, rule| {
                findings.push(Finding { place: Place::stage(at + 1, field), rule });
            };
            if next.name >= StageName::Retire {
                if one.advance != Advance::Person {
                    let place = Place::stage(at, "advance");
                    findings.push(Finding { place, rule: Rule::AutomaticPastNoReturn });
                }
                continue;
            }
            let is_trial = next.name.is_trial();
            let grows = next.fraction > one.fraction
                || next.fraction == one.fraction
                    && (next.mode != one.mode
                        || next.accept != one.accept
                        || next.name >= StageName::Full
                        || !one.selector.covers(&next.selector));
            if is_trial && !grows {
                report("fraction", Rule::FractionNotRising);
            }
            if one.mode == Mode::NewOnly && next.mode != Mode::NewOnly {
                report("mode", Rule::ModeOfStage);
            }
            if one.name.is_trial() && !next.selector.covers(&one.selector) {
                report("selector", Rule::SelectorNarrows);
            }
        }
    }
}

fn check_stage(at: usize, stage: &Stage, findings: &mut Vec<Finding>) {
    let mut report = |field, rule| findings.push(Finding { place: Place::stage(at, field), rule });
    let name = stage.name;
    let is_whole = stage.fraction == Fraction::WHOLE;
    let is_partial = matches!(name, StageName::Canary | StageName::Ramp);
    let fraction_fits = match name {
        StageName::Canary | StageName::Ramp => stage.fraction > Fraction::NONE,
        StageName::Full | StageName::Soak => is_whole,
        _ => stage.fraction == Fraction::NONE,
    };
    if !fraction_fits {
        report("fraction", Rule::FractionOfStage);
    }
    let mode_fits = match name {
        StageName::Canary | StageName::Ramp => stage.mode != Mode::PublishOnly,
        StageName::Full | StageName::Soak => stage.mode == Mode::NewOnly,
        _ => stage.mode == Mode::PublishOnly,
    };
    if !mode_fits {
        report("mode", Rule::ModeOfStage);
    }
    if !stage.selector.is_within_bounds() || !is_partial && !stage.selector.is_everybody() {
        report("selector", Rule::SelectorNarrows);
    }
    let longest = millis(STAGE_DURATION_MAX);
    if stage.max_ms == 0 || stage.max_ms > longest || stage.min_ms > stage.max_ms {
        report("max", Rule::Duration);
    }
}

fn check_gates(at: usize, stage: &Stage, kind: Kind, findings: &mut Vec<Finding>) {
    let mut report = |field, rule| findings.push(Finding { place: Place::stage(at, field), rule });
    if stage.name.is_trial() && stage.triggers.is_empty() {
        report("trigger", Rule::NoTrigger);
    }
    if stage.triggers.len() > STAGE_TRIGGERS_MAX {
        report("trigger", Rule::TriggerCount);
    }
    let is_partial = matches!(stage.name, StageName::Canary | StageName::Ramp);
    if is_partial && stage.min_samples == 0 && kind != Kind::Emergency {
        report("min-samples", Rule::Samples);
    }
}

fn check_trigger(
    (at, of): (usize, usize),
    trigger: &Trigger,
    stage: &Stage,
    findings: &mut Vec<Finding>,
) {
    let mut report = |field, rule| {
        let place = Place { stage: Some(at), trigger: Some(of), field };
        findings.push(Finding { place, rule });
    };
    let kept = if trigger.metric.is_reported() { REPORTS_KEPT } else { TRIGGER_WINDOW_MAX };
    let longest = millis(kept).min(stage.max_ms);
    let has_short = trigger.metric == Metric::BudgetBurn;
    let is_shorter = |short: u64| has_short && short > 0 && short < trigger.window_ms;
    if !(1..=longest).contains(&trigger.window_ms)
        || !trigger.short_window_ms.is_none_or(is_shorter)
    {
        report("window", Rule::TriggerWindow);
    }
    if !(1..=stage.max_ms).contains(&trigger.stale_ms) {
        report("stale", Rule::TriggerWindow);
    }
    if trigger.metric.never_reached().is_some_and(|never| trigger.threshold >= never) {
        report("threshold", Rule::Threshold);
    }
    let fits = if trigger.metric.is_reported() {
        trigger.reporters >= REPORTERS_MIN
    } else {
        trigger.reporters == 0
    };
    if !fits {
        report("reporters", Rule::Reporters);
    }
}

/// Whether an output of this purpose holds two signatures.
#[must_use]
pub fn holds_two(purpose: &Purpose) -> bool {
    purpose.usage() == Usage::Sign && purpose.format().holds_two()
}

#[cfg(test)]
mod tests;
