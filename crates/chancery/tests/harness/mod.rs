//! A real service for tests: three processes, a data directory of their own, real TLS.
//!
//! [`Service::start`] runs `chancery serve` and waits until it answers. Nothing waits by the clock alone:
//! every wait is a poll with a deadline. Each service has its directory under the target directory, so that
//! it lies on the file system that is built on, and a port of its own, which it keeps over restarts.
//!
//! **Invariant:** a [`Service`] that is dropped leaves no process, and no directory unless its test fails;
//! then the directory is named on standard error.

mod processes;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use chancery_api::http::replies::{AnswerObject, CommandAnswer, KeyObject};
use chancery_audit::origin::hex;
use chancery_client::{
    Client, Input, KeyHandle, Manner, NotCommitted, Outcome, Profile, Receipt, Used, operation_id,
};
use chancery_core::command::{Command as Asked, NewHandle, NewKey};
use chancery_core::context::Context;
use chancery_core::handle::Operations;
use chancery_core::id::OperationId;
use chancery_core::name::{Name, Scope};
use chancery_crypto::primitive::sha256;
use rustix::process::Signal;

pub(crate) use self::processes::{Pids, Process, is_alive, signal};

/// The longest wait for a service to answer or to end: 30 s, for two cores that build and test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Ports lie under those that the system gives out by itself.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How a service is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The bytes of an audit segment; the service's own if not said.
    pub(crate) segment_bytes: Option<u64>,
    /// A command that runs the supervisor: it takes the binary and its arguments as its last ones, and
    /// becomes it.
    pub(crate) prefix: Vec<String>,
    /// More arguments of `serve`.
    pub(crate) more: Vec<String>,
    /// Whether the keys are where the service puts them by itself, and not in the service's directory.
    pub(crate) usual_keys: bool,
}

/// A running service, or one that was stopped and can be started again.
#[derive(Debug)]
pub(crate) struct Service {
    directory: PathBuf,
    port: u16,
    options: Options,
    child: Option<Child>,
}

impl Service {
    /// Starts a service on a fresh directory and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// As [`Self::start`], in another way than usual.
    pub(crate) fn start_with(options: Options) -> Self {
        let mut service = Self::prepare(options);
        service.launch();
        service.wait_until_up();
        service
    }

    /// A fresh directory with a port, and no process yet.
    pub(crate) fn prepare(options: Options) -> Self {
        let (directory, port) = fresh_place();
        Self { directory, port, options, child: None }
    }

    /// A copy of a service that is stopped, with a port of its own, and no process yet.
    pub(crate) fn copy_of(template: &Self) -> Self {
        assert!(template.child.is_none(), "what runs cannot be copied");
        let service = Self::prepare(template.options.clone());
        copy(&template.data(), &service.data());
        for key in ["root.key", "recovery.key"] {
            fs::copy(template.path(key), service.path(key)).unwrap();
        }
        if let Some(record) = template.lock_record() {
            fs::copy(&record, service.path(record.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        service
    }

    /// Sets what `serve` is told besides, from its next start on.
    pub(crate) fn serve_with(&mut self, more: Vec<String>) {
        self.options.more = more;
    }

    /// Sets how the supervisor is run from its next start on.
    pub(crate) fn run_by(&mut self, prefix: Vec<String>) {
        self.options.prefix = prefix;
    }

    /// The directory of this service alone: data directory, keys, log, and room for a test's files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("d")
    }

    /// A file in the service's directory, outside the data directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The log's lock record, beside the keys, if there is one yet.
    pub(crate) fn lock_record(&self) -> Option<PathBuf> {
        let files = fs::read_dir(&self.directory).unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|name| name == "lock"))
    }

    /// Root key or recovery key, by its name.
    pub(crate) fn key_file(&self, name: &str) -> PathBuf {
        if self.options.usual_keys { self.usual_keys().join(name) } else { self.path(name) }
    }

    /// Where the service keeps its keys unless it is told: a directory named after the data directory's path.
    pub(crate) fn usual_keys(&self) -> PathBuf {
        let digest = sha256(&[self.data().as_os_str().as_bytes()]);
        self.path("state/chancery").join(hex(&digest[..8]))
    }

    /// The bytes of an audit segment, if they are not the usual ones.
    pub(crate) fn segment_bytes(&self) -> Option<u64> {
        self.options.segment_bytes
    }

    /// Where the front listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The operator's profile.
    pub(crate) fn profile(&self) -> Profile {
        let profile = Profile::load(&self.data().join("admin.toml")).unwrap();
        // A copy of a service has the address of its template until it has been up.
        Profile { endpoint: format!("https://127.0.0.1:{}", self.port), ..profile }
    }

