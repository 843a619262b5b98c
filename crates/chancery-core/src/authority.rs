//! Authority: tenants, principals, keys, revocations; and every decision about them.
//!
//! The state changes by [`Row`]s alone. A command is *decided* into the rows it would write; the shell
//! makes them durable; then they are [applied](Authority::apply). Nothing here is undone or repaired:
//! what is not durable was never applied.
//!
//! **Invariant:** revocations only grow, minimum epochs only rise, and a tenant's epoch rises with every
//! change of its authority.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::automatic::{RuleOf, RuleRow};
use crate::bundle::BundleRow;
use crate::campaign::Campaign;
use crate::census::Inventory;
use crate::epoch::Epoch;
use crate::handle::LinkId;
use crate::id::{KeyId, PrincipalId, ProposalId, TenantId};
use crate::key::Key;
use crate::name::Name;
use crate::posture::Posture;
use crate::principal::Principal;
use crate::proposal::Proposal;
use crate::rollout::StepRow;
use crate::sequencer::Mark;
use crate::verifier::VerifierRow;

mod automatic;
mod campaigns;
mod decide;
mod permit;
mod propose;
mod rollouts;
mod rotate;
mod verifiers;

pub use automatic::{DueRotation, Found, UseCounts};
use campaigns::Campaigns;
pub use decide::{Decided, DueDestruction, Effect, Fresh, Refusal};
pub use permit::{Permit, Routing, Use};
pub use rollouts::Moving;
use rollouts::Rollouts;

/// A tenant's own settings.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TenantRow {
    /// What names it.
    #[n(0)]
    pub id: TenantId,
    /// What people call it.
    #[n(1)]
    pub name: Name,
    /// How often its authority has changed.
    #[n(2)]
    pub epoch: Epoch,
    /// Handles issued before this epoch are void.
    #[n(3)]
    pub min_issue_epoch: Epoch,
    /// How many people besides the proposer approve what takes approvals. 0 is `solo`; it only rises.
    #[n(4)]
    pub approvals: u8,
}

impl TenantRow {
    /// The row under the next epoch.
    fn advanced(&self) -> Self {
        Self { epoch: self.epoch.next(), ..self.clone() }
    }
}

/// A revoked link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RevocationRow {
    /// In which tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// The link.
    #[n(1)]
    pub link: LinkId,
    /// The epoch by which it was revoked.
    #[n(2)]
    pub epoch: Epoch,
}

