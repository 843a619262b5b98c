//! What a command would change, and what it is answered.

use super::{Authority, RevocationRow, Row, Tenant, TenantRow};
use crate::clock::{Reading, Served, millis};
use crate::command::{
    Answer, CensusQuery, Command, LIST_PAGE, NewHandle, NewKey, PRUNE_LOCATION_BYTES_MAX,
    QUERY_RECORDS_MAX,
};
use crate::epoch::Epoch;
use crate::handle::{Caveat, LinkId, Operation, Operations, Root};
use crate::id::{
    CampaignId, HandleId, KeyId, NodeId, PrincipalId, ProposalId, RolloutId, TenantId,
};
use crate::key::{Key, KeyVersion, Provenance, Published, VersionError};
use crate::limits::{CAVEATS_MAX, DESTRUCTION_DELAY, HANDLE_TTL_MAX, KEYS_MAX, REVOCATIONS_MAX};
use crate::name::Name;
use crate::posture::RawSigning;
use crate::principal::{Principal, Role};
use crate::purpose::Format;
use crate::reason::Reason;
use crate::rollout::{Sight, Taken};
use crate::state::{KeyEvent, KeyState};

/// A command is refused: the code, and what its principal is told besides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The code.
    pub reason: Reason,
    /// What was wrong and what to do, without secrets.
    pub detail: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<VersionError> for Refusal {
    fn from(error: VersionError) -> Self {
        Self::new(Reason::IllegalTransition, error.to_string())
    }
}

/// What the shell hands in: the core draws no randomness, makes no keys, and does not know where it runs.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The node, which counts the uses of a new handle.
    pub node: NodeId,
    /// For a new key.
    pub key: KeyId,
    /// For a new handle.
    pub handle: HandleId,
    /// For a new principal.
    pub principal: PrincipalId,
    /// For a new proposal.
    pub proposal: ProposalId,
    /// For a new rollout.
    pub rollout: RolloutId,
    /// For a new campaign.
    pub campaign: CampaignId,
    /// The digest of the new rollout's plan; zeros where there is none.
    pub plan_digest: [u8; 32],
    /// The public half of new material, as SubjectPublicKeyInfo in DER; empty where there is none.
    pub public: Vec<u8>,
}

/// A version whose scheduled destruction is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueDestruction {
    /// Whose.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: u32,
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At its commit, as a barrier: it only takes authority away.
    Reduction,
    /// Likewise; but what it takes from one version it gives to another, so that no journal takes it in the store's place.
    Barrier,
    /// When its record is durable.
    Recorded,
    /// Never: it changes nothing.
    None,
}

/// A decided command.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What is written, all in one transaction.
    pub rows: Vec<Row>,
    /// When that takes effect.
    pub effect: Effect,
    /// What the principal is answered, once the record is durable.
    pub answer: Answer,
    /// The key that the record names.
    pub key: Option<(KeyId, u32)>,
    /// For a new handle: what to mint, and how to narrow it.
    pub handle: Option<(Root, Vec<Caveat>)>,
    /// Of a rollout: the step that it takes, which the shell gives its place and stores with the rows.
    pub step: Option<Box<Taken>>,
}

impl Decided {
    pub(super) fn read(answer: Answer) -> Self {
        let (rows, effect) = (Vec::new(), Effect::None);
        Self { rows, effect, answer, key: None, handle: None, step: None }
    }
}

impl Authority {
    /// Whether a principal's role includes the command at all. Asked before anything costly is done for it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if not.
    pub fn admit(&self, principal: &Principal, command: &Command) -> Result<(), Refusal> {
        if principal.role.may(command.right()) {
            return Ok(());
        }
        let role = principal.role.name();
        Err(Refusal::new(Reason::Forbidden, format!("the role `{role}` does not include this")))
    }

