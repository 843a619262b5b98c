//! Plans of rollouts, in JSON: as the core has them, durations in milliseconds and fractions in millionths.

use chancery_core::name::Name;
use chancery_core::rollout::{
    Advance, Bounds, Comparator, Kind, Lacking, Metric, Path, Paths, Plan, Response, Stage,
    StageName, Trigger, Word,
};
use chancery_core::schedule::{Accept, Fraction, Mode, Selector};
use serde::{Deserialize, Serialize};

use crate::http::HttpError;
use crate::http::fields::{object, objects, text, word};

/// A [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanObject {
    /// What people call it.
    #[serde(with = "text")]
    pub name: Name,
    /// `routine` or `emergency`.
    #[serde(with = "word")]
    pub kind: Kind,
    /// What it cannot make shorter.
    #[serde(deserialize_with = "object")]
    pub bounds: BoundsObject,
    /// The stages, in order.
    #[serde(deserialize_with = "objects")]
    pub stages: Vec<StageObject>,
}

/// [`Bounds`], in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundsObject {
    /// P.
    pub propagation_ms: u64,
    /// C.
    pub verifier_cache_ms: u64,
    /// R.
    pub reprotect_ms: u64,
    /// L.
    pub artefact_life_ms: u64,
    /// S.
    pub safety_ms: u64,
    /// How long nobody may have seen anything of the old version.
    pub quiet_ms: u64,
    /// How long a version protects.
    pub cryptoperiod_ms: u64,
}

/// A [`Stage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageObject {
    /// Which.
    #[serde(with = "word")]
    pub name: StageName,
    /// For how many the new version protects, in millionths.
    pub fraction_ppm: u32,
    /// What it does there.
    #[serde(with = "word")]
    pub mode: Mode,
    /// What verifiers ask of two signatures.
    #[serde(with = "word")]
    pub accept: Accept,
    /// Where: environments; everywhere if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// Regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The shortest that it takes.
    pub min_ms: u64,
    /// The longest that it may take.
    pub max_ms: u64,
    /// How many answers of the new version there must have been.
    pub min_samples: u64,
    /// Which paths must have been gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exercised: Vec<String>,
    /// Which part of the registered verifiers must have acknowledged the new version, in millionths.
    pub acknowledged_ppm: u32,
    /// What stops it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "objects")]
    pub triggers: Vec<TriggerObject>,
    /// What happens when it has taken too long.
    #[serde(with = "word")]
    pub on_deadline: Response,
    /// What happens when there is no verdict.
    #[serde(with = "word")]
    pub on_no_data: Lacking,
    /// What happens when the analysis cannot tell.
    #[serde(with = "word")]
    pub on_inconclusive: Lacking,
    /// Who ends it.
    #[serde(with = "word")]
    pub advance: Advance,
}

/// A [`Trigger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerObject {
    /// What it looks at.
    #[serde(with = "word")]
    pub metric: Metric,
    /// How that is compared.
    #[serde(with = "word")]
    pub comparator: Comparator,
    /// With what, in millionths of a rate or a ratio, or as a plain count.
    pub threshold: u64,
    /// Over how long.
    pub window_ms: u64,
    /// And over how long at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_window_ms: Option<u64>,
    /// How old a verdict may be.
    pub stale_ms: u64,
    /// What it does.
    #[serde(with = "word")]
    pub action: Response,
    /// How many verifiers must have reported it.
    pub reporters: u16,
}

impl From<&Plan> for PlanObject {
    fn from(plan: &Plan) -> Self {
        Self {
            name: plan.name.clone(),
            kind: plan.kind,
            bounds: plan.bounds.into(),
            stages: plan.stages.iter().map(StageObject::from).collect(),
        }
    }
}

impl From<Bounds> for BoundsObject {
    fn from(bounds: Bounds) -> Self {
        Self {
            propagation_ms: bounds.propagation_ms,
            verifier_cache_ms: bounds.verifier_cache_ms,
            reprotect_ms: bounds.reprotect_ms,
            artefact_life_ms: bounds.artefact_life_ms,
            safety_ms: bounds.safety_ms,
            quiet_ms: bounds.quiet_ms,
            cryptoperiod_ms: bounds.cryptoperiod_ms,
        }
    }
}

