//! `generate-data-key` and `unwrap`: data keys for callers that encrypt by themselves.

use std::path::PathBuf;

use chancery_client::{MadeDataKey, Receipt};
use chancery_crypto::chunked::WRAPPED_BYTES_MAX;
use clap::Args;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, UseArgs, report_use};
use crate::connection;
use crate::exit::{Failure, settle, settle_verification};
use crate::files::{self, Input, OutputArgs, Secrecy};

/// Make a data key: 32 bytes in clear, and the same key wrapped.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery generate-data-key --handle backups.handle --out data.key --wrapped data.wrapped

Keep the wrapped key with what you encrypt, and forget the clear one; `chancery unwrap` brings it back.")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Where to write the wrapped key.
    #[arg(long, value_name = "FILE")]
    wrapped: PathBuf,
}

/// Unwrap a data key that `generate-data-key` made. Exits with 4 if it was changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery unwrap --handle backups.handle data.wrapped --out data.key")]
pub(crate) struct UnwrapArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The wrapped key, or `-`.
    input: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Carries `generate-data-key` out.
pub(crate) fn generate(shared: &Shared, args: &GenerateArgs) -> Result<(), Failure> {
    args.output.check()?;
    args.output.check_beside(&args.wrapped)?;
    let usage = args.usage.load(args.repeat)?;
    let client = connection::client(shared)?;
    let mut used =
        settle(client.generate_data_key(&usage.handle, &usage.manner(Receipt::Unwanted)))?;
    let made = MadeDataKey::take(&mut used).map_err(anyhow::Error::from)?;
    files::write(&args.wrapped, Secrecy::Public, args.output.overwrite, &made.wrapped)?;
    args.output.write(Secrecy::Secret, made.key.as_slice())?;
    if files::is_standard(&args.wrapped) {
        return Ok(());
    }
    Ok(report_use(shared.format, &used, &args.output)?)
}

/// Carries `unwrap` out.
pub(crate) fn unwrap(shared: &Shared, args: &UnwrapArgs) -> Result<(), Failure> {
    args.output.check()?;
    let usage = args.usage.load(args.repeat)?;
    let wrapped = Input::open(&args.input)?.read_all(WRAPPED_BYTES_MAX)?;
    let client = connection::client(shared)?;
    let outcome = client.unwrap(&usage.handle, &wrapped, &usage.manner(Receipt::Unwanted));
    let mut used = settle_verification(outcome, "wrapped key")?;
    let key = zeroize::Zeroizing::new(std::mem::take(&mut used.output));
    args.output.write(Secrecy::Secret, &key)?;
    Ok(report_use(shared.format, &used, &args.output)?)
}
