//! `verifier`: who verifies with trust bundles, and a process that does.

mod run;
mod served;

use chancery_api::http::replies::{AnswerObject, VerifierObject};
use chancery_core::command::Command;
use chancery_core::id::PrincipalId;
use chancery_core::name::Name;
use chancery_core::verifier::NewVerifier;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, answer_json, command, read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::render::{View, show};

/// Register verifiers, list what they say, and run one.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Example:
  chancery principal create gateway --role verifier --out gateway.toml
  chancery verifier register PRINCIPAL --key invoices
  chancery verifier run --context-file gateway.toml --state gateway --pins bundle.pins
  chancery verifier list

What is rolled out waits until registered verifiers have acknowledged the bundle that shows it."
)]
pub(crate) struct VerifierArgs {
    #[command(subcommand)]
    command: VerifierCommand,
}

#[derive(Debug, Subcommand)]
enum VerifierCommand {
    Register(RegisterArgs),
    Remove(RemoveArgs),
    /// List the registered verifiers, and what each said last.
    #[command(after_help = "Example:\n  chancery verifier list")]
    List,
    Run(run::RunArgs),
}

/// Register a verifier. Rollouts of its keys wait for it from now on.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  chancery verifier register 01990000-0000-7000-8000-000000000000 --key invoices"
)]
struct RegisterArgs {
    /// The principal that speaks for it, of the role `verifier`.
    principal: PrincipalId,
    /// A key that it verifies for; all of the tenant, if none is named.
    #[arg(long, value_name = "NAME")]
    key: Vec<Name>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Remove a verifier. Rollouts no longer wait for it.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery verifier remove 01990000-0000-7000-8000-000000000000")]
struct RemoveArgs {
    /// The principal that speaks for it.
    principal: PrincipalId,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Carries `verifier` out.
pub(crate) fn run(shared: &Shared, args: &VerifierArgs) -> Result<(), Failure> {
    match &args.command {
        VerifierCommand::Register(args) => {
            let (principal, keys) = (args.principal, args.key.clone());
            let asked = Command::RegisterVerifier(NewVerifier { principal, keys });
            change(shared, &asked, (principal, "registered"), args.repeat)
        }
        VerifierCommand::Remove(args) => {
            let principal = args.principal;
            let asked = Command::RemoveVerifier { principal };
            change(shared, &asked, (principal, "removed"), args.repeat)
        }
        VerifierCommand::List => list(shared),
        VerifierCommand::Run(args) => run::run(shared, args),
    }
}

fn change(
    shared: &Shared,
    asked: &Command,
    (principal, done): (PrincipalId, &'static str),
    repeat: RepeatArgs,
) -> Result<(), Failure> {
    let operation = repeat.operation()?;
    let answer = command(&connection::client(shared)?, asked, operation)?;
    let AnswerObject::Done = answer.answer else { return Err(unexpected()) };
    let view = View::Fields(vec![
        ("verifier", principal.to_string()),
        ("now", done.into()),
        ("operation", operation.to_string()),
    ]);
    let json = json!({
        "outcome": "committed",
        "operation_id": operation.to_string(),
        "principal": principal.to_string(),
        "now": done,
    });
    Ok(show(shared.format, &view, &json)?)
}

fn list(shared: &Shared) -> Result<(), Failure> {
    let answer = read(&connection::client(shared)?, &Command::ListVerifiers)?;
    let AnswerObject::Verifiers(verifiers) = answer else { return Err(unexpected()) };
    let head = vec![
        "name",
        "principal",
        "keys",
        "bundle",
        "epoch",
        "heard",
        "verified",
        "failed",
        "unknown",
    ];
    let view = View::Rows { head, rows: verifiers.iter().map(row).collect() };
    Ok(show(shared.format, &view, &answer_json(&verifiers)?)?)
}

fn row(verifier: &VerifierObject) -> Vec<String> {
    let keys = if verifier.keys.is_empty() { "all".to_owned() } else { verifier.keys.join(",") };
    let mut row = vec![verifier.name.to_string(), verifier.principal.to_string(), keys];
    match &verifier.heard {
        None => row.extend(["-", "-", "never", "-", "-", "-"].map(str::to_owned)),
        Some(heard) => {
            row.extend(
                [heard.bundle, heard.as_of].map(|it| format!("{}.{}", it.generation, it.number)),
            );
            row.push(format!("{} s ago", heard.ago_ms / 1_000));
            row.extend(
                [heard.verified, heard.failed, heard.unknown].map(|count| count.to_string()),
            );
        }
    }
    row
}
