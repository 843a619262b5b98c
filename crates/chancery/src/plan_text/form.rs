//! The form of a plan's text.

use chancery_core::limits::{PLAN_STAGES_MAX, STAGE_TRIGGERS_MAX};
use chancery_core::name::Name;
use chancery_core::rollout::{
    Advance, Bounds, Lacking, Metric, Path, Paths, Plan, Response, Stage, Trigger, Word,
};
use chancery_core::schedule::{Accept, Fraction, Mode, Selector};
use serde::Deserialize;
use toml::Spanned;

use super::spellings::{duration_ms, millionths};
use super::{Wrong, line_of};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PlanForm {
    name: Spanned<String>,
    kind: Spanned<String>,
    bounds: BoundsForm,
    stage: Vec<StageForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BoundsForm {
    propagation: Spanned<String>,
    verifier_cache: Spanned<String>,
    re_protect: Spanned<String>,
    artefact_life: Spanned<String>,
    safety: Spanned<String>,
    quiet: Spanned<String>,
    cryptoperiod: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StageForm {
    name: Spanned<String>,
    fraction: Option<Spanned<f64>>,
    mode: Option<Spanned<String>>,
    accept: Option<Spanned<String>>,
    #[serde(default)]
    environments: Vec<Spanned<String>>,
    #[serde(default)]
    regions: Vec<Spanned<String>>,
    #[serde(default)]
    services: Vec<Spanned<String>>,
    min: Spanned<String>,
    max: Spanned<String>,
    #[serde(default)]
    min_samples: u64,
    #[serde(default)]
    exercised: Vec<Spanned<String>>,
    acknowledged: Option<Spanned<f64>>,
    #[serde(default)]
    trigger: Vec<TriggerForm>,
    on_deadline: Option<Spanned<String>>,
    on_no_data: Option<Spanned<String>>,
    on_inconclusive: Option<Spanned<String>>,
    advance: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TriggerForm {
    metric: Spanned<String>,
    comparator: Spanned<String>,
    threshold: Spanned<f64>,
    window: Spanned<String>,
    short_window: Option<Spanned<String>>,
    stale: Spanned<String>,
    action: Spanned<String>,
    #[serde(default)]
    reporters: u16,
}

/// Reads a plan of the right form.
pub(super) fn read(text: &str) -> Result<Plan, Wrong> {
    let form: PlanForm = toml::from_str(text).map_err(|error| Wrong {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        what: error.message().replace('\n', "; "),
    })?;
    Reader { text }.plan(&form)
}

struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    fn plan(&self, form: &PlanForm) -> Result<Plan, Wrong> {
        let bounds = &form.bounds;
        if form.stage.len() > PLAN_STAGES_MAX {
            let what = format!("a plan has at most {PLAN_STAGES_MAX} stages");
            return Err(Wrong { line: line_of(self.text, form.name.span().start), what });
        }
        Ok(Plan {
            name: self.name(&form.name)?,
            kind: self.word(&form.kind)?,
            bounds: Bounds {
                propagation_ms: self.duration(&bounds.propagation)?,
                verifier_cache_ms: self.duration(&bounds.verifier_cache)?,
                reprotect_ms: self.duration(&bounds.re_protect)?,
                artefact_life_ms: self.duration(&bounds.artefact_life)?,
                safety_ms: self.duration(&bounds.safety)?,
                quiet_ms: self.duration(&bounds.quiet)?,
                cryptoperiod_ms: self.duration(&bounds.cryptoperiod)?,
            },
            stages: form.stage.iter().map(|stage| self.stage(stage)).collect::<Result<_, _>>()?,
        })
    }

    fn stage(&self, form: &StageForm) -> Result<Stage, Wrong> {
        if form.trigger.len() > STAGE_TRIGGERS_MAX {
            let what = format!("a stage has at most {STAGE_TRIGGERS_MAX} triggers");
            return Err(Wrong { line: line_of(self.text, form.name.span().start), what });
        }
        let exercised = form
            .exercised
            .iter()
            .try_fold(Paths::NONE, |paths, word| Ok(paths.with(self.word::<Path>(word)?)))?;
        Ok(Stage {
            name: self.word(&form.name)?,
            fraction: self.fraction(form.fraction.as_ref())?,
            mode: self.word_or(form.mode.as_ref(), Mode::PublishOnly)?,
            accept: self.word_or(form.accept.as_ref(), Accept::AnyOf)?,
            selector: Selector {
                environments: self.names(&form.environments)?,
                regions: self.names(&form.regions)?,
                services: self.names(&form.services)?,
            },
            min_ms: self.duration(&form.min)?,
            max_ms: self.duration(&form.max)?,
            min_samples: form.min_samples,
            exercised,
            acknowledged: self.fraction(form.acknowledged.as_ref())?,
            triggers: form.trigger.iter().map(|it| self.trigger(it)).collect::<Result<_, _>>()?,
            on_deadline: self.word_or(form.on_deadline.as_ref(), Response::Pause)?,
            on_no_data: self.word_or(form.on_no_data.as_ref(), Lacking::Pause)?,
            on_inconclusive: self.word_or(form.on_inconclusive.as_ref(), Lacking::Pause)?,
            advance: self.word_or(form.advance.as_ref(), Advance::Automatic)?,
        })
    }

    fn trigger(&self, form: &TriggerForm) -> Result<Trigger, Wrong> {
        let short_window = form.short_window.as_ref();
        let metric: Metric = self.word(&form.metric)?;
        let threshold = &form.threshold;
        let threshold =
            if metric.is_count() { self.count(threshold) } else { self.number(threshold) }?;
        Ok(Trigger {
            metric,
            comparator: self.word(&form.comparator)?,
            threshold,
            window_ms: self.duration(&form.window)?,
            short_window_ms: short_window.map(|text| self.duration(text)).transpose()?,
            stale_ms: self.duration(&form.stale)?,
            response: self.word(&form.action)?,
            reporters: form.reporters,
        })
    }

    fn at<T, V>(&self, value: &Spanned<V>, read: Result<T, String>) -> Result<T, Wrong> {
        read.map_err(|what| Wrong { line: line_of(self.text, value.span().start), what })
    }

    fn word<W: Word>(&self, text: &Spanned<String>) -> Result<W, Wrong> {
        self.at(text, W::of(text.get_ref()))
    }

    fn word_or<W: Word>(&self, text: Option<&Spanned<String>>, usual: W) -> Result<W, Wrong> {
        text.map_or(Ok(usual), |text| self.word(text))
    }

    fn duration(&self, text: &Spanned<String>) -> Result<u64, Wrong> {
        self.at(text, duration_ms(text.get_ref()))
    }

    fn name(&self, text: &Spanned<String>) -> Result<Name, Wrong> {
        let error = || "a name is 1 to 64 lower-case letters, digits, `-`, `_` or `.`".to_owned();
        self.at(text, text.get_ref().parse().map_err(|_| error()))
    }

    fn names(&self, texts: &[Spanned<String>]) -> Result<Vec<Name>, Wrong> {
        texts.iter().map(|text| self.name(text)).collect()
    }

    /// A number in millionths, out of its digits and not out of what floating point makes of them.
    fn number(&self, value: &Spanned<f64>) -> Result<u64, Wrong> {
        self.at(value, millionths(self.text.get(value.span()).unwrap_or_default()))
    }

    /// A plain count.
    fn count(&self, value: &Spanned<f64>) -> Result<u64, Wrong> {
        let (count, part) = (self.number(value)? / 1_000_000, self.number(value)? % 1_000_000);
        self.at(value, if part == 0 { Ok(count) } else { Err("a count is a whole number".into()) })
    }

    fn fraction(&self, value: Option<&Spanned<f64>>) -> Result<Fraction, Wrong> {
        let Some(value) = value else { return Ok(Fraction::NONE) };
        let ppm = u32::try_from(self.number(value)?).ok().and_then(Fraction::from_ppm);
        self.at(value, ppm.ok_or_else(|| "a fraction is from 0 to 1".to_owned()))
    }
}
