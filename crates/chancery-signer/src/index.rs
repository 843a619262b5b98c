//! The index of the log: the parts there are, and what they leave out.
//!
//! The index is derived. A part that cannot be read, is altered, or belongs to another log is removed; what it
//! covered is then a gap, which queries read frame by frame until the [`Indexer`](crate::indexer) has filled it.

use std::collections::BTreeMap;
use std::fs;
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

/// The parts of the index.
pub(crate) struct Index {
    directory: PathBuf,
    disk: DirectoryDisk,
    log_id: [u8; 32],
    heads: Mutex<BTreeMap<u64, PartHead>>,
    /// The part that was read last: a query often comes back to it.
    last: Mutex<Option<Arc<Part>>>,
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
    Write(#[from] std::io::Error),
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
        let unopened = || SignerError::system("the directory of the index cannot be opened");
        let directory = data.join(INDEX_DIRECTORY);
        private_dir(&directory)?;
        let disk = DirectoryDisk::open(&directory).map_err(unopened())?;
        let heads = Mutex::default();
        let index = Self { directory, disk, log_id, heads, last: Mutex::default() };
        let mut names = index.disk.list().map_err(unopened())?;
        names.sort_unstable();
        let mut heads = BTreeMap::new();
        let mut end = 0;
        for name in names {
            match index
                .head(&name)
                .filter(|head| head.first_index >= end && head.end_index() <= size)
            {
                Some(head) => {
                    end = head.end_index();
                    heads.insert(head.first_index, head);
                }
                None => index.remove(&name),
            }
        }
        *lock(&index.heads) = heads;
        Ok(index)
    }

    /// The head of a part of this log that has the name it must have.
    fn head(&self, name: &str) -> Option<PartHead> {
        let first = first_index(name)?;
        let bytes = self.disk.read_range(name, 0, PART_HEAD_BYTES).ok()?;
        let head = PartHead::parse(&bytes).ok()?;
        (head.log_id == self.log_id && head.first_index == first && head.records > 0)
            .then_some(head)
    }

    fn remove(&self, name: &str) {
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
        self.disk.write_whole(&file_name(head.first_index), &bytes)?;
        lock(&self.heads).insert(head.first_index, head);
        Ok(())
    }

    /// Reads a part; or removes it, and what it covered is a gap.
    pub(crate) fn part(&self, head: &PartHead, vault: &Mutex<Vault>) -> Option<Arc<Part>> {
        if let Some(last) = lock(&self.last).as_ref().filter(|last| last.head() == head) {
            return Some(Arc::clone(last));
        }
        let name = file_name(head.first_index);
        let bytes = self.disk.read_whole(&name).ok();
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
        eprintln!("chancery signer: `{name}` of the index is altered, and is made anew");
        lock(&self.heads).remove(&head.first_index);
        self.remove(&name);
    }

    /// The frame that holds the record at `index`, if that is durable.
    pub(crate) fn frame_of(
        &self,
        disk: &dyn Disk,
        vault: &Mutex<Vault>,
        index: u64,
    ) -> Result<Option<Frame>, ReadBackError> {
        let spans = self.spans();
        let before = spans.iter().rev().find(|span| span.first_index() <= index);
        if let Some(Span::Part(head)) = before
            && let Some(frames) = self.part(head, vault).and_then(|part| part.frames().ok())
        {
            let found = frames.into_iter().find(|(_, records)| records.contains(&index));
            if let Some((place, _)) = found {
                return Ok(Some(read_frame_at(disk, place.segment, place.offset)?));
            }
        }
        let Some(Span::Gap(gap)) = before else { return FrameReader::frame_of(disk, index) };
        let mut reader = gap.reader(disk)?;
        while let Some(frame) = reader.next_frame(disk)? {
            if reader.next_index() > index {
                return Ok(Some(frame));
            }
        }
        Ok(None)
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
