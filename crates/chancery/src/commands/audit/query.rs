//! `audit query`: records of one's own tenant, decrypted by the service; or from files, with the root key.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use chancery_core::action::Action;
use chancery_core::command::{AuditQuery, QUERY_RECORDS_MAX};
use chancery_core::id::{HandleId, OperationId, PrincipalId};
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use clap::{Args, ValueEnum};

use super::listing::Listing;
use super::reader::{FilesArgs, Reader};
use super::verify_proof::sha256_of_file;
use crate::cli::Shared;
use crate::exit::Failure;
use crate::parse;
use crate::render::print;

/// How often a service is asked for new records: once a second, as often as they come under a checkpoint.
const FOLLOW_ROUND: Duration = Duration::from_secs(1);

/// Read audit records, the newest last.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit query --key invoices --since 2h
  chancery audit query --outcome refused --limit 20
  chancery audit query --output invoice.sig
  chancery audit query --key invoices --follow
  chancery audit query --key invoices --version 2 --action sign --since 2026-11-01 --until 2026-11-08
  chancery audit query --operation 01990000-0000-7000-8000-000000000000 --format json
  chancery audit query --dir /mnt/evidence/chancery-data --root-key root.key --outcome refused

With `--dir` the answer is read from files, whether a service runs there or not, and says how far the log reached. What
is damaged is left out and named; the exit code is 4 then.")]
pub(super) struct QueryArgs {
    /// Of this key.
    #[arg(long)]
    key: Option<Name>,
    /// Of this version of it.
    #[arg(long, value_name = "N", requires = "key")]
    version: Option<u32>,
    /// With this handle.
    #[arg(long, value_name = "ID")]
    handle: Option<HandleId>,
    /// Where this was done: sign, decrypt, create-key, revoke-handle, start …
    #[arg(long, value_parser = action)]
    action: Option<Action>,
    /// By this principal.
    #[arg(long, value_name = "ID")]
    actor: Option<PrincipalId>,
    /// With this outcome.
    #[arg(long, value_enum)]
    outcome: Option<Recorded>,
    /// Refused with this code, such as key-unusable.
    #[arg(long, value_name = "CODE", value_parser = reason)]
    reason: Option<Reason>,
    /// Whose output is this file, such as a signature.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of this operation.
    #[arg(long, value_name = "ID")]
    operation: Option<OperationId>,
    /// Not before this: 2026-11-24T06:00:00Z, 2026-11-24, or a while ago such as 2h.
    #[arg(long, value_name = "TIME", value_parser = parse::since_now)]
    since: Option<u64>,
    /// Before this, in the same forms.
    #[arg(long, value_name = "TIME", value_parser = parse::since_now)]
    until: Option<u64>,
    /// With an index below this one: of a page, the index that its first record has.
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
    /// With an index above this one, and then the oldest first: of a page, the index that its last record has.
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// At most so many, the newest; the oldest with --after.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(QUERY_RECORDS_MAX)))]
    limit: u32,
    /// Go on with records as they are written, until it is stopped.
    #[arg(long, conflicts_with_all = ["until", "before", "after", "dir"])]
    follow: bool,
    /// Print comma-separated values (RFC 4180), with the handle and the leaf hash of each record.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    files: FilesArgs,
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

fn action(name: &str) -> Result<Action, String> {
    name.parse().map_err(|_| {
        let names: Vec<_> = Action::all().map(|(_, name)| name).collect();
        format!("what records say was done is {}", names.join(", "))
    })
}

fn reason(code: &str) -> Result<Reason, String> {
    let found = Reason::ALL.iter().find(|reason| reason.code() == code);
    found.copied().ok_or_else(|| "no refusal has that code; docs/errors.md lists them".to_owned())
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
        after: args.after,
        version: args.version,
        handle: args.handle,
        reason: args.reason.map(Reason::number),
        action: args.action,
        until_ms: args.until,
        output: args.output.as_deref().map(sha256_of_file).transpose()?,
        limit: args.limit,
    };
    let reader = args.files.open(shared)?;
    let listing = Listing::of(shared, args.csv);
    let records = reader.page(&query)?;
    if !args.follow {
        listing.whole(shared, &records, reader.note().as_ref())?;
        return reader.end();
    }
    print((listing.head() + &listing.lines(&records)?).as_bytes())?;
    let last = records.last().map_or(0, |record| record.log_index);
    follow(&reader, AuditQuery { after: Some(last), ..query }, listing)
}

/// Prints records as they are written, until it is stopped. A service that is away for a while is waited for.
fn follow(reader: &Reader, mut query: AuditQuery, listing: Listing) -> Result<(), Failure> {
    let mut is_lost = false;
    loop {
        let found = match reader.page(&query) {
            Ok(records) => {
                is_lost = false;
                records
            }
            Err(failure) if may_pass(&failure) => {
                if !is_lost {
                    eprintln!("chancery: the service does not answer; it is asked again");
                }
                is_lost = true;
                Vec::new()
            }
            Err(failure) => return Err(failure),
        };
        if let Some(last) = found.last() {
            query.after = Some(last.log_index);
            print(listing.lines(&found)?.as_bytes())?;
        }
        if found.len() < usize::try_from(query.limit).unwrap_or(usize::MAX) {
            sleep(FOLLOW_ROUND);
        }
    }
}

/// Whether asking again may help.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Failed(_) => true,
        Failure::Refused(refusal) => {
            ["unavailable", "signer-unavailable", "overloaded"].contains(&refusal.code.text())
        }
        _ => false,
    }
}
