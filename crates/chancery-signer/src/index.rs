//! The index of the log: the parts there are, and what they leave out.
//!
//! The index is derived. A part that cannot be read, is altered, or belongs to another log is removed; what it
//! covered is then a gap, which queries read frame by frame until the [`Indexer`](crate::indexer) has filled it.
//! Whoever reads the files of a service that does not run ([`Index::look`]) removes nothing, and reads the gaps.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::frame::Frame;
use chancery_audit::frames::{FrameReader, ReadBackError};
use chancery_audit::index::part::PART_HEAD_BYTES;
use chancery_audit::index::{
    Builder, FramePlace, INDEX_DIRECTORY, Part, PartHead, file_name, first_index,
};
use chancery_audit::wal::read_frame_at;
use chancery_store::private_dir;

use crate::config::SignerError;
use crate::counters::lock;
use crate::vault::{FileName, Vault};

/// What the name of a part ends with while it is written.
const UNFINISHED: &str = ".new";

/// The parts of the index.
pub(crate) struct Index {
    directory: PathBuf,
    /// Nothing where the directory is missing.
    disk: Option<DirectoryDisk>,
    log_id: [u8; 32],
    upkeep: Upkeep,
    heads: Mutex<BTreeMap<u64, PartHead>>,
    /// Files that are none of the index, or altered, and were left as they are.
    left: Mutex<Vec<String>>,
    /// The part that was read last: a query often comes back to it.
    last: Mutex<Option<Arc<Part>>>,
}

/// What becomes of a file that is none of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upkeep {
    /// It is removed.
    Kept,
    /// It is left.
    Looked,
}

/// The parts cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The log cannot be read back.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// The keys of a record cannot be read.
    #[error("a month's keys cannot be read")]
    Keys,
    /// A part is not sealed.
    #[error("a part cannot be sealed")]
    Unsealed,
    /// A part is not written.
    #[error("a part cannot be written")]
    Write(#[from] io::Error),
}

/// Consecutive records: those of a part, or those between two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Span {
    /// What a part covers.
    Part(PartHead),
    /// What none covers.
    Gap(Gap),
}

/// Records that no part covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Where the part before ends; nothing where there is none.
    pub(crate) place: Option<FramePlace>,
    /// The first of them.
    pub(crate) first_index: u64,
    /// The record behind the last of them; nothing where the log goes on.
    pub(crate) end_index: Option<u64>,
}

impl Gap {
    /// What a part covered that cannot be read.
    pub(crate) fn of(head: &PartHead) -> Self {
        let PartHead { segment, offset, first_index, .. } = *head;
        let place = Some(FramePlace { segment, offset, first_index });
        Self { place, first_index, end_index: Some(head.end_index()) }
    }

    /// Reads its frames from the first on.
    pub(crate) fn reader(&self, disk: &dyn Disk) -> Result<FrameReader, ReadBackError> {
        match self.place {
            Some(place) => Ok(FrameReader::at(place)),
            None => FrameReader::from_record(disk, self.first_index),
        }
    }
}

impl Index {
    /// Opens the index of a log of `size` records, and removes what is none of it.
    pub(crate) fn open(data: &Path, log_id: [u8; 32], size: u64) -> Result<Self, SignerError> {
        let directory = data.join(INDEX_DIRECTORY);
        private_dir(&directory)?;
        let disk = DirectoryDisk::open(&directory).map_err(unopened())?;
        let index = Self::of(directory, Some(disk), log_id, Upkeep::Kept);
        index.take(size)?;
        Ok(index)
    }

    /// Looks at the index of a log of `size` records, and changes nothing of it.
    pub(crate) fn look(data: &Path, log_id: [u8; 32], size: u64) -> Result<Self, SignerError> {
        let directory = data.join(INDEX_DIRECTORY);
        let disk = match DirectoryDisk::open_read_only(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            disk => Some(disk.map_err(unopened())?),
        };
        let index = Self::of(directory, disk, log_id, Upkeep::Looked);
        index.take(size)?;
        Ok(index)
    }

