//! `audit prune`: archived segments out of the data directory.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use chancery_api::http::replies::AnswerObject;
use chancery_archive::restoring::Opened;
use chancery_archive::target::Target;
use chancery_client::unix_ms;
use chancery_core::command::{Command, PruneAudit};
use chancery_export::cursor::CursorFile;
use clap::Args;
use serde_json::json;

use super::store::{AccessArgs, failure};
use crate::cli::Shared;
use crate::commands::{RepeatArgs, command, read, unexpected};
use crate::exit::Failure;
use crate::render::{View, show};
use crate::{connection, parse, policy};

/// Remove old segments of the audit log from the service's data directory, once they are archived.
///
/// The archive is read back first, every segment of those that are to go. The service then decides for itself: it
/// removes nothing younger than its `--retention`, and puts the command on record before. Hashes stay, so that proofs do;
/// whoever asks for a record that is gone is told where it is archived.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit prune --archive file:/mnt/archive --policy chancery.policy --older-than 400d
  chancery audit prune --archive s3://audit/chancery --s3 archive.toml --ca store.pem --policy chancery.policy \\
    --older-than 400d --cursor siem.cursor

With --cursor nothing goes that an export has not sent yet; name the cursor of each export that matters.")]
pub(super) struct PruneArgs {
    /// The archive: `file:DIRECTORY` or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "ARCHIVE")]
    archive: Target,
    #[command(flatten)]
    access: AccessArgs,
    /// Whose signatures count (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Only segments whose last record is older, such as 400d.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    older_than: std::time::Duration,
    /// The cursor of an export that has to have sent what goes; may be given again.
    #[arg(long = "cursor", value_name = "FILE")]
    cursors: Vec<PathBuf>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Carries `audit prune` out.
pub(super) fn run(shared: &Shared, args: &PruneArgs) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    let trust = policy::trust(&args.policy)?;
    let store = args.access.open(&args.archive)?;
    let AnswerObject::Status(status) = read(&client, &Command::ReadStatus)? else {
        return Err(unexpected());
    };
    let origin = status.origin;
    let opened = Opened::open(&store, Some(&origin), &trust);
    let opened = opened.map_err(|error| failure(&args.archive, error))?;
    let before_ms = unix_ms().saturating_sub(parse::milliseconds(args.older_than));
    let exported = exported(args, &origin)?;
    let old = opened.entries().iter().take_while(|entry| {
        entry.latest_ms < before_ms && exported.is_none_or(|next| entry.end_index <= next)
    });
    let last = old.last().ok_or_else(|| {
        anyhow!("no archived segment is old enough, and sent by every export that is named")
    })?;
    let segments = last.segment + 1;
    let read = opened.verify(segments, |_| ());
    read.map_err(|error| failure(&args.archive, error))?;
    let prune = PruneAudit { segments, entry: last.hash(), location: args.archive.to_string() };
    let answer = command(&client, &Command::PruneAudit(prune), args.repeat.operation()?)?;
    let view = View::Fields(vec![
        ("segments pruned", segments.to_string()),
        ("records pruned", last.end_index.to_string()),
        ("archived at", args.archive.to_string()),
        ("log index", answer.log_index.map_or_else(|| "-".into(), |index| index.to_string())),
    ]);
    let json = json!({
        "segments": segments,
        "records": last.end_index,
        "archive": args.archive.to_string(),
        "log_index": answer.log_index,
    });
    Ok(show(shared.format, &view, &json)?)
}

/// The first record that an export has not sent yet.
fn exported(args: &PruneArgs, origin: &str) -> Result<Option<u64>, Failure> {
    let mut first = None;
    for path in &args.cursors {
        let (_, cursor) =
            CursorFile::open(path).with_context(|| format!("`{}`", path.display()))?;
        let cursor =
            cursor.ok_or_else(|| anyhow!("`{}` is no cursor of an export", path.display()))?;
        if cursor.origin != origin {
            return Err(anyhow!("`{}` is the cursor of another log", path.display()).into());
        }
        first = Some(first.map_or(cursor.next, |first: u64| first.min(cursor.next)));
    }
    Ok(first)
}
