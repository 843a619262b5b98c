//! Reads the log from its files: where it ends, and whether it is whole.
//!
//! [`walk`] goes through every segment and frame, checks all that can be checked without a key, and shows
//! each frame to its caller. Start-up and offline verification walk the same way.
//!
//! Since one write is in flight at a time, only the last frame can be torn. What follows the last good frame
//! must be zeros, or one torn frame with nothing valid behind it; anything else is corruption, and the
//! service does not start on it. [`settle`] keeps torn bytes aside, cuts them off, and counts the next
//! incarnation; it can be interrupted anywhere and done again.

use std::io;

use chancery_core::limits::FRAME_AUDIT_BYTES_MAX;
use chancery_crypto::primitive::sha256;
use chancery_log::{Frontier, TreeHead};

use crate::dense;
use crate::disk::Disk;
use crate::frame::Frame;
use crate::frames::ReadBackError;
use crate::origin::{ORIGIN_FILE, Origin, hex};
use crate::pruned::{BASE_FILE, PRUNED_FILE, Pruned};
use crate::resume::RESUME_FILE;
use crate::segment::{BLOCK_BYTES, SegmentHeader, file_name};
use crate::segments::{SegmentBytes, Segments, header, read_whole};
use crate::wal::{Address, SPARE_FILE, Tail};

mod repacked;

pub use repacked::check_dense;
pub(crate) use repacked::named;

/// The log's files contradict what the log is.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The bytes at a place are not what they must be.
    #[error("`{file}` at offset {offset}: {what}")]
    Corrupt {
        /// The file's name.
        file: String,
        /// The byte offset.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A file that belongs to the log is missing.
    #[error("`{file}` is missing")]
    Missing {
        /// The file's name.
        file: String,
    },
    /// A file is there that does not belong to a log.
    #[error("`{file}` is not a file of the log")]
    Unexpected {
        /// The file's name.
        file: String,
    },
    /// A file cannot be read.
    #[error("`{file}` cannot be read")]
    Unreadable {
        /// The file's name.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Bytes of a last frame that was not written whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub file: String,
    /// Where they begin.
    pub offset: u64,
    /// The bytes, up to the last that is not zero.
    pub bytes: Vec<u8>,
}

/// The log as it was found.
#[derive(Clone, Debug)]
pub struct Walked {
    /// Where it ends.
    pub tail: Tail,
    /// The last segment's number and where its last frame ends, if there is one.
    pub last: Option<(u64, u64)>,
    /// The torn end, if there is one.
    pub torn: Option<Torn>,
    /// The incarnation of the last frame.
    pub last_incarnation: u32,
    /// How many frames there are.
    pub frames: u64,
    /// Names of files that hold the torn ends of before.
    pub kept: Vec<String>,
    /// What of the log is not in its directory any more.
    pub pruned: Option<Pruned>,
}

/// Reads the origin.
///
/// # Errors
///
/// [`WalkError`] if the file is missing or is not one.
pub fn read_origin(disk: &dyn Disk) -> Result<Origin, WalkError> {
    let bytes = read(disk, ORIGIN_FILE)?;
    let corrupt = |_| WalkError::Corrupt {
        file: ORIGIN_FILE.into(),
        offset: 0,
        what: "this is not the origin of a log, or it was altered",
    };
    Origin::parse(&bytes).map_err(corrupt)
}

fn read(disk: &dyn Disk, file: &str) -> Result<Vec<u8>, WalkError> {
    disk.read_whole(file).map_err(unread(file))
}

fn unread(file: &str) -> impl FnOnce(io::Error) -> WalkError {
    |source| match source.kind() {
        io::ErrorKind::NotFound => WalkError::Missing { file: file.into() },
        _ => WalkError::Unreadable { file: file.into(), source },
    }
}

/// Goes through the whole log, or all of it that was not pruned.
///
/// # Errors
///
/// [`WalkError`], which names file and offset.
pub fn walk(
    disk: &dyn Disk,
    origin: &Origin,
    visit: &mut dyn FnMut(&Frame, Address) -> Result<(), &'static str>,
) -> Result<Walked, WalkError> {
    let start = match read_pruned(disk, origin)? {
        Some(pruned) => behind(disk, &pruned)?,
        None => Tail {
            incarnation: 0,
            next_frame: 0,
            previous_hash: [0; 32],
            frontier: Frontier::new(),
            last_head: None,
            next_segment: 0,
        },
    };
    walk_from(disk, origin, start, visit)
}

/// What was pruned of a log.
///
/// # Errors
///
/// [`WalkError`] if the note about it is not one that the log's service has signed.
pub fn read_pruned(disk: &dyn Disk, origin: &Origin) -> Result<Option<Pruned>, WalkError> {
    Pruned::read(disk, origin).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => WalkError::Corrupt {
            file: PRUNED_FILE.into(),
            offset: 0,
            what: "this is not what the log's service has signed",
        },
        _ => WalkError::Unreadable { file: PRUNED_FILE.into(), source: error },
    })
}

