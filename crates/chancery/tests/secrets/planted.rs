//! Keys whose bytes are known are brought in, used, and looked for in files, answers and memory.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use chancery_api::http::fields::Base64;
use chancery_api::http::replies::AnswerObject;
use chancery_client::{Client, KeyHandle};
use chancery_core::command::Command as Asked;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::primitive::random;
use chancery_memory::{Arena, ArenaKind, SecretBytes};
use rustix::process::Signal;

use crate::harness::{
    Process, Service, ask, committed, eventually, fresh, is_alive, issue, key_and_handle,
    new_handle, plainly, sign, signal, text,
};
use crate::opened::from_key_file;
use crate::search::{Found, Needles, mappings};
use crate::wire::{Request, Wire};

/// Says to the search that it runs where there is no secret memory.
pub(super) const LOCKED_ONLY: &str = "CHANCERY_TEST_LOCKED_ONLY";

/// What the arena's mappings are called in `maps`, of secret memory.
pub(super) const SECRET_MEMORY: &str = "secretmem";

/// Installs a seccomp filter that answers `memfd_secret(2)` with `ENOSYS`, and becomes another program.
const WITHOUT_SECRET_MEMORY: &str = r"
import ctypes, os, struct, sys
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
MEMFD_SECRET, ENOSYS = 447, 38
program = [
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, MEMFD_SECRET),
    (RETURN, 0, 0, 0x00050000 | ENOSYS),
    (RETURN, 0, 0, 0x7fff0000),
]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in program))
class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
filter = Filter(len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
NO_NEW_PRIVILEGES, SECCOMP, MODE_FILTER = 38, 22, 2
assert libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert libc.prctl(SECCOMP, MODE_FILTER, ctypes.byref(filter), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
";

/// A key that is brought in: its name, purpose and algorithm, its PKCS#8, and the parts that are secret.
pub(super) struct Planted {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    pub(super) algorithm: &'static str,
    pub(super) pkcs8: Vec<u8>,
    pub(super) secrets: Vec<(&'static str, Vec<u8>)>,
}

pub(super) fn drawn() -> [u8; 32] {
    let mut bytes = [0; 32];
    random(&mut bytes).unwrap();
    bytes
}

/// RFC 8410, 7.
fn ed25519() -> Planted {
    let seed = drawn();
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    Planted {
        name: "planted-ed25519",
        purpose: "sign.bound:planted",
        algorithm: "ed25519",
        pkcs8: [&head[..], &seed].concat(),
        secrets: vec![("the Ed25519 seed", seed.to_vec())],
    }
}

/// RFC 5958, 2, around RFC 5915, 3, without the public key.
fn p256() -> Planted {
    let mut scalar = drawn();
    // Under the order of the group, whatever was drawn (SEC 2, 2.4.2).
    scalar[0] &= 0x7f;
    let head = [
        0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a,
        0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
    ];
    Planted {
        name: "planted-p256",
        purpose: "sign.bound:planted",
        algorithm: "ecdsa-p256",
        pkcs8: [&head[..], &scalar].concat(),
        secrets: vec![("the P-256 scalar", scalar.to_vec())],
    }
}

fn rsa() -> Planted {
    let key = PrivateKey::generate(Suite::RsaPss3072).unwrap();
    let pkcs8 = key.expose_secret().unwrap().to_vec();
    let parts = rsa_parts(&pkcs8);
    let names = ["the RSA exponent", "the RSA factor p", "the RSA factor q"];
    Planted {
        name: "planted-rsa",
        purpose: "sign.bound:planted",
        algorithm: "rsa-pss-3072",
        secrets: names.into_iter().zip(parts).collect(),
        pkcs8,
    }
}

/// Private exponent and factors: the integers of 192 bytes and more but the modulus (RFC 8017, A.1.2).
fn rsa_parts(pkcs8: &[u8]) -> Vec<Vec<u8>> {
    let mut integers = Vec::new();
    let mut rest = &pkcs8[pkcs8.windows(3).position(|three| three == [2, 1, 0]).unwrap() + 3..];
    // Into the octet string of the private key, and into its sequence.
    rest = &rest[rest.windows(3).position(|three| three == [2, 1, 0]).unwrap() + 3..];
    while let [2, more @ ..] = rest {
        let (length, body) = der_length(more);
        integers.push(body[..length].iter().copied().skip_while(|byte| *byte == 0).collect());
        rest = &body[length..];
    }
    // Modulus, public exponent, private exponent, p, q, …
    integers.drain(..2);
    integers.truncate(3);
    assert_eq!(integers.len(), 3);
    integers
}

fn der_length(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes[0] {
        0x81 => (usize::from(bytes[1]), &bytes[2..]),
        0x82 => (usize::from(bytes[1]) << 8 | usize::from(bytes[2]), &bytes[3..]),
        short => (usize::from(short), &bytes[1..]),
    }
}

/// Imports a key by the command line and leaves nothing of its file.
pub(super) fn import(service: &Service, planted: &Planted) {
    let file = service.path("planted.p8");
    std::fs::write(&file, &planted.pkcs8).unwrap();
    let (name, path) = (planted.name, file.to_str().unwrap());
    let (purpose, algorithm) = (planted.purpose, planted.algorithm);
    service.done(&[
        "key",
        "import",
        name,
        "--purpose",
        purpose,
        "--algorithm",
        algorithm,
        "--pkcs8",
        path,
    ]);
    // A second time the name is taken, and the file was read and sealed all the same.
    let again = service.cli(&[
        "key",
        "import",
        name,
        "--purpose",
        purpose,
        "--algorithm",
        algorithm,
        "--pkcs8",
        path,
    ]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
    std::fs::remove_file(file).unwrap();
}

pub(super) fn handle(client: &Client, name: &str) -> KeyHandle {
    let shown = committed(ask(client, &Asked::ShowKey { key: crate::harness::name(name) })).answer;
    let AnswerObject::Key(key) = shown else { panic!("no key") };
    issue(client, new_handle(&key))
}

/// What the service keeps from everybody, as far as a test can know it.
fn needles(service: &Service, planted: &[Planted]) -> Needles {
    let mut needles = Needles::new();
    needles.add("the root key", &from_key_file(&service.path("root.key")).unwrap());
    needles.add("the recovery key", &from_key_file(&service.path("recovery.key")).unwrap());
    needles.add("the operator's seed", service.profile().signing_key.as_slice());
    for (name, bytes) in planted.iter().flat_map(|planted| &planted.secrets) {
        needles.add(name, bytes);
    }
    needles
}

/// Uses every key, each twice, and keys that the service made by itself.
fn use_all(service: &Service, planted: &[Planted]) {
    let client = service.client();
    for key in planted {
        let handle = handle(&client, key.name);
        for _ in 0..2 {
            committed(sign(&client, &handle, b"message", fresh()));
        }
    }
}

fn use_generated(client: &Client) {
    let (_, mac) = key_and_handle(client, "made-mac", "mac.bound:planted", "hmac-sha-256");
    let input = chancery_client::Input::Message(b"message");
    committed(client.mac(&mac, input, &plainly(fresh())));
    let (_, field) = key_and_handle(client, "made-field", "encrypt.aead:planted", "aes-256-gcm");
    let sealed = committed(client.encrypt(&field, b"field", &plainly(fresh()))).output;
    assert_eq!(committed(client.decrypt(&field, &sealed, &plainly(fresh()))).output, b"field");
}

/// What is said to those who get no answer of the kind they asked for, and to whoever reads metrics.
fn said(service: &Service, planted: &[Planted]) -> String {
    let wire = Wire::to(service);
    let mut said = wire.send(&Request::get("/metrics")).body;
    assert!(said.contains("chancery_uses_total"), "{said}");
    for planted in planted {
        // A body that is a key, and one that has a key where something else belongs.
        let key = Base64(planted.pkcs8.clone()).to_text();
        for body in [key.clone(), format!("{{\"message\":\"{key}\",\"{key}\":1}}")] {
            for path in ["/v1/sign", "/v1/keys/import", "/v1/keys"] {
                let answer = wire.send(&Request::post(path, body.clone()));
                assert!(answer.status >= 400, "{}", answer.status);
                said += &answer.body;
            }
        }
    }
    said
}

/// What lies in files, less the one place where a secret is meant to be.
fn in_files(service: &Service, needles: &Needles) -> Vec<Found> {
    let mut found = needles.in_directory(service.directory());
    let kept = |found: &Found| match found.secret {
        "the root key" => found.place.ends_with("/root.key"),
        "the recovery key" => found.place.ends_with("/recovery.key"),
        "the operator's seed" => found.place.ends_with("/d/admin.toml"),
        _ => false,
    };
    let meant = found.iter().filter(|found| kept(found)).count();
    assert!(meant >= 3, "the search does not find what is known to be there: {found:?}");
    found.retain(|found| !kept(found));
    found
}

/// The signer's arena: one mapping of secret memory, or the one locked mapping that is not dumped.
pub(super) fn arenas(pid: u32) -> Vec<(u64, u64)> {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut arenas = Vec::new();
    let mut current = (0, 0);
    for line in smaps.lines() {
        let bounds = line.split_whitespace().next().and_then(|word| word.split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        if let Some((start, end)) = bounds.and_then(|(a, b)| Some((number(a)?, number(b)?))) {
            current = (start, end);
        } else if line.starts_with("VmFlags:") && line.contains(" lo ") && line.contains(" dd") {
            arenas.push(current);
        }
    }
    arenas
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Looks through the memory of all three processes; gives what is outside of the signer's arena.
pub(super) fn in_memory(service: &Service, needles: &Needles) -> (Vec<Found>, usize) {
    let pids = service.pids();
    let mut outside = Vec::new();
    let mut inside = 0;
    for process in [Process::Supervisor, Process::Front, Process::Signer] {
        let pid = pids.get(process).unwrap();
        let arenas = arenas(pid);
        for mut found in needles.in_process(pid).unwrap() {
            if arenas.iter().any(|(start, end)| (*start..*end).contains(&found.at)) {
                inside += 1;
            } else {
                found.place = format!("{process:?} {}", found.place);
                outside.push(found);
            }
        }
    }
    (outside, inside)
}

#[test]
fn what_is_secret_is_found_nowhere_but_where_it_is_meant_to_be() {
    let planted = [ed25519(), p256(), rsa()];
    let mut service = Service::start();
    let needles = needles(&service, &planted);
    for planted in &planted {
        import(&service, planted);
        // At once, before what is left behind is written over.
        search_memory(&service, &needles);
    }
    use_all(&service, &planted);
    use_generated(&service.client());
    assert_eq!(in_files(&service, &needles), []);
    search_memory(&service, &needles);
    // What is read from the store is no better placed than what came over the wire.
    service.restart();
    use_all(&service, &planted);
    search_memory(&service, &needles);
    // Last, since this tells the front a secret.
    let said = said(&service, &planted);
    assert_eq!(needles.in_bytes("what is said", said.as_bytes(), 0), []);
    service.stop();
    assert_eq!(in_files(&service, &needles), []);
}

fn search_memory(service: &Service, needles: &Needles) {
    let is_locked = std::env::var_os(LOCKED_ONLY).is_some();
    let status = service.done(&["status"]);
    assert!(!is_locked || status.contains("locked"), "{status}");
    if !is_root() {
        println!("memory is not searched: that takes root");
        return;
    }
    let (outside, inside) = in_memory(service, needles);
    let lines: Vec<_> = outside.iter().map(ToString::to_string).collect();
    println!("{} outside of the arena, {inside} in it:\n{}", lines.len(), lines.join("\n"));
    assert_eq!(inside > 0, is_locked, "{status}");
    assert_eq!(outside.len(), 0, "{}", lines.join("\n"));
}

#[test]
fn the_same_holds_where_the_arena_is_locked_memory() {
    again_in_locked_memory(
        "secrets::planted::what_is_secret_is_found_nowhere_but_where_it_is_meant_to_be",
    );
}

/// Runs a test of this file again, in a process tree that has no secret memory.
pub(super) fn again_in_locked_memory(test: &str) {
    let output = Command::new("python3")
        .args(["-c", WITHOUT_SECRET_MEMORY])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(LOCKED_ONLY, "1")
        .output()
        .expect("python3, which installs the filter");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}{stderr}");
}

#[test]
fn an_aborted_signer_leaves_no_core() {
    let service = Service::start();
    let signer = service.pids().get(Process::Signer).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{signer}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    let working = std::fs::read_link(format!("/proc/{signer}/cwd")).unwrap();
    let before = cores(&working);
    signal(signer, Signal::ABORT);
    eventually("an aborted signer is gone", || !is_alive(signer));
    assert_eq!(cores(&working), before);
    assert_eq!(cores(service.directory()), Vec::<String>::new());
    assert_eq!(cores(&service.data()), Vec::<String>::new());
    let client = service.client();
    eventually("another signer answers", || {
        matches!(ask(&client, &Asked::ReadStatus), chancery_client::Outcome::Committed(_))
    });
}

/// The core files in a directory: ELF files of that type (elf(5), `ET_CORE`), whatever their names.
fn cores(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().filter_map(Result::ok);
    let cores = entries.filter(|entry| {
        let mut head = [0; 17];
        let read =
            std::fs::File::open(entry.path()).and_then(|mut file| file.read_exact(&mut head));
        read.is_ok() && head.starts_with(b"\x7fELF") && head[16] == 4
    });
    cores.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_search_reads_locked_memory_and_not_secret_memory() {
    let secret = drawn();
    let mut needles = Needles::new();
    needles.add("a key in an arena", &secret);
    for kind in [ArenaKind::Locked, ArenaKind::MemfdSecret] {
        let Ok(arena) = Arena::with_kind(kind, 1 << 16) else {
            println!("this kernel offers no {kind:?} memory");
            continue;
        };
        let key = SecretBytes::fill(&arena, 32, |bytes| bytes.copy_from_slice(&secret)).unwrap();
        let at = u64::try_from(key.expose_secret().as_ptr().addr()).unwrap();
        let own = std::process::id();
        let mapping = mappings(own).unwrap().into_iter().find(|part| part.contains(at)).unwrap();
        assert_eq!(
            mapping.name.contains(SECRET_MEMORY),
            kind == ArenaKind::MemfdSecret,
            "{mapping:?}"
        );
        let found = needles.in_process(own).unwrap();
        let is_found = found.iter().any(|found| mapping.contains(found.at));
        assert_eq!(is_found, kind == ArenaKind::Locked, "{found:?}");
    }
}
