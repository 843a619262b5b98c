//! Taking authority away: from the acknowledged reduction on, no use succeeds, however many are under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use chancery_api::http::replies::CommandAnswer;
use chancery_client::{Client, KeyHandle, Outcome};
use chancery_core::command::Command;
use chancery_core::state::KeyEvent;

use crate::harness::{
    Service, ask, committed, eventually, fresh, issue, key_and_handle, name, new_handle, sign,
};

/// Callers at once.
const CALLERS: usize = 8;

/// Signatures that each caller must have got before authority is taken away.
const BEFORE: usize = 20;

/// A signature that was given.
struct Given {
    asked: Instant,
    log_index: u64,
}

/// Signs without pause until `stop`; what was given, and how many were refused.
fn sign_until(
    stop: &AtomicBool,
    done: &dyn Fn(),
    client: &Client,
    handle: &KeyHandle,
) -> (Vec<Given>, usize) {
    let (mut given, mut refused) = (Vec::new(), 0);
    while !stop.load(Ordering::SeqCst) {
        let asked = Instant::now();
        match sign(client, handle, b"message", fresh()) {
            Outcome::Committed(used) => {
                given.push(Given { asked, log_index: used.log_index });
                done();
            }
            Outcome::Refused(_) => refused += 1,
            Outcome::Unknown(operation) => panic!("no answer to {operation}"),
        }
    }
    (given, refused)
}

/// Reduces under load, and holds every signature against the moment and the place of the reduction.
fn reduce_under_load(service: &Service, handle: &KeyHandle, reduce: &Command) {
    let stop = AtomicBool::new(false);
    let given = std::sync::atomic::AtomicUsize::new(0);
    let done = || {
        given.fetch_add(1, Ordering::SeqCst);
    };
    let (acknowledged, answer, threads) = thread::scope(|scope| {
        let threads: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| sign_until(&stop, &done, &service.client(), handle)))
            .collect();
        eventually("callers sign", || given.load(Ordering::SeqCst) >= CALLERS * BEFORE);
        let answer = committed(ask(&service.client(), reduce));
        let acknowledged = Instant::now();
        // Each caller meets the reduction several times.
        thread::sleep(std::time::Duration::from_millis(200));
        stop.store(true, Ordering::SeqCst);
        let threads: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (acknowledged, answer, threads)
    });
    check(acknowledged, &answer, &threads);
}

fn check(acknowledged: Instant, answer: &CommandAnswer, threads: &[(Vec<Given>, usize)]) {
    let reduced_at = answer.log_index.unwrap();
    for (given, refused) in threads {
        assert!(*refused > 0, "no caller was refused");
        for Given { asked, log_index } in given {
            assert!(*asked < acknowledged, "a signature was given after the reduction");
            assert!(*log_index < reduced_at, "record {log_index} follows the reduction");
        }
    }
}

fn change(event: KeyEvent) -> Command {
    Command::ChangeVersion { key: name("invoices"), version: None, event }
}

#[test]
fn a_suspension_holds_from_its_answer_on_and_is_lifted() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    for _ in 0..3 {
        reduce_under_load(&service, &handle, &change(KeyEvent::Suspend));
        committed(ask(&client, &change(KeyEvent::Resume)));
        committed(sign(&client, &handle, b"message", fresh()));
    }
}

#[test]
fn slow_signatures_do_not_slip_past_a_suspension() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ml-dsa-65");
    reduce_under_load(&service, &handle, &change(KeyEvent::Suspend));
}

#[test]
fn a_revoked_handle_is_dead_and_so_is_what_was_narrowed_from_it() {
    use chancery_core::handle::{Caveat, Operation, Operations};

    let service = Service::start();
    let client = service.client();
    let (key, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let narrowed = Caveat::Operations(Operations::of(&[Operation::Sign]));
    let narrowed = handle.narrow(&[narrowed]).unwrap();
    let other = issue(&client, new_handle(&key));
    // The narrower one first: the wider one outlives it.
    let revoke =
        |handle: &KeyHandle| Command::RevokeHandle { link: handle.revocation_id().unwrap() };
    reduce_under_load(&service, &narrowed, &revoke(&narrowed));
    committed(sign(&client, &handle, b"message", fresh()));
    reduce_under_load(&service, &handle, &revoke(&handle));
    committed(sign(&client, &other, b"message", fresh()));
}

#[test]
fn every_handle_of_a_key_is_revoked_at_once() {
    let mut service = Service::start();
    let client = service.client();
    let (key, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let revoke = Command::RevokeIssued { key: name("invoices") };
    reduce_under_load(&service, &handle, &revoke);
    let later = issue(&client, new_handle(&key));
    committed(sign(&client, &later, b"message", fresh()));
    service.kill_all();
    service.restart();
    let client = service.client();
    assert_eq!(crate::harness::refused(sign(&client, &handle, b"m", fresh())), "handle-expired");
    committed(sign(&client, &later, b"message", fresh()));
}

#[test]
fn every_handle_of_a_principal_is_revoked_at_once() {
    let service = Service::start();
    let client = service.client();
    let (key, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let principal = service.profile().principal;
    reduce_under_load(&service, &handle, &Command::RevokeIssuedOf { principal });
    let later = issue(&client, new_handle(&key));
    committed(sign(&client, &later, b"message", fresh()));
}
