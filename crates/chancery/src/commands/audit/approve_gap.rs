//! `audit approve-gap`: another person's approval that a log is retired.
//!
//! No service runs where it is needed, so the statement is a file: an operator signs it, others sign it too, and the operator
//! retires the log with it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chancery_audit::gap::{GAP_BYTES_MAX, Remembered, SignedGap};
use chancery_client::Profile;
use chancery_core::id::PrincipalId;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use clap::Args;
use serde_json::json;

use crate::cli::Shared;
use crate::connection;
use crate::exit::{Failure, Misuse, this_with};
use crate::files::{self, OverwriteArgs, Secrecy, read_text};
use crate::moment;
use crate::render::{View, show};

/// Approve that the log of a service is retired.
///
/// Needs neither the service nor its files: the statement, and your profile. Without --yes it shows what the statement says,
/// and signs nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit approve-gap gap
  chancery --context-file ada.toml audit approve-gap gap --yes 5120

The operator makes FILE with `chancery audit retire --propose FILE`, and retires the log with `--approved FILE`. Your
approval is written into the file. Look whether what is said to be remembered is what you know of the log: a witness, a
mirror, an archive.")]
pub(super) struct ApproveGapArgs {
    /// The statement.
    file: PathBuf,
    /// Approve it. SIZE is the largest number of records that is remembered, as it is shown without this.
    #[arg(long, value_name = "SIZE")]
    yes: Option<u64>,
}

/// Carries `audit approve-gap` out.
pub(super) fn run(shared: &Shared, args: &ApproveGapArgs) -> Result<(), Failure> {
    let signed = read(&args.file)?;
    let largest = signed.gap().largest().size;
    let Some(size) = args.yes else {
        tell(shared, &args.file, &signed)?;
        let option = format!("--yes {largest}");
        let again =
            this_with(&option).unwrap_or_else(|| format!("what was given, with `{option}`"));
        return Err(Misuse(format!(
            "nothing was signed. To approve that this log is retired:\n  {again}"
        ))
        .into());
    };
    if size != largest {
        return Err(Misuse(format!(
            "`--yes {size}` is not what is remembered, which is {largest}"
        ))
        .into());
    }
    let (principal, key) = signer(&connection::profile(shared)?)?;
    let approved = signed.approve(principal, &key);
    let approved = approved
        .context("you have signed this statement, or it has all the approvals that it can have")?;
    write(shared, &args.file, OverwriteArgs { force: true }, &approved)
}

/// Reads a statement.
pub(super) fn read(file: &Path) -> Result<SignedGap, Failure> {
    let text = read_text(file, GAP_BYTES_MAX)?;
    let signed = SignedGap::parse(text.as_bytes());
    signed.map_err(|error| Failure::NotVerified(format!("`{}`: {error}", file.display())))
}

/// Writes a statement, and shows it.
pub(super) fn write(
    shared: &Shared,
    file: &Path,
    overwrite: OverwriteArgs,
    signed: &SignedGap,
) -> Result<(), Failure> {
    files::write(file, Secrecy::Public, overwrite, signed.text().as_bytes())?;
    tell(shared, file, signed)
}

/// Who signs, by a profile.
pub(super) fn signer(profile: &Profile) -> Result<(PrincipalId, PrivateKey)> {
    let key = PrivateKey::from_secret(Suite::Ed25519, profile.signing_key.as_slice());
    Ok((profile.principal, key.context("the profile's signing key cannot be used")?))
}

fn tell(shared: &Shared, file: &Path, signed: &SignedGap) -> Result<(), Failure> {
    let gap = signed.gap();
    let approvals: Vec<_> =
        signed.approvals().iter().map(|approval| approval.principal.to_string()).collect();
    let mut fields = vec![
        ("log", gap.origin.clone()),
        ("why", gap.cause.to_string()),
        ("records here that hold", gap.here.size.to_string()),
        ("behind them", gap.finding.clone().unwrap_or_else(|| "nothing".into())),
    ];
    fields.extend(
        gap.remembered
            .iter()
            .map(|Remembered { who, tree }| ("remembered", format!("{} by {who}", tree.size))),
    );
    fields.extend([
        ("signed", moment::text(gap.at_ms)),
        ("by", gap.operator.to_string()),
        ("approved by", if approvals.is_empty() { "nobody".into() } else { approvals.join(", ") }),
    ]);
    let json = json!({
        "outcome": "unchanged",
        "statement": file.display().to_string(),
        "origin": gap.origin,
        "reason": gap.cause.to_string(),
        "records": gap.here.size,
        "largest": gap.largest().size,
        "finding": gap.finding,
        "operator": gap.operator.to_string(),
        "approvals": approvals,
    });
    Ok(show(shared.format, &View::Fields(fields), &json)?)
}
