//! `posture`: how strong things must be.

use anyhow::Result;
use chancery_core::command::Command;
use chancery_core::limits::APPROVALS_MAX;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, command};
use crate::connection;
use crate::exit::Failure;
use crate::render::{View, show};

/// Change how strong things must be.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "Example:\n  chancery posture raise-approvals 1"
)]
pub(crate) struct PostureArgs {
    #[command(subcommand)]
    command: PostureCommand,
}

#[derive(Debug, Subcommand)]
enum PostureCommand {
    RaiseApprovals(RaiseArgs),
}

/// Raise how many people besides the proposer approve what takes approvals. It cannot be lowered.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery principal create ada --role approver --out ada.toml
  chancery posture raise-approvals 1

From then on nobody makes a principal, discloses audit records or retires the log alone: these are proposed
(`--propose`), approved by others (`chancery proposal approve`), and carried out by who has proposed them. Operators and
approvers approve, nobody their own. There must be more of them than approvals are asked for. A service that begins
is `solo`: nobody approves anything.")]
struct RaiseArgs {
    /// So many from now on.
    #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(APPROVALS_MAX)))]
    approvals: u8,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Carries `posture` out.
pub(crate) fn run(shared: &Shared, args: &PostureArgs) -> Result<(), Failure> {
    let PostureCommand::RaiseApprovals(args) = &args.command;
    let client = connection::client(shared)?;
    let asked = Command::RaiseApprovals { approvals: args.approvals };
    let operation = args.repeat.operation()?;
    let answer = command(&client, &asked, operation)?;
    let index = answer.log_index.map(|index| index.to_string()).unwrap_or_default();
    let view = View::Fields(vec![
        ("approvals", args.approvals.to_string()),
        ("on record as", index),
        ("operation", operation.to_string()),
    ]);
    let json = json!({
        "outcome": "committed",
        "operation_id": operation.to_string(),
        "approvals": args.approvals,
        "log_index": answer.log_index,
    });
    Ok(show(shared.format, &view, &json)?)
}
