//! A signer that follows a script, and a front in front of it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use chancery_api::chancery_core::cbor;
use chancery_api::chancery_core::command::Answer;
use chancery_api::chancery_core::id::OperationId;
use chancery_api::frame::{self, Decoder, Header, Kind};
use chancery_api::message::{
    CertificateReply, CertificateRequest, CommandReply, HealthReply, Receipt, UseReply, UseRequest,
    UseResult,
};
use chancery_server::{FrontConfig, FrontError, FrontLimits, run_until};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use tokio::sync::oneshot;

/// What the signer does with a frame.
pub(crate) enum Act {
    /// Answers as [`committed`] does.
    Commit,
    /// Answers so.
    Answer(UseReply),
    /// Says nothing.
    Silence,
    /// Closes the stream, and takes no other until it is [`Signer::start`]ed again.
    Die,
}

type Script = dyn Fn(&Header, &[u8]) -> Act + Send + Sync;

/// Whatever is asked is done.
pub(crate) fn committed(_: &Header, _: &[u8]) -> Act {
    Act::Commit
}

pub(crate) struct Signer {
    socket: PathBuf,
    authority: Authority,
    script: Box<Script>,
    /// Frames of uses and commands as they came.
    pub frames: Mutex<Vec<(Header, Vec<u8>)>>,
}

/// The names in a front's certificate.
const NAMES: [&str; 2] = ["front.test", "127.0.0.1"];

/// A front's key, as it stands in its certificate.
struct FrontKey<'k>(&'k [u8]);

impl PublicKeyData for FrontKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

struct Authority {
    certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, point: &[u8]) -> Vec<u8> {
        let params = CertificateParams::new(NAMES.map(String::from)).unwrap();
        params.signed_by(&FrontKey(point), &self.issuer).unwrap().der().to_vec()
    }
}

impl Signer {
    /// Listens on its socket, in threads of its own.
    pub(crate) fn start(self: &Arc<Self>) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let signer = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let signer = Arc::clone(&signer);
                let stream = stream.unwrap();
                thread::spawn(move || signer.serve(stream));
            }
        });
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            decoder.push(&buffer[..count]);
            let mut out = Vec::new();
            while let Some((header, body)) = decoder.next_frame().unwrap() {
                if !self.take(&header, body, &mut out) {
                    return;
                }
            }
            if stream.write_all(&out).is_err() {
                return;
            }
        }
    }

    fn take(&self, header: &Header, body: &[u8], out: &mut Vec<u8>) -> bool {
        if header.kind == Kind::Certificate {
            let request: CertificateRequest = cbor::decode(body, "request").unwrap();
            let reply = CertificateReply { certificate: self.authority.issue(&request.public_key) };
            frame::write(out, Kind::CertificateReply, header.tag, &reply).unwrap();
            return true;
        }
        if header.kind != Kind::Health {
            self.frames.lock().unwrap().push((*header, body.to_vec()));
        }
        match (self.script)(header, body) {
            Act::Commit => commit(header, body, out),
            Act::Answer(reply) => frame::write(out, Kind::UseReply, header.tag, &reply).unwrap(),
            Act::Silence => {}
            Act::Die => {
                // Nobody connects to a path that is gone.
                std::fs::remove_file(&self.socket).unwrap();
                return false;
            }
        }
        true
    }
}

fn commit(header: &Header, body: &[u8], out: &mut Vec<u8>) {
    match header.kind {
        Kind::Use => {
            let request: UseRequest<'_> = cbor::decode(body, "request").unwrap();
            frame::write(out, Kind::UseReply, header.tag, &echoed(&request)).unwrap();
        }
        Kind::Command => {
            let reply = CommandReply::Committed { answer: Answer::Done, index: Some(3) };
            frame::write(out, Kind::CommandReply, header.tag, &reply).unwrap();
        }
        _ => {
            let counters = vec![("chancery_signer_uses_total".into(), 3)];
            let reply = HealthReply { mode: "normal".into(), counters };
            frame::write(out, Kind::HealthReply, header.tag, &reply).unwrap();
        }
    }
}

/// Every item's input comes back as its output.
fn echoed(request: &UseRequest<'_>) -> UseReply {
    let receipt = if request.receipt == Receipt::Wanted { vec![5] } else { Vec::new() };
    let results = request.items.iter().map(|item| UseResult::Committed {
        id: item.id.unwrap_or(OperationId::from_bytes([9; 16])),
        output: item.input.to_vec(),
        version: 1,
        index: 7,
        receipt: receipt.clone(),
    });
    UseReply { results: results.collect() }
}

/// A front with its signer; both end with the test.
pub(crate) struct Site {
    /// Where the front listens.
    pub address: SocketAddr,
    /// Who issued its certificate.
    pub authority: Vec<u8>,
    /// The signer.
    pub signer: Arc<Signer>,
    stop: Option<oneshot::Sender<()>>,
    front: Option<thread::JoinHandle<Result<(), FrontError>>>,
}

impl Site {
    /// A site with the usual limits, whose signer follows `script`.
    pub(crate) fn new(script: impl Fn(&Header, &[u8]) -> Act + Send + Sync + 'static) -> Self {
        Self::with(FrontLimits::STANDARD, script)
    }

    /// The same with other limits.
    pub(crate) fn with(
        limits: FrontLimits,
        script: impl Fn(&Header, &[u8]) -> Act + Send + Sync + 'static,
    ) -> Self {
        let site = Self::asleep(limits, script);
        site.signer.start();
        site
    }

    /// The same with a signer that is yet to be started.
    pub(crate) fn asleep(
        limits: FrontLimits,
        script: impl Fn(&Header, &[u8]) -> Act + Send + Sync + 'static,
    ) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket =
            std::env::temp_dir().join(format!("chancery-front-{}-{number}", std::process::id()));
        let authority = Authority::new();
        let certificate = authority.certificate.clone();
        let frames = Mutex::default();
        let signer = Arc::new(Signer {
            socket: socket.clone(),
            authority,
            script: Box::new(script),
            frames,
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = FrontConfig { signer_socket: socket, runtimes: 1, limits, log: None };
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
            Ok(())
        };
        let front = thread::spawn(move || run_until(config, listener, || {}, stopped));
        Self { address, authority: certificate, signer, stop: Some(stop), front: Some(front) }
    }

    /// Tells the front to stop.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until the front has ended.
    pub(crate) fn ended(&mut self) -> Result<(), FrontError> {
        self.front.take().unwrap().join().unwrap()
    }

    /// How many uses and commands came to the signer.
    pub(crate) fn frames(&self) -> usize {
        self.signer.frames.lock().unwrap().len()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Its thread ends with the front; the path may be gone already.
        drop(self.stop.take());
        let _ = std::fs::remove_file(&self.signer.socket);
    }
}
