//! `drill`: a rehearsal on a scratch key against the running service, with a fault that was chosen.

mod facts;
mod fault;
mod plan;
mod report;
mod restart;
mod scenario;
mod scratch;
mod stand;
mod traffic;
mod verifiers;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use chancery_audit::evidence::{Evidence, Proved};
use chancery_audit::proof::Trust;
use chancery_client::{Refusal, operation_id, unix_ms};
use chancery_core::id::RolloutId;
use clap::{Args, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::facts::{Facts, OnRecord, judge};
use self::fault::Fault;
use self::report::{Report, Verdict};
use self::scenario::{Diary, Scenario};
use self::stand::{NotSetUp, Setup, Stand, VERIFIERS};
use self::traffic::{Stops, Traffic};
use self::verifiers::Following;
use crate::cli::Shared;
use crate::commands::rollout::evidence::Collected;
use crate::connection;
use crate::exit::Failure;
use crate::moment;
use crate::published::Published;
use crate::render::{View, show};

/// How long verifiers may take to be given the scratch key: 30 s; a bundle is made each second.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// Rehearse what can go wrong.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "Example:\n  chancery drill rotation --fault verify-failures"
)]
pub(crate) struct DrillArgs {
    #[command(subcommand)]
    command: DrillCommand,
}

#[derive(Debug, Subcommand)]
enum DrillCommand {
    Rotation(RotationArgs),
}

/// Rotate a scratch key of the running service, with a fault, and report whether the declared thing happened.
///
/// A key of the environment `drill` is made, with three verifiers and traffic of its own; no other key is touched. At the end,
/// and on Ctrl-C, SIGTERM or a hang-up, its versions are scheduled for destruction and the verifiers removed. The report is
/// `report.md` and `report.json`, with the rollout's evidence beside them. Exits with 0 if the hypothesis holds, 4 if it does
/// not, 1 if it could not be tried.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery drill rotation
  chancery drill rotation --fault verify-failures --out drills/october
  chancery drill rotation --fault restart --restart-command 'systemctl kill -s KILL chancery && sleep 3'

