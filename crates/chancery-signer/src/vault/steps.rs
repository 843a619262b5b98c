//! The steps of rollouts: which of each key are kept, which is the last, and reading them.
//!
//! What a step is bound to, the digest of the one before, is remembered here, so that no read stands between a rollout
//! and its next step. After a start it is made from the rows themselves, which the head vouches for.
//!
//! **Invariant:** steps of a key stand in the places of a ring, each behind the one before it, of whichever rollout. So of
//! each rollout those that are kept are its last, without a gap.

use std::collections::BTreeMap;

use chancery_core::authority::Row;
use chancery_core::cbor;
use chancery_core::epoch::Epoch;
use chancery_core::id::{KeyId, RolloutId, TenantId};
use chancery_core::rollout::StepRow;
use chancery_crypto::primitive::sha256;
use chancery_crypto::seal::{NotSealedHere, RowPlace, claimed_place, seal_tag};

use super::{Vault, name, row_name};
use crate::config::SignerError;

/// The steps that are kept, by their keys.
#[derive(Debug, Default)]
pub(super) struct Trail {
    keys: BTreeMap<KeyId, OfKey>,
    rollouts: BTreeMap<RolloutId, KeyId>,
}

/// Those of one key.
#[derive(Debug)]
struct OfKey {
    last: Last,
    kept: Vec<Kept>,
}

/// The last step of a key.
#[derive(Clone, Copy, Debug)]
struct Last {
    rollout: RolloutId,
    number: u32,
    ordinal: u32,
    digest: [u8; 32],
    epoch: Epoch,
}

/// Those of a rollout: from a number to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    rollout: RolloutId,
    first: u32,
    last: u32,
    /// Of the last.
    ordinal: u32,
    /// Of the last.
    epoch: Epoch,
}

/// Where the next step of a rollout goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NextStep {
    /// How many steps of the key there were before.
    pub(crate) ordinal: u32,
    /// How many of the rollout.
    pub(crate) number: u32,
    /// The digest of the last of those; zeros if there is none.
    pub(crate) previous: [u8; 32],
}

impl Last {
    fn of(step: &StepRow) -> Self {
        let digest = sha256(&[&cbor::encode(step)]);
        let (ordinal, epoch) = (step.ordinal(), step.taken.after.epoch);
        Self { rollout: step.rollout, number: step.number, ordinal, digest, epoch }
    }
}

impl Kept {
    fn of(step: &StepRow) -> Self {
        let (number, ordinal) = (step.number, step.ordinal());
        let epoch = step.taken.after.epoch;
        Self { rollout: step.rollout, first: number, last: number, ordinal, epoch }
    }

    /// Takes in a step of the same rollout.
    fn add(&mut self, step: &StepRow) {
        self.first = self.first.min(step.number);
        if step.number >= self.last {
            *self = Self { first: self.first, ..Self::of(step) };
        }
    }

    /// The ordinal of the step of that number, which is kept.
    fn ordinal_of(&self, number: u32) -> u32 {
        self.ordinal.wrapping_sub(self.last.wrapping_sub(number))
    }

    /// Without what stood in a place, which another step takes. Whether anything is left.
    fn without(&mut self, key: KeyId, place: [u8; 17]) -> bool {
        if StepRow::place_of(key, self.ordinal_of(self.first)) != place {
            return true;
        }
        self.first = self.first.saturating_add(1);
        self.first <= self.last
    }
}

impl Trail {
    /// Takes in a step that is stored: of one key the one of the highest epoch is the last, in whatever order they come.
    pub(super) fn note(&mut self, step: &StepRow) {
        let of_key = self.keys.entry(step.key);
        let of_key = of_key.or_insert_with(|| OfKey { last: Last::of(step), kept: Vec::new() });
        if step.taken.after.epoch > of_key.last.epoch {
            of_key.last = Last::of(step);
        }
        of_key.kept.retain_mut(|kept| {
            let is_left = kept.without(step.key, step.place());
            if !is_left {
                self.rollouts.remove(&kept.rollout);
            }
            is_left
        });
        match of_key.kept.iter_mut().find(|kept| kept.rollout == step.rollout) {
            Some(kept) => kept.add(step),
            None => of_key.kept.push(Kept::of(step)),
        }
        self.rollouts.insert(step.rollout, step.key);
    }

