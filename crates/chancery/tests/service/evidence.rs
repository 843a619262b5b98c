//! The evidence of rotations: exported while the service runs, checked when it does not, and refused once it is altered.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chancery_core::id::RolloutId;
use chancery_core::rollout::{Order, Overridable, STEPS_KEPT, StageName};
use serde_json::Value;

use super::rollouts::{Rolled, quick, stage_of};
use super::verified_rollouts::{signed, watched};
use super::verifying::{Signed, Verifying};
use crate::harness::{Service, eventually, text};

/// Set to keep the files that this test makes as vectors for others.
const WRITE: &str = "CHANCERY_WRITE_EVIDENCE";

pub(super) fn export(rolled: &Rolled, rollout: RolloutId, name: &str) -> PathBuf {
    let out = rolled.service.path(name);
    let id = rollout.to_string();
    rolled.service.done(&["rollout", "evidence", &id, "--out", out.to_str().unwrap()]);
    out
}

fn policy(service: &Service) -> PathBuf {
    service.data().join("log").join("policy")
}

fn verify(service: &Service, file: &Path) -> Output {
    let (file, policy) = (file.to_str().unwrap(), policy(service));
    let policy = policy.to_str().unwrap();
    service.cli(&["--format", "json", "rollout", "verify-evidence", file, "--policy", policy])
}

pub(super) fn shown(service: &Service, file: &Path) -> Value {
    let output = verify(service, file);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Keeps a file and its policy among the vectors, if that is asked for.
fn keep(service: &Service, file: &Path, name: &str) {
    if std::env::var_os(WRITE).is_none() {
        return;
    }
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/evidence");
    fs::create_dir_all(&vectors).unwrap();
    fs::copy(file, vectors.join(format!("{name}.evidence"))).unwrap();
    fs::copy(policy(service), vectors.join(format!("{name}.policy"))).unwrap();
}

pub(super) fn whys(shown: &Value) -> Vec<&str> {
    shown["steps"].as_array().unwrap().iter().map(|step| step["why"].as_str().unwrap()).collect()
}

/// The second implementation, as it ships: it runs no engine, and checks all the rest.
fn second(service: &Service, file: &Path) -> Output {
    let script =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../verifier/verify_evidence.py");
    let output =
        Command::new("python3").arg(script).arg(file).arg("--policy").arg(policy(service)).output();
    output.expect("python3 is on this machine")
}

/// Both implementations find the same steps in the same records, from and to the same.
pub(super) fn second_agrees(service: &Service, file: &Path, shown: &Value) {
    let output = second(service, file);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let places = |value: &Value| -> Vec<(u64, u64)> {
        let number = |step: &Value, name: &str| step[name].as_u64().unwrap();
        let steps = value["steps"].as_array().unwrap().iter();
        steps.map(|step| (number(step, "number"), number(step, "record"))).collect()
    };
    assert_eq!(places(&found), places(shown));
    for end in ["from_beginning", "to_end"] {
        assert!(found[end].is_boolean(), "{found}");
        assert_eq!(found[end], shown["complete"][end], "{end}");
    }
    assert_eq!(found["engine"], "not run");
    assert_eq!(
        found["bundles"].as_array().map(Vec::len),
        shown["bundles"].as_array().map(Vec::len)
    );
}

/// Bits of a file that are flipped one by one: 400, spread over all of it.
const FLIPS: usize = 400;

/// Every altered copy is refused: with the status of what does not verify, and nothing is shown of it.
fn altered_copies_are_refused(service: &Service, file: &Path) {
    let bytes = fs::read(file).unwrap();
    let altered = service.path("altered.evidence");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&altered, bytes).unwrap();
        let output = verify(service, &altered);
        assert_eq!(output.status.code(), Some(4), "{what}: {}", text(&output.stderr));
        assert_eq!(second(service, &altered).status.code(), Some(4), "{what}");
        assert!(output.stdout.is_empty() || text(&output.stdout).contains("not"), "{what}");
    };
    for flip in 0..FLIPS / 40 {
        let mut copy = bytes.clone();
        let bit = flip * (bytes.len() * 8 / (FLIPS / 40)) + flip % 8;
        copy[bit / 8] ^= 1 << (bit % 8);
        refused(&copy, &format!("bit {bit}"));
    }
    refused(&bytes[..bytes.len() - 1], "cut");
    refused(&[&bytes[..], &[0]].concat(), "longer");
    refused(b"", "empty");
    // And one after the other in this process, which is faster.
    let trust =
        chancery_audit::proof::Trust::parse(&fs::read_to_string(policy(service)).unwrap()).unwrap();
    let holds = |bytes: &[u8]| {
        use chancery_audit::evidence::Evidence;
        Evidence::parse(bytes).is_ok_and(|evidence| evidence.check(&trust).is_ok())
    };
    assert!(holds(&bytes));
    for flip in 0..FLIPS {
        let mut copy = bytes.clone();
        let bit = (flip * 7_919_993) % (bytes.len() * 8);
        copy[bit / 8] ^= 1 << (bit % 8);
        assert!(!holds(&copy), "bit {bit}");
    }
}

