//! Whatever is done to a log's files is found from the files alone, and the place is named.
//!
//! What files alone cannot show, and these tests state as it is:
//! - the last segment, or the last frames in it, were taken away: the log is then a shorter one that holds.
//!   A resume file, a lock record, a witness or a receipt remembers it;
//! - of two torn ends kept of one frame, one was taken away;
//! - the spare was taken away or cut: it holds nothing;
//! - the resume file was taken away: it says nothing that the frames do not;
//! - a file half written (`….new`) was altered: it is no part of the log.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use chancery_audit::disk::{Disk, DiskFile};
use chancery_audit::origin::ORIGIN_FILE;
use chancery_audit::recovery::{WalkError, walk};
use chancery_audit::resume::{RESUME_FILE, to_file};
use chancery_audit::segment::{SegmentHeader, file_name};
use chancery_audit::verify::{Report, verify_disk};
use chancery_audit::wal::SPARE_FILE;

use super::life::{Life, SMALL, origin};
use super::model::Model;

const BLOCK: usize = 4096;

/// Files that are only read.
#[derive(Clone)]
pub(super) struct Still(pub(super) BTreeMap<String, Vec<u8>>);

impl Disk for Still {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn create_zeroed(&self, _: &str, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write_whole(&self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write_new(&self, _: &str, _: &[&[u8]]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Two frames in a segment that was cut behind them; a kept torn end; one frame and room in a second
/// segment; a spare that was hardly begun; a resume file.
pub(super) fn log() -> Still {
    let model = Model::default();
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    Life::of(16 * 1024).killed().lead(&disk, &model, &[SMALL, SMALL]).unwrap();
    // Half of a third frame.
    disk.open(&file_name(0)).unwrap().write_at(b"CHYF and no more", 3 * BLOCK as u64).unwrap();
    Life::of(12 * 1024).killed().lead(&disk, &model, &[SMALL]).unwrap();
    let image = model.image();
    let mut files: BTreeMap<_, _> =
        image.into_iter().map(|(name, file)| (name, file.to_bytes())).collect();
    files.get_mut(SPARE_FILE).unwrap().truncate(512);
    files.insert(RESUME_FILE.into(), to_file(&[0x5a; 300]));
    Still(files)
}

fn kept_name(log: &Still) -> String {
    log.0.keys().find(|name| name.starts_with("torn-")).unwrap().clone()
}

/// What a verification says, in one line.
pub(super) fn said(result: &Result<Report, WalkError>) -> String {
    match result {
        Ok(Report { torn: Some(torn), .. }) => format!("torn {} {}", torn.file, torn.offset),
        Ok(report) => format!("holds {}", report.frames),
        Err(WalkError::Corrupt { file, offset, .. }) => format!("corrupt {file} {offset}"),
        Err(WalkError::Missing { file }) => format!("missing {file}"),
        Err(WalkError::Unexpected { file }) => format!("unexpected {file}"),
        Err(WalkError::Unreadable { file, .. }) => format!("unreadable {file}"),
    }
}

/// What is said when a bit of the byte at `at` in a file is flipped.
fn expected(file: &str, at: usize) -> String {
    let block = at / BLOCK * BLOCK;
    if file == SPARE_FILE {
        format!("corrupt {file} {at}")
    } else if file == file_name(0) {
        format!("corrupt {file} {block}")
    } else if file == file_name(1) && block > 0 {
        // The last frame is signed by none that follows, and room behind it is all that a torn one leaves.
        format!("torn {file} {block}")
    } else {
        assert!(file != SPARE_FILE && block == 0);
        format!("corrupt {file} 0")
    }
}

/// Flips every bit of `file` whose byte's number leaves `share` when divided by 2.
fn flip_bits(mut log: Still, file: &str, share: usize) -> usize {
    let bytes = log.0[file].len();
    for at in (share..bytes).step_by(2) {
        for bit in 0..8 {
            log.0.get_mut(file).unwrap()[at] ^= 1 << bit;
            let found = said(&verify_disk(&log));
            assert_eq!(found, expected(file, at), "bit {bit} of byte {at} in `{file}`");
            log.0.get_mut(file).unwrap()[at] ^= 1 << bit;
        }
    }
    (share..bytes).step_by(2).count() * 8
}

#[test]
fn every_flipped_bit_of_every_file_is_found_where_it_is() {
    let log = log();
    assert_eq!(said(&verify_disk(&log)), "holds 3");
    assert_eq!(log.0.len(), 6, "{:?}", log.0.keys());
    let flipped: usize = std::thread::scope(|scope| {
        let share = |share| {
            let log = log.clone();
            move || -> usize { log.0.keys().map(|file| flip_bits(log.clone(), file, share)).sum() }
        };
        let halves = [scope.spawn(share(0)), scope.spawn(share(1))];
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    println!("{flipped} flipped bits");
    assert_eq!(flipped, log.0.values().map(|bytes| bytes.len() * 8).sum::<usize>());
}

/// Checks what is said of the log after `edit`.
fn check(edit: impl FnOnce(&mut BTreeMap<String, Vec<u8>>), expected: &str) {
    let mut log = log();
    edit(&mut log.0);
    assert_eq!(said(&verify_disk(&log)), expected);
}

fn remove(file: &str, expected: &str) {
    check(|files| drop(files.remove(file).unwrap()), expected);
}

#[test]
fn a_removed_file_is_missed_unless_nothing_follows_it() {
    remove(ORIGIN_FILE, "missing origin");
    remove(&file_name(0), &format!("missing {}", file_name(0)));
    remove(&kept_name(&log()), "missing torn-0000000000000002-….bin");
    remove(SPARE_FILE, "holds 3");
    remove(RESUME_FILE, "holds 3");
    // Not found from files alone; see the module's documentation.
    remove(&file_name(1), "holds 2");
}

#[test]
fn a_cut_file_is_found_unless_it_is_cut_where_the_log_might_end() {
    let whole = log();
    for (file, bytes) in &whole.0 {
        for length in
            (0..bytes.len()).filter(|length| length % 256 == 0 || length + 1 == bytes.len())
        {
            let mut cut = whole.clone();
            cut.0.get_mut(file).unwrap().truncate(length);
            let found = said(&verify_disk(&cut));
            let is_end = file == &file_name(1) && (length == BLOCK || length == 2 * BLOCK);
            let holds = found.starts_with("holds");
            assert_eq!(holds, is_end || file == SPARE_FILE, "{length} bytes of `{file}`: {found}");
        }
    }
}

#[test]
fn two_files_that_changed_places_are_found() {
    let whole = log();
    let names: Vec<&String> = whole.0.keys().collect();
    for (position, one) in names.iter().enumerate() {
        for other in &names[position + 1..] {
            let mut swapped = whole.clone();
            let (first, second) = (whole.0[*one].clone(), whole.0[*other].clone());
            swapped.0.insert((*one).clone(), second);
            swapped.0.insert((*other).clone(), first);
            let found = said(&verify_disk(&swapped));
            assert!(!found.starts_with("holds"), "`{one}` and `{other}`: {found}");
        }
    }
}

#[test]
fn a_file_that_stands_there_twice_is_found() {
    let whole = log();
    let kept = kept_name(&whole);
    let other_frame = kept.replace("torn-0000000000000002", "torn-0000000000000001");
    let places = [
        &file_name(2),
        "spare",
        "resume",
        &other_frame,
        "copy",
        "copy.new",
        "0000000000000002.seg.new",
    ];
    for (file, bytes) in &whole.0 {
        for place in places.into_iter().filter(|place| place != file) {
            let mut doubled = whole.clone();
            doubled.0.insert(place.into(), bytes.clone());
            let found = said(&verify_disk(&doubled));
            assert!(!found.starts_with("holds"), "`{file}` as `{place}`: {found}");
        }
    }
}

/// A crash may leave the next segment begun and not yet named. That of another log, of another length or of an
/// incarnation before is none.
#[test]
fn a_spare_that_begins_another_segment_than_the_next_is_found() {
    let log = log();
    let walked = walk(&log, origin(), &mut |_, _| Ok(())).unwrap();
    let tail = walked.tail;
    let next = SegmentHeader {
        log_id: origin().log_id,
        number: tail.next_segment,
        bytes: 2 * BLOCK as u64,
        incarnation: tail.incarnation,
        first_frame: tail.next_frame,
        previous_hash: tail.previous_hash,
        frontier: tail.frontier,
    };
    assert!(next.incarnation > 0);
    let said_of = |header: &SegmentHeader| {
        let mut log = log.clone();
        let spare = [header.to_bytes(), vec![0; BLOCK]].concat();
        log.0.insert(SPARE_FILE.into(), spare);
        said(&verify_disk(&log))
    };
    assert_eq!(said_of(&next), "holds 3");
    let later = SegmentHeader { incarnation: next.incarnation + 1, ..next.clone() };
    assert_eq!(said_of(&later), "holds 3");
    for other in [
        SegmentHeader { log_id: [1; 32], ..next.clone() },
        SegmentHeader { bytes: 3 * BLOCK as u64, ..next.clone() },
        SegmentHeader { incarnation: next.incarnation - 1, ..next.clone() },
    ] {
        assert_eq!(said_of(&other), "corrupt spare 0", "{other:?}");
    }
}

#[test]
fn a_file_half_written_by_a_crash_is_no_part_of_the_log() {
    for name in ["origin.new", "resume.new", "spare.new", &format!("{}.new", kept_name(&log()))] {
        check(|files| drop(files.insert(name.into(), b"half".to_vec())), "holds 3");
    }
}
