//! Operation ids: what was done once is not done again, whoever repeats it and when.
//!
//! ECDSA and encryption are what shows it: their answers differ each time they are computed.

use std::sync::Barrier;

use chancery_client::{Client, KeyHandle, Outcome, Used};
use chancery_core::command::Command;
use chancery_core::id::OperationId;
use chancery_core::principal::Role;

use super::people::{Person, effects, records};
use crate::harness::{
    Service, ask, committed, create_key, fresh, handle_of, issue, key_and_handle, name, new_handle,
    new_key, plainly, refused, sign,
};

/// Races of two clients; each is one chance that they meet in the signer.
const RACES: usize = 20;

type Use = fn(&Client, &KeyHandle, &[u8], OperationId) -> Outcome<Used>;

fn encrypt(
    client: &Client,
    handle: &KeyHandle,
    plaintext: &[u8],
    operation: OperationId,
) -> Outcome<Used> {
    client.encrypt(handle, plaintext, &plainly(operation))
}

/// The two uses whose answers are never the same twice, each with a key and a handle.
fn uses(client: &Client) -> [(Use, KeyHandle); 2] {
    let (_, signing) = key_and_handle(client, "invoices", "sign.bound:invoice", "ecdsa-p256");
    let (_, encrypting) = key_and_handle(client, "cards", "encrypt.aead:card", "aes-256-gcm");
    [(sign, signing), (encrypt, encrypting)]
}

/// Repeats while another caller has the same operation in flight.
fn until_done(mut attempt: impl FnMut() -> Outcome<Used>) -> Used {
    loop {
        match attempt() {
            Outcome::Unknown(_) => {}
            other => return committed(other),
        }
    }
}

#[test]
fn two_clients_with_one_id_get_the_same_bytes_and_one_record() {
    let service = Service::start();
    let clients = [service.client(), service.client()];
    for (perform, handle) in uses(&clients[0]) {
        for _ in 0..RACES {
            let (operation, barrier) = (fresh(), Barrier::new(2));
            let [one, two] = std::thread::scope(|scope| {
                let run = |client| {
                    barrier.wait();
                    until_done(|| perform(client, &handle, b"message", operation))
                };
                clients
                    .each_ref()
                    .map(|client| scope.spawn(move || run(client)))
                    .map(|thread| thread.join().unwrap())
            });
            assert_eq!(one, two);
            assert_eq!(effects(&records(&clients[0], operation)), 1);
        }
    }
}

#[test]
fn a_repeat_after_a_restart_and_after_a_crash_gives_the_same_bytes() {
    let mut service = Service::start();
    let client = service.client();
    let done: Vec<_> = uses(&client)
        .into_iter()
        .map(|(perform, handle)| {
            let operation = fresh();
            let answer = committed(perform(&client, &handle, b"message", operation));
            (perform, handle, operation, answer)
        })
        .collect();
    let check = |service: &Service| {
        let client = service.client();
        for (perform, handle, operation, answer) in &done {
            let again = committed(perform(&client, handle, b"message", *operation));
            assert_eq!(again, *answer);
            assert_eq!(effects(&records(&client, *operation)), 1);
        }
    };
    service.restart();
    check(&service);
    service.kill_all();
    service.restart();
    check(&service);
}

#[test]
fn an_id_with_another_payload_is_refused_and_has_no_effect() {
    let service = Service::start();
    let client = service.client();
    for (perform, handle) in uses(&client) {
        let operation = fresh();
        let first = committed(perform(&client, &handle, b"message", operation));
        assert_eq!(refused(perform(&client, &handle, b"other", operation)), "operation-id-reused");
        assert_eq!(committed(perform(&client, &handle, b"message", operation)), first);
        let records = records(&client, operation);
        assert_eq!(effects(&records), 1);
        assert_eq!(records.len(), 2, "the refusal is on record: {records:?}");
    }
}

#[test]
fn an_id_is_its_principals_own() {
    let service = Service::start();
    let client = service.client();
    let other = Person::new(&service, "second", Role::Operator, 7);
    let key = create_key(&client, "invoices", "sign.bound:invoice", "ecdsa-p256");
    let mine = issue(&client, new_handle(&key));
    let mut new = new_handle(&key);
    new.subject = Some(other.id);
    let theirs = issue(&client, new);
    let operation = fresh();
    let first = committed(sign(&client, &mine, b"message", operation));
    let second = committed(sign(&other.client(), &theirs, b"message", operation));
    assert_ne!(first.output, second.output);
    assert_ne!(first.log_index, second.log_index);
    assert_eq!(committed(sign(&client, &mine, b"message", operation)), first);
    assert_eq!(effects(&records(&client, operation)), 2);
}

#[test]
fn an_operation_is_read_by_its_own_principal_alone() {
    let service = Service::start();
    let client = service.client();
    let other = Person::new(&service, "second", Role::Operator, 7);
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let id = fresh();
    committed(sign(&client, &handle, b"message", id));
    let read = |client: &Client| {
        let answer = committed(ask(client, &Command::ReadOperation { id })).answer;
        serde_json::to_value(&answer).unwrap()["operation"]["state"].clone()
    };
    assert_eq!(read(&client), "committed");
    assert_eq!(read(&other.client()), "unknown-id");
}

#[test]
fn a_command_is_carried_out_once_by_its_id() {
    let mut service = Service::start();
    let client = service.client();
    let (create, operation) = (new_key("invoices", "sign.bound:invoice", "ed25519"), fresh());
    let first = committed(client.command(&create, operation));
    assert_eq!(committed(client.command(&create, operation)), first);
    let other = new_key("others", "sign.bound:invoice", "ed25519");
    assert_eq!(refused(client.command(&other, operation)), "operation-id-reused");
    let (asked, handed) = (Command::IssueHandle(issue_of("invoices")), fresh());
    let handle = handle_of(committed(client.command(&asked, handed)));
    service.kill_all();
    service.restart();
    let client = service.client();
    assert_eq!(committed(client.command(&create, operation)), first);
    assert_eq!(handle_of(committed(client.command(&asked, handed))), handle);
    assert_eq!(refused(ask(&client, &create)), "name-taken");
    assert_eq!(effects(&records(&client, operation)), 1);
    // Another principal's id of the same bytes is another operation, and the name is taken.
    let other = Person::new(&service, "second", Role::Operator, 7);
    assert_eq!(refused(other.client().command(&create, operation)), "name-taken");
}

fn issue_of(key: &str) -> chancery_core::command::NewHandle {
    use chancery_core::handle::Operations;
    use chancery_core::purpose::Usage;
    chancery_core::command::NewHandle {
        key: name(key),
        operations: Operations::usual(Usage::Sign),
        ttl_ms: 60_000,
        pins: Vec::new(),
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    }
}
