//! What a signer did to its files, call by call, as its trace tells it.
//!
//! A write counts from the moment when it was over, a sync from the moment when it began: what a sync makes
//! durable is what was written by then. Names and data stand in the trace whole, so that every state in which
//! a machine without power may leave the files can be made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chancery_audit::disk::Disk as _;

use super::model::{Event, FileImage, Image, Model};

/// The directories that are replayed, in the data directory: the store's own, the log's, the journal's.
pub(super) const DIRECTORIES: [&str; 3] = ["", "audit", "reductions"];

/// The calls that are replayed.
pub(super) const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,ftruncate,\
fallocate,unlink,unlinkat";

/// A change of one directory.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A file is opened to be made, or emptied.
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
}

/// A change with its place and its moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recorded {
    /// Its place in [`DIRECTORIES`].
    pub(super) directory: usize,
    /// Seconds since 1970.
    pub(super) at: f64,
    pub(super) change: Change,
}

/// One line of a trace, or two that belong together.
#[derive(Debug)]
struct Line<'t> {
    name: &'t str,
    arguments: &'t str,
    began: f64,
    ended: f64,
}

/// Every change in the trace of a service with this data directory.
pub(super) fn changes(trace: &str, data: &Path) -> Vec<Recorded> {
    let mut begun: BTreeMap<&str, Line<'_>> = BTreeMap::new();
    let mut recorded = Vec::new();
    for line in trace.lines() {
        // A thread of less than five digits is followed by more than one space.
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((at, call)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(at) = at.parse::<f64>() else { continue };
        if let Some((_, result)) = call.split_once(" resumed>") {
            let Some(line) = begun.remove(thread) else { continue };
            recorded
                .extend(succeeded(result).then(|| of(&Line { ended: at, ..line }, data)).flatten());
            continue;
        }
        let Some((name, rest)) = call.split_once('(') else { continue };
        if let Some(arguments) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, Line { name, arguments, began: at, ended: at });
        } else if let Some((arguments, result)) = rest.rsplit_once(") = ") {
            let line = Line { name, arguments, began: at, ended: at + duration(result) };
            recorded.extend(succeeded(result).then(|| of(&line, data)).flatten());
        }
    }
    recorded.sort_by(|one, other| one.at.total_cmp(&other.at));
    recorded
}

/// Whether a call did what it was to: what follows its result is the time that it took.
fn succeeded(result: &str) -> bool {
    !result.trim_start_matches([')', ' ', '=']).starts_with('-')
}

fn duration(result: &str) -> f64 {
    let seconds = result.rsplit_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
    seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}

fn of(line: &Line<'_>, data: &Path) -> Option<Recorded> {
    let first = Descriptor::parse(line.arguments);
    let place = |path: &Path| place(path, data);
    let done = |(directory, change)| Some(Recorded { directory, at: line.ended, change });
    let synced = |(directory, change)| Some(Recorded { directory, at: line.began, change });
    match line.name {
        "openat" => {
            let (directory, name) = place(&first?.path.join(strings(line.arguments).next()?))?;
            let flags = line.arguments.rsplit('"').next()?;
            let is_emptied = flags.contains("O_TRUNC");
            flags.contains("O_CREAT").then_some(())?;
            done((directory, Change::Create { name, is_emptied }))
        }
        "pwrite64" => {
            let (directory, name) = place(&first?.path)?;
            let bytes = unescape(between_quotes(line.arguments)?);
            let offset = number(line.arguments.rsplit(", ").next()?)?;
            done((directory, Change::Write { name, offset, bytes }))
        }
        "ftruncate" | "fallocate" => {
            let (directory, name) = place(&first?.path)?;
            let mut numbers = line.arguments.rsplit(", ").map(number);
            let (last, before) = (numbers.next()??, numbers.next().flatten());
            let is_exact = line.name == "ftruncate";
            let length = if is_exact { last } else { last + before? };
            done((directory, Change::Length { name, length, is_exact }))
        }
        "fsync" | "fdatasync" => {
            let path = first?.path;
            let names = DIRECTORIES.map(|directory| data.join(directory));
            if let Some(directory) = names.iter().position(|known| *known == path) {
                return synced((directory, Change::SyncDirectory));
            }
            let (directory, name) = place(&path)?;
            synced((directory, Change::Sync { name }))
        }
        "renameat" | "renameat2" => {
            let directory = first?.path;
            let mut names = strings(line.arguments);
            let (index, from) = place(&directory.join(names.next()?))?;
            let (_, to) = place(&directory.join(names.next()?))?;
            done((index, Change::Rename { from, to }))
        }
        _ => {
            let touched = first.and_then(|descriptor| place(&descriptor.path));
            assert_eq!(touched, None, "a call that is not replayed: {line:?}");
            None
        }
    }
}

