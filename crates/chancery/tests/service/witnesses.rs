//! Witnesses: what they cosigned convinces whoever asks for them, what they hold survives them, and of a log that has
//! two histories they cosign one.

pub(super) mod scene;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use chancery_log::witness::ADD_CHECKPOINT_BYTES_MAX as REQUEST_BYTES_MAX;
use rustix::process::Signal;

use self::scene::{Scene, Witness, shown, size};
use crate::harness::{Service, binary, eventually, signal, text};

/// How many connections a witness takes from one source.
const OF_SOURCE: usize = 16;

/// Whether what Python finds here verifies ML-DSA-44; where it does not, such cosignatures count for nothing.
fn python_has_ml_dsa() -> bool {
    let module = "from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey";
    Command::new("python3").args(["-c", module]).stderr(Stdio::null()).status().unwrap().success()
}

/// The request that claims to continue `old`, without a proof.
fn request(old: u64, checkpoint: &str) -> String {
    format!("old {old}\n\n{checkpoint}")
}

/// The checkpoint without the lines of keys whose names are none of these.
fn signed_by(note: &str, names: &[&str]) -> String {
    let keeps = |line: &&str| {
        let name = line.strip_prefix("\u{2014} witness.example/");
        name.is_none_or(|name| names.contains(&name.split(' ').next().unwrap()))
    };
    note.split_inclusive('\n').filter(keeps).collect()
}

#[track_caller]
fn refused(output: &Output, expected: i32, why: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(expected), "{said}");
    assert!(said.contains(why), "{said}");
}

#[test]
fn what_two_of_three_cosigned_convinces_whoever_asks_for_two_and_not_with_fewer() {
    let scene = Scene::with(3);
    let (policy, three) = (scene.policy(2, ""), scene.policy(3, ""));
    let by_ed25519 = scene.policy(2, "/ed25519");
    scene.submitted(&three, "cosigned");
    let cosigned = scene.path("cosigned");
    scene.prove(&["--operation", &scene.operation, "--checkpoint", &cosigned], "all.proof");
    let proof = fs::read_to_string(scene.path("all.proof")).unwrap();
    let (has_ml_dsa, names) = (python_has_ml_dsa(), ["w1", "w2", "w3"]);
    for (count, holds) in [(3, true), (2, true), (1, false), (0, false)] {
        fs::write(scene.path("proof"), signed_by(&proof, &names[..count])).unwrap();
        for policy in [&policy, &by_ed25519] {
            let (ours, theirs) = (scene.verify("proof", policy), scene.second("proof", policy));
            if !holds {
                refused(&ours, 4, "fewer witnesses");
                refused(&theirs, 4, "fewer witnesses");
                continue;
            }
            let ours = shown(&ours);
            let witnesses = ours["checkpoints"][0]["witnesses"].as_array().unwrap();
            assert_eq!(witnesses.len(), 2 * count, "{ours}");
            if has_ml_dsa || *policy == by_ed25519 {
                assert_eq!(shown(&theirs)["record"], ours["record"]);
            }
        }
    }
    // A witness of whom one key has signed has not: the first line of w2 is that of Ed25519.
    let two = signed_by(&proof, &names[..2]);
    let start = two.find("\u{2014} witness.example/w2 ").unwrap();
    let line = two[start..].lines().next().unwrap().to_owned() + "\n";
    fs::write(scene.path("proof"), two.replacen(&line, "", 1)).unwrap();
    refused(&scene.verify("proof", &policy), 4, "fewer witnesses");
    refused(&scene.second("proof", &policy), 4, "fewer witnesses");
    // A cosignature that does not hold is worse than none.
    let altered = line.replacen("AAAA", "AAAB", 1);
    assert_ne!(altered, line);
    fs::write(scene.path("proof"), two.replacen(&line, &altered, 1)).unwrap();
    refused(&scene.verify("proof", &policy), 4, "does not verify");
    refused(&scene.second("proof", &by_ed25519), 4, "does not verify");
}

