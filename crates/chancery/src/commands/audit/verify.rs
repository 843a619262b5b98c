//! `audit verify`: the log from its files alone, service up or down.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_audit::recovery::WalkError;
use chancery_audit::verify::{AUDIT_DIRECTORY, Report, VerifyError, verify};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Shared;
use crate::exit::Failure;
use crate::parse;
use crate::render::{View, show};

/// How long a service gets to finish the frame that it is writing: 50 ms, many times what a sync takes.
const SETTLING: Duration = Duration::from_millis(50);

/// Check the audit log from its files alone: every byte, every hash, every signature.
///
/// Needs neither the service nor a key. Exits with 4 if something does not hold.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit verify
  chancery audit verify --data /var/lib/chancery")]
pub(super) struct VerifyArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "chancery-data")]
    data: PathBuf,
}

/// Carries `audit verify` out.
pub(super) fn run(shared: &Shared, args: &VerifyArgs) -> Result<(), Failure> {
    let report = verify(&args.data, || std::thread::sleep(SETTLING));
    let report = report.map_err(|error| failure(&args.data, error))?;
    Ok(show(shared.format, &view(&report), &to_json(&report))?)
}

/// What cannot be read is a failure; what was read and does not hold is a result.
fn failure(data: &Path, error: VerifyError) -> Failure {
    match error {
        VerifyError::Unopened { .. } => {
            let what = format!("`{}` has no audit log; `--data DIR` names another", data.display());
            Failure::Failed(anyhow::Error::from(error).context(what))
        }
        error @ VerifyError::Walk(WalkError::Unreadable { .. }) => {
            Failure::Failed(anyhow::Error::from(error))
        }
        error @ VerifyError::Walk(_) => Failure::NotVerified(format!(
            "verification failed in `{}`: {:#}",
            data.join(AUDIT_DIRECTORY).display(),
            anyhow::Error::from(error)
        )),
    }
}

fn view(report: &Report) -> View {
    let torn = report.torn.as_ref();
    let torn = torn.map_or("none".into(), |torn| format!("in `{}` at {}", torn.file, torn.offset));
    View::Fields(vec![
        ("log", "holds".into()),
        ("origin", report.origin.name()),
        ("records", report.size.to_string()),
        ("frames", report.frames.to_string()),
        ("root", parse::hex(report.root.as_bytes())),
        ("signatures checked", report.signatures.to_string()),
        ("incarnation", report.incarnation.to_string()),
        ("segments", format!("{} as written, {} dense", report.padded, report.dense)),
        ("pruned", report.pruned.map_or("nothing".into(), |size| format!("{size} records"))),
        (
            "follows",
            report.follows.as_ref().map_or("no other log".into(), |gap| gap.origin.clone()),
        ),
        ("torn end", torn),
        ("torn ends kept", report.kept.to_string()),
    ])
}

fn to_json(report: &Report) -> Value {
    json!({
        "outcome": "verified",
        "origin": report.origin.name(),
        "records": report.size,
        "frames": report.frames,
        "root": parse::hex(report.root.as_bytes()),
        "signatures": report.signatures,
        "incarnation": report.incarnation,
        "torn": report.torn.as_ref().map(|torn| json!({ "file": torn.file, "offset": torn.offset })),
        "kept": report.kept,
        "pruned": report.pruned,
        "follows": report.follows.as_ref().map(|gap| json!({
            "origin": gap.origin,
            "records": gap.here.size,
            "remembered": gap.largest().size,
            "reason": gap.cause.code(),
            "at_ms": gap.at_ms,
        })),
        "segments": { "padded": report.padded, "dense": report.dense },
    })
}
