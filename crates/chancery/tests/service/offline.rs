//! The audit from files alone: the same answers as the service gives, whatever became of it and of its index; and what
//! is damaged, missing or of somebody else is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;

use chancery_audit::frame::Frame;
use chancery_audit::segment::BLOCK_BYTES;
use chancery_core::id::OperationId;
use chancery_core::principal::Role;
use serde_json::Value;

use super::people::Person;
use crate::harness::{
    Options, Service, committed, copy, eventually, fresh, issue, key_and_handle, new_handle,
    refused, sign, text,
};

/// A service with a little of everything on record, in segments as short as they may be.
struct Scene {
    service: Service,
    operation: OperationId,
    developer: String,
    /// The records that were there when it was asked last.
    size: u64,
}

impl Scene {
    fn new() -> Self {
        let options = Options { segment_bytes: Some(64 * 1024), ..Options::default() };
        let service = Service::start_with(options);
        let client = service.client();
        let (key, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
        let (_, other) = key_and_handle(&client, "other", "sign.bound:x", "ed25519");
        let developer = Person::new(&service, "dev", Role::Developer, 9);
        let operation = fresh();
        let signature = committed(sign(&client, &handle, b"one", operation)).output;
        fs::write(service.path("one.sig"), signature).unwrap();
        refused(sign(&client, &handle, b"another", operation));
        issue(&developer.client(), new_handle(&key));
        for _ in 0..40 {
            committed(sign(&client, &other, b"m", fresh()));
        }
        let index = service.data().join("index");
        eventually("there is an index", || fs::read_dir(&index).unwrap().count() >= 3);
        let developer = developer.id.to_string();
        let mut scene = Self { service, operation, developer, size: 0 };
        scene.size = scene.last() + 1;
        scene
    }

    /// The index of the last record.
    fn last(&self) -> u64 {
        let records = self.asked(&["--limit", "1"]);
        records.as_array().unwrap().last().unwrap()["log_index"].as_u64().unwrap()
    }

    /// Queries, each by all that the command line takes.
    fn queries(&self) -> Vec<Vec<String>> {
        let (operation, developer) = (self.operation.to_string(), self.developer.as_str());
        let middle = (self.size / 2).to_string();
        let all: [&[&str]; 14] = [
            &[],
            &["--key", "k"],
            &["--key", "k", "--version", "1"],
            &["--key", "other", "--limit", "7"],
            &["--actor", developer],
            &["--action", "sign"],
            &["--action", "start"],
            &["--outcome", "refused"],
            &["--reason", "operation-id-reused"],
            &["--operation", &operation],
            &["--output", "one.sig"],
            &["--after", &middle, "--limit", "5"],
            &["--since", "1h"],
            &["--until", "1h"],
        ];
        all.iter().map(|query| query.iter().map(|&word| word.to_owned()).collect()).collect()
    }

    /// What the service says to a query.
    fn asked(&self, query: &[&str]) -> Value {
        let arguments = [&["--format", "json", "audit", "query"], query].concat();
        serde_json::from_str(&self.service.done(&arguments)).unwrap()
    }

    /// What it says to each, of the records that were there first.
    fn answers(&self) -> Vec<Value> {
        let bound = self.size.to_string();
        let answer = |query: &Vec<String>| {
            let query: Vec<&str> = query.iter().map(String::as_str).collect();
            self.asked(&[&query[..], &["--before", &bound]].concat())
        };
        self.queries().iter().map(answer).collect()
    }

    /// What the files in `directory` say to a query.
    fn read(&self, directory: &Path, query: &[&str]) -> Output {
        let directory = directory.to_str().unwrap();
        let files = ["--dir", directory, "--root-key", "root.key"];
        let arguments = [&["--format", "json", "audit", "query"], query, &files].concat();
        self.service.cli_with(Path::new("/nonexistent"), &arguments)
    }

    /// Files say the same, and nothing among them is changed; what they say to the first query besides.
    #[track_caller]
    fn say(&self, directory: &Path, answers: &[Value]) -> Value {
        let before = state(directory);
        let bound = self.size.to_string();
        let mut said = Value::Null;
        for (query, answer) in self.queries().iter().zip(answers) {
            let query: Vec<&str> = query.iter().map(String::as_str).collect();
            let output = self.read(directory, &[&query[..], &["--before", &bound]].concat());
            assert!(output.status.success(), "{query:?}: {}", text(&output.stderr));
            let note: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(note["records"], *answer, "{query:?}");
            if query.is_empty() {
                said = note;
            }
        }
        assert_eq!(state(directory), before, "something was changed");
        said
    }
}

/// Every file below a directory, with its bytes and the time of its last change.
fn state(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files.extend(state(&path));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, (bytes, entry.metadata().unwrap().modified().unwrap()));
        }
    }
    files
}

