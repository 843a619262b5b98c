//! The journal's file: what was asked before it is sent, and what was answered before anything else is asked.
//!
//! One line of JSON each, synced before the caller goes on. The file lies beside the services' directories and
//! in none of them, and no process of a service has it open. Whoever judges reads it back: an operation is
//! what its lines say, and one whose second line is missing was not answered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_api::http::fields::Base64;
use chancery_api::http::problem::Code;
use chancery_api::http::replies::CommandAnswer;
use chancery_client::{Client, KeyHandle, Outcome, Refusal, Used};
use chancery_core::cbor;
use chancery_core::id::OperationId;
use serde::{Deserialize, Serialize};

use super::journal::{Answer, Entry, Journal, Request};
use crate::harness::fresh;

/// A file, and whoever appends to it.
#[derive(Debug)]
pub(super) struct Pen {
    file: File,
    path: Arc<Kept>,
}

/// A file that is removed when nobody needs it any more, unless a test fails.
#[derive(Debug)]
pub(super) struct Kept(PathBuf);

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Asked { operation: String, at_us: u64, request: RequestLine },
    Answered { operation: String, at_us: u64, outcome: Box<OutcomeLine> },
}

/// A command as its CBOR, a handle as its bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RequestLine {
    Command(Base64),
    Reduction(Base64, Base64),
    Encrypt(Base64, Base64),
    Sign(Base64, Base64),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeLine {
    Command(CommandAnswer),
    Used { operation: String, output: Base64, version: u32, log_index: u64, receipt: Base64 },
    Refused { code: String, detail: String },
    Unknown,
}

impl Pen {
    /// Begins a file that no other test has.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("journal-{}-{number}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join(name);
        // Of an earlier process with this id.
        let _ = fs::remove_file(&path);
        let file = File::options().append(true).create_new(true).open(&path).unwrap();
        File::open(directory).and_then(|directory| directory.sync_all()).unwrap();
        Self { file, path: Arc::new(Kept(path)) }
    }

    /// Asks under a fresh id; both sides are written down and synced before this returns.
    pub(super) fn ask(&mut self, client: &Client, request: &Request) -> Outcome<Answer> {
        let operation = fresh();
        let id = || operation.to_string();
        self.write(&Line::Asked { operation: id(), at_us: now_us(), request: request.into() });
        let outcome = request.perform(client, operation);
        // Until its line is synced it is not answered: what comes after the answer is later than that.
        let outcome_line = Box::new(OutcomeLine::from(&outcome));
        self.write(&Line::Answered { operation: id(), at_us: now_us(), outcome: outcome_line });
        outcome
    }

    fn write(&mut self, line: &Line) {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        self.file.write_all(&text).unwrap();
        self.file.sync_data().unwrap();
    }

    /// What stands in the file.
    pub(super) fn read_back(&self) -> Journal {
        let text = fs::read_to_string(&self.path.0).unwrap();
        Journal::of(entries(&text), Arc::clone(&self.path))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// The operations of a file, in the order in which they were asked.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut places: BTreeMap<OperationId, usize> = BTreeMap::new();
    for line in text.lines() {
        match serde_json::from_str(line).expect("a whole line") {
            Line::Asked { operation, at_us, request } => {
                let operation = operation.parse().unwrap();
                places.insert(operation, entries.len());
                let request = request.into();
                entries.push(Entry {
                    operation,
                    request,
                    outcome: Outcome::Unknown(operation),
                    asked: seconds(at_us),
                    answered: f64::INFINITY,
                });
            }
            Line::Answered { operation, at_us, outcome } => {
                let operation: OperationId = operation.parse().unwrap();
                let entry = &mut entries[places[&operation]];
                entry.outcome = outcome.into_outcome(operation);
                entry.answered = seconds(at_us);
            }
        }
    }
    entries
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_micros()).unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 have 51 bits")]
fn seconds(at_us: u64) -> f64 {
    at_us as f64 / 1e6
}

