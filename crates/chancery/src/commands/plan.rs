//! `plan`: how a key is rotated, stage by stage, as a text that is checked before anybody approves it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use chancery_core::purpose::Purpose;
use chancery_core::rollout::{Builtin, Cause, Finding, Plan, Subject};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::Shared;
use crate::exit::Failure;
use crate::files::read_text;
use crate::plan_text::{PLAN_BYTES_MAX, Written, text};
use crate::render::{View, print, show};

/// Look at plans of rotations.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery plan show standard > mine.toml
  chancery plan check mine.toml

A plan that comes with the service is named: standard, careful, emergency, migration, quiet. Any other is a file, also one of
such a name if it is written ./standard."
)]
pub(crate) struct PlanArgs {
    #[command(subcommand)]
    command: PlanCommand,
}

#[derive(Debug, Subcommand)]
enum PlanCommand {
    Check(CheckArgs),
    /// Print a plan as the text of a file.
    #[command(after_help = "Example:\n  chancery plan show careful > mine.toml")]
    Show {
        /// A file, or the name of a plan that comes with the service.
        #[arg(value_name = "FILE|NAME")]
        plan: PathBuf,
    },
}

/// Check a plan: everything that is wrong with it, each with its line and the rule that it breaks.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery plan check mine.toml
  chancery plan check migration --purpose sign.dsse:application/vnd.in-toto+json

Nothing is asked of a service. It exits with 1 if anything is wrong.")]
struct CheckArgs {
    /// A file, or the name of a plan that comes with the service.
    #[arg(value_name = "FILE|NAME")]
    plan: PathBuf,
    /// Check it for a key of this purpose too: whether its format can hold what the plan asks of it.
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<Purpose>,
}

/// Carries `plan` out.
pub(crate) fn run(shared: &Shared, args: &PlanArgs) -> Result<(), Failure> {
    match &args.command {
        PlanCommand::Check(args) => check(shared, args),
        PlanCommand::Show { plan } => Ok(print(text(&load(plan)?.plan).as_bytes())?),
    }
}

/// A plan, out of a file or as it comes with the service.
pub(crate) fn load(plan: &Path) -> Result<Written, Failure> {
    let builtin = plan.to_str().and_then(|name| Builtin::named(&name.parse().ok()?));
    let read = match builtin {
        Some(builtin) => text(&builtin.plan().context("that plan is not whole")?),
        None => read_text(plan, PLAN_BYTES_MAX)?,
    };
    let written = Written::read(&read);
    written.map_err(|wrong| Failure::Failed(anyhow!("`{}`, {wrong}", plan.display())))
}

fn check(shared: &Shared, args: &CheckArgs) -> Result<(), Failure> {
    let written = load(&args.plan)?;
    let findings = match &args.purpose {
        None => written.plan.check(),
        Some(purpose) => written.plan.check_for(&Subject {
            purpose,
            cause: Cause::Cryptoperiod,
            remaining_ms: None,
        }),
    };
    show(shared.format, &stages(&written.plan), &as_json(&written, &findings))?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(anyhow!("{}", described(&args.plan, &written, &findings))))
}

/// What is wrong with a plan, a line for each.
pub(crate) fn described(plan: &Path, written: &Written, findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let (line, rule) = (written.line(finding), finding.rule);
        format!("  line {line}: {} [{}]", rule.advice(), rule.code())
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("`{}` is no plan that is carried out:\n{lines}", plan.display())
}

fn stages(plan: &Plan) -> View {
    let rows = plan.stages.iter().map(|stage| {
        let percent = f64::from(stage.fraction.ppm()) / 10_000.0;
        vec![
            stage.name.code().to_owned(),
            format!("{percent} %"),
            crate::plan_text::duration_text(stage.min_ms),
            crate::plan_text::duration_text(stage.max_ms),
            stage.min_samples.to_string(),
            stage.triggers.len().to_string(),
        ]
    });
    let head = vec!["stage", "share", "at least", "at most", "samples", "triggers"];
    View::Rows { head, rows: rows.collect() }
}

fn as_json(written: &Written, findings: &[Finding]) -> Value {
    let findings = findings.iter().map(|finding| {
        json!({
            "line": written.line(finding),
            "place": finding.place.to_string(),
            "rule": finding.rule.code(),
            "advice": finding.rule.advice(),
        })
    });
    let stages = written.plan.stages.iter().map(|stage| {
        json!({
            "name": stage.name.code(),
            "fraction_ppm": stage.fraction.ppm(),
            "min_ms": stage.min_ms,
            "max_ms": stage.max_ms,
            "min_samples": stage.min_samples,
            "triggers": stage.triggers.len(),
        })
    });
    json!({
        "plan": written.plan.name.as_str(),
        "stages": stages.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}
