//! Rotations that verifiers watch: who is behind holds them up, who reports failures takes them back, and nobody does alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery_client::{Client, Input, KeyHandle, Manner, Receipt, Used};
use chancery_core::command::Command;
use chancery_core::context::Context;
use chancery_core::id::{KeyId, RolloutId};
use chancery_core::principal::Role;
use chancery_core::rollout::{
    Cause, Comparator, Halt, Metric, Order, Plan, Response, Rotation, StageName, Trigger,
};
use chancery_core::verifier::{NewVerifier, Report, VersionCounts};

use super::bundles::bundle;
use super::people::Person;
use super::rollouts::{CONSUMERS, Rolled, is_open, quick, rollout_of, stage_of};
use super::verifying::{Signed, Verifying};
use crate::harness::{ask, committed, eventually, fresh, name, refused};

/// How long a rotation is watched that should stay where it is: 3 s, twelve looks.
const WATCHED: Duration = Duration::from_secs(3);

pub(super) fn signed<'a>(consumer: &'a str, used: &'a Used) -> Signed<'a> {
    let (message, signature) = (consumer.as_bytes(), used.output.as_slice());
    Signed { key: "invoices", purpose: "sign.bound:invoice", message, signature }
}

/// A plan that verifiers are asked for, and whose failures take it back when two report them.
pub(super) fn watched() -> Plan {
    let mut plan = quick();
    for stage in plan.stages.iter_mut().filter(|stage| stage.name.is_trial()) {
        stage.triggers.push(Trigger {
            metric: Metric::VerifyFailureRate,
            comparator: Comparator::Above,
            threshold: 5_000,
            window_ms: 60_000,
            short_window_ms: None,
            stale_ms: 60_000,
            response: Response::RollBack,
            reporters: 2,
        });
    }
    assert_eq!(plan.check(), []);
    plan
}

/// Signs without pause, for one consumer after the other, until it is told to stop: what was signed, and when.
fn load(
    (client, handle): (&Client, &KeyHandle),
    stop: &AtomicBool,
) -> Vec<(String, Used, Instant)> {
    let mut all = Vec::new();
    let context = Context::default();
    while !stop.load(Ordering::Relaxed) {
        let consumer = format!("consumer-{}", all.len() % CONSUMERS);
        let manner = Manner {
            operation: fresh(),
            context: &context,
            receipt: Receipt::Unwanted,
            holders: &[],
            routing_key: Some(&consumer),
        };
        let outcome = client.sign_with(handle, Input::Message(consumer.as_bytes()), &manner);
        all.push((consumer.clone(), committed(outcome), Instant::now()));
    }
    all
}

fn acknowledged(rolled: &Rolled, id: RolloutId) -> (Option<u64>, Option<u64>) {
    let shown = rolled.shown(id);
    let gate = shown.gates.iter().find(|gate| gate.gate == "acknowledged");
    gate.map_or((None, None), |gate| (gate.have, gate.of))
}

#[test]
fn a_stale_verifier_holds_a_rotation_up_and_no_signature_meets_one_who_does_not_know_it() {
    let mut rolled = Rolled::new();
    let verifiers = [("one", 41), ("two", 42), ("stale", 43)]
        .map(|(name, seed)| Verifying::start(&rolled.service, name, seed));
    let (client, handle) = (rolled.service.client(), rolled.handle.clone());
    let first = rolled.sign_for(0);
    assert_eq!(first, 1);
    let (consumer, used) = rolled.signed[0].clone();
    for verifier in &verifiers {
        eventually("it knows the first version", || verifier.accepts(&signed(&consumer, &used)));
    }
    verifiers[2].stop();
    let stop = AtomicBool::new(false);
    let id = rolled.rotate(quick()).id;
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load((&client, &handle), &stop));
        eventually("two have the new version", || {
            stage_of(&rolled.shown(id)) == StageName::Ready
                && acknowledged(&rolled, id).0 == Some(2)
        });
        assert_eq!(acknowledged(&rolled, id), (Some(2), Some(3)));
        let began = Instant::now();
        while began.elapsed() < WATCHED {
            let shown = rolled.shown(id);
            assert!(stage_of(&shown) == StageName::Ready && !is_open(&shown, "acknowledged"));
            std::thread::sleep(Duration::from_millis(200));
        }
        // Nothing by the new version has left.
        assert_eq!(rolled.sign_for(1), 1);
        verifiers[2].go_on();
        rolled.until(id, StageName::Full);
        stop.store(true, Ordering::Relaxed);
        let all = loading.join().unwrap();
        let versions = |version| all.iter().filter(|(_, used, _)| used.version == version).count();
        assert!(versions(1) > 0 && versions(2) > 0, "{} {}", versions(1), versions(2));
        for verifier in &verifiers {
            for (consumer, used, _) in &all {
                assert!(verifier.accepts(&signed(consumer, used)), "{consumer} {}", used.version);
            }
        }
    });
    for (consumer, used) in &rolled.signed {
        assert!(verifiers.iter().all(|verifier| verifier.accepts(&signed(consumer, used))));
    }
}

