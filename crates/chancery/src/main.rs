//! `chancery`: keeps keys, and uses them for those who hold a handle.
//!
//! One binary with every command. `serve` is the supervisor, which starts the same binary twice, as the
//! signer and as the front; all other commands are clients, or work offline.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 usage, 3 outcome unknown, 4 verification failed.

mod accounts;
mod authorities;
mod children;
mod cli;
mod commands;
mod connection;
mod cosigning;
mod courier;
mod exit;
mod files;
mod log_files;
mod moment;
mod parse;
mod pending;
mod plan_text;
mod policy;
mod privileges;
mod progress;
mod published;
mod readiness;
mod render;
mod reprotect;
mod sandbox;
mod seccomp;
mod state;
mod supervisor;
#[cfg(test)]
mod testing;

use std::process::ExitCode;

use chancery_memory::wiping::Wiping;

use clap::Parser as _;

/// Wipes what is freed once the signer has said so; for every other command it is the system's.
#[global_allocator]
static ALLOCATOR: Wiping = Wiping::system();

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let format = cli.shared.format;
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(format);
            failure.code()
        }
    }
}
