//! Filling a page from the log's files: a read and a copy of what is there.

use super::{LastFrame, PAGE_HEAD_BYTES};
use crate::disk::Disk;
use crate::frame::FrameFacts;
use crate::frames::{Appended, FrameReader, ReadBackError};

/// What of the log goes into a page.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// So many bytes of the next frame are left out, since an earlier page had them.
    pub skip: usize,
    /// Up to this record, where a frame ends.
    pub end: u64,
    /// So many bytes of frames at most.
    pub room: usize,
    /// The last frame before `end`.
    pub tail: LastFrame,
}

/// Appends frames to a page behind its head, and says which is the last that ends there; nothing if none does. The
/// reader is left at the frame that begins the next page.
///
/// # Errors
///
/// [`ReadBackError`] if the log cannot be read so far.
pub fn fill(
    reader: &mut FrameReader,
    disk: &dyn Disk,
    wanted: &Wanted,
    page: &mut Vec<u8>,
) -> Result<Option<LastFrame>, ReadBackError> {
    let mut last = None;
    if wanted.skip > 0 {
        last = part(reader, disk, wanted, page)?;
        if last.is_none() {
            return Ok(None);
        }
    }
    while reader.next_index() < wanted.end {
        let room = wanted.room.saturating_sub(page.len().saturating_sub(PAGE_HEAD_BYTES));
        match reader.append_next(disk, room, page)? {
            Appended::Frame(facts) => last = Some(facts),
            Appended::Nothing => return Err(reader.corrupt()),
            Appended::TooLong(next) => {
                if let Some(last) = last {
                    return Ok(Some(LastFrame { hash: next.previous_hash, ..named(&last) }));
                }
                let whole = Wanted { skip: 0, ..*wanted };
                part(reader, disk, &whole, page)?;
                return Ok(None);
            }
        }
    }
    Ok(last.map(|_| wanted.tail))
}

/// Its hash stands in the frame behind it.
fn named(facts: &FrameFacts) -> LastFrame {
    LastFrame { number: facts.number, tree_size: facts.end_index(), hash: [0; 32] }
}

/// Appends the next frame without its beginning: all the rest of it, or as much as there is room for.
fn part(
    reader: &mut FrameReader,
    disk: &dyn Disk,
    wanted: &Wanted,
    page: &mut Vec<u8>,
) -> Result<Option<FrameFacts>, ReadBackError> {
    let mut frame = Vec::new();
    let appended = reader.append_next(disk, usize::MAX, &mut frame)?;
    let (Appended::Frame(facts), Some((place, _))) = (appended, reader.last()) else {
        return Err(reader.corrupt());
    };
    let rest = frame.get(wanted.skip..).unwrap_or_default();
    if rest.len() <= wanted.room {
        page.extend_from_slice(rest);
        return Ok(Some(facts));
    }
    page.extend_from_slice(rest.get(..wanted.room).unwrap_or_default());
    *reader = FrameReader::at(place);
    Ok(None)
}
