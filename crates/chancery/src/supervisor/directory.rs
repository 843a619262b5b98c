//! Directories, sockets and locks that are the user's alone, whatever the umask.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Gid;

use crate::privileges::User;

/// The mode of a directory that is the user's alone.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// The mode of a file or socket that is the user's alone.
const PRIVATE_FILE: u32 = 0o600;

/// How often a lock that is waited for is tried.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Makes a directory of mode 0700, with its parents, or checks that the one there is such a one. It is durable
/// then, and so is every directory above it that was made for it.
///
/// # Errors
///
/// What is in the way; a directory that others can enter is refused, not changed.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    let absolute = std::path::absolute(path)
        .with_context(|| format!("cannot tell where `{}` is", path.display()))?;
    let missing = absolute.ancestors().take_while(|above| !above.exists()).count();
    if missing > 0 {
        let made = DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(path);
        // The umask may have taken more than it should.
        let made = made
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIRECTORY)));
        made.with_context(|| format!("cannot make the directory `{}`", path.display()))?;
    }
    // The first that was there too: a process that ended before this line may have made it.
    for (number, above) in absolute.ancestors().skip(1).take(missing + 1).enumerate() {
        sync_names(above, number < missing)
            .with_context(|| format!("cannot sync the directory `{}`", above.display()))?;
    }
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot look at `{}`", path.display()))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        bail!("`{}` belongs to user {}, not to you ({user})", path.display(), metadata.uid());
    }
    if metadata.mode() & 0o077 != 0 {
        bail!("`{}` is open to others; run `chmod 700 {}` first", path.display(), path.display());
    }
    Ok(())
}

/// The mode of a directory in a private one, by which a child with a user of its own speaks with another.
const SHARED_DIRECTORY: u32 = 0o755;

/// Makes a directory in a private one, of this user or another, that everybody in there may read.
///
/// # Errors
///
/// What is in the way.
pub(super) fn shared_directory(path: &Path, owner: Option<User>) -> Result<()> {
    let make = || {
        match DirBuilder::new().mode(SHARED_DIRECTORY).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let own = rustix::process::geteuid().as_raw();
        // What was given away before has its mode, and who gave it may not change it any more.
        if fs::metadata(path)?.uid() == own {
            fs::set_permissions(path, Permissions::from_mode(SHARED_DIRECTORY))?;
        }
        let owner = owner.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
        let (uid, gid) = owner.map_or((Some(own), None), |(uid, gid)| (Some(uid), Some(gid)));
        chown(path, uid, gid)
    };
    make().with_context(|| format!("cannot make the directory `{}`", path.display()))
}

/// Makes the names in a directory durable. One that may not be read, and in which nothing was made, is left.
fn sync_names(directory: &Path, is_changed: bool) -> io::Result<()> {
    match File::open(directory) {
        Err(error) if !is_changed && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// The mode of a socket to which a group may connect, which takes the right to write, and nothing else.
const SOCKET_OF_GROUP: u32 = 0o620;

/// Binds a socket of mode 0600, in the place of one that a dead process left; of mode 0620 if a group is to
/// connect. Its directory is 0700, so that nobody else can connect before the mode is set, and none of the group
/// but who was handed the socket's place.
///
/// # Errors
///
/// What is in the way.
pub(super) fn bind_private(path: &Path, group: Option<Gid>) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error)
                .with_context(|| format!("cannot remove the old socket `{}`", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| {
        format!("cannot make the socket `{}` (a path has at most 107 bytes)", path.display())
    })?;
    chown(path, None, group.map(Gid::as_raw))
        .with_context(|| format!("cannot give `{}` to the front's group", path.display()))?;
    let mode = if group.is_some() { SOCKET_OF_GROUP } else { PRIVATE_FILE };
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of `{}`", path.display()))?;
    Ok(listener)
}

/// An exclusive lock that the kernel takes back when its holder dies.
pub(crate) struct Lock;

impl Lock {
    /// Takes the lock, or refuses at once.
    ///
    /// # Errors
    ///
    /// If another process holds it.
    pub(crate) fn take(path: &Path) -> Result<File> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!(
                    "another `chancery serve` runs on this data directory (it holds `{}`)",
                    path.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
        }
    }

    /// Takes the lock, waiting for a holder that is on its way out.
    ///
    /// # Errors
    ///
    /// If another process holds it for longer than `most`.
    pub(crate) fn await_free(path: &Path, most: Duration) -> Result<File> {
        let deadline = Instant::now() + most;
        loop {
            match Self::take(path) {
                Ok(file) => return Ok(file),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(LOCK_POLL),
            }
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(PRIVATE_FILE).open(path);
    file.with_context(|| format!("cannot open the lock file `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_new_directory_is_closed_and_an_open_one_is_refused() {
        let scratch = Scratch::new("directory");
        let inner = scratch.path("data/run");
        private_directory(&inner).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&inner, Permissions::from_mode(0o750)).unwrap();
        let refusal = private_directory(&inner).unwrap_err().to_string();
        assert!(refusal.contains("chmod 700"), "{refusal}");
    }

    #[test]
    fn a_second_holder_of_a_lock_is_refused_until_the_first_is_gone() {
        let scratch = Scratch::new("lock");
        let path = scratch.path("supervisor.lock");
        let held = Lock::take(&path).unwrap();
        let refusal = Lock::take(&path).unwrap_err().to_string();
        assert!(refusal.contains("another `chancery serve`"), "{refusal}");
        drop(held);
        assert!(Lock::take(&path).is_ok());
    }

    #[test]
    fn a_socket_is_closed_to_others_and_takes_the_place_of_an_old_one() {
        let scratch = Scratch::new("socket");
        let path = scratch.path("signer.sock");
        drop(bind_private(&path, None).unwrap());
        let _again = bind_private(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_group_may_connect_and_do_no_more() {
        let scratch = Scratch::new("group");
        let path = scratch.path("signer.sock");
        // A group of one's own, which needs no root to give.
        let own = rustix::process::getegid();
        let _socket = bind_private(&path, Some(own)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o620, own.as_raw()));
    }
}
