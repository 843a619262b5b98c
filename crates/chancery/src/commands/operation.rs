//! `operation show`: what became of an operation.

use chancery_api::http::replies::AnswerObject;
use chancery_core::command::Command;
use chancery_core::id::OperationId;
use clap::{Args, Subcommand};

use crate::cli::Shared;
use crate::commands::{answer_json, read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::render::{View, show};

/// Ask what became of an operation.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Example:
  chancery operation show 01990000-0000-7000-8000-000000000000"
)]
pub(crate) struct OperationArgs {
    #[command(subcommand)]
    command: OperationCommand,
}

#[derive(Debug, Subcommand)]
enum OperationCommand {
    /// Show one operation of your own.
    #[command(after_help = "\
Example:
  chancery operation show 01990000-0000-7000-8000-000000000000

An id that the service does not know was not carried out by you within the last 24 hours.")]
    Show {
        /// The operation id.
        id: OperationId,
    },
}

/// Carries `operation` out.
pub(crate) fn run(shared: &Shared, args: &OperationArgs) -> Result<(), Failure> {
    let OperationCommand::Show { id } = args.command;
    let client = connection::client(shared)?;
    let answer = read(&client, &Command::ReadOperation { id })?;
    let AnswerObject::Operation(operation) = answer else { return Err(unexpected()) };
    let index = operation.log_index.map_or("none".into(), |index| index.to_string());
    let view = View::Fields(vec![
        ("operation", operation.id.to_string()),
        ("state", operation.state.clone()),
        ("log index", index),
    ]);
    Ok(show(shared.format, &view, &answer_json(&operation)?)?)
}
