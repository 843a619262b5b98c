//! Checkpoints over what is signed, and a data directory that is taken back.

use std::fs;
use std::path::Path;

use chancery_core::command::{AuditQuery, Command};
use chancery_crypto::notes::NoteKey;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{Note, NoteVerifier};
use chancery_log::policy::Policy;
use chancery_log::tile::{Tile, TileTree, from_tile_bytes};
use chancery_log::{Hash, Leaf, TreeHead, verify_inclusion};

use super::people::records;
use crate::harness::{
    Options, Service, ask, committed, copy, eventually, fresh, key_and_handle, new_handle, refused,
    sign, text,
};

/// The published checkpoint, if both keys of the policy beside it signed it.
fn checkpoint(service: &Service) -> Option<TreeHead> {
    let log = service.data().join("log");
    let policy = Policy::parse(&fs::read_to_string(log.join("policy")).ok()?).unwrap();
    let keys: Vec<_> =
        policy.logs().iter().map(|log| NoteKey::new(log.key.clone()).unwrap()).collect();
    let known: Vec<&dyn NoteVerifier> = keys.iter().map(|key| key as _).collect();
    let note = Note::parse(&fs::read(log.join("checkpoint")).ok()?).unwrap();
    let signed = note.verify(&known).unwrap();
    assert_eq!(signed.by().len(), 2);
    Some(signed.text().parse::<Checkpoint>().unwrap().tree)
}

/// The published hashes of a tile.
fn hashes(service: &Service, tile: Tile) -> Option<Vec<Hash>> {
    from_tile_bytes(&fs::read(service.data().join(format!("log/{tile}"))).ok()?, tile.width())
}

fn one_signature(service: &Service) -> u64 {
    let client = service.client();
    let name = format!("k{}", fresh());
    let (_, handle) = key_and_handle(&client, &name, "sign.bound:invoice", "ed25519");
    committed(sign(&client, &handle, b"message", fresh())).log_index
}

/// Puts a copy of a data directory in the place of the one there is.
fn put_back(service: &Service, kept: &Path) {
    fs::remove_dir_all(service.data()).unwrap();
    copy(kept, &service.data());
}

#[test]
fn what_is_signed_is_under_a_checkpoint_a_second_later() {
    let service = Service::start();
    let client = service.client();
    let (key, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let operation = fresh();
    let index = committed(sign(&client, &handle, b"message", operation)).log_index;
    assert_eq!(new_handle(&key).key, key.name);
    let record = &records(&client, operation)[0];
    let hash = Hash::from(<[u8; 32]>::try_from(record.leaf.0.as_slice()).unwrap());
    eventually("the signature is under a checkpoint", || {
        checkpoint(&service).is_some_and(|tree| tree.size > index)
    });
    let head = checkpoint(&service).unwrap();
    let mut tree = TileTree::new(head.size, |tile| hashes(&service, tile));
    let proof = tree.inclusion_proof(index).unwrap();
    verify_inclusion(&Leaf { index, hash }, &head, &proof).unwrap();
    let locked = fs::read_to_string(service.lock_record().unwrap()).unwrap();
    assert!(locked.parse::<Checkpoint>().unwrap().tree.size >= head.size);
}

#[test]
fn a_data_directory_that_was_taken_back_uses_no_key() {
    let mut service = Service::start();
    one_signature(&service);
    service.stop();
    let before = service.path("before");
    copy(&service.data(), &before);
    service.launch();
    service.wait_until_up();
    one_signature(&service);
    service.stop();
    let after = service.path("after");
    copy(&service.data(), &after);
    put_back(&service, &before);
    service.launch();
    assert_eq!(service.wait_for_end().code(), Some(1));
    assert!(service.log().contains("it was taken back"), "{}", service.log());
    put_back(&service, &after);
    service.launch();
    service.wait_until_up();
    one_signature(&service);
}

#[test]
fn a_log_that_went_on_from_an_older_state_is_a_fork() {
    let mut service = Service::start();
    one_signature(&service);
    service.stop();
    let before = service.path("before");
    copy(&service.data(), &before);
    let (record, kept) = (service.lock_record().unwrap(), service.path("kept"));
    service.launch();
    service.wait_until_up();
    one_signature(&service);
    service.stop();
    fs::copy(&record, &kept).unwrap();
    // Both were taken back, and the log went on further than what the record remembered.
    put_back(&service, &before);
    fs::remove_file(&record).unwrap();
    service.serve_with(vec!["--new-lock-record".into()]);
    service.launch();
    service.wait_until_up();
    (0..8).for_each(|_| {
        one_signature(&service);
    });
    service.stop();
    service.serve_with(Vec::new());
    fs::copy(&kept, &record).unwrap();
    service.launch();
    assert_eq!(service.wait_for_end().code(), Some(1));
    assert!(
        service.log().contains("not the one that its lock record remembers"),
        "{}",
        service.log()
    );
}

#[test]
fn a_lock_record_that_is_gone_is_missed_until_the_operator_says_so() {
    let mut service = Service::start();
    one_signature(&service);
    service.stop();
    fs::remove_file(service.lock_record().unwrap()).unwrap();
    service.launch();
    assert_eq!(service.wait_for_end().code(), Some(1));
    assert!(service.log().contains("--new-lock-record"), "{}", service.log());
    service.serve_with(vec!["--new-lock-record".into()]);
    service.launch();
    service.wait_until_up();
    service.stop();
    assert!(service.lock_record().is_some());
    service.serve_with(Vec::new());
    service.launch();
    service.wait_until_up();
}

#[test]
fn tiles_that_are_gone_are_made_anew() {
    let mut service = Service::start();
    one_signature(&service);
    service.stop();
    let before = checkpoint(&service).unwrap();
    fs::remove_dir_all(service.data().join("log/tile")).unwrap();
    service.launch();
    service.wait_until_up();
    let index = one_signature(&service);
    service.stop();
    let head = checkpoint(&service).unwrap();
    assert!(head.size > index && head.size > before.size);
    let mut tree = TileTree::new(head.size, |tile| hashes(&service, tile));
    assert_eq!(tree.root().unwrap(), head.root);
}

#[test]
fn without_an_index_uses_are_served_and_queries_say_how_to_switch_it_on() {
    let more = ["--index", "off", "--checkpoint-every", "1h"].map(str::to_owned).to_vec();
    let mut service = Service::start_with(Options { more, ..Options::default() });
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    let operation = fresh();
    let index = committed(sign(&client, &handle, b"m", operation)).log_index;
    let query = Command::QueryAudit(AuditQuery { limit: 1, ..AuditQuery::default() });
    assert_eq!(refused(ask(&client, &query)), "unavailable");
    let said = service.cli(&["audit", "query", "--key", "k"]);
    assert!(!said.status.success() && text(&said.stderr).contains("--index on"), "{said:?}");
    // None is due within the hour; the stop makes one of all there is.
    assert_eq!(checkpoint(&service), None);
    service.stop();
    assert!(checkpoint(&service).unwrap().size > index);
    assert_eq!(fs::read_dir(service.data().join("index")).unwrap().count(), 0);
    service.serve_with(Vec::new());
    service.launch();
    service.wait_until_up();
    assert_eq!(records(&service.client(), operation)[0].log_index, index);
    eventually("what came before is indexed", || {
        fs::read_dir(service.data().join("index")).unwrap().count() > 0
    });
}
