//! The rollouts of a tenant: the latest of each key, by key and by id, and which of them are under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Contradiction;
use crate::id::{KeyId, RolloutId, TenantId};
use crate::rollout::Rollout;

/// A key that a rollout moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moving {
    /// Whose.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// The rollout.
    pub rollout: RolloutId,
}

impl Moving {
    /// The key that a rollout moves.
    #[must_use]
    pub fn by(rollout: &Rollout) -> Self {
        Self { tenant: rollout.tenant, key: rollout.key, rollout: rollout.id }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rollouts {
    of_key: BTreeMap<KeyId, Arc<Rollout>>,
    keys: BTreeMap<RolloutId, KeyId>,
    under_way: BTreeSet<KeyId>,
}

impl Rollouts {
    /// Applies a row: the next of the same rollout, or the first of another when that is over.
    pub(super) fn apply(&mut self, rollout: Rollout) -> Result<(), Contradiction> {
        let before = self.of_key.get(&rollout.key);
        let goes_on = before.is_none_or(|before| {
            if before.id == rollout.id {
                rollout.follows(before)
            } else {
                before.status.is_over() && rollout.epoch > before.epoch
            }
        });
        if !goes_on {
            return Err(Contradiction);
        }
        if let Some(before) = before {
            self.keys.remove(&before.id);
        }
        self.keys.insert(rollout.id, rollout.key);
        if rollout.status.is_over() {
            self.under_way.remove(&rollout.key);
        } else {
            self.under_way.insert(rollout.key);
        }
        self.of_key.insert(rollout.key, Arc::new(rollout));
        Ok(())
    }

    /// The latest rollout of a key.
    pub(super) fn of_key(&self, key: KeyId) -> Option<&Rollout> {
        self.of_key.get(&key).map(|rollout| &**rollout)
    }

    /// The latest rollout of every key that ever had one.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rollout> {
        self.of_key.values().map(|rollout| &**rollout)
    }

    /// The rollout of an id, if it is the latest of its key.
    pub(super) fn find(&self, id: RolloutId) -> Option<&Rollout> {
        self.of_key(*self.keys.get(&id)?)
    }

    /// Those that are not over.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Rollout> {
        self.under_way.iter().filter_map(|key| self.of_key(*key))
    }
}
