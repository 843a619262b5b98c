//! `rollout evidence`: plan, steps and the proofs of their records, as one file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use chancery_api::http::replies::AnswerObject;
use chancery_audit::evidence::{Evidence, Parts, SHOWN, step_digest};
use chancery_audit::opening::Opening;
use chancery_client::Client;
use chancery_core::bundle::Issued;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::RolloutId;
use chancery_core::record_group::RecordGroups;
use chancery_core::rollout::{Plan, StepRow};
use chancery_log::TreeHead;
use chancery_log::note::Note;
use clap::Args;
use serde_json::json;

use super::{Named, show as show_rollout, steps};
use crate::cli::Shared;
use crate::commands::{read, unexpected};
use crate::exit::Failure;
use crate::files::{OutputArgs, Secrecy};
use crate::policy;
use crate::published::{Published, PublishedArgs, kept_checkpoint};
use crate::render::{View, show};

/// Put all that is on record of a rollout into one file, which can be checked offline.
///
/// The file has the plan, each step with what it was decided on and why, the proofs that each step is in the audit log, and
/// the trust bundles that verifiers had by then. It names principals, verifiers and the key by their ids and numbers, to
/// whoever has it. It takes a profile that may read the audit.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery rollout evidence invoices --out invoices.evidence
  chancery rollout evidence 01990000-0000-7000-8000-000000000000 --witnessed --out invoices.evidence

Whoever has the file checks it with `chancery rollout verify-evidence`. The last 128 steps of a key are kept, of whichever
rollout: `chancery rollout history KEY` lists those rollouts.")]
pub(super) struct EvidenceArgs {
    #[command(flatten)]
    named: Named,
    /// The checkpoint to prove under, such as one that witnesses cosigned; the published one if not given.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Prove under the last published checkpoint that the service's witnesses cosigned.
    #[arg(long, conflicts_with = "checkpoint")]
    witnessed: bool,
    /// The policy under which the evidence is made, which it names by its digest: the published one if not given; with
    /// `--checkpoint` it names none then.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    published: PublishedArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Carries `rollout evidence` out.
pub(super) fn run(shared: &Shared, client: &Client, args: &EvidenceArgs) -> Result<(), Failure> {
    args.output.check()?;
    let published = args.published.open(shared)?;
    let rollout = args.named.id(client)?;
    let collected = Collected::of(client, rollout)?;
    let checkpoint = args.checkpoint_over(&published, collected.last())?;
    let named = args.named_policy(&published, &checkpoint.0)?;
    let steps = collected.steps.len();
    let (unproved, bundles) = (collected.unproved, collected.bundles.len());
    let evidence = collected.evidence(&checkpoint, &published)?.naming(named);
    args.output.write(Secrecy::Public, &evidence.to_bytes())?;
    if unproved > 0 {
        eprintln!(
            "chancery: {unproved} trust bundles that steps name have no record that could be found; the file names them \
             without a proof"
        );
    }
    if args.output.is_standard() {
        return Ok(());
    }
    let written = args.output.out.display().to_string();
    let view = View::Fields(vec![
        ("rollout", rollout.to_string()),
        ("steps", steps.to_string()),
        ("bundles", bundles.to_string()),
        ("written", written.clone()),
    ]);
    let object = json!({
        "rollout": rollout.to_string(), "steps": steps, "bundles": bundles, "written": written,
    });
    Ok(show(shared.format, &view, &object)?)
}

impl EvidenceArgs {
    fn checkpoint_over(
        &self,
        published: &Published,
        index: u64,
    ) -> Result<(Note, TreeHead), Failure> {
        Ok(match &self.checkpoint {
            Some(path) => kept_over(index, path)?,
            None if self.witnessed => published.witnessed_over(index)?,
            None => published.checkpoint_over(index)?,
        })
    }

