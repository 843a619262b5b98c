//! `principal create`: someone who signs commands, with a profile of their own.
//!
//! The key pair is made here; the service sees the public half alone. The profile is written once the service
//! has taken the principal: if the outcome is unknown its key is gone with this process, and another name is
//! to be taken.

use anyhow::Context as _;
use chancery_api::http::replies::AnswerObject;
use chancery_client::Profile;
use chancery_core::command::Command;
use chancery_core::name::Name;
use chancery_core::principal::Role;
use chancery_core::suite::Suite;
use chancery_crypto::key::{PrivateKey, PublicKey};
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::Shared;
use crate::commands::{RepeatArgs, command, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::files::{OutputArgs, Secrecy};
use crate::render::{View, show};

/// Make those who administer.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "Example:\n  chancery principal create ada --role auditor --out ada.toml"
)]
pub(crate) struct PrincipalArgs {
    #[command(subcommand)]
    command: PrincipalCommand,
}

#[derive(Debug, Subcommand)]
enum PrincipalCommand {
    Create(CreateArgs),
}

/// Make a principal, and a profile that commands of theirs are given with.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery principal create ada --role auditor --out ada.toml
  chancery --context-file ada.toml audit query

An operator does everything, a developer makes keys and issues handles, an auditor reads.")]
struct CreateArgs {
    /// The principal's name.
    name: Name,
    /// What they are there to do: operator, developer or auditor.
    #[arg(long, value_parser = role)]
    role: Role,
    #[command(flatten)]
    output: OutputArgs,
}

fn role(text: &str) -> Result<Role, String> {
    let role = Role::ALL.into_iter().find(|role| role.name() == text);
    role.ok_or_else(|| "a role is operator, developer or auditor".into())
}

/// Carries `principal` out.
pub(crate) fn run(shared: &Shared, args: &PrincipalArgs) -> Result<(), Failure> {
    let PrincipalCommand::Create(args) = &args.command;
    create(shared, args)
}

fn create(shared: &Shared, args: &CreateArgs) -> Result<(), Failure> {
    args.output.check()?;
    let issuer = connection::profile(shared)?;
    let client = connection::client(shared)?;
    let key = PrivateKey::generate(Suite::Ed25519).context("no key can be made")?;
    let public = key.public().map(PublicKey::spki).and_then(<[u8]>::last_chunk::<32>);
    let asked = Command::CreatePrincipal {
        name: args.name.clone(),
        role: args.role,
        public: *public.context("the key has no public half")?,
    };
    let answer = command(&client, &asked, RepeatArgs::NEVER.operation()?)?;
    let AnswerObject::Principal(id) = answer.answer else { return Err(unexpected()) };
    let seed = key.expose_secret().context("the key cannot be written")?;
    let seed = seed.first_chunk::<32>().context("the key cannot be written")?;
    let profile =
        Profile { principal: id, role: args.role, signing_key: Zeroizing::new(*seed), ..issuer };
    args.output.write(Secrecy::Secret, profile.to_toml().as_bytes())?;
    if args.output.is_standard() {
        return Ok(());
    }
    let file = args.output.out.display().to_string();
    let view = View::Fields(vec![
        ("written", file.clone()),
        ("principal", id.to_string()),
        ("name", args.name.to_string()),
        ("role", args.role.name().into()),
    ]);
    let json = json!({
        "outcome": "committed",
        "written": file,
        "principal": id.to_string(),
        "name": args.name.to_string(),
        "role": args.role.name(),
    });
    Ok(show(shared.format, &view, &json)?)
}
