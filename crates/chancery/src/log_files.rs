//! The published files of the log, as the front reads them: by a handle on their directory.
//!
//! **Invariant:** nothing is read but what a log publishes under the path by which it does; no link is followed,
//! and no path leads out of the directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use chancery_audit::publish::{CHECKPOINT_FILE, GAP_FILE, POLICY_FILE};
use chancery_audit::witnessed::{WITNESSED_CHECKPOINT, WITNESSED_POLICY};
use chancery_log::tile::Tile;
use chancery_server::{LogFile, LogFiles};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

/// The media type of notes and policies.
const MEDIA_TEXT: &str = "text/plain; charset=utf-8";

/// The media type of tiles.
const MEDIA_BYTES: &str = "application/octet-stream";

/// The longest file that is read: 64 KiB, as long as a note may be; a bundle of 256 entries has 10 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The directory of a log's published files.
#[derive(Debug)]
pub(crate) struct PublishedFiles {
    directory: OwnedFd,
}

impl PublishedFiles {
    /// Takes a handle on the directory, which outlives whatever this process gives up.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self { directory: open(path, flags, Mode::empty())? })
    }

    /// The handle.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }
}

impl LogFiles for PublishedFiles {
    fn read(&self, path: &str) -> io::Result<Option<LogFile>> {
        let (media, is_final) = match path {
            CHECKPOINT_FILE | GAP_FILE | POLICY_FILE | WITNESSED_CHECKPOINT | WITNESSED_POLICY => {
                (MEDIA_TEXT, false)
            }
            path if path.parse::<Tile>().is_ok() => (MEDIA_BYTES, true),
            _ => return Ok(None),
        };
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match openat2(&self.directory, path, flags, Mode::empty(), within) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            opened => File::from(opened?),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(LogFile { bytes, media, is_final }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn what_a_log_publishes_is_read_and_nothing_else() {
        let scratch = Scratch::new("log-files");
        let log = scratch.path("log");
        fs::create_dir_all(log.join("tile/0")).unwrap();
        fs::write(scratch.path("checkpoint"), b"outside").unwrap();
        fs::write(log.join("checkpoint"), b"note").unwrap();
        fs::write(log.join("checkpoint.new"), b"unfinished").unwrap();
        fs::write(log.join("tile/0/000"), b"hashes").unwrap();
        fs::write(log.join("gap"), b"statement").unwrap();
        std::os::unix::fs::symlink(scratch.path("checkpoint"), log.join("policy")).unwrap();
        let files = PublishedFiles::open(&log).unwrap();
        let read = |path| files.read(path).map(|file| file.map(|file| (file.bytes, file.is_final)));
        assert_eq!(read("checkpoint").unwrap(), Some((b"note".to_vec(), false)));
        assert_eq!(read("gap").unwrap(), Some((b"statement".to_vec(), false)));
        assert_eq!(read("tile/0/000").unwrap(), Some((b"hashes".to_vec(), true)));
        for absent in ["tile/0/001", "checkpoint.new", "tile/0", "tile/00/000", "../checkpoint", ""]
        {
            assert_eq!(read(absent).unwrap(), None, "{absent}");
        }
        assert!(read("policy").is_err(), "a link is not followed");
        let bytes = vec![0; usize::try_from(FILE_BYTES_MAX).unwrap()];
        fs::write(log.join("checkpoint"), &bytes).unwrap();
        assert!(read("checkpoint").unwrap().is_some());
        fs::write(log.join("checkpoint"), [bytes, vec![0]].concat()).unwrap();
        assert!(read("checkpoint").is_err());
    }
}
