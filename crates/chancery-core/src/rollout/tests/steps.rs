//! Steps as they are kept: the engine comes to them again, and to nothing else.
//!
//! Every step of every test of the engine is checked where it is taken (`World::keep`); here is what must not pass.

use super::super::*;
use super::world::World;
use crate::cbor;
use crate::limits::VERIFIERS_MAX;

/// The last step of a world.
fn last(world: &World) -> StepRow {
    world.steps.last().unwrap().clone()
}

fn again(row: &StepRow, plan: &Plan) -> Result<Rollout, Unsound> {
    row.taken.again(row, plan)
}

/// A rollout that has just come to its canary by itself.
fn canary() -> (StepRow, Plan) {
    let world = World::at(StageName::Canary);
    (last(&world), world.rollout.plan)
}

#[test]
fn each_step_says_why_it_was_taken() {
    let of = |world: &World| (last(world).taken.why.code(), last(world).taken.trigger);
    let mut world = World::new();
    assert_eq!(of(&world), ("requested", None));
    world.advance_to(StageName::Canary);
    assert_eq!(of(&world), ("gates-open", None));
    world.order(Order::Override(Overridable::Quiet)).unwrap();
    assert_eq!(of(&world), ("overridden-quiet", None));
    world.order(Order::Pause).unwrap();
    assert_eq!(of(&world), ("person", None));
    world.order(Order::Resume).unwrap();
    assert_eq!(of(&world), ("resumed", None));
    let fails = |place: u8, reporters: u8| {
        let mut world = World::at(StageName::Canary);
        world.open_gates();
        world.seen.outcomes = vec![(0, Outcome::Pass), (1, Outcome::Pass)];
        world.seen.outcomes[usize::from(place)].1 = Outcome::Fail;
        world.seen.reporters = (1..=reporters).map(super::world::verifier_id).collect();
        world.tick();
        of(&world)
    };
    assert_eq!(fails(0, 2), ("verify-failure-rate", Some(0)));
    assert_eq!(fails(1, 0), ("error-rate", Some(1)));
    let mut world = World::at(StageName::Canary);
    world.open_gates();
    world.seen.verdict_at -= 21;
    world.tick();
    assert_eq!(of(&world), ("stale", Some(0)));
    let mut world = World::at(StageName::Canary);
    world.now += 2_000;
    world.seen.broken = vec![2];
    world.tick();
    assert_eq!(of(&world), ("self-verification", None));
}

#[test]
fn what_was_seen_otherwise_gives_no_such_step() {
    let (row, plan) = canary();
    let told = |change: fn(&mut StepRow)| {
        let mut row = row.clone();
        change(&mut row);
        again(&row, &plan).map(|_| ())
    };
    assert_eq!(told(|_| {}), Ok(()));
    // A gate was closed: the wait, an acknowledgement, a version that may not protect.
    assert_eq!(told(|row| row.taken.seen.now = Served::default()), Err(Unsound::NoStep));
    assert_eq!(told(|row| row.taken.seen.verifiers[1].acknowledged = None), Err(Unsound::NoStep));
    assert_eq!(told(|row| row.taken.seen.key.versions[1].published = None), Err(Unsound::NoStep));
    assert_eq!(told(|row| row.taken.seen.broken = vec![2]), Err(Unsound::OtherStep));
}

#[test]
fn a_step_that_went_elsewhere_or_was_taken_otherwise_is_none() {
    let (row, plan) = canary();
    let told = |change: fn(&mut StepRow)| {
        let mut row = row.clone();
        change(&mut row);
        again(&row, &plan).map(|_| ())
    };
    assert_eq!(told(|row| row.taken.after.stage += 1), Err(Unsound::OtherStep));
    assert_eq!(told(|row| row.taken.after.status = Status::Done), Err(Unsound::OtherStep));
    assert_eq!(told(|row| row.taken.schedule.version = 2), Err(Unsound::OtherStep));
    assert_eq!(told(|row| row.taken.versions.clear()), Err(Unsound::OtherStep));
    assert_eq!(told(|row| row.taken.gates.truncate(1)), Err(Unsound::Gates));
    assert_eq!(told(|row| row.taken.why = Why::Halt(Halt::Person)), Err(Unsound::OtherReason));
    assert_eq!(told(|row| row.taken.trigger = Some(0)), Err(Unsound::OtherReason));
    assert_eq!(told(|row| row.taken.before = None), Err(Unsound::Form));
    assert_eq!(
        told(|row| row.taken.asked = Asked::Start { remaining_ms: None }),
        Err(Unsound::Form)
    );
    let by = PrincipalId::from_bytes([5; 16]);
    let ordered = Asked::Order { by, order: Order::Advance };
    let mut by_order = row.clone();
    by_order.taken.asked = ordered;
    assert_eq!(again(&by_order, &plan), Err(Unsound::OtherReason));
    let mut other = plan.clone();
    other.stages[2].fraction = crate::schedule::Fraction::from_ppm(90_000).unwrap();
    assert_eq!(again(&row, &other), Err(Unsound::OtherStep));
}

