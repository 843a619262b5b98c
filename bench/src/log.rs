//! The audit log as it grows: what is acknowledged in a second beside a raw loop that writes the same frames, what proofs
//! and queries take, how large the index is, and how much of the log a start reads.
//!
//! The service is the real one, with all its processes, checkpoints, read-back and index. Operations are HMACs, which cost
//! little, so that the log is what is measured; they come as frames on the signer's socket ([`lanes`]), since a front
//! would be measured otherwise. Service and callers share all cores. After each growth, and with the service at rest, the
//! raw loop writes the frames that were just written ([`raw`]); then the log alone takes as many records in this process
//! ([`append`]), and the raw loop writes those frames: so all meet the same machine in turn.
//!
//! It fails where the service does not reach what it must or is to reach; a smoke run, which is short, looks at counts and
//! bytes alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use chancery_client::KeyHandle;
use clap::Args;

use self::commands::Marked;
use self::lanes::drive;
use self::raw::Work;
use self::report::{Fill, LogReport, Read, Row, Start};
use self::sizes::FrameSize;
use crate::instance::{Instance, On, Serving};
use crate::keys::{self, New};
use crate::options::{Format, Places};
use crate::process::POLL;
use crate::report::{float, micros, ratio};

mod append;
mod callers;
mod commands;
mod index_size;
mod lanes;
mod plot;
mod raw;
mod report;
mod sizes;

/// The records of a smoke run: over several of its segments.
const SMOKE_RECORDS: u64 = 8_000;

/// The bytes of its segments: 512 KiB.
const SMOKE_SEGMENT_BYTES: u64 = 512 * 1024;

/// The fewest records of a run that is no smoke run.
const RECORDS_MIN: u64 = 6_400;

/// The most: a tenant's audit bytes of a day are enough for so many.
const RECORDS_MAX: u64 = 20_000_000;

/// The sizes at which proofs and queries are timed, as parts of the last one: each about four times the one before.
const PARTS: [u64; 4] = [64, 16, 4, 1];

/// The first of the two sizes at which starts are compared, as a part of the last one, which is the other.
const FIRST_STOP: u64 = 10;

/// How long checkpoints and index are waited for behind the last record.
const SETTLE_MAX: Duration = Duration::from_mins(2);

/// How long the service then has to come to rest.
const REST: Duration = Duration::from_millis(1_500);

/// The command line of `log`.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// How many records the log has at its end.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(RECORDS_MIN..=RECORDS_MAX))]
    records: u64,
    /// A short log in short segments; only counts and bytes are looked at.
    #[arg(long, conflicts_with = "records")]
    smoke: bool,
    /// Draw what proofs and queries take over the log's size into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    places: Places,
}

impl LogArgs {
    fn size(&self) -> u64 {
        if self.smoke { SMOKE_RECORDS } else { self.records }
    }
}

