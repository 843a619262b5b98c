//! A signer under `strace`, with this test as its supervisor.
//!
//! `strace -D` traces as a grandchild, so that the signer is a child of the test as it would be one of the
//! supervisor: it is tied to the life of the thread that started it, and gets its socket as its standard
//! input. The front beside it is an ordinary one. Nothing is restarted here: that is what comes after, with
//! `chancery serve` and without a trace.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::points::{CALLS, Fault, Point};
use crate::harness::{PATIENCE, Service, binary, is_alive, signal};

/// How often the trace is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Options of every trace: the calls of every thread, and how each ended.
const TRACE: [&str; 6] = ["-D", "-f", "-y", "-s8", "-e", "signal=kill"];

/// Besides, where data are replayed: moments, how long a call took, and up to 8 MiB of data.
const WHOLE: [&str; 4] = ["-ttt", "-T", "--strings-in-hex=non-ascii-chars", "-s8388608"];

/// What is traced and what is done to it.
#[derive(Clone, Debug)]
pub(super) enum Tracing {
    /// Every call is written down, and nothing done.
    Everything,
    /// Every call that is replayed is written down with its moment and all its data.
    Whole,
    /// One call is not what it seems.
    At(Point),
}

/// How a traced run ended.
pub(super) struct Ended {
    /// How the signer ended: by itself, or by the kill at the end.
    pub(super) signer: ExitStatus,
    /// Whether it had ended before that kill.
    pub(super) by_itself: bool,
    /// The trace.
    pub(super) trace: String,
}

impl Tracing {
    /// `strace` with its options, up to the command that is traced.
    pub(super) fn command(&self, service: &Service) -> Vec<String> {
        let mut command: Vec<String> = vec!["strace".into()];
        command.extend(TRACE.map(String::from));
        command.extend(["-o".into(), trace_path(service).to_str().unwrap().into()]);
        match self {
            Self::Everything => command.extend(["-e".into(), format!("trace={CALLS}")]),
            Self::Whole => {
                command.extend(WHOLE.map(String::from));
                command.extend(["-e".into(), format!("trace={}", super::recorded::CALLS)]);
            }
            Self::At(point) => command.extend(point.options(service.directory())),
        }
        command
    }

    /// Whether a kill waits for the mark of a delay.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::At(Point { fault: Fault::KilledAfter, .. }))
    }
}

/// Where a trace is written.
pub(super) fn trace_path(service: &Service) -> PathBuf {
    service.path("trace")
}

/// Runs a signer under a trace, beside a front, and `work` with them; kills both at the end.
pub(super) fn run<T>(
    service: &Service,
    tracing: &Tracing,
    work: impl FnOnce(&dyn Fn() -> bool) -> T,
) -> (Ended, T) {
    let mut signer = start_signer(service, tracing);
    let mut front = start_front(service);
    let pid = signer.id();
    let is_alive = || is_alive(pid);
    let over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        if tracing.waits() {
            scope.spawn(|| kill_at_mark(&trace_path(service), pid, &over));
        }
        let result = work(&is_alive);
        over.store(true, Ordering::SeqCst);
        result
    });
    let by_itself = !is_alive();
    signal(pid, Signal::KILL);
    signal(front.id(), Signal::KILL);
    front.wait().unwrap();
    let signer = signer.wait().unwrap();
    let trace = settled(&trace_path(service));
    (Ended { signer, by_itself, trace }, result)
}

/// Waits until a service answers, unless its signer has died; whether it answers.
pub(super) fn answers(service: &Service, is_alive: &dyn Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if service.answers() {
            return true;
        }
        if !is_alive() {
            return false;
        }
        assert!(Instant::now() < deadline, "neither up nor dead:\n{}", service.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start_signer(service: &Service, tracing: &Tracing) -> Child {
    let runtime = service.data().join("run");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&runtime).unwrap();
    let listener = UnixListener::bind(runtime.join("signer.sock")).unwrap();
    let command = tracing.command(service);
    let (program, arguments) = command.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg(binary().get_program());
    let path = |name: &str| service.path(name);
    command.arg("signer").arg("--data").arg(service.data());
    command.arg("--root-key").arg(path("root.key"));
    command.arg("--recovery-key").arg(path("recovery.key"));
    command.arg("--lock-directory").arg(service.directory());
    command.arg("--endpoint").arg(format!("https://127.0.0.1:{}", service.port()));
    command.args(service.segment_bytes().map(|bytes| format!("--segment-bytes={bytes}")));
    spawn(service, command, listener.into())
}

fn start_front(service: &Service) -> Child {
    let listener = TcpListener::bind(("127.0.0.1", service.port())).unwrap();
    let mut command = binary();
    command.arg("front").arg("--signer").arg(service.data().join("run/signer.sock"));
    spawn(service, command, listener.into())
}

fn spawn(service: &Service, mut command: Command, listener: OwnedFd) -> Child {
    let log = File::options().create(true).append(true).open(service.path("log")).unwrap();
    command.args(["--name", "localhost", "--name", "127.0.0.1"]);
    command.arg("--parent").arg(std::process::id().to_string());
    // What it says there is for a supervisor, and no call of its on a file of the service.
    command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("strace and the binary are on this machine")
}

/// Kills the process once the trace says that its call is over and is being held back.
pub(super) fn kill_at_mark(trace: &Path, pid: u32, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if fs::read_to_string(trace).is_ok_and(|trace| trace.contains("(DELAYED)")) {
            return signal(pid, Signal::KILL);
        }
        std::thread::sleep(POLL);
    }
}

/// The trace, once `strace` has written how each thread ended; it does so after their end.
pub(super) fn settled(path: &Path) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut before = String::new();
    loop {
        std::thread::sleep(POLL * 5);
        let now = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        if now == before && now.contains("+++") {
            return now;
        }
        assert!(Instant::now() < deadline, "a trace without an end:\n{now}");
        before = now;
    }
}
