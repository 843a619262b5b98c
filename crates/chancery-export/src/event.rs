//! One event on its way to a sink.

use std::borrow::Cow;

use serde_json::Value;

use crate::ocsf::Writer;
use crate::record::{Outcome, Record};

/// A record as an event, with what sinks need to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The record's index in the log.
    pub index: u64,
    /// When it was, in milliseconds since 1970.
    pub time_ms: u64,
    /// What was done, by its name in the audit.
    pub action: Cow<'static, str>,
    /// Whether it was done.
    pub outcome: Outcome,
    /// The record's leaf hash.
    pub leaf: [u8; 32],
    /// The event, as JSON without line ends.
    pub body: String,
}

impl Event {
    /// The event of a record.
    pub fn of(writer: &mut Writer, record: &Record) -> Self {
        Self {
            index: record.log_index,
            time_ms: record.time_ms,
            action: record.operation.clone(),
            outcome: record.outcome,
            leaf: record.leaf,
            body: writer.event(record),
        }
    }

    /// The event as a value, for sinks that want another form of it.
    #[must_use]
    pub fn value(&self) -> Value {
        // What is written here is read here; a test holds every event to it.
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Writes events as lines of JSON behind what `out` holds, each with its line end.
pub fn lines(events: &[Event], out: &mut String) {
    for event in events {
        out.push_str(&event.body);
        out.push('\n');
    }
}
