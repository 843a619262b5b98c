//! Pages of the log's frames, as they are sealed, for auditors who open them by themselves.
//!
//! A page costs a read and a copy: checksums are looked at, nothing is opened, and what the log signs of it is one hash.
//! Where readers stand is remembered, so that one that goes on is not looked for.
//!
//! **Invariant:** a page holds nothing that is not durable. Whom a record is of makes no difference: what a reader opens
//! is decided by the keys that were disclosed to it.

use std::collections::VecDeque;
use std::sync::Mutex;

use chancery_audit::frames::{FrameReader, ReadBackError};
use chancery_audit::page::{PAGE_HEAD_BYTES, PageHead, Wanted, fill};
use chancery_core::authority::Refusal;
use chancery_core::limits::FRAME_BYTES_MAX;
use chancery_core::reason::Reason;

use crate::counters::lock;
use crate::service::Shared;

/// The most bytes of frames in a page: 1.5 MiB, so that a frame of a thousand records comes whole.
const PAGE_BYTES: usize = 3 * 512 * 1024;

/// What most records take of a frame at most: 800 bytes. One that has more makes the page grow.
const RECORD_BYTES: usize = 800;

/// So many readers are remembered: 4, each with what it read ahead, 1 MiB.
const READERS_MAX: usize = 4;

// With its head and what is around it a page fits an answer.
const _: () = assert!(PAGE_HEAD_BYTES + PAGE_BYTES + 64 <= FRAME_BYTES_MAX);

/// Where readers stand.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<VecDeque<FrameReader>>);

impl Readers {
    /// The one whose next frame begins with the record at `index`.
    fn take(&self, index: u64) -> Option<FrameReader> {
        let mut readers = lock(&self.0);
        let at = readers.iter().position(|reader| reader.next_index() == index)?;
        readers.remove(at)
    }

    fn keep(&self, reader: FrameReader) {
        let mut readers = lock(&self.0);
        readers.push_back(reader);
        if readers.len() > READERS_MAX {
            readers.pop_front();
        }
    }
}

/// The frames from that on which holds the record at `from`, without the first `skip` bytes of it.
pub(crate) fn page(shared: &Shared, from: u64, skip: u32) -> Result<Vec<u8>, Refusal> {
    let (size, tail) = {
        let progress = lock(&shared.progress);
        (progress.size, progress.last)
    };
    if let Some(pruned) = lock(&shared.pruned).as_ref().filter(|it| from < it.first_index()) {
        return Err(Refusal { reason: Reason::Forbidden, detail: pruned.told() });
    }
    let mut page = Vec::with_capacity(PAGE_HEAD_BYTES + room_for(size.saturating_sub(from)));
    page.resize(PAGE_HEAD_BYTES, 0);
    let mut last = None;
    if from < size {
        let disk = &*shared.disk;
        let known = shared.readers.take(from);
        let mut reader = match known {
            Some(reader) => reader,
            None => shared.index.reader_of(disk, &shared.vault, from).map_err(|it| unread(&it))?,
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let wanted = Wanted { skip, end: size, room: PAGE_BYTES, tail };
        last = fill(&mut reader, disk, &wanted, &mut page).map_err(|it| unread(&it))?;
        shared.readers.keep(reader);
    }
    let head = PageHead::sign(size, last, (&shared.origin, &shared.receipt_key));
    let head = head.ok_or_else(|| unavailable("the page cannot be signed"))?;
    if let Some(room) = page.get_mut(..PAGE_HEAD_BYTES) {
        room.copy_from_slice(&head.to_bytes());
    }
    Ok(page)
}

/// Room for so many records, and no more than a page has: what was taken is cleared when it is given back.
fn room_for(records: u64) -> usize {
    usize::try_from(records).unwrap_or(usize::MAX).saturating_mul(RECORD_BYTES).min(PAGE_BYTES)
}

fn unread(error: &ReadBackError) -> Refusal {
    unavailable(&error.to_string())
}

fn unavailable(detail: &str) -> Refusal {
    Refusal { reason: Reason::Unavailable, detail: detail.to_owned() }
}
