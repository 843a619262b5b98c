//! Audit queries: every field that records are found by, pages in both directions.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use chancery_api::http::replies::RecordObject;
use chancery_audit::index::PartHead;
use chancery_client::sha256_of;
use chancery_core::command::AuditQuery;
use chancery_core::id::{OperationId, PrincipalId};
use chancery_core::principal::Role;
use chancery_core::reason::Reason;

use super::people::{Person, query};
use crate::harness::{
    Options, Service, binary, committed, eventually, fresh, issue, key_and_handle, name,
    new_handle, refused, sign,
};

fn indices(records: &[RecordObject]) -> Vec<u64> {
    records.iter().map(|record| record.log_index).collect()
}

fn all() -> AuditQuery {
    AuditQuery { limit: 1_000, ..AuditQuery::default() }
}

/// What was done at a service.
struct Used {
    developer: PrincipalId,
    operation: OperationId,
    signature: Vec<u8>,
}

impl Used {
    fn new(service: &Service) -> Self {
        let client = service.client();
        let (key, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
        let (_, other) = key_and_handle(&client, "other", "sign.bound:x", "ed25519");
        let second = issue(&client, new_handle(&key));
        let developer = Person::new(service, "dev", Role::Developer, 9);
        let operation = fresh();
        let signature = committed(sign(&client, &handle, b"one", operation)).output;
        committed(sign(&client, &second, b"two", fresh()));
        committed(sign(&client, &other, b"three", fresh()));
        refused(sign(&client, &handle, b"another", operation));
        issue(&developer.client(), new_handle(&key));
        Self { developer: developer.id, operation, signature }
    }

    /// Every record is found by each of its fields, as looking at all of them finds it.
    fn is_found(&self, service: &Service) {
        let client = service.client();
        let every = query(&client, all());
        let find = |query_of: AuditQuery, fits: &dyn Fn(&RecordObject) -> bool| {
            let expected: Vec<_> = every.iter().filter(|record| fits(record)).cloned().collect();
            assert!(
                !expected.is_empty() && expected.len() < every.len(),
                "{query_of:?} tells nothing apart"
            );
            assert_eq!(query(&client, query_of), expected);
        };
        let of_key = AuditQuery { key: Some(name("k")), ..all() };
        find(of_key.clone(), &|record| record.key == "k");
        find(AuditQuery { version: Some(1), ..of_key.clone() }, &|record| {
            record.key == "k" && record.version == Some(1)
        });
        find(AuditQuery { actor: Some(self.developer), ..all() }, &|record| {
            record.actor == Some(self.developer)
        });
        let used = every.iter().find(|record| record.operation == "sign").unwrap();
        find(AuditQuery { handle: used.handle, ..all() }, &|record| record.handle == used.handle);
        find(AuditQuery { action: Some("sign".parse().unwrap()), ..all() }, &|record| {
            record.operation == "sign"
        });
        find(AuditQuery { action: Some("start".parse().unwrap()), ..all() }, &|record| {
            record.operation == "start"
        });
        find(AuditQuery { outcome: Some(1), ..all() }, &|record| record.outcome == "refused");
        let reason = Some(Reason::OperationIdReused.number());
        find(AuditQuery { reason, ..all() }, &|record| record.code == "operation-id-reused");
        find(AuditQuery { operation: Some(self.operation), ..all() }, &|record| {
            record.log_index == used.log_index || record.code == "operation-id-reused"
        });
        let output = Some(sha256_of(self.signature.as_slice()).unwrap());
        find(AuditQuery { output, ..all() }, &|record| record.log_index == used.log_index);
        find(
            AuditQuery { outcome: Some(0), action: Some("sign".parse().unwrap()), ..of_key },
            &|record| {
                record.key == "k" && record.operation == "sign" && record.outcome == "committed"
            },
        );
        let time = every[every.len() / 2].time_ms;
        find(AuditQuery { since_ms: Some(time), ..all() }, &|record| record.time_ms >= time);
        find(AuditQuery { until_ms: Some(time), ..all() }, &|record| record.time_ms < time);
        // What is in no record is found nowhere.
        assert!(query(&client, AuditQuery { output: Some([7; 32]), ..all() }).is_empty());
    }
}

/// The parts of the index, with their bytes.
fn parts(service: &Service) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = fs::read_dir(service.data().join("index")).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn records_are_found_by_each_of_their_fields_and_by_several_together() {
    let service = Service::start();
    Used::new(&service).is_found(&service);
}

/// A service whose segments, and so the parts of its index, are as short as they may be.
fn with_parts() -> (Service, Used) {
    let options = Options { segment_bytes: Some(64 * 1024), ..Options::default() };
    let service = Service::start_with(options);
    let used = Used::new(&service);
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "filler", "sign.bound:x", "ed25519");
    for _ in 0..60 {
        committed(sign(&client, &handle, b"m", fresh()));
    }
    eventually("there are parts", || parts(&service).len() >= 4);
    (service, used)
}

