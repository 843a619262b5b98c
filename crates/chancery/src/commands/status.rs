//! `status`: how the service stands.

use chancery_api::http::replies::{AnswerObject, StatusObject};
use chancery_core::command::Command;
use clap::Args;

use crate::cli::Shared;
use crate::commands::{answer_json, read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::parse;
use crate::render::{View, show};

/// Say how the service stands, and what asks for attention.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery status
  chancery status --format json")]
pub(crate) struct StatusArgs {}

/// Carries `status` out.
pub(crate) fn run(shared: &Shared, _: &StatusArgs) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    let AnswerObject::Status(status) = read(&client, &Command::ReadStatus)? else {
        return Err(unexpected());
    };
    Ok(show(shared.format, &view(&status), &answer_json(&status)?)?)
}

fn view(status: &StatusObject) -> View {
    let mut fields = vec![
        ("mode", status.mode.clone()),
        ("posture", status.posture.clone()),
        ("clock", status.clock.clone()),
        ("keys", status.keys.to_string()),
        ("epoch", format!("{}.{}", status.epoch.generation, status.epoch.number)),
        ("log", status.origin.clone()),
        ("node", status.node.to_string()),
        ("log size", format!("{} records in {} frames", status.log_size, status.frames)),
        ("lock record", format!("{} records in {}", status.locked_size, status.lock_record)),
        ("log root", parse::hex(&status.log_root.0)),
        ("incarnation", status.incarnation.to_string()),
        ("key memory", status.arena.clone()),
    ];
    if status.witnesses != "none" {
        let kept = format!("{}, {} records cosigned", status.witnesses, status.witnessed_size);
        fields.push(("witnesses", kept));
    }
    let others = status.others.iter();
    fields.extend(others.map(|other| ("remembers", format!("{}: {}", other.name, other.standing))));
    fields.extend(status.advice.iter().map(|advice| ("to do", advice.clone())));
    View::Fields(fields)
}
