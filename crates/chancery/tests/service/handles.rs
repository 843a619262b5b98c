//! Handles at their edges: expiry, pins, holders and their proofs, batches.

use chancery_client::{HolderKey, Input, Item, KeyHandle, Manner, Outcome, Receipt, unix_ms};
use chancery_core::command::AuditQuery;
use chancery_core::context::{Context, Pair};
use chancery_core::handle::Operation;
use chancery_core::principal::Role;
use chancery_core::reason::Reason;

use super::frames::{FakeFront, reason, sign_request};
use super::people::{Person, effects, query, records};
use crate::harness::{
    Service, committed, create_key, eventually, fresh, issue, key_and_handle, new_handle, plainly,
    refused, sign,
};

/// The private key of RFC 8410, 10.3.
const HOLDER: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

/// Another, made for these tests.
const STRANGER: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIChhce0N/8oBzD0lX/q9kK9/N/SyzVeYF3w5pjN4/+ke\n\
    -----END PRIVATE KEY-----\n";

fn pair(text: &str) -> Pair {
    Pair::parse(text).unwrap()
}

fn bound(service: &Service) -> (KeyHandle, HolderKey, HolderKey) {
    let client = service.client();
    let key = create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let (holder, stranger) =
        (HolderKey::from_pem(HOLDER).unwrap(), HolderKey::from_pem(STRANGER).unwrap());
    let mut new = new_handle(&key);
    new.holder = holder.public().to_vec();
    (issue(&client, new), holder, stranger)
}

#[test]
fn a_handle_works_until_it_expires() {
    let service = Service::start();
    let client = service.client();
    let key = create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let mut new = new_handle(&key);
    new.ttl_ms = 1_500;
    let handle = issue(&client, new);
    committed(sign(&client, &handle, b"message", fresh()));
    eventually("the handle has run out", || unix_ms() > handle.expires_ms());
    assert_eq!(refused(sign(&client, &handle, b"message", fresh())), "handle-expired");
}

#[test]
fn a_pin_holds_and_so_does_the_usage_of_the_key() {
    let service = Service::start();
    let client = service.client();
    let key = create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let mut new = new_handle(&key);
    new.pins = vec![pair("customer=7")];
    let handle = issue(&client, new);
    committed(sign(&client, &handle, b"message", fresh()));
    let context = Context::new(vec![pair("customer=8")]).unwrap();
    let manner = Manner {
        operation: fresh(),
        context: &context,
        receipt: Receipt::Unwanted,
        holders: &[],
        routing_key: None,
    };
    assert_eq!(refused(client.sign_with(&handle, Input::Message(b"m"), &manner)), "not-authorized");
    assert_eq!(refused(client.encrypt(&handle, b"m", &plainly(fresh()))), "not-authorized");
    let mut front = FakeFront::connect(&service);
    assert_eq!(reason(&front.uses(&sign_request(&handle, b"m", &[]))), Reason::NotAuthorized);
}

#[test]
fn a_bound_handle_takes_its_holders_proof_and_no_other() {
    let service = Service::start();
    let (handle, holder, stranger) = bound(&service);
    let client = service.client();
    let holders = [HolderKey::from_pem(HOLDER).unwrap()];
    let manner = Manner { holders: &holders, ..plainly(fresh()) };
    committed(client.sign_with(&handle, Input::Message(b"message"), &manner));
    let mut front = FakeFront::connect(&service);
    let mut of = |request| reason(&front.uses(&request));
    assert_eq!(of(sign_request(&handle, b"message", &[])), Reason::ProofInvalid);
    assert_eq!(of(sign_request(&handle, b"message", &[&stranger])), Reason::ProofInvalid);
    // The stranger's signature under the holder's name.
    let mut forged = sign_request(&handle, b"message", &[&stranger]);
    forged.proofs[0].holder = holder.public();
    assert_eq!(of(forged), Reason::ProofInvalid);
    // The holder's proof of another message.
    let mut moved = sign_request(&handle, b"message", &[]);
    moved.proofs = sign_request(&handle, b"other", &[&holder]).proofs;
    assert_eq!(of(moved), Reason::ProofInvalid);
}

