//! A directory of published files, each under a path of its own: tiles, and the checkpoint over them.
//!
//! **Invariant:** a file is there whole or not at all, and once it was put there it is durable.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::disk::{DirectoryDisk, Disk};

/// The most directories that are kept open: 64; those in use are a few.
const OPEN_MAX: usize = 64;

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
            let disk = DirectoryDisk::open(&self.root.join(&path))?;
            self.open.insert(path.clone(), disk);
        }
        self.open.get(&path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Makes the directories of a path, each durable before the next is made in it.
fn make(root: &Path, path: &Path) -> io::Result<()> {
    let mut parent = root.to_owned();
    for part in path.components() {
        let directory = parent.join(part);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made?;
                File::open(&parent)?.sync_all()?;
            }
        }
        parent = directory;
    }
    Ok(())
}

/// The directory of a path, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
