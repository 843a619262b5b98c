//! What a service did to its files and directories, call by call, as its trace tells it.
//!
//! Everything in the service's directory is looked at: data directory, keys, and the directories above them as
//! far as the service makes them. A directory that is made stands in the one above it as an empty file with
//! its label: while that name is not durable, all that is under it may be gone.
//!
//! A write counts from the moment when it was over, a sync from the moment when it began: what a sync makes
//! durable is what was written by then. Names and data stand in the trace whole, so that every state in which
//! a machine without power may leave the files can be made again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chancery_audit::disk::Disk as _;

use super::model::{Event, FileImage, Image, Model, SECTOR_BYTES};
use crate::harness::Service;

/// The directories that are replayed, each after the one that it is in: its label, and the place of that one.
const TREE: [(&str, usize); 14] = [
    ("the service's", 0),
    ("state", 0),
    ("chancery", 1),
    ("keys", 2),
    ("d", 0),
    ("audit", 4),
    ("reductions", 4),
    ("index", 4),
    ("log", 4),
    ("tile", 8),
    ("0", 9),
    ("000.p", 10),
    ("entries", 9),
    ("000.p", 12),
];

/// How many they are.
pub(super) const DIRECTORIES: usize = TREE.len();

/// The place of the one with the data.
pub(super) const DATA: usize = 4;

/// The place of the one with the keys, where the service puts them by itself.
pub(super) const KEYS: usize = 3;

/// The place of the one that is published. Behind it are those in it: of the tiles of leaves, and of the leaves.
pub(super) const PUBLISHED: usize = 8;

/// The place of the one with the partial tiles over the leaves' hashes.
pub(super) const TILES: usize = 11;

/// The place of the one with the partial tiles of leaves.
pub(super) const ENTRIES: usize = 13;

/// What lies in them and is no state, each with its place: files of the test, and the runtime's sockets and locks.
const NO_STATE: [(usize, &str); 3] = [(0, "log"), (0, "trace"), (DATA, "run")];

/// The calls that are replayed.
pub(super) const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,ftruncate,\
fallocate,unlink,unlinkat,mkdir,mkdirat";

/// A change of one directory.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A file is opened to be made, or emptied; or a directory is made.
    Create { name: String, is_emptied: bool },
    /// A file has this length, or at least this length.
    Length { name: String, length: u64, is_exact: bool },
    /// Bytes are written.
    Write { name: String, offset: u64, bytes: Vec<u8> },
    /// What was written is durable.
    Sync { name: String },
    /// What names there are is durable.
    SyncDirectory,
    /// A file has another name.
    Rename { from: String, to: String },
    /// A file is gone.
    Remove { name: String },
}

/// A change with its place and its moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recorded {
    /// Its place among the directories.
    pub(super) directory: usize,
    /// Seconds since 1970.
    pub(super) at: f64,
    pub(super) change: Change,
}

/// One line of a trace, or two that belong together.
#[derive(Debug)]
pub(super) struct Line<'t> {
    pub(super) name: &'t str,
    pub(super) arguments: &'t str,
    pub(super) began: f64,
    pub(super) ended: f64,
}

/// The directories of a service, in the order of [`TREE`].
pub(super) fn directories(service: &Service) -> [PathBuf; DIRECTORIES] {
    let data = service.data();
    let below = |name: &str| data.join(name);
    let [audit, reductions, index] = ["audit", "reductions", "index"].map(below);
    let published = ["log", "log/tile", "log/tile/0", "log/tile/0/000.p"].map(below);
    let entries = ["log/tile/entries", "log/tile/entries/000.p"].map(below);
    let (state, chancery) = (service.path("state"), service.path("state/chancery"));
    let own = service.directory().to_owned();
    let private = [own, state, chancery, service.usual_keys(), data, audit, reductions, index];
    let all = private.into_iter().chain(published).chain(entries).collect::<Vec<_>>();
    all.try_into().expect("as many as there are in the tree")
}

/// Every change in the trace of a service with these directories.
pub(super) fn changes(trace: &str, directories: &[PathBuf; DIRECTORIES]) -> Vec<Recorded> {
    let mut reader = Reader { directories, positions: BTreeMap::new() };
    let mut recorded: Vec<_> = lines(trace).iter().filter_map(|line| reader.change(line)).collect();
    recorded.sort_by(|one, other| one.at.total_cmp(&other.at));
    recorded
}

