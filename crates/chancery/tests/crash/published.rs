//! Power is lost while the log is published: checkpoints, tiles, and leaves.
//!
//! Whoever has a checkpoint must be able to have the tiles under it, also of a directory that is looked at while no
//! service runs; and what was once there to be read, a service that starts on what is left may not contradict, be it
//! durable or not: somebody may have read it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use chancery_audit::proof::Trust;
use chancery_audit::publish::{CHECKPOINT_FILE, POLICY_FILE};
use chancery_log::note::Note;
use chancery_log::{Hash, TreeHead, leaf_hash, root_of};

use super::journal::Findings;
use super::model::{FileImage, Image};
use super::points::sample;
use super::power::{RANDOM_STATES, Recording, State, nothing_more};
use super::recorded::{Change, ENTRIES, PUBLISHED, Recorded, TILES};
use super::scene::runs_all;
use crate::harness::{PATIENCE, Service};

/// So many points are tried with a service, unless all are.
const POINTS_MAX: usize = 12;

/// So many random states of each are looked at without one.
const STATES: u64 = 6;

/// Between two operations: 100 ms, so that the workload takes some checkpoints.
const PAUSE: Duration = Duration::from_millis(100);

/// More records than the workload makes, and fewer than a full tile has: all tiles are partial ones.
const RECORDS_MAX: u64 = 255;

/// The bytes of a hash, and of a leaf behind its length.
const HASH_BYTES: usize = 32;
const LEAF_BYTES: usize = 37;

/// What is published.
struct Shown {
    tree: TreeHead,
    hashes: Vec<Hash>,
}

impl Shown {
    /// Reads it, and holds it against itself: signatures, root, hashes, leaves.
    fn of(read: &dyn Fn(usize, &str) -> Option<Vec<u8>>) -> Result<Option<Self>, String> {
        let Some(note) = read(PUBLISHED, CHECKPOINT_FILE) else { return Ok(None) };
        let policy = read(PUBLISHED, POLICY_FILE).ok_or("a checkpoint without a policy")?;
        let trust = Trust::parse(&String::from_utf8_lossy(&policy));
        let trust = trust.map_err(|error| error.to_string())?;
        let tree = tree_of(&note, &trust)?;
        if tree.size == 0 || tree.size > RECORDS_MAX {
            return Err(format!("a checkpoint of {} records", tree.size));
        }
        let width = tree.size.to_string();
        let absent = |what: &str| format!("no {what} under the checkpoint of {width} records");
        let tile = read(TILES, &width).ok_or_else(|| absent("tile"))?;
        let leaves = read(ENTRIES, &width).ok_or_else(|| absent("leaves"))?;
        let hashes: Vec<Hash> = tile
            .chunks(HASH_BYTES)
            .filter_map(|one| Some(Hash::from(<[u8; 32]>::try_from(one).ok()?)))
            .collect();
        let of_leaves: Vec<Hash> = leaves
            .chunks(2 + LEAF_BYTES)
            .filter_map(|one| Some(leaf_hash(one.get(2..)?)))
            .collect();
        if hashes.len() as u64 != tree.size || root_of(&hashes) != tree.root || of_leaves != hashes
        {
            return Err(format!("what is published under {width} records is not of that tree"));
        }
        Ok(Some(Self { tree, hashes }))
    }
}

fn tree_of(note: &[u8], trust: &Trust) -> Result<TreeHead, String> {
    let note = Note::parse(note).map_err(|error| format!("a checkpoint: {error}"))?;
    let vouched = trust.vouched(note).map_err(|error| format!("a checkpoint: {error}"))?;
    Ok(vouched.checkpoint.tree)
}

/// What is wrong with what is published, as it lies on a disk.
pub(super) fn faults(images: &[Image]) -> Findings {
    let read = |place: usize, name: &str| images[place].get(name).map(FileImage::to_bytes);
    Shown::of(&read).err().into_iter().collect()
}

