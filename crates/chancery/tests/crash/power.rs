//! Power is lost at each call of a recorded run, and the service is started on what may be left.
//!
//! The whole run is recorded once, with all its data. At a point, what was not synced is lost as a whole,
//! kept as a whole, or lost and torn sector by sector at random; names that were not synced likewise. Then
//! the real service starts on these files, and the client's journal, as it stood at that moment, is held
//! against it.
//!
//! That a missing sync would be noticed is shown by leaving it out of the recording.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::journal::{Findings, Journal};
use super::model::{Event, FileImage, Image, Model, SECTOR_BYTES};
use super::points::sample;
use super::recorded::{Change, DIRECTORIES, Recorded, changes, events, image};
use super::replay::{Random, Replay};
use super::scene::{Scene, runs_all};
use super::supervisor::comes_up;

/// So many points are tried, unless all are.
const POINTS_MAX: usize = 64;

/// So many random states of each, besides *all lost* and *all kept*.
const RANDOM_STATES: u64 = 1;

/// States judged at once: one starts while another is asked.
const RUNNERS: usize = 2;

/// Longer than the workload takes: a journal of that much later knows every answer.
const MUCH_LATER: f64 = 3_600.0;

/// A recorded run.
struct Recording {
    scene: Scene,
    journal: Journal,
    changes: Vec<Recorded>,
}

/// What may be left at a point: one image for each directory, and the point.
struct State {
    images: Vec<Image>,
    point: usize,
}

impl Recording {
    fn new() -> Self {
        let scene = Scene::later();
        let (trace, journal, data) = scene.recorded();
        let changes = changes(&trace, &data);
        assert!(changes.len() > 100, "{} changes", changes.len());
        Self { scene, journal, changes }
    }

    /// The same run of a signer that leaves some calls out.
    fn without(mut self, is_left_out: impl Fn(&Change) -> bool) -> Self {
        let before = self.changes.len();
        self.changes.retain(|recorded| !is_left_out(&recorded.change));
        assert!(self.changes.len() < before, "nothing was left out");
        self
    }

    /// The moment until which answers count at a point: when the next change comes.
    fn moment(&self, point: usize) -> f64 {
        self.changes.get(point + 1).map_or(f64::MAX, |next| next.at)
    }

    /// States at these points.
    fn states(&self, points: &[usize], more: u64) -> Vec<State> {
        let template = self.scene.service();
        let starts = DIRECTORIES.map(|name| image(&template.data().join(name)));
        let disks = starts.each_ref().map(Model::of);
        let mut replays = starts.each_ref().map(Replay::of);
        let mut random = Random::seeded(7);
        let mut states = Vec::new();
        for (point, recorded) in self.changes.iter().enumerate() {
            let done: Vec<Event> = events(&disks[recorded.directory], &recorded.change);
            for event in &done {
                replays[recorded.directory].apply(event);
            }
            if !points.contains(&point) {
                continue;
            }
            let mut images = vec![Vec::new(); 2 + usize::try_from(more).unwrap()];
            for replay in &replays {
                let mut place = images.iter_mut();
                replay.some_states(&mut random, more, &mut |image| {
                    place.next().expect("as many as were asked for").push(image);
                });
            }
            states.extend(images.into_iter().map(|images| State { images, point }));
        }
        states
    }

    /// Starts the service on a state, and says what is wrong with it, if anything.
    fn judge(&self, state: &State, journal: &Journal) -> Findings {
        let mut service = self.scene.service();
        for (name, image) in DIRECTORIES.iter().zip(&state.images) {
            lay_out(&service.data().join(name), image);
        }
        service.launch();
        if !comes_up(&mut service) {
            return vec![service.log()];
        }
        let findings = journal.judge(&service);
        service.kill_all();
        findings
    }

    /// The findings at the last point, with all lost that may be.
    fn at_the_end(&self) -> Findings {
        let last = self.changes.len() - 1;
        let states = self.states(&[last], 0);
        self.judge(&states[0], &self.journal)
    }
}

fn is_segment(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "seg")
}

/// Puts the files of an image in the place of those that are there.
fn lay_out(directory: &Path, image: &Image) {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    for entry in entries.filter(|entry| entry.file_type().unwrap().is_file()) {
        let is_of_the_image = entry.file_name() != "admin.toml";
        if is_of_the_image {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for (name, file) in image.iter().filter(|(name, _)| *name != "admin.toml") {
        let mut options = File::options();
        let made = options.write(true).create_new(true).mode(0o600).open(directory.join(name));
        lay_out_file(&made.unwrap(), file);
    }
}

fn lay_out_file(made: &File, file: &FileImage) {
    made.set_len(file.length).unwrap();
    let bytes = file.to_bytes();
    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        if sector.iter().any(|byte| *byte != 0) {
            made.write_all_at(sector, (number * SECTOR_BYTES) as u64).unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_recorded_run_loses_power() {
    let recording = Recording::new();
    let all: Vec<usize> = (0..recording.changes.len()).collect();
    let most = if runs_all() { usize::MAX } else { POINTS_MAX };
    let states = recording.states(&sample(all.clone(), most), RANDOM_STATES);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let runner = || {
            while let Some(state) = states.get(next.fetch_add(1, Ordering::SeqCst)) {
                let journal = recording.journal.as_of(recording.moment(state.point));
                let change = &recording.changes[state.point];
                let findings = recording.judge(state, &journal);
                assert_eq!(findings, Findings::new(), "{}, {:.200?}", state.point, change);
            }
        };
        (0..RUNNERS).for_each(|_| drop(scope.spawn(runner)));
    });
    println!("{} states at points of {}", states.len(), all.len());
}

#[test]
fn a_log_that_is_not_synced_is_noticed() {
    let is_sync_of_the_log =
        |change: &Change| matches!(change, Change::Sync { name } if is_segment(name));
    let findings = Recording::new().without(is_sync_of_the_log).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn a_directory_that_is_not_synced_is_noticed() {
    let is_sync_of_names = |change: &Change| *change == Change::SyncDirectory;
    let findings = Recording::new().without(is_sync_of_names).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn a_store_that_is_not_synced_is_noticed() {
    let is_sync_of_the_store =
        |change: &Change| matches!(change, Change::Sync { name } if name == "store.redb");
    let findings = Recording::new().without(is_sync_of_the_store).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn an_answer_that_leaves_before_its_sync_is_noticed() {
    let recording = Recording::new();
    let is_write_of_the_log = |recorded: &&Recorded| matches!(&recorded.change, Change::Write { name, .. } if is_segment(name));
    let write = recording.changes.iter().rfind(is_write_of_the_log).unwrap();
    let point = recording.changes.iter().position(|recorded| recorded == write).unwrap();
    let lost = &recording.states(&[point], 0)[0];
    // Right after its write, as if the answer had left already.
    let journal = recording.journal.as_of(recording.moment(point) + MUCH_LATER);
    let findings = recording.judge(lost, &journal);
    assert!(
        findings.iter().any(|finding| finding.contains("acknowledged, and now")),
        "{findings:?}"
    );
}
