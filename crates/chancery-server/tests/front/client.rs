//! A client of the tests' own: requests written byte by byte, and HTTP/2 through hyper.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use chancery_api::http::uses::authorization_field;
use rustls::pki_types::CertificateDer;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;

use super::signer::Site;

/// The longest that a test waits for bytes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Status, code and outcome of a problem.
    pub(crate) fn problem(&self) -> (u16, String, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let json = self.json();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        (self.status, text("code"), text("outcome"))
    }
}

/// What a problem is expected to be.
pub(crate) fn problem(status: u16, code: &str, outcome: &str) -> (u16, String, String) {
    (status, code.into(), outcome.into())
}

/// A client's configuration that takes the site's certificate.
pub(crate) fn config(
    site: &Site,
    protocols: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(site.authority.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// A connection that speaks HTTP/1.1.
pub(crate) fn connect(site: &Site) -> Stream {
    connect_with(site, &[&TLS13])
}

/// The same with these versions of TLS.
pub(crate) fn connect_with(site: &Site, versions: &[&'static SupportedProtocolVersion]) -> Stream {
    let config = config(site, &[b"http/1.1"], versions);
    let connection = ClientConnection::new(config, "front.test".try_into().unwrap());
    let stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection.unwrap(), stream)
}

/// Sends bytes and reads one answer.
pub(crate) fn exchange(stream: &mut Stream, bytes: &[u8]) -> Answer {
    // A front that refuses early may close before all is written.
    let _ = stream.write_all(bytes);
    read(stream).unwrap()
}

/// Reads one answer; `None` if the stream ends first.
pub(crate) fn read(stream: &mut Stream) -> Option<Answer> {
    let mut text = Vec::new();
    loop {
        if let Some(answer) = whole(&text) {
            return Some(answer);
        }
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer in time")
            }
            _ => return None,
        }
    }
}

fn whole(text: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_lowercase();
    let length =
        head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
    let status = head.split(' ').nth(1)?.parse().unwrap();
    let length: usize = length.parse().unwrap();
    (body.len() >= length).then(|| Answer { status, body: body.into(), head })
}

/// A request on its own connection.
pub(crate) fn request(site: &Site, bytes: &[u8]) -> Answer {
    exchange(&mut connect(site), bytes)
}

/// A request without a body.
pub(crate) fn get(site: &Site, path: &str) -> Answer {
    request(site, format!("GET {path} HTTP/1.1\r\nhost: front.test\r\n\r\n").as_bytes())
}

/// The bytes of a use: a handle, JSON, and these fields besides, each with its line's end.
pub(crate) fn use_bytes(path: &str, fields: &str, body: &str) -> Vec<u8> {
    let handle = authorization_field(b"handle");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: front.test\r\nauthorization: {handle}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{fields}\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// A use of a key.
pub(crate) fn put(site: &Site, path: &str, body: &str) -> Answer {
    request(site, &use_bytes(path, "", body))
}
