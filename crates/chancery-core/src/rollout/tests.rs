//! The engine as tables: what each situation comes to, gate by gate, order by order, verdict by verdict.

mod gates;
mod orders;
mod retreats;
mod steps;
mod world;

use world::{OTHER, PERSON, World, plan};

use super::*;
use crate::cbor;
use crate::schedule::Fraction;
use crate::state::{KeyEvent, KeyState};

#[test]
fn a_rollout_whose_gates_are_open_goes_through_every_stage() {
    let mut world = World::new();
    let mut seen = vec![world.describe()];
    while !world.rollout.status.is_over() {
        world.open_gates();
        let step = world.tick();
        assert!(matches!(step, Step::Change(_)) || world.needs_person(), "{step:?}");
        if matches!(step, Step::Stay(_)) {
            world.order(Order::Advance).unwrap();
        }
        seen.push(world.describe());
    }
    assert_eq!(
        seen.join("\n"),
        "\
publish: 1 for all; Active PreActivation; epoch 11
ready: 1 for all; Active PreActivation; epoch 12
canary: 2 for 50000; Active Active; epoch 13
ramp: 2 for 500000; Active Active; epoch 14
full: 2 for 1000000; Active Active; epoch 15
soak: 2 for 1000000; Active Active; epoch 16
retire: 2 for all; Deactivated Active; epoch 17
destroy: 2 for all; Deactivated Active; epoch 18"
    );
    assert_eq!(world.rollout.status, Status::Done);
    assert_eq!((world.key.rollout(), world.key.moving.clone()), (None, None));
    let old = world.key.version(1).unwrap();
    assert!(old.destruction.is_some() && old.published.is_some());
    assert_eq!(world.key.version(2).unwrap().active_from.unwrap().number, 13);
}

#[test]
fn two_looks_at_one_situation_come_to_the_same() {
    let mut world = World::at(StageName::Canary);
    world.open_gates();
    assert_eq!(world.looked(), world.looked());
}

#[test]
fn a_key_has_one_rollout_at_a_time() {
    let mut world = World::new();
    world.add_version();
    let second = NewRollout { id: OTHER, to: 3, ..world::new_rollout() };
    let under_way = Err(StartError::UnderWay(world.rollout.id));
    assert_eq!(world.with(|at| Rollout::start(&second, at)).map(|_| ()), under_way);
    let mut stray = world.rollout.clone();
    stray.id = OTHER;
    assert_eq!(world.with(|at| stray.tick(at)), Err(Refused::Stray));
    assert_eq!(world.with(|at| stray.order(PERSON, Order::Abort, at)), Err(Refused::Stray));
}

#[test]
fn a_rollout_begins_with_a_version_that_can_come_to_protect() {
    let start = |change: &dyn Fn(&mut World, &mut NewRollout)| {
        let mut world = World::before();
        let mut new = world::new_rollout();
        change(&mut world, &mut new);
        world.with(|at| Rollout::start(&new, at)).map(|_| ())
    };
    let event = |version, event| {
        move |world: &mut World, _: &mut NewRollout| world.key.apply(version, event).unwrap()
    };
    assert_eq!(start(&|_, _| {}), Ok(()));
    assert_eq!(start(&event(2, KeyEvent::Activate)), Ok(()));
    assert_eq!(start(&|_, new| new.to = 1), Err(StartError::Scheduled(1)));
    assert_eq!(start(&|_, new| new.to = 9), Err(StartError::NoVersion(9)));
    assert_eq!(start(&event(2, KeyEvent::ReportCompromise)), Err(StartError::Unusable(2)));
    assert_eq!(start(&event(1, KeyEvent::Suspend)), Err(StartError::NothingProtects));
    let nobody = PrincipalId::from_bytes([0; 16]);
    assert_eq!(start(&|_, new| new.by = Some(nobody)), Err(StartError::Nameless));
    let recovering = |cause| {
        start(&|world, new| {
            world.key.apply(1, KeyEvent::ReportCompromise).unwrap();
            new.cause = cause;
        })
    };
    assert_eq!(recovering(Cause::Compromise), Ok(()));
    assert_eq!(recovering(Cause::Finding), Err(StartError::NothingProtects));
}

#[test]
fn a_plan_that_breaks_rules_is_not_begun() {
    let world = World::before();
    let mut new = world::new_rollout();
    new.plan.stages[2].triggers.clear();
    let Err(StartError::PlanRefused(findings)) = world.with(|at| Rollout::start(&new, at)) else {
        panic!("it was begun");
    };
    assert_eq!(findings[0].rule, Rule::NoTrigger);
}