    /// Checks what a new key is to be, before its material is made.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if the name is taken, or purpose, algorithm and posture do not go together.
    pub fn check_new_key(&self, principal: &Principal, new: &NewKey) -> Result<(), Refusal> {
        let tenant = self.home(principal)?;
        if tenant.names.contains_key(&new.name) {
            return Err(Refusal::new(
                Reason::NameTaken,
                format!("there is a key `{}` already", new.name),
            ));
        }
        if tenant.keys.len() >= KEYS_MAX {
            return Err(Refusal::new(
                Reason::QuotaExhausted,
                "the tenant has as many keys as it may",
            ));
        }
        let admitted = new.purpose.admits(new.suite);
        admitted.map_err(|error| Refusal::new(Reason::PurposeRefused, error.to_string()))?;
        if new.purpose.format() == Format::Raw && self.posture.raw == RawSigning::Refused {
            let detail = "posture does not name `sign.raw`; take `sign.bound`, which binds the message by its digest";
            return Err(Refusal::new(Reason::PurposeRefused, detail));
        }
        Ok(())
    }

    /// Decides a command.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; then nothing changes.
    pub fn decide(
        &self,
        principal: &Principal,
        command: &Command,
        fresh: Fresh,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        self.admit(principal, command)?;
        self.home(principal)?.check_alone(command)?;
        self.decide_alone(principal, command, fresh, now)
    }

    /// Decides a command that takes nobody else, or has their approval.
    pub(super) fn decide_alone(
        &self,
        principal: &Principal,
        command: &Command,
        fresh: Fresh,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let tenant = self.home(principal)?;
        match command {
            Command::CreateKey(new) => {
                self.check_new_key(principal, new)?;
                Ok(tenant.create_key(new, Provenance::Generated, fresh, now))
            }
            Command::ImportKey { new, .. } => {
                self.check_new_key(principal, new)?;
                Ok(tenant.create_key(new, Provenance::Imported, fresh, now))
            }
            Command::ChangeVersion { key, version, event } => tenant.change(key, *version, *event),
            Command::ScheduleDestruction { key, version } => {
                let due = now.served.plus_ms(millis(DESTRUCTION_DELAY));
                tenant.edit(key, *version, Effect::Reduction, |key| {
                    key.schedule_destruction(*version, due)
                })
            }
            Command::CancelDestruction { key, version } => {
                tenant.edit(key, *version, Effect::Recorded, |key| key.cancel_destruction(*version))
            }
            Command::IssueHandle(new) => tenant.issue(principal, new, &fresh, now),
            Command::RevokeHandle { link } => Ok(tenant.revoke(*link)),
            Command::RevokeIssued { key } => tenant.revoke_issued(key),
            Command::RevokeIssuedOf { principal } => tenant.revoke_issued_of(*principal),
            Command::CreatePrincipal { name, role, public } => {
                tenant.create_principal(name, *role, *public, fresh.principal)
            }
            Command::ListKeys { after } => Ok(self.list(tenant, after.as_ref())),
            Command::QueryAudit(query) if !(1..=QUERY_RECORDS_MAX).contains(&query.limit) => {
                let detail = format!("a query asks for 1 to {QUERY_RECORDS_MAX} records at once");
                Err(Refusal::new(Reason::Malformed, detail))
            }
            Command::QueryAudit(query) if query.version.is_some() && query.key.is_none() => {
                Err(Refusal::new(Reason::Malformed, "a query for a version names its key too"))
            }
            Command::CountUses { key, version } => {
                let key = tenant.named(key)?;
                let detail = || format!("the key has no version {version}");
                let absent = || Refusal::new(Reason::Forbidden, detail());
                key.version(*version).ok_or_else(absent)?;
                Ok(Decided { key: Some((key.id, *version)), ..Decided::read(Answer::Done) })
            }
            Command::Disclose(disclosure) => {
                let checked = disclosure.check();
                checked.map_err(|error| Refusal::new(Reason::Malformed, error.to_string()))?;
                Ok(Decided::read(Answer::Done))
            }
            Command::PruneAudit(prune) if !prune.is_well_formed() => {
                let detail = format!(
                    "an archive's name is one line of at most {PRUNE_LOCATION_BYTES_MAX} bytes"
                );
                Err(Refusal::new(Reason::Malformed, detail))
            }
            Command::ShowKey { key } => Ok(Decided::read(Answer::Key(tenant.named(key)?.clone()))),
            Command::Propose { .. }
            | Command::Approve { .. }
            | Command::Withdraw { .. }
            | Command::CarryOut { .. }
            | Command::ListProposals => self.decide_proposal(principal, command, fresh, now),
            Command::RaiseApprovals { approvals } => tenant.raise_approvals(*approvals),
            Command::Rotate(rotation) => tenant.rotate(principal, rotation, fresh, now),
            Command::OrderRollout { rollout, order } => {
                tenant.order((principal, *rollout, *order), &Sight::NOTHING, now)
            }
            Command::ListRollouts { after } => Ok(self.list_rollouts(tenant, after.as_ref(), now)),
            Command::ShowRollout { rollout } => tenant.show_rollout(*rollout, &Sight::NOTHING, now),
            Command::SetRule { rule_for, rule } => {
                tenant.set_rule(principal, (rule_for, rule), fresh.plan_digest, now)
            }
            Command::ListRotations { after } => {
                Ok(self.list_rotations(tenant, after.as_ref(), now))
            }
            Command::StillRollout { rollout, for_ms } => tenant.still(*rollout, *for_ms),
            Command::RegisterVerifier(new) => tenant.register_verifier(new),
            Command::RemoveVerifier { principal } => tenant.remove_verifier(*principal),
            Command::Report(report) => self.admit_report(principal, report),
            Command::DeclareInventory(declaration) => {
                tenant.declare_inventory(principal, declaration, now)
            }
            Command::OrderCampaign(order) => {
                tenant.order_campaign(principal, order, fresh.campaign, now)
            }
            Command::ReportCampaign { campaign, progress } => {
                tenant.admit_progress(*campaign, *progress)
            }
            Command::ReadCensus(CensusQuery::Of(key)) | Command::ListKeptRollouts { key } => {
                tenant.named(key).map(|_| Decided::read(Answer::Done))
            }
            // The shell answers these from what it alone knows; the decision is only that they may be asked.
            Command::BeginImport
            | Command::ReadSteps { .. }
            | Command::ReadStatus
            | Command::ReadOperation { .. }
            | Command::QueryAudit(_)
            | Command::PruneAudit(_)
            | Command::InspectStore { .. }
            | Command::ReadFrames { .. }
            | Command::ListVerifiers
            | Command::ReadCensus(CensusQuery::After(_))
            | Command::OpenRecord { .. } => Ok(Decided::read(Answer::Done)),
        }
    }

