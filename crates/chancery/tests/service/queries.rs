//! Audit queries: every field that records are found by, pages in both directions.

use chancery_api::http::replies::RecordObject;
use chancery_client::sha256_of;
use chancery_core::command::AuditQuery;
use chancery_core::principal::Role;
use chancery_core::reason::Reason;

use super::people::{Person, query};
use crate::harness::{
    Service, committed, fresh, issue, key_and_handle, name, new_handle, refused, sign,
};

fn indices(records: &[RecordObject]) -> Vec<u64> {
    records.iter().map(|record| record.log_index).collect()
}

fn all() -> AuditQuery {
    AuditQuery { limit: 1_000, ..AuditQuery::default() }
}

#[test]
fn records_are_found_by_each_of_their_fields_and_by_several_together() {
    let service = Service::start();
    let client = service.client();
    let (key, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    let (_, other) = key_and_handle(&client, "other", "sign.bound:x", "ed25519");
    let second = issue(&client, new_handle(&key));
    let developer = Person::new(&service, "dev", Role::Developer, 9);
    let operation = fresh();
    let signed = committed(sign(&client, &handle, b"one", operation));
    committed(sign(&client, &second, b"two", fresh()));
    committed(sign(&client, &other, b"three", fresh()));
    refused(sign(&client, &handle, b"another", operation));
    issue(&developer.client(), new_handle(&key));

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
    find(AuditQuery { actor: Some(developer.id), ..all() }, &|record| {
        record.actor == Some(developer.id)
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
    find(AuditQuery { operation: Some(operation), ..all() }, &|record| {
        record.log_index == used.log_index || record.code == "operation-id-reused"
    });
    let output = Some(sha256_of(signed.output.as_slice()).unwrap());
    find(AuditQuery { output, ..all() }, &|record| record.log_index == used.log_index);
    find(
        AuditQuery { outcome: Some(0), action: Some("sign".parse().unwrap()), ..of_key },
        &|record| record.key == "k" && record.operation == "sign" && record.outcome == "committed",
    );
    let time = every[every.len() / 2].time_ms;
    find(AuditQuery { since_ms: Some(time), ..all() }, &|record| record.time_ms >= time);
    find(AuditQuery { until_ms: Some(time), ..all() }, &|record| record.time_ms < time);
    // What is in no record is found nowhere.
    assert!(query(&client, AuditQuery { output: Some([7; 32]), ..all() }).is_empty());
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
