//! The judge is judged: something acknowledged is lost on purpose, and must be noticed.
//!
//! `noticed` is either a service that does not start on what it finds, or a journal that contradicts it.

use std::fs;

use super::points::{Call, Fault, Point};
use super::scene::Scene;
use super::traced::Tracing;
use crate::harness::Service;

/// A frame of the workload takes one block of the log: 4 KiB.
const BLOCK_BYTES: usize = 4_096;

/// What is noticed when a service is started again.
fn noticed(mut service: Service, journal: &super::journal::Journal) -> Vec<String> {
    let before = service.log().len();
    service.launch();
    if super::supervisor::comes_up(&mut service) {
        return journal.judge(&service);
    }
    vec![service.log().split_off(before)]
}

/// The last call of that name on such a file.
fn last(calls: &[Call], name: &str, file: &str) -> Call {
    let fits = |call: &&Call| call.name == name && call.file.to_str().unwrap().contains(file);
    calls.iter().rfind(fits).unwrap().clone()
}

/// Runs the workload with one write left out that was reported done.
fn loses(scene: &Scene, call: Call) -> Vec<String> {
    let written = call.returned.expect("the call returned a number");
    let point = Point { call, fault: Fault::Skipped(written) };
    let service = scene.service();
    let (ended, journal) = Scene::run(&service, &Tracing::At(point));
    assert!(ended.trace.contains("(INJECTED)"), "the write was not met");
    assert!(!ended.by_itself, "nobody noticed at the time");
    noticed(service, &journal)
}

#[test]
fn an_acknowledgement_before_its_record_is_written_is_noticed() {
    let scene = Scene::later();
    is_named_lost(&loses(&scene, last(&scene.calls(), "pwrite64", ".seg")));
}

#[test]
fn a_change_that_was_never_stored_is_noticed() {
    let scene = Scene::later();
    let findings = loses(&scene, last(&scene.calls(), "pwrite64", "store.redb"));
    assert!(!findings.is_empty());
}

#[test]
fn a_frame_that_a_power_cut_took_is_noticed() {
    let scene = Scene::later();
    let service = scene.service();
    let (_, journal) = Scene::run(&service, &Tracing::Everything);
    assert_eq!(journal.unanswered(), 0);
    cut_last_frame(&service);
    is_named_lost(&noticed(service, &journal));
}

/// An operation that was acknowledged is gone; the lock record says so first if it had got as far as that.
fn is_named_lost(findings: &[String]) {
    let says = ["acknowledged, and now", "it was taken back"];
    let names = |finding: &String| says.iter().any(|word| finding.contains(word));
    assert!(findings.iter().any(names), "{findings:#?}");
}

/// What was written and never synced, and so is not there after a power cut.
fn cut_last_frame(service: &Service) {
    let entries = fs::read_dir(service.data().join("audit")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let segment =
        paths.filter(|path| path.extension().is_some_and(|end| end == "seg")).max().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let written = bytes.chunks_mut(BLOCK_BYTES).filter(|block| block.iter().any(|&byte| byte != 0));
    written.last().unwrap().fill(0);
    fs::write(&segment, bytes).unwrap();
}
