//! Where ciphertexts lie, and the campaigns that encrypt them again.

use std::collections::BTreeMap;

use super::{Authority, Contradiction, Decided, Effect, Refusal, Row, Tenant};
use crate::campaign::{Campaign, CampaignOrder, CampaignState, CampaignView, Progress};
use crate::census::{Declaration, Found, Inventory, Leaving, Scan, remaining};
use crate::clock::Reading;
use crate::command::Answer;
use crate::id::{CampaignId, KeyId, TenantId};
use crate::key::Key;
use crate::limits::{INVENTORIES_MAX, KEY_INVENTORIES_MAX};
use crate::name::Name;
use crate::principal::Principal;
use crate::purpose::Usage;
use crate::reason::Reason;
use crate::rollout::Rollout;

/// The inventories of a tenant, and the latest campaign over each.
#[derive(Clone, Debug, Default)]
pub(super) struct Campaigns {
    inventories: BTreeMap<KeyId, BTreeMap<Name, Inventory>>,
    latest: BTreeMap<KeyId, BTreeMap<Name, Campaign>>,
    places: BTreeMap<CampaignId, (KeyId, Name)>,
}

impl Campaigns {
    fn inventory(&self, key: KeyId, name: &Name) -> Option<&Inventory> {
        self.inventories.get(&key)?.get(name)
    }

    fn campaign(&self, key: KeyId, inventory: &Name) -> Option<&Campaign> {
        self.latest.get(&key)?.get(inventory)
    }

    /// Whether one more inventory of a key can be remembered.
    fn has_room(&self, key: KeyId) -> bool {
        let of_key = self.inventories.get(&key).map_or(0, BTreeMap::len);
        let in_all: usize = self.inventories.values().map(BTreeMap::len).sum();
        of_key < KEY_INVENTORIES_MAX && in_all < INVENTORIES_MAX
    }
}

impl Authority {
    /// The inventories of a key, in the order of their names, those that were withdrawn too.
    pub fn inventories(&self, tenant: TenantId, key: KeyId) -> impl Iterator<Item = &Inventory> {
        let tenant = self.tenants.get(&tenant);
        let of_key = tenant.and_then(|tenant| tenant.campaigns.inventories.get(&key));
        of_key.into_iter().flat_map(BTreeMap::values)
    }

    /// The latest campaign over each inventory of a key, in the order of the inventories' names.
    pub fn campaigns(&self, tenant: TenantId, key: KeyId) -> impl Iterator<Item = &Campaign> {
        let tenant = self.tenants.get(&tenant);
        let of_key = tenant.and_then(|tenant| tenant.campaigns.latest.get(&key));
        of_key.into_iter().flat_map(BTreeMap::values)
    }

    /// Every campaign that is not over.
    pub fn campaigns_under_way(&self) -> impl Iterator<Item = &Campaign> {
        let of_keys = self.tenants.values().flat_map(|tenant| tenant.campaigns.latest.values());
        of_keys.flat_map(BTreeMap::values).filter(|campaign| !campaign.state.is_over())
    }

    /// How many ciphertexts are left of the version that a rollout retires, which was used so often; nothing if nobody
    /// knows.
    #[must_use]
    pub fn remaining(&self, rollout: &Rollout, uses: u64) -> Option<u64> {
        let leaving = Leaving { version: rollout.from, since: rollout.alone_epoch?, uses };
        remaining(self.inventories(rollout.tenant, rollout.key), leaving)
    }

    /// What people are shown of a campaign that is the latest of its inventory.
    #[must_use]
    pub fn campaign(&self, tenant: TenantId, id: CampaignId) -> Option<CampaignView> {
        let tenant = self.tenants.get(&tenant)?;
        let (campaign, key) = tenant.campaign(id).ok()?;
        Some(view(campaign, key))
    }
}

impl Tenant {
    pub(super) fn apply_inventory(&mut self, row: Inventory) -> Result<(), Contradiction> {
        let before = self.campaigns.inventory(row.key, &row.name);
        let goes_on = before.is_none_or(|before| row.follows(before));
        if !goes_on || !self.keys.contains_key(&row.key) {
            return Err(Contradiction);
        }
        self.campaigns.inventories.entry(row.key).or_default().insert(row.name.clone(), row);
        Ok(())
    }

