//! `chancery-bench`: what a signature costs here, beside the raw library, a bare server and OpenBao.
//!
//! Server processes run on one core, the load generator on another, for every contender alike. Rounds are
//! interleaved, so that a disturbance meets all of them, and the figures are medians over the rounds. The
//! primary figure is operations for each CPU-second, user and system, of all processes of a server.
//!
//! What it deliberately does not do: judge. Figures and the aims of the design stand side by side; a run
//! succeeds when every answer verified, whatever it took. No contender is weakened, and no switch of the
//! service turns a check off. `log`, `evidence` and
//! `rotations` alone hold the service to what it must reach, and fail where it does not.

mod ablation;
mod compare;
mod contender;
mod contenders;
mod evidence;
mod instance;
mod isolation;
mod keys;
mod load;
mod log;
mod machine;
mod options;
mod order;
mod process;
mod report;
mod reprotect;
mod rotations;
mod tls;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::contenders::bare;
use crate::options::{Command, Options, What};
use crate::report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chancery-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    match &options.command {
        Some(Command::Bare(args)) => bare::serve(args),
        Some(Command::Evidence(args)) => evidence::run(args),
        Some(Command::Log(args)) => log::run(args),
        Some(Command::Rotations(args)) => rotations::run(args),
        Some(Command::Reprotect(args)) => reprotect::run(args),
        None => measure(options),
    }
}

fn measure(options: &Options) -> Result<()> {
    let mut report = Report::begin()?;
    let wants = |what| options.what == What::All || options.what == what;
    if wants(What::Ablation) {
        report.ablation = Some(ablation::run(options)?);
    }
    if wants(What::Compare) {
        report.comparison = Some(compare::run(options)?);
    }
    if wants(What::Isolation) {
        report.isolation = Some(isolation::run(options)?);
    }
    report.end();
    report.print(options.format)
}
