//! A service in later months: its pseudonyms are others, and a proof of all uses of a key goes through them.
//!
//! The clock of its processes is put ahead by a library that is loaded before libc. A supervisor would not hand that on
//! to its children, so signer and front are started here, as the tests of crashes do.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Service, binary, eventually, fresh, signal, text};

/// Four and a half weeks: always another month.
const MONTH_S: u64 = 32 * 86_400;

/// Signer and front of a service, with a clock that is so many months ahead.
struct Later<'s> {
    service: &'s Service,
    clock: PathBuf,
    months: u64,
    children: Vec<Child>,
}

/// The library that puts the clock ahead.
fn clock(service: &Service) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/months/clock.c");
    let library = service.path("clock.so");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    assert!(compile.status().expect("what builds the service has `cc`").success());
    library
}

impl<'s> Later<'s> {
    fn start(service: &'s Service, months: u64) -> Self {
        let mut later = Self { service, clock: clock(service), months, children: Vec::new() };
        let socket = service.data().join("run/signer.sock");
        let path = |name: &str| service.path(name);
        let mut signer = later.command("signer");
        signer.arg("--data").arg(service.data()).arg("--wall-clock-is-right");
        signer.arg("--root-key").arg(path("root.key")).arg("--recovery-key");
        signer.arg(path("recovery.key")).arg("--lock-directory").arg(service.directory());
        signer.arg("--endpoint").arg(format!("https://127.0.0.1:{}", service.port()));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        later.spawn(signer, listener.into());
        let mut front = later.command("front");
        front.arg("--signer").arg(socket).arg("--log").arg(service.data().join("log"));
        let listener = TcpListener::bind(("127.0.0.1", service.port())).unwrap();
        later.spawn(front, listener.into());
        eventually("it answers", || later.cli(&["status"]).status.success());
        later
    }

    /// A program of the binary, in its time.
    fn command(&self, program: &str) -> Command {
        let mut command = binary();
        command.arg(program).env("LD_PRELOAD", &self.clock);
        command.env("CHANCERY_TEST_AHEAD_S", (self.months * MONTH_S).to_string());
        command
    }

    fn spawn(&mut self, mut command: Command, listener: OwnedFd) {
        let log = File::options().create(true).append(true).open(self.service.path("log")).unwrap();
        command.args(["--name", "localhost", "--name", "127.0.0.1"]);
        command.arg("--parent").arg(std::process::id().to_string());
        command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(log);
        self.children.push(command.spawn().unwrap());
    }

    fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("--context-file");
        command.arg(self.service.data().join("admin.toml")).args(arguments);
        command.current_dir(self.service.directory()).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> Output {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), self.service.log());
        output
    }

    /// Signs with the key.
    fn sign(&self, times: usize) {
        let handle = format!("{}.handle", fresh());
        self.done(&["handle", "issue", "k", "--ttl", "15m", "--out", &handle]);
        std::fs::write(self.service.path("message"), b"m").unwrap();
        for _ in 0..times {
            let out = format!("{}.sig", fresh());
            self.done(&["sign", "--handle", &handle, "message", "--out", &out]);
        }
    }

    /// What a proof of all uses shows, to the command line and to the second implementation.
    fn proved(&self, name: &str, more: &[&str]) -> Value {
        self.done(&[&["audit", "prove", "--key", "k", "--out", name], more].concat());
        let verify =
            ["--format", "json", "audit", "verify-proof", name, "--policy", "d/log/policy"];
        let shown: Value = serde_json::from_slice(&self.done(&verify).stdout).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../verifier/verify_proof.py");
        let mut second = Command::new("python3");
        second.arg(script).args([name, "--policy", "d/log/policy"]);
        let second = second.current_dir(self.service.directory()).output().unwrap();
        assert!(second.status.success(), "{}", text(&second.stderr));
        let theirs: Value = serde_json::from_slice(&second.stdout).unwrap();
        for said in ["claim", "key", "from_record", "to_record"] {
            assert_eq!(theirs[said], shown[said], "{name}: {said}");
        }
        shown
    }

    fn end(mut self) {
        for mut child in self.children.drain(..).rev() {
            signal(child.id(), Signal::TERM);
            child.wait().unwrap();
        }
    }
}

impl Drop for Later<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            signal(child.id(), Signal::KILL);
            let _ = child.wait();
        }
    }
}

/// The numbers of the uses, and how many names the key had before.
fn seen(shown: &Value) -> (Vec<u64>, usize) {
    let uses = shown["uses"].as_array().unwrap();
    let numbers = uses.iter().map(|one| one["use_index"].as_u64().unwrap()).collect();
    (numbers, shown["key"]["before"].as_array().unwrap().len())
}

#[test]
fn all_uses_of_a_key_are_proved_through_the_months_in_which_it_has_other_names() {
    let mut service = Service::start();
    service.stop();
    let first = Later::start(&service, 0);
    first.done(&["key", "create", "k", "--purpose", "sign.bound:x", "--algorithm", "ed25519"]);
    first.sign(2);
    assert_eq!(seen(&first.proved("first", &[])), (vec![0, 1], 0));
    first.end();
    // A month in which nothing is recorded of it.
    Later::start(&service, 1).end();
    let third = Later::start(&service, 2);
    third.sign(2);
    let shown = third.proved("third", &[]);
    assert_eq!(seen(&shown), (vec![0, 1, 2, 3], 1));
    assert_eq!(shown["from_record"], 0);
    assert_eq!(seen(&third.proved("recent", &["--since", "40d"])), (vec![1, 2, 3], 1));
    third.end();
    let fourth = Later::start(&service, 3);
    fourth.sign(1);
    // A checkpoint that covers no statement of this month leads into none before it.
    eventually("a checkpoint covers the use of this month", || {
        std::fs::copy(service.data().join("log/checkpoint"), service.path("kept")).unwrap();
        let under = ["--checkpoint", "kept", "--out", "under", "--force"];
        let output = fourth.done(&[&["audit", "prove", "--key", "k"], &under[..]].concat());
        text(&output.stderr).contains("which is of an earlier month")
    });
    assert_eq!(seen(&fourth.proved("fourth", &[])), (vec![0, 1, 2, 3, 4], 2));
    fourth.sign(1);
    let files = ["--dir", "d", "--root-key", "root.key", "--force"];
    eventually("the checkpoint covers it", || {
        seen(&fourth.proved("files", &files)) == (vec![0, 1, 2, 3, 4, 5], 2)
    });
    fourth.end();
}
