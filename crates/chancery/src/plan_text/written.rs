//! A plan as text. What is as usual is not written.

use std::fmt::Write as _;

use chancery_core::name::Name;
use chancery_core::rollout::{Advance, Lacking, Plan, Response, Stage, Trigger, Word};
use chancery_core::schedule::{Accept, Fraction, Mode};

use super::spellings::{duration_text, millionths_text};

/// The text of a plan, which reads as that plan.
pub(crate) fn text(plan: &Plan) -> String {
    let bounds = &plan.bounds;
    let mut out = Lines::default();
    out.quoted("name", plan.name.as_str());
    out.quoted("kind", plan.kind.spelt());
    out.header("[bounds]");
    for (name, ms) in [
        ("propagation", bounds.propagation_ms),
        ("verifier-cache", bounds.verifier_cache_ms),
        ("re-protect", bounds.reprotect_ms),
        ("artefact-life", bounds.artefact_life_ms),
        ("safety", bounds.safety_ms),
        ("quiet", bounds.quiet_ms),
        ("cryptoperiod", bounds.cryptoperiod_ms),
    ] {
        out.quoted(name, &duration_text(ms));
    }
    for stage in &plan.stages {
        out.header("[[stage]]");
        stage_text(&mut out, stage);
        for trigger in &stage.triggers {
            out.header("[[stage.trigger]]");
            trigger_text(&mut out, trigger);
        }
    }
    out.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn header(&mut self, header: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "\n{header}");
    }

    fn bare(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name} = {value}");
    }

    /// No value of a plan holds a quote or a backslash: they are words, names and durations.
    fn quoted(&mut self, name: &str, value: &str) {
        self.bare(name, &format!("\"{value}\""));
    }

    fn word<W: Word>(&mut self, name: &str, word: W, usual: W) {
        if word != usual {
            self.quoted(name, word.spelt());
        }
    }

    fn fraction(&mut self, name: &str, fraction: Fraction) {
        if fraction != Fraction::NONE {
            self.bare(name, &millionths_text(fraction.ppm().into()));
        }
    }

    fn list<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        let values: Vec<_> = values.map(|value| format!("\"{value}\"")).collect();
        if !values.is_empty() {
            self.bare(name, &format!("[{}]", values.join(", ")));
        }
    }
}

fn stage_text(out: &mut Lines, stage: &Stage) {
    out.quoted("name", stage.name.spelt());
    out.fraction("fraction", stage.fraction);
    out.word("mode", stage.mode, Mode::PublishOnly);
    out.word("accept", stage.accept, Accept::AnyOf);
    out.list("environments", stage.selector.environments.iter().map(Name::as_str));
    out.list("regions", stage.selector.regions.iter().map(Name::as_str));
    out.list("services", stage.selector.services.iter().map(Name::as_str));
    out.quoted("min", &duration_text(stage.min_ms));
    out.quoted("max", &duration_text(stage.max_ms));
    if stage.min_samples > 0 {
        out.bare("min-samples", &stage.min_samples.to_string());
    }
    out.list("exercised", stage.exercised.iter().map(Word::spelt));
    out.fraction("acknowledged", stage.acknowledged);
    out.word("on-deadline", stage.on_deadline, Response::Pause);
    out.word("on-no-data", stage.on_no_data, Lacking::Pause);
    out.word("on-inconclusive", stage.on_inconclusive, Lacking::Pause);
    out.word("advance", stage.advance, Advance::Automatic);
}

fn trigger_text(out: &mut Lines, trigger: &Trigger) {
    out.quoted("metric", trigger.metric.spelt());
    out.quoted("comparator", trigger.comparator.spelt());
    let threshold = trigger.threshold;
    let is_count = trigger.metric.is_count();
    let threshold = if is_count { format!("{threshold}.0") } else { millionths_text(threshold) };
    out.bare("threshold", &threshold);
    out.quoted("window", &duration_text(trigger.window_ms));
    if let Some(short) = trigger.short_window_ms {
        out.quoted("short-window", &duration_text(short));
    }
    out.quoted("stale", &duration_text(trigger.stale_ms));
    out.quoted("action", trigger.response.spelt());
    if trigger.reporters > 0 {
        out.bare("reporters", &trigger.reporters.to_string());
    }
}
