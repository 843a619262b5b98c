//! A directory of files, with one ciphertext in each.
//!
//! A new ciphertext is written into a file of the campaign's own directory, beside the place and in its file system, and
//! takes the place of the old one when it is durable ([`super::exchange`]). That is done for many files at a time: all are
//! written, the file system is synced once, then they are exchanged for the old ones, then the directories are synced, then
//! the old ones are removed. So a crash leaves each file wholly the old one or wholly the new one.
//!
//! A file that somebody else wrote to meanwhile is left as it is. What they write *into* one while it is exchanged would be
//! lost, so whoever writes there renames too, or waits.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chancery_crypto::envelope::ENVELOPE_BYTES_MAX;

use super::exchange::{self, Put};
use super::item::{Batch, Item, Lies, Named, Of, START_BYTES, Tally, Todo, named};
use super::opened::{self, Opened, shown};

/// So many files are made durable at a time: 1 024, so that a million take a thousand syncs.
const GROUP_FILES: usize = 1_024;

/// The part of the campaign's directory in which new files are written.
const NEW: &str = "new";

/// A directory of ciphertexts.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

/// Which file something was read from, and in which state that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    place: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether it is the same file with the same content. A rename is a change, which the content is none of.
    pub(super) fn holds_the_same_as(self, other: Self) -> bool {
        let held = |it: Self| (it.place, it.length, it.modified);
        held(self) == held(other)
    }

    /// How many bytes it had.
    pub(super) fn length(self) -> u64 {
        self.length
    }

    /// As numbers, for a journal.
    pub(super) fn numbers(self) -> [i64; 7] {
        let number = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
        let Self { place, length, modified, changed } = self;
        let [device, file, length] = [place.0, place.1, length].map(number);
        [device, file, length, modified.0, modified.1, changed.0, changed.1]
    }
}

impl Directory {
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Counts what lies there.
    pub(super) fn scan(&self, of: &Of, seen: &mut dyn FnMut(u64)) -> Result<Tally> {
        let mut tally = Tally::default();
        self.walk(&mut |path| {
            match found(of, path)? {
                Found::File(named, _) => tally.count(named),
                Found::NoFile(_) => tally.count(Named::Other("it is not a regular file")),
                Found::Gone => {}
            }
            seen(tally.total());
            Ok(true)
        })?;
        Ok(tally)
    }

    /// Reads what is not under `target`, until `give` wants no more.
    pub(super) fn read(
        &self,
        (of, target): (&Of, u32),
        give: &mut dyn FnMut(Batch) -> bool,
    ) -> Result<()> {
        let mut batch = Batch::numbered(0);
        self.walk(&mut |path| {
            let Some(item) = item(of, target, path)? else { return Ok(true) };
            let length = if let Todo::Rewrap(bytes, _) = &item.todo { bytes.len() } else { 0 };
            if batch.is_full_for(length) {
                let next = Batch::numbered(batch.number + 1);
                if !give(std::mem::replace(&mut batch, next)) {
                    return Ok(false);
                }
            }
            batch.push(item);
            Ok(true)
        })?;
        give(batch);
        Ok(())
    }

