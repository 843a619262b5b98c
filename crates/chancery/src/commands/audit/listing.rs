//! How audit records are listed: aligned, as JSON, as CSV; all at once, or line by line as they come.

use anyhow::Result;
use chancery_api::http::replies::RecordObject;

use super::note::Note;
use crate::cli::Shared;
use crate::commands::answer_json;
use crate::moment;
use crate::parse::hex;
use crate::render::{Format, View, print};

/// The columns of a table.
const HEAD: [&str; 8] = ["index", "time", "operation", "outcome", "key", "version", "use", "actor"];

/// How wide the columns are where the rows to come are not known.
const WIDTHS: [usize; 8] = [10, 20, 20, 24, 24, 7, 10, 36];

/// The columns of CSV: no value has a comma or a quotation mark.
const CSV_HEAD: &str = "index,time,operation,outcome,code,key,version,use,count,actor,handle,leaf";

/// The form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Aligned columns.
    Table,
    /// One JSON document; of records that are followed, one for each.
    Json,
    /// Comma-separated values (RFC 4180).
    Csv,
}

impl Listing {
    /// The form that is asked for.
    pub(super) fn of(shared: &Shared, is_csv: bool) -> Self {
        match shared.format {
            _ if is_csv => Self::Csv,
            Format::Json => Self::Json,
            _ => Self::Table,
        }
    }

    /// Prints all records there are.
    ///
    /// Of files, what is said besides stands under them; beside CSV, on standard error.
    pub(super) fn whole(
        self,
        shared: &Shared,
        records: &[RecordObject],
        note: Option<&Note>,
    ) -> Result<()> {
        if self == Self::Csv {
            if let Some(note) = note {
                eprint!("{}", note.view().to_text());
            }
            return print((self.head() + &self.lines(records)?).as_bytes());
        }
        let view = View::Rows { head: HEAD.to_vec(), rows: records.iter().map(row).collect() };
        Note::show(note, shared.format, &view, ("records", answer_json(&records)?))
    }

    /// What stands above records that are followed.
    pub(super) fn head(self) -> String {
        match self {
            Self::Table => aligned(&HEAD.map(str::to_uppercase)),
            Self::Json => String::new(),
            Self::Csv => format!("{CSV_HEAD}\n"),
        }
    }

    /// Some of the records that are followed.
    pub(super) fn lines(self, records: &[RecordObject]) -> Result<String> {
        let line = |record: &RecordObject| match self {
            Self::Table => Ok(aligned(&row(record))),
            Self::Json => Ok(format!("{}\n", answer_json(record)?)),
            Self::Csv => Ok(csv(record)),
        };
        records.iter().map(line).collect()
    }
}

fn aligned(cells: &[String]) -> String {
    let cells = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:width$}"));
    format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
}

fn csv(record: &RecordObject) -> String {
    let cells = [
        record.log_index.to_string(),
        moment::text(record.time_ms),
        record.operation.clone(),
        record.outcome.clone(),
        record.code.clone(),
        record.key.clone(),
        optional(record.version),
        optional(record.use_index),
        optional(record.count),
        optional(record.actor),
        optional(record.handle),
        hex(&record.leaf.0),
    ];
    format!("{}\n", cells.join(","))
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn row(record: &RecordObject) -> Vec<String> {
    let dash = |value: String| if value.is_empty() { "-".into() } else { value };
    let outcome = if record.code.is_empty() {
        record.outcome.clone()
    } else {
        format!("{}: {}", record.outcome, record.code)
    };
    vec![
        record.log_index.to_string(),
        moment::text(record.time_ms),
        record.operation.clone(),
        outcome,
        dash(record.key.clone()),
        dash(optional(record.version)),
        dash(optional(record.use_index.or(record.count))),
        dash(optional(record.actor)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_api::http::fields::Base64;

    fn refused() -> RecordObject {
        RecordObject {
            log_index: 7,
            time_ms: 0,
            operation: "sign".into(),
            outcome: "refused".into(),
            code: "key-unusable".into(),
            key: String::new(),
            version: None,
            use_index: None,
            actor: None,
            count: None,
            handle: None,
            leaf: Base64(vec![0xab; 2]),
        }
    }

    #[test]
    fn a_refused_record_says_why_and_leaves_out_what_it_lacks() {
        let expected =
            ["7", "1970-01-01T00:00:00Z", "sign", "refused: key-unusable", "-", "-", "-", "-"];
        assert_eq!(row(&refused()), expected);
    }

    #[test]
    fn each_line_has_as_many_values_as_the_head() {
        let line = "7,1970-01-01T00:00:00Z,sign,refused,key-unusable,,,,,,,abab\n";
        assert_eq!(Listing::Csv.lines(&[refused()]).unwrap(), line);
        assert_eq!(line.matches(',').count(), CSV_HEAD.matches(',').count());
        let table = Listing::Table.lines(&[refused()]).unwrap();
        assert_eq!(table.find("sign"), Listing::Table.head().find("OPERATION"));
        let json = Listing::Json.lines(&[refused(), refused()]).unwrap();
        assert_eq!(json.lines().count(), 2);
    }
}
