//! The disk of a running service fails, or has no room: whoever takes authority away is still heard.
//!
//! `strace` is attached to what runs and makes calls on some files fail, also in processes that are started
//! later; what it was attached to goes on when it is gone.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chancery_api::http::replies::{AnswerObject, Audit, CommandAnswer};
use chancery_client::{Client, KeyHandle};
use chancery_core::command::Command as Asked;
use chancery_core::id::OperationId;
use chancery_core::state::{KeyEvent, KeyState};
use rustix::process::Signal;

use crate::harness::{
    Options, PATIENCE, Process, Service, ask, committed, create_key, eventually, fresh, issue,
    key_and_handle, name, new_handle, new_key, refused, sign, signal,
};

/// Small segments: 15 frames of 4 KiB each.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// The most segments that a test here fills.
const SEGMENTS: u64 = 64;

/// The supervisor's delays before it gives a failing disk up, 1, 5 and 25 s, and the starts between.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(40);

/// A trace that makes calls fail, until it is dropped.
pub(super) struct Failing(Child);

impl Failing {
    /// Makes `calls` on `files` of the data directory fail in a process and all that it starts.
    pub(super) fn attach(
        service: &Service,
        process: Process,
        files: &[String],
        inject: &str,
    ) -> Self {
        let pid = service.pids().get(process).unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
        for file in files {
            command.arg("-P").arg(service.data().join(file));
        }
        command.arg("-e").arg(format!("inject={inject}"));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the trace is attached", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
            tracer.is_some_and(|tracer| tracer.trim() != "0")
        });
        Self(child)
    }

    /// Ends it together with what it traces, as `kill -9` of both would: what a trace holds back cannot be killed by others.
    pub(super) fn kill(self) {
        signal(self.0.id(), Signal::KILL);
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // Asked to, it lets go of what it traces; killed, it would take it along.
        signal(self.0.id(), Signal::TERM);
        let _ = self.0.wait();
    }
}

fn suspend(key: &str) -> Asked {
    Asked::ChangeVersion { key: name(key), version: None, event: KeyEvent::Suspend }
}

fn state(client: &Client, key: &str) -> KeyState {
    match committed(ask(client, &Asked::ShowKey { key: name(key) })).answer {
        AnswerObject::Key(key) => key.versions[0].state,
        other => panic!("no key but {other:?}"),
    }
}

/// The mode of the service, if it answers.
fn mode(client: &Client) -> Option<String> {
    match ask(client, &Asked::ReadStatus).committed().ok()?.answer {
        AnswerObject::Status(status) => Some(status.mode),
        other => panic!("no status but {other:?}"),
    }
}

fn segments() -> Vec<String> {
    let names = (0..SEGMENTS).map(|number| format!("audit/{number:016x}.seg"));
    names.chain(["audit/spare".to_owned()]).collect()
}

#[track_caller]
fn pending(client: &Client, command: &Asked, operation: OperationId) {
    let CommandAnswer { audit, log_index, .. } = committed(client.command(command, operation));
    assert_eq!((audit, log_index), (Some(Audit::Pending), None));
}

/// What was pending is on record now, once, and holds.
fn judge(service: &Service, suspended: &[(&str, &KeyHandle, OperationId)]) {
    let client = service.client();
    for (key, handle, operation) in suspended {
        assert_eq!(state(&client, key), KeyState::Suspended, "{key}");
        assert_eq!(refused(sign(&client, handle, b"m", fresh())), "key-unusable", "{key}");
        let again = committed(client.command(&suspend(key), *operation));
        assert!(again.log_index.is_some() && again.audit.is_none(), "{again:?}");
        let shown = service.done(&["audit", "query", "--operation", &operation.to_string()]);
        assert_eq!(shown.matches("change-version").count(), 1, "{shown}");
    }
    let (_, handle) = key_and_handle(&client, "after", "sign.bound:test", "ed25519");
    committed(sign(&client, &handle, b"m", fresh()));
    service.done(&["audit", "verify", "--data", service.data().to_str().unwrap()]);
}

