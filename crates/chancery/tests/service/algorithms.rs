//! Every algorithm in every format that its usage has, over the wire.

use std::fs::File;
use std::process::Command;

use chancery_client::{Client, Input, KeyHandle, MadeDataKey, carries_payload, sha256_of, unix_ms};
use chancery_core::purpose::{Format, Purpose, Usage};
use chancery_core::suite::SUITES;

use crate::harness::{
    Service, ask, committed, fresh, key_and_handle, new_key, plainly, refused, sign, text,
};

/// The algorithms of a usage.
fn suites(usage: Usage) -> impl Iterator<Item = &'static str> {
    SUITES.iter().filter(move |row| row.usage.contains(&usage)).map(|row| row.name)
}

/// Signs, verifies, and has an altered signature refused.
fn round(client: &Client, handle: &KeyHandle, message: &[u8]) {
    let signature = committed(sign(client, handle, message, fresh())).output;
    let format = handle.purpose().format();
    let about = if carries_payload(format) { &[] } else { message };
    let verify = |signature: &[u8]| {
        client.verify(handle, Input::Message(about), signature, &plainly(fresh()))
    };
    committed(verify(&signature));
    let mut altered = signature;
    // The last byte may be padding or a brace: the middle is payload or signature.
    let middle = altered.len() / 2;
    altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
    let code = refused(verify(&altered));
    assert!(code == "verification-failed" || code == "key-unusable", "{code}");
}

fn signing_round(format: &str, message: &[u8]) {
    let service = Service::start();
    let client = service.client();
    let purpose: Purpose = format.parse().unwrap();
    let admitted = |suite: &&str| purpose.admits(suite.parse().unwrap()).is_ok();
    for suite in suites(Usage::Sign).filter(admitted) {
        let (key, handle) = key_and_handle(&client, &format!("key-{suite}"), format, suite);
        assert_eq!(key.algorithm.properties().name, suite);
        round(&client, &handle, message);
    }
}

#[test]
fn every_signature_algorithm_makes_bound_signatures() {
    signing_round("sign.bound:invoice", b"an invoice");
}

/// Claims that are in force for ten minutes.
fn claims() -> Vec<u8> {
    let now = unix_ms() / 1_000;
    let expires = now + 600;
    format!(
        r#"{{"iss":"https://issuer.example","aud":"api","sub":"me","iat":{now},"exp":{expires}}}"#
    )
    .into_bytes()
}

#[test]
fn every_signature_algorithm_makes_tokens() {
    signing_round("sign.jws:at+jwt", &claims());
}

#[test]
fn every_signature_algorithm_signs_claims_in_the_json_serialization() {
    signing_round("sign.jws-json:grant+jwt", &claims());
}

#[test]
fn every_signature_algorithm_makes_attestations() {
    signing_round("sign.dsse:application/vnd.in-toto+json", br#"{"_type":"statement"}"#);
}

#[test]
fn every_algorithm_of_cose_makes_its_outputs() {
    signing_round("sign.cose:application/x", b"a payload");
}

#[test]
fn every_algorithm_of_openssh_makes_its_signatures() {
    signing_round("sign.sshsig:file", b"a file");
}

#[test]
fn every_algorithm_of_notes_signs_a_checkpoint() {
    let text = "example.com/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    signing_round("sign.note:example.com/log", text.as_bytes());
}

#[test]
fn a_format_refuses_keys_that_its_verifiers_do_not_know() {
    let service = Service::start();
    for (purpose, suite) in [
        ("sign.cose:application/x", "rsa-pkcs1-3072"),
        ("sign.sshsig:git", "ml-dsa-65"),
        ("sign.note:example.com/log", "ecdsa-p256"),
    ] {
        let refusal = refused(ask(&service.client(), &new_key("k", purpose, suite)));
        assert_eq!(refusal, "purpose-refused", "{purpose}");
    }
}

#[test]
fn raw_signatures_are_refused_unless_posture_names_them() {
    let service = Service::start();
    let code = refused(ask(&service.client(), &new_key("raw", "sign.raw:any", "ed25519")));
    assert_eq!(code, "purpose-refused");
}

#[test]
fn a_digest_is_signed_as_its_message_is() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    assert_eq!(handle.purpose().format(), Format::Bound);
    let mut message = vec![7; 1_000_000];
    let digest = sha256_of(message.as_slice()).unwrap();
    let signed = client.sign_with(&handle, Input::Digest(&digest), &plainly(fresh()));
    let signature = committed(signed).output;
    committed(client.verify(&handle, Input::Digest(&digest), &signature, &plainly(fresh())));
    message.truncate(1_000);
    let other = client.verify(&handle, Input::Message(&message), &signature, &plainly(fresh()));
    assert_eq!(refused(other), "verification-failed");
}

