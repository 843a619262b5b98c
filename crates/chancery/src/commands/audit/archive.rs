//! `audit archive`: closed segments of the log, into an archive.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use chancery_archive::archiving::{Archived, archive};
use chancery_archive::store::{Lock, LockMode};
use chancery_archive::target::Target;
use chancery_client::unix_ms;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::store::{AccessArgs, failure};
use crate::cli::Shared;
use crate::exit::Failure;
use crate::moment;
use crate::parse;
use crate::render::{View, show};

/// Put closed segments of the audit log into an archive: a directory, or a bucket of an S3 kind of store.
///
/// Needs neither the service nor a key of it, and may run beside it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit archive --to file:/mnt/archive
  chancery audit archive --to s3://audit/chancery --s3 archive.toml --ca store.pem --data /var/lib/chancery
  chancery audit archive --to s3://audit/chancery --s3 archive.toml --lock governance --lock-for 3650d

An object is put once, read back and compared; nothing is ever overwritten, so a bucket may refuse that (object lock).
Run again, it goes on behind what is there. What is archived is covered by a checkpoint of the log: whoever has the
log's policy finds whatever a store alters, drops or makes up (`chancery audit restore`). With `--lock` each object that
is put now is locked, and what the store says of that is read back; what stands there already is left as it is.")]
pub(super) struct ArchiveArgs {
    /// The archive: `file:DIRECTORY` or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "ARCHIVE")]
    to: Target,
    #[command(flatten)]
    access: AccessArgs,
    /// Have the bucket keep each object (object lock): under governance whoever has the right to may still remove it, under
    /// compliance nobody.
    #[arg(long, value_enum, value_name = "MODE", requires = "lock_for")]
    lock: Option<Mode>,
    /// Of `--lock`: for how long, from now on.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, requires = "lock")]
    lock_for: Option<Duration>,
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "chancery-data")]
    data: PathBuf,
}

/// How firmly.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Governance,
    Compliance,
}

impl ArchiveArgs {
    fn lock(&self) -> Option<Lock> {
        let (mode, for_) = self.lock.zip(self.lock_for)?;
        let mode = match mode {
            Mode::Governance => LockMode::Governance,
            Mode::Compliance => LockMode::Compliance,
        };
        let until = unix_ms().saturating_add(parse::milliseconds(for_));
        Some(Lock { mode, until: moment::text(until) })
    }
}

/// Carries `audit archive` out.
pub(super) fn run(shared: &Shared, args: &ArchiveArgs) -> Result<(), Failure> {
    let store = args.access.open_with(&args.to, args.lock())?;
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