/// Where the log goes on behind what was pruned.
fn behind(disk: &dyn Disk, pruned: &Pruned) -> Result<Tail, WalkError> {
    let number = pruned.segments;
    let header = header(disk, number).map_err(|error| match error {
        ReadBackError::Disk(source) => unread(&file_name(number))(source),
        ReadBackError::Corrupt { file, offset } => {
            WalkError::Corrupt { file, offset, what: "the segment's header is altered" }
        }
    })?;
    let tree = TreeHead { size: header.frontier.size(), root: header.frontier.root() };
    if tree != pruned.tree {
        let what = "the segment does not go on where the log was pruned";
        return Err(WalkError::Corrupt { file: file_name(number), offset: 0, what });
    }
    Ok(Tail {
        incarnation: pruned.head.incarnation,
        next_frame: pruned.head.number.saturating_add(1),
        previous_hash: pruned.hash,
        frontier: header.frontier,
        last_head: Some(pruned.head),
        next_segment: number,
    })
}

/// Goes through the log from the segment on with which `start` goes on.
///
/// # Errors
///
/// [`WalkError`], which names file and offset; [`WalkError::Missing`] if the log is shorter than `start` says.
pub fn walk_from(
    disk: &dyn Disk,
    origin: &Origin,
    start: Tail,
    visit: &mut dyn FnMut(&Frame, Address) -> Result<(), &'static str>,
) -> Result<Walked, WalkError> {
    let pruned = read_pruned(disk, origin)?;
    let gone = pruned.as_ref().map_or(0, |pruned| pruned.segments);
    let files = Files::list(disk, gone)?;
    let segments: Vec<u64> = files.segments.numbers().filter(|number| *number >= gone).collect();
    let end = segments.last().map_or(gone, |last| last.saturating_add(1));
    if start.next_segment > end {
        return Err(WalkError::Missing { file: file_name(end) });
    }
    if start.next_segment < gone {
        return Err(WalkError::Missing { file: file_name(start.next_segment) });
    }
    let mut walker = Walker {
        log_id: origin.log_id,
        visit,
        walked: Walked {
            last: None,
            torn: None,
            last_incarnation: start.incarnation,
            frames: start.next_frame,
            tail: start,
            kept: files.kept,
            pruned,
        },
    };
    let last = segments.last().copied();
    let first = walker.walked.tail.next_segment;
    for number in segments.into_iter().filter(|number| *number >= first) {
        match read_whole(disk, number).map_err(unread(&file_name(number)))? {
            SegmentBytes::Padded(bytes) => walker.segment(&bytes, number, last == Some(number))?,
            SegmentBytes::Dense(bytes) => walker.repacked(bytes, number)?,
        }
    }
    Ok(walker.walked)
}

struct Files {
    segments: Segments,
    kept: Vec<String>,
}

impl Files {
    /// Lists them; the first `gone` segments were pruned, and one that is left of those counts for nothing.
    fn list(disk: &dyn Disk, gone: u64) -> Result<Self, WalkError> {
        let names =
            disk.list().map_err(|source| WalkError::Unreadable { file: ".".into(), source })?;
        let mut files = Self { segments: Segments::default(), kept: Vec::new() };
        for name in names {
            if files.segments.take(&name) || is_known(&name) {
                continue;
            }
            if !is_kept(&name) {
                return Err(WalkError::Unexpected { file: name });
            }
            files.kept.push(name);
        }
        let there = files.segments.numbers().filter(|number| *number >= gone);
        for (expected, number) in (gone..).zip(there) {
            if number != expected {
                return Err(WalkError::Missing { file: file_name(expected) });
            }
        }
        Ok(files)
    }
}

