//! `audit retire`: another log in the place of one that others remember and that is lost for good.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use chancery_audit::gap::SignedGap;
use chancery_core::retirement::Cause;
use chancery_memory::process::harden;
use chancery_signer::{Asked, Found, RetireError, Retired, Retirement, RootSource, Step};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Shared;
use crate::commands::serve::state_directory;
use crate::connection;
use crate::exit::{Failure, Misuse, this_with};
use crate::files::OverwriteArgs;
use crate::moment;
use crate::render::{View, show};
use crate::supervisor::{Lock, private_directory};

/// Retire the log of a service that refuses to start since others remember more of it than is here.
///
/// The service is stopped, and the files that are missing are lost for good; if they are not, bring them back (`chancery
/// audit restore`). Without --yes it shows what is lost, and changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery audit retire --data chancery-data --reason lost
  chancery audit retire --data chancery-data --reason lost --yes 5120
  chancery audit retire --data /var/lib/chancery --root-key /etc/chancery/root.key --reason taken-back
  chancery audit retire --reason lost --yes 5120 --propose gap     (then: chancery audit approve-gap gap --yes 5120)
  chancery audit retire --approved gap

An operator signs what is here and what is remembered (`--context-file`, or admin.toml of the data directory). The next
start begins a log of another name, which says which one it follows. The files of the retired one are kept in
DIR/retired. Every handle is void afterwards: issue new ones. Suspensions and reports of compromise that are lost are
not in effect: give them again. A retirement that was cut short is finished by running it again.")]
pub(super) struct RetireArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "chancery-data")]
    data: PathBuf,
    /// The root key's file; where `chancery serve` would look for it if not given.
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// The file whose first line is the passphrase that the root key is wrapped under.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The directory of the log's lock record. The root key's if not given.
    #[arg(long, value_name = "DIR")]
    lock_directory: Option<PathBuf>,
    /// Why: lost, taken-back, forked, damaged, keys-exposed or other.
    #[arg(long, value_name = "CODE", required_unless_present = "approved")]
    reason: Option<Cause>,
    /// With --yes: sign the statement into this file, for others to approve, and change nothing.
    #[arg(long, value_name = "FILE", requires = "yes")]
    propose: Option<PathBuf>,
    /// Do what this statement says, which others have approved where posture asks for that.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["reason", "yes", "whole", "propose"])]
    approved: Option<PathBuf>,
    /// Do it. SIZE is the largest number of records that is remembered, as it is shown without this.
    #[arg(long, value_name = "SIZE")]
    yes: Option<u64>,
    /// Retire a log also if nothing of it is lost.
    #[arg(long)]
    whole: bool,
    /// End this process behind a step; tests cut a retirement short.
    #[arg(long, value_name = "STEP", value_parser = step, hide = true)]
    stop_behind: Option<Step>,
}

fn step(name: &str) -> Result<Step, String> {
    Step::ALL.into_iter().find(|step| step.name() == name).ok_or_else(|| "no such step".to_owned())
}

/// Carries `audit retire` out.
pub(super) fn run(shared: &Shared, args: &RetireArgs) -> Result<(), Failure> {
    // From here on there are keys in this process.
    harden().context("this process cannot be hardened to hold keys")?;
    let data = args.data.canonicalize();
    let data = data.with_context(|| format!("cannot find `{}`", args.data.display()))?;
    let root_key = args.root_source(&data)?;
    let runtime = data.join("run");
    private_directory(&runtime)?;
    let _locks = ["supervisor.lock", "signer.lock"]
        .map(|name| Lock::take(&runtime.join(name)))
        .into_iter()
        .collect::<Result<Vec<_>>>()
        .context("the log of a service that runs is not retired; stop it first")?;
    let lock_directory = args.lock_directory(&root_key)?;
    let retirement = Retirement::open(&data, &root_key).map_err(failed)?;
    let gap = if let Some(begun) = retirement.begun() {
        eprintln!("chancery: a retirement of this log was begun, and is finished now");
        begun.clone()
    } else {
        let found = retirement.look(&lock_directory).map_err(failed)?;
        let signed = match (&args.approved, args.yes) {
            (Some(file), _) => super::approve_gap::read(file)?,
            (None, None) => return Err(ask(shared, args, &found)?),
            (None, Some(size)) => sign(shared, (args, size), (&retirement, &found), &data)?,
        };
        if let Some(file) = &args.propose {
            return super::approve_gap::write(
                shared,
                file,
                OverwriteArgs { force: false },
                &signed,
            );
        }
        retirement.begin(&found, &signed).map_err(failed)?;
        signed
    };
    let retired = retirement.finish((&gap, &lock_directory), &mut |step| {
        if Some(step) == args.stop_behind {
            std::process::abort();
        }
    });
    tell(shared, &retired.map_err(failed)?)
}