    fn next(&self, key: KeyId, rollout: RolloutId) -> NextStep {
        let Some(OfKey { last, .. }) = self.keys.get(&key) else { return NextStep::default() };
        let ordinal = last.ordinal.wrapping_add(1);
        if last.rollout != rollout {
            return NextStep { ordinal, ..NextStep::default() };
        }
        NextStep { ordinal, number: last.number.saturating_add(1), previous: last.digest }
    }

    fn find(&self, rollout: RolloutId) -> Option<(KeyId, &Kept)> {
        let key = *self.rollouts.get(&rollout)?;
        let kept = self.keys.get(&key)?.kept.iter().find(|kept| kept.rollout == rollout)?;
        Some((key, kept))
    }

    /// The rollouts of a key, the latest first.
    fn of_key(&self, key: KeyId) -> Vec<Kept> {
        let mut kept = self.keys.get(&key).map(|of_key| of_key.kept.clone()).unwrap_or_default();
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.epoch));
        kept
    }
}

impl Vault {
    /// Where the next step of a rollout goes.
    pub(crate) fn next_step(
        &self,
        (tenant, key): (TenantId, KeyId),
        rollout: RolloutId,
    ) -> NextStep {
        let tenant = self.tenants.get(&tenant);
        tenant.map(|tenant| tenant.trail.next(key, rollout)).unwrap_or_default()
    }

    /// Steps of a rollout from a number on, so many at most, and whether there are more. Those whose places were taken by
    /// later ones are passed over; of a rollout that there never was there are none.
    pub(crate) fn steps(
        &self,
        (tenant, rollout): (TenantId, RolloutId),
        from: u32,
        most: usize,
    ) -> Result<(Vec<StepRow>, bool), SignerError> {
        let found = self.tenants.get(&tenant).and_then(|tenant| tenant.trail.find(rollout));
        let Some((key, kept)) = found else { return Ok((Vec::new(), false)) };
        let mut numbers = from.max(kept.first)..=kept.last;
        let page = numbers.by_ref().take(most);
        let steps: Vec<_> =
            page.map(|number| self.step((tenant, key), kept, number)).collect::<Result<_, _>>()?;
        Ok((steps, numbers.next().is_some()))
    }

    /// Of each rollout of a key the first and the last step that are kept, those of the latest rollout first.
    pub(crate) fn kept_rollouts(
        &self,
        tenant: TenantId,
        key: KeyId,
    ) -> Result<Vec<(StepRow, StepRow)>, SignerError> {
        let owner = self.tenants.get(&tenant);
        let kept = owner.map(|owner| owner.trail.of_key(key)).unwrap_or_default();
        let ends = |kept: &Kept| {
            let step = |number| self.step((tenant, key), kept, number);
            Ok((step(kept.first)?, step(kept.last)?))
        };
        kept.iter().map(ends).collect()
    }

    fn step(
        &self,
        (tenant, key): (TenantId, KeyId),
        kept: &Kept,
        number: u32,
    ) -> Result<StepRow, SignerError> {
        let place = StepRow::place_of(key, kept.ordinal_of(number));
        let name = name(tenant, StepRow::KIND, &place);
        let row = self.store.get(&row_name(&name)?)?.ok_or_else(Self::taken_back)?;
        let owner = self.tenants.get(&tenant).ok_or(NotSealedHere)?;
        let (version, epoch) = claimed_place(&row.value)?;
        let is_known = owner
            .rows
            .get(&name)
            .is_some_and(|mark| mark.version == version && seal_tag(&row.value) == Some(mark.tag));
        if !is_known {
            return Err(Self::taken_back());
        }
        let place = RowPlace { tenant, name: &name, version, epoch };
        let opened = owner.key.open(&place, &row.value)?;
        match cbor::decode(&opened, "row") {
            Ok(Row::Step(step)) if (step.rollout, step.number) == (kept.rollout, number) => {
                Ok(*step)
            }
            _ => Err(Self::taken_back()),
        }
    }

    fn taken_back() -> SignerError {
        SignerError::Inconsistent("a step of a rollout was taken back")
    }
}

#[cfg(test)]
mod tests;
