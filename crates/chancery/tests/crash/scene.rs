//! What the traced runs begin with, what they do, and how they are judged.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::journal::{Findings, Journal};
use super::points::{Call, Fault, Point, calls, sample};
use super::traced::{Ended, Tracing, answers, run};
use super::workload::Worker;
use crate::harness::{Options, Service};

/// Small segments, so that the workload fills several: 15 frames of 4 KiB each.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// Runs at once: one traces while another starts.
const RUNNERS: usize = 2;

/// Where a run begins.
#[derive(Debug)]
pub(super) enum Scene {
    /// With nothing: the first start is what is interrupted.
    FirstStart,
    /// With a service that was started and stopped once.
    Later(Box<Service>),
}

/// How many points were run, and how many of them were met.
#[derive(Debug, Default)]
struct Tally {
    met: AtomicUsize,
    acknowledged: AtomicUsize,
}

/// How the services of these tests are started.
pub(super) fn options() -> Options {
    Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() }
}

impl Scene {
    /// A service that was started and stopped once.
    pub(super) fn later() -> Self {
        let mut template = Service::start_with(options());
        template.stop();
        Self::Later(Box::new(template))
    }

    /// A directory to run in.
    pub(super) fn service(&self) -> Service {
        match self {
            Self::FirstStart => Service::prepare(options()),
            Self::Later(template) => Service::copy_of(template),
        }
    }

    /// Runs the workload under a trace.
    pub(super) fn run(service: &Service, tracing: &Tracing) -> (Ended, Journal) {
        Self::run_with_pauses(service, tracing, Duration::ZERO)
    }

    /// The same, with pauses of that length between its operations.
    pub(super) fn run_with_pauses(
        service: &Service,
        tracing: &Tracing,
        pause: Duration,
    ) -> (Ended, Journal) {
        run(service, tracing, |is_alive| {
            if !answers(service, is_alive) {
                return Journal::default();
            }
            Worker::new(&service.client(), is_alive).with_pauses(pause).run()
        })
    }

    /// Every call of one run.
    pub(super) fn calls(&self) -> Vec<Call> {
        let service = self.service();
        let (ended, journal) = Self::run(&service, &Tracing::Everything);
        assert!(!ended.by_itself, "the signer ended by itself:\n{}", service.log());
        assert_eq!(journal.unanswered(), 0);
        let calls = calls(&ended.trace, service.directory());
        assert_eq!(judged(service, &journal), Findings::new());
        calls
    }

    /// Interrupts runs at every call, or at `most` of them, and judges each.
    pub(super) fn sweep(&self, fault: Fault, most: usize) {
        let all = self.calls();
        let count = all.len();
        let most = if runs_all() { usize::MAX } else { most };
        let points: Vec<_> =
            sample(all, most).into_iter().map(|call| Point { call, fault }).collect();
        let (next, tally) = (AtomicUsize::new(0), Tally::default());
        std::thread::scope(|scope| {
            let runner = || {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::SeqCst)) {
                    self.interrupt(point, &tally);
                }
            };
            for _ in 0..RUNNERS {
                scope.spawn(runner);
            }
        });
        let met = tally.met.into_inner();
        println!(
            "{fault:?}: {} of {count} points run, {met} met, {} operations acknowledged before them",
            points.len(),
            tally.acknowledged.into_inner()
        );
        // Threads take turns in ways that are not always the same: a few calls may not come again.
        assert!(met * 10 >= points.len() * 9, "{met} of {} points were met", points.len());
    }

    fn interrupt(&self, point: &Point, tally: &Tally) {
        let named = Named(point);
        let service = self.service();
        let (ended, journal) = Self::run(&service, &Tracing::At(point.clone()));
        let is_met = match point.fault {
            Fault::KilledBefore => ended.by_itself && ended.signer.signal() == Some(9),
            _ => ended.trace.contains(point.mark()),
        };
        tally.met.fetch_add(usize::from(is_met), Ordering::SeqCst);
        tally.acknowledged.fetch_add(journal.acknowledged(), Ordering::SeqCst);
        // SIGABRT: a panic, which is never the way to meet a failing disk.
        assert_ne!(ended.signer.signal(), Some(6), "{point}: {}", service.log());
        assert_eq!(judged(service, &journal), Findings::new(), "{point}");
        drop(named);
    }
}

/// Whether every point is to be run.
pub(super) fn runs_all() -> bool {
    std::env::var_os("CHANCERY_CRASH").is_some_and(|value| value == "all")
}

/// Starts the service as anybody would, without a hand, and holds it against the journal.
pub(super) fn judged(mut service: Service, journal: &Journal) -> Findings {
    service.launch();
    service.wait_until_up();
    let findings = journal.judge(&service);
    service.kill_all();
    findings
}

/// Names the point on standard error if its run panics.
struct Named<'p>(&'p Point);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at {}", self.0);
        }
    }
}
