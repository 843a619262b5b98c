//! Puts the dense form of a closed segment in its place.
//!
//! The order is what makes it safe, and each step needs what the one before has made. The segment is read and walked,
//! and its dense form made of it; that is written under a name of its own and synced, read back from the disk, and
//! expanded by the code that readers use; what comes back is compared with the segment, which is read once more. Only
//! then does it get its name, and only when that is durable is the first form removed. A crash anywhere leaves the
//! first form, the dense form, or both; where the first form is there it counts, and the whole is done again.
//!
//! **Invariant:** the first form is removed only for a dense form that is durable under its name and from which the
//! same bytes came back.

use std::io;

use chancery_log::{Frontier, Hash, root_of};

use crate::codec::{LayoutError, is_zeros};
use crate::dense::{self, Dense, DenseError, Packer, unverified_name};
use crate::disk::{Disk, Piece};
use crate::frame::FrameView;
use crate::frames::{FrameReader, ReadBackError};
use crate::index::FramePlace;
use crate::segment::{BLOCK_BYTES, SegmentHeader, file_name};
use crate::segments::header;

mod windows;

use self::windows::Windows;

/// What is compared at once: 1 MiB.
const PIECE_BYTES: usize = 1024 * 1024;

/// A segment cannot be repacked; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepackError {
    /// It is not what the log needs it to be.
    #[error("`{file}` at offset {offset}: {what}")]
    Corrupt {
        /// The file.
        file: String,
        /// The byte offset.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// What was written is not what comes back.
    #[error("the dense form of segment {number} does not come back as the segment")]
    Differs {
        /// The segment.
        number: u64,
    },
    /// It cannot be read.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// The system refused.
    #[error("the segment cannot be read, or its dense form cannot be written")]
    Disk(#[from] io::Error),
}

/// What a repack came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repacked {
    /// The bytes of the segment as it was.
    pub before: u64,
    /// The bytes of its dense form.
    pub after: u64,
}

/// Repacks a segment that is closed: one with another behind it.
///
/// # Errors
///
/// [`RepackError`]; then the segment is there as before. After a failed sync the disk is not to be trusted with
/// another try by the same process.
pub fn repack(disk: &dyn Disk, number: u64) -> Result<Repacked, RepackError> {
    let packed = Packed::of(disk, number)?;
    let repacked = Repacked { before: packed.segment_bytes, after: packed.dense_bytes() };
    packed.write(disk)?.read_back(disk)?.take_over(disk)?;
    Ok(repacked)
}