#[test]
fn a_verdict_rests_on_counts_or_the_step_is_none() {
    let mut world = World::at(StageName::Canary);
    world.open_gates();
    world.tick();
    let (row, plan) = (last(&world), world.rollout.plan.clone());
    assert!(again(&row, &plan).is_ok());
    // These verdicts were made up: nothing was counted.
    assert_eq!(row.taken.check(&row, &plan), Err(Unsound::Form));
    let counted = |row: &StepRow, rejected| {
        let of = |trigger: u8| {
            let metric = plan.stages[2].triggers[usize::from(trigger)].metric;
            let mut pair = Pair::default();
            let new = pair.side_mut(Side::New);
            (new.verified, new.rejected, new.requests) = (1_000_000, rejected, 1_000_000);
            Counted { trigger, long: Window::of(metric, &pair), short: None, points: Vec::new() }
        };
        let mut row = row.clone();
        row.taken.counted = vec![of(0), of(1)];
        row
    };
    let mut good = counted(&row, 0);
    good.taken.seen.verdicts.iter_mut().for_each(|verdict| verdict.value = Some(0));
    assert!(good.taken.check(&good, &plan).is_ok());
    let mut bad = counted(&row, 500);
    bad.taken.seen.verdicts.iter_mut().for_each(|verdict| verdict.value = Some(0));
    assert_eq!(bad.taken.check(&bad, &plan), Err(Unsound::Verdict(0)));
}

#[test]
fn the_longest_step_fits_into_a_row() {
    let mut world = World::at(StageName::Canary);
    world.open_gates();
    let (trigger, far) = (world.rollout.plan.stages[2].triggers[0].clone(), u64::MAX / 2);
    let epoch = Epoch { generation: u32::MAX, number: far };
    let count = Count { part: far, of: far };
    let mut latency = Latency::default();
    (0..64).for_each(|power| {
        latency.count(1 << power);
        latency.count(3 << power >> 1);
    });
    let window =
        || Window { new: count, old: count, latency: Some((latency.clone(), latency.clone())) };
    let point = |at| Point { at: Served::from_ms(far + at), new: count, old: count };
    let mut row = last(&world);
    let taken = &mut row.taken;
    let some = Some(epoch);
    let verifier = Verifier { id: super::world::verifier_id(1), acknowledged: some };
    taken.seen.verifiers = vec![verifier; VERIFIERS_MAX];
    let places: Vec<u16> = (0..256).collect();
    let verdict = |trigger| VerdictSeen {
        trigger,
        outcome: Outcome::Fail,
        value: Some(far),
        at: Served::from_ms(far),
        reporters: places.clone(),
    };
    taken.seen.verdicts = (0..8).map(verdict).collect();
    let counted = |trigger| Counted {
        trigger,
        long: window(),
        short: None,
        points: (0..17).map(point).collect(),
    };
    taken.counted = (0..8).map(counted).collect();
    taken.seen.broken = (0..256).collect();
    assert_eq!(trigger.short_window_ms, None);
    let longest = cbor::encode(&row).len();
    assert!((20_000..60_000).contains(&longest), "{longest}");
    assert_eq!(cbor::decode(&cbor::encode(&row), "step"), Ok(row));
}

#[test]
fn a_step_takes_the_place_of_the_one_so_many_before_it() {
    let key = KeyId::from_bytes([7; 16]);
    let place = |number| StepRow::place_of(key, number);
    assert_eq!(place(0), place(STEPS_KEPT));
    assert_ne!(place(STEPS_KEPT - 1), place(STEPS_KEPT));
    assert_eq!(place(STEPS_KEPT + 5)[16], 5);
    let places: std::collections::BTreeSet<_> = (0..STEPS_KEPT).map(place).collect();
    assert_eq!(places.len(), 128);
}
