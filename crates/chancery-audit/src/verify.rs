//! Checks a log from its files alone: no key, no service, up or down.
//!
//! Everything [`walk`](crate::recovery::walk) checks (layout and checksum of every byte, the chain of
//! frames, the tree), and besides: the signature of every head but the last, which no later frame stores
//! yet; that commands come in the order of the outbox; that kept torn ends are what their names say, and that
//! there is one wherever an incarnation begins and nowhere else; that the spare holds nothing. What is published of
//! the log is held against it, file by file ([`published`]), and so are the parts of its index ([`indexed`]). Where a
//! segment is there in both forms they must be the same ([`forms`]).
//!
//! What files alone cannot show is that the last segment, or the last frames in it, were taken away: that
//! needs somebody who remembers them, such as the holder of a receipt.

mod forms;
mod indexed;
mod published;

use std::io;
use std::path::Path;

use chancery_crypto::key::PublicKey;
use chancery_log::Hash;

use crate::disk::{DirectoryDisk, Disk};
use crate::frame::{Frame, Head};
use crate::gap::Gap;
use crate::origin::Origin;
use crate::pruned::{BASE_FILE, Pruned};
use crate::recovery::{Torn, WalkError, Walked, kept_frame, read_origin, read_pruned, walk};
use crate::resume::{RESUME_FILE, from_file};
use crate::segment::{BLOCK_BYTES, SegmentHeader};
use crate::wal::{Address, SPARE_FILE};
use indexed::IndexCheck;
use published::PublishedCheck;

/// The directory of the log in the data directory.
pub const AUDIT_DIRECTORY: &str = "audit";

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whose log it is.
    pub origin: Origin,
    /// How many frames there are.
    pub frames: u64,
    /// How many records there are.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// How often the log was continued after a torn end.
    pub incarnation: u32,
    /// How many signatures of heads were checked.
    pub signatures: u64,
    /// The torn end, if there is one.
    pub torn: Option<Torn>,
    /// How many torn ends are kept from before.
    pub kept: usize,
    /// How many of the records were pruned, from the first on.
    pub pruned: Option<u64>,
    /// How many segments are there as they were written.
    pub padded: usize,
    /// How many are there in their dense form; one that is being repacked is in both.
    pub dense: usize,
    /// Which log it follows, if it says that it follows one that was retired.
    pub follows: Option<Gap>,
}

/// The log does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory cannot be opened.
    #[error("the log's directory `{path}` cannot be opened")]
    Unopened {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The files contradict the log.
    #[error("the log does not hold")]
    Walk(#[from] WalkError),
}

/// How often a log is looked at that is found otherwise each time: 50, more often than a service can come between.
const LOOKS_MAX: u32 = 50;

/// Verifies the log of a data directory, also while the service writes to it. Who reads along may see a frame
/// before the one in front of it, or half of the last one: what does not hold, and a torn end, are reported if
/// they are still there when they are looked at again after a `pause`.
///
/// # Errors
///
/// [`VerifyError`], which names file and offset of the first thing that does not hold.
pub fn verify(data: &Path, mut pause: impl FnMut()) -> Result<Report, VerifyError> {
    let path = data.join(AUDIT_DIRECTORY);
    let unopened = |source| VerifyError::Unopened { path: path.display().to_string(), source };
    let disk = DirectoryDisk::open(&path).map_err(unopened)?;
    let mut seen = None;
    for _ in 1..LOOKS_MAX {
        let found = verify_data(data, &disk);
        let Some(doubt) = doubt(&found) else { return Ok(found?) };
        if seen.replace(doubt) == seen {
            return Ok(found?);
        }
        pause();
    }
    Ok(verify_data(data, &disk)?)
}

/// Verifies the log on a disk, what a data directory has published of it, and its index.
fn verify_data(data: &Path, disk: &dyn Disk) -> Result<Report, WalkError> {
    let origin = read_origin(disk)?;
    let (log_id, pruned) = (origin.log_id, read_pruned(disk, &origin)?);
    let first = pruned.as_ref().map_or(0, Pruned::first_index);
    let (mut published, mut index) =
        (PublishedCheck::begin(data, &origin)?, IndexCheck::begin(data, first)?);
    if let Some(pruned) = pruned {
        published.pruned(&pruned.tree)?;
    }
    let mut report = check(disk, &mut |frame| {
        published.frame(frame);
        index.frame(frame, &log_id);
    })?;
    if let Some(torn) = report.torn.as_ref().filter(|_| published.size() > report.size) {
        // It was whole when it was read back for the checkpoint.
        let what = "the last frame is altered, and a signed checkpoint covers it";
        return Err(WalkError::Corrupt { file: torn.file.clone(), offset: torn.offset, what });
    }
    report.follows = published.follows().cloned();
    published.end()?;
    index.end()?;
    Ok(report)
}

/// What a service that is writing may have to do with.
fn doubt(found: &Result<Report, WalkError>) -> Option<String> {
    match found {
        Ok(report) => report.torn.as_ref().map(|torn| format!("{} {}", torn.file, torn.offset)),
        Err(error) => Some(error.to_string()),
    }
}

/// Verifies the log on a disk.
///
/// # Errors
///
/// [`WalkError`], which names file and offset of the first thing that does not hold.
pub fn verify_disk(disk: &dyn Disk) -> Result<Report, WalkError> {
    check(disk, &mut |_| ())
}

/// Verifies it, and hands every frame that holds so far on.
fn check(disk: &dyn Disk, each: &mut dyn FnMut(&Frame)) -> Result<Report, WalkError> {
    let origin = read_origin(disk)?;
    let key = origin.verifier().map_err(|_| WalkError::Corrupt {
        file: crate::origin::ORIGIN_FILE.into(),
        offset: 0,
        what: "the receipt key is no key",
    })?;
    let pruned = read_pruned(disk, &origin)?;
    let mut checks = Checks {
        key,
        log_id: origin.log_id,
        previous: pruned.as_ref().map(|pruned| pruned.head),
        command: 0,
        signatures: 0,
        begun: Vec::new(),
    };
    let walked = walk(disk, &origin, &mut |frame, address| {
        checks.frame(frame, address)?;
        each(frame);
        Ok(())
    })?;
    check_kept(disk, &walked, &checks.begun)?;
    check_spare(disk, &origin, &walked)?;
    for file in [RESUME_FILE, BASE_FILE] {
        check_resume(disk, file)?;
    }
    let segments = forms::check(disk, &origin, pruned.as_ref())?;
    Ok(Report {
        origin,
        frames: walked.frames,
        size: walked.tail.frontier.size(),
        root: walked.tail.frontier.root(),
        incarnation: walked.last_incarnation,
        signatures: checks.signatures,
        torn: walked.torn,
        kept: walked.kept.len(),
        pruned: pruned.map(|pruned| pruned.tree.size),
        padded: segments.padded.len(),
        dense: segments.dense.len(),
        follows: None,
    })
}

struct Checks {
    key: PublicKey,
    log_id: [u8; 32],
    previous: Option<Head>,
    command: u64,
    signatures: u64,
    /// The first frame of each incarnation but the first.
    begun: Vec<u64>,
}

impl Checks {
    fn frame(&mut self, frame: &Frame, _: Address) -> Result<(), &'static str> {
        self.incarnation(frame)?;
        match self.previous.replace(frame.head(self.log_id)) {
            None if frame.previous_signature == [0; 64] => {}
            None => return Err("the first frame stores a signature of nothing"),
            Some(head) => {
                let signed = self.key.verify(&head.to_signed_bytes(), &frame.previous_signature);
                signed.map_err(|_| "the signature of the frame before does not hold")?;
                self.signatures += 1;
            }
        }
        for item in frame.items.iter().filter(|item| item.command != 0) {
            if item.command <= self.command {
                return Err("a command stands out of order, or twice");
            }
            self.command = item.command;
        }
        Ok(())
    }

    fn incarnation(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let before = self.previous.map_or(0, |head| head.incarnation);
        match frame.incarnation.checked_sub(before) {
            Some(0) => {}
            Some(1) => self.begun.push(frame.number),
            _ => return Err("an incarnation was left out"),
        }
        Ok(())
    }
}

