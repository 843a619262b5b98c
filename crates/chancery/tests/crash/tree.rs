//! A tree of directories whose machine loses power: what a command did to it call by call, and what may be left.
//!
//! As [`super::replay`] has it for one directory, but directories are moved here, with all that is in them. A file's data is
//! durable by a sync of the file, its name by a sync of the directory that it is in; the two names of a move by a sync of
//! both directories, and until then the move is kept or lost as a whole. A write counts from the moment when it was over,
//! a sync from the moment when it began.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::model::SECTOR_BYTES;
use super::recorded::{Descriptor, Line, between_quotes, lines, number, strings, unescape};
use super::replay::Random;

/// The place of the directory under which everything is.
const ROOT: usize = 0;

/// What lies there and is no state: sockets and locks.
const RUNTIME: &str = "run";

/// A call on a path below the root.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    /// A file is opened to be made, or emptied.
    Open { path: PathBuf, is_emptied: bool },
    /// A directory is made.
    MakeDirectory { path: PathBuf },
    /// A file has this length, or at least this length.
    Length { path: PathBuf, length: u64, is_exact: bool },
    /// Bytes are written.
    Write { path: PathBuf, offset: u64, bytes: Vec<u8> },
    /// A file, or the names in a directory, are to be durable.
    Sync { path: PathBuf },
    /// It has another name, perhaps in another directory.
    Rename { from: PathBuf, to: PathBuf },
    /// A name is gone.
    Remove { path: PathBuf },
}

/// Every call in a trace on what is below a directory, in the order in which they count.
pub(super) fn calls(trace: &str, root: &Path) -> Vec<Call> {
    let mut positions = BTreeMap::new();
    let mut calls: Vec<(f64, Call)> = lines(trace)
        .iter()
        .filter_map(|line| {
            let call = read(line, root, &mut positions)?;
            let is_sync = matches!(call, Call::Sync { .. });
            Some((if is_sync { line.began } else { line.ended }, call))
        })
        .collect();
    calls.sort_by(|one, other| one.0.total_cmp(&other.0));
    calls.into_iter().map(|(_, call)| call).collect()
}

/// One call, if it is on something below the root that is state.
fn read(line: &Line<'_>, root: &Path, positions: &mut BTreeMap<PathBuf, u64>) -> Option<Call> {
    let first = Descriptor::parse(line.arguments).map(|first| first.path);
    let below = |path: &Path| {
        let path = path.strip_prefix(root).ok()?.to_owned();
        (!path.starts_with(RUNTIME)).then_some(path)
    };
    let above = first.clone().unwrap_or_default();
    let mut names = strings(line.arguments).map(|name| above.join(name));
    let flags = line.arguments.rsplit('"').next().unwrap_or_default();
    match line.name {
        "openat" => {
            let path = names.next()?;
            positions.insert(path.clone(), 0);
            let is_emptied = flags.contains("O_TRUNC");
            let path = below(&path).filter(|_| flags.contains("O_CREAT"))?;
            Some(Call::Open { path, is_emptied })
        }
        "write" | "pwrite64" => {
            let (path, bytes) = (first?, unescape(between_quotes(line.arguments)?));
            let offset = if line.name == "write" {
                let next = positions.entry(path.clone()).or_default();
                std::mem::replace(next, *next + bytes.len() as u64)
            } else {
                number(line.arguments.rsplit(", ").next()?)?
            };
            Some(Call::Write { path: below(&path)?, offset, bytes })
        }
        "ftruncate" | "fallocate" => {
            let path = below(&first?)?;
            let mut numbers = line.arguments.rsplit(", ").map(number);
            let (last, before) = (numbers.next()??, numbers.next().flatten());
            let is_exact = line.name == "ftruncate";
            let length = if is_exact { last } else { last + before? };
            Some(Call::Length { path, length, is_exact })
        }
        "fsync" | "fdatasync" => Some(Call::Sync { path: below(&first?)? }),
        "mkdir" | "mkdirat" => Some(Call::MakeDirectory { path: below(&names.next()?)? }),
        "rename" | "renameat" | "renameat2" => {
            let (from, to) = (below(&names.next()?)?, below(&names.next()?)?);
            Some(Call::Rename { from, to })
        }
        "unlink" | "unlinkat" => Some(Call::Remove { path: below(&names.next()?)? }),
        other => panic!("a call that is not replayed: {other}"),
    }
}

/// A name in a directory: the place of the directory, and the name.
type Name = (usize, String);

/// A change of names that is not durable yet.
#[derive(Clone, Debug)]
struct Renaming {
    /// The name that goes, if one does.
    from: Option<Name>,
    /// The name that comes, if one does.
    to: Option<Name>,
    /// What it is of.
    node: usize,
    /// The directories that are to be synced yet.
    waits: BTreeSet<usize>,
}

