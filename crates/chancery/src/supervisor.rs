//! The supervisor: owns the listeners, starts signer and front, and restarts either.
//!
//! It is one thread, parses no request and holds no key. A child gets its listener as its standard input,
//! an environment of a few names, and the supervisor's process id, by which it ties its life to the
//! supervisor's. A second supervisor on the same directory is refused by a lock.
//!
//! **Invariant:** a listener stays open for as long as the supervisor runs, so that connections made while
//! a child is being restarted wait instead of failing.
//!
//! What it does not do: look into the data directory, or decide what a signer's failure means beyond the
//! rule of [`restart`].

mod child;
mod directory;
mod restart;
mod signals;

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::directory::{Lock, private_directory};

use self::child::{Ended, Service, Standing};
use self::signals::Signals;

/// The longest sleep while the service is not yet ready, and the admin file is being waited for.
const START_POLL: Duration = Duration::from_millis(50);

/// The longest sleep otherwise; signals and deaths of children end it early.
const IDLE_POLL: Duration = Duration::from_secs(60);

/// The longest wait for a child to end by itself before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What the supervisor is started with.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Where the front listens.
    pub(crate) listen: SocketAddr,
    /// The root key's file, outside the data directory.
    pub(crate) root_key: PathBuf,
    /// The recovery key's file, outside the data directory.
    pub(crate) recovery_key: PathBuf,
}

/// A supervisor with its listeners and its two children.
struct Supervisor {
    signer: Service,
    front: Service,
    signals: Signals,
    admin: PathBuf,
    address: SocketAddr,
    announcement: Announcement,
    // Held for as long as the supervisor runs.
    _lock: File,
}

/// Whether it was said that the service listens.
#[derive(PartialEq)]
enum Announcement {
    Due,
    Made,
}

/// Runs signer and front until a signal asks to stop.
///
/// # Errors
///
/// What made the service stop by itself, or kept it from starting.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    Supervisor::start(plan)?.supervise()
}

impl Supervisor {
    fn start(plan: &Plan) -> Result<Self> {
        let signals = Signals::register().context("cannot register signal handlers")?;
        private_directory(&plan.data)?;
        let runtime = plan.data.join("run");
        private_directory(&runtime)?;
        let lock = Lock::take(&runtime.join("supervisor.lock"))?;
        let listener = TcpListener::bind(plan.listen)
            .with_context(|| format!("cannot listen on {}; `--listen ADDR` names another address", plan.listen))?;
        let address = listener.local_addr().context("cannot tell the listener's address")?;
        let socket = directory::bind_private(&runtime.join("signer.sock"))?;
        Ok(Self {
            signer: Service::new("signer", socket.into(), signer_arguments(plan, address)),
            front: Service::new("front", listener.into(), front_arguments(&runtime)),
            signals,
            admin: plan.data.join("admin.toml"),
            address,
            announcement: Announcement::Due,
            _lock: lock,
        })
    }

    fn supervise(mut self) -> Result<()> {
        while !self.signals.stop_requested() {
            let now = Instant::now();
            let outcome = self.signer.keep_running(now).and_then(|()| self.front.keep_running(now));
            if let Err(ended) = outcome {
                self.stop()?;
                return Err(explain(&ended));
            }
            self.announce()?;
            self.signals.wait(self.sleep(now)).context("cannot wait for signals")?;
        }
        self.stop()
    }

    fn sleep(&self, now: Instant) -> Duration {
        let due = [&self.signer, &self.front].into_iter().filter_map(Service::starts_at);
        let next = due.map(|at| at.saturating_duration_since(now)).min().unwrap_or(IDLE_POLL);
        let most = if self.announcement == Announcement::Due { START_POLL } else { IDLE_POLL };
        next.min(most)
    }

    /// Says once where the service listens and what to try.
    fn announce(&mut self) -> Result<()> {
        let is_up = [&self.signer, &self.front].into_iter().all(|service| service.standing() == Standing::Runs);
        if self.announcement == Announcement::Made || !is_up || !self.admin.exists() {
            return Ok(());
        }
        self.announcement = Announcement::Made;
        let admin = self.admin.display();
        // A closed output is no reason to stop serving.
        let _ = writeln!(
            io::stdout().lock(),
            "chancery listens on https://{}\n\
             admin file: {admin}\n\
             \n\
             Try, in another terminal:\n\
             \n  export CHANCERY_CONTEXT={admin}\
             \n  chancery status\
             \n  chancery key create invoices --purpose sign.bound:invoice --algorithm ed25519\
             \n  chancery handle issue invoices --ttl 15m --out invoices.handle\n",
            self.address
        );
        Ok(())
    }

    /// Stops the front first, so that no new request arrives, then the signer.
    fn stop(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_MAX;
        for service in [&mut self.front, &mut self.signer] {
            service.stop(deadline, &self.signals).context("cannot stop a child")?;
        }
        Ok(())
    }
}

fn explain(ended: &Ended) -> anyhow::Error {
    match ended {
        Ended::CannotStart { name, source } => anyhow::anyhow!("cannot start the {name}: {source}"),
        Ended::Misconfigured { name } => {
            anyhow::anyhow!("the {name} refused its configuration; its own message stands above")
        }
        Ended::StorageKeepsFailing => anyhow::anyhow!(
            "the signer failed three times in ten minutes on writes or syncs and is not started again: \
             nothing that was acknowledged is lost, and no key is unwrapped until the disk is seen to. \
             Check the disk under the data directory, then start the service again"
        ),
        Ended::Unobservable { name, source } => anyhow::anyhow!("cannot tell how the {name} is: {source}"),
    }
}

fn signer_arguments(plan: &Plan, address: SocketAddr) -> Vec<std::ffi::OsString> {
    vec![
        "--data".into(),
        plan.data.clone().into(),
        "--root-key".into(),
        plan.root_key.clone().into(),
        "--recovery-key".into(),
        plan.recovery_key.clone().into(),
        "--endpoint".into(),
        format!("https://{address}").into(),
    ]
}

fn front_arguments(runtime: &std::path::Path) -> Vec<std::ffi::OsString> {
    vec!["--signer".into(), runtime.join("signer.sock").into()]
}
