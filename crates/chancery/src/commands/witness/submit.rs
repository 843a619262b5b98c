//! `witness submit`: the published checkpoint, cosigned, in a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chancery_audit::proof::{Trust, Vouched};
use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::Shared;
use crate::cosigning::{self, Exchange, Fault, Round, Watch};
use crate::exit::{Failure, Misuse};
use crate::files::{self, OutputArgs, OverwriteArgs, Secrecy};
use crate::parse;
use crate::policy;
use crate::published::{Published, PublishedArgs};
use crate::render::{Format, View, show};

/// How often it is looked whether to stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Have witnesses cosign the log's checkpoint, and write it down with their cosignatures.
///
/// The policy says who they are and how many of them are enough. The file is written only if they are, whole or not
/// at all: it is what proofs are made under that shall convince whoever has that policy (`audit prove --checkpoint`).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery witness submit --policy witnessed.policy --out witnessed.checkpoint
  chancery witness submit --policy witnessed.policy --every 10s --out witnessed.checkpoint --force

A policy has the `log` lines of DIR/log/policy, the lines that each `witness serve` printed, and at its end what is
enough, such as

  group two-of-three 2 witness.example/w1 witness.example/w2 witness.example/w3
  quorum two-of-three

More than half of the witnesses should be enough and no fewer: two histories could both have half of them.

Exits with 1 if fewer cosign than that, and says of each witness what was wrong with it. A witness of whom that is
\"not proved to continue\" holds another history of this log: keep the files, and see `audit prove-fork`.
With --every it goes on until it is stopped, overwrites FILE each time, and says once when the quorum or a witness is
lost, and once when it is back.")]
pub(super) struct SubmitArgs {
    /// The log, its witnesses and where they are, and how many are enough.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The authorities of witnesses with an https:// URL, in PEM; none of the system's are taken.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Do so again and again, this long after the last time.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    every: Option<Duration>,
    #[command(flatten)]
    published: PublishedArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What each round takes.
struct Submission<'a> {
    trust: Trust,
    exchange: Exchange,
    published: Published,
    output: &'a OutputArgs,
}

/// Carries `witness submit` out.
pub(super) fn run(shared: &Shared, args: &SubmitArgs) -> Result<(), Failure> {
    args.output.check()?;
    let trust = policy::trust(&args.policy)?;
    if cosigning::places(&trust).is_empty() {
        let what = format!("`{}` names no witness with a URL to submit to", args.policy.display());
        return Err(Misuse(what).into());
    }
    let submission = Submission {
        trust,
        exchange: Exchange::new(args.ca.as_deref())?,
        published: args.published.open(shared)?,
        output: &args.output,
    };
    match args.every {
        None => submission.once(shared),
        Some(every) => Ok(submission.again_and_again(every)?),
    }
}

impl Submission<'_> {
    fn round(&self) -> Result<Round> {
        cosigning::run(&self.exchange, &self.trust, &self.published)
    }

    fn once(&self, shared: &Shared) -> Result<(), Failure> {
        let round = self.round()?;
        let Some(vouched) = &round.vouched else { return Err(round.lost().into()) };
        self.output.write(Secrecy::Public, round.note.to_string().as_bytes())?;
        Ok(self.say(shared, (vouched, &round.faults))?)
    }

    fn say(&self, shared: &Shared, (vouched, faults): (&Vouched, &[Fault])) -> Result<()> {
        let is_text = shared.format != Format::Json || self.output.is_standard();
        for fault in faults.iter().filter(|_| is_text) {
            eprintln!("chancery: {fault}");
        }
        if self.output.is_standard() {
            return Ok(());
        }
        let (size, written) = (vouched.checkpoint.tree.size, self.output.out.display().to_string());
        let view = View::Fields(vec![
            ("records", size.to_string()),
            ("witnesses", vouched.witnesses.join(", ")),
            ("written", written.clone()),
        ]);
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let json = json!({
            "size": size,
            "witnesses": vouched.witnesses,
            "faults": faults,
            "written": written,
        });
        show(shared.format, &view, &json)
    }

    /// Goes on until a signal says to stop.
    fn again_and_again(&self, every: Duration) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop))
                .context("signals cannot be taken")?;
        }
        let mut watch = Watch::default();
        while !stop.load(Ordering::Relaxed) {
            for said in self.watched(&mut watch) {
                eprintln!("chancery: {said}");
            }
            let next = Instant::now() + every;
            while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                sleep(STOP_POLL.min(next.saturating_duration_since(Instant::now())));
            }
        }
        Ok(())
    }

    /// One round of many, and what to say of it.
    fn watched(&self, watch: &mut Watch) -> Vec<String> {
        match self.round() {
            Ok(round) => watch.after(Some(&round.faults), &self.keep(&round)),
            Err(error) => watch.after(None, &Err(error)),
        }
    }

    fn keep(&self, round: &Round) -> Result<()> {
        if round.vouched.is_none() {
            return Err(round.lost());
        }
        let over = OverwriteArgs { force: true };
        files::write(&self.output.out, Secrecy::Public, over, round.note.to_string().as_bytes())
    }
}