    /// Decides the destruction of a version whose time has come.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if it has not, or there is no such version.
    pub fn decide_destruction(
        &self,
        due: &DueDestruction,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let tenant = self.tenants.get(&due.tenant);
        let key = tenant.and_then(|tenant| tenant.keys.get(&due.key));
        let gone =
            || Refusal::new(Reason::IllegalTransition, "the version is not due for destruction");
        let (tenant, key) = tenant.zip(key).ok_or_else(gone)?;
        let is_due = |at: Served| at <= now.served;
        let scheduled = key.version(due.version).and_then(|version| version.destruction);
        scheduled.filter(|at| is_due(*at)).ok_or_else(gone)?;
        tenant.edit(&key.name, due.version, Effect::Reduction, |key| {
            key.apply(due.version, KeyEvent::Destroy)
        })
    }

    /// The versions whose scheduled time has come.
    #[must_use]
    pub fn due_destructions(&self, now: Reading) -> Vec<DueDestruction> {
        let keys = self.tenants.values().flat_map(|tenant| tenant.keys.values());
        let due = keys.flat_map(|key| {
            let due = key
                .versions
                .iter()
                .filter(move |version| version.destruction.is_some_and(|at| at <= now.served));
            due.map(|version| DueDestruction {
                tenant: key.tenant,
                key: key.id,
                version: version.number,
            })
        });
        due.collect()
    }

    pub(super) fn home(&self, principal: &Principal) -> Result<&Tenant, Refusal> {
        let tenant = self.tenants.get(&principal.tenant);
        tenant.ok_or_else(|| Refusal::new(Reason::Forbidden, "the principal's tenant is gone"))
    }

    fn list(&self, tenant: &Tenant, after: Option<&Name>) -> Decided {
        let mut keys = self.keys_after(tenant.row.id, after);
        let page: Vec<Key> = keys.by_ref().take(LIST_PAGE).map(|key| Key::clone(key)).collect();
        let more = keys.next().is_some();
        Decided::read(Answer::Keys { keys: page, more })
    }
}

impl Tenant {
    /// The tenant's row under its next epoch.
    pub(super) fn advanced(&self) -> TenantRow {
        self.row.advanced()
    }

