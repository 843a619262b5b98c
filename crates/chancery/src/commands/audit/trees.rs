//! `audit prove-consistent` and `audit prove-fork`: what two checkpoints of a log have to do with each other.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chancery_audit::proof::TreeProof;
use chancery_log::TreeHead;
use chancery_log::note::Note;
use clap::Args;
use serde_json::json;

use crate::cli::Shared;
use crate::exit::Failure;
use crate::files::{OutputArgs, Secrecy};
use crate::policy;
use crate::published::{Published, PublishedArgs, kept_checkpoint};
use crate::render::{View, show};

/// Make a file that proves that the log of today continues the one of a checkpoint that was kept.
///
/// If it does not, the file proves that, and the exit code is 4.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery audit prove-consistent kept.checkpoint --out since.audit-proof")]
pub(super) struct ConsistentArgs {
    /// The checkpoint that was kept.
    #[arg(value_name = "CHECKPOINT")]
    kept: PathBuf,
    /// The policy under which the proof is made, which it names by its digest.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    published: PublishedArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Make a file that proves that a log has signed two histories, from two checkpoints that contradict each other.
///
/// Of checkpoints of the same size nothing else is needed; of others, the published files of the larger one.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery audit prove-fork mine.checkpoint theirs.checkpoint --log their-mirror --out fork.audit-proof")]
pub(super) struct ForkArgs {
    /// One checkpoint.
    #[arg(value_name = "ONE")]
    one: PathBuf,
    /// The other.
    #[arg(value_name = "OTHER")]
    other: PathBuf,
    /// The policy under which the proof is made, which it names by its digest.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    published: PublishedArgs,
    #[command(flatten)]
    output: OutputArgs,
}

type Signed = (Note, TreeHead);

/// Carries `audit prove-consistent` out.
pub(super) fn consistent(shared: &Shared, args: &ConsistentArgs) -> Result<(), Failure> {
    let old = kept_checkpoint(&args.kept)?;
    let published = args.published.open(shared)?;
    let new = published.checkpoint()?;
    if old.1.size > new.1.size {
        return Err(Failure::NotVerified(format!(
            "the log has {} records now, and `{}` is of {}: it was taken back",
            new.1.size,
            args.kept.display(),
            old.1.size
        )));
    }
    args.output.check()?;
    let proof = make((&old, &new), &published, args.policy.as_deref())?;
    put(shared, &proof, &args.output)?;
    if proof.is_fork() {
        return Err(Failure::NotVerified(format!(
            "the log does not continue `{}`: the file that was written proves it",
            args.kept.display()
        )));
    }
    Ok(())
}

/// Carries `audit prove-fork` out.
pub(super) fn fork(shared: &Shared, args: &ForkArgs) -> Result<(), Failure> {
    let (one, other) = (kept_checkpoint(&args.one)?, kept_checkpoint(&args.other)?);
    let (old, new) = if one.1.size <= other.1.size { (one, other) } else { (other, one) };
    let proof = make((&old, &new), &args.published.open(shared)?, args.policy.as_deref())?;
    if !proof.is_fork() {
        return Err(Failure::NotVerified(
            "the two checkpoints do not contradict each other: the larger log continues the smaller one".into(),
        ));
    }
    Ok(put(shared, &proof, &args.output)?)
}

fn make(
    (old, new): (&Signed, &Signed),
    published: &Published,
    policy: Option<&Path>,
) -> Result<TreeProof> {
    let proof = TreeProof::make((&old.0, old.1), (&new.0, new.1), published.tiles());
    let what = "the published files are not those of the larger log, or are not whole";
    let policy = policy::named(policy, || Ok(None), &[&old.0, &new.0])?;
    Ok(proof.context(what)?.naming(policy))
}

fn put(shared: &Shared, proof: &TreeProof, output: &OutputArgs) -> Result<()> {
    output.write(Secrecy::Public, &proof.to_bytes())?;
    if output.is_standard() {
        return Ok(());
    }
    let written = output.out.display().to_string();
    let claim = if proof.is_fork() { "fork" } else { "consistent" };
    let view = View::Fields(vec![("claim", claim.into()), ("written", written.clone())]);
    show(shared.format, &view, &json!({ "claim": claim, "written": written }))
}