fn parts(directory: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<_> =
        fs::read_dir(directory.join("index")).unwrap().map(|it| it.unwrap().path()).collect();
    parts.sort();
    parts
}

#[test]
fn files_say_what_the_service_says_whatever_became_of_it_and_its_index() {
    let mut scene = Scene::new();
    let answers = scene.answers();
    assert!(answers.iter().filter(|answer| answer.as_array().unwrap().is_empty()).count() == 1);
    let data = scene.service.data();

    // Killed: what came last is in no part of the index, and no resume file knows of it.
    scene.service.kill_all();
    let said = scene.say(&data, &answers);
    assert!(!said["index"]["read_from_log"].as_array().unwrap().is_empty(), "{said:#}");
    assert_eq!(said["log"]["records"].as_u64().map(|size| size >= scene.size), Some(true));
    assert_eq!(said["findings"], Value::Array(Vec::new()));

    // A copy, elsewhere, that nobody may write to.
    let elsewhere = scene.service.path("evidence");
    copy(&data, &elsewhere);
    for path in state(&elsewhere).keys() {
        let mut permissions = fs::metadata(path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(path, permissions).unwrap();
    }
    scene.say(&elsewhere, &answers);

    // It starts as if nobody had looked, and says the same; stopped in order, so do its files.
    scene.service.restart();
    assert_eq!(scene.answers(), answers);
    scene.service.stop();
    let said = scene.say(&data, &answers);
    assert_eq!(said["verified"]["to_record"], said["log"]["records"]);

    // Parts that are altered in head or body are read around; so is an index that is gone.
    for (at, part) in parts(&data).iter().enumerate() {
        let mut bytes = fs::read(part).unwrap();
        let place = if at % 2 == 0 { 50 } else { bytes.len() - 3 };
        bytes[place] ^= 1;
        fs::write(part, bytes).unwrap();
    }
    let said = scene.say(&data, &answers);
    assert_eq!(said["index"]["damaged"].as_array().unwrap().len(), parts(&data).len());
    fs::remove_dir_all(data.join("index")).unwrap();
    let said = scene.say(&data, &answers);
    assert_eq!(said["index"]["read_from_log"][0][0], 0);
    // Without the resume file all of the log is walked.
    fs::remove_file(data.join("audit/resume")).unwrap();
    assert_eq!(scene.say(&data, &answers)["verified"]["from_record"], 0);
}

#[test]
fn files_are_read_beside_the_service_that_writes_them() {
    let scene = Scene::new();
    let answers = scene.answers();
    let client = scene.service.client();
    let (_, handle) = key_and_handle(&client, "busy", "sign.bound:x", "ed25519");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        while stopped.try_recv().is_err() {
            committed(sign(&client, &handle, b"m", fresh()));
        }
    });
    let bound = scene.size.to_string();
    for (query, answer) in scene.queries().iter().zip(&answers) {
        let query: Vec<&str> = query.iter().map(String::as_str).collect();
        let output =
            scene.read(&scene.service.data(), &[&query[..], &["--before", &bound]].concat());
        assert!(output.status.success(), "{query:?}: {}", text(&output.stderr));
        let note: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(note["records"], *answer, "{query:?}");
    }
    stop.send(()).unwrap();
    writer.join().unwrap();
}

