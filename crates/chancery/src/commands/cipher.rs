//! `encrypt`, `decrypt` and `rewrap`: whole files of any size, or one short plaintext in the service.
//!
//! With a `wrap.aead` key, the file is encrypted here, chunk by chunk, under a data key that the service made
//! and keeps wrapped ([`chancery_crypto::chunked`]). With an `encrypt.aead` key, the plaintext goes to the
//! service, at most 64 KiB of it, and comes back as an envelope.

use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use chancery_client::{Client, MadeDataKey, Receipt, Used};
use chancery_core::limits::MESSAGE_BYTES_MAX;
use chancery_core::purpose::{Purpose, Usage};
use chancery_crypto::chunked::{
    Binding, CHUNK_BYTES, ChunkedError, DataKey, FileHeader, SALT_BYTES, WRAPPED_BYTES_MAX,
    decrypt_stream, encrypt_stream,
};
use chancery_crypto::envelope::ENVELOPE_BYTES_MAX;
use chancery_crypto::primitive::random;
use clap::Args;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, Use, UseArgs, report_use};
use crate::connection;
use crate::exit::{Failure, settle, settle_verification};
use crate::files::{Input, OutputArgs, Secrecy};
use crate::progress::Progress;

/// Encrypt a file.
///
/// With a handle for `wrap.aead`, a file of any size, encrypted here under a data key of the service. With
/// one for `encrypt.aead`, at most 64 KiB, encrypted in the service.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery encrypt --handle backups.handle backup.tar --out backup.tar.enc
  tar c photos | chancery encrypt --handle backups.handle - --out photos.tar.enc
  chancery encrypt --handle cards.handle --context customer=7 card.txt --out card.enc

For files, make a key with `--purpose wrap.aead:NAME --algorithm aes-256-gcm`.")]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The file to encrypt, or `-`.
    input: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Decrypt what `encrypt` made. Exits with 4 if it was changed, or the context is another.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery decrypt --handle backups.handle backup.tar.enc --out backup.tar
  set -o pipefail; chancery decrypt --handle backups.handle backup.tar.enc --out - | tar t

An output file appears when all of the input is authenticated; it is the owner's alone. To standard output
goes every 64 KiB once they are authenticated, and nothing else; that the input was not cut short is known at
its end alone. Any exit code but 0 then says that what was written is a beginning, to be discarded.")]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The file to decrypt, or `-`.
    input: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Encrypt an envelope or a wrapped data key again, under the key version that protects now.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery rewrap --handle cards.handle --context customer=7 card.enc --out card.new

