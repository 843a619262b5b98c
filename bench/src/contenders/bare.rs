//! The bare server: the stack of the front, and a signature, and nothing else.
//!
//! hyper and rustls on one current-thread runtime, the same JSON shapes as the service's, one process. It
//! checks no handle, keeps no record and has no limits. With a sync file it makes one `pwrite` of 4 KiB into
//! a preallocated file and one `fdatasync` for each request, on the same thread: the least that durability
//! can cost in processor time.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bytes::Bytes;
use chancery_api::http::fields::Base64;
use chancery_api::http::problem::Outcome;
use chancery_api::http::uses::{BatchAnswer, BatchBody, UseAnswer, UseBody};
use chancery_core::id::OperationId;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use super::raw;
use crate::contender::{Contender, Running, check_ed25519};
use crate::load::{Address, Target};
use crate::options::Name;
use crate::order::{Form, orders};
use crate::process::{Directory, Server, free_port};
use crate::tls::{self, Identity};

/// One write.
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// The blocks of the file: 64 MiB, the size of an audit segment.
const BLOCKS: u64 = 16 * 1024;

const SIGN: &str = "/v1/sign";
const SIGN_BATCH: &str = "/v1/sign/batch";

/// Whether a request is answered only when something is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing is written.
    None,
    /// One block is, and synced.
    Synced,
}

/// How the process of the bare server is started.
#[derive(Args, Debug)]
pub(crate) struct BareArgs {
    /// The port of the loopback interface.
    #[arg(long)]
    port: u16,
    /// The certificate, as PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// The certificate's key, as PEM.
    #[arg(long)]
    key: PathBuf,
    /// The file to write to for each request.
    #[arg(long)]
    sync_file: Option<PathBuf>,
}

/// Starts a bare server.
pub(crate) fn start(scratch: &Path, durability: Durability) -> Result<Contender> {
    let (name, place) = match durability {
        Durability::None => (Name::Bare, "bare"),
        Durability::Synced => (Name::BareSync, "bare-sync"),
    };
    let directory = Directory::make(scratch, place)?;
    let (identity, port) = (Identity::make()?, free_port()?);
    let server = launch(&directory, &identity, port, durability)?;
    let mut running = Running { server, directory };
    let loopback = (Ipv4Addr::LOCALHOST, port);
    running.server.wait_for(|| Ok(std::net::TcpStream::connect(loopback).map(drop)?))?;
    let address = Address { port, tls: tls::client(&identity.certificate)? };
    let target = |form| Ok::<_, anyhow::Error>(Rc::new(target(address.clone(), form)?));
    let (single, batch) = (target(Form::Single)?, target(Form::Batch)?);
    Ok(Contender { name, running: Rc::new(running), single, batch })
}

fn launch(
    directory: &Directory,
    identity: &Identity,
    port: u16,
    durability: Durability,
) -> Result<Server> {
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("certificate.pem"), &identity.certificate)?;
    std::fs::write(file("key.pem"), &identity.key)?;
    let mut arguments: Vec<PathBuf> = vec!["bare".into(), "--port".into()];
    arguments.push(port.to_string().into());
    arguments.extend(["--certificate".into(), file("certificate.pem")]);
    arguments.extend(["--key".into(), file("key.pem")]);
    if durability == Durability::Synced {
        arguments.extend(["--sync-file".into(), file("blocks")]);
    }
    Server::start(&std::env::current_exe()?, &arguments, file("log"))
}

fn target(address: Address, form: Form) -> Result<Target> {
    let path = match form {
        Form::Batch => SIGN_BATCH,
        Form::Single => SIGN,
    };
    let public = raw::key()?.public_key().as_ref().to_vec();
    Ok(Target {
        address,
        path: path.into(),
        headers: HeaderMap::new(),
        orders: orders(form, |messages| render(form, messages))?,
        check: Box::new(move |messages, body| {
            check_ed25519(&public, messages, &outputs(form, body)?)
        }),
    })
}

/// The body in the service's own shapes.
pub(crate) fn render(form: Form, messages: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut items = messages
        .iter()
        .map(|message| UseBody { message: Some(Base64(message.clone())), ..UseBody::default() });
    Ok(match form {
        Form::Batch => serde_json::to_vec(&BatchBody { items: items.collect(), receipt: false })?,
        Form::Single => serde_json::to_vec(&items.next().context("there is a message")?)?,
    })
}

