//! `rollout advance-waiting`: many rollouts that wait for a person alone, ended a stage each.

use chancery_api::http::replies::RolloutObject;
use chancery_client::Client;
use chancery_core::command::Command;
use chancery_core::name::Name;
use chancery_core::rollout::{Order, StageName, Word};
use clap::Args;
use serde_json::json;

use super::{all, show};
use crate::cli::Shared;
use crate::commands::{RepeatArgs, command};
use crate::exit::Failure;
use crate::render::{View, show as print};

/// The gate that waits for a person.
const PERSON: &str = "person";

/// End the stage of every rollout that is in it and waits for nothing but a person, in your name and each on record.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery rollout advance-waiting --stage soak
  chancery rollout advance-waiting --stage soak --plan quiet

The stage is named, so that nobody goes past the point of no return (the end of soak) for a thousand keys without saying so.
Each rollout is looked at before it is ordered on; one that waits for anything else stays where it is.")]
pub(super) struct WaitingArgs {
    /// The stage that they are in: canary, ramp, full, soak, retire or destroy.
    #[arg(long, value_parser = stage)]
    stage: StageName,
    /// Only those by a plan of this name.
    #[arg(long)]
    plan: Option<Name>,
}

fn stage(text: &str) -> Result<StageName, String> {
    StageName::of(text).map_err(|error| error.clone())
}

/// Orders them on, one after the other, and shows which.
pub(super) fn run(shared: &Shared, client: &Client, args: &WaitingArgs) -> Result<(), Failure> {
    let (mut advanced, mut others) = (Vec::new(), 0_usize);
    for listed in all(client)?.into_iter().filter(|rollout| is_meant(rollout, args)) {
        let rollout = show(client, listed.id)?;
        if is_meant(&rollout, args) && waits_for_a_person_alone(&rollout) {
            let asked = Command::OrderRollout { rollout: rollout.id, order: Order::Advance };
            command(client, &asked, RepeatArgs::NEVER.operation()?)?;
            advanced.push(rollout);
        } else {
            others += 1;
        }
    }
    let rows = advanced.iter().map(|it| vec![it.key.to_string(), it.id.to_string()]);
    let view = View::Rows { head: vec!["advanced", "rollout"], rows: rows.collect() };
    let of = |it: &RolloutObject| json!({"key": it.key.to_string(), "id": it.id.to_string()});
    let advanced: Vec<_> = advanced.iter().map(of).collect();
    print(shared.format, &view, &json!({"advanced": advanced, "waiting_for_more": others}))?;
    if others > 0 {
        eprintln!("{others} more in that stage wait for something else: `chancery rollout list`");
    }
    Ok(())
}

fn is_meant(rollout: &RolloutObject, args: &WaitingArgs) -> bool {
    let current = rollout.plan.stages.get(usize::from(rollout.stage));
    rollout.status == "running"
        && current.is_some_and(|current| current.name == args.stage)
        && args.plan.as_ref().is_none_or(|plan| rollout.plan.name == *plan)
}

fn waits_for_a_person_alone(rollout: &RolloutObject) -> bool {
    let mut closed = rollout.gates.iter().filter(|gate| !gate.open).peekable();
    closed.peek().is_some() && closed.all(|gate| gate.gate == PERSON)
}
