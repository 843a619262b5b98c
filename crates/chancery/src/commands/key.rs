//! `key`: keys, their versions, and what happens to them.

mod change;
mod import;
mod show;

use std::path::PathBuf;

use anyhow::Context as _;
use chancery_core::command::NewKey;
use chancery_core::name::{Name, Scope};
use chancery_core::purpose::Purpose;
use chancery_core::suite::{SUITES, Suite};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};

use crate::cli::Shared;
use crate::commands::RepeatArgs;
use crate::exit::Failure;
use crate::render::Format;

pub(crate) use self::show::key;

/// Make keys, look at them, and change what they may do.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery key create invoices --purpose sign.bound:invoice --algorithm ed25519
  chancery key list
  chancery key public invoices --format pem"
)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Create(CreateArgs),
    Import(ImportArgs),
    List(ListArgs),
    Show(NameArgs),
    Public(PublicArgs),
    Suspend(SuspendArgs),
    Resume(ResumeArgs),
    Deactivate(DeactivateArgs),
    Compromise(CompromiseArgs),
    Destroy(DestroyArgs),
    CancelDestroy(CancelDestroyArgs),
}

/// Make a key and its first version.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery key create invoices --purpose sign.bound:invoice --algorithm ed25519
  chancery key create tokens --purpose sign.jws:at+jwt --algorithm ecdsa-p256 --service login
  chancery key create commits --purpose sign.sshsig:git --algorithm ed25519
  chancery key create backups --purpose wrap.aead:backup --algorithm aes-256-gcm
  chancery key create cards --purpose encrypt.aead:card-number --algorithm aes-256-gcm
  chancery key create webhook --purpose mac.bound:webhook --algorithm hmac-sha-256

A purpose is USAGE.FORMAT:DOMAIN, with one of sign.bound, sign.jws, sign.jws-json, sign.dsse, sign.cose, sign.sshsig,
sign.note, encrypt.aead, mac.bound, derive.hkdf and wrap.aead. A key has one purpose and one algorithm for life.")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    new: NewKeyArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Bring a signing key in from outside.
///
/// The file is wrapped to a one-time key of the signer before it leaves this process. That the key was
/// imported stays on it for good: copies of it may exist elsewhere.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key import release --purpose sign.dsse:application/vnd.in-toto+json --algorithm ecdsa-p256 \\
      --pkcs8 release.p8

The file is unencrypted PKCS#8, in DER or in PEM.
If no answer comes, what was sent stays under $XDG_STATE_HOME/chancery/pending (or ~/.local/state), wrapped as
it is; the same command with --operation-id sends that again, and reads no key.")]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    new: NewKeyArgs,
    /// The private key's file, or `-`.
    #[arg(long, value_name = "FILE")]
    pkcs8: PathBuf,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// What a new key is to be.
#[derive(Args, Debug)]
struct NewKeyArgs {
    /// The key's name.
    name: Name,
    /// What it is for: USAGE.FORMAT:DOMAIN.
    #[arg(long)]
    purpose: Purpose,
    /// Its algorithm.
    #[arg(long, value_parser = suite_parser())]
    algorithm: Suite,
    /// The environment that it belongs to.
    #[arg(long, default_value = "default")]
    environment: Name,
    /// The region that it belongs to.
    #[arg(long, default_value = "default")]
    region: Name,
    /// The service that it belongs to.
    #[arg(long, default_value = "default")]
    service: Name,
    /// Whether each answer waits until a quorum of the service's witnesses has cosigned its record: part of a second,
    /// and without them none. For good.
    #[arg(long)]
    witnessed: bool,
}

impl NewKeyArgs {
    fn to_new_key(&self) -> Result<NewKey, Failure> {
        // Says here what the service would say, before anything is sent.
        let admitted = self.purpose.admits(self.algorithm);
        admitted.context("cannot make such a key").map_err(Failure::Usage)?;
        Ok(NewKey {
            name: self.name.clone(),
            purpose: self.purpose.clone(),
            suite: self.algorithm,
            scope: Scope {
                environment: self.environment.clone(),
                region: self.region.clone(),
                service: self.service.clone(),
            },
            witnessed: self.witnessed,
        })
    }
}

