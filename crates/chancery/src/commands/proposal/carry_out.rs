//! `proposal carry-out`: what was proposed is done, and what comes of it written.

use anyhow::{Context as _, Result};
use chancery_api::http::replies::{AnswerObject, CommandAnswer};
use chancery_client::{Client, Profile};
use chancery_core::command::Command;
use chancery_core::id::ProposalId;
use chancery_core::proposal::Proposed;
use clap::Args;
use serde_json::json;

use super::proposed;
use crate::cli::Shared;
use crate::commands::{RepeatArgs, command, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::files::{OutputArgs, Secrecy};
use crate::pending::Proposer;
use crate::render::{View, show};

/// Do what you have proposed and others have approved.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery proposal carry-out 01990000-0000-7000-8000-000000000000 --out quarter.disclosure
  chancery proposal carry-out 01990000-0000-7000-8000-000000000000 --out ada.toml

Written is what the command itself would have written: a disclosure, or the profile of a new principal, whose key was
made when it was proposed, and has stayed with this user.")]
pub(super) struct CarryOutArgs {
    /// The proposal.
    id: ProposalId,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Carries it out.
pub(super) fn run(shared: &Shared, client: &Client, args: &CarryOutArgs) -> Result<(), Failure> {
    args.output.check()?;
    let (_, proposed) = proposed(client, args.id)?;
    // Without the key that was made for it nobody could use the principal.
    let kept = match &proposed {
        Proposed::CreatePrincipal { .. } => Some(Proposer::of(&proposed)?),
        Proposed::Disclose(_) => None,
    };
    let asked = Command::CarryOut { proposal: args.id, proposed: proposed.clone() };
    let operation = args.repeat.operation()?;
    let answer = command(client, &asked, operation)?;
    match (&answer.answer, proposed, &kept) {
        (AnswerObject::Disclosure(sealed), ..) => args.output.write(Secrecy::Secret, &sealed.0)?,
        (
            AnswerObject::Principal(principal),
            Proposed::CreatePrincipal { role, .. },
            Some(kept),
        ) => {
            let signing_key = kept.seed.clone();
            let (principal, issuer) = (*principal, connection::profile(shared)?);
            let profile = Profile { principal, role, signing_key, ..issuer };
            let written = args.output.write(Secrecy::Secret, profile.to_toml().as_bytes());
            written.with_context(|| {
                format!("the principal is made; `--operation-id {operation}` writes its profile")
            })?;
            kept.forget();
        }
        _ => return Err(unexpected()),
    }
    report(shared, args, &answer)
}

fn report(shared: &Shared, args: &CarryOutArgs, answer: &CommandAnswer) -> Result<(), Failure> {
    if args.output.is_standard() {
        return Ok(());
    }
    let written = args.output.out.display().to_string();
    let record = answer.log_index.map(|index| index.to_string()).unwrap_or_default();
    let mut fields = vec![("on record as", record), ("written", written.clone())];
    let principal = match &answer.answer {
        AnswerObject::Principal(principal) => Some(principal.to_string()),
        _ => None,
    };
    fields.extend(principal.clone().map(|principal| ("principal", principal)));
    let json = json!({
        "outcome": "committed",
        "proposal": args.id.to_string(),
        "log_index": answer.log_index,
        "written": written,
        "principal": principal,
    });
    Ok(show(shared.format, &View::Fields(fields), &json)?)
}
