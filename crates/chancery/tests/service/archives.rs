//! The log in an archive: what is closed goes there once, whoever restores it believes nothing but a policy, and what a
//! store alters, drops, swaps or makes up is found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use chancery_audit::verify::{Report, verify};
use serde_json::Value;

use super::seaweed::{BUCKET, Seaweed};
use crate::harness::{Options, Service, committed, eventually, fresh, key_and_handle, sign, text};

/// As short as a segment may be.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// A service with a log of some closed segments, all of them under its checkpoint and dense.
fn service() -> Service {
    let options = Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() };
    let service = Service::start_with(options);
    let (_, handle) = key_and_handle(&service.client(), "k", "sign.bound:x", "ed25519");
    write_more(&service, &handle);
    service
}

fn write_more(service: &Service, handle: &chancery_client::KeyHandle) {
    let client = service.client();
    for _ in 0..50 {
        committed(sign(&client, handle, b"m", fresh()));
    }
    let audit = service.data().join("audit");
    eventually("closed segments are dense", || {
        let names = fs::read_dir(&audit).unwrap().map(|entry| entry.unwrap().file_name());
        let is_padded = |name: &std::ffi::OsString| {
            Path::new(name).extension().is_some_and(|kind| kind == "seg")
        };
        names.filter(is_padded).count() == 1
    });
}

fn report(data: &Path) -> Report {
    verify(data, || std::thread::sleep(Duration::from_millis(50))).unwrap()
}

/// An archive, and how the command line is told of it.
struct Archive {
    name: String,
    more: Vec<String>,
}

impl Archive {
    fn in_directory(path: &Path) -> Self {
        Self { name: format!("file:{}", path.display()), more: Vec::new() }
    }

    fn in_bucket(store: &Seaweed) -> Self {
        let access = store.access().display().to_string();
        Self { name: format!("s3://{BUCKET}/logs/a"), more: vec!["--s3".into(), access] }
    }

    fn run(&self, service: &Service, arguments: &[&str]) -> Output {
        let more: Vec<&str> = self.more.iter().map(String::as_str).collect();
        service.cli(&[&["--format", "json", "audit"], arguments, more.as_slice()].concat())
    }

