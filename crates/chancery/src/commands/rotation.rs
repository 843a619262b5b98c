//! `rotation`: which keys are rotated without anybody asking, and when.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use chancery_api::http::replies::{
    AnswerObject, KeyRotationObject, RotationsObject, UsageRuleObject,
};
use chancery_client::Client;
use chancery_core::automatic::{Automatic, Rule, RuleFor};
use chancery_core::command::Command;
use chancery_core::cryptoperiod::cryptoperiod;
use chancery_core::name::Name;
use chancery_core::purpose::Usage;
use chancery_core::rollout::Plan;
use chancery_core::suite::Suite;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, answer_json, command, plan, read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::parse;
use crate::plan_text::duration_text;
use crate::render::{View, show};

/// Over which part of the time between two rotations their beginnings are spread if nothing is said: a twelfth, a month in
/// a year.
const SPREAD_PART: u64 = 12;

/// Have keys rotated without anybody asking, and see when that is due.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery rotation set invoices --every 90d --spread 7d
  chancery rotation set --all-of sign --every 365d --plan careful --standby
  chancery rotation never offline-root
  chancery rotation list

A rule of a key comes before the rule of its usage. Rollouts that rules begin go by their plans like any other: they wait
for verifiers, go back by themselves, and `chancery rollout` shows and orders them."
)]
pub(crate) struct RotationArgs {
    #[command(subcommand)]
    command: RotationCommand,
}

#[derive(Debug, Subcommand)]
enum RotationCommand {
    Set(SetArgs),
    /// Have a key, or keys of a usage, not rotated automatically.
    #[command(after_help = "Example:\n  chancery rotation never offline-root")]
    Never(OfArgs),
    /// Take a rule back: a key's, so that the rule of its usage holds; a usage's, so that there is none.
    #[command(after_help = "Example:\n  chancery rotation unset invoices")]
    Unset(OfArgs),
    /// List which keys are rotated automatically, and when that is due.
    #[command(after_help = "Example:\n  chancery rotation list")]
    List,
}

/// Which keys a rule is of.
#[derive(Args, Debug)]
struct WhichArgs {
    /// The key.
    #[arg(required_unless_present = "all_of", conflicts_with = "all_of")]
    key: Option<Name>,
    /// Every key of this usage that has no rule of its own: sign, encrypt, mac, derive or wrap.
    #[arg(long, value_name = "USAGE")]
    all_of: Option<Usage>,
}

#[derive(Args, Debug)]
struct OfArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Have a key, or keys of a usage, rotated automatically.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery rotation set invoices --every 90d --spread 7d
  chancery rotation set --all-of encrypt --after-uses 1000000000
  chancery rotation set --all-of sign --algorithm ml-dsa-65 --plan migration

A rollout begins when a version has protected for so long, was used so often, has another algorithm than the rule says, or
was imported (with --replace-imported). Without --every it begins so that the plan can be over within its cryptoperiod, or
that of NIST SP 800-57 for the usage if that is shorter: sign 3 years; encrypt, mac and wrap 2; derive 1.")]
struct SetArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// How long a version protects at most before a rollout begins, by the time for which the service has run.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    every: Option<Duration>,
    /// Over how long before that the rollouts of many keys are spread; a twelfth of the time if not said.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    spread: Option<Duration>,
    /// Rotate after so many uses of a version, of whatever kind.
    #[arg(long, value_name = "NUMBER")]
    after_uses: Option<u64>,
    /// Rotate away from versions of another algorithm than this.
    #[arg(long)]
    algorithm: Option<Suite>,
    /// Rotate away from versions that were imported, of which copies may remain elsewhere.
    #[arg(long)]
    replace_imported: bool,
    /// Have the next version published before it is needed, so that an emergency need not wait for verifiers.
    #[arg(long)]
    standby: bool,
    /// How: a file, or the name of a plan that comes with the service.
    #[arg(long, value_name = "FILE|NAME", default_value = "standard")]
    plan: PathBuf,
    #[command(flatten)]
    repeat: RepeatArgs,
}

impl WhichArgs {
    fn rule_for(&self) -> Result<RuleFor, Failure> {
        match (&self.key, self.all_of) {
            (Some(key), None) => Ok(RuleFor::Key(key.clone())),
            (None, Some(usage)) => Ok(RuleFor::Usage(usage)),
            _ => Err(Failure::Failed(anyhow!("name one key, or a usage with --all-of"))),
        }
    }
}

/// Carries `rotation` out.
pub(crate) fn run(shared: &Shared, args: &RotationArgs) -> Result<(), Failure> {
    match &args.command {
        RotationCommand::Set(args) => set(shared, args),
        RotationCommand::Never(args) => {
            change(shared, &args.which, (Rule::Never, "never rotated"), args.repeat)
        }
        RotationCommand::Unset(args) => {
            change(shared, &args.which, (Rule::Unset, "without a rule"), args.repeat)
        }
        RotationCommand::List => list(shared),
    }
}

