//! The loop against a log in memory and a sink that answers as told: order, repeats, gaps, refusals, cursors.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::limits::{BATCH_RECORDS_MAX, DEAD_LETTERS_MAX};
use crate::sink::LossKind;
use crate::testing::{Scratch, event, record, source};

/// A log in memory, of which some records are not shown.
struct Shelf {
    size: u64,
    hidden: Vec<u64>,
    /// Records that are shown though the service does not say that they are durable.
    early: u64,
    /// What the service says before it answers again.
    faults: VecDeque<ReadError>,
    pages: u32,
}

impl Shelf {
    fn of(size: u64) -> Self {
        Self { size, hidden: Vec::new(), early: 0, faults: VecDeque::new(), pages: 0 }
    }
}

impl Records for Shelf {
    fn log(&mut self) -> Result<Log, ReadError> {
        match self.faults.pop_front() {
            Some(fault) => Err(fault),
            None => Ok(Log { origin: source().origin, size: self.size }),
        }
    }

    fn page(&mut self, from: u64) -> Result<Page, ReadError> {
        self.pages += 1;
        let end = (self.size + self.early).min(from + u64::from(BATCH_RECORDS_MAX));
        let shown = (from..end).filter(|index| !self.hidden.contains(index));
        Ok(Page { records: shown.map(record).collect(), end, size: self.size })
    }
}

/// A sink that refuses some records for good, and answers first as it is told.
#[derive(Default)]
struct Tray {
    taken: Vec<u64>,
    refuses: Vec<u64>,
    answers: VecDeque<SinkError>,
    attempts: u32,
}

impl Sink for Tray {
    fn deliver(&mut self, batch: &[Event]) -> Result<(), SinkError> {
        self.attempts += 1;
        if let Some(answer) = self.answers.pop_front() {
            return Err(answer);
        }
        if batch.iter().any(|event| self.refuses.contains(&event.index)) {
            return Err(SinkError::Refused { why: "not this one".into() });
        }
        self.taken.extend(batch.iter().map(|event| event.index));
        Ok(())
    }
}

fn away() -> SinkError {
    SinkError::Lost {
        kind: LossKind::Busy,
        detail: "away".into(),
        after: Some(Duration::from_secs(0)),
    }
}

/// One run to the end of the log.
struct Scene {
    scratch: Scratch,
    shelf: Shelf,
    tray: Tray,
    has_dead_letters: bool,
    has_cursor: bool,
    batch: usize,
    patience: Option<Duration>,
    said: Vec<String>,
    gauges: Gauges,
}

impl Scene {
    fn new(name: &str, size: u64) -> Self {
        Self {
            scratch: Scratch::new(name),
            shelf: Shelf::of(size),
            tray: Tray::default(),
            has_dead_letters: true,
            has_cursor: true,
            batch: 10,
            patience: None,
            said: Vec::new(),
            gauges: Gauges::default(),
        }
    }

    fn run(&mut self) -> Result<(), ExportError> {
        let (file, cursor) = CursorFile::open(&self.scratch.path("c"))?;
        let mut letters = DeadLetters::open(&self.scratch.path("d"))?;
        let said = &mut self.said;
        let exporter = Exporter {
            records: &mut self.shelf,
            sink: &mut self.tray,
            cursor_file: self.has_cursor.then_some(&file),
            dead_letters: self.has_dead_letters.then_some(&mut letters),
            settings: Settings {
                batch: self.batch,
                length: Length::Once,
                patience: self.patience,
                version: "1".into(),
                now_ms: || 0,
            },
            gauges: self.gauges.clone(),
            stop: Stop::default(),
            say: &mut |what| said.push(what.into()),
        };
        exporter.run(cursor)
    }

    fn cursor(&self) -> Cursor {
        CursorFile::open(&self.scratch.path("c")).unwrap().1.unwrap()
    }

    fn dead(&self) -> usize {
        std::fs::read_to_string(self.scratch.path("d")).unwrap().lines().count()
    }
}

