//! Witnesses as they are served, each a process with a directory of its own, of the log of one service.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use chancery_client::Input;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    PATIENCE, Service, binary, committed, eventually, fresh, key_and_handle, plainly, signal, text,
};

/// How many lines a witness prints for policies.
const LINES: usize = 3;

/// A witness that runs, or one that was stopped and can be started again.
pub(in crate::service) struct Witness {
    /// What it calls itself.
    pub(in crate::service) name: String,
    /// What it printed for policies.
    pub(in crate::service) lines: String,
    /// Where it listens.
    pub(in crate::service) address: String,
    /// Its directory.
    pub(in crate::service) data: PathBuf,
    policy: PathBuf,
    child: Option<Child>,
}

impl Witness {
    /// A witness of the service's log.
    pub(in crate::service) fn start(service: &Service, name: &str) -> Self {
        let mut witness = Self {
            name: format!("witness.example/{name}"),
            lines: String::new(),
            address: "127.0.0.1:0".into(),
            data: service.path(name),
            policy: service.data().join("log/policy"),
            child: None,
        };
        witness.launch();
        witness
    }

    /// One of the same name and directory at another address, which was not started.
    pub(in crate::service) fn elsewhere(&self) -> Self {
        Self {
            name: self.name.clone(),
            lines: String::new(),
            address: "127.0.0.1:0".into(),
            data: self.data.clone(),
            policy: self.policy.clone(),
            child: None,
        }
    }

    /// The command that serves it.
    pub(in crate::service) fn command(&self) -> Command {
        let mut command = binary();
        command.args(["witness", "serve", "--name", &self.name, "--listen", &self.address]);
        command.arg("--data").arg(&self.data).arg("--policy").arg(&self.policy);
        command
    }

    /// Starts it, and waits until it says what it is.
    pub(in crate::service) fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let mut lines = String::new();
        for _ in 0..LINES {
            assert_ne!(printed.read_line(&mut lines).unwrap(), 0, "it ended: {}", self.log());
        }
        let url = lines.lines().next().unwrap().rsplit_once(" http://").unwrap().1;
        self.address = url.to_owned();
        self.lines = lines;
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// What it wrote on standard error.
    pub(in crate::service) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Ends it by a signal.
    pub(in crate::service) fn end(&mut self, by: Signal) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        signal(child.id(), by);
        child.wait().unwrap()
    }

    /// Connects to it.
    pub(in crate::service) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What it answers to the bytes of one request, to the end of the connection.
    pub(in crate::service) fn answer(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // What is refused before it was read whole may be closed meanwhile.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        text(&answer)
    }

    /// Has somebody else answer at the address of this one, which has ended.
    pub(in crate::service) fn replaced_by(&self, status: &str, body: &str) -> Liar {
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/x.tlog.size\r\ncontent-length: {}\r\nlocation: /\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        );
        let (listener, is_over) = (TcpListener::bind(&self.address).unwrap(), Arc::default());
        let over: Arc<AtomicBool> = Arc::clone(&is_over);
        let serving = std::thread::spawn(move || {
            while let (Ok((mut stream, _)), false) =
                (listener.accept(), over.load(Ordering::Relaxed))
            {
                read_request(&mut stream);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Liar { address: self.address.clone(), is_over, serving }
    }

    /// What it answers to a request with a body.
    pub(in crate::service) fn post(&self, headers: &str, body: &[u8]) -> String {
        let head = format!(
            "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.answer(&[head.as_bytes(), body].concat())
    }
}

/// Somebody who gives each request at a witness' address the same answer.
pub(in crate::service) struct Liar {
    address: String,
    is_over: Arc<AtomicBool>,
    serving: JoinHandle<()>,
}

impl Liar {
    /// Ends it.
    pub(in crate::service) fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(TcpStream::connect(&self.address));
        self.serving.join().unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.end(Signal::KILL);
        }
    }
}

/// A service with one signature, and witnesses of its log.
pub(in crate::service) struct Scene {
    pub(in crate::service) service: Service,
    pub(in crate::service) witnesses: Vec<Witness>,
    pub(in crate::service) operation: String,
}

