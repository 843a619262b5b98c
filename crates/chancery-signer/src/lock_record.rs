//! The lock record: the last checkpoint that was about to be signed, kept where the data directory is not.
//!
//! It is one file, `NAME.lock` in a directory that the operator chooses, and holds the text of a checkpoint
//! (C2SP tlog-checkpoint), unsigned. It advances before a checkpoint is signed, by comparing it with what was
//! put there last. So whoever takes the data directory back, and not this file too, is found out at the next
//! start: the log must still have what is remembered here.
//!
//! Beside it `NAME.approvals` says how many people approve what takes more than one, which a data directory that was taken
//! back to a time of fewer does not say.
//!
//! **Invariant:** a checkpoint is signed only over a [`Locked`] state, and only [`LockRecord::advance`] makes
//! one.

use std::io;
use std::path::{Path, PathBuf};

use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::publish::Recomputed;
use chancery_log::TreeHead;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::KeyName;

use crate::config::SignerError;

/// A state of the log that the lock record remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locked(TreeHead);

impl Locked {
    pub(crate) fn tree(self) -> TreeHead {
        self.0
    }
}

/// The record, and what it held when it was looked at last.
pub(crate) struct LockRecord {
    path: PathBuf,
    disk: DirectoryDisk,
    name: String,
    origin: KeyName,
    held: Option<Checkpoint>,
}

/// The record does not advance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody else wrote it: two services run on one log, or it was put back.
    #[error("the lock record holds another state than this service put there")]
    Moved,
    /// The system refused.
    #[error("the lock record cannot be read or written")]
    System(#[from] io::Error),
}

impl LockRecord {
    /// Opens the record of a log in `directory`, whether there is one yet or not.
    pub(crate) fn open(directory: &Path, origin: &KeyName) -> Result<Self, SignerError> {
        let disk = DirectoryDisk::open(directory)
            .map_err(SignerError::system("the directory of the lock record cannot be opened"))?;
        // Of the origin's last part, which is the log's own; a slash would lead into another directory.
        let name = origin.as_str().rsplit('/').next().unwrap_or_default();
        let name = format!("{name}.lock");
        let path = directory.join(&name);
        let mut record = Self { path, disk, name, origin: origin.clone(), held: None };
        record.held =
            record.read().map_err(SignerError::system("the lock record cannot be read"))?;
        Ok(record)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it remembers.
    pub(crate) fn remembered(&self) -> Option<TreeHead> {
        self.held.as_ref().map(|held| held.tree)
    }

    /// Moves it on to a state that two computations came to. The state must continue the one before; that is
    /// for the caller to know.
    pub(crate) fn advance(&mut self, state: Recomputed) -> Result<Locked, LockError> {
        if self.read()? != self.held {
            return Err(LockError::Moved);
        }
        let next = Checkpoint { origin: self.origin.clone(), tree: state.tree() };
        if self.held.as_ref() != Some(&next) {
            self.disk.write_whole(&self.name, next.to_string().as_bytes())?;
            self.held = Some(next);
        }
        Ok(Locked(state.tree()))
    }

    /// How many approvals it remembers that the service asks for.
    pub(crate) fn approvals(&self) -> io::Result<u8> {
        let bytes = match self.disk.read_whole(&self.approvals_name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            read => read?,
        };
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
        let number = number.and_then(|number| number.parse().ok());
        number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is altered"))
    }

    /// Remembers how many approvals the service asks for, if that is more.
    pub(crate) fn raise_approvals(&self, approvals: u8) -> io::Result<()> {
        if self.approvals()? >= approvals {
            return Ok(());
        }
        self.disk.write_whole(&self.approvals_name(), format!("{approvals}\n").as_bytes())
    }

    fn approvals_name(&self) -> String {
        let name = self.name.strip_suffix(".lock").unwrap_or(&self.name);
        format!("{name}.approvals")
    }

    fn read(&self) -> io::Result<Option<Checkpoint>> {
        let bytes = match self.disk.read_whole(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let altered = || io::Error::new(io::ErrorKind::InvalidData, "it is altered");
        let text = std::str::from_utf8(&bytes).map_err(|_| altered())?;
        let held: Checkpoint = text.parse().map_err(|_| altered())?;
        if held.origin == self.origin { Ok(Some(held)) } else { Err(altered()) }
    }
}
