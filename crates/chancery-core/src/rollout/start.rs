//! How a rollout begins: its plan is checked, its version is published, and the key is taken by it.

use super::cause::Cause;
use super::change::{Change, VersionChange};
use super::check::{Finding, Subject};
use super::plan::Plan;
use super::{Moment, Rollout, Situation, Status};
use crate::id::{PrincipalId, RolloutId};
use crate::key::{Key, KeyVersion};
use crate::schedule::{Moving, Schedule};
use crate::state::KeyState;

/// What a new rollout is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRollout {
    /// What names it.
    pub id: RolloutId,
    /// The version that it brings in. The key has it already: new, or a standby that is published.
    pub to: u32,
    /// Why.
    pub cause: Cause,
    /// Who asked for it; the service itself if nobody.
    pub by: Option<PrincipalId>,
    /// Its plan.
    pub plan: Plan,
    /// The digest of the plan's encoding. The core has no hash of its own.
    pub plan_digest: [u8; 32],
    /// How long the version there is may protect yet, in milliseconds, if that is known.
    pub remaining_ms: Option<u64>,
}

/// A rollout does not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The plan breaks rules.
    #[error("the plan breaks {} rules, the first: {}", .0.len(), first(.0))]
    PlanRefused(Vec<Finding>),
    /// The key has a rollout.
    #[error("rollout {0} moves this key; end it first")]
    UnderWay(RolloutId),
    /// The key has no such version.
    #[error("the key has no version {0}")]
    NoVersion(u32),
    /// The version protects already.
    #[error("version {0} is scheduled already")]
    Scheduled(u32),
    /// The version cannot come to protect.
    #[error("version {0} cannot come to protect; take a new one")]
    Unusable(u32),
    /// The version there is does not protect, and the reason given supposes that it does.
    #[error(
        "the scheduled version does not protect; give `compromise` or `inoperable` as the reason, or resume it"
    )]
    NothingProtects,
    /// Nobody is named.
    #[error("a rollout that a person asks for names the person")]
    Nameless,
}

fn first(findings: &[Finding]) -> String {
    findings.first().map(ToString::to_string).unwrap_or_default()
}

impl Rollout {
    /// Begins a rollout: its first stage, in which the new version is published and protects for nobody.
    ///
    /// # Errors
    ///
    /// [`StartError`]; then nothing changes.
    pub fn start(new: &NewRollout, at: &Situation<'_>) -> Result<Change, StartError> {
        let key = at.key;
        if let Some(under_way) = key.rollout() {
            return Err(StartError::UnderWay(under_way));
        }
        let version = check_versions(new, key)?;
        let (purpose, remaining_ms) = (&key.purpose, new.remaining_ms);
        let findings = new.plan.check_for(&Subject { purpose, cause: new.cause, remaining_ms });
        if !findings.is_empty() {
            return Err(StartError::PlanRefused(findings));
        }
        let epoch = at.epoch.next();
        let moving = Some(Moving { rollout: new.id, share: None });
        let schedule = Schedule { version: key.scheduled, moving };
        let publish = VersionChange::Publish { version: new.to, at: at.now };
        let versions = if version.published.is_some() { Vec::new() } else { vec![publish] };
        let rollout = new.row(at);
        let (fence, decided) = (key.authority_epoch, at.now);
        Ok(Change { rollout, fence, decided, epoch, schedule, versions })
    }
}

impl NewRollout {
    fn row(&self, at: &Situation<'_>) -> Rollout {
        let epoch = at.epoch.next();
        Rollout {
            id: self.id,
            tenant: at.key.tenant,
            key: at.key.id,
            from: at.key.scheduled,
            to: self.to,
            cause: self.cause,
            by: self.by,
            plan: self.plan.clone(),
            plan_digest: self.plan_digest,
            stage: 0,
            entered: Moment { served: at.now, epoch },
            counted: at.now,
            status: Status::Running,
            acknowledged: None,
            alone: None,
            alone_epoch: None,
            released: None,
            overrides: Vec::new(),
            epoch,
            ended: None,
        }
    }
}

fn check_versions<'k>(new: &NewRollout, key: &'k Key) -> Result<&'k KeyVersion, StartError> {
    if new.by.is_some_and(PrincipalId::is_nobody) {
        return Err(StartError::Nameless);
    }
    if new.to == key.scheduled {
        return Err(StartError::Scheduled(new.to));
    }
    let version = key.version(new.to).ok_or(StartError::NoVersion(new.to))?;
    let may_protect = matches!(version.state, KeyState::PreActivation | KeyState::Active);
    if !may_protect || version.destruction.is_some() {
        return Err(StartError::Unusable(new.to));
    }
    let protects = key.scheduled_version().is_some_and(KeyVersion::protects);
    if protects || new.cause.is_recovery() { Ok(version) } else { Err(StartError::NothingProtects) }
}
