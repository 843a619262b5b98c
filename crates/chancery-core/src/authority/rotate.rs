//! Rotation: what a command, or a look at a rollout, would change; and the rows of rollouts.
//!
//! The engine decides on one key ([`crate::rollout`]). Here its decision becomes rows, all written in one transaction
//! under the tenant's next epoch.
//!
//! **Invariant:** a key has one rollout at most that is not over, and what moves it is written with the key.

use super::{
    Authority, Contradiction, Decided, Effect, Fresh, Moving, Refusal, Row, Tenant, TenantRow,
};
use crate::bundle::BundleRow;
use crate::clock::{Reading, millis};
use crate::command::{Answer, ROLLOUTS_PAGE};
use crate::epoch::Epoch;
use crate::id::{RolloutId, TenantId};
use crate::key::{Key, KeyVersion, Provenance};
use crate::limits::{DRILL_ENVIRONMENT, STILL_MAX};
use crate::name::Name;
use crate::principal::Principal;
use crate::reason::Reason;
use crate::rollout::{
    Asked, Change, Moment, NewRollout, Order, Refused, Rollout, RolloutView, Rotation, Sight,
    Situation, StartError, Step, StepRow, Taken,
};
use crate::state::KeyState;
use crate::suite::Suite;

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let reason = match error {
            StartError::PlanRefused(_) | StartError::Nameless => Reason::Malformed,
            _ => Reason::IllegalTransition,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::new(Reason::IllegalTransition, refused.to_string())
    }
}

/// The key has changed, or time has gone on: whoever asks decides anew.
fn overtaken(error: &impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::IllegalTransition, error.to_string())
}

impl Tenant {
    pub(super) fn apply_rollout(&mut self, rollout: Rollout) -> Result<(), Contradiction> {
        if !self.keys.contains_key(&rollout.key) {
            return Err(Contradiction);
        }
        self.rollouts.apply(rollout)
    }

    /// A step is of a key that is there, and of a rollout of it, perhaps of one that is over.
    pub(super) fn admit_step(&self, step: &StepRow) -> Result<(), Contradiction> {
        self.keys.contains_key(&step.key).then_some(()).ok_or(Contradiction)
    }

