//! Registered verifiers in JSON.

use chancery_core::id::PrincipalId;
use chancery_core::name::Name;
use serde::{Deserialize, Serialize};

use super::EpochObject;
use crate::http::fields::text;
use crate::message::{HeardView, VerifierView};

/// A registered verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierObject {
    /// The principal that speaks for it.
    #[serde(with = "text")]
    pub principal: PrincipalId,
    /// The principal's name.
    #[serde(with = "text")]
    pub name: Name,
    /// The keys that it is registered for; all, if there are none.
    pub keys: Vec<String>,
    /// What it said last; absent if it has said nothing since the signer was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<HeardObject>,
}

/// What a verifier said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeardObject {
    /// The number of the bundle that it uses.
    pub bundle: EpochObject,
    /// The tenant's epoch which that shows.
    pub as_of: EpochObject,
    /// How long ago it said so, in milliseconds.
    pub ago_ms: u64,
    /// How many signatures it has accepted since it was started.
    pub verified: u64,
    /// How many it has refused.
    pub failed: u64,
    /// How many it could not judge.
    pub unknown: u64,
}

impl From<VerifierView> for VerifierObject {
    fn from(view: VerifierView) -> Self {
        Self {
            principal: view.principal,
            name: view.name,
            keys: view.keys.iter().map(ToString::to_string).collect(),
            heard: view.heard.map(HeardObject::from),
        }
    }
}

impl From<HeardView> for HeardObject {
    fn from(view: HeardView) -> Self {
        Self {
            bundle: view.bundle.into(),
            as_of: view.as_of.into(),
            ago_ms: view.ago_ms,
            verified: view.verified,
            failed: view.failed,
            unknown: view.unknown,
        }
    }
}