/// The dense form of a segment that is closed, whichever form it has.
///
/// # Errors
///
/// [`RepackError`] if it cannot be read, or does not hold.
pub fn dense_bytes(disk: &dyn Disk, number: u64) -> Result<Vec<u8>, RepackError> {
    let dense = || disk.read_whole(&dense::file_name(number));
    match Packed::of(disk, number) {
        Ok(packed) => Ok(packed.parts.concat()),
        Err(RepackError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => Ok(dense()?),
        // Freed while it was read.
        Err(error @ RepackError::ReadBack(_)) => dense().map_err(|_| error),
        Err(error) => Err(error),
    }
}

/// A segment that was walked, and its dense form.
struct Packed {
    number: u64,
    segment_bytes: u64,
    /// What is one behind the other in the dense form.
    parts: Vec<Vec<u8>>,
}

/// A dense form that was written and synced, under a name that says that it was not read back.
struct Written {
    number: u64,
    segment_bytes: u64,
    file_bytes: u64,
}

/// A dense form from which the segment came back.
struct Verified {
    number: u64,
}

impl Packed {
    fn of(disk: &dyn Disk, number: u64) -> Result<Self, RepackError> {
        let block = disk.read_range(&file_name(number), 0, BLOCK_BYTES)?;
        let altered = |_| corrupt(number, 0, "the segment's header is altered");
        let header = SegmentHeader::parse(&block).map_err(altered)?;
        let mut chain = Walk::at(&header);
        let mut packer = Packer::new(header);
        let offset = widen(BLOCK_BYTES);
        let place = FramePlace { segment: number, offset, first_index: chain.frontier.size() };
        let mut frames = FrameReader::at(place);
        while let Some(taken) = frames.look_at_next_in_segment(disk, |frame, _| {
            Ok(chain.take(frame)?.map(|()| packer.add(frame.bytes())))
        })? {
            let at = frames.last().map_or(offset, |(place, _)| place.offset);
            let added = taken.map_err(|what| corrupt(number, at, what))?;
            added.map_err(|_| corrupt(number, at, "the frame is none"))?;
        }
        chain.ends_where_the_next_begins(disk, number, packer.end())?;
        let segment_bytes = end_of_zeros(disk, number, packer.end())?;
        let too_long = |_| corrupt(number, 0, "the segment has more than a segment can have");
        Ok(Self { number, segment_bytes, parts: packer.finish(segment_bytes).map_err(too_long)? })
    }

    fn dense_bytes(&self) -> u64 {
        self.parts.iter().map(|part| widen(part.len())).sum()
    }

    fn write(self, disk: &dyn Disk) -> Result<Written, RepackError> {
        let file_bytes = self.dense_bytes();
        let Self { number, segment_bytes, parts } = self;
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        disk.write_new(&unverified_name(number), &parts)?;
        Ok(Written { number, segment_bytes, file_bytes })
    }
}

impl Written {
    fn read_back(self, disk: &dyn Disk) -> Result<Verified, RepackError> {
        let Self { number, segment_bytes, file_bytes } = self;
        let differs = |error| match error {
            DenseError::Corrupt { .. } => RepackError::Differs { number },
            DenseError::Io(error) => RepackError::Disk(error),
        };
        let windows = Windows::on(disk, unverified_name(number));
        let is_whole = windows.has_length(file_bytes)?;
        let mut dense = Dense::open(windows).map_err(differs)?;
        if !is_whole || dense.head().segment_bytes != segment_bytes {
            return Err(RepackError::Differs { number });
        }
        compare(disk, number, &mut dense).map_err(|error| error.or(differs))?;
        Ok(Verified { number })
    }
}

impl Verified {
    fn take_over(self, disk: &dyn Disk) -> io::Result<()> {
        let Self { number } = self;
        disk.rename(&unverified_name(number), &dense::file_name(number))?;
        disk.sync_directory()?;
        disk.remove(&file_name(number))?;
        disk.sync_directory()
    }
}

/// Why a dense form is not that of a segment.
pub(crate) enum Difference {
    /// The dense form does not expand.
    Dense(DenseError),
    /// It does, to something else; the offset in the dense form.
    Other(u64),
    /// The segment cannot be read.
    Disk(io::Error),
}

impl Difference {
    fn or(self, differs: impl FnOnce(DenseError) -> RepackError) -> RepackError {
        match self {
            Self::Dense(error) => differs(error),
            Self::Other(offset) => differs(DenseError::Corrupt { offset, what: "it differs" }),
            Self::Disk(error) => RepackError::Disk(error),
        }
    }
}

/// Expands a dense form and compares it with the segment on the disk, byte for byte.
pub(crate) fn compare<S: dense::Source>(
    disk: &dyn Disk,
    number: u64,
    dense: &mut Dense<S>,
) -> Result<(), Difference> {
    let head = dense.head().clone();
    dense.check(head.file_bytes).map_err(Difference::Dense)?;
    let mut expanded = head.segment.to_bytes();
    let (mut offset, mut from) = (0, 0);
    let mut piece = Piece::default();
    let mut same = |offset: u64, expanded: &[u8], from: u64| {
        let read = disk.read_piece(&file_name(number), offset, expanded.len(), &mut piece);
        read.map_err(Difference::Disk)?;
        if *piece == *expanded { Ok(()) } else { Err(Difference::Other(from)) }
    };
    for row in 0..head.frames {
        dense.append_frame(row, &mut expanded).map_err(Difference::Dense)?;
        if expanded.len() >= PIECE_BYTES {
            same(offset, &expanded, from)?;
            offset += widen(expanded.len());
            expanded.clear();
            from = head.frame_row_offset(row + 1);
        }
    }
    same(offset, &expanded, from)?;
    let end = offset + widen(expanded.len());
    match end_of_zeros(disk, number, end) {
        Ok(bytes) if bytes == head.segment_bytes => Ok(()),
        Ok(_) | Err(RepackError::Corrupt { .. }) => Err(Difference::Other(0)),
        Err(error) => Err(Difference::Disk(io::Error::other(error))),
    }
}

/// Where a segment ends that has nothing but zeros from `offset` on.
fn end_of_zeros(disk: &dyn Disk, number: u64, offset: u64) -> Result<u64, RepackError> {
    let mut end = offset;
    loop {
        let piece = disk.read_range(&file_name(number), end, PIECE_BYTES)?;
        if !is_zeros(&piece) {
            return Err(corrupt(number, end, "a frame stands here that does not hold"));
        }
        end += widen(piece.len());
        if piece.len() < PIECE_BYTES {
            return Ok(end);
        }
    }
}

/// What the frames of a segment come to, one after the other.
struct Walk {
    number: u64,
    previous_hash: [u8; 32],
    frontier: Frontier,
}

impl Walk {
    fn at(header: &SegmentHeader) -> Self {
        Self {
            number: header.first_frame,
            previous_hash: header.previous_hash,
            frontier: header.frontier.clone(),
        }
    }

    /// Takes the next frame, or says what is wrong with it.
    fn take(&mut self, frame: &FrameView<'_>) -> Result<Result<(), &'static str>, LayoutError> {
        let facts = &frame.facts;
        if facts.number != self.number || facts.previous_hash != self.previous_hash {
            return Ok(Err("the frame does not follow the one before it"));
        }
        let leaves = frame.items().map(|item| item.map(|item| item.leaf_hash()));
        let leaves: Vec<Hash> = leaves.collect::<Result<_, _>>()?;
        for leaf in &leaves {
            self.frontier.append(*leaf);
        }
        if facts.tree_root != self.frontier.root() || facts.frame_root != root_of(&leaves) {
            return Ok(Err("the frame's roots are not those of its records"));
        }
        self.number += 1;
        self.previous_hash = frame.hash();
        Ok(Ok(()))
    }

    /// The segment behind must begin where this one ends: so nothing of it is missing.
    fn ends_where_the_next_begins(
        &self,
        disk: &dyn Disk,
        number: u64,
        end: u64,
    ) -> Result<(), RepackError> {
        let next = header(disk, number + 1)?;
        let is_end = next.first_frame == self.number
            && next.previous_hash == self.previous_hash
            && next.frontier == self.frontier;
        let what = "the segment ends here, and the one behind it begins elsewhere";
        if is_end { Ok(()) } else { Err(corrupt(number, end, what)) }
    }
}

fn corrupt(number: u64, offset: u64, what: &'static str) -> RepackError {
    RepackError::Corrupt { file: file_name(number), offset, what }
}

fn widen(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
