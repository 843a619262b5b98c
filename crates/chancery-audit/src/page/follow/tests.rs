//! Pages of a log that is composed as the service does it, handed on whole, in parts, and altered.

use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_log::Frontier;

use super::*;
use crate::frame::Item;
use crate::frame::tests::item;
use crate::wal::{Chain, Composed, Tail};

/// A log of frames with so many records each.
struct Log {
    key: PrivateKey,
    frames: Vec<Composed>,
}

fn key(byte: u8) -> PrivateKey {
    PrivateKey::from_secret(Suite::Ed25519, &[byte; 32]).unwrap()
}

impl Log {
    fn of(frames: &[u64]) -> Self {
        let key = key(1);
        let origin = Origin::of_signer(&key).unwrap();
        let tail = Tail {
            incarnation: 0,
            next_frame: 0,
            previous_hash: [0; 32],
            frontier: Frontier::new(),
            last_head: None,
            next_segment: 0,
        };
        let mut chain = Chain::resume(&tail, origin.log_id, [4; 16], [0; 64]);
        let mut counter = 0;
        let mut compose = |records: &u64| {
            let items = (0..*records).map(|_| {
                counter += 1;
                let item = item(counter);
                let leaf = item.leaf_hash();
                (item, leaf)
            });
            chain.compose(items.collect(), 5)
        };
        let frames = frames.iter().map(&mut compose).collect();
        Self { key, frames }
    }

    fn origin(&self) -> Origin {
        Origin::of_signer(&self.key).unwrap()
    }

    fn follower(&self) -> Follower {
        Follower::new(self.origin().name())
    }

    fn bytes(&self, frame: usize) -> Vec<u8> {
        let bytes = &self.frames[frame].encoded.bytes;
        bytes[..length_at(bytes).unwrap()].to_vec()
    }

    fn last(&self, frame: usize) -> LastFrame {
        let Composed { frame, encoded, head } = &self.frames[frame];
        LastFrame { number: frame.number, tree_size: head.tree_size, hash: encoded.hash }
    }

    fn signed(&self, last: Option<LastFrame>, frames: &[u8]) -> Vec<u8> {
        let head = PageHead::sign(100, last, (&self.origin(), &self.key)).unwrap();
        [&head.to_bytes()[..], frames].concat()
    }

    fn page(&self, frames: Range<usize>) -> Vec<u8> {
        let bytes: Vec<u8> = frames.clone().flat_map(|frame| self.bytes(frame)).collect();
        self.signed(Some(self.last(frames.end - 1)), &bytes)
    }
}

fn items_of(taken: &Taken) -> Vec<Item> {
    let frames = taken.frames().flat_map(|(frame, leaves)| {
        let items: Vec<_> = frame.items().map(|item| item.unwrap().to_item()).collect();
        let hashes: Vec<_> = items.iter().map(Item::leaf_hash).collect();
        assert_eq!(hashes, leaves);
        items
    });
    frames.collect()
}

#[test]
fn a_log_is_followed_from_any_record_page_by_page() {
    let log = Log::of(&[2, 1, 3, 1]);
    let every: Vec<_> = log.frames.iter().flat_map(|it| it.frame.items.clone()).collect();
    let mut follower = log.follower();
    let first = follower.take(0, log.page(0..2)).unwrap();
    assert_eq!((items_of(&first), first.size), (every[..3].to_vec(), 100));
    assert_eq!(follower.next_index(), Some(3));
    let nothing = follower.take(3, log.signed(None, b"")).unwrap();
    assert_eq!((items_of(&nothing), follower.next_index()), (Vec::new(), Some(3)));
    assert_eq!(items_of(&follower.take(3, log.page(2..4)).unwrap()), every[3..]);
    // From within a frame.
    assert_eq!(items_of(&log.follower().take(4, log.page(2..3)).unwrap()), every[3..6]);
}

