//! `verifier run`: a process that follows bundles, verifies what it is given, acknowledges and reports.
//!
//! Three things go on at once: one thread waits at the service for a newer bundle, one reports, and the lines that come are
//! answered. Nothing of the three waits for another, so that verifying goes on while the service is away.

use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chancery_client::{
    Client, Outcome, RefreshError, Refreshed, SystemClock, Verifier, operation_id,
};
use chancery_core::command::Command;
use clap::Args;

use super::served;
use crate::cli::Shared;
use crate::commands::bundle::{PinsArgs, epoch_text};
use crate::connection;
use crate::exit::Failure;
use crate::parse;

/// How long one question for a newer bundle waits at the service: 20 s, less than the longest that a client waits.
const FOLLOW: Duration = Duration::from_secs(20);

/// How long to rest after a question that was not answered: 5 s.
const REST: Duration = Duration::from_secs(5);

/// Run a verifier: follow bundles, verify, acknowledge, report.
///
/// Each line of standard input, or of a connection to the socket, is a JSON object with `key`, `purpose`, `signature`
/// (base64) and, for formats that do not carry it, `message` (base64) or `digest` (base64 of its SHA-256); `context` (a list
/// of NAME=VALUE), `scope` (environment, region, service) and `id` (any text, repeated in the answer) may be left out. Each
/// answer is a line with `accepted`, and `versions` or `because`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery verifier run --context-file gateway.toml --state gateway --pins bundle.pins --socket gateway.sock

The context file is that of a principal of the role `verifier`, which an operator has registered.
The state directory holds the latest bundle, so that numbers never go back, and evidence of bundles that contradict
each other.")]
pub(super) struct RunArgs {
    /// The directory that holds the latest bundle.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    pins: PinsArgs,
    /// A Unix socket to answer on, instead of standard input.
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// How often to report.
    #[arg(long, default_value = "5s", value_parser = parse::duration)]
    report_every: Duration,
}

/// A verifier of a service.
pub(super) type Ours = Verifier<Client>;

/// Carries `verifier run` out.
pub(super) fn run(shared: &Shared, args: &RunArgs) -> Result<(), Failure> {
    let profile = connection::profile(shared)?;
    let source = connection::client_for(shared, &profile)?;
    let reporting = connection::client_for(shared, &profile)?;
    let opened = Verifier::open(&args.state, args.pins.load()?, source, Box::new(SystemClock));
    let verifier = Arc::new(opened.context("the verifier cannot be started")?);
    let (newer, told) = sync_channel(1);
    let followed = Arc::clone(&verifier);
    std::thread::spawn(move || follow(&followed, &newer));
    let (reported, every) = (Arc::clone(&verifier), args.report_every);
    std::thread::spawn(move || {
        loop {
            match told.recv_timeout(every) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => report(&reported, &reporting),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    match &args.socket {
        Some(path) => served::listen(&verifier, path)?,
        None => served::answer(&verifier, BufReader::new(io::stdin()), io::stdout())?,
    }
    // What was verified last is reported too.
    report(&verifier, &connection::client_for(shared, &profile)?);
    Ok(())
}

/// Follows bundles for as long as the process lives.
fn follow(verifier: &Ours, newer: &SyncSender<()>) {
    let mut said = String::new();
    loop {
        match verifier.refresh(FOLLOW) {
            Ok(refreshed) => {
                said.clear();
                if refreshed == Refreshed::Newer {
                    tell(verifier);
                    // One that waits already says the same.
                    let _ = newer.try_send(());
                }
            }
            Err(error) => {
                complain(&mut said, &error);
                std::thread::sleep(REST);
            }
        }
    }
}

fn tell(verifier: &Ours) {
    if let Some(head) = verifier.head() {
        eprintln!("chancery verifier: uses bundle {}", epoch_text(head.number));
    }
}

/// Says what went wrong, once for as long as it is the same.
fn complain(said: &mut String, error: &RefreshError) {
    let text = error.to_string();
    if *said != text {
        eprintln!("chancery verifier: {text}");
        *said = text;
    }
}

fn report(verifier: &Ours, client: &Client) {
    let Some(report) = verifier.report() else { return };
    let Ok(operation) = operation_id() else { return };
    match client.command(&Command::Report(report), operation) {
        // The next one counts all that this one does.
        Outcome::Committed(_) | Outcome::Unknown(_) => {}
        Outcome::Refused(refusal) => {
            eprintln!("chancery verifier: the report was refused: {refusal}");
        }
    }
}