    /// Visits every file, until it is told to stop. What is not a regular file is visited too; links are not followed.
    fn walk(&self, visit: &mut dyn FnMut(&Path) -> Result<bool>) -> Result<()> {
        let mut waiting = vec![self.root.clone()];
        while let Some(directory) = waiting.pop() {
            let cannot = || format!("cannot list `{}`", shown(&directory));
            for entry in fs::read_dir(&directory).with_context(cannot)? {
                let entry = entry.with_context(cannot)?;
                if entry.file_type().with_context(cannot)?.is_dir() {
                    waiting.push(entry.path());
                } else if !visit(&entry.path())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A file with its beginning.
type Begun = (File, fs::Metadata, Vec<u8>);

/// What lies under a name.
enum Found {
    /// A regular file, and what it names.
    File(Named, Begun),
    /// Something else.
    NoFile(fs::Metadata),
    /// It is gone since it was listed.
    Gone,
}

fn found(of: &Of, path: &Path) -> Result<Found> {
    match open(of, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Gone),
        found => found.with_context(|| format!("cannot read `{}`", shown(path))),
    }
}

fn open(of: &Of, path: &Path) -> io::Result<Found> {
    let (mut file, metadata) = match opened::to_read(path)? {
        Opened::File(file, metadata) => (file, metadata),
        Opened::NoFile(metadata) => return Ok(Found::NoFile(metadata)),
    };
    let mut start = Vec::with_capacity(START_BYTES);
    let most = u64::try_from(START_BYTES).unwrap_or(u64::MAX);
    (&mut file).take(most).read_to_end(&mut start)?;
    let named = named(of, &start, metadata.len());
    Ok(Found::File(named, (file, metadata, start)))
}

/// What is to be done with a file; nothing if it is under `target`, or gone.
fn item(of: &Of, target: u32, path: &Path) -> Result<Option<Item>> {
    let lies = |metadata| Lies::File(path.to_owned(), Identity::of(metadata));
    let (named, (mut file, metadata, mut bytes)) = match found(of, path)? {
        Found::File(named, opened) => (named, opened),
        Found::NoFile(metadata) => {
            let todo = Todo::Leave("it is not a regular file");
            return Ok(Some(Item { lies: lies(&metadata), todo }));
        }
        Found::Gone => return Ok(None),
    };
    let todo = match named {
        Named::Envelope(version) | Named::Chunked(version) if version == target => return Ok(None),
        Named::Other(why) => Todo::Leave(why),
        Named::Chunked(_) => Todo::Leave(
            "a file of chunks is bound to its wrapped key: decrypt it and encrypt it again",
        ),
        Named::Envelope(_) if metadata.nlink() > 1 => {
            Todo::Leave("it has other names (hard links), which would keep the old ciphertext")
        }
        Named::Envelope(_) if has_access_list(&file, path)? => {
            Todo::Leave("it has an access control list, which a new file would not have")
        }
        Named::Envelope(_) => {
            let most = u64::try_from(ENVELOPE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = (&mut file).take(most).read_to_end(&mut bytes);
            read.with_context(|| format!("cannot read `{}`", shown(path)))?;
            Todo::Rewrap(bytes, None)
        }
    };
    Ok(Some(Item { lies: lies(&metadata), todo }))
}

fn has_access_list(file: &File, path: &Path) -> Result<bool> {
    let cannot = || format!("cannot look at the access control list of `{}`", shown(path));
    opened::has_access_list(file).with_context(cannot)
}

/// Puts new ciphertexts in the places of the old ones.
pub(super) struct Writer {
    new: PathBuf,
    written: u64,
    group: Vec<Waiting>,
}

/// A new ciphertext that is not in its place yet.
struct Waiting {
    new: PathBuf,
    place: PathBuf,
    was: Identity,
}

/// Why a new ciphertext is not in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The old one was deleted meanwhile.
    Gone,
    /// The old one was changed meanwhile.
    Changed,
    /// This file cannot be replaced.
    Failed(String),
}

impl Writer {
    /// A writer that begins with nothing: what an earlier one left behind was in no place any more, or not yet.
    pub(super) fn begin(state: &Path) -> Result<Self> {
        let new = state.join(NEW);
        let cannot = || format!("cannot prepare `{}`", shown(&new));
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(cannot);
            }
            _ => fs::create_dir(&new).with_context(cannot)?,
        }
        Ok(Self { new, written: 0, group: Vec::new() })
    }

    /// Takes a new ciphertext for a place; or says why that cannot have one.
    pub(super) fn put(
        &mut self,
        place: PathBuf,
        was: Identity,
        bytes: &[u8],
    ) -> Result<Option<String>> {
        let new = self.new.join(self.written.to_string());
        self.written += 1;
        let cannot = || format!("cannot write `{}`", shown(&new));
        let mut file = opened::fresh(&new).with_context(cannot)?;
        file.write_all(bytes).with_context(cannot)?;
        if let Ok(metadata) = fs::symlink_metadata(&place) {
            match of_this_file(take_after(&file, &metadata)) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    // If it stays, the next start removes it.
                    let _ = fs::remove_file(&new);
                    return Ok(Some(format!("a new file cannot have its owner and mode: {why}")));
                }
                Err(error) => return Err(error).with_context(cannot),
            }
        }
        self.group.push(Waiting { new, place, was });
        Ok(None)
    }

    /// Whether so many wait that they are to be put in place.
    pub(super) fn is_full(&self) -> bool {
        self.group.len() >= GROUP_FILES
    }

    /// Puts what waits in its places, for good. Says of which that was not done, and why.
    pub(super) fn settle(&mut self) -> Result<Vec<(PathBuf, Identity, Left)>> {
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let cannot = || format!("cannot make `{}` durable", shown(&self.new));
        let directory = File::open(&self.new).with_context(cannot)?;
        // Since Linux 5.8 it says so if a write failed that came before it.
        rustix::fs::syncfs(&directory).map_err(io::Error::from).with_context(cannot)?;
        let (mut left, mut old, mut directories) = (Vec::new(), Vec::new(), BTreeSet::new());
        for Waiting { new, place, was } in group {
            match placed(&new, &place, was)? {
                Ok(()) => {
                    directories.extend(place.parent().map(Path::to_owned));
                    old.push(new);
                }
                Err(why) => left.push((place, was, why)),
            }
        }
        for directory in directories {
            let synced = File::open(&directory).and_then(|directory| directory.sync_all());
            synced.with_context(|| format!("cannot make `{}` durable", shown(&directory)))?;
        }
        for old in old {
            // It is not there if it was renamed over. If it stays, the next start removes it.
            let _ = fs::remove_file(old);
        }
        Ok(left)
    }
}