#[test]
fn all_uses_of_a_key_are_proved_under_what_was_cosigned() {
    let scene = Scene::with(1);
    let policy = scene.policy(1, "/ed25519");
    let early = scene.submitted(&policy, "early");
    let create = ["key", "create", "idle", "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
    scene.service.done(&create);
    let (early_path, late_path) = (scene.path("early"), scene.path("late"));
    let under = |key, checkpoint| ["--key", key, "--checkpoint", checkpoint];
    let none = [&["audit", "prove"], &under("idle", &early_path)[..], &["--out", "-"]].concat();
    refused(&scene.service.cli(&none), 1, "no use of `idle`");
    // This makes a statement, which the next checkpoint covers.
    scene.prove(&["--key", "idle"], "until-now");
    let late = scene.submitted(&policy, "late");
    assert!(size(&late) > size(&early));
    scene.prove(&under("idle", &late_path), "never");
    scene.prove(&under("k", &early_path), "all");
    for (proof, claim, uses) in [("never", "not-used", 0), ("all", "complete", 1)] {
        for output in [scene.verify(proof, &policy), scene.second(proof, &policy)] {
            let shown = shown(&output);
            assert_eq!(shown["claim"], claim);
            assert_eq!(shown["uses"].as_array().unwrap().len(), uses);
        }
    }
    refused(&scene.verify("until-now", &policy), 4, "fewer witnesses");
    // A record that came later is under no checkpoint from before.
    let beyond = size(&early).to_string();
    let prove = ["audit", "prove", "--index", &beyond, "--checkpoint", &early_path, "--out", "-"];
    refused(&scene.service.cli(&prove), 1, "is not among them");
}

#[test]
fn one_witness_that_is_down_is_named_and_two_are_too_many() {
    let mut scene = Scene::with(3);
    let policy = scene.policy(2, "");
    scene.witnesses[2].end(Signal::KILL);
    let output = scene.submit(&policy, "cosigned", &[]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("w3/ed25519") && !said.contains("w2"), "{said}");
    let more = ["--force", "--format", "json"];
    let told = shown(&scene.submit(&policy, "cosigned", &more));
    assert_eq!(told["witnesses"].as_array().unwrap().len(), 4);
    let faults: Vec<_> = told["faults"].as_array().unwrap().iter().collect();
    assert!(faults.len() == 1 && faults[0].as_str().unwrap().contains("w3/ed25519"), "{told}");
    let before = fs::read_to_string(scene.path("cosigned")).unwrap();
    scene.witnesses[1].end(Signal::KILL);
    for out in ["cosigned", "never-written"] {
        let output = scene.submit(&policy, out, &["--force"]);
        refused(&output, 1, "fewer witnesses cosigned");
        let said = text(&output.stderr);
        assert!(said.contains("w2/ed25519") && said.contains("w3/ed25519"), "{said}");
        assert!(!said.contains("w1"), "{said}");
    }
    assert_eq!(fs::read_to_string(scene.path("cosigned")).unwrap(), before);
    assert!(!Path::new(&scene.path("never-written")).exists());
}

#[test]
fn a_witness_that_was_killed_or_stopped_remembers_what_it_cosigned() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    let first = scene.submitted(&policy, "cosigned");
    for by in [Signal::KILL, Signal::TERM, Signal::INT] {
        let old = scene.published();
        scene.grow();
        let latest = size(&scene.submitted(&policy, "cosigned"));
        let ended = scene.witnesses[0].end(by);
        assert_eq!(ended.code(), (by != Signal::KILL).then_some(0), "{}", scene.witnesses[0].log());
        scene.witnesses[0].launch();
        let witness = &scene.witnesses[0];
        for (claimed, old) in [(0, &old), (size(&old), &old), (0, &scene.published())] {
            let answer = witness.post("", request(claimed, old).as_bytes());
            assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
            assert!(answer.contains("content-type: text/x.tlog.size\r\n"), "{answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{latest}\n")), "{answer}");
        }
    }
    // The client goes on from what it is told, and what is asked for again is cosigned again.
    scene.grow();
    let last = scene.submitted(&policy, "cosigned");
    assert!(size(&last) > size(&first));
    let answer = scene.witnesses[0].post("", request(size(&last), &last).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(answer.matches("\u{2014} witness.example/w1 ").count(), 2);
}