#[test]
fn a_proof_counts_once() {
    let service = Service::start();
    let (handle, holder, _) = bound(&service);
    let request = sign_request(&handle, b"message", &[&holder]);
    let mut front = FakeFront::connect(&service);
    let first = front.uses(&request);
    assert!(matches!(first, chancery_api::message::UseResult::Committed { .. }), "{first:?}");
    assert_eq!(reason(&front.uses(&request)), Reason::ProofInvalid);
    let mut other_lane = FakeFront::connect(&service);
    assert_eq!(reason(&other_lane.uses(&request)), Reason::ProofInvalid);
}

#[test]
fn one_item_of_a_batch_fails_alone() {
    let service = Service::start();
    let client = service.client();
    let key = create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let mut new = new_handle(&key);
    new.pins = vec![pair("customer=7")];
    let handle = issue(&client, new);
    let taken = fresh();
    committed(sign(&client, &handle, b"taken", taken));
    let context = Context::default();
    let item =
        |input, operation| Item { input: Input::Message(input), operation, context: &context };
    let ids: Vec<_> = (0..3).map(|_| fresh()).collect();
    let items = [
        item(b"one".as_slice(), ids[0]),
        item(b"another payload".as_slice(), taken),
        item(b"two".as_slice(), ids[1]),
        item(b"three".as_slice(), ids[2]),
    ];
    let results = committed(client.batch(&handle, Operation::Sign, &items, &plainly(fresh())));
    assert_eq!(results.len(), items.len());
    assert_eq!(refused(results[1].clone()), "operation-id-reused");
    for (position, id) in [(0, ids[0]), (2, ids[1]), (3, ids[2])] {
        let used = committed(results[position].clone());
        let Input::Message(message) = items[position].input else { unreachable!() };
        let verify =
            client.verify(&handle, Input::Message(message), &used.output, &plainly(fresh()));
        committed(verify);
        assert_eq!(effects(&records(&client, id)), 1);
    }
    let again = committed(client.batch(&handle, Operation::Sign, &items, &plainly(fresh())));
    assert_eq!(again, results);
}

#[test]
fn a_batch_of_as_many_as_there_may_be_is_taken_and_one_more_is_not() {
    use chancery_core::limits::BATCH_ITEMS_MAX;

    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let context = Context::default();
    let batch = |length: usize| {
        let items: Vec<_> = (0..length)
            .map(|_| Item { input: Input::Message(b"m"), operation: fresh(), context: &context })
            .collect();
        client.batch(&handle, Operation::Sign, &items, &plainly(fresh()))
    };
    let results = committed(batch(BATCH_ITEMS_MAX));
    assert_eq!(results.len(), BATCH_ITEMS_MAX);
    assert!(results.iter().all(|result| matches!(result, Outcome::Committed(_))));
    assert_eq!(refused(batch(BATCH_ITEMS_MAX + 1)), "too-large");
}

#[test]
fn refusals_before_authentication_are_summed_up_by_reason_for_an_auditor() {
    let (service, other) = (Service::start(), Service::start());
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let (_, strange) = key_and_handle(&other.client(), "invoices", "sign.bound:invoice", "ed25519");
    for _ in 0..3 {
        assert_eq!(refused(sign(&client, &strange, b"message", fresh())), "handle-invalid");
    }
    // They ride along in the next frame.
    committed(sign(&client, &handle, b"message", fresh()));
    let auditor = Person::new(&service, "auditor", Role::Auditor, 9).client();
    let records = query(&auditor, AuditQuery { limit: 1_000, ..AuditQuery::default() });
    let summed: Vec<_> = records.iter().filter(|record| record.operation == "refusals").collect();
    let [summary] = summed.as_slice() else { panic!("{records:?}") };
    assert_eq!((summary.code.as_str(), summary.count), ("handle-invalid", Some(3)));
}
