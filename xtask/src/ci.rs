//! `cargo xtask ci`: every check, in order, with how long each took.
//!
//! A stage that fails ends the run: the table of times is printed all the same, and
//! the last line is always the plain count of tests. Documentation is not built
//! here; `missing_docs` and clippy check it in the clippy stage.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::prerequisites;
use crate::tally::{Runner, Tally};
use crate::workspace::cargo;

/// Where a run begins unless told otherwise.
pub(crate) const FIRST_STAGE: &str = "prerequisites";

const STAGES: [Stage; 8] = [
    Stage { name: FIRST_STAGE, run: prerequisites::check },
    Stage { name: "fmt", run: fmt },
    Stage { name: "clippy", run: clippy },
    Stage { name: "tidy", run: tidy },
    Stage { name: "deny", run: deny },
    Stage { name: "test", run: test },
    Stage { name: "crash", run: crash },
    Stage { name: "bench", run: bench },
];

/// How a run or a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Failed,
    Passed,
}

struct Stage {
    name: &'static str,
    run: fn(&Path) -> Result<Report>,
}

/// What a stage has to say.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    /// One line for the table; empty if the verdict says all.
    pub(crate) note: String,
    pub(crate) tally: Tally,
}

struct Row {
    stage: &'static str,
    elapsed: Duration,
    report: Report,
}

impl Report {
    pub(crate) fn new(verdict: Verdict, note: impl Into<String>) -> Self {
        Self { verdict, note: note.into(), tally: Tally::default() }
    }
}

/// Runs the stages from the one named `from`.
///
/// # Errors
///
/// If no stage has that name. A stage that fails is a [`Verdict`], not an error.
pub(crate) fn run(root: &Path, from: &str) -> Result<Verdict> {
    let stages = stages_from(from)?;
    let mut rows: Vec<Row> = Vec::new();
    for stage in stages {
        let row = run_stage(stage, root);
        let failed = row.report.verdict == Verdict::Failed;
        rows.push(row);
        if failed {
            break;
        }
    }
    print_table(&rows);
    let mut tally = Tally::default();
    for row in &rows {
        tally += row.report.tally;
    }
    println!("{tally}");
    let failed = rows.iter().any(|row| row.report.verdict == Verdict::Failed);
    Ok(if failed { Verdict::Failed } else { Verdict::Passed })
}

fn stages_from(name: &str) -> Result<&'static [Stage]> {
    const ALL: &[Stage] = &STAGES;
    let at = ALL.iter().position(|stage| stage.name == name);
    let Some(stages) = at.and_then(|at| ALL.get(at..)) else {
        let names: Vec<&str> = ALL.iter().map(|stage| stage.name).collect();
        bail!("no stage is named `{name}`; the stages are {}", names.join(", "));
    };
    Ok(stages)
}

fn run_stage(stage: &Stage, root: &Path) -> Row {
    println!("== {}", stage.name);
    let started = Instant::now();
    let report = (stage.run)(root).unwrap_or_else(|error| {
        println!("{error:#}");
        Report::new(Verdict::Failed, "could not run")
    });
    let elapsed = started.elapsed();
    println!("== {}: {}, {:.1} s", stage.name, word(report.verdict), elapsed.as_secs_f64());
    Row { stage: stage.name, elapsed, report }
}

fn print_table(rows: &[Row]) {
    println!("\n{:<15}{:>9}  result", "stage", "seconds");
    for Row { stage, elapsed, report } in rows {
        let (seconds, verdict) = (elapsed.as_secs_f64(), word(report.verdict));
        println!("{}", format!("{stage:<15}{seconds:>9.1}  {verdict}  {}", report.note).trim_end());
    }
    let total: Duration = rows.iter().map(|row| row.elapsed).sum();
    println!("{:<15}{:>9.1}", "total", total.as_secs_f64());
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Failed => "failed",
        Verdict::Passed => "passed",
    }
}

fn fmt(root: &Path) -> Result<Report> {
    status(cargo(root).args(["fmt", "--all", "--check"]))
}

