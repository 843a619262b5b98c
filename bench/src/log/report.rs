//! What was seen of the log, and what it must and is to reach.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::callers::Looped;
use super::commands::Took;
use super::index_size::IndexSize;
use super::plot::{self, Series};
use super::raw::total;
use super::sizes::FrameSize;
use crate::machine::{Machine, date, load_average};
use crate::options::Format;
use crate::report::{float, micros, ratio};

/// Acknowledged in a second, as a part of what the raw loop writes, must be at least this.
const RATIO_MIN: f64 = 0.4;

/// The index must be at most this part of the log.
const INDEX_MAX: f64 = 0.12;

/// The aim of acknowledged operations in a second.
const PER_SECOND: f64 = 100_000.0;

/// The aim of what the service adds to the raw loop's p99, in microseconds.
const ADDED_P99_US: f64 = 5_000.0;

/// What starts after an orderly stop read may differ by this: 4 KiB, a block.
const START_BYTES_APART: u64 = 4 * 1024;

/// All that one run saw.
#[derive(Debug, Serialize)]
pub(super) struct LogReport {
    began: String,
    ended: String,
    command: String,
    machine: Machine,
    records: u64,
    pub(super) fills: Vec<Fill>,
    /// By the log's size.
    pub(super) took: Vec<(u64, Took)>,
    pub(super) index: Option<IndexSize>,
    pub(super) starts: Vec<Start>,
    judged: Vec<Judged>,
}

/// A growth of the log, and the loops beside it, in the order in which they were.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fill {
    pub(super) log_size: u64,
    /// The service, by frames on its signer's socket.
    pub(super) service: Row,
    /// The raw loop, with the service's frames.
    pub(super) raw: Row,
    /// Appends in this process.
    pub(super) append: Row,
    /// Until a checkpoint covered them.
    pub(super) covered_seconds: f64,
    pub(super) checkpoints: u64,
    /// The raw loop, with the frames of those appends.
    pub(super) raw_again: Row,
    /// The same, with what the format has hashed.
    pub(super) hashing: Row,
}

/// Records that were acknowledged. Times are microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) records: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// Processor time for each record; of the service alone.
    pub(super) user_us: f64,
    pub(super) system_us: f64,
}

impl Row {
    /// What a loop came to that wrote these frames.
    pub(super) fn of(looped: &Looped, frames: &[FrameSize]) -> Self {
        Self {
            records: looped.records,
            seconds: looped.elapsed.as_secs_f64(),
            per_second: looped.per_second(),
            p50_us: micros(looped.percentile(50)),
            p99_us: micros(looped.percentile(99)),
            frames: frames.len(),
            bytes: total(frames).1,
            ..Self::default()
        }
    }
}

/// After what a start came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Read {
    AfterKill,
    AfterStop,
}

/// A start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Start {
    pub(super) log_size: u64,
    pub(super) read: Read,
    /// Of the log's files.
    pub(super) bytes: u64,
    pub(super) seconds: f64,
}

/// What is asked for, and what was seen.
#[derive(Clone, Debug, Serialize)]
struct Judged {
    what: String,
    bound: String,
    seen: f64,
    met: bool,
}

