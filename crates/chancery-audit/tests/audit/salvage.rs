//! What can be read of a damaged log: every frame but those that are damaged, and what lies between them.

use std::ops::Range;

use chancery_audit::frame::Frame;
use chancery_audit::salvage::{Salvage, Salvaged, size};
use chancery_audit::segment::file_name;

use super::damage::{Still, log};

const BLOCK: usize = 4096;

/// Records that a log gives, and those that are lost.
fn salvaged(log: &Still, range: Range<u64>) -> (Vec<u64>, Vec<Range<u64>>) {
    let (mut read, mut lost) = (Vec::new(), Vec::new());
    for one in Salvage::new(log, range).unwrap() {
        match one {
            Salvaged::Frame(frame) => read.extend(frame.first_index..frame.end_index()),
            Salvaged::Lost(records) => lost.push(records),
        }
    }
    (read, lost)
}

/// The records of the frame at a block of a segment, if one is there.
fn records(log: &Still, segment: u64, block: usize) -> Option<Range<u64>> {
    let (frame, _) = Frame::decode(log.0[&file_name(segment)].get(block * BLOCK..)?).ok()?;
    Some(frame.first_index..frame.end_index())
}

#[test]
fn a_log_that_is_whole_gives_all_of_it() {
    let log = log();
    let end = size(&log).unwrap();
    assert_eq!(salvaged(&log, 0..end), ((0..end).collect(), Vec::new()));
    assert_eq!(salvaged(&log, 1..end).1, Vec::new());
    let beyond = end..end + 2;
    assert_eq!(salvaged(&log, 0..beyond.end).1, std::slice::from_ref(&beyond));
}

#[test]
fn a_block_that_is_damaged_takes_its_own_frame_and_no_other() {
    let log = log();
    let end = size(&log).unwrap();
    for segment in 0..2 {
        for block in 0..log.0[&file_name(segment)].len() / BLOCK {
            let mut damaged = log.clone();
            damaged.0.get_mut(&file_name(segment)).unwrap()[block * BLOCK + 9] ^= 1;
            let lost = records(&log, segment, block);
            let whole = |record: &u64| !lost.as_ref().is_some_and(|lost| lost.contains(record));
            let expected = (0..end).filter(whole).collect();
            assert_eq!(
                salvaged(&damaged, 0..end),
                (expected, lost.clone().into_iter().collect()),
                "block {block} of {segment}"
            );
            let is_last = lost.is_some_and(|lost| lost.end == end);
            assert_eq!(size(&damaged).unwrap() < end, is_last, "block {block} of {segment}");
        }
    }
}

#[test]
fn a_segment_that_is_missing_is_lost_whole() {
    let log = log();
    let end = size(&log).unwrap();
    let first = records(&log, 1, 1).unwrap().start;
    for (segment, lost) in [(0, 0..first), (1, first..end)] {
        let mut damaged = log.clone();
        damaged.0.remove(&file_name(segment));
        assert_eq!(salvaged(&damaged, 0..end).1, [lost]);
    }
}
