//! Handles that may be used a number of times: exactly so often, whoever races, whatever dies in between.

use std::fs;

use chancery_api::http::replies::AnswerObject;
use chancery_client::{Client, Input, Item, KeyHandle, Outcome, Used};
use chancery_core::command::{AuditQuery, Command};
use chancery_core::context::Context;
use chancery_core::handle::{Caveat, Operation};
use chancery_core::id::NodeId;

use super::people::query;
use crate::harness::{
    Service, ask, committed, create_key, fresh, issue, new_handle, plainly, refused, sign,
};

/// Callers at once.
const CALLERS: usize = 8;

/// A handle of a new key that may be used `most` times.
fn counted(client: &Client, suite: &str, most: u64) -> KeyHandle {
    let key = create_key(client, suite, "sign.bound:invoice", suite);
    let mut new = new_handle(&key);
    new.max_uses = Some(most);
    issue(client, new)
}

fn node(client: &Client) -> NodeId {
    match committed(ask(client, &Command::ReadStatus)).answer {
        AnswerObject::Status(status) => status.node,
        other => panic!("no status but {other:?}"),
    }
}

fn signed(client: &Client, handle: &KeyHandle) -> Outcome<Used> {
    sign(client, handle, b"message", fresh())
}

/// The use indices of what was counted under links, oldest first.
fn link_uses(client: &Client) -> Vec<u64> {
    let records = query(client, AuditQuery { limit: 1_000, ..AuditQuery::default() });
    let of_links = records.iter().filter(|record| record.operation == "use-of-link");
    let mut uses: Vec<_> = of_links.map(|record| record.use_index.unwrap()).collect();
    uses.sort_unstable();
    uses
}

#[test]
fn racing_callers_together_get_what_the_handle_allows() {
    let service = Service::start();
    let client = service.client();
    for (suite, most) in [("ed25519", 21), ("ml-dsa-44", 10)] {
        let handle = counted(&client, suite, most);
        let given: usize = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    scope.spawn(|| {
                        let client = service.client();
                        let outcomes = (0..8).map(|_| signed(&client, &handle));
                        outcomes.filter(|outcome| matches!(outcome, Outcome::Committed(_))).count()
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        assert_eq!(u64::try_from(given), Ok(most), "{suite}");
        assert_eq!(refused(signed(&client, &handle)), "uses-exhausted");
    }
    let expected: Vec<u64> = (0..10).flat_map(|n| [n, n]).chain(10..21).collect();
    assert_eq!(link_uses(&client), expected);
}

#[test]
fn the_count_outlives_restarts_crashes_and_the_loss_of_the_resume_file() {
    let mut service = Service::start();
    let handle = counted(&service.client(), "ed25519", 4);
    let first = fresh();
    let answer = committed(sign(&service.client(), &handle, b"message", first));
    service.restart();
    committed(signed(&service.client(), &handle));
    service.kill_all();
    service.restart();
    committed(signed(&service.client(), &handle));
    service.stop();
    fs::remove_file(service.data().join("audit/resume")).unwrap();
    service.restart();
    let client = service.client();
    committed(signed(&client, &handle));
    assert_eq!(refused(signed(&client, &handle)), "uses-exhausted");
    // What was carried out is answered again, and is no use of its own.
    assert_eq!(committed(sign(&client, &handle, b"message", first)), answer);
    assert_eq!(link_uses(&client), [0, 1, 2, 3]);
}

#[test]
fn what_comes_to_nothing_is_no_use() {
    let service = Service::start();
    let client = service.client();
    let key = create_key(&client, "cards", "encrypt.aead:card", "aes-256-gcm");
    let sealed = client.encrypt(&issue(&client, new_handle(&key)), b"card", &plainly(fresh()));
    let sealed = committed(sealed).output;
    let mut new = new_handle(&key);
    new.max_uses = Some(1);
    let handle = issue(&client, new);
    let decrypt = |bytes: &[u8], operation| client.decrypt(&handle, bytes, &plainly(operation));
    let mut altered = sealed.clone();
    *altered.last_mut().unwrap() ^= 1;
    let operation = fresh();
    for id in [operation, operation, fresh()] {
        assert_eq!(refused(decrypt(&altered, id)), "verification-failed");
    }
    assert_eq!(committed(decrypt(&sealed, operation)).output, b"card");
    assert_eq!(refused(decrypt(&sealed, fresh())), "uses-exhausted");
    // The same operation again is the same use.
    assert_eq!(committed(decrypt(&sealed, operation)).output, b"card");
    assert_eq!(link_uses(&client), [0]);
}

#[test]
fn what_was_narrowed_counts_with_what_it_was_narrowed_from() {
    let service = Service::start();
    let client = service.client();
    let key = create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let node = node(&client);
    let uses = |most| Caveat::Uses { most, node };
    let shared = issue(&client, new_handle(&key)).narrow(&[uses(3)]).unwrap();
    let one = shared.narrow(&[uses(1)]).unwrap();
    let other = shared.narrow(&[uses(9)]).unwrap();
    committed(signed(&client, &one));
    assert_eq!(refused(signed(&client, &one)), "uses-exhausted");
    committed(signed(&client, &other));
    committed(signed(&client, &shared));
    for handle in [&one, &other, &shared] {
        assert_eq!(refused(signed(&client, handle)), "uses-exhausted");
    }
    let elsewhere = Caveat::Uses { most: 3, node: NodeId::from_bytes([3; 16]) };
    let elsewhere = issue(&client, new_handle(&key)).narrow(&[elsewhere]).unwrap();
    assert_eq!(refused(signed(&client, &elsewhere)), "not-authorized");
}

#[test]
fn a_batch_gets_what_is_left() {
    let service = Service::start();
    let client = service.client();
    let handle = counted(&client, "ed25519", 2);
    let context = Context::default();
    let item =
        |message| Item { input: Input::Message(message), operation: fresh(), context: &context };
    let items = [item(b"one"), item(b"two"), item(b"three")];
    let outcomes = committed(client.batch(&handle, Operation::Sign, &items, &plainly(fresh())));
    let given = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed(_))).count();
    assert_eq!(given, 2);
    assert_eq!(refused(signed(&client, &handle)), "uses-exhausted");
}
