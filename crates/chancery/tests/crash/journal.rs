//! The client's journal: what was asked, and what was answered before anything else was asked.
//!
//! It is written by [`super::written`], line by line and synced, to a file outside the service's directory, and
//! is only ever what was read back from there.
//!
//! **Invariant:** [`Journal::judge`] says of a service that has come back whether it keeps what it said:
//! what was acknowledged is there with the same bytes, what was refused was not done, what was not answered
//! is done once or can still be done, what was taken away stays away, and the log holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_api::http::replies::{AnswerObject, Audit, CommandAnswer, RecordObject};
use chancery_audit::verify::verify;
use chancery_client::{Client, Input, KeyHandle, Outcome, Used};
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::OperationId;

use super::written::Kept;
use crate::harness::{Service, ask, committed, fresh, plainly};

/// Journals up to this length are held against every record of the log: as many as one query shows.
const COUNTED_MAX: usize = 900;

/// What is asked of the service.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// A command.
    Command(Command),
    /// A command that takes authority away; the handle is dead from its answer on.
    Reduction(Command, KeyHandle),
    /// A plaintext to encrypt.
    Encrypt(KeyHandle, Vec<u8>),
    /// A message to sign.
    Sign(KeyHandle, Vec<u8>),
}

/// What it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To a command.
    Command(CommandAnswer),
    /// To a use.
    Use(Used),
}

impl Answer {
    /// Whether it says that its record follows.
    fn is_pending(&self) -> bool {
        matches!(self, Self::Command(CommandAnswer { audit: Some(Audit::Pending), .. }))
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) operation: OperationId,
    pub(super) request: Request,
    pub(super) outcome: Outcome<Answer>,
    /// When it was asked, in seconds since 1970.
    pub(super) asked: f64,
    /// When it was answered; never, if it was not.
    pub(super) answered: f64,
}

/// Every operation, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    entries: Vec<Entry>,
    /// The files that it was read from, which stay for as long as it is in use.
    files: Vec<Arc<Kept>>,
}

/// What a journal has to say against a service.
pub(super) type Findings = Vec<String>;

impl Request {
    /// Asks.
    pub(super) fn perform(&self, client: &Client, operation: OperationId) -> Outcome<Answer> {
        match self {
            Self::Command(command) | Self::Reduction(command, _) => {
                client.command(command, operation).map(Answer::Command)
            }
            Self::Encrypt(handle, plaintext) => {
                client.encrypt(handle, plaintext, &plainly(operation)).map(Answer::Use)
            }
            Self::Sign(handle, message) => client
                .sign_with(handle, Input::Message(message), &plainly(operation))
                .map(Answer::Use),
        }
    }

    /// The handle that it uses.
    fn handle(&self) -> Option<&KeyHandle> {
        match self {
            Self::Command(_) | Self::Reduction(..) => None,
            Self::Encrypt(handle, _) | Self::Sign(handle, _) => Some(handle),
        }
    }

    /// What its record is called.
    fn name(&self) -> &'static str {
        match self {
            Self::Command(command) | Self::Reduction(command, _) => match command {
                Command::CreateKey(_) => "create-key",
                Command::IssueHandle(_) => "issue-handle",
                Command::RevokeHandle { .. } => "revoke-handle",
                Command::Rotate(_) => "rotate",
                Command::OrderRollout { .. } => "order-rollout",
                Command::SetRule { .. } => "set-rotation",
                _ => "change-version",
            },
            Self::Encrypt(..) => "encrypt",
            Self::Sign(..) => "sign",
        }
    }
}

impl Journal {
    /// What was read from a file.
    pub(super) fn of(entries: Vec<Entry>, file: Arc<Kept>) -> Self {
        Self { entries, files: vec![file] }
    }

    /// What it said at that moment, in seconds since 1970.
    pub(super) fn as_of(&self, moment: f64) -> Self {
        let asked = self.entries.iter().filter(|entry| entry.asked < moment).cloned();
        let unanswered =
            |entry: Entry| Entry { outcome: Outcome::Unknown(entry.operation), ..entry };
        let said =
            asked.map(|entry| if entry.answered < moment { entry } else { unanswered(entry) });
        Self { entries: said.collect(), files: self.files.clone() }
    }