/// Every call in a trace that did what it was to, in the order in which they were over.
pub(super) fn lines(trace: &str) -> Vec<Line<'_>> {
    let mut begun: BTreeMap<&str, Line<'_>> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in trace.lines() {
        // A thread of less than five digits is followed by more than one space.
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((at, call)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(at) = at.parse::<f64>() else { continue };
        if let Some((_, result)) = call.split_once(" resumed>") {
            let Some(line) = begun.remove(thread) else { continue };
            lines.extend(succeeded(result).then_some(Line { ended: at, ..line }));
            continue;
        }
        let Some((name, rest)) = call.split_once('(') else { continue };
        if let Some(arguments) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, Line { name, arguments, began: at, ended: at });
        } else if let Some((arguments, result)) = rest.rsplit_once(") = ") {
            let line = Line { name, arguments, began: at, ended: at + duration(result) };
            lines.extend(succeeded(result).then_some(line));
        }
    }
    lines
}

/// Whether a call did what it was to: what follows its result is the time that it took.
fn succeeded(result: &str) -> bool {
    !result.trim_start_matches([')', ' ', '=']).starts_with('-')
}

fn duration(result: &str) -> f64 {
    let seconds = result.rsplit_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
    seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}

/// Makes changes of lines.
struct Reader<'d> {
    directories: &'d [PathBuf; DIRECTORIES],
    /// Where the next `write` goes, of each file that was opened.
    positions: BTreeMap<PathBuf, u64>,
}

impl Reader<'_> {
    fn change(&mut self, line: &Line<'_>) -> Option<Recorded> {
        let first = Descriptor::parse(line.arguments);
        let done = |(directory, change)| Some(Recorded { directory, at: line.ended, change });
        match line.name {
            "openat" => done(self.opened(line, &first?.path)?),
            "write" | "pwrite64" => done(self.written(line, first?.path)?),
            "ftruncate" | "fallocate" => done(self.sized(line, &first?.path)?),
            "fsync" | "fdatasync" => {
                let (directory, change) = self.synced(&first?.path)?;
                Some(Recorded { directory, at: line.began, change })
            }
            "mkdir" | "mkdirat" => {
                let above = first.map_or_else(PathBuf::new, |first| first.path);
                let (directory, name) = self.place(&above.join(strings(line.arguments).next()?))?;
                done((directory, Change::Create { name, is_emptied: false }))
            }
            "rename" | "renameat" | "renameat2" => {
                let above = first.map_or_else(PathBuf::new, |first| first.path);
                let mut names = strings(line.arguments);
                let (index, from) = self.place(&above.join(names.next()?))?;
                let (_, to) = self.place(&above.join(names.next()?))?;
                done((index, Change::Rename { from, to }))
            }
            "unlink" | "unlinkat" => {
                let above = first.map_or_else(PathBuf::new, |first| first.path);
                let (index, name) = self.place(&above.join(strings(line.arguments).next()?))?;
                done((index, Change::Remove { name }))
            }
            _ => {
                let above = first.map_or_else(PathBuf::new, |first| first.path);
                let name = strings(line.arguments).next().unwrap_or_default();
                let touched = self.place(&above).or_else(|| self.place(&above.join(name)));
                assert_eq!(touched, None, "a call that is not replayed: {line:?}");
                None
            }
        }
    }

    fn opened(&mut self, line: &Line<'_>, above: &Path) -> Option<(usize, Change)> {
        let path = above.join(strings(line.arguments).next()?);
        let (directory, name) = self.place(&path)?;
        self.positions.insert(path, 0);
        let flags = line.arguments.rsplit('"').next()?;
        let is_emptied = flags.contains("O_TRUNC");
        flags.contains("O_CREAT").then_some((directory, Change::Create { name, is_emptied }))
    }

    fn written(&mut self, line: &Line<'_>, path: PathBuf) -> Option<(usize, Change)> {
        let (directory, name) = self.place(&path)?;
        let bytes = unescape(between_quotes(line.arguments)?);
        let offset = if line.name == "write" {
            let next = self.positions.entry(path).or_default();
            std::mem::replace(next, *next + bytes.len() as u64)
        } else {
            number(line.arguments.rsplit(", ").next()?)?
        };
        Some((directory, Change::Write { name, offset, bytes }))
    }

    fn sized(&self, line: &Line<'_>, path: &Path) -> Option<(usize, Change)> {
        let (directory, name) = self.place(path)?;
        let mut numbers = line.arguments.rsplit(", ").map(number);
        let (last, before) = (numbers.next()??, numbers.next().flatten());
        let is_exact = line.name == "ftruncate";
        let length = if is_exact { last } else { last + before? };
        Some((directory, Change::Length { name, length, is_exact }))
    }

    fn synced(&self, path: &Path) -> Option<(usize, Change)> {
        if let Some(directory) = self.directories.iter().position(|known| known == path) {
            return Some((directory, Change::SyncDirectory));
        }
        let (directory, name) = self.place(path)?;
        Some((directory, Change::Sync { name }))
    }

    /// Which directory a path is in, and its name there: its label, if it is one of them.
    fn place(&self, path: &Path) -> Option<(usize, String)> {
        let above = path.parent()?;
        let index = self.directories.iter().position(|known| known == above)?;
        let label = self.directories.iter().position(|known| known == path);
        let name = label.map_or(path.file_name()?.to_str()?, |known| TREE[known].0);
        (!NO_STATE.contains(&(index, name))).then(|| (index, name.to_owned()))
    }
}