/// A crash may leave a file half written under its temporary name; it is replaced when it is written next.
fn is_known(name: &str) -> bool {
    let single = [ORIGIN_FILE, RESUME_FILE, SPARE_FILE, PRUNED_FILE, BASE_FILE];
    let is_single = |name| single.contains(&name);
    let is_whole = |name| is_single(name) || is_kept(name) || dense::file_number(name).is_some();
    is_single(name) || name.strip_suffix(".new").is_some_and(is_whole)
}

/// The name under which the torn bytes of a frame are kept.
fn kept_name(frame: u64, bytes: &[u8]) -> String {
    format!("torn-{frame:016x}-{}.bin", hex(&sha256(&[bytes])))
}

/// Whether a file's name is that of a torn end that was kept.
#[must_use]
pub fn is_kept(name: &str) -> bool {
    let parts = name.strip_prefix("torn-").and_then(|rest| rest.strip_suffix(".bin"));
    parts.is_some_and(|parts| parts.len() == 16 + 1 + 64)
}

/// The number of the frame in a kept file's name, whose bytes were `bytes`.
pub(crate) fn kept_frame(name: &str, bytes: &[u8]) -> Option<u64> {
    let frame = u64::from_str_radix(name.strip_prefix("torn-")?.split_once('-')?.0, 16).ok()?;
    (kept_name(frame, bytes) == name).then_some(frame)
}

/// The hash in a kept file's name, if it is of the frame of that number.
fn kept_hash(name: &str, frame: u64) -> Option<[u8; 32]> {
    let hash = name.strip_prefix(&format!("torn-{frame:016x}-"))?.strip_suffix(".bin")?;
    let pairs = hash.as_bytes().as_chunks::<2>().0.iter();
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

struct Walker<'v> {
    log_id: [u8; 32],
    visit: &'v mut dyn FnMut(&Frame, Address) -> Result<(), &'static str>,
    walked: Walked,
}

