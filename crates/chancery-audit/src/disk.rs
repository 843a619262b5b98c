//! What the write-ahead log asks of a disk: a directory of files that are written by position.
//!
//! Everything the log does to the disk goes through [`Disk`], so that fault injection sees all of it. There
//! are no memory-mapped writes and no other way in.
//!
//! [`DirectoryDisk`] is the real one. It opens its directory once, names files relative to it, makes them
//! 0600 whatever the umask, and reads past the page cache where the file system allows it: after a failed
//! write-back the cache may show bytes that the disk does not have.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use self::piece::DIRECT_ALIGNMENT;

mod piece;

pub use piece::Piece;

/// Preallocation writes zeros in pieces of this many bytes.
const ZEROS: usize = 1024 * 1024;

/// A file that nobody waits for is written and synced in pieces of so many bytes: 1 MiB, a few milliseconds each.
const WRITTEN_AT_ONCE: usize = 1024 * 1024;

/// So many small files are written before the first of them is synced: 64, since all of them are open until then.
const FILES_AT_ONCE: usize = 64;

/// A directory of files.
pub trait Disk: Send + Sync {
    /// Every file's name, sorted.
    ///
    /// # Errors
    ///
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `length` zero bytes, allocated and synced. An older one of that name is replaced.
    ///
    /// # Errors
    ///
    /// The system's; the file may or may not be there.
    fn create_zeroed(&self, name: &str, length: u64) -> io::Result<()>;

