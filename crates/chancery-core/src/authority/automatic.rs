//! Rules of automatic rotation, and what they make due: what a command, or the service by itself, would change.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::rotate::add_version;
use super::{Authority, Contradiction, Decided, Effect, Fresh, Refusal, Row, Tenant, TenantRow};
use crate::automatic::{
    Automatic, Due, Held, Known, RETRY_AFTER, RotationView, Rule, RuleError, RuleFor, RuleOf,
    RuleRow,
};
use crate::clock::{Reading, Served, millis};
use crate::command::{Answer, ROTATIONS_PAGE};
use crate::id::{KeyId, TenantId};
use crate::key::{Key, KeyVersion, Published};
use crate::limits::{AUTOMATIC_HALTED_MAX, AUTOMATIC_UNDER_WAY_MAX};
use crate::name::Name;
use crate::principal::Principal;
use crate::reason::Reason;
use crate::rollout::{Asked, NewRollout, Rollout, Sight, Status};
use crate::suite::Suite;

/// How often versions were used, as far as somebody counted.
pub type UseCounts = BTreeMap<(KeyId, u32), u64>;

/// Something that a rule makes due for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRotation {
    /// Whose.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// What.
    pub due: Due,
    /// The algorithm of the version that must be made for it; nothing if one stands by.
    pub makes: Option<Suite>,
}

/// What a look at some keys of a tenant found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What is due.
    pub due: Vec<DueRotation>,
    /// Versions whose uses a rule counts.
    pub counted: Vec<(KeyId, u32)>,
    /// The last key that was looked at, if there are more behind it.
    pub last: Option<Name>,
}

impl From<RuleError> for Refusal {
    fn from(error: RuleError) -> Self {
        Self::new(Reason::Malformed, error.to_string())
    }
}

/// A key's rule, as far as it says when the key is rotated.
#[derive(Clone, Copy)]
struct Ruled<'t> {
    row: &'t RuleRow,
    rule: &'t Automatic,
}

impl Tenant {
    pub(super) fn apply_rule(&mut self, row: RuleRow) -> Result<(), Contradiction> {
        if let RuleOf::Key(key) = row.of
            && !self.keys.contains_key(&key)
        {
            return Err(Contradiction);
        }
        self.rules.insert(row.of, Arc::new(row));
        Ok(())
    }