    /// The tenant's row so many epochs on.
    pub(super) fn advanced_by(&self, changes: usize) -> TenantRow {
        (0..changes).fold(self.row.clone(), |row, _| row.advanced())
    }

    pub(super) fn named(&self, name: &Name) -> Result<&Key, Refusal> {
        let key = self.names.get(name).and_then(|id| self.keys.get(id));
        key.map(|key| &**key).ok_or_else(|| {
            Refusal::new(Reason::Forbidden, format!("no key `{name}` that you may see"))
        })
    }

    fn create_key(
        &self,
        new: &NewKey,
        provenance: Provenance,
        fresh: Fresh,
        now: Reading,
    ) -> Decided {
        let row = self.advanced();
        let version = KeyVersion {
            number: 1,
            state: KeyState::Active,
            created_ms: now.unix_ms,
            provenance,
            public: fresh.public,
            destruction: None,
            published: Some(Published { epoch: row.epoch, at: now.served }),
            active_from: Some(row.epoch),
            suite: None,
            active_at: Some(now.served),
            given_up: None,
        };
        let key = Key {
            id: fresh.key,
            tenant: self.row.id,
            name: new.name.clone(),
            scope: new.scope.clone(),
            purpose: new.purpose.clone(),
            suite: new.suite,
            scheduled: 1,
            authority_epoch: row.epoch,
            min_issue_epoch: Epoch::default(),
            versions: vec![version],
            witnessed: new.witnessed,
            moving: None,
        };
        Self::changed(row, key, 1, Effect::Recorded)
    }

    fn changed(row: TenantRow, key: Key, version: u32, effect: Effect) -> Decided {
        Decided {
            key: Some((key.id, version)),
            rows: vec![Row::Tenant(row), Row::Key(key.clone())],
            effect,
            answer: Answer::Key(key),
            handle: None,
            step: None,
        }
    }

    fn change(
        &self,
        name: &Name,
        version: Option<u32>,
        event: KeyEvent,
    ) -> Result<Decided, Refusal> {
        if event == KeyEvent::Destroy {
            let detail = "a version is destroyed when its scheduled time has come; schedule it";
            return Err(Refusal::new(Reason::IllegalTransition, detail));
        }
        let number = version.unwrap_or(self.named(name)?.scheduled);
        let effect = if event.is_reduction() { Effect::Reduction } else { Effect::Recorded };
        self.edit(name, number, effect, |key| key.apply(number, event))
    }

    fn edit(
        &self,
        name: &Name,
        version: u32,
        effect: Effect,
        edit: impl FnOnce(&mut Key) -> Result<(), VersionError>,
    ) -> Result<Decided, Refusal> {
        let row = self.advanced();
        let mut key = self.named(name)?.clone();
        edit(&mut key)?;
        key.authority_epoch = row.epoch;
        Ok(Self::changed(row, key, version, effect))
    }

    fn issue(
        &self,
        issuer: &Principal,
        new: &NewHandle,
        fresh: &Fresh,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let key = self.named(&new.key)?;
        let caveats = caveats(new, fresh.node)?;
        check_operations(new.operations, key)?;
        check_usable(new.operations, key)?;
        if new.ttl_ms == 0 || new.ttl_ms > millis(HANDLE_TTL_MAX) {
            return Err(Refusal::new(Reason::Malformed, "a handle lives from 1 ms to 24 hours"));
        }
        if new.subject.is_some_and(|subject| !self.principals.contains_key(&subject)) {
            return Err(Refusal::new(
                Reason::Forbidden,
                "there is no such principal to issue it to",
            ));
        }
        let root = Root {
            id: fresh.handle,
            tenant: self.row.id,
            key: key.id,
            purpose: key.purpose.clone(),
            issuer: issuer.id,
            subject: new.subject.unwrap_or(issuer.id),
            issue_epoch: self.row.epoch,
            issued_ms: now.unix_ms,
            expires_ms: now.unix_ms.saturating_add(new.ttl_ms),
            operations: new.operations,
        };
        Ok(Decided {
            rows: Vec::new(),
            effect: Effect::None,
            answer: Answer::Done,
            key: Some((key.id, key.scheduled)),
            handle: Some((root, caveats)),
            step: None,
        })
    }

