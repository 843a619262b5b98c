//! Rotation by commands: what becomes of key, rollout and schedule.

use super::*;
use crate::authority::Moving;
use crate::limits::{DRILL_ENVIRONMENT, KEY_PUBLIC_BYTES_MAX, STILL_MAX};
use crate::rollout::{
    Builtin, Cause, Halt, Order, Plan, RolloutView, Rotation, Sight, Stage, StageName, Status,
    Taken, Why,
};
use crate::schedule::{Accept, Fraction, Mode, Protecting, Schedule, Selector, Share};

fn rotation() -> Rotation {
    let plan = Builtin::Standard.plan().unwrap();
    Rotation { key: name("k"), plan, cause: Cause::Requested, suite: None, version: None }
}

fn rotate(authority: &mut Authority, rotation: Rotation) -> Result<RolloutView, Reason> {
    match operator(authority, &Command::Rotate(rotation))? {
        Answer::Rollout(view) => Ok(*view),
        other => panic!("{other:?}"),
    }
}

fn key(authority: &Authority) -> &Key {
    authority.key_named(TENANT, &name("k")).unwrap()
}

fn order(authority: &mut Authority, rollout: RolloutId, order: Order) -> Result<Answer, Reason> {
    operator(authority, &Command::OrderRollout { rollout, order })
}

#[test]
fn a_rotation_publishes_a_version_that_protects_for_nobody() {
    let mut authority = with_key();
    let view = rotate(&mut authority, rotation()).unwrap();
    let key = key(&authority);
    let version = key.version(2).unwrap();
    assert_eq!((version.state, key.scheduled), (KeyState::PreActivation, 1));
    assert_eq!(version.published.unwrap().epoch, authority.tenant(TENANT).unwrap().epoch);
    assert_eq!(key.rollout(), Some(view.rollout.id));
    assert_eq!((view.rollout.from, view.rollout.to), (1, 2));
    assert!(!view.gates.is_empty());
    let handle = issue(&authority, &[]);
    assert_eq!(permit(&authority, &handle, Operation::Sign), Ok(1));
    let moved = Moving { tenant: TENANT, key: key.id, rollout: view.rollout.id };
    assert_eq!(authority.moved(), [moved]);
}

#[test]
fn a_key_has_one_rollout_at_a_time_and_the_next_may_follow() {
    let mut authority = with_key();
    let view = rotate(&mut authority, rotation()).unwrap();
    assert_eq!(rotate(&mut authority, rotation()), Err(Reason::IllegalTransition));
    order(&mut authority, view.rollout.id, Order::Abort).unwrap();
    assert_eq!(key(&authority).rollout(), None);
    assert!(authority.moved().is_empty());
    // Its version is a standby from then on; another is made if none is named.
    let standby = Rotation { version: Some(2), ..rotation() };
    let decided = authority.decide(
        &principal(Role::Operator),
        &Command::Rotate(standby),
        Fresh { rollout: RolloutId::from_bytes([6; 16]), ..fresh() },
        now(),
    );
    let Answer::Rollout(view) = decided.unwrap().answer else { panic!() };
    assert_eq!((view.rollout.to, view.rollout.id), (2, RolloutId::from_bytes([6; 16])));
}

#[test]
fn what_cannot_be_is_refused_before_a_version_is_made() {
    let authority = with_key();
    let operator = principal(Role::Operator);
    let check = |rotation: Rotation| {
        authority.check_rotation(&operator, &rotation).map(|it| it.map(|(suite, _)| suite))
    };
    let refused = |rotation| check(rotation).unwrap_err().reason;
    assert_eq!(refused(Rotation { key: name("other"), ..rotation() }), Reason::Forbidden);
    let both = Rotation { version: Some(2), suite: Some(Suite::Ed25519), ..rotation() };
    assert_eq!(refused(both), Reason::Malformed);
    let of_another_kind = Rotation { suite: Some(Suite::HmacSha256), ..rotation() };
    assert_eq!(refused(of_another_kind), Reason::PurposeRefused);
    assert_eq!(check(rotation()), Ok(Some(Suite::Ed25519)));
    let migrated = Rotation { suite: Some(Suite::MlDsa65), ..rotation() };
    assert_eq!(check(migrated), Ok(Some(Suite::MlDsa65)));
    assert_eq!(check(Rotation { version: Some(1), ..rotation() }), Ok(None));
}

#[test]
fn a_plan_that_breaks_rules_is_refused_and_nothing_changes() {
    let mut authority = with_key();
    let mut plan = Builtin::Standard.plan().unwrap();
    plan.stages.retain(|stage| stage.name != StageName::Ready);
    let broken = Rotation { plan, ..rotation() };
    assert_eq!(rotate(&mut authority, broken), Err(Reason::Malformed));
    assert_eq!(key(&authority).versions.len(), 1);
}

