//! The step of a rollout that a decision takes: given its place behind the ones before, and stored with its rows.
//!
//! **Invariant:** a step has one place and one digest, and its record commits to that digest. Steps are kept in the places
//! of a ring, so that there is always room for the next one.

use chancery_core::authority::{Decided, Row};
use chancery_core::cbor;
use chancery_core::rollout::{StepRow, Why};
use chancery_crypto::primitive::sha256;

use super::StoreThread;
use crate::counters::lock;
use crate::outbox::OutboxEntry;
use crate::vault::NextStep;

/// What the record of a step says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptStep {
    digest: [u8; 32],
    why: Why,
}

impl OutboxEntry {
    /// Has the record commit to a step and say why it was taken.
    pub(super) fn say(&mut self, step: &KeptStep) {
        self.output = step.digest;
        self.cause = Some(step.why.number());
    }
}

impl StoreThread {
    /// Adds the row of the step to what a decision writes, if it takes one.
    pub(super) fn keep_step(&self, decided: &mut Decided) -> Option<KeptStep> {
        let taken = *decided.step.take()?;
        let rollout = decided.rows.iter().find_map(|row| match row {
            Row::Rollout(rollout) => Some(rollout),
            _ => None,
        })?;
        let (tenant, key, id) = (rollout.tenant, rollout.key, rollout.id);
        let next = lock(&self.shared.vault).next_step((tenant, key), id);
        let NextStep { ordinal, number, previous } = next;
        let row = sha256(&[&cbor::encode(&**rollout)]);
        let why = taken.why;
        let ordinal = Some(ordinal);
        let step = StepRow { tenant, key, rollout: id, number, previous, row, taken, ordinal };
        let digest = sha256(&[&cbor::encode(&step)]);
        decided.rows.push(Row::Step(Box::new(step)));
        Some(KeptStep { digest, why })
    }
}
