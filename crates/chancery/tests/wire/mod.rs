//! A raw client: TLS by rustls, HTTP/1.1 by hand, so that a test can say what no honest client says.
//!
//! What it deliberately does not do: check what it sends. Answers are read by their `Content-Length`.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use chancery_api::http::commands::request_of;
use chancery_api::http::signature::signature_fields;
use chancery_api::http::uses::authorization_field;
use chancery_api::http::{AUTHORIZATION, MEDIA_JSON};
use chancery_client::{KeyHandle, Occasion, Principal, Profile, unix_ms};
use chancery_core::command::Command;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::harness::{Service, fresh};

/// The longest wait for bytes: longer than any deadline of the front.
const PATIENCE: Duration = Duration::from_secs(40);

/// A connection.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A header field.
pub(crate) type Field = (&'static str, String);

/// Where a service is, and whom it is believed by.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    port: u16,
    config: Arc<ClientConfig>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Wire {
    /// The way to a service.
    pub(crate) fn to(service: &Service) -> Self {
        let profile = service.profile();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(profile.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { port: service.port(), config: Arc::new(config) }
    }

    /// The same way, where HTTP/2 is agreed on instead.
    pub(crate) fn over_http2(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// A TCP connection without TLS.
    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection whose handshake is done with its first bytes.
    pub(crate) fn connect(&self) -> Stream {
        self.over(self.tcp())
    }

    /// The same over a TCP connection that is there already.
    pub(crate) fn over(&self, stream: TcpStream) -> Stream {
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        StreamOwned::new(connection, stream)
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn send(&self, request: &Request) -> Answer {
        let mut stream = self.connect();
        exchange(&mut stream, &request.to_bytes()).expect("an answer")
    }
}

impl Request {
    /// A request that shows nothing and says nothing.
    pub(crate) fn get(target: &str) -> Self {
        let (method, target) = ("GET".into(), target.into());
        Self { method, target, fields: Vec::new(), body: Vec::new() }
    }

    /// A request with a JSON body.
    pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let fields = vec![("content-type", MEDIA_JSON.to_owned())];
        Self { method: "POST".into(), target: target.into(), fields, body: body.into() }
    }

    /// The request of a command, without its signature.
    pub(crate) fn of(command: &Command) -> Self {
        let parts = request_of(command).unwrap();
        match parts.body {
            Some(body) => Self::post(&parts.target, body),
            None => Self { method: parts.method.into(), ..Self::get(&parts.target) },
        }
    }

    /// The same with a handle.
    pub(crate) fn with_handle(mut self, handle: &KeyHandle) -> Self {
        self.fields.push((AUTHORIZATION, authorization_field(handle.expose_bytes())));
        self
    }

    /// The same with a field.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The same with the signature of a principal over `command`.
    pub(crate) fn signed(mut self, profile: &Profile, command: &Command) -> Self {
        let occasion = Occasion { operation: fresh(), now_s: unix_ms() / 1_000 };
        let signed = Principal::new(profile).unwrap().sign(command, occasion).unwrap();
        self.fields.extend(signature_fields(&signed.parameters, &signed.digest, &signed.signature));
        self
    }

    /// What goes over the wire.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.method != "GET" || !self.body.is_empty() {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

impl Answer {
    /// `ok`, or the code of what was refused: of the whole, or of the first item of a batch.
    pub(crate) fn outcome(&self) -> String {
        let json: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let item = if self.status == 200 { &json["results"][0] } else { &json };
        item["code"].as_str().unwrap_or(if self.status == 200 { "ok" } else { "no code" }).into()
    }
}

/// Sends bytes and reads one answer; `None` if the connection ends without one.
pub(crate) fn exchange(stream: &mut Stream, bytes: &[u8]) -> Option<Answer> {
    // A front that refuses early may close before all is written.
    let _ = stream.write_all(bytes);
    read(stream)
}

/// Reads one answer; `None` if the connection ends without one.
pub(crate) fn read(stream: &mut Stream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(answer) = whole(&bytes) {
            return Some(answer);
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no answer in time"),
            Ok(0) | Err(_) => return None,
        }
    }
}

fn whole(bytes: &[u8]) -> Option<Answer> {
    // A body may be no text, and is counted in bytes.
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let body = &bytes[end + 4..];
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
    let length: usize = length.lines().next()?.parse().ok()?;
    let text = || String::from_utf8_lossy(body).into_owned();
    (body.len() >= length).then(|| Answer { status, body: text(), head })
}

/// No test file uses all of this module; what one leaves out is still meant to be here.
const _: () = {
    let _ = (Wire::to, Wire::tcp, Wire::connect, Wire::over, Wire::send, Request::get, Request::of);
    let _ = Wire::over_http2;
    let _ = |answer: Answer| answer.head;
    let _ = (Request::with_handle, Request::with, Request::signed, exchange, Answer::outcome);
};
