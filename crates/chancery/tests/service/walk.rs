//! The walk of the README, by the command line alone, and what the service leaves behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::geteuid;

use crate::harness::{Options, PATIENCE, Process, Service, binary, is_alive, text};

/// The size of the file that is encrypted: 20 MB, many times what one request takes.
const LARGE_BYTES: usize = 20_000_000;

fn signing(service: &Service) {
    service.done(&[
        "key",
        "create",
        "invoices",
        "--purpose",
        "sign.bound:invoice",
        "--algorithm",
        "ed25519",
    ]);
    service.done(&["handle", "issue", "invoices", "--ttl", "15m", "--out", "invoices.handle"]);
}

#[test]
fn the_first_signature_is_made_verified_and_found_in_the_log() {
    let mut service = Service::start();
    fs::write(service.path("readme"), "what is signed").unwrap();
    signing(&service);
    let sign = ["sign", "--handle", "invoices.handle", "readme", "--out", "readme.sig"];
    service.done(&[sign.as_slice(), &["--receipt", "readme.receipt"]].concat());
    let verify = ["verify", "--handle", "invoices.handle", "readme", "--signature", "readme.sig"];
    assert!(service.done(&verify).contains("holds"));
    assert!(!fs::read(service.path("readme.receipt")).unwrap().is_empty());
    let records = service.done(&["audit", "query", "--key", "invoices", "--format", "json"]);
    assert!(records.contains("\"sign\"") && records.contains("\"verify\""), "{records}");
    assert!(service.done(&["audit", "verify", "--data", "d"]).contains("holds"));
    fs::write(service.path("readme"), "what is not").unwrap();
    assert_eq!(service.cli(&verify).status.code(), Some(4));
    service.stop();
    assert!(service.done(&["audit", "verify", "--data", "d"]).contains("holds"));
}

#[test]
fn the_same_command_with_its_operation_id_gives_the_same_bytes() {
    let service = Service::start();
    fs::write(service.path("readme"), "what is signed").unwrap();
    service.done(&[
        "key",
        "create",
        "k",
        "--purpose",
        "sign.bound:invoice",
        "--algorithm",
        "ecdsa-p256",
    ]);
    service.done(&["handle", "issue", "k", "--out", "h"]);
    let id = crate::harness::fresh().to_string();
    let sign = |out: &str| {
        service.done(&["sign", "--handle", "h", "readme", "--out", out, "--operation-id", &id]);
        fs::read(service.path(out)).unwrap()
    };
    assert_eq!(sign("one"), sign("two"));
    assert!(service.done(&["operation", "show", &id]).contains("committed"));
}