/// Puts a new file in its place; or says why not.
fn placed(new: &Path, place: &Path, was: Identity) -> Result<Result<(), Left>> {
    let put = of_this_file(exchange::put(new, place, was));
    Ok(match put.with_context(|| format!("cannot replace `{}`", shown(place)))? {
        Ok(Put::InPlace) => Ok(()),
        Ok(Put::Changed) => Err(Left::Changed),
        Ok(Put::Gone) => Err(Left::Gone),
        Err(why) => {
            // If it stays, the next start removes it.
            let _ = fs::remove_file(new);
            Err(Left::Failed(why))
        }
    })
}

/// Parts what is wrong with one file, which says why, from what would be wrong with all.
fn of_this_file<T>(done: io::Result<T>) -> io::Result<Result<T, String>> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error) => match error.kind() {
            io::ErrorKind::CrossesDevices => Ok(Err(
                "it lies in another file system than the directory beside the inventory; declare that as an inventory of \
                 its own"
                    .into(),
            )),
            io::ErrorKind::PermissionDenied => Ok(Err(error.to_string())),
            _ => Err(error),
        },
    }
}

/// Gives a file the owner and the mode of another one.
pub(super) fn take_after(file: &File, other: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (other.uid(), other.gid()) {
        std::os::unix::fs::fchown(file, Some(other.uid()), Some(other.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(other.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{XattrFlags, setxattr};
    use rustix::io::Errno;

    use super::super::item::tests::{envelope, of};
    use super::*;
    use crate::testing::Scratch;

    /// A place with one thing of each kind, and the directory of a campaign beside it.
    fn scene(name: &str) -> (Scratch, PathBuf, PathBuf) {
        let scratch = Scratch::new(name);
        let (place, state) = (scratch.path("place"), scratch.path("place.reprotect"));
        fs::create_dir_all(place.join("deep/deeper")).unwrap();
        fs::create_dir(&state).unwrap();
        fs::write(place.join("old"), envelope(2, 1)).unwrap();
        fs::write(place.join("deep/deeper/old"), envelope(2, 1)).unwrap();
        fs::write(place.join("deep/done"), envelope(2, 2)).unwrap();
        fs::write(place.join("foreign"), envelope(3, 1)).unwrap();
        symlink(place.join("old"), place.join("link")).unwrap();
        fs::write(place.join("twice"), envelope(2, 1)).unwrap();
        fs::hard_link(place.join("twice"), place.join("deep/twice")).unwrap();
        (scratch, place, state)
    }

    fn read(place: &Path) -> Batch {
        let mut batches = Vec::new();
        let mut give = |batch| {
            batches.push(batch);
            true
        };
        Directory::at(place).read((&of(), 2), &mut give).unwrap();
        assert_eq!(batches.len(), 1);
        batches.remove(0)
    }

    #[test]
    fn every_file_is_found_however_deep_and_what_is_none_is_left() {
        let (_scratch, place, _) = scene("directory-found");
        let batch = read(&place);
        let mut found: Vec<_> = batch
            .items
            .iter()
            .map(|item| {
                let Lies::File(path, _) = &item.lies else { panic!("{item:?}") };
                let path = path.strip_prefix(&place).unwrap().to_str().unwrap().to_owned();
                (path, matches!(item.todo, Todo::Rewrap(..)))
            })
            .collect();
        found.sort();
        let is = |path: &str, rewraps| (path.to_owned(), rewraps);
        let expected = [
            is("deep/deeper/old", true),
            is("deep/twice", false),
            is("foreign", false),
            is("link", false),
            is("old", true),
            is("twice", false),
        ];
        assert_eq!(found, expected);
        let tally = Directory::at(&place).scan(&of(), &mut |_| {}).unwrap();
        assert_eq!((tally.of(1), tally.of(2), tally.others()), (4, 1, 2));
    }

    #[test]
    fn a_new_file_takes_the_place_and_the_mode_of_the_old_one() {
        let (_scratch, place, state) = scene("directory-mode");
        let path = place.join("old");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        fs::create_dir(state.join(NEW)).unwrap();
        fs::write(state.join(NEW).join("0"), "of an earlier worker").unwrap();
        let mut writer = Writer::begin(&state).unwrap();
        let was = Identity::of(&fs::metadata(&path).unwrap());
        assert_eq!(writer.put(path.clone(), was, b"new").unwrap(), None);
        assert_eq!(fs::read(&path).unwrap(), envelope(2, 1), "it is in no place yet");
        assert_eq!(writer.settle().unwrap(), []);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(state.join(NEW)).unwrap().count(), 0);
    }

    #[test]
    fn what_somebody_else_changed_or_removed_meanwhile_stays_so() {
        let (_scratch, place, state) = scene("directory-changed");
        let (changed, gone) = (place.join("old"), place.join("deep/deeper/old"));
        let mut writer = Writer::begin(&state).unwrap();
        let identity = |path| Identity::of(&fs::metadata(path).unwrap());
        let was = [&changed, &gone].map(identity);
        for (path, was) in [&changed, &gone].into_iter().zip(was) {
            assert_eq!(writer.put(path.clone(), was, b"new").unwrap(), None);
        }
        fs::write(&changed, "by somebody else").unwrap();
        fs::remove_file(&gone).unwrap();
        let expected =
            [(changed.clone(), was[0], Left::Changed), (gone.clone(), was[1], Left::Gone)];
        assert_eq!(writer.settle().unwrap(), expected);
        assert_eq!(fs::read(&changed).unwrap(), b"by somebody else");
        assert!(!gone.exists());
        assert_eq!(fs::read_dir(state.join(NEW)).unwrap().count(), 0);
    }

    /// One file that is in another file system, or that nobody may give away, does not keep all others from a campaign.
    #[test]
    fn what_is_wrong_with_one_file_is_said_of_it_alone() {
        let errno = |errno: Errno| Err::<(), _>(io::Error::from(errno));
        for one in [Errno::XDEV, Errno::PERM, Errno::ACCESS] {
            assert!(of_this_file(errno(one)).unwrap().is_err(), "{one}");
        }
        for all in [Errno::NOSPC, Errno::IO, Errno::ROFS] {
            assert!(of_this_file(errno(all)).is_err(), "{all}");
        }
    }

    /// Others than the owner, the group and everybody may read it, and could not read the new one; or the other way round.
    #[test]
    fn a_file_with_an_access_control_list_is_left() {
        let (_scratch, place, _) = scene("directory-access");
        let path = place.join("old");
        // Version 2: the owner, one user more, the group, the mask, everybody.
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 4, 7), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, mode, who) in entries {
            list.extend([tag.to_le_bytes(), mode.to_le_bytes()].concat());
            list.extend(who.to_le_bytes());
        }
        let is_left = || {
            let batch = read(&place);
            let is_it = |item: &&Item| matches!(&item.lies, Lies::File(at, _) if *at == path);
            matches!(batch.items.iter().find(is_it).unwrap().todo, Todo::Leave(_))
        };
        assert!(!is_left());
        let name = "system.posix_acl_access";
        let set = setxattr(&path, name, &list, XattrFlags::empty());
        // Where the file system has no such lists, there is none to be left for.
        if set != Err(Errno::OPNOTSUPP) {
            set.unwrap();
            assert!(is_left());
        }
    }
}
