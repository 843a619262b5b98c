//! The issue of a trust bundle: stored and on record before anybody is given it.

use std::sync::mpsc::SyncSender;

use chancery_core::action::ISSUE_BUNDLE;
use chancery_core::authority::{Decided, Effect, Row};
use chancery_core::bundle::BundleRow;
use chancery_core::command::Answer;
use chancery_core::id::TenantId;

use super::{StoreThread, refused_by_store};
use crate::counters::lock;
use crate::entropy;
use crate::outbox::OutboxEntry;
use crate::outlet::Answer as OutAnswer;
use crate::vault::Change;

/// A bundle that was made.
pub(crate) struct BundleJob {
    pub(crate) row: BundleRow,
    pub(crate) digest: [u8; 32],
    /// Told once it may be handed out; dropped if it may not.
    pub(crate) done: SyncSender<()>,
}

impl StoreThread {
    /// Stores a bundle under the tenant's head and has it recorded: whoever takes its row back is found against the log.
    pub(super) fn issue_bundle(&mut self, job: BundleJob) {
        let BundleJob { row, digest, done } = job;
        let tenant = row.tenant;
        let (now, epoch, posture_epoch) = {
            let mut core = lock(&self.shared.core);
            let now = core.now(entropy::sample());
            let epoch = core.authority.tenant(tenant).map(|row| row.epoch);
            (now, epoch, core.authority.posture().epoch)
        };
        // There is no room to record it: the one before is handed out until it expires.
        let Some(epoch) = epoch.filter(|_| !self.shared.spare.is_full()) else { return };
        let mut entry = OutboxEntry::of_service(tenant, now, posture_epoch);
        entry.operation = ISSUE_BUNDLE;
        entry.message = digest;
        // By which it is found.
        entry.output = digest;
        let rows = vec![Row::Bundle(row)];
        let (materials, erased, command) = (Vec::new(), None, self.last_command + 1);
        let change = Change { tenant, epoch, rows: rows.clone(), materials, erased, command };
        match self.commit(&change, std::slice::from_mut(&mut entry)) {
            Ok(()) => {
                let (effect, answer) = (Effect::Recorded, Answer::Done);
                let decided = Decided { rows, effect, answer, key: None, handle: None, step: None };
                self.take_effect(decided, &entry, OutAnswer::None, None);
                // What is not on record has no effect, and is handed out to nobody.
                if self.is_latest_bundle(tenant, digest) {
                    let _ = done.send(());
                }
            }
            Err(error) => drop(refused_by_store(&error)),
        }
    }

    fn is_latest_bundle(&self, tenant: TenantId, digest: [u8; 32]) -> bool {
        let core = lock(&self.shared.core);
        let latest = core.authority.bundle(tenant).and_then(|row| row.latest());
        latest.is_some_and(|latest| latest.digest == digest)
    }
}