    /// A rollout stands still for a while: of a scratch key alone, and not for long. It is the shell that does not look.
    pub(super) fn still(&self, id: RolloutId, for_ms: u64) -> Result<Decided, Refusal> {
        let (rollout, key) = self.rollout(id)?;
        if key.scope.environment.as_str() != DRILL_ENVIRONMENT {
            let detail = format!(
                "only the rollout of a key of the environment `{DRILL_ENVIRONMENT}` can be made to stand still"
            );
            return Err(Refusal::new(Reason::Forbidden, detail));
        }
        if !(1..=millis(STILL_MAX)).contains(&for_ms) {
            let detail = format!("a rollout stands still for 1 to {} ms", millis(STILL_MAX));
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        if rollout.status.is_over() {
            return Err(Refused::Over.into());
        }
        Ok(Decided { key: Some((key.id, rollout.to)), ..Decided::read(Answer::Done) })
    }

    fn rollout(&self, id: RolloutId) -> Result<(&Rollout, &Key), Refusal> {
        let found = self.rollouts.find(id);
        let found = found.and_then(|rollout| Some((rollout, &**self.keys.get(&rollout.key)?)));
        let unknown = || Refusal::new(Reason::Forbidden, format!("there is no rollout `{id}`"));
        found.ok_or_else(unknown)
    }

    pub(super) fn situation<'a>(
        key: &'a Key,
        sight: &Sight<'a>,
        epoch: Epoch,
        now: Reading,
    ) -> Situation<'a> {
        let (verifiers, observed) = (sight.verifiers, sight.observed);
        Situation { key, verifiers, observed, now: now.served, epoch }
    }

    /// How a key stands now, at the tenant's epoch.
    fn standing<'a>(&self, key: &'a Key, sight: &Sight<'a>, now: Reading) -> Situation<'a> {
        Self::situation(key, sight, self.row.epoch, now)
    }

    /// Begins a rollout; the version that it brings in is made with it, unless the key has it.
    pub(super) fn rotate(
        &self,
        principal: &Principal,
        rotation: &Rotation,
        fresh: Fresh,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let mut key = self.check_rotation(rotation)?.clone();
        let to = match rotation.version {
            Some(version) => version,
            None => add_version(&mut key, rotation.suite, fresh.public, now)?,
        };
        let new = NewRollout {
            id: fresh.rollout,
            to,
            cause: rotation.cause,
            by: Some(principal.id),
            plan: rotation.plan.clone(),
            plan_digest: fresh.plan_digest,
            remaining_ms: remaining_ms(&key, rotation, now),
        };
        let change = Rollout::start(&new, &self.standing(&key, &Sight::NOTHING, now))?;
        let asked = Asked::Start { remaining_ms: new.remaining_ms };
        self.changed_by((&key, None, asked), change, (&self.row, &Sight::NOTHING), now)
    }

    /// Checks what can be said of a rotation before a version is made for it.
    fn check_rotation(&self, rotation: &Rotation) -> Result<&Key, Refusal> {
        let key = self.named(&rotation.key)?;
        if let Some(rollout) = key.rollout() {
            return Err(StartError::UnderWay(rollout).into());
        }
        if rotation.version.is_some() && rotation.suite.is_some() {
            let detail = "a version that is there has its algorithm; name the one or the other";
            return Err(Refusal::new(Reason::Malformed, detail));
        }
        let admitted = rotation.suite.map_or(Ok(()), |suite| key.purpose.admits(suite));
        admitted.map_err(|error| Refusal::new(Reason::PurposeRefused, error.to_string()))?;
        Ok(key)
    }

    /// Does to a rollout what a person orders.
    pub(super) fn order(
        &self,
        (by, id, order): (&Principal, RolloutId, Order),
        sight: &Sight<'_>,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let (rollout, key) = self.rollout(id)?;
        let change = rollout.order(by.id, order, &self.standing(key, sight, now))?;
        let asked = Asked::Order { by: by.id, order };
        self.changed_by((key, Some(rollout), asked), change, (&self.row, sight), now)
    }

    /// The rows of a change, which come after the tenant's row `before`; and the rollout as it is then.
    pub(super) fn changed_by(
        &self,
        (key, rollout, asked): (&Key, Option<&Rollout>, Asked),
        change: Change,
        (before, sight): (&TenantRow, &Sight<'_>),
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let bundle = self.bundle.as_deref().and_then(BundleRow::latest).copied();
        let situation = Self::situation(key, sight, before.epoch, now);
        let taken = Taken::of((rollout, asked), &change, &situation, (sight.counted, bundle), now);
        let moment = Moment { served: now.served, epoch: before.epoch };
        let next = change.applied(key, moment).map_err(|error| overtaken(&error))?;
        let effect = if change.is_reduction(key) { Effect::Barrier } else { Effect::Recorded };
        let (row, rollout) = (before.advanced(), change.rollout);
        let at = Self::situation(&next, sight, row.epoch, now);
        let view = view(&rollout, &at);
        Ok(Decided {
            key: Some((key.id, rollout.to)),
            rows: vec![Row::Tenant(row), Row::Key(next), Row::Rollout(Box::new(rollout))],
            effect,
            answer: Answer::Rollout(Box::new(view)),
            handle: None,
            step: Some(Box::new(taken)),
        })
    }

    pub(super) fn show_rollout(
        &self,
        id: RolloutId,
        sight: &Sight<'_>,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let (rollout, key) = self.rollout(id)?;
        let view = view(rollout, &self.standing(key, sight, now));
        Ok(Decided::read(Answer::Rollout(Box::new(view))))
    }
}

impl Authority {
    /// Checks what a rotation is to bring in, before its material is made; and says with which algorithm that is, if a
    /// version is to be made at all.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if the key is not there, has a rollout, or does not admit the algorithm.
    pub fn check_rotation(
        &self,
        principal: &Principal,
        rotation: &Rotation,
    ) -> Result<Option<(Suite, &Key)>, Refusal> {
        let key = self.home(principal)?.check_rotation(rotation)?;
        let suite = rotation.suite.unwrap_or_else(|| scheduled_suite(key));
        Ok(rotation.version.is_none().then_some((suite, key)))
    }

    /// Decides a person's order, on what the shell has seen.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; then nothing changes.
    pub fn decide_order(
        &self,
        principal: &Principal,
        (rollout, order): (RolloutId, Order),
        sight: &Sight<'_>,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        self.home(principal)?.order((principal, rollout, order), sight, now)
    }

    /// Looks at the rollout of a key: what it changes now, if anything, as it is decided `ahead` changes of the tenant from
    /// now, which are of other keys.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if the key is not that rollout's to move, or there is no such key.
    pub fn decide_step(
        &self,
        (moving, ahead): (&Moving, usize),
        sight: &Sight<'_>,
        now: Reading,
    ) -> Result<Option<Decided>, Refusal> {
        let gone = || Refusal::new(Reason::IllegalTransition, "the rollout is over");
        let tenant = self.tenants.get(&moving.tenant).ok_or_else(gone)?;
        let (rollout, key) = tenant.rollout_of(moving).ok_or_else(gone)?;
        let before = tenant.advanced_by(ahead);
        match rollout.tick(&Tenant::situation(key, sight, before.epoch, now))? {
            Step::Stay(_) => Ok(None),
            Step::Change(change) => {
                let of = (key, Some(rollout), Asked::Nobody);
                tenant.changed_by(of, *change, (&before, sight), now).map(Some)
            }
        }
    }

