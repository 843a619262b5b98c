//! One event on its way to a sink.

use chancery_api::http::replies::RecordObject;
use serde_json::Value;

use crate::ocsf::{self, Source};

/// A record as an event, with what sinks need to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The record's index in the log.
    pub index: u64,
    /// When it was, in milliseconds since 1970.
    pub time_ms: u64,
    /// What was done, by its name in the audit.
    pub action: String,
    /// Whether it was done.
    pub outcome: Outcome,
    /// The record's leaf hash, in base64.
    pub leaf: String,
    /// The event.
    pub body: Value,
}

/// Whether what a record tells of was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Committed,
    /// It was not.
    Refused,
}

impl Event {
    /// The event of a record.
    #[must_use]
    pub fn of(source: &Source, record: &RecordObject) -> Self {
        Self {
            index: record.log_index,
            time_ms: record.time_ms,
            action: record.operation.clone(),
            outcome: ocsf::outcome(record),
            leaf: record.leaf.to_text(),
            body: ocsf::event(source, record),
        }
    }

    /// The event as one line of JSON, with its line end.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}\n", self.body)
    }
}
