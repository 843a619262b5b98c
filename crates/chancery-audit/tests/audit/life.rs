//! One life of a log's writer, as the signer leads it: read, settle, begin a segment, write frames.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use chancery_audit::disk::Disk;
use chancery_audit::frame::{Frame, Head, Item};
use chancery_audit::origin::{ORIGIN_FILE, Origin};
use chancery_audit::partner::Partner;
use chancery_audit::record::Kind;
use chancery_audit::recovery::{
    Settled, Torn, WalkError, Walked, read_origin, settle, walk, walk_from,
};
use chancery_audit::repack::{RepackError, Repacked, repack};
use chancery_audit::resume::{RESUME_FILE, Resume, from_file, to_file};
use chancery_audit::segments::Segments;
use chancery_audit::wal::{Chain, SegmentStart, Tail, Wal, WalError, prepare_spare};
use chancery_core::id::TenantId;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_log::Hash;

use super::model::{Event, Model};

/// The key that signs the heads of every log here.
pub(super) fn receipt_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::from_secret(Suite::Ed25519, &[7; 32]).unwrap())
}

pub(super) fn origin() -> &'static Origin {
    static ORIGIN: OnceLock<Origin> = OnceLock::new();
    ORIGIN.get_or_init(|| Origin::of_signer(receipt_key()).unwrap())
}

pub(super) fn sign(head: &Head) -> [u8; 64] {
    receipt_key().sign(&head.to_signed_bytes()).unwrap().try_into().unwrap()
}

/// How long the payload of each record in a frame is.
pub(super) type Shape = &'static [usize];

/// A frame that takes one block.
pub(super) const SMALL: Shape = &[100];

/// How a writer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It cuts its segment and writes a resume file.
    Orderly,
    /// It does nothing more.
    Killed,
}

/// What puts the dense form of a segment in its place.
pub(super) type Repack = fn(&dyn Disk, u64) -> Result<Repacked, RepackError>;

/// How a writer lives.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) segment_bytes: u64,
    pub(super) end: End,
    pub(super) settle: fn(&dyn Disk, Walked) -> io::Result<Settled>,
    /// Puts the dense form of a closed segment in its place, if it does that.
    pub(super) repack: Option<Repack>,
}

