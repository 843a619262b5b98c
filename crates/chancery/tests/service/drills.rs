//! Drills of rotations, each fault against a real service: what is declared happens, and a wrong expectation is found wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_core::command::Command as Asked;
use chancery_core::principal::Role;
use chancery_core::rollout::{Builtin, Cause, Rotation};
use chancery_core::state::KeyState;
use chancery_core::verifier::NewVerifier;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::people::Person;
use super::rollouts::rollout_of;
use super::verifying::Verifying;
use crate::harness::{
    Service, ask, binary, committed, create_key, eventually, name, refused, text,
};

fn drill(service: &Service, out: &str, more: &[&str]) -> (Output, Value) {
    let rotation = ["drill", "rotation", "--out", out];
    let output = service.cli(&[&rotation, more].concat());
    (output, report(service, out))
}

fn report(service: &Service, out: &str) -> Value {
    let report = fs::read(service.path(out).join("report.json")).unwrap();
    serde_json::from_slice(&report).unwrap()
}

#[track_caller]
fn holds(service: &Service, fault: &str, more: &[&str]) -> Value {
    let (output, report) = drill(service, fault, &[&["--fault", fault], more].concat());
    assert!(output.status.success(), "{report:#}\n{}", text(&output.stderr));
    assert_eq!((&report["verdict"], &report["fault"]), (&"holds".into(), &fault.into()));
    let markdown = fs::read_to_string(service.path(fault).join("report.md")).unwrap();
    assert!(markdown.contains("**holds**"), "{markdown}");
    // What is beside the report is checked by itself.
    let file = |name: &str| service.path(fault).join(name).to_str().unwrap().to_owned();
    let (evidence, policy) = (file("rollout.evidence"), file("policy"));
    service.done(&["rollout", "verify-evidence", &evidence, "--policy", &policy]);
    // Verifiers keep their bundles there for as long as they run.
    assert_eq!(files(service, fault), ["policy", "report.json", "report.md", "rollout.evidence"]);
    assert_eq!(report["traffic"]["asked_again"], 0, "{report:#}");
    is_taken_down(service, &report);
    report
}

