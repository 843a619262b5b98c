//! Segments to their dense form and back, and every bit of one.

use chancery_log::Frontier;
use proptest::prelude::*;

use super::layout::{BUNDLE_ROW_BYTES, FRAME_ROW_BYTES};
use super::{Dense, DenseError, Packer};
use crate::frame::{AnswerBlock, EncodedFrame, Frame, Item, tests::item};
use crate::segment::{BLOCK_BYTES, SegmentHeader};

/// A segment as the log has it: the tree before it, its frames, its bytes.
struct Segment {
    header: SegmentHeader,
    frames: Vec<Frame>,
    encoded: Vec<EncodedFrame>,
    bytes: Vec<u8>,
}

fn record(number: u64) -> Item {
    let mut item = item(number);
    item.payload = vec![5; usize::try_from(number % 7).unwrap() * 40];
    if number.is_multiple_of(5) {
        let sealed = vec![8; usize::try_from(number % 60).unwrap() + 1];
        item.answer = Some(AnswerBlock { name: [1; 32], digest: [2; 32], id_ms: number, sealed });
    }
    item
}

/// A segment behind `before` records, with frames of so many each; cut behind the last, or not.
fn segment(before: u64, frames: &[usize], is_cut: bool) -> Segment {
    let mut frontier = Frontier::new();
    (0..before).for_each(|number| frontier.append(record(number).leaf_hash()));
    let mut header = SegmentHeader {
        log_id: [3; 32],
        number: 4,
        bytes: 0,
        incarnation: 1,
        first_frame: 70,
        previous_hash: [9; 32],
        frontier: frontier.clone(),
    };
    let mut previous_hash = header.previous_hash;
    let mut made = Vec::new();
    let mut encoded = Vec::new();
    for (number, count) in (70..).zip(frames) {
        let first_index = frontier.size();
        let items: Vec<Item> = (first_index..).take(*count).map(record).collect();
        for item in &items {
            frontier.append(item.leaf_hash());
        }
        let mut frame = Frame {
            incarnation: 1,
            number,
            first_index,
            unix_ms: number,
            boot_nonce: [4; 16],
            previous_hash,
            tree_root: frontier.root(),
            frame_root: frontier.root(),
            previous_signature: [7; 64],
            items,
        };
        frame.frame_root = frame.root_of_items();
        let bytes = frame.encode();
        previous_hash = bytes.hash;
        made.push(frame);
        encoded.push(bytes);
    }
    let used = BLOCK_BYTES + encoded.iter().map(|frame| frame.bytes.len()).sum::<usize>();
    header.bytes = u64::try_from(used + 3 * BLOCK_BYTES).unwrap();
    let mut bytes = header.to_bytes();
    for frame in &encoded {
        bytes.extend_from_slice(&frame.bytes);
    }
    if !is_cut {
        bytes.resize(used + 3 * BLOCK_BYTES, 0);
    }
    Segment { header, frames: made, encoded, bytes }
}

fn packed(segment: &Segment) -> Vec<u8> {
    let mut packer = Packer::new(segment.header.clone());
    segment.encoded.iter().for_each(|frame| packer.add(&frame.bytes).unwrap());
    packer.finish(u64::try_from(segment.bytes.len()).unwrap()).unwrap().concat()
}

/// The segment that a dense one is of, or the first thing that is wrong with it.
fn expanded(dense: &[u8]) -> Result<Vec<u8>, DenseError> {
    let mut dense_segment = Dense::open(dense.to_vec())?;
    dense_segment.check(u64::try_from(dense.len()).unwrap())?;
    let mut bytes = dense_segment.head().segment.to_bytes();
    for number in 0..dense_segment.head().frames {
        let frame = dense_segment.frame(number)?;
        let offset = dense_segment.head().frame_row_offset(number);
        let altered = |_| DenseError::Corrupt { offset, what: "the frame does not decode" };
        Frame::decode(&frame).map_err(altered)?;
        bytes.extend_from_slice(&frame);
    }
    bytes.resize(usize::try_from(dense_segment.head().segment_bytes).unwrap(), 0);
    Ok(bytes)
}

