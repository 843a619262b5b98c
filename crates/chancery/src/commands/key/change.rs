//! Commands that make keys and change their versions.

use chancery_api::http::replies::{AnswerObject, CommandAnswer};
use chancery_core::command::Command;
use chancery_core::id::OperationId;
use chancery_core::state::KeyEvent;

use super::{CreateArgs, NumberedArgs, VersionArgs, show};
use crate::cli::Shared;
use crate::commands::{answer_json, command};
use crate::connection;
use crate::exit::Failure;
use crate::render::{self, View};

/// Carries `key create` out.
pub(super) fn create(shared: &Shared, args: &CreateArgs) -> Result<(), Failure> {
    let new = args.new.to_new_key()?;
    give(shared, &Command::CreateKey(new), args.repeat.operation()?)
}

/// Carries `key suspend`, `resume`, `deactivate` and `compromise` out.
pub(super) fn version(shared: &Shared, args: VersionArgs, event: KeyEvent) -> Result<(), Failure> {
    let operation = args.repeat.operation()?;
    give(
        shared,
        &Command::ChangeVersion { key: args.name, version: args.version, event },
        operation,
    )
}

/// Carries `key destroy` out.
pub(super) fn destroy(shared: &Shared, args: NumberedArgs) -> Result<(), Failure> {
    let operation = args.repeat.operation()?;
    give(shared, &Command::ScheduleDestruction { key: args.name, version: args.version }, operation)
}

/// Carries `key cancel-destroy` out.
pub(super) fn cancel_destroy(shared: &Shared, args: NumberedArgs) -> Result<(), Failure> {
    let operation = args.repeat.operation()?;
    give(shared, &Command::CancelDestruction { key: args.name, version: args.version }, operation)
}

/// Gives a command, and prints the key as it is afterwards.
pub(super) fn give(
    shared: &Shared,
    asked: &Command,
    operation: OperationId,
) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    let answer = command(&client, asked, operation)?;
    report(shared, &answer, operation)
}

/// Prints the key as it is after a command.
pub(super) fn report(
    shared: &Shared,
    answer: &CommandAnswer,
    operation: OperationId,
) -> Result<(), Failure> {
    let mut fields = match &answer.answer {
        AnswerObject::Key(key) => show::fields(key),
        _ => vec![("done", "yes".to_owned())],
    };
    if let Some(index) = answer.log_index {
        fields.push(("log index", index.to_string()));
    }
    fields.push(("operation", operation.to_string()));
    Ok(render::show(shared.format, &View::Fields(fields), &answer_json(answer)?)?)
}