fn all_but(size: u64, missing: &[u64]) -> Vec<u64> {
    (0..size).filter(|index| !missing.contains(index)).collect()
}

#[test]
fn every_record_goes_out_in_order_from_the_first_and_then_no_more() {
    let mut scene = Scene::new("order", 25);
    scene.run().unwrap();
    assert_eq!((&scene.tray.taken, scene.tray.attempts), (&all_but(25, &[]), 3));
    let cursor = scene.cursor();
    assert_eq!((cursor.next, cursor.last.unwrap().index), (25, 24));
    scene.run().unwrap();
    assert_eq!(scene.tray.taken.len(), 25);
    scene.shelf.size = 27;
    scene.run().unwrap();
    assert_eq!(scene.tray.taken, all_but(27, &[]));
}

#[test]
fn a_log_longer_than_a_page_is_read_page_by_page() {
    let size = u64::from(BATCH_RECORDS_MAX) * 2 + 1;
    let mut scene = Scene::new("pages", size);
    scene.batch = 700;
    scene.run().unwrap();
    assert_eq!(scene.tray.taken, all_but(size, &[]));
    assert_eq!(scene.shelf.pages, 3);
}

#[test]
fn what_is_not_shown_is_a_gap_and_no_lag() {
    let mut scene = Scene::new("gap", 10);
    scene.shelf.hidden = vec![0, 4, 8, 9];
    scene.run().unwrap();
    assert_eq!(scene.tray.taken, [1, 2, 3, 5, 6, 7]);
    assert_eq!(scene.cursor().next, 10);
    assert_eq!(scene.gauges.read().lag_records(), 0);
}

#[test]
fn a_record_that_may_not_be_durable_waits() {
    let mut scene = Scene::new("early", 5);
    scene.shelf.early = 3;
    scene.run().unwrap();
    assert_eq!(scene.tray.taken, all_but(5, &[]));
    assert_eq!(scene.cursor().next, 5);
}

#[test]
fn refused_records_alone_become_dead_letters() {
    for refuses in [vec![0], vec![9], vec![3, 4], vec![12], (0..15).collect()] {
        let mut scene = Scene::new("refused", 15);
        scene.tray.refuses.clone_from(&refuses);
        scene.run().unwrap();
        assert_eq!(scene.tray.taken, all_but(15, &refuses));
        assert_eq!(scene.dead(), refuses.len());
        assert_eq!((scene.cursor().next, scene.cursor().last.unwrap().index), (15, 14));
        std::fs::remove_file(scene.scratch.path("c")).unwrap();
    }
}

#[test]
fn without_a_place_for_dead_letters_a_refused_record_ends_the_export_before_it() {
    let mut scene = Scene::new("no-place", 15);
    (scene.tray.refuses, scene.has_dead_letters) = (vec![7], false);
    let error = scene.run().unwrap_err();
    assert!(matches!(error, ExportError::Refused { index: 7, .. }), "{error}");
    assert!(error.to_string().contains("--dead-letter"), "{error}");
    assert_eq!((scene.cursor().next, scene.tray.taken), (7, all_but(7, &[])));
}

#[test]
fn a_sink_that_refuses_everything_does_not_empty_the_log_into_the_dead_letters() {
    let mut scene = Scene::new("all", DEAD_LETTERS_MAX + 10);
    scene.tray.refuses = (0..DEAD_LETTERS_MAX + 10).collect();
    scene.has_cursor = false;
    let ended = scene.run();
    assert!(matches!(ended, Err(ExportError::DeadLetter(DeadLetterError::Full))));
    assert_eq!(scene.gauges.read().next, DEAD_LETTERS_MAX);
}

#[test]
fn a_batch_that_may_not_be_sent_again_is_put_aside_whole() {
    let mut scene = Scene::new("partly", 12);
    scene.tray.answers = [SinkError::PartlyRefused { why: "one of them".into() }].into();
    scene.run().unwrap();
    assert_eq!((scene.dead(), scene.tray.taken), (10, vec![10, 11]));
}

