//! How far a log reaches, and how that is known.
//!
//! The end is walked as at a start: from where the sealed resume file says, or from the beginning where there is none
//! that fits. What the files remember besides (resume file, checkpoint, lock record) must not be more than there is.

use chancery_audit::disk::Disk;
use chancery_audit::frame::{Frame, Head};
use chancery_audit::origin::Origin;
use chancery_audit::recovery::{Torn, WalkError, Walked, walk, walk_from};
use chancery_audit::salvage;
use chancery_audit::wal::Tail;
use chancery_crypto::key::PublicKey;
use chancery_log::{Hash, TreeHead};

use crate::config::SignerError;

/// How often the end of the log is looked at that is found otherwise each time: 10.
const LOOKS_MAX: u32 = 10;

/// How far a log reaches.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The log's name.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The record from which on every frame was held against the one before it, with its signature. Where the log was
    /// not walked from its beginning, this is where the service had put down under its seal that it stood.
    pub walked_from: u64,
    /// The time of the last frame that was walked, in milliseconds since 1970.
    pub last_ms: Option<u64>,
    /// A frame at the end that is not whole: a crash, or a service that is writing it.
    pub torn: Option<Torn>,
    /// The published checkpoint, if there is one that this log signed.
    pub checkpoint: Option<TreeHead>,
    /// How many records the lock record beside the root key remembers, if there is one.
    pub lock_record: Option<u64>,
    /// What does not hold.
    pub findings: Vec<String>,
}

/// What is remembered of the log.
pub(super) struct Remembered {
    pub(super) resume: Option<Tail>,
    pub(super) checkpoint: Option<TreeHead>,
    pub(super) lock_record: Option<u64>,
}

/// What frames are held against.
struct Checks {
    key: PublicKey,
    log_id: [u8; 32],
    head: Option<Head>,
    checkpoint: Option<TreeHead>,
    last_ms: Option<u64>,
    /// The root that the log has where the checkpoint is.
    root: Option<Hash>,
}

/// What was walked.
struct Looked {
    walked: Walked,
    from: u64,
    checks: Checks,
}

/// Finds where the log ends. A service that writes to it may show a frame before the one in front of it: what does not
/// hold is reported if it is still there after a `pause`.
pub(super) fn reach(
    disk: &dyn Disk,
    origin: &Origin,
    remembered: &Remembered,
    mut pause: impl FnMut(),
) -> Result<Reach, SignerError> {
    let mut seen = None;
    for _ in 1..LOOKS_MAX {
        match look(disk, origin, remembered) {
            Ok(looked) => return Ok(of(origin, remembered, looked)),
            Err(error) if seen.as_ref() == Some(&error.to_string()) => break,
            Err(error) => seen = Some(error.to_string()),
        }
        pause();
    }
    let size = salvage::size(disk).map_err(SignerError::system("the log cannot be listed"))?;
    let mut reach = Reach {
        origin: origin.name(),
        size,
        walked_from: size,
        last_ms: None,
        torn: None,
        checkpoint: remembered.checkpoint,
        lock_record: remembered.lock_record,
        findings: Vec::new(),
    };
    reach.findings.extend(seen);
    reach.hold_against(remembered);
    Ok(reach)
}

fn of(origin: &Origin, remembered: &Remembered, looked: Looked) -> Reach {
    let Looked { walked, from, checks } = looked;
    let mut reach = Reach {
        origin: origin.name(),
        size: walked.tail.frontier.size(),
        walked_from: from,
        last_ms: checks.last_ms,
        torn: walked.torn,
        checkpoint: remembered.checkpoint,
        lock_record: remembered.lock_record,
        findings: Vec::new(),
    };
    if let (Some(root), Some(tree)) = (checks.root, remembered.checkpoint)
        && root != tree.root
    {
        reach.findings.push(format!(
            "the log has other records than its checkpoint over {} of them: it was altered, or taken back and went on",
            tree.size
        ));
    }
    reach.hold_against(remembered);
    reach
}

impl Reach {
    /// Nothing may be remembered that is not there.
    fn hold_against(&mut self, remembered: &Remembered) {
        let all = [
            ("the resume file", remembered.resume.as_ref().map(|tail| tail.frontier.size())),
            ("the published checkpoint", remembered.checkpoint.map(|tree| tree.size)),
            ("the lock record", remembered.lock_record),
        ];
        for (name, size) in all {
            if let Some(size) = size.filter(|size| *size > self.size) {
                self.findings.push(format!(
                    "the log has {} records, and {name} remembers {size}: the others are missing",
                    self.size
                ));
            }
        }
    }
}

/// Walks the log from where it is known to have stood; from its beginning, if it does not go on there.
fn look(disk: &dyn Disk, origin: &Origin, remembered: &Remembered) -> Result<Looked, WalkError> {
    let looked = remembered.resume.as_ref().map(|tail| look_from(disk, origin, remembered, tail));
    match looked {
        Some(Ok(looked)) => Ok(looked),
        _ => look_whole(disk, origin, remembered),
    }
}

fn look_from(
    disk: &dyn Disk,
    origin: &Origin,
    remembered: &Remembered,
    tail: &Tail,
) -> Result<Looked, WalkError> {
    let mut checks = Checks::new(origin, remembered, tail.last_head)?;
    checks.root_at(tail.frontier.size(), tail.frontier.root());
    let visit = &mut |frame: &Frame, _| checks.frame(frame);
    let walked = walk_from(disk, origin, tail.clone(), visit)?;
    Ok(Looked { walked, from: tail.frontier.size(), checks })
}

fn look_whole(
    disk: &dyn Disk,
    origin: &Origin,
    remembered: &Remembered,
) -> Result<Looked, WalkError> {
    let mut checks = Checks::new(origin, remembered, None)?;
    let walked = walk(disk, origin, &mut |frame: &Frame, _| checks.frame(frame))?;
    Ok(Looked { walked, from: 0, checks })
}

impl Checks {
    fn new(
        origin: &Origin,
        remembered: &Remembered,
        head: Option<Head>,
    ) -> Result<Self, WalkError> {
        let key = origin.verifier().map_err(|_| WalkError::Corrupt {
            file: chancery_audit::origin::ORIGIN_FILE.into(),
            offset: 0,
            what: "the receipt key is no key",
        })?;
        let (log_id, checkpoint) = (origin.log_id, remembered.checkpoint);
        Ok(Self { key, log_id, head, checkpoint, last_ms: None, root: None })
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), &'static str> {
        if let Some(head) = self.head.replace(frame.head(self.log_id)) {
            let held = self.key.verify(&head.to_signed_bytes(), &frame.previous_signature);
            held.map_err(|_| "the signature of the frame before does not hold")?;
        }
        self.last_ms = Some(frame.unix_ms);
        self.root_at(frame.end_index(), frame.tree_root);
        Ok(())
    }

    fn root_at(&mut self, size: u64, root: Hash) {
        if self.checkpoint.is_some_and(|tree| tree.size == size) {
            self.root = Some(root);
        }
    }
}
