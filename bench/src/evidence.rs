//! What evidence costs: Ed25519 signatures for a CPU-second of all processes, with checkpoints, index and an export to a
//! file, and with all three off by configuration.
//!
//! Three services stand beside each other and are asked in turn, round by round: one without, one with checkpoints and
//! index, and one with an export besides, whose process is counted with those of its service. After each load it is waited
//! until a checkpoint covers every record, and until the export has them all: what was put off is counted too. What was
//! taken while the load lasted stands beside it, and what the threads took that make evidence in the service.

use std::array;
use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::contenders::service::targets;
use crate::instance::{Instance, On, Serving};
use crate::load::{Generator, Group, Refusals, Target};
use crate::machine::{Machine, date, load_average};
use crate::options::{Format, Places};
use crate::order::Form;
use crate::process::{Cpu, POLL, Server};
use crate::report::{float, median, micros, ratio};

/// With evidence at least this part of the signatures for a CPU-second must be left.
const RATIO_MIN: f64 = 0.9;

/// The callers: one, some, and so many that the service is never without work.
const CALLERS: [(Form, usize); 4] =
    [(Form::Batch, 16), (Form::Single, 64), (Form::Single, 16), (Form::Single, 1)];

/// How long what was put off is waited for.
const DRAIN_MAX: Duration = Duration::from_mins(5);

/// One load of a smoke run.
const SMOKE: Duration = Duration::from_millis(500);

/// What makes evidence in the service, by the names of its threads: checkpoints, the index, and the dense form of segments
/// that a checkpoint covers, which is therefore off where checkpoints are.
const THREADS: [&str; 3] = ["checkpoints", "index", "repacker"];

/// The export's cursor and its sink, in the directory of its service.
const CURSOR: &str = "export.cursor";
const SINK: &str = "export.jsonl";

/// The command line of `evidence`.
#[derive(Args, Debug)]
pub(crate) struct EvidenceArgs {
    /// How long each load takes, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many interleaved rounds there are; figures are their medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// One short round; answers and counts alone are looked at.
    #[arg(long)]
    smoke: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    places: Places,
}

/// What is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Arm {
    /// Nothing.
    Off,
    /// Checkpoints and index.
    Log,
    /// And an export to a file.
    All,
}

const ARMS: [Arm; 3] = [Arm::Off, Arm::Log, Arm::All];

/// A service with what is on.
struct Contender {
    arm: Arm,
    // Ends before its service.
    export: Option<Server>,
    service: Instance,
    single: Rc<Target>,
    batch: Rc<Target>,
}

/// What one load took.
#[derive(Clone, Copy, Debug)]
struct Sample {
    signatures: u64,
    seconds: f64,
    /// While the load lasted.
    during: Cpu,
    /// Until nothing was put off any more.
    until_done: Cpu,
    /// Of the export alone.
    export: Cpu,
    /// Of each of [`THREADS`].
    threads: [Duration; THREADS.len()],
}

/// Medians. Times are microseconds of processor time for each signature.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    form: Form,
    connections: usize,
    arm: Arm,
    per_second: f64,
    during_us: f64,
    user_us: f64,
    system_us: f64,
    export_us: f64,
    checkpoints_us: f64,
    index_us: f64,
    repacker_us: f64,
    per_cpu_second: f64,
    /// Of those without.
    ratio: f64,
    ratio_during: f64,
}

#[derive(Debug, Serialize)]
struct EvidenceReport {
    began: String,
    ended: String,
    command: String,
    machine: Machine,
    seconds: f64,
    rounds: u32,
    figures: Vec<Figure>,
    missed: Vec<String>,
}

/// Measures, prints, and says what was missed.
pub(crate) fn run(args: &EvidenceArgs) -> Result<()> {
    let (began, mut machine) = (date(), Machine::here()?);
    let generator = Generator::new()?;
    let contenders = ARMS.map(|arm| Contender::start(args, arm));
    let mut contenders = contenders.into_iter().collect::<Result<Vec<_>>>()?;
    let duration = if args.smoke { SMOKE } else { Duration::from_secs(args.seconds) };
    let rounds = if args.smoke { 1 } else { args.rounds };
    let mut figures = Vec::new();
    for (form, callers) in CALLERS {
        let mut samples: [Vec<Sample>; ARMS.len()] = Default::default();
        for round in 1..=rounds {
            eprintln!("evidence: {}, {callers}, round {round} of {rounds}", form.text());
            for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
                samples.push(contender.measure(&generator, (form, callers), duration)?);
            }
        }
        figures.extend(compared((form, callers), &samples));
    }
    machine.load_after = load_average();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let missed = if args.smoke { Vec::new() } else { missed(&figures) };
    let report = EvidenceReport {
        began,
        ended: date(),
        command: format!("chancery-bench {}", arguments.join(" ")),
        machine,
        seconds: duration.as_secs_f64(),
        rounds,
        figures,
        missed,
    };
    report.print(args.format)?;
    ensure!(report.missed.is_empty(), "missed: {}", report.missed.join("; "));
    Ok(())
}