Faults: none, bad-verifier, verify-failures, slow-version, missing-telemetry, analyser-dead, restart. A drill takes an
operator's profile and, where what is expected comes, ten seconds to a minute. What does not come is given a minute and a
half, and a service that is away when all is taken down two minutes. It makes three principals of the role verifier, which
stay, without a key that anybody has; `--verifier` names profiles that are kept for drills instead, where posture asks for
approvals or drills are frequent.")]
struct RotationArgs {
    /// What goes wrong.
    #[arg(long, default_value = "none")]
    fault: Fault,
    /// Judge by what is supposed to happen with this fault, to see that a drill can fail.
    #[arg(long, value_name = "FAULT")]
    expect: Option<Fault>,
    /// Of the fault `restart`: what kills the service and has it start again, run by `sh -c`; it ends before it is asked.
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
    /// The profile of a verifier that is kept for drills, and not registered; three of them, or none.
    #[arg(long = "verifier", value_name = "FILE")]
    verifiers: Vec<PathBuf>,
    /// The directory of the report, which must not be there; named after the drill if not given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Carries `drill` out.
pub(crate) fn run(shared: &Shared, args: &DrillArgs) -> Result<(), Failure> {
    let DrillCommand::Rotation(args) = &args.command;
    args.check()?;
    let name = name()?;
    let directory = args.out.clone().unwrap_or_else(|| PathBuf::from(&name));
    std::fs::create_dir(&directory).with_context(|| format!("`{}`", directory.display()))?;
    let (began, diary) = (moment::text(unix_ms()), Diary::begin());
    let tried = rehearse(shared, args, (&name, &directory), &diary);
    let expected = args.expect.unwrap_or(args.fault);
    let mut report = Report {
        name: &name,
        began,
        fault: args.fault,
        expected,
        rollout: tried.rollout.map(|id| id.to_string()),
        diary: diary.entries(),
        expectations: judge(expected, &tried.facts),
        facts: tried.facts,
        evidence: tried.evidence,
        taken_down: tried.taken_down,
        verdict: Verdict::Holds,
    };
    report.verdict = verdict(&report, tried.failure);
    report.write(&directory)?;
    tell(shared, &report, &directory)
}

impl RotationArgs {
    fn check(&self) -> Result<(), Failure> {
        let usage = |what: &str| Err(Failure::Usage(anyhow!(what.to_owned())));
        let is_restart = self.fault == Fault::Restart;
        if is_restart != self.restart_command.is_some() {
            return usage("--restart-command goes with the fault `restart`, which needs it");
        }
        if !self.verifiers.is_empty() && self.verifiers.len() != VERIFIERS {
            return usage("name three verifiers, or none to have them made");
        }
        Ok(())
    }
}

/// `drill-20261201-1a2b3c`: the day, and what is random of a fresh id.
fn name() -> Result<String, Failure> {
    let day: String = moment::text(unix_ms()).chars().take(10).filter(|it| *it != '-').collect();
    let id = operation_id().context("no name could be drawn")?.to_string();
    let random: String = id.chars().rev().take(6).collect();
    Ok(format!("drill-{day}-{random}"))
}

/// What a drill came to, as far as it came.
#[derive(Default)]
struct Tried {
    rollout: Option<RolloutId>,
    facts: Facts,
    evidence: Option<String>,
    taken_down: Vec<String>,
    failure: Option<Failure>,
}

fn rehearse(
    shared: &Shared,
    args: &RotationArgs,
    (name, directory): (&str, &Path),
    diary: &Diary,
) -> Tried {
    let mut tried = Tried::default();
    let stop = match stopped_by_signals() {
        Ok(stop) => stop,
        Err(failure) => return Tried { failure: Some(failure), ..tried },
    };
    let is_bad = args.fault == Fault::BadVerifier;
    let last = if is_bad { Following::Nothing } else { Following::Bundles };
    let setup = Setup { shared, name, directory, profiles: &args.verifiers, last };
    let mut stand = match Stand::set_up(&setup) {
        Ok(stand) => stand,
        Err(NotSetUp { failure, taken_down }) => {
            note_all(diary, &taken_down);
            return Tried { failure: Some(failure), taken_down, ..tried };
        }
    };
    diary.note(format!("`{name}` is made, with {VERIFIERS} verifiers"));
    let traffic = Traffic::of(&stand, &stop);
    let failure = run_all(args, (&stand, &traffic, diary), &stop, &mut tried).err();
    tried.facts.counts = traffic.counts();
    drop(traffic);
    if let Some(rollout) = tried.rollout {
        match evidence(shared, (&stand, rollout), directory) {
            Ok((file, shown)) => {
                diary.note(format!("its evidence verifies: {} steps", shown.whys.len()));
                (tried.evidence, tried.facts.on_record) = (Some(file), Some(shown));
            }
            Err(error) => diary.note(format!("its evidence does not verify: {}", error.to_text())),
        }
    }
    tried.taken_down = stand.take_down();
    note_all(diary, &tried.taken_down);
    tried.failure = failure;
    tried
}

fn note_all(diary: &Diary, said: &[String]) {
    for said in said {
        diary.note(said.clone());
    }
}

/// Begins the rotation once verifiers know the key, and runs traffic and the scenario beside each other.
fn run_all(
    args: &RotationArgs,
    (stand, traffic, diary): (&Stand, &Traffic<'_>, &Diary),
    stop: &Arc<AtomicBool>,
    tried: &mut Tried,
) -> Result<(), Failure> {
    let began = Instant::now();
    while !traffic.is_known() {
        if began.elapsed() > KNOWN_WITHIN || stop.load(Ordering::Relaxed) {
            let what = "the drill was interrupted, or its verifiers were not given the key's first version";
            return Err(Failure::Failed(anyhow!(what)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    diary.note("its verifiers know the first version");
    let rollout = scenario::begin(stand, args.fault, plan::plan(args.fault)?)?;
    tried.rollout = Some(rollout);
    diary.note(format!("rollout {rollout} is begun"));
    let scenario = Scenario {
        stand,
        traffic,
        diary,
        stop: Arc::clone(stop),
        restart_command: args.restart_command.as_deref(),
        rollout,
        facts: RefCell::default(),
    };
    let done = std::thread::scope(|scope| {
        scope.spawn(|| traffic.run());
        let _stops = Stops(traffic);
        scenario.induce(args.fault)
    });
    tried.facts = scenario.facts.into_inner();
    done
}

/// Exports the evidence of the rollout, and checks it against the log's own policy.
fn evidence(
    shared: &Shared,
    (stand, rollout): (&Stand, RolloutId),
    directory: &Path,
) -> Result<(String, OnRecord), Failure> {
    let collected = Collected::of(&stand.scratch.client, rollout)?;
    let published = Published::Service(Box::new(connection::client(shared)?));
    let checkpoint = published.checkpoint_over(collected.last())?;
    let policy = published.policy()?;
    let bytes = collected.evidence(&checkpoint, &published)?.to_bytes();
    let file = "rollout.evidence";
    for (name, bytes) in [(file, bytes.as_slice()), ("policy", policy.as_bytes())] {
        let path = directory.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("`{}`", path.display()))?;
    }
    let trust = Trust::parse(&policy).map_err(anyhow::Error::new)?;
    let parsed = Evidence::parse(&bytes).map_err(anyhow::Error::new)?;
    let proved = parsed.check(&trust).map_err(anyhow::Error::new)?;
    Ok((file.to_owned(), on_record(&proved)))
}

/// Why the steps were taken, and which stages they led to.
fn on_record(proved: &Proved) -> OnRecord {
    let steps = || proved.steps.iter().map(|it| &it.step.taken);
    let stage = |place: u8| proved.plan.stages.get(usize::from(place)).map(|stage| stage.name);
    let mut stages: Vec<_> = steps().filter_map(|taken| stage(taken.after.stage)).collect();
    stages.dedup();
    OnRecord { whys: steps().map(|taken| taken.why.code()).collect(), stages }
}

fn stopped_by_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("signals cannot be taken")?;
    }
    Ok(stop)
}

/// What did not come in time speaks against the hypothesis; what failed on the way there says nothing of it.
fn verdict(report: &Report<'_>, failure: Option<Failure>) -> Verdict {
    let failed: Vec<_> =
        report.expectations.iter().filter(|it| !it.holds).map(|it| it.what).collect();
    match failure {
        Some(Failure::NotVerified(what)) => Verdict::DoesNotHold(what),
        Some(failure) => Verdict::NotTried(failure.to_text()),
        None if failed.is_empty() => Verdict::Holds,
        None => Verdict::DoesNotHold(format!("not so: {}", failed.join("; "))),
    }
}

fn tell(shared: &Shared, report: &Report<'_>, directory: &Path) -> Result<(), Failure> {
    let view = View::Fields(vec![
        ("drill", report.name.to_owned()),
        ("fault", report.fault.code().to_owned()),
        ("hypothesis", report.expected.hypothesis().to_owned()),
        ("verdict", report.verdict.code().to_owned()),
        ("report", directory.join("report.md").display().to_string()),
    ]);
    show(shared.format, &view, &report.json())?;
    match &report.verdict {
        Verdict::Holds => Ok(()),
        Verdict::DoesNotHold(why) => {
            Err(Failure::NotVerified(format!("the hypothesis does not hold: {why}")))
        }
        Verdict::NotTried(why) => {
            Err(Failure::Failed(anyhow!("the drill could not be tried: {why}")))
        }
    }
}

/// Whether a refusal says that the service is away for a while.
fn may_pass(refusal: &Refusal) -> bool {
    traffic::may_pass(refusal.code.text())
}
