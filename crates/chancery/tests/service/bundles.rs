//! Trust bundles and verifiers: what anybody is handed, what survives a restart, and whose word counts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use chancery_api::frame::Kind;
use chancery_api::http::fields::Base64;
use chancery_api::http::replies::{AnswerObject, VerifierObject};
use chancery_api::message::{PublicReply, PublicRequest};
use chancery_client::{BundleSource as _, Client};
use chancery_core::bundle::Head;
use chancery_core::cbor;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::PrincipalId;
use chancery_core::principal::Role;
use chancery_core::reason::Reason;
use chancery_core::verifier::{NewVerifier, Report};
use chancery_crypto::bundle::{Assembly, Pins, TrustBundle, claimed_signers};
use serde_json::{Value, json};

use super::frames::FakeFront;
use super::people::{Person, query};
use crate::harness::{
    Process, Service, ask, binary, committed, create_key, eventually, key_and_handle, name,
    refused, text,
};
use crate::wire::{Answer, Request, Wire};

fn pins(client: &Client) -> Pins {
    let signed = client.head(None, Duration::ZERO).unwrap().unwrap();
    Pins::of_signers(&claimed_signers(&signed).unwrap()).unwrap()
}

/// The latest bundle, as anybody is handed it.
pub(super) fn bundle(client: &Client) -> TrustBundle {
    let signed = client.head(None, Duration::ZERO).unwrap().unwrap();
    let mut assembly = Assembly::begin(&signed, &pins(client)).unwrap();
    while let Some(from) = assembly.next_entry() {
        assembly.page(&client.page(assembly.head().number, from).unwrap()).unwrap();
    }
    assembly.finish().unwrap()
}

fn issued(client: &Client) -> usize {
    let action = Some("issue-bundle".parse().unwrap());
    query(client, AuditQuery { action, limit: 100, ..AuditQuery::default() }).len()
}

fn event(client: &Client, key: &str, event: chancery_core::state::KeyEvent) {
    let asked = Command::ChangeVersion { key: name(key), version: None, event };
    committed(ask(client, &asked));
}

#[test]
fn a_bundle_follows_every_change_and_is_one_for_all_who_ask() {
    use chancery_core::state::KeyEvent;
    let service = Service::start();
    let client = service.client();
    let first = bundle(&client);
    assert_eq!((first.head().keys, first.head().previous), (0, None));
    create_key(&client, "k", "sign.bound:x", "ed25519");
    create_key(&client, "secret", "encrypt.aead:x", "aes-256-gcm");
    let second = bundle(&client);
    assert_eq!(second.digest(), bundle(&client).digest());
    assert_eq!(second.head().previous, Some(first.digest()));
    assert!(second.head().number > first.head().number && second.head().as_of > first.head().as_of);
    let names: Vec<_> = second.keys().iter().map(|key| key.name.to_string()).collect();
    assert_eq!(names, ["k"]);
    assert!(second.keys()[0].versions[0].verifies());
    event(&client, "k", KeyEvent::Suspend);
    assert!(!bundle(&client).keys()[0].versions[0].verifies());
    event(&client, "k", KeyEvent::ReportCompromise);
    let last = bundle(&client);
    assert_eq!((last.head().revoked, last.head().revoke_all), (1, true));
    assert_eq!(issued(&client), 4);
}

#[test]
fn a_number_stays_what_it_was_across_restarts_and_kills() {
    let mut service = Service::start();
    create_key(&service.client(), "k", "sign.bound:x", "ed25519");
    let before = bundle(&service.client());
    for round in 0..2 {
        if round == 0 {
            service.restart();
        } else {
            service.kill(Process::Signer);
            service.wait_until_up();
        }
        eventually("the signer answers", || service.client().head(None, Duration::ZERO).is_ok());
        let after = bundle(&service.client());
        assert_eq!(after.signed(), before.signed());
    }
    create_key(&service.client(), "k2", "sign.bound:x", "ed25519");
    let next = bundle(&service.client());
    assert_eq!(next.head().previous, Some(before.digest()));
    assert_eq!(next.head().number, before.head().number.next());
}

