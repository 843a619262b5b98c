//! `audit prove`: one record, shown to somebody else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use chancery_audit::opening::Opening;
use chancery_audit::proof;
use chancery_audit::receipt::{RECEIPT_BYTES_MAX, Receipt};
use chancery_core::command::AuditQuery;
use chancery_core::id::OperationId;
use chancery_core::name::Name;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_log::TreeHead;
use chancery_log::note::Note;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::reader::FilesArgs;
use super::uses::{self, Wanted};
use crate::cli::Shared;
use crate::exit::Failure;
use crate::files::{Input, OutputArgs, Secrecy};
use crate::parse;
use crate::policy;
use crate::published::{Published, PublishedArgs, kept_checkpoint};
use crate::render::{View, show};

/// What is shown of a record unless it is said: not by whom.
const USUAL: &str = "time,operation,key,authorization,payload";

/// Make a file that proves to an outsider, offline, what the log says of an operation, or all uses of a key.
///
/// From a receipt it shows which bytes were signed or sealed, and needs no service. What else the record says
/// is opened by the service, group by group, to those who may read the audit; the rest stays closed.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("record").required(true),
    after_help = "\
Examples:
  chancery audit prove --receipt invoice.receipt --out invoice.audit-proof
  chancery audit prove --operation 01990000-0000-7000-8000-000000000000 --out invoice.audit-proof
  chancery audit prove --index 17 --open time,operation,actor --out 17.audit-proof
  chancery audit prove --receipt invoice.receipt --checkpoint witnessed.checkpoint --out invoice.audit-proof
  chancery audit prove --operation 01990000-0000-7000-8000-000000000000 --witnessed --out invoice.audit-proof
  chancery audit prove --key invoices --since 2h --out invoices.audit-proof
  chancery audit prove --index 17 --dir /mnt/evidence/chancery-data --root-key root.key --out 17.audit-proof

With `--key` the file proves all uses of a key version since then, that there were no others until now, or that there
was none: the log counts the uses of each version without a gap. With `--checkpoint` or `--witnessed` it is until the last
use, or the last such proof, that the checkpoint covers; with `--dir`, that is the published one. It goes back into earlier
months, in which the key has other pseudonyms, if such a proof was made in the month in which it ends.

