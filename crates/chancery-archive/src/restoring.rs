//! Brings a log back from an archive, and believes nothing that the archive says by itself.
//!
//! What is believed is the policy that the operator has: it names the keys that signed the log's checkpoints. From
//! there each step is checked against the one before: the checkpoint in the seal, the tree that it covers, the last
//! entry, the chain of entries, each segment's bytes, and each frame in them. A store that rolled the archive back to an
//! earlier seal shows a shorter log; whoever remembers a later checkpoint, as the lock record does at a start of the
//! service, finds that.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use chancery_audit::dense::file_name;
use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::frame::Frame;
use chancery_audit::origin::{ORIGIN_FILE, Origin};
use chancery_audit::proof::Trust;
use chancery_audit::recovery::{check_dense, is_kept, walk};
use chancery_audit::segments::{Segments, header};
use chancery_audit::verify::AUDIT_DIRECTORY;
use chancery_audit::wal::Tail;
use chancery_crypto::primitive::sha256;
use chancery_log::TreeHead;

use crate::archiving::{ArchiveError, entry_of, file, id_of, segment_path, tree_of};
use crate::manifest::{Entry, ManifestError, NO_ENTRY, Seal, Sealed};
use crate::path_of;
use crate::store::Store;

/// Of the data directory and the log's in it: nobody else reads them.
const PRIVATE: u32 = 0o700;

/// The archive does not give the log back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// What the archive has does not hold.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is no log in it, or more than one.
    #[error("the archive has {found} logs; name one of them: {names}")]
    Which {
        /// How many.
        found: usize,
        /// Their names.
        names: String,
    },
    /// No seal in it holds.
    #[error("the archive has no seal over the log `{0}`: nothing in it is covered by a checkpoint")]
    Unsealed(String),
    /// The entries are not those that were sealed.
    #[error("the archive's entries are not those that its seal covers")]
    OtherEntries,
    /// The segment is not the one that was archived.
    #[error("segment {segment} in the archive is altered, or is another one")]
    Altered {
        /// Its number.
        segment: u64,
    },
    /// The directory has another log.
    #[error("the directory has the log `{0}`, and not the one that is to be restored")]
    OtherLog(String),
}

/// What was brought back, or was found to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The log.
    pub origin: String,
    /// Segments that were written now.
    pub new: u64,
    /// Segments that the archive has.
    pub segments: u64,
    /// The tree over their records.
    pub tree: TreeHead,
    /// The hash of the last entry.
    pub head: [u8; 32],
    /// How many records the checkpoint covers under which the archive was sealed last.
    pub checkpoint: u64,
    /// The last entry.
    pub last: Option<Entry>,
}

/// An archive of one log, as far as its seal vouches for it.
pub struct Opened<'s> {
    store: &'s Store,
    id: String,
    origin: Origin,
    sealed: Sealed,
    entries: Vec<Entry>,
}

impl<'s> Opened<'s> {
    /// Opens the archive of the log that `origin` names, or of the only one there; and checks seal and entries.
    ///
    /// # Errors
    ///
    /// [`RestoreError`], which says what does not hold.
    pub fn open(
        store: &'s Store,
        origin: Option<&str>,
        trust: &Trust,
    ) -> Result<Self, RestoreError> {
        let id = match origin {
            Some(origin) => id_of(origin).to_owned(),
            None => the_only_one(store)?,
        };
        let path = path_of(&id, ORIGIN_FILE);
        let missing = |path: &str| ArchiveError::Missing { path: path.to_owned() };
        let bytes = store.get(&path).map_err(ArchiveError::from)?.ok_or_else(|| missing(&path))?;
        let wrong = |source| ArchiveError::Manifest { path: path.clone(), source };
        let origin = Origin::parse(&bytes).map_err(|_| wrong(ManifestError::Form))?;
        if id_of(&origin.name()) != id {
            return Err(wrong(ManifestError::OtherLog(origin.name())).into());
        }
        let sealed = last_seal(store, &id, &origin.name(), trust)?;
        let entries = chain(store, &id, &sealed)?;
        Ok(Self { store, id, origin, sealed, entries })
    }

