//! `store check` and `store dump`: for the person who must look inside, while the service is down.
//!
//! Rows are sealed, and stay so: what is shown is names, revisions, lengths and the first sealed bytes. While
//! the service runs it holds the file alone, and the commands say so.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use chancery_store::{Embedded, Integrity, OpenError, OpenMode, check, dump};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Shared;
use crate::exit::Failure;
use crate::render::{View, print, show};

/// The store's file in the data directory.
const STORE_FILE: &str = "store.redb";

/// Look inside the store; the service must be down.
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
        StoreCommand::Check(args) => check_store(shared, &args.place),
        StoreCommand::Dump(args) => dump_store(&args.place),
    }
}

impl Place {
    fn open(&self) -> Result<Embedded, Failure> {
        let path = self.data.join(STORE_FILE);
        Embedded::open(&path, OpenMode::ReadWrite).map_err(|error| {
            let hint = match error {
                OpenError::Locked => "the service is running; stop it first",
                OpenError::Missing => "`--data DIR` names another data directory",
                _ => "nothing was changed",
            };
            Failure::Failed(
                anyhow!(error).context(format!("cannot open `{}`: {hint}", path.display())),
            )
        })
    }
}

fn check_store(shared: &Shared, place: &Place) -> Result<(), Failure> {
    let mut store = place.open()?;
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

fn dump_store(place: &Place) -> Result<(), Failure> {
    let mut text = Vec::new();
    dump(&place.open()?, &mut text).context("cannot read the store's rows")?;
    Ok(print(&text)?)
}