#[test]
fn ssh_keygen_takes_what_is_signed_for_a_namespace() {
    let service = Service::start();
    let client = service.client();
    let path = |name: &str| service.path(name).to_str().unwrap().to_owned();
    let (message, allowed) = (path("message"), path("allowed"));
    std::fs::write(&message, b"what is signed\n").unwrap();
    for suite in ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-pkcs1-3072"] {
        let name = format!("key-{suite}");
        let (_, handle) = key_and_handle(&client, &name, "sign.sshsig:file", suite);
        let signed = path(&format!("{suite}.sig"));
        let output = committed(sign(&client, &handle, b"what is signed\n", fresh())).output;
        std::fs::write(&signed, output).unwrap();
        let public = service.done(&["key", "public", &name, "--format", "ssh"]);
        std::fs::write(&allowed, format!("me {public}")).unwrap();
        let verifies = |namespace: &str| {
            let mut verify = Command::new("ssh-keygen");
            verify
                .args(["-Y", "verify", "-I", "me", "-n", namespace, "-f", &allowed, "-s", &signed]);
            let output = verify.stdin(File::open(&message).unwrap()).output().unwrap();
            (output.status.success(), text(&output.stderr) + &text(&output.stdout))
        };
        let (holds, said) = verifies("file");
        assert!(holds, "{suite}: {said}");
        assert!(!verifies("git").0, "{suite}");
    }
}

#[test]
fn every_mac_algorithm_makes_macs() {
    let service = Service::start();
    let client = service.client();
    for suite in suites(Usage::Mac) {
        let (_, handle) =
            key_and_handle(&client, &format!("key-{suite}"), "mac.bound:webhook", suite);
        let mac = committed(client.mac(&handle, Input::Message(b"body"), &plainly(fresh()))).output;
        let verify =
            |body| client.verify_mac(&handle, Input::Message(body), &mac, &plainly(fresh()));
        committed(verify(b"body"));
        assert_eq!(refused(verify(b"other")), "verification-failed");
    }
}

#[test]
fn a_field_is_encrypted_decrypted_and_encrypted_again() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "cards", "encrypt.aead:card", "aes-256-gcm");
    let plaintext = b"4111 1111 1111 1111";
    let sealed = committed(client.encrypt(&handle, plaintext, &plainly(fresh()))).output;
    let rewrapped = committed(client.rewrap(&handle, &sealed, &plainly(fresh()))).output;
    assert_ne!(sealed, rewrapped);
    for ciphertext in [&sealed, &rewrapped] {
        let opened = committed(client.decrypt(&handle, ciphertext, &plainly(fresh())));
        assert_eq!(opened.output, plaintext);
    }
    let mut altered = sealed;
    *altered.last_mut().unwrap() ^= 1;
    let outcome = client.decrypt(&handle, &altered, &plainly(fresh()));
    assert_eq!(refused(outcome), "verification-failed");
}

#[test]
fn a_data_key_is_made_unwrapped_and_wrapped_again() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "backups", "wrap.aead:backup", "aes-256-gcm");
    let mut made = committed(client.generate_data_key(&handle, &plainly(fresh())));
    let made = MadeDataKey::take(&mut made).unwrap();
    let rewrapped = committed(client.rewrap(&handle, &made.wrapped, &plainly(fresh()))).output;
    for wrapped in [&made.wrapped, &rewrapped] {
        let unwrapped = committed(client.unwrap(&handle, wrapped, &plainly(fresh())));
        assert_eq!(unwrapped.output, *made.key);
    }
}

#[test]
fn the_same_bytes_are_derived_for_the_same_context_alone() {
    use chancery_client::{Manner, Receipt};
    use chancery_core::context::{Context, Pair};

    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "tenants", "derive.hkdf:tenant", "hkdf-sha-256");
    let derive = |pair: &str| {
        let context = Context::new(vec![Pair::parse(pair).unwrap()]).unwrap();
        let manner = Manner {
            operation: fresh(),
            context: &context,
            receipt: Receipt::Unwanted,
            holders: &[],
            routing_key: None,
        };
        committed(client.derive(&handle, 48, &manner)).output
    };
    assert_eq!(derive("customer=7").len(), 48);
    assert_eq!(derive("customer=7"), derive("customer=7"));
    assert_ne!(derive("customer=7"), derive("customer=8"));
}

#[test]
fn random_bytes_come_by_a_handle_that_names_them_and_never_twice() {
    use chancery_core::handle::{Operation, Operations};

    use crate::harness::{issue, new_handle};

    let service = Service::start();
    let client = service.client();
    let (key, usual) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let mut new = new_handle(&key);
    new.operations = Operations::of(&[Operation::Random]);
    let handle = issue(&client, new);
    let draw = || committed(client.random(&handle, 32, &plainly(fresh()))).output;
    assert_ne!(draw(), draw());
    assert_eq!(refused(client.random(&usual, 32, &plainly(fresh()))), "not-authorized");
    assert_eq!(committed(client.random(&handle, 1_024, &plainly(fresh()))).output.len(), 1_024);
    assert_eq!(refused(client.random(&handle, 1_025, &plainly(fresh()))), "too-large");
}
