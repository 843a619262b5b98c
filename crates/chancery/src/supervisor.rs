//! The supervisor: owns the listeners, starts signer and front, and a courier where others are asked what they hold of
//! the log; and restarts each.
//!
//! It is one thread, parses no request and holds no key. A child gets its listener as its standard input,
//! a pipe as its standard output, an environment of a few names, and the supervisor's process id, by which it
//! ties its life to the supervisor's. The pipe is for one word, that it serves. A second supervisor on the same directory is refused by a lock.
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

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chancery_audit::publish::LOG_DIRECTORY;
use chancery_audit::shelf::make_root;
use chancery_audit::witnessed::{ANSWERS_DIRECTORY, WITNESS_DIRECTORY};

use chancery_signer::{EXIT_AUDIT_FAILED, IndexWish, LockRecordWish, WallClock};

pub(crate) use self::directory::{Lock, private_directory};

use self::child::{Ended, Service};
use self::restart::{Phase, Restarts};
use self::signals::Signals;
use crate::courier;
use crate::exit::Failure;
use crate::privileges::User;

/// How often an address that is held is tried.
const ADDRESS_POLL: Duration = Duration::from_millis(50);

/// The longest sleep; signals, deaths of children and what they say end it early.
const IDLE_POLL: Duration = Duration::from_mins(1);

/// The longest wait for an earlier front to let go of the address: 1 s. The kernel ends it when its supervisor
/// dies; whoever else holds the address keeps it.
const PREDECESSOR_MAX: Duration = Duration::from_secs(1);

/// The longest wait for a child to end by itself before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// By which the signer is told that the operator vouches for the wall clock.
const WALL_CLOCK_IS_RIGHT: &str = "--wall-clock-is-right";

/// By which it is told that the lock record is lost.
const NEW_LOCK_RECORD: &str = "--new-lock-record";

/// What is said when the disk under the data directory fails again and again.
const STORAGE_FAILED: &str = "the signer failed again and again on writes or syncs and is not started any more: \
    nothing that was acknowledged is lost, and no key is unwrapped until the disk is seen to. Check the disk \
    under the data directory, then start the service again";

/// What the supervisor is started with.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Where the front listens.
    pub(crate) listen: SocketAddr,
    /// The root key's file, outside the data directory.
    pub(crate) root_key: PathBuf,
    /// The file that holds the root key's passphrase, if it is wrapped under one.
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The recovery key's file, outside the data directory.
    pub(crate) recovery_key: PathBuf,
    /// The names in the front's certificate, besides those of this machine.
    pub(crate) names: Vec<String>,
    /// The front's user, if it is another than the service's.
    pub(crate) front_user: Option<User>,
    /// What is thought of the wall clock, at the first start of the signer that comes to serve.
    pub(crate) wall_clock: WallClock,
    /// The directory of the log's lock record, outside the data directory.
    pub(crate) lock_directory: PathBuf,
    /// What is to be done about it, at the first start of the signer that comes to serve.
    pub(crate) lock_record: LockRecordWish,
    /// The bytes of an audit segment.
    pub(crate) segment_bytes: u64,
    /// Who is asked what they hold of the log.
    pub(crate) others: Option<Asked>,
    /// How often a checkpoint is made.
    pub(crate) checkpoint_every: Duration,
    /// Whether the index is made.
    pub(crate) index: IndexWish,
    /// For how long segments stay at least, in milliseconds; for ever if it is not said.
    pub(crate) retention_ms: Option<u64>,
}

/// Who is asked what they hold of the log.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The policy that names witnesses, if there are any.
    pub(crate) witness_policy: Option<PathBuf>,
    /// The authorities of witnesses and peers.
    pub(crate) witness_ca: Option<PathBuf>,
    /// The least time between two rounds that nobody waits for.
    pub(crate) witness_every: Duration,
    /// For how long keys are used although no witness has cosigned a start.
    pub(crate) unwitnessed_for: Option<Duration>,
    /// URLs of those who publish this log's files as well.
    pub(crate) peers: Vec<String>,
}

