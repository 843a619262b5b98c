//! A service that has its log cosigned: what it publishes of that, what a start is held against, and what becomes of
//! keys when the witnesses are away.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chancery_client::{Input, Item, KeyHandle, NotCommitted, Outcome};
use chancery_core::command::NewHandle;
use chancery_core::context::Context;
use chancery_core::handle::{Operation, Operations};
use chancery_core::limits::BATCH_ITEMS_MAX;
use chancery_core::principal::Role;
use chancery_core::purpose::Usage;
use rustix::process::Signal;
use serde_json::Value;

use super::people::Person;
use super::witnesses::scene::{Scene, shown, size};
use crate::harness::{
    Service, committed, copy, eventually, fresh, issue, key_and_handle, plainly, refused, sign,
    signal, text,
};
use crate::wire::{Request, Wire};

/// How long a witness may take: 5 s, as the service has it.
const WITNESS_MAX: Duration = Duration::from_secs(5);

/// The arguments by which a service asks the witnesses of a policy, as often as it may.
fn asking(policy: &str, more: &[&str]) -> Vec<String> {
    let asking = ["--witness-policy", policy, "--witness-every", "1s"];
    asking.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
}

/// Starts the service anew, with other arguments.
fn restarted(scene: &mut Scene, arguments: Vec<String>) {
    scene.service.stop();
    scene.service.serve_with(arguments);
    scene.service.launch();
}

/// What the service refuses to start with.
#[track_caller]
fn refuses_to_start(service: &mut Service, why: &str) {
    assert_eq!(service.wait_for_end().code(), Some(1), "{}", service.log());
    assert!(service.log().contains(why), "{}", service.log());
}

fn status(service: &Service) -> Value {
    shown(&service.cli(&["--format", "json", "status"]))
}

fn cosigned(service: &Service) -> Option<u64> {
    let note = fs::read_to_string(service.data().join("log/witnessed.checkpoint")).ok()?;
    Some(size(&note))
}

/// Takes the lock record away, as somebody does who takes it back together with the data directory.
fn without_lock_record(service: &Service, arguments: Vec<String>) -> Vec<String> {
    fs::remove_file(service.lock_record().unwrap()).unwrap();
    [arguments, vec!["--new-lock-record".into()]].concat()
}

/// Somebody who publishes a directory over HTTP.
struct Mirror {
    directory: PathBuf,
    address: SocketAddr,
}

