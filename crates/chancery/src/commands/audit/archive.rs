//! `audit archive`: closed segments of the log, into an archive.

use std::path::PathBuf;

use anyhow::Context as _;
use chancery_archive::archiving::{Archived, archive};
use chancery_archive::target::Target;
use clap::Args;
use serde_json::json;

use super::store::{AccessArgs, failure};
use crate::cli::Shared;
use crate::exit::Failure;
use crate::render::{View, show};

/// Put closed segments of the audit log into an archive: a directory, or a bucket of an S3 kind of store.
///
/// Needs neither the service nor a key of it, and may run beside it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit archive --to file:/mnt/archive
  chancery audit archive --to s3://audit/chancery --s3 archive.toml --ca store.pem --data /var/lib/chancery

An object is put once, read back and compared; nothing is ever overwritten, so a bucket may refuse that (object lock).
Run again, it goes on behind what is there. What is archived is covered by a checkpoint of the log: whoever has the
log's policy finds whatever a store alters, drops or makes up (`chancery audit restore`).")]
pub(super) struct ArchiveArgs {
    /// The archive: `file:DIRECTORY` or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "ARCHIVE")]
    to: Target,
    #[command(flatten)]
    access: AccessArgs,
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "chancery-data")]
    data: PathBuf,
}

/// Carries `audit archive` out.
pub(super) fn run(shared: &Shared, args: &ArchiveArgs) -> Result<(), Failure> {
    let store = args.access.open(&args.to)?;
    let archived = archive(&args.data, &store, |_| ());
    let archived = archived.map_err(|error| failure(&args.to, error.into()))?;
    let Archived { new, new_bytes, segments, size } = archived;
    let view = View::Fields(vec![
        ("archive", args.to.to_string()),
        ("segments put now", new.to_string()),
        ("bytes put now", new_bytes.to_string()),
        ("segments", segments.to_string()),
        ("records", size.to_string()),
    ]);
    let json = json!({
        "archive": args.to.to_string(),
        "new_segments": new,
        "new_bytes": new_bytes,
        "segments": segments,
        "records": size,
    });
    show(shared.format, &view, &json).context("the log is archived")?;
    Ok(())
}