#[test]
fn what_is_asked_without_a_credential_has_tags_and_bounds() {
    let service = Service::start();
    let wire = Wire::to(&service);
    let get = |target: &str| wire.send(&Request::get(target));
    let client = service.client();
    let head = get("/v1/bundle");
    let tag = |answer: &Answer| {
        let line = answer.head.lines().find_map(|line| line.strip_prefix("etag: "));
        line.unwrap_or_else(|| panic!("no tag: {}", answer.head)).to_owned()
    };
    assert!(head.status == 200 && head.head.contains("cache-control: no-cache"), "{}", head.head);
    let known =
        |target: &str, tag: &str| wire.send(&Request::get(target).with("if-none-match", tag));
    assert_eq!(known("/v1/bundle", &tag(&head)).status, 304);
    assert_eq!(known("/v1/bundle", "\"00\"").status, 200);
    // Nothing newer comes, and who waits is told so when the time is over.
    let began = Instant::now();
    assert_eq!(known("/v1/bundle?wait=1", &tag(&head)).status, 304);
    assert!(began.elapsed() >= Duration::from_secs(1));
    // Something newer comes, and who waits is told at once.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| known("/v1/bundle?wait=20", &tag(&head)));
        std::thread::sleep(Duration::from_millis(300));
        create_key(&client, "tokens", "sign.jws:at+jwt", "ecdsa-p256");
        let began = Instant::now();
        let answer = waiting.join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        answer
    });
    assert!(waiting.status == 200 && tag(&waiting) != tag(&head));
    for (target, outcome) in [
        ("/v1/bundle?wait=26", "malformed"),
        ("/v1/bundle?after=a", "malformed"),
        ("/v1/bundle/entries/0.999/0", "bundle-unknown"),
        ("/v1/bundle/entries/0.1", "malformed"),
        ("/v1/keys/none/jwks", "forbidden"),
    ] {
        assert_eq!(get(target).outcome(), outcome, "{target}");
    }
    create_key(&client, "plain", "sign.bound:x", "ed25519");
    assert_eq!(get("/v1/keys/plain/jwks").outcome(), "forbidden");
    let set = get("/v1/jwks");
    assert!(set.head.contains("application/jwk-set+json") && set.head.contains("max-age=300"));
    let of_key = get("/v1/keys/tokens/jwks");
    assert_eq!((&of_key.body, known("/v1/jwks", &tag(&set)).status), (&set.body, 304));
    let keys: Value = serde_json::from_str(&set.body).unwrap();
    let id = client_key(&client, "tokens");
    assert_eq!(keys["keys"][0]["kid"], format!("{id}.1"));
    assert_eq!(
        (keys["keys"].as_array().unwrap().len(), &keys["keys"][0]["alg"]),
        (1, &json!("ES256"))
    );
    event(&client, "tokens", chancery_core::state::KeyEvent::ReportCompromise);
    assert_eq!(get("/v1/jwks").body, r#"{"keys":[]}"#);
    // Whoever reads JOSE reads both serializations.
    create_key(&client, "grants", "sign.jws-json:grant+jwt", "ml-dsa-65");
    let keys: Value = serde_json::from_str(&get("/v1/jwks").body).unwrap();
    let id = client_key(&client, "grants");
    assert_eq!(
        (&keys["keys"][0]["kid"], keys["keys"].as_array().unwrap().len()),
        (&json!(format!("{id}.1")), 1)
    );
}

fn client_key(client: &Client, key: &str) -> String {
    match committed(ask(client, &Command::ShowKey { key: name(key) })).answer {
        AnswerObject::Key(key) => key.id.to_string(),
        other => panic!("no key but {other:?}"),
    }
}