/// What a writer found at its start.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The hashes of the frames.
    pub(super) frames: Vec<[u8; 32]>,
    pub(super) torn: Option<Torn>,
    /// The incarnation of the last frame, and the one that it went on with.
    pub(super) incarnations: (u32, u32),
    pub(super) kept: Option<[u8; 32]>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LifeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Walk(#[from] WalkError),
    #[error("{0}")]
    Wal(#[from] WalError),
    #[error("{0}")]
    Repack(#[from] RepackError),
    #[error("from the resume file the log is another than from its beginning")]
    Resume,
}

/// The hashes of a log's frames, in order, and what else was found.
pub(super) fn read(disk: &dyn Disk) -> Result<(Vec<[u8; 32]>, Walked), WalkError> {
    let mut frames = Vec::new();
    let walked = walk(disk, origin(), &mut |frame: &Frame, _| {
        frames.push(frame.previous_hash);
        Ok(())
    })?;
    // Each frame has the hash of the one before, the first has zeros, and the tail has the last one's.
    frames.push(walked.tail.previous_hash);
    frames.remove(0);
    Ok((frames, walked))
}

/// Records that say nothing, but have every part that a record has.
pub(super) fn records(shape: Shape, counter: u64) -> Vec<(Item, Hash)> {
    let item = |(position, payload): (u64, &usize)| {
        let number = counter + position;
        let byte = |salt: u64| u8::try_from((number * 37 + salt) % 251 + 1).unwrap();
        let item = Item {
            kind: Kind::Use,
            month: 682,
            tenant: TenantId::from_bytes([1; 16]),
            lane: 1,
            counter: number,
            masked_use_index: number,
            command: 0,
            root: Hash::from([byte(1); 32]),
            pseudonymous: vec![byte(2); 300],
            identity: vec![byte(3); 50],
            payload: vec![byte(4); *payload],
            answer: None,
        };
        let leaf = item.leaf_hash();
        (item, leaf)
    };
    (0..).zip(shape).map(item).collect()
}

impl Life {
    pub(super) const fn of(segment_bytes: u64) -> Self {
        Self { segment_bytes, end: End::Orderly, settle, repack: None }
    }

    pub(super) const fn repacking(self) -> Self {
        Self { repack: Some(repack), ..self }
    }

    pub(super) const fn killed(self) -> Self {
        Self { end: End::Killed, ..self }
    }

    /// Starts on `disk`, writes `frames` and stops. `notes` learns what is composed and what acknowledged.
    pub(super) fn lead(
        &self,
        disk: &Arc<dyn Disk>,
        notes: &Model,
        frames: &[Shape],
    ) -> Result<Found, LifeError> {
        let log_id = origin().log_id;
        begin_log(&**disk)?;
        let (found, walked) = read(&**disk)?;
        let walked = resumed(&**disk, walked)?;
        let (torn, last) = (walked.torn.clone(), walked.last_incarnation);
        let settled = (self.settle)(&**disk, walked)?;
        let tail = &settled.tail;
        let mut wal = Wal::begin(Arc::clone(disk), log_id, self.segment_bytes, tail)?;
        let signature = tail.last_head.as_ref().map_or([0; 64], sign);
        let mut chain = Chain::resume(tail, log_id, [9; 16], signature);
        let mut head = tail.last_head;
        for shape in frames {
            let before = chain.frontier().clone();
            let records = records(shape, before.size());
            let begun = chain.begin((records, 1_800_000_000_000), &Partner::none());
            let hash = begun.hash();
            notes.note(Event::Composed(hash));
            if !wal.fits(begun.padded_bytes()) {
                wal.roll(&chain.segment_start(begun.frame(), before))?;
            }
            wal.write_while(&begun, (&Partner::none(), Instant::now), || ())?;
            notes.note(Event::Acknowledged);
            let composed = chain.complete(begun, hash);
            chain.signed(sign(&composed.head));
            head = Some(composed.head);
            prepare_spare(&**disk, self.segment_bytes)?;
            self.repack_closed(&**disk, wal.next_segment() - 1)?;
            if wal.room() < 4096 {
                let tail = chain.tail(wal.next_segment(), head);
                wal.roll(&SegmentStart::at(&tail))?;
                write_resume(&**disk, tail)?;
            }
        }
        wal.check_linked()?;
        self.repack_closed(&**disk, wal.next_segment() - 1)?;
        if self.end == End::Orderly {
            wal.finish()?;
            write_resume(&**disk, chain.tail(wal.next_segment(), head))?;
        }
        let incarnations = (last, tail.incarnation);
        Ok(Found { frames: found, torn, incarnations, kept: settled.kept })
    }
}

impl Life {
    /// Repacks every segment before the open one that is there as it was written.
    fn repack_closed(&self, disk: &dyn Disk, open: u64) -> Result<(), LifeError> {
        let Some(repack) = self.repack else { return Ok(()) };
        for number in Segments::list(disk)?.padded.range(..open) {
            repack(disk, *number)?;
        }
        Ok(())
    }
}

/// The log as it is read from where the resume file says, which is all that it is from its beginning.
fn resumed(disk: &dyn Disk, whole: Walked) -> Result<Walked, LifeError> {
    let bytes = match disk.read_whole(RESUME_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(whole),
        read => read?,
    };
    let resume = from_file(&bytes).and_then(Resume::parse).ok_or(LifeError::Resume)?;
    let walked = walk_from(disk, origin(), resume.tail, &mut |_, _| Ok(()))?;
    let said = |walked: &Walked| {
        (walked.tail.clone(), walked.torn.clone(), walked.last_incarnation, walked.frames)
    };
    if said(&walked) == said(&whole) { Ok(walked) } else { Err(LifeError::Resume) }
}

/// Nobody seals it here: that is the signer's part.
fn write_resume(disk: &dyn Disk, tail: Tail) -> io::Result<()> {
    let resume = Resume {
        tail,
        mark_ms: None,
        served_ms: 0,
        last_command: 0,
        uses: Vec::new(),
        heads: Vec::new(),
        entries: Vec::new(),
        links: Vec::new(),
        spent: Vec::new(),
    };
    disk.write_whole(RESUME_FILE, &to_file(&resume.to_bytes()))
}

/// Writes the origin, if this is a new log.
fn begin_log(disk: &dyn Disk) -> Result<(), LifeError> {
    match read_origin(disk) {
        Err(WalkError::Missing { .. }) if Segments::list(disk)? == Segments::default() => {
            Ok(disk.write_whole(ORIGIN_FILE, origin().to_text().as_bytes())?)
        }
        read => Ok(read.map(|_| ())?),
    }
}
