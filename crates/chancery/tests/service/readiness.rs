//! When a service says that it is up: not before signer and front say so by themselves.
//!
//! A signer is held up by the lock that an earlier one would hold. What a child says is read here from a child
//! that the test starts in the supervisor's place.

use std::fs::{self, File, Permissions};
use std::io::{PipeReader, Read as _, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use chancery_api::frame::Kind;
use chancery_api::message::HealthRequest;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use super::frames::FakeFront;
use crate::harness::{Process, Service, binary, eventually, signal};

/// What is said once the service is up.
const ANNOUNCED: &str = "chancery listens on ";

/// How long a service that is held up is listened to: a start without a log takes a tenth.
const HELD_UP: Duration = Duration::from_secs(1);

/// The lock of a signer, as one on its way out holds it.
fn lock(service: &Service) -> File {
    let path = service.data().join("run/signer.lock");
    let lock = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

/// What the processes have said since a moment at which the log was so long.
fn said_since(service: &Service, before: usize) -> String {
    service.log().split_off(before)
}

#[test]
fn nothing_is_announced_before_the_signer_serves_and_what_is_announced_serves_at_once() {
    let mut service = Service::start();
    service.stop();
    // The admin file is there, and so is every other file.
    let (held, before) = (lock(&service), service.log().len());
    service.launch();
    let children = [Process::Front, Process::Signer];
    let run = |service: &Service| children.iter().all(|&child| service.pids().get(child).is_some());
    eventually("both children run", || run(&service));
    let until = Instant::now() + HELD_UP;
    while Instant::now() < until {
        assert!(!said_since(&service, before).contains(ANNOUNCED), "{}", service.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(run(&service), "{}", service.log());
    drop(held);
    eventually("it is announced", || said_since(&service, before).contains(ANNOUNCED));
    assert!(service.answers());
    // Once is enough, also when a child is started again.
    service.kill(Process::Signer);
    service.wait_until_up();
    assert_eq!(said_since(&service, before).matches(ANNOUNCED).count(), 1, "{}", service.log());
}

#[test]
fn a_service_whose_admin_file_was_moved_away_is_up_all_the_same() {
    let mut service = Service::start();
    service.stop();
    let (admin, before) = (service.data().join("admin.toml"), service.log().len());
    fs::rename(&admin, service.path("admin.toml")).unwrap();
    service.launch();
    eventually("it is announced", || said_since(&service, before).contains(ANNOUNCED));
    assert!(!said_since(&service, before).contains("admin file"), "{}", service.log());
}

/// What the operator says of one start is not said again to a signer that is started after one that served, also
/// if the front was not ready in between.
#[test]
fn what_is_said_of_one_start_is_forgotten_when_the_signer_alone_is_ready() {
    let mut service = stopped();
    let held = lock(&service);
    let once = ["--wall-clock-is-right", "--new-lock-record"];
    fs::remove_file(service.lock_record().unwrap()).unwrap();
    service.serve_with(once.map(String::from).to_vec());
    service.launch();
    let pid = |service: &Service, process| service.pids().get(process);
    eventually("both children run", || {
        [Process::Front, Process::Signer].iter().all(|&child| pid(&service, child).is_some())
    });
    let arguments = |service: &Service| {
        let signer = pid(service, Process::Signer)?;
        let line = fs::read(format!("/proc/{signer}/cmdline")).ok()?;
        Some((signer, String::from_utf8(line).unwrap()))
    };
    let (first, said) = arguments(&service).unwrap();
    assert!(once.iter().all(|once| said.contains(once)), "{said}");
    signal(pid(&service, Process::Front).unwrap(), Signal::STOP);
    drop(held);
    eventually("the signer serves", || {
        UnixStream::connect(service.data().join("run/signer.sock")).is_ok() && is_served(&service)
    });
    service.kill(Process::Signer);
    let again = |service: &Service| {
        arguments(service).is_some_and(|(signer, said)| {
            signer != first && !once.iter().any(|once| said.contains(once))
        })
    };
    eventually("the next signer is not told again", || again(&service));
    signal(pid(&service, Process::Front).unwrap(), Signal::CONT);
    service.wait_until_up();
}

/// A child of this test, in the supervisor's place, on the socket of a service that is stopped.
struct Alone {
    child: Child,
    said: Option<PipeReader>,
}

impl Alone {
    fn start(service: &Service, name: &str, more: &[&str]) -> Self {
        let socket = service.data().join("run/signer.sock");
        fs::remove_file(&socket).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
        let (said, says) = pipe().unwrap();
        let log = File::options().append(true).open(service.path("log")).unwrap();
        let mut command = binary();
        command.arg(name).arg("--data").arg(service.data()).args(more);
        command.arg("--parent").arg(std::process::id().to_string());
        command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(says).stderr(log);
        Self { child: command.spawn().unwrap(), said: Some(said) }
    }

    fn signer(service: &Service) -> Self {
        let path = |name| service.path(name).to_str().unwrap().to_owned();
        let (root, recovery) = (path("root.key"), path("recovery.key"));
        let endpoint = format!("https://127.0.0.1:{}", service.port());
        let keys = ["--root-key", &root, "--recovery-key", &recovery];
        let directory = service.directory().to_str().unwrap();
        let rest = ["--endpoint", &endpoint, "--name", "localhost"];
        let place = ["--lock-directory", directory];
        Self::start(service, "signer", &[keys.as_slice(), &rest, &place].concat())
    }

    /// All that it says, to the end of the pipe.
    fn words(&mut self) -> String {
        let mut words = String::new();
        self.said.take().unwrap().read_to_string(&mut words).unwrap();
        words
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        signal(self.child.id(), Signal::KILL);
        self.child.wait().unwrap();
    }
}

/// A service that ran and was stopped.
fn stopped() -> Service {
    let mut service = Service::start();
    service.stop();
    service
}

/// Whether whoever has the socket answers a frame.
fn is_served(service: &Service) -> bool {
    let mut front = FakeFront::connect(service);
    front.frame(Kind::Health, &HealthRequest { reserved: 0 });
    front.answer().is_ok()
}

#[test]
fn a_signer_says_one_word_and_closes_the_pipe() {
    let service = stopped();
    let mut signer = Alone::signer(&service);
    assert_eq!(signer.words(), "ready\n");
    assert!(is_served(&service));
}

#[test]
fn a_signer_to_which_nobody_listens_serves_all_the_same() {
    let service = stopped();
    let mut signer = Alone::signer(&service);
    drop(signer.said.take());
    assert!(is_served(&service), "{}", service.log());
    assert!(signer.child.try_wait().unwrap().is_none());
}

#[test]
fn a_signer_that_cannot_start_says_nothing() {
    let service = stopped();
    fs::remove_file(service.data().join("store.redb")).unwrap();
    let mut signer = Alone::signer(&service);
    assert_eq!(signer.words(), "");
    assert!(!signer.child.wait().unwrap().success());
}

#[test]
fn the_process_that_only_takes_reductions_serves_and_says_nothing() {
    let service = stopped();
    let mut reduce_only = Alone::start(&service, "reduce-only", &[]);
    assert_eq!(reduce_only.words(), "");
    assert!(is_served(&service), "{}", service.log());
}
