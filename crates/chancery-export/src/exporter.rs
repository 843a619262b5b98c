//! From the log to a sink: page by page, batch by batch, in the order of the log.
//!
//! ```text
//! ask how many records there are ─▶ read a page ─▶ batch ─▶ sink ─┬ acknowledged ─▶ cursor ─▶ next batch
//!        ▲                                          ▲              ├ away ─▶ wait ─▶ the same batch again
//!        └──────── wait when there is no more       └── in halves ─┴ refused ─▶ alone: dead letter ─▶ cursor
//! ```
//!
//! **Invariant:** a batch is sent only when everything before it was acknowledged or is a dead letter, and the cursor is
//! saved after that and before the next batch. What ends the process at any point repeats at most one batch.
//!
//! **Invariant:** no record is exported whose index is not below the size that the service has said, by itself or with a
//! page: a record that is shown before it is durable could be lost with the power, and another would get its index.

use std::time::Instant;

use crate::cursor::{Cursor, CursorError, CursorFile, Last};
use crate::dead_letter::{DeadLetterError, DeadLetters};
use crate::event::Event;
use crate::gauges::Gauges;
use crate::limits::POLL;
use crate::ocsf::{Source, Writer, leaf_text};
use crate::record::Record;
use crate::retry::{Backoff, Stop, chance};
use crate::sink::{Sink, SinkError};

mod settings;

pub use settings::{Length, Settings};

/// The log, as an auditor is shown it.
pub trait Records {
    /// Origin and size of the log. What is below the size is durable.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the service does not say.
    fn log(&mut self) -> Result<Log, ReadError>;

    /// The oldest records whose index is not below `from`, which is below the log's size.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the service does not show them.
    fn page(&mut self, from: u64) -> Result<Page, ReadError>;
}

/// Some records of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Those that the auditor can open, in order.
    pub records: Vec<Record>,
    /// Where the next page begins: whatever is below and not among them is not for this auditor.
    pub end: u64,
    /// How many records the log has by now.
    pub size: u64,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its origin.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
}

/// The service did not answer with records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is away, or has too much to do.
    #[error("{0}")]
    Lost(String),
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// What it showed is not what the log holds.
    #[error("{0}")]
    Altered(String),
}

/// The export cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log holds another record than the one that was exported.
    #[error(
        "record {index} of the log is not the one that was exported: the log was taken back or altered; keep the cursor \
         and see `audit prove-fork`"
    )]
    Altered {
        /// The record's index.
        index: u64,
    },
    /// The cursor cannot be kept.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A record cannot be kept as a dead letter.
    #[error(transparent)]
    DeadLetter(#[from] DeadLetterError),
    /// The sink has gone for good.
    #[error("nobody takes what is exported any more")]
    Gone,
    /// The cursor is of another log.
    #[error(
        "the cursor is of the log `{cursor}`, and this one is `{log}`: each log needs a cursor of its own"
    )]
    OtherLog {
        /// The cursor's.
        cursor: String,
        /// The service's.
        log: String,
    },
    /// The sink refuses a record, and there is no dead-letter file.
    #[error(
        "the sink refuses record {index}: {why}; with --dead-letter FILE it is put aside and the export goes on"
    )]
    Refused {
        /// The record's index.
        index: u64,
        /// What the sink said.
        why: String,
    },
    /// The service was away for longer than the export waits, or refused.
    #[error("the service does not show its records: {0}")]
    Service(ReadError),
    /// The sink was away for longer than the export waits.
    #[error("the sink is lost: {0}; what it did not acknowledge is sent the next time")]
    Sink(String),
    /// The log has fewer records than were exported.
    #[error(
        "the log has {size} records, and {next} were exported: it was taken back; keep the cursor"
    )]
    TakenBack {
        /// How many it has.
        size: u64,
        /// The index that comes next.
        next: u64,
    },
}

/// What the sink says of a batch in the end.
enum Verdict {
    Acknowledged,
    PartlyRefused(String),
    Refused(String),
    /// Nothing; the export is to end.
    Stopped,
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Go,
    Stop,
}

/// One export, from one log to one sink.
pub struct Exporter<'a> {
    /// The log.
    pub records: &'a mut dyn Records,
    /// Where it goes.
    pub sink: &'a mut dyn Sink,
    /// Where the cursor is kept; without it the next run begins anew.
    pub cursor_file: Option<&'a CursorFile>,
    /// Where refused records are kept.
    pub dead_letters: Option<&'a mut DeadLetters>,
    /// How it is done.
    pub settings: Settings,
    /// How it stands.
    pub gauges: Gauges,
    /// Whether it is to end.
    pub stop: Stop,
    /// What people are told, once for each loss and once for its end.
    pub say: &'a mut dyn FnMut(&str),
}

