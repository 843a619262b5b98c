//! Segments are pruned, and power is lost at every point of that: the log reads the same, from its beginning or from
//! behind what was pruned.

use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::pruned::{BASE_FILE, Pruned};
use chancery_audit::repack::repack;
use chancery_audit::resume::{RESUME_FILE, to_file};
use chancery_audit::segments::header;
use chancery_audit::verify::verify_disk;
use chancery_log::TreeHead;

use super::genuine::{read_frames, write_log};
use super::life::{origin, receipt_key};
use super::model::Model;
use super::replay::{Random, Replay};

/// The note that the first so many segments of a log of ours are pruned.
pub(super) fn note(disk: &dyn Disk, segments: u64) -> Pruned {
    let next = header(disk, segments).unwrap();
    let frames = read_frames(disk);
    let last = frames.iter().rfind(|frame| frame.number < next.first_frame).unwrap();
    Pruned {
        segments,
        tree: TreeHead { size: next.frontier.size(), root: next.frontier.root() },
        head: last.head(origin().log_id),
        hash: next.previous_hash,
        latest_ms: last.unix_ms,
        entry: [5; 32],
        at_ms: last.unix_ms,
        location: "file:archive".into(),
    }
}

/// A log with three dense segments and an open one.
fn log() -> Model {
    let model = Model::default();
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    write_log(&disk, 16 * 1024, &[1; 11]);
    disk.write_whole(RESUME_FILE, &to_file(b"sealed")).unwrap();
    for number in 0..3 {
        repack(&model, number).unwrap();
    }
    model
}

/// Every state in which a machine may come up that loses power while `prune` runs must verify, and have all records
/// by count and root.
fn explore(prune: impl Fn(&Model)) -> (u64, Vec<String>) {
    let before = log();
    let whole = verify_disk(&before).unwrap();
    let model = Model::of(&before.image());
    prune(&model);
    let mut replay = Replay::of(&before.image());
    let (mut states, mut failures) = (0, Vec::new());
    for event in model.trace() {
        replay.apply(&event);
        replay.states(&mut Random::seeded(7), &mut |image| {
            states += 1;
            let disk = Model::of(&image);
            let is_based = disk.read_whole(BASE_FILE).is_ok();
            match verify_disk(&disk) {
                Ok(report) if (report.size, report.root) != (whole.size, whole.root) => {
                    failures.push("another log".to_owned());
                }
                Ok(report) if report.pruned.is_some() && !is_based => {
                    failures.push("pruned, and without a resume file of that time".to_owned());
                }
                Ok(_) => {}
                Err(error) => failures.push(error.to_string()),
            }
        });
    }
    (states, failures)
}

#[test]
fn a_prune_can_be_cut_short_anywhere() {
    let (states, failures) = explore(|model| {
        let note = note(model, 2);
        note.begin(model, receipt_key()).unwrap();
        note.remove(model).unwrap();
    });
    println!("{states} crash states");
    assert!(failures.is_empty() && states > 20, "{states}: {:?}", failures.first());
}

#[test]
fn a_prune_that_removes_before_the_note_is_durable_is_condemned() {
    let (_, failures) = explore(|model| {
        let note = note(model, 2);
        note.remove(model).unwrap();
        note.begin(model, receipt_key()).unwrap();
    });
    assert!(!failures.is_empty());
}

/// What a crash has left of pruned segments is no part of the log, and is held to what it says all the same.
#[test]
fn what_is_left_of_pruned_segments_is_still_looked_at() {
    let model = log();
    note(&model, 2).begin(&model, receipt_key()).unwrap();
    let file = chancery_audit::dense::file_name(1);
    let report = verify_disk(&model).unwrap();
    assert_eq!((report.dense, report.pruned.is_some()), (3, true));
    model.open(&file).unwrap().write_at(&[0xff; 8], 4_100).unwrap();
    let error = verify_disk(&model).unwrap_err().to_string();
    assert!(error.contains(&file), "{error}");
    note(&log(), 2).remove(&model).unwrap();
    assert_eq!(verify_disk(&model).unwrap().dense, 1);
}
