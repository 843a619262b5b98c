//! `mac` and `verify-mac`.

use std::path::PathBuf;

use chancery_client::Receipt;
use clap::Args;

use crate::cli::Shared;
use crate::commands::message::Message;
use crate::commands::{RepeatArgs, UseArgs, report_use, use_json};
use crate::connection;
use crate::exit::{Failure, settle, settle_verification};
use crate::files::{Input, OutputArgs, Secrecy};
use crate::render::{View, show};

/// The longest MAC that is read, in bytes: 4 KiB; one in its container has about 100.
const MAC_BYTES_MAX: usize = 4 * 1024;

/// MAC a file.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery mac --handle webhook.handle --context endpoint=orders body.json --out body.mac")]
pub(crate) struct MacArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The file, or `-`.
    input: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Verify the MAC of a file. Exits with 4 if it does not hold.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery verify-mac --handle webhook.handle --context endpoint=orders body.json --mac body.mac")]
pub(crate) struct VerifyMacArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The file, or `-`.
    input: PathBuf,
    /// The MAC's file.
    #[arg(long, value_name = "FILE")]
    mac: PathBuf,
}

/// Carries `mac` out.
pub(crate) fn mac(shared: &Shared, args: &MacArgs) -> Result<(), Failure> {
    args.output.check()?;
    let usage = args.usage.load(args.repeat)?;
    let message = Message::read(&args.input, usage.handle.purpose())?;
    let client = connection::client(shared)?;
    let manner = usage.manner(Receipt::Unwanted);
    let used = settle(client.mac(&usage.handle, message.as_input(), &manner))?;
    args.output.write(Secrecy::Public, &used.output)?;
    Ok(report_use(shared.format, &used, &args.output)?)
}

/// Carries `verify-mac` out.
pub(crate) fn verify(shared: &Shared, args: &VerifyMacArgs) -> Result<(), Failure> {
    let usage = args.usage.load(args.repeat)?;
    let message = Message::read(&args.input, usage.handle.purpose())?;
    let mac = Input::open(&args.mac)?.read_all(MAC_BYTES_MAX)?;
    let client = connection::client(shared)?;
    let manner = usage.manner(Receipt::Unwanted);
    let outcome = client.verify_mac(&usage.handle, message.as_input(), &mac, &manner);
    let used = settle_verification(outcome, "MAC")?;
    let view =
        View::Fields(vec![("mac", "holds".into()), ("log index", used.log_index.to_string())]);
    Ok(show(shared.format, &view, &use_json(&used, None))?)
}
