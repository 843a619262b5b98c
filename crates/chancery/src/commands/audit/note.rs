//! What is said of files that were read besides the records in them: how far the log reached, how that is known, and
//! what does not hold.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use chancery_signer::{Reach, Unread};
use serde_json::{Map, Value, json};

use super::reader::Opened;
use crate::exit::Failure;
use crate::moment;
use crate::parse::hex;
use crate::render::{Format, View, print, show};

/// What answers said besides their records.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) unread: Vec<Unread>,
    /// Months since January 1970.
    pub(super) gone: BTreeSet<u16>,
    pub(super) unindexed: Vec<Range<u64>>,
}

impl Seen {
    /// Fails if something could not be read.
    pub(super) fn all_was_read(&self) -> Result<(), Failure> {
        if self.unread.is_empty() {
            return Ok(());
        }
        let what = self.unread.iter().map(unread).collect::<Vec<_>>().join("; ");
        Err(Failure::NotVerified(format!("not everything could be read: {what}")))
    }
}

/// What is said.
pub(super) struct Note {
    fields: Vec<(&'static str, String)>,
    json: Map<String, Value>,
    /// What does not hold.
    findings: Vec<String>,
}

impl Note {
    /// Of files that were read.
    pub(super) fn of(directory: &Path, opened: &Opened, seen: &Seen) -> Self {
        let reach = opened.reach();
        let mut note = Self { fields: Vec::new(), json: Map::new(), findings: Vec::new() };
        let path = directory.display().to_string();
        note.say("read from", format!("the files in `{path}`; no service was asked"), json!(path));
        if let Some(scope) = opened.scope() {
            note.say("disclosed", scope.clone(), json!(scope));
        }
        note.log(reach, opened.unheld());
        if let Some(damaged) = opened.damaged_index() {
            note.index(&joined(&seen.unindexed), &damaged);
        }
        if !seen.gone.is_empty() {
            let months: Vec<_> = seen.gone.iter().copied().map(month).collect();
            let text = format!("of {}: their records open to nobody any more", months.join(", "));
            note.say("keys gone", text, json!(months));
        }
        for one in &seen.unread {
            note.fields.push(("not read", unread(one)));
        }
        note.json.insert("not_read".into(), seen.unread.iter().map(unread_json).collect());
        note.findings =
            reach.findings.iter().cloned().chain(seen.unread.iter().map(unread)).collect();
        for finding in &reach.findings {
            note.fields.push(("does not hold", finding.clone()));
        }
        note.json.insert("findings".into(), json!(reach.findings));
        note
    }

    fn say(&mut self, name: &'static str, text: String, value: Value) {
        self.fields.push((name, text));
        self.json.insert(name.replace(' ', "_"), value);
    }

    fn log(&mut self, reach: &Reach, unheld: u64) {
        let Reach { origin, size, walked_from, .. } = reach;
        let last = reach.last_ms.map(|at| format!(", the last of {}", moment::text(at)));
        let text = format!("{origin}, {size} records{}", last.unwrap_or_default());
        let last_ms = reach.last_ms;
        self.say("log", text, json!({ "origin": origin, "records": size, "last_ms": last_ms }));
        let text = if walked_from < size {
            format!(
                "frame by frame from record {walked_from} to the end; each record shown, by its leaf"
            )
        } else {
            "each record shown, by its leaf".to_owned()
        };
        self.say("verified", text, json!({ "from_record": walked_from, "to_record": size }));
        if let Some(torn) = &reach.torn {
            let text = format!(
                "in `{}` at {}: a frame that was not written whole",
                torn.file, torn.offset
            );
            self.say("torn end", text, json!({ "file": torn.file, "offset": torn.offset }));
        }
        match reach.checkpoint {
            Some(tree) => {
                let root = hex(tree.root.as_bytes());
                let held = match unheld {
                    0 => "those of them that are shown are under it".to_owned(),
                    _ => format!(
                        "{unheld} of them could not be held against it: tiles are missing or altered"
                    ),
                };
                let text = format!("covers {} records; {held}", tree.size);
                let json = json!({ "records": tree.size, "root": root, "not_held": unheld });
                self.say("checkpoint", text, json);
            }
            None => self.say("checkpoint", "none among the files".into(), Value::Null),
        }
        if let Some(size) = reach.lock_record {
            self.say("lock record", format!("remembers {size} records"), json!(size));
        }
    }