/// A supervisor with its listeners and its two children.
struct Supervisor {
    signer: Service,
    /// What runs in the signer's place when its disk fails again and again.
    reduce_only: Option<Service>,
    front: Service,
    courier: Option<Service>,
    signals: Signals,
    admin: PathBuf,
    address: SocketAddr,
    phase: Phase,
    // Held for as long as the supervisor runs.
    _lock: File,
}

/// Runs signer and front until a signal asks to stop.
///
/// # Errors
///
/// What made the service stop by itself, or kept it from starting.
pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    Supervisor::start(plan)?.supervise()
}

impl Supervisor {
    fn start(plan: &Plan) -> Result<Self> {
        let signals = Signals::register().context("cannot register signal handlers")?;
        private_directory(&plan.data)?;
        let runtime = plan.data.join("run");
        private_directory(&runtime)?;
        let lock = Lock::take(&runtime.join("supervisor.lock"))?;
        let log = plan.data.join(LOG_DIRECTORY);
        make_root(&log).with_context(|| format!("cannot make `{}`", log.display()))?;
        let listener = listen(plan.listen).with_context(|| {
            format!("cannot listen on {}; `--listen ADDR` names another address", plan.listen)
        })?;
        let address = listener.local_addr().context("cannot tell the listener's address")?;
        let group = plan.front_user.map(|user| user.gid);
        let socket = directory::bind_private(&runtime.join("signer.sock"), group)?;
        let spare = socket.try_clone().context("cannot keep the signer's socket")?;
        let mut reduce_only = vec!["--data".into(), plan.data.clone().into()];
        reduce_only.extend(peer_arguments(plan));
        let (signer, front) = (signer_arguments(plan, address), front_arguments(plan, address));
        Ok(Self {
            signer: Service::new("signer", socket.into(), signer, Restarts::of_signer())
                .told_once(told_once(plan)),
            reduce_only: Some(Service::new(
                "reduce-only",
                spare.into(),
                reduce_only,
                Restarts::of_signer(),
            )),
            front: Service::new("front", listener.into(), front, Restarts::of_front()),
            courier: courier(plan)?,
            signals,
            admin: plan.data.join("admin.toml"),
            address,
            phase: Phase::Starting,
            _lock: lock,
        })
    }

    fn supervise(mut self) -> Result<(), Failure> {
        while !self.signals.stop_requested() {
            let now = Instant::now();
            if let Err(ended) = self.keep_running(now) {
                self.stop()?;
                return Err(explain(ended));
            }
            self.announce();
            let sources = self.children().filter_map(Service::source);
            let sources: Vec<_> = sources.collect();
            self.signals.wait(self.sleep(now), &sources).context("cannot wait for signals")?;
        }
        Ok(self.stop()?)
    }

    fn keep_running(&mut self, now: Instant) -> std::result::Result<(), Ended> {
        match (self.signer.keep_running(self.phase, now), self.reduce_only.take()) {
            (Err(Ended::StorageKeepsFailing), Some(reduce_only)) => {
                eprintln!("chancery: {STORAGE_FAILED}; until then, only reductions are taken");
                self.signer = reduce_only;
            }
            (kept, reduce_only) => {
                self.reduce_only = reduce_only;
                kept?;
            }
        }
        if let Some(courier) = &mut self.courier {
            courier.keep_running(self.phase, now)?;
        }
        self.front.keep_running(self.phase, now)
    }

    fn children(&self) -> impl Iterator<Item = &Service> {
        [&self.signer, &self.front].into_iter().chain(&self.courier)
    }

    fn sleep(&self, now: Instant) -> Duration {
        let due = self.children().filter_map(Service::starts_at);
        let next = due.map(|at| at.saturating_duration_since(now)).min();
        next.map_or(IDLE_POLL, |next| next.min(IDLE_POLL))
    }

    /// Says once, when the service is up, where it listens and what to try.
    fn announce(&mut self) {
        let is_up = self.signer.is_ready() && self.front.is_ready();
        if self.phase == Phase::Serving || !is_up {
            return;
        }
        self.phase = Phase::Serving;
        // A closed output is no reason to stop serving.
        let _ = io::stdout().lock().write_all(self.announcement().as_bytes());
    }

