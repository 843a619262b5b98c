//! An object store of the S3 kind on this machine: SeaweedFS, from where `cargo xtask prerequisites` puts it.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::harness::eventually;

/// The ports of one server: master, volumes, filer and S3, each with one for gRPC; and S3 over TLS.
const PORTS: u16 = 9;

/// Where its ports are looked for: above those of the services of these tests.
const FIRST_PORT: u16 = 32_100;

/// The bucket that is there.
pub(super) const BUCKET: &str = "audit";

/// A running store with one bucket.
pub(super) struct Seaweed {
    directory: PathBuf,
    port: u16,
    child: Child,
}

impl Seaweed {
    /// Starts one with its files below `directory`.
    pub(super) fn start(directory: &Path) -> Self {
        let directory = directory.join("seaweed");
        fs::create_dir(&directory).unwrap();
        fs::create_dir(directory.join("data")).unwrap();
        let identities = r#"{"identities":[{"name":"archiver","credentials":[{"accessKey":"archiver",
            "secretKey":"not-so-secret"}],"actions":["Admin","Read","Write","List"]}]}"#;
        fs::write(directory.join("s3.json"), identities).unwrap();
        certify(&directory);
        let first = free_ports();
        let log = File::create(directory.join("log")).unwrap();
        let mut command = weed();
        command.args([
            "-logtostderr=true",
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
        ]);
        command.args(["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=16"]);
        command.args([
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.localSocket=",
            "-filer.localSocket=",
        ]);
        for (part, offset) in [("master", 0), ("volume", 2), ("filer", 4), ("s3", 6)] {
            command.arg(format!("-{part}.port={}", first + offset));
            command.arg(format!("-{part}.port.grpc={}", first + offset + 1));
        }
        let path = |name: &str| directory.join(name).display().to_string();
        command.arg(format!("-s3.port.https={}", first + 8));
        command.args([
            format!("-s3.cert.file={}", path("cert.pem")),
            format!("-s3.key.file={}", path("key.pem")),
        ]);
        command.args([format!("-dir={}", path("data")), format!("-s3.config={}", path("s3.json"))]);
        command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let store = Self { directory, port: first, child };
        eventually("the object store listens", || {
            TcpStream::connect(("127.0.0.1", store.port + 6)).is_ok()
        });
        eventually("the object store has a bucket", || store.makes_bucket());
        store
    }

    /// The file that says how it is asked in clear.
    pub(super) fn access(&self) -> PathBuf {
        self.write_access("access.toml", &format!("http://127.0.0.1:{}", self.port + 6))
    }

    /// The file that says how it is asked over TLS, and the authority that vouches for it.
    pub(super) fn tls_access(&self) -> (PathBuf, PathBuf) {
        let access = self.write_access("tls.toml", &format!("https://127.0.0.1:{}", self.port + 8));
        (access, self.directory.join("ca.pem"))
    }

    fn write_access(&self, name: &str, endpoint: &str) -> PathBuf {
        let text = format!(
            "endpoint = \"{endpoint}\"\naccess_key_id = \"archiver\"\nsecret_access_key = \"not-so-secret\"\n"
        );
        let path = self.directory.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Gives a command to the store's own shell; what that prints.
    pub(super) fn shell(&self, said: &str) -> String {
        let mut command = weed();
        command.arg("shell").arg(format!("-master=127.0.0.1:{}.{}", self.port, self.port + 1));
        command.arg(format!("-filer=127.0.0.1:{}.{}", self.port + 4, self.port + 5));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{said}").unwrap();
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
    }

    fn makes_bucket(&self) -> bool {
        self.shell(&format!("s3.bucket.create -name {BUCKET}"));
        self.shell("s3.bucket.list").contains(BUCKET)
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.directory.join("log")).unwrap_or_default());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Writes an authority, and a certificate of it for this machine with its key.
fn certify(directory: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&own_key, &issuer).unwrap();
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    fs::write(directory.join("cert.pem"), own.pem()).unwrap();
    fs::write(directory.join("key.pem"), own_key.serialize_pem()).unwrap();
}

fn weed() -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("tools/seaweedfs/bin/weed");
    assert!(path.exists(), "`{}` is missing: run `cargo xtask prerequisites`", path.display());
    Command::new(path)
}

/// The first of so many ports in a row that nobody has.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 80).unwrap();
    loop {
        let place = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 80;
        let first = FIRST_PORT + place * PORTS;
        if (first..first + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}