/// Measures, prints, and says what was missed.
pub(crate) fn run(args: &LogArgs) -> Result<()> {
    let mut bench = Bench::begin(args)?;
    bench.grow()?;
    let report = bench.report.end(args.smoke);
    report.print(args.format)?;
    if let Some(path) = &args.plot {
        let drawn = plot::svg(&report.series());
        std::fs::write(path, drawn)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let missed = report.missed();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// A run under way.
struct Bench {
    service: Instance,
    handle: KeyHandle,
    marked: Marked,
    size: u64,
    /// Where the loops beside it write.
    place: PathBuf,
    report: LogReport,
}

/// What is done when the log has grown so far.
#[derive(Clone, Copy, Debug)]
struct Stage {
    size: u64,
    is_timed: bool,
    is_stopped: bool,
}

impl Bench {
    fn begin(args: &LogArgs) -> Result<Self> {
        let more = if args.smoke {
            vec!["--segment-bytes".to_owned(), SMOKE_SEGMENT_BYTES.to_string()]
        } else {
            Vec::new()
        };
        let serving = Serving { binary: args.places.chancery()?, on: On::AllCores, more };
        let service = Instance::start(&args.places.scratch()?, "log", serving)?;
        let new = New { name: "bench", purpose: "mac.bound:bench", algorithm: "hmac-sha-256" };
        let handle = keys::issue(service.client(), &keys::create(service.client(), &new)?)?;
        let marked = Marked::make(&service)?;
        let place = service.path("loops");
        let size = args.size();
        Ok(Self { service, handle, marked, size, place, report: LogReport::begin(size)? })
    }

    fn grow(&mut self) -> Result<()> {
        for stage in stages(self.size) {
            eprintln!("log: {} records", stage.size);
            self.fill(stage.size)?;
            if stage.is_timed {
                let took = self.marked.time(&self.service)?;
                self.report.took.push((self.service.status()?.log_size, took));
            }
            if stage.is_stopped {
                self.stop_and_start()?;
            }
        }
        self.report.index = Some(self.index_size()?);
        self.die_and_start()
    }

    /// Has the log grow to so many records, and the raw loop write the same.
    fn fill(&mut self, size: u64) -> Result<()> {
        let before = self.service.status()?.log_size;
        let cpu = self.service.cpu()?;
        let driven = drive(&self.service, &self.handle, size.saturating_sub(before))?;
        let cpu = self.service.cpu()? - cpu;
        let after = self.settle()?;
        ensure!(
            after == before + driven.operations,
            "{} operations were acknowledged, and the log grew from {before} to {after}",
            driven.operations
        );
        let frames = sizes::frames(&self.service.data(), before)?;
        let records: usize = frames.iter().map(|frame| frame.records).sum();
        ensure!(u64::try_from(records)? == driven.operations, "{records} records were read back");
        let raw = self.raw_loop(&frames, Work::None)?;
        // Each in a directory of its own, and none is removed while others are measured: what a file system does to keep
        // numbers of files from being used again at once is no part of an append.
        let appended = append::run(&self.place.join(format!("append-{after}")), driven.operations)?;
        let raw_again = self.raw_loop(&appended.frames, Work::None)?;
        let hashing = self.raw_loop(&appended.frames, Work::Hashes)?;
        self.report.fills.push(Fill {
            log_size: after,
            service: Row {
                user_us: ratio(micros(cpu.user), float(driven.operations)),
                system_us: ratio(micros(cpu.system), float(driven.operations)),
                ..Row::of(&driven.looped, &frames)
            },
            raw,
            append: Row::of(&appended.looped, &appended.frames),
            covered_seconds: appended.covered.as_secs_f64(),
            checkpoints: appended.checkpoints,
            raw_again,
            hashing,
        });
        Ok(())
    }

    fn raw_loop(&self, frames: &[FrameSize], work: Work) -> Result<Row> {
        Ok(Row::of(&raw::run(&self.place.join("raw"), frames, work)?, frames))
    }

    /// Waits until the checkpoint covers every record; how many there are.
    fn settle(&self) -> Result<u64> {
        let size = self.service.status()?.log_size;
        let published = self.service.data().join("log/checkpoint");
        wait("a checkpoint covers every record", || {
            let note = std::fs::read_to_string(&published).unwrap_or_default();
            let covered = note.lines().nth(1).and_then(|line| line.parse::<u64>().ok());
            Ok(covered.is_some_and(|covered| covered >= size))
        })?;
        std::thread::sleep(REST);
        Ok(size)
    }

    fn stop_and_start(&mut self) -> Result<()> {
        self.service.stop()?;
        self.start_again(Read::AfterStop)
    }

    /// Kills it while operations are under way, and starts it again.
    fn die_and_start(&mut self) -> Result<()> {
        drive(&self.service, &self.handle, self.size / 20)?;
        self.service.kill()?;
        self.start_again(Read::AfterKill)
    }

    fn start_again(&mut self, read: Read) -> Result<()> {
        let started = Instant::now();
        self.service.start_again()?;
        let seconds = started.elapsed().as_secs_f64();
        let bytes = self.service.counter("chancery_audit_start_bytes_read")?;
        self.report.starts.push(Start {
            log_size: self.service.status()?.log_size,
            read,
            bytes,
            seconds,
        });
        Ok(())
    }

    /// Waits until all that stood before the last start is indexed, which ended the segment before, and measures.
    fn index_size(&self) -> Result<index_size::IndexSize> {
        let wanted = self.size;
        wait("every record is indexed", || {
            Ok(index_size::measure(&self.service.data())?.records >= wanted)
        })?;
        index_size::measure(&self.service.data())
    }
}

fn stages(size: u64) -> Vec<Stage> {
    let timed =
        PARTS.map(|part| Stage { size: size / part, is_timed: true, is_stopped: part == 1 });
    let stopped = Stage { size: size / FIRST_STOP, is_timed: false, is_stopped: true };
    let mut stages: Vec<_> = timed.into_iter().chain([stopped]).collect();
    stages.sort_unstable_by_key(|stage| stage.size);
    stages
}

fn wait(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + SETTLE_MAX;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("not in time: {what}");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_grows_in_steps_and_is_stopped_at_two_sizes_ten_times_apart() {
        let stages = stages(200_000);
        let sizes: Vec<_> = stages.iter().map(|stage| stage.size).collect();
        assert_eq!(sizes, [3_125, 12_500, 20_000, 50_000, 200_000]);
        let stops: Vec<_> =
            stages.iter().filter(|stage| stage.is_stopped).map(|it| it.size).collect();
        assert_eq!(stops, [20_000, 200_000]);
        assert_eq!(stages.iter().filter(|stage| stage.is_timed).count(), PARTS.len());
    }
}