impl Contender {
    fn start(args: &EvidenceArgs, arm: Arm) -> Result<Self> {
        let off = ["--checkpoint-every", "1h", "--index", "off"];
        let more = match arm {
            Arm::Off => off.map(str::to_owned).to_vec(),
            Arm::Log | Arm::All => Vec::new(),
        };
        let serving = Serving { binary: args.places.chancery()?, on: On::ServerCore, more };
        let name = format!("evidence-{arm:?}").to_lowercase();
        let service = Instance::start(&args.places.scratch()?, &name, serving)?;
        let (single, batch) = targets(service.client(), &service.address()?, "ed25519")?;
        let export = (arm == Arm::All).then(|| export(&service)).transpose()?;
        Ok(Self { arm, export, service, single, batch })
    }

    fn measure(
        &mut self,
        generator: &Generator,
        (form, callers): (Form, usize),
        duration: Duration,
    ) -> Result<Sample> {
        let target = Rc::clone(match form {
            Form::Batch => &self.batch,
            Form::Single => &self.single,
        });
        let group = Group { target, callers, refusals: Refusals::Fatal };
        let size = self.service.status()?.log_size;
        let (before, export, threads) = (self.cpu()?, self.export_cpu()?, self.threads()?);
        let (runs, during) = generator
            .run(&[group], duration, || self.cpu())
            .with_context(|| format!("{:?}; {}", self.arm, self.service.said()))?;
        let run = runs.into_iter().next().context("a group has a run")?;
        self.settle()?;
        let grown = self.service.status()?.log_size - size;
        let now = self.threads()?;
        let signatures = run.answered * u64::try_from(form.items())?;
        ensure!(grown >= signatures, "{signatures} were answered, and {grown} are in the log");
        Ok(Sample {
            // Those that warmed it up took processor time as well.
            signatures: grown,
            seconds: run.elapsed.as_secs_f64() * ratio(float(grown), float(signatures)),
            during,
            until_done: self.cpu()? - before,
            export: self.export_cpu()? - export,
            threads: array::from_fn(|at| match (now.get(at), threads.get(at)) {
                (Some(now), Some(before)) => now.saturating_sub(*before),
                _ => Duration::ZERO,
            }),
        })
    }

    fn cpu(&self) -> Result<Cpu> {
        let (service, export) = (self.service.cpu()?, self.export_cpu()?);
        Ok(Cpu { user: service.user + export.user, system: service.system + export.system })
    }

    fn export_cpu(&self) -> Result<Cpu> {
        self.export.as_ref().map_or(Ok(Cpu::default()), Server::cpu)
    }

    /// The processor time of each of [`THREADS`].
    fn threads(&self) -> Result<[Duration; THREADS.len()]> {
        let mut taken = [Duration::ZERO; THREADS.len()];
        for (taken, name) in taken.iter_mut().zip(THREADS) {
            *taken = self.service.cpu_of_threads(name)?;
        }
        Ok(taken)
    }

