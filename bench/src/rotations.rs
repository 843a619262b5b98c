//! Many keys due on one day: what their rollouts take from signing. Ed25519 signatures for a CPU-second of all processes,
//! before a rule makes the keys due, while their rollouts begin and go through, and afterwards.
//!
//! A day is as short as the command line says, so that one core does in minutes what has a day elsewhere. The key that is
//! signed with is kept from rotating, so that its answers verify by what is known of it; it is of the same tenant, whose
//! epoch every step of every rollout raises.

use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use chancery_api::http::replies::{AnswerObject, RolloutObject};
use chancery_core::automatic::{Automatic, Rule, RuleFor};
use chancery_core::command::Command;
use chancery_core::purpose::Usage;
use chancery_core::rollout::{Builtin, Plan, StageName};
use clap::Args;
use serde::Serialize;

use crate::contenders::service::targets;
use crate::instance::{Instance, On, Serving};
use crate::keys::{self, New, ask};
use crate::load::{Generator, Group, Refusals, Target};
use crate::machine::{Machine, date, load_average};
use crate::options::{Format, Places};
use crate::process::{Cpu, POLL};
use crate::report::{float, median, micros, ratio};

/// While rollouts go through at least this part of the quiet signatures for a CPU-second must be left.
const RATIO_MIN: f64 = 0.9;

/// Callers: as many as keep one core busy.
const CALLERS: usize = 16;

/// How long one stage takes at least: two seconds, of what are hours elsewhere.
const STAGE: Duration = Duration::from_secs(2);

/// How long after the day the last rollouts may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Rounds of the quiet rate, before and after.
const ROUNDS: usize = 3;

/// The command line of `rotations`.
#[derive(Args, Debug)]
pub(crate) struct RotationsArgs {
    /// How many keys are due.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    keys: u64,
    /// How long the day is, over which they are spread, in seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    day: u64,
    /// How long one round of quiet takes, in seconds: so long that whole segments of the log are repacked in it, as they are
    /// in the day.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// A few keys and a short day; only answers and counts are looked at.
    #[arg(long)]
    smoke: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    places: Places,
}

/// Signatures under one condition.
#[derive(Clone, Copy, Debug, Serialize)]
struct Figure {
    per_second: f64,
    per_cpu_second: f64,
    p99_us: f64,
}

#[derive(Debug, Serialize)]
struct RotationsReport {
    began: String,
    ended: String,
    command: String,
    machine: Machine,
    keys: u64,
    day_seconds: f64,
    before: Figure,
    during: Figure,
    after: Figure,
    /// Of the mean of before and after.
    ratio: f64,
    /// How long it took until every new version protected for all, from the rule on.
    took_seconds: f64,
    /// Steps of rollouts a second meanwhile.
    steps_per_second: f64,
    /// Rollouts that did anything but go on.
    halted: usize,
    missed: Vec<String>,
}

/// Measures, prints, and says what was missed.
pub(crate) fn run(args: &RotationsArgs) -> Result<()> {
    let (began, mut machine) = (date(), Machine::here()?);
    let (keys, day) = if args.smoke { (32, 5) } else { (args.keys, args.day) };
    let seconds = Duration::from_secs(if args.smoke { 1 } else { args.seconds });
    let day = Duration::from_secs(day);
    let generator = Generator::new()?;
    let fleet = Fleet::start(args, keys)?;
    let before = fleet.quiet(&generator, seconds)?;
    let rolled = fleet.roll(&generator, day)?;
    let after = fleet.quiet(&generator, seconds)?;
    machine.load_after = load_average();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quiet = f64::midpoint(before.per_cpu_second, after.per_cpu_second);
    let kept = ratio(rolled.figure.per_cpu_second, quiet);
    let steps = float(keys) * float(STEPS);
    let mut report = RotationsReport {
        began,
        ended: date(),
        command: format!("chancery-bench {}", arguments.join(" ")),
        machine,
        keys,
        day_seconds: day.as_secs_f64(),
        before,
        during: rolled.figure,
        after,
        ratio: kept,
        took_seconds: rolled.took.as_secs_f64(),
        steps_per_second: ratio(steps, rolled.took.as_secs_f64()),
        halted: rolled.halted,
        missed: Vec::new(),
    };
    if !args.smoke && kept < RATIO_MIN {
        report
            .missed
            .push(format!("{kept:.2} of the quiet rate, at least {RATIO_MIN} is asked for"));
    }
    report.print(args.format)?;
    ensure!(rolled.halted == 0, "{} rollouts did not go through", rolled.halted);
    ensure!(report.missed.is_empty(), "missed: {}", report.missed.join("; "));
    Ok(())
}

