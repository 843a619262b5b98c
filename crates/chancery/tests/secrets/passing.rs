//! Keys that are handed over, or that leave no file to be read from: what an exporter is disclosed, the front's TLS key, and
//! the one-time keys of imports.
//!
//! The first a test knows because it can open the store. The others it looks for in the memory of the process that must have
//! them, by their public halves; then it knows their bytes, and looks where else they are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use chancery_api::http::replies::{AnswerObject, OneTimeKeyObject};
use chancery_client::{Profile, seal_import};
use chancery_core::command::{Command as Asked, NewKey};
use chancery_core::principal::Role;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels::KEY_IMPORT;
use rustix::process::Signal;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use super::planted::{drawn, in_memory, is_root};
use crate::harness::{
    Process, Service, ask, binary, committed, eventually, fresh, key_and_handle, name, sign,
    signal, text,
};
use crate::opened::Opened;
use crate::search::{Found, Needles, candidates};
use crate::wire::Wire;

/// The profile of the exporter's auditor, in the service's directory.
const AUDITOR: &str = "siem.toml";

/// Where its events go.
const EVENTS: &str = "events.jsonl";

/// What is disclosed to an exporter of a month: that of the sections 1 and 2, and that of pseudonyms.
const DISCLOSED: &str = "a key that is disclosed to exporters";

/// What is not: that of section 3, and that of kept answers.
const UNDISCLOSED: &str = "a key that is disclosed to no exporter";

const AUDITORS: &str = "the auditor's seed";

/// An exporter that goes on; it ends with its test.
struct Exporter(Child);

