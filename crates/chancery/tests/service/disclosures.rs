//! Disclosures: who was given a tenant's months or single records reads those, from a copy without store and root key,
//! and nothing else; who was given nothing reads nothing; and every disclosure is on record first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use chancery_audit::sealer::month_of;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::principal::Role;
use serde_json::Value;

use super::people::{Person, query};
use crate::harness::{
    Options, Service, ask, committed, copy, eventually, fresh, key_and_handle, refused, sign, text,
};

/// A service with a few records under a checkpoint, and the key pairs of two recipients.
struct Scene {
    service: Service,
    /// A copy of the data directory without what the root key opens.
    files: PathBuf,
    /// A mirror of what is published.
    mirror: PathBuf,
    recipient: String,
    /// The month of its records, as the command line takes it.
    month: String,
    /// What its operator is shown of every record that was there when it was copied.
    every: Vec<Value>,
}

impl Scene {
    fn new() -> Self {
        let options = Options { segment_bytes: Some(64 * 1024), ..Options::default() };
        let service = Service::start_with(options);
        let client = service.client();
        let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
        for message in [b"one", b"two"] {
            committed(sign(&client, &handle, message, fresh()));
        }
        let other = fresh();
        committed(sign(&client, &handle, b"three", other));
        refused(sign(&client, &handle, b"four", other));
        let every: Value =
            serde_json::from_str(&service.done(&["--format", "json", "audit", "query"])).unwrap();
        let every = every.as_array().unwrap().clone();
        let last = every.last().unwrap();
        let size = last["log_index"].as_u64().unwrap() + 1;
        let checkpoint = service.data().join("log/checkpoint");
        eventually("the checkpoint covers them", || {
            let note = fs::read_to_string(&checkpoint).unwrap_or_default();
            note.lines().nth(1).is_some_and(|line| line.parse::<u64>().unwrap() >= size)
        });
        let recipient = made(&service, "auditor.key");
        made(&service, "other.key");
        let month = month_of(last["time_ms"].as_u64().unwrap());
        let month = format!("{:04}-{:02}", 1970 + month / 12, month % 12 + 1);
        let (files, mirror) = (service.path("files"), service.path("mirror"));
        copy(&service.data(), &files);
        for secret in ["store.redb", "admin.toml", "index", "audit/resume"] {
            let path = files.join(secret);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        copy(&files.join("log"), &mirror);
        Self { service, files, mirror, recipient, month, every }
    }

    /// Has the operator disclose something to the recipient; the record of that.
    fn disclose(&self, file: &str, what: &[&str]) -> u64 {
        let to = ["--recipient", &self.recipient, "--out", file];
        let arguments = [&["--format", "json", "audit", "disclose"], what, &to].concat();
        let said: Value = serde_json::from_str(&self.service.done(&arguments)).unwrap();
        said["log_index"].as_u64().unwrap()
    }

    /// What somebody reads in a directory with a file and a key.
    fn read(&self, directory: &Path, (file, key): (&str, &str), query: &[&str]) -> Output {
        let directory = directory.to_str().unwrap();
        let with = ["--dir", directory, "--disclosure", file, "--recipient-key", key];
        let arguments = [&["--format", "json", "audit", "query"], query, &with].concat();
        self.service.cli_with(Path::new("/nonexistent"), &arguments)
    }

    #[track_caller]
    fn shown(&self, directory: &Path, file: &str, query: &[&str]) -> Vec<Value> {
        let output = self.read(directory, (file, "auditor.key"), query);
        assert!(output.status.success(), "{query:?}: {}", text(&output.stderr));
        let note: Value = serde_json::from_slice(&output.stdout).unwrap();
        note["records"].as_array().unwrap().clone()
    }
}

/// Makes a key pair; its public key.
fn made(service: &Service, file: &str) -> String {
    let said = service.done(&["--format", "json", "audit", "recipient", "--out", file]);
    let said: Value = serde_json::from_str(&said).unwrap();
    said["public_key"].as_str().unwrap().to_owned()
}

fn index(record: &Value) -> u64 {
    record["log_index"].as_u64().unwrap()
}

/// Whether the service itself made a record, of which no tenant's keys open anything.
fn is_of_service(record: &Value) -> bool {
    ["start", "refusals"].contains(&record["operation"].as_str().unwrap())
}

#[test]
fn a_tenants_auditor_reads_its_months_and_nothing_of_the_service_itself() {
    let scene = Scene::new();
    scene.disclose("months", &["--level", "tenant", "--from", &scene.month]);
    let own: Vec<_> = scene.every.iter().filter(|it| !is_of_service(it)).cloned().collect();
    assert!(own.len() < scene.every.len() && own.len() >= 5);
    assert_eq!(scene.shown(&scene.files, "months", &[]), own);
    // Every filter but that by an operation's id, for which the index is not needed either, works as at the service.
    for query in [
        &["--key", "k", "--version", "1"][..],
        &["--action", "sign"],
        &["--outcome", "refused"],
        &["--reason", "operation-id-reused"],
        &["--after", "0", "--limit", "2"],
    ] {
        let arguments = [&["--format", "json", "audit", "query"], query].concat();
        let expected: Value = serde_json::from_str(&scene.service.done(&arguments)).unwrap();
        let expected = expected.as_array().unwrap().iter().filter(|it| own.contains(it));
        assert_eq!(
            scene.shown(&scene.files, "months", query),
            expected.cloned().collect::<Vec<_>>(),
            "{query:?}"
        );
    }
    // A mirror has no frames to open.
    let output = scene.read(&scene.mirror, ("months", "auditor.key"), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("has no audit log"));
    // An opening by those keys proves as one of the service does.
    let prove =
        ["--index", &index(&own[3]).to_string(), "--out", "one.audit-proof"].map(String::from);
    let prove: Vec<&str> = prove.iter().map(String::as_str).collect();
    let with = ["--dir", "files", "--disclosure", "months", "--recipient-key", "auditor.key"];
    let arguments = [&["audit", "prove"], &prove[..], &with].concat();
    let output = scene.service.cli_with(Path::new("/nonexistent"), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_case_shows_its_records_by_a_mirror_alone_and_no_others() {
    let scene = Scene::new();
    let signed: Vec<_> =
        scene.every.iter().filter(|it| it["operation"] == "sign").cloned().collect();
    let named: Vec<String> =
        [&signed[0], &signed[2]].into_iter().map(|it| index(it).to_string()).collect();
    scene.disclose("case", &["--level", "case", "--record", &named[1], "--record", &named[0]]);
    for directory in [&scene.mirror, &scene.files] {
        assert_eq!(
            scene.shown(directory, "case", &[]),
            [signed[0].clone(), signed[2].clone()],
            "{}",
            directory.display()
        );
        assert_eq!(scene.shown(directory, "case", &["--limit", "1"]), [signed[2].clone()]);
        assert_eq!(scene.shown(directory, "case", &["--key", "k"]).len(), 2);
        assert!(scene.shown(directory, "case", &["--outcome", "refused"]).is_empty());
    }
    // Of another record nothing is opened.
    let other = index(&signed[1]).to_string();
    let with = ["--dir", "mirror", "--disclosure", "case", "--recipient-key", "auditor.key"];
    let prove = ["audit", "prove", "--index", &other, "--out", "p"];
    let output = scene.service.cli_with(Path::new("/nonexistent"), &[&prove[..], &with].concat());
    assert!(text(&output.stderr).contains("no record with that index was disclosed"));
    // A log that has another record in the place, or whose tiles do not lead there, shows none.
    let tile = fs::read_dir(scene.mirror.join("tile/0/000.p")).unwrap();
    for path in tile.map(|it| it.unwrap().path()) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let output = scene.read(&scene.mirror, ("case", "auditor.key"), &[]);
    assert_eq!(output.status.code(), Some(4));
    let note: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(note["records"].as_array().unwrap().is_empty(), "{note:#}");
    fs::remove_file(scene.mirror.join("checkpoint")).unwrap();
    assert_eq!(scene.read(&scene.mirror, ("case", "auditor.key"), &[]).status.code(), Some(4));
}

#[test]
fn a_disclosure_opens_for_its_recipient_in_its_own_log_and_otherwise_not() {
    let scene = Scene::new();
    scene.disclose("months", &["--level", "tenant", "--from", &scene.month]);
    let denied = |with: (&str, &str), said: &str| {
        let output = scene.read(&scene.files, with, &[]);
        let stderr = text(&output.stderr);
        assert!(!output.status.success() && stderr.contains(said), "{with:?}: {stderr}");
        assert!(output.stdout.is_empty());
    };
    denied(("months", "other.key"), "does not open with that key");
    let mut altered = fs::read(scene.service.path("months")).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(scene.service.path("altered"), altered).unwrap();
    denied(("altered", "auditor.key"), "altered");
    denied(("auditor.key", "auditor.key"), "not a disclosure");
    denied(("months", "months"), "more than 128 bytes");
    // In another log there is nothing for it.
    let elsewhere = Scene::new();
    let output = scene.read(&elsewhere.files, ("months", "auditor.key"), &[]);
    assert!(text(&output.stderr).contains("not the log of the disclosure"));
    // Without a disclosure, the files are closed.
    let output = scene.service.cli_with(
        Path::new("/nonexistent"),
        &["audit", "query", "--dir", "files", "--root-key", "root.key"],
    );
    assert!(!output.status.success() && text(&output.stderr).contains("store.redb"));
}

#[test]
fn a_disclosure_is_an_operators_and_on_record_before_it_leaves() {
    let scene = Scene::new();
    let client = scene.service.client();
    let number = scene.disclose("months", &["--level", "tenant", "--from", &scene.month]);
    let action = Some("disclose".parse().unwrap());
    let disclosed = || AuditQuery { action, limit: 100, ..AuditQuery::default() };
    let records = query(&client, disclosed());
    assert_eq!(records.iter().map(|it| it.log_index).collect::<Vec<_>>(), [number]);
    assert_eq!(records[0].outcome, "committed");
    // A month without keys, a record that is not there, a key that is none: refused, and on record too.
    let recipient = [9; 32];
    let asked = |what| Command::Disclose(Disclosure { what, recipient });
    let months = Disclosed::Months { first: 0, last: 1 };
    assert_eq!(refused(ask(&client, &asked(months))), "forbidden");
    let records = || Disclosed::Records { indices: vec![1_000_000] };
    assert_eq!(refused(ask(&client, &asked(records()))), "forbidden");
    let none = Disclosed::Records { indices: Vec::new() };
    assert_eq!(refused(ask(&client, &asked(none))), "malformed");
    for (role, seed) in [(Role::Auditor, 21), (Role::Developer, 22)] {
        let person = Person::new(&scene.service, role.name(), role, seed);
        let first = Disclosed::Records { indices: vec![0] };
        assert_eq!(refused(ask(&person.client(), &asked(first))), "forbidden", "{role:?}");
    }
    let outcomes: Vec<_> =
        query(&client, disclosed()).into_iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, ["committed", "refused", "refused", "refused", "refused", "refused"]);
}