/// What was done to a file and is not durable yet.
#[derive(Clone, Debug)]
enum Unsynced {
    Length { length: u64, is_exact: bool },
    Write { offset: u64, bytes: Vec<u8> },
}

#[derive(Clone, Debug)]
enum Node {
    Directory { now: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
    File { durable: Vec<u8>, unsynced: Vec<Unsynced> },
}

/// A tree, with what is not durable of it.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    renamings: Vec<Renaming>,
}

/// What becomes of what is not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// All of it is lost.
    All,
    /// Nothing of it is lost.
    Nothing,
    /// Of names each is kept or lost by itself, of data each sector.
    Torn(u64),
}

impl Tree {
    /// A directory as it is, all of it durable.
    pub(super) fn of(root: &Path) -> Self {
        let mut tree = Self { nodes: Vec::new(), renamings: Vec::new() };
        tree.take(root);
        tree
    }

    fn take(&mut self, path: &Path) -> usize {
        let place = self.nodes.len();
        if path.is_file() {
            let durable = fs::read(path).unwrap();
            self.nodes.push(Node::File { durable, unsynced: Vec::new() });
            return place;
        }
        self.nodes.push(Node::Directory { now: BTreeMap::new(), durable: BTreeMap::new() });
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if place != ROOT || name != RUNTIME {
                let node = self.take(&entry.path());
                names.insert(name, node);
            }
        }
        self.nodes[place] = Node::Directory { now: names.clone(), durable: names };
        place
    }

    fn names(&mut self, directory: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[directory] {
            Node::Directory { now, .. } => now,
            Node::File { .. } => panic!("a file where a directory is expected"),
        }
    }

    fn directory(&mut self, path: &Path) -> usize {
        path.iter().fold(ROOT, |place, name| self.names(place)[name.to_str().unwrap()])
    }

    fn name(&mut self, path: &Path) -> Name {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (self.directory(path.parent().unwrap()), name)
    }

    /// Does what a call did.
    pub(super) fn apply(&mut self, call: &Call) {
        match call {
            Call::Open { path, is_emptied } => {
                let file = Node::File { durable: Vec::new(), unsynced: Vec::new() };
                let node = self.make(path, file);
                if *is_emptied {
                    self.change(node, Unsynced::Length { length: 0, is_exact: true });
                }
            }
            Call::MakeDirectory { path } => {
                let (now, durable) = (BTreeMap::new(), BTreeMap::new());
                self.make(path, Node::Directory { now, durable });
            }
            Call::Length { path, length, is_exact } => {
                let node = self.directory(path);
                self.change(node, Unsynced::Length { length: *length, is_exact: *is_exact });
            }
            Call::Write { path, offset, bytes } => {
                let node = self.directory(path);
                self.change(node, Unsynced::Write { offset: *offset, bytes: bytes.clone() });
            }
            Call::Sync { path } => self.sync(path),
            Call::Rename { from, to } => {
                let (from, to) = (self.name(from), self.name(to));
                let node = self.names(from.0).remove(&from.1).unwrap();
                self.names(to.0).insert(to.1.clone(), node);
                self.rename(Some(from), Some(to), node);
            }
            Call::Remove { path } => {
                let from = self.name(path);
                let node = self.names(from.0).remove(&from.1).unwrap();
                self.rename(Some(from), None, node);
            }
        }
    }

    /// The place of what has this path, which is made if there is nothing.
    fn make(&mut self, path: &Path, node: Node) -> usize {
        let (directory, name) = self.name(path);
        if let Some(known) = self.names(directory).get(&name) {
            return *known;
        }
        let place = self.nodes.len();
        self.nodes.push(node);
        self.names(directory).insert(name.clone(), place);
        self.rename(None, Some((directory, name)), place);
        place
    }

    fn rename(&mut self, from: Option<Name>, to: Option<Name>, node: usize) {
        let waits = [&from, &to].into_iter().flatten().map(|name| name.0).collect();
        self.renamings.push(Renaming { from, to, node, waits });
    }

    fn change(&mut self, node: usize, change: Unsynced) {
        match &mut self.nodes[node] {
            Node::File { unsynced, .. } => unsynced.push(change),
            Node::Directory { .. } => panic!("a directory where a file is expected"),
        }
    }

    fn sync(&mut self, path: &Path) {
        let place = self.directory(path);
        if let Node::File { durable, unsynced } = &mut self.nodes[place] {
            unsynced.drain(..).for_each(|change| change.apply(durable));
            return;
        }
        for renaming in &mut self.renamings {
            renaming.waits.remove(&place);
        }
        let is_done = |renaming: &mut Renaming| renaming.waits.is_empty();
        for renaming in self.renamings.extract_if(.., is_done).collect::<Vec<_>>() {
            keep(&renaming, &mut self.nodes);
        }
    }

    /// Makes what is left after a loss in a directory that is not there yet.
    pub(super) fn lay_out(&self, loss: Loss, root: &Path) {
        let mut left = self.clone();
        let mut dice = match loss {
            Loss::Torn(seed) => Some(Random::seeded(seed)),
            Loss::All | Loss::Nothing => None,
        };
        let mut is_kept = || match &mut dice {
            Some(dice) => dice.below(2) == 0,
            None => loss == Loss::Nothing,
        };
        for renaming in std::mem::take(&mut left.renamings) {
            if is_kept() {
                keep(&renaming, &mut left.nodes);
            }
        }
        for node in &mut left.nodes {
            if let Node::File { durable, unsynced } = node {
                for change in unsynced.drain(..) {
                    change.tear(durable, &mut is_kept);
                }
            }
        }
        left.write(ROOT, root);
    }

    fn write(&self, place: usize, path: &Path) {
        match &self.nodes[place] {
            Node::File { durable, .. } => {
                let mut options = File::options();
                let mut made = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
                std::io::Write::write_all(&mut made, durable).unwrap();
            }
            Node::Directory { durable, .. } => {
                // What is published is read by the front's user.
                let is_public = path.iter().any(|name| name == "log");
                let mode = if is_public { 0o755 } else { 0o700 };
                DirBuilder::new().mode(mode).create(path).unwrap();
                for (name, node) in durable {
                    self.write(*node, &path.join(name));
                }
            }
        }
    }
}

