//! What commands are answered, in JSON.

use chancery_core::command::Answer;
use chancery_core::epoch::Epoch;
use chancery_core::id::{HandleId, KeyId, NodeId, OperationId, PrincipalId, RolloutId, TenantId};
use chancery_core::key::{Key, KeyVersion, Provenance};
use chancery_core::name::Name;
use chancery_core::purpose::Purpose;
use chancery_core::reason::Reason;
use chancery_core::state::KeyState;
use chancery_core::suite::Suite;
use serde::{Deserialize, Serialize};

use crate::http::commands::{IdText, ScopeObject};
use crate::http::fields::{Base64, Token, spelt, text};
use crate::http::problem::{Code, Outcome, Problem};
use crate::message::{
    CommandReply, OperationView, OtherView, RecordView, Status, StepsPage, StorePage,
};
use crate::token;

mod census;
mod proposal;
mod rollout;
mod rotations;
mod verifier;

pub use census::{
    CampaignObject, CensusObject, InventoryObject, KeyCensusObject, VersionUseObject,
};
pub use proposal::{EndingName, ProposalObject};
pub use rollout::{
    GateObject, KeptRolloutObject, MeasuredObject, OverrideObject, RolloutObject, RolloutsObject,
};
pub use rotations::{KeyRotationObject, RotationsObject, UsageRuleObject};
pub use verifier::{HeardObject, VerifierObject};

/// The names of states.
const STATES: [(KeyState, &str); 6] = [
    (KeyState::PreActivation, "pre-activation"),
    (KeyState::Active, "active"),
    (KeyState::Suspended, "suspended"),
    (KeyState::Deactivated, "deactivated"),
    (KeyState::Compromised, "compromised"),
    (KeyState::Destroyed, "destroyed"),
];

/// The names of where material came from.
const PROVENANCES: [(Provenance, &str); 2] =
    [(Provenance::Generated, "generated"), (Provenance::Imported, "imported")];

/// The name of a state in JSON.
#[must_use]
pub fn state_name(state: KeyState) -> &'static str {
    STATES.iter().find(|row| row.0 == state).map_or("", |row| row.1)
}

/// The names of states, in the order of SP 800-57.
pub(crate) fn state_names() -> [&'static str; 6] {
    STATES.map(|row| row.1)
}

fn state_of(name: &str) -> Option<KeyState> {
    STATES.iter().find(|row| row.1 == name).map(|row| row.0)
}

fn provenance_name(provenance: Provenance) -> &'static str {
    PROVENANCES.iter().find(|row| row.0 == provenance).map_or("", |row| row.1)
}

fn provenance_of(name: &str) -> Option<Provenance> {
    PROVENANCES.iter().find(|row| row.1 == name).map(|row| row.0)
}

spelt!(state: KeyState, state_name, state_of);
spelt!(provenance: Provenance, provenance_name, provenance_of);

/// What a command that was done is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandAnswer {
    /// `committed`.
    pub outcome: Outcome,
    /// The record's position in the log; absent of a read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
    /// `pending` of a reduction that is durable in the reduction journal and on record only after the next
    /// start; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// What there is to say.
    pub answer: AnswerObject,
}

/// How far the record of what was done is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audit {
    /// It follows, before any key is used again.
    Pending,
}

/// What there is to say: one field, named for what it holds, or the word `done`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnswerObject {
    /// Nothing.
    Done,
    /// A campaign as it is now.
    Campaign(Box<CampaignObject>),
    /// What is known of the ciphertexts of keys.
    Census(Box<CensusObject>),
    /// A handle.
    Handle(Token),
    /// What opens audit records, sealed to its recipient.
    Disclosure(Base64),
    /// A key as it is now.
    Key(KeyObject),
    /// A page of keys.
    Keys(KeysObject),
    /// A one-time key to wrap an import to.
    OneTimeKey(OneTimeKeyObject),
    /// An operation.
    Operation(OperationObject),
    /// Groups of an audit record, opened.
    Opening(Base64),
    /// A principal's id.
    Principal(#[serde(with = "text")] PrincipalId),
    /// A proposal as it is now.
    Proposal(Box<ProposalObject>),
    /// Proposals, in the order in which they were made.
    Proposals(Vec<ProposalObject>),
    /// A rollout as it is now.
    Rollout(Box<RolloutObject>),
    /// A page of rollouts.
    Rollouts(RolloutsObject),
    /// What rules say of keys' rotation.
    Rotations(RotationsObject),
    /// Rollouts of a key of which steps are kept, the latest first.
    KeptRollouts(Vec<KeptRolloutObject>),
    /// Steps of a rollout.
    Steps(StepsObject),
    /// Rows of the store.
    StoreRows(StoreRowsObject),
    /// Audit records, the oldest first.
    Records(Vec<RecordObject>),
    /// How the service stands.
    Status(Box<StatusObject>),
    /// The registered verifiers.
    Verifiers(Vec<VerifierObject>),
}

