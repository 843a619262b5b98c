//! `principal create`: someone who signs commands, with a profile of their own.
//!
//! The key pair is made here; the service sees the public half alone. The profile is written once the service
//! has taken the principal and said its id; until then the key is kept beside what was sent
//! ([`crate::pending`]), so that an unknown outcome loses nothing.

use anyhow::{Context as _, Result};
use chancery_api::http::replies::AnswerObject;
use chancery_client::Profile;
use chancery_core::command::Command;
use chancery_core::id::{OperationId, PrincipalId};
use chancery_core::name::Name;
use chancery_core::principal::Role;
use chancery_core::proposal::Proposed;
use chancery_core::suite::Suite;
use chancery_crypto::key::{PrivateKey, PublicKey};
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::Shared;
use crate::commands::proposal::ProposeArgs;
use crate::commands::{RepeatArgs, proposal, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::files::{LaterOutputArgs, OutputArgs, Secrecy};
use crate::pending::{Pending, Sent, another_command};
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
  chancery principal create grace --role approver --propose

An operator does everything, a developer makes keys and issues handles, an auditor reads, an approver approves what
operators propose, and a verifier reports what it verifies (`chancery verifier`). Where posture asks for approvals, a principal is proposed, and its profile written when that is
carried out (`chancery proposal`).
If no answer comes, the new key stays under $XDG_STATE_HOME/chancery/pending (or ~/.local/state), its owner's
alone; the same command with --operation-id makes the profile of it.")]
struct CreateArgs {
    /// The principal's name.
    name: Name,
    /// What they are there to do: operator, developer, auditor, approver or verifier.
    #[arg(long, value_parser = role)]
    role: Role,
    #[command(flatten)]
    output: LaterOutputArgs,
    #[command(flatten)]
    propose: ProposeArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
}

fn role(text: &str) -> Result<Role, String> {
    let role = Role::ALL.into_iter().find(|role| role.name() == text);
    role.ok_or_else(|| "a role is operator, developer, auditor, approver or verifier".into())
}

/// Carries `principal` out.
pub(crate) fn run(shared: &Shared, args: &PrincipalArgs) -> Result<(), Failure> {
    let PrincipalCommand::Create(args) = &args.command;
    create(shared, args)
}

fn create(shared: &Shared, args: &CreateArgs) -> Result<(), Failure> {
    let Some(output) = args.output.now() else { return propose(shared, args) };
    output.check()?;
    let operation = args.repeat.operation()?;
    let issuer = connection::profile(shared)?;
    let client = connection::client_for(shared, &issuer)?;
    let pending = Pending::of(operation, issuer.principal, || Ok(draw(args, issuer.principal)?))?;
    let (asked, seed) = (&pending.sent.command, pending.sent.seed.as_ref());
    let is_same = matches!(asked, Command::CreatePrincipal { name, role, .. }
        if *name == args.name && *role == args.role);
    let Some(signing_key) = seed.filter(|_| is_same).cloned() else {
        return Err(another_command(operation));
    };
    let answer = pending.give(&client)?;
    let AnswerObject::Principal(principal) = answer.answer else { return Err(unexpected()) };
    let profile = Profile { principal, role: args.role, signing_key, ..issuer };
    let written = output.write(Secrecy::Secret, profile.to_toml().as_bytes());
    written.with_context(|| {
        format!("`{}` is made; `--operation-id {operation}` writes its profile", args.name)
    })?;
    pending.forget();
    report(shared, (args, &output), principal, operation)
}

/// Proposes the principal. Its key stays here until that is carried out.
fn propose(shared: &Shared, args: &CreateArgs) -> Result<(), Failure> {
    let operation = args.repeat.operation()?;
    let issuer = connection::profile(shared)?;
    let client = connection::client_for(shared, &issuer)?;
    let pending = Pending::of(operation, issuer.principal, || {
        let sent = draw(args, issuer.principal)?;
        let proposed = Proposed::of(&sent.command).context("it cannot be proposed")?;
        Ok(Sent { command: args.propose.command(proposed), ..sent })
    })?;
    let is_same = matches!(&pending.sent.command,
        Command::Propose { proposed: Proposed::CreatePrincipal { name, role, .. }, .. }
            if *name == args.name && *role == args.role);
    if !is_same {
        return Err(another_command(operation));
    }
    proposal::tell(shared, &pending.give(&client)?)
}

/// A fresh key, and the command that makes its principal.
fn draw(args: &CreateArgs, principal: PrincipalId) -> Result<Sent> {
    let key = PrivateKey::generate(Suite::Ed25519).context("no key can be made")?;
    let public = key.public().map(PublicKey::spki).and_then(<[u8]>::last_chunk::<32>);
    let command = Command::CreatePrincipal {
        name: args.name.clone(),
        role: args.role,
        public: *public.context("the key has no public half")?,
    };
    let secret = key.expose_secret().context("the key cannot be written")?;
    let seed = secret.first_chunk::<32>().context("the key cannot be written")?;
    Ok(Sent { principal, command, seed: Some(Zeroizing::new(*seed)), imported: None })
}

fn report(
    shared: &Shared,
    (args, output): (&CreateArgs, &OutputArgs),
    id: PrincipalId,
    operation: OperationId,
) -> Result<(), Failure> {
    if output.is_standard() {
        return Ok(());
    }
    let file = output.out.display().to_string();
    let view = View::Fields(vec![
        ("written", file.clone()),
        ("principal", id.to_string()),
        ("name", args.name.to_string()),
        ("role", args.role.name().into()),
        ("operation", operation.to_string()),
    ]);
    let json = json!({
        "outcome": "committed",
        "operation_id": operation.to_string(),
        "written": file,
        "principal": id.to_string(),
        "name": args.name.to_string(),
        "role": args.role.name(),
    });
    Ok(show(shared.format, &view, &json)?)
}