    /// A client of the operator.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.profile()).unwrap()
    }

    /// What the three processes wrote since the directory was made.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs a command of the binary as the operator, in the service's directory.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(&self.data().join("admin.toml"), arguments)
    }

    /// As [`Self::cli`], with another context.
    pub(crate) fn cli_with(&self, context: &Path, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.arg("--context-file").arg(context).args(arguments);
        command.env("XDG_STATE_HOME", self.path("state"));
        command.current_dir(&self.directory).stdin(Stdio::null()).output().unwrap()
    }

    /// As [`Self::cli`], for a command that must succeed; its standard output.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{stdout}{stderr}", output.status);
        stdout
    }

    /// The arguments of `serve` for this directory.
    pub(crate) fn serve_arguments(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut arguments: Vec<String> = vec!["serve".into(), "--data".into(), path("d")];
        arguments.extend(["--listen".into(), format!("127.0.0.1:{}", self.port)]);
        if !self.options.usual_keys {
            arguments.extend(["--root-key".into(), path("root.key")]);
            arguments.extend(["--recovery-key".into(), path("recovery.key")]);
        }
        let bytes = self.options.segment_bytes.map(|bytes| bytes.to_string());
        arguments.extend(bytes.into_iter().flat_map(|bytes| ["--segment-bytes".into(), bytes]));
        arguments.extend(self.options.more.clone());
        arguments
    }

    /// Starts the supervisor and does not wait.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "the service runs already");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.serve_command();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn serve_command(&self) -> Command {
        let [program, arguments @ ..] = self.options.prefix.as_slice() else {
            let mut command = binary();
            command.args(self.serve_arguments()).env("XDG_STATE_HOME", self.path("state"));
            return command;
        };
        let mut command = Command::new(program);
        command.args(arguments).arg(env!("CARGO_BIN_EXE_chancery")).args(self.serve_arguments());
        command.env("XDG_STATE_HOME", self.path("state"));
        command
    }

    /// Waits until the service answers a command.
    pub(crate) fn wait_until_up(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("the service ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the service does not answer:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// Whether it answers a command now.
    pub(crate) fn answers(&self) -> bool {
        Profile::load(&self.data().join("admin.toml")).is_ok()
            && matches!(ask(&self.client(), &Asked::ReadStatus), Outcome::Committed(_))
    }

    /// The ids of the three processes that run now.
    pub(crate) fn pids(&self) -> Pids {
        Pids::of(self.child.as_ref().map(Child::id))
    }

    /// Kills one process with `SIGKILL`, and waits until it is gone. Killing the supervisor ends the service;
    /// [`Self::launch`] or [`Self::restart`] starts it again.
    pub(crate) fn kill(&mut self, process: Process) {
        let pids = self.pids();
        let Some(pid) = pids.get(process) else { panic!("{process:?} does not run") };
        signal(pid, Signal::KILL);
        if process == Process::Supervisor {
            self.reap();
        }
        eventually("a killed process is gone", || !is_alive(pid));
    }

    /// Kills all that runs with `SIGKILL`, as a power cut would but for the page cache.
    pub(crate) fn kill_all(&mut self) {
        let pids = self.pids();
        for pid in pids.all() {
            signal(pid, Signal::KILL);
        }
        self.reap();
        eventually("killed processes are gone", || !pids.all().any(is_alive));
    }

    /// Stops the service with `SIGTERM` and waits for its end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let pids = self.pids();
        signal(pids.get(Process::Supervisor).unwrap(), Signal::TERM);
        let status = self.reap().unwrap();
        eventually("a stopped service leaves no process", || !pids.all().any(is_alive));
        status
    }

    /// Stops the service if it runs, starts it again and waits until it answers.
    pub(crate) fn restart(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        self.launch();
        self.wait_until_up();
    }

    /// Whether the supervisor has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Waits until the service has ended by itself.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let child = self.child.as_mut().expect("the service runs");
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the service does not end");
            std::thread::sleep(POLL);
        }
        self.reap().unwrap()
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        self.child.take().map(|mut child| child.wait().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pids: Vec<u32> = self.pids().all().collect();
        for &pid in &pids {
            signal(pid, Signal::KILL);
        }
        self.reap();
        let deadline = Instant::now() + PATIENCE;
        while pids.iter().any(|&pid| is_alive(pid)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.directory.display());
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// The binary under test, without a context of whoever runs the tests.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.env_remove("CHANCERY_CONTEXT");
    command
}

/// Waits until `holds`, at most [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(POLL);
    }
}

/// Bytes of a program's output, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A fresh operation id.
pub(crate) fn fresh() -> OperationId {
    operation_id().unwrap()
}

/// Gives a command under a fresh operation id.
pub(crate) fn ask(client: &Client, command: &Asked) -> Outcome<CommandAnswer> {
    client.command(command, fresh())
}