    fn of(
        directory: PathBuf,
        disk: Option<DirectoryDisk>,
        log_id: [u8; 32],
        upkeep: Upkeep,
    ) -> Self {
        let (heads, left, last) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { directory, disk, log_id, upkeep, heads, left, last }
    }

    /// Takes the parts that there are.
    fn take(&self, size: u64) -> Result<(), SignerError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut names = disk.list().map_err(unopened())?;
        names.sort_unstable();
        let mut end = 0;
        for name in names {
            let head = self.head(disk, &name);
            match head.filter(|head| head.first_index >= end) {
                Some(head) if head.end_index() <= size => {
                    end = head.end_index();
                    lock(&self.heads).insert(head.first_index, head);
                }
                // A service that runs may have made it since the log was looked at.
                Some(_) if self.upkeep == Upkeep::Looked => {}
                _ => self.remove(&name),
            }
        }
        Ok(())
    }

    /// The head of a part of this log that has the name it must have.
    fn head(&self, disk: &DirectoryDisk, name: &str) -> Option<PartHead> {
        let first = first_index(name)?;
        let bytes = disk.read_range(name, 0, PART_HEAD_BYTES).ok()?;
        let head = PartHead::parse(&bytes).ok()?;
        (head.log_id == self.log_id && head.first_index == first && head.records > 0)
            .then_some(head)
    }

    fn remove(&self, name: &str) {
        if self.upkeep == Upkeep::Looked {
            // What a service that runs is writing has another name yet.
            let is_unfinished = name.strip_suffix(UNFINISHED).is_some();
            lock(&self.left).extend((!is_unfinished).then(|| name.to_owned()));
            return;
        }
        // What cannot be removed is looked at again at the next start, and written over when its turn comes.
        if let Err(error) = fs::remove_file(self.directory.join(name)) {
            eprintln!("chancery signer: `{name}` of the index cannot be removed: {error}");
        }
    }

    /// All of the log, span by span, from its beginning; the last is a gap.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let (mut place, mut next) = (None, 0);
        let mut spans = Vec::new();
        for head in lock(&self.heads).values() {
            if head.first_index > next {
                let end_index = Some(head.first_index);
                spans.push(Span::Gap(Gap { place, first_index: next, end_index }));
            }
            spans.push(Span::Part(*head));
            next = head.end_index();
            place = Some(FramePlace {
                segment: head.segment,
                offset: head.end_offset,
                first_index: next,
            });
        }
        spans.push(Span::Gap(Gap { place, first_index: next, end_index: None }));
        spans
    }

    /// The first records, from the one at `from` on, that no part covers.
    pub(crate) fn first_gap(&self, from: u64) -> Gap {
        let gap = self.spans().into_iter().find_map(|span| match span {
            Span::Gap(gap) if gap.end_index.is_none_or(|end| end > from) => Some(gap),
            _ => None,
        });
        match gap {
            Some(gap) if gap.first_index >= from => gap,
            // What lies before was pruned, and nobody can read it.
            Some(Gap { end_index, .. }) => Gap { place: None, first_index: from, end_index },
            None => Gap { place: None, first_index: from, end_index: None },
        }
    }

    /// A builder for the part that begins with the frame at `place`.
    pub(crate) fn builder(&self, place: FramePlace) -> Builder {
        Builder::new(self.log_id, place)
    }

    /// Adds a part.
    pub(crate) fn put(&self, builder: Builder, vault: &Mutex<Vault>) -> Result<(), IndexError> {
        let seal =
            |head: &PartHead, body: &[u8]| lock(vault).seal_file(&FileName::part(head), body);
        let (part, bytes) = builder.finish(seal).map_err(|_| IndexError::Unsealed)?;
        let head = *part.head();
        let disk = self.disk.as_ref().ok_or(io::ErrorKind::NotFound).map_err(io::Error::from)?;
        disk.write_whole(&file_name(head.first_index), &bytes)?;
        lock(&self.heads).insert(head.first_index, head);
        Ok(())
    }

    /// Reads a part; or removes it, and what it covered is a gap.
    pub(crate) fn part(&self, head: &PartHead, vault: &Mutex<Vault>) -> Option<Arc<Part>> {
        if let Some(last) = lock(&self.last).as_ref().filter(|last| last.head() == head) {
            return Some(Arc::clone(last));
        }
        let name = file_name(head.first_index);
        let bytes = self.disk.as_ref().and_then(|disk| disk.read_whole(&name).ok());
        let open =
            |head: &PartHead, body: &[u8]| lock(vault).open_file(&FileName::part(head), body);
        let part = bytes.and_then(|bytes| Part::parse(&bytes, open).ok());
        let part = part.filter(|part| part.head() == head);
        let Some(part) = part else {
            self.discard(head);
            return None;
        };
        let part = Arc::new(part);
        *lock(&self.last) = Some(Arc::clone(&part));
        Some(part)
    }

    /// Takes a part out that is not what it says: its frames are read instead, and it is made anew.
    pub(crate) fn discard(&self, head: &PartHead) {
        let name = file_name(head.first_index);
        if self.upkeep == Upkeep::Kept {
            eprintln!("chancery signer: `{name}` of the index is altered, and is made anew");
        }
        lock(&self.heads).remove(&head.first_index);
        self.remove(&name);
    }

    /// The files that are none of the index, or altered, and were left as they are.
    pub(crate) fn left(&self) -> Vec<String> {
        lock(&self.left).clone()
    }

    /// The frame that holds the record at `index`, if that is durable.
    pub(crate) fn frame_of(
        &self,
        disk: &dyn Disk,
        vault: &Mutex<Vault>,
        index: u64,
    ) -> Result<Option<Frame>, ReadBackError> {
        let span = self.span_of(index);
        if let Some(place) = span.and_then(|span| self.place_in(&span, vault, index)) {
            return Ok(Some(read_frame_at(disk, place.segment, place.offset)?));
        }
        let Some(Span::Gap(gap)) = span else { return FrameReader::frame_of(disk, index) };
        let mut reader = gap.reader(disk)?;
        while let Some(frame) = reader.next_frame(disk)? {
            if reader.next_index() > index {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// A reader whose next frame holds the record at `index`, which is durable.
    pub(crate) fn reader_of(
        &self,
        disk: &dyn Disk,
        vault: &Mutex<Vault>,
        index: u64,
    ) -> Result<FrameReader, ReadBackError> {
        let span = self.span_of(index);
        if let Some(place) = span.and_then(|span| self.place_in(&span, vault, index)) {
            return Ok(FrameReader::at(place));
        }
        let mut reader = match span {
            Some(Span::Gap(Gap { place: Some(place), .. })) => FrameReader::at(place),
            _ => FrameReader::in_segment_of(disk, index)?,
        };
        reader.seek(disk, index)?;
        Ok(reader)
    }

    fn span_of(&self, index: u64) -> Option<Span> {
        self.spans().into_iter().rev().find(|span| span.first_index() <= index)
    }

    /// Where the frame stands that holds a record, if the span is a part that says so.
    fn place_in(&self, span: &Span, vault: &Mutex<Vault>, index: u64) -> Option<FramePlace> {
        let Span::Part(head) = span else { return None };
        let frames = self.part(head, vault)?.frames().ok()?;
        let found = frames.into_iter().find(|(_, records)| records.contains(&index));
        found.map(|(place, _)| place)
    }
}

impl Span {
    /// The first of its records.
    pub(crate) fn first_index(&self) -> u64 {
        match self {
            Self::Part(head) => head.first_index,
            Self::Gap(gap) => gap.first_index,
        }
    }

    /// The record behind the last of them, where that is known.
    pub(crate) fn end_index(&self) -> Option<u64> {
        match self {
            Self::Part(head) => Some(head.end_index()),
            Self::Gap(gap) => gap.end_index,
        }
    }
}

fn unopened() -> impl FnOnce(io::Error) -> SignerError {
    SignerError::system("the directory of the index cannot be opened")
}