    pub(super) fn apply_campaign(&mut self, row: Campaign) -> Result<(), Contradiction> {
        let place = (row.key, row.inventory.clone());
        let before = self.campaigns.campaign(place.0, &place.1);
        let goes_on = before.is_none_or(|before| row.follows(before));
        if !goes_on || self.campaigns.inventory(place.0, &place.1).is_none() {
            return Err(Contradiction);
        }
        if let Some(before) = before.map(|before| before.id) {
            self.campaigns.places.remove(&before);
        }
        self.campaigns.places.insert(row.id, place.clone());
        self.campaigns.latest.entry(place.0).or_default().insert(place.1, row);
        Ok(())
    }

    pub(super) fn declare_inventory(
        &self,
        by: &Principal,
        declaration: &Declaration,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let key = self.encrypting(&declaration.key)?;
        let before = self.campaigns.inventory(key.id, &declaration.inventory);
        match &declaration.found {
            Found::Scanned(scan) => {
                self.check_scan(scan, key)?;
                if before.is_none() && !self.campaigns.has_room(key.id) {
                    return Err(no_room());
                }
            }
            Found::Withdrawn => self.check_withdrawal(key, &declaration.inventory)?,
        }
        let row = self.advanced();
        let inventory = Inventory {
            tenant: self.row.id,
            key: key.id,
            name: declaration.inventory.clone(),
            found: declaration.found.clone(),
            declared_ms: now.unix_ms,
            by: by.id,
            epoch: row.epoch,
        };
        if before.is_some_and(|before| !inventory.follows(before)) {
            let detail = "a later scan of the inventory is declared already; scan it again";
            return Err(Refusal::new(Reason::IllegalTransition, detail));
        }
        Ok(Decided {
            rows: vec![Row::Tenant(row), Row::Inventory(inventory)],
            effect: Effect::Recorded,
            answer: Answer::Done,
            key: Some((key.id, key.scheduled)),
            handle: None,
            step: None,
        })
    }

