//! A directory of published files, each under a path of its own: tiles, and the checkpoint over them.
//!
//! What is published is for everybody: files and directories may be read by whoever reaches the topmost one,
//! which lies in a private directory. So a front with a user of its own serves them by a handle on it.
//!
//! **Invariant:** a file is there whole or not at all, and once it was put there it is durable.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::disk::{DirectoryDisk, Disk};

/// The most directories that are kept open: 64; those in use are a few.
const OPEN_MAX: usize = 64;

/// Of directories: everybody may list and enter them.
const DIRECTORY_MODE: u32 = 0o755;

/// The directory.
pub struct Shelf {
    root: PathBuf,
    open: BTreeMap<PathBuf, DirectoryDisk>,
}

impl Shelf {
    /// The directory at `root`, which is there already.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), open: BTreeMap::new() }
    }

    /// Puts a file in its place, in that of an older one if there is one.
    ///
    /// # Errors
    ///
    /// The system's; then the old or the new one is there.
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (directory, name) = split(path);
        self.directory(directory)?.write_whole(name, bytes)
    }

    /// Removes a file for good, if it is there.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.directory(split(path).0)?.sync_directory(),
        }
    }

    /// Puts many files in their places, as [`Self::put`] does each; their directories are synced once, behind the last.
    ///
    /// # Errors
    ///
    /// The system's; then of each the old or the new one is there, and it can be done again.
    pub fn put_all<'f>(
        &mut self,
        files: impl IntoIterator<Item = (&'f str, &'f [u8])>,
    ) -> io::Result<()> {
        let mut by_directory: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
        for (path, bytes) in files {
            let (directory, name) = split(path);
            by_directory.entry(directory).or_default().push((name, bytes));
        }
        for (directory, files) in &by_directory {
            self.directory(directory)?.write_aside(files)?;
        }
        // All of them are durable under their temporary names; a crash from here on leaves each whole or not there.
        for (directory, files) in by_directory {
            let disk = self.directory(directory)?;
            files.into_iter().try_for_each(|(name, _)| disk.place(name))?;
            disk.sync_directory()?;
        }
        Ok(())
    }

    /// Removes a directory with all that is in it, if it is there.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remove_all(&mut self, path: &str) -> io::Result<()> {
        self.open.remove(Path::new(path));
        match fs::remove_dir_all(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Whether there is something of that path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let (directory, name) = split(path);
        DirectoryDisk::open(&self.root.join(directory))?.read_whole(name)
    }

    fn directory(&mut self, path: &str) -> io::Result<&DirectoryDisk> {
        let path = PathBuf::from(path);
        if !self.open.contains_key(&path) {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            make(&self.root, &path)?;
            let disk = DirectoryDisk::open_public(&self.root.join(&path))?;
            self.open.insert(path.clone(), disk);
        }
        self.open.get(&path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Makes the directory of a shelf, if it is not there.
///
/// # Errors
///
/// The system's.
pub fn make_root(root: &Path) -> io::Result<()> {
    let parent = root.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_one(parent, root)
}

/// Makes the directories of a path, each durable before the next is made in it.
fn make(root: &Path, path: &Path) -> io::Result<()> {
    let mut parent = root.to_owned();
    for part in path.components() {
        let directory = parent.join(part);
        make_one(&parent, &directory)?;
        parent = directory;
    }
    Ok(())
}

fn make_one(parent: &Path, directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // The umask may have taken what it should not; and a process that ended before this line may have made it.
    fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))?;
    File::open(parent)?.sync_all()
}

/// The directory of a path, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