#[test]
fn pages_of_files_go_back_and_on_as_those_of_the_service_do() {
    let mut scene = Scene::new();
    let every = scene.asked(&["--key", "other", "--before", &scene.size.to_string()]);
    let every: Vec<u64> =
        every.as_array().unwrap().iter().map(|it| it["log_index"].as_u64().unwrap()).collect();
    scene.service.stop();
    let data = scene.service.data();
    let page = |bound: [&str; 2]| -> Vec<u64> {
        let query = [&["--key", "other", "--limit", "6"], &bound[..]].concat();
        let output = scene.read(&data, &query);
        let note: Value = serde_json::from_slice(&output.stdout).unwrap();
        let records = note["records"].as_array().unwrap();
        records.iter().map(|it| it["log_index"].as_u64().unwrap()).collect()
    };
    let (mut back, mut before) = (Vec::new(), scene.size.to_string());
    loop {
        let found = page(["--before", &before]);
        let Some(first) = found.first() else { break };
        before = first.to_string();
        back.splice(0..0, found);
    }
    assert_eq!(back, every);
    let (mut on, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let found = page(["--after", &after]);
        let Some(last) = found.last() else { break };
        after = last.to_string();
        on.extend(found);
    }
    assert_eq!(on, every);
}

/// The exit code and what was said on standard error.
fn refusal(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), text(&output.stderr))
}

#[test]
fn a_wrong_key_and_what_is_missing_are_said() {
    let mut scene = Scene::new();
    scene.service.stop();
    let other = Service::start();
    let data = scene.service.data();
    let wrong = |arguments: &[&str]| {
        let arguments = [&["audit", "query", "--dir", "d"], arguments].concat();
        refusal(&scene.service.cli_with(Path::new("/nonexistent"), &arguments))
    };
    let key = other.key_file("root.key");
    let (code, said) = wrong(&["--root-key", key.to_str().unwrap()]);
    assert!(
        code == 1 && said.contains("is not the one of") && said.contains("--root-key"),
        "{said}"
    );
    let (code, said) = wrong(&[]);
    assert!(code == 1 && said.contains("root.key"), "{said}");
    let (code, said) = wrong(&["--root-key", "root.key", "--tenant", "nobody"]);
    assert!(code == 1 && said.contains("default"), "{said}");
    fs::rename(data.join("store.redb"), scene.service.path("store")).unwrap();
    let (code, said) = wrong(&["--root-key", "root.key"]);
    assert!(code == 1 && said.contains("store.redb"), "{said}");
    // The store of another service has another key.
    fs::copy(other.data().join("store.redb"), data.join("store.redb")).unwrap();
    let (code, said) = wrong(&["--root-key", "root.key"]);
    assert!(code == 1 && said.contains("is not the one of"), "{said}");
    // And with that key, the log is not its own.
    let (code, said) = wrong(&["--root-key", key.to_str().unwrap()]);
    assert!(code == 1 && said.contains("another service"), "{said}");
    fs::rename(data.join("audit"), scene.service.path("audit")).unwrap();
    let (code, said) = wrong(&["--root-key", "root.key"]);
    assert!(code == 1 && said.contains("has no audit log"), "{said}");
}

/// The last segment, which no repacker touches while it is written to.
fn last_segment(data: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(data.join("audit")).unwrap().map(|it| it.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|it| it == "seg"));
    segments.max().unwrap()
}

