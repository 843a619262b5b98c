//! A reader of plaintext who goes away, or cannot take all of it, is told what is to be thrown away.

use std::fs;
use std::io::Read as _;
use std::process::{Output, Stdio};

use crate::harness::{Service, binary, text};

/// Four chunks of a file, and more than a pipe holds.
const PLAINTEXT: usize = 256 * 1024;

/// Decrypts to a reader who takes a few bytes and goes away.
fn decrypt_to_a_short_reader(service: &Service) -> Output {
    let mut command = binary();
    command.arg("--context-file").arg(service.data().join("admin.toml"));
    command.args(["decrypt", "--handle", "backups.h", "big.enc", "--out", "-"]);
    command.current_dir(service.directory()).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = child.stdout.take().unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    drop(reader);
    child.wait_with_output().unwrap()
}

#[test]
fn a_decryption_that_fails_after_plaintext_was_out_says_to_discard_it() {
    let service = Service::start();
    fs::write(service.path("big"), vec![7; PLAINTEXT]).unwrap();
    for line in [
        "key create backups --purpose wrap.aead:backup --algorithm aes-256-gcm",
        "handle issue backups --out backups.h",
        "encrypt --handle backups.h big --out big.enc",
    ] {
        service.done(&line.split(' ').collect::<Vec<_>>());
    }
    let output = decrypt_to_a_short_reader(&service);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be written") && said.contains("; discard the "), "{said}");
}
