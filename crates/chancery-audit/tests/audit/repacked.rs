//! A log whose closed segments are dense says the same to everybody who reads it, and what is done to its files is
//! found where it is. Repackers that are wrong in one way each are condemned.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use chancery_audit::dense::{self, Dense};
use chancery_audit::disk::{Disk, DiskFile};
use chancery_audit::frame::Frame;
use chancery_audit::frames::FrameReader;
use chancery_audit::index::FramePlace;
use chancery_audit::recovery::{WalkError, settle, walk};
use chancery_audit::repack::{RepackError, Repacked, repack};
use chancery_audit::segment::file_name;
use chancery_audit::verify::verify_disk;
use chancery_audit::wal::read_frame_at;

use super::crash::{LIFE, LIVES, explore_lives};
use chancery_audit::salvage::{Salvage, Salvaged, size};

use super::damage::{Still, said};
use super::genuine::{read_frames, write_log};
use super::life::{Life, Repack, SMALL, origin};
use super::model::Model;

const BLOCK: usize = 4096;

/// Three segments, of which two are closed, and frames of one record to 300.
const FRAMES: [usize; 12] = [1, 1, 3, 300, 1, 2, 290, 1, 1, 1, 290, 1];

fn written() -> Model {
    let model = Model::default();
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    write_log(&disk, 288 * 1024, &FRAMES);
    assert!(model.list().unwrap().contains(&file_name(2)), "{:?}", model.list().unwrap());
    model
}

fn repacked(model: &Model, numbers: &[u64]) -> Model {
    let model = Model::of(&model.image());
    for number in numbers {
        let Repacked { before, after } = repack(&model, *number).unwrap();
        assert!(after < before, "{before} bytes became {after}");
    }
    model
}

/// Where each frame stands, as it is found by reading from the log's beginning.
fn places(disk: &dyn Disk) -> Vec<(FramePlace, Frame)> {
    let mut reader = FrameReader::from_record(disk, 0).unwrap();
    let mut places = Vec::new();
    while let Some(frame) = reader.next_frame(disk).unwrap() {
        places.push((reader.last().unwrap().0, frame));
    }
    places
}

#[test]
fn whoever_reads_the_log_reads_the_same_from_either_form() {
    let padded = written();
    let wanted = places(&padded);
    assert_eq!(wanted.len(), FRAMES.len());
    let report = |model: &Model| {
        let report = verify_disk(model).unwrap();
        (report.root, report.size, report.frames, report.signatures)
    };
    for numbers in [&[0][..], &[1], &[0, 1]] {
        let dense = repacked(&padded, numbers);
        assert_eq!(places(&dense), wanted, "{numbers:?}");
        assert_eq!(read_frames(&dense), read_frames(&padded));
        assert_eq!(report(&dense), report(&padded));
        for (place, frame) in &wanted {
            let read = read_frame_at(&dense, place.segment, place.offset).unwrap();
            assert_eq!(&read, frame);
            for index in frame.first_index..frame.end_index() {
                assert_eq!(FrameReader::frame_of(&dense, index).unwrap().as_ref(), Some(frame));
            }
            let mut from = FrameReader::from_record(&dense, frame.first_index).unwrap();
            assert_eq!(from.next_frame(&dense).unwrap().as_ref(), Some(frame));
            // Within the frame there is none.
            assert!(read_frame_at(&dense, place.segment, place.offset + 1).is_err());
        }
    }
}

/// Who reads on while a segment is repacked goes on in the other form, at every frame.
#[test]
fn a_segment_may_be_repacked_between_two_reads() {
    let padded = written();
    let wanted = places(&padded);
    for taken in 0..wanted.len() {
        let model = Model::of(&padded.image());
        let mut reader = FrameReader::from_record(&model, 0).unwrap();
        let mut read: Vec<Frame> =
            (0..taken).map_while(|_| reader.next_frame(&model).unwrap()).collect();
        repack(&model, 0).unwrap();
        repack(&model, 1).unwrap();
        while let Some(frame) = reader.next_frame(&model).unwrap() {
            read.push(frame);
        }
        assert!(read.iter().eq(wanted.iter().map(|(_, frame)| frame)), "after {taken} frames");
    }
}

