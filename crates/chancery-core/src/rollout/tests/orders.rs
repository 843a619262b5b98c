//! What each order comes to in each status, as a table; and what verdicts do by themselves.

use super::super::*;
use super::world::{World, new_rollout};
use crate::id::PrincipalId;
use crate::schedule::{Accept, Fraction, Mode, Moving};

const ORDERS: [Order; 6] = [
    Order::Pause,
    Order::Resume,
    Order::Advance,
    Order::RollBack,
    Order::Abort,
    Order::Override(Overridable::Quiet),
];

/// A rollout in a stage in which verifiers ask for both signatures.
pub(super) fn asking_both() -> World {
    let mut new = new_rollout();
    let plan = &mut new.plan;
    let both = Stage { mode: Mode::DualSign, fraction: Fraction::WHOLE, ..plan.stages[3].clone() };
    let any_of = Stage { min_ms: 120, ..both.clone() };
    let all_of = Stage { accept: Accept::AllOf, ..both };
    plan.stages[2].mode = Mode::DualSign;
    plan.stages.splice(3..4, [any_of.clone(), all_of, any_of]);
    assert_eq!(plan.check(), []);
    let mut world = World::before().started(&new);
    world.advance_to(StageName::Ramp);
    world.open_gates();
    world.tick();
    assert_eq!(world.key.schedule().accept(), Accept::AllOf);
    world
}

fn row(name: &str, world: &World) -> String {
    let outcomes = ORDERS.map(|order| {
        let mut world = world.clone();
        match world.order(order) {
            Ok(()) => format!("{:?}", world.rollout.status),
            Err(Refused::GatesClosed(_)) => "gates closed".into(),
            Err(error) => format!("{error:?}"),
        }
    });
    format!("{name}: {}", outcomes.join(" | "))
}

fn paused() -> World {
    let mut world = World::at(StageName::Canary);
    world.order(Order::Pause).unwrap();
    world
}

fn over() -> World {
    let mut world = World::new();
    world.order(Order::Abort).unwrap();
    // The row is what is asked, and the key has another rollout by now.
    world.key.moving = Some(Box::new(Moving { rollout: super::OTHER, share: None }));
    world
}

fn withdrawing() -> World {
    let mut world = asking_both();
    world.order(Order::RollBack).unwrap();
    world
}

fn soaked() -> World {
    let mut world = World::at(StageName::Soak);
    world.open_gates();
    world
}

#[test]
fn orders_by_status() {
    let rows = [
        row("publish", &World::new()),
        row("canary", &World::at(StageName::Canary)),
        row("soak, gates open", &soaked()),
        row("paused", &paused()),
        row("withdrawing", &withdrawing()),
        row("retire", &World::at(StageName::Retire)),
        row("over", &over()),
    ];
    assert_eq!(
        rows.join("\n"),
        "\
publish: Paused(Person) | NotPaused | gates closed | RolledBack(Person) | Aborted(Person) | Running
canary: Paused(Person) | NotPaused | gates closed | RolledBack(Person) | Aborted(Person) | Running
soak, gates open: Paused(Person) | NotPaused | Running | RolledBack(Person) | Aborted(Person) | Running
paused: Paused | Running | Paused | RolledBack(Person) | Aborted(Person) | Paused(Person)
withdrawing: Withdrawing | Withdrawing | Withdrawing | Withdrawing | Withdrawing | Withdrawing
retire: Paused(Person) | NotPaused | gates closed | PastNoReturn | PastNoReturn | Running
over: Over | Over | Over | Over | Over | Over"
    );
}

#[test]
fn an_order_names_the_person_and_goes_past_a_gate_once() {
    let mut world = World::at(StageName::Soak);
    let nobody = PrincipalId::from_bytes([0; 16]);
    for order in ORDERS {
        let refused = world.with(|at| world.rollout.order(nobody, order, at));
        assert_eq!(refused, Err(Refused::Nameless));
    }
    world.order(Order::Override(Overridable::Quiet)).unwrap();
    let again = world.order(Order::Override(Overridable::Quiet));
    assert_eq!(again, Err(Refused::OverriddenAlready));
}

/// What a look at a canary comes to, so long after it was entered, with these verdicts on its two triggers: of verify
/// failures, which two verifiers report and which rolls back, and of errors, which pauses.
#[track_caller]
fn check(elapsed: u64, verdicts: &[(u8, Outcome)], expected: Status) {
    let mut world = World::at(StageName::Canary);
    decide(&mut world, elapsed, verdicts);
    assert_eq!(world.rollout.status, expected, "{verdicts:?}");
}

fn decide(world: &mut World, elapsed: u64, verdicts: &[(u8, Outcome)]) {
    world.now += elapsed;
    world.seen.verdict_at = world.now;
    world.seen.outcomes = verdicts.to_vec();
    world.seen.reporters = world.verifiers.iter().take(2).map(|verifier| verifier.id).collect();
    world.tick();
}