/// The outputs in an answer of the service's own shapes, all of which must be committed.
pub(crate) fn outputs(form: Form, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    let answers = match form {
        Form::Batch => serde_json::from_slice::<BatchAnswer>(body)?.results,
        Form::Single => vec![serde_json::from_slice(body)?],
    };
    let output = |answer: UseAnswer| {
        ensure!(answer.outcome == Outcome::Committed, "refused: {:?}", answer.code);
        Ok(answer.output.context("an answer has no output")?.0)
    };
    answers.into_iter().map(output).collect()
}

/// Serves until it is killed.
pub(crate) fn serve(args: &BareArgs) -> Result<()> {
    let identity = Identity {
        certificate: std::fs::read_to_string(&args.certificate)?,
        key: std::fs::read_to_string(&args.key)?,
    };
    let tls = TlsAcceptor::from(identity.server()?);
    let blocks = args.sync_file.as_deref().map(Blocks::make).transpose()?;
    let bare = Rc::new(Bare { key: raw::key()?, blocks });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(listener, tls, bare))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, bare: Rc<Bare>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(connection(stream, tls.clone(), Rc::clone(&bare)));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, bare: Rc<Bare>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let bare = Rc::clone(&bare);
        async move { Ok::<_, Infallible>(bare.respond(request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What the bare server has.
struct Bare {
    key: Ed25519KeyPair,
    blocks: Option<Blocks>,
}

impl Bare {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answered = match self.answer(request).await {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
        };
        let mut response = Response::new(Full::new(Bytes::from(answered.1)));
        *response.status_mut() = answered.0;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Vec<u8>> {
        let is_batch = request.uri().path() == SIGN_BATCH;
        let body = request.into_body().collect().await?.to_bytes();
        let answer = if is_batch {
            let body: BatchBody = serde_json::from_slice(&body)?;
            let results = body.items.iter().map(|item| self.sign(item)).collect::<Result<_>>()?;
            serde_json::to_vec(&BatchAnswer { results })?
        } else {
            serde_json::to_vec(&self.sign(&serde_json::from_slice(&body)?)?)?
        };
        self.blocks.as_ref().map_or(Ok(()), Blocks::append)?;
        Ok(answer)
    }

    fn sign(&self, body: &UseBody) -> Result<UseAnswer> {
        let message = &body.message.as_ref().context("there is no message")?.0;
        Ok(UseAnswer {
            outcome: Outcome::Committed,
            operation_id: Some(OperationId::from_bytes([7; 16])),
            output: Some(Base64(self.key.sign(message).as_ref().to_vec())),
            valid: None,
            version: Some(1),
            log_index: Some(0),
            receipt: None,
            code: None,
            retry_after_ms: None,
        })
    }
}

/// A preallocated file, written a block at a time and over again.
struct Blocks {
    file: File,
    next: Cell<u64>,
}

impl Blocks {
    fn make(path: &Path) -> Result<Self> {
        let mut file = File::create(path).context("the sync file cannot be made")?;
        for _ in 0..BLOCKS {
            file.write_all(&[0; BLOCK.len()])?;
        }
        file.sync_all()?;
        Ok(Self { file, next: Cell::new(0) })
    }

    fn append(&self) -> Result<()> {
        let block = self.next.get() % BLOCKS;
        self.next.set(block + 1);
        self.file.write_all_at(&BLOCK, block * 4096)?;
        Ok(self.file.sync_data()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Bare {
        Bare { key: raw::key().unwrap(), blocks: None }
    }

    #[test]
    fn it_signs_the_bytes_that_came() {
        let body = UseBody { message: Some(Base64(b"m".to_vec())), ..UseBody::default() };
        let answer = bare().sign(&body).unwrap();
        let outputs = outputs(Form::Single, &serde_json::to_vec(&answer).unwrap()).unwrap();
        let public = raw::key().unwrap().public_key().as_ref().to_vec();
        assert!(check_ed25519(&public, &[b"m".to_vec()], &outputs).is_ok());
        assert!(check_ed25519(&public, &[b"n".to_vec()], &outputs).is_err());
        assert!(check_ed25519(&public, &[], &outputs).is_err());
    }

    #[test]
    fn a_refused_item_is_no_output() {
        let mut answer = bare()
            .sign(&UseBody { message: Some(Base64(Vec::new())), ..UseBody::default() })
            .unwrap();
        answer.outcome = Outcome::Refused;
        let body = serde_json::to_vec(&BatchAnswer { results: vec![answer] }).unwrap();
        assert!(outputs(Form::Batch, &body).is_err());
    }
}