impl Walker<'_> {
    fn segment(&mut self, bytes: &[u8], number: u64, is_last: bool) -> Result<(), WalkError> {
        let corrupt = |offset: usize, what| WalkError::Corrupt {
            file: file_name(number),
            offset: u64::try_from(offset).unwrap_or(u64::MAX),
            what,
        };
        let header = SegmentHeader::parse(bytes)
            .map_err(|_| corrupt(0, "the segment's header is altered"))?;
        self.begin(&header, number).map_err(|what| corrupt(0, what))?;
        let mut offset = BLOCK_BYTES;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let Ok((frame, encoded)) = Frame::decode(rest) else { break };
            self.frame(&frame, encoded.hash, number, offset)
                .map_err(|what| corrupt(offset, what))?;
            offset += encoded.bytes.len();
        }
        let rest = bytes.get(offset..).unwrap_or_default();
        self.walked.last = Some((number, u64::try_from(offset).unwrap_or(u64::MAX)));
        let Some(torn) = rest.iter().rposition(|byte| *byte != 0) else {
            return self.check_length(&header, bytes, is_last);
        };
        if !is_last {
            return Err(corrupt(offset, "the frame here is altered, and others follow"));
        }
        self.torn(rest, torn + 1, number, offset).map_err(|(at, what)| corrupt(at, what))
    }

    fn check_length(
        &self,
        header: &SegmentHeader,
        bytes: &[u8],
        is_last: bool,
    ) -> Result<(), WalkError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (number, end) = self.walked.last.unwrap_or_default();
        // Whole as it was preallocated, or cut behind its last frame.
        if length == header.bytes || length == end {
            return Ok(());
        }
        let what = if is_last {
            "the segment was cut where no frame ends, or has grown"
        } else {
            "the segment was cut where no frame ends, or has grown, and others follow"
        };
        Err(WalkError::Corrupt { file: file_name(number), offset: length, what })
    }

    /// Goes on with the segment of that header.
    fn begin(&mut self, header: &SegmentHeader, number: u64) -> Result<(), &'static str> {
        self.check_header(header, number)?;
        self.walked.tail.incarnation = header.incarnation;
        self.walked.tail.next_segment = number + 1;
        Ok(())
    }

    fn check_header(&self, header: &SegmentHeader, number: u64) -> Result<(), &'static str> {
        let tail = &self.walked.tail;
        if header.log_id != self.log_id {
            return Err("the segment is of another log");
        }
        if header.number != number {
            return Err("the segment is another one than its name says");
        }
        if header.first_frame != tail.next_frame || header.previous_hash != tail.previous_hash {
            return Err("the segment does not follow the frame before it");
        }
        if header.frontier != tail.frontier {
            return Err("the segment's tree is not the one before it");
        }
        if header.incarnation < tail.incarnation {
            return Err("the segment goes back an incarnation");
        }
        Ok(())
    }

    fn frame(
        &mut self,
        frame: &Frame,
        hash: [u8; 32],
        number: u64,
        offset: usize,
    ) -> Result<(), &'static str> {
        let tail = &mut self.walked.tail;
        if frame.number != tail.next_frame || frame.previous_hash != tail.previous_hash {
            return Err("the frame does not follow the one before it");
        }
        if frame.incarnation != tail.incarnation {
            return Err("the frame is of another incarnation than its segment");
        }
        if frame.first_index != tail.frontier.size() || frame.items.is_empty() {
            return Err("the frame's records do not follow the ones before them");
        }
        for item in &frame.items {
            tail.frontier.append(item.leaf_hash());
        }
        if tail.frontier.root() != frame.tree_root || frame.root_of_items() != frame.frame_root {
            return Err("the frame's roots are not those of its records");
        }
        tail.next_frame += 1;
        tail.previous_hash = hash;
        tail.last_head = Some(frame.head(self.log_id));
        self.walked.last_incarnation = frame.incarnation;
        self.walked.frames += 1;
        let block = u32::try_from(offset / BLOCK_BYTES).map_err(|_| "the segment is too long")?;
        let segment = u32::try_from(number).map_err(|_| "there are too many segments")?;
        (self.visit)(frame, Address { segment, block })
    }

    fn torn(
        &mut self,
        rest: &[u8],
        length: usize,
        number: u64,
        offset: usize,
    ) -> Result<(), (usize, &'static str)> {
        if length > FRAME_AUDIT_BYTES_MAX.next_multiple_of(BLOCK_BYTES) {
            return Err((offset, "what follows the last frame is longer than any frame"));
        }
        let later = rest.chunks(BLOCK_BYTES).enumerate().skip(1).find_map(|(block, _)| {
            let at = block * BLOCK_BYTES;
            let (frame, _) = Frame::decode(rest.get(at..)?).ok()?;
            (frame.number >= self.walked.tail.next_frame).then_some(at)
        });
        if later.is_some() {
            return Err((offset, "the frame here is altered, and a later one follows"));
        }
        let bytes = rest.get(..length).unwrap_or_default().to_vec();
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        self.walked.torn = Some(Torn { file: file_name(number), offset, bytes });
        Ok(())
    }
}

/// A log that can be continued.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Where it goes on.
    pub tail: Tail,
    /// The hash of torn bytes that the first record must name.
    pub kept: Option<[u8; 32]>,
}

/// Keeps a torn end aside and cuts the last segment behind its last frame.
///
/// # Errors
///
/// The system's; it can be done again.
pub fn settle(disk: &dyn Disk, walked: Walked) -> io::Result<Settled> {
    let mut tail = walked.tail;
    let mut kept = walked.kept.iter().find_map(|name| kept_hash(name, tail.next_frame));
    if let Some(torn) = &walked.torn {
        // Kept and durable before it is cut off; a crash in between finds it torn again.
        disk.write_whole(&kept_name(tail.next_frame, &torn.bytes), &torn.bytes)?;
        kept = Some(sha256(&[&torn.bytes]));
    }
    if let Some((number, end)) = walked.last {
        disk.open(&file_name(number))?.truncate(end)?;
    }
    if kept.is_some() {
        tail.incarnation = walked.last_incarnation.saturating_add(1);
    }
    Ok(Settled { tail, kept })
}
