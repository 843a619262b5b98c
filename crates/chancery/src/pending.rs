//! What a command sends and could not make a second time, kept until its outcome is known.
//!
//! A repetition under the same operation id must send the same bytes. Most commands are the same each time;
//! an import is sealed anew, and a principal's key drawn anew. What these two send is therefore written to a
//! file of the owner's alone before it is sent, with the key that would otherwise be lost with this process.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 2 |
//! | 1 | 16 | the principal that sends it |
//! | 17 | 1 | length *n* of the seed, 0 or 32 |
//! | 18 | *n* | the new principal's Ed25519 seed |
//! | 18 + *n* | 1 | length *m* of the fingerprint, 0 or 32 |
//! | 19 + *n* | *m* | SHA-256 of the public half of the key that is imported |
//! | 19 + *n* + *m* | | the command, in its canonical CBOR |
//!
//! What was sealed cannot be opened here to be compared; the fingerprint says whether a repetition names the same
//! key.
//!
//! **Invariant:** nothing is sent before its file is synced, and the file goes only once the outcome is
//! known: what was committed is written where it belongs, or the first attempt was refused. A repetition that
//! is refused says nothing of the attempt before it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chancery_api::http::replies::CommandAnswer;
use chancery_client::{Client, Refusal};
use chancery_core::cbor;
use chancery_core::command::Command;
use chancery_core::id::{OperationId, PrincipalId};
use chancery_core::proposal::Proposed;
use zeroize::Zeroizing;

use crate::commands::command;
use crate::exit::{Failure, Misuse};
use crate::files::{self, Input, OverwriteArgs, Secrecy};
use crate::state;
use crate::supervisor::private_directory;

const VERSION: u8 = 2;

/// The length of a principal's Ed25519 seed, in bytes (RFC 8032, 5.1.5), as the file says it.
const SEED_LENGTH: u8 = 32;
const SEED_BYTES: usize = SEED_LENGTH as usize;

/// The length of a fingerprint, in bytes, as the file says it.
const FINGERPRINT_LENGTH: u8 = 32;
const FINGERPRINT_BYTES: usize = FINGERPRINT_LENGTH as usize;

/// The longest file, in bytes: 64 KiB. A sealed RSA-4096 key takes less than 3.
const PENDING_BYTES_MAX: usize = 64 * 1024;

/// The seed of a principal that is being made.
pub(crate) type Seed = Zeroizing<[u8; SEED_BYTES]>;

/// SHA-256 of the public half of a key that is brought in.
pub(crate) type Fingerprint = [u8; FINGERPRINT_BYTES];

/// What is sent, and who sends it.
pub(crate) struct Sent {
    /// Whose operation ids these are.
    pub(crate) principal: PrincipalId,
    /// The command.
    pub(crate) command: Command,
    /// The key that goes with it, of a principal that is being made.
    pub(crate) seed: Option<Seed>,
    /// Which key is sealed in the command, of one that is imported.
    pub(crate) imported: Option<Fingerprint>,
}

/// Whether the service may have had the command before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    First,
    Repeated,
}

/// A command with its file.
pub(crate) struct Pending {
    pub(crate) operation: OperationId,
    pub(crate) sent: Sent,
    path: PathBuf,
    attempt: Attempt,
}

impl Pending {
    /// What an earlier attempt under this id kept; or what `make` makes, kept from now on.
    pub(crate) fn of(
        operation: OperationId,
        principal: PrincipalId,
        make: impl FnOnce() -> Result<Sent, Failure>,
    ) -> Result<Self, Failure> {
        let path = path(operation)?;
        if !path.exists() {
            let pending = Self { operation, sent: make()?, path, attempt: Attempt::First };
            pending.keep()?;
            return Ok(pending);
        }
        let sent = read(&path)?;
        if sent.principal != principal {
            return Err(Failure::from(Misuse(format!(
                "operation {operation} was begun by principal {}, not by that of this context",
                sent.principal
            ))));
        }
        Ok(Self { operation, sent, path, attempt: Attempt::Repeated })
    }

    fn keep(&self) -> Result<()> {
        let never = OverwriteArgs { force: false };
        files::write(&self.path, Secrecy::Secret, never, &self.sent.encode())
    }

    /// Sends it and waits for its answer.
    pub(crate) fn give(&self, client: &Client) -> Result<CommandAnswer, Failure> {
        command(client, &self.sent.command, self.operation).map_err(|failure| match failure {
            Failure::Unknown { operation, .. } => {
                Failure::Unknown { operation, kept: Some(self.path.clone()) }
            }
            Failure::Refused(_) if self.attempt == Attempt::First => {
                self.forget();
                failure
            }
            Failure::Refused(refusal) => Failure::Refused(self.explained(refusal)),
            other => other,
        })
    }

    /// A refusal of a repetition, with what it does not say.
    fn explained(&self, refusal: Refusal) -> Refusal {
        let (Refusal { code, detail }, operation) = (refusal, self.operation);
        let detail = format!(
            "{detail}; this says nothing of the attempt before, see `chancery audit query --operation \
             {operation}`; what was sent stays in `{}`",
            self.path.display()
        );
        Refusal { code, detail }
    }