    fn put(&self, service: &Service) -> Value {
        let output = self.run(service, &["archive", "--to", &self.name, "--data", "d"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn try_restore(&self, service: &Service, into: &Path) -> Output {
        let (policy, into) = (service.path("policy"), into.to_str().unwrap().to_owned());
        if !policy.exists() {
            fs::copy(service.data().join("log/policy"), &policy).unwrap();
        }
        let policy = policy.to_str().unwrap();
        let named = ["restore", "--from", &self.name, "--policy", policy, "--data", &into];
        self.run(service, &named)
    }

    fn restore(&self, service: &Service, into: &Path) -> Value {
        let output = self.try_restore(service, into);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Archives while the service runs, goes on, and restores: the log that comes back is the beginning of the log.
fn goes_there_and_back(service: &Service, archive: &Archive) {
    let first = archive.put(service);
    let segments = first["segments"].as_u64().unwrap();
    assert!(segments >= 3 && first["new_segments"] == first["segments"], "{first}");
    let again = archive.put(service);
    assert_eq!((&again["new_segments"], &again["segments"]), (&0.into(), &first["segments"]));
    let (_, handle) = key_and_handle(&service.client(), "more", "sign.bound:x", "ed25519");
    write_more(service, &handle);
    let later = archive.put(service);
    assert_eq!(later["new_segments"].as_u64().unwrap() + segments, later["segments"]);
    assert!(later["segments"].as_u64().unwrap() > segments);
    let into = service.path("restored");
    let restored = archive.restore(service, &into);
    assert_eq!(restored["records"], later["records"]);
    let (theirs, ours) = (report(&into), report(&service.data()));
    assert_eq!(
        (theirs.size, theirs.dense as u64),
        (later["records"].as_u64().unwrap(), later["segments"].as_u64().unwrap())
    );
    assert_eq!(theirs.origin, ours.origin);
    assert!(theirs.size < ours.size);
    for name in fs::read_dir(into.join("audit")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let (ours, theirs) =
            (service.data().join("audit").join(&name), into.join("audit").join(&name));
        assert!(fs::read(ours).unwrap() == fs::read(theirs).unwrap(), "{name:?}");
    }
    // What is missing alone is written again; what is there stays.
    fs::remove_file(into.join("audit/0000000000000001.dense")).unwrap();
    assert_eq!(archive.restore(service, &into)["new_segments"], 1);
    assert_eq!(archive.restore(service, &into)["new_segments"], 0);
    report(&into);
}

#[test]
fn a_log_goes_into_a_directory_and_comes_back() {
    let service = service();
    let archive = Archive::in_directory(&service.path("archive"));
    goes_there_and_back(&service, &archive);
}

#[test]
fn a_log_goes_into_a_bucket_of_an_object_store_and_comes_back() {
    let service = service();
    let store = Seaweed::start(service.directory());
    let archive = Archive::in_bucket(&store);
    goes_there_and_back(&service, &archive);
    // Over TLS it is the same archive, for whoever trusts the authority of the store and for nobody else.
    let (access, authority) = store.tls_access();
    let more = |ca: &[String]| [&["--s3".into(), access.display().to_string()], ca].concat();
    let trusting = more(&["--ca".into(), authority.display().to_string()]);
    let over_tls = |more| Archive { name: archive.name.clone(), more };
    let again = over_tls(trusting).put(&service);
    assert_eq!(again["new_segments"], 0);
    let output = over_tls(more(&[])).try_restore(&service, &service.path("nothing"));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    // Whoever has another key is not let in, and nothing of the file is said.
    let access = service.path("wrong.toml");
    let wrong = fs::read_to_string(store.access()).unwrap().replace("not-so-secret", "hush-hush");
    fs::write(&access, wrong).unwrap();
    let more = vec!["--s3".into(), access.display().to_string()];
    let output = Archive { more, ..archive }.try_restore(&service, &service.path("nothing"));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("hush-hush"));
    assert!(!service.path("nothing").exists());
}

/// Every file of an archive in a directory, with its bytes.
fn objects(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// A store that alters any byte, drops or swaps any object is found, and what it gave is not left there as a log.
#[test]
fn a_store_that_lies_is_found() {
    let mut service = service();
    let directory = service.path("archive");
    let archive = Archive::in_directory(&directory);
    archive.put(&service);
    let whole = objects(&directory);
    service.stop();
    let mut tried = 0;
    let mut check = |what: &str, is_policy: bool| {
        let into = service.path("restored");
        let output = archive.try_restore(&service, &into);
        // The policy in the archive is for people; nobody believes it.
        assert_eq!(output.status.success(), is_policy, "{what}: {}", text(&output.stdout));
        if !is_policy {
            assert_eq!(output.status.code(), Some(4), "{what}: {}", text(&output.stderr));
        }
        let _ = fs::remove_dir_all(&into);
        tried += 1;
    };
    for (path, bytes) in &whole {
        let is_policy = path.ends_with("policy");
        let step = (bytes.len() / 4).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            fs::write(path, altered).unwrap();
            check(&format!("byte {at} of {}", path.display()), is_policy);
        }
        fs::remove_file(path).unwrap();
        check(&format!("{} is gone", path.display()), is_policy);
        fs::write(path, bytes).unwrap();
    }
    let segments: Vec<_> =
        whole.keys().filter(|path| path.extension().is_some_and(|name| name == "dense")).collect();
    fs::write(segments[0], &whole[segments[1]]).unwrap();
    fs::write(segments[1], &whole[segments[0]]).unwrap();
    check("two segments are swapped", false);
    println!("{tried} lies");
    assert!(tried > 40, "{tried}");
}

/// What stands in the archive is never overwritten, and another log's archive is told apart.
#[test]
fn nothing_is_overwritten_and_logs_do_not_mix() {
    let (service, other) = (service(), service());
    let directory = service.path("archive");
    let archive = Archive::in_directory(&directory);
    archive.put(&service);
    let whole = objects(&directory);
    let entry = whole.keys().find(|path| path.ends_with("entries/0000000000000001.json")).unwrap();
    let segment =
        whole.keys().find(|path| path.ends_with("segments/0000000000000001.dense")).unwrap();
    // As if a run had ended before the entry, and somebody had put another segment there.
    fs::remove_file(entry).unwrap();
    fs::write(segment, b"another").unwrap();
    let output = archive.run(&service, &["archive", "--to", &archive.name, "--data", "d"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("nothing is overwritten"), "{said}");
    assert_eq!(fs::read(segment).unwrap(), b"another");
    // A run that was cut short goes on.
    fs::remove_file(segment).unwrap();
    assert_eq!(archive.put(&service)["new_segments"], 1);
    assert_eq!(objects(&directory), whole);
    archive.put(&other);
    let output = archive.try_restore(&service, &service.path("restored"));
    assert!(text(&output.stderr).contains("has 2 logs"), "{}", text(&output.stderr));
    let origin = report(&other.data()).origin.name();
    let into = service.path("restored");
    let (policy, into) = (service.path("policy"), into.to_str().unwrap().to_owned());
    let named = ["restore", "--from", &archive.name, "--data", &into, "--origin", &origin];
    let output =
        archive.run(&service, &[&named[..], &["--policy", policy.to_str().unwrap()]].concat());
    // Its checkpoint is signed by keys that this policy does not name.
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
}

#[test]
fn a_bucket_is_asked_to_keep_each_object_and_must_say_that_it_does() {
    let service = service();
    let store = Seaweed::start(service.directory());
    store.shell("s3.bucket.create -name locked -withLock");
    let access = store.access().display().to_string();
    let archive = |bucket: &str, more: &[&str]| {
        let to = format!("s3://{bucket}/logs");
        let named = ["audit", "archive", "--to", &to, "--data", "d", "--s3", &access];
        service.cli(&[&named[..], more].concat())
    };
    let lock = ["--lock", "governance", "--lock-for", "2d"];
    let output = archive("locked", &lock);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Again nothing is put, and what is there comes back.
    let output = archive("locked", &lock);
    assert!(text(&output.stdout).contains("segments put now  0"), "{}", text(&output.stdout));
    let locked =
        Archive { name: "s3://locked/logs".into(), more: vec!["--s3".into(), access.clone()] };
    locked.restore(&service, &service.path("restored"));
    // A bucket without locks does not keep what it was asked to, and that is said.
    let output = archive(BUCKET, &lock);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(said.contains("of the archive") || said.contains("is in the archive"), "{said}");
    let output = service
        .cli(&[&["audit", "archive", "--to", "file:kept", "--data", "d"], &lock[..]].concat());
    assert!(text(&output.stderr).contains("no object lock"), "{}", text(&output.stderr));
}