/// The stage behind which a person goes on: until then a rollout has begun and gone on so often.
const STEPS: u64 = 5;

/// The plan for seldom used keys, with the times of a test.
fn plan() -> Result<Plan> {
    let stage_ms = u64::try_from(STAGE.as_millis())?;
    let mut plan = Builtin::Quiet.plan().context("a plan that comes with the service")?;
    plan.bounds.propagation_ms = stage_ms / 2;
    plan.bounds.verifier_cache_ms = stage_ms / 2;
    plan.bounds.safety_ms = stage_ms;
    plan.bounds.artefact_life_ms = stage_ms;
    plan.bounds.quiet_ms = stage_ms;
    for stage in &mut plan.stages {
        stage.min_ms = match stage.name {
            // What artefacts of the old version live, before it is retired.
            StageName::Soak => 2 * stage_ms,
            _ => stage_ms,
        };
        stage.min_samples = stage.min_samples.min(1);
    }
    let findings = plan.check();
    ensure!(findings.is_empty(), "the plan breaks rules: {findings:?}");
    Ok(plan)
}

/// A service with many keys, and one that is signed with.
struct Fleet {
    service: Instance,
    target: Rc<Target>,
    keys: u64,
    /// When the first of the keys was made.
    first: Instant,
}

/// What became of the rollouts.
struct Rolled {
    figure: Figure,
    took: Duration,
    halted: usize,
}

impl Fleet {
    fn start(args: &RotationsArgs, keys: u64) -> Result<Self> {
        let serving =
            Serving { binary: args.places.chancery()?, on: On::ServerCore, more: Vec::new() };
        let service = Instance::start(&args.places.scratch()?, "rotations", serving)?;
        let (target, _) = targets(service.client(), &service.address()?, "ed25519")?;
        let rule_for = RuleFor::Key("bench-ed25519".parse()?);
        ask(service.client(), &Command::SetRule { rule_for, rule: Rule::Never })?;
        let first = Instant::now();
        for number in 0..keys {
            let name = format!("fleet-{number:06}");
            let new = New { name: &name, purpose: "sign.bound:fleet", algorithm: "ed25519" };
            keys::create(service.client(), &new)?;
            if number % 1_000 == 999 {
                eprintln!("rotations: {} of {keys} keys are made", number + 1);
            }
        }
        Ok(Self { service, target, keys, first })
    }

    /// The rate while nothing is due: medians.
    fn quiet(&self, generator: &Generator, duration: Duration) -> Result<Figure> {
        let figures = (0..ROUNDS).map(|_| self.sign(generator, duration));
        let figures = figures.collect::<Result<Vec<_>>>()?;
        let of = |value: fn(&Figure) -> f64| median(&figures.iter().map(value).collect::<Vec<_>>());
        Ok(Figure {
            per_second: of(|it| it.per_second),
            per_cpu_second: of(|it| it.per_cpu_second),
            p99_us: of(|it| it.p99_us),
        })
    }

