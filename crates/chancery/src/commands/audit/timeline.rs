//! `audit timeline`: what became of a key, and what was done with it, on a page.

use anyhow::Result;
use chancery_api::http::replies::RecordObject;
use chancery_core::action::Action;
use chancery_core::command::{AuditQuery, QUERY_RECORDS_MAX};
use chancery_core::name::Name;
use clap::Args;
use serde::Serialize;

use super::note::Note;
use super::reader::FilesArgs;
use crate::cli::Shared;
use crate::commands::answer_json;
use crate::exit::Failure;
use crate::moment;
use crate::parse;
use crate::render::View;

/// Uses are summed up by the hour.
const HOUR_MS: u64 = 3_600_000;

/// Show what became of a key and what was done with it, the oldest first: each command by itself, uses summed up.
///
/// Uses of one kind, by one actor with one handle and version and with one outcome, are one line for each hour, and
/// for each stretch between two commands.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit timeline invoices
  chancery audit timeline invoices --since 2026-11-20 --until 2026-11-21T12:00:00Z --format json
  chancery audit timeline invoices --dir /mnt/evidence/chancery-data --root-key root.key")]
pub(super) struct TimelineArgs {
    /// The key.
    key: Name,
    /// Not before this: 2026-11-24T06:00:00Z, 2026-11-24, or a while ago such as 2h.
    #[arg(long, value_name = "TIME", value_parser = parse::since_now)]
    since: Option<u64>,
    /// Before this, in the same forms.
    #[arg(long, value_name = "TIME", value_parser = parse::since_now)]
    until: Option<u64>,
    #[command(flatten)]
    files: FilesArgs,
}

/// One line: a command, or uses that have all but their time in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Event {
    first_index: u64,
    last_index: u64,
    first_ms: u64,
    last_ms: u64,
    count: u64,
    operation: String,
    outcome: String,
    code: String,
    version: Option<u32>,
    actor: Option<String>,
    handle: Option<String>,
}

/// Carries `audit timeline` out.
pub(super) fn run(shared: &Shared, args: TimelineArgs) -> Result<(), Failure> {
    let reader = args.files.open(shared)?;
    let mut query = AuditQuery {
        key: Some(args.key),
        since_ms: args.since,
        until_ms: args.until,
        limit: QUERY_RECORDS_MAX,
        after: Some(0),
        ..AuditQuery::default()
    };
    let mut timeline = Timeline::default();
    loop {
        let records = reader.page(&query)?;
        let Some(last) = records.last() else { break };
        query.after = Some(last.log_index);
        for record in &records {
            timeline.take(record);
        }
    }
    let events = timeline.end();
    let head = vec!["from", "to", "count", "operation", "outcome", "version", "actor", "handle"];
    let rows = events.iter().map(row).collect();
    let json = answer_json(&events)?;
    Note::show(
        reader.note().as_ref(),
        shared.format,
        &View::Rows { head, rows },
        ("events", json),
    )?;
    reader.end()
}

/// The lines so far.
#[derive(Debug, Default)]
struct Timeline {
    done: Vec<Event>,
    /// Uses of the hour, since the last command.
    open: Vec<Event>,
}

impl Timeline {
    fn take(&mut self, record: &RecordObject) {
        let event = Event::of(record);
        let is_use = record.operation.parse().is_ok_and(Action::is_use);
        if !is_use {
            self.close();
            self.done.push(event);
            return;
        }
        if self.open.first().is_some_and(|open| open.first_ms / HOUR_MS != event.first_ms / HOUR_MS)
        {
            self.close();
        }
        match self.open.iter_mut().find(|open| open.is_like(&event)) {
            Some(open) => open.add(&event),
            None => self.open.push(event),
        }
    }

    fn close(&mut self) {
        self.done.append(&mut self.open);
    }

    fn end(mut self) -> Vec<Event> {
        self.close();
        self.done
    }
}

impl Event {
    fn of(record: &RecordObject) -> Self {
        Self {
            first_index: record.log_index,
            last_index: record.log_index,
            first_ms: record.time_ms,
            last_ms: record.time_ms,
            count: 1,
            operation: record.operation.clone(),
            outcome: record.outcome.clone(),
            code: record.code.clone(),
            version: record.version,
            actor: record.actor.map(|actor| actor.to_string()),
            handle: record.handle.map(|handle| handle.to_string()),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.operation, &self.outcome, &self.code)
            == (&other.operation, &other.outcome, &other.code)
            && (self.version, &self.actor, &self.handle)
                == (other.version, &other.actor, &other.handle)
    }

    fn add(&mut self, other: &Self) {
        self.last_index = other.last_index;
        // Lanes work side by side: a later record may have an earlier time.
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.count += other.count;
    }
}

fn row(event: &Event) -> Vec<String> {
    let outcome = match event.code.as_str() {
        "" => event.outcome.clone(),
        code => format!("{}: {code}", event.outcome),
    };
    let optional = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let is_one = event.first_index == event.last_index;
    vec![
        moment::text(event.first_ms),
        if is_one { "-".into() } else { moment::text(event.last_ms) },
        event.count.to_string(),
        event.operation.clone(),
        outcome,
        optional(event.version.map(|version| version.to_string())),
        optional(event.actor.clone()),
        optional(event.handle.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_api::http::fields::Base64;
    use chancery_core::id::HandleId;

    fn record(log_index: u64, time_ms: u64, operation: &str, handle: u8) -> RecordObject {
        RecordObject {
            log_index,
            time_ms,
            operation: operation.into(),
            outcome: "committed".into(),
            code: String::new(),
            key: "k".into(),
            version: Some(1),
            use_index: None,
            actor: None,
            count: None,
            handle: Some(HandleId::from_bytes([handle; 16])),
            leaf: Base64(Vec::new()),
        }
    }

    #[test]
    fn uses_are_summed_up_between_commands_and_by_the_hour() {
        let records = [
            record(1, 10, "create-key", 0),
            record(2, 20, "sign", 1),
            record(3, 25, "sign", 2),
            record(4, 22, "sign", 1),
            record(5, 30, "verify", 1),
            record(6, 40, "change-version", 0),
            record(7, 50, "sign", 1),
            record(8, HOUR_MS, "sign", 1),
        ];
        let mut timeline = Timeline::default();
        for record in &records {
            timeline.take(record);
        }
        let found: Vec<_> = timeline
            .end()
            .into_iter()
            .map(|event| (event.operation, event.first_index, event.count, event.last_ms))
            .collect();
        let expected = [
            ("create-key", 1, 1, 10),
            ("sign", 2, 2, 22),
            ("sign", 3, 1, 25),
            ("verify", 5, 1, 30),
            ("change-version", 6, 1, 40),
            ("sign", 7, 1, 50),
            ("sign", 8, 1, HOUR_MS),
        ];
        assert_eq!(found, expected.map(|(name, index, n, ms)| (name.to_owned(), index, n, ms)));
    }
}
