//! The verifiers of a drill: each follows bundles, verifies what traffic shows it, acknowledges and reports.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chancery_client::{Client, Profile, SystemClock, Verifier, Wanted, operation_id};
use chancery_core::command::Command;
use chancery_crypto::bundle::Pins;

use crate::cli::Shared;
use crate::connection;

/// How long one question for a newer bundle waits: 1 s, so that a verifier that is to end ends soon.
const FOLLOW: Duration = Duration::from_secs(1);

/// How often a verifier reports: twice a second.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// What a verifier does besides verifying.
#[derive(Debug, Default)]
struct Switches {
    ends: AtomicBool,
    is_mute: AtomicBool,
    is_deaf: AtomicBool,
}

/// A running verifier.
pub(super) struct Watcher {
    verifier: Arc<Verifier<Client>>,
    switches: Arc<Switches>,
    threads: Vec<JoinHandle<()>>,
}

/// Whether a verifier follows bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Following {
    /// It does.
    Bundles,
    /// It never does, and so acknowledges nothing.
    Nothing,
}

impl Watcher {
    /// Starts one, in a directory of its own.
    pub(super) fn start(
        shared: &Shared,
        profile: &Profile,
        (directory, pins): (&Path, Pins),
        following: Following,
    ) -> Result<Self> {
        let (source, reporting) =
            (connection::client_for(shared, profile)?, connection::client_for(shared, profile)?);
        let opened = Verifier::open(directory, pins, source, Box::new(SystemClock));
        let verifier = Arc::new(opened.context("a verifier of the drill cannot be started")?);
        let switches = Arc::new(Switches::default());
        switches.is_deaf.store(following == Following::Nothing, Ordering::Relaxed);
        let follows = follow(&verifier, &switches);
        let reports = report(&verifier, &switches, reporting);
        Ok(Self { verifier, switches, threads: vec![follows, reports] })
    }

    /// Whether it has a bundle, so that it can be asked.
    pub(super) fn is_ready(&self) -> bool {
        self.verifier.head().is_some()
    }

    /// Whether it follows bundles.
    pub(super) fn follows(&self) -> bool {
        !self.switches.is_deaf.load(Ordering::Relaxed)
    }

    /// From now on it says nothing.
    pub(super) fn mute(&self) {
        self.switches.is_mute.store(true, Ordering::Relaxed);
    }

    /// Whether it accepts a signature.
    pub(super) fn accepts(&self, signature: &[u8], wanted: &Wanted<'_>) -> bool {
        self.verifier.verify(signature, wanted).is_ok()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.switches.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn follow(verifier: &Arc<Verifier<Client>>, switches: &Arc<Switches>) -> JoinHandle<()> {
    let (verifier, switches) = (Arc::clone(verifier), Arc::clone(switches));
    std::thread::spawn(move || {
        while !switches.ends.load(Ordering::Relaxed) {
            let is_deaf = switches.is_deaf.load(Ordering::Relaxed);
            // While the service is away the last bundle is used.
            if is_deaf || verifier.refresh(FOLLOW).is_err() {
                std::thread::sleep(REPORT_EVERY);
            }
        }
    })
}

fn report(
    verifier: &Arc<Verifier<Client>>,
    switches: &Arc<Switches>,
    client: Client,
) -> JoinHandle<()> {
    let (verifier, switches) = (Arc::clone(verifier), Arc::clone(switches));
    std::thread::spawn(move || {
        while !switches.ends.load(Ordering::Relaxed) {
            std::thread::sleep(REPORT_EVERY);
            let report = verifier.report().filter(|_| !switches.is_mute.load(Ordering::Relaxed));
            if let Some((report, operation)) = report.zip(operation_id().ok()) {
                // The next one counts all that this one does.
                let _ = client.command(&Command::Report(report), operation);
            }
        }
    })
}