fn set(shared: &Shared, args: &SetArgs) -> Result<(), Failure> {
    let written = plan::load(&args.plan)?;
    let findings = written.plan.check();
    if !findings.is_empty() {
        let what = plan::described(&args.plan, &written, &findings);
        return Err(Failure::Failed(anyhow!("{what}")));
    }
    let every_ms = match args.every {
        Some(every) => parse::milliseconds(every),
        None => latest_ms(&written.plan, usage(&connection::client(shared)?, &args.which)?),
    };
    let rule = Automatic {
        every_ms,
        spread_ms: args.spread.map_or(every_ms / SPREAD_PART, parse::milliseconds),
        uses: args.after_uses,
        suite: args.algorithm,
        replaces_imported: args.replace_imported,
        stands_by: args.standby,
        plan: written.plan,
    };
    rule.check().map_err(|error| Failure::Failed(error.into()))?;
    let rule = Rule::Automatic(Box::new(rule));
    change(shared, &args.which, (rule, "rotated automatically"), args.repeat)
}

/// How late a rollout may begin that is to be over within the cryptoperiod.
fn latest_ms(plan: &Plan, usage: Usage) -> u64 {
    let period_ms = parse::milliseconds(cryptoperiod(usage)).min(plan.bounds.cryptoperiod_ms);
    period_ms.saturating_sub(plan.shortest_ms())
}

fn usage(client: &Client, which: &WhichArgs) -> Result<Usage, Failure> {
    if let Some(usage) = which.all_of {
        return Ok(usage);
    }
    let RuleFor::Key(key) = which.rule_for()? else { return Err(unexpected()) };
    let AnswerObject::Key(key) = read(client, &Command::ShowKey { key })? else {
        return Err(unexpected());
    };
    Ok(key.purpose.usage())
}

fn change(
    shared: &Shared,
    which: &WhichArgs,
    (rule, now): (Rule, &'static str),
    repeat: RepeatArgs,
) -> Result<(), Failure> {
    let rule_for = which.rule_for()?;
    let (kind, name) = match &rule_for {
        RuleFor::Key(key) => ("key", key.to_string()),
        RuleFor::Usage(usage) => ("usage", usage.to_string()),
    };
    let operation = repeat.operation()?;
    let asked = Command::SetRule { rule_for, rule };
    let answer = command(&connection::client(shared)?, &asked, operation)?;
    let AnswerObject::Done = answer.answer else { return Err(unexpected()) };
    let view = View::Fields(vec![
        (kind, name.clone()),
        ("now", now.into()),
        ("operation", operation.to_string()),
    ]);
    let json = json!({
        "outcome": "committed",
        "operation_id": operation.to_string(),
        kind: name,
        "now": now,
    });
    Ok(show(shared.format, &view, &json)?)
}

fn list(shared: &Shared) -> Result<(), Failure> {
    let all = pages(&connection::client(shared)?)?;
    let head = vec!["key", "version", "rule", "due", "standby", "held"];
    let rules = all.rules.iter().map(rule_row);
    let rows = rules.chain(all.keys.iter().map(key_row)).collect();
    Ok(show(shared.format, &View::Rows { head, rows }, &answer_json(&all)?)?)
}

/// Reads page after page.
fn pages(client: &Client) -> Result<RotationsObject, Failure> {
    let mut all = RotationsObject { rules: Vec::new(), keys: Vec::new(), more: true };
    while all.more {
        let after = all.keys.last().map(|key| key.key.clone());
        let answer = read(client, &Command::ListRotations { after })?;
        let AnswerObject::Rotations(page) = answer else { return Err(unexpected()) };
        all.more = page.more && !page.keys.is_empty();
        all.rules.extend(page.rules);
        all.keys.extend(page.keys);
    }
    Ok(all)
}

/// The rule of a usage, among keys: by which it is rotated, where keys have when.
fn rule_row(rule: &UsageRuleObject) -> Vec<String> {
    let what = match &rule.automatic {
        None => "never".to_owned(),
        Some(automatic) => {
            let uses = automatic.uses.map(|uses| format!(" or {uses} uses"));
            let every = about(automatic.every_ms);
            format!("every {every}{}, plan {}", uses.unwrap_or_default(), automatic.plan.name)
        }
    };
    vec![format!("(all of {})", rule.usage), "-".into(), what, "-".into(), "-".into(), "-".into()]
}

fn key_row(key: &KeyRotationObject) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        key.key.to_string(),
        key.version.to_string(),
        key.rule_of.as_ref().map_or_else(|| "none".into(), |of| format!("its {of}'s")),
        or_none(key.left_ms.map(due)),
        or_none(key.standby.map(|version| version.to_string())),
        or_none(key.held.clone()),
    ]
}

/// How long it is until then.
fn due(left_ms: u64) -> String {
    if left_ms == 0 { "now".into() } else { format!("in {}", about(left_ms)) }
}

/// A duration in whole days, or in whole seconds if it is shorter than one.
fn about(ms: u64) -> String {
    const DAY_MS: u64 = 86_400_000;
    if ms >= DAY_MS { format!("{} d", ms / DAY_MS) } else { duration_text(ms - ms % 1_000) }
}
