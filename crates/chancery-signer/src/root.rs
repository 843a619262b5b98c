//! The root key and the recovery key, as files outside the data directory.
//!
//! A keyfile has one line: `chancery-root-key-1 ` and 32 bytes in hexadecimal, or, where there is a
//! passphrase, the key wrapped under it ([`chancery_crypto::passphrase`]). It is 0600 and owned by who runs
//! the service, or it is refused; so is the file that the passphrase is read from at each start.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use chancery_audit::origin::hex;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::passphrase::{self, WRAPPED_KEY};
use chancery_crypto::seal::SealingKey;
use chancery_memory::Arena;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::config::{RootSource, SignerError};
use crate::entropy;

const FORMAT: &str = "chancery-root-key-1 ";

/// What is said where there is no root key file.
const MISSING_KEY: &str = "cannot be opened; it is the root key that this data directory was made with: bring it back, or name it with --root-key";

/// The longest key or passphrase file that is read, in bytes; ours have 85 and 182.
const FILE_BYTES_MAX: u64 = 1_024;

/// Reads the root key.
pub(crate) fn read(arena: &Arena, source: &RootSource) -> Result<SealingKey, SignerError> {
    let path = source.file();
    let text = read_private(path, MISSING_KEY)?;
    let key = match source {
        RootSource::Keyfile(_) if text.starts_with(WRAPPED_KEY) => {
            let what =
                "is wrapped under a passphrase; name the file that holds it with --passphrase-file";
            return Err(file(path, what, None));
        }
        RootSource::Keyfile(_) => {
            let digits = text.strip_prefix(FORMAT).and_then(|rest| rest.strip_suffix('\n'));
            let key = digits.and_then(parse);
            key.ok_or_else(|| file(path, "this is not a root key file", None))?
        }
        RootSource::Passphrase { .. } if text.starts_with(FORMAT) => {
            let what = "is not wrapped under a passphrase; leave --passphrase-file out";
            return Err(file(path, what, None));
        }
        RootSource::Passphrase { passphrase, .. } => {
            passphrase::unwrap(read_passphrase(passphrase)?.as_bytes(), &text)?
        }
    };
    Ok(SealingKey::from_bytes(arena, &key)?)
}

/// Makes a root key; refuses to replace one.
pub(crate) fn create(source: &RootSource) -> Result<(), SignerError> {
    let key = Zeroizing::new(entropy::bytes::<32>()?);
    let text = Zeroizing::new(match source {
        RootSource::Keyfile(_) => format!("{FORMAT}{}\n", hex(key.as_slice())),
        RootSource::Passphrase { passphrase, .. } => {
            let passphrase = read_passphrase(passphrase)?;
            passphrase::wrap(passphrase.as_bytes(), &key, entropy::bytes()?)?
        }
    });
    write_private(source.file(), text.as_bytes())
}

/// The first line of the passphrase's file.
fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, SignerError> {
    let text = read_private(path, "cannot be opened; it holds the passphrase of the root key")?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Puts the recovery key where the operator was told to take it offline from.
pub(crate) fn create_recovery(path: &Path, key: &PrivateKey) -> Result<(), SignerError> {
    let secret = key.expose_secret().map_err(|_| SignerError::Certificate)?;
    let text = Zeroizing::new(format!("chancery-recovery-key-1 {}\n", hex(&secret)));
    write_private(path, text.as_bytes())
}

fn parse(digits: &str) -> Option<Zeroizing<[u8; 32]>> {
    let pairs = digits.as_bytes().as_chunks::<2>().0;
    let mut key = Zeroizing::new([0; 32]);
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

fn file(path: &Path, what: &'static str, source: Option<io::Error>) -> SignerError {
    SignerError::File { path: path.to_owned(), what, source }
}

fn read_private(path: &Path, missing: &'static str) -> Result<Zeroizing<String>, SignerError> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let opened = opened.map_err(|error| file(path, missing, Some(error)))?;
    let metadata =
        opened.metadata().map_err(|error| file(path, "cannot be looked at", Some(error)))?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.mode() & 0o077 != 0 || metadata.uid() != own || !metadata.is_file() {
        let what = "must be a file of your own that nobody else can read: `chmod 600` it";
        return Err(file(path, what, None));
    }
    let mut text = Zeroizing::new(String::new());
    let read = opened.take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| file(path, "cannot be read", Some(error)))?;
    Ok(text)
}

/// Writes a new file of mode 0600 and makes it and its name durable. Never replaces one.
///
/// Under its own name it is whole from the beginning: a start that is cut short leaves a draft, which the
/// next one replaces.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), SignerError> {
    let failed = |what| move |error| file(path, what, Some(error));
    let parent = path.parent().ok_or_else(|| file(path, "has no directory", None))?;
    let draft = path.with_added_extension("draft");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file(&draft, "cannot be removed", Some(error)));
        }
        _ => {}
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let mut made = made.map_err(failed("cannot be made"))?;
    made.write_all(bytes).map_err(failed("cannot be written"))?;
    made.sync_all().map_err(failed("cannot be synced"))?;
    renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE).map_err(|error| {
        file(path, "cannot be made; an older one is never replaced", Some(error.into()))
    })?;
    let directory = File::open(parent).map_err(failed("cannot be synced"))?;
    directory.sync_all().map_err(failed("cannot be synced"))
}