impl Mirror {
    fn of(directory: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, root) = (listener.local_addr().unwrap(), directory.clone());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
                let body = fs::read(root.join(path)).unwrap_or_default();
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { directory, address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn directory(&self) -> &Path {
        &self.directory
    }
}

fn taken_back(service: &Service, kept: &Path) {
    fs::remove_dir_all(service.data()).unwrap();
    copy(kept, &service.data());
}

#[test]
fn what_is_signed_is_cosigned_and_proved_under_the_published_policy() {
    let mut scene = Scene::with(2);
    let policy = scene.policy(2, "");
    restarted(&mut scene, asking(&policy, &[]));
    scene.service.wait_until_up();
    scene.grow();
    let latest = size(&scene.published());
    eventually("it is cosigned", || cosigned(&scene.service) >= Some(latest));
    let said = status(&scene.service);
    assert_eq!(said["witnesses"], "kept", "{said}");
    assert_eq!(said["others"].as_array().unwrap().len(), 2, "{said}");
    assert!(!said["advice"].to_string().contains("no witness or peer"), "{said}");
    let metrics = Wire::to(&scene.service).send(&Request::get("/metrics")).body;
    assert!(metrics.contains("chancery_witnesses_kept 1\n"), "{metrics}");
    scene.prove(&["--operation", &scene.operation, "--witnessed"], "one.proof");
    scene.prove(&["--key", "k", "--witnessed"], "all.proof");
    // Who has not kept a policy of their own takes the published one.
    let published = scene.service.data().join("log/witnessed.policy");
    for proof in ["one.proof", "all.proof"] {
        let output = shown(&scene.verify(proof, published.to_str().unwrap()));
        assert_eq!(output["checkpoints"][0]["witnesses"].as_array().unwrap().len(), 4, "{output}");
        assert_eq!(output["policy"]["is_named"], true, "{output}");
        shown(&scene.second(proof, published.to_str().unwrap()));
    }
    let data = scene.service.data();
    scene.service.done(&["audit", "verify", "--data", data.to_str().unwrap()]);
    // Without witnesses nothing is left of them.
    restarted(&mut scene, Vec::new());
    scene.service.wait_until_up();
    assert!(!published.exists() && cosigned(&scene.service).is_none());
    let said = status(&scene.service);
    assert_eq!(said["witnesses"], "none", "{said}");
    assert!(said["advice"].to_string().contains("no witness or peer remembers"), "{said}");
}

#[test]
fn a_start_that_no_quorum_cosigns_uses_no_key_unless_posture_says_so() {
    let mut scene = Scene::with(1);
    let client = scene.service.client();
    let (_, handle) = key_and_handle(&client, "later", "sign.bound:x", "ed25519");
    let file = scene.path("handle");
    scene.service.done(&["handle", "issue", "later", "--ttl", "15m", "--out", &file]);
    let policy = scene.policy(1, "");
    scene.witnesses[0].end(Signal::KILL);
    restarted(&mut scene, asking(&policy, &[]));
    let before = scene.published();
    refuses_to_start(&mut scene.service, "no quorum of witnesses has cosigned this start");
    assert!(scene.service.log().contains("--unwitnessed-for"));
    assert_eq!(scene.published(), before, "nothing was signed");
    scene.service.serve_with(asking(&policy, &["--unwitnessed-for", "4s"]));
    scene.service.launch();
    scene.service.wait_until_up();
    committed(sign(&client, &handle, b"in time", fresh()));
    assert!(status(&scene.service)["advice"].to_string().contains("no witness or peer answers"));
    eventually("the time is over", || status(&scene.service)["mode"] == "unwitnessed");
    assert_eq!(refused(sign(&client, &handle, b"too late", fresh())), "unwitnessed");
    let create = ["key", "create", "new", "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
    let output = scene.service.cli(&create);
    assert!(text(&output.stderr).contains("no quorum of witnesses"), "{}", text(&output.stderr));
    // What takes authority away is taken, and ends nothing that it should not.
    scene.service.done(&["handle", "revoke", &file]);
    scene.witnesses[0].launch();
    eventually("keys are used again", || status(&scene.service)["mode"] == "normal");
    let (_, handle) = key_and_handle(&client, "again", "sign.bound:x", "ed25519");
    committed(sign(&client, &handle, b"again", fresh()));
}

#[test]
fn a_witness_remembers_what_data_directory_and_lock_record_do_not() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    restarted(&mut scene, asking(&policy, &[]));
    scene.service.wait_until_up();
    scene.service.stop();
    let (before, after) = (scene.service.path("before"), scene.service.path("after"));
    copy(&scene.service.data(), &before);
    scene.service.launch();
    scene.service.wait_until_up();
    scene.grow();
    let latest = size(&scene.published());
    eventually("it is cosigned", || cosigned(&scene.service) >= Some(latest));
    scene.service.stop();
    copy(&scene.service.data(), &after);
    taken_back(&scene.service, &before);
    let lost = without_lock_record(&scene.service, asking(&policy, &[]));
    // Also where posture would have it serve without any.
    for more in [Vec::new(), vec!["--unwitnessed-for".into(), "1h".into()]] {
        scene.service.serve_with([lost.clone(), more].concat());
        scene.service.launch();
        refuses_to_start(&mut scene.service, "the log was taken back, or went on elsewhere");
        assert!(scene.service.log().contains("more than are here"), "{}", scene.service.log());
    }
    assert_eq!(
        size(&scene.published()),
        size(&fs::read_to_string(before.join("log/checkpoint")).unwrap())
    );
    taken_back(&scene.service, &after);
    scene.service.serve_with(lost);
    scene.service.launch();
    scene.service.wait_until_up();
    scene.grow();
}

#[test]
fn a_witness_knows_a_log_that_went_on_elsewhere() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    scene.service.stop();
    let mut other = Service::copy_of(&scene.service);
    other.serve_with(asking(&policy, &[]));
    other.launch();
    other.wait_until_up();
    eventually("it is cosigned", || cosigned(&other).is_some());
    let latest = cosigned(&other).unwrap();
    other.stop();
    // Here the log goes on without witnesses, and further.
    scene.service.launch();
    scene.service.wait_until_up();
    while size(&scene.published()) <= latest {
        scene.grow();
    }
    restarted(&mut scene, asking(&policy, &["--unwitnessed-for", "1h"]));
    refuses_to_start(&mut scene.service, "has other records than are here");
}