Groups are time, operation, key, actor, authorization, payload, source and build. Whoever has the file checks it with
`chancery audit verify-proof`."
)]
pub(super) struct ProveArgs {
    /// The receipt of the operation.
    #[arg(long, value_name = "FILE", group = "record")]
    receipt: Option<PathBuf>,
    /// The operation's id.
    #[arg(long, value_name = "ID", group = "record")]
    operation: Option<OperationId>,
    /// The record's index in the log.
    #[arg(long, value_name = "N", group = "record")]
    index: Option<u64>,
    /// All uses of this key, and that there are no others.
    #[arg(long, value_name = "NAME", group = "record")]
    key: Option<Name>,
    /// Of `--key`: the version.
    #[arg(long, value_name = "N", requires = "key", default_value_t = 1)]
    version: u32,
    /// Of `--key`: uses not before this, and the last one before it: 2026-11-24T06:00:00Z, 2026-11-24, or 2h.
    #[arg(long, value_name = "TIME", requires = "key", value_parser = parse::since_now)]
    since: Option<u64>,
    /// What is shown of each record: names of groups, with commas. Of a receipt alone that is its payload.
    #[arg(long, value_name = "GROUPS", value_parser = groups)]
    open: Option<RecordGroups>,
    /// The checkpoint to prove under, such as one that witnesses cosigned; the published one if not given.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Prove under the last published checkpoint that the service's witnesses cosigned; `witnessed.policy` beside it
    /// says who they are.
    #[arg(long, conflicts_with = "checkpoint")]
    witnessed: bool,
    /// The policy under which the proof is made, which it names by its digest: the published one if not given; with
    /// `--checkpoint` it names none then.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    published: PublishedArgs,
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Parses `time,operation`.
fn groups(text: &str) -> Result<RecordGroups, String> {
    let one = |name: &str| {
        let names = || RecordGroup::ALL.map(RecordGroup::name).join(", ");
        RecordGroup::from_name(name)
            .ok_or_else(|| format!("`{name}` is no group; there are {}", names()))
    };
    let groups = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
    RecordGroups::of(&groups).ok_or_else(|| "a group is named once".into())
}

/// Carries `audit prove` out.
pub(super) fn run(shared: &Shared, args: &ProveArgs) -> Result<(), Failure> {
    args.output.check()?;
    if let Some(key) = &args.key {
        let wanted = Wanted {
            key: key.clone(),
            version: args.version,
            since_ms: args.since.unwrap_or_default(),
            groups: args.open,
        };
        let reader = args.files.open(shared)?;
        let published = args.published.open_or(shared, args.files.published().as_deref())?;
        let kept = match &args.checkpoint {
            None if args.witnessed => Some(published.witnessed()?),
            kept => kept.as_deref().map(kept_checkpoint).transpose()?,
        };
        let named = |note: &Note| args.named(&published, note);
        return uses::prove(shared, &wanted, (kept, &named), (&reader, &published, &args.output));
    }
    let (index, opening) = opening(shared, args)?;
    let published = args.published.open_or(shared, args.files.published().as_deref())?;
    let checkpoint = match &args.checkpoint {
        Some(path) => kept_over(index, path)?,
        None if args.witnessed => published.witnessed_over(index)?,
        None => published.checkpoint_over(index)?,
    };
    let policy = args.named(&published, &checkpoint.0)?;
    let proof = prove((index, &opening), checkpoint, &published, policy)?;
    args.output.write(Secrecy::Public, proof.as_bytes())?;
    if args.output.is_standard() {
        return Ok(());
    }
    let written = args.output.out.display().to_string();
    let view = View::Fields(vec![("record", index.to_string()), ("written", written.clone())]);
    Ok(show(shared.format, &view, &json!({ "log_index": index, "written": written }))?)
}

impl ProveArgs {
    /// The digest of the policy that the proof names.
    fn named(&self, published: &Published, note: &Note) -> Result<Option<[u8; 32]>> {
        let usual = || match &self.checkpoint {
            Some(_) => Ok(None),
            None if self.witnessed => published.witnessed_policy().map(Some),
            None => published.policy().map(Some),
        };
        policy::named(self.policy.as_deref(), usual, &[note])
    }
}

/// A checkpoint that was kept, if it covers the record.
fn kept_over(index: u64, path: &Path) -> Result<(Note, TreeHead)> {
    let (note, tree) = kept_checkpoint(path)?;
    if index >= tree.size {
        bail!(
            "`{}` covers {} records, and record {index} is not among them: take a later checkpoint",
            path.display(),
            tree.size
        );
    }
    Ok((note, tree))
}

fn prove(
    (index, opening): (u64, &Opening),
    checkpoint: (Note, TreeHead),
    published: &Published,
    policy: Option<[u8; 32]>,
) -> Result<String> {
    let proof = proof::prove((index, opening), checkpoint, published.tiles(), policy);
    let what = || {
        format!(
            "the published log does not lead to record {index} as it was opened; if it is the log of that record, a \
             part of it was dropped or altered: keep the receipt"
        )
    };
    Ok(proof.with_context(what)?.to_string())
}

/// The record's index, and what is shown of it.
fn opening(shared: &Shared, args: &ProveArgs) -> Result<(u64, Opening), Failure> {
    let receipt = args.receipt.as_deref().map(from_receipt).transpose()?;
    let asked = match (&receipt, args.open) {
        (Some(receipt), None) => return Ok(receipt.clone()),
        (_, Some(groups)) => groups,
        (None, None) => groups(USUAL).map_err(|error| anyhow!(error))?,
    };
    let reader = args.files.open(shared)?;
    let index = match (&receipt, args.index, args.operation) {
        (Some((index, _)), ..) => *index,
        (None, Some(index), _) => index,
        (None, None, operation) => {
            let query = AuditQuery { operation, limit: 1, ..AuditQuery::default() };
            let records = reader.page(&query)?;
            reader.all_was_read()?;
            let absent = || anyhow!("no record of yours is of that operation");
            records.first().ok_or_else(absent)?.log_index
        }
    };
    let opening = reader.opened(index, asked)?;
    match &receipt {
        Some((_, promised)) if promised.leaf() != opening.leaf() => {
            Err(Failure::NotVerified(format!(
                "record {index} is not the one that the receipt promises: the log was altered, or is another; keep the \
             receipt"
            )))
        }
        _ => Ok((index, opening)),
    }
}

fn from_receipt(path: &Path) -> Result<(u64, Opening)> {
    let bytes = Input::open(path)?.read_all(RECEIPT_BYTES_MAX)?;
    let what = || format!("`{}`", path.display());
    let receipt = Receipt::parse(&bytes).with_context(what)?;
    let found = receipt.index().zip(receipt.opening());
    found.ok_or_else(|| anyhow!("not a receipt")).with_context(what)
}