/// Takes the names of the suite table, which `--help` then lists.
fn suite_parser() -> impl clap::builder::TypedValueParser<Value = Suite> {
    PossibleValuesParser::new(SUITES.map(|row| row.name)).try_map(|name| name.parse::<Suite>())
}

/// Takes `pem`, `jwk` and `ssh`, in the place of the forms of other results.
fn public_form_parser() -> impl clap::builder::TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["pem", "jwk", "ssh"]).map(|name| match name.as_str() {
        "jwk" => Format::Jwk,
        "ssh" => Format::Ssh,
        _ => Format::Pem,
    })
}

/// List the keys.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery key list
  chancery key list --format json")]
struct ListArgs {}

/// Show one key with its versions.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key show invoices")]
struct NameArgs {
    /// The key.
    name: Name,
}

/// Write a key's public half.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery key public invoices
  chancery key public invoices --format jwk --version 1
  chancery key public deploy --format ssh >> authorized_keys")]
struct PublicArgs {
    /// The key.
    name: Name,
    /// The form of the public half.
    #[arg(long, value_parser = public_form_parser(), default_value = "pem")]
    format: Format,
    /// The version; the scheduled one if none is said.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

/// Which version of which key.
#[derive(Args, Debug)]
struct VersionArgs {
    /// The key.
    name: Name,
    /// The version; the scheduled one if none is said.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Withhold a version from use, reversibly: it neither protects nor processes.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key suspend invoices
  chancery key resume invoices")]
struct SuspendArgs {
    #[command(flatten)]
    which: VersionArgs,
}

/// Lift a suspension.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key resume invoices --version 1")]
struct ResumeArgs {
    #[command(flatten)]
    which: VersionArgs,
}

/// End a version's protecting for good: from then on it only verifies, decrypts and unwraps.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key deactivate invoices --version 1")]
struct DeactivateArgs {
    #[command(flatten)]
    which: VersionArgs,
}

/// Report that a version is, or may be, in other hands. Cannot be taken back.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key compromise invoices --version 1

When unsure, suspend first: that can be taken back.")]
struct CompromiseArgs {
    #[command(flatten)]
    which: VersionArgs,
}

/// Schedule the destruction of a version's material, 30 days from now.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key deactivate invoices --version 1
  chancery key destroy invoices --version 1

From scheduling on the version neither protects nor processes; `chancery key cancel-destroy` takes it back.")]
struct DestroyArgs {
    #[command(flatten)]
    which: NumberedArgs,
}

/// Take a scheduled destruction back.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery key cancel-destroy invoices --version 1")]
struct CancelDestroyArgs {
    #[command(flatten)]
    which: NumberedArgs,
}

/// One version, named on purpose.
#[derive(Args, Debug)]
struct NumberedArgs {
    /// The key.
    name: Name,
    /// The version.
    #[arg(long, value_name = "N")]
    version: u32,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Carries `key` out.
pub(crate) fn run(shared: &Shared, args: KeyArgs) -> Result<(), Failure> {
    use chancery_core::state::KeyEvent as Event;
    match args.command {
        KeyCommand::Create(args) => change::create(shared, &args),
        KeyCommand::Import(args) => import::import(shared, &args),
        KeyCommand::List(_) => show::list(shared),
        KeyCommand::Show(args) => show::one(shared, &args.name),
        KeyCommand::Public(args) => show::public(shared, &args),
        KeyCommand::Suspend(args) => change::version(shared, args.which, Event::Suspend),
        KeyCommand::Resume(args) => change::version(shared, args.which, Event::Resume),
        KeyCommand::Deactivate(args) => change::version(shared, args.which, Event::Deactivate),
        KeyCommand::Compromise(args) => {
            change::version(shared, args.which, Event::ReportCompromise)
        }
        KeyCommand::Destroy(args) => change::destroy(shared, args.which),
        KeyCommand::CancelDestroy(args) => change::cancel_destroy(shared, args.which),
    }
}
