//! `audit restore`: a log back from its archive, checked from the first byte to the checkpoint.

use std::path::PathBuf;

use anyhow::Context as _;
use chancery_archive::restoring::{Opened, Restored};
use chancery_archive::target::Target;
use clap::Args;
use serde_json::json;

use super::store::{AccessArgs, failure};
use crate::cli::Shared;
use crate::exit::Failure;
use crate::render::{View, show};
use crate::{parse, policy};

/// Bring a log back from an archive, or the segments that a data directory lacks.
///
/// No service may run on the directory meanwhile. Exits with 4 if the archive does not hold.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit restore --from file:/mnt/archive --policy chancery.policy --data restored
  chancery audit verify --data restored

What is believed is the policy, which you have from before (`DIR/log/policy` of the service): its keys signed the
checkpoint over the archive, and everything is checked against that. A store that gives an older state of the archive
gives a shorter log: compare with a checkpoint that you remember. What is in the directory already stays as it is.")]
pub(super) struct RestoreArgs {
    /// The archive: `file:DIRECTORY` or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "ARCHIVE")]
    from: Target,
    #[command(flatten)]
    access: AccessArgs,
    /// Whose signatures count (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The log's origin, where the archive has more than one.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// The data directory to restore into; made if it is missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Carries `audit restore` out.
pub(super) fn run(shared: &Shared, args: &RestoreArgs) -> Result<(), Failure> {
    let trust = policy::trust(&args.policy)?;
    let store = args.access.open(&args.from)?;
    let opened = Opened::open(&store, args.origin.as_deref(), &trust);
    let restored = opened.and_then(|opened| opened.restore(&args.data, |_| ()));
    let restored = restored.map_err(|error| failure(&args.from, error))?;
    let Restored { origin, new, segments, tree, checkpoint, .. } = restored;
    let root = parse::hex(tree.root.as_bytes());
    let view = View::Fields(vec![
        ("log", "holds".into()),
        ("origin", origin.clone()),
        ("segments restored now", new.to_string()),
        ("segments", segments.to_string()),
        ("records", tree.size.to_string()),
        ("root", root.clone()),
        ("under a checkpoint of", format!("{checkpoint} records")),
    ]);
    let json = json!({
        "outcome": "verified",
        "origin": origin,
        "new_segments": new,
        "segments": segments,
        "records": tree.size,
        "root": root,
        "checkpoint": checkpoint,
    });
    show(shared.format, &view, &json).context("the log is restored")?;
    Ok(())
}