fn verifiers(client: &Client) -> Vec<VerifierObject> {
    match committed(ask(client, &Command::ListVerifiers)).answer {
        AnswerObject::Verifiers(verifiers) => verifiers,
        other => panic!("no verifiers but {other:?}"),
    }
}

fn register(client: &Client, principal: PrincipalId) {
    let keys = Vec::new();
    committed(ask(client, &Command::RegisterVerifier(NewVerifier { principal, keys })));
}

fn report(head: &Head, digest: [u8; 32], sequence: u64) -> Command {
    let (bundle, as_of, counts) = (head.number, head.as_of, Vec::new());
    Command::Report(Report { bundle, as_of, digest, sequence, since_ms: 1, counts })
}

#[test]
fn a_verifiers_word_counts_once_it_is_registered_and_goes_not_back() {
    let mut service = Service::start();
    let client = service.client();
    let gateway = Person::new(&service, "gateway", Role::Verifier, 31);
    let first = bundle(&client);
    let said = |sequence| report(first.head(), first.digest(), sequence);
    assert_eq!(refused(ask(&gateway.client(), &said(1))), "forbidden");
    register(&client, gateway.id);
    assert_eq!(verifiers(&client)[0].heard, None);
    committed(ask(&gateway.client(), &said(2)));
    let heard = verifiers(&client)[0].heard.unwrap();
    assert_eq!(heard.as_of.number, first.head().as_of.number);
    // A report that somebody has kept, and says again.
    assert_eq!(refused(ask(&gateway.client(), &said(2))), "report-stale");
    assert_eq!(
        refused(ask(&gateway.client(), &report(first.head(), [9; 32], 3))),
        "bundle-unknown"
    );
    // Another verifier's word is not this one's.
    let other = Person::new(&service, "other", Role::Verifier, 32);
    assert_eq!(refused(ask(&other.client(), &said(9))), "forbidden");
    // It does nothing else.
    for asked in [Command::ReadStatus, Command::ListVerifiers, Command::ListKeys { after: None }] {
        assert_eq!(refused(ask(&gateway.client(), &asked)), "forbidden");
    }
    // After a start nobody has said anything.
    service.restart();
    let client = service.client();
    assert_eq!(verifiers(&client)[0].heard, None);
    committed(ask(&gateway.client(), &said(3)));
    assert!(verifiers(&client)[0].heard.is_some());
    let remove = Command::RemoveVerifier { principal: gateway.id };
    committed(ask(&client, &remove));
    assert!(verifiers(&client).is_empty());
    assert_eq!(refused(ask(&gateway.client(), &said(4))), "forbidden");
}

#[test]
fn a_verifier_is_registered_and_removed_once_by_the_command_line() {
    let service = Service::start();
    create_key(&service.client(), "k", "sign.bound:x", "ed25519");
    let gateway = Person::new(&service, "gateway", Role::Verifier, 31);
    let id = gateway.id.to_string();
    for (line, registered) in [(vec!["register", &id, "--key", "k"], 1), (vec!["remove", &id], 0)] {
        let operation = crate::harness::fresh().to_string();
        let once = [&["verifier"], line.as_slice(), &["--operation-id", &operation]].concat();
        // What lost its answer is asked for again, and has its effect once.
        assert_eq!(service.done(&once), service.done(&once));
        assert_eq!(verifiers(&service.client()).len(), registered);
    }
    let unknown = service.cli(&["verifier", "remove", &id]);
    assert_eq!(unknown.status.code(), Some(1), "{}", text(&unknown.stderr));
}