/// A descriptor as it stands in a trace: `7</path>`.
pub(super) struct Descriptor {
    pub(super) path: PathBuf,
}

impl Descriptor {
    pub(super) fn parse(arguments: &str) -> Option<Self> {
        let (_, rest) = arguments.split_once('<')?;
        Some(Self { path: rest.split_once('>')?.0.into() })
    }
}

/// Names in quotation marks; no name here has one in it.
pub(super) fn strings(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split('"').skip(1).step_by(2)
}

pub(super) fn between_quotes(arguments: &str) -> Option<&str> {
    let (start, end) = (arguments.find('"')?, arguments.rfind('"')?);
    arguments.get(start + 1..end)
}

pub(super) fn number(text: &str) -> Option<u64> {
    text.trim_end_matches(')').parse().ok()
}

/// Bytes as `strace --strings-in-hex=non-ascii-chars` writes them.
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut rest = text.bytes();
    let mut bytes = Vec::with_capacity(text.len());
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'\\' { escaped(&mut rest) } else { byte });
    }
    bytes
}

fn escaped(rest: &mut impl Iterator<Item = u8>) -> u8 {
    let digit =
        |rest: &mut dyn Iterator<Item = u8>| char::from(rest.next().unwrap()).to_digit(16).unwrap();
    match rest.next().unwrap() {
        b'x' => u8::try_from(digit(rest) * 16 + digit(rest)).unwrap(),
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'v' => 0x0b,
        b'f' => 0x0c,
        itself => itself,
    }
}

/// The files of a service's directories, all of them durable.
pub(super) fn images(service: &Service) -> [Image; DIRECTORIES] {
    let directories = directories(service);
    let mut images = std::array::from_fn(|place| files(place, &directories[place]));
    for (place, (label, above)) in TREE.iter().enumerate().skip(1) {
        if directories[place].exists() {
            images[*above].insert((*label).to_owned(), FileImage::default());
        }
    }
    images
}

fn files(place: usize, directory: &Path) -> Image {
    let mut image = Image::new();
    let entries = std::fs::read_dir(directory).into_iter().flatten().map(Result::unwrap);
    for entry in entries.filter(|entry| entry.file_type().unwrap().is_file()) {
        let name = entry.file_name().into_string().unwrap();
        if !NO_STATE.contains(&(place, name.as_str())) {
            image.insert(name, FileImage::of(&std::fs::read(entry.path()).unwrap()));
        }
    }
    image
}

/// Makes the directories of a service that has nothing yet, and the files in them. What is in a directory whose
/// own name is not there is lost with it.
pub(super) fn lay_out(service: &Service, images: &[Image]) {
    let mut is_there = [true; DIRECTORIES];
    for (place, path) in directories(service).iter().enumerate() {
        let (label, above) = TREE[place];
        if place > 0 {
            is_there[place] = is_there[above] && images[above].contains_key(label);
            if !is_there[place] {
                continue;
            }
            let mode = if place < PUBLISHED { 0o700 } else { 0o755 };
            fs::DirBuilder::new().mode(mode).create(path).unwrap();
        }
        let is_directory = |name: &str| TREE[1..].contains(&(name, place));
        for (name, file) in images[place].iter().filter(|(name, _)| !is_directory(name)) {
            lay_out_file(&path.join(name), file);
        }
    }
}

fn lay_out_file(path: &Path, file: &FileImage) {
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    made.set_len(file.length).unwrap();
    let bytes = file.to_bytes();
    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        if sector.iter().any(|byte| *byte != 0) {
            made.write_all_at(sector, (number * SECTOR_BYTES) as u64).unwrap();
        }
    }
}