#[test]
fn a_peer_remembers_what_data_directory_and_lock_record_do_not() {
    let mut scene = Scene::with(0);
    scene.service.stop();
    let before = scene.service.path("before");
    copy(&scene.service.data(), &before);
    scene.service.launch();
    scene.service.wait_until_up();
    scene.grow();
    scene.service.stop();
    let (log, kept) = (scene.service.data().join("log"), scene.service.path("kept"));
    copy(&log, &kept);
    let mirror = Mirror::of(kept);
    let after = scene.service.path("after");
    copy(&scene.service.data(), &after);
    let lost = without_lock_record(&scene.service, vec!["--peer".into(), mirror.url()]);
    taken_back(&scene.service, &before);
    scene.service.serve_with(lost);
    scene.service.launch();
    refuses_to_start(&mut scene.service, "and shows this log's signature under");
    // What was signed stays signed, whatever the peer shows next.
    fs::remove_dir_all(mirror.directory()).unwrap();
    copy(&before.join("log"), mirror.directory());
    scene.service.launch();
    refuses_to_start(&mut scene.service, "was seen elsewhere, and they are not here");
    // To be behind is no reason for anything.
    taken_back(&scene.service, &after);
    scene.service.launch();
    scene.service.wait_until_up();
    let said = status(&scene.service);
    assert!(said["others"][0]["standing"].as_str().unwrap().contains("which are here"), "{said}");
}

#[test]
fn a_courier_in_other_hands_makes_nothing_count_that_is_not_signed() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    restarted(&mut scene, asking(&policy, &[]));
    scene.service.wait_until_up();
    let answers = scene.service.data().join("witness/answers");
    let old = fs::read(answers.join("cosigned")).unwrap();
    scene.grow();
    scene.service.stop();
    scene.witnesses[0].end(Signal::KILL);
    // What was cosigned before is not what this start asks for, whatever a report says of it.
    fs::write(answers.join("cosigned"), &old).unwrap();
    scene.service.launch();
    refuses_to_start(&mut scene.service, "no quorum of witnesses has cosigned this start");
    // A link to a file that the courier may not read is none that the signer reads for it.
    scene.witnesses[0].launch();
    fs::remove_file(answers.join("report")).unwrap();
    symlink(scene.service.path("root.key"), answers.join("report")).unwrap();
    scene.service.launch();
    scene.service.wait_until_up();
    assert!(!fs::symlink_metadata(answers.join("report")).unwrap().is_symlink());
}

#[test]
fn a_courier_that_dies_is_started_again_and_keeps_nobody_waiting() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    restarted(&mut scene, asking(&policy, &[]));
    scene.service.wait_until_up();
    // The others are supervisor, signer and front.
    let courier = |scene: &Scene| scene.service.pids().all().nth(3);
    let first = courier(&scene).unwrap();
    signal(first, Signal::KILL);
    scene.grow();
    let latest = size(&scene.published());
    eventually("it is cosigned", || cosigned(&scene.service) >= Some(latest));
    assert_ne!(courier(&scene), Some(first));
}

