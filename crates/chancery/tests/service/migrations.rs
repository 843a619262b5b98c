//! A key moves to another algorithm: the example of `docs/plans.md`, and what stands in the log of it.

use std::collections::BTreeSet;

use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_client::{
    Client, Input, KeyHandle, Manner, Outcome, Used, carries_payload, is_about, unix_ms,
};
use chancery_core::command::Command;
use chancery_core::context::Context;
use chancery_core::purpose::Format;
use chancery_core::state::KeyState;
use chancery_core::suite::Suite;
use chancery_crypto::formats::{self, KeyVersion, Verified, Verifier, Verifying};
use chancery_crypto::key::PublicKey;
use serde_json::Value;

use crate::harness::{
    Service, ask, committed, eventually, fresh, issue, name, new_handle, plainly, refused, text,
};

/// Consumers; a tenth of sixty is six, and none of fewer than one is likely.
const CONSUMERS: usize = 60;

/// Places of stages in the plan; in the one that asks for both, ramps are 3 to 5.
const CANARY: u64 = 2;
const RAMP: u64 = 3;
const FULL: u64 = 4;
const SOAK: u64 = 5;
const ASKING: u64 = 4;

/// A statement as `releases` signs it.
const STATEMENT: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;

/// Both keys of the example, whose suites are those of its versions 1 and 2.
const SUITES: [Suite; 2] = [Suite::EcdsaP256, Suite::MlDsa65];

/// A key on its way to another algorithm, and every answer that was given.
struct Migration {
    service: Service,
    client: Client,
    handle: KeyHandle,
    message: Vec<u8>,
    signed: Vec<Used>,
}

impl Migration {
    /// The first command of the example: a key with the suite it has had.
    fn new(purpose: &str) -> Self {
        let service = Service::start();
        let create = ["key", "create", "releases", "--purpose", purpose];
        service.done(&[&create[..], &["--algorithm", "ecdsa-p256"]].concat());
        let client = service.client();
        let (handle, signed) = (handle(&client), Vec::new());
        let message = message(handle.purpose().format());
        let mut migration = Self { service, client, handle, message, signed };
        migration.sign_for_all();
        migration
    }

