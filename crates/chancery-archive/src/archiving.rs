//! Puts what a log has closed into an archive, from the log's files.
//!
//! It can be ended anywhere and begun again: what is there is not put twice. A segment is walked before it goes, so that
//! what is archived is the log and not damage to it.

use std::io;
use std::path::Path;

use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::frames::ReadBackError;
use chancery_audit::origin::{ORIGIN_FILE, Origin};
use chancery_audit::proof::{ProofError, Trust, TrustError};
use chancery_audit::pruned::Pruned;
use chancery_audit::publish::{CHECKPOINT_FILE, LOG_DIRECTORY, POLICY_FILE, read_hashes};
use chancery_audit::recovery::{WalkError, check_dense, is_kept, read_origin, read_pruned};
use chancery_audit::repack::{RepackError, dense_bytes};
use chancery_audit::segments::{Segments, header};
use chancery_audit::shelf::Shelf;
use chancery_audit::verify::AUDIT_DIRECTORY;
use chancery_audit::wal::Tail;
use chancery_log::note::Note;
use chancery_log::tile::{TileError, TileTree};
use chancery_log::{TreeHead, verify_consistency};

use crate::manifest::{Described, Entry, ManifestError, NO_ENTRY, Seal, Sealed};
use crate::path_of;
use crate::store::{Put, Store, StoreError};