    /// The rule that holds for a key: its own, or that of its usage.
    fn ruled(&self, key: &Key) -> Option<Ruled<'_>> {
        let own = self.rules.get(&RuleOf::Key(key.id)).filter(|row| row.rule != Rule::Unset);
        let row = own.or_else(|| self.rules.get(&RuleOf::Usage(key.purpose.usage())))?;
        match &row.rule {
            Rule::Automatic(rule) => Some(Ruled { row, rule }),
            Rule::Unset | Rule::Never => None,
        }
    }

    /// Says by which rule a key, or every key of a usage, is rotated.
    pub(super) fn set_rule(
        &self,
        principal: &Principal,
        (rule_for, rule): (&RuleFor, &Rule),
        plan_digest: [u8; 32],
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let (of, key) = match rule_for {
            RuleFor::Usage(usage) => (RuleOf::Usage(*usage), None),
            RuleFor::Key(name) => {
                let key = self.named(name)?;
                (RuleOf::Key(key.id), Some(key))
            }
        };
        if let Rule::Automatic(automatic) = rule {
            automatic.check()?;
            if let (Some(suite), Some(key)) = (automatic.suite, key) {
                let admitted = key.purpose.admits(suite);
                admitted
                    .map_err(|error| Refusal::new(Reason::PurposeRefused, error.to_string()))?;
            }
        }
        let (tenant, rule, by, since) = (self.row.id, rule.clone(), principal.id, now.served);
        let row = RuleRow { tenant, of, rule, plan_digest, by, since };
        Ok(Decided {
            rows: vec![Row::Tenant(self.advanced()), Row::Rule(Box::new(row))],
            effect: Effect::Recorded,
            answer: Answer::Done,
            key: key.map(|key| (key.id, 0)),
            handle: None,
            step: None,
        })
    }

    /// Why nothing begins for a key by its rule, however due it is.
    fn held(&self, key: &Key, rule: &Automatic, now: Served) -> Option<Held> {
        if key.rollout().is_some() {
            return Some(Held::UnderWay);
        }
        if self.rollouts.of_key(key.id).is_some_and(|rollout| went_back_lately(rollout, now)) {
            return Some(Held::WentBack);
        }
        let protects = key.scheduled_version().is_some_and(KeyVersion::protects);
        if protects { rule.held(key) } else { Some(Held::NothingProtects) }
    }

    /// What is due for a key now.
    fn due(&self, key: &Key, uses: &UseCounts, now: Served) -> Option<(Ruled<'_>, DueRotation)> {
        let ruled = self.ruled(key)?;
        if self.held(key, ruled.rule, now).is_some() {
            return None;
        }
        let uses = uses.get(&(key.id, key.scheduled)).copied();
        let due = ruled.rule.due(key, &Known { rule_since: ruled.row.since, uses }, now)?;
        let standby = ruled.rule.standby(key);
        let makes = (due == Due::Standby || standby.is_none()).then(|| ruled.rule.suite_for(key));
        Some((ruled, DueRotation { tenant: self.row.id, key: key.id, due, makes }))
    }

    /// How many rollouts the service may begin yet; or why none.
    fn room(&self, now: Served) -> Result<usize, Held> {
        let own = || self.rollouts.all().filter(|rollout| rollout.by.is_none());
        let halted = own().filter(|rollout| is_halted(rollout, now)).count();
        if halted >= AUTOMATIC_HALTED_MAX {
            return Err(Held::TooManyHalted);
        }
        let under_way = own().filter(|rollout| !rollout.status.is_over()).count();
        let room = AUTOMATIC_UNDER_WAY_MAX.saturating_sub(under_way);
        if room > 0 { Ok(room) } else { Err(Held::TooManyUnderWay) }
    }

    /// The rows by which what is due comes to be.
    fn begun(
        &self,
        (key, ruled, due): (&Key, Ruled<'_>, &DueRotation),
        (before, fresh): (TenantRow, Fresh),
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let standby = ruled.rule.standby(key).map(|version| version.number);
        let mut key = key.clone();
        let made = match due.makes {
            Some(suite) => Some(add_version(&mut key, Some(suite), fresh.public, now)?),
            None => None,
        };
        let Due::Rollout(cause) = due.due else {
            return stand_by(key, made.unwrap_or_default(), before.advanced(), now);
        };
        let new = NewRollout {
            id: fresh.rollout,
            to: made.or(standby).unwrap_or_default(),
            cause,
            by: None,
            plan: ruled.rule.plan.clone(),
            plan_digest: ruled.row.plan_digest,
            // A rule was held against the cryptoperiod when it was made. Who is late all the same is rotated all the more.
            remaining_ms: None,
        };
        let at = Self::situation(&key, &Sight::NOTHING, before.epoch, now);
        let change = Rollout::start(&new, &at)?;
        let asked = Asked::Start { remaining_ms: new.remaining_ms };
        self.changed_by((&key, None, asked), change, (&before, &Sight::NOTHING), now)
    }

    fn view_of_rotation(&self, key: &Key, full: Option<Held>, now: Served) -> RotationView {
        let ruled = self.ruled(key);
        let version = key.scheduled_version();
        let due_at = ruled.zip(version).map(|(ruled, version)| ruled.rule.due_at(key, version));
        let standby = ruled.and_then(|ruled| ruled.rule.standby(key));
        let standby = standby.map(|version| version.number);
        // The version that a rollout brings in does not stand by any more.
        let standby = standby.filter(|_| key.rollout().is_none());
        RotationView {
            key: key.name.clone(),
            version: key.scheduled,
            rule: ruled.map(|ruled| ruled.row.of),
            left_ms: due_at.map(|due_at| due_at.as_ms().saturating_sub(now.as_ms())),
            standby,
            held: ruled.and_then(|ruled| self.held(key, ruled.rule, now).or(full)),
        }
    }
}

