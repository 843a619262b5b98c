//! The signer is interrupted at every system call that changes a file.
//!
//! A sample of at most 234 points here; all of them by `cargo xtask crash --all`, which prints how many.

use super::points::Fault;
use super::scene::Scene;

#[test]
fn the_signer_dies_before_a_call() {
    Scene::later().sweep(Fault::KilledBefore, 60);
}

#[test]
fn the_signer_dies_after_a_call() {
    Scene::later().sweep(Fault::KilledAfter, 40);
}

#[test]
fn a_call_of_the_signer_fails() {
    Scene::later().sweep(Fault::Fails("EIO"), 45);
}

#[test]
fn a_call_of_the_signer_finds_no_room() {
    Scene::later().sweep(Fault::Fails("ENOSPC"), 45);
}

#[test]
fn the_first_start_dies_before_a_call() {
    Scene::FirstStart.sweep(Fault::KilledBefore, 16);
}

#[test]
fn the_first_start_dies_after_a_call() {
    Scene::FirstStart.sweep(Fault::KilledAfter, 8);
}

#[test]
fn a_call_of_the_first_start_fails() {
    Scene::FirstStart.sweep(Fault::Fails("EIO"), 8);
}

#[test]
fn a_call_of_the_first_start_finds_no_room() {
    Scene::FirstStart.sweep(Fault::Fails("ENOSPC"), 12);
}
