//! `audit query`: records of one's own tenant, decrypted by the service.

use anyhow::Result;
use chancery_api::http::replies::{AnswerObject, RecordObject};
use chancery_core::command::{AuditQuery, Command, QUERY_RECORDS_MAX};
use chancery_core::id::{OperationId, PrincipalId};
use chancery_core::name::Name;
use clap::{Args, ValueEnum};

use crate::cli::Shared;
use crate::commands::{answer_json, read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::moment;
use crate::parse;
use crate::render::{View, show};

/// Read audit records, the newest last.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit query --key invoices --since 2h
  chancery audit query --outcome refused --limit 20
  chancery audit query --operation 01990000-0000-7000-8000-000000000000 --format json")]
pub(super) struct QueryArgs {
    /// Of this key.
    #[arg(long)]
    key: Option<Name>,
    /// By this principal.
    #[arg(long, value_name = "ID")]
    actor: Option<PrincipalId>,
    /// With this outcome.
    #[arg(long, value_enum)]
    outcome: Option<Recorded>,
    /// Of this operation.
    #[arg(long, value_name = "ID")]
    operation: Option<OperationId>,
    /// Not before this: 2026-11-24T06:00:00Z, 2026-11-24, or a while ago such as 2h.
    #[arg(long, value_name = "TIME", value_parser = parse::since_now)]
    since: Option<u64>,
    /// With an index below this one: of a page, the index that its first record has.
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    /// At most so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(QUERY_RECORDS_MAX)))]
    limit: u32,
}

/// An outcome that records have.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Recorded {
    /// It was done.
    Committed,
    /// It was not.
    Refused,
}

impl Recorded {
    /// Its number in records.
    fn number(self) -> u8 {
        match self {
            Self::Committed => 0,
            Self::Refused => 1,
        }
    }
}

/// Carries `audit query` out.
pub(super) fn run(shared: &Shared, args: QueryArgs) -> Result<(), Failure> {
    let query = AuditQuery {
        key: args.key,
        actor: args.actor,
        outcome: args.outcome.map(Recorded::number),
        operation: args.operation,
        since_ms: args.since,
        before: args.before,
        limit: args.limit,
    };
    let client = connection::client(shared)?;
    let answer = read(&client, &Command::QueryAudit(query))?;
    let AnswerObject::Records(records) = answer else { return Err(unexpected()) };
    let head = vec!["index", "time", "operation", "outcome", "key", "version", "use", "actor"];
    let rows = records.iter().map(row).collect();
    Ok(show(shared.format, &View::Rows { head, rows }, &answer_json(&records)?)?)
}

fn row(record: &RecordObject) -> Vec<String> {
    let optional = |value: Option<String>| value.unwrap_or_else(|| "-".into());
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
        optional(Some(record.key.clone()).filter(|key| !key.is_empty())),
        optional(record.version.map(|version| version.to_string())),
        optional(record.use_index.or(record.count).map(|index| index.to_string())),
        optional(record.actor.map(|actor| actor.to_string())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_api::http::fields::Base64;

    #[test]
    fn a_refused_record_says_why_and_leaves_out_what_it_lacks() {
        let record = RecordObject {
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
            leaf: Base64(Vec::new()),
        };
        let expected =
            ["7", "1970-01-01T00:00:00Z", "sign", "refused: key-unusable", "-", "-", "-", "-"];
        assert_eq!(row(&record), expected);
    }
}
