//! What takes other people: nobody does it alone, nobody approves their own, and what is done is what was approved.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use chancery_api::http::replies::AnswerObject;
use chancery_client::Profile;
use chancery_core::action::Action;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::id::ProposalId;
use chancery_core::principal::Role;
use chancery_core::proposal::Proposed;
use serde_json::Value;

use super::people::{Person, query};
use crate::harness::{
    Process, Service, ask, committed, copy, eventually, fresh, key_and_handle, refused, sign, text,
};

/// The base point of X25519, which is a public key like any other.
const RECIPIENT: [u8; 32] = {
    let mut key = [0; 32];
    key[0] = 9;
    key
};

/// A service that asks for one approval, and who can give it.
struct Scene {
    service: Service,
    approver: Person,
}

impl Scene {
    fn new() -> Self {
        let service = Service::start();
        let approver = Person::new(&service, "ada", Role::Approver, 71);
        write_profile(&service, "ada.toml", &approver.profile);
        let raised = json(&service.done(&["--format", "json", "posture", "raise-approvals", "1"]));
        assert_eq!(raised["approvals"], 1);
        Self { service, approver }
    }

    fn ada(&self, arguments: &[&str]) -> Output {
        self.service.cli_with(&self.service.path("ada.toml"), arguments)
    }

    /// Proposes by the command line, and gives the proposal's id and digest.
    fn propose(&self, what: &[&str]) -> (String, String) {
        let said = self.service.done(&[&["--format", "json"], what, &["--propose"]].concat());
        let said = json(&said);
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        (word(&said["proposal"]["id"]), word(&said["digest"]))
    }

    fn approve(&self, (id, digest): (&str, &str)) -> Output {
        self.ada(&["proposal", "approve", id, "--digest", digest])
    }

    fn carry_out(&self, id: &str, out: &str) -> Output {
        self.service.cli(&["proposal", "carry-out", id, "--out", out])
    }
}

