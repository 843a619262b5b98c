//! `reprotect`: campaigns that encrypt what lies somewhere again, under the version that protects now.

mod shown;

use std::path::PathBuf;

use anyhow::anyhow;
use chancery_api::http::replies::{AnswerObject, KeyCensusObject};
use chancery_client::Client;
use chancery_core::campaign::{CampaignOrder, CampaignState};
use chancery_core::command::{CensusQuery, Command};
use chancery_core::name::Name;
use chancery_core::purpose::Usage;
use clap::{Args, Subcommand};

use crate::cli::Shared;
use crate::commands::census::OthersArgs;
use crate::commands::{RepeatArgs, Use, UseArgs, command, read, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::reprotect::{Campaigner, Ended, Lock, Place, campaign, census_of, given, latest};

/// Encrypt ciphertexts again, under the key version that protects now, in a campaign that can be stopped and taken up.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery reprotect start cards --inventory warehouse --handle cards.handle /var/lib/cards
  chancery reprotect status cards
  chancery reprotect pause cards --inventory warehouse
  chancery reprotect resume cards --inventory warehouse --handle cards.handle /var/lib/cards

The handle permits `rewrap`. No plaintext leaves the service. Ctrl-C and kill are harmless: each ciphertext is wholly the
old or wholly the new one, and `resume` goes on. What cannot be encrypted again stays as it is, is listed in
PLACE.reprotect/failures.ndjson, and ends the campaign as incomplete."
)]
pub(crate) struct ReprotectArgs {
    #[command(subcommand)]
    command: ReprotectCommand,
}

#[derive(Debug, Subcommand)]
enum ReprotectCommand {
    /// Scan a place, declare it, and encrypt again what another version encrypted.
    #[command(
        after_help = "Example:\n  chancery reprotect start cards --inventory warehouse --handle cards.handle /var/lib/cards"
    )]
    Start(WorkArgs),
    /// Show campaigns, and apart from one another: new use, what is left to encrypt again, and what retiring waits for.
    #[command(after_help = "Example:\n  chancery reprotect status cards")]
    Status(StatusArgs),
    /// Have a campaign stay where it is. Whoever works on it stops once they hear of it, in a second or two if the service
    /// answers.
    #[command(after_help = "Example:\n  chancery reprotect pause cards --inventory warehouse")]
    Pause(PauseArgs),
    /// Let a campaign go on that was paused or cut short; with a handle and a place, work on it.
    #[command(
        after_help = "Example:\n  chancery reprotect resume cards --inventory warehouse --handle cards.handle /var/lib/cards"
    )]
    Resume(ResumeArgs),
}

#[derive(Args, Debug)]
struct Named {
    /// The key.
    key: Name,
    /// What the place is called.
    #[arg(long, value_name = "NAME")]
    inventory: Name,
}

#[derive(Args, Debug)]
struct WorkArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    usage: UseArgs,
    #[command(flatten)]
    others: OthersArgs,
    /// The place: a directory of files with one ciphertext each, or a file with one on each line.
    place: PathBuf,
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// The key; all that have inventories, if none is named.
    key: Option<Name>,
}

#[derive(Args, Debug)]
struct PauseArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    repeat: RepeatArgs,
}

#[derive(Args, Debug)]
struct ResumeArgs {
    #[command(flatten)]
    named: Named,
    /// The handle's file, or `-`. Without handle and place, the campaign is let go on and somebody else works on it.
    #[arg(long, value_name = "FILE", requires = "place")]
    handle: Option<PathBuf>,
    /// A pair of the context; what the handle pins need not be said again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::parse::pair)]
    context: Vec<chancery_core::context::Pair>,
    /// The private key of a holder that the handle is bound to (Ed25519, PKCS#8 in PEM).
    #[arg(long, value_name = "KEY.pem")]
    holder: Vec<PathBuf>,
    #[command(flatten)]
    others: OthersArgs,
    /// The place.
    #[arg(requires = "handle")]
    place: Option<PathBuf>,
}

/// Carries `reprotect` out.
pub(crate) fn run(shared: &Shared, args: ReprotectArgs) -> Result<(), Failure> {
    match args.command {
        ReprotectCommand::Start(args) => {
            let WorkArgs { named, usage, others, place } = args;
            let worker = worker(shared, named, &usage, (place, others))?;
            ended(shared, &worker.start()?)
        }
        ReprotectCommand::Status(args) => {
            show_keys(shared, &connection::client(shared)?, args.key.as_ref())
        }
        ReprotectCommand::Pause(args) => pause(shared, &args),
        ReprotectCommand::Resume(args) => resume(shared, args),
    }
}

