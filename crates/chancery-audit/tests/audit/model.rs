//! A disk in memory that tells what was done to it, and fails where it is told to.
//!
//! Every change is an [`Event`]; what a machine that loses power between two of them may find says
//! [`super::replay`].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use chancery_audit::disk::{Disk, DiskFile};

/// The unit that a disk writes whole or not.
pub(super) const SECTOR_BYTES: usize = 512;

pub(super) type Sector = Arc<[u8; SECTOR_BYTES]>;

/// A file's contents; sectors that are not there are zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct FileImage {
    pub(super) length: u64,
    sectors: BTreeMap<u64, Sector>,
}

/// What a disk holds.
pub(super) type Image = BTreeMap<String, FileImage>;

impl FileImage {
    /// A file of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut image = Self { length: bytes.len() as u64, ..Self::default() };
        for (number, chunk) in (0..).zip(bytes.chunks(SECTOR_BYTES)) {
            let mut sector = [0; SECTOR_BYTES];
            sector[..chunk.len()].copy_from_slice(chunk);
            image.put(number, Arc::new(sector));
        }
        image
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.length).unwrap()];
        for (number, sector) in &self.sectors {
            let at = usize::try_from(*number).unwrap() * SECTOR_BYTES;
            if let Some(place) = bytes.get_mut(at..) {
                let count = place.len().min(SECTOR_BYTES);
                place[..count].copy_from_slice(&sector[..count]);
            }
        }
        bytes
    }

    pub(super) fn sector(&self, number: u64) -> Sector {
        self.sectors.get(&number).cloned().unwrap_or_else(|| Arc::new([0; SECTOR_BYTES]))
    }

    pub(super) fn put(&mut self, number: u64, sector: Sector) {
        // Zeros are kept as absence, so that equal contents are equal images.
        if sector.iter().all(|byte| *byte == 0) {
            self.sectors.remove(&number);
        } else {
            self.sectors.insert(number, sector);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        self.length = length;
        let whole = length / SECTOR_BYTES as u64;
        let rest = usize::try_from(length % SECTOR_BYTES as u64).unwrap();
        let partial = self.sectors.get(&whole).map(|sector| {
            let mut cut = **sector;
            cut[rest..].fill(0);
            Arc::new(cut)
        });
        self.sectors.split_off(&whole);
        if let Some(cut) = partial.filter(|_| rest > 0) {
            self.put(whole, cut);
        }
    }
}

/// One change of the disk, or a note of who drives it.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A new file.
    Create {
        file: usize,
        name: String,
    },
    /// A file's length.
    Length {
        file: usize,
        length: u64,
    },
    /// A sector as it is after a write, and where the file then ends at least.
    Write {
        file: usize,
        number: u64,
        sector: Sector,
        end: u64,
    },
    Sync {
        file: usize,
    },
    SyncFailed {
        file: usize,
    },
    Rename {
        file: usize,
        from: String,
        to: String,
    },
    Remove {
        file: usize,
        name: String,
    },
    SyncDirectory,
    SyncDirectoryFailed,
    /// A frame of this hash is about to be written.
    Composed([u8; 32]),
    /// The frame that was composed last was acknowledged.
    Acknowledged,
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) call: usize,
    pub(super) errno: i32,
    pub(super) extent: Extent,
}

/// How much of a failing call is done all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Nothing,
    Half,
    All,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<FileImage>,
    names: BTreeMap<String, usize>,
    trace: Vec<Event>,
    calls: usize,
    fault: Option<Fault>,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Model(Arc<Mutex<Inner>>);