fn clippy(root: &Path) -> Result<Report> {
    status(cargo(root).args([
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

fn tidy(_root: &Path) -> Result<Report> {
    Ok(Report::new(crate::tidy()?, ""))
}

/// Runs cargo-deny if this machine has it.
///
/// Building it takes minutes, so it is not installed here: what it would check,
/// `tidy` checks too, from the same `deny.toml`.
fn deny(root: &Path) -> Result<Report> {
    if !answers(cargo(root).args(["deny", "--version"])) {
        let note = "cargo-deny is not installed: tidy alone has checked deny.toml";
        println!("{note}");
        return Ok(Report::new(Verdict::Passed, note));
    }
    status(cargo(root).args(["deny", "--offline", "check", "bans", "licenses", "sources"]))
}

/// The suite that kills the real processes has a stage of its own.
const WITHOUT_CRASHES: &str = "not binary(crash)";

/// A sample of the traced calls, a disk that fails, and a minute of random deaths.
fn crash(root: &Path) -> Result<Report> {
    counted(&mut crate::crash::sample_and_soak(root), Runner::Libtest)
}

/// What is measured, each for a short time; answers, counts and bytes are looked at, and no timings.
const SMOKE_RUNS: [&str; 4] = ["all", "log", "reprotect", "rotations"];

/// One short round of each.
fn bench(root: &Path) -> Result<Report> {
    let package = ["run", "--release", "--locked", "--package", "chancery-bench"];
    for run in SMOKE_RUNS {
        let report = status(cargo(root).args(package).args(["--", run, "--smoke"]))?;
        if report.verdict == Verdict::Failed {
            return Ok(Report { note: format!("`{run}` {}", report.note), ..report });
        }
    }
    Ok(Report::new(Verdict::Passed, ""))
}

fn test(root: &Path) -> Result<Report> {
    if answers(cargo(root).args(["nextest", "--version"])) {
        let mut nextest = cargo(root);
        nextest.args([
            "nextest",
            "run",
            "--release",
            "--workspace",
            "--locked",
            "--no-fail-fast",
            "--color=never",
            "-E",
            WITHOUT_CRASHES,
        ]);
        return counted(&mut nextest, Runner::Nextest);
    }
    let mut libtest = cargo(root);
    libtest.args([
        "test",
        "--release",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--color=never",
        "--all-targets",
        "--",
        "--skip",
        "crash::",
    ]);
    let mut report = counted(&mut libtest, Runner::Libtest)?;
    "cargo-nextest is not installed: ran cargo test".clone_into(&mut report.note);
    Ok(report)
}

/// Whether the command runs and succeeds; what it prints is dropped.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// Runs the command with our output and no input.
pub(crate) fn status(command: &mut Command) -> Result<Report> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("running {command:?}"))?;
    Ok(Report::new(if status.success() { Verdict::Passed } else { Verdict::Failed }, ""))
}

/// Like [`status`], and counts the tests that the output reports on.
fn counted(command: &mut Command, runner: Runner) -> Result<Report> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("running {command:?}"))?;
    let stdout = child.stdout.take().context("the child has no standard output")?;
    let stderr = child.stderr.take().context("the child has no standard error")?;
    let mut report = std::thread::scope(|scope| {
        let errors = scope.spawn(|| forward(stderr, std::io::stderr(), runner));
        let mut tally = forward(stdout, std::io::stdout(), runner)?;
        tally += errors.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        anyhow::Ok(Report { tally, ..Report::new(Verdict::Passed, tally.to_string()) })
    })?;
    if !child.wait()?.success() {
        report.verdict = Verdict::Failed;
    }
    Ok(report)
}

/// Copies lines as they come, and counts.
fn forward(from: impl Read, mut to: impl Write, runner: Runner) -> Result<Tally> {
    let mut from = BufReader::new(from);
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        tally += runner.tally(&String::from_utf8_lossy(&line)).unwrap_or_default();
        line.clear();
    }
    to.flush()?;
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributing_names_every_stage_in_its_order() {
        let text = include_str!("../../CONTRIBUTING.md");
        let list = text.split("The stages are ").nth(1).unwrap();
        let list = list.split("To go on after").next().unwrap();
        let places = STAGES.map(|stage| list.find(&format!("`{}`", stage.name)));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    }

    #[test]
    fn a_run_begins_at_the_stage_named() {
        let names: Vec<&str> = stages_from("deny").unwrap().iter().map(|it| it.name).collect();
        assert_eq!(names, ["deny", "test", "crash", "bench"]);
        assert_eq!(stages_from(FIRST_STAGE).unwrap().len(), STAGES.len());
    }

    #[test]
    fn an_unknown_stage_is_refused_with_the_names_of_all() {
        let Err(error) = stages_from("lint") else { panic!("a stage named `lint` was found") };
        assert!(
            error
                .to_string()
                .ends_with("prerequisites, fmt, clippy, tidy, deny, test, crash, bench")
        );
    }

    #[test]
    fn lines_are_forwarded_whole_and_counted() {
        let printed = "x\n  Summary [  1s] 2 tests run: 1 passed, 1 failed, 0 skipped\nlast";
        let mut copy = Vec::new();
        let tally = forward(printed.as_bytes(), &mut copy, Runner::Nextest).unwrap();
        assert_eq!(copy, printed.as_bytes());
        assert_eq!(tally, Tally { passed: 1, failed: 1 });
    }

    #[test]
    fn a_command_that_fails_fails_its_stage_and_keeps_its_count() {
        let print = "echo ' Summary [ 1s] 4 tests run: 3 passed, 1 failed' >&2; exit 100";
        let report = counted(Command::new("sh").args(["-c", print]), Runner::Nextest).unwrap();
        assert_eq!(report.verdict, Verdict::Failed);
        assert_eq!(report.tally, Tally { passed: 3, failed: 1 });
    }

    #[test]
    fn a_command_that_is_missing_does_not_answer() {
        assert!(!answers(&mut Command::new("chancery-no-such-command")));
        assert!(answers(Command::new("sh").args(["-c", "exit 0"])));
    }
}