    /// Whether a rollout could go back now: the change is made and comes to nothing.
    #[must_use]
    pub fn can_return(&self, moving: &Moving, sight: &Sight<'_>, now: Reading) -> bool {
        let Some(tenant) = self.tenants.get(&moving.tenant) else { return false };
        let Some((rollout, key)) = tenant.rollout_of(moving) else { return false };
        let moment = Moment { served: now.served, epoch: tenant.row.epoch };
        let change = rollout.probe_return(&tenant.standing(key, sight, now));
        change.is_some_and(|change| change.applied(key, moment).is_ok())
    }

    /// The rollout of a key, with the key.
    #[must_use]
    pub fn rollout_of(&self, moving: &Moving) -> Option<(&Rollout, &Key)> {
        self.tenants.get(&moving.tenant)?.rollout_of(moving)
    }

    /// Which rollout a principal means by an id.
    #[must_use]
    pub fn moving(&self, tenant: TenantId, id: RolloutId) -> Option<Moving> {
        let (rollout, key) = self.tenants.get(&tenant)?.rollout(id).ok()?;
        (key.id == rollout.key).then(|| Moving::by(rollout))
    }

    /// What people are shown of a rollout, on what the shell has seen.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if there is no such rollout.
    pub fn show_rollout(
        &self,
        principal: &Principal,
        rollout: RolloutId,
        sight: &Sight<'_>,
        now: Reading,
    ) -> Result<RolloutView, Refusal> {
        let tenant = self.home(principal)?;
        let (rollout, key) = tenant.rollout(rollout)?;
        Ok(view(rollout, &tenant.standing(key, sight, now)))
    }

    /// Every key that a rollout moves.
    #[must_use]
    pub fn moved(&self) -> Vec<Moving> {
        self.under_way().map(Moving::by).collect()
    }

    /// Every rollout that is not over.
    pub fn under_way(&self) -> impl Iterator<Item = &Rollout> {
        self.tenants.values().flat_map(|tenant| tenant.rollouts.under_way())
    }

    pub(super) fn list_rollouts(
        &self,
        tenant: &Tenant,
        after: Option<&Name>,
        now: Reading,
    ) -> Decided {
        let keys = self.keys_after(tenant.row.id, after);
        let mut views = keys.filter_map(|key| {
            let rollout = tenant.rollouts.of_key(key.id)?;
            Some(view(rollout, &tenant.standing(key, &Sight::NOTHING, now)))
        });
        let rollouts = views.by_ref().take(ROLLOUTS_PAGE).collect();
        let more = views.next().is_some();
        Decided::read(Answer::Rollouts { rollouts, more })
    }
}

impl Tenant {
    fn rollout_of(&self, moving: &Moving) -> Option<(&Rollout, &Key)> {
        let rollout = self.rollouts.of_key(moving.key).filter(|it| it.id == moving.rollout)?;
        Some((rollout, self.keys.get(&moving.key)?))
    }
}

fn view(rollout: &Rollout, at: &Situation<'_>) -> RolloutView {
    let gates = if rollout.status.is_over() { Vec::new() } else { rollout.gates(at) };
    let (key, rollout) = (at.key.name.clone(), rollout.clone());
    RolloutView { key, rollout, gates, measured: Vec::new(), now: at.now }
}

/// The algorithm of the version that protects.
pub(super) fn scheduled_suite(key: &Key) -> Suite {
    key.scheduled_version().map_or(key.suite, |version| key.suite_of(version))
}

pub(super) fn add_version(
    key: &mut Key,
    suite: Option<Suite>,
    public: Vec<u8>,
    now: Reading,
) -> Result<u32, Refusal> {
    let last = key.versions.last().map_or(0, |version| version.number);
    let number = last.saturating_add(1);
    let suite = suite.unwrap_or_else(|| scheduled_suite(key));
    key.add(KeyVersion {
        number,
        state: KeyState::PreActivation,
        created_ms: now.unix_ms,
        provenance: Provenance::Generated,
        public,
        destruction: None,
        published: None,
        active_from: None,
        active_at: None,
        given_up: None,
        suite: (suite != key.suite).then_some(suite),
    })?;
    Ok(number)
}

/// What is left of the cryptoperiod of the version that protects; nothing if it is over, which no plan makes undone.
fn remaining_ms(key: &Key, rotation: &Rotation, now: Reading) -> Option<u64> {
    let since = key.scheduled_version()?.since()?;
    let age = now.served.as_ms().saturating_sub(since.as_ms());
    rotation.plan.bounds.cryptoperiod_ms.checked_sub(age)
}