#[test]
fn the_open_segment_is_not_repacked_and_a_closed_one_once() {
    let model = written();
    assert!(matches!(repack(&model, 2), Err(RepackError::ReadBack(_))));
    repack(&model, 1).unwrap();
    assert!(matches!(repack(&model, 1), Err(RepackError::Disk(_))));
    let before = model.image();
    assert!(repack(&model, 2).is_err());
    assert_eq!(model.image(), before);
}

/// The next start cuts nothing off a log whose last segment was taken away, and does not fail over it either.
#[test]
fn a_log_that_ends_with_a_dense_segment_is_settled() {
    let model = repacked(&written(), &[0, 1]);
    model.remove(&file_name(2)).unwrap();
    let walked = walk(&model, origin(), &mut |_, _| Ok(())).unwrap();
    assert_eq!(walked.last, None);
    assert_eq!(settle(&model, walked).unwrap().tail.next_segment, 2);
}

/// What was altered before a repack is not made good by it: the segment stays as it is.
#[test]
fn an_altered_segment_is_not_repacked() {
    let whole = written();
    let bytes = whole.read_whole(&file_name(0)).unwrap();
    for at in (0..bytes.len()).step_by(509) {
        let model = Model::of(&whole.image());
        let file = model.open(&file_name(0)).unwrap();
        file.write_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
        let found = repack(&model, 0);
        assert!(found.is_err(), "byte {at}: {found:?}");
        assert!(model.list().unwrap().contains(&file_name(0)));
        assert!(!model.list().unwrap().contains(&dense::file_name(0)));
    }
}

fn files(model: &Model) -> Still {
    let files = model.image().into_iter().map(|(name, file)| (name, file.to_bytes()));
    Still(files.collect::<BTreeMap<_, _>>())
}

/// A small log with a dense segment, an open one, and the dense one's first form if `both`.
fn small(both: bool) -> Still {
    let model = Model::default();
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    let frames: &[&[usize]] = &[SMALL, &[100, 200], SMALL, SMALL];
    Life::of(16 * 1024).lead(&disk, &model, frames).unwrap();
    let first = model.read_whole(&file_name(0)).unwrap();
    repack(&model, 0).unwrap();
    let mut log = files(&model);
    if both {
        log.0.insert(file_name(0), first);
    }
    assert!(said(&verify_disk(&log)).starts_with("holds"), "{}", said(&verify_disk(&log)));
    log
}

#[test]
fn every_flipped_bit_of_a_dense_segment_is_found_and_named() {
    let file = dense::file_name(0);
    for both in [false, true] {
        let mut log = small(both);
        let bytes = log.0[&file].len();
        for at in 0..bytes {
            for bit in 0..8 {
                log.0.get_mut(&file).unwrap()[at] ^= 1 << bit;
                let found = said(&verify_disk(&log));
                let offset = found.strip_prefix(&format!("corrupt {file} "));
                let offset: usize = offset.unwrap_or_else(|| panic!("{found}")).parse().unwrap();
                // The thing that the byte is part of begins before it, and there are few bytes in one.
                assert!(offset <= at && at - offset < BLOCK, "bit {bit} of byte {at}: {found}");
                log.0.get_mut(&file).unwrap()[at] ^= 1 << bit;
            }
        }
    }
}

/// While both forms are there the first counts: a start goes on with it whatever became of the other.
#[test]
fn a_start_reads_the_first_form_while_it_is_there() {
    let mut log = small(true);
    log.0.get_mut(&dense::file_name(0)).unwrap()[5000] ^= 1;
    assert!(verify_disk(&log).is_err());
    walk(&log, origin(), &mut |_, _| Ok(())).unwrap();
    log.0.remove(&file_name(0)).unwrap();
    let found = walk(&log, origin(), &mut |_, _| Ok(()));
    assert!(matches!(found, Err(WalkError::Corrupt { file, .. }) if file == dense::file_name(0)));
}

#[test]
fn a_dense_segment_that_is_missing_cut_swapped_or_doubled_is_found() {
    let file = dense::file_name(0);
    let whole = small(false);
    let mut log = whole.clone();
    log.0.remove(&file).unwrap();
    assert_eq!(said(&verify_disk(&log)), format!("missing {}", file_name(0)));
    for length in (0..whole.0[&file].len()).step_by(64) {
        let mut log = whole.clone();
        log.0.get_mut(&file).unwrap().truncate(length);
        assert!(said(&verify_disk(&log)).starts_with(&format!("corrupt {file}")), "{length} bytes");
    }
    for place in [dense::file_name(1), dense::file_name(2), file_name(2), "copy".into()] {
        let mut log = whole.clone();
        log.0.insert(place.clone(), whole.0[&file].clone());
        let found = said(&verify_disk(&log));
        assert!(!found.starts_with("holds"), "as `{place}`: {found}");
    }
    let mut half = whole;
    half.0.insert(dense::unverified_name(1), b"half".to_vec());
    assert!(said(&verify_disk(&half)).starts_with("holds"));
}

