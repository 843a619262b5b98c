//! What was seen of the log, and what it must and is to reach.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::commands::Took;
use super::index_size::IndexSize;
use super::plot::{self, Series};
use crate::machine::{Machine, date, load_average};
use crate::options::Format;
use crate::report::{float, ratio};

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

/// A growth of the log, and the raw loop over the same frames. Times are microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fill {
    pub(super) log_size: u64,
    pub(super) operations: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) user_us: f64,
    pub(super) system_us: f64,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) raw_seconds: f64,
    pub(super) raw_per_second: f64,
    pub(super) raw_p99_us: f64,
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
        let total = |value: fn(&Fill) -> f64| self.fills.iter().map(value).sum::<f64>();
        let operations = total(|fill| float(fill.operations));
        let (service, raw) = (total(|fill| fill.seconds), total(|fill| fill.raw_seconds));
        let per_second = ratio(operations, service);
        let added = self.fills.last().map_or(f64::INFINITY, |fill| fill.p99_us - fill.raw_p99_us);
        vec![
            at_least(
                "acknowledged, as a part of the raw loop's (must)",
                RATIO_MIN,
                ratio(raw, service),
            ),
            at_least("acknowledged a second (aim)", PER_SECOND, per_second),
            at_most("p99 above the raw loop's at the end, µs (aim)", ADDED_P99_US, added),
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
                points: points(|it| it.prove_operation_ms),
            },
            Series {
                name: "audit prove --receipt",
                mark: 'r',
                points: points(|it| it.prove_receipt_ms),
            },
            Series { name: "audit query --key", mark: 'k', points: points(|it| it.query_key_ms) },
            Series { name: "status", mark: 's', points: points(|it| it.status_ms) },
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
                    "{:<64} {:<18} {:>12.2}  {met}",
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
                "\nHMACs by frames on the signer's socket, 1 000 outstanding; and the raw loop, which writes the same frames"
            ),
        );
        line(
            out,
            format_args!(
                "{:>10} {:>10} {:>9} {:>9} {:>7} {:>7} {:>8} {:>8} {:>11} {:>9} {:>6}",
                "log size",
                "per s",
                "p50 µs",
                "p99 µs",
                "user µs",
                "sys µs",
                "rec/frm",
                "B/rec",
                "raw per s",
                "p99 µs",
                "ratio"
            ),
        );
        for fill in &self.fills {
            line(
                out,
                format_args!(
                    "{:>10} {:>10.0} {:>9.0} {:>9.0} {:>7.1} {:>7.1} {:>8.0} {:>8.0} {:>11.0} {:>9.0} {:>6.3}",
                    fill.log_size,
                    fill.per_second,
                    fill.p50_us,
                    fill.p99_us,
                    fill.user_us,
                    fill.system_us,
                    ratio(float(fill.operations), float(fill.frames)),
                    ratio(float(fill.bytes), float(fill.operations)),
                    fill.raw_per_second,
                    fill.raw_p99_us,
                    ratio(fill.per_second, fill.raw_per_second)
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
                    took.prove_operation_ms,
                    took.prove_receipt_ms,
                    took.query_key_ms,
                    took.status_ms
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
