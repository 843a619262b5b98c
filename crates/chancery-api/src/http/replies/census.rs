//! What is known of the ciphertexts of keys, in JSON.

use chancery_core::campaign::{CampaignState, CampaignView};
use chancery_core::census::Inventory;
use chancery_core::id::{CampaignId, KeyId, PrincipalId, RolloutId};
use chancery_core::name::Name;
use chancery_core::state::KeyState;
use serde::{Deserialize, Serialize};

use super::{EpochObject, state};
use crate::http::commands::ScanObject;
use crate::http::fields::{spelt, text};
use crate::message::{CensusPage, CensusView, VersionUse};

spelt!(campaign_state: CampaignState, campaign_state_name, campaign_state_of);

fn campaign_state_name(state: CampaignState) -> &'static str {
    state.code()
}

fn campaign_state_of(name: &str) -> Option<CampaignState> {
    CampaignState::ALL.into_iter().find(|state| state.code() == name)
}

/// A [`CensusPage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CensusObject {
    /// The tenant's epoch, under which a scan begins that follows.
    pub as_of: EpochObject,
    /// The keys, in the order of their names.
    pub keys: Vec<KeyCensusObject>,
    /// Whether another page follows.
    pub more: bool,
}

/// A [`CensusView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCensusObject {
    /// The key, as ciphertexts name it.
    #[serde(with = "text")]
    pub id: KeyId,
    /// Its name.
    #[serde(with = "text")]
    pub key: Name,
    /// Its versions, in the order of their numbers.
    pub versions: Vec<VersionUseObject>,
    /// The version that protects for everybody; absent while two do, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// The rollout that moves it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub rollout: Option<RolloutId>,
    /// The version that the rollout retires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<u32>,
    /// How many ciphertexts of that are left; absent if nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// Its inventories, in the order of their names.
    pub inventories: Vec<InventoryObject>,
    /// The latest campaign over each.
    pub campaigns: Vec<CampaignObject>,
}

/// A [`VersionUse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionUseObject {
    /// The version.
    pub version: u32,
    /// Its state.
    #[serde(with = "state")]
    pub state: KeyState,
    /// Which part of all consumers it protects for, in parts per million.
    pub share_ppm: u32,
    /// How often it was used.
    pub uses: u64,
}

/// An [`Inventory`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryObject {
    /// What people call the place.
    #[serde(with = "text")]
    pub inventory: Name,
    /// What was found there; absent of one that was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<ScanObject>,
    /// When that was declared, in milliseconds since 1970.
    pub declared_ms: u64,
    /// By whom.
    #[serde(with = "text")]
    pub by: PrincipalId,
}

/// A [`CampaignView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignObject {
    /// What names it.
    #[serde(with = "text")]
    pub id: CampaignId,
    /// The key's name.
    #[serde(with = "text")]
    pub key: Name,
    /// The inventory.
    #[serde(with = "text")]
    pub inventory: Name,
    /// How it stands.
    #[serde(with = "campaign_state")]
    pub state: CampaignState,
    /// How many ciphertexts there are.
    pub total: u64,
    /// How many are under the version that protects.
    pub done: u64,
    /// How many could not be encrypted again.
    pub failed: u64,
    /// The version that protects for everybody now; absent while two do, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// Who began it.
    #[serde(with = "text")]
    pub by: PrincipalId,
    /// When, in milliseconds since 1970.
    pub began_ms: u64,
    /// Who brought it into its state.
    #[serde(with = "text")]
    pub moved_by: PrincipalId,
    /// When, in milliseconds since 1970.
    pub moved_ms: u64,
    /// How long ago somebody who works on it was heard, in milliseconds; absent if nobody was since the signer's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ago_ms: Option<u64>,
    /// How many were done in a second of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u64>,
}

impl From<CensusPage> for CensusObject {
    fn from(page: CensusPage) -> Self {
        Self {
            as_of: page.as_of.into(),
            keys: page.keys.into_iter().map(KeyCensusObject::from).collect(),
            more: page.more,
        }
    }
}

impl From<CensusView> for KeyCensusObject {
    fn from(view: CensusView) -> Self {
        Self {
            id: view.id,
            key: view.key,
            versions: view.versions.into_iter().map(VersionUseObject::from).collect(),
            target: view.target,
            rollout: view.rollout,
            leaving: view.leaving,
            remaining: view.remaining,
            inventories: view.inventories.iter().map(InventoryObject::from).collect(),
            campaigns: view.campaigns.into_iter().map(CampaignObject::from).collect(),
        }
    }
}

impl From<VersionUse> for VersionUseObject {
    fn from(VersionUse { version, state, share, uses }: VersionUse) -> Self {
        Self { version, state, share_ppm: share.ppm(), uses }
    }
}

impl From<&Inventory> for InventoryObject {
    fn from(inventory: &Inventory) -> Self {
        Self {
            inventory: inventory.name.clone(),
            scan: inventory.scan().map(ScanObject::from),
            declared_ms: inventory.declared_ms,
            by: inventory.by,
        }
    }
}

impl From<CampaignView> for CampaignObject {
    fn from(view: CampaignView) -> Self {
        let campaign = view.campaign;
        Self {
            id: campaign.id,
            key: view.key,
            inventory: campaign.inventory,
            state: campaign.state,
            total: campaign.progress.total,
            done: campaign.progress.done,
            failed: campaign.progress.failed,
            target: view.target,
            by: campaign.by,
            began_ms: campaign.began_ms,
            moved_by: campaign.moved_by,
            moved_ms: campaign.moved_ms,
            heard_ago_ms: view.heard_ago_ms,
            per_second: view.per_second,
        }
    }
}