impl Exporter {
    fn start(service: &Service) -> Self {
        let to = format!("file:{EVENTS}");
        let mut command = binary();
        command.args(["--context-file", AUDITOR, "audit", "export", "--to", &to]);
        command.args(["--cursor", "cursor", "--dead-letter", "dead"]);
        command.current_dir(service.directory()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        signal(self.id(), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Makes an auditor, and gives the seed that is in its profile.
fn auditor(service: &Service) -> [u8; 32] {
    let seed = drawn();
    let key = PrivateKey::from_secret(Suite::Ed25519, &seed).unwrap();
    let public = *key.public().unwrap().spki().last_chunk().unwrap();
    let asked = Asked::CreatePrincipal { name: name("siem"), role: Role::Auditor, public };
    let answer = committed(ask(&service.client(), &asked)).answer;
    let AnswerObject::Principal(principal) = answer else { panic!("no principal: {answer:?}") };
    let signing_key = Zeroizing::new(seed);
    let profile = Profile { principal, role: Role::Auditor, signing_key, ..service.profile() };
    fs::write(service.path(AUDITOR), profile.to_toml().as_bytes()).unwrap();
    fs::set_permissions(service.path(AUDITOR), fs::Permissions::from_mode(0o600)).unwrap();
    seed
}

/// The keys of every tenant's months, as the store has them, and the auditor's.
fn needles(opened: &Opened, seed: &[u8; 32]) -> Needles {
    let mut needles = Needles::new();
    for month in opened.months.values() {
        for (number, key) in month.chunks(32).enumerate() {
            // Sections 1 to 3, pseudonyms, answers.
            let is_disclosed = [0, 1, 3].contains(&number);
            needles.add(if is_disclosed { DISCLOSED } else { UNDISCLOSED }, key);
        }
    }
    needles.add(AUDITORS, seed);
    needles
}

#[track_caller]
fn nowhere(found: &[Found]) {
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", lines.join("\n"));
}

/// Nothing of it is in the service's processes outside of the arena, nor in any file but the auditor's own.
#[track_caller]
fn nowhere_in(service: &Service, needles: &Needles) {
    nowhere(&in_memory(service, needles).0);
    let profile = service.path(AUDITOR);
    let of_auditor = |found: &Found| found.place == profile.display().to_string();
    let (own, elsewhere): (Vec<_>, Vec<_>) =
        needles.in_directory(service.directory()).into_iter().partition(of_auditor);
    assert!(own.iter().any(|found| found.secret == AUDITORS), "the search does not find it");
    nowhere(&elsewhere);
}

#[test]
fn what_is_disclosed_to_an_exporter_is_in_its_memory_alone() {
    if !is_root() {
        return println!("memory is not searched: that takes root");
    }
    let mut service = Service::start();
    let (_, handle) = key_and_handle(&service.client(), "k", "sign.bound:x", "ed25519");
    let seed = auditor(&service);
    committed(sign(&service.client(), &handle, b"m", fresh()));
    service.stop();
    let needles = needles(&Opened::of(&service).unwrap(), &seed);
    service.launch();
    service.wait_until_up();
    let exporter = Exporter::start(&service);
    let client = service.client();
    committed(sign(&client, &handle, b"m", fresh()));
    let signs = |text: &str| text.matches("\"sign\"").count();
    eventually("what was signed is exported", || {
        signs(&fs::read_to_string(service.path(EVENTS)).unwrap_or_default()) >= 2
    });
    let held = needles.in_process(exporter.id()).unwrap();
    let is_held = |secret: &str| held.iter().any(|found| found.secret == secret);
    assert_eq!([DISCLOSED, UNDISCLOSED, AUDITORS].map(is_held), [true, false, true], "{held:?}");
    nowhere_in(&service, &needles);
    let limits = fs::read_to_string(format!("/proc/{}/limits", exporter.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    drop(exporter);
    nowhere_in(&service, &needles);
    service.stop();
    let (own, elsewhere): (Vec<_>, Vec<_>) = needles
        .in_directory(service.directory())
        .into_iter()
        .partition(|found| found.place.ends_with(AUDITOR));
    assert!(!own.is_empty());
    nowhere(&elsewhere);
}

/// The point of the certificate that the front shows: the bit string of 66 bytes in its `SubjectPublicKeyInfo` (RFC 5480, 2.2).
fn point_of_front(service: &Service) -> Vec<u8> {
    let mut stream = Wire::to(service).connect();
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    let certificate = stream.conn.peer_certificates().unwrap()[0].to_vec();
    let head = [3, 0x42, 0, 4];
    let at = certificate.windows(4).position(|four| four == head).unwrap() + 3;
    certificate[at..at + 65].to_vec()
}

/// The scalar of a point of P-256 in the memory of a process, as the limbs of a number or as bytes.
fn scalar_in(pid: u32, point: &[u8]) -> Option<[u8; 32]> {
    let is_it = |scalar: &[u8; 32]| {
        let key = PrivateKey::from_secret(Suite::EcdsaP256, scalar).ok()?;
        key.public()?.spki().ends_with(point).then_some(())
    };
    candidates(pid).unwrap().into_iter().find_map(|mut bytes| {
        bytes.reverse();
        is_it(&bytes)?;
        Some(bytes)
    })
}

#[test]
fn the_fronts_tls_key_is_in_the_front_alone_and_in_no_form_but_that_in_which_it_is_used() {
    if !is_root() {
        return println!("memory is not searched: that takes root");
    }
    let mut service = Service::start();
    let (point, front) = (point_of_front(&service), service.pids().get(Process::Front).unwrap());
    let scalar = scalar_in(front, &point).expect("the front holds the key of its certificate");
    let mut needles = Needles::new();
    needles.add("the front's TLS key", &scalar);
    let (outside, _) = in_memory(&service, &needles);
    let lines: Vec<_> = outside.iter().map(ToString::to_string).collect();
    println!("{}", lines.join("\n"));
    // As limbs, as the library signs with it; what it was read from is gone.
    let is_used = |found: &Found| found.place.starts_with("Front") && found.form == "reversed";
    assert!(!outside.is_empty() && outside.iter().all(is_used), "{}", lines.join("\n"));
    nowhere(&needles.in_directory(service.directory()));
    // The next front has another.
    service.kill(Process::Front);
    service.wait_until_up();
    assert_ne!(point_of_front(&service), point);
    nowhere(&in_memory(&service, &needles).0);
    service.stop();
    nowhere(&needles.in_directory(service.directory()));
}

/// A one-time key for an import.
fn one_time(service: &Service) -> OneTimeKeyObject {
    match committed(ask(&service.client(), &Asked::BeginImport)).answer {
        AnswerObject::OneTimeKey(key) => key,
        other => panic!("no one-time key but {other:?}"),
    }
}

/// The private half of a one-time key in the memory of a process: what opens that which is sealed to it (RFC 9180).
fn private_in(pid: u32, key: &OneTimeKeyObject) -> Option<[u8; 32]> {
    let suite = DH_KEM_X25519_HKDF_SHA256_AES_256;
    let info = [KEY_IMPORT, &key.id.0].concat();
    let public = HpkePublicKey(key.public_key.0.clone());
    let (EncapsulatedSecret(enc), sealed) = suite.seal(&info, b"", b"sealed", &public).unwrap();
    let opens = |bytes: &[u8; 32]| {
        let private = HpkePrivateKey::from(bytes.to_vec());
        suite.open(&EncapsulatedSecret(enc.clone()), &info, b"", &sealed, &private).is_ok()
    };
    // The library keeps the bits that X25519 sets as they must not be, or as they must (RFC 7748, 5).
    let is_kept = |bytes: &[u8; 32]| matches!((bytes[0] & 7, bytes[31] >> 6), (7, 2) | (0, 1));
    candidates(pid).unwrap().into_iter().find(|bytes| is_kept(bytes) && opens(bytes))
}

#[test]
fn a_one_time_key_is_in_the_signer_alone_and_nowhere_once_it_is_spent() {
    if !is_root() {
        return println!("memory is not searched: that takes root");
    }
    let service = Service::start();
    let (signer, client) = (service.pids().get(Process::Signer).unwrap(), service.client());
    let key = one_time(&service);
    let private = private_in(signer, &key).expect("the signer holds the one-time key");
    let mut needles = Needles::new();
    needles.add("a one-time key", &private);
    let seed = drawn();
    let (outside, _) = in_memory(&service, &needles);
    let lines: Vec<_> = outside.iter().map(ToString::to_string).collect();
    println!("{}", lines.join("\n"));
    let is_held = |found: &Found| found.place.starts_with("Signer") && found.form == "raw";
    assert!(!outside.is_empty() && outside.iter().all(is_held), "{}", lines.join("\n"));
    nowhere(&needles.in_directory(service.directory()));
    let any = || name("default");
    let new = NewKey {
        name: name("brought"),
        purpose: "sign.bound:x".parse().unwrap(),
        suite: Suite::Ed25519,
        scope: chancery_core::name::Scope { environment: any(), region: any(), service: any() },
        witnessed: false,
    };
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let sealed = seal_import(&new, &key, &[&head[..], &seed].concat()).unwrap();
    let import = Asked::ImportKey { new, one_time: key.id.0, sealed };
    committed(ask(&client, &import));
    needles.add("the key that was brought in", &seed);
    nowhere(&in_memory(&service, &needles).0);
    nowhere(&needles.in_directory(service.directory()));
    assert!(text(&service.cli(&["key", "show", "brought"]).stdout).contains("active"));
}