/// What a change does to a disk that has done all before it.
pub(super) fn events(disk: &Model, change: &Change) -> Vec<Event> {
    let before = disk.trace().len();
    match change {
        Change::Create { name, is_emptied } => {
            let is_there = disk.image().contains_key(name);
            if *is_emptied || !is_there {
                disk.create(name);
            }
        }
        Change::Length { name, length, is_exact } => {
            let now = disk.image()[name].length;
            let length = if *is_exact { *length } else { now.max(*length) };
            disk.set_length(name, length);
        }
        Change::Write { name, offset, bytes } => {
            disk.open(name).unwrap().write_at(bytes, *offset).unwrap();
        }
        Change::Sync { name } => disk.open(name).unwrap().sync().unwrap(),
        Change::SyncDirectory => disk.sync_directory().unwrap(),
        Change::Rename { from, to } => disk.rename(from, to).unwrap(),
        Change::Remove { name } => disk.remove(name).unwrap(),
    }
    disk.trace().split_off(before)
}

#[test]
fn changes_are_read_from_a_trace_in_the_order_in_which_they_count() {
    let trace = "\
7 100.000010 mkdir(\"/s/d/audit\", 0700) = 0 <0.000010>
7 100.000100 openat(5</s/d/audit>, \"spare.new\", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 9</s/d/audit/spare.new> <0.000010>
7 100.000200 fallocate(9</s/d/audit/spare.new>, 0, 0, 8192) = 0 <0.000010>
8    100.000300 pwrite64(4</s/d/store.redb>, \"a\\x00\\\"\\n\\\\b\", 6, 4096 <unfinished ...>
7 100.000400 fdatasync(9</s/d/audit/spare.new> <unfinished ...>
8    100.000500 <... pwrite64 resumed>) = 6 <0.000200>
7 100.000600 <... fdatasync resumed>) = 0 <0.000200>
7 100.000700 renameat(5</s/d/audit>, \"spare.new\", 5</s/d/audit>, \"spare\") = 0 <0.000010>
7 100.000800 fsync(5</s/d/audit>) = 0 <0.000010>
7 100.000850 unlinkat(5</s/d/audit>, \"0000000000000000.seg\", 0) = 0 <0.000010>
7 100.000860 unlinkat(5</s/d/audit>, \"0000000000000001.dense.new\", 0) = -1 ENOENT (No such file or directory) <0.000010>
7 100.000900 ftruncate(4</s/d/store.redb>, 4096) = -1 EIO (Input/output error) <0.000010>
7 100.000950 pwrite64(6</elsewhere/file>, \"x\", 1, 0) = 1 <0.000010>
7 100.000960 write(2</s/log>, \"said\", 4) = 4 <0.000010>
7 100.000965 write(9</s/d/log/checkpoint.new>, \"note\", 4) = 4 <0.000010>
7 100.000970 write(7</s/state/chancery/k/root.key>, \"ab\", 2) = 2 <0.000010>
7 100.000980 write(7</s/state/chancery/k/root.key>, \"c\", 1) = 1 <0.000010>
7 100.001000 +++ exited with 0 +++
";
    let directories = ["/s", "/s/state", "/s/state/chancery", "/s/state/chancery/k"];
    let data = ["/s/d", "/s/d/audit", "/s/d/reductions", "/s/d/index"];
    let log = ["/s/d/log", "/s/d/log/tile", "/s/d/log/tile/0", "/s/d/log/tile/0/000.p"];
    let entries = ["/s/d/log/tile/entries", "/s/d/log/tile/entries/000.p"];
    let all = directories.iter().chain(&data).chain(&log).chain(&entries);
    let directories: Vec<PathBuf> = all.map(PathBuf::from).collect();
    let changes = changes(trace, &directories.try_into().unwrap());
    let shown: Vec<_> = changes.into_iter().map(|one| (one.directory, one.change)).collect();
    let create = |name: &str, is_emptied| Change::Create { name: name.into(), is_emptied };
    let write = |name: &str, offset, bytes: &[u8]| Change::Write {
        name: name.into(),
        offset,
        bytes: bytes.into(),
    };
    let name = || "spare.new".to_owned();
    assert_eq!(
        shown,
        [
            (DATA, create("audit", false)),
            (5, create("spare.new", true)),
            (5, Change::Length { name: name(), length: 8_192, is_exact: false }),
            (5, Change::Sync { name: name() }),
            (DATA, write("store.redb", 4_096, b"a\0\"\n\\b")),
            (5, Change::Rename { from: name(), to: "spare".into() }),
            (5, Change::SyncDirectory),
            (5, Change::Remove { name: "0000000000000000.seg".into() }),
            (PUBLISHED, write("checkpoint.new", 0, b"note")),
            (KEYS, write("root.key", 0, b"ab")),
            (KEYS, write("root.key", 2, b"c")),
        ]
    );
}
