//! Power is lost at each call of a recorded run, and the service is started on what may be left.
//!
//! The whole run is recorded once, with all its data. At a point, what was not synced is lost as a whole,
//! kept as a whole, or lost and torn sector by sector at random; names that were not synced likewise, those of
//! directories with all that is in them. Then the real service starts on these files, and the client's journal,
//! as it stood at that moment, is held against it.
//!
//! The run here is that of a service that was started before; that of a first start is in
//! [`super::first_start`]. That a missing sync would be noticed is shown by leaving it out of the recording.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chancery_audit::publish::CHECKPOINT_FILE;

use super::journal::{Findings, Journal};
use super::model::{Event, FileImage, Image, Model};
use super::points::sample;
use super::published;
use super::recorded::{
    Change, DIRECTORIES, PUBLISHED, Recorded, changes, directories, events, images, lay_out,
};
use super::replay::{Random, Replay};
use super::scene::{Scene, runs_all};
use super::supervisor::comes_up;
use super::traced::Tracing;
use crate::harness::{Options, Service};

/// So many points are tried, unless all are.
const POINTS_MAX: usize = 64;

/// So many random states of each, besides *all lost* and *all kept*.
pub(super) const RANDOM_STATES: u64 = 1;

/// States judged at once: one starts while another is asked.
const RUNNERS: usize = 2;

/// Longer than the workload takes: a journal of that much later knows every answer.
const MUCH_LATER: f64 = 3_600.0;

/// A recorded run.
pub(super) struct Recording {
    /// How the service was started, and is started again.
    pub(super) options: Options,
    /// What there was before.
    pub(super) start: [Image; DIRECTORIES],
    pub(super) journal: Journal,
    pub(super) changes: Vec<Recorded>,
}

/// What may be left at a point: one image for each directory, the point, and the checkpoints that were there to be
/// read until then.
pub(super) struct State {
    pub(super) images: Vec<Image>,
    pub(super) point: usize,
    pub(super) seen: Arc<[Vec<u8>]>,
}

/// What else is held against a service that has come up, besides the journal as it stood.
pub(super) type More<'m> = &'m (dyn Fn(&mut Service, &Journal) -> Findings + Sync);

impl Recording {
    /// The workload of a service that was started and stopped once, its signer traced.
    fn later() -> Self {
        Self::with_pauses(Duration::ZERO)
    }

    /// The same, with pauses of that length between its operations.
    pub(super) fn with_pauses(pause: Duration) -> Self {
        let service = Scene::later().service();
        let start = images(&service);
        let (ended, journal) = Scene::run_with_pauses(&service, &Tracing::Whole, pause);
        assert!(!ended.by_itself, "the signer ended by itself:\n{}", service.log());
        assert_eq!(journal.unanswered(), 0);
        let changes = changes(&ended.trace, &directories(&service));
        assert!(changes.len() > 100, "{} changes", changes.len());
        Self { options: super::scene::options(), start, journal, changes }
    }

    /// The same run of a service that leaves some calls out.
    pub(super) fn without(mut self, is_left_out: impl Fn(&Recorded) -> bool) -> Self {
        let before = self.changes.len();
        self.changes.retain(|recorded| !is_left_out(recorded));
        assert!(self.changes.len() < before, "nothing was left out");
        self
    }

    /// The moment until which answers count at a point: when the next change comes.
    pub(super) fn moment(&self, point: usize) -> f64 {
        self.changes.get(point + 1).map_or(f64::MAX, |next| next.at)
    }

    /// States at these points.
    pub(super) fn states(&self, points: &[usize], more: u64) -> Vec<State> {
        let mut states = Vec::new();
        self.each_state(points, more, &mut |state| states.push(state));
        states
    }

