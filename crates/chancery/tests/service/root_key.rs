//! A root key that is wrapped under a passphrase.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Options, Service, committed, fresh, key_and_handle, sign};

const PASSPHRASE: &str = "correct horse battery staple\n";

/// Writes the passphrase's file, 0600.
fn put(service: &Service, text: &str) {
    let path = service.path("passphrase");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Starts a service that cannot run, and gives what it says.
fn complaint(service: &mut Service) -> String {
    let before = service.log().len();
    service.launch();
    assert!(!service.wait_for_end().success());
    service.log().split_off(before)
}

#[test]
fn a_service_starts_with_the_passphrase_of_its_root_key_and_with_no_other() {
    let mut service = Service::prepare(Options::default());
    let file = service.path("passphrase").to_str().unwrap().to_owned();
    service.serve_with(vec!["--passphrase-file".into(), file]);
    put(&service, "too short\n");
    assert!(complaint(&mut service).contains("at least 12 bytes"));
    put(&service, PASSPHRASE);
    service.launch();
    service.wait_until_up();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:test", "ed25519");
    let key = fs::read_to_string(service.path("root.key")).unwrap();
    assert!(key.starts_with("chancery-root-key-2 argon2id m=65536 t=3 p=4 "), "{key}");
    service.restart();
    committed(sign(&service.client(), &handle, b"m", fresh()));
    service.stop();
    put(&service, "another passphrase\n");
    let said = complaint(&mut service);
    assert!(said.contains("not the one that the key was wrapped under"), "{said}");
    service.serve_with(Vec::new());
    let said = complaint(&mut service);
    assert!(said.contains("--passphrase-file"), "{said}");
}
