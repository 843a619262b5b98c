//! Someone between client and front who loses what passes: the request on its way, or the answer to it.
//!
//! TLS ends here on both sides, so the client is given a profile that trusts the middleman's own authority.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use chancery_client::Profile;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::harness::Service;

/// What does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The service was asked, and its answer is lost.
    Answer,
    /// The service was never asked.
    Request,
}

/// The middleman.
pub(super) struct Middleman<'s> {
    service: &'s Service,
    listener: TcpListener,
    towards_client: Arc<ServerConfig>,
    towards_front: Arc<ClientConfig>,
}

impl<'s> Middleman<'s> {
    /// Stands before a service, with a profile `middleman.toml` for its clients.
    pub(super) fn before(service: &'s Service) -> Self {
        Self::before_with(service, service.profile())
    }

    /// The same for whose profile is in a file.
    pub(super) fn before_as(service: &'s Service, file: &str) -> Self {
        let text = fs::read_to_string(service.path(file)).unwrap();
        Self::before_with(service, Profile::parse(&text).unwrap())
    }

    fn before_with(service: &'s Service, profile: Profile) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let (towards_client, ca) = server_config();
        let towards_front = client_config(&service.profile().ca);
        let path = service.path("middleman.toml");
        let profile = Profile { endpoint, ca, ..profile };
        fs::write(&path, profile.to_toml().as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Self { service, listener, towards_client, towards_front }
    }

    /// Runs a command whose first `passed` exchanges succeed and whose next is lost.
    pub(super) fn lose(&self, lost: Lost, passed: usize, arguments: &[&str]) -> Output {
        std::thread::scope(|scope| {
            scope.spawn(|| self.stand_between(lost, passed));
            self.service.cli_with(Path::new("middleman.toml"), arguments)
        })
    }

    /// Runs a command on one connection, and alters what the front answers to requests for a path.
    pub(super) fn alter(
        &self,
        (path, alter): (&str, impl Fn(&mut Vec<u8>) + Sync),
        arguments: &[&str],
    ) -> Output {
        let alter = &alter;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut client, mut front) = (self.client(), self.front());
                while let Some(request) = try_read_message(&mut client) {
                    front.write_all(&request).unwrap();
                    let mut answer = read_message(&mut front);
                    if request.starts_with(format!("POST {path} ").as_bytes()) {
                        alter(&mut answer);
                    }
                    client.write_all(&answer).unwrap();
                }
            });
            self.service.cli_with(Path::new("middleman.toml"), arguments)
        })
    }

    fn client(&self) -> StreamOwned<ServerConnection, TcpStream> {
        let (stream, _) = self.listener.accept().unwrap();
        let server = ServerConnection::new(Arc::clone(&self.towards_client)).unwrap();
        StreamOwned::new(server, stream)
    }

    fn stand_between(&self, lost: Lost, passed: usize) {
        let (mut client, mut front) = (self.client(), self.front());
        for _ in 0..passed {
            let request = read_message(&mut client);
            front.write_all(&request).unwrap();
            client.write_all(&read_message(&mut front)).unwrap();
        }
        let request = read_message(&mut client);
        if lost == Lost::Answer {
            front.write_all(&request).unwrap();
            read_message(&mut front);
        }
    }

    fn front(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let name = "127.0.0.1".try_into().unwrap();
        let client = ClientConnection::new(Arc::clone(&self.towards_front), name).unwrap();
        StreamOwned::new(client, TcpStream::connect(("127.0.0.1", self.service.port())).unwrap())
    }
}

/// A configuration with a certificate for this address, and the authority that certifies it, as PEM.
fn server_config() -> (Arc<ServerConfig>, String) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        );
    (Arc::new(config.unwrap()), pem)
}

fn client_config(ca: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// One message of HTTP/1.1 with its body, whose length its head says.
fn read_message(stream: &mut impl Read) -> Vec<u8> {
    try_read_message(stream).unwrap()
}

/// The same; nothing where the connection ends before the next.
fn try_read_message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    while !message.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        message.extend(byte);
    }
    let head = String::from_utf8(message.clone()).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |text| text.trim().parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    message.extend(body);
    Some(message)
}
