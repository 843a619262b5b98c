//! A service that is started in a terminal: no child has the terminal, and Ctrl-C is for the supervisor to hear.

use std::fs::{self, File};
use std::io::Write as _;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{Options, Process, Service};

/// A service whose supervisor has a terminal, and the end of it at which somebody sits.
fn in_a_terminal() -> (Service, File) {
    let sits = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&sits).unwrap();
    unlockpt(&sits).unwrap();
    let terminal = ptsname(&sits, Vec::new()).unwrap().into_string().unwrap();
    let becomes = "exec setsid --ctty \"$@\" < \"$0\"".to_owned();
    let prefix = vec!["sh".into(), "-c".into(), becomes, terminal];
    (Service::start_with(Options { prefix, ..Options::default() }), sits.into())
}

/// Session and terminal of a process (proc(5)).
fn session_and_terminal(service: &Service, process: Process) -> (u32, i32) {
    let pid = service.pids().get(process).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[3].parse().unwrap(), fields[4].parse().unwrap())
}

#[test]
fn no_child_has_the_terminal_that_the_service_was_started_in() {
    let (service, _sits) = in_a_terminal();
    assert_ne!(session_and_terminal(&service, Process::Supervisor).1, 0);
    for child in [Process::Front, Process::Signer] {
        let own = service.pids().get(child).unwrap();
        assert_eq!(session_and_terminal(&service, child), (own, 0), "{child:?}");
    }
}

#[test]
fn ctrl_c_ends_the_service_in_order() {
    let (mut service, mut sits) = in_a_terminal();
    let resume = service.data().join("audit/resume");
    assert!(!resume.exists(), "what an orderly end leaves is there before");
    sits.write_all(b"\x03").unwrap();
    assert!(service.wait_for_end().success(), "{}", service.log());
    assert!(resume.exists(), "{}", service.log());
    assert!(!service.log().contains("starting it again"), "{}", service.log());
}
