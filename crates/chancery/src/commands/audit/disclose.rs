//! `audit disclose`: what opens records, handed out to somebody who has the log's files.

use anyhow::Result;
use chancery_api::http::replies::AnswerObject;
use chancery_audit::sealer::month_of;
use chancery_core::command::Command;
use chancery_core::disclosure::{DISCLOSED_RECORDS_MAX, Disclosed, Disclosure};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, command, unexpected};
use crate::connection;
use crate::exit::{Failure, Misuse};
use crate::files::{OutputArgs, Secrecy};
use crate::moment;
use crate::parse;
use crate::render::{View, show};

/// Hand out what opens records of your tenant to somebody who has the log's files, and no more than that.
///
/// It cannot be taken back, so an operator does it, and it is on record before it is written. The file is sealed to the
/// recipient's key.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit disclose --level tenant --from 2026-10 --until 2026-12 --recipient KEY --out quarter.disclosure
  chancery audit disclose --level case --record 17 --record 31 --recipient KEY --out case.disclosure

Levels: a `tenant` auditor opens all records of the tenant in those months, with a copy of DIR/audit and DIR/log; the
keys of the months are handed out, and no others. In a `case` those records alone are shown, with a mirror of DIR/log; no
key is handed out. The recipient makes KEY with `chancery audit recipient` and reads with
`chancery audit query --dir COPY --disclosure FILE --recipient-key FILE`.")]
pub(super) struct DiscloseArgs {
    /// How much.
    #[arg(long, value_enum)]
    level: Level,
    /// Of `tenant`: the first month, in UTC.
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    from: Option<u16>,
    /// Of `tenant`: the last month; the first if not given.
    #[arg(long, value_name = "YYYY-MM", value_parser = month, requires = "from")]
    until: Option<u16>,
    /// Of `case`: a record's index in the log.
    #[arg(long = "record", value_name = "INDEX")]
    records: Vec<u64>,
    /// The recipient's public key, in hexadecimal.
    #[arg(long, value_name = "KEY", value_parser = parse::bytes32)]
    recipient: [u8; 32],
    #[command(flatten)]
    repeat: RepeatArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// How much is disclosed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Single records.
    Case,
    /// All records of the tenant in some months.
    Tenant,
}

/// Parses `2026-11` into months since January 1970.
fn month(text: &str) -> Result<u16, String> {
    let first = moment::parse(&format!("{text}-01"));
    first.map(month_of).ok_or_else(|| format!("`{text}` is not a month such as 2026-11"))
}

/// Carries `audit disclose` out.
pub(super) fn run(shared: &Shared, args: &DiscloseArgs) -> Result<(), Failure> {
    let what = disclosed(args)?;
    args.output.check()?;
    let client = connection::client(shared)?;
    let disclosure = Disclosure { what, recipient: args.recipient };
    let answer = command(&client, &Command::Disclose(disclosure), args.repeat.operation()?)?;
    let (index, AnswerObject::Disclosure(sealed)) = (answer.log_index, answer.answer) else {
        return Err(unexpected());
    };
    args.output.write(Secrecy::Secret, &sealed.0)?;
    if args.output.is_standard() {
        return Ok(());
    }
    let written = args.output.out.display().to_string();
    let record = index.map(|index| index.to_string()).unwrap_or_default();
    let view = View::Fields(vec![("on record as", record), ("written", written.clone())]);
    Ok(show(shared.format, &view, &json!({ "log_index": index, "written": written }))?)
}

/// What the command line asks for, and nothing of the other level.
fn disclosed(args: &DiscloseArgs) -> Result<Disclosed, Misuse> {
    let misuse = |what: &str| Err(Misuse(what.to_owned()));
    let what = match (args.level, args.from, args.records.as_slice()) {
        (Level::Tenant, Some(first), []) => {
            Disclosed::Months { first, last: args.until.unwrap_or(first) }
        }
        (Level::Tenant, ..) => {
            return misuse("`--level tenant` takes --from and --until, and no --record");
        }
        (Level::Case, None, [_, ..]) => {
            let mut indices = args.records.clone();
            indices.sort_unstable();
            indices.dedup();
            Disclosed::Records { indices }
        }
        (Level::Case, ..) => {
            let most = DISCLOSED_RECORDS_MAX;
            return misuse(&format!(
                "`--level case` takes --record, up to {most} times, and no months"
            ));
        }
    };
    what.check().map_err(|error| Misuse(error.to_string()))?;
    Ok(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_a_year_and_a_number() {
        assert_eq!(month("1970-01"), Ok(0));
        assert_eq!(month("2026-11"), Ok(682));
        for text in ["2026", "2026-13", "2026-00", "2026-11-01", "1969-12", ""] {
            assert!(month(text).is_err(), "{text}");
        }
    }
}
