//! `derive` and `random`: bytes that the service gives out.

use chancery_client::Receipt;
use chancery_crypto::key::DERIVED_BYTES_MAX;
use clap::Args;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, UseArgs, report_use};
use crate::connection;
use crate::exit::{Failure, settle};
use crate::files::{OutputArgs, Secrecy};

/// The most random bytes that the service gives at once: 1 KiB.
const RANDOM_BYTES_MAX: i64 = 1_024;

fn derived_length() -> clap::builder::RangedI64ValueParser<u32> {
    let most = i64::try_from(DERIVED_BYTES_MAX).unwrap_or_default();
    clap::value_parser!(u32).range(1..=most)
}

/// Derive key bytes for a context.
///
/// The same key version and the same context give the same bytes. The file is the owner's alone.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery derive --handle session.handle --context user=7 --length 32 --out user-7.key")]
pub(crate) struct DeriveArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// How many bytes, at most 64.
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = derived_length())]
    length: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// Draw random bytes in the service.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery handle issue sessions --operations random --out random.handle
  chancery random --handle random.handle --length 32 --out nonce.bin

Random bytes are never given twice: if no answer comes, draw others.")]
pub(crate) struct RandomArgs {
    #[command(flatten)]
    usage: UseArgs,
    /// How many bytes, at most 1024.
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=RANDOM_BYTES_MAX))]
    length: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// Carries `derive` out.
pub(crate) fn derive(shared: &Shared, args: &DeriveArgs) -> Result<(), Failure> {
    args.output.check()?;
    let usage = args.usage.load(args.repeat)?;
    let client = connection::client(shared)?;
    let used = settle(client.derive(&usage.handle, args.length, &usage.manner(Receipt::Unwanted)))?;
    args.output.write(Secrecy::Secret, &used.output)?;
    Ok(report_use(shared.format, &used, &args.output)?)
}

/// Carries `random` out.
pub(crate) fn random(shared: &Shared, args: &RandomArgs) -> Result<(), Failure> {
    args.output.check()?;
    let usage = args.usage.load(RepeatArgs::NEVER)?;
    let client = connection::client(shared)?;
    let outcome = client.random(&usage.handle, args.length, &usage.manner(Receipt::Unwanted));
    let used = settle(outcome).map_err(|failure| match failure {
        Failure::Unknown { .. } => Failure::Failed(anyhow::anyhow!("no answer came; draw others")),
        other => other,
    })?;
    args.output.write(Secrecy::Secret, &used.output)?;
    Ok(report_use(shared.format, &used, &args.output)?)
}
