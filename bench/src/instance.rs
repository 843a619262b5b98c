//! A service that this harness starts, stops, kills, and starts again on the same files.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chancery_api::frame::{self, Kind};
use chancery_api::http::replies::{AnswerObject, StatusObject};
use chancery_api::message::{HealthReply, HealthRequest};
use chancery_client::{Client, Profile};
use chancery_core::cbor;
use chancery_core::command::Command;

use crate::keys::ask;
use crate::load::Address;
use crate::process::{Cpu, Directory, Server, free_port};
use crate::tls;

/// How long the signer may take to answer: as long as a server may take to start.
const ANSWER_MAX: Duration = crate::process::START_MAX;

/// Which cores a service runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// All that this process may run on.
    AllCores,
    /// The core of servers.
    ServerCore,
}

/// What a service is started with.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) binary: PathBuf,
    pub(crate) on: On,
    /// Arguments of `serve` besides those that say where things are.
    pub(crate) more: Vec<String>,
}

/// The service.
pub(crate) struct Instance {
    // Ends before its directory is removed.
    server: Option<Server>,
    directory: Directory,
    port: u16,
    serving: Serving,
    client: Client,
}

impl Instance {
    /// Starts one on an empty data directory, and waits until it answers.
    pub(crate) fn start(scratch: &Path, name: &str, serving: Serving) -> Result<Self> {
        let directory = Directory::make(scratch, name)?;
        let port = free_port()?;
        let mut server = launch(&serving, &directory, port)?;
        let profile = directory.path().join("data/admin.toml");
        let (_, client) = server.wait_for(|| ready(&profile))?;
        Ok(Self { server: Some(server), directory, port, serving, client })
    }

    /// Starts it again on its files.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "it runs already");
        let mut server = launch(&self.serving, &self.directory, self.port)?;
        let profile = self.profile();
        let (_, client) = server.wait_for(|| ready(&profile))?;
        (self.server, self.client) = (Some(server), client);
        Ok(())
    }

    /// Stops it in order.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.server.take().context("it does not run")?.stop()
    }

    /// Kills it with SIGKILL: the supervisor, and with it the others.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.server.take().context("it does not run")?.kill()
    }

    /// A client of the operator.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Where its front listens.
    pub(crate) fn address(&self) -> Result<Address> {
        let profile = Profile::load(&self.profile())?;
        Ok(Address { port: self.port, tls: tls::client(&profile.ca)? })
    }

    /// The operator's profile.
    pub(crate) fn profile(&self) -> PathBuf {
        self.data().join("admin.toml")
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A file in the directory of this service alone.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The processor time of all its processes since they were started.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        self.server.as_ref().context("it does not run")?.cpu()
    }

    /// The processor time that its threads of a name have taken since they were started.
    pub(crate) fn cpu_of_threads(&self, name: &str) -> Result<Duration> {
        self.server.as_ref().context("it does not run")?.cpu_of_threads(name)
    }

    /// Starts another command of the binary with another profile, on the cores that the service runs on.
    pub(crate) fn start_beside(&self, profile: &Path, arguments: &[&str]) -> Result<Server> {
        let mut all: Vec<OsString> = vec!["--context-file".into(), profile.into()];
        all.extend(arguments.iter().map(OsString::from));
        start(&self.serving, &all, self.path("beside.log"))
    }

    /// What it printed.
    pub(crate) fn said(&self) -> String {
        self.server.as_ref().map(Server::said).unwrap_or_default()
    }

    /// A connection to the signer, as the front has one.
    pub(crate) fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.data().join("run/signer.sock"));
        let stream = stream.context("the signer's socket cannot be reached")?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(stream)
    }

    /// How the service stands.
    pub(crate) fn status(&self) -> Result<StatusObject> {
        match ask(&self.client, &Command::ReadStatus)? {
            AnswerObject::Status(status) => Ok(*status),
            other => bail!("the service gave no status but {other:?}"),
        }
    }

    /// A counter of the signer.
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        let mut stream = self.connect()?;
        let mut request = Vec::new();
        frame::write(&mut request, Kind::Health, 1, &HealthRequest { reserved: 0 })?;
        let reply: HealthReply = cbor::decode(&exchange(&mut stream, &request)?, "health reply")?;
        let found = reply.counters.into_iter().find(|(known, _)| known == name);
        Ok(found.with_context(|| format!("the signer has no counter `{name}`"))?.1)
    }

    /// Runs a command of the binary as the operator, which must succeed; its standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut program = Program::new(&self.serving.binary);
        program.arg("--context-file").arg(self.profile()).args(arguments).stdin(Stdio::null());
        let output = program.output().context("the binary cannot be run")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`chancery {}`: {said}", arguments.join(" "));
        Ok(output.stdout)
    }
}

fn exchange(stream: &mut UnixStream, request: &[u8]) -> Result<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    stream.write_all(request)?;
    let (mut decoder, mut buffer) = (frame::Decoder::default(), [0; 4_096]);
    loop {
        if let Some((_, body)) = decoder.next_frame()? {
            return Ok(body.to_vec());
        }
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the signer closed the connection");
        decoder.push(buffer.get(..read).unwrap_or_default());
    }
}

fn launch(serving: &Serving, directory: &Directory, port: u16) -> Result<Server> {
    let mut arguments = serve_arguments(directory, port);
    arguments.extend(serving.more.iter().map(OsString::from));
    start(serving, &arguments, directory.path().join("log"))
}

fn start(serving: &Serving, arguments: &[OsString], log: PathBuf) -> Result<Server> {
    match serving.on {
        On::AllCores => Server::start_here(&serving.binary, arguments, log),
        On::ServerCore => Server::start(&serving.binary, arguments, log),
    }
}

/// The arguments of `serve`, with all that the service writes in one directory.
pub(crate) fn serve_arguments(directory: &Directory, port: u16) -> Vec<OsString> {
    let file = |name: &str| directory.path().join(name).into_os_string();
    vec![
        "serve".into(),
        "--data".into(),
        file("data"),
        "--listen".into(),
        format!("127.0.0.1:{port}").into(),
        "--root-key".into(),
        file("root.key"),
        "--recovery-key".into(),
        file("recovery.key"),
    ]
}

/// The profile that the first start wrote, and a client that was answered.
pub(crate) fn ready(profile: &Path) -> Result<(Profile, Client)> {
    let profile = Profile::load(profile)?;
    let client = Client::new(&profile)?;
    ask(&client, &Command::ListKeys { after: None })?;
    Ok((profile, client))
}