/// An [`Epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochObject {
    /// Raised by a restore alone.
    pub generation: u32,
    /// Raised by one with each authority change.
    pub number: u64,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyObject {
    /// What names it everywhere but on the command line.
    #[serde(with = "text")]
    pub id: KeyId,
    /// Whose it is.
    #[serde(with = "text")]
    pub tenant: TenantId,
    /// Its name.
    #[serde(with = "text")]
    pub name: Name,
    /// Environment, region and service.
    pub scope: ScopeObject,
    /// What it is for.
    #[serde(with = "text")]
    pub purpose: Purpose,
    /// Its algorithm.
    #[serde(with = "text")]
    pub algorithm: Suite,
    /// Which version protects.
    pub scheduled_version: u32,
    /// When its authority last changed.
    pub authority_epoch: EpochObject,
    /// Handles issued before this epoch are void.
    pub min_issue_epoch: EpochObject,
    /// Its versions, in the order of their numbers.
    pub versions: Vec<VersionObject>,
    /// Whether an answer leaves only when a quorum of witnesses has cosigned its record.
    pub witnessed: bool,
    /// The rollout that moves it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub rollout: Option<RolloutId>,
}

/// A key version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionObject {
    /// Its number, from 1.
    pub version: u32,
    /// Its state.
    #[serde(with = "state")]
    pub state: KeyState,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Where its material came from.
    #[serde(with = "provenance")]
    pub provenance: Provenance,
    /// The public half as `SubjectPublicKeyInfo` in DER; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Base64>,
    /// When its material is destroyed, in milliseconds for which the service has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destruction_served_ms: Option<u64>,
    /// Its algorithm, where that is not the key's.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub algorithm: Option<Suite>,
    /// The first epoch whose trust bundle holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_epoch: Option<EpochObject>,
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysObject {
    /// The keys, in the order of their names.
    pub keys: Vec<KeyObject>,
    /// Whether another page follows.
    pub more: bool,
}

/// A one-time key to wrap an import to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneTimeKeyObject {
    /// Its name.
    #[serde(with = "text")]
    pub id: IdText,
    /// Its public half (X25519).
    pub public_key: Base64,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationObject {
    /// The operation.
    #[serde(with = "text")]
    pub id: OperationId,
    /// `committed`, `in-flight` or `unknown-id`.
    pub state: String,
    /// The record's position in the log, once committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}

/// An audit record as its tenant's auditor reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordObject {
    /// Its position in the log.
    pub log_index: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// What was asked.
    pub operation: String,
    /// `committed` or `refused`.
    pub outcome: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The key's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The key version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The number of this use of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_index: Option<u64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub actor: Option<PrincipalId>,
    /// The handle; of a use that counts under a link, that link's revocation id.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::option")]
    pub handle: Option<HandleId>,
    /// How many there were, if it sums up refusals before authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The leaf hash.
    pub leaf: Base64,
}

/// A [`StepsPage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepsObject {
    /// The rows of the steps, in the encoding that their records commit to.
    pub steps: Vec<Base64>,
    /// Whether another page follows.
    pub more: bool,
}

/// A [`StorePage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreRowsObject {
    /// The store's revision.
    pub revision: u64,
    /// The rows.
    pub rows: Vec<StoreRowObject>,
    /// Where the next page goes on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Base64>,
}

/// A [`StoreRow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreRowObject {
    /// Its name.
    pub name: Base64,
    /// Its revision.
    pub revision: u64,
    /// Its sealed bytes, in number.
    pub bytes: u32,
    /// The first of them.
    pub head: Base64,
}