#[test]
fn verdicts_that_are_not_good_never_go_on() {
    use Outcome::{Fail, Inconclusive, NoData, NotANumber, Pass};
    let paused = Status::Paused;
    check(20, &[(0, Pass), (1, Pass)], Status::Running);
    check(20, &[(0, Fail), (1, Pass)], Status::RolledBack(Halt::Trigger));
    check(20, &[(0, Pass), (1, Fail)], paused(Halt::Trigger));
    check(20, &[(0, Fail), (1, Fail)], Status::RolledBack(Halt::Trigger));
    check(20, &[(0, NotANumber), (1, Pass)], paused(Halt::NotANumber));
    check(20, &[(0, Inconclusive), (1, Pass)], Status::Running);
    check(14, &[(0, Pass)], Status::Running);
    check(15, &[(0, Pass)], paused(Halt::NoData));
    check(15, &[(0, Pass), (1, NoData)], paused(Halt::NoData));
    check(0, &[], Status::Running);
}

#[test]
fn a_verdict_that_grows_old_pauses() {
    let stale = |age| {
        let mut world = World::at(StageName::Canary);
        world.seen.verdict_at = world.now;
        world.seen.outcomes = vec![(0, Outcome::Pass), (1, Outcome::Pass)];
        world.now += age;
        world.tick();
        world.rollout.status
    };
    assert_eq!([stale(20), stale(21)], [Status::Running, Status::Paused(Halt::Stale)]);
}

#[test]
fn what_is_lacking_does_what_the_plan_says() {
    let lacking = |lacking, outcome| {
        let mut new = new_rollout();
        new.plan.stages[2].on_no_data = lacking;
        new.plan.stages[2].on_inconclusive = lacking;
        let mut world = World::before().started(&new);
        world.advance_to(StageName::Canary);
        decide(&mut world, 20, &[(0, Outcome::Pass), (1, outcome)]);
        world.rollout.status
    };
    for (outcome, halt) in
        [(Outcome::NoData, Halt::NoData), (Outcome::Inconclusive, Halt::Inconclusive)]
    {
        assert_eq!(lacking(Lacking::Wait, outcome), Status::Running);
        assert_eq!(lacking(Lacking::Pause, outcome), Status::Paused(halt));
        assert_eq!(lacking(Lacking::RollBack, outcome), Status::RolledBack(halt));
    }
}

#[test]
fn one_verifier_alone_neither_rolls_back_nor_goes_on() {
    let mut world = World::at(StageName::Canary);
    world.open_gates();
    world.seen.outcomes[0] = (0, Outcome::Fail);
    world.seen.reporters = vec![world.verifiers[0].id; 5];
    let standing = Standing::FewReporters { have: 1, need: 2 };
    assert_eq!(world.closed(), [Gate::Trigger { place: 0, standing }]);
    world.tick();
    assert_eq!(world.rollout.status, Status::Running);
    assert_eq!(world.rollout.current().unwrap().name, StageName::Canary);
}

#[test]
fn a_stage_that_takes_too_long_does_what_the_plan_says() {
    let late = |response, elapsed| {
        let mut new = new_rollout();
        new.plan.stages[1].on_deadline = response;
        let mut world = World::before().started(&new);
        world.advance_to(StageName::Ready);
        world.now += elapsed;
        world.tick();
        world.rollout.status
    };
    assert_eq!(late(Response::Pause, 999), Status::Running);
    assert_eq!(late(Response::Pause, 1_000), Status::Paused(Halt::Deadline));
    assert_eq!(late(Response::RollBack, 1_000), Status::RolledBack(Halt::Deadline));
}

#[test]
fn a_pause_that_is_ended_begins_the_longest_time_anew_and_the_shortest_not() {
    let mut world = World::at(StageName::Ready);
    world.verifiers[0].acknowledged = None;
    world.now += 1_000;
    world.tick();
    assert_eq!(world.rollout.status, Status::Paused(Halt::Deadline));
    world.order(Order::Resume).unwrap();
    world.now += 999;
    world.tick();
    assert_eq!(world.rollout.status, Status::Running);
    assert!(!world.closed().iter().any(|gate| matches!(gate, Gate::Elapsed { .. })));
    world.now += 1;
    world.tick();
    assert_eq!(world.rollout.status, Status::Paused(Halt::Deadline));
}

#[test]
fn a_paused_rollout_does_not_go_on_and_still_goes_back() {
    let mut world = paused();
    world.open_gates();
    world.tick();
    assert_eq!(world.rollout.current().unwrap().name, StageName::Canary);
    decide(&mut world, 5, &[(0, Outcome::Fail), (1, Outcome::Pass)]);
    assert_eq!(world.rollout.status, Status::RolledBack(Halt::Trigger));
}

#[test]
fn a_paused_rollout_has_no_deadline() {
    let mut new = new_rollout();
    new.plan.stages[1].on_deadline = Response::RollBack;
    let mut world = World::before().started(&new);
    world.advance_to(StageName::Ready);
    world.order(Order::Pause).unwrap();
    world.now += 5_000;
    world.tick();
    assert_eq!(world.rollout.status, Status::Paused(Halt::Person));
    world.order(Order::Resume).unwrap();
    world.now += 1_000;
    world.tick();
    assert_eq!(world.rollout.status, Status::RolledBack(Halt::Deadline));
}

#[test]
fn no_order_goes_on_against_an_alarm() {
    let mut world = soaked();
    world.seen.broken = vec![2];
    assert_eq!(world.order(Order::Advance), Err(Refused::Alarmed(Halt::SelfVerification)));
}
