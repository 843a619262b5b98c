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

/// The state of an id that is not remembered.
const UNKNOWN_ID: &str = "unknown-id";

/// Ask what became of an operation whose id you sent.
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
    /// Show one operation of your own, for 24 hours, if you sent its id with it.
    #[command(after_help = "\
Example:
  chancery operation show 01990000-0000-7000-8000-000000000000

Remembered are ids that came with a request: every command here sends one, other callers by Idempotency-Key.
An id that the service made for a request without one is not remembered, nor is one older than 24 hours: its
record is found by `chancery audit query --operation ID`, which is how to tell that nothing was done.")]
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
    let mut fields = vec![
        ("operation", operation.id.to_string()),
        ("state", operation.state.clone()),
        ("log index", index),
    ];
    if operation.state == UNKNOWN_ID {
        let how = format!(
            "not sent by you within 24 hours; `chancery audit query --operation {id}` finds its record, if \
             the service made the id or it is older"
        );
        fields.push(("to do", how));
    }
    Ok(show(shared.format, &View::Fields(fields), &answer_json(&operation)?)?)
}