#[test]
fn a_frame_that_comes_in_parts_is_taken_when_it_is_whole() {
    let log = Log::of(&[1, 3, 1]);
    let (begin, whole, end) = (log.bytes(0), log.bytes(1), log.bytes(2));
    let (first, rest) = whole.split_at(500);
    let (second, third) = rest.split_at(500);
    let mut follower = log.follower();
    let one = follower.take(0, log.signed(Some(log.last(0)), &[&begin, first].concat())).unwrap();
    assert_eq!((items_of(&one).len(), follower.begun_bytes()), (1, 500));
    let two = follower.take(1, log.signed(None, second)).unwrap();
    assert_eq!((items_of(&two).len(), follower.begun_bytes()), (0, 1_000));
    let last = log.signed(Some(log.last(2)), &[third, &end].concat());
    let three = follower.take(1, last).unwrap();
    assert_eq!((items_of(&three).len(), follower.begun_bytes()), (4, 0));
    assert_eq!(follower.next_index(), Some(5));
}

/// With its checksum made right again, too: what the log did not write is not taken.
#[test]
fn no_altered_bit_of_a_page_is_taken() {
    let log = Log::of(&[1, 2, 1]);
    let page = log.page(1..3);
    let frame = PAGE_HEAD_BYTES..PAGE_HEAD_BYTES + log.bytes(1).len();
    for bit in 0..page.len() * 8 {
        let mut altered = page.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut follower = log.follower();
        let taken = follower.take(1, altered.clone());
        if (64..128).contains(&bit) {
            // How many records are durable is the front's word.
            assert!(taken.is_ok());
            continue;
        }
        assert!(taken.is_err(), "bit {bit}");
        assert_eq!(follower.next_index(), None);
        let bytes = &mut altered[frame.clone()];
        let (body, sum) = bytes.split_last_chunk_mut::<4>().unwrap();
        *sum = crc32c::crc32c(body).to_be_bytes();
        if altered != page {
            assert!(log.follower().take(1, altered).is_err(), "bit {bit}, with its checksum");
        }
    }
}

#[test]
fn a_page_that_is_cut_swapped_or_of_another_log_is_not_taken() {
    let log = Log::of(&[1, 2, 1, 1]);
    let mut follower = log.follower();
    follower.take(0, log.page(0..1)).unwrap();
    let mut refused = |page: Vec<u8>, error: FollowError| {
        assert_eq!(follower.take(1, page).unwrap_err(), error);
        assert_eq!(follower.next_index(), Some(1));
    };
    refused(Vec::new(), FollowError::NotAPage);
    refused(b"{}".repeat(100), FollowError::NotAPage);
    refused(log.page(2..3), FollowError::NotNext(1));
    refused(log.page(0..1), FollowError::NotNext(1));
    let swapped = [log.bytes(1), log.bytes(3)].concat();
    refused(log.signed(Some(log.last(3)), &swapped), FollowError::NotNext(3));
    // What the log signed elsewhere does not vouch for it.
    refused(log.signed(Some(log.last(2)), &log.bytes(1)), FollowError::NotSigned(2));
    refused(log.signed(None, &log.bytes(1)), FollowError::NotSigned(2));
    refused(log.signed(Some(log.last(1)), b""), FollowError::NotAPage);
    let foreign = Log { key: key(2), frames: Log::of(&[1, 2]).frames };
    refused(foreign.page(1..2), FollowError::OtherLog);
    let mut posing = foreign.page(1..2);
    posing[16..48].copy_from_slice(&log.page(1..2)[16..48]);
    refused(posing, FollowError::NotSigned(2));
    let mut cut = log.page(1..3);
    cut.truncate(cut.len() - 1);
    refused(cut, FollowError::NotSigned(2));
}

/// A frame of other records, with all that can be computed for it without the log's key.
#[test]
fn a_frame_whose_leaves_are_not_those_of_its_root_is_not_taken() {
    let log = Log::of(&[2]);
    let mut frame = log.frames[0].frame.clone();
    frame.items.swap(0, 1);
    let encoded = frame.encode();
    let bytes = &encoded.bytes[..length_at(&encoded.bytes).unwrap()];
    let last = LastFrame { hash: encoded.hash, ..log.last(0) };
    let taken = log.follower().take(0, log.signed(Some(last), bytes));
    assert_eq!(taken.unwrap_err(), FollowError::OtherLeaves(0));
}
