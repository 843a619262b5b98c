//! `cargo xtask crash` and `cargo xtask soak`: the suites that kill the real processes.
//!
//! They take minutes and want `strace` and root, so `ci` leaves them to these commands.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::ci::{Verdict, status};

/// Every traced call of the signer and the supervisor, killed and failed; a sample of them, or all.
pub(crate) fn crash(root: &Path, which: Points) -> Result<Verdict> {
    let mut command = suite(root, "not test(deaths)");
    if which == Points::All {
        command.env("CHANCERY_CRASH", "all");
    }
    Ok(status(&mut command)?.verdict)
}

/// Which points are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Points {
    All,
    Sample,
}

/// Random deaths of all three processes under load, for so many seconds.
pub(crate) fn soak(root: &Path, seconds: u32) -> Result<Verdict> {
    let mut command = suite(root, "test(deaths)");
    command.env("CHANCERY_SOAK_SECONDS", seconds.to_string());
    Ok(status(&mut command)?.verdict)
}

fn suite(root: &Path, filter: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["nextest", "run", "--release", "--locked"]);
    command.args(["--package", "chancery", "--test", "crash", "-E", filter]);
    command
}
