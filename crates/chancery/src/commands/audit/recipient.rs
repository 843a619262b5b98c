//! `audit recipient`: the key pair of somebody to whom records are disclosed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use chancery_audit::disclosure::DisclosureFile;
use chancery_signer::{Recipient, RecipientError};
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::Shared;
use crate::exit::{Failure, Misuse};
use crate::files::{Input, OutputArgs, Secrecy, read_text};
use crate::parse;
use crate::render::{View, show};

/// What a file of a private key begins with.
const FORMAT: &str = "chancery-recipient-key-1 ";

/// The longest such file, in bytes; ours have 90.
const KEY_BYTES_MAX: usize = 128;

/// The longest disclosure, in bytes: 2 MiB, as long as an answer may be.
const DISCLOSURE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Make a key pair, to which whoever discloses records seals them.
///
/// The private key opens every disclosure that is sealed to it: keep the file. The public key is printed.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery audit recipient --out auditor.key")]
pub(super) struct RecipientArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Carries `audit recipient` out.
pub(super) fn run(shared: &Shared, args: &RecipientArgs) -> Result<(), Failure> {
    args.output.check()?;
    let (private, public) = Recipient::new_pair().map_err(|error| anyhow!(error))?;
    let digits = Zeroizing::new(parse::hex(&private));
    let text = Zeroizing::new([FORMAT, digits.as_str(), "\n"].concat());
    args.output.write(Secrecy::Secret, text.as_bytes())?;
    if args.output.is_standard() {
        return Ok(());
    }
    let (public, written) = (parse::hex(&public), args.output.out.display().to_string());
    let view = View::Fields(vec![("public key", public.clone()), ("written", written.clone())]);
    Ok(show(shared.format, &view, &json!({ "public_key": public, "written": written }))?)
}

/// Opens a disclosure with the private keys in files: one, or those of two people.
pub(super) fn open(disclosure: &Path, keys: &[PathBuf]) -> Result<DisclosureFile, Failure> {
    let keys = keys.iter().map(|key| recipient(key)).collect::<Result<Vec<_>>>()?;
    let [key, rest @ ..] = keys.as_slice() else {
        return Err(Misuse("`--recipient-key FILE` opens a disclosure".into()).into());
    };
    let other = match rest {
        [] => None,
        [other] => Some(other),
        _ => return Err(Misuse("a disclosure opens with one key or two".into()).into()),
    };
    let sealed = Input::open(disclosure)?.read_all(DISCLOSURE_BYTES_MAX)?;
    let name = disclosure.display();
    key.open(&sealed, other).map_err(|error| match error {
        RecipientError::Provider => Failure::Failed(anyhow!(error)),
        error => Failure::NotVerified(format!("`{name}`: {error}")),
    })
}

fn recipient(key: &Path) -> Result<Recipient> {
    let text = Zeroizing::new(read_text(key, KEY_BYTES_MAX)?);
    let digits = text.strip_prefix(FORMAT).and_then(|rest| rest.strip_suffix('\n'));
    let private = digits.and_then(|digits| parse::bytes32(digits).ok()).map(Zeroizing::new);
    let private = private.with_context(|| {
        format!("`{}` is no recipient's key; `chancery audit recipient` makes one", key.display())
    })?;
    Ok(Recipient::with_key(&private))
}