#[test]
fn a_large_file_is_encrypted_and_comes_back_byte_for_byte() {
    let service = Service::start();
    let bytes: Vec<u8> =
        (0..LARGE_BYTES / 4).flat_map(|n| u32::try_from(n).unwrap().to_le_bytes()).collect();
    fs::write(service.path("large"), &bytes).unwrap();
    service.done(&[
        "key",
        "create",
        "backups",
        "--purpose",
        "wrap.aead:backup",
        "--algorithm",
        "aes-256-gcm",
    ]);
    service.done(&["handle", "issue", "backups", "--out", "h"]);
    service.done(&["encrypt", "--handle", "h", "large", "--out", "large.enc"]);
    service.done(&["decrypt", "--handle", "h", "large.enc", "--out", "again"]);
    assert_eq!(fs::read(service.path("again")).unwrap(), bytes);
    let mut encrypted = fs::read(service.path("large.enc")).unwrap();
    assert!(encrypted.windows(16).all(|window| window != &bytes[400_000..400_016]));
    let middle = encrypted.len() / 2;
    encrypted[middle] ^= 1;
    fs::write(service.path("large.enc"), &encrypted).unwrap();
    let output = service.cli(&["decrypt", "--handle", "h", "large.enc", "--out", "altered"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(!service.path("altered").exists());
}

/// What standard output has got when a file turns out to be cut or altered is authentic, and said to be a
/// beginning.
#[test]
fn standard_output_gets_no_byte_that_was_not_authenticated() {
    let service = Service::start();
    let plaintext: Vec<u8> =
        (0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(service.path("file"), &plaintext).unwrap();
    let create = "key create backups --purpose wrap.aead:backup --algorithm aes-256-gcm";
    service.done(&create.split(' ').collect::<Vec<_>>());
    service.done(&["handle", "issue", "backups", "--out", "h"]);
    service.done(&["encrypt", "--handle", "h", "file", "--out", "whole"]);
    let decrypt = ["decrypt", "--handle", "h", "altered", "--out", "-"];
    let whole = fs::read(service.path("whole")).unwrap();
    fs::write(service.path("altered"), &whole).unwrap();
    assert!(service.cli(&decrypt).stdout == plaintext);
    // 64 KiB of plaintext and a tag of 16 bytes; the head is what remains of the whole.
    let (chunk, sealed) = (64 * 1024, 64 * 1024 + 16);
    let head = whole.len() - plaintext.len() - 4 * 16;
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (what, bytes, left) in [
        ("cut between two chunks", whole[..head + 2 * sealed].to_vec(), chunk),
        ("cut within a chunk", whole[..head + 2 * sealed + 9].to_vec(), 2 * chunk),
        ("altered in its third chunk", flipped(head + 2 * sealed + 9), 2 * chunk),
        ("altered in its first chunk", flipped(head + 9), 0),
    ] {
        fs::write(service.path("altered"), bytes).unwrap();
        let output = service.cli(&decrypt);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{what}: {said}");
        assert!(output.stdout == plaintext[..left], "{what}: {} bytes", output.stdout.len());
        assert_eq!(said.contains(&format!("discard the {left} bytes")), left > 0, "{what}: {said}");
    }
}

#[test]
fn whatever_the_umask_every_file_is_its_owners_alone() {
    let prefix = ["sh", "-c", r#"umask 000; exec "$0" "$@""#].map(String::from).into();
    let mut service = Service::start_with(Options { prefix, ..Options::default() });
    signing(&service);
    assert_private(&service.data());
    service.restart();
    signing_again(&service);
    assert_private(&service.data());
    for key in ["root.key", "recovery.key"] {
        assert_eq!(mode(&service.path(key)), 0o600, "{key}");
    }
}

fn signing_again(service: &Service) {
    fs::write(service.path("m"), "m").unwrap();
    service.done(&["sign", "--handle", "invoices.handle", "m", "--out", "m.sig"]);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Directories are 0700 and everything in them 0600, sockets too; but to the signer's socket a front with a
/// user of its own may write, which root gives it, and what is published is anybody's to read.
fn assert_private(directory: &Path) {
    assert_eq!(mode(directory), 0o700, "{}", directory.display());
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("log") {
            assert_modes(&path, 0o755, 0o644);
        } else if path.is_dir() {
            assert_private(&path);
        } else {
            let is_shared = path.ends_with("run/signer.sock") && geteuid().is_root();
            let expected = if is_shared { 0o620 } else { 0o600 };
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }
}

#[test]
fn a_second_service_on_the_same_directory_is_refused() {
    let service = Service::start();
    let mut arguments = service.serve_arguments();
    let listen = arguments.iter().position(|argument| argument == "--listen").unwrap();
    arguments[listen + 1] = "127.0.0.1:0".into();
    let second = binary().args(&arguments).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another `chancery serve`"), "{}", text(&second.stderr));
    signing(&service);
}

#[test]
fn a_service_that_is_told_to_stop_does_so_at_once_and_leaves_no_process() {
    let mut service = Service::start();
    signing(&service);
    let pids = service.pids();
    for process in [Process::Front, Process::Signer, Process::Supervisor] {
        assert!(pids.get(process).is_some(), "{process:?}");
    }
    let started = std::time::Instant::now();
    assert_eq!(service.stop().code(), Some(0));
    assert!(started.elapsed() < PATIENCE / 3, "{:?}", started.elapsed());
    assert!(!pids.all().any(is_alive));
}

/// Every directory has one mode and every file another.
fn assert_modes(directory: &Path, directories: u32, files: u32) {
    assert_eq!(mode(directory), directories, "{}", directory.display());
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_modes(&path, directories, files);
        } else {
            assert_eq!(mode(&path), files, "{}", path.display());
        }
    }
}
