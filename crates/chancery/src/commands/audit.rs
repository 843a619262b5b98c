//! `audit`: what was done, as the service tells it and as the files prove it.

mod query;
mod verify;

use clap::{Args, Subcommand};

use crate::cli::Shared;
use crate::exit::Failure;

/// Read the audit, and check it.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery audit query --key invoices --since 2h
  chancery audit verify --data chancery-data"
)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Query(query::QueryArgs),
    Verify(verify::VerifyArgs),
}

/// Carries `audit` out.
pub(crate) fn run(shared: &Shared, args: AuditArgs) -> Result<(), Failure> {
    match args.command {
        AuditCommand::Query(args) => query::run(shared, args),
        AuditCommand::Verify(args) => verify::run(shared, &args),
    }
}
