//! The second implementation, in Python, reads what this one writes.
//!
//! It needs `python3` with `cryptography`; where they are missing these tests fail and say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use chancery_audit::dense;
use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::origin::hex;
use chancery_audit::pruned::PRUNED_FILE;
use chancery_audit::receipt::Receipt;
use chancery_audit::repack::repack;
use chancery_audit::resume::{RESUME_FILE, to_file};
use chancery_audit::segment::file_name;
use chancery_audit::verify::verify_disk;
use serde_json::Value;

use super::genuine::{SECRETS, boot, keys, read_frames, write_log};
use super::life::{origin, receipt_key, sign};
use super::pruned::note;
use super::vectors::project;

/// A directory of this test's own, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn python(script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("python3");
    // Nothing is left behind in the source tree.
    command.arg("-B").arg(project().join("vectors/python").join(script)).args(arguments);
    command.output().expect("these tests need `python3` with the package `cryptography`")
}

fn accepted(arguments: &[&str]) -> Value {
    let output = python("chancery_formats.py", arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the second implementation refuses, or `python3` lacks `cryptography`: {errors}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_refused(arguments: &[&str]) -> bool {
    let output = python("chancery_formats.py", arguments);
    output.status.code() == Some(1) && output.stderr.starts_with(b"refused: ")
}

fn write(scratch: &Scratch, frames: &[usize]) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(&scratch.0).unwrap());
    write_log(&disk, 32 * 1024, frames);
    disk
}

#[test]
fn it_verifies_a_log_from_its_files_and_opens_its_records() {
    let scratch = Scratch::new("second-log");
    let disk = write(&scratch, &[1, 3, 40, 2, 9, 5]);
    let ours = verify_disk(&*disk).unwrap();
    let directory = scratch.0.to_str().unwrap();
    let theirs = accepted(&["verify", directory, &hex(SECRETS.as_flattened())]);
    assert_eq!(theirs["origin"], ours.origin.name());
    assert_eq!(theirs["root"], hex(ours.root.as_bytes()));
    assert_eq!((&theirs["frames"], &theirs["size"]), (&ours.frames.into(), &ours.size.into()));
    assert_eq!((&theirs["signatures"], &theirs["torn"]), (&ours.signatures.into(), &Value::Null));
    let frames = read_frames(&*disk);
    let items: Vec<_> = frames.iter().flat_map(|frame| &frame.items).collect();
    let records = theirs["records"].as_array().unwrap();
    assert_eq!(records.len(), items.len());
    for (item, record) in items.into_iter().zip(records) {
        let (_, use_index) = keys(boot(9)).open(item).unwrap();
        assert_eq!(record["use_index"], use_index.unwrap_or_default());
        let (payload, ..) = keys(boot(9)).open_payload(item).unwrap();
        assert_eq!(record["payload"][0], hex(&payload.message));
        assert_eq!(record["answer"].is_null(), item.answer.is_none());
    }
}

#[test]
fn it_reads_dense_segments_and_refuses_altered_ones() {
    let scratch = Scratch::new("second-dense");
    let disk = write(&scratch, &[1, 3, 40, 2, 9, 5, 30]);
    let directory = scratch.0.to_str().unwrap();
    let before = accepted(&["verify", directory]);
    for number in 0..2 {
        repack(&*disk, number).unwrap();
        assert_eq!(accepted(&["verify", directory]), before);
    }
    let path = scratch.0.join(dense::file_name(1));
    let whole = fs::read(&path).unwrap();
    for at in [9, 2_170, 4_100, 4_350, whole.len() - 2] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        assert!(is_refused(&["verify", directory]), "byte {at}");
    }
}

/// A log of ours whose first two segments were pruned.
fn pruned(scratch: &Scratch) -> Arc<dyn Disk> {
    let disk = write(scratch, &[1, 3, 40, 2, 9, 5, 30, 1]);
    for number in 0..2 {
        repack(&*disk, number).unwrap();
    }
    let note = note(&*disk, 2);
    disk.write_whole(RESUME_FILE, &to_file(b"sealed")).unwrap();
    note.begin(&*disk, receipt_key()).unwrap();
    note.remove(&*disk).unwrap();
    disk
}