/// What was committed; anything else fails the test.
#[track_caller]
pub(crate) fn committed<T>(outcome: Outcome<T>) -> T {
    match outcome.committed() {
        Ok(value) => value,
        Err(other) => panic!("not committed: {other}"),
    }
}

/// The code of a refusal; anything else fails the test.
#[track_caller]
pub(crate) fn refused<T>(outcome: Outcome<T>) -> String {
    match outcome.committed() {
        Err(NotCommitted::Refused(refusal)) => refusal.code.text().to_owned(),
        Err(NotCommitted::Unknown(operation)) => panic!("the outcome of {operation} is unknown"),
        Ok(_) => panic!("committed, and not refused"),
    }
}

/// The command that makes a key in the default scope.
pub(crate) fn new_key(key: &str, purpose: &str, suite: &str) -> Asked {
    let part = || name("default");
    Asked::CreateKey(NewKey {
        name: name(key),
        purpose: purpose.parse().unwrap(),
        suite: suite.parse().unwrap(),
        scope: Scope { environment: part(), region: part(), service: part() },
        witnessed: false,
    })
}

/// Makes a key in the default scope.
#[track_caller]
pub(crate) fn create_key(client: &Client, name: &str, purpose: &str, suite: &str) -> KeyObject {
    match committed(ask(client, &new_key(name, purpose, suite))).answer {
        AnswerObject::Key(key) => key,
        other => panic!("no key but {other:?}"),
    }
}

/// The command that issues a handle for an hour, for all that a key's usage is for.
pub(crate) fn new_handle(key: &KeyObject) -> NewHandle {
    NewHandle {
        key: key.name.clone(),
        operations: Operations::usual(key.purpose.usage()),
        ttl_ms: 3_600_000,
        pins: Vec::new(),
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    }
}

/// Issues a handle.
#[track_caller]
pub(crate) fn issue(client: &Client, new: NewHandle) -> KeyHandle {
    handle_of(committed(ask(client, &Asked::IssueHandle(new))))
}

/// The handle in an answer.
#[track_caller]
pub(crate) fn handle_of(answer: CommandAnswer) -> KeyHandle {
    match answer.answer {
        AnswerObject::Handle(token) => KeyHandle::parse(&token.0).unwrap(),
        other => panic!("no handle but {other:?}"),
    }
}

/// Makes a key and issues a handle for all that its usage is for.
#[track_caller]
pub(crate) fn key_and_handle(
    client: &Client,
    name: &str,
    purpose: &str,
    suite: &str,
) -> (KeyObject, KeyHandle) {
    let key = create_key(client, name, purpose, suite);
    let handle = issue(client, new_handle(&key));
    (key, handle)
}

/// A use with this operation id, without context, receipt or holder.
pub(crate) fn plainly(operation: OperationId) -> Manner<'static> {
    static NO_CONTEXT: std::sync::LazyLock<Context> = std::sync::LazyLock::new(Context::default);
    Manner {
        operation,
        context: &NO_CONTEXT,
        receipt: Receipt::Unwanted,
        holders: &[],
        routing_key: None,
    }
}

/// Signs a message under an operation id.
pub(crate) fn sign(
    client: &Client,
    handle: &KeyHandle,
    message: &[u8],
    operation: OperationId,
) -> Outcome<Used> {
    client.sign_with(handle, Input::Message(message), &plainly(operation))
}

/// The name that a text is.
pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Copies a directory with what is in it, modes and all, but for sockets, which are of processes that have ended.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A directory and a port that no other test of this machine uses.
fn fresh_place() -> (PathBuf, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() % u32::from(span)).unwrap();
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        // 37 apart, so that processes of neighbouring ids do not meet at once.
        let port = PORTS.start + start.wrapping_mul(37).wrapping_add(offset) % span;
        // Short names: the path of the signer's socket has at most 107 bytes.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("s{port}"));
        let is_free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free && fs::DirBuilder::new().mode(0o700).create(&path).is_ok() {
            return (path, port);
        }
    }
}

/// No test file uses all of this module; what one leaves out is still meant to be here.
const _: () = {
    let _ = (Service::start, Service::kill, Service::kill_all, Service::stop, Service::restart);
    let _ = (Service::copy_of, Service::run_by, Service::answers, Service::segment_bytes);
    let _ = (copy, Service::lock_record, Service::has_ended, Service::log, Service::serve_with);
    let _ = (Service::key_file, Service::usual_keys);
    let _ = (Service::wait_for_end, Service::port, Service::directory, Service::cli, Service::done);
    let _ =
        (key_and_handle, plainly, sign, refused::<()>, issue, handle_of, create_key, new_handle);
    let _ = (Pids::get, Process::Front, Process::Signer, Process::Supervisor, fresh);
};