/// Where the frames of a segment begin, and their records.
fn frames(segment: &[u8]) -> Vec<(usize, std::ops::Range<u64>)> {
    let mut at = BLOCK_BYTES;
    let mut frames = Vec::new();
    while let Some(Ok((frame, encoded))) = segment.get(at..).map(Frame::decode) {
        frames.push((at, frame.first_index..frame.end_index()));
        at += encoded.bytes.len();
    }
    frames
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_shown_around_the_damage() {
    let mut scene = Scene::new();
    let bound = scene.size.to_string();
    let every = scene.asked(&["--before", &bound]);
    scene.service.stop();
    let data = scene.service.data();
    let path = last_segment(&data);
    let whole = fs::read(&path).unwrap();
    let all = frames(&whole);
    let (at, lost) = all[all.len() / 2].clone();
    let mut altered = whole.clone();
    altered[at + 300] ^= 1;
    fs::write(&path, &altered).unwrap();
    let index = |record: &Value| record["log_index"].as_u64().unwrap();
    let rest: Vec<_> =
        every.as_array().unwrap().iter().filter(|it| !lost.contains(&index(it))).cloned().collect();
    // By the index, from the log alone, and from all of the log.
    for gone in ["none", "index", "audit/resume"] {
        let gone = data.join(gone);
        let _ = if gone.is_dir() { fs::remove_dir_all(&gone) } else { fs::remove_file(&gone) };
        let output = scene.read(&data, &["--before", &bound]);
        let (code, said) = refusal(&output);
        assert_eq!(code, 4, "{said}");
        let note: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(note["records"], Value::Array(rest.clone()), "{note:#}");
        let unread = note["not_read"].as_array().unwrap();
        let unread: Vec<_> = unread
            .iter()
            .map(|it| it["from"].as_u64().unwrap()..it["to"].as_u64().unwrap())
            .collect();
        assert_eq!(unread, std::slice::from_ref(&lost), "{note:#}");
    }
    // The end of the log is taken away: whoever remembers more says so.
    fs::write(&path, &whole).unwrap();
    fs::remove_file(path).unwrap();
    let (code, said) = refusal(&scene.read(&data, &[]));
    assert!(code == 4 && said.contains("checkpoint remembers"), "{said}");
    assert!(said.contains("lock record remembers"), "{said}");
}

#[test]
fn a_record_that_stands_in_the_place_of_another_is_not_shown() {
    let mut scene = Scene::new();
    scene.service.stop();
    let data = scene.service.data();
    let path = last_segment(&data);
    let mut bytes = fs::read(&path).unwrap();
    // Two frames of one record each change places, with checksums and numbers as they must be.
    let all = frames(&bytes);
    let ones: Vec<_> = all.iter().filter(|(_, records)| records.end - records.start == 1).collect();
    let (one, other) = (ones[1].clone(), ones[2].clone());
    let decoded = |at: usize| Frame::decode(&bytes[at..]).unwrap().0;
    let (mut first, mut second) = (decoded(one.0), decoded(other.0));
    std::mem::swap(&mut first.items, &mut second.items);
    std::mem::swap(&mut first.boot_nonce, &mut second.boot_nonce);
    let (first, second) = (first.encode().bytes, second.encode().bytes);
    assert_eq!(first.len(), second.len());
    bytes[one.0..one.0 + first.len()].copy_from_slice(&first);
    bytes[other.0..other.0 + second.len()].copy_from_slice(&second);
    fs::write(&path, bytes).unwrap();
    let output = scene.read(&data, &[]);
    assert_eq!(refusal(&output).0, 4);
    let note: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown: Vec<u64> = note["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["log_index"].as_u64().unwrap())
        .collect();
    assert!(!shown.contains(&one.1.start) && !shown.contains(&other.1.start), "{note:#}");
    let unread = note["not_read"].to_string();
    assert!(unread.contains("covers another record"), "{unread}");
}

#[test]
fn timelines_and_proofs_are_made_from_files_alone() {
    let mut scene = Scene::new();
    let timeline = scene.service.done(&["--format", "json", "audit", "timeline", "k"]);
    let policy = scene.service.data().join("log/policy");
    let bound = scene.size;
    eventually("the checkpoint covers it", || {
        let note = fs::read_to_string(scene.service.data().join("log/checkpoint")).unwrap();
        note.lines().nth(1).unwrap().parse::<u64>().unwrap() >= bound
    });
    scene.service.stop();
    let nowhere = Path::new("/nonexistent");
    let files = ["--dir", "d", "--root-key", "root.key"];
    let cli = |arguments: &[&str]| {
        let output = scene.service.cli_with(nowhere, &[arguments, &files].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let note: Value =
        serde_json::from_str(&cli(&["--format", "json", "audit", "timeline", "k"])).unwrap();
    assert_eq!(note["events"], serde_json::from_str::<Value>(&timeline).unwrap());
    let operation = scene.operation.to_string();
    cli(&["audit", "prove", "--operation", &operation, "--out", "one.audit-proof"]);
    cli(&["audit", "prove", "--key", "other", "--out", "all.audit-proof"]);
    for (proof, claim) in [("one.audit-proof", "used"), ("all.audit-proof", "complete")] {
        let policy = policy.to_str().unwrap();
        let checked = ["audit", "verify-proof", proof, "--policy", policy];
        let output = scene.service.cli_with(nowhere, &checked);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(claim), "{}", text(&output.stdout));
    }
    // For people, and as values; what is said besides stands under the one and beside the other.
    let table = cli(&["audit", "query", "--key", "k"]);
    assert!(table.contains("read from") && table.contains("checkpoint"), "{table}");
    let csv = cli(&["audit", "query", "--key", "k", "--csv"]);
    assert!(csv.lines().all(|line| line.matches(',').count() == 11), "{csv}");
}
