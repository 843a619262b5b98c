//! Proofs that outsiders check: made from a receipt or by an auditor, with a policy and nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Service, fresh, text};

/// A service, and what was signed with it.
struct Signed {
    service: Service,
    operation: String,
}

impl Signed {
    fn new() -> Self {
        let service = Service::start();
        let signed = Self { service, operation: fresh().to_string() };
        let Self { service, operation } = &signed;
        service.done(&[
            "key",
            "create",
            "k",
            "--purpose",
            "sign.bound:x",
            "--algorithm",
            "ed25519",
        ]);
        let handle = signed.path("k.handle");
        service.done(&["handle", "issue", "k", "--operations", "sign,verify", "--out", &handle]);
        fs::write(signed.path("message"), b"what was signed").unwrap();
        fs::write(signed.path("another"), b"what was not").unwrap();
        let (message, signature) = (signed.path("message"), signed.path("signature"));
        let receipt = signed.path("receipt");
        let sign =
            ["sign", "--handle", &handle, &message, "--out", &signature, "--receipt", &receipt];
        service.done(&[&sign[..], &["--operation-id", operation]].concat());
        signed
    }

    fn path(&self, name: &str) -> String {
        self.service.path(name).to_str().unwrap().to_owned()
    }

    fn log(&self) -> String {
        self.service.data().join("log").to_str().unwrap().to_owned()
    }

    fn policy(&self) -> String {
        self.log() + "/policy"
    }

    fn prove(&self, what: &[&str], out: &str) {
        let out = self.path(out);
        self.service.done(&[&["audit", "prove"], what, &["--out", &out]].concat());
    }

    fn verify(&self, proof: &str, more: &[&str]) -> Output {
        let (proof, policy) = (self.path(proof), self.policy());
        let verify = ["--format", "json", "audit", "verify-proof", &proof, "--policy", &policy];
        self.service.cli(&[&verify, more].concat())
    }