fn files(service: &Service, out: &str) -> Vec<String> {
    let all = fs::read_dir(service.path(out)).unwrap();
    let mut names: Vec<_> =
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// After it went back the new version signed nothing, for whomever it had signed before.
#[track_caller]
fn signed_nothing_more(report: &Value) {
    let after = &report["traffic"]["after_the_end"];
    assert!(after["of_canary"].as_u64().unwrap() >= 10, "{after}");
    assert_eq!(after["by_new"], 0, "{after}");
}

fn keys(service: &Service) -> Vec<KeyObject> {
    let answer = committed(ask(&service.client(), &Asked::ListKeys { after: None })).answer;
    let AnswerObject::Keys(keys) = answer else { panic!("no keys") };
    keys.keys
}

/// Nothing of a drill is left that could be used.
#[track_caller]
fn is_taken_down(service: &Service, report: &Value) {
    let said = report["taken_down"].as_array().unwrap();
    assert!(said.len() >= 5, "{said:?}");
    assert!(said.iter().all(|said| !said.as_str().unwrap().starts_with("NOT")), "{said:?}");
    is_left_behind_by_nobody(service);
}

#[track_caller]
fn is_left_behind_by_nobody(service: &Service) {
    let scratch: Vec<_> =
        keys(service).into_iter().filter(|key| key.name.as_str().starts_with("drill-")).collect();
    assert!(!scratch.is_empty());
    for version in scratch.iter().flat_map(|key| &key.versions) {
        assert_ne!(version.state, KeyState::Active);
        assert!(version.destruction_served_ms.is_some());
    }
    let answer = committed(ask(&service.client(), &Asked::ListVerifiers)).answer;
    let AnswerObject::Verifiers(verifiers) = answer else { panic!("no verifiers") };
    let of_drills =
        verifiers.iter().filter(|it| it.keys.iter().any(|key| key.starts_with("drill-")));
    assert_eq!(of_drills.count(), 0, "{verifiers:?}");
}

#[test]
fn a_drill_without_a_fault_goes_through() {
    let service = Service::start();
    let report = holds(&service, "none", &[]);
    assert!(report["traffic"]["by_new"].as_u64().unwrap() > 0);
}

#[test]
fn a_drill_with_a_bad_verifier_waits_until_a_person_goes_past_it() {
    let service = Service::start();
    // One that is registered for every key is told of the scratch key as well, and acknowledges it.
    let _of_all = Verifying::start(&service, "of-all", 54);
    let report = holds(&service, "bad-verifier", &[]);
    assert!(report["reasons_on_record"].to_string().contains("overridden-acknowledged"));
}

#[test]
fn a_drill_with_verify_failures_goes_back_and_a_wrong_expectation_of_it_is_found_wrong() {
    let service = Service::start();
    let report = holds(&service, "verify-failures", &[]);
    signed_nothing_more(&report);
    println!("taken back after {} ms", report["traffic"]["taken_back_after_ms"]);
    let wrong = ["--fault", "verify-failures", "--expect", "none"];
    let (output, report) = drill(&service, "wrong", &wrong);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert_eq!(report["verdict"], "does not hold");
    assert!(report["because"].as_str().unwrap().contains("went through"), "{report:#}");
    is_taken_down(&service, &report);
}

#[test]
fn a_drill_with_a_slow_version_goes_back() {
    let report = holds(&Service::start(), "slow-version", &[]);
    assert!(report["reasons_on_record"].to_string().contains("latency-ratio"));
    signed_nothing_more(&report);
}

#[test]
fn a_drill_without_telemetry_pauses() {
    let report = holds(&Service::start(), "missing-telemetry", &[]);
    assert!(report["reasons_on_record"].to_string().contains("no-data"));
}

#[test]
fn a_drill_whose_rollout_nobody_looks_at_stands_still_and_a_person_takes_it_back() {
    let service = Service::start();
    let report = holds(&service, "analyser-dead", &[]);
    assert!(report["reasons_on_record"].to_string().contains("person"));
    signed_nothing_more(&report);
    let query = ["--format", "json", "audit", "query", "--action", "still-rollout"];
    let records: Value = serde_json::from_str(&service.done(&query)).unwrap();
    assert_eq!(records.as_array().map(Vec::len), Some(1), "{records}");
    // Nobody has the rollout of another key stand still.
    let client = service.client();
    create_key(&client, "invoices", "sign.bound:invoice", "ed25519");
    let (key, plan) = (name("invoices"), Builtin::Standard.plan().unwrap());
    let rotation = Rotation { key, plan, cause: Cause::Requested, suite: None, version: None };
    let rollout = rollout_of(committed(ask(&client, &Asked::Rotate(rotation))).answer).id;
    let still = ask(&client, &Asked::StillRollout { rollout, for_ms: 1_000 });
    assert_eq!(refused(still), "forbidden");
}

#[test]
fn a_drill_survives_that_the_service_is_killed_in_the_middle() {
    let mut service = Service::start();
    let (wish, done) = (service.path("restart.wish"), service.path("restart.done"));
    let restart = format!(
        "touch {} && while ! test -e {}; do sleep 0.1; done",
        wish.display(),
        done.display()
    );
    let mut drilling =
        drilling(&service, "restart", &["--fault", "restart", "--restart-command", &restart]);
    eventually("the drill wants the service killed", || {
        assert!(drilling.try_wait().unwrap().is_none(), "it ended before");
        wish.exists()
    });
    service.kill_all();
    service.restart();
    fs::write(done, b"").unwrap();
    let status = drilling.wait().unwrap();
    let report = report(&service, "restart");
    assert!(status.success(), "{report:#}");
    assert_eq!(report["verdict"], "holds");
    is_taken_down(&service, &report);
}

#[test]
fn a_drill_whose_restart_command_restarts_nothing_could_not_be_tried() {
    let service = Service::start();
    let restart = ["--fault", "restart", "--restart-command", "true"];
    let (output, report) = drill(&service, "restart", &restart);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    is_not_tried(&report);
    let why = report["because"].as_str().unwrap();
    assert!(why.contains("did not restart the service"), "{why}");
    is_taken_down(&service, &report);
}

/// Of what could not be tried nothing is said to hold.
#[track_caller]
fn is_not_tried(report: &Value) {
    assert_eq!(report["verdict"], "could not be tried");
    let expectations = report["expectations"].as_array().unwrap();
    assert!(!expectations.is_empty());
    assert!(expectations.iter().all(|it| it["holds"].is_null()), "{expectations:?}");
}

fn drilling(service: &Service, out: &str, more: &[&str]) -> Child {
    drilling_with(service, out, more, Stdio::inherit())
}

fn drilling_with(service: &Service, out: &str, more: &[&str], stderr: Stdio) -> Child {
    let context: PathBuf = service.data().join("admin.toml");
    let mut command: Command = binary();
    command.args(["drill", "rotation", "--out", out]).args(more).arg("--context-file").arg(context);
    command.current_dir(service.directory()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

/// A drill that a signal ends in the middle is taken down, and says so with the status of what could not be tried.
#[track_caller]
fn ends_by(service: &Service, mut drilling: Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(drilling.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    assert_eq!(drilling.wait().unwrap().code(), Some(1));
    is_not_tried(&report(service, "interrupted"));
    is_left_behind_by_nobody(service);
}

#[test]
fn a_drill_that_is_interrupted_leaves_nothing_that_could_be_used() {
    let service = Service::start();
    let drilling = drilling(&service, "interrupted", &["--fault", "missing-telemetry"]);
    eventually("its key is there", || !keys(&service).is_empty());
    std::thread::sleep(Duration::from_secs(1));
    ends_by(&service, drilling, Signal::INT);
}

#[test]
fn a_drill_whose_terminal_goes_away_leaves_nothing_that_could_be_used() {
    let service = Service::start();
    let more = ["--fault", "missing-telemetry"];
    let mut drilling = drilling_with(&service, "interrupted", &more, Stdio::piped());
    // Nobody reads what it says, and to say it fails.
    drop(drilling.stderr.take());
    let client = service.client();
    eventually("its rollout is under way", || {
        let listed = committed(ask(&client, &Asked::ListRollouts { after: None })).answer;
        assert!(drilling.try_wait().unwrap().is_none(), "it ended before");
        matches!(listed, AnswerObject::Rollouts(rollouts) if !rollouts.rollouts.is_empty())
    });
    std::thread::sleep(Duration::from_secs(1));
    ends_by(&service, drilling, Signal::HUP);
}

#[test]
fn what_a_drill_cannot_be_asked_is_refused_before_anything_is_made() {
    let service = Service::start();
    for more in [
        &["--fault", "restart"][..],
        &["--restart-command", "true"],
        &["--fault", "fire"],
        &["--verifier", "one.toml"],
    ] {
        let output = service.cli(&[&["drill", "rotation"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", text(&output.stderr));
    }
    // Nor does it take a verifier that others rely on.
    let profiles = [("one", 51), ("two", 52), ("three", 53)].map(|(name, seed)| {
        let person = Person::new(&service, name, Role::Verifier, seed);
        let file = service.path(&format!("{name}.toml"));
        fs::write(&file, person.profile.to_toml().as_bytes()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        (person.id, file.to_str().unwrap().to_owned())
    });
    let registered = NewVerifier { principal: profiles[2].0, keys: Vec::new() };
    committed(ask(&service.client(), &Asked::RegisterVerifier(registered)));
    let named: Vec<&str> =
        profiles.iter().flat_map(|(_, file)| ["--verifier", file.as_str()]).collect();
    let (output, report) = drill(&service, "taken", &named);
    assert_eq!(output.status.code(), Some(1));
    assert!(report["because"].as_str().unwrap().contains("registered already"), "{report:#}");
    assert!(keys(&service).is_empty());
    // Nor one in the place of two.
    let (one, two) = (profiles[0].1.as_str(), profiles[1].1.as_str());
    let named_twice = ["--verifier", one, "--verifier", two, "--verifier", one];
    let (output, report) = drill(&service, "twice", &named_twice);
    assert_eq!(output.status.code(), Some(1));
    assert!(report["because"].as_str().unwrap().contains("named twice"), "{report:#}");
    assert!(keys(&service).is_empty());
    // Those that nobody relies on it takes.
    let freed = Asked::RemoveVerifier { principal: profiles[2].0 };
    committed(ask(&service.client(), &freed));
    holds(&service, "bad-verifier", &named);
    // What had been made when one of them is none is taken down, and that is in the report.
    let developer = Person::new(&service, "developer", Role::Developer, 55);
    let file = service.path("two.toml");
    fs::write(&file, developer.profile.to_toml().as_bytes()).unwrap();
    let (output, report) = drill(&service, "half", &named);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    is_not_tried(&report);
    let said = report["taken_down"].to_string();
    assert!(said.contains("removed") && said.contains("revoked"), "{said}");
    assert!(said.contains("destruction of version 1") && !said.contains("NOT"), "{said}");
    is_left_behind_by_nobody(&service);
}
