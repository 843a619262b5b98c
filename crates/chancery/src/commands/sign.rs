//! `sign` and `verify`.

use std::path::PathBuf;

use chancery_client::{Input as Signed, Receipt, carries_payload, is_about};
use chancery_core::context::Pair;
use chancery_core::purpose::Format;
use clap::Args;

use crate::cli::Shared;
use crate::commands::message::Message;
use crate::commands::offline::{self, Given, OfflineArgs};
use crate::commands::{RepeatArgs, UseArgs, report_use, use_json};
use crate::connection;
use crate::exit::{Failure, settle, settle_verification};
use crate::files::{self, Input, OutputArgs, Secrecy};
use crate::parse;
use crate::render::{View, show};

/// The longest signature that is read, in bytes: 128 KiB, for a JWS or a DSSE envelope holds its payload.
const SIGNATURE_BYTES_MAX: usize = 128 * 1024;

/// Sign a file.
///
/// The form of the signature is that of the key's purpose: a bound signature, a JWS, a DSSE
/// envelope, an output of COSE, a signature of OpenSSH, a signed note. Of a file over 64 KiB a `sign.bound` or `sign.sshsig`
/// key signs the SHA-256 digest, which is the same signature.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery sign --handle invoices.handle invoice.pdf --out invoice.sig
  chancery sign --handle invoices.handle --context customer=7 - --out - < invoice.pdf
  chancery sign --handle invoices.handle invoice.pdf --out invoice.sig --receipt invoice.receipt

The receipt shows an outsider that the use was enrolled in the audit log.")]
pub(crate) struct SignArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The file to sign, or `-`.
    input: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    /// Where to write a receipt: proof that this use is in the audit log.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

/// Verify the signature of a file. Exits with 4 if it does not hold.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery verify --handle invoices.handle invoice.pdf --signature invoice.sig
  chancery verify --bundle tenant.bundle --pins bundle.pins --key invoices --purpose sign.bound:invoice \\
      invoice.pdf --signature invoice.sig

The context must be the one that was signed with; what the handle pins need not be said again.
With a trust bundle nothing is asked of the service, and no record is made.")]
pub(crate) struct VerifyArgs {
    /// The handle's file, or `-`.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "bundle",
        conflicts_with = "bundle"
    )]
    handle: Option<PathBuf>,
    /// A pair of the context; what the handle pins need not be said again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    context: Vec<Pair>,
    /// The private key of a holder that the handle is bound to (Ed25519, PKCS#8 in PEM).
    #[arg(long, value_name = "KEY.pem", conflicts_with = "bundle")]
    holder: Vec<PathBuf>,
    #[command(flatten)]
    offline: OfflineArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The signed file, or `-`.
    input: PathBuf,
    /// The signature's file.
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
}

/// Carries `sign` out.
pub(crate) fn sign(shared: &Shared, args: &SignArgs) -> Result<(), Failure> {
    args.output.check()?;
    if let Some(path) = &args.receipt {
        args.output.check_beside(path)?;
    }
    let usage = args.usage.load(args.repeat)?;
    let message = Message::read(&args.input, usage.handle.purpose())?;
    let receipt = if args.receipt.is_some() { Receipt::Wanted } else { Receipt::Unwanted };
    let client = connection::client(shared)?;
    let used = settle(client.sign_with(&usage.handle, message.as_input(), &usage.manner(receipt)))?;
    args.output.write(Secrecy::Public, &used.output)?;
    if let Some(path) = &args.receipt {
        files::write(path, Secrecy::Public, args.output.overwrite, &used.receipt)?;
    }
    if args.receipt.as_deref().is_some_and(files::is_standard) {
        return Ok(());
    }
    Ok(report_use(shared.format, &used, &args.output)?)
}

/// Carries `verify` out.
pub(crate) fn verify(shared: &Shared, args: &VerifyArgs) -> Result<(), Failure> {
    let Some(handle) = args.handle.clone() else {
        let signature = &Input::open(&args.signature)?.read_all(SIGNATURE_BYTES_MAX)?;
        let (input, context) = (args.input.as_path(), &parse::context(&args.context)?);
        return offline::verify(shared, &args.offline, &Given { input, signature, context });
    };
    let (context, holder) = (args.context.clone(), args.holder.clone());
    let usage = UseArgs { handle, context, holder, routing_key: None };
    let usage = usage.load(args.repeat)?;
    let format = usage.handle.purpose().format();
    let message = Message::read(&args.input, usage.handle.purpose())?;
    let signature = Input::open(&args.signature)?.read_all(SIGNATURE_BYTES_MAX)?;
    let client = connection::client(shared)?;
    // What a signature carries is not sent beside it.
    let input = if carries_payload(format) { Signed::Message(&[]) } else { message.as_input() };
    let outcome = client.verify(&usage.handle, input, &signature, &usage.manner(Receipt::Unwanted));
    let used = settle_verification(outcome, "signature")?;
    check_payload(format, &signature, &message)?;
    let view = View::Fields(vec![
        ("signature", "holds".into()),
        ("key version", used.version.to_string()),
        ("log index", used.log_index.to_string()),
    ]);
    Ok(show(shared.format, &view, &use_json(&used, None))?)
}

/// A signature that carries its payload may hold, and be about another.
pub(crate) fn check_payload(
    format: Format,
    signature: &[u8],
    message: &Message,
) -> Result<(), Failure> {
    let Message::Whole(payload) = message else { return Ok(()) };
    if carries_payload(format) && !is_about(format, signature, payload) {
        let what = "verification failed: the signature holds, for another payload than this";
        return Err(Failure::NotVerified(what.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_about_another_file_does_not_verify() {
        let envelope = br#"{"payload":"e30="}"#;
        let check = |payload: &[u8]| {
            check_payload(Format::Dsse, envelope, &Message::Whole(payload.to_vec()))
        };
        assert!(check(b"{}").is_ok());
        assert!(matches!(check(b"{ }"), Err(Failure::NotVerified(_))));
        assert!(check_payload(Format::Bound, envelope, &Message::Whole(b"x".to_vec())).is_ok());
    }
}