#[test]
fn a_key_has_as_many_versions_as_its_row_holds() {
    let mut authority = with_key();
    let mut full = key(&authority).clone();
    full.versions[0].public = vec![0; KEY_PUBLIC_BYTES_MAX];
    authority.apply(Row::Key(full)).unwrap();
    assert_eq!(rotate(&mut authority, rotation()), Err(Reason::IllegalTransition));
}

/// A key half of whose consumers a rollout has moved.
fn halfway(mode: Mode, selector: Selector) -> Authority {
    let mut authority = with_key();
    let view = rotate(&mut authority, rotation()).unwrap();
    let mut key = key(&authority).clone();
    let epoch = key.authority_epoch;
    key.activate(2, epoch, Served::default()).unwrap();
    let fraction = Fraction::from_ppm(500_000).unwrap();
    let share = Share { version: 2, fraction, mode, accept: Accept::AnyOf, selector };
    let mut schedule = key.schedule();
    schedule.moving.as_mut().unwrap().share = Some(share);
    key.reschedule(schedule).unwrap();
    authority.apply(Row::Key(key)).unwrap();
    assert_eq!(view.rollout.status, Status::Running);
    authority
}

/// Which versions protect for a consumer, in a region if its context says one.
fn protecting(authority: &Authority, routing: &[u8], region: Option<&str>) -> (u32, Option<u32>) {
    let pairs = region.map(|region| Pair::new("region", region).unwrap()).into_iter().collect();
    let context = Context::new(pairs).unwrap();
    let handle = issue(authority, &[]);
    let asked = Use {
        handle: &handle,
        operation: Operation::Sign,
        context: &context,
        version: None,
        also: None,
        routing: Routing { key: routing, ..ROUTING },
        proven: &[],
        is_cosigned: false,
        now: now(),
    };
    let permit = authority.permit(&asked).unwrap();
    (permit.version(), permit.second())
}

#[test]
fn a_consumer_sees_the_version_of_its_cohort() {
    let everybody = Selector::default();
    let authority = halfway(Mode::NewOnly, everybody.clone());
    assert_eq!(protecting(&authority, &[0x00], None), (2, None));
    assert_eq!(protecting(&authority, &[0xff], None), (1, None));
    // Without a routing key by the handle's subject, which is a developer here: id 2.
    assert_eq!(protecting(&authority, &[], None), (2, None));
    let both = halfway(Mode::DualSign, everybody.clone());
    assert_eq!(protecting(&both, &[0x00], None), (1, Some(2)));
    assert_eq!(protecting(&both, &[0xff], None), (1, None));
    let told = halfway(Mode::PublishOnly, everybody);
    assert_eq!(protecting(&told, &[0x00], None), (1, None));
}

/// Which versions verify what names these, once the key is in the schedule of `authority`.
fn verifying(authority: &Authority, named: [Option<u32>; 2]) -> Result<(u32, Option<u32>), Reason> {
    // Of a key whose versions all may do something, as handles are issued.
    let (context, handle) = (Context::default(), issue(&with_key(), &[]));
    let asked = Use {
        handle: &handle,
        operation: Operation::Verify,
        context: &context,
        version: named[0],
        also: named[1],
        routing: ROUTING,
        proven: &[],
        is_cosigned: false,
        now: now(),
    };
    authority.permit(&asked).map(|permit| (permit.version(), permit.second()))
}

fn apply(authority: &mut Authority, version: u32, event: KeyEvent) {
    let mut key = key(authority).clone();
    key.apply(version, event).unwrap();
    authority.apply(Row::Key(key)).unwrap();
}

#[test]
fn two_signatures_verify_by_both_versions_in_a_rollout_and_else_by_the_first_that_may() {
    let mut authority = halfway(Mode::DualSign, Selector::default());
    let both = [Some(1), Some(2)];
    assert_eq!(verifying(&authority, both), Ok((1, Some(2))));
    assert_eq!(verifying(&authority, [Some(2), Some(1)]), Ok((2, Some(1))));
    assert_eq!(verifying(&authority, [Some(1), Some(1)]), Ok((1, None)));
    let mut settled = key(&authority).clone();
    settled.reschedule(Schedule::settled(1)).unwrap();
    authority.apply(Row::Key(settled)).unwrap();
    assert_eq!(verifying(&authority, both), Ok((1, None)));
    apply(&mut authority, 1, KeyEvent::Suspend);
    assert_eq!(verifying(&authority, both), Ok((2, None)));
    assert_eq!(verifying(&authority, [Some(1), None]), Err(Reason::KeyUnusable));
    apply(&mut authority, 2, KeyEvent::Suspend);
    assert_eq!(verifying(&authority, both), Err(Reason::KeyUnusable));
}

