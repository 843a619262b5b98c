//! `audit`: what was done, as the service tells it and as the files prove it.

mod approve_gap;
mod archive;
mod disclose;
mod export;
mod listing;
mod note;
mod prove;
mod prune;
mod query;
mod reader;
mod recipient;
mod restore;
mod retire;
pub(crate) mod shown;
mod store;
mod timeline;
mod trees;
mod uses;
mod verify;
mod verify_proof;

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
  chancery audit query --dir /mnt/evidence/chancery-data --root-key root.key --outcome refused
  chancery audit export --to file:audit.jsonl --cursor audit.cursor
  chancery audit verify --data chancery-data
  chancery audit prove --receipt invoice.receipt --out invoice.audit-proof"
)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Query(query::QueryArgs),
    Timeline(timeline::TimelineArgs),
    Export(export::ExportArgs),
    Archive(archive::ArchiveArgs),
    Restore(restore::RestoreArgs),
    Prune(prune::PruneArgs),
    Retire(retire::RetireArgs),
    ApproveGap(approve_gap::ApproveGapArgs),
    Disclose(disclose::DiscloseArgs),
    Recipient(recipient::RecipientArgs),
    Verify(verify::VerifyArgs),
    Prove(prove::ProveArgs),
    ProveConsistent(trees::ConsistentArgs),
    ProveFork(trees::ForkArgs),
    VerifyProof(verify_proof::VerifyProofArgs),
}

/// Carries `audit` out.
pub(crate) fn run(shared: &Shared, args: AuditArgs) -> Result<(), Failure> {
    match args.command {
        AuditCommand::Query(args) => query::run(shared, args),
        AuditCommand::Timeline(args) => timeline::run(shared, args),
        AuditCommand::Export(args) => export::run(shared, &args),
        AuditCommand::Archive(args) => archive::run(shared, &args),
        AuditCommand::Prune(args) => prune::run(shared, &args),
        AuditCommand::Restore(args) => restore::run(shared, &args),
        AuditCommand::Retire(args) => retire::run(shared, &args),
        AuditCommand::ApproveGap(args) => approve_gap::run(shared, &args),
        AuditCommand::Disclose(args) => disclose::run(shared, &args),
        AuditCommand::Recipient(args) => recipient::run(shared, &args),
        AuditCommand::Verify(args) => verify::run(shared, &args),
        AuditCommand::Prove(args) => prove::run(shared, &args),
        AuditCommand::ProveConsistent(args) => trees::consistent(shared, &args),
        AuditCommand::ProveFork(args) => trees::fork(shared, &args),
        AuditCommand::VerifyProof(args) => verify_proof::run(shared, &args),
    }
}