impl Exporter<'_> {
    /// Exports what the cursor does not have, and goes on until it is told to stop, or once to the end.
    ///
    /// # Errors
    ///
    /// [`ExportError`] says why it cannot go on. The cursor is right in any case.
    pub fn run(mut self, kept: Option<Cursor>) -> Result<(), ExportError> {
        let Some(mut log) = self.ask(|records| records.log())? else { return Ok(()) };
        let mut cursor = self.begin(&log, kept)?;
        let source = Source { origin: log.origin.clone(), version: self.settings.version.clone() };
        let mut writer = Writer::new(source);
        let end = log.size;
        loop {
            check(&log, &cursor)?;
            self.gauges.set(|standing| standing.log_size = log.size);
            while cursor.next < log.size {
                if self.page(&mut writer, &mut log, &mut cursor)? == Flow::Stop {
                    return Ok(());
                }
            }
            if self.settings.length == Length::Once && cursor.next >= end {
                return Ok(());
            }
            self.stop.wait(POLL);
            match self.ask(|records| records.log())? {
                Some(next) => log = next,
                None => return Ok(()),
            }
        }
    }

    /// Holds the cursor against the log, and saves it: one that cannot be saved is noticed before anything is sent.
    fn begin(&mut self, log: &Log, kept: Option<Cursor>) -> Result<Cursor, ExportError> {
        let cursor = kept.unwrap_or_else(|| Cursor::begin(&log.origin));
        check(log, &cursor)?;
        if let Some(last) = &cursor.last {
            let index = last.index;
            let page = self.ask(|records| records.page(index))?;
            let first = page.as_ref().and_then(|page| page.records.first());
            // A record that is no longer shown, since the keys of its month are gone, says nothing.
            let same = first.filter(|record| record.log_index == index);
            if same.is_some_and(|record| leaf_text(&record.leaf) != last.leaf) {
                return Err(ExportError::Altered { index });
            }
        }
        self.save(&cursor)?;
        Ok(cursor)
    }

    /// Exports one page.
    fn page(
        &mut self,
        writer: &mut Writer,
        log: &mut Log,
        cursor: &mut Cursor,
    ) -> Result<Flow, ExportError> {
        let from = cursor.next;
        let Some(page) = self.ask(|records| records.page(from))? else { return Ok(Flow::Stop) };
        if self.settings.length == Length::Endless {
            log.size = log.size.max(page.size);
        }
        let size = log.size;
        let durable = page.records.iter().filter(|it| (from..size).contains(&it.log_index));
        let events: Vec<_> = durable.map(|record| Event::of(writer, record)).collect();
        for batch in events.chunks(self.settings.batch.max(1)) {
            if self.deliver(batch, cursor)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        let end = page.end.min(size);
        if end > cursor.next {
            // What is between is not shown to this auditor.
            cursor.next = end;
            self.save(cursor)?;
        }
        Ok(Flow::Go)
    }

    /// Delivers a batch, in halves where the sink refuses it, until the refused record is alone.
    fn deliver(&mut self, batch: &[Event], cursor: &mut Cursor) -> Result<Flow, ExportError> {
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            match self.attempt(batch)? {
                Verdict::Stopped => return Ok(Flow::Stop),
                Verdict::Acknowledged => {
                    let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                    self.gauges.set(|standing| standing.exported += count);
                    self.advance(batch, cursor)?;
                }
                Verdict::Refused(_) if batch.len() > 1 => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    waiting.extend([second, first]);
                }
                Verdict::Refused(why) | Verdict::PartlyRefused(why) => {
                    self.put_aside(batch, &why)?;
                    self.advance(batch, cursor)?;
                }
            }
        }
        Ok(Flow::Go)
    }

    /// Sends a batch until the sink has said yes or no.
    fn attempt(&mut self, batch: &[Event]) -> Result<Verdict, ExportError> {
        let oldest = batch.first().map(|event| event.time_ms);
        self.gauges.set(|standing| standing.oldest_ms = oldest);
        let mut backoff = Backoff::default();
        let begun = Instant::now();
        loop {
            if self.stop.is_set() {
                return Ok(Verdict::Stopped);
            }
            let (detail, after) = match self.sink.deliver(batch) {
                Ok(()) => return Ok(self.answered(Verdict::Acknowledged)),
                Err(SinkError::Refused { why }) => {
                    self.gauges.failed("refused");
                    return Ok(self.answered(Verdict::Refused(why)));
                }
                Err(SinkError::PartlyRefused { why }) => {
                    self.gauges.failed("refused");
                    return Ok(self.answered(Verdict::PartlyRefused(why)));
                }
                Err(SinkError::Gone) => return Err(ExportError::Gone),
                Err(SinkError::Lost { kind, detail, after }) => {
                    self.gauges.failed(kind.name());
                    (detail, after)
                }
            };
            if self.settings.patience.is_some_and(|patience| begun.elapsed() >= patience) {
                return Err(ExportError::Sink(detail));
            }
            self.lose_sink(&detail);
            self.look_at_log();
            self.stop.wait(backoff.after_failure(after, chance()));
        }
    }

    fn answered(&mut self, verdict: Verdict) -> Verdict {
        if self.gauges.read().lost.sink {
            self.gauges.set(|standing| standing.lost.sink = false);
            (self.say)("the sink is back");
        }
        verdict
    }

    fn lose_sink(&mut self, detail: &str) {
        if !self.gauges.read().lost.sink {
            self.gauges.set(|standing| standing.lost.sink = true);
            (self.say)(&format!("the sink is lost: {detail}; trying again"));
        }
    }

    /// While the sink is away the log grows on, and the lag with it.
    fn look_at_log(&mut self) {
        if let Ok(log) = self.records.log() {
            self.gauges.set(|standing| standing.log_size = log.size);
        }
    }

    fn put_aside(&mut self, batch: &[Event], why: &str) -> Result<(), ExportError> {
        for event in batch {
            let Some(letters) = self.dead_letters.as_mut() else {
                return Err(ExportError::Refused { index: event.index, why: why.into() });
            };
            letters.put(event, why, (self.settings.now_ms)())?;
            self.gauges.set(|standing| standing.dead_letters += 1);
            (self.say)(&format!(
                "the sink refuses record {}: {why}; it is a dead letter",
                event.index
            ));
        }
        Ok(())
    }

    fn advance(&mut self, batch: &[Event], cursor: &mut Cursor) -> Result<(), ExportError> {
        let Some(last) = batch.last() else { return Ok(()) };
        cursor.next = last.index + 1;
        cursor.last = Some(Last { index: last.index, leaf: leaf_text(&last.leaf) });
        self.save(cursor)
    }

    fn save(&mut self, cursor: &Cursor) -> Result<(), ExportError> {
        if let Some(file) = self.cursor_file {
            file.save(cursor)?;
        }
        self.gauges.set(|standing| {
            standing.next = cursor.next;
            standing.oldest_ms = standing.oldest_ms.filter(|_| standing.lag_records() > 0);
        });
        Ok(())
    }

    /// Asks the service until it answers; `None` if the export is to end meanwhile.
    fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut dyn Records) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ExportError> {
        let mut backoff = Backoff::default();
        let begun = Instant::now();
        while !self.stop.is_set() {
            match question(self.records) {
                Ok(answer) => {
                    self.find_service();
                    return Ok(Some(answer));
                }
                Err(error @ (ReadError::Refused(_) | ReadError::Altered(_))) => {
                    return Err(ExportError::Service(error));
                }
                Err(error @ ReadError::Lost(_)) => {
                    self.gauges.failed("service");
                    if self.settings.patience.is_some_and(|patience| begun.elapsed() >= patience) {
                        return Err(ExportError::Service(error));
                    }
                    self.lose_service(&error);
                }
            }
            self.stop.wait(backoff.after_failure(None, chance()));
        }
        Ok(None)
    }

    fn find_service(&mut self) {
        if self.gauges.read().lost.service {
            self.gauges.set(|standing| standing.lost.service = false);
            (self.say)("the service is back");
        }
    }

    fn lose_service(&mut self, error: &ReadError) {
        if !self.gauges.read().lost.service {
            self.gauges.set(|standing| standing.lost.service = true);
            (self.say)(&format!("the service is lost: {error}; trying again"));
        }
    }
}

/// Whether a cursor is one of a log.
fn check(log: &Log, cursor: &Cursor) -> Result<(), ExportError> {
    if log.origin != cursor.origin {
        let (cursor, log) = (cursor.origin.clone(), log.origin.clone());
        return Err(ExportError::OtherLog { cursor, log });
    }
    if log.size < cursor.next {
        return Err(ExportError::TakenBack { size: log.size, next: cursor.next });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
