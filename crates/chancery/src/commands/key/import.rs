//! `key import`: a private key, sealed to a one-time key of the signer before it leaves this process.
//!
//! What is sent is kept until the outcome is known ([`crate::pending`]): sealed anew, it would be another
//! command, which the service refuses under the id of the first. A repetition opens its file all the same, and
//! sends nothing if another key is in it.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use chancery_api::http::replies::AnswerObject;
use chancery_client::{Client, decode_pem, seal_import};
use chancery_core::command::{Command, NewKey};
use chancery_crypto::key::{PKCS8_BYTES_MAX, PrivateKey};
use zeroize::Zeroizing;

use super::{ImportArgs, change};
use crate::cli::Shared;
use crate::commands::{command, fresh_operation, unexpected};
use crate::connection;
use crate::exit::{Failure, Misuse};
use crate::files::Input;
use crate::pending::{Fingerprint, Pending, Sent, another_command};

/// Carries `key import` out.
pub(super) fn import(shared: &Shared, args: &ImportArgs) -> Result<(), Failure> {
    let new = args.new.to_new_key()?;
    if !new.suite.is_asymmetric() {
        return Err(
            Misuse(format!("`key import` takes signing keys, and no `{}`", new.suite)).into()
        );
    }
    let key = ToImport::read(&new, &args.pkcs8)?;
    let operation = args.repeat.operation()?;
    let profile = connection::profile(shared)?;
    let principal = profile.principal;
    let client = connection::client_for(shared, &profile)?;
    let sealed = || {
        let command = seal(&client, &new, &key.bytes)?;
        Ok(Sent { principal, command, seed: None, imported: Some(key.fingerprint) })
    };
    let pending = Pending::of(operation, principal, sealed)?;
    let Sent { command, imported, .. } = &pending.sent;
    let is_same = matches!(command, Command::ImportKey { new: sent, .. } if *sent == new);
    if !is_same || *imported != Some(key.fingerprint) {
        return Err(another_command(operation));
    }
    let answer = pending.give(&client)?;
    pending.forget();
    change::report(shared, &answer, operation)
}

/// A private key as it stands in its file, and which one that is.
struct ToImport {
    bytes: Zeroizing<Vec<u8>>,
    fingerprint: Fingerprint,
}

impl ToImport {
    /// Reads it, and says here what the signer would say, before the key is sent anywhere.
    fn read(new: &NewKey, pkcs8: &Path) -> Result<Self> {
        let bytes = read(pkcs8)?;
        let key = PrivateKey::from_pkcs8(new.suite, &bytes)
            .with_context(|| format!("`{}`", pkcs8.display()))?;
        let public = key.public().context("the key has no public half")?;
        Ok(Self { bytes, fingerprint: public.fingerprint() })
    }
}

/// The command that brings a key in, sealed to a one-time key that is asked for now.
fn seal(client: &Client, new: &NewKey, bytes: &[u8]) -> Result<Command, Failure> {
    let begun = command(client, &Command::BeginImport, fresh_operation()?);
    let begun = begun.map_err(|failure| match failure {
        Failure::Unknown { .. } => {
            Failure::Failed(anyhow!("no one-time key came; nothing was imported, try again"))
        }
        other => other,
    })?;
    let AnswerObject::OneTimeKey(key) = begun.answer else { return Err(unexpected()) };
    let sealed = seal_import(new, &key, bytes).context("cannot seal the key to the signer")?;
    Ok(Command::ImportKey { new: new.clone(), one_time: key.id.0, sealed })
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
