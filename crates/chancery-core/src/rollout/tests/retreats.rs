//! Going back: always there until retire, never onto a version that may not protect, and nothing is unpublished.

use super::super::*;
use super::orders::asking_both;
use super::world::{World, new_rollout};
use crate::clock::Served;
use crate::schedule::{Accept, Mode, Schedule};
use crate::state::{KeyEvent, KeyState};

/// The stages from which there is a way back and in which the new version protects.
const TRIALS: [StageName; 4] =
    [StageName::Canary, StageName::Ramp, StageName::Full, StageName::Soak];

fn compromised(name: StageName) -> World {
    let new = NewRollout { cause: Cause::Compromise, ..new_rollout() };
    let mut world = World::before().started(&new);
    world.advance_to(name);
    world.key.apply(1, KeyEvent::ReportCompromise).unwrap();
    world
}

#[test]
fn going_back_is_the_schedule_before_under_a_new_epoch_and_nothing_else() {
    for name in TRIALS {
        let mut world = World::at(name);
        let before = world.clone();
        world.order(Order::RollBack).unwrap();
        assert_eq!(world.rollout.status, Status::RolledBack(Halt::Person));
        assert_eq!(world.key.schedule(), Schedule::settled(1));
        assert_eq!(world.epoch, before.epoch.next());
        // Nothing of versions but that the new one is given up.
        let mut key = before.key.clone();
        key.give_up(2, world.epoch).unwrap();
        assert_eq!(world.key.versions, key.versions);
        assert_eq!((world.state(1), world.state(2)), (KeyState::Active, KeyState::Active));
    }
}

#[test]
fn a_signature_that_does_not_verify_aborts_at_once_wherever_it_is() {
    for name in TRIALS.into_iter().chain([StageName::Publish, StageName::Ready]) {
        let mut world = World::at(name);
        world.seen.broken = vec![2];
        world.tick();
        assert_eq!(world.rollout.status, Status::Aborted(Halt::SelfVerification), "{name:?}");
        assert_eq!(world.key.schedule(), Schedule::settled(1));
    }
    let mut world = World::at(StageName::Retire);
    world.seen.broken = vec![2];
    world.tick();
    assert_eq!(world.rollout.status, Status::Paused(Halt::SelfVerification));
    let mut world = World::at(StageName::Canary);
    world.seen.broken = vec![1];
    world.tick();
    assert_eq!(world.rollout.status, Status::Running);
}

#[test]
fn a_new_version_that_may_not_protect_any_more_is_left() {
    for event in [KeyEvent::Suspend, KeyEvent::ReportCompromise, KeyEvent::Deactivate] {
        let mut world = World::at(StageName::Ramp);
        world.key.apply(2, event).unwrap();
        world.tick();
        assert_eq!(world.rollout.status, Status::RolledBack(Halt::VersionUnusable));
        assert_eq!(world.key.scheduled, 1);
    }
}

#[test]
fn no_rollout_goes_back_onto_a_version_that_does_not_protect() {
    for event in [KeyEvent::Suspend, KeyEvent::ReportCompromise, KeyEvent::Deactivate] {
        for order in [Order::RollBack, Order::Abort] {
            let mut world = World::at(StageName::Ramp);
            world.key.apply(1, event).unwrap();
            let state = world.state(1);
            world.order(order).unwrap();
            assert_eq!(world.rollout.status, Status::Paused(Halt::Person));
            assert_eq!((world.key.schedule().incoming(), world.state(1)), (Some(2), state));
            assert_eq!(world.order(order), Err(Refused::NoWayBack));
        }
    }
}

#[test]
fn where_the_reason_is_compromise_there_is_no_way_back_whatever_the_state() {
    let new = NewRollout { cause: Cause::Compromise, ..new_rollout() };
    let mut world = World::before().started(&new);
    world.advance_to(StageName::Canary);
    assert_eq!(world.state(1), KeyState::Active);
    world.order(Order::RollBack).unwrap();
    assert_eq!(world.rollout.status, Status::Paused(Halt::Person));
    assert_eq!(world.key.schedule().incoming(), Some(2));
}

