//! The three outcomes, against servers that answer, refuse, fall silent, or are not who they should be.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails there"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use chancery_client::{Client, Outcome, Profile};
use chancery_core::command::Command;
use chancery_core::id::OperationId;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

const OPERATION: OperationId = OperationId::from_bytes([2; 16]);

/// An authority of one test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }

    fn client(&self, listener: &TcpListener) -> Client {
        let text = format!(
            "endpoint = \"https://{}\"\ntenant = \"default\"\n\
             principal = \"11111111-1111-1111-1111-111111111111\"\nrole = \"operator\"\n\
             signing_key = \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"\nca = \"\"\"\n{}\"\"\"\n",
            listener.local_addr().unwrap(),
            self.pem
        );
        Client::new(&Profile::parse(&text).unwrap()).unwrap()
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Takes one connection, reads one request, and writes `answer`.
fn serve_once(listener: &TcpListener, config: Arc<ServerConfig>, answer: &str) -> Option<String> {
    let (stream, _) = listener.accept().unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let request = read_request(&mut stream)?;
    stream.write_all(answer.as_bytes()).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    Some(request)
}

/// The whole of a request whose body ends in `}`; `None` if the handshake fails.
fn read_request(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<String> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"}") {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        request.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(request).ok()
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

type Answered = Outcome<chancery_api::http::replies::CommandAnswer>;

/// What `begin-import`, a command with an effect, comes to when a server answers so.
fn answered(answer: &str) -> (Answered, String) {
    let (authority, listener) = (Authority::new(), listener());
    let (client, config) = (authority.client(&listener), authority.server(&[&TLS13]));
    thread::scope(|scope| {
        let server = scope.spawn(|| serve_once(&listener, config, answer));
        let outcome = client.command(&Command::BeginImport, OPERATION);
        (outcome, server.join().unwrap().unwrap())
    })
}

fn assert_unavailable(outcome: &Answered) {
    let Outcome::Refused(refusal) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refusal.code.text(), "unavailable");
}

#[test]
fn a_committed_answer_is_committed_and_the_request_was_signed_with_its_id() {
    let (outcome, request) =
        answered(&http("200 OK", r#"{"outcome":"committed","log_index":7,"answer":"done"}"#));
    assert_eq!(outcome.committed().unwrap().log_index, Some(7));
    assert!(request.starts_with("POST /v1/imports HTTP/1.1\r\n"), "{request}");
    for field in [
        "signature: chancery=:",
        "signature-input: chancery=(",
        "chancery-command-digest: sha-256=:",
    ] {
        assert!(request.contains(field), "{request}");
    }
    assert!(request.contains(&format!("idempotency-key: {OPERATION}\r\n")), "{request}");
    assert!(request.ends_with("\r\n\r\n{}"), "{request}");
}

#[test]
fn a_refusal_of_the_service_is_a_refusal() {
    let problem = r#"{"type":"urn:chancery:problem:forbidden","title":"forbidden","status":403,"code":"forbidden","outcome":"refused","detail":"no"}"#;
    let (outcome, _) = answered(&http("403 Forbidden", problem));
    let Outcome::Refused(refusal) = outcome else { panic!("{outcome:?}") };
    assert_eq!((refusal.code.text(), refusal.detail.as_str()), ("forbidden", "no"));
}

#[test]
fn silence_after_the_request_is_unknown_with_its_operation_id() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        "nonsense\r\n\r\n",
        &http("502 Bad Gateway", "<html>"),
        "HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (outcome, _) = answered(answer);
        assert_eq!(outcome, Outcome::Unknown(OPERATION), "{answer}");
    }
}

#[test]
fn a_service_that_is_not_there_has_done_nothing() {
    let (authority, listener) = (Authority::new(), listener());
    let client = authority.client(&listener);
    drop(listener);
    assert_unavailable(&client.command(&Command::BeginImport, OPERATION));
}

/// What `begin-import` comes to when the handshake with a server of this configuration fails.
fn not_shaken(authority: &Authority, config: Arc<ServerConfig>) -> Answered {
    let listener = listener();
    let client = authority.client(&listener);
    thread::scope(|scope| {
        let server = scope.spawn(|| serve_once(&listener, config, ""));
        let outcome = client.command(&Command::BeginImport, OPERATION);
        assert_eq!(server.join().unwrap(), None);
        outcome
    })
}

#[test]
fn a_server_of_another_authority_is_sent_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    assert_unavailable(&not_shaken(&ours, theirs.server(&[&TLS13])));
}

#[test]
fn a_server_that_speaks_no_tls_1_3_is_sent_nothing() {
    let authority = Authority::new();
    assert_unavailable(&not_shaken(&authority, authority.server(&[&TLS12])));
}
