//! What the service does by itself: destroys versions whose time has come, and takes rollouts a step on.

use chancery_core::action::STEP_ROLLOUT;
use chancery_core::authority::{Decided, DueDestruction, Moving, Row};
use chancery_core::cbor;
use chancery_core::clock::Reading;
use chancery_crypto::primitive::sha256;

use super::{StoreThread, epoch_of, refused_by_store};
use crate::counters::lock;
use crate::entropy;
use crate::outbox::OutboxEntry;
use crate::outlet::Answer as OutAnswer;
use crate::rollouts;
use crate::sightings::Detail;
use crate::vault::Change;

/// The number in records of a version's destruction, which no principal commands at its moment.
const DESTROY_VERSION: u8 = 11;

impl StoreThread {
    /// Destroys a version whose scheduled time has come: its material leaves the store, its metadata stays.
    pub(super) fn destroy(&mut self, due: &DueDestruction) {
        let (now, decided) = {
            let mut core = lock(&self.shared.core);
            let now = core.now(entropy::sample());
            (now, core.authority.decide_destruction(due, now))
        };
        // It was cancelled meanwhile, or there is no room to record it: it stays scheduled.
        let Some(decided) = decided.ok().filter(|_| !self.shared.spare.is_full()) else { return };
        if self.change(DESTROY_VERSION, decided, now) {
            self.shared.materials.forget((due.key, due.version));
        }
    }

    /// Takes a rollout a step on, if it still has one to take: it is looked at again.
    pub(super) fn step(&mut self, moving: &Moving) {
        // No key is used, so that nothing is seen of it either.
        if self.shared.uses_no_key().is_some() {
            return;
        }
        let Some((now, Ok(Some(decided)))) = rollouts::step(&self.shared, moving, Detail::Counts)
        else {
            return;
        };
        let status = decided.rows.iter().find_map(|row| match row {
            Row::Rollout(rollout) => Some(rollout.status),
            _ => None,
        });
        if self.change(STEP_ROLLOUT, decided, now)
            && let Some(status) = status
        {
            self.shared.steps.count(status);
        }
    }

    /// Stores what the service has decided by itself, and has it recorded. If the store does not take it, nothing has
    /// happened.
    fn change(&mut self, operation: u8, mut decided: Decided, now: Reading) -> bool {
        let step = self.keep_step(&mut decided);
        let Some(row) = decided.rows.first() else { return false };
        let tenant = row.tenant();
        let posture_epoch = lock(&self.shared.core).authority.posture().epoch;
        let mut entry = OutboxEntry::of_service(tenant, now, posture_epoch);
        entry.operation = operation;
        entry.key = decided.key;
        entry.message = message_of(&decided.rows);
        if let Some(step) = &step {
            entry.say(step);
        }
        let Some(epoch) = epoch_of(&decided.rows) else { return false };
        let erases = operation == DESTROY_VERSION;
        let change = Change {
            tenant,
            epoch,
            rows: decided.rows.clone(),
            material: None,
            erased: decided.key.filter(|_| erases),
            command: self.last_command + 1,
        };
        match self.commit(&change, &mut entry) {
            Ok(()) => {
                self.take_effect(decided, &entry, OutAnswer::None, None);
                true
            }
            Err(error) => {
                drop(refused_by_store(&error));
                false
            }
        }
    }
}

/// What the record of a step says it is about: the digest of the rollout's row.
fn message_of(rows: &[Row]) -> [u8; 32] {
    let rollout = rows.iter().find_map(|row| match row {
        Row::Rollout(rollout) => Some(sha256(&[&cbor::encode(&**rollout)])),
        _ => None,
    });
    rollout.unwrap_or_default()
}