#[test]
fn where_both_are_asked_for_what_has_one_signature_is_refused() {
    let mut authority = halfway(Mode::DualSign, Selector::default());
    let mut asks_both = key(&authority).clone();
    let mut schedule = asks_both.schedule();
    schedule.moving.as_mut().unwrap().share.as_mut().unwrap().accept = Accept::AllOf;
    asks_both.reschedule(schedule).unwrap();
    authority.apply(Row::Key(asks_both)).unwrap();
    for both in [[Some(1), Some(2)], [Some(2), Some(1)]] {
        assert_eq!(verifying(&authority, both), Ok((1, Some(2))));
    }
    for one in [[Some(1), None], [Some(2), None], [Some(1), Some(1)], [None, None]] {
        assert_eq!(verifying(&authority, one), Err(Reason::VerificationFailed), "{one:?}");
    }
    apply(&mut authority, 1, KeyEvent::Suspend);
    assert_eq!(verifying(&authority, [Some(1), Some(2)]), Err(Reason::KeyUnusable));
}

#[test]
fn a_version_that_may_not_sign_leaves_the_other_without_an_answer() {
    for version in [1, 2] {
        let mut authority = halfway(Mode::DualSign, Selector::default());
        apply(&mut authority, version, KeyEvent::Suspend);
        let handle = issue(&authority, &[]);
        // The handle's subject is in the share.
        assert_eq!(permit(&authority, &handle, Operation::Sign), Err(Reason::KeyUnusable));
    }
}

#[test]
fn a_selector_goes_by_where_the_context_says_and_else_by_where_the_key_is() {
    let regions = vec![name("eu")];
    let authority = halfway(Mode::NewOnly, Selector { regions, ..Selector::default() });
    assert_eq!(protecting(&authority, &[0x00], Some("eu")), (2, None));
    assert_eq!(protecting(&authority, &[0xff], Some("eu")), (1, None));
    assert_eq!(protecting(&authority, &[0x00], Some("us")), (1, None));
    assert_eq!(protecting(&authority, &[0x00], None), (1, None));
}

#[test]
fn a_look_moves_a_rollout_when_its_gates_are_open_and_not_before() {
    let mut authority = with_key();
    let view = rotate(&mut authority, rotation()).unwrap();
    let moving = authority.moving(TENANT, view.rollout.id).unwrap();
    let at = |served_ms| Reading { served: Served::from_ms(served_ms), ..now() };
    let wait_ms = view.rollout.plan.stages[0].min_ms;
    let look = |authority: &Authority, served_ms| {
        authority.decide_step((&moving, 0), &Sight::NOTHING, at(served_ms)).unwrap()
    };
    assert!(look(&authority, wait_ms - 1).is_none());
    let decided = look(&authority, wait_ms).unwrap();
    assert_eq!(decided.effect, Effect::Recorded);
    for row in decided.rows {
        authority.apply(row).unwrap();
    }
    let (rollout, _) = authority.rollout_of(&moving).unwrap();
    assert_eq!(rollout.current().map(|stage: &Stage| stage.name), Some(StageName::Ready));
}

#[test]
fn what_takes_protecting_away_is_a_barrier() {
    let authority = halfway(Mode::NewOnly, Selector::default());
    let rollout = authority.moved()[0].rollout;
    let ask = |order| {
        let asked = Command::OrderRollout { rollout, order };
        authority.decide(&principal(Role::Operator), &asked, fresh(), now()).unwrap()
    };
    assert_eq!(ask(Order::RollBack).effect, Effect::Barrier);
    assert_eq!(ask(Order::Pause).effect, Effect::Recorded);
}

#[test]
fn a_row_of_a_rollout_that_goes_back_is_a_contradiction() {
    let mut authority = with_key();
    let view = rotate(&mut authority, rotation()).unwrap();
    let mut stored = view.rollout;
    assert!(authority.apply(Row::Rollout(Box::new(stored.clone()))).is_err());
    stored.epoch = stored.epoch.next();
    authority.apply(Row::Rollout(Box::new(stored.clone()))).unwrap();
    let other = crate::rollout::Rollout {
        id: RolloutId::from_bytes([9; 16]),
        epoch: stored.epoch.next(),
        ..stored
    };
    assert!(authority.apply(Row::Rollout(Box::new(other))).is_err());
}