/// One unit of authority state, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Row {
    /// A tenant.
    #[n(1)]
    Tenant(#[n(0)] TenantRow),
    /// A principal.
    #[n(2)]
    Principal(#[n(0)] Principal),
    /// A key with its versions.
    #[n(3)]
    Key(#[n(0)] Key),
    /// A revoked link.
    #[n(4)]
    Revocation(#[n(0)] RevocationRow),
    /// The posture.
    #[n(5)]
    Posture(#[n(0)] Posture),
    /// A proposal.
    #[n(6)]
    Proposal(#[n(0)] Proposal),
    /// The latest rollout of a key.
    #[n(7)]
    Rollout(#[n(0)] Box<crate::rollout::Rollout>),
    /// A registered verifier.
    #[n(8)]
    Verifier(#[n(0)] VerifierRow),
    /// The latest trust bundle.
    #[n(9)]
    Bundle(#[n(0)] BundleRow),
    /// A rule of automatic rotation.
    #[n(10)]
    Rule(#[n(0)] Box<RuleRow>),
    /// An inventory of a key's ciphertexts.
    #[n(11)]
    Inventory(#[n(0)] Inventory),
    /// The latest campaign over an inventory.
    #[n(12)]
    Campaign(#[n(0)] Campaign),
    /// A step of the latest rollout of a key.
    #[n(13)]
    Step(#[n(0)] Box<StepRow>),
}

impl Row {
    /// The highest kind in a row's name: that of steps. What else is stored has higher ones.
    pub const KIND_MAX: u8 = StepRow::KIND;

    /// Whose row it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        match self {
            Self::Tenant(tenant) => tenant.id,
            Self::Principal(principal) => principal.tenant,
            Self::Key(key) => key.tenant,
            Self::Revocation(revocation) => revocation.tenant,
            Self::Posture(_) => TenantId::SYSTEM,
            Self::Proposal(proposal) => proposal.tenant,
            Self::Rollout(rollout) => rollout.tenant,
            Self::Verifier(verifier) => verifier.tenant,
            Self::Bundle(bundle) => bundle.tenant,
            Self::Rule(rule) => rule.tenant,
            Self::Step(step) => step.tenant,
            Self::Inventory(inventory) => inventory.tenant,
            Self::Campaign(campaign) => campaign.tenant,
        }
    }

    /// Its name in the store: tenant, kind, id. Ids of version 7 keep new rows together.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let of_inventory = |key: KeyId, name: &Name| {
            [key.as_bytes().as_slice(), name.as_str().as_bytes()].concat()
        };
        let (kind, id): (u8, Vec<u8>) = match self {
            Self::Tenant(_) => (1, Vec::new()),
            Self::Principal(principal) => (2, principal.id.as_bytes().to_vec()),
            Self::Key(key) => (3, key.id.as_bytes().to_vec()),
            Self::Revocation(revocation) => (4, revocation.link.0.to_vec()),
            Self::Posture(_) => (5, Vec::new()),
            Self::Proposal(proposal) => (6, vec![proposal.place]),
            // One for each key: that of the rollout before, which is over, is written again.
            Self::Rollout(rollout) => (7, rollout.key.as_bytes().to_vec()),
            Self::Verifier(verifier) => (8, verifier.principal.as_bytes().to_vec()),
            Self::Bundle(_) => (9, Vec::new()),
            Self::Rule(rule) => match &rule.of {
                RuleOf::Usage(usage) => (10, usage.name().as_bytes().to_vec()),
                RuleOf::Key(key) => (10, key.as_bytes().to_vec()),
            },
            Self::Inventory(inventory) => (11, of_inventory(inventory.key, &inventory.name)),
            // One for each inventory: that of the campaign before, which is over, is written again.
            Self::Campaign(campaign) => (12, of_inventory(campaign.key, &campaign.inventory)),
            Self::Step(step) => (StepRow::KIND, step.place().to_vec()),
        };
        [self.tenant().as_bytes().as_slice(), &[kind], &id].concat()
    }
}

/// A row cannot be applied to the state there is: what was stored contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored row contradicts the state before it")]
pub struct Contradiction;

#[derive(Clone, Debug)]
struct Tenant {
    row: TenantRow,
    mark: Mark,
    principals: BTreeMap<PrincipalId, Principal>,
    keys: BTreeMap<KeyId, Arc<Key>>,
    names: BTreeMap<Name, KeyId>,
    revoked: BTreeSet<LinkId>,
    /// By their places.
    proposals: BTreeMap<u8, Proposal>,
    rollouts: Rollouts,
    verifiers: BTreeMap<PrincipalId, VerifierRow>,
    bundle: Option<Arc<BundleRow>>,
    rules: BTreeMap<RuleOf, Arc<RuleRow>>,
    campaigns: Campaigns,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Authority {
    posture: Posture,
    tenants: BTreeMap<TenantId, Tenant>,
    homes: BTreeMap<PrincipalId, TenantId>,
}

impl Default for Authority {
    fn default() -> Self {
        Self { posture: Posture::SOLO, tenants: BTreeMap::new(), homes: BTreeMap::new() }
    }
}

impl Authority {
    /// Applies a row. Tenants come before what belongs to them.
    ///
    /// # Errors
    ///
    /// [`Contradiction`] if it belongs to no tenant, takes another key's name, goes back in epochs, approvals, bundles, stages
    /// of a rollout, scans, campaigns or what became of a proposal, or takes back what of a key stays for good.
    pub fn apply(&mut self, row: Row) -> Result<(), Contradiction> {
        match row {
            Row::Posture(posture) => self.posture = posture,
            Row::Tenant(row) => self.apply_tenant(row)?,
            Row::Principal(principal) => {
                self.homes.insert(principal.id, principal.tenant);
                self.tenant_mut(principal.tenant)?.apply_principal(principal)?;
            }
            Row::Key(key) => self.tenant_mut(key.tenant)?.apply_key(key)?,
            Row::Revocation(row) => {
                let tenant = self.tenant_mut(row.tenant)?;
                // Everything issued until then is void as a whole.
                if row.epoch > tenant.row.min_issue_epoch {
                    tenant.revoked.insert(row.link);
                }
            }
            Row::Proposal(proposal) => {
                self.tenant_mut(proposal.tenant)?.apply_proposal(proposal)?;
            }
            Row::Rollout(rollout) => self.tenant_mut(rollout.tenant)?.apply_rollout(*rollout)?,
            Row::Verifier(row) => {
                self.tenant_mut(row.tenant)?.verifiers.insert(row.principal, row);
            }
            Row::Bundle(row) => self.tenant_mut(row.tenant)?.apply_bundle(row)?,
            Row::Rule(row) => self.tenant_mut(row.tenant)?.apply_rule(*row)?,
            // It decides nothing, and whoever reads it takes it from the store.
            Row::Step(row) => self.tenant_mut(row.tenant)?.admit_step(&row)?,
            Row::Inventory(row) => self.tenant_mut(row.tenant)?.apply_inventory(row)?,
            Row::Campaign(row) => self.tenant_mut(row.tenant)?.apply_campaign(row)?,
        }
        Ok(())
    }

    fn apply_tenant(&mut self, row: TenantRow) -> Result<(), Contradiction> {
        let Some(tenant) = self.tenants.get_mut(&row.id) else {
            self.tenants.insert(row.id, Tenant::new(row));
            return Ok(());
        };
        let goes_back = row.epoch < tenant.row.epoch
            || row.min_issue_epoch < tenant.row.min_issue_epoch
            || row.approvals < tenant.row.approvals;
        if goes_back {
            return Err(Contradiction);
        }
        if row.min_issue_epoch > tenant.row.min_issue_epoch {
            // What was revoked one by one is void with the rest, and the set has room again.
            tenant.revoked.clear();
        }
        tenant.row = row;
        Ok(())
    }

    /// Moves a tenant's mark: what was decided before is decided again before it may leave.
    pub fn move_mark(&mut self, tenant: TenantId) -> Mark {
        let Some(tenant) = self.tenants.get_mut(&tenant) else { return Mark::default() };
        tenant.mark = tenant.mark.next();
        tenant.mark
    }

    /// The principal of that id.
    #[must_use]
    pub fn principal(&self, id: PrincipalId) -> Option<&Principal> {
        self.tenants.get(self.homes.get(&id)?)?.principals.get(&id)
    }

    /// The key of that name in a tenant.
    #[must_use]
    pub fn key_named(&self, tenant: TenantId, name: &Name) -> Option<&Arc<Key>> {
        let tenant = self.tenants.get(&tenant)?;
        tenant.keys.get(tenant.names.get(name)?)
    }

    /// The key of that id in a tenant.
    #[must_use]
    pub fn key(&self, tenant: TenantId, id: KeyId) -> Option<&Arc<Key>> {
        self.tenants.get(&tenant)?.keys.get(&id)
    }

    /// Keys of a tenant in the order of their names, those after `after`.
    pub fn keys_after<'a>(
        &'a self,
        tenant: TenantId,
        after: Option<&Name>,
    ) -> impl Iterator<Item = &'a Arc<Key>> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |name| Excluded(name.clone()));
        let tenant = self.tenants.get(&tenant);
        let names = tenant.into_iter().flat_map(move |t| t.names.range((from.clone(), Unbounded)));
        names.filter_map(move |(_, id)| tenant.and_then(|tenant| tenant.keys.get(id)))
    }

    /// A tenant's settings.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Option<&TenantRow> {
        self.tenants.get(&id).map(|tenant| &tenant.row)
    }

    /// A tenant's mark.
    #[must_use]
    pub fn mark(&self, id: TenantId) -> Mark {
        self.tenants.get(&id).map(|tenant| tenant.mark).unwrap_or_default()
    }

    /// Every principal.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.tenants.values().flat_map(|tenant| tenant.principals.values())
    }

    /// Every tenant's id.
    pub fn tenants(&self) -> impl Iterator<Item = TenantId> {
        self.tenants.keys().copied()
    }

    /// The most approvals that a tenant asks for; what concerns all tenants takes as many.
    #[must_use]
    pub fn approvals(&self) -> u8 {
        self.tenants.values().map(|tenant| tenant.row.approvals).max().unwrap_or_default()
    }

    /// A tenant's proposal.
    #[must_use]
    pub fn proposal(&self, tenant: TenantId, id: ProposalId) -> Option<&Proposal> {
        let mut proposals = self.tenants.get(&tenant)?.proposals.values();
        proposals.find(|proposal| proposal.id == id)
    }

    /// A tenant's proposals, in the order of their places.
    pub fn proposals(&self, tenant: TenantId) -> impl Iterator<Item = &Proposal> {
        self.tenants.get(&tenant).into_iter().flat_map(|tenant| tenant.proposals.values())
    }

    /// The posture.
    #[must_use]
    pub fn posture(&self) -> &Posture {
        &self.posture
    }

    /// How many keys there are in all.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.keys.len()).sum()
    }

    fn tenant_mut(&mut self, id: TenantId) -> Result<&mut Tenant, Contradiction> {
        self.tenants.get_mut(&id).ok_or(Contradiction)
    }
}

impl Tenant {
    fn new(row: TenantRow) -> Self {
        Self {
            row,
            mark: Mark::default(),
            principals: BTreeMap::new(),
            keys: BTreeMap::new(),
            names: BTreeMap::new(),
            revoked: BTreeSet::new(),
            proposals: BTreeMap::new(),
            rollouts: Rollouts::default(),
            verifiers: BTreeMap::new(),
            bundle: None,
            rules: BTreeMap::new(),
            campaigns: Campaigns::default(),
        }
    }

    fn apply_principal(&mut self, principal: Principal) -> Result<(), Contradiction> {
        let before = self.principals.get(&principal.id);
        if before.is_some_and(|before| principal.min_issue_epoch < before.min_issue_epoch) {
            return Err(Contradiction);
        }
        self.principals.insert(principal.id, principal);
        Ok(())
    }

    fn apply_key(&mut self, key: Key) -> Result<(), Contradiction> {
        let known = self.names.get(&key.name);
        if known.is_some_and(|id| *id != key.id) {
            return Err(Contradiction);
        }
        if let Some(before) = self.keys.get(&key.id) {
            let is_same = before.purpose == key.purpose
                && before.suite == key.suite
                && before.name == key.name;
            let goes_on = key.authority_epoch >= before.authority_epoch
                && key.min_issue_epoch >= before.min_issue_epoch
                && before.is_kept_by(&key);
            if !is_same || !goes_on {
                return Err(Contradiction);
            }
        }
        self.names.insert(key.name.clone(), key.id);
        self.keys.insert(key.id, Arc::new(key));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
