//! `rollout`: how rotations go, and what people say of them.

pub(crate) mod evidence;
mod history;
mod shown;
mod steps;
mod verify_evidence;
mod waiting;
mod watched;

use anyhow::anyhow;
use chancery_api::http::commands::overridable_of;
use chancery_api::http::replies::{AnswerObject, CommandAnswer, RolloutObject};
use chancery_client::Client;
use chancery_core::command::Command;
use chancery_core::id::RolloutId;
use chancery_core::name::Name;
use chancery_core::rollout::{Order, Overridable};
use clap::{Args, Subcommand};

use crate::cli::Shared;
use crate::commands::key::key;
use crate::commands::{RepeatArgs, command, read, unexpected};
use crate::connection;
use crate::exit::Failure;

/// Follow rotations, hold them back, or let them go on.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery rollout list
  chancery rollout show invoices
  chancery rollout watch invoices
  chancery rollout rollback invoices
  chancery rollout override invoices quiet
  chancery rollout steps invoices
  chancery rollout history invoices
  chancery rollout evidence invoices --out invoices.evidence
  chancery rollout verify-evidence invoices.evidence --policy log.policy

A rollout is named by its id, or by the key that it moves. One begins with `chancery rotate`."
)]
pub(crate) struct RolloutArgs {
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, Subcommand)]
enum RolloutCommand {
    /// List the latest rollout of each key.
    #[command(after_help = "Example:\n  chancery rollout list")]
    List,
    /// Show one rollout: its stage, and what that waits for.
    #[command(after_help = "Example:\n  chancery rollout show invoices")]
    Show(Named),
    /// Go on showing it, until it is over. It lasts through restarts of the service.
    #[command(after_help = "Example:\n  chancery rollout watch invoices")]
    Watch(Named),
    /// Have it stay where it is. Triggers go on acting.
    #[command(after_help = "Example:\n  chancery rollout pause invoices")]
    Pause(Ordered),
    /// Let a paused one go on.
    #[command(after_help = "Example:\n  chancery rollout resume invoices")]
    Resume(Ordered),
    /// End a stage that waits for nothing but a person.
    #[command(after_help = "Example:\n  chancery rollout advance invoices")]
    Advance(Ordered),
    AdvanceWaiting(waiting::WaitingArgs),
    /// Have the version there was protect for all again. What the new one made stays verifiable.
    #[command(after_help = "Example:\n  chancery rollout rollback invoices")]
    Rollback(Ordered),
    /// Give it up, likewise.
    #[command(after_help = "Example:\n  chancery rollout abort invoices")]
    Abort(Ordered),
    Override(Passed),
    /// Show the steps that it took: when, from where to where, and why.
    #[command(after_help = "Example:\n  chancery rollout steps invoices")]
    Steps(Named),
    /// List the rollouts of a key of which steps are kept, the latest first.
    #[command(after_help = "\
Example:
  chancery rollout history invoices

`rollout steps` and `rollout evidence` take each of their ids. The last 128 steps of a key are kept.")]
    History {
        /// The key.
        key: Name,
    },
    Evidence(evidence::EvidenceArgs),
    VerifyEvidence(verify_evidence::VerifyEvidenceArgs),
}

#[derive(Args, Debug)]
struct Named {
    /// The rollout's id, or its key's name.
    #[arg(value_name = "ROLLOUT")]
    rollout: String,
}