#[test]
fn a_list_shows_the_latest_rollout_of_each_key() {
    let mut authority = with_key();
    let list = Command::ListRollouts { after: None };
    let Answer::Rollouts { rollouts, more } = operator(&mut authority, &list).unwrap() else {
        panic!()
    };
    assert_eq!((rollouts.len(), more), (0, false));
    let view = rotate(&mut authority, rotation()).unwrap();
    let Answer::Rollouts { rollouts, .. } = operator(&mut authority, &list).unwrap() else {
        panic!()
    };
    assert_eq!(rollouts, std::slice::from_ref(&view));
    let show = Command::ShowRollout { rollout: view.rollout.id };
    assert_eq!(operator(&mut authority, &show), Ok(Answer::Rollout(Box::new(view))));
    let unknown = Command::ShowRollout { rollout: RolloutId::from_bytes([1; 16]) };
    assert_eq!(operator(&mut authority, &unknown), Err(Reason::Forbidden));
}

#[test]
fn the_version_that_a_share_brings_in_is_what_things_are_encrypted_again_under() {
    assert_eq!(Protecting::One(3).last(), 3);
    assert_eq!(Protecting::Both { outgoing: 1, incoming: 2 }.last(), 2);
}

#[test]
fn a_plan_is_as_it_was_signed() {
    let plan = Builtin::Careful.plan().unwrap();
    let asked = Command::Rotate(Rotation { plan: plan.clone(), ..rotation() });
    let decoded: Command = crate::cbor::decode(&crate::cbor::encode(&asked), "command").unwrap();
    let Command::Rotate(Rotation { plan: Plan { stages, .. }, .. }) = decoded else { panic!() };
    assert_eq!(stages, plan.stages);
}

/// Decides as an operator: the step that it takes, and what its row would say of the one before.
fn step(authority: &Authority, asked: &Command) -> Taken {
    let decided = authority.decide(&principal(Role::Operator), asked, fresh(), now()).unwrap();
    *decided.step.unwrap()
}

#[test]
fn each_change_of_a_rollout_is_a_step_and_nothing_else_is() {
    let mut authority = with_key();
    let rotate_it = Command::Rotate(rotation());
    let first = step(&authority, &rotate_it);
    assert_eq!((first.before.clone(), first.why), (None, Why::Cause(Cause::Requested)));
    let view = rotate(&mut authority, rotation()).unwrap();
    let pause = Command::OrderRollout { rollout: view.rollout.id, order: Order::Pause };
    let second = step(&authority, &pause);
    assert_eq!((second.before.as_ref(), second.why), (Some(&first.after), Why::Halt(Halt::Person)));
    assert_eq!((second.unix_ms, second.seen.key.name.as_str()), (now().unix_ms, "k"));
    let others = [
        Command::ShowRollout { rollout: view.rollout.id },
        Command::ReadSteps { rollout: view.rollout.id, from: 0 },
        Command::ListKeptRollouts { key: name("k") },
        Command::ShowKey { key: name("k") },
    ];
    for other in others {
        let decided = authority.decide(&principal(Role::Operator), &other, fresh(), now());
        assert_eq!(decided.unwrap().step, None, "{other:?}");
    }
    let stray = Command::ListKeptRollouts { key: name("stray") };
    assert_eq!(operator(&mut authority, &stray), Err(Reason::Forbidden));
}

#[test]
fn the_rollout_of_a_scratch_key_alone_stands_still_and_not_for_long() {
    let mut authority = with_key();
    let still = |rollout, for_ms| Command::StillRollout { rollout, for_ms };
    let other = rotate(&mut authority, rotation()).unwrap().rollout.id;
    assert_eq!(operator(&mut authority, &still(other, 1)), Err(Reason::Forbidden));
    operator(&mut authority, &Command::OrderRollout { rollout: other, order: Order::Abort })
        .unwrap();
    // A key of that environment, in the place of the other.
    let mut authority = genesis();
    let mut scratch = new_key("k");
    scratch.scope.environment = name(DRILL_ENVIRONMENT);
    operator(&mut authority, &Command::CreateKey(scratch)).unwrap();
    let id = rotate(&mut authority, rotation()).unwrap().rollout.id;
    let longest = crate::clock::millis(STILL_MAX);
    for (for_ms, expected) in [(0, Err(Reason::Malformed)), (1, Ok(Answer::Done))] {
        assert_eq!(operator(&mut authority, &still(id, for_ms)), expected);
    }
    assert_eq!(operator(&mut authority, &still(id, longest)), Ok(Answer::Done));
    assert_eq!(operator(&mut authority, &still(id, longest + 1)), Err(Reason::Malformed));
    let asked = command(&mut authority, Role::Developer, &still(id, 1));
    assert_eq!(asked, Err(Reason::Forbidden));
    // It changes nothing, and a person's order is taken as ever.
    assert!(order(&mut authority, id, Order::Abort).is_ok());
    assert_eq!(operator(&mut authority, &still(id, 1)), Err(Reason::IllegalTransition));
}