    /// Waits until nothing is put off any more.
    fn settle(&self) -> Result<()> {
        if self.arm == Arm::Off {
            return Ok(());
        }
        let size = self.service.status()?.log_size;
        let published = self.service.data().join("log/checkpoint");
        let cursor = self.service.path(CURSOR);
        let deadline = Instant::now() + DRAIN_MAX;
        loop {
            let is_covered = number(&published, "").is_some_and(|covered| covered >= size);
            let is_sent =
                self.export.is_none() || number(&cursor, "next ").is_some_and(|next| next >= size);
            if is_covered && is_sent {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("checkpoint or export did not come to record {size} in time");
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The number in the first line of a file that is one behind `before`.
fn number(path: &std::path::Path, before: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(before)?.parse().ok())
}

/// Starts the export, as an auditor's process.
fn export(service: &Instance) -> Result<Server> {
    let path = |name| service.path(name).to_str().map(str::to_owned).context("a path is no text");
    let (profile, cursor, sink) = (path("auditor.toml")?, path(CURSOR)?, path(SINK)?);
    service.run(&["principal", "create", "auditor", "--role", "auditor", "--out", &profile])?;
    let to = format!("file:{sink}");
    let arguments = ["audit", "export", "--to", &to, "--cursor", &cursor];
    service.start_beside(profile.as_ref(), &arguments)
}

fn compared(
    (form, connections): (Form, usize),
    samples: &[Vec<Sample>; ARMS.len()],
) -> Vec<Figure> {
    let mut figures: Vec<Figure> = ARMS
        .into_iter()
        .zip(samples)
        .map(|(arm, samples)| {
            let of =
                |value: fn(&Sample) -> f64| median(&samples.iter().map(value).collect::<Vec<_>>());
            let each = |cpu: Duration, it: &Sample| ratio(micros(cpu), float(it.signatures));
            let medians = |value: &dyn Fn(&Sample) -> f64| {
                median(&samples.iter().map(value).collect::<Vec<_>>())
            };
            let [checkpoints_us, index_us, repacker_us] = array::from_fn(|at| {
                medians(&|it| each(it.threads.get(at).copied().unwrap_or_default(), it))
            });
            Figure {
                form,
                connections,
                arm,
                per_second: of(|it| ratio(float(it.signatures), it.seconds)),
                during_us: medians(&|it| each(it.during.total(), it)),
                user_us: medians(&|it| each(it.until_done.user, it)),
                system_us: medians(&|it| each(it.until_done.system, it)),
                export_us: medians(&|it| each(it.export.total(), it)),
                checkpoints_us,
                index_us,
                repacker_us,
                per_cpu_second: of(|it| {
                    ratio(float(it.signatures), it.until_done.total().as_secs_f64())
                }),
                ratio: 0.0,
                ratio_during: 0.0,
            }
        })
        .collect();
    let without = figures.first().map(|it| (it.per_cpu_second, it.during_us));
    let (per_cpu_second, during_us) = without.unwrap_or_default();
    for figure in &mut figures {
        figure.ratio = ratio(figure.per_cpu_second, per_cpu_second);
        figure.ratio_during = ratio(during_us, figure.during_us);
    }
    figures
}

fn missed(figures: &[Figure]) -> Vec<String> {
    let all = figures.iter().filter(|figure| figure.arm == Arm::All && figure.ratio < RATIO_MIN);
    let said = all.map(|figure| {
        let form = figure.form.text();
        format!(
            "{form}, {} connections: {:.2} of what is signed without, at least {RATIO_MIN} is asked for",
            figure.connections, figure.ratio
        )
    });
    said.collect()
}

impl EvidenceReport {
    fn print(&self, format: Format) -> Result<()> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(self)? + "\n",
            Format::Table => self.table(),
        };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn table(&self) -> String {
        let machine = &self.machine;
        let mut out = String::new();
        // Writing to a `String` cannot fail.
        let _ = write!(
            out,
            "command   {}\ndate      {} to {}\nmachine   {}, {} cores, Linux {}\npinning   {}\n\
             load      {} before, {} after\n\n\
             Ed25519 signatures: medians of {} rounds of {} s; µs of processor time for each, of all processes\n\
             {:<14} {:>5} {:<26} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>6} {:>7}\n",
            self.command,
            self.began,
            self.ended,
            machine.processor,
            machine.cores,
            machine.kernel,
            machine.pinning,
            machine.load_before,
            machine.load_after,
            self.rounds,
            self.seconds,
            "form",
            "conn.",
            "on",
            "per s",
            "user µs",
            "sys µs",
            "of export",
            "of checkp",
            "of index",
            "of dense",
            "in load",
            "per CPU-s",
            "ratio",
            "in load"
        );
        for it in &self.figures {
            let on = match it.arm {
                Arm::Off => "nothing",
                Arm::Log => "checkpoints, index",
                Arm::All => "checkpoints, index, export",
            };
            let _ = writeln!(
                out,
                "{:<14} {:>5} {on:<26} {:>8.0} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>10.0} {:>6.2} \
                 {:>7.2}",
                it.form.text(),
                it.connections,
                it.per_second,
                it.user_us,
                it.system_us,
                it.export_us,
                it.checkpoints_us,
                it.index_us,
                it.repacker_us,
                it.during_us,
                it.per_cpu_second,
                it.ratio,
                it.ratio_during
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(until_done_ms: u64) -> Sample {
        let of = |ms| Cpu { user: Duration::from_millis(ms), system: Duration::ZERO };
        let (signatures, seconds, threads) = (1_000, 1.0, [Duration::ZERO; THREADS.len()]);
        Sample {
            signatures,
            seconds,
            during: of(20),
            until_done: of(until_done_ms),
            export: of(0),
            threads,
        }
    }

    #[test]
    fn what_was_put_off_counts() {
        let samples = [vec![sample(20)], vec![sample(21)], vec![sample(40)]];
        let figures = compared((Form::Single, 64), &samples);
        let ratios: Vec<_> = figures.iter().map(|figure| (figure.ratio * 100.0).round()).collect();
        assert_eq!(ratios, [100.0, 95.0, 50.0]);
        assert!(figures.iter().all(|figure| (figure.ratio_during - 1.0).abs() < 1e-9));
        assert_eq!(missed(&figures).len(), 1);
        assert_eq!(
            missed(&compared((Form::Single, 64), &[vec![sample(20)], vec![], vec![sample(22)]]))
                .len(),
            0
        );
    }
}