/// How the service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusObject {
    /// The mode that every answer is given in.
    pub mode: String,
    /// The posture's name.
    pub posture: String,
    /// The log's origin.
    pub origin: String,
    /// Records in the log.
    pub log_size: u64,
    /// The log's root hash.
    pub log_root: Base64,
    /// Frames in the log.
    pub frames: u64,
    /// How often the log was continued after a torn end.
    pub incarnation: u32,
    /// Keys in the caller's tenant.
    pub keys: u64,
    /// The tenant's epoch.
    pub epoch: EpochObject,
    /// `plausible` or `suspect`.
    pub clock: String,
    /// Where key bytes are kept in memory.
    pub arena: String,
    /// What asks for an operator's attention.
    pub advice: Vec<String>,
    /// The node, which counts the uses of its handles.
    #[serde(with = "text")]
    pub node: NodeId,
    /// The file of the lock record.
    pub lock_record: String,
    /// How many records it remembers.
    pub locked_size: u64,
    /// `none`, `awaited`, `kept` or `lost`.
    pub witnesses: String,
    /// How many records the last checkpoint had that a quorum of witnesses cosigned.
    pub witnessed_size: u64,
    /// What each witness and peer said last.
    pub others: Vec<OtherObject>,
}

/// What a witness or a peer said of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherObject {
    /// What it is called, or where it is.
    pub name: String,
    /// What it said, in plain words.
    pub standing: String,
}

impl CommandAnswer {
    /// The answer of a reply.
    ///
    /// # Errors
    ///
    /// The [`Problem`] of a reply that refuses.
    pub fn of(reply: CommandReply) -> Result<Self, Box<Problem>> {
        let mut audit = None;
        let (log_index, answer) = match reply {
            CommandReply::Committed { answer, index } => (index, AnswerObject::from(answer)),
            CommandReply::Pending => {
                audit = Some(Audit::Pending);
                (None, AnswerObject::Done)
            }
            CommandReply::Refused { reason, detail } => {
                return Err(Problem::refused(Code::Reason(reason)).because(detail).into());
            }
            CommandReply::Status(status) => {
                (None, AnswerObject::Status(Box::new((*status).into())))
            }
            // They are answered as the bytes that they are ([`crate::message::frames_of`]).
            CommandReply::Frames(_) => {
                let unreadable = Problem::refused(Code::Reason(Reason::AnswerUnreadable));
                return Err(unreadable.because("frames are no JSON").into());
            }
            CommandReply::Census(page) => (None, AnswerObject::Census(Box::new((*page).into()))),
            CommandReply::Opening(opening) => (None, AnswerObject::Opening(Base64(opening))),
            CommandReply::KeptRollouts(kept) => {
                let kept = kept.into_iter().map(KeptRolloutObject::from).collect();
                (None, AnswerObject::KeptRollouts(kept))
            }
            CommandReply::Steps(page) => (None, AnswerObject::Steps(page.into())),
            CommandReply::StoreRows(page) => (None, AnswerObject::StoreRows(page.into())),
            CommandReply::Operation(view) => (None, AnswerObject::Operation(view.into())),
            CommandReply::Verifiers(verifiers) => {
                let verifiers = verifiers.into_iter().map(VerifierObject::from).collect();
                (None, AnswerObject::Verifiers(verifiers))
            }
            CommandReply::Records(records) => {
                (None, AnswerObject::Records(records.into_iter().map(RecordObject::from).collect()))
            }
        };
        Ok(Self { outcome: Outcome::Committed, log_index, audit, answer })
    }
}