fn worker<'s>(
    shared: &'s Shared,
    Named { key, inventory }: Named,
    usage: &UseArgs,
    (place, others): (PathBuf, OthersArgs),
) -> Result<Campaigner<'s>, Failure> {
    let (usage, client) = (loaded(usage)?, connection::client(shared)?);
    let place_at = Place::at(&place)?;
    check_handle(&client, &usage, &key)?;
    let (lock, vouched) = (Lock::take(&place)?, others.vouched());
    Ok(Campaigner { shared, client, usage, key, inventory, place: place_at, vouched, lock })
}

/// Refuses a handle of another key before anything is scanned or begun: it would open nothing, or another key's ciphertexts.
fn check_handle(client: &Client, usage: &Use, key: &Name) -> Result<(), Failure> {
    let (_, census) = census_of(client, key)?;
    if usage.handle.key() == census.id {
        return Ok(());
    }
    let what = anyhow!(
        "the handle is of another key than `{key}`; issue one with `chancery handle issue {key}`"
    );
    Err(Failure::Usage(what))
}

fn loaded(usage: &UseArgs) -> Result<Use, Failure> {
    let usage = usage.load(RepeatArgs::NEVER)?;
    let purpose = usage.handle.purpose();
    if matches!(purpose.usage(), Usage::Encrypt | Usage::Wrap) {
        return Ok(usage);
    }
    let what = anyhow!("the handle is for `{purpose}`, which leaves no ciphertexts");
    Err(Failure::Usage(what))
}

fn pause(shared: &Shared, args: &PauseArgs) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    let (_, census) = census_of(&client, &args.named.key)?;
    let found = latest(&census, &args.named.inventory)?;
    let order = Command::OrderCampaign(CampaignOrder::Pause(found.id));
    let answer = command(&client, &order, args.repeat.operation()?)?;
    shown::campaign(shared, &campaign(answer.answer)?)
}

fn resume(shared: &Shared, args: ResumeArgs) -> Result<(), Failure> {
    let ResumeArgs { named, handle, context, holder, others, place } = args;
    if let (Some(handle), Some(place)) = (handle, place) {
        let usage = UseArgs { handle, context, holder, routing_key: None };
        let worker = worker(shared, named, &usage, (place, others))?;
        return ended(shared, &worker.resume()?);
    }
    let client = connection::client(shared)?;
    let (_, census) = census_of(&client, &named.key)?;
    let found = latest(&census, &named.inventory)?;
    let order = Command::OrderCampaign(CampaignOrder::Resume(found.id));
    shown::campaign(shared, &campaign(given(&client, &order)?.answer)?)
}

/// Says how a campaign ended. One that is incomplete is a failure.
fn ended(shared: &Shared, ended: &Ended) -> Result<(), Failure> {
    shown::ended(shared, ended)?;
    if ended.campaign.state == CampaignState::Done {
        return Ok(());
    }
    Err(Failure::Failed(anyhow!(
        "the campaign is {}: {} of {} are not under the version that protects; `{}` lists them",
        ended.campaign.state.code(),
        ended.campaign.failed,
        ended.campaign.total,
        ended.failures.display()
    )))
}

/// Shows what is known of the ciphertexts of a key, or of all that have inventories.
pub(crate) fn show_keys(
    shared: &Shared,
    client: &Client,
    key: Option<&Name>,
) -> Result<(), Failure> {
    let keys = match key {
        Some(key) => vec![census_of(client, key)?.1],
        None => all(client)?,
    };
    shown::keys(shared, client, &keys)
}

/// Reads page after page.
fn all(client: &Client) -> Result<Vec<KeyCensusObject>, Failure> {
    let mut keys: Vec<KeyCensusObject> = Vec::new();
    loop {
        let after = keys.last().map(|key| key.key.clone());
        let answer = read(client, &Command::ReadCensus(CensusQuery::After(after)))?;
        let AnswerObject::Census(page) = answer else { return Err(unexpected()) };
        let is_last = !page.more || page.keys.is_empty();
        keys.extend(page.keys);
        if is_last {
            return Ok(keys);
        }
    }
}