#[test]
fn a_rotation_that_went_through_is_shown_step_by_step_with_the_service_stopped() {
    let mut rolled = Rolled::new();
    let id = rolled.rotate(quick()).id;
    rolled.until(id, StageName::Canary);
    rolled.order(id, Order::Pause);
    // What it is bound to is there after a restart.
    rolled.service.kill_all();
    rolled.service.restart();
    rolled.client = rolled.service.client();
    rolled.order(id, Order::Resume);
    rolled.order(id, Order::Override(Overridable::Quiet));
    rolled.until(id, StageName::Soak);
    eventually("the soak waits for a person alone", || {
        rolled.sign_for_all();
        rolled.verify_all();
        let shown = rolled.shown(id);
        shown.gates.iter().all(|gate| gate.open || gate.gate == "person")
    });
    rolled.order(id, Order::Advance);
    eventually("it can be destroyed", || {
        let shown = rolled.shown(id);
        shown.gates.iter().all(|gate| gate.open || gate.gate == "person")
    });
    assert_eq!(rolled.order(id, Order::Advance).status, "done");
    let file = export(&rolled, id, "rotation.evidence");
    let table = rolled.service.done(&["rollout", "steps", "invoices"]);
    assert!(table.contains("gates-open") && table.contains("overridden-quiet"), "{table}");
    rolled.service.stop();
    keep(&rolled.service, &file, "rotation");
    let shown = shown(&rolled.service, &file);
    assert_eq!(
        whys(&shown),
        [
            "requested",
            "gates-open",
            "gates-open",
            "person",
            "resumed",
            "overridden-quiet",
            "gates-open",
            "gates-open",
            "gates-open",
            "advanced",
            "advanced",
        ]
    );
    assert_eq!(shown["complete"]["from_beginning"], true);
    assert_eq!(shown["complete"]["to_end"], true);
    assert_eq!((&shown["version"]["from"], &shown["version"]["to"]), (&1.into(), &2.into()));
    let epochs: Vec<_> = shown["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["epoch"]["number"].as_u64().unwrap())
        .collect();
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
    second_agrees(&rolled.service, &file, &shown);
    altered_copies_are_refused(&rolled.service, &file);
    // Under the policy of another log it shows nothing.
    let other = Service::start();
    let output = verify(&other, &file);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
}

#[test]
fn a_rotation_that_a_trigger_took_back_shows_what_fired() {
    let mut rolled = Rolled::new();
    let verifiers = [("one", 41), ("two", 42)]
        .map(|(name, seed)| Verifying::start(&rolled.service, name, seed));
    let id = rolled.rotate(watched()).id;
    eventually("the canary comes", || stage_of(&rolled.shown(id)) == StageName::Canary);
    rolled.sign_for_all();
    let (consumer, used) = rolled.signed.iter().find(|(_, used)| used.version == 2).unwrap();
    for _ in 0..20 {
        let shown = Signed { message: b"altered", ..signed(consumer, used) };
        assert!(verifiers.iter().all(|verifier| !verifier.accepts(&shown)));
    }
    eventually("it has gone back", || rolled.shown(id).status == "rolled-back");
    let file = export(&rolled, id, "rollback.evidence");
    drop(verifiers);
    // The reason is in the record itself.
    let query = ["--format", "json", "audit", "query", "--action", "step-rollout", "--limit", "1"];
    let records: Value = serde_json::from_str(&rolled.service.done(&query)).unwrap();
    assert!(records.to_string().contains("verify-failure-rate"), "{records}");
    rolled.service.stop();
    keep(&rolled.service, &file, "rollback");
    let shown = shown(&rolled.service, &file);
    let last = shown["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(last["why"], "verify-failure-rate");
    assert_eq!((&last["status"], &last["trigger"]), (&"rolled-back".into(), &1.into()));
    assert_eq!(last["by"], "the service");
    let bundles = shown["bundles"].as_array().unwrap();
    assert!(
        !bundles.is_empty() && bundles.iter().all(|bundle| bundle["record"].is_u64()),
        "{bundles:?}"
    );
    let plain = rolled.service.done(&[
        "rollout",
        "verify-evidence",
        file.to_str().unwrap(),
        "--policy",
        policy(&rolled.service).to_str().unwrap(),
    ]);
    assert!(plain.contains("of the new version, 0 of"), "{plain}");
    second_agrees(&rolled.service, &file, &shown);
    altered_copies_are_refused(&rolled.service, &file);
}

/// The rollouts of the key of which steps are kept: ids, and the numbers of their first and last step.
fn history(service: &Service) -> Vec<(String, u64, u64)> {
    let printed = service.done(&["--format", "json", "rollout", "history", "invoices"]);
    let kept: Value = serde_json::from_str(&printed).unwrap();
    let one = |kept: &Value| {
        let number = |name: &str| kept[name].as_u64().unwrap();
        (kept["id"].as_str().unwrap().to_owned(), number("first_step"), number("last_step"))
    };
    kept.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn earlier_rollouts_of_a_key_have_their_evidence_after_the_next_and_after_a_restart() {
    let mut rolled = Rolled::new();
    let first = rolled.rotate(quick()).id;
    rolled.until(first, StageName::Canary);
    rolled.order(first, Order::Abort);
    let before = shown(&rolled.service, &export(&rolled, first, "before.evidence"));
    let second = rolled.rotate(quick()).id;
    rolled.order(second, Order::Pause);
    rolled.service.kill_all();
    rolled.service.restart();
    rolled.client = rolled.service.client();
    let last = before["steps"].as_array().unwrap().len() - 1;
    let kept = history(&rolled.service);
    assert_eq!((&kept[0].0, kept[0].1), (&second.to_string(), 0));
    assert_eq!(kept[1..], [(first.to_string(), 0, u64::try_from(last).unwrap())]);
    let table = rolled.service.done(&["rollout", "history", "invoices"]);
    assert!(table.contains("aborted (person)"), "{table}");
    let after = export(&rolled, first, "after.evidence");
    let after_shown = shown(&rolled.service, &after);
    assert_eq!(after_shown["steps"], before["steps"]);
    assert_eq!(whys(&after_shown).last(), Some(&"person"));
    second_agrees(&rolled.service, &after, &after_shown);
    let file = export(&rolled, second, "second.evidence");
    assert_eq!(whys(&shown(&rolled.service, &file)), ["requested", "person"]);
    let stray = RolloutId::from_bytes([9; 16]).to_string();
    let none = rolled.service.cli(&["rollout", "evidence", &stray, "--out", "x"]);
    assert!(text(&none.stderr).contains("no steps of such a rollout are kept"), "{none:?}");
}

#[test]
fn more_steps_than_are_kept_hold_back_no_rollback_and_evidence_says_where_it_begins() {
    let rolled = Rolled::new();
    let id = rolled.rotate(quick()).id;
    rolled.order(id, Order::Pause);
    while steps(&rolled, id).last().is_none_or(|last| *last < u64::from(STEPS_KEPT) + 5) {
        for _ in 0..20 {
            rolled.order(id, Order::Resume);
            rolled.order(id, Order::Pause);
        }
    }
    assert_eq!(rolled.order(id, Order::RollBack).status, "rolled-back");
    let kept = steps(&rolled, id);
    assert_eq!(kept.len(), usize::try_from(STEPS_KEPT).unwrap());
    assert!(kept.windows(2).all(|pair| pair[1] == pair[0] + 1), "{kept:?}");
    let file = export(&rolled, id, "long.evidence");
    let shown = shown(&rolled.service, &file);
    assert_eq!(shown["complete"]["from_beginning"], false);
    assert_eq!(shown["complete"]["to_end"], true);
    assert_eq!(whys(&shown).last(), Some(&"person"));
    // The next one's steps take the places of its first.
    let next = rolled.rotate(quick()).id;
    let (first, last) = (kept[0] + 1, *kept.last().unwrap());
    let expected = [(next.to_string(), 0, 0), (id.to_string(), first, last)];
    assert_eq!(history(&rolled.service), expected);
    let gone = rolled.service.cli(&["rollout", "evidence", &id.to_string(), "--out", "x"]);
    assert!(text(&gone.stderr).contains("and the plan was with it"), "{gone:?}");
}

/// The numbers of the steps that are kept.
fn steps(rolled: &Rolled, rollout: RolloutId) -> Vec<u64> {
    let id = rollout.to_string();
    let printed = rolled.service.done(&["--format", "json", "rollout", "steps", &id]);
    let steps: Value = serde_json::from_str(&printed).unwrap();
    steps.as_array().unwrap().iter().map(|step| step["number"].as_u64().unwrap()).collect()
}
