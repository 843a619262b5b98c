//! Each of the three processes dies, in every order: the others recover or end, and nothing is lost.

use chancery_client::{KeyHandle, Used};
use chancery_core::id::OperationId;

use crate::harness::{
    Process, Service, committed, eventually, fresh, is_alive, key_and_handle, sign,
};

const ORDERS: [[Process; 3]; 6] = {
    use Process::{Front, Signer, Supervisor};
    [
        [Front, Signer, Supervisor],
        [Front, Supervisor, Signer],
        [Signer, Front, Supervisor],
        [Signer, Supervisor, Front],
        [Supervisor, Front, Signer],
        [Supervisor, Signer, Front],
    ]
};

/// What was acknowledged, with what it takes to ask for it again.
struct Done {
    handle: KeyHandle,
    operation: OperationId,
    used: Used,
}

impl Done {
    fn one(service: &Service, handle: &KeyHandle) -> Self {
        let operation = fresh();
        let used = committed(sign(&service.client(), handle, b"message", operation));
        Self { handle: handle.clone(), operation, used }
    }

    fn check(&self, service: &Service) {
        let again = committed(sign(&service.client(), &self.handle, b"message", self.operation));
        assert_eq!(again, self.used);
    }
}

fn signing() -> (Service, KeyHandle) {
    let service = Service::start();
    let (_, handle) =
        key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ecdsa-p256");
    (service, handle)
}

/// The supervisor is the one that nobody starts again; what it leaves must end by itself.
fn kill(service: &mut Service, process: Process) {
    let before = service.pids();
    service.kill(process);
    if process == Process::Supervisor {
        eventually("no orphan is left", || !before.all().any(is_alive));
        service.launch();
    }
}

#[test]
fn each_process_is_killed_in_every_order_and_the_service_comes_back() {
    let (mut service, handle) = signing();
    let mut done = vec![Done::one(&service, &handle)];
    for order in ORDERS {
        for process in order {
            kill(&mut service, process);
            service.wait_until_up();
            for done in &done {
                done.check(&service);
            }
            done.push(Done::one(&service, &handle));
        }
    }
    service.done(&["audit", "verify", "--data", "d"]);
}

#[test]
fn all_are_killed_without_a_pause_and_the_service_comes_back() {
    let (mut service, handle) = signing();
    for [first, second, third] in ORDERS {
        let done = Done::one(&service, &handle);
        let pids = service.pids();
        for process in [first, second, third] {
            if service.pids().get(process).is_some() {
                service.kill(process);
            }
        }
        eventually("no process of the old service is left", || !pids.all().any(is_alive));
        service.launch();
        service.wait_until_up();
        done.check(&service);
    }
    service.done(&["audit", "verify", "--data", "d"]);
}

#[test]
fn the_front_alone_is_killed_and_the_signer_goes_on() {
    let (mut service, handle) = signing();
    let before = service.pids();
    for _ in 0..3 {
        service.kill(Process::Front);
        service.wait_until_up();
        Done::one(&service, &handle);
    }
    let after = service.pids();
    assert_eq!(after.get(Process::Signer), before.get(Process::Signer));
    assert_ne!(after.get(Process::Front), before.get(Process::Front));
}

#[test]
fn both_children_gain_nothing_and_have_a_filter_of_system_calls() {
    let service = Service::start();
    for process in [Process::Front, Process::Signer] {
        let pid = service.pids().get(process).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.lines().any(|found| found == line), "{process:?}: {line}\n{status}");
        }
    }
}