    fn index(&mut self, unindexed: &[Range<u64>], damaged: &[String]) {
        let ranges: Vec<_> = unindexed.iter().map(range).collect();
        let mut said = Vec::new();
        if !damaged.is_empty() {
            said.push(format!("{} not of it, or damaged", damaged.join(", ")));
        }
        if !ranges.is_empty() {
            said.push(format!("{} read from the log itself", ranges.join(", ")));
        }
        let text =
            if said.is_empty() { "covers what was asked for".into() } else { said.join("; ") };
        let pairs: Vec<_> = unindexed.iter().map(|range| [range.start, range.end]).collect();
        self.say("index", text, json!({ "damaged": damaged, "read_from_log": pairs }));
    }

    /// Shows a result, and what is said of the files that it is from: under it for people, around it for programs.
    pub(super) fn show(
        note: Option<&Self>,
        format: Format,
        view: &View,
        (name, json): (&str, Value),
    ) -> Result<()> {
        let Some(note) = note else { return show(format, view, &json) };
        show(format, view, &note.around(name, json))?;
        if format == Format::Json {
            return Ok(());
        }
        print(format!("\n{}", note.view().to_text()).as_bytes())
    }

    /// For people.
    pub(super) fn view(&self) -> View {
        View::Fields(self.fields.clone())
    }

    /// For programs, around what is shown under `name`.
    fn around(&self, name: &str, shown: Value) -> Value {
        let mut json = self.json.clone();
        json.insert(name.to_owned(), shown);
        Value::Object(json)
    }

    /// Fails if something does not hold.
    pub(super) fn end(&self) -> Result<(), Failure> {
        if self.findings.is_empty() {
            return Ok(());
        }
        let what = self.findings.join("; ");
        Err(Failure::NotVerified(format!(
            "not all of it holds; what could be read is shown: {what}"
        )))
    }
}

/// Ranges in order, those that touch as one.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn range(range: &Range<u64>) -> String {
    match range.end - range.start {
        1 => format!("record {}", range.start),
        _ => format!("records {} to {}", range.start, range.end - 1),
    }
}

fn unread(unread: &Unread) -> String {
    format!("{}: {}", range(&(unread.first_index..unread.end_index)), unread.why)
}

fn unread_json(unread: &Unread) -> Value {
    json!({ "from": unread.first_index, "to": unread.end_index, "why": unread.why })
}

/// `2026-11`, of a month counted since January 1970.
fn month(number: u16) -> String {
    format!("{:04}-{:02}", 1970 + number / 12, number % 12 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_said_as_one() {
        assert_eq!(joined(&[5..7, 0..2, 2..3, 6..9]), [0..3, 5..9]);
        assert_eq!(range(&(4..5)), "record 4");
        assert_eq!(range(&(4..6)), "records 4 to 5");
    }

    #[test]
    fn a_month_is_said_as_in_a_calendar() {
        assert_eq!([month(0), month(11), month(682)], ["1970-01", "1970-12", "2026-11"]);
    }

    #[test]
    fn what_was_not_read_fails() {
        let unread = Unread { first_index: 3, end_index: 5, why: "altered".into() };
        let seen = Seen { unread: vec![unread], ..Seen::default() };
        let Err(Failure::NotVerified(what)) = seen.all_was_read() else { panic!("it passed") };
        assert!(what.contains("records 3 to 4: altered"), "{what}");
        assert!(Seen::default().all_was_read().is_ok());
    }
}