/// Which directory a path is in, and its name there.
fn place(path: &Path, data: &Path) -> Option<(usize, String)> {
    let directory = path.parent()?;
    let index = DIRECTORIES.iter().position(|known| data.join(known) == directory)?;
    let name = path.file_name()?.to_str()?.to_owned();
    // The directories themselves are no files of the first one; the administrator's file holds no state.
    let is_file =
        !DIRECTORIES.contains(&name.as_str()) && name != "run" && !name.starts_with("admin.toml");
    is_file.then_some((index, name))
}

/// A descriptor as it stands in a trace: `7</path>`.
struct Descriptor {
    path: PathBuf,
}

impl Descriptor {
    fn parse(arguments: &str) -> Option<Self> {
        let (_, rest) = arguments.split_once('<')?;
        Some(Self { path: rest.split_once('>')?.0.into() })
    }
}

/// Names in quotation marks; no name here has one in it.
fn strings(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split('"').skip(1).step_by(2)
}

fn between_quotes(arguments: &str) -> Option<&str> {
    let (start, end) = (arguments.find('"')?, arguments.rfind('"')?);
    arguments.get(start + 1..end)
}

fn number(text: &str) -> Option<u64> {
    text.trim_end_matches(')').parse().ok()
}

/// Bytes as `strace --strings-in-hex=non-ascii-chars` writes them.
fn unescape(text: &str) -> Vec<u8> {
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

/// The files of a directory, all of them durable.
pub(super) fn image(directory: &Path) -> Image {
    let mut image = Image::new();
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    for entry in entries.filter(|entry| entry.file_type().unwrap().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        image.insert(entry.file_name().into_string().unwrap(), FileImage::of(&bytes));
    }
    image
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
    }
    disk.trace().split_off(before)
}

#[test]
fn changes_are_read_from_a_trace_in_the_order_in_which_they_count() {
    let trace = "\
7 100.000100 openat(5</d/audit>, \"spare.new\", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 9</d/audit/spare.new> <0.000010>
7 100.000200 fallocate(9</d/audit/spare.new>, 0, 0, 8192) = 0 <0.000010>
8    100.000300 pwrite64(4</d/store.redb>, \"a\\x00\\\"\\n\\\\b\", 6, 4096 <unfinished ...>
7 100.000400 fdatasync(9</d/audit/spare.new> <unfinished ...>
8    100.000500 <... pwrite64 resumed>) = 6 <0.000200>
7 100.000600 <... fdatasync resumed>) = 0 <0.000200>
7 100.000700 renameat(5</d/audit>, \"spare.new\", 5</d/audit>, \"spare\") = 0 <0.000010>
7 100.000800 fsync(5</d/audit>) = 0 <0.000010>
7 100.000900 ftruncate(4</d/store.redb>, 4096) = -1 EIO (Input/output error) <0.000010>
7 100.000950 pwrite64(6</elsewhere/file>, \"x\", 1, 0) = 1 <0.000010>
7 100.001000 +++ exited with 0 +++
";
    let changes = changes(trace, Path::new("/d"));
    let shown: Vec<_> = changes.iter().map(|one| (one.directory, &one.change)).collect();
    let name = || "spare.new".to_owned();
    assert_eq!(
        shown,
        [
            (1, &Change::Create { name: name(), is_emptied: true }),
            (1, &Change::Length { name: name(), length: 8_192, is_exact: false }),
            (1, &Change::Sync { name: name() }),
            (
                0,
                &Change::Write {
                    name: "store.redb".into(),
                    offset: 4_096,
                    bytes: b"a\0\"\n\\b".to_vec()
                }
            ),
            (1, &Change::Rename { from: name(), to: "spare".into() }),
            (1, &Change::SyncDirectory),
        ]
    );
}