    /// The entries of its segments, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What its seal proves.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// Whose log it is.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A segment's dense form, if it is the one that its entry says, and the log's behind `before`; and the log behind
    /// it.
    fn segment(
        &self,
        entry: &Entry,
        before: Option<&Tail>,
    ) -> Result<(Vec<u8>, Tail), RestoreError> {
        let number = entry.segment;
        let path = path_of(&self.id, &segment_path(number));
        let found = self.store.get(&path).map_err(ArchiveError::from)?;
        let dense = found.ok_or(ArchiveError::Missing { path })?;
        let altered = RestoreError::Altered { segment: number };
        if !entry.is_of(&dense) {
            return Err(altered);
        }
        let walked = check_dense(self.origin.log_id, number, dense.clone(), |_| ());
        let (start, end) = walked.map_err(ArchiveError::from)?;
        let goes_on = before.is_none_or(|before| {
            before.next_frame == start.next_frame
                && before.previous_hash == start.previous_hash
                && before.frontier == start.frontier
        });
        if goes_on && entry.ends_with(&tree_of(&end)) { Ok((dense, end)) } else { Err(altered) }
    }

    /// Reads every segment up to `segments` back and checks it.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] names the first that does not hold.
    pub fn verify(&self, segments: u64, mut each: impl FnMut(&Entry)) -> Result<(), RestoreError> {
        let mut before = None;
        for entry in self.entries.iter().filter(|entry| entry.segment < segments) {
            let (_, end) = self.segment(entry, before.as_ref())?;
            before = Some(end);
            each(entry);
        }
        Ok(())
    }

    /// Writes what a data directory lacks of the log; what is there stays as it is. No service may run on it.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; what was written is whole, and another run goes on behind it.
    pub fn restore(
        &self,
        data: &Path,
        mut each: impl FnMut(&Entry),
    ) -> Result<Restored, RestoreError> {
        let disk = directory(data, &self.origin)?;
        let there = Segments::list(&disk).map_err(file(AUDIT_DIRECTORY))?;
        let (mut before, mut new) = (None, 0);
        for entry in &self.entries {
            let number = entry.segment;
            if there.padded.contains(&number) || there.dense.contains(&number) {
                // The whole log is walked by whoever uses it; here it must go on where it should.
                before = None;
                check_start(&disk, entry)?;
                continue;
            }
            let (dense, end) = self.segment(entry, before.as_ref())?;
            write(&disk, &file_name(number), &dense)?;
            before = Some(end);
            new += 1;
            each(entry);
        }
        self.restore_kept(&disk)?;
        self.holds(&disk)?;
        Ok(Restored {
            origin: self.origin.name(),
            new,
            segments: self.sealed.segments,
            tree: self.sealed.tree,
            head: self.sealed.head,
            checkpoint: self.sealed.checkpoint.size,
            last: self.entries.last().cloned(),
        })
    }

    /// Walks the log that is there now: it must have the tree that the seal covers.
    fn holds(&self, disk: &DirectoryDisk) -> Result<(), RestoreError> {
        let wanted = self.sealed.tree;
        let mut found = wanted.size == 0;
        let visit = &mut |frame: &Frame, _| {
            found |= frame.end_index() == wanted.size && frame.tree_root == wanted.root;
            Ok(())
        };
        let walked = walk(disk, &self.origin, visit).map_err(ArchiveError::from)?;
        // What was pruned there is not walked; each of its segments was, as it came.
        let pruned = walked.pruned.map_or(0, |pruned| pruned.first_index());
        if found || wanted.size <= pruned { Ok(()) } else { Err(RestoreError::OtherEntries) }
    }