/// Which of the checkpoints that were there to be read a service contradicts, once it has published that many records.
pub(super) fn contradictions(service: &Service, seen: &[Vec<u8>]) -> Findings {
    if seen.is_empty() {
        return Findings::new();
    }
    let log = service.data().join("log");
    let places = BTreeMap::from([
        (PUBLISHED, log.clone()),
        (TILES, log.join("tile/0/000.p")),
        (ENTRIES, log.join("tile/entries/000.p")),
    ]);
    let read = |place: usize, name: &str| fs::read(places[&place].join(name)).ok();
    let policy = fs::read_to_string(log.join(POLICY_FILE)).unwrap_or_default();
    let trees = Trust::parse(&policy).map_err(|error| error.to_string()).and_then(|trust| {
        seen.iter().map(|note| tree_of(note, &trust)).collect::<Result<Vec<_>, _>>()
    });
    let trees = match trees {
        Ok(trees) => trees,
        Err(what) => return vec![format!("another log: {what}")],
    };
    let most = trees.iter().map(|tree| tree.size).max().unwrap_or_default();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match Shown::of(&read) {
            Ok(Some(shown)) if shown.tree.size >= most => return contradicted(&shown, &trees),
            Err(what) if std::time::Instant::now() > deadline => return vec![what],
            _ if std::time::Instant::now() > deadline => {
                return vec![format!("{most} records were published, and now there are fewer")];
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn contradicted(shown: &Shown, trees: &[TreeHead]) -> Findings {
    let differs = |tree: &&TreeHead| {
        let size = usize::try_from(tree.size).unwrap();
        root_of(&shown.hashes[..size]) != tree.root
    };
    let what = |tree: &TreeHead| format!("other records than the checkpoint of {} had", tree.size);
    trees.iter().filter(differs).map(what).collect()
}

fn is_of_the_published(one: &Recorded) -> bool {
    one.directory >= PUBLISHED
}

/// The faults of every state at these points.
fn all_faults(recording: &Recording, points: &[usize]) -> Findings {
    let mut findings = Findings::new();
    recording.each_state(points, STATES, &mut |State { images, point, .. }| {
        let change = &recording.changes[point].change;
        findings.extend(
            faults(&images).into_iter().map(|what| format!("{point}, {change:.100?}: {what}")),
        );
    });
    findings
}

fn points(recording: &Recording) -> Vec<usize> {
    let all = recording.changes.iter().enumerate();
    all.filter(|(_, one)| is_of_the_published(one)).map(|(point, _)| point).collect()
}

#[test]
fn what_is_published_holds_and_is_never_contradicted_wherever_power_is_lost() {
    let recording = Recording::with_pauses(PAUSE);
    let points = points(&recording);
    let all = all_faults(&recording, &points);
    assert_eq!(all, Findings::new());
    let most = if runs_all() { usize::MAX } else { POINTS_MAX };
    let states = recording.states(&sample(points.clone(), most), RANDOM_STATES);
    let seen = states.last().map_or(0, |state| state.seen.len());
    assert!(seen > 2, "{seen} checkpoints");
    recording.judge_all(&states, &nothing_more);
    println!("{} states at points of {}, {seen} checkpoints", states.len(), points.len());
}

#[test]
fn a_tile_that_is_not_synced_is_noticed() {
    let is_sync_of_a_tile = |one: &Recorded| {
        [TILES, ENTRIES].contains(&one.directory) && matches!(one.change, Change::Sync { .. })
    };
    let recording = Recording::with_pauses(PAUSE).without(is_sync_of_a_tile);
    assert!(!all_faults(&recording, &points(&recording)).is_empty());
}

#[test]
fn a_directory_of_tiles_that_is_not_synced_is_noticed() {
    let is_sync_of_tiles = |one: &Recorded| {
        [TILES, ENTRIES].contains(&one.directory) && one.change == Change::SyncDirectory
    };
    let recording = Recording::with_pauses(PAUSE).without(is_sync_of_tiles);
    assert!(!all_faults(&recording, &points(&recording)).is_empty());
}