    /// Where the service listens, and what to try with the admin file unless that was moved away.
    fn announcement(&self) -> String {
        let listens = format!("chancery listens on https://{}\n", self.address);
        if !self.admin.exists() {
            return listens;
        }
        let admin = self.admin.display();
        format!(
            "{listens}\
             admin file: {admin}\n\
             \n\
             Try, in another terminal:\n\
             \n  export CHANCERY_CONTEXT={admin}\
             \n  chancery status\
             \n  chancery key create invoices --purpose sign.bound:invoice --algorithm ed25519\
             \n  chancery handle issue invoices --ttl 15m --out invoices.handle\n\n"
        )
    }

    /// Stops the front first, so that no new request arrives, then the signer.
    fn stop(&mut self) -> Result<()> {
        let deadline = Instant::now() + STOP_MAX;
        let Self { front, signer, courier, .. } = self;
        for service in [front, signer].into_iter().chain(courier) {
            service.stop(deadline, &self.signals).context("cannot stop a child")?;
        }
        Ok(())
    }
}

/// Binds the address. The front of a supervisor that was killed may hold it for a moment longer.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + PREDECESSOR_MAX;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(ADDRESS_POLL);
            }
            bound => return bound,
        }
    }
}

fn explain(ended: Ended) -> Failure {
    match ended {
        Ended::CannotStart { name, source } => {
            anyhow::Error::from(source).context(format!("cannot start the {name}")).into()
        }
        Ended::CannotRun { name } => {
            anyhow::anyhow!("the {name} cannot run; its own message stands above").into()
        }
        Ended::StorageKeepsFailing => Failure::Child {
            code: EXIT_AUDIT_FAILED,
            error: anyhow::anyhow!(
                "the reduction journal cannot be written either; {STORAGE_FAILED}"
            ),
        },
        Ended::Unobservable { name, source } => {
            anyhow::Error::from(source).context(format!("cannot tell how the {name} is")).into()
        }
    }
}

fn signer_arguments(plan: &Plan, address: SocketAddr) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--data".into(),
        plan.data.clone().into(),
        "--root-key".into(),
        plan.root_key.clone().into(),
        "--recovery-key".into(),
        plan.recovery_key.clone().into(),
        "--lock-directory".into(),
        plan.lock_directory.clone().into(),
        "--endpoint".into(),
        endpoint(plan, address).into(),
        "--segment-bytes".into(),
        plan.segment_bytes.to_string().into(),
        "--checkpoint-every".into(),
        format!("{}s", plan.checkpoint_every.as_secs()).into(),
    ];
    if plan.index == IndexWish::Off {
        arguments.extend(["--index".into(), "off".into()]);
    }
    if let Some(file) = &plan.passphrase_file {
        arguments.extend(["--passphrase-file".into(), file.into()]);
    }
    if let Some(kept) = plan.retention_ms {
        arguments.extend(["--retention-ms".into(), kept.to_string().into()]);
    }
    arguments.extend(peer_arguments(plan));
    arguments.extend(name_arguments(plan, address));
    arguments.extend(plan.others.iter().flat_map(others_arguments));
    arguments
}

fn others_arguments(asked: &Asked) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--asks-others".into()];
    if let Some(policy) = &asked.witness_policy {
        arguments.extend(["--witness-policy".into(), policy.into()]);
    }
    if let Some(duration) = asked.unwitnessed_for {
        arguments.push(format!("--unwitnessed-for={}s", duration.as_secs()).into());
    }
    arguments
}

/// The courier, where others are asked; and the directories by which it and the signer speak.
fn courier(plan: &Plan) -> Result<Option<Service>> {
    let Some(asked) = &plan.others else { return Ok(None) };
    let witness = plan.data.join(WITNESS_DIRECTORY);
    let owner = plan.front_user;
    directory::shared_directory(&witness, None)?;
    directory::shared_directory(&witness.join(ANSWERS_DIRECTORY), owner)?;
    let nothing = File::open("/dev/null").context("cannot open `/dev/null`")?;
    let arguments = courier::arguments(asked, &plan.data, plan.front_user);
    Ok(Some(Service::new("courier", nothing.into(), arguments, Restarts::of_front())))
}