    fn revoke(&self, link: LinkId) -> Decided {
        let mut row = self.advanced();
        let mut rows = Vec::new();
        if self.revoked.len() >= REVOCATIONS_MAX {
            // The set is full: everything issued so far is void, and the list need not grow.
            row.min_issue_epoch = row.epoch;
        } else {
            rows.push(Row::Revocation(RevocationRow {
                tenant: self.row.id,
                link,
                epoch: row.epoch,
            }));
        }
        rows.insert(0, Row::Tenant(row));
        let (effect, answer) = (Effect::Reduction, Answer::Done);
        Decided { rows, effect, answer, key: None, handle: None, step: None }
    }

    fn revoke_issued(&self, name: &Name) -> Result<Decided, Refusal> {
        let scheduled = self.named(name)?.scheduled;
        let epoch = self.advanced().epoch;
        self.edit(name, scheduled, Effect::Reduction, |key| {
            key.min_issue_epoch = epoch;
            Ok(())
        })
    }

    fn revoke_issued_of(&self, id: PrincipalId) -> Result<Decided, Refusal> {
        let principal = self.principals.get(&id);
        let principal = principal
            .ok_or_else(|| Refusal::new(Reason::Forbidden, "there is no such principal"))?;
        let row = self.advanced();
        let principal = Principal { min_issue_epoch: row.epoch, ..principal.clone() };
        Ok(Decided {
            rows: vec![Row::Tenant(row), Row::Principal(principal)],
            effect: Effect::Reduction,
            answer: Answer::Done,
            key: None,
            handle: None,
            step: None,
        })
    }

    fn create_principal(
        &self,
        name: &Name,
        role: Role,
        public: [u8; 32],
        id: PrincipalId,
    ) -> Result<Decided, Refusal> {
        if self.principals.values().any(|other| other.name == *name || other.public == public) {
            let detail = "there is a principal of that name or key already";
            return Err(Refusal::new(Reason::NameTaken, detail));
        }
        let (tenant, min_issue_epoch) = (self.row.id, Epoch::default());
        let principal = Principal { id, tenant, name: name.clone(), role, public, min_issue_epoch };
        Ok(Decided {
            rows: vec![Row::Tenant(self.advanced()), Row::Principal(principal)],
            effect: Effect::Recorded,
            answer: Answer::Principal(id),
            key: None,
            handle: None,
            step: None,
        })
    }
}

fn check_operations(operations: Operations, key: &Key) -> Result<(), Refusal> {
    if operations.is_empty() {
        return Err(Refusal::new(Reason::Malformed, "a handle permits at least one operation"));
    }
    match operations.iter().find(|operation| !operation.suits(key.purpose.usage())) {
        None => Ok(()),
        Some(operation) => {
            let detail =
                format!("a key of purpose `{}` does not `{}`", key.purpose, operation.name());
            Err(Refusal::new(Reason::PurposeRefused, detail))
        }
    }
}

/// A handle with which nothing could be done is not issued.
fn check_usable(operations: Operations, key: &Key) -> Result<(), Refusal> {
    let protects = key.scheduled_version().is_some_and(KeyVersion::protects);
    let processes = key.versions.iter().any(KeyVersion::processes);
    let is_usable = |operation: Operation| if operation.protects() { protects } else { processes };
    if operations.iter().any(is_usable) {
        return Ok(());
    }
    Err(Refusal::new(Reason::KeyUnusable, "no version of the key may do any of this now"))
}

fn caveats(new: &NewHandle, node: NodeId) -> Result<Vec<Caveat>, Refusal> {
    let mut caveats: Vec<_> = new.pins.iter().cloned().map(Caveat::Pin).collect();
    if !new.holder.is_empty() {
        let holder = new.holder.as_slice().try_into();
        let holder =
            holder.map_err(|_| Refusal::new(Reason::Malformed, "a holder is an Ed25519 key"))?;
        caveats.push(Caveat::Holder(holder));
    }
    match new.max_uses {
        Some(0) => {
            return Err(Refusal::new(Reason::Malformed, "a handle may be used at least once"));
        }
        Some(most) => caveats.push(Caveat::Uses { most, node }),
        None => {}
    }
    if caveats.len() > CAVEATS_MAX {
        return Err(Refusal::new(
            Reason::TooLarge,
            format!("a handle has at most {CAVEATS_MAX} caveats"),
        ));
    }
    Ok(caveats)
}
