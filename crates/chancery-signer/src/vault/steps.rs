//! The steps of rollouts: which is the last of each key, and reading those that are kept.
//!
//! What a step is bound to, the digest of the one before, is remembered here, so that no read stands between a rollout
//! and its next step. After a start it is made from the rows themselves, which the head vouches for.

use std::collections::BTreeMap;

use chancery_core::authority::Row;
use chancery_core::cbor;
use chancery_core::epoch::Epoch;
use chancery_core::id::{KeyId, RolloutId, TenantId};
use chancery_core::rollout::{STEPS_KEPT, StepRow};
use chancery_crypto::primitive::sha256;
use chancery_crypto::seal::{NotSealedHere, RowPlace, claimed_place, seal_tag};

use super::{Vault, name, row_name};
use crate::config::SignerError;

/// The last step of each key.
#[derive(Debug, Default)]
pub(super) struct Trail(BTreeMap<KeyId, Last>);

#[derive(Clone, Copy, Debug)]
struct Last {
    rollout: RolloutId,
    number: u32,
    digest: [u8; 32],
    epoch: Epoch,
}

impl Trail {
    /// Takes in a step that is stored: of one key the one of the highest epoch is the last, in whatever order they come.
    pub(super) fn note(&mut self, step: &StepRow) {
        let epoch = step.taken.after.epoch;
        if self.0.get(&step.key).is_some_and(|last| last.epoch >= epoch) {
            return;
        }
        let digest = sha256(&[&cbor::encode(step)]);
        let last = Last { rollout: step.rollout, number: step.number, digest, epoch };
        self.0.insert(step.key, last);
    }

    fn last(&self, key: KeyId, rollout: RolloutId) -> Option<&Last> {
        self.0.get(&key).filter(|last| last.rollout == rollout)
    }
}

impl Vault {
    /// The number of the next step of a rollout, and the digest of the one before it; zeros for the first.
    pub(crate) fn next_step(
        &self,
        tenant: TenantId,
        key: KeyId,
        rollout: RolloutId,
    ) -> (u32, [u8; 32]) {
        let tenant = self.tenants.get(&tenant);
        let last = tenant.and_then(|tenant| tenant.trail.last(key, rollout));
        last.map_or((0, [0; 32]), |last| (last.number.saturating_add(1), last.digest))
    }

    /// Steps of a rollout from a number on, so many at most, and whether there are more. Those whose places were taken by
    /// later ones are passed over.
    pub(crate) fn steps(
        &self,
        (tenant, key, rollout): (TenantId, KeyId, RolloutId),
        from: u32,
        most: usize,
    ) -> Result<(Vec<StepRow>, bool), SignerError> {
        let (next, _) = self.next_step(tenant, key, rollout);
        let first = from.max(next.saturating_sub(STEPS_KEPT));
        let numbers = (first..next).take(most);
        let steps: Vec<_> =
            numbers.map(|number| self.step(tenant, key, number)).collect::<Result<_, _>>()?;
        let is_all = steps.iter().all(|step| step.rollout == rollout);
        let more = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX) > most;
        if is_all { Ok((steps, more)) } else { Err(Self::taken_back()) }
    }

    fn step(&self, tenant: TenantId, key: KeyId, number: u32) -> Result<StepRow, SignerError> {
        let name = name(tenant, StepRow::KIND, &StepRow::place_of(key, number));
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
            Ok(Row::Step(step)) if step.number == number => Ok(*step),
            _ => Err(Self::taken_back()),
        }
    }

    fn taken_back() -> SignerError {
        SignerError::Inconsistent("a step of a rollout was taken back")
    }
}