#[test]
fn a_standby_that_verifiers_know_takes_over_where_there_is_no_way_back() {
    for name in TRIALS {
        let mut world = compromised(name);
        world.add_standby();
        world.open_gates();
        world.seen.broken = vec![2];
        world.tick();
        let halt = Halt::SelfVerification;
        assert_eq!(world.rollout.status, Status::OnStandby { halt, version: 3 }, "{name:?}");
        assert_eq!(world.key.schedule(), Schedule::settled(3));
        assert_eq!((world.state(1), world.state(3)), (KeyState::Compromised, KeyState::Active));
        assert!(world.key.version(2).unwrap().published.is_some());
    }
}

#[test]
fn a_standby_that_verifiers_do_not_know_does_not_take_over() {
    let refused = |change: fn(&mut World)| {
        let mut world = compromised(StageName::Canary);
        world.add_standby();
        world.open_gates();
        change(&mut world);
        world.order(Order::RollBack).unwrap();
        world.rollout.status == Status::Paused(Halt::Person)
    };
    assert!(!refused(|_| {}));
    assert!(refused(|world| world.verifiers[0].acknowledged = None));
    assert!(refused(|world| world.now -= 980));
    assert!(refused(|world| world.key.apply(3, KeyEvent::ReportCompromise).unwrap()));
    assert!(refused(|world| world.seen.broken = vec![3]));
    assert!(refused(|world| world.key.versions[2].published = None));
}

/// What protected once, was given up, or is older than the version there was: nobody knows here why it was left.
#[test]
fn a_version_that_was_left_or_given_up_does_not_take_over() {
    let refused = |change: fn(&mut World)| {
        let mut world = compromised(StageName::Canary);
        world.add_standby();
        world.open_gates();
        change(&mut world);
        world.order(Order::RollBack).unwrap();
        world.rollout.status == Status::Paused(Halt::Person)
    };
    assert!(!refused(|_| {}));
    assert!(refused(|world| world.key.versions[2].given_up = Some(world.epoch)));
    let protects = |world: &mut World| world.key.versions[2].state = KeyState::Active;
    assert!(refused(protects));
    let is_older = |world: &mut World| {
        let published = world.key.versions[2].published;
        let first = &mut world.key.versions[0];
        (first.state, first.published) = (KeyState::PreActivation, published);
        (world.rollout.from, world.key.scheduled) = (3, 3);
        world.key.versions[2].state = KeyState::Compromised;
    };
    assert!(refused(is_older));
}

#[test]
fn the_version_that_a_rollout_goes_back_from_is_given_up_for_good() {
    for order in [Order::RollBack, Order::Abort] {
        let mut world = World::at(StageName::Canary);
        assert_eq!(world.key.version(2).unwrap().given_up, None);
        world.order(order).unwrap();
        assert_eq!(world.key.version(2).unwrap().given_up, Some(world.rollout.epoch), "{order:?}");
        assert_eq!(world.key.version(1).unwrap().given_up, None);
    }
}

#[test]
fn a_rollout_that_never_protected_is_given_up_whatever_the_reason() {
    let mut world = compromised(StageName::Ready);
    world.order(Order::Abort).unwrap();
    assert_eq!(world.rollout.status, Status::Aborted(Halt::Person));
    assert_eq!(
        (world.key.schedule(), world.state(2)),
        (Schedule::settled(1), KeyState::PreActivation)
    );
}