#[test]
fn a_standby_that_is_published_keeps_its_epoch() {
    let mut world = World::before();
    let published = crate::key::Published { epoch: world::epoch(3), at: Served::from_ms(5) };
    world.key.publish(2, published).unwrap();
    world.start(&world::new_rollout());
    assert_eq!(world.key.version(2).unwrap().published, Some(published));
}

#[test]
fn a_change_that_was_overtaken_comes_to_nothing() {
    let mut world = World::new();
    let late = world.with(|at| world.rollout.order(PERSON, Order::Pause, at)).unwrap();
    world.order(Order::Abort).unwrap();
    assert_eq!(late.applied(&world.key, world.moment()), Err(ChangeError::Overtaken));
    let reused = Change {
        epoch: world.key.authority_epoch,
        fence: world.key.authority_epoch,
        ..late.clone()
    };
    assert_eq!(reused.applied(&world.key, world.moment()), Err(ChangeError::EpochReused));
    let next =
        Change { fence: world.key.authority_epoch, epoch: world.epoch.next(), ..late.clone() };
    assert!(next.applied(&world.key, world.moment()).is_ok());
    let elsewhere = Moment { epoch: world.epoch.next(), ..world.moment() };
    assert_eq!(next.applied(&world.key, elsewhere), Err(ChangeError::EpochReused));
    let mut other = world.key.clone();
    other.id = KeyId::from_bytes([9; 16]);
    assert_eq!(late.applied(&other, world.moment()), Err(ChangeError::OtherKey));
}

#[test]
fn a_change_that_takes_longer_than_the_safety_of_its_plan_comes_to_nothing() {
    let world = World::new();
    let change = world.with(|at| world.rollout.order(PERSON, Order::Pause, at)).unwrap();
    let at = |served| Moment { served, ..world.moment() };
    let after = |ms| change.applied(&world.key, at(change.decided.plus_ms(ms))).map(|_| ());
    assert_eq!([after(0), after(10)], [Ok(()), Ok(())]);
    assert_eq!(after(11), Err(ChangeError::Late));
    // A clock that lost time shows nothing.
    assert!(change.applied(&world.key, at(Served::default())).is_ok());
}

#[test]
fn a_row_goes_on_and_never_back() {
    let mut world = World::at(StageName::Canary);
    let before = world.rollout.clone();
    world.order(Order::Override(Overridable::Quiet)).unwrap();
    let after = world.rollout.clone();
    assert!(after.follows(&before) && !before.follows(&after) && !after.follows(&after));
    let later = |change: fn(&mut Rollout)| {
        let mut next = Rollout { epoch: after.epoch.next(), ..after.clone() };
        change(&mut next);
        next.follows(&after)
    };
    assert!(later(|_| {}));
    assert!(!later(|it| it.stage -= 1));
    assert!(!later(|it| it.overrides.clear()));
    assert!(!later(|it| it.to = 3));
    assert!(!later(|it| it.plan.stages[3].triggers.clear()));
    let over = Rollout { status: Status::Done, ..after.clone() };
    assert!(!Rollout { epoch: after.epoch.next(), ..after.clone() }.follows(&over));
}

#[test]
fn a_row_survives_its_encoding_and_is_bounded() {
    let mut world = World::at(StageName::Canary);
    world.order(Order::Override(Overridable::Remaining)).unwrap();
    world.order(Order::RollBack).unwrap();
    let bytes = cbor::encode(&world.rollout);
    assert_eq!(cbor::decode(&bytes, "rollout"), Ok(world.rollout.clone()));
    for status in [
        Status::Running,
        Status::Paused(Halt::Stale),
        Status::Withdrawing { halt: Halt::Person, ending: Ending::Aborted },
        Status::OnStandby { halt: Halt::Trigger, version: 3 },
        Status::Done,
    ] {
        assert_eq!(cbor::decode(&cbor::encode(&status), "status"), Ok(status));
    }
    let careful = Builtin::Careful.plan().unwrap();
    assert!(cbor::encode(&careful).len() < 2_048, "{}", cbor::encode(&careful).len());
}

#[test]
fn a_version_whose_rollout_was_taken_back_can_be_rolled_out_again() {
    let mut world = World::at(StageName::Ramp);
    world.order(Order::RollBack).unwrap();
    assert_eq!(world.key.version(2).unwrap().state, KeyState::Active);
    world.start(&NewRollout { id: OTHER, ..world::new_rollout() });
    assert_eq!(world.rollout.status, Status::Running);
    world.advance_to(StageName::Canary);
    assert_eq!(world.key.schedule().share().unwrap().fraction, Fraction::from_ppm(50_000).unwrap());
}

#[test]
fn the_plan_of_these_tests_passes_its_check() {
    assert_eq!(plan().check(), []);
}
