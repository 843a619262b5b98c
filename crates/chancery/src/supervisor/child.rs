//! One child: started with its listener as standard input and a pipe for its word as standard output, watched,
//! restarted, stopped.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::restart::{Death, Next, Phase, Restarts};
use super::signals::Signals;
use crate::readiness::Readiness;

/// What a child keeps of the environment: where programs and state are, the language, and whether a panic
/// shows its stack.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "XDG_STATE_HOME", "RUST_BACKTRACE"];

/// How often a child that was asked to stop is looked at.
const STOP_POLL: Duration = Duration::from_millis(20);

/// A child that is kept running.
pub(super) struct Service {
    name: &'static str,
    listener: OwnedFd,
    arguments: Vec<OsString>,
    /// What is said besides until one process has served, and to none that is started after it.
    once: Vec<&'static str>,
    restarts: Restarts,
    state: State,
}

enum State {
    Runs(Child, Readiness),
    StartsAt(Instant),
}

/// A child is not to be started again.
#[derive(Debug)]
pub(super) enum Ended {
    /// The process could not be made.
    CannotStart { name: &'static str, source: io::Error },
    /// It ended by itself before the service was up, which no restart mends.
    CannotRun { name: &'static str },
    /// The signer's disk fails again and again.
    StorageKeepsFailing,
    /// The system does not say whether it runs.
    Unobservable { name: &'static str, source: io::Error },
}

impl Service {
    /// A service whose process is yet to be started. `arguments` follow its name on the command line.
    pub(super) fn new(
        name: &'static str,
        listener: OwnedFd,
        arguments: Vec<OsString>,
        restarts: Restarts,
    ) -> Self {
        let state = State::StartsAt(Instant::now());
        Self { name, listener, arguments, once: Vec::new(), restarts, state }
    }

    /// The same, with words for the first start that comes to serve.
    pub(super) fn told_once(self, once: Vec<&'static str>) -> Self {
        Self { once, ..self }
    }

    /// Whether its process has said that it serves.
    pub(super) fn is_ready(&self) -> bool {
        match &self.state {
            State::Runs(_, readiness) => readiness.is_ready(),
            State::StartsAt(_) => false,
        }
    }

    /// What becomes readable when its process says so.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Runs(_, readiness) => readiness.source(),
            State::StartsAt(_) => None,
        }
    }

    /// When it is to be started, if it does not run.
    pub(super) fn starts_at(&self) -> Option<Instant> {
        match self.state {
            State::Runs(..) => None,
            State::StartsAt(at) => Some(at),
        }
    }

    /// Starts it if that is due, hears what it says, and plans its restart if it has died.
    pub(super) fn keep_running(&mut self, phase: Phase, now: Instant) -> Result<(), Ended> {
        match &mut self.state {
            State::StartsAt(at) if now >= *at => {
                let (child, readiness) = self
                    .start()
                    .map_err(|source| Ended::CannotStart { name: self.name, source })?;
                self.restarts.started(now);
                self.state = State::Runs(child, readiness);
            }
            State::StartsAt(_) => {}
            State::Runs(child, readiness) => {
                let status = child.try_wait();
                let status =
                    status.map_err(|source| Ended::Unobservable { name: self.name, source })?;
                // One that has ended said all it had to say before.
                readiness.hear();
                if readiness.is_ready() {
                    self.once.clear();
                }
                if let Some(status) = status {
                    self.died(status, phase, now)?;
                }
            }
        }
        Ok(())
    }

    fn died(&mut self, status: ExitStatus, phase: Phase, now: Instant) -> Result<(), Ended> {
        match self.restarts.after(death(status), phase, now) {
            Next::Start(delay) => {
                eprintln!(
                    "chancery: the {} ended ({status}); starting it again in {delay:?}",
                    self.name
                );
                self.state = State::StartsAt(now + delay);
                Ok(())
            }
            Next::CannotRun => Err(self.given_up(now, Ended::CannotRun { name: self.name })),
            Next::StorageKeepsFailing => Err(self.given_up(now, Ended::StorageKeepsFailing)),
        }
    }

    fn given_up(&mut self, now: Instant, ended: Ended) -> Ended {
        self.state = State::StartsAt(now);
        ended
    }

    fn start(&self) -> io::Result<(Child, Readiness)> {
        let (readiness, word) = Readiness::pipe()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(self.name).args(&self.arguments).args(&self.once);
        command.arg("--parent").arg(std::process::id().to_string());
        // No process group of its own: whoever leads one cannot begin the session that a child begins with.
        command.env_clear().stdin(Stdio::from(self.listener.try_clone()?)).stdout(word);
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Ok((command.spawn()?, readiness))
    }

    /// Asks the process to stop, waits, and kills it when `deadline` has come.
    pub(super) fn stop(&mut self, deadline: Instant, signals: &Signals) -> io::Result<()> {
        let State::Runs(child, _) = &mut self.state else { return Ok(()) };
        signal(child, Signal::TERM);
        while child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                signal(child, Signal::KILL);
                child.wait()?;
                break;
            }
            signals.wait(STOP_POLL, &[])?;
        }
        self.state = State::StartsAt(deadline);
        Ok(())
    }
}

/// Sends a signal to a child that was not yet waited for, so that its id cannot be another's.
fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have died in this moment, which is what is wanted.
        let _ = kill_process(pid, signal);
    }
}

fn death(status: ExitStatus) -> Death {
    match (status.code(), status.signal()) {
        (Some(code), _) => Death::Exit(code),
        (None, _) => Death::Signal,
    }
}
