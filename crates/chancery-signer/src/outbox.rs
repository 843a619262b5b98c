//! Outbox rows: commands that are stored and whose records may not be in the log yet.
//!
//! An entry holds all that its record will say, and the answer, so that it can be recorded after a crash as
//! it would have been before. It is the operation's row too.

use chancery_api::message::CommandReply;
use chancery_audit::called::Names;
use chancery_audit::record::{Authentication, Counted, Facts, Kind};
use chancery_audit::resume::HeadHash;
use chancery_audit::sealer::{Kept, Sealer};
use chancery_core::cbor;
use chancery_core::clock::{Quality, Reading, Served};
use chancery_core::id::{HandleId, KeyId, OperationId, PrincipalId, TenantId};
use chancery_core::reason::Reason;
use chancery_core::sequencer::{Claim, Counted as CountedUse, Counting, Mark};
use minicbor::{Decode, Encode};

use crate::config::SignerError;
use crate::inbox::{CommandWay, Finished, Submission, Way};
use crate::outlet::Answer as OutAnswer;

/// What an outbox row holds: the record to be made, and the answer.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct OutboxEntry {
    #[n(0)]
    pub(crate) tenant: TenantId,
    #[n(1)]
    pub(crate) unix_ms: u64,
    #[n(2)]
    pub(crate) quality: Quality,
    #[n(3)]
    pub(crate) operation: u8,
    #[n(4)]
    pub(crate) suite: u16,
    #[n(5)]
    pub(crate) key: Option<(KeyId, u32)>,
    #[n(6)]
    pub(crate) actor: Option<PrincipalId>,
    #[n(7)]
    pub(crate) operation_id: Option<OperationId>,
    #[n(8)]
    pub(crate) posture_epoch: u64,
    #[cbor(n(9), with = "minicbor::bytes")]
    pub(crate) head_digest: [u8; 32],
    #[cbor(n(10), with = "minicbor::bytes")]
    pub(crate) message: [u8; 32],
    #[n(11)]
    pub(crate) kept: Option<KeptEntry>,
    #[n(12)]
    pub(crate) authentication: Authentication,
    /// The handle that was issued.
    #[n(13)]
    pub(crate) credential: Option<HandleId>,
    /// The registered number of why it was done: of a retirement, and of a step of a rollout.
    #[n(14)]
    pub(crate) cause: Option<u16>,
    /// How many people have approved it.
    #[n(15)]
    pub(crate) approvals: u8,
    /// Of a step of a rollout, SHA-256 of its row.
    #[cbor(n(16), with = "minicbor::bytes")]
    pub(crate) output: [u8; 32],
}

/// The operation id of an outbox row, and its answer.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct KeptEntry {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) name: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) digest: [u8; 32],
    #[n(2)]
    pub(crate) id_ms: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(crate) answer: Vec<u8>,
}

/// The longest answer in an outbox row: 48 KiB, of the 64 of a row. A disclosure may be longer.
const ROW_ANSWER_BYTES_MAX: usize = 48 * 1024;

impl KeptEntry {
    /// What of it stands in a row.
    fn into_row(self) -> Self {
        if self.answer.len() <= ROW_ANSWER_BYTES_MAX {
            return self;
        }
        let detail = "the service ended before its answer was in the log; give the command anew";
        let reason = Reason::AnswerUnreadable;
        let answer = cbor::encode(&CommandReply::Refused { reason, detail: detail.to_owned() });
        Self { answer, ..self }
    }
}

impl OutboxEntry {
    /// The entry of something that the service did by itself.
    pub(crate) fn of_service(tenant: TenantId, now: Reading, posture_epoch: u64) -> Self {
        Self {
            tenant,
            unix_ms: now.unix_ms,
            quality: now.quality,
            operation: 0,
            suite: 0,
            key: None,
            actor: None,
            operation_id: None,
            posture_epoch,
            head_digest: [0; 32],
            message: [0; 32],
            kept: None,
            authentication: Authentication::Service,
            credential: None,
            cause: None,
            approvals: 0,
            output: [0; 32],
        }
    }

    /// The bytes of its row, once the head is known. An answer that is too long for a row is in the log alone: if the
    /// process ends before it is there, a repeat is told that it cannot be read.
    pub(crate) fn with_head(&self, head_digest: [u8; 32]) -> Vec<u8> {
        let kept = self.kept.clone().map(KeptEntry::into_row);
        cbor::encode(&Self { head_digest, kept, ..self.clone() })
    }

    /// The head that it left, as the resume file holds it.
    pub(crate) fn head_hash(&self) -> HeadHash {
        HeadHash { tenant: self.tenant, hash: self.head_digest }
    }

    /// The tenant and the head that it left.
    pub(crate) fn head(&self) -> (TenantId, [u8; 32]) {
        (self.tenant, self.head_digest)
    }

    fn facts(&self) -> Facts {
        let now = Reading {
            unix_ms: self.unix_ms,
            quality: self.quality,
            served: Served::default(),
            wall_ms: self.unix_ms,
        };
        let mut facts = Facts::new(self.tenant, now, Kind::Command);
        facts.operation = self.operation;
        facts.suite = self.suite;
        facts.key = self.key;
        facts.actor = self.actor;
        facts.authentication = self.authentication;
        facts.credential = self.credential;
        facts.cause = self.cause;
        facts.operation_id = self.operation_id;
        facts.approvals = self.approvals;
        facts.posture_epoch = self.posture_epoch;
        facts.head_digest = self.head_digest;
        facts.message = self.message;
        facts.output = self.output;
        facts
    }

    /// The record of this entry, for the sequencer.
    pub(crate) fn submission(
        &self,
        sealer: &mut Sealer,
        number: u64,
        answer: OutAnswer,
        way: CommandWay,
    ) -> Result<Submission, SignerError> {
        self.submit(sealer, (self.facts(), Counting::Nothing), (number, answer), way)
    }

    /// The record of an entry that says how many uses of a key version there are so far, and what the key was called in
    /// the months before; for the sequencer.
    pub(crate) fn count(
        &self,
        sealer: &mut Sealer,
        ((key, version), names): ((KeyId, u32), Option<Names>),
        answer: OutAnswer,
        way: CommandWay,
    ) -> Result<Submission, SignerError> {
        let mut facts = self.facts();
        facts.kind = Kind::Count;
        facts.output = names.map_or([0; 32], |names| names.digest());
        facts.counted = Counted::Yes;
        let so_far = Counting::SoFar(CountedUse::Version(key, version));
        self.submit(sealer, (facts, so_far), (0, answer), way)
    }

    fn submit(
        &self,
        sealer: &mut Sealer,
        (facts, counting): (Facts, Counting),
        (number, answer): (u64, OutAnswer),
        way: CommandWay,
    ) -> Result<Submission, SignerError> {
        let kept = self.kept.as_ref().map(|kept| Kept {
            name: kept.name,
            digest: kept.digest,
            id_ms: kept.id_ms,
            answer: &kept.answer,
        });
        let prepared = sealer.prepare(&facts, kept.as_ref());
        let prepared =
            prepared.map_err(|_| SignerError::Inconsistent("a month's audit keys are missing"))?;
        Ok(Submission::Finished(Box::new(Finished {
            claim: Claim { tenant: self.tenant, decided: Mark::STANDING, counting },
            prepared,
            beside: Vec::new(),
            command: number,
            entry: self.kept.as_ref().map(|kept| kept.name),
            answer,
            way: Way::Command(way),
        })))
    }
}
