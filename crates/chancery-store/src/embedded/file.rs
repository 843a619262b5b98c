//! Files and directories that are their owner's alone.
//!
//! **Invariants:** permissions are set on what was just made, so the umask neither loosens nor
//! tightens them; what exists already is refused rather than corrected; the last component of a
//! path is never a symbolic link.
//!
//! A new store file is a *draft* under another name until it is whole. Only one process at a time
//! works on a draft in a directory (the directory is locked meanwhile), so a draft that a crash
//! left behind is known to be dead and is removed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::{OpenError, OpenMode};
use crate::contract::Source;

/// Reading and writing by the owner.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Everything by the owner.
const DIR_MODE: Mode = Mode::RWXU;

/// Anything by anybody else.
const OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);

/// A directory could not be made private.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// Others could read or replace what is in the directory. The operator is at fault.
    #[error("the directory is not safe to use: {reason}")]
    Unsafe {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error("the directory cannot be made or opened")]
    Unavailable {
        /// Its error.
        source: Source,
    },
}

/// Makes the directory `path` for its owner alone, or checks that it is so.
///
/// A new directory has mode 0700, whatever the umask; its parent must exist. A directory that
/// exists is taken if it belongs to the caller and is closed to all others. Either is durable
/// then, as far as the caller may read the parent: one that exists may have been made by a process
/// that ended before it was.
///
/// # Errors
///
/// [`PrivateDirError`]; a directory that existed is then as it was.
pub fn private_dir(path: &Path) -> Result<(), PrivateDirError> {
    match rustix::fs::mkdir(path, DIR_MODE) {
        Ok(()) => {
            // The umask may have taken even the owner's bits, so this goes by name.
            rustix::fs::chmod(path, DIR_MODE).map_err(dir_unavailable)?;
            sync_parent(path).map_err(dir_unavailable)?;
        }
        Err(Errno::EXIST) => match sync_parent(path) {
            // The process that only takes reductions may not look there, and makes no directory.
            Ok(()) | Err(Errno::ACCESS) => {}
            Err(error) => return Err(dir_unavailable(error)),
        },
        Err(error) => return Err(dir_unavailable(error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Err(PrivateDirError::Unsafe { reason: "it is not a directory" });
        }
        Err(error) => return Err(dir_unavailable(error)),
    };
    let stat = rustix::fs::fstat(&dir).map_err(dir_unavailable)?;
    owners_alone(&stat).map_err(|reason| PrivateDirError::Unsafe { reason })
}

/// Opens a store file that exists.
pub(super) fn existing(path: &Path, mode: OpenMode) -> Result<File, OpenError> {
    let access = if mode == OpenMode::ReadOnly { OFlags::RDONLY } else { OFlags::RDWR };
    // Without NONBLOCK, opening a FIFO would wait for its other end.
    let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Err(OpenError::Missing),
        Err(Errno::LOOP) => return Err(OpenError::Unsafe { reason: "it is a symbolic link" }),
        Err(error) => return Err(unavailable(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(unavailable)?;
    store_file(&stat).map_err(|reason| OpenError::Unsafe { reason })?;
    if stat.st_size == 0 {
        // redb would make a new store of it; a store that lost its bytes is not a new one.
        return Err(OpenError::Corrupt { source: "the file is empty".into() });
    }
    Ok(File::from(file))
}

fn store_file(stat: &Stat) -> Result<(), &'static str> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is not a regular file");
    }
    if stat.st_nlink != 1 {
        return Err("it has more than one name");
    }
    owners_alone(stat)
}

fn owners_alone(stat: &Stat) -> Result<(), &'static str> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err("it belongs to somebody else");
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(OTHERS) {
        return Err("others have permissions on it");
    }
    Ok(())
}

/// A store file in the making.
pub(super) struct Draft {
    /// Locked until the draft is dropped.
    dir: OwnedFd,
    /// What the file is to be called.
    name: OsString,
    /// Its name until then.
    unfinished: OsString,
}

impl Draft {
    /// Prepares to make `path`, which must not exist.
    pub(super) fn new(path: &Path) -> Result<Self, OpenError> {
        let Some(name) = path.file_name() else {
            return Err(OpenError::Unsafe { reason: "the path names no file" });
        };
        let dir = open_dir(&parent(path)).map_err(unavailable)?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked),
            Err(error) => return Err(unavailable(error)),
        }
        match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(Self { dir, name: name.into(), unfinished: unfinished(name) }),
            Ok(_) => Err(OpenError::Exists),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Makes the empty draft, in place of one that a crash left.
    pub(super) fn file(&self) -> Result<File, OpenError> {
        match rustix::fs::unlinkat(&self.dir, &self.unfinished, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(unavailable(error)),
        }
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, &self.unfinished, flags, FILE_MODE)
            .map_err(unavailable)?;
        rustix::fs::fchmod(&file, FILE_MODE).map_err(unavailable)?;
        Ok(File::from(file))
    }

    /// Gives the draft, whose content is durable, its final name, durably.
    pub(super) fn publish(self) -> Result<(), OpenError> {
        let Self { dir, name, unfinished } = &self;
        match rustix::fs::renameat_with(dir, unfinished, dir, name, RenameFlags::NOREPLACE) {
            Ok(()) => rustix::fs::fsync(dir).map_err(unavailable),
            Err(Errno::EXIST) => Err(OpenError::Exists),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unfinished(name: &OsStr) -> OsString {
    let mut draft = name.to_os_string();
    draft.push(".new");
    draft
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn sync_parent(path: &Path) -> Result<(), Errno> {
    rustix::fs::fsync(open_dir(&parent(path))?)
}

fn unavailable(error: Errno) -> OpenError {
    OpenError::Unavailable { source: std::io::Error::from(error).into() }
}

fn dir_unavailable(error: Errno) -> PrivateDirError {
    PrivateDirError::Unavailable { source: std::io::Error::from(error).into() }
}
