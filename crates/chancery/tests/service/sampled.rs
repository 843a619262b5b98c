//! Damage to a large log, by sample: whatever bit is flipped in whatever file of it, `audit verify` finds it and names the
//! place.
//!
//! The places are drawn anew in each run; `CHANCERY_SEED` draws those of another run again. Each kind of place has its
//! share: the frames have nearly all bytes of the log, and would have nearly all of the sample.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chancery_audit::disk::DirectoryDisk;
use chancery_audit::frame::length_at;
use chancery_audit::recovery::{WalkError, read_origin, walk};
use chancery_audit::segment::file_number;
use chancery_audit::segment::{BLOCK_BYTES, file_name};
use chancery_audit::verify::{VerifyError, verify};
use chancery_client::{Client, Input, Item, KeyHandle, unix_ms};
use chancery_core::context::Context;
use chancery_core::handle::Operation;

use crate::harness::{
    Options, Service, committed, copy, eventually, fresh, key_and_handle, plainly,
};

/// The records of the log are more than this.
const RECORDS: u64 = 20_000;

/// The items of a batch, which stand in one frame.
const BATCH: usize = 250;

/// The bytes of a segment: 4 MiB, so that the log has several.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// So many places of each kind.
const OF_EACH_KIND: usize = 4;

/// The files of a data directory that are of the log.
const DIRECTORIES: [&str; 3] = ["audit", "index", "log"];

/// A small generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(drawn).unwrap() % bound
    }
}

/// What a place is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bundle,
    Checkpoint,
    Frame,
    IndexBody,
    IndexHead,
    LastFrame,
    Origin,
    Padding,
    PartialTile,
    Policy,
    Preallocated,
    Resume,
    SegmentHeader,
    Spare,
    Tile,
}

impl Kind {
    /// How many there are, all of which a large log has.
    const COUNT: usize = 15;
}

/// Bytes of one kind in a file of the data directory, and what is to be named when one is altered: a file, as
/// `audit verify` calls it, and an offset, or nothing where it is that of the byte.
#[derive(Clone, Debug)]
struct Area {
    kind: Kind,
    path: PathBuf,
    bytes: std::ops::Range<usize>,
    named: String,
    offset: Option<usize>,
}

/// A bit.
#[derive(Clone, Debug)]
struct Place {
    area: Area,
    at: usize,
    bit: usize,
}

/// A large log, whose service was killed while nothing was asked of it: so the last segment and the spare have the room
/// that was preallocated.
fn large() -> Service {
    let options = Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() };
    let mut service = Service::start_with(options);
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "mac.bound:x", "hmac-sha-256");
    // A resume file is written where a segment ends, and at a stop.
    fill(&client, &handle, RECORDS / 2);
    service.restart();
    fill(&service.client(), &handle, RECORDS / 2);
    eventually("the log has parts of an index, and a spare", || {
        files(&service.data().join("index")).len() > 2
            && fs::metadata(service.data().join("audit/spare"))
                .is_ok_and(|spare| spare.len() == SEGMENT_BYTES)
    });
    eventually("every record is under a checkpoint", || {
        let note = fs::read_to_string(service.data().join("log/checkpoint")).unwrap_or_default();
        note.lines().nth(1).is_some_and(|size| size.parse::<u64>().unwrap() > RECORDS)
    });
    service.kill_all();
    service
}

