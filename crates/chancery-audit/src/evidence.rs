//! The evidence of a rollout: its plan, its steps, and the proofs that each step is on record; checked offline.
//!
//! ```text
//! file     = CBOR [1, body (bytes), SHA-256 of body (32)]
//! body     = CBOR [plan, [step, …], checkpoint (text), [record, …], [record, …], policy digest (32)]
//!                                                            the last if it is named
//! record   = [index, [hash (32), …], opening (bytes)]        as in the proof of all uses
//! ```
//!
//! The first records are those of the steps, one of each in their order; the others are those of the trust bundles that
//! verifiers had been given by then. A step is the row of `chancery_core::rollout::StepRow`, and its record has SHA-256 of
//! it as its output. What is checked, and what is the service's word, stands at [`Evidence::check`].
//!
//! **Invariant:** a [`Proved`] is made by a check alone. The digest over the body finds accidents. Whoever makes it anew can
//! leave out steps at the beginning and at the end, and records of bundles, and alter the signatures of strangers under the
//! checkpoint and the name of the policy: what is left of the steps is as they were.

mod recorded;

use chancery_core::bundle::Issued;
use chancery_core::cbor;
use chancery_core::rollout::{Plan, StepRow, Unsound};
use chancery_crypto::primitive::sha256;
use chancery_crypto::rollout::plan_digest;
use chancery_log::TreeHead;
use chancery_log::note::Note;
use chancery_log::tile::{TileError, TileReader};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::opening::Opening;
use crate::proof::{ProofError, RecordProof, Trust, Vouched};

const FORMAT: u8 = 1;

/// The longest file that is read: 16 MiB. 128 steps of 64 KiB are 8, and each has a record of about a KiB.
pub const EVIDENCE_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
struct File {
    #[n(0)]
    format: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    body: Vec<u8>,
    #[n(2)]
    digest: ByteArray<32>,
}

/// Evidence of a rollout, as it is exported.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Evidence {
    #[n(0)]
    plan: Plan,
    #[n(1)]
    steps: Vec<StepRow>,
    #[n(2)]
    checkpoint: String,
    #[n(3)]
    records: Vec<RecordProof>,
    #[n(4)]
    bundles: Vec<RecordProof>,
    #[n(5)]
    policy: Option<ByteArray<32>>,
}

/// What evidence is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The plan, in full.
    pub plan: Plan,
    /// The steps, in their order.
    pub steps: Vec<StepRow>,
    /// Of each step its record: the index, and what is shown of it ([`SHOWN`]).
    pub records: &'a [(u64, Opening)],
    /// The records of trust bundles, in their order in the log.
    pub bundles: &'a [(u64, Opening)],
}

pub use recorded::SHOWN;

/// A step that is on record, and what the engine says of it.
#[derive(Clone, Debug)]
pub struct OnRecord {
    /// The record's index in the log.
    pub index: u64,
    /// The step.
    pub step: StepRow,
    /// How many people had approved what was commanded, as the record says.
    pub approvals: u8,
}

/// What evidence shows.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The plan.
    pub plan: Plan,
    /// The steps, in their order; without a gap, and from the beginning on unless the first has a number above 0.
    pub steps: Vec<OnRecord>,
    /// The bundles that steps name, and the index of the record of each one's issue, if that is shown.
    pub bundles: Vec<(Issued, Option<u64>)>,
    /// The checkpoint that all of it is under, and who signed that.
    pub vouched: Vouched,
}

/// Evidence shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The bytes are no evidence, or of another version of it.
    #[error("not the evidence of a rollout, or altered so that it is none")]
    NotEvidence,
    /// A byte of it was altered.
    #[error("its digest is not that of what it holds: it was altered")]
    Altered,
    /// A proof in it does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The plan is not the one that the steps were taken by.
    #[error("the plan is not the one that step {0} was taken by")]
    Plan(u32),
    /// A step is missing, stands twice, or does not follow the one before it.
    #[error("step {0} does not follow the one before it")]
    Chain(u32),
    /// The rollout's row after a step is another one.
    #[error("step {0} does not leave the rollout as it says")]
    Row(u32),
    /// The record that stands for a step is not its.
    #[error("record {index} is not that of step {step}: {what}")]
    Record {
        /// The record's index.
        index: u64,
        /// The step's number.
        step: u32,
        /// What differs.
        what: &'static str,
    },
    /// A record that stands for a bundle is none of a bundle that a step names.
    #[error("record {0} is not the issue of a trust bundle that a step names")]
    Bundle(u64),
    /// The engine does not take a step so.
    #[error("step {step}: {why}")]
    Unsound {
        /// The step's number.
        step: u32,
        /// Why.
        why: Unsound,
    },
}

/// The digest of a step, which its record has as its output.
#[must_use]
pub fn step_digest(step: &StepRow) -> [u8; 32] {
    sha256(&[&cbor::encode(step)])
}

impl Evidence {
    /// Makes the evidence of steps whose records were opened, under a checkpoint.
    ///
    /// # Errors
    ///
    /// [`TileError`] if a tile is missing, or is not that of the checkpoint's tree.
    pub fn make(
        parts: Parts<'_>,
        (checkpoint, tree): (&Note, TreeHead),
        tiles: impl TileReader,
    ) -> Result<Self, TileError> {
        let all: Vec<_> = parts.records.iter().chain(parts.bundles).cloned().collect();
        let mut records = RecordProof::of_each(&all, tree, tiles)?;
        let bundles = records.split_off(parts.records.len());
        let Parts { plan, steps, .. } = parts;
        let checkpoint = checkpoint.to_string();
        Ok(Self { plan, steps, checkpoint, records, bundles, policy: None })
    }

