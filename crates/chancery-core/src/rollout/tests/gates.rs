//! Each gate keeps a stage by itself, and opens exactly at its bound.

use super::super::*;
use super::world::{PERSON, World, bounds, epoch, new_rollout, verifier_id};
use crate::schedule::Fraction;
use crate::state::{KeyEvent, KeyState};

/// With every other gate open, what `change` leaves closed; and that nothing moves by itself then.
#[track_caller]
fn check(name: StageName, change: impl FnOnce(&mut World), expected: &[Gate]) {
    let mut world = World::at(name);
    world.open_gates();
    change(&mut world);
    assert_eq!(world.closed(), expected);
    let stays = matches!(world.looked(), Step::Stay(_));
    assert_eq!(stays, !expected.is_empty(), "{name:?}");
}

/// What a stage waits for when it began so long ago.
fn since(world: &mut World, elapsed_ms: u64) {
    world.now = world.rollout.entered.served.as_ms() + elapsed_ms;
    world.seen.verdict_at = world.now;
    world.seen.last_old = Some(Served::from_ms(world.now - 20));
}

#[test]
fn a_stage_takes_its_shortest_time() {
    check(StageName::Canary, |world| since(world, 30), &[]);
    check(StageName::Canary, |world| since(world, 29), &[Gate::Elapsed { left_ms: 1 }]);
}

#[test]
fn a_clock_that_lost_time_makes_waits_longer() {
    let lost = |world: &mut World| world.now = world.rollout.entered.served.as_ms() - 500;
    let mut world = World::at(StageName::Publish);
    lost(&mut world);
    assert_eq!(world.closed(), [Gate::Elapsed { left_ms: 10 }]);
}

#[test]
fn a_stage_asks_for_its_samples() {
    let samples = |have| move |world: &mut World| world.seen.samples = have;
    check(StageName::Canary, samples(100), &[]);
    check(StageName::Canary, samples(99), &[Gate::Sampled { have: 99, need: 100 }]);
}

#[test]
fn a_stage_asks_for_its_paths() {
    let probed = Paths::NONE.with(Path::RollbackProbed);
    let without = |world: &mut World| world.seen.exercised = Paths::ALL.without(probed);
    check(StageName::Canary, without, &[Gate::Exercised { missing: probed }]);
}

#[test]
fn a_version_protects_no_earlier_than_every_verifier_can_have_it() {
    let published = |elapsed| {
        move |world: &mut World| {
            let at = world.key.version(2).unwrap().published.unwrap().at;
            // The stage itself has nothing left.
            world.rollout.entered.served = at;
            world.now = at.as_ms() + elapsed;
        }
    };
    check(StageName::Ready, published(30), &[]);
    check(StageName::Ready, published(29), &[Gate::Propagated { left_ms: 1 }]);
}

#[test]
fn a_version_protects_when_verifiers_have_acknowledged_what_publishes_it() {
    let gate = |have| {
        let (epoch, of, need) = (epoch(11), 3, 3);
        Gate::Acknowledged(Acknowledged { epoch, have, of, need, overridden: None })
    };
    let third =
        |acknowledged| move |world: &mut World| world.verifiers[2].acknowledged = acknowledged;
    // Published under 11, ready under 12, which is the tenant's.
    check(StageName::Ready, third(Some(epoch(11))), &[]);
    check(StageName::Ready, third(Some(epoch(12))), &[]);
    check(StageName::Ready, third(None), &[gate(2)]);
    check(StageName::Ready, third(Some(epoch(10))), &[gate(2)]);
    check(StageName::Ready, third(Some(epoch(13))), &[gate(2)]);
    let of_later_generation = Epoch { generation: 1, number: 0 };
    check(StageName::Ready, third(Some(of_later_generation)), &[gate(2)]);
}

#[test]
fn a_fraction_of_verifiers_is_rounded_up() {
    let count = |ppm, have: u8, of: u8| {
        let verifiers: Vec<_> = (0..of)
            .map(|n| Verifier { id: verifier_id(n), acknowledged: (n < have).then(|| epoch(5)) })
            .collect();
        let fraction = Fraction::from_ppm(ppm).unwrap();
        Acknowledged::count((epoch(5), epoch(5)), fraction, &verifiers).is_enough()
    };
    assert!(count(900_000, 9, 10) && !count(900_000, 8, 10));
    assert!(count(900_000, 3, 3) && !count(900_000, 2, 3));
    assert!(count(1_000_000, 0, 0));
}

