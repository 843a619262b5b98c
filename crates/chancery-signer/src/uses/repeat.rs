//! Repeats: the answer of what was carried out before is read back from the log.

use chancery_api::message::{Receipt, UseResult};
use chancery_audit::frame::Frame;
use chancery_audit::wal::{Address, read_frame};
use chancery_core::cbor;
use chancery_core::handle::Operation;
use chancery_core::idempotency::Place;
use chancery_core::reason::Reason;
use chancery_core::sequencer::{Claim, Counting};
use minicbor::{Decode, Encode};

use super::{Job, Redo, Worker, compute};
use crate::inbox::{Repeated, Submission};

/// An answer as it is kept in the log for a repeat.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct KeptAnswer {
    #[n(0)]
    pub(super) version: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) output: Vec<u8>,
}

impl Worker {
    /// The operation was carried out before: its answer is read back, and leaves in its turn. A data key
    /// comes out of its wrapping again, which is a use of its own.
    pub(crate) fn repeat(&mut self, job: Job, place: Place) {
        let Some((kept, frame)) = self.kept(&job, place) else {
            return self.refuse(
                &job.request,
                job.position,
                Reason::AnswerUnreadable,
                job.permit.now(),
            );
        };
        if job.request.operation == Operation::GenerateDataKey {
            return self.unwrap_again(job, &kept);
        }
        let Some(result) = self.recall(&job, place, kept, &frame) else {
            return self.refuse(
                &job.request,
                job.position,
                Reason::AnswerUnreadable,
                job.permit.now(),
            );
        };
        let Job { request, position, permit, room, .. } = job;
        let redo = Redo { request, position, place: Some(place), room };
        let claim = Claim {
            tenant: permit.key().tenant,
            decided: permit.decided(),
            counting: Counting::Nothing,
        };
        self.out.push(Submission::Repeated(Box::new(Repeated { claim, result, redo })));
    }

    fn kept(&self, job: &Job, place: Place) -> Option<(KeptAnswer, Frame)> {
        let tenant = job.permit.key().tenant;
        let frame = read_frame(&*self.shared.disk, Address::from_number(place.address)).ok()?;
        let item = frame.items.get(usize::try_from(place.item).ok()?)?;
        let keys = self.shared.month_keys(tenant, item.month, frame.boot_nonce)?;
        let kept = cbor::decode(&keys.open_answer(tenant, item)?, "answer").ok()?;
        Some((kept, frame))
    }

    fn unwrap_again(&mut self, job: Job, kept: &KeptAnswer) {
        let computed = compute::data_key_again(&self.shared, &job, kept.version, &kept.output);
        if let Some(computed) = computed {
            return self.commit(job, computed);
        }
        self.refuse(&job.request, job.position, Reason::AnswerUnreadable, job.permit.now());
    }

    fn recall(
        &self,
        job: &Job,
        place: Place,
        kept: KeptAnswer,
        frame: &Frame,
    ) -> Option<UseResult> {
        let tenant = job.permit.key().tenant;
        let item = frame.items.get(usize::try_from(place.item).ok()?)?;
        let keys = self.shared.month_keys(tenant, item.month, frame.boot_nonce)?;
        let receipt = match job.request.receipt {
            Receipt::Unwanted => Vec::new(),
            Receipt::Wanted => self.shared.receipt_again(frame, place.item, &keys)?,
        };
        let id = job.request.items.get(job.position)?.id?;
        let index = frame.first_index + u64::from(place.item);
        let KeptAnswer { version, output } = kept;
        Some(UseResult::Committed { id, output, version, index, receipt })
    }
}