#[test]
fn of_a_log_with_two_histories_one_is_cosigned() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    scene.service.stop();
    let mut other = Service::copy_of(&scene.service);
    for service in [&mut scene.service, &mut other] {
        service.launch();
        service.wait_until_up();
    }
    scene.grow();
    scene.submitted(&policy, "cosigned");
    let cosigned = size(&scene.published());
    let theirs = other.data().join("log");
    let published = || fs::read_to_string(theirs.join("checkpoint")).unwrap();
    let submit = |out: &str| scene.submit(&policy, out, &["--log", theirs.to_str().unwrap()]);
    // While the other history is shorter, it looks taken back.
    assert!(size(&published()) < cosigned);
    refused(&submit("fork"), 1, "it has cosigned");
    let mut why = Vec::new();
    while size(&published()) <= cosigned {
        let before = size(&published());
        let key = format!("key-{before}");
        let create = ["key", "create", &key, "--purpose", "sign.bound:x", "--algorithm", "ed25519"];
        other.done(&create);
        eventually("a larger checkpoint", || size(&published()) > before);
        let output = submit("fork");
        assert_eq!(output.status.code(), Some(1));
        why.push((size(&published()), text(&output.stderr)));
    }
    // Of the same size and of a larger one.
    assert!(why.iter().any(|(size, _)| *size == cosigned), "{why:?}");
    for (_, why) in why.iter().filter(|(size, _)| *size >= cosigned) {
        assert!(why.contains("not proved to continue"), "{why}");
    }
    let answer = scene.witnesses[0].post("", request(cosigned, &published()).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(!Path::new(&scene.path("fork")).exists());
    // The first history goes on.
    scene.grow();
    scene.submitted(&policy, "cosigned");
}

#[test]
fn a_witness_that_lies_is_found_out() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    let before = scene.submitted(&policy, "cosigned");
    let cosigned = |key: usize| {
        let lines = before.lines().filter(|line| line.starts_with("\u{2014} witness.example/w1 "));
        lines.map(|line| format!("{line}\n")).nth(key).unwrap()
    };
    scene.grow();
    scene.witnesses[0].end(Signal::TERM);
    let latest = size(&scene.published());
    for (status, body, why) in [
        // What it gave for another checkpoint, half of what it owes, a stranger's, and nothing.
        ("200 OK", cosigned(0) + &cosigned(1), "does not hold"),
        ("200 OK", cosigned(0), "does not hold"),
        ("200 OK", cosigned(1).replacen("w1", "w2", 1), "no cosignature by the key"),
        ("200 OK", String::new(), "not of the form"),
        ("200 OK", "x".repeat(1 << 20), "w1/ed25519"),
        ("302 Found", String::new(), "has status 302"),
        ("409 Conflict", format!("{}\n", latest + 1), "it has cosigned"),
        ("409 Conflict", format!("{latest}\n"), "not proved to continue"),
        ("409 Conflict", format!("{}\n", latest - 1), "does not know what it has cosigned"),
        ("409 Conflict", "many\n".into(), "not of the form"),
        ("403 Forbidden", "\u{1b}[2J".into(), "no key that is known"),
    ] {
        let liar = scene.witnesses[0].replaced_by(status, &body);
        let output = scene.submit(&policy, "lies", &[]);
        liar.end();
        refused(&output, 1, why);
        assert!(!text(&output.stderr).contains('\u{1b}'));
        assert!(!Path::new(&scene.path("lies")).exists());
    }
}

#[test]
fn a_loss_is_said_once_and_so_is_its_end() {
    let mut scene = Scene::with(1);
    let policy = scene.policy(1, "");
    let (out, said) = (scene.path("cosigned"), scene.path("said"));
    let mut command = binary();
    command.arg("--context-file").arg(scene.service.data().join("admin.toml"));
    command.args(["witness", "submit", "--policy", &policy, "--every", "1s", "--out", &out]);
    let said_file = fs::File::create(&said).unwrap();
    let mut submitting = command.stderr(said_file).stdout(Stdio::null()).spawn().unwrap();
    let said = || fs::read_to_string(&said).unwrap();
    let written = || fs::metadata(&out).ok().map(|metadata| metadata.ino());
    eventually("it is written", || written().is_some());
    scene.witnesses[0].end(Signal::TERM);
    // In its place is one that answers nothing: two rounds find that.
    let silent = TcpListener::bind(&scene.witnesses[0].address).unwrap();
    for _ in 0..2 {
        drop(silent.accept().unwrap());
    }
    eventually("the loss is said", || said().contains("the quorum is lost"));
    drop(silent);
    scene.witnesses[0].launch();
    for _ in 0..2 {
        let before = written();
        eventually("it is written again", || written() != before);
    }
    let said = said();
    assert_eq!(said.matches("the quorum is lost").count(), 1, "{said}");
    assert_eq!(said.matches("the quorum is back").count(), 1, "{said}");
    signal(submitting.id(), Signal::INT);
    assert!(submitting.wait().unwrap().success());
}