/// What is said of one start of the signer, and not of what may be by a later one.
fn told_once(plan: &Plan) -> Vec<&'static str> {
    let is_right = (plan.wall_clock == WallClock::Vouched).then_some(WALL_CLOCK_IS_RIGHT);
    let is_lost = (plan.lock_record == LockRecordWish::New).then_some(NEW_LOCK_RECORD);
    is_right.into_iter().chain(is_lost).collect()
}

/// Whose connections are taken besides the service's own.
fn peer_arguments(plan: &Plan) -> Option<OsString> {
    plan.front_user.map(|user| format!("--front-uid={}", user.uid.as_raw()).into())
}

fn front_arguments(plan: &Plan, address: SocketAddr) -> Vec<OsString> {
    let socket = plan.data.join("run").join("signer.sock");
    let user = plan.front_user.map(|user| {
        let ids = [("--uid", user.uid.as_raw()), ("--gid", user.gid.as_raw())];
        ids.map(|(option, id)| OsString::from(format!("{option}={id}")))
    });
    let log = plan.data.join(LOG_DIRECTORY);
    [OsString::from("--signer"), socket.into(), "--log".into(), log.into()]
        .into_iter()
        .chain(user.into_iter().flatten())
        .chain(name_arguments(plan, address))
        .collect()
}

/// The URL that clients on this machine are given, or those that know the first name.
fn endpoint(plan: &Plan, address: SocketAddr) -> String {
    match (plan.names.first(), address.ip()) {
        (Some(name), _) => format!("https://{name}:{}", address.port()),
        (None, ip) if ip.is_unspecified() => format!("https://{}", loopback(address)),
        (None, _) => format!("https://{address}"),
    }
}

fn loopback(address: SocketAddr) -> SocketAddr {
    let ip =
        if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(ip, address.port())
}

fn name_arguments(plan: &Plan, address: SocketAddr) -> Vec<OsString> {
    let mut names = plan.names.clone();
    names.extend(["localhost".into(), "127.0.0.1".into(), "::1".into()]);
    let own = address.ip();
    if !own.is_loopback() && !own.is_unspecified() {
        names.push(own.to_string());
    }
    names.into_iter().flat_map(|name| [OsString::from("--name"), name.into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_signer::CHECKPOINT_EVERY;

    fn plan(names: &[&str]) -> Plan {
        Plan {
            data: "/data".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            root_key: "/keys/root.key".into(),
            passphrase_file: None,
            recovery_key: "/keys/recovery.key".into(),
            names: names.iter().map(|&name| name.into()).collect(),
            front_user: None,
            wall_clock: WallClock::Checked,
            lock_directory: "/keys".into(),
            lock_record: LockRecordWish::Kept,
            segment_bytes: 1,
            others: None,
            checkpoint_every: CHECKPOINT_EVERY,
            index: IndexWish::On,
            retention_ms: None,
        }
    }

    #[test]
    fn the_endpoint_is_one_that_a_client_can_reach() {
        let endpoint =
            |names: &[&str], address: &str| endpoint(&plan(names), address.parse().unwrap());
        assert_eq!(endpoint(&[], "127.0.0.1:8440"), "https://127.0.0.1:8440");
        assert_eq!(endpoint(&[], "0.0.0.0:8440"), "https://127.0.0.1:8440");
        assert_eq!(endpoint(&[], "[::]:8440"), "https://[::1]:8440");
        assert_eq!(endpoint(&["keys.example"], "0.0.0.0:8440"), "https://keys.example:8440");
    }

    #[test]
    fn both_children_are_told_the_same_names() {
        let (plan, address) = (plan(&["keys.example"]), "10.0.0.7:8440".parse().unwrap());
        let names = |arguments: Vec<OsString>| -> Vec<_> {
            arguments
                .windows(2)
                .filter(|two| two[0] == "--name")
                .map(|two| two[1].clone())
                .collect()
        };
        let signer = names(signer_arguments(&plan, address));
        assert_eq!(signer, ["keys.example", "localhost", "127.0.0.1", "::1", "10.0.0.7"]);
        assert_eq!(names(front_arguments(&plan, address)), signer);
    }
}