    fn sign(&self, generator: &Generator, duration: Duration) -> Result<Figure> {
        let target = Rc::clone(&self.target);
        let group = Group { target, callers: CALLERS, refusals: Refusals::Fatal };
        let (runs, cpu) = generator
            .run(&[group], duration, || self.cpu())
            .with_context(|| format!("the service; {}", self.service.said()))?;
        let run = runs.into_iter().next().context("a group has a run")?;
        Ok(Figure {
            per_second: ratio(float(run.answered), run.elapsed.as_secs_f64()),
            per_cpu_second: ratio(float(run.answered), cpu.total().as_secs_f64()),
            p99_us: micros(run.percentile(99)),
        })
    }

    fn cpu(&self) -> Result<Cpu> {
        self.service.cpu()
    }

    /// Makes every key due within the day, signs all day, and waits for the last rollouts.
    fn roll(&self, generator: &Generator, day: Duration) -> Result<Rolled> {
        let plan = plan()?;
        // The oldest key is due at once at the earliest, and at the end of the day at the latest.
        let age = self.first.elapsed() + Duration::from_millis(plan.shortest_ms()) + STAGE;
        let automatic = Automatic {
            every_ms: u64::try_from((age + day).as_millis())?,
            spread_ms: u64::try_from(day.as_millis())?,
            uses: None,
            suite: None,
            replaces_imported: false,
            stands_by: false,
            plan,
        };
        let rule = Rule::Automatic(Box::new(automatic));
        let began = Instant::now();
        ask(
            self.service.client(),
            &Command::SetRule { rule_for: RuleFor::Usage(Usage::Sign), rule },
        )?;
        let figure = self.sign(generator, day)?;
        let rollouts = self.wait_for_rollouts(began + day + PATIENCE)?;
        let halted = rollouts.iter().filter(|rollout| rollout.status != "running").count();
        let rule = Rule::Never;
        ask(
            self.service.client(),
            &Command::SetRule { rule_for: RuleFor::Usage(Usage::Sign), rule },
        )?;
        Ok(Rolled { figure, took: began.elapsed(), halted })
    }

    /// Waits until every key has a rollout that waits for a person, or for nothing any more.
    fn wait_for_rollouts(&self, deadline: Instant) -> Result<Vec<RolloutObject>> {
        loop {
            let rollouts = self.rollouts()?;
            let is_through =
                |it: &&RolloutObject| it.status != "running" || u64::from(it.stage) + 1 >= STEPS;
            let through = rollouts.iter().filter(is_through).count();
            if u64::try_from(through)? == self.keys {
                return Ok(rollouts);
            }
            if Instant::now() > deadline {
                bail!("{through} of {} rollouts went through in time", self.keys);
            }
            std::thread::sleep(POLL);
        }
    }

    fn rollouts(&self) -> Result<Vec<RolloutObject>> {
        let mut all: Vec<RolloutObject> = Vec::new();
        loop {
            let after = all.last().map(|rollout| rollout.key.clone());
            let answer = ask(self.service.client(), &Command::ListRollouts { after })?;
            let AnswerObject::Rollouts(page) = answer else { bail!("no rollouts but {answer:?}") };
            all.extend(page.rollouts);
            if !page.more {
                return Ok(all);
            }
        }
    }
}

impl RotationsReport {
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
             {} Ed25519 keys due over {} s: {:.0} s until the last new version protected for all, {:.0} steps a second, {} \
             halted\n\n{:<10} {:>10} {:>12} {:>10}\n",
            self.command,
            self.began,
            self.ended,
            machine.processor,
            machine.cores,
            machine.kernel,
            machine.pinning,
            machine.load_before,
            machine.load_after,
            self.keys,
            self.day_seconds,
            self.took_seconds,
            self.steps_per_second,
            self.halted,
            "signing",
            "per s",
            "per CPU-s",
            "p99 µs",
        );
        for (name, it) in [("before", self.before), ("during", self.during), ("after", self.after)]
        {
            let (rate, cpu, p99) = (it.per_second, it.per_cpu_second, it.p99_us);
            let _ = writeln!(out, "{name:<10} {rate:>10.0} {cpu:>12.0} {p99:>10.0}");
        }
        let _ = writeln!(out, "\nratio     {:.2}", self.ratio);
        out
    }
}