/// A change of names is durable, unless what it renames or removes is not there.
fn keep(renaming: &Renaming, nodes: &mut [Node]) {
    let Renaming { from, to, node, .. } = renaming;
    if let Some((directory, name)) = from {
        let Node::Directory { durable, .. } = &mut nodes[*directory] else { return };
        if durable.get(name) != Some(node) {
            return;
        }
        durable.remove(name);
    }
    if let Some((directory, name)) = to {
        let Node::Directory { durable, .. } = &mut nodes[*directory] else { return };
        durable.insert(name.clone(), *node);
    }
}

impl Unsynced {
    fn apply(self, file: &mut Vec<u8>) {
        self.tear(file, &mut || true);
    }

    /// Does what is kept of it: a length as a whole, bytes sector by sector.
    fn tear(self, file: &mut Vec<u8>, is_kept: &mut dyn FnMut() -> bool) {
        match self {
            Self::Length { length, is_exact } => {
                let length = usize::try_from(length).unwrap();
                if is_kept() && (is_exact || file.len() < length) {
                    file.resize(length, 0);
                }
            }
            Self::Write { offset, bytes } => {
                let mut offset = usize::try_from(offset).unwrap();
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let room = SECTOR_BYTES - offset % SECTOR_BYTES;
                    let (part, after) = rest.split_at(room.min(rest.len()));
                    if is_kept() {
                        file.resize(file.len().max(offset + part.len()), 0);
                        file[offset..offset + part.len()].copy_from_slice(part);
                    }
                    (offset, rest) = (offset + part.len(), after);
                }
            }
        }
    }
}

/// A tree of one directory `old` with a file, which is moved into a new one.
#[test]
fn what_is_moved_is_in_one_place_or_the_other_and_durable_once_both_are_synced() {
    let scratch =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tree-{}", std::process::id()));
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(scratch.join("start/old")).unwrap();
    fs::write(scratch.join("start/old/file"), b"before").unwrap();
    let mut tree = Tree::of(&scratch.join("start"));
    let path = |name: &str| PathBuf::from(name);
    let left = |tree: &Tree, loss, name: &str| {
        let place = scratch.join("left");
        let _ = fs::remove_dir_all(&place);
        tree.lay_out(loss, &place);
        fs::read(place.join(name)).ok()
    };
    let write = Call::Write { path: path("old/file"), offset: 0, bytes: b"behind".to_vec() };
    let made = Call::MakeDirectory { path: path("new") };
    let moved = Call::Rename { from: path("old"), to: path("new/old") };
    for call in [&write, &made, &moved] {
        tree.apply(call);
    }
    assert_eq!(left(&tree, Loss::All, "old/file").unwrap(), b"before");
    assert_eq!(left(&tree, Loss::Nothing, "new/old/file").unwrap(), b"behind");
    tree.apply(&Call::Sync { path: path("") });
    assert_eq!(left(&tree, Loss::All, "old/file").unwrap(), b"before");
    assert_eq!(left(&tree, Loss::All, "new/old/file"), None);
    tree.apply(&Call::Sync { path: path("new") });
    assert_eq!(left(&tree, Loss::All, "old/file"), None);
    assert_eq!(left(&tree, Loss::All, "new/old/file").unwrap(), b"before");
    tree.apply(&Call::Sync { path: path("new/old/file") });
    assert_eq!(left(&tree, Loss::All, "new/old/file").unwrap(), b"behind");
    fs::remove_dir_all(&scratch).unwrap();
}