impl RetireArgs {
    fn root_source(&self, data: &Path) -> Result<RootSource> {
        let file = match &self.root_key {
            Some(file) => file.clone(),
            None => state_directory(data)?.join("root.key"),
        };
        Ok(match &self.passphrase_file {
            None => RootSource::Keyfile(file),
            Some(passphrase) => RootSource::Passphrase { file, passphrase: passphrase.clone() },
        })
    }

    fn lock_directory(&self, root_key: &RootSource) -> Result<PathBuf> {
        if let Some(directory) = &self.lock_directory {
            return Ok(directory.clone());
        }
        let file = std::path::absolute(root_key.file()).context("the root key has no path")?;
        let parent = file.parent().context("the root key's file has no directory")?;
        Ok(parent.to_owned())
    }
}

/// The statement of what was found, signed by the operator.
fn sign(
    shared: &Shared,
    (args, size): (&RetireArgs, u64),
    (retirement, found): (&Retirement, &Found),
    data: &Path,
) -> Result<SignedGap, Failure> {
    if size != found.largest() {
        let what =
            format!("`--yes {size}` is not what is remembered, which is {}", found.largest());
        return Err(Misuse(what).into());
    }
    let (operator, key) = super::approve_gap::signer(&profile(shared, data)?)?;
    let cause = args.reason.context("`--reason` says why")?;
    let asked = Asked { operator, key: &key, cause, is_whole_taken: args.whole };
    retirement.propose(found, &asked).map_err(failed)
}

/// The profile that is named, or the administrator's in the data directory.
fn profile(shared: &Shared, data: &Path) -> Result<chancery_client::Profile> {
    match &shared.context_file {
        Some(_) => connection::profile(shared),
        None => Ok(chancery_client::Profile::load(&data.join("admin.toml"))?),
    }
}

fn failed(error: RetireError) -> Failure {
    Failure::Failed(anyhow!(error).context("the log was not retired"))
}

/// Shows what is here and what is remembered, and says how to go on.
fn ask(shared: &Shared, args: &RetireArgs, found: &Found) -> Result<Failure> {
    let (view, json) = (found_view(found), found_json(found));
    show(shared.format, &view, &json)?;
    if !found.is_something_lost() && !args.whole {
        return Ok(failed(RetireError::Whole));
    }
    let option = format!("--yes {}", found.largest());
    let again = this_with(&option).unwrap_or_else(|| format!("what was given, with `{option}`"));
    Ok(Misuse(format!(
        "nothing was changed. If what is missing is lost for good, retire the log by\n  {again}\n\
         Every handle is void then, and what was suspended or reported since the last record here is to be given again."
    ))
    .into())
}

fn found_view(found: &Found) -> View {
    let mut fields = vec![
        ("log", found.origin.name()),
        ("records here that hold", found.here.size.to_string()),
        ("behind them", found.finding.clone().unwrap_or_else(|| "nothing".into())),
    ];
    for known in &found.remembered {
        let is_lost = found.lost.contains(known);
        let what = if is_lost { "not here" } else { "here" };
        fields.push(("remembered", format!("{} by {}: {what}", known.tree.size, known.who)));
    }
    View::Fields(fields)
}

fn found_json(found: &Found) -> Value {
    let remembered = found.remembered.iter().map(|known| {
        json!({
            "by": known.who,
            "records": known.tree.size,
            "here": !found.lost.contains(known),
        })
    });
    json!({
        "outcome": "unchanged",
        "origin": found.origin.name(),
        "records": found.here.size,
        "finding": found.finding,
        "remembered": remembered.collect::<Vec<_>>(),
        "largest": found.largest(),
    })
}

fn tell(shared: &Shared, retired: &Retired) -> Result<(), Failure> {
    let view = View::Fields(vec![
        ("retired", retired.old.clone()),
        ("kept in", retired.directory.display().to_string()),
        ("next log", retired.new.clone()),
        ("refuses operation ids up to", moment::text(retired.unknown_to_ms)),
        ("handles", "all are void; issue new ones".into()),
        (
            "keys",
            "as they are here; give suspensions and reports of compromise that are lost again"
                .into(),
        ),
        ("exports", "each begins another cursor".into()),
        ("witnesses", "each is to be told of the next log, from its log/policy".into()),
    ]);
    let json = json!({
        "outcome": "retired",
        "retired": retired.old,
        "directory": retired.directory,
        "next": retired.new,
        "unknown_to_ms": retired.unknown_to_ms,
    });
    Ok(show(shared.format, &view, &json)?)
}