impl LogReport {
    /// Begins a report.
    pub(super) fn begin(records: u64) -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Ok(Self {
            began: date(),
            ended: String::new(),
            command: format!("chancery-bench {}", arguments.join(" ")),
            machine: Machine {
                pinning: "service and callers share all cores".into(),
                ..Machine::here()?
            },
            records,
            fills: Vec::new(),
            took: Vec::new(),
            index: None,
            starts: Vec::new(),
            judged: Vec::new(),
        })
    }

    /// Ends it: what is asked for is looked up. In a smoke run that is counts and bytes alone.
    pub(super) fn end(mut self, is_smoke: bool) -> Self {
        self.ended = date();
        self.machine.load_after = load_average();
        self.judged = self.counted();
        if !is_smoke {
            self.judged.extend(self.timed());
        }
        self
    }

    /// What does not hang on time.
    fn counted(&self) -> Vec<Judged> {
        let share = self.index.map_or(f64::INFINITY, |index| index.share());
        let stops = self.starts.iter().filter(|start| start.read == Read::AfterStop);
        let bytes: Vec<u64> = stops.map(|start| start.bytes).collect();
        let apart = bytes
            .iter()
            .max()
            .zip(bytes.iter().min())
            .map_or(u64::MAX, |(most, least)| most - least);
        let last = self.fills.last().map_or(0, |fill| fill.log_size);
        vec![
            at_least("records in the log (must)", float(self.records), float(last)),
            at_most("index, as a part of the log (must)", INDEX_MAX, share),
            at_most(
                "bytes by which starts at two sizes differ after a stop (must)",
                float(START_BYTES_APART),
                float(apart),
            ),
        ]
    }

    fn timed(&self) -> Vec<Judged> {
        let rate = |row: fn(&Fill) -> &Row| {
            let rows = || self.fills.iter().map(row);
            ratio(rows().map(|row| float(row.records)).sum(), rows().map(|row| row.seconds).sum())
        };
        let (service, append) = (rate(|fill| &fill.service), rate(|fill| &fill.append));
        let (raw, raw_again) = (rate(|fill| &fill.raw), rate(|fill| &fill.raw_again));
        let last = self.fills.last();
        let added = |row: fn(&Fill) -> (&Row, &Row)| {
            last.map(row).map_or(f64::INFINITY, |(one, raw)| one.p99_us - raw.p99_us)
        };
        vec![
            at_least(
                "appended in process, as a part of the raw loop's (must)",
                RATIO_MIN,
                ratio(append, raw_again),
            ),
            at_least("appended in process, acknowledged a second (aim)", PER_SECOND, append),
            at_most(
                "appended in process, p99 above the raw loop's at the end, µs (aim)",
                ADDED_P99_US,
                added(|fill| (&fill.append, &fill.raw_again)),
            ),
            at_least(
                "by the service, as a part of the raw loop's (aim)",
                RATIO_MIN,
                ratio(service, raw),
            ),
            at_least("by the service, acknowledged a second (aim)", PER_SECOND, service),
            at_most(
                "by the service, p99 above the raw loop's at the end, µs (aim)",
                ADDED_P99_US,
                added(|fill| (&fill.service, &fill.raw)),
            ),
        ]
    }

    /// What was missed.
    pub(super) fn missed(&self) -> Vec<String> {
        let missed = self.judged.iter().filter(|judged| !judged.met);
        missed
            .map(|judged| {
                format!("{}: {:.2}, {} is asked for", judged.what, judged.seen, judged.bound)
            })
            .collect()
    }

    /// What proofs and queries took, for a plot.
    pub(super) fn series(&self) -> [Series; 4] {
        let points = |value: fn(&Took) -> f64| {
            self.took.iter().map(|(size, took)| (float(*size), value(took))).collect()
        };
        [
            Series {
                name: "audit prove --operation",
                mark: 'o',
                points: points(|it| it.prove_operation),
            },
            Series {
                name: "audit prove --receipt",
                mark: 'r',
                points: points(|it| it.prove_receipt),
            },
            Series { name: "audit query --key", mark: 'k', points: points(|it| it.query_key) },
            Series { name: "status", mark: 's', points: points(|it| it.status) },
        ]
    }

    /// Prints it on standard output.
    pub(super) fn print(&self, format: Format) -> Result<()> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(self)? + "\n",
            Format::Table => self.table(),
        };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn table(&self) -> String {
        let machine = &self.machine;
        let mut out = String::new();
        line(&mut out, format_args!("command   {}", self.command));
        line(&mut out, format_args!("date      {} to {}", self.began, self.ended));
        line(
            &mut out,
            format_args!(
                "machine   {}, {} cores, Linux {}",
                machine.processor, machine.cores, machine.kernel
            ),
        );
        line(&mut out, format_args!("pinning   {}", machine.pinning));
        line(
            &mut out,
            format_args!("load      {} before, {} after", machine.load_before, machine.load_after),
        );
        self.filled(&mut out);
        self.asked(&mut out);
        self.kept(&mut out);
        for judged in &self.judged {
            let met = if judged.met { "met" } else { "missed" };
            line(
                &mut out,
                format_args!(
                    "{:<72} {:<16} {:>12.2}  {met}",
                    judged.what, judged.bound, judged.seen
                ),
            );
        }
        out
    }

    fn filled(&self, out: &mut String) {
        line(
            out,
            format_args!(
                "\nRecords acknowledged with 1 000 outstanding; the raw loop writes the frames of the line above it"
            ),
        );
        line(
            out,
            format_args!(
                "{:>10} {:<26} {:>10} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>6}",
                "log size",
                "",
                "per s",
                "p50 µs",
                "p99 µs",
                "rec/frm",
                "B/rec",
                "user µs",
                "sys µs",
                "ratio"
            ),
        );
        for fill in &self.fills {
            let rows = [
                ("service, HMACs by socket", &fill.service, Some(&fill.raw)),
                ("raw loop", &fill.raw, None),
                ("appends in process", &fill.append, Some(&fill.raw_again)),
                ("raw loop", &fill.raw_again, None),
                ("raw loop with the hashes", &fill.hashing, Some(&fill.raw_again)),
            ];
            for (name, row, raw) in rows {
                let of_raw = raw.map(|raw| format!("{:.3}", ratio(row.per_second, raw.per_second)));
                line(
                    out,
                    format_args!(
                        "{:>10} {name:<26} {:>10.0} {:>9.0} {:>9.0} {:>8.0} {:>8.0} {:>8.1} {:>8.1} {:>6}",
                        fill.log_size,
                        row.per_second,
                        row.p50_us,
                        row.p99_us,
                        ratio(float(row.records), count(row.frames)),
                        ratio(count(row.bytes), float(row.records)),
                        row.user_us,
                        row.system_us,
                        of_raw.unwrap_or_default()
                    ),
                );
            }
            line(
                out,
                format_args!(
                    "{:>10} under the last of {} checkpoints after {:.2} s, acknowledged after {:.2} s",
                    "", fill.checkpoints, fill.covered_seconds, fill.append.seconds
                ),
            );
        }
    }

    fn asked(&self, out: &mut String) {
        line(
            out,
            format_args!("\nWhole commands, in milliseconds; `status` asks for next to nothing"),
        );
        line(
            out,
            format_args!(
                "{:>10} {:>18} {:>16} {:>12} {:>8}",
                "log size", "prove --operation", "prove --receipt", "query --key", "status"
            ),
        );
        for (size, took) in &self.took {
            line(
                out,
                format_args!(
                    "{size:>10} {:>18.0} {:>16.0} {:>12.0} {:>8.0}",
                    took.prove_operation, took.prove_receipt, took.query_key, took.status
                ),
            );
        }
        out.push('\n');
        out.push_str(&plot::text(&self.series()));
    }

    fn kept(&self, out: &mut String) {
        if let Some(index) = &self.index {
            line(
                out,
                format_args!(
                    "\nindex     {} B in {} parts over {} records, whose frames have {} B: {:.1} %",
                    index.bytes,
                    index.parts,
                    index.records,
                    index.log_bytes,
                    index.share() * 100.0
                ),
            );
        }
        for start in &self.starts {
            let after = match start.read {
                Read::AfterKill => "after kill -9",
                Read::AfterStop => "after a stop",
            };
            line(
                out,
                format_args!(
                    "start     {after:<13} at {} records: {} B of the log read, {:.2} s",
                    start.log_size, start.bytes, start.seconds
                ),
            );
        }
        out.push('\n');
    }
}

fn count(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}

fn at_least(what: &str, least: f64, seen: f64) -> Judged {
    Judged { what: what.into(), bound: format!("at least {least}"), seen, met: seen >= least }
}

fn at_most(what: &str, most: f64, seen: f64) -> Judged {
    Judged { what: what.into(), bound: format!("at most {most}"), seen, met: seen <= most }
}

/// Adds a line. Writing to a `String` cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
