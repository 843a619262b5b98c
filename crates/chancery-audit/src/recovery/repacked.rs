//! A segment in its dense form, walked as the frames that come back from it.

use super::{WalkError, Walked, Walker};
use crate::dense::{Dense, DenseError, file_name};
use crate::frame::Frame;
use crate::segment::BLOCK_BYTES;
use crate::wal::Tail;

/// Walks a dense segment by itself, and says where the log stood before it, as the segment says, and where behind it.
/// Whether the log stood there is for the caller to know.
///
/// # Errors
///
/// [`WalkError`], which names the dense file and the offset in it.
pub fn check_dense(
    log_id: [u8; 32],
    number: u64,
    bytes: Vec<u8>,
    mut each: impl FnMut(&Frame),
) -> Result<(Tail, Tail), WalkError> {
    let dense = Dense::open(bytes.as_slice()).map_err(|error| named(number, error))?;
    let header = &dense.head().segment;
    let start = Tail {
        incarnation: header.incarnation,
        next_frame: header.first_frame,
        previous_hash: header.previous_hash,
        frontier: header.frontier.clone(),
        last_head: None,
        next_segment: number,
    };
    let visit = &mut |frame: &Frame, _| {
        each(frame);
        Ok(())
    };
    let mut walker = Walker {
        log_id,
        visit,
        walked: Walked {
            last: None,
            torn: None,
            last_incarnation: start.incarnation,
            frames: start.next_frame,
            tail: start.clone(),
            kept: Vec::new(),
            pruned: None,
        },
    };
    walker.repacked(bytes, number)?;
    Ok((start, walker.walked.tail))
}

impl Walker<'_> {
    /// Goes through a dense segment. What is wrong is named by the dense file and the offset in it.
    pub(super) fn repacked(&mut self, bytes: Vec<u8>, number: u64) -> Result<(), WalkError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let unread = |error| named(number, error);
        let mut dense = Dense::open(bytes).map_err(unread)?;
        self.begin(&dense.head().segment, number).map_err(|what| corrupt(number, 0, what))?;
        dense.check(length).map_err(unread)?;
        for row in 0..dense.head().frames {
            let at = dense.head().frame_row_offset(row);
            let block = dense.row(row).map_err(unread)?.block;
            let bytes = dense.frame(row).map_err(unread)?;
            let (frame, encoded) =
                Frame::decode(&bytes).map_err(|_| corrupt(number, at, "a frame is altered"))?;
            let offset = usize::try_from(block).unwrap_or(usize::MAX).saturating_mul(BLOCK_BYTES);
            self.frame(&frame, encoded.hash, number, offset)
                .map_err(|what| corrupt(number, at, what))?;
        }
        // There is nothing to cut off: only what is closed is repacked.
        self.walked.last = None;
        Ok(())
    }
}

/// What is wrong in a dense segment, by the name of its file.
pub(crate) fn named(number: u64, error: DenseError) -> WalkError {
    match error {
        DenseError::Corrupt { offset, what } => corrupt(number, offset, what),
        DenseError::Io(source) => WalkError::Unreadable { file: file_name(number), source },
    }
}

fn corrupt(number: u64, offset: u64, what: &'static str) -> WalkError {
    WalkError::Corrupt { file: file_name(number), offset, what }
}
