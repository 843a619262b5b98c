//! The supervisor is interrupted at each of its own few calls; its children are not traced.

use std::sync::atomic::{AtomicBool, Ordering};

use super::journal::Journal;
use super::points::{Fault, Point, calls};
use super::scene::{Scene, judged};
use super::traced::{Tracing, kill_at_mark, trace_path};
use super::workload::Worker;
use crate::harness::{PATIENCE, Pids, Process, Service, eventually, is_alive};

/// The trace of the supervisor alone: as of a signer, but without its children.
fn prefix(tracing: &Tracing, service: &Service) -> Vec<String> {
    tracing.command(service).into_iter().filter(|option| option != "-f").collect()
}

/// Whether a service that was launched comes up; otherwise it has ended.
pub(super) fn comes_up(service: &mut Service) -> bool {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !service.answers() {
        if service.has_ended() {
            return false;
        }
        assert!(std::time::Instant::now() < deadline, "neither up nor dead:\n{}", service.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    true
}

/// Starts under a trace, works if it comes up, and ends it.
fn run(service: &mut Service, tracing: &Tracing) -> Journal {
    service.run_by(prefix(tracing, service));
    service.launch();
    let pid = service.pids().get(Process::Supervisor).unwrap();
    let (trace, over) = (trace_path(service), AtomicBool::new(false));
    let (journal, pids) = std::thread::scope(|scope| {
        if tracing.waits() {
            scope.spawn(|| kill_at_mark(&trace, pid, &over));
        }
        let worked = work(service);
        over.store(true, Ordering::SeqCst);
        worked
    });
    if service.has_ended() {
        // Its children end by themselves when it has died.
        eventually("no orphan is left", || !pids.all().any(is_alive));
    }
    service.kill_all();
    service.run_by(Vec::new());
    journal
}

/// Works, if the service comes up, with the processes that did.
fn work(service: &mut Service) -> (Journal, Pids) {
    if !comes_up(service) {
        return (Journal::default(), service.pids());
    }
    let (client, pids) = (service.client(), service.pids());
    (Worker::new(&client, &|| pids.all().all(is_alive)).run(), pids.clone())
}

#[test]
fn the_supervisor_dies_or_fails_at_each_of_its_calls() {
    let scene = Scene::later();
    let mut service = scene.service();
    // As a crash leaves it: with the socket of the one before.
    service.launch();
    service.wait_until_up();
    service.kill_all();
    let journal = run(&mut service, &Tracing::Everything);
    let trace = std::fs::read_to_string(trace_path(&service)).unwrap();
    let calls = calls(&trace, service.directory());
    assert_eq!(judged(service, &journal), Vec::<String>::new());
    assert!(!calls.is_empty(), "{trace}");
    let faults =
        [Fault::KilledBefore, Fault::KilledAfter, Fault::Fails("EIO"), Fault::Fails("ENOSPC")];
    for (call, fault) in calls.iter().flat_map(|call| faults.map(|fault| (call.clone(), fault))) {
        let point = Point { call, fault };
        let mut service = scene.service();
        service.launch();
        service.wait_until_up();
        service.kill_all();
        let journal = run(&mut service, &Tracing::At(point.clone()));
        assert_eq!(judged(service, &journal), Vec::<String>::new(), "{point}");
    }
    println!("supervisor: {} calls, each with {} faults", calls.len(), faults.len());
}
