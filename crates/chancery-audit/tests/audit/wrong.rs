//! Writers that are wrong in one way each, as disks between the writer and the model.

use std::io;

use chancery_audit::disk::{Disk, DiskFile};
use chancery_audit::frame::MAGIC;
use chancery_audit::wal::SPARE_FILE;

use super::model::{Event, Model};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    AcknowledgedBeforeSync,
    NamedBeforeHeaderSync,
    NoDirectorySync,
    NoSync,
    SyncRetried,
}

/// A disk as a wrong writer uses it.
#[derive(Debug)]
pub(super) struct WrongDisk {
    pub(super) model: Model,
    pub(super) wrong: Wrong,
}

struct WrongFile {
    file: Box<dyn DiskFile>,
    model: Model,
    wrong: Wrong,
    is_spare: bool,
}

impl Disk for WrongDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.model.list()
    }

    fn create_zeroed(&self, name: &str, length: u64) -> io::Result<()> {
        self.model.create_zeroed(name, length)
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.model.write_whole(name, bytes)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.model.open(name)?;
        let is_spare = name == SPARE_FILE;
        if self.wrong == Wrong::NamedBeforeHeaderSync && !is_spare {
            file.sync()?;
        }
        Ok(Box::new(WrongFile { file, model: self.model.clone(), wrong: self.wrong, is_spare }))
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        self.model.read_whole(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.model.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.wrong == Wrong::NoDirectorySync { Ok(()) } else { self.model.sync_directory() }
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        self.model.write_new(name, parts)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.model.remove(name)
    }
}

impl DiskFile for WrongFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)?;
        if self.wrong == Wrong::AcknowledgedBeforeSync && bytes.starts_with(MAGIC) {
            self.model.note(Event::Acknowledged);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.file.read_at(offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        match self.wrong {
            Wrong::NoSync => Ok(()),
            Wrong::NamedBeforeHeaderSync if self.is_spare => Ok(()),
            Wrong::SyncRetried => self.file.sync().or_else(|_| self.file.sync()),
            _ => self.file.sync(),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.file.is_linked()
    }
}