/// Writes a profile as its owner has it.
fn write_profile(service: &Service, file: &str, profile: &Profile) {
    let path = service.path(file);
    fs::write(&path, profile.to_toml().as_bytes()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Makes a recipient's key pair; its public key.
fn recipient(service: &Service, file: &str) -> String {
    let said = json(&service.done(&["--format", "json", "audit", "recipient", "--out", file]));
    said["public_key"].as_str().unwrap().to_owned()
}

fn months(what: fn(u16, u16) -> Disclosed) -> Proposed {
    Proposed::Disclose(Disclosure { what: what(682, 683), recipient: RECIPIENT })
}

#[track_caller]
fn fails(output: &Output, code: i32, because: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(because), "{said}");
}

#[test]
fn nobody_discloses_or_makes_principals_alone_once_approvals_are_asked_for() {
    let Scene { service, approver } = Scene::new();
    let status = json(&service.done(&["--format", "json", "status"]));
    assert_eq!(status["posture"], "1 approval");
    let client = service.client();
    let of_tenant = months(|first, last| Disclosed::Months { first, last });
    let everything = months(|first, last| Disclosed::Everything { first, last, second: [7; 32] });
    for proposed in [&of_tenant, &everything] {
        assert_eq!(refused(ask(&client, &proposed.command())), "needs-approval");
    }
    let public = [66; 32];
    let second_self =
        Command::CreatePrincipal { name: "me-too".parse().unwrap(), role: Role::Approver, public };
    assert_eq!(refused(ask(&client, &second_self)), "needs-approval");
    let raise = |approvals| Command::RaiseApprovals { approvals };
    for approvals in [0, 1, 2] {
        assert_eq!(refused(ask(&client, &raise(approvals))), "illegal-transition");
    }
    assert_eq!(refused(ask(&approver.client(), &raise(2))), "forbidden");
    let unknown = ProposalId::from_bytes(*fresh().as_bytes());
    let nothing = Command::CarryOut { proposal: unknown, proposed: of_tenant };
    assert_eq!(refused(ask(&client, &nothing)), "forbidden");
}

#[test]
fn under_solo_break_glass_is_refused_since_it_takes_two_people() {
    let service = Service::start();
    let everything = months(|first, last| Disclosed::Everything { first, last, second: [7; 32] });
    for asked in
        [everything.command(), Command::Propose { proposed: everything.clone(), ttl_ms: 60_000 }]
    {
        assert_eq!(refused(ask(&service.client(), &asked)), "needs-approval");
    }
    let one = "09".repeat(32);
    let key = &["--recipient", &one][..];
    let asked = ["audit", "disclose", "--level", "everything", "--from", "2026-11", "--out", "x"];
    fails(&service.cli(&[&asked[..], key].concat()), 2, "--recipient twice");
    let same = [&asked[..], key, key].concat();
    fails(&service.cli(&same), 2, "each with a key of their own");
}

#[test]
fn everything_is_disclosed_by_two_people_to_two_people() {
    let scene = Scene::new();
    let service = &scene.service;
    let (_, handle) = key_and_handle(&service.client(), "k", "sign.bound:x", "ed25519");
    committed(sign(&service.client(), &handle, b"one", fresh()));
    let [first, second] = ["first.key", "second.key"].map(|file| recipient(service, file));
    let what = ["audit", "disclose", "--level", "everything", "--from", "2020-01"];
    let range = ["--until", "2029-12", "--recipient", &first, "--recipient", &second];
    let (id, digest) = scene.propose(&[&what[..], &range].concat());
    fails(&scene.carry_out(&id, "all.disclosure"), 1, "0 of 1 person have approved it");
    fails(&scene.approve((&id, &"00".repeat(32))), 2, "look at it again");
    let own = ["proposal", "approve", &id, "--digest", &digest];
    fails(&service.cli(&own), 1, "nobody approves what they propose");
    let shown = text(&scene.ada(&["proposal", "show", &id]).stdout);
    assert!(shown.contains("everything of 2020-01 to 2029-12, for two people"), "{shown}");
    assert!(shown.contains(&first) && shown.contains(&second) && shown.contains(&digest));
    let approved = scene.approve((&id, &digest));
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    fails(&scene.approve((&id, &digest)), 1, "you have approved it");
    let done = scene.carry_out(&id, "all.disclosure");
    assert!(done.status.success(), "{}", text(&done.stderr));
    fails(&scene.carry_out(&id, "again.disclosure"), 1, "the proposal was carried out");
    let status = text(&service.cli(&["status"]).stdout);
    assert!(status.contains("break-glass"), "{status}");
    opened_by_both(service, handle_records(service));
}

/// What an operator is shown of all records.
fn handle_records(service: &Service) -> usize {
    json(&service.done(&["--format", "json", "audit", "query", "--limit", "1000"]))
        .as_array()
        .unwrap()
        .len()
}

fn opened_by_both(service: &Service, records: usize) {
    let files = service.path("files");
    eventually("the log is copied as it is", || {
        let _ = fs::remove_dir_all(&files);
        copy(&service.data(), &files);
        for secret in ["store.redb", "admin.toml", "index", "audit/resume"] {
            let path = files.join(secret);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        shown(service, &files, &["first.key", "second.key"])
            .is_ok_and(|shown| shown.len() >= records)
    });
    let both = shown(service, &files, &["second.key", "first.key"]).unwrap();
    // What the service itself records is among them.
    assert!(both.iter().any(|record| record["operation"] == "start"), "{both:?}");
    assert!(both.iter().any(|record| record["operation"] == "sign"), "{both:?}");
    for alone in [&["first.key"][..], &["second.key"]] {
        let output = shown(service, &files, alone).unwrap_err();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    }
}

fn shown(service: &Service, files: &Path, keys: &[&str]) -> Result<Vec<Value>, Output> {
    let files = files.to_str().unwrap();
    let mut arguments = vec!["--format", "json", "audit", "query", "--limit", "1000"];
    arguments.extend(["--dir", files, "--disclosure", "all.disclosure"]);
    arguments.extend(keys.iter().flat_map(|key| ["--recipient-key", key]));
    let output = service.cli_with(Path::new("/nonexistent"), &arguments);
    if !output.status.success() {
        return Err(output);
    }
    Ok(json(&text(&output.stdout))["records"].as_array().unwrap().clone())
}

#[test]
fn a_principal_is_made_by_two_people_and_its_key_stays_with_its_proposer() {
    let mut scene = Scene::new();
    let (id, digest) = scene.propose(&["principal", "create", "grace", "--role", "auditor"]);
    let kept = || fs::read_dir(scene.service.path("home/pending")).map_or(0, Iterator::count);
    let kept_then = kept();
    // What was proposed and approved is durable.
    scene.service.kill(Process::Signer);
    scene.service.wait_until_up();
    assert!(scene.approve((&id, &digest)).status.success());
    scene.service.restart();
    let operation = fresh().to_string();
    let carry_out = ["proposal", "carry-out", &id, "--out", "grace.toml"];
    let done = scene.service.cli(&[&carry_out[..], &["--operation-id", &operation]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let grace = scene.service.path("grace.toml");
    let read = scene.service.cli_with(&grace, &["audit", "query", "--action", "carry-out"]);
    assert!(read.status.success(), "{}", text(&read.stderr));
    assert!(text(&read.stdout).contains("carry-out"), "{}", text(&read.stdout));
    let kept = || fs::read_dir(scene.service.path("home/pending")).map_or(0, Iterator::count);
    assert!(kept_then == 0 || kept() < kept_then, "the key is still there");
}

#[test]
fn every_step_is_on_record_by_who_took_it() {
    let scene = Scene::new();
    let (operator, approver) = (scene.service.client(), scene.approver.client());
    let month = chancery_audit::sealer::month_of(chancery_client::unix_ms());
    let what = Disclosed::Months { first: month, last: month };
    let proposed = Proposed::Disclose(Disclosure { what, recipient: RECIPIENT });
    let id = |answer| match answer {
        AnswerObject::Proposal(proposal) => proposal.id,
        other => panic!("no proposal but {other:?}"),
    };
    let asked = Command::Propose { proposed: proposed.clone(), ttl_ms: 60_000 };
    let proposal = id(committed(ask(&operator, &asked)).answer);
    let approve = Command::Approve { proposal, proposed: proposed.clone() };
    assert_eq!(refused(ask(&operator, &approve)), "forbidden");
    committed(ask(&approver, &approve));
    let carry_out = Command::CarryOut { proposal, proposed: proposed.clone() };
    assert_eq!(refused(ask(&approver, &carry_out)), "forbidden");
    committed(ask(&operator, &carry_out));
    let second = id(committed(ask(&operator, &asked)).answer);
    committed(ask(&approver, &Command::Withdraw { proposal: second }));
    let late = Command::CarryOut { proposal: second, proposed };
    assert_eq!(refused(ask(&operator, &late)), "illegal-transition");
    for (action, outcome, count) in [
        ("propose", 0, 2),
        ("approve", 0, 1),
        ("approve", 1, 1),
        ("carry-out", 0, 1),
        ("carry-out", 1, 2),
        ("withdraw", 0, 1),
        ("raise-approvals", 0, 1),
    ] {
        let action: Action = action.parse().unwrap();
        let asked = AuditQuery {
            action: Some(action),
            outcome: Some(outcome),
            limit: 10,
            ..AuditQuery::default()
        };
        assert_eq!(query(&operator, asked).len(), count, "{action} {outcome}");
    }
}

/// A disclosure may be longer than a row of the store, in which the answer of a change otherwise waits for its record.
#[test]
fn a_long_disclosure_is_carried_out_and_answered_again() {
    let scene = Scene::new();
    let (operator, approver) = (scene.service.client(), scene.approver.client());
    let (_, handle) = key_and_handle(&operator, "k", "sign.bound:x", "ed25519");
    for _ in 0..64 {
        committed(sign(&operator, &handle, b"m", fresh()));
    }
    let what = Disclosed::Records { indices: (6..70).collect() };
    let proposed = Proposed::Disclose(Disclosure { what, recipient: RECIPIENT });
    let asked = Command::Propose { proposed: proposed.clone(), ttl_ms: 60_000 };
    let AnswerObject::Proposal(proposal) = committed(ask(&operator, &asked)).answer else {
        panic!("no proposal")
    };
    let (proposal, id) = (proposal.id, fresh());
    committed(ask(&approver, &Command::Approve { proposal, proposed: proposed.clone() }));
    let carry_out = Command::CarryOut { proposal, proposed };
    let first = committed(operator.command(&carry_out, id));
    let AnswerObject::Disclosure(sealed) = &first.answer else { panic!("no disclosure") };
    assert!(sealed.0.len() > 64 * 1024, "{}", sealed.0.len());
    assert_eq!(committed(operator.command(&carry_out, id)), first);
    assert_eq!(refused(ask(&operator, &carry_out)), "illegal-transition");
}

/// A data directory of before approvals were asked for, with the log that others remember.
struct TakenBack {
    service: Service,
    approver: Person,
}

impl TakenBack {
    fn new() -> Self {
        let mut service = Service::start();
        let approver = Person::new(&service, "ada", Role::Approver, 71);
        write_profile(&service, "ada.toml", &approver.profile);
        service.stop();
        let before = service.path("before");
        copy(&service.data(), &before);
        service.restart();
        service.done(&["posture", "raise-approvals", "1"]);
        service.stop();
        fs::remove_dir_all(service.data()).unwrap();
        copy(&before, &service.data());
        Self { service, approver }
    }

    fn retire(&self, more: &[&str]) -> Output {
        let root_key = self.service.path("root.key");
        let base = ["audit", "retire", "--data", "d", "--root-key", root_key.to_str().unwrap()];
        self.service.cli(&[&base[..], more].concat())
    }

    fn remembered(&self) -> String {
        let record = fs::read_to_string(self.service.lock_record().unwrap()).unwrap();
        record.lines().nth(1).unwrap().to_owned()
    }

    fn statement(&self) -> PathBuf {
        self.service.path("gap")
    }
}

#[test]
fn a_log_is_retired_by_two_people_also_where_the_store_was_taken_back_to_a_time_of_one() {
    let mut scene = TakenBack::new();
    let size = scene.remembered();
    let alone = ["--reason", "lost", "--yes", &size];
    fails(&scene.retire(&alone), 1, "this takes 1 other people, and 0 have approved it");
    let proposed = scene.retire(&[&alone[..], &["--propose", "gap"]].concat());
    assert!(proposed.status.success(), "{}", text(&proposed.stderr));
    fails(&scene.retire(&["--approved", "gap"]), 1, "0 have approved it");
    // Nor is it begun by who puts the statement where one stands that was begun.
    let begun = scene.service.data().join("retiring");
    fs::copy(scene.statement(), &begun).unwrap();
    fails(&scene.retire(&alone), 1, "0 have approved it");
    fs::remove_file(begun).unwrap();
    let (service, ada) = (&scene.service, scene.service.path("ada.toml"));
    let own = service.cli_with(
        &service.data().join("admin.toml"),
        &["audit", "approve-gap", "gap", "--yes", &size],
    );
    fails(&own, 1, "you have signed this statement");
    fails(&service.cli_with(&ada, &["audit", "approve-gap", "gap"]), 2, "nothing was signed");
    let wrong = ["audit", "approve-gap", "gap", "--yes", "1"];
    fails(&service.cli_with(&ada, &wrong), 2, "is not what is remembered");
    let approve = ["audit", "approve-gap", "gap", "--yes", &size];
    let approved = service.cli_with(&ada, &approve);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    // Any word of it altered, and nobody has signed it.
    let statement = fs::read_to_string(scene.statement()).unwrap();
    fs::write(service.path("altered"), statement.replace("reason lost", "reason other")).unwrap();
    fails(&scene.retire(&["--approved", "altered"]), 4, "was altered");
    assert!(statement.contains(&scene.approver.id.to_string()));
    let done = scene.retire(&["--approved", "gap"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    scene.service.launch();
    scene.service.wait_until_up();
    let status = json(&scene.service.done(&["--format", "json", "status"]));
    assert_eq!(status["posture"], "1 approval", "the store that was taken back said solo");
}

#[test]
fn an_approval_of_a_stranger_is_none() {
    let scene = TakenBack::new();
    let size = scene.remembered();
    let proposed = scene.retire(&["--reason", "lost", "--yes", &size, "--propose", "gap"]);
    assert!(proposed.status.success(), "{}", text(&proposed.stderr));
    let stranger = Profile {
        principal: chancery_core::id::PrincipalId::from_bytes([9; 16]),
        signing_key: zeroize::Zeroizing::new([99; 32]),
        role: Role::Approver,
        ..scene.service.profile()
    };
    write_profile(&scene.service, "stranger.toml", &stranger);
    let approve = ["audit", "approve-gap", "gap", "--yes", &size];
    let signed = scene.service.cli_with(&scene.service.path("stranger.toml"), &approve);
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    fails(&scene.retire(&["--approved", "gap"]), 1, "0 have approved it");
}

/// A front that shows one proposal and gives another to be approved gets no approval.
#[test]
fn what_is_approved_is_what_was_shown() {
    let scene = Scene::new();
    let one = "09".repeat(32);
    let of_tenant = ["audit", "disclose", "--level", "tenant", "--recipient", &one];
    let (id, _) = scene.propose(&[&of_tenant[..], &["--from", "2026-11"]].concat());
    let (_, other) = scene.propose(&[&of_tenant[..], &["--from", "2026-10"]].concat());
    fails(&scene.approve((&id, &other)), 2, "is not that of what the proposal");
}
