//! How a campaign opens files: those of a place, and its own beside it.
//!
//! **Invariant:** a name that is a link is not followed, nothing that others put in a place is waited for, and what a campaign
//! makes for itself is its user's alone.
//!
//! The directories above a file are not looked at: whoever may rename those may as well replace what is in them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::supervisor::private_directory;

/// The mode of what a campaign makes: a new ciphertext is nobody else's before it is in its place.
const OWN_MODE: u32 = 0o600;

/// The attribute in which Linux keeps a file's access control list (acl(5)).
const ACCESS_LIST: &str = "system.posix_acl_access";

/// What lies under a name.
pub(super) enum Opened {
    /// A regular file.
    File(File, Metadata),
    /// Something else, which was not opened, or not for long.
    NoFile(Metadata),
}

/// Opens a regular file to read it.
pub(super) fn to_read(path: &Path) -> io::Result<Opened> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() { opened(path) } else { Ok(Opened::NoFile(metadata)) }
}

/// Opens what was a regular file a moment ago. Of what it is by now, the descriptor alone is asked.
fn opened(path: &Path) -> io::Result<Opened> {
    let flags = flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        // A link, or a socket.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::LOOP | Errno::NXIO)) => {
            Ok(Opened::NoFile(fs::symlink_metadata(path)?))
        }
        Err(error) => Err(error),
        Ok(file) => {
            let metadata = file.metadata()?;
            let is_file = metadata.is_file();
            Ok(if is_file { Opened::File(file, metadata) } else { Opened::NoFile(metadata) })
        }
    }
}

/// Opens a file of the campaign's own to write it, and makes it if it is not there.
pub(super) fn own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(OWN_MODE);
    options.custom_flags(flags(OFlags::NOFOLLOW)?).open(path)
}

/// Makes a file of the campaign's own, which is not there yet.
pub(super) fn fresh(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(OWN_MODE).open(path)
}

fn flags(flags: OFlags) -> io::Result<i32> {
    i32::try_from(flags.bits()).map_err(io::Error::other)
}

/// Makes the campaign's own directory, or sees that the one there is this user's alone.
pub(super) fn own_directory(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        bail!(
            "`{}` is a link; a campaign keeps what it writes in a directory there: remove the link first",
            shown(path)
        );
    }
    private_directory(path).context("a campaign keeps new ciphertexts in its own directory")
}

/// Whether a file has an access control list.
pub(super) fn has_access_list(file: &File) -> io::Result<bool> {
    match rustix::fs::fgetxattr(file, ACCESS_LIST, &mut [0_u8; 0]) {
        Ok(_) => Ok(true),
        // It has none, or its file system has none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A name as it is printed: others chose it, and it may hold what commands a terminal.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn what_takes_the_place_of_a_file_is_neither_waited_for_nor_followed() {
        let scratch = Scratch::new("opened-swapped");
        let [pipe, link, file] = ["pipe", "link", "file"].map(|name| scratch.path(name));
        fs::write(&file, "a file").unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink(&file, &link).unwrap();
        for path in [&pipe, &link] {
            assert!(matches!(to_read(path).unwrap(), Opened::NoFile(_)), "{path:?}");
            assert!(matches!(opened(path).unwrap(), Opened::NoFile(_)), "{path:?}");
        }
        assert!(matches!(to_read(&file).unwrap(), Opened::File(..)));
    }

    #[test]
    fn what_a_campaign_makes_is_its_users_alone_and_goes_through_no_link() {
        let scratch = Scratch::new("opened-own");
        let [own_file, target, link] = ["own", "target", "link"].map(|name| scratch.path(name));
        let mode = own(&own_file).unwrap().metadata().unwrap().mode();
        assert_eq!(mode & 0o777, OWN_MODE);
        fs::write(&target, "theirs").unwrap();
        symlink(&target, &link).unwrap();
        assert!(own(&link).is_err() && fresh(&link).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
    }

    #[test]
    fn a_directory_that_is_a_link_or_open_to_others_is_refused() {
        let scratch = Scratch::new("opened-directory");
        let [directory, link] = ["directory", "link"].map(|name| scratch.path(name));
        own_directory(&directory).unwrap();
        own_directory(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        symlink(&directory, &link).unwrap();
        let refused = own_directory(&link).unwrap_err().to_string();
        assert!(refused.contains("is a link"), "{refused}");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = format!("{:#}", own_directory(&directory).unwrap_err());
        assert!(refused.contains("open to others"), "{refused}");
    }

    #[test]
    fn a_name_that_commands_a_terminal_is_shown_with_escapes() {
        let shown = shown(Path::new("cards/\u{1b}[2J\n\u{202e}7"));
        assert_eq!(shown, "cards/\\u{1b}[2J\\n\\u{202e}7");
    }
}
