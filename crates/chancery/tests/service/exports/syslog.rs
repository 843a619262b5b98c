//! Receivers of syslog over TLS: one of this test's own, and rsyslog.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::http::reset;
use crate::harness::eventually;

/// A receiver's certificate, and who vouches for it.
pub(super) struct Identity {
    pub(super) authority: String,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Identity {
    pub(super) fn new() -> Self {
        let issuer_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&issuer_key).unwrap().pem();
        let issuer = Issuer::new(params, issuer_key);
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self { authority, certificate, key }
    }

    /// Writes its certificate and its key into files.
    pub(super) fn write(&self, certificate: &str, key: &str) {
        fs::write(certificate, self.certificate.pem()).unwrap();
        fs::write(key, self.key.serialize_pem()).unwrap();
    }

    fn server(&self) -> Arc<ServerConfig> {
        self.asking(None)
    }

    /// A server that asks who is there, and takes those for whom this authority vouches.
    pub(super) fn asking(&self, clients: Option<&str>) -> Arc<ServerConfig> {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let authority = CertificateDer::from_pem_slice(authority.as_bytes());
                roots.add(authority.unwrap()).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = config.with_single_cert(vec![self.certificate.der().clone()], key.into());
        Arc::new(config.unwrap())
    }
}

/// How a receiver ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// It cuts the first connection in the middle, and reads the others to their end.
    CutsFirst,
    /// It reads to the end of each connection.
    Reads,
}

/// A receiver.
pub(super) struct Receiver {
    pub(super) port: u16,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Receiver {
    pub(super) fn new(identity: &Identity, manner: Manner) -> Self {
        Self::with(identity.server(), manner)
    }

    pub(super) fn with(config: Arc<ServerConfig>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let shared = Arc::clone(&taken);
        std::thread::spawn(move || {
            for (socket, number) in listener.incoming().zip(0_u32..) {
                let cut = number == 0 && matches!(manner, Manner::CutsFirst);
                if let Some(bytes) = receive(&config, socket.unwrap(), cut) {
                    shared.lock().unwrap().extend(bytes);
                }
            }
        });
        Self { port, taken }
    }

    /// The messages of all connections that were read to their end.
    pub(super) fn messages(&self) -> Vec<Message> {
        messages(&self.taken.lock().unwrap())
    }
}

/// The bytes of one connection; nothing of one that is cut or does not come about.
fn receive(config: &Arc<ServerConfig>, socket: TcpStream, cut: bool) -> Option<Vec<u8>> {
    let server = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut stream = StreamOwned::new(server, socket);
    let mut bytes = vec![0; 1];
    stream.read_exact(&mut bytes).ok()?;
    if cut {
        reset(&stream.sock);
        return None;
    }
    stream.read_to_end(&mut bytes).ok()?;
    stream.conn.send_close_notify();
    let _ = stream.flush();
    Some(bytes)
}

/// A message of RFC 5424.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) priority: u8,
    pub(super) time: String,
    pub(super) app: String,
    pub(super) id: String,
    pub(super) text: String,
}

/// Frames with their length in front (RFC 5425, 4.3), and what is in them (RFC 5424, 6).
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|&byte| byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let (frame, rest) = bytes[space + 1..].split_at(length);
        messages.push(message(std::str::from_utf8(frame).unwrap()));
        bytes = rest;
    }
    messages
}

fn message(frame: &str) -> Message {
    let (priority, rest) = frame.strip_prefix('<').unwrap().split_once('>').unwrap();
    let fields: Vec<_> = rest.splitn(8, ' ').collect();
    let [version, time, host, app, process, id, data, text] = fields[..] else { panic!("{frame}") };
    assert_eq!((version, process, data, host.is_empty()), ("1", "-", "-", false));
    let [time, app, id, text] = [time, app, id, text].map(str::to_owned);
    Message { priority: priority.parse().unwrap(), time, app, id, text }
}

/// rsyslog from the distribution, with the receiver's certificate.
pub(super) struct Rsyslog {
    child: Child,
    pub(super) port: u16,
    file: PathBuf,
}

impl Rsyslog {
    /// Starts it in a directory of its own.
    pub(super) fn start(identity: &Identity, directory: &Path) -> Self {
        fs::DirBuilder::new().mode(0o700).create(directory).unwrap();
        let path = |name: &str| directory.join(name);
        fs::write(path("ca.pem"), &identity.authority).unwrap();
        fs::write(path("cert.pem"), identity.certificate.pem()).unwrap();
        fs::write(path("key.pem"), identity.key.serialize_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(path("conf"), configuration(directory, port)).unwrap();
        let child = Command::new("rsyslogd")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["-n", "-f"])
            .arg(path("conf"))
            .arg("-i")
            .arg(path("pid"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(path("err")).unwrap())
            .spawn()
            .expect("rsyslogd of the Debian packages rsyslog and rsyslog-gnutls");
        // From here on it ends with this, also where it does not listen.
        let rsyslog = Self { child, port, file: path("out") };
        eventually("rsyslog listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        rsyslog
    }

    /// What it has written: priority, program, message id and message, in lines.
    pub(super) fn lines(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let ours = text.lines().filter(|line| line.contains("|chancery|"));
        ours.map(|line| line.splitn(4, '|').map(str::to_owned).collect()).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        r#"global(workDirectory="{directory}" defaultNetstreamDriver="gtls"
       defaultNetstreamDriverCAFile="{directory}/ca.pem"
       defaultNetstreamDriverCertFile="{directory}/cert.pem"
       defaultNetstreamDriverKeyFile="{directory}/key.pem")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="line" type="string" string="%pri%|%app-name%|%msgid%|%msg%\n")
*.* action(type="omfile" file="{directory}/out" template="line")
"#
    )
}
