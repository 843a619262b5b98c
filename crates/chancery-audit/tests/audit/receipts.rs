//! Receipts: made from frames, checked with nothing but the log's public key.

use chancery_audit::frame::Frame;
use chancery_audit::receipt::{Receipt, ReceiptError};
use chancery_audit::wal::{Chain, Tail};
use chancery_core::suite::Suite;
use chancery_crypto::key::{PrivateKey, PublicKey};
use chancery_log::Frontier;

use super::genuine::{Maker, NOW, boot, keys};
use super::life::{origin, sign};

/// A frame of so many records that is not the log's first.
fn frame(records: usize) -> Frame {
    let tail = Tail {
        incarnation: 2,
        next_frame: 0,
        previous_hash: [0; 32],
        frontier: Frontier::new(),
        last_head: None,
        next_segment: 0,
    };
    let mut chain = Chain::resume(&tail, origin().log_id, boot(9).boot_nonce, [0; 64]);
    let mut maker = Maker::of(boot(9));
    chain.compose(maker.records(3), NOW);
    chain.compose(maker.records(records), NOW).frame
}

fn receipt(frame: &Frame, position: u32) -> Vec<u8> {
    let head = frame.head(origin().log_id);
    Receipt::make(frame, origin().log_id, sign(&head), position, &keys(boot(9))).unwrap()
}

fn log_key() -> PublicKey {
    origin().verifier().unwrap()
}

#[test]
fn a_receipt_shows_its_record_in_frames_of_every_shape() {
    for records in 1..=17_u32 {
        let frame = frame(usize::try_from(records).unwrap());
        for position in 0..records {
            let shown = Receipt::check(&receipt(&frame, position), &log_key()).unwrap();
            assert_eq!(shown.index, 3 + u64::from(position));
            assert_eq!(shown.head, frame.head(origin().log_id));
            let made = u8::try_from(3 + position + 1).unwrap();
            assert_eq!(shown.payload.message, [made; 32], "record {position} of {records}");
        }
    }
}

#[test]
fn every_changed_bit_is_refused() {
    for (records, position) in [(1, 0), (3, 2), (8, 5)] {
        let bytes = receipt(&frame(records), position);
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Receipt::check(&altered, &log_key()).is_err(),
                "bit {bit} of {records} records"
            );
        }
    }
}

#[test]
fn every_truncation_and_any_extension_is_refused() {
    let bytes = receipt(&frame(3), 1);
    for length in 0..bytes.len() {
        assert_eq!(Receipt::check(&bytes[..length], &log_key()), Err(ReceiptError::NotAReceipt));
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Receipt::check(&longer, &log_key()), Err(ReceiptError::NotAReceipt));
}

#[test]
fn another_log_refuses_it() {
    let other = PrivateKey::from_secret(Suite::Ed25519, &[8; 32]).unwrap();
    let checked = Receipt::check(&receipt(&frame(3), 1), other.public().unwrap());
    assert_eq!(checked, Err(ReceiptError::BadSignature));
}

#[test]
fn keys_of_another_start_make_none() {
    let frame = frame(3);
    let made = Receipt::make(&frame, origin().log_id, [0; 64], 1, &keys(boot(8)));
    assert_eq!(made, None);
}
