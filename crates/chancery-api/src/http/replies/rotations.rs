//! What is said of keys' rotation, in JSON.

use chancery_core::automatic::{RotationView, RuleOf, RuleRow};
use chancery_core::id::PrincipalId;
use chancery_core::name::Name;
use chancery_core::purpose::Usage;
use serde::{Deserialize, Serialize};

use crate::http::commands::{AutomaticObject, RuleWord, rule_words};
use crate::http::fields::{object_if_any, text};

/// A page of keys, with what rules say of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationsObject {
    /// The rules of usages, on the first page.
    pub rules: Vec<UsageRuleObject>,
    /// The keys, in the order of their names.
    pub keys: Vec<KeyRotationObject>,
    /// Whether another page follows.
    pub more: bool,
}

/// The rule of a usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageRuleObject {
    /// The usage.
    #[serde(with = "text")]
    pub usage: Usage,
    /// What it says.
    pub rule: RuleWord,
    /// Under which conditions keys are rotated.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object_if_any")]
    pub automatic: Option<AutomaticObject>,
    /// Who said so.
    #[serde(with = "text")]
    pub by: PrincipalId,
    /// Since when, in milliseconds for which the service had run.
    pub since_served_ms: u64,
}

/// A [`RotationView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotationObject {
    /// The key.
    #[serde(with = "text")]
    pub key: Name,
    /// The version that protects by schedule.
    pub version: u32,
    /// Whose rule holds: `key` or `usage`; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_of: Option<String>,
    /// How long it is until a rollout is due by age, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// The version that stands by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<u32>,
    /// Why nothing begins: `under-way`, `went-back`, `nothing-protects` or `too-many-halted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

impl RotationsObject {
    /// A page as it was answered.
    pub(super) fn of(rules: &[RuleRow], keys: Vec<RotationView>, more: bool) -> Self {
        let rules = rules.iter().filter_map(UsageRuleObject::of).collect();
        Self { rules, keys: keys.into_iter().map(KeyRotationObject::from).collect(), more }
    }
}

impl UsageRuleObject {
    /// Nothing for the rule of one key, of which no page tells.
    fn of(row: &RuleRow) -> Option<Self> {
        let RuleOf::Usage(usage) = row.of else { return None };
        let (rule, automatic) = rule_words(&row.rule);
        Some(Self { usage, rule, automatic, by: row.by, since_served_ms: row.since.as_ms() })
    }
}

impl From<RotationView> for KeyRotationObject {
    fn from(view: RotationView) -> Self {
        let rule_of = view.rule.map(|of| match of {
            RuleOf::Key(_) => "key".to_owned(),
            RuleOf::Usage(_) => "usage".to_owned(),
        });
        Self {
            key: view.key,
            version: view.version,
            rule_of,
            left_ms: view.left_ms,
            standby: view.standby,
            held: view.held.map(|held| held.code().to_owned()),
        }
    }
}