    /// Removes the file: the outcome is known.
    pub(crate) fn forget(&self) {
        forget(&self.path);
    }
}

/// What is kept of a principal that was proposed: its key, until it is made.
pub(crate) struct Proposer {
    /// Its seed.
    pub(crate) seed: Seed,
    path: PathBuf,
}

impl Proposer {
    /// What was kept when it was proposed.
    pub(crate) fn of(proposed: &Proposed) -> Result<Self, Failure> {
        let directory = directory()?;
        let files = fs::read_dir(&directory);
        let files = files.with_context(|| format!("cannot list `{}`", directory.display()))?;
        let paths = files.filter_map(Result::ok).map(|file| file.path());
        // A file that holds something else is another command's.
        let found = paths.filter_map(|path| read(&path).ok().map(|sent| (path, sent))).find(
            |(_, sent)| matches!(&sent.command, Command::Propose { proposed: kept, .. } if kept == proposed),
        );
        let seed = found.and_then(|(path, sent)| Some(Self { seed: sent.seed?, path }));
        let seed = seed.ok_or_else(|| {
            Misuse(format!(
                "the key that was made for this principal is not in `{}`: carry it out where, and as the user by whom, \
                 it was proposed",
                directory.display()
            ))
        });
        Ok(seed?)
    }

    /// Removes the file: the profile is written.
    pub(crate) fn forget(&self) {
        forget(&self.path);
    }
}

fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        eprintln!("chancery: `{}` can be removed: {error}", path.display());
    }
}

/// The operation id is that of another command.
pub(crate) fn another_command(operation: OperationId) -> Failure {
    Misuse(format!("operation {operation} was begun with another command")).into()
}

fn path(operation: OperationId) -> Result<PathBuf> {
    Ok(directory()?.join(operation.to_string()))
}

fn directory() -> Result<PathBuf> {
    let directory = state::directory()
        .context("neither XDG_STATE_HOME nor HOME says where to keep what is sent; set one")?;
    let directory = directory.join("pending");
    private_directory(&directory)?;
    Ok(directory)
}

fn read(path: &Path) -> Result<Sent> {
    let bytes = Zeroizing::new(Input::open(path)?.read_all(PENDING_BYTES_MAX)?);
    Sent::decode(&bytes)
        .with_context(|| format!("`{}` holds nothing that was sent", path.display()))
}

impl Sent {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let seed = self.seed.as_ref().map_or(&[][..], |seed| seed.as_slice());
        let length = if seed.is_empty() { 0 } else { SEED_LENGTH };
        let head = [&[VERSION][..], self.principal.as_bytes(), &[length]].concat();
        let imported = self.imported.as_ref().map_or(&[][..], |imported| imported.as_slice());
        let imported_length = if imported.is_empty() { 0 } else { FINGERPRINT_LENGTH };
        let rest = [&[imported_length], imported, &cbor::encode(&self.command)].concat();
        // All at once, so that no shorter copy of the seed is left behind by growth.
        let mut bytes = Vec::with_capacity(head.len() + seed.len() + rest.len());
        for part in [&head, seed, &rest] {
            bytes.extend_from_slice(part);
        }
        Zeroizing::new(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[VERSION], rest) = bytes.split_first_chunk()? else { return None };
        let (principal, rest) = rest.split_first_chunk()?;
        let (&[length], rest) = rest.split_first_chunk()?;
        let (seed, rest) = rest.split_at_checked(length.into())?;
        let seed = match seed {
            [] => None,
            seed => Some(Zeroizing::new(seed.try_into().ok()?)),
        };
        let (&[length], rest) = rest.split_first_chunk()?;
        let (imported, rest) = rest.split_at_checked(length.into())?;
        let imported = match imported {
            [] => None,
            imported => Some(imported.try_into().ok()?),
        };
        let command = cbor::decode(rest, "command").ok()?;
        Some(Self { principal: PrincipalId::from_bytes(*principal), command, seed, imported })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(seed: Option<Seed>, imported: Option<Fingerprint>) -> Sent {
        let principal = PrincipalId::from_bytes([5; 16]);
        Sent { principal, command: Command::BeginImport, seed, imported }
    }

    #[test]
    fn what_was_sent_is_read_back() {
        let seed = || Some(Zeroizing::new([7; SEED_BYTES]));
        for (seed, imported) in [(None, None), (seed(), None), (None, Some([8; FINGERPRINT_BYTES]))]
        {
            let read = Sent::decode(&sent(seed.clone(), imported).encode()).unwrap();
            assert_eq!(
                (read.principal, read.command),
                (PrincipalId::from_bytes([5; 16]), Command::BeginImport)
            );
            assert_eq!((read.seed, read.imported), (seed, imported));
        }
    }

    #[test]
    fn what_is_cut_extended_or_of_another_version_is_not() {
        let whole =
            sent(Some(Zeroizing::new([7; SEED_BYTES])), Some([8; FINGERPRINT_BYTES])).encode();
        for length in 0..whole.len() {
            assert!(Sent::decode(&whole[..length]).is_none(), "{length}");
        }
        assert!(Sent::decode(&[&whole[..], &[0]].concat()).is_none());
        assert!(Sent::decode(&[&[VERSION - 1], &whole[1..]].concat()).is_none());
    }
}
