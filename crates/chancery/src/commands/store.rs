//! `store check` and `store dump`: for the person who must look inside, whether the service runs or not.
//!
//! Rows are sealed, and stay so: what is shown is names, revisions, lengths and the first sealed bytes. The
//! file is read, never written: what redb repairs while it looks stays in memory and is said. While
//! the service runs it holds the file alone; then the rows come from it, by an operator's command, those of
//! the operator's tenant and of the service itself.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use chancery_api::http::replies::{AnswerObject, StoreRowObject};
use chancery_core::command::Command;
use chancery_store::{
    Closed, Embedded, Examined, Integrity, Listed, OpenError, StoreError, check, dump,
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::parse;
use crate::render::{Format, View, print, show};

/// The store's file in the data directory.
const STORE_FILE: &str = "store.redb";

/// Look inside the store.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    Check(CheckArgs),
    Dump(DumpArgs),
}

/// Check every page and every row of the store. Exits with 4 if something is wrong.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery store check --data /var/lib/chancery

The file is not changed: what the next start would repair is said.")]
struct CheckArgs {
    #[command(flatten)]
    place: Place,
}

/// Print every row of the store, as it is sealed. Exits with 4 if it cannot be read for damage.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery store dump --data /var/lib/chancery
  chancery store dump --format json")]
struct DumpArgs {
    #[command(flatten)]
    place: Place,
}

/// Where the store is.
#[derive(Args, Debug)]
struct Place {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "chancery-data")]
    data: PathBuf,
}

/// Carries `store` out.
pub(crate) fn run(shared: &Shared, args: StoreArgs) -> Result<(), Failure> {
    match args.command {
        StoreCommand::Check(args) => match args.place.examine()? {
            Looked::AtTheFile(examined) => check_file(shared, &examined),
            Looked::ByTheService => check_served(shared, &args.place),
        },
        StoreCommand::Dump(args) => {
            let rows = match args.place.examine()? {
                Looked::AtTheFile(examined) => dump(&examined.store).map_err(unreadable)?,
                Looked::ByTheService => listed(served(shared, &args.place)?.0),
            };
            Ok(show_rows(shared.format, &rows)?)
        }
    }
}

/// Who looks at the store's file.
enum Looked {
    /// We do, and change nothing of it.
    AtTheFile(Examined),
    /// The service, which has it open and is asked then.
    ByTheService,
}

impl Place {
    fn examine(&self) -> Result<Looked, Failure> {
        let path = self.data.join(STORE_FILE);
        let what = |hint| format!("cannot open `{}`: {hint}", path.display());
        match Embedded::examine(&path) {
            Ok(examined) => Ok(Looked::AtTheFile(examined)),
            Err(OpenError::Locked) => Ok(Looked::ByTheService),
            Err(error @ OpenError::Corrupt { .. }) => Err(Failure::NotVerified(format!(
                "the store `{}` does not hold; nothing was changed: {:#}",
                path.display(),
                anyhow!(error)
            ))),
            Err(error @ OpenError::Missing) => {
                let hint = "`--data DIR` names another data directory";
                Err(Failure::Failed(anyhow!(error).context(what(hint))))
            }
            Err(error) => Err(Failure::Failed(anyhow!(error).context(what("nothing was changed")))),
        }
    }
}

/// Rows that do not decode are a finding; a file that cannot be read is not.
fn unreadable(error: StoreError) -> Failure {
    let is_corrupt = matches!(error, StoreError::Corrupt { .. });
    let error = anyhow!(error).context("cannot read the store's rows; nothing was changed");
    if is_corrupt { Failure::NotVerified(format!("{error:#}")) } else { Failure::Failed(error) }
}

fn check_file(shared: &Shared, examined: &Examined) -> Result<(), Failure> {
    let report = check(&examined.store).map_err(unreadable)?;
    let mut findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    if examined.integrity == Integrity::Repaired {
        findings.push("the account of free pages is wrong; the next start would repair it".into());
    }
    if !findings.is_empty() {
        let findings = findings.join("; ");
        return Err(Failure::NotVerified(format!(
            "the store does not hold; nothing was changed: {findings}"
        )));
    }
    let pages = match examined.closed {
        Closed::ByCrash => "sound; not closed cleanly, which the next start mends",
        Closed::Cleanly => "sound",
    };
    let counted = Counted {
        store: "holds",
        pages,
        rows: report.rows,
        revision: report.revision.get(),
        bytes: report.name_bytes + report.value_bytes,
    };
    Ok(counted.show(shared.format)?)
}

/// A store that holds, in numbers.
struct Counted {
    store: &'static str,
    pages: &'static str,
    rows: u64,
    revision: u64,
    bytes: u64,
}

impl Counted {
    fn show(&self, format: Format) -> Result<()> {
        let view = View::Fields(vec![
            ("store", self.store.into()),
            ("pages", self.pages.into()),
            ("rows", self.rows.to_string()),
            ("revision", self.revision.to_string()),
            ("bytes", self.bytes.to_string()),
        ]);
        let json = json!({
            "outcome": "verified",
            "pages": self.pages,
            "rows": self.rows,
            "revision": self.revision,
            "bytes": self.bytes,
        });
        show(format, &view, &json)
    }
}

fn show_rows(format: Format, rows: &[Listed]) -> Result<()> {
    let one = |row: &Listed| {
        json!({
            "name": parse::hex(&row.name),
            "revision": row.revision,
            "bytes": row.bytes,
            "sealed": parse::hex(&row.head),
        })
    };
    if format == Format::Json {
        let document = json!({ "rows": rows.iter().map(one).collect::<Vec<_>>() });
        return print(format!("{document:#}\n").as_bytes());
    }
    let mut text = Vec::new();
    // Writing to a vector cannot fail.
    let _ = rows.iter().try_for_each(|row| writeln!(text, "{row}"));
    print(&text)
}

/// Every row that the service shows, in order, and the store's revision at the end.
fn served(shared: &Shared, place: &Place) -> Result<(Vec<StoreRowObject>, u64), Failure> {
    let client = connection::client_of(shared, &place.data)?;
    let (mut rows, mut after) = (Vec::new(), Vec::new());
    loop {
        let AnswerObject::StoreRows(page) = read(&client, &Command::InspectStore { after })? else {
            return Err(unexpected());
        };
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = next.0,
            None => return Ok((rows, page.revision)),
        }
    }
}

fn check_served(shared: &Shared, place: &Place) -> Result<(), Failure> {
    let (rows, revision) = served(shared, place)?;
    let in_order = rows.is_sorted_by(|one, next| one.name.0 < next.name.0);
    if !in_order || rows.iter().any(|row| row.revision == 0 || row.revision > revision) {
        let what = "the store does not hold: rows out of order, or of a revision not yet given";
        return Err(Failure::NotVerified(what.to_owned()));
    }
    let bytes = rows.iter().map(|row| row.name.0.len() as u64 + u64::from(row.bytes)).sum();
    let counted = Counted {
        store: "holds, says the service that runs",
        pages: "checked when the service started",
        rows: rows.len() as u64,
        revision,
        bytes,
    };
    Ok(counted.show(shared.format)?)
}

/// The service's rows as those of a file.
fn listed(rows: Vec<StoreRowObject>) -> Vec<Listed> {
    let one = |row: StoreRowObject| Listed {
        name: row.name.0,
        revision: row.revision,
        bytes: usize::try_from(row.bytes).unwrap_or(usize::MAX),
        head: row.head.0,
    };
    rows.into_iter().map(one).collect()
}
