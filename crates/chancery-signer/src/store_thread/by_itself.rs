//! What the service does by itself: destroys versions whose time has come, begins what rules make due, and takes rollouts a
//! step on.

use std::collections::BTreeSet;

use chancery_core::action::{ROTATE, STAND_BY, STEP_ROLLOUT};
use chancery_core::authority::{Decided, DueDestruction, Effect, Moving, Row};
use chancery_core::cbor;
use chancery_core::clock::Reading;
use chancery_core::rollout::Status;
use chancery_crypto::primitive::sha256;

use super::material::NewMaterial;
use super::{StoreThread, TOGETHER_MAX, epoch_of, material_of, refused_by_store};
use crate::counters::lock;
use crate::entropy;
use crate::jobs::RotateJob;
use crate::outbox::OutboxEntry;
use crate::outlet::Answer as OutAnswer;
use crate::rollouts;
use crate::vault::{Change, Material};

/// The number in records of a version's destruction, which no principal commands at its moment.
const DESTROY_VERSION: u8 = 11;

/// How many bytes of rows go into one transaction before no more are added: 512 KiB, half of what it holds. One change takes
/// at most some three rows of 64 KiB.
pub(crate) const ROWS_BYTES_MAX: usize = 512 * 1024;

/// How many changes are made one by one after several together were refused: 64, four times as many as go together. So one
/// that the store does not take keeps no others from being made, and they go on together soon.
const SINGLY: usize = 4 * TOGETHER_MAX;

impl StoreThread {
    /// How many changes go into the next transaction at most.
    pub(super) fn together_max(&self) -> usize {
        if self.singly > 0 { 1 } else { TOGETHER_MAX }
    }

    /// Destroys a version whose scheduled time has come: its material leaves the store, its metadata stays.
    pub(super) fn destroy(&mut self, due: &DueDestruction) {
        let (now, decided) = {
            let mut core = lock(&self.shared.core);
            let now = core.now(entropy::sample());
            (now, core.authority.decide_destruction(due, now))
        };
        // It was cancelled meanwhile, or there is no room to record it: it stays scheduled.
        let Some(decided) = decided.ok().filter(|_| !self.shared.spare.is_full()) else { return };
        if self.change(vec![Own::of(DESTROY_VERSION, decided)], now) {
            self.shared.materials.forget((due.key, due.version));
        }
    }

    /// Takes rollouts of one tenant a step on, those that still have one to take: they are looked at again. What takes
    /// protecting away comes first; what gives it is in effect when it is on record, so that the two are not one change.
    pub(super) fn step(&mut self, movings: BTreeSet<Moving>) {
        // One can have come in again between two looks at the queue.
        let mut movings: Vec<_> = movings.into_iter().collect();
        for effect in [Effect::Barrier, Effect::Recorded] {
            // No key is used, so that nothing is seen of it either.
            if self.shared.uses_no_key().is_some() {
                return;
            }
            let Some((now, steps)) = rollouts::steps(&self.shared, &movings, effect) else {
                continue;
            };
            let statuses: Vec<_> = steps.iter().filter_map(|(_, step)| status_of(step)).collect();
            movings.retain(|moving| !steps.iter().any(|(stepped, _)| stepped == moving));
            let steps = steps.into_iter().map(|(_, decided)| Own::of(STEP_ROLLOUT, decided));
            if self.change(steps.collect(), now) {
                for status in statuses {
                    self.shared.steps.count(status);
                }
            }
        }
    }

    /// Begins what rules make due for keys of one tenant, as far as it still is; as much at once as fits in one transaction.
    pub(super) fn rotate(&mut self, jobs: Vec<RotateJob>) {
        let mut keys = BTreeSet::new();
        let mut jobs = jobs.into_iter().filter(|job| keys.insert(job.due.key)).peekable();
        while jobs.peek().is_some() {
            if self.shared.uses_no_key().is_some() || self.shared.spare.is_full() {
                return;
            }
            let now = lock(&self.shared.core).now(entropy::sample());
            let (mut begun, mut bytes) = (Vec::new(), 0);
            while bytes < ROWS_BYTES_MAX
                && let Some(job) = jobs.next()
            {
                let own = self.begin(job, begun.len(), now);
                bytes += own.as_ref().map_or(0, |own: &Own| bytes_of(&own.decided));
                begun.extend(own);
            }
            let operations: Vec<_> = begun.iter().map(|own| own.operation).collect();
            if self.change(begun, now) {
                for operation in operations {
                    self.shared.rotations.count(operation);
                }
            }
        }
    }