fn check_places(segment: &Segment, dense: &[u8]) {
    let mut dense = Dense::open(dense.to_vec()).unwrap();
    let mut block = 1;
    for (number, (frame, encoded)) in (0..).zip(segment.frames.iter().zip(&segment.encoded)) {
        assert_eq!(dense.frame_at(block).unwrap(), Some(number));
        assert_eq!(dense.frame(number).unwrap(), encoded.bytes);
        let facts = dense.row(number).unwrap().facts().unwrap();
        assert_eq!(facts.head([3; 32]), frame.head([3; 32]));
        for (index, item) in (frame.first_index..).zip(&frame.items) {
            assert_eq!(dense.frame_of(index).unwrap(), Some(number));
            assert_eq!(dense.item(index).unwrap().as_ref(), Some(item));
        }
        let blocks = u32::try_from(encoded.bytes.len() / BLOCK_BYTES).unwrap();
        for within in block + 1..block + blocks {
            assert_eq!(dense.frame_at(within).unwrap(), None);
        }
        block += blocks;
    }
    assert_eq!(dense.frame_at(block).unwrap(), Some(dense.head().frames));
    assert_eq!(dense.frame_at(block + 1).unwrap(), None);
    let (first, count) = (segment.header.frontier.size(), segment.frames.iter());
    let end = first + count.map(|frame| frame.items.len() as u64).sum::<u64>();
    assert_eq!(dense.item(end).unwrap(), None);
    assert!(first == 0 || dense.item(first - 1).unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_segment_comes_back_byte_for_byte(
        before in 0_u64..600,
        frames in proptest::collection::vec(
            prop_oneof![4 => 1_usize..6, 1 => 200_usize..300, 1 => 500_usize..600],
            0..14,
        ),
        is_cut: bool,
    ) {
        let segment = segment(before, &frames, is_cut);
        let dense = packed(&segment);
        prop_assert_eq!(expanded(&dense).unwrap(), segment.bytes.clone());
        check_places(&segment, &dense);
    }
}

#[test]
fn bundles_part_where_those_of_the_published_log_do() {
    let segment = segment(250, &[3, 300, 1], true);
    let dense = Dense::open(packed(&segment)).unwrap();
    let starts = (0..dense.head().bundles).map(|number| dense.bundle_row(number).unwrap());
    assert_eq!(starts.map(|row| row.first_index).collect::<Vec<_>>(), [250, 256, 512]);
}

#[test]
fn a_segment_of_small_frames_shrinks_to_what_is_in_it() {
    let segment = segment(0, &[1; 100], true);
    let items: usize = segment.frames.iter().map(|frame| frame.items[0].encoded_bytes()).sum();
    let dense = packed(&segment);
    assert_eq!(dense.len(), BLOCK_BYTES + 100 * FRAME_ROW_BYTES + BUNDLE_ROW_BYTES + items + 4);
    assert!(dense.len() * 4 < segment.bytes.len(), "{} of {}", dense.len(), segment.bytes.len());
}

#[test]
fn every_flipped_bit_is_found_in_what_it_belongs_to() {
    let dense = packed(&segment(254, &[1, 4, 2], false));
    let head = Dense::open(dense.clone()).unwrap().head().clone();
    let offset = |offset: u64| usize::try_from(offset).unwrap();
    let (rows, bundles) = (offset(head.bundle_row_offset(0)), offset(head.bundles_offset()));
    let starts: Vec<usize> = (0..head.bundles)
        .map(|number| {
            let row = Dense::open(dense.clone()).unwrap().bundle_row(number).unwrap();
            offset(row.offset)
        })
        .collect();
    for at in 0..dense.len() {
        // What begins the thing that the byte is part of.
        let place = if at < BLOCK_BYTES {
            0
        } else if at < rows {
            at - (at - BLOCK_BYTES) % FRAME_ROW_BYTES
        } else if at < bundles {
            at - (at - rows) % BUNDLE_ROW_BYTES
        } else {
            starts.iter().copied().filter(|start| *start <= at).max().unwrap()
        };
        for bit in 0..8 {
            let mut altered = dense.clone();
            altered[at] ^= 1 << bit;
            match expanded(&altered) {
                Err(DenseError::Corrupt { offset, .. }) => {
                    assert_eq!(usize::try_from(offset).unwrap(), place, "bit {bit} of byte {at}");
                }
                other => panic!("bit {bit} of byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_or_has_grown_is_found() {
    let dense = packed(&segment(0, &[1, 4, 2], true));
    for length in 0..dense.len() {
        assert!(expanded(&dense[..length]).is_err(), "{length} bytes");
    }
    let grown = [dense.as_slice(), &[0]].concat();
    let expected = u64::try_from(dense.len()).unwrap();
    assert!(
        matches!(expanded(&grown), Err(DenseError::Corrupt { offset, .. }) if offset == expected)
    );
}

#[test]
fn what_is_not_the_next_frame_of_a_segment_is_not_packed() {
    let segment = segment(0, &[1], true);
    let mut altered = segment.encoded[0].bytes.clone();
    altered[300] ^= 1;
    assert!(Packer::new(segment.header.clone()).add(&altered[..200]).is_err());
    // The length of a section: the items do not end where the frame does.
    altered[224 + 81] ^= 1;
    assert!(Packer::new(segment.header).add(&altered).is_err());
}