#[test]
fn what_strangers_send_is_refused_and_bounded() {
    let scene = Scene::with(1);
    let witness = &scene.witnesses[0];
    let published = scene.published();
    let status = |answer: &str| answer.get(9..12).map(str::to_owned).unwrap_or_default();
    let sized = |bytes: usize| vec![b'x'; bytes];
    for (headers, body, expected) in [
        ("", b"".to_vec(), "400"),
        ("", b"old 0\n\nx\n".to_vec(), "400"),
        ("", sized(REQUEST_BYTES_MAX), "400"),
        ("", sized(REQUEST_BYTES_MAX + 1), "413"),
        ("content-encoding: gzip\r\n", b"old 0\n".to_vec(), "415"),
        ("", request(0, &published.replacen("chancery", "chancerz", 1)).into_bytes(), "404"),
        ("", request(size(&published) + 1, &published).into_bytes(), "400"),
        ("", request(1, &published).into_bytes(), "409"),
    ] {
        let answer = witness.post(headers, &body);
        assert_eq!(status(&answer), expected, "{answer}");
    }
    let unsigned =
        published.split_once("\n\n").unwrap().0.to_owned() + "\n\n\u{2014} stranger AAAAAAECAwQ=\n";
    assert_eq!(status(&witness.post("", request(0, &unsigned).as_bytes())), "403");
    // A body of which nobody says how long it is ends at the same bound.
    let chunk = format!("{REQUEST_BYTES_MAX:x}\r\n{}\r\n", "x".repeat(REQUEST_BYTES_MAX));
    let head = "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless = witness.answer(format!("{head}{chunk}{chunk}").as_bytes());
    assert_eq!(status(&endless), "413", "{endless}");
    for (line, expected) in [
        ("GET /add-checkpoint", "405"),
        ("GET /", "404"),
        ("POST /add-checkpoint?x", "404"),
        ("GET /../witness.key", "404"),
    ] {
        let asked = format!("{line} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n");
        let answer = witness.answer(asked.as_bytes());
        assert_eq!(status(&answer), expected, "{line}: {answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(64 * 1024));
    assert_ne!(status(&witness.answer(long.as_bytes())), "200");
    // Of all that nothing was kept.
    scene.submitted(&scene.policy(1, ""), "cosigned");
}

#[test]
fn a_source_has_no_more_connections_than_its_share() {
    let scene = Scene::with(1);
    let witness = &scene.witnesses[0];
    // Each is known to be taken once it was answered.
    let asked = b"GET / HTTP/1.1\r\nhost: w\r\n\r\n";
    let is_served = |stream: &mut TcpStream| {
        let mut first = [0; 1];
        stream.write_all(asked).is_ok() && stream.read(&mut first).is_ok_and(|read| read == 1)
    };
    let mut held: Vec<_> = (0..OF_SOURCE).map(|_| witness.connect()).collect();
    assert!(held.iter_mut().all(is_served));
    assert!(!is_served(&mut witness.connect()));
    held.truncate(OF_SOURCE - 1);
    eventually("a place is free", || is_served(&mut witness.connect()));
    // Those that are open do not keep it from ending.
    drop(held.split_off(1));
    let mut scene = scene;
    assert_eq!(scene.witnesses[0].end(Signal::TERM).code(), Some(0));
}

#[test]
fn a_directory_is_of_one_witness_and_a_lost_or_open_one_is_refused() {
    let mut scene = Scene::with(1);
    scene.submitted(&scene.policy(1, ""), "cosigned");
    let run = |witness: &Witness| witness.command().stdin(Stdio::null()).output().unwrap();
    let witness = &mut scene.witnesses[0];
    let mut other = witness.elsewhere();
    refused(&run(&other), 1, "open in another process");
    witness.end(Signal::TERM);
    let (key, store) = (witness.data.join("witness.key"), witness.data.join("witness.redb"));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&witness.data), mode(&key), mode(&store)), (0o700, 0o600, 0o600));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&run(witness), 1, "others may read");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    other.name = "witness.example/another".into();
    refused(&run(&other), 1, "a witness keeps its name");
    let whole = fs::read(&store).unwrap();
    fs::write(&store, &whole[..whole.len() / 3]).unwrap();
    refused(&run(witness), 1, "corrupt");
    fs::remove_file(&store).unwrap();
    refused(&run(witness), 1, "could cosign another history");
    assert!(!store.exists());
}