    fn shown(&self, proof: &str, more: &[&str]) -> Value {
        let output = self.verify(proof, more);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The second implementation, as it ships.
    fn second(&self, proof: &str, more: &[&str]) -> Output {
        let script =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../verifier/verify_proof.py");
        let (proof, policy) = (self.path(proof), self.policy());
        let output = Command::new("python3")
            .arg(script)
            .args([&proof, "--policy", &policy])
            .args(more)
            .output();
        output.expect("python3 is on this machine")
    }
}

/// A line with another character; not in the name of who signed, since signatures of strangers are passed over.
fn altered(line: &str) -> String {
    if line.len() < 40 {
        return line.to_owned() + "0";
    }
    let mut bytes = line.as_bytes().to_vec();
    let place = bytes.len() - 10;
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_receipt_becomes_a_proof_that_needs_no_service() {
    let mut signed = Signed::new();
    signed.service.stop();
    signed.prove(&["--receipt", &signed.path("receipt"), "--log", &signed.log()], "proof");
    let (message, signature) = (signed.path("message"), signed.path("signature"));
    let shown = signed.shown("proof", &["--artifact", &message, "--output", &signature]);
    assert_eq!((&shown["outcome"], &shown["claim"]), (&"verified".into(), &"used".into()));
    // Which bytes, and nothing of who, when or by which key.
    let closed: Vec<&str> =
        shown["not_shown"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(closed, ["time", "operation", "key", "actor", "authorization", "source", "build"]);
    let output = signed.verify("proof", &["--artifact", &signed.path("another")]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("is not the message"), "{}", text(&output.stderr));
}

#[test]
fn an_auditor_opens_what_is_asked_for() {
    let signed = Signed::new();
    signed.prove(&["--operation", &signed.operation], "proof");
    let shown = signed.shown("proof", &["--artifact", &signed.path("message")]);
    assert_eq!(shown["operation"], "sign with ed25519: committed");
    assert_eq!((&shown["key"]["version"], &shown["key"]["use_index"]), (&1.into(), &0.into()));
    assert_eq!(shown["not_shown"], serde_json::json!(["actor", "source", "build"]));
    let index = shown["record"].to_string();
    signed.prove(&["--index", &index, "--open", "actor,time"], "other");
    let shown = signed.shown("other", &[]);
    assert!(shown["actor"].is_string() && shown["key"].is_null() && shown["message"].is_null());
    let output = signed.verify("other", &["--artifact", &signed.path("message")]);
    assert_eq!(output.status.code(), Some(4), "the payload is not shown");
    let beyond = ["audit", "prove", "--index", "1000", "--out", "-"];
    let output = signed.service.cli(&beyond);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no record of yours"), "{}", text(&output.stderr));
}

#[test]
fn a_proof_under_another_policy_or_with_an_altered_line_proves_nothing() {
    let signed = Signed::new();
    signed.prove(&["--operation", &signed.operation], "proof");
    let proof = fs::read_to_string(signed.path("proof")).unwrap();
    for (number, line) in proof.lines().enumerate().filter(|(_, line)| line.len() > 8) {
        let altered = altered(line);
        fs::write(signed.path("altered"), proof.replacen(line, &altered, 1)).unwrap();
        let output = signed.verify("altered", &[]);
        assert_eq!(output.status.code(), Some(4), "line {number}: {line}");
        // Not every `cryptography` has ML-DSA, whose signatures then count for nothing.
        if line.len() < 2_000 {
            let output = signed.second("altered", &[]);
            assert_eq!(output.status.code(), Some(4), "line {number}: {line}");
        }
    }
    let other = Service::start();
    let policy = other.data().join("log/policy");
    let (proof, policy) = (signed.path("proof"), policy.to_str().unwrap().to_owned());
    let output = other.cli(&["audit", "verify-proof", &proof, "--policy", &policy]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("no log that the policy names"));
}

#[test]
fn the_second_implementation_agrees() {
    let signed = Signed::new();
    signed.prove(&["--operation", &signed.operation], "proof");
    signed.prove(&["--receipt", &signed.path("receipt")], "small");
    let message = signed.path("message");
    for proof in ["proof", "small"] {
        let output = signed.second(proof, &["--artifact", &message]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours = signed.shown(proof, &["--artifact", &message]);
        for name in ["claim", "record", "time", "key", "message", "output", "context", "not_shown"]
        {
            assert_eq!(theirs[name], ours[name], "{proof}: {name}");
        }
    }
    let output = signed.second("proof", &["--artifact", &signed.path("another")]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn a_log_that_goes_on_is_proved_to_and_one_that_was_shown_twice_too() {
    let mut signed = Signed::new();
    signed.service.stop();
    let (log, kept) = (signed.log(), signed.path("kept"));
    fs::copy(format!("{log}/checkpoint"), &kept).unwrap();
    // The same state goes on twice.
    let mut other = Service::copy_of(&signed.service);
    for service in [&mut signed.service, &mut other] {
        service.launch();
        service.wait_until_up();
    }
    other.done(&["key", "create", "other", "--purpose", "sign.bound:x", "--algorithm", "ed25519"]);
    signed.service.stop();
    other.stop();
    let out = signed.path("since");
    signed.service.done(&["audit", "prove-consistent", &kept, "--log", &log, "--out", &out]);
    assert_eq!(signed.shown("since", &[])["claim"], "consistent");
    assert!(signed.second("since", &[]).status.success());

    let theirs = other.data().join("log").to_str().unwrap().to_owned();
    let (one, two) = (format!("{log}/checkpoint"), format!("{theirs}/checkpoint"));
    let out = signed.path("fork");
    signed.service.done(&["audit", "prove-fork", &one, &two, "--log", &theirs, "--out", &out]);
    assert_eq!(signed.shown("fork", &[])["claim"], "fork");
    let output = signed.second("fork", &[]);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["claim"], "fork");
    // What continues is no fork.
    let out = signed.path("none");
    let output =
        signed.service.cli(&["audit", "prove-fork", &kept, &one, "--log", &log, "--out", &out]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn anybody_reads_the_published_log_and_nothing_beside_it() {
    let signed = Signed::new();
    signed.prove(&["--operation", &signed.operation], "proof");
    let client = signed.service.client();
    for path in ["checkpoint", "policy"] {
        assert!(!client.log_file(path).unwrap().is_empty());
    }
    let checkpoint = text(&client.log_file("checkpoint").unwrap());
    let size = checkpoint.lines().nth(1).unwrap();
    let tile = client.log_file(&format!("tile/0/000.p/{size}")).unwrap();
    assert_eq!(tile.len(), size.parse::<usize>().unwrap() * 32);
    for path in
        ["tile/0/000", "tile/0/001", "tile", "checkpoint.new", "store.redb", "tile/entries/000"]
    {
        assert_eq!(client.log_file(path).unwrap_err().code.text(), "unknown-route", "{path}");
    }
    for path in ["../store.redb", "tile/../checkpoint", "%2e%2e/store.redb"] {
        assert!(client.log_file(path).is_err(), "{path}");
    }
}

#[test]
fn all_uses_of_a_key_are_proved_and_that_there_was_none() {
    let signed = Signed::new();
    let (handle, message) = (signed.path("k.handle"), signed.path("message"));
    let sign = || {
        let out = signed.path(&format!("signature-{}", fresh()));
        signed.service.done(&["sign", "--handle", &handle, &message, "--out", &out]);
    };
    (0..4).for_each(|_| sign());
    signed.prove(&["--key", "k"], "all");
    let shown = signed.shown("all", &[]);
    assert_eq!((&shown["claim"], &shown["from_record"]), (&"complete".into(), &0.into()));
    let uses = |shown: &Value| shown["uses"].as_array().unwrap().clone();
    let numbers: Vec<u64> =
        uses(&shown).iter().map(|one| one["use_index"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let other = ["key", "create", "other", "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
    signed.service.done(&other);
    signed.prove(&["--key", "other"], "never");
    let shown = signed.shown("never", &[]);
    assert_eq!((&shown["claim"], &shown["from_record"]), (&"not-used".into(), &0.into()));
    for proof in ["all", "never"] {
        let output = signed.second(proof, &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours = signed.shown(proof, &[]);
        for name in ["claim", "key", "from_record", "to_record"] {
            assert_eq!(theirs[name], ours[name], "{proof}: {name}");
        }
        assert_eq!(uses(&theirs).len(), uses(&ours).len());
    }
    // They are counted the same by a service that was started anew.
    let mut service = signed.service;
    service.restart();
    let out = service.path("again");
    let prove = ["audit", "prove", "--key", "k", "--since", "1h", "--out", out.to_str().unwrap()];
    assert!(service.done(&prove).contains("uses          5"));
    let output = service.cli(&["audit", "prove", "--key", "k", "--version", "2", "--out", "-"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no version 2"), "{}", text(&output.stderr));
}

#[test]
fn a_proof_names_its_policy_and_whether_another_is_given_is_said() {
    let signed = Signed::new();
    let published = PathBuf::from(signed.log()).join("checkpoint");
    signed.prove(&["--operation", &signed.operation], "one");
    fs::copy(&published, signed.path("kept")).unwrap();
    let own = fs::read_to_string(signed.policy()).unwrap();
    // The same, written otherwise; and one more key, of another log.
    fs::write(signed.path("same"), format!("# kept\n{}", own.replace(' ', "\t  "))).unwrap();
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/proofs.json");
    let vectors: Value = serde_json::from_slice(&fs::read(vectors).unwrap()).unwrap();
    let foreign = vectors["policies"]["own"].as_str().unwrap().lines().next().unwrap();
    fs::write(signed.path("more"), format!("{foreign}\n{own}")).unwrap();
    fs::write(signed.path("other"), format!("{foreign}\nquorum none\n")).unwrap();
    signed.prove(&["--key", "k"], "all");
    let (kept, since, same) = (signed.path("kept"), signed.path("since"), signed.path("same"));
    let consistent = ["audit", "prove-consistent", &kept, "--out", &since, "--policy", &same];
    signed.service.done(&consistent);
    for proof in ["one", "all", "since"] {
        for (policy, is_named) in [("same", true), ("more", false)] {
            let (file, policy) = (signed.path(proof), signed.path(policy));
            let verify = ["audit", "verify-proof", &file, "--policy", &policy];
            let shown = signed.service.done(&[&["--format", "json"], &verify[..]].concat());
            let shown: Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(shown["policy"]["is_named"], is_named, "{proof}: {shown}");
            let said = signed.service.done(&verify);
            let words = if is_named { "the one that the proof names" } else { "another than the" };
            assert!(said.contains(words), "{proof}: {said}");
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../verifier/verify_proof.py");
            let second = Command::new("python3").arg(script).args(&verify[2..]).output().unwrap();
            let theirs: Value = serde_json::from_slice(&second.stdout).unwrap();
            assert_eq!(theirs["policy"], shown["policy"], "{proof}");
        }
    }
    // Of a checkpoint that was kept nobody knows the policy, unless it is said.
    let under = ["--receipt", &signed.path("receipt"), "--checkpoint", &kept];
    signed.prove(&under, "kept.proof");
    assert!(signed.shown("kept.proof", &[])["policy"]["named"].is_null());
    signed.prove(&[&under[..], &["--policy", &same]].concat(), "named.proof");
    assert_eq!(signed.shown("named.proof", &[])["policy"]["is_named"], true);
    let other = signed.path("other");
    let out = signed.path("none");
    let prove = [&["audit", "prove"], &under[..], &["--policy", &other, "--out", &out]].concat();
    let output = signed.service.cli(&prove);
    assert!(
        text(&output.stderr).contains("does not count under the policy"),
        "{}",
        text(&output.stderr)
    );
}
