//! This service itself: the real processes, the real front, durable audit, nothing turned off.
//!
//! Keys and handles are made through the client, as anybody makes them. Requests carry no operation id, so
//! that the service makes one for each, and every answer has its record on the disk.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use chancery_api::http::replies::KeyObject;
use chancery_api::http::uses::authorization_field;
use chancery_client::{Client, KeyHandle, unix_ms};
use chancery_core::context::Context as KeyContext;
use chancery_crypto::formats::{KeyVersion, Payload, Verifier, Verifying, verify};
use chancery_crypto::key::PublicKey;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::bare::{outputs, render};
use crate::contender::{Contender, Running};
use crate::instance::{ready, serve_arguments};
use crate::keys::{self, New};
use crate::load::{Address, Target};
use crate::options::{Name, Options};
use crate::order::{Form, orders};
use crate::process::{Cpu, Directory, Server, free_port};
use crate::tls;

/// The service, running.
pub(crate) struct Service {
    running: Rc<Running>,
    client: Client,
    address: Address,
}

/// Starts the service with one Ed25519 key.
pub(crate) fn start(options: &Options, scratch: &Path) -> Result<Contender> {
    let service = Service::start(options, scratch)?;
    let (single, batch) = service.targets("ed25519")?;
    Ok(Contender { name: Name::Chancery, running: service.running, single, batch })
}

impl Service {
    /// Starts it on an empty data directory.
    pub(crate) fn start(options: &Options, scratch: &Path) -> Result<Self> {
        let directory = Directory::make(scratch, "chancery")?;
        let port = free_port()?;
        let server = launch(&options.places.chancery()?, &directory, port)?;
        let mut running = Running { server, directory };
        let profile_path = running.directory.path().join("data/admin.toml");
        let (profile, client) = running.server.wait_for(|| ready(&profile_path))?;
        let address = Address { port, tls: tls::client(&profile.ca)? };
        Ok(Self { running: Rc::new(running), client, address })
    }

    /// The processor time of all three processes.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        self.running.server.cpu()
    }

    /// What it printed.
    pub(crate) fn said(&self) -> String {
        self.running.server.said()
    }

    /// Makes a signing key of this algorithm, and says how it is used, in both forms.
    pub(crate) fn targets(&self, algorithm: &str) -> Result<(Rc<Target>, Rc<Target>)> {
        targets(&self.client, &self.address, algorithm)
    }
}

/// Makes a signing key of this algorithm at a service, and says how it is used, in both forms.
pub(crate) fn targets(
    client: &Client,
    address: &Address,
    algorithm: &str,
) -> Result<(Rc<Target>, Rc<Target>)> {
    let new = New { name: &format!("bench-{algorithm}"), purpose: "sign.bound:bench", algorithm };
    let key = keys::create(client, &new)?;
    let handle = keys::issue(client, &key)?;
    let target = |form| Ok::<_, anyhow::Error>(Rc::new(target(address, form, &key, &handle)?));
    Ok((target(Form::Single)?, target(Form::Batch)?))
}

fn target(address: &Address, form: Form, key: &KeyObject, handle: &KeyHandle) -> Result<Target> {
    let path = match form {
        Form::Batch => "/v1/sign/batch",
        Form::Single => "/v1/sign",
    };
    let mut authorization = HeaderValue::try_from(authorization_field(handle.expose_bytes()))?;
    authorization.set_sensitive(true);
    let key = key.clone();
    Ok(Target {
        address: address.clone(),
        path: path.into(),
        headers: HeaderMap::from_iter([(AUTHORIZATION, authorization)]),
        orders: orders(form, |messages| render(form, messages))?,
        check: Box::new(move |messages, body| check(&key, messages, &outputs(form, body)?)),
    })
}

fn launch(binary: &Path, directory: &Directory, port: u16) -> Result<Server> {
    Server::start(binary, &serve_arguments(directory, port), directory.path().join("log"))
}

/// Verifies as a receiver does: offline, with the public key.
fn check(key: &KeyObject, messages: &[Vec<u8>], signatures: &[Vec<u8>]) -> Result<()> {
    ensure!(messages.len() == signatures.len(), "{} signatures came", signatures.len());
    let version = key.versions.first().context("the key has a version")?;
    let spki = version.public_key.as_ref().context("the version has a public key")?;
    let public = PublicKey::from_spki(key.algorithm, &spki.0)?;
    let context = KeyContext::default();
    for (message, signature) in messages.iter().zip(signatures) {
        let expected = Verifying {
            purpose: &key.purpose,
            key: KeyVersion { key: key.id, version: version.version },
            verifier: Verifier::Public(&public),
            context: &context,
            payload: Some(Payload::Message(message)),
            now_ms: unix_ms(),
        };
        verify(signature, &expected)?;
    }
    Ok(())
}