    fn check_scan(&self, scan: &Scan, key: &Key) -> Result<(), Refusal> {
        if !scan.is_well_formed() {
            let detail = "a scan counts each version once, in the order of their numbers, and calls a place empty only \
                          if it found nothing";
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        if scan.as_of > self.row.epoch {
            let detail = "a scan began in the past; read the census before it, which says what time is served";
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        if scan.counts.iter().any(|count| key.version(count.version).is_none()) {
            return Err(Refusal::new(Reason::Malformed, "a scan counts versions that the key has"));
        }
        Ok(())
    }

    fn check_withdrawal(&self, key: &Key, inventory: &Name) -> Result<(), Refusal> {
        self.scan_of(key, inventory)?;
        match self.campaigns.campaign(key.id, inventory) {
            Some(campaign) if !campaign.state.is_over() => {
                let detail = format!("campaign {} works on it; let that end first", campaign.id);
                Err(Refusal::new(Reason::IllegalTransition, detail))
            }
            _ => Ok(()),
        }
    }

    fn scan_of(&self, key: &Key, inventory: &Name) -> Result<&Scan, Refusal> {
        let scan = self.campaigns.inventory(key.id, inventory).and_then(Inventory::scan);
        scan.ok_or_else(|| {
            let detail = format!(
                "no inventory `{inventory}` of the key is declared; scan one with `chancery census`"
            );
            Refusal::new(Reason::Forbidden, detail)
        })
    }

    pub(super) fn order_campaign(
        &self,
        by: &Principal,
        order: &CampaignOrder,
        fresh: CampaignId,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let row = self.advanced();
        let begun = |key: &Key, inventory: &Name, progress| Campaign {
            id: fresh,
            tenant: self.row.id,
            key: key.id,
            inventory: inventory.clone(),
            state: CampaignState::Running,
            progress,
            by: by.id,
            began_ms: now.unix_ms,
            moved_by: by.id,
            moved_ms: now.unix_ms,
            epoch: row.epoch,
        };
        let (before, state, progress, key) = match order {
            CampaignOrder::Start { key, inventory } => {
                let (key, progress) = self.check_start(key, inventory)?;
                (begun(key, inventory, progress), CampaignState::Running, progress, key)
            }
            CampaignOrder::Pause(id) => {
                let (before, key) = self.campaign_that(*id, CampaignState::Running)?;
                (before.clone(), CampaignState::Paused, before.progress, key)
            }
            CampaignOrder::Resume(id) => {
                let (before, key) = self.campaign_that(*id, CampaignState::Paused)?;
                (before.clone(), CampaignState::Running, before.progress, key)
            }
            CampaignOrder::End { campaign, progress } => {
                check_progress(*progress)?;
                let (before, key) = self.campaign_that(*campaign, CampaignState::Running)?;
                (before.clone(), ended(*progress), *progress, key)
            }
        };
        let (moved_by, moved_ms, epoch) = (by.id, now.unix_ms, row.epoch);
        let next = Campaign { state, progress, moved_by, moved_ms, epoch, ..before };
        Ok(Decided {
            answer: Answer::Campaign(Box::new(view(&next, key))),
            rows: vec![Row::Tenant(row), Row::Campaign(next)],
            effect: Effect::Recorded,
            key: Some((key.id, key.scheduled)),
            handle: None,
            step: None,
        })
    }

    /// The key of a new campaign, and how many ciphertexts its inventory holds.
    fn check_start(&self, key: &Name, inventory: &Name) -> Result<(&Key, Progress), Refusal> {
        let key = self.encrypting(key)?;
        let scan = self.scan_of(key, inventory)?;
        let before = self.campaigns.campaign(key.id, inventory);
        if let Some(campaign) = before.filter(|it| !it.state.is_over()) {
            let detail = format!("campaign {} is {} already", campaign.id, campaign.state.code());
            return Err(Refusal::new(Reason::IllegalTransition, detail));
        }
        if key.protects_for_all().is_none() {
            let detail = "no version of the key protects for everybody now; a rollout that brings one in is to be at its \
                          stage `full` first";
            return Err(Refusal::new(Reason::IllegalTransition, detail));
        }
        Ok((key, Progress { total: scan.total(), ..Progress::default() }))
    }

    fn campaign(&self, id: CampaignId) -> Result<(&Campaign, &Key), Refusal> {
        let campaign = self.campaigns.places.get(&id);
        let campaign = campaign.and_then(|(key, name)| self.campaigns.campaign(*key, name));
        let found = campaign.and_then(|it| Some((it, &**self.keys.get(&it.key)?)));
        found.ok_or_else(|| Refusal::new(Reason::Forbidden, format!("there is no campaign `{id}`")))
    }

    fn campaign_that(
        &self,
        id: CampaignId,
        stands: CampaignState,
    ) -> Result<(&Campaign, &Key), Refusal> {
        let (campaign, key) = self.campaign(id)?;
        if campaign.state == stands {
            return Ok((campaign, key));
        }
        let detail = format!("the campaign is {}", campaign.state.code());
        Err(Refusal::new(Reason::IllegalTransition, detail))
    }

    /// Whether somebody may say how far a campaign is; that it is over or paused, they are told.
    pub(super) fn admit_progress(
        &self,
        id: CampaignId,
        progress: Progress,
    ) -> Result<Decided, Refusal> {
        check_progress(progress)?;
        let (campaign, key) = self.campaign(id)?;
        Ok(Decided::read(Answer::Campaign(Box::new(view(campaign, key)))))
    }

    /// A key that encrypts.
    fn encrypting(&self, name: &Name) -> Result<&Key, Refusal> {
        let key = self.named(name)?;
        if matches!(key.purpose.usage(), Usage::Encrypt | Usage::Wrap) {
            return Ok(key);
        }
        let detail = format!("a key of purpose `{}` leaves no ciphertexts", key.purpose);
        Err(Refusal::new(Reason::PurposeRefused, detail))
    }
}

fn no_room() -> Refusal {
    let detail = format!(
        "a key has at most {KEY_INVENTORIES_MAX} inventories, and a tenant {INVENTORIES_MAX}; what was withdrawn keeps its \
         place, and its name can be declared again"
    );
    Refusal::new(Reason::QuotaExhausted, detail)
}

/// How a campaign ends that came so far.
fn ended(progress: Progress) -> CampaignState {
    if progress.done == progress.total { CampaignState::Done } else { CampaignState::Incomplete }
}

fn check_progress(progress: Progress) -> Result<(), Refusal> {
    if progress.is_well_formed() {
        return Ok(());
    }
    let detail = "no more ciphertexts are done and failed than there are";
    Err(Refusal::new(Reason::Malformed, detail))
}

fn view(campaign: &Campaign, key: &Key) -> CampaignView {
    CampaignView {
        key: key.name.clone(),
        campaign: campaign.clone(),
        target: key.protects_for_all(),
        heard_ago_ms: None,
        per_second: None,
    }
}
