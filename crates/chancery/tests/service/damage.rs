//! Damage to what a log publishes, and to its index: each is found by `audit verify`, and named by its file.

use std::fs;
use std::path::{Path, PathBuf};

use chancery_audit::verify::verify;
use chancery_client::{Input, Item};
use chancery_core::context::Context;
use chancery_core::handle::Operation;

use crate::harness::{
    Options, Service, committed, eventually, fresh, key_and_handle, plainly, text,
};

/// Of every so many bytes of a published file one bit is flipped; of all, where there are few.
const STEP: usize = 5;

/// A service that has signed a little and stopped, with small segments so that it is read quickly.
fn stopped() -> Service {
    let options = Options { segment_bytes: Some(64 * 1024), ..Options::default() };
    let mut service = Service::start_with(options);
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    // More than one tile has room for, in few frames.
    let context = Context::default();
    for _ in 0..2 {
        let input = Input::Message(b"m");
        let item = |_| Item { input, operation: fresh(), context: &context };
        let items: Vec<_> = (0..150).map(item).collect();
        committed(client.batch(&handle, Operation::Sign, &items, &plainly(fresh())));
    }
    eventually("there is an index", || files(&service.data().join("index")).len() > 1);
    service.stop();
    service
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

/// What `audit verify` says of the directory, if it does not hold.
fn finding(service: &Service) -> Option<String> {
    let error = verify(&service.data(), || ()).err()?;
    Some(chain(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(chain).unwrap_or_default();
    format!("{error}: {source}")
}

#[test]
fn every_flipped_bit_of_what_is_published_is_found_and_named() {
    let service = stopped();
    assert_eq!(finding(&service), None);
    let mut flipped = 0;
    let derived = ["log", "index"].map(|directory| files(&service.data().join(directory)));
    for path in derived.concat() {
        let (bytes, name) = (fs::read(&path).unwrap(), path.strip_prefix(service.data()).unwrap());
        for place in (0..bytes.len()).step_by(if bytes.len() < 256 { 1 } else { STEP }) {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << (place % 8);
            fs::write(&path, &altered).unwrap();
            let found = finding(&service).unwrap_or_default();
            // Checkpoint and policy are held against each other: either may be named.
            let is_text = ["checkpoint", "policy"].iter().any(|name| path.ends_with(name));
            let is_named = found.contains(name.to_str().unwrap())
                || is_text && (found.contains("log/checkpoint") || found.contains("log/policy"));
            assert!(is_named, "byte {place} of {}: {found:?}", path.display());
            flipped += 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(finding(&service), None);
    assert!(flipped > 1_000, "{flipped}");
}

#[test]
fn a_published_file_that_is_removed_cut_moved_or_doubled_is_found() {
    let service = stopped();
    let log = service.data().join("log");
    let index = files(&service.data().join("index"));
    assert!(index.len() > 1, "{index:?}");
    let last = index.iter().max().cloned();
    for path in files(&log).into_iter().chain(index) {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(finding(&service).is_some(), "cut: {}", path.display());
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(finding(&service).is_some(), "longer: {}", path.display());
        // Of the index, the last part may be missing: it was not made yet.
        let is_needed = !is_of_an_earlier_checkpoint(&path, &log) && last.as_ref() != Some(&path);
        fs::remove_file(&path).unwrap();
        if is_needed {
            assert!(finding(&service).is_some(), "removed: {}", path.display());
        }
        fs::write(&path, bytes).unwrap();
    }
    let (one, other) = (log.join("tile/0/000"), log.join("tile/entries/000"));
    let bytes = [fs::read(&one).unwrap(), fs::read(&other).unwrap()];
    fs::write(&one, &bytes[1]).unwrap();
    fs::write(&other, &bytes[0]).unwrap();
    assert!(finding(&service).unwrap().contains("log/tile/"));
    fs::write(&one, &bytes[0]).unwrap();
    fs::write(&other, &bytes[1]).unwrap();
    fs::copy(&one, log.join("tile/0/001")).unwrap();
    assert!(finding(&service).unwrap().contains("log/tile/0/001"));
    fs::remove_file(log.join("tile/0/001")).unwrap();
    let output = service.cli(&["audit", "verify", "--data", "d"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A partial tile that the checkpoint does not need any more.
fn is_of_an_earlier_checkpoint(path: &Path, log: &Path) -> bool {
    let checkpoint = fs::read_to_string(log.join("checkpoint")).unwrap();
    let size: usize = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    let width = path.file_name().unwrap().to_str().unwrap();
    let is_partial = path.parent().unwrap().extension().is_some_and(|end| end == "p");
    is_partial && ![size % 256, size / 256].contains(&width.parse().unwrap())
}