#[test]
fn an_index_in_parts_finds_the_same_and_what_is_altered_in_it_is_made_anew() {
    let (mut service, used) = with_parts();
    used.is_found(&service);
    let whole = parts(&service);
    for (at, (path, bytes)) in whole.iter().enumerate() {
        // In the head, which a start notices, and in the body, which a query does.
        let mut altered = bytes.clone();
        let place = if at.is_multiple_of(2) { 50 } else { bytes.len() - 3 };
        altered[place] ^= 1;
        fs::write(path, altered).unwrap();
    }
    service.restart();
    used.is_found(&service);
    // They are sealed anew, and cover what they covered.
    let covered = |bytes: &[u8]| {
        let (head, _) = PartHead::of_whole(bytes).ok()?;
        Some((head.first_index, head.records, head.offset, head.end_offset, head.tree_root))
    };
    let is_whole = || {
        let mut parts = whole.iter();
        parts.all(|(path, bytes)| fs::read(path).is_ok_and(|now| covered(&now) == covered(bytes)))
    };
    eventually("the parts are made anew", is_whole);
    used.is_found(&service);
    for path in whole.keys() {
        fs::remove_file(path).unwrap();
    }
    used.is_found(&service);
    eventually("what was removed is there again", is_whole);
    // A part of another log leads nowhere, and is removed.
    let (mut other, elsewhere) = with_parts();
    let (first, bytes) = whole.first_key_value().unwrap();
    let place = other.data().join("index").join(first.file_name().unwrap());
    fs::write(&place, bytes).unwrap();
    other.restart();
    elsewhere.is_found(&other);
    eventually("the part is that of its log", || fs::read(&place).is_ok_and(|now| now != *bytes));
}

#[test]
fn pages_go_back_from_the_newest_and_on_from_the_oldest() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    for _ in 0..7 {
        committed(sign(&client, &handle, b"m", fresh()));
    }
    let wanted = AuditQuery { key: Some(name("k")), limit: 3, ..AuditQuery::default() };
    let every = indices(&query(&client, AuditQuery { limit: 1_000, ..wanted.clone() }));
    let (mut back, mut before) = (Vec::new(), None);
    loop {
        let page = indices(&query(&client, AuditQuery { before, ..wanted.clone() }));
        let Some(first) = page.first() else { break };
        before = Some(*first);
        back.splice(0..0, page);
    }
    assert_eq!(back, every);
    let (mut on, mut after) = (Vec::new(), 0);
    loop {
        let page = indices(&query(&client, AuditQuery { after: Some(after), ..wanted.clone() }));
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        after = *last;
        on.extend(page);
    }
    assert_eq!(on, every);
}

#[test]
fn records_are_followed_over_a_restart_and_each_is_printed_once() {
    let mut service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    committed(sign(&client, &handle, b"one", fresh()));
    let path = service.path("followed");
    let mut command = binary();
    command.arg("--context-file").arg(service.data().join("admin.toml"));
    command.args(["audit", "query", "--action", "sign", "--follow", "--csv"]);
    let mut following = command.stdout(File::create(&path).unwrap()).spawn().unwrap();
    let lines = || fs::read_to_string(&path).unwrap().lines().count();
    eventually("the head and the first are printed", || lines() == 2);
    committed(sign(&client, &handle, b"two", fresh()));
    eventually("the second is printed", || lines() == 3);
    service.restart();
    let client = service.client();
    for _ in 0..5 {
        committed(sign(&client, &handle, b"more", fresh()));
    }
    eventually("those after the restart are printed", || lines() == 8);
    following.kill().unwrap();
    following.wait().unwrap();
    let printed = fs::read_to_string(&path).unwrap();
    let indices: Vec<u64> = printed
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect();
    let sign = Some("sign".parse().unwrap());
    let every = query(&service.client(), AuditQuery { action: sign, ..all() });
    assert_eq!(indices, every.iter().map(|record| record.log_index).collect::<Vec<_>>());
}
