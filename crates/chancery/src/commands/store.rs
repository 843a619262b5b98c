//! `store check` and `store dump`: for the person who must look inside, whether the service runs or not.
//!
//! Rows are sealed, and stay so: what is shown is names, revisions, lengths and the first sealed bytes. While
//! the service runs it holds the file alone; then the rows come from it, by an operator's command, those of
//! the operator's tenant and of the service itself.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use chancery_api::http::replies::{AnswerObject, StoreRowObject};
use chancery_core::command::Command;
use chancery_store::{Embedded, Integrity, OpenError, OpenMode, check, dump};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::parse;
use crate::render::{View, print, show};

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
#[command(after_help = "Example:\n  chancery store check --data /var/lib/chancery")]
struct CheckArgs {
    #[command(flatten)]
    place: Place,
}

/// Print every row of the store, as it is sealed.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery store dump --data /var/lib/chancery")]
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
        StoreCommand::Check(args) => match args.place.open()? {
            Opened::File(store) => check_file(shared, store),
            Opened::ByTheService => check_served(shared, &args.place),
        },
        StoreCommand::Dump(args) => match args.place.open()? {
            Opened::File(store) => dump_file(&store),
            Opened::ByTheService => dump_served(shared, &args.place),
        },
    }
}

/// Who has the store's file open.
enum Opened {
    /// We have.
    File(Embedded),
    /// The service, which is asked then.
    ByTheService,
}

impl Place {
    fn open(&self) -> Result<Opened, Failure> {
        let path = self.data.join(STORE_FILE);
        let opened = match Embedded::open(&path, OpenMode::ReadWrite) {
            Err(OpenError::Locked) => return Ok(Opened::ByTheService),
            opened => opened.map(Opened::File),
        };
        opened.map_err(|error| {
            let hint = match error {
                OpenError::Missing => "`--data DIR` names another data directory",
                _ => "nothing was changed",
            };
            Failure::Failed(
                anyhow!(error).context(format!("cannot open `{}`: {hint}", path.display())),
            )
        })
    }
}

fn check_file(shared: &Shared, mut store: Embedded) -> Result<(), Failure> {
    let integrity = store.check_integrity().context("cannot check the store's pages")?;
    let report = check(&store).context("cannot read the store's rows")?;
    let pages = if integrity == Integrity::Sound { "sound" } else { "repaired" };
    if !report.is_sound() {
        let findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        return Err(Failure::NotVerified(format!(
            "the store does not hold: {}",
            findings.join("; ")
        )));
    }
    let view = View::Fields(vec![
        ("store", "holds".into()),
        ("pages", pages.into()),
        ("rows", report.rows.to_string()),
        ("revision", report.revision.get().to_string()),
        ("bytes", (report.name_bytes + report.value_bytes).to_string()),
    ]);
    let json = json!({
        "outcome": "verified",
        "pages": pages,
        "rows": report.rows,
        "revision": report.revision.get(),
        "bytes": report.name_bytes + report.value_bytes,
    });
    Ok(show(shared.format, &view, &json)?)
}

fn dump_file(store: &Embedded) -> Result<(), Failure> {
    let mut text = Vec::new();
    dump(store, &mut text).context("cannot read the store's rows")?;
    Ok(print(&text)?)
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
    let bytes: u64 = rows.iter().map(|row| row.name.0.len() as u64 + u64::from(row.bytes)).sum();
    let pages = "checked when the service started";
    let view = View::Fields(vec![
        ("store", "holds, says the service that runs".into()),
        ("pages", pages.into()),
        ("rows", rows.len().to_string()),
        ("revision", revision.to_string()),
        ("bytes", bytes.to_string()),
    ]);
    let json = json!({
        "outcome": "verified",
        "pages": pages,
        "rows": rows.len(),
        "revision": revision,
        "bytes": bytes,
    });
    Ok(show(shared.format, &view, &json)?)
}

fn dump_served(shared: &Shared, place: &Place) -> Result<(), Failure> {
    let (rows, _) = served(shared, place)?;
    let line = |row: &StoreRowObject| {
        let (name, head) = (parse::hex(&row.name.0), parse::hex(&row.head.0));
        format!("{name} revision={} bytes={} sealed={head}\n", row.revision, row.bytes)
    };
    Ok(print(rows.iter().map(line).collect::<String>().as_bytes())?)
}
