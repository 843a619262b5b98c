//! The files of the courier, read as what they are: of a process that may be in other hands.
//!
//! **Invariant:** what is read is a file, not a link or a pipe, and no longer than it may be.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Mutex;

use chancery_audit::witnessed::{
    COSIGNED_FILE, PARTIES_MAX, REPORT_BYTES_MAX, REPORT_FILE, Report, seen_file,
};
use chancery_log::note::{NOTE_BYTES_MAX, Note};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use crate::counters::lock;

/// What tells one state of a file from the next: device and inode, length, time in nanoseconds.
type Mark = (u64, u64, i64, i64, u64);

/// The directory of them.
pub(crate) struct Answers {
    directory: PathBuf,
    /// What the cosigned checkpoint was when it was read last.
    last: Mutex<Option<Mark>>,
}

impl Answers {
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory, last: Mutex::default() }
    }

    /// The last report, if there is one.
    pub(super) fn report(&self) -> Option<Report> {
        let (bytes, _) = self.read(REPORT_FILE, REPORT_BYTES_MAX).ok()?;
        Report::parse(&bytes)
    }

    /// The cosigned checkpoint, if it is another than it was.
    pub(super) fn cosigned(&self) -> Option<Note> {
        let (bytes, mark) = self.read(COSIGNED_FILE, NOTE_BYTES_MAX).ok()?;
        let is_known = lock(&self.last).replace(mark) == Some(mark);
        Note::parse(&bytes).ok().filter(|_| !is_known)
    }

    /// Checkpoints that others hold.
    pub(crate) fn seen(&self) -> Vec<Note> {
        let read = |number| self.read(&seen_file(number), NOTE_BYTES_MAX).ok();
        let files = (0..PARTIES_MAX).map_while(read);
        files.filter_map(|(bytes, _)| Note::parse(&bytes).ok()).collect()
    }

    fn read(&self, name: &str, most: usize) -> io::Result<(Vec<u8>, Mark)> {
        // A pipe would keep whoever opens it waiting.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = open(self.directory.join(name), flags, Mode::empty())?;
        let stat = fstat(&opened)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        File::from(opened).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        Ok((bytes, (stat.st_dev, stat.st_ino, stat.st_size, time.0, time.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, mknodat};

    #[test]
    fn links_pipes_and_what_is_too_long_are_not_read() {
        let directory =
            std::env::temp_dir().join(format!("chancery-answers-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let answers = Answers::at(directory.clone());
        let (report, secret) = (directory.join(REPORT_FILE), directory.join("secret"));
        fs::write(&secret, "-\n1\nfew\n").unwrap();
        assert!(answers.report().is_none());
        symlink(&secret, &report).unwrap();
        assert!(answers.report().is_none(), "a link");
        fs::remove_file(&report).unwrap();
        mknodat(CWD, &report, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(answers.report().is_none(), "a pipe");
        fs::remove_file(&report).unwrap();
        fs::write(&report, vec![b'\n'; REPORT_BYTES_MAX + 1]).unwrap();
        assert!(answers.report().is_none(), "too long");
        fs::write(&report, "-\n1\nfew\n").unwrap();
        assert_eq!(answers.report().map(|report| report.size), Some(1));
        fs::remove_dir_all(&directory).unwrap();
    }
}
