//! Inventories and campaigns in JSON: what is declared, and what is ordered.

use chancery_core::campaign::{CampaignOrder, Progress};
use chancery_core::census::{Declaration, Found, Scan, VersionCount, Vouched};
use chancery_core::command::Command;
use chancery_core::epoch::Epoch;
use chancery_core::id::CampaignId;
use chancery_core::name::Name;
use serde::{Deserialize, Serialize};

use super::EmptyBody;
use crate::http::fields::{object, objects, spelt, text};
use crate::http::replies::EpochObject;
use crate::http::routes::{self, CampaignKind};
use crate::http::{HttpError, parse, render};

spelt!(vouched: Vouched, vouched_name, vouched_of);

fn vouched_name(vouched: Vouched) -> &'static str {
    vouched.code()
}

fn vouched_of(name: &str) -> Option<Vouched> {
    Vouched::ALL.into_iter().find(|vouched| vouched.code() == name)
}

/// The body of [`Command::DeclareInventory`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclareInventoryBody {
    /// What people call the place.
    #[serde(with = "text")]
    pub inventory: Name,
    /// What was found there.
    pub found: FoundObject,
}

/// What was found in an inventory: `{"scan": …}`, or the word `withdrawn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FoundObject {
    /// It was scanned.
    Scan(#[serde(deserialize_with = "object")] ScanObject),
    /// It is no more.
    Withdrawn,
}

/// A [`Scan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanObject {
    /// The tenant's epoch when it began.
    #[serde(deserialize_with = "object")]
    pub as_of: EpochObject,
    /// By version, in the order of their numbers.
    #[serde(deserialize_with = "objects")]
    pub counts: Vec<VersionCountObject>,
    /// How many things there are that are no ciphertexts of the key.
    pub others: u64,
    /// What its owner says besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<VouchedWord>,
}

/// The word for a [`Vouched`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VouchedWord(#[serde(with = "vouched")] pub Vouched);

/// A [`VersionCount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionCountObject {
    /// The version.
    pub version: u32,
    /// How many ciphertexts name it.
    pub ciphertexts: u64,
    /// How often it was used until the scan began.
    pub uses: u64,
}

/// The body that begins a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartCampaignBody {
    /// The key.
    #[serde(with = "text")]
    pub key: Name,
    /// The inventory.
    #[serde(with = "text")]
    pub inventory: Name,
}

/// How far a campaign is, or came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignProgressBody {
    /// How many ciphertexts there are.
    pub total: u64,
    /// How many are under the version that protects.
    pub done: u64,
    /// How many could not be encrypted again.
    pub failed: u64,
}

impl From<&Scan> for ScanObject {
    fn from(scan: &Scan) -> Self {
        let count = |&VersionCount { version, ciphertexts, uses }: &_| VersionCountObject {
            version,
            ciphertexts,
            uses,
        };
        Self {
            as_of: scan.as_of.into(),
            counts: scan.counts.iter().map(count).collect(),
            others: scan.others,
            vouched: scan.vouched.map(VouchedWord),
        }
    }
}

impl From<ScanObject> for Scan {
    fn from(object: ScanObject) -> Self {
        let count = |VersionCountObject { version, ciphertexts, uses }| VersionCount {
            version,
            ciphertexts,
            uses,
        };
        Self {
            as_of: Epoch { generation: object.as_of.generation, number: object.as_of.number },
            counts: object.counts.into_iter().map(count).collect(),
            others: object.others,
            vouched: object.vouched.map(|word| word.0),
        }
    }
}

impl From<Progress> for CampaignProgressBody {
    fn from(Progress { total, done, failed }: Progress) -> Self {
        Self { total, done, failed }
    }
}

impl From<CampaignProgressBody> for Progress {
    fn from(CampaignProgressBody { total, done, failed }: CampaignProgressBody) -> Self {
        Self { total, done, failed }
    }
}

impl From<&Found> for FoundObject {
    fn from(found: &Found) -> Self {
        match found {
            Found::Scanned(scan) => Self::Scan(scan.into()),
            Found::Withdrawn => Self::Withdrawn,
        }
    }
}

pub(super) fn declare_body(declaration: &Declaration) -> DeclareInventoryBody {
    DeclareInventoryBody {
        inventory: declaration.inventory.clone(),
        found: FoundObject::from(&declaration.found),
    }
}

pub(super) fn declare(key: Name, body: DeclareInventoryBody) -> Command {
    let found = match body.found {
        FoundObject::Scan(scan) => Found::Scanned(scan.into()),
        FoundObject::Withdrawn => Found::Withdrawn,
    };
    Command::DeclareInventory(Declaration { key, inventory: body.inventory, found })
}

pub(super) fn order_body(order: &CampaignOrder) -> Vec<u8> {
    match order {
        CampaignOrder::Start { key, inventory } => {
            render(&StartCampaignBody { key: key.clone(), inventory: inventory.clone() })
        }
        CampaignOrder::Pause(_) | CampaignOrder::Resume(_) => render(&EmptyBody {}),
        CampaignOrder::End { progress, .. } => render(&CampaignProgressBody::from(*progress)),
    }
}

pub(super) fn order(
    found: routes::Found<'_>,
    kind: CampaignKind,
    body: &[u8],
) -> Result<Command, HttpError> {
    let plain = |body| parse(body).map(|EmptyBody {}| ());
    Ok(Command::OrderCampaign(match kind {
        CampaignKind::Start => {
            let StartCampaignBody { key, inventory } = parse(body)?;
            CampaignOrder::Start { key, inventory }
        }
        CampaignKind::Pause => {
            plain(body)?;
            CampaignOrder::Pause(campaign_in(found)?)
        }
        CampaignKind::Resume => {
            plain(body)?;
            CampaignOrder::Resume(campaign_in(found)?)
        }
        CampaignKind::End => {
            let progress: CampaignProgressBody = parse(body)?;
            CampaignOrder::End { campaign: campaign_in(found)?, progress: progress.into() }
        }
    }))
}

pub(super) fn report(
    found: routes::Found<'_>,
    body: CampaignProgressBody,
) -> Result<Command, HttpError> {
    Ok(Command::ReportCampaign { campaign: campaign_in(found)?, progress: body.into() })
}

fn campaign_in(found: routes::Found<'_>) -> Result<CampaignId, HttpError> {
    let error =
        HttpError::Malformed("the path names a campaign by a UUID in lower case with hyphens");
    found.variable.parse().map_err(|_| error)
}