    /// What becomes of one of them, `ahead` changes of the tenant from now.
    fn begin(&self, job: RotateJob, ahead: usize, now: Reading) -> Option<Own> {
        let RotateJob { due, made, uses } = job;
        let scope = {
            let authority = &lock(&self.shared.core).authority;
            authority.key(due.tenant, due.key)?.scope.clone()
        };
        let material = made.as_ref().map(|key| NewMaterial::of(key, scope)).transpose().ok()?;
        let fresh = self.fresh(now, material.as_ref()).ok()?;
        let decided = {
            let authority = &lock(&self.shared.core).authority;
            authority.decide_due(&due, (&uses, ahead), fresh, now)
        };
        match decided {
            Ok(decided) => {
                let decided = decided?;
                // What is due may be another thing by now: its record says what was done.
                let operation = if decided.step.is_some() { ROTATE } else { STAND_BY };
                Some(Own { operation, decided, material })
            }
            Err(refusal) => {
                self.shared.rotations.refused(due, refusal);
                None
            }
        }
    }

    /// Stores what the service has decided by itself, all of one tenant and of one effect, and has it recorded. If the
    /// store does not take it, nothing has happened.
    fn change(&mut self, mut changes: Vec<Own>, now: Reading) -> bool {
        let steps: Vec<_> =
            changes.iter_mut().map(|own| self.keep_step(&mut own.decided)).collect();
        let rows = || changes.iter().flat_map(|own| &own.decided.rows);
        let Some(tenant) = rows().next().map(Row::tenant) else { return false };
        // The tenant's row changes with each; the last is what is left.
        let last = rows().rev().find(|row| matches!(row, Row::Tenant(_))).cloned();
        let Some(epoch) = epoch_of(last.as_slice()) else { return false };
        let others = rows().filter(|row| !matches!(row, Row::Tenant(_))).cloned();
        let rows: Vec<_> = last.clone().into_iter().chain(others).collect();
        let posture_epoch = lock(&self.shared.core).authority.posture().epoch;
        let entry = |own: &Own| OutboxEntry {
            operation: own.operation,
            key: own.decided.key,
            message: message_of(&own.decided.rows),
            ..OutboxEntry::of_service(tenant, now, posture_epoch)
        };
        let mut entries: Vec<_> = changes.iter().map(entry).collect();
        for (entry, step) in entries.iter_mut().zip(&steps) {
            if let Some(step) = step {
                entry.say(step);
            }
        }
        let (first, count) = (self.last_command + 1, entries.len());
        let erased = changes.iter().find(|own| own.operation == DESTROY_VERSION);
        let erased = erased.and_then(|own| own.decided.key);
        let (decided, materials): (Vec<_>, Vec<_>) = changes.into_iter().map(Own::apart).unzip();
        let materials = materials.into_iter().flatten().collect();
        let command = self.last_command.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        let change = Change { tenant, epoch, rows, materials, erased, command };
        self.singly = self.singly.saturating_sub(1);
        if let Err(error) = self.commit(&change, &mut entries) {
            drop(refused_by_store(&error));
            if count > 1 {
                self.singly = SINGLY;
            }
            return false;
        }
        let recorded = (first..).zip(decided.into_iter().zip(&entries));
        let recorded = recorded.map(|(number, (decided, entry))| {
            (number, self.submit(decided, (entry, number), OutAnswer::None, None))
        });
        let recorded = recorded.collect();
        self.await_records(recorded);
        true
    }
}

/// How many bytes the rows of a change take, about, and the step that it takes with them.
pub(crate) fn bytes_of(decided: &Decided) -> usize {
    let rows = decided.rows.iter().map(|row| cbor::encode(row).len());
    let step = decided.step.as_ref().map_or(0, |step| cbor::encode(&**step).len());
    rows.sum::<usize>().saturating_add(step)
}

/// Something that the service has decided by itself.
struct Own {
    operation: u8,
    decided: Decided,
    material: Option<NewMaterial>,
}

impl Own {
    fn of(operation: u8, decided: Decided) -> Self {
        Self { operation, decided, material: None }
    }

    fn apart(self) -> (Decided, Option<Material>) {
        let material = material_of(self.material, &self.decided);
        (self.decided, material)
    }
}

fn status_of(decided: &Decided) -> Option<Status> {
    decided.rows.iter().find_map(|row| match row {
        Row::Rollout(rollout) => Some(rollout.status),
        _ => None,
    })
}

/// What the record of a step says it is about: the digest of the rollout's row.
fn message_of(rows: &[Row]) -> [u8; 32] {
    let rollout = rows.iter().find_map(|row| match row {
        Row::Rollout(rollout) => Some(sha256(&[&cbor::encode(&**rollout)])),
        _ => None,
    });
    rollout.unwrap_or_default()
}