    /// Shows states at these points, *all lost*, *all kept*, and so many more of each.
    pub(super) fn each_state(&self, points: &[usize], more: u64, show: &mut dyn FnMut(State)) {
        let disks = self.start.each_ref().map(Model::of);
        let mut replays = self.start.each_ref().map(Replay::of);
        let mut random = Random::seeded(7);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for (point, recorded) in self.changes.iter().enumerate() {
            let done: Vec<Event> = events(&disks[recorded.directory], &recorded.change);
            for event in &done {
                replays[recorded.directory].apply(event);
            }
            let published = disks[PUBLISHED].image().get(CHECKPOINT_FILE).map(FileImage::to_bytes);
            seen.extend(published.filter(|note| seen.last() != Some(note)));
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
            let seen: Arc<[Vec<u8>]> = seen.clone().into();
            for images in images {
                show(State { images, point, seen: Arc::clone(&seen) });
            }
        }
    }

    /// Starts the service on a state, and says what is wrong with it, if anything.
    pub(super) fn judge(&self, state: &State, journal: &Journal, more: More<'_>) -> Findings {
        let mut service = Service::prepare(self.options.clone());
        lay_out(&service, &state.images);
        service.launch();
        if !comes_up(&mut service) {
            return vec![service.log()];
        }
        let mut findings = published::faults(&state.images);
        findings.extend(journal.judge(&service));
        findings.extend(published::contradictions(&service, &state.seen));
        findings.extend(more(&mut service, journal));
        findings
    }

    /// Judges every state, two at a time.
    pub(super) fn judge_all(&self, states: &[State], more: More<'_>) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let runner = || {
                while let Some(state) = states.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let journal = self.journal.as_of(self.moment(state.point));
                    let change = &self.changes[state.point];
                    let findings = self.judge(state, &journal, more);
                    assert_eq!(findings, Findings::new(), "{}, {:.200?}", state.point, change);
                }
            };
            (0..RUNNERS).for_each(|_| drop(scope.spawn(runner)));
        });
    }

    /// The findings at the last point, with all lost that may be.
    pub(super) fn at_the_end(&self) -> Findings {
        let last = self.changes.len() - 1;
        let states = self.states(&[last], 0);
        self.judge(&states[0], &self.journal, &nothing_more)
    }
}

pub(super) fn nothing_more(_: &mut Service, _: &Journal) -> Findings {
    Findings::new()
}

fn is_segment(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "seg")
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_recorded_run_loses_power() {
    let recording = Recording::later();
    let all: Vec<usize> = (0..recording.changes.len()).collect();
    let most = if runs_all() { usize::MAX } else { POINTS_MAX };
    let states = recording.states(&sample(all.clone(), most), RANDOM_STATES);
    recording.judge_all(&states, &nothing_more);
    println!("{} states at points of {}", states.len(), all.len());
}

#[test]
fn a_log_that_is_not_synced_is_noticed() {
    let is_sync_of_the_log =
        |one: &Recorded| matches!(&one.change, Change::Sync { name } if is_segment(name));
    let findings = Recording::later().without(is_sync_of_the_log).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn a_directory_that_is_not_synced_is_noticed() {
    let is_sync_of_names = |one: &Recorded| one.change == Change::SyncDirectory;
    let findings = Recording::later().without(is_sync_of_names).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn a_store_that_is_not_synced_is_noticed() {
    let is_sync_of_the_store =
        |one: &Recorded| matches!(&one.change, Change::Sync { name } if name == "store.redb");
    let findings = Recording::later().without(is_sync_of_the_store).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn an_answer_that_leaves_before_its_sync_is_noticed() {
    let recording = Recording::later();
    let is_write_of_the_log = |recorded: &&Recorded| matches!(&recorded.change, Change::Write { name, .. } if is_segment(name));
    let write = recording.changes.iter().rfind(is_write_of_the_log).unwrap();
    let point = recording.changes.iter().position(|recorded| recorded == write).unwrap();
    let lost = &recording.states(&[point], 0)[0];
    // Right after its write, as if the answer had left already.
    let journal = recording.journal.as_of(recording.moment(point) + MUCH_LATER);
    let findings = recording.judge(lost, &journal, &nothing_more);
    assert!(
        findings.iter().any(|finding| finding.contains("acknowledged, and now")),
        "{findings:?}"
    );
}