impl From<Answer> for AnswerObject {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done => Self::Done,
            Answer::Key(key) => Self::Key(KeyObject::from(&key)),
            Answer::Disclosure(sealed) => Self::Disclosure(Base64(sealed)),
            Answer::Handle(bytes) => Self::Handle(Token(token::encode(&bytes))),
            Answer::Principal(id) => Self::Principal(id),
            Answer::Proposal(proposal) => Self::Proposal(Box::new((&proposal).into())),
            Answer::Proposals(proposals) => {
                Self::Proposals(proposals.iter().map(ProposalObject::from).collect())
            }
            Answer::Campaign(view) => Self::Campaign(Box::new((*view).into())),
            Answer::Rollout(view) => Self::Rollout(Box::new((*view).into())),
            Answer::Rollouts { rollouts, more } => {
                let rollouts = rollouts.into_iter().map(RolloutObject::from).collect();
                Self::Rollouts(RolloutsObject { rollouts, more })
            }
            Answer::Rotations { rules, keys, more } => {
                Self::Rotations(RotationsObject::of(&rules, keys, more))
            }
            Answer::Keys { keys, more } => {
                Self::Keys(KeysObject { keys: keys.iter().map(KeyObject::from).collect(), more })
            }
            Answer::OneTimeKey { id, public } => {
                Self::OneTimeKey(OneTimeKeyObject { id: IdText(id), public_key: Base64(public) })
            }
        }
    }
}

impl From<StepsPage> for StepsObject {
    fn from(page: StepsPage) -> Self {
        let steps = page.steps.into_iter().map(|step| Base64(step.into())).collect();
        Self { steps, more: page.more }
    }
}

impl From<StorePage> for StoreRowsObject {
    fn from(page: StorePage) -> Self {
        let StorePage { revision, rows, next } = page;
        let rows = rows.into_iter().map(|row| StoreRowObject {
            name: Base64(row.name),
            revision: row.revision,
            bytes: row.bytes,
            head: Base64(row.head),
        });
        Self { revision, rows: rows.collect(), next: Base64::unless_empty(&next) }
    }
}

impl From<Epoch> for EpochObject {
    fn from(epoch: Epoch) -> Self {
        Self { generation: epoch.generation, number: epoch.number }
    }
}

impl From<&Key> for KeyObject {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id,
            tenant: key.tenant,
            name: key.name.clone(),
            scope: ScopeObject::from(&key.scope),
            purpose: key.purpose.clone(),
            algorithm: key.suite,
            scheduled_version: key.scheduled,
            authority_epoch: key.authority_epoch.into(),
            min_issue_epoch: key.min_issue_epoch.into(),
            versions: key.versions.iter().map(VersionObject::from).collect(),
            witnessed: key.witnessed,
            rollout: key.rollout(),
        }
    }
}

impl From<&KeyVersion> for VersionObject {
    fn from(version: &KeyVersion) -> Self {
        Self {
            version: version.number,
            state: version.state,
            created_ms: version.created_ms,
            provenance: version.provenance,
            public_key: Base64::unless_empty(&version.public),
            destruction_served_ms: version.destruction.map(chancery_core::clock::Served::as_ms),
            algorithm: version.suite,
            published_epoch: version.published.map(|published| published.epoch.into()),
        }
    }
}

impl From<OperationView> for OperationObject {
    fn from(view: OperationView) -> Self {
        Self { id: view.id, state: view.state, log_index: view.index }
    }
}

impl From<RecordView> for RecordObject {
    fn from(view: RecordView) -> Self {
        Self {
            log_index: view.index,
            time_ms: view.unix_ms,
            operation: view.operation,
            outcome: view.outcome,
            code: view.reason,
            key: view.key,
            version: (view.version != 0).then_some(view.version),
            use_index: view.use_index,
            actor: view.actor,
            handle: view.handle,
            count: view.count,
            leaf: Base64(view.leaf),
        }
    }
}

impl From<Status> for StatusObject {
    fn from(status: Status) -> Self {
        Self {
            mode: status.mode,
            posture: status.posture,
            origin: status.origin,
            log_size: status.log_size,
            log_root: Base64(status.log_root),
            frames: status.frames,
            incarnation: status.incarnation,
            keys: status.keys,
            epoch: EpochObject { generation: status.generation, number: status.epoch },
            clock: status.clock,
            arena: status.arena,
            advice: status.advice,
            node: status.node,
            lock_record: status.lock_record,
            locked_size: status.locked_size,
            witnesses: status.witnesses,
            witnessed_size: status.witnessed_size,
            others: status.others.into_iter().map(OtherObject::from).collect(),
        }
    }
}

impl From<OtherView> for OtherObject {
    fn from(other: OtherView) -> Self {
        Self { name: other.name, standing: other.standing }
    }
}

#[cfg(test)]
mod tests;