impl From<BoundsObject> for Bounds {
    fn from(bounds: BoundsObject) -> Self {
        Self {
            propagation_ms: bounds.propagation_ms,
            verifier_cache_ms: bounds.verifier_cache_ms,
            reprotect_ms: bounds.reprotect_ms,
            artefact_life_ms: bounds.artefact_life_ms,
            safety_ms: bounds.safety_ms,
            quiet_ms: bounds.quiet_ms,
            cryptoperiod_ms: bounds.cryptoperiod_ms,
        }
    }
}

impl From<&Stage> for StageObject {
    fn from(stage: &Stage) -> Self {
        let texts = |names: &[Name]| names.iter().map(ToString::to_string).collect();
        Self {
            name: stage.name,
            fraction_ppm: stage.fraction.ppm(),
            mode: stage.mode,
            accept: stage.accept,
            environments: texts(&stage.selector.environments),
            regions: texts(&stage.selector.regions),
            services: texts(&stage.selector.services),
            min_ms: stage.min_ms,
            max_ms: stage.max_ms,
            min_samples: stage.min_samples,
            exercised: stage.exercised.iter().map(|path| path.spelt().into()).collect(),
            acknowledged_ppm: stage.acknowledged.ppm(),
            triggers: stage.triggers.iter().map(TriggerObject::from).collect(),
            on_deadline: stage.on_deadline,
            on_no_data: stage.on_no_data,
            on_inconclusive: stage.on_inconclusive,
            advance: stage.advance,
        }
    }
}

impl From<&Trigger> for TriggerObject {
    fn from(trigger: &Trigger) -> Self {
        Self {
            metric: trigger.metric,
            comparator: trigger.comparator,
            threshold: trigger.threshold,
            window_ms: trigger.window_ms,
            short_window_ms: trigger.short_window_ms,
            stale_ms: trigger.stale_ms,
            action: trigger.response,
            reporters: trigger.reporters,
        }
    }
}

impl From<TriggerObject> for Trigger {
    fn from(trigger: TriggerObject) -> Self {
        Self {
            metric: trigger.metric,
            comparator: trigger.comparator,
            threshold: trigger.threshold,
            window_ms: trigger.window_ms,
            short_window_ms: trigger.short_window_ms,
            stale_ms: trigger.stale_ms,
            response: trigger.action,
            reporters: trigger.reporters,
        }
    }
}

impl TryFrom<PlanObject> for Plan {
    type Error = HttpError;

    fn try_from(plan: PlanObject) -> Result<Self, HttpError> {
        let stages = plan.stages.into_iter().map(Stage::try_from);
        Ok(Self {
            name: plan.name,
            kind: plan.kind,
            bounds: plan.bounds.into(),
            stages: stages.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<StageObject> for Stage {
    type Error = HttpError;

    fn try_from(stage: StageObject) -> Result<Self, HttpError> {
        Ok(Self {
            name: stage.name,
            fraction: fraction(stage.fraction_ppm)?,
            mode: stage.mode,
            accept: stage.accept,
            selector: Selector {
                environments: names(&stage.environments)?,
                regions: names(&stage.regions)?,
                services: names(&stage.services)?,
            },
            min_ms: stage.min_ms,
            max_ms: stage.max_ms,
            min_samples: stage.min_samples,
            exercised: paths(&stage.exercised)?,
            acknowledged: fraction(stage.acknowledged_ppm)?,
            triggers: stage.triggers.into_iter().map(Trigger::from).collect(),
            on_deadline: stage.on_deadline,
            on_no_data: stage.on_no_data,
            on_inconclusive: stage.on_inconclusive,
            advance: stage.advance,
        })
    }
}

fn fraction(ppm: u32) -> Result<Fraction, HttpError> {
    let error = HttpError::Malformed("a fraction has at most 1 000 000 parts per million");
    Fraction::from_ppm(ppm).ok_or(error)
}

fn names(texts: &[String]) -> Result<Vec<Name>, HttpError> {
    let error = HttpError::Malformed("a stage selects by lists of names");
    texts.iter().map(|text| text.parse().map_err(|_| error)).collect()
}

/// Each once, in their order: what is signed has one spelling.
fn paths(words: &[String]) -> Result<Paths, HttpError> {
    let error = HttpError::Malformed("`exercised` names paths that there are, each once, in order");
    let paths = words.iter().map(|text| Path::of(text)).collect::<Result<Vec<_>, _>>();
    let paths = paths.map_err(|_| error)?;
    let set = paths.iter().fold(Paths::NONE, |set, path| set.with(*path));
    if set.iter().eq(paths) { Ok(set) } else { Err(error) }
}