impl Authority {
    /// Looks at `most` keys of a tenant behind a name: what is due, as far as there is room for rollouts.
    #[must_use]
    pub fn due_rotations(
        &self,
        (id, after): (TenantId, Option<&Name>),
        most: usize,
        uses: &UseCounts,
        now: Served,
    ) -> Found {
        let (mut found, mut looked) = (Found::default(), 0);
        let Some(tenant) = self.tenants.get(&id).filter(|it| !it.rules.is_empty()) else {
            return found;
        };
        let mut room = tenant.room(now).unwrap_or_default();
        let _ = self.keys_after(id, after).try_for_each(|key| {
            if looked == most {
                return ControlFlow::Break(());
            }
            looked += 1;
            found.last = Some(key.name.clone());
            if tenant.ruled(key).is_some_and(|ruled| ruled.rule.uses.is_some()) {
                found.counted.push((key.id, key.scheduled));
            }
            let due = tenant.due(key, uses, now).map(|(_, due)| due);
            let due = due.filter(|due| due.due == Due::Standby || room > 0);
            room -= usize::from(due.is_some_and(|due| due.due != Due::Standby));
            found.due.extend(due);
            ControlFlow::Continue(())
        });
        found.last = found.last.filter(|_| looked == most);
        found
    }

    /// What a rule makes due for a key, as it is decided `ahead` changes of the tenant from now; nothing if it is not due
    /// any more, there is no room for its rollout, or a version must be made for it that was not.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if the key takes no more versions, or not by that plan.
    pub fn decide_due(
        &self,
        due: &DueRotation,
        (uses, ahead): (&UseCounts, usize),
        fresh: Fresh,
        now: Reading,
    ) -> Result<Option<Decided>, Refusal> {
        let Some(tenant) = self.tenants.get(&due.tenant) else { return Ok(None) };
        let Some(key) = tenant.keys.get(&due.key) else { return Ok(None) };
        let Some((ruled, still)) = tenant.due(key, uses, now.served) else { return Ok(None) };
        // Those that are decided before it in this transaction take room as well.
        let has_room =
            still.due == Due::Standby || tenant.room(now.served).is_ok_and(|room| room > ahead);
        if still.makes != due.makes || !has_room {
            return Ok(None);
        }
        let before = tenant.advanced_by(ahead);
        tenant.begun((key, ruled, &still), (before, fresh), now).map(Some)
    }

    /// The rule by which a key is rotated, if one is.
    #[must_use]
    pub fn rule_of(&self, key: &Key) -> Option<&Automatic> {
        self.tenants.get(&key.tenant)?.ruled(key).map(|ruled| ruled.rule)
    }

    pub(super) fn list_rotations(
        &self,
        tenant: &Tenant,
        after: Option<&Name>,
        now: Reading,
    ) -> Decided {
        let usages = tenant.rules.values().filter(|row| {
            after.is_none() && matches!(row.of, RuleOf::Usage(_)) && row.rule != Rule::Unset
        });
        let rules = usages.map(|row| RuleRow::clone(row)).collect();
        let full = tenant.room(now.served).err();
        let mut keys = self.keys_after(tenant.row.id, after);
        let page = keys.by_ref().take(ROTATIONS_PAGE);
        let keys_of_page: Vec<_> =
            page.map(|key| tenant.view_of_rotation(key, full, now.served)).collect();
        let more = keys.next().is_some();
        Decided::read(Answer::Rotations { rules, keys: keys_of_page, more })
    }
}

/// Publishes a version that was added to stand by.
fn stand_by(mut key: Key, version: u32, row: TenantRow, now: Reading) -> Result<Decided, Refusal> {
    key.publish(version, Published { epoch: row.epoch, at: now.served })?;
    key.authority_epoch = row.epoch;
    Ok(Decided {
        key: Some((key.id, version)),
        rows: vec![Row::Tenant(row), Row::Key(key)],
        effect: Effect::Recorded,
        answer: Answer::Done,
        handle: None,
        step: None,
    })
}

fn went_back_lately(rollout: &Rollout, now: Served) -> bool {
    let since_ms = |ended: Served| now.as_ms().saturating_sub(ended.as_ms());
    let is_late = rollout.ended.is_none_or(|ended| since_ms(ended) < millis(RETRY_AFTER));
    rollout.status.went_back() && is_late
}

fn is_halted(rollout: &Rollout, now: Served) -> bool {
    matches!(rollout.status, Status::Paused(_)) || went_back_lately(rollout, now)
}
