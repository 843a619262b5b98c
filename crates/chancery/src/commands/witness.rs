//! `witness`: cosigns the checkpoints of logs, or asks those who do (C2SP tlog-witness).

mod serve;
mod submit;

use clap::{Args, Subcommand};

use crate::cli::Shared;
use crate::exit::Failure;

/// Have the log's checkpoints cosigned, so that nobody is shown another history than the rest.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery witness serve --name witness.example/w1 --policy chancery-data/log/policy --data w1
  chancery witness submit --policy witnessed.policy --out witnessed.checkpoint

A witness belongs to somebody else than the log does, on another machine."
)]
pub(crate) struct WitnessArgs {
    #[command(subcommand)]
    command: WitnessCommand,
}

#[derive(Debug, Subcommand)]
enum WitnessCommand {
    Serve(serve::ServeArgs),
    Submit(submit::SubmitArgs),
}

/// Carries `witness` out.
pub(crate) fn run(shared: &Shared, args: &WitnessArgs) -> Result<(), Failure> {
    match &args.command {
        WitnessCommand::Serve(args) => serve::run(args),
        WitnessCommand::Submit(args) => submit::run(shared, args),
    }
}
