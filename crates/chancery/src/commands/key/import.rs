//! `key import`: a private key, sealed to a one-time key of the signer before it leaves this process.

use std::path::Path;

use anyhow::{Context as _, Result};
use chancery_api::http::replies::AnswerObject;
use chancery_client::{decode_pem, seal_import};
use chancery_core::command::Command;
use chancery_crypto::key::{PKCS8_BYTES_MAX, PrivateKey};
use zeroize::Zeroizing;

use super::{ImportArgs, change};
use crate::cli::Shared;
use crate::commands::{command, fresh_operation, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::files::Input;

/// Carries `key import` out.
pub(super) fn import(shared: &Shared, args: &ImportArgs) -> Result<(), Failure> {
    let new = args.new.to_new_key().context("cannot make such a key")?;
    let pkcs8 = read(&args.pkcs8)?;
    // Says here what the signer would say, before the key is sent anywhere.
    PrivateKey::from_pkcs8(new.suite, &pkcs8)
        .with_context(|| format!("`{}`", args.pkcs8.display()))?;
    let client = connection::client(shared)?;
    let begun = command(&client, &Command::BeginImport, fresh_operation()?)?;
    let AnswerObject::OneTimeKey(key) = begun.answer else { return Err(unexpected()) };
    let sealed = seal_import(&new, &key, &pkcs8).context("cannot seal the key to the signer")?;
    change::give(
        shared,
        &Command::ImportKey { new, one_time: key.id.0, sealed },
        fresh_operation()?,
    )
}

/// Reads a private key in DER, or in PEM.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    // PEM takes 4 bytes for 3, and line ends.
    let bytes = Zeroizing::new(Input::open(path)?.read_all(2 * PKCS8_BYTES_MAX)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.starts_with("-----BEGIN") => {
            decode_pem(text, "PRIVATE KEY").with_context(|| format!("`{}`", path.display()))
        }
        _ => Ok(bytes),
    }
}
