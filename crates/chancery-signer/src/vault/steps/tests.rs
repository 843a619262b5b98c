//! Which steps of which rollouts are kept, in whatever order their rows are read.

use std::collections::BTreeMap;

use chancery_core::clock::{Quality, Served};
use chancery_core::rollout::{
    Asked, Cause, KeySeen, Lasting, Moment, Order, Paths, STEPS_KEPT, Seen, State, Status, Taken,
    Why,
};
use chancery_core::schedule::Schedule;

use super::*;

const KEY: KeyId = KeyId::from_bytes([7; 16]);

fn rollout(number: u8) -> RolloutId {
    RolloutId::from_bytes([number; 16])
}

fn step(rollout: RolloutId, next: NextStep, epoch: u64) -> StepRow {
    let epoch = Epoch { generation: 0, number: epoch };
    let state = State {
        stage: 0,
        entered: Moment { served: Served::default(), epoch },
        counted: Served::default(),
        status: Status::Running,
        acknowledged: None,
        alone: None,
        released: None,
        overrides: Vec::new(),
        epoch,
        ended: None,
        alone_epoch: None,
    };
    let key = KeySeen {
        name: "k".parse().unwrap(),
        purpose: "sign.bound:a".parse().unwrap(),
        authority_epoch: epoch,
        schedule: Schedule::settled(1),
        versions: Vec::new(),
    };
    let seen = Seen {
        now: Served::default(),
        epoch,
        key,
        verifiers: Vec::new(),
        schedule: epoch,
        samples: 0,
        exercised: Paths::NONE,
        verdicts: Vec::new(),
        broken: Vec::new(),
        old_seen: None,
        remaining: None,
    };
    let taken = Taken {
        lasting: Lasting { from: 1, to: 2, cause: Cause::Drill, by: None, plan_digest: [0; 32] },
        unix_ms: epoch.number,
        quality: Quality::Plausible,
        asked: Asked::Order {
            by: chancery_core::id::PrincipalId::from_bytes([1; 16]),
            order: Order::Pause,
        },
        why: Why::Cause(Cause::Drill),
        trigger: None,
        before: Some(state.clone()),
        after: state,
        schedule: Schedule::settled(1),
        versions: Vec::new(),
        seen,
        gates: Vec::new(),
        counted: Vec::new(),
        bundle: None,
        plan: None,
    };
    let NextStep { ordinal, number, previous } = next;
    let (tenant, row) = (TenantId::from_bytes([1; 16]), [0; 32]);
    let ordinal = Some(ordinal);
    StepRow { tenant, key: KEY, rollout, number, previous, row, taken, ordinal }
}

/// Steps of rollouts one after the other, as many of each as are said: the trail that they leave, and the rows by place.
fn walked(counts: &[u32]) -> (Trail, BTreeMap<[u8; 17], StepRow>) {
    let (mut trail, mut rows, mut epoch) = (Trail::default(), BTreeMap::new(), 0);
    for (number, count) in (1..).zip(counts) {
        for _ in 0..*count {
            epoch += 1;
            let row = step(rollout(number), trail.next(KEY, rollout(number)), epoch);
            trail.note(&row);
            rows.insert(row.place(), row);
        }
    }
    (trail, rows)
}

/// Of each rollout of the key the first and the last step that are kept, those of the latest first.
fn kept(trail: &Trail) -> Vec<(RolloutId, u32, u32)> {
    trail.of_key(KEY).iter().map(|kept| (kept.rollout, kept.first, kept.last)).collect()
}

/// What is read after a start is what was there before, whatever comes first.
fn check(counts: &[u32], expected: &[(RolloutId, u32, u32)]) {
    let (trail, rows) = walked(counts);
    assert_eq!(kept(&trail), expected, "{counts:?}");
    let read = |rows: &mut dyn Iterator<Item = &StepRow>| {
        let mut again = Trail::default();
        rows.for_each(|row| again.note(row));
        again
    };
    for again in [read(&mut rows.values()), read(&mut rows.values().rev())] {
        assert_eq!(kept(&again), expected, "{counts:?}");
        let last = rollout(u8::try_from(counts.len()).unwrap());
        assert_eq!(again.next(KEY, last), trail.next(KEY, last));
        for (id, first, last) in expected {
            let (key, kept) = again.find(*id).unwrap();
            for number in *first..=*last {
                let row = &rows[&StepRow::place_of(key, kept.ordinal_of(number))];
                assert_eq!((row.rollout, row.number), (*id, number));
            }
        }
    }
}

#[test]
fn the_steps_of_earlier_rollouts_are_kept_as_far_as_there_is_room() {
    check(&[], &[]);
    check(&[5], &[(rollout(1), 0, 4)]);
    check(&[5, 3], &[(rollout(2), 0, 2), (rollout(1), 0, 4)]);
    let most = STEPS_KEPT;
    check(&[5, most - 5], &[(rollout(2), 0, most - 6), (rollout(1), 0, 4)]);
    check(&[5, most - 4], &[(rollout(2), 0, most - 5), (rollout(1), 1, 4)]);
    check(&[5, most - 1], &[(rollout(2), 0, most - 2), (rollout(1), 4, 4)]);
    check(&[5, most], &[(rollout(2), 0, most - 1)]);
    check(&[most + 9], &[(rollout(1), 9, most + 8)]);
    check(&[100, 20, 30], &[(rollout(3), 0, 29), (rollout(2), 0, 19), (rollout(1), 22, 99)]);
}

#[test]
fn what_is_gone_is_found_no_more() {
    let (trail, _) = walked(&[5, STEPS_KEPT]);
    assert!(trail.find(rollout(1)).is_none() && trail.find(rollout(2)).is_some());
    assert_eq!(trail.rollouts.len(), 1);
}

#[test]
fn the_first_step_of_a_rollout_is_bound_to_none_and_takes_the_next_place() {
    let (trail, _) = walked(&[5, 3]);
    let next = trail.next(KEY, rollout(2));
    assert_eq!((next.ordinal, next.number), (8, 3));
    assert_ne!(next.previous, [0; 32]);
    let first = NextStep { ordinal: 8, number: 0, previous: [0; 32] };
    assert_eq!(trail.next(KEY, rollout(3)), first);
}

/// Before steps were counted across rollouts, each rollout began in the first place again.
#[test]
fn rows_of_before_are_read_and_gone_on_from() {
    let mut trail = Trail::default();
    let old = |id, number, epoch| StepRow {
        ordinal: None,
        ..step(rollout(id), NextStep { number, ..NextStep::default() }, epoch)
    };
    // Of the first rollout's seven, the second's three took the places.
    for row in [old(2, 0, 8), old(2, 1, 9), old(2, 2, 10)] {
        trail.note(&row);
    }
    for (number, epoch) in (3..7).zip(4..) {
        trail.note(&old(1, number, epoch));
    }
    assert_eq!(kept(&trail), [(rollout(2), 0, 2), (rollout(1), 3, 6)]);
    let next = trail.next(KEY, rollout(2));
    assert_eq!((next.ordinal, next.number), (3, 3));
    trail.note(&step(rollout(2), next, 11));
    assert_eq!(kept(&trail), [(rollout(2), 0, 3), (rollout(1), 4, 6)]);
}
