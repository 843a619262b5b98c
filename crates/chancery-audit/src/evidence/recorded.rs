//! What the record of a step must say.

use chancery_core::action::{ISSUE_BUNDLE, STEP_ROLLOUT};
use chancery_core::cbor;
use chancery_core::command::Command;
use chancery_core::record_group::RecordGroup;
use chancery_core::rollout::{Asked, Plan, Rotation, StepRow};
use chancery_core::suite::Suite;
use chancery_crypto::primitive::sha256;

use super::{EvidenceError, OnRecord, step_digest};
use crate::opening::{Opened, OpeningError};
use crate::proof::ProofError;
use crate::record::{Authentication, Kind, OperationGroup, PayloadSection};

/// What is shown of each record: when, what, of which version, how the actor was known, how many approved, on which bytes.
pub const SHOWN: [RecordGroup; 6] = [
    RecordGroup::Time,
    RecordGroup::Operation,
    RecordGroup::Key,
    RecordGroup::Actor,
    RecordGroup::Authorization,
    RecordGroup::Payload,
];

/// The numbers of commands, in records.
const ROTATE: u8 = 22;
const ORDER: u8 = 23;

/// Holds a record against the step that it stands for.
pub(super) fn check(
    step: &StepRow,
    (index, opened): (u64, &Opened),
    plan: &Plan,
) -> Result<OnRecord, EvidenceError> {
    let differs = |what| EvidenceError::Record { index, step: step.number, what };
    let same = |is_same: bool, what| if is_same { Ok(()) } else { Err(differs(what)) };
    let (operation, payload) = shown(opened)?;
    let taken = &step.taken;
    same(payload.output == step_digest(step), "it commits to another step")?;
    same(is_done(operation), "it is of something that was not done")?;
    same(operation.reason == taken.why.number(), "it gives another reason")?;
    let key = opened.key.as_ref().ok_or_else(missing)?;
    same(key.group.version == taken.lasting.to, "it is of another version")?;
    let time = opened.time.as_ref().ok_or_else(missing)?;
    let is_then = (time.unix_ms, time.quality) == (taken.unix_ms, taken.quality);
    same(is_then, "it is of another time")?;
    let actor = opened.actor.as_ref().ok_or_else(missing)?;
    let by = actor.authentication;
    same(is_by(step, operation.operation, by), "somebody else had it taken")?;
    same(is_of(step, payload, plan), "it is of another command or row")?;
    let authorization = opened.authorization.as_ref().ok_or_else(missing)?;
    Ok(OnRecord { index, step: step.clone(), approvals: authorization.approvals })
}

/// The digest of the bundle whose issue a record is.
pub(super) fn issued((index, opened): (u64, &Opened)) -> Result<(u64, [u8; 32]), EvidenceError> {
    let (operation, payload) = shown(opened)?;
    let is_issue = is_done(operation) && operation.operation == ISSUE_BUNDLE;
    is_issue.then_some((index, payload.message)).ok_or(EvidenceError::Bundle(index))
}

fn shown(opened: &Opened) -> Result<(&OperationGroup, &PayloadSection), EvidenceError> {
    opened.operation.as_ref().zip(opened.payload.as_ref()).ok_or_else(missing)
}

fn missing() -> EvidenceError {
    ProofError::from(OpeningError::NotAnOpening).into()
}

fn is_done(operation: &OperationGroup) -> bool {
    operation.kind == Kind::Command && operation.outcome == 0
}

/// Whether it was had taken by whom the step says.
fn is_by(step: &StepRow, operation: u8, by: Authentication) -> bool {
    match (step.taken.asked, step.taken.lasting.by) {
        (Asked::Nobody, _) => operation == STEP_ROLLOUT && by == Authentication::Service,
        // By a rule of automatic rotation.
        (Asked::Start { .. }, None) => operation == ROTATE && by == Authentication::Service,
        (Asked::Start { .. }, Some(_)) => operation == ROTATE && by == Authentication::Signature,
        (Asked::Order { .. }, _) => operation == ORDER && by == Authentication::Signature,
    }
}

/// Whether the message is the command, or, of what the service did by itself, the rollout's row.
fn is_of(step: &StepRow, payload: &PayloadSection, plan: &Plan) -> bool {
    let of_command = |command: &Command| sha256(&[&cbor::encode(command)]) == payload.message;
    match (step.taken.asked, step.taken.lasting.by) {
        (Asked::Order { order, .. }, _) => {
            of_command(&Command::OrderRollout { rollout: step.rollout, order })
        }
        (Asked::Start { .. }, Some(_)) => rotations(step, plan)
            .iter()
            .any(|rotation| of_command(&Command::Rotate(rotation.clone()))),
        (Asked::Start { .. }, None) | (Asked::Nobody, _) => payload.message == step.row,
    }
}

/// The commands that can have begun this rollout: a new version with the algorithm said or not, or a standby named.
fn rotations(step: &StepRow, plan: &Plan) -> Vec<Rotation> {
    let (lasting, key) = (&step.taken.lasting, &step.taken.seen.key);
    let rotation = |suite: Option<Suite>, version| Rotation {
        key: key.name.clone(),
        plan: plan.clone(),
        cause: lasting.cause,
        suite,
        version,
    };
    let new = key.versions.iter().find(|version| version.number == lasting.to);
    let said = new.map(|version| rotation(Some(version.suite), None));
    let all = [Some(rotation(None, None)), said, Some(rotation(None, Some(lasting.to)))];
    all.into_iter().flatten().collect()
}
