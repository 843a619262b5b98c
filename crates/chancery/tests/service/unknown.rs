//! The signer dies in the middle of many uses: each unanswered one is resolved by its own id.
//!
//! A use that was answered is there with the same bytes; one that was not is carried out once; one that was
//! refused was not done.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chancery_client::{Client, KeyHandle, Outcome, Used};
use chancery_core::command::AuditQuery;
use chancery_core::id::OperationId;

use super::people::query;
use crate::harness::{Process, Service, committed, eventually, fresh, key_and_handle, name, sign};

/// Callers at once.
const CALLERS: usize = 6;

/// How often the signer dies.
const DEATHS: usize = 5;

/// What callers were told, by operation id.
type Told = Mutex<BTreeMap<[u8; 16], Outcome<Used>>>;

fn sign_until(stop: &AtomicBool, client: &Client, handle: &KeyHandle, told: &Told) {
    while !stop.load(Ordering::SeqCst) {
        let operation = fresh();
        let outcome = sign(client, handle, operation.as_bytes(), operation);
        let is_refused = matches!(outcome, Outcome::Refused(_));
        told.lock().unwrap().insert(*operation.as_bytes(), outcome);
        if is_refused {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn count(told: &Told, is: impl Fn(&Outcome<Used>) -> bool) -> usize {
    told.lock().unwrap().values().filter(|outcome| is(outcome)).count()
}

fn load_and_deaths(service: &mut Service, handle: &KeyHandle, told: &Told) {
    let stop = AtomicBool::new(false);
    let clients: Vec<_> = (0..CALLERS).map(|_| service.client()).collect();
    thread::scope(|scope| {
        let stop = &stop;
        for client in &clients {
            scope.spawn(move || sign_until(stop, client, handle, told));
        }
        for _ in 0..DEATHS {
            let is_committed = |outcome: &Outcome<Used>| matches!(outcome, Outcome::Committed(_));
            let before = count(told, is_committed);
            eventually("callers sign", || count(told, is_committed) > before + 20);
            service.kill(Process::Signer);
        }
        stop.store(true, Ordering::SeqCst);
    });
    service.wait_until_up();
}

#[test]
fn each_unknown_outcome_is_resolved_by_its_own_id() {
    let mut service = Service::start();
    let (_, handle) =
        key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ecdsa-p256");
    let told = Told::default();
    load_and_deaths(&mut service, &handle, &told);
    let client = service.client();
    let told = told.into_inner().unwrap();
    let unknown = told.values().filter(|outcome| matches!(outcome, Outcome::Unknown(_))).count();
    assert!(unknown > 0, "no answer was ever lost: the test did not do what it is for");
    let mut expected = 0;
    for (id, outcome) in &told {
        let operation = OperationId::from_bytes(*id);
        let repeat = || committed(sign(&client, &handle, id, operation));
        match outcome {
            Outcome::Committed(used) => assert_eq!(repeat(), *used),
            Outcome::Unknown(_) => assert_eq!(repeat(), repeat()),
            Outcome::Refused(_) => continue,
        }
        expected += 1;
    }
    // As many uses on record as were acknowledged or resolved: none twice, and none of a refused one.
    assert_eq!(uses_on_record(&client), expected);
    service.done(&["audit", "verify", "--data", "d"]);
}

/// The number of the newest use of the key, counted from one.
fn uses_on_record(client: &Client) -> u64 {
    let newest = AuditQuery {
        key: Some(name("invoices")),
        outcome: Some(0),
        limit: 1,
        ..AuditQuery::default()
    };
    query(client, newest)[0].use_index.unwrap() + 1
}