impl Scene {
    /// With so many witnesses.
    pub(in crate::service) fn with(count: usize) -> Self {
        let service = Service::start();
        let operation = fresh();
        let client = service.client();
        let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
        let signed = client.sign_with(&handle, Input::Message(b"m"), &plainly(operation));
        committed(signed);
        // There is a policy once the first checkpoint is published.
        eventually("there is a checkpoint", || service.data().join("log/checkpoint").exists());
        let witnesses = (1..=count).map(|n| Witness::start(&service, &format!("w{n}"))).collect();
        Self { service, witnesses, operation: operation.to_string() }
    }

    pub(in crate::service) fn path(&self, name: &str) -> String {
        self.service.path(name).to_str().unwrap().to_owned()
    }

    /// Has another record made, and waits until it is published.
    pub(in crate::service) fn grow(&self) {
        let before = size(&self.published());
        let key = format!("k-{}", fresh());
        let create = ["key", "create", &key, "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
        self.service.done(&create);
        eventually("a larger checkpoint", || size(&self.published()) > before);
    }

    /// The published checkpoint.
    pub(in crate::service) fn published(&self) -> String {
        fs::read_to_string(self.service.data().join("log/checkpoint")).unwrap()
    }

    /// Writes a policy that asks for `least` of the witnesses, each called by its name and what is put behind it.
    pub(in crate::service) fn policy(&self, least: usize, behind: &str) -> String {
        let logs = fs::read_to_string(self.service.data().join("log/policy")).unwrap();
        let logs = logs.replace("quorum none\n", "");
        let lines: String = self.witnesses.iter().map(|witness| witness.lines.as_str()).collect();
        let names: Vec<_> =
            self.witnesses.iter().map(|witness| witness.name.clone() + behind).collect();
        let names = names.join(" ");
        let text = format!("{logs}{lines}group enough {least} {names}\nquorum enough\n");
        let path = self.path(&format!("policy{least}{}", behind.replace('/', "-")));
        fs::write(&path, text).unwrap();
        path
    }

    /// The command that has the checkpoint cosigned.
    pub(in crate::service) fn submit(&self, policy: &str, out: &str, more: &[&str]) -> Output {
        let out = self.path(out);
        let submit = ["witness", "submit", "--policy", policy, "--out", &out];
        self.service.cli(&[&submit, more].concat())
    }

    /// The same, for one that must succeed.
    #[track_caller]
    pub(in crate::service) fn submitted(&self, policy: &str, out: &str) -> String {
        let output = self.submit(policy, out, &["--force"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::read_to_string(self.path(out)).unwrap()
    }

    /// Makes a proof.
    pub(in crate::service) fn prove(&self, what: &[&str], out: &str) {
        let out = self.path(out);
        self.service.done(&[&["audit", "prove"], what, &["--out", &out]].concat());
    }

    /// What the command line says of a proof.
    pub(in crate::service) fn verify(&self, proof: &str, policy: &str) -> Output {
        let proof = self.path(proof);
        let verify = ["--format", "json", "audit", "verify-proof", &proof, "--policy", policy];
        self.service.cli(&verify)
    }

    /// What the second implementation says of it.
    pub(in crate::service) fn second(&self, proof: &str, policy: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../verifier/verify_proof.py");
        let mut command = Command::new("python3");
        command.arg(script).args([&self.path(proof), "--policy", policy]);
        command.output().expect("python3 is on this machine")
    }
}

/// Reads a request to its end, so that closing the connection does not take the answer with it.
fn read_request(stream: &mut TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        let value =
            line.to_lowercase().strip_prefix("content-length:").map(|value| value.trim().parse());
        length = value.map_or(length, |value: Result<u64, _>| value.unwrap());
    }
    let _ = io::copy(&mut reader.take(length), &mut io::sink());
}

/// The size that a checkpoint says.
pub(in crate::service) fn size(checkpoint: &str) -> u64 {
    checkpoint.lines().nth(1).unwrap().parse().unwrap()
}

/// What a verifier shows of a proof that holds.
#[track_caller]
pub(in crate::service) fn shown(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
