//! Parts are what is found in them, and an altered one is none.

use chancery_core::clock::{Quality, Reading, Served};
use chancery_core::id::TenantId;
use chancery_log::Hash;

use super::part::PART_HEAD_BYTES;
use super::*;
use crate::frame::{Frame, FrameView, Item};
use crate::record::{Facts, Kind};
use crate::sealer::Month;

const FIRST: u64 = 1_000;
const RECORDS: u64 = 300;

/// What stands in for the secrets of a record: every record has a key of seven and an output of its own, one in five
/// was refused, and one in eleven cannot be opened any more.
fn terms(number: u64) -> Option<Terms> {
    let of = |value: u64| -> Term { *value.to_be_bytes().last_chunk().unwrap() };
    let mut terms = [None; FIELDS];
    terms[Field::Key as usize] = Some(of(number % 7));
    terms[Field::Action as usize] = Some(of(1));
    terms[Field::Reason as usize] = number.is_multiple_of(5).then(|| of(9));
    terms[Field::Output as usize] = Some(of(1_000_000 - number));
    (!number.is_multiple_of(11)).then_some(terms)
}

fn tenant(number: u64) -> TenantId {
    TenantId::from_bytes([u8::from(number.is_multiple_of(3)); 16])
}

fn month(number: u64) -> Month {
    if number < RECORDS / 2 { 700 } else { 701 }
}

fn item(number: u64) -> Item {
    let now = Reading {
        unix_ms: number,
        wall_ms: number,
        quality: Quality::Plausible,
        served: Served::default(),
    };
    Item::new(&Facts::new(tenant(number), now, Kind::Use), month(number), 1, number)
}

/// What stands in for a seal.
fn sealed(body: &[u8]) -> Vec<u8> {
    body.iter().map(|byte| byte ^ 0x55).collect()
}

fn parse(bytes: &[u8]) -> Result<Part, PartError> {
    Part::parse(bytes, |head, body| (head.first_index == FIRST).then(|| sealed(body)))
}

/// A part over frames of one, two, three … records.
fn part() -> (Part, Vec<u8>) {
    let place = FramePlace { segment: 5, offset: 8_192, first_index: FIRST };
    let mut builder = Builder::new([8; 32], place);
    let (mut next, mut offset) = (0, place.offset);
    for count in (1..).take_while(|count| count * (count + 1) / 2 <= RECORDS) {
        let frame = Frame {
            incarnation: 0,
            number: count,
            first_index: FIRST + next,
            unix_ms: 50_000 + count,
            boot_nonce: [1; 16],
            previous_hash: [2; 32],
            tree_root: Hash::from([u8::try_from(count).unwrap(); 32]),
            frame_root: Hash::from([4; 32]),
            previous_signature: [5; 64],
            items: (next..next + count).map(item).collect(),
        };
        let here = FramePlace { segment: 5, offset, first_index: FIRST + next };
        assert!(builder.goes_on_at(here));
        let length = 4_096 * (1 + count / 10);
        let encoded = frame.encode();
        let frame = FrameView::read(&encoded.bytes).unwrap();
        builder.add(&frame, length, |item| terms(item.counter)).unwrap();
        next += count;
        offset += length;
    }
    assert_eq!(next, RECORDS);
    builder.finish(|_, body| Ok::<_, PartError>(sealed(body))).unwrap()
}

/// The records that fit, found by looking at every one.
fn fitting(fits: impl Fn(u64) -> bool) -> Vec<u64> {
    let numbers = (0..RECORDS).filter(|&number| terms(number).is_some() && fits(number));
    numbers.map(|number| FIRST + number).collect()
}

#[test]
fn what_is_found_is_what_looking_at_every_record_finds() {
    let (part, bytes) = part();
    assert_eq!(parse(&bytes).as_ref(), Ok(&part));
    assert!(Part::parse(&bytes, |_, _| None::<Vec<u8>>).is_err(), "what does not open is no part");
    let of = |value: u64| -> Term { *value.to_be_bytes().last_chunk().unwrap() };
    for key in 0..8 {
        let found = part.find(|_, _| Some(vec![(Field::Key, vec![of(key)])])).unwrap();
        assert_eq!(found, fitting(|number| number % 7 == key));
    }
    let both = vec![(Field::Key, vec![of(2), of(4)]), (Field::Reason, vec![of(9)])];
    let found = part.find(|_, _| Some(both.clone())).unwrap();
    assert_eq!(found, fitting(|number| [2, 4].contains(&(number % 7)) && number % 5 == 0));
    let found = part.find(|_, _| Some(vec![(Field::Output, vec![of(1_000_000 - 42)])])).unwrap();
    assert_eq!(found, [FIRST + 42]);
    let of_one = part.find(|whose, when| (whose == tenant(0) && when == 701).then(Vec::new));
    assert_eq!(of_one.unwrap(), fitting(|number| number % 3 == 0 && month(number) == 701));
    assert!(part.find(|_, _| None).unwrap().is_empty());
    assert!(part.find(|_, _| Some(vec![(Field::Actor, vec![of(1)])])).unwrap().is_empty());
}

#[test]
fn each_record_is_led_to_its_frame() {
    let (part, _) = part();
    let frames = part.frames().unwrap();
    let (first, last) = (&frames[0], frames.last().unwrap());
    assert_eq!((first.0.offset, first.1.clone()), (8_192, FIRST..FIRST + 1));
    assert_eq!((last.0.first_index, last.1.end), (last.1.start, FIRST + RECORDS));
    let head = part.head();
    assert_eq!((head.earliest_ms, head.latest_ms), (50_001, 50_000 + 24));
    assert_eq!((head.first_index, head.end_index()), (FIRST, FIRST + RECORDS));
    assert_eq!(head.tree_root, Hash::from([24; 32]));
}

#[test]
fn a_bit_altered_anywhere_is_noticed_and_so_is_every_length() {
    let (_, bytes) = part();
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1 << (place % 8);
        assert!(parse(&altered).is_err(), "byte {place}");
        assert_eq!(PartHead::parse(&altered).is_err(), place < PART_HEAD_BYTES, "byte {place}");
    }
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(parse(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn what_a_body_is_sealed_to_is_all_that_the_head_says_of_the_log() {
    let (part, bytes) = part();
    let (covered, hash) = (128, PART_HEAD_BYTES - 32);
    for place in 8..covered {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        let sum = chancery_crypto::primitive::sha256(&[&altered[..hash]]);
        altered[hash..PART_HEAD_BYTES].copy_from_slice(&sum);
        let head = PartHead::parse(&altered).unwrap();
        assert_ne!(head.binding(), part.head().binding(), "byte {place}");
    }
}

#[test]
fn a_name_is_that_of_one_part() {
    assert_eq!(first_index(&file_name(77)), Some(77));
    for name in
        ["4d.idx", "000000000000004D.idx", "000000000000004d", ".idx", "+00000000000004d.idx"]
    {
        assert_eq!(first_index(name), None, "{name}");
    }
}