#[test]
fn a_named_person_goes_past_what_verifiers_have_not_acknowledged() {
    let mut world = World::at(StageName::Ready);
    world.open_gates();
    world.verifiers[2].acknowledged = None;
    assert!(matches!(world.order(Order::Advance), Err(Refused::GatesClosed(_))));
    world.order(Order::Override(Overridable::Acknowledgement)).unwrap();
    assert_eq!(world.rollout.overrides[0].by, PERSON);
    assert_eq!(world.closed(), []);
    world.tick();
    assert_eq!(world.rollout.current().unwrap().name, StageName::Canary);
    let acknowledged = world.rollout.acknowledged.unwrap();
    assert_eq!((acknowledged.have, acknowledged.overridden), (2, Some(PERSON)));
}

#[test]
fn a_version_that_may_not_protect_is_not_brought_in() {
    let mut world = World::at(StageName::Ready);
    world.open_gates();
    world.key.apply(2, KeyEvent::ReportCompromise).unwrap();
    assert_eq!(world.closed(), [Gate::Usable { state: KeyState::Compromised }]);
    world.tick();
    assert_eq!(world.rollout.status, Status::RolledBack(Halt::VersionUnusable));
}

#[test]
fn an_emergency_waits_for_verifiers_and_for_no_clock() {
    let mut new = new_rollout();
    new.plan.kind = Kind::Emergency;
    new.plan.stages[0].min_ms = 0;
    new.plan.stages[1].min_ms = 0;
    let mut world = World::before().started(&new);
    world.tick();
    let gate = Acknowledged { epoch: epoch(11), have: 0, of: 3, need: 3, overridden: None };
    assert_eq!(world.closed(), [Gate::Acknowledged(gate)]);
    world.verifiers.iter_mut().for_each(|it| it.acknowledged = Some(epoch(11)));
    world.tick();
    assert_eq!(world.rollout.current().unwrap().name, StageName::Canary);
    assert_eq!(world.now, 1_000);
}

/// A rollout in soak that has been there for so long, and was alone for so long.
fn soaking(world: &mut World, alone_ms: u64) {
    let now = world.rollout.entered.served.as_ms() + 500;
    since(world, 500);
    world.rollout.alone = Some(Served::from_ms(now - alone_ms));
}

#[test]
fn a_version_is_retired_when_nothing_that_it_made_is_alive_and_nobody_sees_it() {
    let wait = bounds().retirement_ms();
    let soak = StageName::Soak;
    check(soak, |world| soaking(world, wait), &[Gate::Person]);
    check(soak, |world| soaking(world, wait - 1), &[Gate::Outlived { left_ms: 1 }, Gate::Person]);
    let quiet = |left_ms| [Gate::Quiet { left_ms, overridden: None }, Gate::Person];
    let seen = |ago: Option<u64>| {
        move |world: &mut World| {
            soaking(world, wait);
            world.seen.last_old = ago.map(|ago| Served::from_ms(world.now - ago));
        }
    };
    check(soak, seen(Some(20)), &[Gate::Person]);
    check(soak, seen(Some(19)), &quiet(Some(1)));
    check(soak, seen(None), &quiet(None));
}

#[test]
fn a_version_is_retired_when_nothing_is_encrypted_under_it() {
    let encrypts = |remaining| {
        move |world: &mut World| {
            world.key.purpose = "encrypt.aead:card-number".parse().unwrap();
            soaking(world, 500);
            world.seen.remaining = remaining;
        }
    };
    let counted = |remaining| [Gate::Counted { remaining, overridden: None }, Gate::Person];
    check(StageName::Soak, encrypts(Some(0)), &[Gate::Person]);
    check(StageName::Soak, encrypts(Some(1)), &counted(Some(1)));
    check(StageName::Soak, encrypts(None), &counted(None));
}

#[test]
fn what_was_seen_under_another_schedule_opens_nothing() {
    let mut world = World::at(StageName::Canary);
    world.open_gates();
    let late = Epoch { generation: 0, number: world.rollout.entered.epoch.number - 1 };
    let gates = world.with(|at| {
        let observed = Observed { schedule: late, ..*at.observed };
        world.rollout.gates(&Situation { observed: &observed, ..*at })
    });
    let closed: Vec<_> = gates.into_iter().filter(|gate| !gate.is_open()).collect();
    assert_eq!(
        closed,
        [
            Gate::Sampled { have: 0, need: 100 },
            Gate::Exercised { missing: Paths::ALL },
            Gate::Trigger { place: 0, standing: Standing::NoData },
            Gate::Trigger { place: 1, standing: Standing::NoData },
        ]
    );
}