#[test]
fn failures_of_the_canary_that_two_verifiers_report_take_it_back() {
    let mut rolled = Rolled::new();
    let verifiers = [("one", 41), ("two", 42)]
        .map(|(name, seed)| Verifying::start(&rolled.service, name, seed));
    let id = rolled.rotate(watched()).id;
    eventually("the canary comes", || stage_of(&rolled.shown(id)) == StageName::Canary);
    let by_new: Vec<_> = {
        rolled.sign_for_all();
        rolled.signed.iter().filter(|(_, used)| used.version == 2).cloned().collect()
    };
    assert!(!by_new.is_empty());
    let (client, handle) = (rolled.service.client(), rolled.handle.clone());
    let stop = AtomicBool::new(false);
    let (first_bad, all) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load((&client, &handle), &stop));
        // One in fifty was altered on its way.
        let mut first_bad = None;
        for round in 0..200 {
            let (consumer, used) = &by_new[round % by_new.len()];
            let is_bad = round % 50 == 49;
            let message = if is_bad { "altered" } else { consumer.as_str() };
            let shown = Signed { message: message.as_bytes(), ..signed(consumer, used) };
            for verifier in &verifiers {
                assert_eq!(verifier.accepts(&shown), !is_bad);
            }
            if is_bad {
                first_bad.get_or_insert_with(Instant::now);
            }
        }
        eventually("it has gone back", || rolled.shown(id).status == "rolled-back");
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        (first_bad.unwrap(), loading.join().unwrap())
    });
    let last_new = all.iter().rfind(|(_, used, _)| used.version == 2).map(|(.., at)| *at);
    let took = last_new.map(|at| at.saturating_duration_since(first_bad));
    // The verifiers report each second, and two must have.
    println!("from the first bad signature shown to the last by the new version: {took:?}");
    assert_eq!(rolled.shown(id).halt, Some(Halt::Trigger));
    assert!(all.last().is_some_and(|(_, used, _)| used.version == 1));
    for (consumer, used, _) in &all {
        assert!(verifiers.iter().all(|verifier| verifier.accepts(&signed(consumer, used))));
    }
}

/// What one verifier claims of the new version, whatever it has seen.
fn claim(client: &Client, key: KeyId, sequence: u64, failed: u64) -> Command {
    let latest = bundle(client);
    let counts = vec![VersionCounts { key, version: 2, verified: 0, failed, unknown: failed }];
    let (head, digest) = (latest.head(), latest.digest());
    let (bundle, as_of) = (head.number, head.as_of);
    Command::Report(Report { bundle, as_of, digest, sequence, since_ms: 1, counts })
}

#[test]
fn who_has_the_old_key_and_one_verifiers_credential_cannot_bring_the_old_key_back() {
    let mut rolled = Rolled::new();
    let honest = Verifying::start(&rolled.service, "honest", 41);
    let taken = Person::new(&rolled.service, "taken", Role::Verifier, 42);
    let registered = NewVerifier { principal: taken.id, keys: Vec::new() };
    committed(ask(&rolled.client, &Command::RegisterVerifier(registered)));
    let key = rolled.key().id;
    let mut sequence = 0;
    let mut say = |rolled: &Rolled, failed| {
        sequence += 1;
        let said = ask(&taken.client(), &claim(&rolled.client, key, sequence, failed));
        drop(said.committed());
    };
    let rotation = Rotation {
        key: name("invoices"),
        plan: watched(),
        cause: Cause::Compromise,
        suite: None,
        version: None,
    };
    let id = rollout_of(committed(ask(&rolled.client, &Command::Rotate(rotation))).answer).id;
    // It says that it has every bundle, so that nothing waits for it.
    eventually("the canary comes", || {
        say(&rolled, 0);
        stage_of(&rolled.shown(id)) == StageName::Canary
    });
    rolled.sign_for_all();
    let began = Instant::now();
    let mut failed = 0;
    while began.elapsed() < WATCHED {
        failed += 100_000;
        say(&rolled, failed);
        let shown = rolled.shown(id);
        assert_eq!(shown.status, "running", "{shown:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    // Nor does a number that is as large as numbers are.
    say(&rolled, u64::MAX);
    assert_eq!(rolled.shown(id).status, "running");
    let standings: Vec<_> =
        rolled.shown(id).gates.into_iter().filter_map(|gate| gate.standing).collect();
    assert!(standings.contains(&"few-reporters 1/2".to_owned()), "{standings:?}");
    // Not by an order of its own either; and whoever may give one has it pause, since there is no way back.
    let back = Command::OrderRollout { rollout: id, order: Order::RollBack };
    assert_eq!(refused(ask(&taken.client(), &back)), "forbidden");
    assert_eq!(rolled.order(id, Order::RollBack).status, "paused");
    assert_eq!(rolled.key().rollout, Some(id));
    let by_new = rolled.signed.iter().find(|(_, used)| used.version == 2).unwrap();
    eventually("who is honest accepts the new version", || {
        honest.accepts(&signed(&by_new.0, &by_new.1))
    });
}