impl From<&Request> for RequestLine {
    fn from(request: &Request) -> Self {
        let handle = |handle: &KeyHandle| Base64(handle.expose_bytes().to_vec());
        match request {
            Request::Command(command) => Self::Command(Base64(cbor::encode(command))),
            Request::Reduction(command, of) => {
                Self::Reduction(Base64(cbor::encode(command)), handle(of))
            }
            Request::Encrypt(by, plaintext) => Self::Encrypt(handle(by), Base64(plaintext.clone())),
            Request::Sign(by, message) => Self::Sign(handle(by), Base64(message.clone())),
        }
    }
}

impl From<RequestLine> for Request {
    fn from(line: RequestLine) -> Self {
        let command = |bytes: Base64| cbor::decode(&bytes.0, "command").unwrap();
        let handle = |bytes: Base64| KeyHandle::from_bytes(bytes.0).unwrap();
        match line {
            RequestLine::Command(bytes) => Self::Command(command(bytes)),
            RequestLine::Reduction(bytes, of) => Self::Reduction(command(bytes), handle(of)),
            RequestLine::Encrypt(by, plaintext) => Self::Encrypt(handle(by), plaintext.0),
            RequestLine::Sign(by, message) => Self::Sign(handle(by), message.0),
        }
    }
}

impl From<&Outcome<Answer>> for OutcomeLine {
    fn from(outcome: &Outcome<Answer>) -> Self {
        match outcome {
            Outcome::Committed(Answer::Command(answer)) => Self::Command(answer.clone()),
            Outcome::Committed(Answer::Use(used)) => Self::Used {
                operation: used.operation.to_string(),
                output: Base64(used.output.clone()),
                version: used.version,
                log_index: used.log_index,
                receipt: Base64(used.receipt.clone()),
            },
            Outcome::Refused(Refusal { code, detail }) => {
                Self::Refused { code: code.text().into(), detail: detail.clone() }
            }
            Outcome::Unknown(_) => Self::Unknown,
        }
    }
}

impl OutcomeLine {
    fn into_outcome(self, asked: OperationId) -> Outcome<Answer> {
        match self {
            Self::Command(answer) => Outcome::Committed(Answer::Command(answer)),
            Self::Used { operation, output, version, log_index, receipt } => {
                let operation = operation.parse().unwrap();
                let (output, receipt) = (output.0, receipt.0);
                let used = Used { operation, output, version, log_index, receipt };
                Outcome::Committed(Answer::Use(used))
            }
            Self::Refused { code, detail } => {
                Outcome::Refused(Refusal { code: Code::from_text(&code).unwrap(), detail })
            }
            Self::Unknown => Outcome::Unknown(asked),
        }
    }
}

#[test]
fn what_is_read_back_is_what_was_written_and_a_missing_answer_is_none() {
    use chancery_core::command::Command;
    use chancery_core::reason::Reason;

    let mut pen = Pen::new();
    let (first, second, third) = (fresh(), fresh(), fresh());
    let request = Request::Command(Command::ReadOperation { id: first });
    for (at_us, operation) in (0..).step_by(2).zip([first, second, third]) {
        let operation = operation.to_string();
        pen.write(&Line::Asked { operation, at_us, request: (&request).into() });
    }
    let used =
        Used { operation: first, output: vec![7], version: 1, log_index: 2, receipt: vec![] };
    let outcomes = [
        (first, Outcome::Committed(Answer::Use(used))),
        (second, Outcome::Refused(Refusal::new(Reason::NotAuthorized, "no"))),
    ];
    for (operation, outcome) in &outcomes {
        let (operation, outcome) = (operation.to_string(), Box::new(outcome.into()));
        pen.write(&Line::Answered { operation, at_us: 1_000_000, outcome });
    }
    let read = entries(&fs::read_to_string(&pen.path.0).unwrap());
    let shown: Vec<_> = read.iter().map(|entry| (entry.operation, entry.outcome.clone())).collect();
    let [one, two] = outcomes;
    assert_eq!(shown, [one, two, (third, Outcome::Unknown(third))]);
    assert!(read.iter().all(|entry| matches!(&entry.request, Request::Command(Command::ReadOperation { id }) if *id == first)));
    assert!((read[0].answered - 1.0).abs() < 1e-9 && read[2].answered.is_infinite());
    assert_eq!((pen.read_back().acknowledged(), pen.read_back().unanswered()), (1, 1));
}
