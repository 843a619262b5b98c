//! A disk that counts what is read of the log's files, so that it can be seen what a start had to read.
//!
//! The spare segment is not counted: a start reads it to see that it is still empty, and it holds nothing of the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery_audit::disk::{Disk, DiskFile, Piece};
use chancery_audit::wal::SPARE_FILE;

/// The disk.
pub(crate) struct Metered<D> {
    disk: D,
    read: Arc<AtomicU64>,
}

impl<D: Disk> Metered<D> {
    /// Counts what is read of `disk` from now on.
    pub(crate) fn new(disk: D) -> Self {
        Self { disk, read: Arc::default() }
    }

    /// How many bytes were read so far, as the counter goes on.
    pub(crate) fn read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    fn count(&self, name: &str, bytes: Vec<u8>) -> Vec<u8> {
        self.note(name, &bytes);
        bytes
    }

    fn note(&self, name: &str, bytes: &[u8]) {
        if name != SPARE_FILE {
            add(&self.read, bytes.len());
        }
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl<D: Disk> Disk for Metered<D> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create_zeroed(&self, name: &str, length: u64) -> io::Result<()> {
        self.disk.create_zeroed(name, length)
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_whole(name, bytes)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(name)?;
        Ok(Box::new(MeteredFile { file, read: Arc::clone(&self.read) }))
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read_whole(name).map(|bytes| self.count(name, bytes))
    }

    fn read_range(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.disk.read_range(name, offset, length).map(|bytes| self.count(name, bytes))
    }

    fn read_piece(
        &self,
        name: &str,
        offset: u64,
        length: usize,
        piece: &mut Piece,
    ) -> io::Result<()> {
        self.disk.read_piece(name, offset, length, piece)?;
        self.note(name, piece);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.disk.write_new(name, parts)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

/// A file of it.
struct MeteredFile {
    file: Box<dyn DiskFile>,
    read: Arc<AtomicU64>,
}

impl DiskFile for MeteredFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.file.read_at(offset, length)?;
        add(&self.read, bytes.len());
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.file.is_linked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_audit::disk::DirectoryDisk;

    /// A directory that is removed when it is dropped.
    struct Scratch(std::path::PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_read_of_the_log_is_counted_and_the_spare_is_not() {
        let name = format!("chancery-metered-{}", std::process::id());
        let directory = Scratch(std::env::temp_dir().join(name));
        std::fs::create_dir(&directory.0).unwrap();
        let disk = Metered::new(DirectoryDisk::open(&directory.0).unwrap());
        let read = disk.read();
        let count = || read.load(Ordering::Relaxed);
        disk.write_whole("origin", &[1; 300]).unwrap();
        disk.create_zeroed(SPARE_FILE, 8_192).unwrap();
        assert_eq!(count(), 0);
        disk.read_whole("origin").unwrap();
        disk.read_whole(SPARE_FILE).unwrap();
        assert_eq!(count(), 300);
        disk.read_range("origin", 0, 4_096).unwrap();
        assert_eq!(count(), 600);
        let mut piece = Piece::default();
        disk.read_piece(SPARE_FILE, 0, 4_096, &mut piece).unwrap();
        disk.read_piece("origin", 0, 4_096, &mut piece).unwrap();
        assert_eq!(count(), 900);
        disk.open("origin").unwrap().read_at(100, 7).unwrap();
        assert_eq!(count(), 907);
    }
}
