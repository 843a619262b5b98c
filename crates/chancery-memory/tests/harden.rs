//! That hardening holds, read back from the kernel.

use std::os::unix::process::parent_id;

use chancery_memory::process::{ParentError, Signal, die_with_parent, harden};
use rustix::process::{
    DumpableBehavior, Resource, dumpable_behavior, getrlimit, parent_process_death_signal,
};
use rustix::thread::no_new_privs;

#[test]
fn a_hardened_process_is_neither_dumped_nor_traced_nor_raised() {
    harden().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let core = getrlimit(Resource::Core);
    assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    assert!(no_new_privs().unwrap());
}

#[test]
fn a_process_is_tied_to_the_parent_it_has() {
    die_with_parent(Signal::TERM, parent_id()).unwrap();
    assert_eq!(parent_process_death_signal().unwrap(), Some(Signal::TERM));
}

#[test]
fn a_parent_that_is_gone_is_noticed() {
    let gone = std::process::id();
    let error = die_with_parent(Signal::TERM, gone).unwrap_err();
    let seen = parent_id();
    assert!(
        matches!(error, ParentError::Gone { expected, found } if (expected, found) == (gone, seen))
    );
}