    fn restore_kept(&self, disk: &DirectoryDisk) -> Result<(), RestoreError> {
        let there = disk.list().map_err(file(AUDIT_DIRECTORY))?;
        for name in self.sealed.kept.iter().filter(|name| !there.contains(name)) {
            let path = path_of(&self.id, &format!("kept/{name}"));
            let missing = || ArchiveError::Missing { path: path.clone() };
            let bytes = self.store.get(&path).map_err(ArchiveError::from)?.ok_or_else(missing)?;
            let hash = chancery_audit::origin::hex(&sha256(&[&bytes]));
            if !is_kept(name) || !name.contains(&hash) {
                let source = ManifestError::Form;
                return Err(ArchiveError::Manifest { path, source }.into());
            }
            write(disk, name, &bytes)?;
        }
        Ok(())
    }
}

/// A segment that is there must begin where the archive says.
fn check_start(disk: &DirectoryDisk, entry: &Entry) -> Result<(), RestoreError> {
    let header = header(disk, entry.segment).map_err(ArchiveError::from)?;
    let is_it = header.frontier.size() == entry.first_index
        && header.first_frame == entry.first_frame
        && header.number == entry.segment;
    is_it.then_some(()).ok_or(ArchiveError::OtherSegment { segment: entry.segment }.into())
}

fn write(disk: &DirectoryDisk, name: &str, bytes: &[u8]) -> Result<(), RestoreError> {
    Ok(disk.write_whole(name, bytes).map_err(file(name))?)
}

/// The log's directory in a data directory; both are made if they are missing.
fn directory(data: &Path, origin: &Origin) -> Result<DirectoryDisk, RestoreError> {
    let audit = data.join(AUDIT_DIRECTORY);
    for path in [data, &audit] {
        match DirBuilder::new().mode(PRIVATE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(file(&path.display().to_string()))?,
        }
    }
    let disk = DirectoryDisk::open(&audit).map_err(file(&audit.display().to_string()))?;
    match disk.read_whole(ORIGIN_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(&disk, ORIGIN_FILE, origin.to_text().as_bytes())?;
        }
        found => {
            let found = found.map_err(file(ORIGIN_FILE))?;
            if found != origin.to_text().as_bytes() {
                let found = Origin::parse(&found).map_or("?".into(), |found| found.name());
                return Err(RestoreError::OtherLog(found));
            }
        }
    }
    Ok(disk)
}

fn the_only_one(store: &Store) -> Result<String, RestoreError> {
    let tops = store.tops().map_err(ArchiveError::from)?;
    match tops.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(RestoreError::Which { found: tops.len(), names: tops.join(", ") }),
    }
}

/// The seal over the most segments.
fn last_seal(store: &Store, id: &str, origin: &str, trust: &Trust) -> Result<Sealed, RestoreError> {
    let paths = store.list(&path_of(id, "seals")).map_err(ArchiveError::from)?;
    // Their names are numbers of a fixed length, so that the last is the latest.
    let path = paths.into_iter().next_back();
    let path = path.ok_or_else(|| RestoreError::Unsealed(origin.to_owned()))?;
    let bytes = store.get(&path).map_err(ArchiveError::from)?;
    let bytes = bytes.ok_or_else(|| ArchiveError::Missing { path: path.clone() })?;
    let checked = Seal::parse(&bytes).and_then(|seal| seal.check(origin, trust));
    Ok(checked.map_err(|source| ArchiveError::Manifest { path, source })?)
}

/// The entries that a seal covers.
fn chain(store: &Store, id: &str, sealed: &Sealed) -> Result<Vec<Entry>, RestoreError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut head = NO_ENTRY;
    for number in 0..sealed.segments {
        let missing = || ArchiveError::Missing { path: format!("{id}/entries/{number:016x}.json") };
        let entry = entry_of(store, id, number, &head)?.ok_or_else(missing)?;
        head = entry.hash();
        entries.push(entry);
    }
    let is_sealed =
        head == sealed.head && entries.last().is_none_or(|last| last.ends_with(&sealed.tree));
    if is_sealed { Ok(entries) } else { Err(RestoreError::OtherEntries) }
}