#[test]
fn a_sink_that_is_away_gets_the_same_batch_again_and_its_loss_is_said_once() {
    let mut scene = Scene::new("away", 12);
    scene.tray.answers = [away(), away(), away()].into();
    scene.run().unwrap();
    assert_eq!(scene.tray.taken, all_but(12, &[]));
    assert_eq!(scene.said, ["the sink is lost: away; trying again", "the sink is back"]);
    let standing = scene.gauges.read();
    assert_eq!((standing.failures["busy"], standing.last_failure), (3, Some("busy")));
    assert_eq!((standing.exported, standing.lost.sink), (12, false));
}

#[test]
fn patience_has_an_end_and_the_cursor_stays() {
    let mut scene = Scene::new("patience", 12);
    (scene.tray.answers, scene.patience) = ([away(), away()].into(), Some(Duration::ZERO));
    assert!(matches!(scene.run(), Err(ExportError::Sink(_))));
    assert_eq!((scene.cursor().next, scene.cursor().last), (0, None));
    scene.run().unwrap_err();
    scene.run().unwrap();
    assert_eq!(scene.tray.taken, all_but(12, &[]));
}

#[test]
fn a_service_that_refuses_ends_the_export_and_one_that_is_away_does_not() {
    let mut scene = Scene::new("service", 3);
    scene.shelf.faults = [ReadError::Lost("away".into())].into();
    scene.run().unwrap();
    assert_eq!(scene.said, ["the service is lost: away; trying again", "the service is back"]);
    scene.shelf.faults = [ReadError::Refused("no".into())].into();
    assert!(matches!(scene.run(), Err(ExportError::Service(ReadError::Refused(_)))));
    scene.shelf.faults = [ReadError::Altered("no".into())].into();
    assert!(matches!(scene.run(), Err(ExportError::Service(ReadError::Altered(_)))));
}

#[test]
fn a_cursor_of_another_log_or_of_a_longer_one_sends_nothing() {
    let end = |cursor: Cursor, size| {
        let mut scene = Scene::new("other", size);
        let path = scene.scratch.path("c");
        CursorFile::open(&path).unwrap().0.save(&cursor).unwrap();
        let error = scene.run().unwrap_err();
        assert!(scene.tray.taken.is_empty());
        assert_eq!(scene.cursor(), cursor);
        error
    };
    let here = Cursor::begin(&source().origin);
    assert!(matches!(end(Cursor::begin("log.example/2"), 9), ExportError::OtherLog { .. }));
    let error = end(Cursor { next: 10, ..here.clone() }, 9);
    assert!(matches!(error, ExportError::TakenBack { size: 9, next: 10 }));
    let last = Some(Last { index: 5, leaf: leaf_text(&event(6).leaf) });
    let error = end(Cursor { next: 6, last, ..here }, 9);
    assert!(matches!(error, ExportError::Altered { index: 5 }));
}

#[test]
fn a_last_record_that_is_no_longer_shown_says_nothing() {
    let mut scene = Scene::new("gone", 9);
    let last = Some(Last { index: 5, leaf: leaf_text(&event(6).leaf) });
    let cursor = Cursor { next: 6, last, origin: source().origin };
    CursorFile::open(&scene.scratch.path("c")).unwrap().0.save(&cursor).unwrap();
    scene.shelf.hidden = vec![5];
    scene.run().unwrap();
    assert_eq!(scene.tray.taken, [6, 7, 8]);
}

#[test]
fn a_cursor_that_cannot_be_kept_is_noticed_before_anything_is_sent() {
    let mut scene = Scene::new("stuck", 9);
    std::fs::create_dir(scene.scratch.path(".c.part")).unwrap();
    assert!(matches!(scene.run(), Err(ExportError::Cursor(_))));
    assert_eq!(scene.tray.attempts, 0);
}