#[test]
fn a_reduction_that_a_failing_store_does_not_take_is_committed_and_recorded_by_the_next_start() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:test", "ed25519");
    committed(sign(&client, &handle, b"m", fresh()));
    let operation = fresh();
    let store = ["store.redb".to_owned()];
    let failing = Failing::attach(&service, Process::Signer, &store, "fsync,fdatasync:error=EIO");
    pending(&client, &suspend("k"), operation);
    eventually("the service is back", || service.answers());
    drop(failing);
    judge(&service, &[("k", &handle, operation)]);
}

#[test]
fn a_signer_whose_log_fails_again_and_again_gives_way_to_a_process_that_takes_reductions_alone() {
    let mut service =
        Service::start_with(Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() });
    let client = service.client();
    let (_, first) = key_and_handle(&client, "first", "sign.bound:test", "ed25519");
    let (_, second) = key_and_handle(&client, "second", "sign.bound:test", "ed25519");
    let failing =
        Failing::attach(&service, Process::Supervisor, &segments(), "fdatasync:error=EIO");
    service.kill(Process::Signer);
    std::thread::sleep(GIVEN_UP_AFTER);
    // Over the front, which has kept its certificate.
    let (over_front, past_front) = (fresh(), fresh());
    let deadline = std::time::Instant::now() + PATIENCE;
    while !matches!(
        client.command(&suspend("first"), over_front),
        chancery_client::Outcome::Committed(CommandAnswer { audit: Some(Audit::Pending), .. })
    ) {
        assert!(std::time::Instant::now() < deadline, "{}", service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(refused(sign(&client, &second, b"m", fresh())), "audit-failed");
    let key = new_key("third", "sign.bound:test", "ed25519");
    assert_eq!(refused(ask(&client, &key)), "audit-failed");
    assert_eq!(refused(client.command(&suspend("second"), over_front)), "operation-id-reused");
    // Past the front, also after the process was killed.
    service.kill(Process::Signer);
    let socket = service.data().join("run/signer.sock").to_str().unwrap().to_owned();
    let id = past_front.to_string();
    let command = ["key", "suspend", "second", "--operation-id", &id, "--past-the-front", &socket];
    eventually("it is started again", || service.cli(&command).status.success());
    let shown = service.done(&[&command[..], &["--format", "json"]].concat());
    assert!(shown.contains("\"audit\": \"pending\""), "{shown}");
    drop(failing);
    assert!(service.stop().success());
    service.restart();
    judge(&service, &[("first", &first, over_front), ("second", &second, past_front)]);
}

#[test]
fn with_neither_room_nor_a_next_segment_reductions_go_into_the_journal_until_there_is_room() {
    let service =
        Service::start_with(Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() });
    let client = service.client();
    let key = create_key(&client, "k", "sign.bound:test", "ed25519");
    let handle = issue(&client, new_handle(&key));
    let unmade = ["audit/spare.new".to_owned()];
    let failing = Failing::attach(&service, Process::Signer, &unmade, "fallocate:error=ENOSPC");
    let is_full = || {
        let outcome = sign(&client, &handle, b"m", fresh()).committed();
        outcome.is_err_and(|error| error.to_string().contains("audit-full"))
    };
    eventually("the log is full", is_full);
    let revoke = Asked::RevokeIssued { key: name("k") };
    eventually("the rest is kept back", || {
        committed(ask(&client, &revoke)).audit == Some(Audit::Pending)
    });
    let operation = fresh();
    pending(&client, &suspend("k"), operation);
    pending(&client, &suspend("k"), operation);
    assert_eq!(refused(sign(&client, &handle, b"m", fresh())), "audit-full");
    assert_eq!(refused(ask(&client, &new_key("n", "sign.bound:test", "ed25519"))), "audit-full");
    drop(failing);
    eventually("there is room again", || mode(&client).as_deref() == Some("normal"));
    assert_eq!(state(&client, "k"), KeyState::Suspended);
    service.done(&["audit", "verify", "--data", service.data().to_str().unwrap()]);
    let shown = service.done(&["audit", "query", "--operation", &operation.to_string()]);
    assert_eq!(shown.matches("change-version").count(), 1, "{shown}");
}
