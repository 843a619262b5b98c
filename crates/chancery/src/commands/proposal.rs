//! `proposal`: what takes other people.
//!
//! Who approves signs the whole of what is proposed, and says its digest as they were shown it: a front that shows one
//! thing and asks for the approval of another gets none.

mod carry_out;
mod shown;

use std::time::Duration;

use anyhow::{Result, anyhow};
use chancery_api::http::replies::{AnswerObject, CommandAnswer, ProposalObject};
use chancery_client::Client;
use chancery_core::cbor;
use chancery_core::command::Command;
use chancery_core::id::ProposalId;
use chancery_core::limits::PROPOSAL_TTL_MAX;
use chancery_core::proposal::Proposed;
use chancery_crypto::primitive::sha256;
use clap::{Args, Subcommand};

use crate::cli::Shared;
use crate::commands::{RepeatArgs, command, read, unexpected};
use crate::connection;
use crate::exit::{Failure, Misuse};
use crate::parse;

/// How long a proposal can be approved and carried out, if nothing else is said: a day.
const TTL: &str = "24h";

/// Approve and carry out what takes more than one person.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery audit disclose --level tenant --from 2026-11 --recipient KEY --propose
  chancery --context-file ada.toml proposal show ID
  chancery --context-file ada.toml proposal approve ID --digest DIGEST
  chancery proposal carry-out ID --out quarter.disclosure

What takes approvals: see `chancery posture raise-approvals --help`."
)]
pub(crate) struct ProposalArgs {
    #[command(subcommand)]
    command: ProposalCommand,
}

#[derive(Debug, Subcommand)]
enum ProposalCommand {
    /// List the proposals that are remembered.
    #[command(after_help = "Example:\n  chancery proposal list")]
    List,
    /// Show one proposal, and the digest by which it is approved.
    #[command(
        after_help = "Example:\n  chancery proposal show 01990000-0000-7000-8000-000000000000"
    )]
    Show {
        /// The proposal.
        id: ProposalId,
    },
    Approve(ApproveArgs),
    Withdraw(WithdrawArgs),
    CarryOut(carry_out::CarryOutArgs),
}

/// Approve what somebody else has proposed.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery proposal approve 01990000-0000-7000-8000-000000000000 --digest DIGEST

`chancery proposal show ID` shows what it proposes, and DIGEST. Your signature covers all of it.")]
struct ApproveArgs {
    /// The proposal.
    id: ProposalId,
    /// SHA-256 of what it proposes, as it was shown.
    #[arg(long, value_name = "DIGEST", value_parser = parse::bytes32)]
    digest: [u8; 32],
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Take a proposal off the table: one's own, or one that should not be.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery proposal withdraw 01990000-0000-7000-8000-000000000000

Whoever may approve it may withdraw it. It stays on record, and cannot be taken up again.")]
struct WithdrawArgs {
    /// The proposal.
    id: ProposalId,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Whether a command is to be proposed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ProposeArgs {
    /// Propose it: others approve it (`chancery proposal`), and then you carry it out.
    #[arg(long)]
    pub(crate) propose: bool,
    /// Of `--propose`: for how long it can be approved and carried out, up to 7d.
    #[arg(long, value_name = "DURATION", default_value = TTL, value_parser = ttl, requires = "propose")]
    ttl: Duration,
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse::duration(text)?;
    if ttl > PROPOSAL_TTL_MAX { Err("a proposal lives 7d at most".into()) } else { Ok(ttl) }
}

impl ProposeArgs {
    /// The command that proposes it.
    pub(crate) fn command(self, proposed: Proposed) -> Command {
        Command::Propose { proposed, ttl_ms: chancery_core::clock::millis(self.ttl) }
    }
}

/// Carries `proposal` out.
pub(crate) fn run(shared: &Shared, args: &ProposalArgs) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    match &args.command {
        ProposalCommand::List => shown::list(shared, &all(&client)?),
        ProposalCommand::Show { id } => shown::one(shared, &find(&client, *id)?, None),
        ProposalCommand::Approve(args) => {
            let (object, proposed) = proposed(&client, args.id)?;
            if digest(&proposed) != args.digest {
                let what = format!(
                    "`--digest` is not that of what the proposal {} proposes now: look at it again (`chancery proposal show`)",
                    object.id
                );
                return Err(Misuse(what).into());
            }
            let asked = Command::Approve { proposal: args.id, proposed };
            give(shared, &client, &asked, args.repeat)
        }
        ProposalCommand::Withdraw(args) => {
            give(shared, &client, &Command::Withdraw { proposal: args.id }, args.repeat)
        }
        ProposalCommand::CarryOut(args) => carry_out::run(shared, &client, args),
    }
}

/// Gives a command that is answered with a proposal, and shows that.
pub(crate) fn give(
    shared: &Shared,
    client: &Client,
    asked: &Command,
    repeat: RepeatArgs,
) -> Result<(), Failure> {
    tell(shared, &command(client, asked, repeat.operation()?)?)
}

/// Shows the proposal that a command was answered with.
pub(crate) fn tell(shared: &Shared, answer: &CommandAnswer) -> Result<(), Failure> {
    let AnswerObject::Proposal(object) = &answer.answer else { return Err(unexpected()) };
    shown::one(shared, object, answer.log_index)
}

fn all(client: &Client) -> Result<Vec<ProposalObject>, Failure> {
    match read(client, &Command::ListProposals)? {
        AnswerObject::Proposals(proposals) => Ok(proposals),
        _ => Err(unexpected()),
    }
}

fn find(client: &Client, id: ProposalId) -> Result<ProposalObject, Failure> {
    let found = all(client)?.into_iter().find(|proposal| proposal.id == id);
    found.ok_or_else(|| Failure::Failed(anyhow!("there is no proposal `{id}` that is remembered")))
}

/// What a proposal proposes, out of what the service shows.
fn proposed(client: &Client, id: ProposalId) -> Result<(ProposalObject, Proposed), Failure> {
    let object = find(client, id)?;
    let proposed = object.proposed.clone().try_into().map_err(|_| unexpected())?;
    Ok((object, proposed))
}

/// By which what is proposed is approved: SHA-256 of its canonical encoding.
fn digest(proposed: &Proposed) -> [u8; 32] {
    sha256(&[&cbor::encode(proposed)])
}
