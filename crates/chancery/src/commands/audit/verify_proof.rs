//! `audit verify-proof`: what somebody else's proof shows, with no service and no network.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chancery_audit::proof::{self, PROOF_BYTES_MAX, ProofError, TreeProof, UsesProof};
use chancery_audit::record::PayloadSection;
use chancery_client::sha256_of;
use chancery_log::tlog_proof::TLOG_PROOF_HEADER;
use clap::Args;
use serde_json::Value;

use super::shown;
use crate::cli::Shared;
use crate::exit::Failure;
use crate::files::Input;
use crate::parse::hex;
use crate::policy;
use crate::render::{View, show};

/// Say what a proof proves, from the file and a policy alone: no network, no service.
///
/// The policy names the keys of the log, and the witnesses that must have signed (C2SP tlog-policy); the service
/// writes that of its log to `DIR/log/policy`. Get it from whom you trust, not with the proof. Exits with 4 if
/// the proof does not hold. That it was made under another policy is said, and is no fault: what counts is yours.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit verify-proof invoice.audit-proof --policy log.policy --artifact invoice.pdf
  chancery audit verify-proof invoice.audit-proof --policy log.policy --artifact invoice.pdf --output invoice.sig")]
pub(super) struct VerifyProofArgs {
    /// The proof.
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// Whose signatures count.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// What was signed or sealed: the proof must be about these bytes.
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    /// What came out, such as the signature: the proof must be about these bytes.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Carries `audit verify-proof` out.
pub(super) fn run(shared: &Shared, args: &VerifyProofArgs) -> Result<(), Failure> {
    let trust = policy::trust(&args.policy)?;
    let bytes = Input::open(&args.proof)?.read_all(PROOF_BYTES_MAX)?;
    let nothing = |error: ProofError| {
        Failure::NotVerified(format!("`{}` proves nothing: {error}", args.proof.display()))
    };
    let is_compared = args.artifact.is_some() || args.output.is_some();
    if is_compared && !is_record(&bytes) {
        let what = "only the proof of one operation is about bytes that a file can be held against";
        return Err(Failure::NotVerified(what.into()));
    }
    let (mut shown, named) = if let Ok(trees) = TreeProof::parse(&bytes) {
        (shown::of_trees(&trees.check(&trust).map_err(nothing)?), trees.policy())
    } else if let Ok(uses) = UsesProof::parse(&bytes) {
        (shown::of_uses(&uses.check(&trust).map_err(nothing)?), uses.policy())
    } else {
        let used = proof::check(&bytes, &trust).map_err(nothing)?;
        (shown::of_record(&used, &compared(args, used.opened.payload.as_ref())?), used.policy)
    };
    shown.policy(&trust.digest(), named.as_ref());
    Ok(show(shared.format, &View::Fields(shown.lines), &Value::Object(shown.json))?)
}

/// Whether it is the proof of one record, which is a text.
fn is_record(bytes: &[u8]) -> bool {
    bytes.starts_with(TLOG_PROOF_HEADER.as_bytes())
}

/// The files that were held against the record, each with its part in it.
fn compared<'a>(
    args: &'a VerifyProofArgs,
    payload: Option<&PayloadSection>,
) -> Result<Vec<(&'static str, &'a Path)>, Failure> {
    let mut compared = Vec::new();
    if let Some(path) = &args.artifact {
        compare(path, payload.map(|payload| payload.message), "message")?;
        compared.push(("artifact", path.as_path()));
    }
    if let Some(path) = &args.output {
        compare(path, payload.map(|payload| payload.output), "output")?;
        compared.push(("output file", path.as_path()));
    }
    Ok(compared)
}

/// The SHA-256 of a file.
pub(super) fn sha256_of_file(path: &Path) -> Result<[u8; 32], Failure> {
    let input = Input::open(path)?;
    Ok(sha256_of(input).with_context(|| format!("cannot read `{}`", path.display()))?)
}

/// Holds a file against a digest that the record commits to.
fn compare(path: &Path, digest: Option<[u8; 32]>, what: &str) -> Result<(), Failure> {
    let Some(digest) = digest else {
        return Err(Failure::NotVerified(format!(
            "the proof does not show the payload, so it cannot be told whether `{}` is its {what}",
            path.display()
        )));
    };
    if sha256_of_file(path)? == digest {
        return Ok(());
    }
    Err(Failure::NotVerified(format!(
        "`{}` is not the {what} that the record is about, which has the SHA-256 {}",
        path.display(),
        hex(&digest)
    )))
}
