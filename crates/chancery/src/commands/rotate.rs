//! `rotate`: another version of a key comes in, by a rollout.

use std::path::PathBuf;

use anyhow::anyhow;
use chancery_core::command::Command;
use chancery_core::name::Name;
use chancery_core::rollout::{Cause, Rotation};
use chancery_core::suite::Suite;
use clap::Args;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, command, plan, rollout};
use crate::connection;
use crate::exit::Failure;

/// Rotate a key: a new version is published, and comes to protect stage by stage, as a plan says.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery rotate invoices
  chancery rotate invoices --plan careful --watch
  chancery rotate invoices --plan mine.toml --reason finding
  chancery rotate invoices --plan emergency --reason compromise
  chancery rotate releases --plan migration --reason migration --algorithm ml-dsa-65

Plans that come with the service: standard, careful, emergency, migration, quiet (`chancery plan show NAME`). Any other is a
file, also one of such a name if it is written ./standard. The version there is stays Active until the stage `retire`:
until then `chancery rollout rollback` has it protect for all again.

Reasons: cryptoperiod, use-count, finding, migration, requested, compromise, inoperable, drill. After `compromise` there is
no way back onto the version there was: the rollout pauses, or a standby takes over.")]
pub(crate) struct RotateArgs {
    /// The key.
    key: Name,
    /// How: a file, or the name of a plan that comes with the service.
    #[arg(long, value_name = "FILE|NAME", default_value = "standard")]
    plan: PathBuf,
    /// Why.
    #[arg(long, value_name = "CODE", default_value = "requested")]
    reason: Cause,
    /// The new version's algorithm, if it is to be another.
    #[arg(long)]
    algorithm: Option<Suite>,
    /// Bring in a version that the key has, instead of a new one.
    #[arg(long, value_name = "NUMBER", conflicts_with = "algorithm")]
    version: Option<u32>,
    /// Go on showing how it goes, until it is over.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Carries `rotate` out.
pub(crate) fn run(shared: &Shared, args: &RotateArgs) -> Result<(), Failure> {
    let written = plan::load(&args.plan)?;
    let findings = written.plan.check();
    if !findings.is_empty() {
        let what = plan::described(&args.plan, &written, &findings);
        return Err(Failure::Failed(anyhow!("{what}")));
    }
    let asked = Command::Rotate(Rotation {
        key: args.key.clone(),
        plan: written.plan,
        cause: args.reason,
        suite: args.algorithm,
        version: args.version,
    });
    let client = connection::client(shared)?;
    let answer = command(&client, &asked, args.repeat.operation()?)?;
    let rollout = rollout::told(shared, &answer)?;
    if args.watch { rollout::watch(shared, &client, rollout) } else { Ok(()) }
}
