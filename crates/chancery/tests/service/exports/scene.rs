//! A service that signs, an auditor's profile, and the exporter as a process.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use chancery_client::{Client, Input, Item, KeyHandle};
use chancery_core::command::AuditQuery;
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::id::PrincipalId;
use chancery_core::principal::Role;
use serde_json::Value;

use crate::harness::{
    Options, Service, binary, committed, fresh, key_and_handle, plainly, sign, text,
};
use crate::service::people::{Person, query};

/// The file of the auditor's profile.
pub(super) const AUDITOR: &str = "siem.toml";

/// A service with a key and an auditor.
pub(super) struct Scene {
    pub(super) service: Service,
    pub(super) client: Client,
    pub(super) handle: KeyHandle,
    pub(super) auditor: PrincipalId,
}

impl Scene {
    /// With so many signatures in the log.
    pub(super) fn with(signatures: usize) -> Self {
        let scene = Self::over(Options::default());
        scene.sign(signatures);
        scene
    }

    /// Over a service that was started so.
    pub(super) fn over(options: Options) -> Self {
        let service = Service::start_with(options);
        let client = service.client();
        let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
        let auditor = Person::new(&service, "siem", Role::Auditor, 9);
        write_profile(&service, AUDITOR, &auditor);
        Self { service, client, handle, auditor: auditor.id }
    }

    /// Signs so many in one request.
    pub(super) fn sign_batch(&self, signatures: usize) {
        let context = Context::default();
        let items: Vec<_> = (0..signatures)
            .map(|_| Item { input: Input::Message(b"m"), operation: fresh(), context: &context })
            .collect();
        let batch = self.client.batch(&self.handle, Operation::Sign, &items, &plainly(fresh()));
        for item in committed(batch) {
            committed(item);
        }
    }

    /// The log's name.
    pub(super) fn origin(&self) -> String {
        let status = self.service.done(&["status", "--format", "json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        status["origin"].as_str().unwrap().to_owned()
    }

    pub(super) fn sign(&self, signatures: usize) {
        for _ in 0..signatures {
            self.sign_once();
        }
    }

    pub(super) fn sign_once(&self) {
        committed(sign(&self.client, &self.handle, b"m", fresh()));
    }

    /// Makes a key, which is one record.
    pub(super) fn make_key(&self, name: &str) {
        let key = ["key", "create", name, "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
        self.service.done(&key);
    }

    /// The index of each record that there is.
    pub(super) fn indices(&self) -> Vec<u64> {
        let every = query(&self.client, AuditQuery { limit: 1_000, ..AuditQuery::default() });
        every.iter().map(|record| record.log_index).collect()
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.service.path(name).to_str().unwrap().to_owned()
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.service.path(name)).unwrap_or_default()
    }

    /// Exports as the auditor.
    pub(super) fn export(&self, to: &str, more: &[&str]) -> Output {
        self.export_as(AUDITOR, to, more)
    }

    pub(super) fn export_as(&self, profile: &str, to: &str, more: &[&str]) -> Output {
        let arguments = [&["audit", "export", "--to", to], more].concat();
        self.service.cli_with(Path::new(profile), &arguments)
    }

    /// As [`Self::export`], to the end of the log; what it said on standard error.
    #[track_caller]
    pub(super) fn exported(&self, to: &str, more: &[&str]) -> String {
        let output = self.export(to, &[&["--once"], more].concat());
        let said = text(&output.stderr);
        assert!(output.status.success(), "{to} {more:?}: {said}");
        said
    }

    /// Starts an exporter that goes on.
    pub(super) fn exporter(&self, to: &str, more: &[&str]) -> Exporter {
        let mut command = binary();
        command.args(["--context-file", AUDITOR, "audit", "export", "--to", to]).args(more);
        command.current_dir(self.service.directory()).env("XDG_STATE_HOME", self.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Exporter(command.spawn().unwrap())
    }
}

/// Writes the profile of somebody else into the service's directory.
pub(super) fn write_profile(service: &Service, name: &str, person: &Person) {
    let path = service.path(name);
    fs::write(&path, person.profile.to_toml().as_bytes()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A process that goes on exporting; it ends with its test.
pub(super) struct Exporter(pub(super) Child);

impl Exporter {
    pub(super) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The index in each event of a list.
pub(super) fn indices_of(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["unmapped"]["log_index"].as_u64().unwrap()).collect()
}

/// The events of lines of JSON.
pub(super) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every record arrived, in the order of the log but for repeats, which go back less than a batch.
#[track_caller]
pub(super) fn assert_all_in_order(arrived: &[u64], expected: &[u64], batch: u64) {
    let every: BTreeSet<_> = arrived.iter().copied().collect();
    assert_eq!(every.into_iter().collect::<Vec<_>>(), expected);
    let mut highest = 0;
    for &index in arrived {
        assert!(index + batch > highest, "{index} after {highest}: {arrived:?}");
        assert!(index <= highest + 1, "{index} after {highest}: {arrived:?}");
        highest = highest.max(index);
    }
}