    /// The same, naming the policy under which it was made.
    #[must_use]
    pub fn naming(self, policy: Option<[u8; 32]>) -> Self {
        Self { policy: policy.map(ByteArray::from), ..self }
    }

    /// The digest of the policy that it names: a word of who made it, signed by nobody.
    #[must_use]
    pub fn policy(&self) -> Option<[u8; 32]> {
        self.policy.map(|digest| *digest)
    }

    /// Its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = cbor::encode(self);
        let digest = sha256(&[&body]).into();
        cbor::encode(&File { format: FORMAT, body, digest })
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`] if the bytes are none, or were altered.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let file: File = cbor::decode(bytes, "file").map_err(|_| EvidenceError::NotEvidence)?;
        if file.format != FORMAT {
            return Err(EvidenceError::NotEvidence);
        }
        if sha256(&[&file.body]) != *file.digest {
            return Err(EvidenceError::Altered);
        }
        let evidence: Self =
            cbor::decode(&file.body, "body").map_err(|_| EvidenceError::NotEvidence)?;
        let is_one = !evidence.steps.is_empty() && evidence.steps.len() == evidence.records.len();
        is_one.then_some(evidence).ok_or(EvidenceError::NotEvidence)
    }

    /// Checks it, with a policy and nothing else:
    ///
    /// - the checkpoint counts under the policy, and each record is in the log of it;
    /// - each step's record commits to the step's digest and says the same of what was done, when, to which version, by
    ///   whose authentication and why; for what was commanded it commits to that very command;
    /// - steps are of one rollout and numbered without a gap, each holds the digest of the one before, begins with the state
    ///   that that one left, and has a later record and a higher epoch;
    /// - the plan has the digest that each step names;
    /// - the engine, run again on what each step says was seen, takes that step and no other, with those gates and for that
    ///   reason; verdicts follow from the counts; and the rollout's row comes out with the digest that the step holds.
    ///
    /// What was seen (counts, acknowledgements, which verifiers reported, the key's versions, the time served) is the
    /// service's word: it cannot be taken back or altered afterwards, and that is all. Who somebody is behind a principal's
    /// id stands in the service.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`], which says what does not hold.
    pub fn check(&self, trust: &Trust) -> Result<Proved, EvidenceError> {
        let note = Note::parse(self.checkpoint.as_bytes()).map_err(ProofError::from)?;
        let vouched = trust.vouched(note)?;
        let tree = vouched.checkpoint.tree;
        self.check_chain()?;
        let mut steps = Vec::new();
        for (step, record) in self.steps.iter().zip(&self.records) {
            let on_record =
                recorded::check(step, (record.index, &record.open(&tree)?), &self.plan)?;
            if steps.last().is_some_and(|before: &OnRecord| before.index >= on_record.index) {
                return Err(EvidenceError::Chain(step.number));
            }
            steps.push(on_record);
        }
        let bundles = self.check_bundles(&tree)?;
        Ok(Proved { plan: self.plan.clone(), steps, bundles, vouched })
    }

    fn check_chain(&self) -> Result<(), EvidenceError> {
        let plan = plan_digest(&self.plan);
        for step in &self.steps {
            self.check_step(step, plan)?;
        }
        for (before, step) in self.steps.iter().zip(self.steps.iter().skip(1)) {
            let goes_on = before.number.checked_add(1) == Some(step.number)
                && step.previous == step_digest(before)
                && step.taken.before.as_ref() == Some(&before.taken.after)
                && step.taken.after.epoch > before.taken.after.epoch;
            if !goes_on {
                return Err(EvidenceError::Chain(step.number));
            }
        }
        Ok(())
    }

    /// What one step must be whatever stands before it.
    fn check_step(&self, step: &StepRow, plan: [u8; 32]) -> Result<(), EvidenceError> {
        let number = step.number;
        let of = |step: &StepRow| (step.tenant, step.key, step.rollout, step.taken.lasting);
        let is_first = number == 0;
        let begins = step.taken.before.is_none() && step.previous == [0; 32];
        if is_first != begins || self.steps.first().map(of) != Some(of(step)) {
            return Err(EvidenceError::Chain(number));
        }
        if step.taken.lasting.plan_digest != plan {
            return Err(EvidenceError::Plan(number));
        }
        let unsound = |why| EvidenceError::Unsound { step: number, why };
        let after = step.taken.check(step, &self.plan).map_err(unsound)?;
        let is_so = sha256(&[&cbor::encode(&after)]) == step.row;
        is_so.then_some(()).ok_or(EvidenceError::Row(number))
    }

    /// Each bundle that a step names, once, in the order in which steps came to name them.
    fn check_bundles(&self, tree: &TreeHead) -> Result<Vec<(Issued, Option<u64>)>, EvidenceError> {
        let mut bundles: Vec<(Issued, Option<u64>)> = Vec::new();
        for bundle in self.steps.iter().filter_map(|step| step.taken.bundle) {
            if !bundles.iter().any(|(known, _)| *known == bundle) {
                bundles.push((bundle, None));
            }
        }
        for record in &self.bundles {
            let (index, digest) = recorded::issued((record.index, &record.open(tree)?))?;
            let bundle = bundles.iter_mut().find(|(it, at)| it.digest == digest && at.is_none());
            bundle.ok_or(EvidenceError::Bundle(index))?.1 = Some(index);
        }
        Ok(bundles)
    }
}

#[cfg(test)]
mod tests;