    /// Writes a small file whole, and syncs it and the directory. An older one of that name is replaced at once.
    ///
    /// # Errors
    ///
    /// The system's; then the old or the new one is there.
    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    ///
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a whole file, past the page cache where that can be done.
    ///
    /// # Errors
    ///
    /// The system's.
    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Reads `length` bytes of a file from `offset` on, or those that there are, past the page cache where that
    /// can be done. Both are multiples of 4 096.
    ///
    /// # Errors
    ///
    /// The system's.
    fn read_range(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = self.read_whole(name)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?.min(bytes.len());
        bytes.drain(..start);
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Reads the same into the room of a piece that was read before.
    ///
    /// # Errors
    ///
    /// The system's; then the piece is empty, or what it was.
    fn read_piece(
        &self,
        name: &str,
        offset: u64,
        length: usize,
        piece: &mut Piece,
    ) -> io::Result<()> {
        *piece = self.read_range(name, offset, length)?.into();
        Ok(())
    }

    /// Gives a file another name, replacing what had it. Durable only after [`Disk::sync_directory`].
    ///
    /// # Errors
    ///
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes names durable.
    ///
    /// # Errors
    ///
    /// The system's; nothing is known about the names then.
    fn sync_directory(&self) -> io::Result<()>;

    /// Writes a new file of these parts, one behind the other, and syncs it, and not the directory. What has the name
    /// already is removed first.
    ///
    /// # Errors
    ///
    /// The system's; the file may or may not be there.
    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()>;

    /// Removes a file. Durable only after [`Disk::sync_directory`].
    ///
    /// # Errors
    ///
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`, in one call.
    ///
    /// # Errors
    ///
    /// The system's, and a short write.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads `length` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// The system's, and an early end.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// The system's; nothing is known about the bytes then, and it is never asked again.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, and syncs that.
    ///
    /// # Errors
    ///
    /// The system's.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Whether the file is still the one of that name: linked once, same device, same inode.
    ///
    /// # Errors
    ///
    /// The system's.
    fn is_linked(&self) -> io::Result<bool>;
}

impl std::fmt::Debug for dyn DiskFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskFile")
    }
}

/// A real directory.
#[derive(Debug)]
pub struct DirectoryDisk {
    directory: File,
    /// Of files that are made.
    mode: Mode,
    access: Access,
}

/// What may be done to the files of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadOnly,
    ReadWrite,
}

impl DirectoryDisk {
    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(Self { directory: File::from(directory), mode, access: Access::ReadWrite })
    }

    /// The same, and whatever would change anything in it is refused, as on a read-only file system.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Ok(Self { access: Access::ReadOnly, ..Self::open(path)? })
    }

    /// The same; files that are made in it may be read by everybody who reaches the directory.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open_public(path: &Path) -> io::Result<Self> {
        let readable = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        Ok(Self { mode: readable, ..Self::open(path)? })
    }

    /// Writes small files whole under their temporary names, and syncs each. [`Self::place`] gives them their own.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn write_aside(&self, files: &[(&str, &[u8])]) -> io::Result<()> {
        for files in files.chunks(FILES_AT_ONCE) {
            let write = |(name, bytes): &(&str, &[u8])| {
                let file = self.create(&aside(name))?;
                file.write_all_at(bytes, 0).map(|()| file)
            };
            let written = files.iter().map(write).collect::<io::Result<Vec<_>>>()?;
            if written.len() > 1 {
                written.iter().for_each(start_writing);
            }
            written.iter().try_for_each(File::sync_all)?;
        }
        Ok(())
    }

    /// Gives a file that was written aside its name, in the place of an older one. Durable only after
    /// [`Disk::sync_directory`].
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn place(&self, name: &str) -> io::Result<()> {
        self.rename(&aside(name), name)
    }

    fn open_at(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.directory, name, flags, self.mode)?;
        Ok(File::from(file))
    }

    /// Refuses to change anything where only reading is allowed.
    fn may_write(&self) -> io::Result<()> {
        match self.access {
            Access::ReadOnly => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Access::ReadWrite => Ok(()),
        }
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.may_write()?;
        let file = self.open_at(name, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)?;
        // The umask may have taken bits that are needed, and an older file may have others.
        if Mode::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != self.mode {
            rustix::fs::fchmod(&file, self.mode)?;
        }
        Ok(file)
    }

    fn read_direct(&self, name: &str, range: Range<u64>, piece: &mut Piece) -> io::Result<()> {
        let file = self.open_at(name, OFlags::RDONLY | OFlags::DIRECT)?;
        piece.read_direct(&file, range)
    }

    fn read_cached(&self, name: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut file = self.open_at(name, OFlags::RDONLY)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(range.start))?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, range.end - range.start), &mut bytes)?;
        Ok(bytes)
    }

    fn read(&self, name: &str, range: Range<u64>, piece: &mut Piece) -> io::Result<()> {
        match self.read_direct(name, range.clone(), piece) {
            // Not every file system has direct reads.
            Err(error) if has_no_direct(&error) => {
                *piece = self.read_cached(name, range)?.into();
                Ok(())
            }
            read => read,
        }
    }
}

impl Disk for DirectoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_str().map_err(io::Error::other)?;
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_zeroed(&self, name: &str, length: u64) -> io::Result<()> {
        let file = self.create(name)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length)?;
        // Written once, so that a later sync has no extents to convert; past the page cache, since nobody
        // reads them.
        let direct = self.open_at(name, OFlags::WRONLY | OFlags::DIRECT);
        match direct.and_then(|direct| write_zeros(&direct, length)) {
            Err(error) if has_no_direct(&error) => write_zeros(&file, length)?,
            written => written?,
        }
        file.sync_all()
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_aside(&[(name, bytes)])?;
        self.place(name)?;
        self.sync_directory()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let access = match self.access {
            Access::ReadOnly => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let file = self.open_at(name, access)?;
        let directory = self.directory.try_clone()?;
        Ok(Box::new(RealFile { file, directory, name: name.to_owned() }))
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut piece = Piece::default();
        self.read(name, 0..u64::MAX, &mut piece)?;
        Ok(piece.into())
    }

    fn read_range(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut piece = Piece::default();
        self.read_piece(name, offset, length, &mut piece)?;
        Ok(piece.into())
    }

    fn read_piece(
        &self,
        name: &str,
        offset: u64,
        length: usize,
        piece: &mut Piece,
    ) -> io::Result<()> {
        let length = u64::try_from(length).map_err(io::Error::other)?;
        self.read(name, offset..offset.saturating_add(length), piece)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.may_write()?;
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        match self.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        let file = self.create(name)?;
        // A piece is synced before the next is written: a sync of somebody else waits for one piece at most.
        let mut offset = 0;
        for piece in parts.iter().flat_map(|part| part.chunks(WRITTEN_AT_ONCE)) {
            file.write_all_at(piece, offset)?;
            file.sync_data()?;
            offset += u64::try_from(piece.len()).map_err(io::Error::other)?;
        }
        file.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.may_write()?;
        Ok(rustix::fs::unlinkat(&self.directory, name, rustix::fs::AtFlags::empty())?)
    }
}

/// What a file is called until it is whole.
fn aside(name: &str) -> String {
    format!("{name}.new")
}

/// Has the system begin to write a file back, where it can be asked to. When many are synced one after the other behind
/// that, the first sync makes what the file system notes of all of them durable, and the others find it done.
fn start_writing(file: &File) {
    // What is not begun now is begun by the sync, which is what counts.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// Whether a file system refuses direct access, or refuses it off its own grid.
fn has_no_direct(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}

fn write_zeros(file: &File, length: u64) -> io::Result<()> {
    let buffer = vec![0_u8; ZEROS + DIRECT_ALIGNMENT];
    let start = buffer.as_ptr().align_offset(DIRECT_ALIGNMENT);
    let zeros = buffer.get(start..start + ZEROS).ok_or(io::ErrorKind::Other)?;
    let mut offset = 0;
    while offset < length {
        let piece = usize::try_from(length - offset).unwrap_or(ZEROS).min(ZEROS);
        file.write_all_at(zeros.get(..piece).unwrap_or_default(), offset)?;
        offset += u64::try_from(piece).map_err(io::Error::other)?;
    }
    Ok(())
}

/// A file in a real directory.
#[derive(Debug)]
struct RealFile {
    file: File,
    directory: File,
    name: String,
}

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        loop {
            match self.file.write_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) if written < bytes.len() => return Err(io::ErrorKind::WriteZero.into()),
                result => return result.map(|_| ()),
            }
        }
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()
    }

    fn is_linked(&self) -> io::Result<bool> {
        let open = rustix::fs::fstat(&self.file)?;
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let named = match rustix::fs::statat(&self.directory, self.name.as_str(), flags) {
            Err(rustix::io::Errno::NOENT) => return Ok(false),
            named => named?,
        };
        Ok(open.st_nlink == 1 && (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino))
    }
}
