//! The command line: what there is, and where it is carried out.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::children;
use crate::commands::{
    audit, bench, bundle, census, cipher, data_key, derive, drill, handle, key, mac, operation,
    plan, posture, principal, proposal, reprotect, rollout, rotate, rotation, serve, sign, status,
    store, verifier, witness,
};
use crate::courier;
use crate::exit::Failure;
use crate::render::Format;

const AFTER_HELP: &str = "\
Begin with two terminals:

  chancery serve
  chancery key create invoices --purpose sign.bound:invoice --algorithm ed25519
  chancery handle issue invoices --ttl 15m --out invoices.handle
  chancery sign --handle invoices.handle invoice.pdf --out invoice.sig
  chancery verify --handle invoices.handle invoice.pdf --signature invoice.sig

Exit codes: 0 done, 1 refused or failed, 2 usage, 3 outcome unknown (the operation id is printed;
the same command with --operation-id resolves it), 4 verification failed.";

/// A key-management and signing service: keys never leave it, callers hold handles.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Shared {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// The admin file, or `-`: where the service is, and who asks. Without it, ./chancery-data/admin.toml.
    #[arg(long, global = true, env = "CHANCERY_CONTEXT", value_name = "FILE")]
    pub(crate) context_file: Option<PathBuf>,
    /// Give commands to the signer's own socket, DIR/run/signer.sock, when the front cannot serve.
    #[arg(long, global = true, value_name = "SOCKET")]
    pub(crate) past_the_front: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Status(status::StatusArgs),
    Key(key::KeyArgs),
    Handle(handle::HandleArgs),
    Sign(sign::SignArgs),
    Verify(sign::VerifyArgs),
    Encrypt(cipher::EncryptArgs),
    Decrypt(cipher::DecryptArgs),
    Rewrap(cipher::RewrapArgs),
    Mac(mac::MacArgs),
    VerifyMac(mac::VerifyMacArgs),
    Derive(derive::DeriveArgs),
    GenerateDataKey(data_key::GenerateArgs),
    Unwrap(data_key::UnwrapArgs),
    Random(derive::RandomArgs),
    Operation(operation::OperationArgs),
    Audit(audit::AuditArgs),
    Principal(principal::PrincipalArgs),
    Proposal(proposal::ProposalArgs),
    Posture(posture::PostureArgs),
    Plan(plan::PlanArgs),
    Rotate(rotate::RotateArgs),
    Rotation(rotation::RotationArgs),
    Rollout(rollout::RolloutArgs),
    Census(census::CensusArgs),
    Reprotect(reprotect::ReprotectArgs),
    Drill(drill::DrillArgs),
    Bundle(bundle::BundleArgs),
    Verifier(verifier::VerifierArgs),
    Store(store::StoreArgs),
    Witness(witness::WitnessArgs),
    Bench(bench::BenchArgs),
    #[command(hide = true)]
    Signer(children::SignerArgs),
    #[command(hide = true)]
    ReduceOnly(children::ReduceOnlyArgs),
    #[command(hide = true)]
    Front(children::FrontArgs),
    #[command(hide = true)]
    Courier(courier::CourierArgs),
}

impl Cli {
    /// Carries the command out.
    ///
    /// # Errors
    ///
    /// [`Failure`] says with which code to exit.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let shared = &self.shared;
        match self.command {
            Command::Serve(args) => serve::run(&args),
            Command::Status(args) => status::run(shared, &args),
            Command::Key(args) => key::run(shared, args),
            Command::Handle(args) => handle::run(shared, args),
            Command::Sign(args) => sign::sign(shared, &args),
            Command::Verify(args) => sign::verify(shared, &args),
            Command::Encrypt(args) => cipher::encrypt(shared, &args),
            Command::Decrypt(args) => cipher::decrypt(shared, &args),
            Command::Rewrap(args) => cipher::rewrap(shared, &args),
            Command::Mac(args) => mac::mac(shared, &args),
            Command::VerifyMac(args) => mac::verify(shared, &args),
            Command::Derive(args) => derive::derive(shared, &args),
            Command::GenerateDataKey(args) => data_key::generate(shared, &args),
            Command::Unwrap(args) => data_key::unwrap(shared, &args),
            Command::Random(args) => derive::random(shared, &args),
            Command::Operation(args) => operation::run(shared, &args),
            Command::Audit(args) => audit::run(shared, args),
            Command::Principal(args) => principal::run(shared, &args),
            Command::Proposal(args) => proposal::run(shared, &args),
            Command::Posture(args) => posture::run(shared, &args),
            Command::Plan(args) => plan::run(shared, &args),
            Command::Rotate(args) => rotate::run(shared, &args),
            Command::Rotation(args) => rotation::run(shared, &args),
            Command::Rollout(args) => rollout::run(shared, &args),
            Command::Census(args) => census::run(shared, &args),
            Command::Reprotect(args) => reprotect::run(shared, args),
            Command::Drill(args) => drill::run(shared, &args),
            Command::Bundle(args) => bundle::run(shared, &args),
            Command::Verifier(args) => verifier::run(shared, &args),
            Command::Store(args) => store::run(shared, args),
            Command::Witness(args) => witness::run(shared, &args),
            Command::Bench(args) => bench::run(shared, &args),
            Command::Signer(args) => children::signer(args),
            Command::ReduceOnly(args) => children::reduce_only(&args),
            Command::Front(args) => children::front(&args),
            Command::Courier(args) => courier::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
