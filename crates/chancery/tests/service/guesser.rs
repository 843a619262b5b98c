//! A guesser who knows a record but for which of a few messages it is about: what is published, and what is opened of
//! the record beside its payload, confirms no guess. With the payload opened the same guesser is right at once.

mod mirrors;

use std::collections::BTreeSet;

use chancery_api::http::replies::AnswerObject;
use chancery_audit::opening::Opening;
use chancery_audit::record::PayloadSection;
use chancery_audit::sealer::commit_payload;
use chancery_client::{Client, sha256_of};
use chancery_core::command::{AuditQuery, Command};
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_log::leaf_hash;

use super::people::query;
use crate::harness::{Service, ask, committed, eventually, fresh, key_and_handle, sign};

/// So many messages it may be.
const GUESSES: u8 = 32;

fn message(guess: u8) -> String {
    format!("pay {guess} to bob")
}

fn opening(client: &Client, index: u64, groups: &[RecordGroup]) -> Opening {
    let groups = RecordGroups::of(groups).unwrap();
    match committed(ask(client, &Command::OpenRecord { index, groups })).answer {
        AnswerObject::Opening(bytes) => Opening::parse(&bytes.0).unwrap(),
        other => panic!("no opening but {other:?}"),
    }
}

/// Which guesses are confirmed by bytes of which any may be the seed, and any the hash of the right commitment. `known`
/// is the rest of the payload.
fn confirmed(bytes: &[u8], known: &PayloadSection) -> BTreeSet<u8> {
    let hashes: BTreeSet<&[u8]> = bytes.windows(32).collect();
    let confirms = |seed: &[u8; 32], guess: u8| {
        let message = sha256_of(message(guess).as_bytes()).unwrap();
        let payload = PayloadSection { message, ..known.clone() };
        let commitment = commit_payload(seed, &payload).unwrap();
        hashes.contains(&leaf_hash(&commitment).as_bytes()[..]) || hashes.contains(&commitment[..])
    };
    let seeds = hashes.iter().map(|seed| seed.first_chunk().unwrap());
    let all = seeds.flat_map(|seed| (0..GUESSES).map(move |guess| (seed, guess)));
    all.filter(|(seed, guess)| confirms(seed, *guess)).map(|(_, guess)| guess).collect()
}

#[test]
fn no_guess_is_confirmed_by_what_is_published_or_opened_beside_the_payload() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    let right = 21;
    for _ in 0..2 {
        committed(sign(&client, &handle, message(right).as_bytes(), fresh()));
    }
    let asked =
        AuditQuery { action: Some("sign".parse().unwrap()), limit: 2, ..AuditQuery::default() };
    let records = query(&client, asked);
    let index = records[1].log_index;
    let size = index + 1;
    eventually("the record is published", || {
        client.log_file("checkpoint").is_ok_and(|note| {
            let note = String::from_utf8(note).unwrap();
            note.lines().nth(1).unwrap().parse::<u64>().unwrap() >= size
        })
    });
    let files = [
        "checkpoint",
        "policy",
        &format!("tile/0/000.p/{size}"),
        &format!("tile/entries/000.p/{size}"),
    ];
    let published: Vec<u8> = files.iter().flat_map(|file| client.log_file(file).unwrap()).collect();
    // What is signed twice stands there as two leaves without anything in common.
    assert_ne!(records[0].leaf, records[1].leaf);

    let others = RecordGroup::ALL.into_iter().filter(|group| *group != RecordGroup::Payload);
    let others = opening(&client, index, &others.collect::<Vec<_>>()).to_bytes();
    let whole = opening(&client, index, &RecordGroup::ALL);
    let known = whole.open().unwrap().payload.unwrap();
    assert!(published.windows(32).any(|window| window == whole.leaf().as_bytes()));
    assert!(confirmed(&[&published[..], &others].concat(), &known).is_empty());
    assert_eq!(confirmed(&whole.to_bytes(), &known), BTreeSet::from([right]));
}