    fn named_policy(
        &self,
        published: &Published,
        note: &Note,
    ) -> Result<Option<[u8; 32]>, Failure> {
        let usual = || match &self.checkpoint {
            Some(_) => Ok(None),
            None if self.witnessed => published.witnessed_policy().map(Some),
            None => published.policy().map(Some),
        };
        Ok(policy::named(self.policy.as_deref(), usual, &[note])?)
    }
}

/// A checkpoint that was kept, if it covers the record.
fn kept_over(index: u64, path: &Path) -> anyhow::Result<(Note, TreeHead)> {
    let (note, tree) = kept_checkpoint(path)?;
    if index >= tree.size {
        bail!(
            "`{}` covers {} records, and the last step is record {index}: take a later checkpoint",
            path.display(),
            tree.size
        );
    }
    Ok((note, tree))
}

/// What the service says of a rollout.
pub(crate) struct Collected {
    plan: Plan,
    steps: Vec<StepRow>,
    records: Vec<(u64, Opening)>,
    bundles: Vec<(u64, Opening)>,
    unproved: usize,
}

impl Collected {
    /// Asks for it.
    pub(crate) fn of(client: &Client, rollout: RolloutId) -> Result<Self, Failure> {
        let steps = steps::read_all(client, rollout)?;
        let first = steps.first().ok_or_else(unexpected)?;
        let plan = plan_of(client, first)?;
        let missing = |number| {
            let what = format!(
                "no record of step {number} was found: its part of the log was removed, or the keys of its month are gone"
            );
            Failure::Failed(anyhow!(what))
        };
        let mut records = Vec::new();
        for step in &steps {
            let found = opened(client, step_digest(step))?;
            records.push(found.ok_or_else(|| missing(step.number))?);
        }
        let (mut bundles, mut unproved) = (Vec::new(), 0);
        for bundle in bundles_of(&steps) {
            match opened(client, bundle.digest)? {
                Some(record) => bundles.push(record),
                None => unproved += 1,
            }
        }
        Ok(Self { plan, steps, records, bundles, unproved })
    }

    /// The record that must be covered: the last one.
    pub(crate) fn last(&self) -> u64 {
        let all = self.records.iter().chain(&self.bundles);
        all.map(|(index, _)| *index).max().unwrap_or_default()
    }

    /// The evidence, under a checkpoint that covers it.
    pub(crate) fn evidence(
        self,
        (note, tree): &(Note, TreeHead),
        published: &Published,
    ) -> Result<Evidence, Failure> {
        let Self { plan, steps, records, bundles, .. } = self;
        let parts = Parts { plan, steps, records: &records, bundles: &bundles };
        let made = Evidence::make(parts, (note, *tree), published.tiles());
        let what = "the published log does not lead to the records as they were opened";
        Ok(made.context(what)?)
    }
}

/// The plan: the first step has it; of the latest rollout of a key the service has it as well.
fn plan_of(client: &Client, first: &StepRow) -> Result<Plan, Failure> {
    if let Some(plan) = &first.taken.plan {
        return Ok((**plan).clone());
    }
    match show_rollout(client, first.rollout) {
        Ok(shown) => shown.plan.try_into().map_err(|_| unexpected()),
        Err(Failure::Refused(_)) => Err(Failure::Failed(anyhow!(
            "the steps of later rollouts took the place of this one's first, and the plan was with it: what is left of it \
             is in `chancery rollout steps` alone"
        ))),
        Err(other) => Err(other),
    }
}

/// Each bundle that a step names, once.
fn bundles_of(steps: &[StepRow]) -> Vec<Issued> {
    let mut bundles: Vec<_> = steps.iter().filter_map(|step| step.taken.bundle).collect();
    bundles.dedup();
    bundles
}

/// The record with that output, and what is shown of it.
fn opened(client: &Client, output: [u8; 32]) -> Result<Option<(u64, Opening)>, Failure> {
    let query = AuditQuery { output: Some(output), limit: 1, ..AuditQuery::default() };
    let answer = read(client, &Command::QueryAudit(query))?;
    let AnswerObject::Records(records) = answer else { return Err(unexpected()) };
    let Some(record) = records.first() else { return Ok(None) };
    let (index, groups) = (record.log_index, RecordGroups::of(&SHOWN).ok_or_else(unexpected)?);
    let answer = read(client, &Command::OpenRecord { index, groups })?;
    let AnswerObject::Opening(bytes) = answer else { return Err(unexpected()) };
    let opening = Opening::parse(&bytes.0).context("the service's answer is no opening")?;
    Ok(Some((index, opening)))
}