#[derive(Args, Debug)]
struct Ordered {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Have it go past a gate, in your name and on record.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery rollout override invoices acknowledged
  chancery rollout override invoices quiet
  chancery rollout override cards counted

acknowledged: verifiers that have not acknowledged the new version may refuse what it makes. quiet: something of the old
version was seen of late, or nobody looks. counted: something is encrypted under the old version, or nobody counts.")]
struct Passed {
    #[command(flatten)]
    named: Named,
    /// Which gate: acknowledged, quiet or counted.
    #[arg(value_parser = gate)]
    gate: Overridable,
    #[command(flatten)]
    repeat: RepeatArgs,
}

fn gate(text: &str) -> Result<Overridable, String> {
    overridable_of(text).ok_or_else(|| "one of acknowledged, quiet, counted".into())
}

/// Carries `rollout` out.
pub(crate) fn run(shared: &Shared, args: &RolloutArgs) -> Result<(), Failure> {
    if let RolloutCommand::VerifyEvidence(args) = &args.command {
        return verify_evidence::run(shared, args);
    }
    let client = connection::client(shared)?;
    let ordered = |args: &Ordered, asked| order(shared, &client, (&args.named, args.repeat), asked);
    match &args.command {
        RolloutCommand::List => shown::list(shared, &all(&client)?),
        RolloutCommand::Show(named) => {
            let rollout = show(&client, named.id(&client)?)?;
            shown::one(shared, &rollout, None)
        }
        RolloutCommand::Watch(named) => watch(shared, &client, named.id(&client)?),
        RolloutCommand::Pause(args) => ordered(args, Order::Pause),
        RolloutCommand::Resume(args) => ordered(args, Order::Resume),
        RolloutCommand::Advance(args) => ordered(args, Order::Advance),
        RolloutCommand::AdvanceWaiting(args) => waiting::run(shared, &client, args),
        RolloutCommand::Rollback(args) => ordered(args, Order::RollBack),
        RolloutCommand::Abort(args) => ordered(args, Order::Abort),
        RolloutCommand::Override(args) => {
            order(shared, &client, (&args.named, args.repeat), Order::Override(args.gate))
        }
        RolloutCommand::Steps(named) => {
            steps::show_all(shared, &steps::read_all(&client, named.id(&client)?)?)
        }
        RolloutCommand::History { key } => history::run(shared, &client, key),
        RolloutCommand::Evidence(args) => evidence::run(shared, &client, args),
        RolloutCommand::VerifyEvidence(args) => verify_evidence::run(shared, args),
    }
}

impl Named {
    /// The rollout that is meant.
    fn id(&self, client: &Client) -> Result<RolloutId, Failure> {
        if let Ok(id) = self.rollout.parse() {
            return Ok(id);
        }
        let name: Name = self.rollout.parse().map_err(|_| {
            let what = "a rollout is named by its id, or by the name of the key that it moves";
            Failure::Usage(anyhow!(what))
        })?;
        if let Some(id) = key(client, &name)?.rollout {
            return Ok(id);
        }
        let latest = all(client)?.into_iter().find(|rollout| rollout.key == name);
        let latest = latest.map(|rollout| rollout.id);
        latest.ok_or_else(|| Failure::Failed(anyhow!("no rollout has moved `{name}`")))
    }
}

fn order(
    shared: &Shared,
    client: &Client,
    (named, repeat): (&Named, RepeatArgs),
    order: Order,
) -> Result<(), Failure> {
    let asked = Command::OrderRollout { rollout: named.id(client)?, order };
    told(shared, &command(client, &asked, repeat.operation()?)?).map(|_| ())
}

/// Shows the rollout that a command was answered with.
pub(crate) fn told(shared: &Shared, answer: &CommandAnswer) -> Result<RolloutId, Failure> {
    let AnswerObject::Rollout(rollout) = &answer.answer else { return Err(unexpected()) };
    shown::one(shared, rollout, answer.log_index)?;
    Ok(rollout.id)
}

/// What a rollout waits for now, in a few words.
pub(crate) fn waits_for(client: &Client, id: RolloutId) -> Result<String, Failure> {
    Ok(shown::waits(&show(client, id)?))
}

/// A duration for people: the largest two units of it.
pub(crate) fn about(ms: u64) -> String {
    shown::about(ms)
}

/// Goes on showing a rollout.
pub(crate) fn watch(shared: &Shared, client: &Client, id: RolloutId) -> Result<(), Failure> {
    watched::run(shared, client, id)
}

fn show(client: &Client, rollout: RolloutId) -> Result<RolloutObject, Failure> {
    match read(client, &Command::ShowRollout { rollout })? {
        AnswerObject::Rollout(rollout) => Ok(*rollout),
        _ => Err(unexpected()),
    }
}

/// Reads page after page.
fn all(client: &Client) -> Result<Vec<RolloutObject>, Failure> {
    let mut rollouts: Vec<RolloutObject> = Vec::new();
    loop {
        let after = rollouts.last().map(|rollout| rollout.key.clone());
        let answer = read(client, &Command::ListRollouts { after })?;
        let AnswerObject::Rollouts(page) = answer else { return Err(unexpected()) };
        let is_last = !page.more || page.rollouts.is_empty();
        rollouts.extend(page.rollouts);
        if is_last {
            return Ok(rollouts);
        }
    }
}