/// The log cannot be archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive does not do what it is asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the archive says does not hold.
    #[error("`{path}` of the archive does not hold")]
    Manifest {
        /// The object.
        path: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// An object is missing that another says is there.
    #[error("`{path}` is missing in the archive")]
    Missing {
        /// The object.
        path: String,
    },
    /// The archive has another segment than the log.
    #[error("segment {segment} of the archive is not that of the log")]
    OtherSegment {
        /// Its number.
        segment: u64,
    },
    /// The first segments are not here any more, and this archive does not have them.
    #[error("{0}; this archive does not have them, and an archive begins with the first segment")]
    Pruned(String),
    /// The log does not hold.
    #[error("the log does not hold")]
    Walk(#[from] WalkError),
    /// A segment cannot be read.
    #[error(transparent)]
    Segment(#[from] RepackError),
    /// A segment cannot be read.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// A file cannot be read or written.
    #[error("`{file}` cannot be read or written")]
    File {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The published checkpoint is not signed by the log's keys.
    #[error("the log's published checkpoint does not hold")]
    Checkpoint(#[from] ProofError),
    /// The published policy is none.
    #[error("the log's published policy does not hold")]
    Policy(#[from] TrustError),
    /// Published tiles are missing or altered.
    #[error("the log's published tiles do not hold; a start of the service makes them anew")]
    Tiles(#[from] TileError),
}

/// What was archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Segments that were put there now.
    pub new: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// All that are there.
    pub segments: u64,
    /// The records that they have.
    pub size: u64,
}

/// A log's files, and the checkpoint over them.
struct Log {
    disk: DirectoryDisk,
    origin: Origin,
    shelf: Shelf,
    note: Note,
    checkpoint: TreeHead,
    policy: String,
    pruned: Option<Pruned>,
}

/// The part of an origin by which a log is told apart in an archive.
#[must_use]
pub fn id_of(origin: &str) -> &str {
    origin.rsplit('/').next().unwrap_or(origin)
}

/// Archives every closed segment of a data directory's log that is under its published checkpoint. `each` is told of
/// every segment that is put there.
///
/// # Errors
///
/// [`ArchiveError`]; what was put there stays, and the next run goes on behind it.
pub fn archive(
    data: &Path,
    store: &Store,
    mut each: impl FnMut(&Entry),
) -> Result<Archived, ArchiveError> {
    let log = Log::open(data)?;
    let name = log.origin.name();
    let id = id_of(&name);
    put(store, id, ORIGIN_FILE, log.origin.to_text().as_bytes())?;
    put(store, id, POLICY_FILE, log.policy.as_bytes())?;
    let (mut archived, mut head, mut end) = (Archived::default(), NO_ENTRY, None);
    let segments = Segments::list(&log.disk).map_err(file("audit"))?;
    let closed = segments.numbers().next_back().unwrap_or_default();
    for number in 0..closed {
        let entry = if let Some(entry) = entry_of(store, id, number, &head)? {
            log.holds(entry, &segments)?
        } else {
            if let Some(pruned) = log.pruned.as_ref().filter(|pruned| number < pruned.segments) {
                return Err(ArchiveError::Pruned(pruned.told()));
            }
            if header(&log.disk, number + 1)?.frontier.size() > log.checkpoint.size {
                break;
            }
            let (entry, dense) = log.entry(number, &head)?;
            put(store, id, &segment_path(number), &dense)?;
            put(store, id, &entry_path(number), entry.to_text().as_bytes())?;
            archived.new += 1;
            archived.new_bytes += entry.bytes;
            each(&entry);
            entry
        };
        head = entry.hash();
        archived.segments = number + 1;
        archived.size = entry.end_index;
        end = Some(entry);
    }
    if let Some(last) = end {
        log.seal(store, id, &last)?;
    }
    Ok(archived)
}

impl Log {
    fn open(data: &Path) -> Result<Self, ArchiveError> {
        let audit = data.join(AUDIT_DIRECTORY);
        let disk = DirectoryDisk::open(&audit).map_err(file(&audit.display().to_string()))?;
        let origin = read_origin(&disk)?;
        let shelf = Shelf::at(&data.join(LOG_DIRECTORY));
        let read = |name: &str| shelf.read(name).map_err(file(&format!("{LOG_DIRECTORY}/{name}")));
        let policy = String::from_utf8(read(POLICY_FILE)?)
            .map_err(|error| file(POLICY_FILE)(io::Error::other(error)))?;
        let note = Note::parse(&read(CHECKPOINT_FILE)?).map_err(ProofError::from)?;
        let vouched = Trust::parse(&policy)?.vouched(note.clone())?;
        if vouched.checkpoint.origin.to_string() != origin.name() {
            return Err(ProofError::NotACheckpoint.into());
        }
        let checkpoint = vouched.checkpoint.tree;
        let pruned = read_pruned(&disk, &origin)?;
        Ok(Self { disk, origin, shelf, note, checkpoint, policy, pruned })
    }

    /// The entry of a closed segment, and its dense form.
    fn entry(&self, number: u64, previous: &[u8; 32]) -> Result<(Entry, Vec<u8>), ArchiveError> {
        let dense = dense_bytes(&self.disk, number)?;
        let mut latest_ms = 0;
        let (start, end) = check_dense(self.origin.log_id, number, dense.clone(), |frame| {
            latest_ms = latest_ms.max(frame.unix_ms);
        })?;
        let next = header(&self.disk, number + 1)?;
        let goes_on = next.first_frame == end.next_frame
            && next.previous_hash == end.previous_hash
            && next.frontier == end.frontier;
        if !goes_on {
            return Err(ArchiveError::OtherSegment { segment: number });
        }
        let described = Described {
            segment: number,
            first_frame: start.next_frame,
            first_index: start.frontier.size(),
            end: tree_of(&end),
            latest_ms,
        };
        Ok((Entry::new(&self.origin.name(), described, &dense, previous), dense))
    }

    /// An entry that is there, if it is of the segment that the log has.
    fn holds(&self, entry: Entry, segments: &Segments) -> Result<Entry, ArchiveError> {
        let number = entry.segment;
        // What was pruned here is there alone.
        if !segments.numbers().any(|there| there == number + 1) {
            return Ok(entry);
        }
        let next = header(&self.disk, number + 1)?;
        let end = TreeHead { size: next.frontier.size(), root: next.frontier.root() };
        let is_ours = entry.origin == self.origin.name() && entry.ends_with(&end);
        is_ours.then_some(entry).ok_or(ArchiveError::OtherSegment { segment: number })
    }

    /// Puts the seal over all segments up to the one of this entry.
    fn seal(&self, store: &Store, id: &str, last: &Entry) -> Result<(), ArchiveError> {
        let size = last.end_index;
        let mut tiles = TileTree::new(self.checkpoint.size, |tile| read_hashes(&self.shelf, tile));
        let (root, consistency) = if size == self.checkpoint.size {
            (self.checkpoint.root, Vec::new())
        } else {
            (tiles.root_at(size)?, tiles.consistency_proof(size)?)
        };
        let tree = TreeHead { size, root };
        let is_covered = last.ends_with(&tree)
            && verify_consistency(&tree, &self.checkpoint, &consistency).is_ok();
        if !is_covered {
            return Err(ArchiveError::OtherSegment { segment: last.segment });
        }
        let kept = self.kept(store, id)?;
        let (segments, head) = (last.segment + 1, last.hash());
        let sealed = Sealed { tree, segments, head, checkpoint: self.checkpoint, kept };
        let seal = Seal::new(&self.origin.name(), &sealed, &consistency, &self.note);
        let path = format!("seals/{segments:016x}-{:016x}.json", self.checkpoint.size);
        // The same tree may be signed again, at another time: the first seal over it is as good.
        if store.get(&path_of(id, &path))?.is_none() {
            put(store, id, &path, seal.to_text().as_bytes())?;
        }
        Ok(())
    }

    /// Puts the torn ends that are kept.
    fn kept(&self, store: &Store, id: &str) -> Result<Vec<String>, ArchiveError> {
        let names = self.disk.list().map_err(file("audit"))?;
        let kept: Vec<String> = names.into_iter().filter(|name| is_kept(name)).collect();
        for name in &kept {
            let bytes = self.disk.read_whole(name).map_err(file(name))?;
            put(store, id, &format!("kept/{name}"), &bytes)?;
        }
        Ok(kept)
    }
}

/// The entry of a segment, if it is there; it must follow the one before it.
pub(crate) fn entry_of(
    store: &Store,
    id: &str,
    number: u64,
    previous: &[u8; 32],
) -> Result<Option<Entry>, ArchiveError> {
    let path = path_of(id, &entry_path(number));
    let Some(bytes) = store.get(&path)? else { return Ok(None) };
    let wrong = |source| ArchiveError::Manifest { path: path.clone(), source };
    let entry = Entry::parse(&bytes).map_err(wrong)?;
    let is_next = entry.segment == number && entry.follows(previous);
    is_next.then_some(Some(entry)).ok_or_else(|| wrong(ManifestError::Form))
}

/// The tree at a place of the log.
pub(crate) fn tree_of(tail: &Tail) -> TreeHead {
    TreeHead { size: tail.frontier.size(), root: tail.frontier.root() }
}

pub(crate) fn segment_path(number: u64) -> String {
    format!("segments/{}", chancery_audit::dense::file_name(number))
}

pub(crate) fn entry_path(number: u64) -> String {
    format!("entries/{number:016x}.json")
}

fn put(store: &Store, id: &str, object: &str, bytes: &[u8]) -> Result<Put, ArchiveError> {
    Ok(store.put_once(&path_of(id, object), bytes)?)
}

pub(crate) fn file(name: &str) -> impl FnOnce(io::Error) -> ArchiveError {
    let file = name.to_owned();
    |source| ArchiveError::File { file, source }
}