/// A verifier's process, by the command line.
struct Running {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(service: &Service) -> Self {
        let mut child = binary()
            .args(["--context-file", "gateway.toml", "verifier", "run", "--state", "gateway"])
            .args(["--pins", "bundle.pins", "--report-every", "1s"])
            .current_dir(service.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.child.stdin.as_mut().unwrap(), "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_running_verifier_verifies_without_the_service_acknowledges_and_reports() {
    let mut service = Service::start();
    let client = service.client();
    let gateway = Person::new(&service, "gateway", Role::Verifier, 31);
    register(&client, gateway.id);
    fs::write(service.path("gateway.toml"), gateway.profile.to_toml().as_bytes()).unwrap();
    fs::set_permissions(service.path("gateway.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    service.done(&["bundle", "pin", "--out", "bundle.pins"]);
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    let signature =
        committed(crate::harness::sign(&client, &handle, b"m", crate::harness::fresh())).output;
    let question = |message: &[u8]| {
        json!({
            "id": "q", "key": "k", "purpose": "sign.bound:x",
            "message": Base64(message.to_vec()).to_text(),
            "signature": Base64(signature.clone()).to_text(),
        })
    };
    let mut running = Running::start(&service);
    eventually("it has a bundle", || running.ask(&question(b"m"))["accepted"] == true);
    assert_eq!(running.ask(&question(b"m")), json!({"id": "q", "accepted": true, "versions": [1]}));
    assert_eq!(running.ask(&question(b"other"))["accepted"], false);
    let epoch = |client: &Client| {
        let AnswerObject::Status(status) = committed(ask(client, &Command::ReadStatus)).answer
        else {
            panic!("no status")
        };
        status.epoch.number
    };
    eventually("it has acknowledged and reported", || {
        verifiers(&client)[0].heard.is_some_and(|heard| {
            heard.as_of.number == epoch(&client) && heard.verified >= 2 && heard.failed == 1
        })
    });
    // What changes is acknowledged without anybody asking.
    create_key(&client, "k2", "sign.bound:x", "ed25519");
    eventually("it has the next bundle", || {
        verifiers(&client)[0].heard.is_some_and(|heard| heard.as_of.number == epoch(&client))
    });
    service.stop();
    assert_eq!(running.ask(&question(b"m"))["accepted"], true);
}

#[test]
fn a_file_of_a_bundle_verifies_offline_what_it_should_and_nothing_else() {
    let mut service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "k", "sign.bound:x", "ed25519");
    let signature =
        committed(crate::harness::sign(&client, &handle, b"m", crate::harness::fresh())).output;
    fs::write(service.path("m"), b"m").unwrap();
    fs::write(service.path("m.sig"), &signature).unwrap();
    fs::write(service.path("other"), b"other").unwrap();
    service.done(&["bundle", "pin", "--out", "bundle.pins"]);
    let fetch = ["bundle", "fetch", "--pins", "bundle.pins", "--out", "good.bundle"];
    service.done(&fetch);
    let shown = service.done(&["bundle", "show", "good.bundle", "--pins", "bundle.pins"]);
    assert!(shown.contains("sign.bound:x") && shown.contains("active"), "{shown}");
    event(&client, "k", chancery_core::state::KeyEvent::ReportCompromise);
    service.done(&["bundle", "fetch", "--pins", "bundle.pins", "--out", "revoked.bundle"]);
    service.stop();
    let verify = |bundle: &str, key: &str, purpose: &str, message: &str| {
        let fixed = ["verify", "--pins", "bundle.pins", "--signature", "m.sig"];
        let of = ["--bundle", bundle, "--key", key, "--purpose", purpose, message];
        let output = service.cli(&[&fixed[..], &of].concat());
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(verify("good.bundle", "k", "sign.bound:x", "m").0, Some(0));
    for (bundle, key, purpose, message) in [
        ("good.bundle", "k", "sign.bound:x", "other"),
        ("good.bundle", "k2", "sign.bound:x", "m"),
        ("good.bundle", "k", "sign.bound:y", "m"),
        ("revoked.bundle", "k", "sign.bound:x", "m"),
    ] {
        let (code, said) = verify(bundle, key, purpose, message);
        assert_eq!(code, Some(4), "{bundle} {key} {purpose} {message}: {said}");
    }
    let mut altered = fs::read(service.path("good.bundle")).unwrap();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    fs::write(service.path("altered.bundle"), altered).unwrap();
    assert_eq!(verify("altered.bundle", "k", "sign.bound:x", "m").0, Some(1));
}

#[test]
fn a_number_has_one_content_however_the_signer_dies() {
    let mut service = Service::start();
    let mut contents: BTreeMap<(u32, u64), Vec<u8>> = BTreeMap::new();
    for round in 0..4_u64 {
        let client = service.client();
        create_key(&client, &format!("k{round}"), "sign.bound:x", "ed25519");
        let heads = std::thread::scope(|scope| {
            // Asked for again and again, so that the end comes between any two steps of one that is made.
            let asking = scope.spawn(|| {
                let mut heads = Vec::new();
                while let Ok(Some(signed)) = client.head(None, Duration::ZERO) {
                    heads.push(signed);
                    if heads.len() > 10_000 {
                        break;
                    }
                }
                heads
            });
            std::thread::sleep(Duration::from_millis(3 * round));
            service.kill_all();
            asking.join().unwrap()
        });
        service.restart();
        let client = service.client();
        let after = client.head(None, Duration::ZERO).unwrap().unwrap();
        let pins = pins(&client);
        for signed in heads.into_iter().chain([after]) {
            let assembly = Assembly::begin(&signed, &pins).unwrap();
            let number = assembly.head().number;
            let known =
                contents.entry((number.generation, number.number)).or_insert(signed.clone());
            assert_eq!(*known, signed, "{number:?}");
        }
    }
    // Each issue is on record, and no more than one of each number.
    assert!(issued(&service.client()) >= contents.len());
}

#[test]
fn a_store_from_before_the_last_bundle_is_refused() {
    let mut service = Service::start();
    create_key(&service.client(), "k", "sign.bound:x", "ed25519");
    service.stop();
    let (store, copy) = (service.data().join("store.redb"), service.path("store.before"));
    fs::copy(&store, &copy).unwrap();
    service.restart();
    bundle(&service.client());
    service.stop();
    fs::copy(&copy, &store).unwrap();
    let before = service.log().len();
    service.launch();
    assert_eq!(service.wait_for_end().code(), Some(1));
    let said = service.log().split_off(before);
    assert!(said.contains("contradict each other") || said.contains("last recorded"), "{said}");
}

#[test]
fn as_many_wait_as_may_and_they_keep_nobody_out() {
    let service = Service::start();
    let digest = bundle(&service.client()).digest();
    let mut front = FakeFront::connect(&service);
    let asks = |wait_ms| PublicRequest::Bundle { known: Some(digest), wait_ms };
    let answer = |front: &mut FakeFront| {
        let (kind, body) = front.answer().unwrap();
        assert_eq!(kind, Kind::PublicReply);
        cbor::decode::<PublicReply>(&body, "public reply").unwrap()
    };
    for _ in 0..256 {
        front.frame(Kind::Public, &asks(20_000));
    }
    front.frame(Kind::Public, &asks(20_000));
    let refused = answer(&mut front);
    assert!(
        matches!(refused, PublicReply::Refused { reason: Reason::Overloaded, .. }),
        "{refused:?}"
    );
    front.frame(Kind::Public, &asks(0));
    assert_eq!(answer(&mut front), PublicReply::Known { digest });
    create_key(&service.client(), "k", "sign.bound:x", "ed25519");
    let mut latest = digest;
    for _ in 0..256 {
        let PublicReply::Found { digest: other, .. } = answer(&mut front) else { panic!("none") };
        assert_ne!(other, digest);
        latest = other;
    }
    // A wait of years is as long as the longest.
    let years = PublicRequest::Bundle { known: Some(latest), wait_ms: u32::MAX };
    front.frame(Kind::Public, &years);
    assert!(front.is_served());
}