The plaintext does not leave the service. A file that was encrypted with a `wrap.aead` key is bound to
its wrapped key: decrypt it and encrypt it again.")]
pub(crate) struct RewrapArgs {
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// The envelope or wrapped key, or `-`.
    input: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// How keys of a purpose encrypt.
enum Way {
    /// The file here, its data key in the service.
    Chunked,
    /// All of it in the service.
    Envelope,
}

fn way(purpose: &Purpose) -> Result<Way> {
    match purpose.usage() {
        Usage::Wrap => Ok(Way::Chunked),
        Usage::Encrypt => Ok(Way::Envelope),
        Usage::Sign | Usage::Mac | Usage::Derive => bail!(
            "the handle is for `{purpose}`, which encrypts nothing; a key for `wrap.aead` encrypts files, \
             one for `encrypt.aead` short plaintexts"
        ),
    }
}

/// Carries `encrypt` out.
pub(crate) fn encrypt(shared: &Shared, args: &EncryptArgs) -> Result<(), Failure> {
    args.output.check()?;
    let usage = args.usage.load(args.repeat)?;
    let way = way(usage.handle.purpose())?;
    let input = Input::open(&args.input)?;
    let client = connection::client(shared)?;
    let used = match way {
        Way::Chunked => encrypt_file(&client, &usage, input, &args.output)?,
        Way::Envelope => encrypt_short(&client, &usage, input, &args.output)?,
    };
    Ok(report_use(shared.format, &used, &args.output)?)
}

fn encrypt_short(
    client: &Client,
    usage: &Use,
    mut input: Input,
    output: &OutputArgs,
) -> Result<Used, Failure> {
    let plaintext = zeroize::Zeroizing::new(input.read_start(MESSAGE_BYTES_MAX + 1)?);
    if plaintext.len() > MESSAGE_BYTES_MAX {
        return Err(Failure::Failed(anyhow::anyhow!(
            "{} has more than {MESSAGE_BYTES_MAX} bytes, the most that a key for `encrypt.aead` encrypts; for \
             files make a key with `--purpose wrap.aead:NAME` and encrypt with a handle of that",
            input.name()
        )));
    }
    let used = settle(client.encrypt(&usage.handle, &plaintext, &usage.manner(Receipt::Unwanted)))?;
    output.write(Secrecy::Public, &used.output)?;
    Ok(used)
}

fn encrypt_file(
    client: &Client,
    usage: &Use,
    input: Input,
    output: &OutputArgs,
) -> Result<Used, Failure> {
    let mut used =
        settle(client.generate_data_key(&usage.handle, &usage.manner(Receipt::Unwanted)))?;
    let made = MadeDataKey::take(&mut used).map_err(anyhow::Error::from)?;
    let header = new_header(&made.wrapped)?;
    write_encrypted(&header, &made.key, usage, input, output)?;
    Ok(used)
}

fn new_header(wrapped: &[u8]) -> Result<FileHeader> {
    let mut salt = [0; SALT_BYTES];
    random(&mut salt).context("no salt could be drawn")?;
    FileHeader::new(wrapped, salt).context("the service gave no usable data key")
}

fn write_encrypted(
    header: &FileHeader,
    key: &DataKey,
    usage: &Use,
    input: Input,
    output: &OutputArgs,
) -> Result<()> {
    let mut target = output.create(Secrecy::Public)?;
    let progress = Progress::new("encrypting", input.length());
    let name = input.name().to_owned();
    let writer = BufWriter::with_capacity(2 * CHUNK_BYTES, &mut target);
    let done =
        encrypt_stream(header, key, binding(usage), input, writer, &mut |done| progress.at(done));
    done.with_context(|| format!("cannot encrypt {name}"))?;
    target.commit()
}

/// Carries `decrypt` out.
pub(crate) fn decrypt(shared: &Shared, args: &DecryptArgs) -> Result<(), Failure> {
    args.output.check()?;
    let usage = args.usage.load(args.repeat)?;
    let way = way(usage.handle.purpose())?;
    let input = Input::open(&args.input)?;
    let client = connection::client(shared)?;
    let used = match way {
        Way::Chunked => decrypt_file(&client, &usage, input, &args.output)?,
        Way::Envelope => decrypt_short(&client, &usage, input, &args.output)?,
    };
    Ok(report_use(shared.format, &used, &args.output)?)
}

fn decrypt_short(
    client: &Client,
    usage: &Use,
    mut input: Input,
    output: &OutputArgs,
) -> Result<Used, Failure> {
    let envelope = input.read_all(ENVELOPE_BYTES_MAX)?;
    let outcome = client.decrypt(&usage.handle, &envelope, &usage.manner(Receipt::Unwanted));
    let mut used = settle_verification(outcome, "ciphertext")?;
    let plaintext = zeroize::Zeroizing::new(std::mem::take(&mut used.output));
    output.write(Secrecy::Secret, &plaintext)?;
    Ok(used)
}

fn decrypt_file(
    client: &Client,
    usage: &Use,
    input: Input,
    output: &OutputArgs,
) -> Result<Used, Failure> {
    let (name, length) = (input.name().to_owned(), input.length());
    let mut reader = BufReader::with_capacity(2 * CHUNK_BYTES, input);
    let header = FileHeader::read(&mut reader).with_context(|| format!("cannot decrypt {name}"))?;
    let outcome = client.unwrap(&usage.handle, header.wrapped(), &usage.manner(Receipt::Unwanted));
    let mut used = settle_verification(outcome, "wrapped key")?;
    let key = data_key(std::mem::take(&mut used.output))?;
    let mut target = output.create(Secrecy::Secret)?;
    let progress = Progress::new("decrypting", length);
    let mut written = 0;
    let mut at = |done| {
        written = done;
        progress.at(done);
    };
    let done = decrypt_stream(&header, &key, binding(usage), reader, &mut target, &mut at);
    match done.map_err(ended).and_then(|_| target.commit().map_err(Failure::Failed)) {
        Ok(()) => Ok(used),
        Err(failure) => Err(of_decryption(failure, &name, &released(output, written))),
    }
}

fn ended(error: ChunkedError) -> Failure {
    match error {
        ChunkedError::NotAuthentic | ChunkedError::Malformed => {
            Failure::NotVerified(error.to_string())
        }
        other => Failure::Failed(other.into()),
    }
}

/// What failed, of which input, and what is to be done about a beginning that is out already.
fn of_decryption(failure: Failure, name: &str, beginning: &str) -> Failure {
    match failure {
        Failure::NotVerified(what) => {
            Failure::NotVerified(format!("cannot decrypt {name}: {what}{beginning}"))
        }
        Failure::Failed(error) => {
            Failure::Failed(anyhow::anyhow!("cannot decrypt {name}: {error:#}{beginning}"))
        }
        other => other,
    }
}

/// What a failure leaves in the hands of whoever reads standard output.
fn released(output: &OutputArgs, written: u64) -> String {
    if !output.is_standard() || written == 0 {
        return String::new();
    }
    format!("; discard the {written} bytes on standard output, they are only the beginning")
}

fn data_key(bytes: Vec<u8>) -> Result<DataKey> {
    let bytes = zeroize::Zeroizing::new(bytes);
    let key = bytes.as_slice().try_into().context("the service gave no data key of 32 bytes")?;
    Ok(DataKey::new(key))
}

fn binding(usage: &Use) -> Binding<'_> {
    Binding { purpose: usage.handle.purpose(), context: &usage.context }
}

/// Carries `rewrap` out.
pub(crate) fn rewrap(shared: &Shared, args: &RewrapArgs) -> Result<(), Failure> {
    args.output.check()?;
    let usage = args.usage.load(args.repeat)?;
    let wrapped = Input::open(&args.input)?.read_all(ENVELOPE_BYTES_MAX.max(WRAPPED_BYTES_MAX))?;
    let client = connection::client(shared)?;
    let outcome = client.rewrap(&usage.handle, &wrapped, &usage.manner(Receipt::Unwanted));
    let used = settle_verification(outcome, "ciphertext")?;
    args.output.write(Secrecy::Public, &used.output)?;
    Ok(report_use(shared.format, &used, &args.output)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_says_how_its_keys_encrypt() {
        let of = |text: &str| way(&text.parse().unwrap());
        assert!(matches!(of("wrap.aead:backups"), Ok(Way::Chunked)));
        assert!(matches!(of("encrypt.aead:card-number"), Ok(Way::Envelope)));
        let refusal = of("sign.bound:invoice").err().unwrap().to_string();
        assert!(refusal.contains("wrap.aead") && refusal.contains("encrypt.aead"), "{refusal}");
    }

    #[test]
    fn a_data_key_has_32_bytes() {
        assert_eq!(*data_key(vec![7; 32]).unwrap(), [7; 32]);
        assert!(data_key(vec![7; 31]).is_err());
    }
}