/// A disk as a wrong repacker uses it.
struct Hasty<'d> {
    disk: &'d dyn Disk,
    syncs_file: bool,
    syncs_directory: bool,
}

impl Disk for Hasty<'_> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create_zeroed(&self, name: &str, length: u64) -> io::Result<()> {
        self.disk.create_zeroed(name, length)
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_whole(name, bytes)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(name)
    }

    fn read_whole(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read_whole(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.syncs_directory { self.disk.sync_directory() } else { Ok(()) }
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        if self.syncs_file {
            return self.disk.write_new(name, parts);
        }
        self.disk.create_zeroed(name, 0)?;
        self.disk.open(name)?.write_at(&parts.concat(), 0)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

fn repack_without_file_sync(disk: &dyn Disk, number: u64) -> Result<Repacked, RepackError> {
    repack(&Hasty { disk, syncs_file: false, syncs_directory: true }, number)
}

fn repack_without_directory_sync(disk: &dyn Disk, number: u64) -> Result<Repacked, RepackError> {
    repack(&Hasty { disk, syncs_file: true, syncs_directory: false }, number)
}

/// Frees the segment before there is anything in its place.
fn repack_freeing_first(disk: &dyn Disk, number: u64) -> Result<Repacked, RepackError> {
    let bytes = disk.read_whole(&file_name(number))?;
    disk.remove(&file_name(number))?;
    disk.sync_directory()?;
    disk.write_whole(&file_name(number), &bytes)?;
    repack(disk, number)
}

#[test]
fn a_repacker_that_frees_what_is_not_yet_replaced_is_condemned() {
    let wrong: [(&str, Repack); 3] = [
        ("no file sync", repack_without_file_sync),
        ("no directory sync", repack_without_directory_sync),
        ("freed first", repack_freeing_first),
    ];
    for (name, repack) in wrong {
        let life = Life { repack: Some(repack), ..LIFE };
        let tally = explore_lives(life, &LIVES[..1], &|model| Arc::new(model));
        println!("{name}: {} of {} crash states fail", tally.failures.len(), tally.states);
        assert!(!tally.failures.is_empty(), "{name} was not found");
    }
}

/// A bundle that is damaged takes the frames that reach into it, a row its own frame, and the head all of the segment.
#[test]
fn what_is_whole_of_a_damaged_dense_segment_is_salvaged() {
    let file = dense::file_name(0);
    let log = repacked(&written(), &[0]);
    let end = size(&log).unwrap();
    let wanted: BTreeMap<u64, Frame> =
        read_frames(&log).into_iter().map(|frame| (frame.first_index, frame)).collect();
    let whole = log.read_whole(&file).unwrap();
    let bundles = Dense::open(log.open(&file).unwrap()).unwrap().head().bundles_offset();
    for at in (0..whole.len()).step_by(997) {
        let damaged = Model::of(&log.image());
        let offset = u64::try_from(at).unwrap();
        damaged.open(&file).unwrap().write_at(&[whole[at] ^ 4], offset).unwrap();
        let (mut next, mut frames) = (0, 0);
        for salvaged in Salvage::new(&damaged, 0..end).unwrap() {
            next = match salvaged {
                Salvaged::Lost(records) => {
                    assert_eq!(records.start, next, "byte {at}");
                    records.end
                }
                Salvaged::Frame(frame) => {
                    assert_eq!(wanted.get(&next), Some(&*frame), "byte {at}");
                    frames += 1;
                    frame.end_index()
                }
            };
        }
        assert_eq!(next, end, "byte {at}");
        assert!(frames < wanted.len(), "byte {at} is part of no frame");
        let is_in_head = offset < 4_096;
        assert_eq!(Dense::open(damaged.open(&file).unwrap()).is_err(), is_in_head, "byte {at}");
        assert!(is_in_head || offset < bundles || frames > 6, "byte {at} takes {frames} frames");
    }
}