fn fill(client: &Client, handle: &KeyHandle, records: u64) {
    let context = Context::default();
    for _ in 0..records.div_ceil(u64::try_from(BATCH).unwrap()) {
        let input = Input::Message(b"m");
        let item = |_| Item { input, operation: fresh(), context: &context };
        let items: Vec<_> = (0..BATCH).map(item).collect();
        let used = committed(client.batch(handle, Operation::Mac, &items, &plainly(fresh())));
        for used in used {
            drop(committed(used));
        }
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

/// Where each frame begins, by its segment.
fn frames(data: &Path) -> BTreeMap<String, Vec<usize>> {
    let disk = DirectoryDisk::open(&data.join("audit")).unwrap();
    let origin = read_origin(&disk).unwrap();
    let mut frames: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    walk(&disk, &origin, &mut |_, address| {
        let starts = frames.entry(file_name(address.segment.into())).or_default();
        starts.push(usize::try_from(address.offset()).unwrap());
        Ok(())
    })
    .unwrap();
    frames
}

/// Every byte of the log's files.
fn areas(data: &Path) -> Vec<Area> {
    let frames = frames(data);
    let last = frames.keys().max().unwrap();
    let paths = DIRECTORIES.iter().flat_map(|directory| files(&data.join(directory)));
    let areas = paths.flat_map(|path| {
        let name = path.strip_prefix(data).unwrap().to_str().unwrap().to_owned();
        match name.strip_prefix("audit/").filter(|name| file_number(name).is_some()) {
            // The last segment may have no frame yet.
            Some(segment) => {
                let starts = frames.get(segment).cloned().unwrap_or_default();
                of_segment(&path, segment, &starts, segment == last)
            }
            None => of_file(&path, &name),
        }
    });
    areas.filter(|area| !area.bytes.is_empty()).collect()
}

fn of_segment(path: &Path, name: &str, starts: &[usize], is_last: bool) -> Vec<Area> {
    let bytes = fs::read(path).unwrap();
    let area = |kind, bytes: std::ops::Range<usize>, offset| Area {
        kind,
        path: path.to_owned(),
        bytes,
        named: name.to_owned(),
        offset: Some(offset),
    };
    let mut areas = vec![area(Kind::SegmentHeader, 0..BLOCK_BYTES, 0)];
    let mut end = BLOCK_BYTES;
    for (number, &start) in starts.iter().enumerate() {
        let is_end = is_last && number + 1 == starts.len();
        let length = length_at(&bytes[start..]).unwrap();
        end = start + length.next_multiple_of(BLOCK_BYTES);
        let kind = if is_end { Kind::LastFrame } else { Kind::Frame };
        areas.push(area(kind, start..start + length, start));
        areas.push(area(Kind::Padding, start + length..end, start));
    }
    areas.push(area(Kind::Preallocated, end..bytes.len(), end));
    areas
}

fn of_file(path: &Path, name: &str) -> Vec<Area> {
    let length = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
    let area = |kind, bytes, named: &str, offset| Area {
        kind,
        path: path.to_owned(),
        bytes,
        named: named.to_owned(),
        offset,
    };
    let all = 0..length;
    match name {
        "audit/origin" => vec![area(Kind::Origin, all, "origin", Some(0))],
        "audit/resume" => vec![area(Kind::Resume, all, "resume", Some(0))],
        "audit/spare" => vec![area(Kind::Spare, all, "spare", None)],
        "log/checkpoint" => vec![area(Kind::Checkpoint, all, name, None)],
        "log/policy" => vec![area(Kind::Policy, all, name, None)],
        _ if name.starts_with("index/") => vec![
            area(Kind::IndexHead, 0..200, name, Some(0)),
            area(Kind::IndexBody, 200..length, name, Some(0)),
        ],
        _ if name.contains(".p/") => vec![area(Kind::PartialTile, all, name, None)],
        _ if name.starts_with("log/tile/entries/") => vec![area(Kind::Bundle, all, name, None)],
        _ if name.starts_with("log/tile/") => vec![area(Kind::Tile, all, name, None)],
        // What is half written is no part of the log.
        _ => panic!("`{name}` is of no kind"),
    }
}

/// Places of every kind, each byte of a kind as likely as any other.
fn sample(areas: &[Area], random: &mut Random) -> Vec<Place> {
    let mut kinds: BTreeMap<Kind, Vec<&Area>> = BTreeMap::new();
    for area in areas {
        kinds.entry(area.kind).or_default().push(area);
    }
    assert_eq!(kinds.len(), Kind::COUNT, "{:?}", kinds.keys());
    let mut places = Vec::new();
    for areas in kinds.values() {
        let all: usize = areas.iter().map(|area| area.bytes.len()).sum();
        for _ in 0..OF_EACH_KIND {
            let mut left = random.below(all);
            let area = areas.iter().find(|area| {
                let is_here = left < area.bytes.len();
                left -= if is_here { 0 } else { area.bytes.len() };
                is_here
            });
            let area = (**area.unwrap()).clone();
            places.push(Place { at: area.bytes.start + left, area, bit: random.below(8) });
        }
    }
    places
}

/// The file and the offset that `audit verify` names, if the directory does not hold.
fn finding(data: &Path) -> Option<(String, Option<u64>)> {
    match verify(data, || ()) {
        Ok(report) => report.torn.map(|torn| (torn.file, Some(torn.offset))),
        Err(VerifyError::Walk(WalkError::Corrupt { file, offset, .. })) => {
            Some((file, Some(offset)))
        }
        Err(VerifyError::Walk(WalkError::Missing { file } | WalkError::Unexpected { file })) => {
            Some((file, None))
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Flips the bit in this copy, looks, and flips it back.
fn check(data: &Path, template: &Path, place: &Place) {
    let Place { area, at, bit } = place;
    let path = data.join(area.path.strip_prefix(template).unwrap());
    let bytes = fs::read(&path).unwrap();
    let mut altered = bytes.clone();
    altered[*at] ^= 1 << bit;
    fs::write(&path, altered).unwrap();
    let found = finding(data);
    fs::write(&path, bytes).unwrap();
    let what = format!("bit {bit} of byte {at}, {place:?}: {found:?}");
    let (file, offset) = found.unwrap_or_else(|| panic!("not found: {what}"));
    // Checkpoint and policy are held against each other: either may be named.
    if [Kind::Checkpoint, Kind::Policy].contains(&area.kind) {
        assert!(["log/checkpoint", "log/policy"].contains(&file.as_str()), "{what}");
        return;
    }
    let wanted = u64::try_from(area.offset.unwrap_or(*at)).unwrap();
    assert_eq!((file, offset), (area.named.clone(), Some(wanted)), "{what}");
}

#[test]
fn a_bit_flipped_anywhere_in_a_large_log_is_found_where_it_is() {
    let seed = std::env::var("CHANCERY_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = seed.unwrap_or_else(unix_ms) | 1;
    println!("CHANCERY_SEED={seed}");
    let service = large();
    let (data, other) = (service.data(), service.path("other"));
    let report = verify(&data, || ()).unwrap();
    assert!(report.size > RECORDS && report.torn.is_none(), "{report:?}");
    let areas = areas(&data);
    let segments = areas.iter().filter(|area| area.kind == Kind::SegmentHeader).count();
    assert!(segments >= 4, "{segments} segments");
    let places = sample(&areas, &mut Random(seed));
    copy(&data, &other);
    let (one_half, other_half) = places.split_at(places.len() / 2);
    std::thread::scope(|scope| {
        let halves = [(&data, one_half), (&other, other_half)].map(|(copy, places)| {
            let template = &data;
            scope.spawn(move || places.iter().for_each(|place| check(copy, template, place)))
        });
        for half in halves {
            half.join().unwrap();
        }
    });
    assert_eq!(finding(&data), None);
}