    /// Adds the lines of another journal.
    pub(super) fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.files.extend(other.files);
    }

    /// How many lines were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Committed(_))).count()
    }

    /// How many lines have no answer.
    pub(super) fn unanswered(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Unknown(_))).count()
    }

    /// Holds a service that is up against the journal.
    pub(super) fn judge(&self, service: &Service) -> Findings {
        let client = service.client();
        let mut findings = Findings::new();
        let mut done: BTreeMap<&str, usize> = BTreeMap::new();
        let reduced = self.reduced();
        for (line, entry) in self.entries.iter().enumerate() {
            match entry.settle(&client, &reduced) {
                Ok(true) => *done.entry(entry.request.name()).or_default() += 1,
                Ok(false) => {}
                Err(what) => {
                    findings.push(format!("line {line}, {}: {what}", entry.request.name()));
                }
            }
        }
        findings.extend(self.dead_handles(&client));
        if self.entries.len() <= COUNTED_MAX {
            findings.extend(count(&client, &done));
        }
        findings
            .extend(verify(&service.data(), || ()).err().map(|error| format!("the log: {error}")));
        findings
    }

    /// Handles that may be dead: whose reduction was asked for and not refused.
    fn reduced(&self) -> Vec<&KeyHandle> {
        let asked =
            self.entries.iter().filter_map(|entry| match (&entry.request, &entry.outcome) {
                (_, Outcome::Refused(_)) => None,
                (Request::Reduction(_, handle), _) => Some(handle),
                _ => None,
            });
        asked.collect()
    }

    /// By now every reduction that was not refused has been settled, so each of them holds.
    fn dead_handles(&self, client: &Client) -> Findings {
        let alive = self.reduced().into_iter().filter(|handle| {
            let request = Request::Sign((*handle).clone(), b"after the reduction".to_vec());
            !matches!(request.perform(client, fresh()), Outcome::Refused(_))
        });
        alive.map(|handle| format!("handle {} works after its reduction", handle.id())).collect()
    }
}

impl Entry {
    /// Asks again under the same id; whether it is done, or what is wrong.
    fn settle(&self, client: &Client, reduced: &[&KeyHandle]) -> Result<bool, String> {
        if let Outcome::Refused(refusal) = &self.outcome {
            return match state(client, self.operation).as_str() {
                "unknown-id" => Ok(false),
                state => Err(format!("refused as `{}`, and yet {state}", refusal.code)),
            };
        }
        let again = self.request.perform(client, self.operation);
        let may_be_withheld = self.request.handle().is_some_and(|handle| reduced.contains(&handle));
        match (&self.outcome, again) {
            // What was only in the reduction journal is on record by now, and says where.
            (Outcome::Committed(first), Outcome::Committed(again)) if first.is_pending() => {
                if again.is_pending() { Err("still not on record".into()) } else { Ok(true) }
            }
            (Outcome::Committed(first), Outcome::Committed(again)) if *first != again => {
                Err("acknowledged, and now another answer".into())
            }
            (_, Outcome::Committed(_)) => Ok(true),
            (_, Outcome::Refused(refusal)) if may_be_withheld => match refusal.code.text() {
                "result-withheld" => Ok(true),
                _ if matches!(self.outcome, Outcome::Unknown(_)) => Ok(false),
                code => Err(format!("acknowledged, and now `{code}`")),
            },
            (Outcome::Committed(_), other) => Err(format!("acknowledged, and now {other:?}")),
            (_, other) => Err(format!("not answered, and not to be had: {other:?}")),
        }
    }
}

fn state(client: &Client, id: OperationId) -> String {
    match committed(ask(client, &Command::ReadOperation { id })).answer {
        AnswerObject::Operation(operation) => operation.state,
        other => panic!("no operation but {other:?}"),
    }
}

/// Everything that was done has one record: none has two, and none has none.
fn count(client: &Client, done: &BTreeMap<&str, usize>) -> Findings {
    let query = AuditQuery { outcome: Some(0), limit: 1_000, ..AuditQuery::default() };
    let records = match ask(client, &Command::QueryAudit(query)).committed() {
        Ok(CommandAnswer { answer: AnswerObject::Records(records), .. }) => records,
        other => return vec![format!("no records but {other:?}")],
    };
    let recorded = |name: &str| {
        records.iter().filter(|record: &&RecordObject| record.operation == name).count()
    };
    let wrong = done.iter().filter(|(name, times)| recorded(name) != **times);
    wrong
        .map(|(name, times)| {
            format!("`{name}` was done {times} times and has {} records", recorded(name))
        })
        .collect()
}
