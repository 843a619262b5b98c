//! `audit disclose`: what opens records, handed out to somebody who has the log's files.

use anyhow::Result;
use chancery_api::http::replies::AnswerObject;
use chancery_audit::sealer::month_of;
use chancery_core::command::Command;
use chancery_core::disclosure::{DISCLOSED_RECORDS_MAX, Disclosed, Disclosure};
use chancery_core::proposal::Proposed;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::proposal::{self, ProposeArgs};
use crate::commands::{RepeatArgs, command, unexpected};
use crate::connection;
use crate::exit::{Failure, Misuse};
use crate::files::{LaterOutputArgs, Secrecy};
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
  chancery audit disclose --level everything --from 2026-11 --recipient KEY --recipient KEY --propose

Levels: a `tenant` auditor opens all records of the tenant in those months, with a copy of DIR/audit and DIR/log; the
keys of the months are handed out, and no others. In a `case` those records alone are shown, with a mirror of DIR/log; no
key is handed out. `everything` is break-glass: the service's own records too, proposed by one person and approved by
another (`chancery proposal`), and sealed to two keys, so that it takes both to open. The recipient makes KEY with `chancery audit recipient` and reads with
`chancery audit query --dir COPY --disclosure FILE --recipient-key FILE`.")]
pub(super) struct DiscloseArgs {
    /// How much.
    #[arg(long, value_enum)]
    level: Level,
    /// Of `tenant` and `everything`: the first month, in UTC.
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    from: Option<u16>,
    /// Of `tenant` and `everything`: the last month; the first if not given.
    #[arg(long, value_name = "YYYY-MM", value_parser = month, requires = "from")]
    until: Option<u16>,
    /// Of `case`: a record's index in the log.
    #[arg(long = "record", value_name = "INDEX")]
    records: Vec<u64>,
    /// The recipient's public key, in hexadecimal; of `everything`, two, of two people.
    #[arg(long = "recipient", value_name = "KEY", value_parser = parse::bytes32, required = true)]
    recipients: Vec<[u8; 32]>,
    #[command(flatten)]
    repeat: RepeatArgs,
    #[command(flatten)]
    propose: ProposeArgs,
    #[command(flatten)]
    output: LaterOutputArgs,
}

/// How much is disclosed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Single records.
    Case,
    /// All records of the tenant and of the service itself in some months, for two people.
    Everything,
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
    let disclosure = disclosure(args)?;
    let Some(output) = args.output.now() else {
        let asked = args.propose.command(Proposed::Disclose(disclosure));
        return proposal::give(shared, &connection::client(shared)?, &asked, args.repeat);
    };
    output.check()?;
    let client = connection::client(shared)?;
    let answer = command(&client, &Command::Disclose(disclosure), args.repeat.operation()?)?;
    let (index, AnswerObject::Disclosure(sealed)) = (answer.log_index, answer.answer) else {
        return Err(unexpected());
    };
    output.write(Secrecy::Secret, &sealed.0)?;
    if output.is_standard() {
        return Ok(());
    }
    let written = output.out.display().to_string();
    let record = index.map(|index| index.to_string()).unwrap_or_default();
    let view = View::Fields(vec![("on record as", record), ("written", written.clone())]);
    Ok(show(shared.format, &view, &json!({ "log_index": index, "written": written }))?)
}

fn disclosure(args: &DiscloseArgs) -> Result<Disclosure, Misuse> {
    let misuse = |what: &str| Err(Misuse(what.to_owned()));
    let (recipient, second) = match (args.level, args.recipients.as_slice()) {
        (Level::Everything, [recipient, second]) => (*recipient, Some(*second)),
        (Level::Everything, _) => return misuse("`--level everything` takes --recipient twice"),
        (_, [recipient]) => (*recipient, None),
        _ => return misuse("only `--level everything` takes --recipient twice"),
    };
    let disclosure = Disclosure { what: disclosed(args, second)?, recipient };
    disclosure.check().map_err(|error| Misuse(error.to_string()))?;
    Ok(disclosure)
}

/// What the command line asks for, and nothing of the other levels.
fn disclosed(args: &DiscloseArgs, second: Option<[u8; 32]>) -> Result<Disclosed, Misuse> {
    let misuse = |what: &str| Err(Misuse(what.to_owned()));
    Ok(match (args.level, args.from, args.records.as_slice()) {
        (Level::Tenant | Level::Everything, Some(first), []) => {
            let last = args.until.unwrap_or(first);
            match second {
                None => Disclosed::Months { first, last },
                Some(second) => Disclosed::Everything { first, last, second },
            }
        }
        (Level::Tenant | Level::Everything, ..) => {
            return misuse("this level takes --from and --until, and no --record");
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
    })
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