fn is_unknown<T>(outcome: Outcome<T>) -> bool {
    matches!(outcome.committed(), Err(NotCommitted::Unknown(_)))
}

/// A key whose answers wait for witnesses, and a handle on it.
fn waiting_key(service: &Service, name: &str) -> KeyHandle {
    let create = ["key", "create", name, "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
    service.done(&[&create[..], &["--witnessed"]].concat());
    let file = service.path(name);
    service.done(&["handle", "issue", name, "--ttl", "15m", "--out", file.to_str().unwrap()]);
    KeyHandle::parse(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn an_answer_of_a_key_that_asks_for_witnesses_leaves_when_a_quorum_has_cosigned_it() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    // Without witnesses there is no such key.
    let create = ["key", "create", "w", "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
    let output = scene.service.cli(&[&create[..], &["--witnessed"]].concat());
    assert!(text(&output.stderr).contains("--witness-policy"), "{}", text(&output.stderr));
    restarted(&mut scene, asking(&policy, &[]));
    scene.service.wait_until_up();
    let (client, handle) = (scene.service.client(), waiting_key(&scene.service, "w"));
    for _ in 0..3 {
        let index = committed(sign(&client, &handle, b"m", fresh())).log_index;
        assert!(cosigned(&scene.service) > Some(index));
    }
    let shown = scene.service.done(&["key", "show", "w"]);
    assert!(shown.contains("a quorum of witnesses"), "{shown}");
    // Many at once are covered by few rounds.
    let operations: Vec<_> = (0..64).map(|_| fresh()).collect();
    std::thread::scope(|scope| {
        for operation in &operations {
            let (client, handle) = (&client, &handle);
            scope.spawn(move || committed(sign(client, handle, b"m", *operation)));
        }
    });
    // What no quorum cosigns in time was carried out, and is answered when one has.
    scene.witnesses[0].end(Signal::KILL);
    let late = fresh();
    assert!(is_unknown(sign(&client, &handle, b"late", late)));
    scene.witnesses[0].launch();
    eventually("it is answered", || {
        matches!(sign(&client, &handle, b"late", late), Outcome::Committed(_))
    });
    // A revocation does not wait for witnesses that are away, and nothing leaves past it.
    scene.witnesses[0].end(Signal::KILL);
    let revoked = fresh();
    let size = || status(&scene.service)["log_size"].as_u64().unwrap();
    let before = size();
    std::thread::scope(|scope| {
        let signing = scope.spawn(|| sign(&client, &handle, b"revoked", revoked));
        eventually("it is on record", || size() > before);
        let file = scene.path("w");
        scene.service.done(&["handle", "revoke", &file]);
        assert!(is_unknown(signing.join().unwrap()));
    });
    scene.witnesses[0].launch();
    assert_eq!(refused(sign(&client, &handle, b"revoked", revoked)), "result-withheld");
}

#[test]
fn peers_that_hang_are_in_the_way_of_no_answer_that_waits_for_witnesses() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    // They take connections and say nothing, longer together than an answer waits.
    let silent: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let url = |peer: &TcpListener| format!("--peer=http://{}", peer.local_addr().unwrap());
    let peers: Vec<String> = silent.iter().map(url).collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    restarted(&mut scene, asking(&policy, &peers));
    scene.service.wait_until_up();
    let (client, handle) = (scene.service.client(), waiting_key(&scene.service, "w"));
    for _ in 0..4 {
        committed(sign(&client, &handle, b"m", fresh()));
    }
    let said = status(&scene.service);
    assert_eq!(said["others"].as_array().unwrap().len(), 4, "{said}");
    assert!(said["others"].to_string().contains("away: "), "{said}");
}

#[test]
fn a_witness_that_hangs_keeps_no_answer_waiting_for_a_quorum_that_does_not() {
    let mut scene = Scene::with(3);
    let policy = scene.policy(2, "");
    scene.witnesses[2].end(Signal::KILL);
    // It takes connections and says nothing, for as long as it is given.
    let silent = TcpListener::bind(&scene.witnesses[2].address).unwrap();
    restarted(&mut scene, asking(&policy, &[]));
    scene.service.wait_until_up();
    let (client, handle) = (scene.service.client(), waiting_key(&scene.service, "w"));
    let begun = Instant::now();
    for _ in 0..8 {
        let index = committed(sign(&client, &handle, b"m", fresh())).log_index;
        assert!(cosigned(&scene.service) > Some(index));
    }
    assert!(begun.elapsed() < WITNESS_MAX, "{:?}", begun.elapsed());
    let away = |said: &Value| said["others"].to_string().matches("away: ").count();
    eventually("it is said", || away(&status(&scene.service)) == 1);
    // It is asked again once it answers, and counts where another one is lost.
    drop(silent);
    scene.witnesses[2].launch();
    scene.witnesses[0].end(Signal::KILL);
    eventually("it counts", || {
        matches!(sign(&client, &handle, b"m", fresh()), Outcome::Committed(_))
    });
    eventually("that is said", || {
        let said = status(&scene.service);
        away(&said) == 1 && said["others"].to_string().matches("cosigned").count() == 2
    });
}

#[test]
fn one_principal_has_half_of_the_room_for_answers_that_wait_for_witnesses() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    restarted(&mut scene, asking(&policy, &[]));
    scene.service.wait_until_up();
    let (client, handle) = (scene.service.client(), waiting_key(&scene.service, "w"));
    let other = Person::new(&scene.service, "second", Role::Operator, 7);
    let theirs = issue(
        &client,
        NewHandle {
            key: "w".parse().unwrap(),
            operations: Operations::usual(Usage::Sign),
            ttl_ms: 900_000,
            pins: Vec::new(),
            holder: Vec::new(),
            subject: Some(other.id),
            max_uses: None,
        },
    );
    let size = || status(&scene.service)["log_size"].as_u64().unwrap();
    let full = u64::try_from(2 * BATCH_ITEMS_MAX).unwrap();
    scene.witnesses[0].end(Signal::KILL);
    let before = size();
    let batch = || {
        let context = Context::default();
        let item = |_| Item { input: Input::Message(b"m"), operation: fresh(), context: &context };
        let items: Vec<_> = (0..BATCH_ITEMS_MAX).map(item).collect();
        committed(client.batch(&handle, Operation::Sign, &items, &plainly(fresh())))
    };
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(batch)).collect();
        eventually("they are on record", || size() >= before + full);
        // What does not fit is refused before anything is spent on it.
        for refusal in batch() {
            assert_eq!(refused(refusal), "overloaded");
        }
        scene.witnesses[0].launch();
        committed(sign(&other.client(), &theirs, b"m", fresh()));
        for outcome in waiting.into_iter().flat_map(|batch| batch.join().unwrap()) {
            committed(outcome);
        }
    });
    // Their room is free again.
    for outcome in batch() {
        committed(outcome);
    }
}

#[test]
fn a_policy_that_asks_for_nobody_is_refused_before_anything_is_started() {
    let mut scene = Scene::with(1);
    let own = scene.service.data().join("log/policy");
    scene.service.stop();
    for (arguments, why) in [
        (asking(own.to_str().unwrap(), &[]), "quorum none"),
        (vec!["--peer".into(), "peer.example".into()], "is not a URL"),
        (vec!["--unwitnessed-for".into(), "1h".into()], "--witness-policy"),
    ] {
        scene.service.serve_with(arguments);
        scene.service.launch();
        assert_eq!(scene.service.wait_for_end().code(), Some(2), "{}", scene.service.log());
        assert!(scene.service.log().contains(why), "{}", scene.service.log());
    }
}