#[test]
fn it_reads_a_log_from_behind_what_was_pruned_and_believes_a_signed_note_alone() {
    let scratch = Scratch::new("second-pruned");
    let disk = pruned(&scratch);
    let directory = scratch.0.to_str().unwrap();
    let ours = verify_disk(&*disk).unwrap();
    let theirs = accepted(&["verify", directory]);
    assert_eq!(theirs["root"], hex(ours.root.as_bytes()));
    assert_eq!((&theirs["frames"], &theirs["size"]), (&ours.frames.into(), &ours.size.into()));
    assert_eq!(theirs["signatures"], ours.signatures);
    assert!(ours.pruned.is_some_and(|size| size > 0 && size < ours.size));
    let note = scratch.0.join(PRUNED_FILE);
    let whole = fs::read(&note).unwrap();
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&note, altered).unwrap();
        assert!(verify_disk(&*disk).is_err(), "byte {at}");
        // It takes a process each time.
        assert!(at % 40 > 0 || is_refused(&["verify", directory]), "byte {at}");
    }
    fs::remove_file(&note).unwrap();
    assert!(verify_disk(&*disk).is_err() && is_refused(&["verify", directory]));
}

#[test]
fn it_names_a_torn_end_and_refuses_an_altered_file() {
    let scratch = Scratch::new("second-damage");
    let disk = write(&scratch, &[1, 1, 30, 1]);
    let directory = scratch.0.to_str().unwrap();
    let last = (0..4).map(file_name).rfind(|name| scratch.0.join(name).exists()).unwrap();
    for (name, at) in
        [("origin", 100), (&*file_name(0), 200), (&*file_name(0), 4_200), ("spare", 9)]
    {
        let path = scratch.0.join(name);
        let whole = fs::read(&path).unwrap();
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        assert!(is_refused(&["verify", directory]), "byte {at} of `{name}`");
        assert!(verify_disk(&*disk).is_err());
        fs::write(&path, &whole).unwrap();
    }
    let path = scratch.0.join(&last);
    let mut torn = fs::read(&path).unwrap();
    torn[4_096 + 230] ^= 1;
    fs::write(&path, &torn).unwrap();
    let ours = verify_disk(&*disk).unwrap().torn.unwrap();
    assert_eq!(
        accepted(&["verify", directory])["torn"],
        serde_json::json!([ours.file, ours.offset])
    );
}

#[test]
fn it_checks_our_receipts() {
    let scratch = Scratch::new("second-receipts");
    let disk = write(&scratch, &[2, 5]);
    let frames = read_frames(&*disk);
    let path = scratch.0.join("receipt");
    let (path_text, key) = (path.to_str().unwrap(), hex(&origin().receipt_key));
    for position in 0..5 {
        let signature = sign(&frames[1].head(origin().log_id));
        let keys = keys(boot(9));
        let receipt = Receipt::make(&frames[1], origin().log_id, signature, position, &keys);
        let mut receipt = receipt.unwrap();
        fs::write(&path, &receipt).unwrap();
        let shown = Receipt::check(&receipt, &origin().verifier().unwrap()).unwrap();
        let theirs = accepted(&["receipt", path_text, &key]);
        assert_eq!(theirs["index"], shown.index);
        assert_eq!(theirs["payload"][2], hex(&shown.payload.context));
        let middle = receipt.len() / 2;
        receipt[middle] ^= 1;
        fs::write(&path, &receipt).unwrap();
        assert!(is_refused(&["receipt", path_text, &key]));
    }
}

#[test]
fn the_vectors_are_what_the_generator_writes() {
    let scratch = Scratch::new("second-vectors");
    let output = python("generate.py", &[scratch.0.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut written = 0;
    for entry in fs::read_dir(&scratch.0).unwrap() {
        let path = entry.unwrap().path();
        let committed = project().join("vectors").join(path.file_name().unwrap());
        assert!(
            fs::read(&path).unwrap() == fs::read(&committed).unwrap(),
            "{}",
            committed.display()
        );
        written += 1;
    }
    assert_eq!(written, 13);
}
