//! Processes that verify, by the command line: each with a credential, a state directory and questions of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Mutex;

use chancery_api::http::fields::Base64;
use chancery_core::command::Command;
use chancery_core::principal::Role;
use chancery_core::verifier::NewVerifier;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::people::Person;
use crate::harness::{Service, ask, binary, committed};

/// A registered verifier, and its process.
pub(super) struct Verifying {
    process: Mutex<Process>,
}

struct Process {
    child: Child,
    answers: BufReader<ChildStdout>,
}

/// Something that was signed.
pub(super) struct Signed<'a> {
    pub(super) key: &'a str,
    pub(super) purpose: &'a str,
    pub(super) message: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl Signed<'_> {
    fn question(&self) -> Value {
        json!({
            "key": self.key,
            "purpose": self.purpose,
            "message": Base64(self.message.to_vec()).to_text(),
            "signature": Base64(self.signature.to_vec()).to_text(),
        })
    }
}

impl Verifying {
    /// Registers a verifier for every key, and starts its process.
    pub(super) fn start(service: &Service, name: &str, seed: u8) -> Self {
        let person = Person::new(service, name, Role::Verifier, seed);
        let (principal, keys) = (person.id, Vec::new());
        let asked = Command::RegisterVerifier(NewVerifier { principal, keys });
        committed(ask(&service.client(), &asked));
        let context = service.path(&format!("{name}.toml"));
        fs::write(&context, person.profile.to_toml().as_bytes()).unwrap();
        fs::set_permissions(&context, fs::Permissions::from_mode(0o600)).unwrap();
        if !service.path("bundle.pins").exists() {
            service.done(&["bundle", "pin", "--out", "bundle.pins"]);
        }
        let mut child = binary()
            .arg("--context-file")
            .arg(&context)
            .args(["verifier", "run", "--pins", "bundle.pins", "--report-every", "1s", "--state"])
            .arg(name)
            .current_dir(service.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { process: Mutex::new(Process { child, answers }) }
    }

    /// Whether it accepts something.
    pub(super) fn accepts(&self, signed: &Signed<'_>) -> bool {
        let mut process = self.process.lock().unwrap();
        writeln!(process.child.stdin.as_mut().unwrap(), "{}", signed.question()).unwrap();
        let mut line = String::new();
        process.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        answer["accepted"] == true
    }

    /// It stands still: it neither follows, nor verifies, nor reports.
    pub(super) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub(super) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.lock().unwrap().child.id();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