impl Model {
    /// A disk that holds `image`, all of it durable.
    pub(super) fn of(image: &Image) -> Self {
        let mut inner = Inner::default();
        for (name, file) in image {
            inner.names.insert(name.clone(), inner.files.len());
            inner.files.push(file.clone());
        }
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Makes a file, or empties it; nothing of that is durable.
    pub(super) fn create(&self, name: &str) {
        self.lock().create(name);
    }

    /// Sets a file's length; that is not durable.
    pub(super) fn set_length(&self, name: &str, length: u64) {
        let mut inner = self.lock();
        let file = inner.file(name).expect("a file of that name");
        inner.set_length(file, length);
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    pub(super) fn calls(&self) -> usize {
        self.lock().calls
    }

    pub(super) fn note(&self, event: Event) {
        self.lock().trace.push(event);
    }

    pub(super) fn trace(&self) -> Vec<Event> {
        self.lock().trace.clone()
    }

    /// What a process that is started again finds, if the machine goes on.
    pub(super) fn image(&self) -> Image {
        let inner = self.lock();
        inner.names.iter().map(|(name, file)| (name.clone(), inner.files[*file].clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Inner {
    /// Counts a call. Gives how much of it is to be done, and what it then answers.
    fn call(&mut self) -> (Extent, io::Result<()>) {
        self.calls += 1;
        match self.fault {
            Some(fault) if fault.call == self.calls => {
                (fault.extent, Err(io::Error::from_raw_os_error(fault.errno)))
            }
            _ => (Extent::All, Ok(())),
        }
    }

    fn reads(&mut self) -> io::Result<()> {
        self.call().1
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(not_found)
    }

    fn create(&mut self, name: &str) -> usize {
        if let Some(file) = self.names.get(name).copied() {
            self.set_length(file, 0);
            return file;
        }
        let file = self.files.len();
        self.files.push(FileImage::default());
        self.names.insert(name.into(), file);
        self.trace.push(Event::Create { file, name: name.into() });
        file
    }

    fn set_length(&mut self, file: usize, length: u64) {
        self.files[file].set_length(length);
        self.trace.push(Event::Length { file, length });
    }

    fn write(&mut self, file: usize, bytes: &[u8], offset: u64) {
        let end = offset + bytes.len() as u64;
        self.files[file].length = self.files[file].length.max(end);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, from) = (at / SECTOR_BYTES as u64, at % SECTOR_BYTES as u64);
            let from = usize::try_from(from).unwrap();
            let (now, later) = rest.split_at(rest.len().min(SECTOR_BYTES - from));
            let old = self.files[file].sector(number);
            let mut new = *old;
            new[from..from + now.len()].copy_from_slice(now);
            let sector = Arc::new(new);
            at += now.len() as u64;
            self.files[file].put(number, Arc::clone(&sector));
            self.trace.push(Event::Write { file, number, sector, end: at });
            rest = later;
        }
    }

    fn sync(&mut self, file: usize, result: &io::Result<()>) {
        let event = if result.is_ok() { Event::Sync { file } } else { Event::SyncFailed { file } };
        self.trace.push(event);
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.names.remove(from).ok_or_else(not_found)?;
        self.names.insert(to.into(), file);
        self.trace.push(Event::Rename { file, from: from.into(), to: to.into() });
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let file = self.names.remove(name).ok_or_else(not_found)?;
        self.trace.push(Event::Remove { file, name: name.into() });
        Ok(())
    }

    fn sync_directory(&mut self, result: &io::Result<()>) {
        let is_done = result.is_ok();
        self.trace.push(if is_done { Event::SyncDirectory } else { Event::SyncDirectoryFailed });
    }
}

impl Disk for Model {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.lock();
        inner.reads()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn create_zeroed(&self, name: &str, length: u64) -> io::Result<()> {
        let mut inner = self.lock();
        let (extent, result) = inner.call();
        if extent == Extent::Nothing {
            return result;
        }
        let file = inner.create(name);
        let length = if extent == Extent::Half { length / 2 } else { length };
        inner.set_length(file, length);
        inner.sync(file, &result);
        result
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let (extent, result) = inner.call();
        if extent == Extent::Nothing {
            return result;
        }
        let temporary = format!("{name}.new");
        let file = inner.create(&temporary);
        inner.set_length(file, bytes.len() as u64);
        inner.write(file, bytes, 0);
        if extent == Extent::Half {
            inner.sync(file, &result);
            return result;
        }
        inner.sync(file, &Ok(()));
        inner.rename(&temporary, name)?;
        inner.sync_directory(&result);
        result
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.reads()?;
        let file = inner.file(name)?;
        Ok(Box::new(ModelFile { disk: self.clone(), file, name: name.into() }))
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut inner = self.lock();
        inner.reads()?;
        let file = inner.file(name)?;
        Ok(inner.files[file].to_bytes())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let (extent, result) = inner.call();
        if extent != Extent::Nothing {
            inner.rename(from, to)?;
        }
        result
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let (_, result) = inner.call();
        inner.sync_directory(&result);
        result
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut inner = self.lock();
        let (extent, result) = inner.call();
        if extent == Extent::Nothing {
            return result;
        }
        let _ = inner.remove(name);
        let file = inner.create(name);
        let bytes = parts.concat();
        let written = if extent == Extent::Half { bytes.len() / 2 } else { bytes.len() };
        inner.write(file, &bytes[..written], 0);
        inner.sync(file, &result);
        result
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let (extent, result) = inner.call();
        if extent != Extent::Nothing {
            inner.remove(name)?;
        }
        result
    }
}

/// A file on the disk.
#[derive(Debug)]
struct ModelFile {
    disk: Model,
    file: usize,
    name: String,
}

impl DiskFile for ModelFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let (extent, result) = inner.call();
        let done = match extent {
            Extent::Nothing => 0,
            Extent::Half => bytes.len() / 2,
            Extent::All => bytes.len(),
        };
        inner.write(self.file, &bytes[..done], offset);
        result
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut inner = self.disk.lock();
        inner.reads()?;
        let offset = usize::try_from(offset).unwrap();
        let bytes = inner.files[self.file].to_bytes();
        let read = bytes.get(offset..offset + length);
        read.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let (_, result) = inner.call();
        inner.sync(self.file, &result);
        result
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let (extent, result) = inner.call();
        if extent != Extent::Nothing {
            inner.set_length(self.file, length);
            inner.sync(self.file, &result);
        }
        result
    }

    fn is_linked(&self) -> io::Result<bool> {
        let mut inner = self.disk.lock();
        inner.reads()?;
        Ok(inner.names.get(&self.name) == Some(&self.file))
    }
}
