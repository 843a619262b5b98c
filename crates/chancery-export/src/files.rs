//! Files that are replaced whole, and files that only grow.
//!
//! **Invariant:** a file that is replaced is as it was or as it shall be, also after a loss of power where that is asked
//! for; a file that grows gets whole lines, and what a line that was cut short left is closed by a line end.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The mode of what is made here: the owner's alone, for it says who did what.
const MODE: u32 = 0o600;

/// What a file that is replaced outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// A loss of power.
    Power,
    /// The end of the process.
    Process,
}

/// Replaces a file by another of its name.
pub(crate) fn replace(path: &Path, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
    let part = beside(path, "part")?;
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&part)?;
    file.write_all(bytes)?;
    if lasting == Lasting::Process {
        return fs::rename(&part, path);
    }
    file.sync_all()?;
    fs::rename(&part, path)?;
    sync_directory(path)
}

/// `.name.suffix` in the same directory.
pub(crate) fn beside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut other = OsString::from(".");
    other.push(name);
    other.push(".");
    other.push(suffix);
    Ok(directory(path).join(other))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// A file to which whole lines are appended.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    open: Option<File>,
}

impl Lines {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let mut lines = Self { path, open: None };
        lines.current()?;
        Ok(lines)
    }

    /// Appends whole lines, which are durable when this returns.
    ///
    /// After an error the end of the file is unknown, and is looked at before the next line.
    pub(crate) fn append(&mut self, lines: &str) -> io::Result<()> {
        let mut file = self.current()?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.open = Some(file);
        Ok(())
    }

    /// The file that has the path now; another one than before if that was moved away.
    fn current(&mut self) -> io::Result<File> {
        if let Some(file) = self.open.take()
            && is_at(&file, &self.path)?
        {
            return Ok(file);
        }
        let file = open(&self.path)?;
        // A name that is lost with the power would take the lines along.
        sync_directory(&self.path)?;
        self.open = Some(file.try_clone()?);
        Ok(file)
    }
}

/// Whether a path still leads to an open file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => {
            let here = file.metadata()?;
            Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe that nobody reads would wait; what is no file is refused below.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE).custom_flags(flags);
    let mut file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is there and is no file"));
    }
    close_line(&mut file)?;
    Ok(file)
}

/// A line that was cut short is no JSON. It is closed, and its record is appended again whole.
fn close_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0; 1];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_replaced_file_is_its_owners_and_leaves_nothing_beside_it() {
        let scratch = Scratch::new("replace");
        let path = scratch.path("f");
        for (bytes, lasting) in [(b"one", Lasting::Power), (b"two", Lasting::Process)] {
            replace(&path, bytes, lasting).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        }
        assert_eq!(scratch.names(), ["f"]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let scratch = Scratch::new("rotate");
        let (path, moved) = (scratch.path("f"), scratch.path("f.1"));
        let mut lines = Lines::open(path.clone()).unwrap();
        lines.append("one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        lines.append("two\n").unwrap();
        fs::remove_file(&path).unwrap();
        lines.append("three\n").unwrap();
        lines.append("four\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_line_that_was_cut_short_is_closed() {
        let scratch = Scratch::new("cut");
        let path = scratch.path("f");
        fs::write(&path, "one\ntw").unwrap();
        Lines::open(path.clone()).unwrap().append("two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\ntwo\n");
    }

    #[test]
    fn what_is_no_file_is_not_appended_to() {
        let scratch = Scratch::new("no-file");
        assert!(Lines::open(scratch.as_ref().into()).is_err());
        assert!(Lines::open("/dev/null".into()).is_err());
        assert!(Lines::open(scratch.path("no/such")).is_err());
    }
}