    /// The second command of the example.
    fn rotate(&self) {
        self.rotate_by(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/migration.toml"));
    }

    /// As [`Self::rotate`], by a plan that has verifiers ask for both signatures for a while.
    fn rotate_asking_both(&self) {
        let plan = include_str!("migration.toml");
        let ramps = plan.find("[[stage]]\nname = \"ramp\"").unwrap();
        let full = plan.find("[[stage]]\nname = \"full\"").unwrap();
        let (before, ramp, after) = (&plan[..ramps], &plan[ramps..full], &plan[full..]);
        let ramp = ramp.replace("min = \"300ms\"", "min = \"1200ms\"");
        let asking = ramp.replace("mode =", "accept = \"all-of\"\nmode =");
        let plan = [before, &ramp, &asking, &ramp, after].concat();
        let path = self.service.path("asking-both.toml");
        std::fs::write(&path, plan).unwrap();
        self.rotate_by(path.to_str().unwrap());
    }

    fn rotate_by(&self, plan: &str) {
        let how = ["--plan", plan, "--reason", "migration", "--algorithm", "ml-dsa-65"];
        self.service.done(&[&["rotate", "releases"][..], &how].concat());
    }

    fn key(&self) -> KeyObject {
        let shown = ask(&self.client, &Command::ShowKey { key: name("releases") });
        let AnswerObject::Key(key) = committed(shown).answer else { panic!("no key") };
        key
    }

    /// The rollout, as `rollout show` prints it.
    fn shown(&self) -> Value {
        let shown = self.service.done(&["rollout", "show", "releases", "--format", "json"]);
        serde_json::from_str(&shown).unwrap()
    }

    fn sign_for_all(&mut self) {
        for consumer in 0..CONSUMERS {
            let used = self.sign_for(&consumer.to_string());
            self.signed.push(committed(used));
        }
    }

    fn sign_for(&self, consumer: &str) -> Outcome<Used> {
        let manner = Manner { routing_key: Some(consumer), ..plainly(fresh()) };
        self.client.sign_with(&self.handle, Input::Message(&self.message), &manner)
    }

    fn verifies(&self, output: &[u8]) -> Outcome<Used> {
        let carries = carries_payload(self.handle.purpose().format());
        let input = Input::Message(if carries { &[] } else { &self.message });
        self.client.verify(&self.handle, input, output, &plainly(fresh()))
    }

    /// The latest answer with the signature of the version there was, of the new one, and of both.
    fn verify_each_kind(&self) {
        let format = self.handle.purpose().format();
        let versions = |used: &&Used| {
            let named = formats::key_versions(format, &used.output);
            named.iter().map(|it| it.version).collect::<Vec<_>>()
        };
        for kind in [vec![1], vec![2], vec![1, 2]] {
            if let Some(used) = self.signed.iter().rev().find(|used| versions(used) == kind) {
                committed(self.verifies(&used.output));
            }
        }
    }

    /// Uses the key, and ends its stages as a person, until the rollout is in that one; then signs for everybody.
    fn until(&mut self, stage: u64) {
        eventually(&format!("stage {stage} comes"), || {
            let shown = self.shown();
            assert_eq!(shown["status"], "running", "{shown}");
            if shown["stage"] == stage {
                return true;
            }
            self.sign_for_all();
            self.verify_each_kind();
            // Refused for as long as the stage waits for anything else.
            self.service.cli(&["rollout", "advance", "releases"]);
            false
        });
        self.signed.clear();
        self.sign_for_all();
    }

    /// The versions whose signatures an answer has, each verified with the public half that the key shows, by the
    /// library alone.
    fn signers(&self, output: &[u8]) -> Vec<u32> {
        let key = self.key();
        let purpose = self.handle.purpose();
        let named = formats::key_versions(purpose.format(), output);
        let context = Context::default();
        for KeyVersion { version, .. } in &named {
            let place = usize::try_from(version - 1).unwrap();
            let spki = &key.versions[place].public_key.as_ref().unwrap().0;
            let public = PublicKey::from_spki(SUITES[place], spki).unwrap();
            let carries = carries_payload(purpose.format());
            let expected = Verifying {
                purpose,
                key: KeyVersion { key: key.id, version: *version },
                verifier: Verifier::Public(&public),
                context: &context,
                payload: (!carries).then_some(formats::Payload::Message(&self.message)),
                now_ms: unix_ms(),
            };
            let verified = formats::verify(output, &expected).unwrap();
            if let Verified::Dsse { payload } = verified {
                assert_eq!(payload, STATEMENT);
            }
            assert!(!carries || is_about(purpose.format(), output, &self.message));
        }
        named.iter().map(|it| it.version).collect()
    }

    /// Which signatures the answers of one round have.
    fn kinds(&self) -> BTreeSet<Vec<u32>> {
        self.signed.iter().map(|used| self.signers(&used.output)).collect()
    }
}

fn handle(client: &Client) -> KeyHandle {
    let shown = ask(client, &Command::ShowKey { key: name("releases") });
    let AnswerObject::Key(key) = committed(shown).answer else { panic!("no key") };
    issue(client, new_handle(&key))
}

/// What is signed in a format: a statement, or claims that are in force for an hour.
fn message(format: Format) -> Vec<u8> {
    if format != Format::JwsJson {
        return STATEMENT.to_vec();
    }
    let now = unix_ms() / 1_000;
    let expires = now + 3_600;
    format!(r#"{{"iss":"https://issuer.example","aud":"api","iat":{now},"exp":{expires}}}"#)
        .into_bytes()
}

/// The numbers of uses in a proof of all uses of a version.
fn proved(service: &Service, version: &str) -> Vec<u64> {
    let out = service.path(&format!("uses-{version}"));
    let out = out.to_str().unwrap();
    let prove = ["audit", "prove", "--key", "releases", "--version", version, "--out", out];
    service.done(&[&prove[..], &["--force"]].concat());
    let policy = service.data().join("log/policy");
    let policy = policy.to_str().unwrap();
    let shown =
        service.done(&["audit", "verify-proof", out, "--policy", policy, "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["claim"], "complete", "{shown}");
    let uses = shown["uses"].as_array().unwrap();
    uses.iter().map(|one| one["use_index"].as_u64().unwrap()).collect()
}

#[test]
fn envelopes_carry_both_signatures_until_the_new_one_stands_alone() {
    let mut migration = Migration::new("sign.dsse:application/vnd.in-toto+json");
    let first = migration.signed[0].output.clone();
    migration.rotate();
    migration.until(CANARY);
    assert_eq!(migration.kinds(), [vec![1], vec![1, 2]].into());
    migration.until(RAMP);
    assert_eq!(migration.kinds(), [vec![1, 2]].into());
    let both = migration.signed[0].output.clone();
    migration.until(FULL);
    assert_eq!(migration.kinds(), [vec![2]].into());
    migration.until(SOAK);
    for output in [&first, &both, &migration.signed[0].output] {
        committed(migration.verifies(output));
    }
    let key = migration.key();
    assert_eq!(key.scheduled_version, 1);
    assert!(key.versions.iter().all(|version| version.state == KeyState::Active));
}

#[test]
fn a_use_of_two_versions_is_counted_for_both() {
    let mut migration = Migration::new("sign.bound:release");
    migration.rotate();
    migration.until(RAMP);
    let operation = fresh();
    let manner = Manner { routing_key: Some("one"), ..plainly(operation) };
    let sign = || {
        migration.client.sign_with(&migration.handle, Input::Message(&migration.message), &manner)
    };
    let used = committed(sign());
    assert_eq!((used.version, migration.signers(&used.output)), (1, vec![1, 2]));
    // A repeat is the same answer, and no use of either.
    let counted = ["1", "2"].map(|version| proved(&migration.service, version));
    assert_eq!(committed(sign()).output, used.output);
    assert_eq!(["1", "2"].map(|version| proved(&migration.service, version)), counted);
    for numbers in &counted {
        let all: Vec<u64> = (0..u64::try_from(numbers.len()).unwrap()).collect();
        assert_eq!(*numbers, all);
    }
    let query = ["audit", "query", "--operation", &operation.to_string(), "--format", "json"];
    let found: Value = serde_json::from_str(&migration.service.done(&query)).unwrap();
    let versions: Vec<u64> =
        found.as_array().unwrap().iter().map(|it| it["version"].as_u64().unwrap()).collect();
    assert_eq!(versions.iter().copied().collect::<BTreeSet<_>>(), [1, 2].into(), "{found}");
}

#[test]
fn a_signature_of_two_versions_verifies_while_one_of_them_may() {
    let mut migration = Migration::new("sign.bound:release");
    let alone = migration.signed[0].output.clone();
    migration.rotate();
    migration.until(RAMP);
    let both = migration.signed[0].output.clone();
    assert_eq!(committed(migration.verifies(&both)).version, 1);
    let held = ["1", "2"].map(|version| proved(&migration.service, version).len());
    committed(migration.verifies(&both));
    let then = ["1", "2"].map(|version| proved(&migration.service, version).len());
    assert_eq!(then, held.map(|uses| uses + 1));
    migration.service.done(&["key", "suspend", "releases", "--version", "1"]);
    assert_eq!(committed(migration.verifies(&both)).version, 2);
    assert_eq!(refused(migration.verifies(&alone)), "key-unusable");
    // And nothing is signed by the new one alone meanwhile.
    let signed = migration.sign_for("one");
    assert_eq!(refused(signed), "key-unusable");
}

#[test]
fn where_verifiers_ask_for_both_signatures_one_is_refused() {
    let mut migration = Migration::new("sign.bound:release");
    let alone = migration.signed[0].output.clone();
    migration.rotate_asking_both();
    migration.until(ASKING);
    let both = migration.signed[0].output.clone();
    assert_eq!(refused(migration.verifies(&alone)), "verification-failed");
    let held = ["1", "2"].map(|version| proved(&migration.service, version).len());
    committed(migration.verifies(&both));
    let then = ["1", "2"].map(|version| proved(&migration.service, version).len());
    assert_eq!(then, held.map(|uses| uses + 1));
    // One that was altered spoils it, whichever it is.
    let found = formats::bound::BoundSignature::decode(&both).unwrap();
    for signature in found.iter().map(|it| &it.signature) {
        let mut altered = both.clone();
        let place = both.windows(signature.len()).position(|it| it == *signature).unwrap();
        altered[place + signature.len() / 2] ^= 1;
        assert_eq!(refused(migration.verifies(&altered)), "verification-failed");
    }
}

/// How `chancery verify` ends, by the service and by a trust bundle that was just fetched.
fn codes(migration: &Migration, output: &[u8]) -> [Option<i32>; 2] {
    let service = &migration.service;
    std::fs::write(service.path("output"), output).unwrap();
    std::fs::write(service.path("message"), &migration.message).unwrap();
    let fetch = ["bundle", "fetch", "--pins", "bundle.pins", "--out", "now.bundle", "--force"];
    service.done(&fetch);
    let purpose = migration.handle.purpose().to_string();
    let by_bundle = [
        "--bundle",
        "now.bundle",
        "--pins",
        "bundle.pins",
        "--key",
        "releases",
        "--purpose",
        &purpose,
    ];
    let ends = |how: &[&str]| {
        let fixed = ["verify", "message", "--signature", "output"];
        service.cli(&[&fixed[..], how].concat()).status.code()
    };
    [ends(&["--handle", "releases.handle"]), ends(&by_bundle)]
}

/// What `chancery verify` says of one signature that does not hold, or of one where two are asked for.
const NOT_VERIFIED: Option<i32> = Some(4);

#[test]
fn claims_in_the_json_serialization_carry_both_signatures_and_the_bundle_says_which_must_hold() {
    let mut migration = Migration::new("sign.jws-json:grant+jwt");
    let service = &migration.service;
    service.done(&["bundle", "pin", "--out", "bundle.pins"]);
    let issue = ["handle", "issue", "releases", "--operations", "sign,verify"];
    service.done(&[&issue[..], &["--out", "releases.handle"]].concat());
    let alone = migration.signed[0].output.clone();
    migration.rotate_asking_both();
    migration.until(RAMP);
    assert_eq!(migration.kinds(), [vec![1, 2]].into());
    assert_eq!(codes(&migration, &alone), [Some(0); 2]);
    migration.until(ASKING);
    let both = migration.signed[0].output.clone();
    assert_eq!(codes(&migration, &both), [Some(0); 2]);
    assert!(codes(&migration, &alone).iter().all(|code| *code == NOT_VERIFIED));
    // Of each signature in turn, one character.
    let named = br#""signature":""#;
    let places = both.windows(named.len()).enumerate().filter(|(_, window)| window == named);
    let places: Vec<_> = places.map(|(place, _)| place + named.len()).collect();
    assert_eq!(places.len(), 2);
    for place in places {
        let mut altered = both.clone();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        assert!(codes(&migration, &altered).iter().all(|code| *code == NOT_VERIFIED));
    }
}

#[test]
fn a_plan_that_asks_two_signatures_of_a_format_that_holds_one_is_refused() {
    let service = Service::start();
    let create = ["key", "create", "releases", "--purpose", "sign.jws:release+jwt"];
    service.done(&[&create[..], &["--algorithm", "ecdsa-p256"]].concat());
    let how = ["--plan", "migration", "--reason", "migration", "--algorithm", "ml-dsa-65"];
    let refused = service.cli(&[&["rotate", "releases"][..], &how].concat());
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("holds one signature"), "{said}");
}