fn check_kept(disk: &dyn Disk, walked: &Walked, begun: &[u64]) -> Result<(), WalkError> {
    let next = walked.tail.next_frame;
    let mut wanted = begun.to_vec();
    if walked.tail.incarnation > walked.last_incarnation {
        wanted.push(next);
    }
    for name in &walked.kept {
        let bytes = disk
            .read_whole(name)
            .map_err(|source| WalkError::Unreadable { file: name.clone(), source })?;
        let Some(frame) = kept_frame(name, &bytes) else {
            let what = "the kept torn end is not what its name says";
            return Err(WalkError::Corrupt { file: name.clone(), offset: 0, what });
        };
        // It belongs to what was pruned.
        if walked.pruned.as_ref().is_some_and(|pruned| frame <= pruned.head.number) {
            continue;
        }
        // A crash may come between keeping a torn end and beginning the incarnation behind it.
        if frame != next && !begun.contains(&frame) {
            return Err(WalkError::Unexpected { file: name.clone() });
        }
        wanted.retain(|wanted| *wanted != frame);
    }
    match wanted.first() {
        None => Ok(()),
        Some(frame) => Err(WalkError::Missing { file: format!("torn-{frame:016x}-….bin") }),
    }
}

/// What the resume file says is sealed; that it is whole is seen without a key.
fn check_resume(disk: &dyn Disk, file: &str) -> Result<(), WalkError> {
    let bytes = match disk.read_whole(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(WalkError::Unreadable { file: file.into(), source }),
    };
    let what = "the resume file is altered; the next start reads the whole log instead";
    let corrupt = WalkError::Corrupt { file: file.into(), offset: 0, what };
    from_file(&bytes).map(|_| ()).ok_or(corrupt)
}

/// Whether a spare is the next segment, and lacks but its name: a crash there loses nothing.
fn is_about_to_begin(spare: &[u8], origin: &Origin, walked: &Walked) -> bool {
    let (tail, rest) = (&walked.tail, spare.get(BLOCK_BYTES..).unwrap_or_default());
    SegmentHeader::parse(spare).is_ok_and(|header| {
        header.log_id == origin.log_id
            && usize::try_from(header.bytes) == Ok(spare.len())
            && header.incarnation >= tail.incarnation
            && header.number == tail.next_segment
            && header.first_frame == tail.next_frame
            && header.previous_hash == tail.previous_hash
            && header.frontier == tail.frontier
    }) && rest.iter().all(|byte| *byte == 0)
}

fn check_spare(disk: &dyn Disk, origin: &Origin, walked: &Walked) -> Result<(), WalkError> {
    let bytes = match disk.read_whole(SPARE_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(WalkError::Unreadable { file: SPARE_FILE.into(), source }),
    };
    match bytes.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(_) if is_about_to_begin(&bytes, origin, walked) => Ok(()),
        Some(offset) => {
            let offset = u64::try_from(offset).unwrap_or(u64::MAX);
            let what = "preallocated space is neither zero nor the beginning of the next segment";
            Err(WalkError::Corrupt { file: SPARE_FILE.into(), offset, what })
        }
    }
}
