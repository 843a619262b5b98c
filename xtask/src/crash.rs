//! `cargo xtask crash` and `cargo xtask soak`: the suites that kill the real processes.
//!
//! They want `strace` and root. What `ci` runs of them is a sample of a few minutes; here it is as much as one
//! likes, and what was run is printed.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::ci::{Verdict, status};
use crate::workspace::cargo;

/// Every traced call of the signer and the supervisor, killed and failed; a sample of them, or all.
pub(crate) fn crash(root: &Path, which: Points) -> Result<Verdict> {
    let mut command = suite(root, &["--skip", "deaths"]);
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
    let mut command = suite(root, &["deaths"]);
    command.env("CHANCERY_SOAK_SECONDS", seconds.to_string());
    Ok(status(&mut command)?.verdict)
}

/// What `ci` runs: the sample, and a minute of random deaths.
pub(crate) fn sample_and_soak(root: &Path) -> Command {
    let mut command = suite(root, &[]);
    command.env("CHANCERY_SOAK_SECONDS", "60");
    command
}

/// One test at a time: each has runners of its own.
fn suite(root: &Path, which: &[&str]) -> Command {
    let mut command = cargo(root);
    command.args([
        "test",
        "--release",
        "--locked",
        "--package",
        "chancery",
        "--test",
        "crash",
        "--",
    ]);
    command.args(["--nocapture", "--test-threads", "1"]).args(which);
    command
}
