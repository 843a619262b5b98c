//! The rules of this repository, as code: `cargo xtask tidy` and `cargo xtask ci`.
//!
//! `tidy` holds what the compiler and clippy cannot: crate arrows, documents that
//! name code, sizes of dependency trees. `ci` runs every check in order, the same
//! on a developer's machine as anywhere else.
//!
//! Nothing here changes a tracked file. What touches the network and changes the
//! machine is the `prerequisites` stage: it installs missing distribution packages
//! when it runs as root, and under the target directory what tests need of the Python package index.
#![expect(clippy::print_stdout, reason = "findings and stage times are this program's output")]

mod ci;
mod crash;
mod prerequisites;
mod rules;
mod tally;
mod text;
mod wheels;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::ci::Verdict;
use crate::crash::Points;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask prerequisites | tidy | ci [--from STAGE] | crash [--all] | soak --seconds N";

fn main() -> ExitCode {
    match run() {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Verdict> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["prerequisites"] => Ok(prerequisites::check(&root()?)?.verdict),
        ["tidy"] => tidy(),
        ["ci"] => ci::run(&root()?, ci::FIRST_STAGE),
        ["ci", "--from", stage] => ci::run(&root()?, stage),
        ["crash"] => crash::crash(&root()?, Points::Sample),
        ["crash", "--all"] => crash::crash(&root()?, Points::All),
        ["soak", "--seconds", seconds] => {
            crash::soak(&root()?, seconds.parse().context("seconds are a number")?)
        }
        _ => bail!("{USAGE}"),
    }
}

fn tidy() -> Result<Verdict> {
    let workspace = Workspace::load(root()?)?;
    let mut count = 0;
    for rule in rules::ALL {
        for finding in (rule.check)(&workspace) {
            println!("{finding} [{}]", rule.name);
            count += 1;
        }
    }
    println!("{}", rules::trees::counts(&workspace));
    println!("tidy: {} rules, {} files, {count} findings", rules::ALL.len(), workspace.files.len());
    Ok(if count == 0 { Verdict::Passed } else { Verdict::Failed })
}

/// The checkout: the directory above this package, which `cargo run` names.
fn root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let package = PathBuf::from(package);
    Ok(package.parent().context("the package has no parent directory")?.to_owned())
}
