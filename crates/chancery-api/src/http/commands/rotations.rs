//! Rules of automatic rotation, in JSON.

use chancery_core::automatic::{Automatic, Rule, RuleFor};
use chancery_core::command::Command;
use chancery_core::name::Name;
use chancery_core::purpose::Usage;
use chancery_core::suite::Suite;
use serde::{Deserialize, Serialize};

use crate::http::HttpError;
use crate::http::fields::{object, object_if_any, text};
use crate::http::plan::PlanObject;

/// The body of [`Command::SetRule`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// The key that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub key: Option<Name>,
    /// Or the usage: of all keys that have no rule of their own.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub usage: Option<Usage>,
    /// What it says.
    pub rule: RuleWord,
    /// Under which conditions keys are rotated, of an `automatic` one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object_if_any")]
    pub automatic: Option<AutomaticObject>,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleWord {
    /// Nothing: of a key, that the rule of its usage holds.
    Unset,
    /// That there is no automatic rotation.
    Never,
    /// That there is.
    Automatic,
}

impl RuleWord {
    /// Every word.
    pub const ALL: [&'static str; 3] = ["unset", "never", "automatic"];
}

/// An [`Automatic`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutomaticObject {
    /// How long a version protects at most before a rollout begins, in milliseconds.
    pub every_ms: u64,
    /// Over how long before that the beginnings of many keys are spread, in milliseconds.
    pub spread_ms: u64,
    /// After how many uses of a version a rollout begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// Which algorithm versions have.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub algorithm: Option<Suite>,
    /// Whether versions that were brought in from outside are rotated away from.
    pub replaces_imported: bool,
    /// Whether a next version is published before it is needed.
    pub stands_by: bool,
    /// By which plan.
    #[serde(deserialize_with = "object")]
    pub plan: PlanObject,
}

impl From<&Automatic> for AutomaticObject {
    fn from(rule: &Automatic) -> Self {
        Self {
            every_ms: rule.every_ms,
            spread_ms: rule.spread_ms,
            uses: rule.uses,
            algorithm: rule.suite,
            replaces_imported: rule.replaces_imported,
            stands_by: rule.stands_by,
            plan: (&rule.plan).into(),
        }
    }
}

impl TryFrom<AutomaticObject> for Automatic {
    type Error = HttpError;

    fn try_from(object: AutomaticObject) -> Result<Self, HttpError> {
        Ok(Self {
            every_ms: object.every_ms,
            spread_ms: object.spread_ms,
            uses: object.uses,
            suite: object.algorithm,
            replaces_imported: object.replaces_imported,
            stands_by: object.stands_by,
            plan: object.plan.try_into()?,
        })
    }
}

/// A rule, as a word and what it says besides.
pub(crate) fn rule_words(rule: &Rule) -> (RuleWord, Option<AutomaticObject>) {
    match rule {
        Rule::Unset => (RuleWord::Unset, None),
        Rule::Never => (RuleWord::Never, None),
        Rule::Automatic(rule) => (RuleWord::Automatic, Some((&**rule).into())),
    }
}

pub(super) fn rule_body(rule_for: &RuleFor, rule: &Rule) -> RuleBody {
    let (key, usage) = match rule_for {
        RuleFor::Key(name) => (Some(name.clone()), None),
        RuleFor::Usage(usage) => (None, Some(*usage)),
    };
    let (rule, automatic) = rule_words(rule);
    RuleBody { key, usage, rule, automatic }
}

pub(super) fn set_rule(body: RuleBody) -> Result<Command, HttpError> {
    let rule_for = match (body.key, body.usage) {
        (Some(key), None) => RuleFor::Key(key),
        (None, Some(usage)) => RuleFor::Usage(usage),
        _ => return Err(HttpError::Malformed("a rule is of one `key` or of one `usage`")),
    };
    let rule = match (body.rule, body.automatic) {
        (RuleWord::Unset, None) => Rule::Unset,
        (RuleWord::Never, None) => Rule::Never,
        (RuleWord::Automatic, Some(rule)) => Rule::Automatic(Box::new(rule.try_into()?)),
        _ => {
            let detail = "`automatic` is there if `rule` is `automatic`, and not otherwise";
            return Err(HttpError::Malformed(detail));
        }
    };
    Ok(Command::SetRule { rule_for, rule })
}