#[test]
fn verifiers_that_ask_for_both_are_told_before_one_stands_alone() {
    let mut world = asking_both();
    world.order(Order::RollBack).unwrap();
    let (halt, ending) = (Halt::Person, Ending::RolledBack);
    assert_eq!(world.rollout.status, Status::Withdrawing { halt, ending });
    let share = world.key.schedule().share().unwrap().clone();
    assert_eq!((share.mode, share.accept), (Mode::DualSign, Accept::AnyOf));
    world.now += 29;
    assert_eq!(world.tick(), Step::Stay(world.with(|at| world.rollout.gates(at))));
    world.now += 1;
    world.tick();
    assert_eq!(world.rollout.status, Status::RolledBack(Halt::Person));
    assert_eq!(world.key.schedule(), Schedule::settled(1));
}

#[test]
fn verifiers_that_asked_for_both_until_lately_are_told_as_well() {
    let released = |elapsed| {
        let mut world = asking_both();
        world.open_gates();
        world.tick();
        assert_eq!(world.key.schedule().accept(), Accept::AnyOf);
        world.now += elapsed;
        world.order(Order::RollBack).unwrap();
        world
    };
    let mut world = released(29);
    assert!(matches!(world.rollout.status, Status::Withdrawing { .. }));
    world.now += 1;
    world.tick();
    assert_eq!(world.rollout.status, Status::RolledBack(Halt::Person));
    assert_eq!(released(30).rollout.status, Status::RolledBack(Halt::Person));
}

/// A plan may ask for both twice. What verifiers were told between the two they have been told otherwise since.
#[test]
fn verifiers_that_ask_for_both_again_are_told_again() {
    let mut world = asking_both();
    world.rollout.released = Some(Served::from_ms(world.now.saturating_sub(1_000)));
    world.order(Order::RollBack).unwrap();
    assert!(matches!(world.rollout.status, Status::Withdrawing { .. }));
    assert_eq!(world.rollout.released, Some(Served::from_ms(world.now)));
}

#[test]
fn none_stands_alone_before_verifiers_are_told_whatever_the_stages_say() {
    let mut world = asking_both();
    world.rollout.plan.stages[5].min_ms = 0;
    world.open_gates();
    world.tick();
    let entered = world.now;
    world.open_gates();
    world.now = entered + 29;
    world.seen.verdict_at = world.now;
    assert_eq!(world.closed(), [Gate::Released { left_ms: 1 }]);
    world.now += 1;
    assert_eq!(world.closed(), []);
}

#[test]
fn a_version_that_does_not_verify_is_not_one_of_two() {
    let mut world = asking_both();
    world.seen.broken = vec![2];
    world.tick();
    assert_eq!(world.rollout.status, Status::Aborted(Halt::SelfVerification));
    let mut world = asking_both();
    world.order(Order::RollBack).unwrap();
    world.seen.broken = vec![2];
    world.tick();
    assert_eq!(world.rollout.status, Status::RolledBack(Halt::Person));
}

#[test]
fn a_version_that_is_compromised_while_a_rollout_goes_back_does_not_protect_again() {
    let mut world = asking_both();
    world.order(Order::RollBack).unwrap();
    world.key.apply(1, KeyEvent::ReportCompromise).unwrap();
    world.now += 30;
    world.tick();
    assert_eq!(world.rollout.status, Status::Paused(Halt::Person));
    assert_eq!(world.key.schedule().incoming(), Some(2));
}

#[test]
fn what_a_change_takes_away_is_a_reduction() {
    let reduces = |world: &World, change: &Change| change.is_reduction(&world.key);
    let mut world = World::at(StageName::Canary);
    let back = world.with(|at| world.rollout.order(super::PERSON, Order::RollBack, at)).unwrap();
    assert!(reduces(&world, &back));
    let pause = world.with(|at| world.rollout.order(super::PERSON, Order::Pause, at)).unwrap();
    assert!(!reduces(&world, &pause));
    world.open_gates();
    let Step::Change(on) = world.looked() else { panic!("it stays") };
    assert!(!reduces(&world, &on));
    let mut world = World::at(StageName::Soak);
    world.open_gates();
    let on = world.with(|at| world.rollout.order(super::PERSON, Order::Advance, at)).unwrap();
    assert!(reduces(&world, &on));
}
