//! The rollout engine, searched: every interleaving within bounds keeps every property, and each fault that is planted
//! breaks the one that it is planted for.
//!
//! With `CHANCERY_MODEL=all` the search is wider, and takes minutes and gibibytes.

use chancery_core::rollout::{Order, Outcome, Overridable, StageName};
use chancery_sim::checker::{Found, search};
use chancery_sim::rollout::{Beginning, Bounds, Fault, Goal, ORDERS, Rollouts, Sight};

/// The most states of one search: 4 million take some 2 GiB.
const STATES_MAX: usize = 4_000_000;

/// The threads of one search.
const THREADS: usize = 2;

const PASS: Sight = Sight::Plain(Outcome::Pass);
const FAIL: Sight = Sight::Plain(Outcome::Fail);
const NOT_A_NUMBER: Sight = Sight::Plain(Outcome::NotANumber);
const NO_DATA: Sight = Sight::Plain(Outcome::NoData);
const INCONCLUSIVE: Sight = Sight::Plain(Outcome::Inconclusive);

/// The moments that a rollout takes at least, from its start to the destruction of the old version.
const SHORTEST: u64 = 8;

/// One rollout with nothing around it but time, verifiers and an analysis.
fn quiet() -> Bounds {
    Bounds {
        beginnings: vec![Beginning::Requested],
        horizon: SHORTEST,
        orders: 0,
        ordered: ORDERS.to_vec(),
        events: 0,
        crashes: 0,
        others: 0,
        outcomes: vec![PASS, FAIL],
        is_contested: false,
    }
}

fn searched(bounds: Bounds) -> Found<Rollouts> {
    let found = search(&Rollouts { bounds, fault: None }, STATES_MAX, THREADS);
    eprintln!(
        "{} states, {} steps, the farthest {} from the start",
        found.states, found.steps, found.depth
    );
    found
}

/// Searches all of it, and has been where it must.
#[track_caller]
fn check(bounds: Bounds, states_min: usize, goals: &[Goal]) {
    let found = searched(bounds);
    assert!(found.broken.is_none(), "{:?}", found.broken);
    assert!(!found.is_cut, "there is more than {STATES_MAX} states");
    assert!(found.states >= states_min, "{} states alone", found.states);
    let missed: Vec<_> = goals.iter().filter(|goal| !found.goals.contains(goal)).collect();
    assert!(missed.is_empty(), "never there: {missed:?}");
}

/// Every stage, and how a rollout ends that has a way back.
fn goals(slot: usize) -> Vec<Goal> {
    let stages = StageName::ALL.into_iter().filter(|name| *name != StageName::Ramp);
    let ends = [Goal::Done(slot), Goal::RolledBack(slot), Goal::Paused(slot)];
    stages.map(|name| Goal::Stage(slot, name)).chain(ends).collect()
}

#[test]
fn two_rollouts_that_want_one_key_keep_every_property() {
    let goals = [goals(0), goals(1), vec![Goal::Overtaken]].concat();
    check(Bounds { is_contested: true, ..quiet() }, 1_000_000, &goals);
}

#[test]
fn a_kill_anywhere_and_an_analysis_that_lies_or_fails_keep_every_property() {
    let outcomes = vec![PASS, FAIL, NOT_A_NUMBER, NO_DATA, INCONCLUSIVE, Sight::FailureOfOne];
    let goals = [goals(0), vec![Goal::Overtaken]].concat();
    check(Bounds { outcomes, crashes: 1, ..quiet() }, 200_000, &goals);
    let beginnings = vec![Beginning::Compromise];
    let goals = [Goal::Paused(0), Goal::Done(0), Goal::Overtaken];
    check(Bounds { beginnings, crashes: 1, others: 1, ..quiet() }, 200_000, &goals);
}

#[test]
fn versions_that_are_suspended_or_compromised_in_the_middle_keep_every_property() {
    let goals = [goals(0), vec![Goal::Aborted(0), Goal::Overtaken]].concat();
    check(Bounds { events: 1, ..quiet() }, 400_000, &goals);
}

#[test]
fn a_rollout_away_from_a_compromised_version_keeps_every_property() {
    let beginnings = vec![Beginning::CompromiseWithStandby];
    let goals = [Goal::OnStandby(0), Goal::Paused(0), Goal::Done(0), Goal::Overtaken];
    check(Bounds { beginnings, events: 1, ..quiet() }, 400_000, &goals);
}

#[test]
fn people_who_order_at_any_time_keep_every_property() {
    let back = [goals(0), vec![Goal::Aborted(0)]].concat();
    let ordered = vec![Order::RollBack, Order::Abort];
    check(Bounds { orders: 1, ordered, ..quiet() }, 50_000, &back);
    let on = [Goal::Overridden(0), Goal::Done(0), Goal::Paused(0)];
    let ordered = vec![Order::Override(Overridable::Acknowledgement)];
    check(Bounds { orders: 1, ordered, outcomes: vec![PASS], ..quiet() }, 100_000, &on);
    let ordered = vec![Order::Pause, Order::Resume];
    check(
        Bounds { orders: 2, ordered, outcomes: vec![PASS], ..quiet() },
        100_000,
        &[Goal::Paused(0), Goal::Done(0)],
    );
}

#[test]
fn a_wider_search_keeps_every_property() {
    let beginnings =
        vec![Beginning::Requested, Beginning::Compromise, Beginning::CompromiseWithStandby];
    let outcomes = vec![PASS, FAIL, NOT_A_NUMBER, NO_DATA, INCONCLUSIVE, Sight::FailureOfOne];
    let all = Bounds { beginnings, outcomes, is_contested: true, ..quiet() };
    let all = Bounds { orders: 2, events: 2, crashes: 1, others: 1, ..all };
    // It has no end that a machine would come to, so it goes as far as it may.
    let is_wide = std::env::var("CHANCERY_MODEL").is_ok_and(|wide| wide == "all");
    let states_max = if is_wide { STATES_MAX } else { STATES_MAX / 40 };
    let found = search(&Rollouts { bounds: all, fault: None }, states_max, THREADS);
    assert!(found.broken.is_none(), "{:?}", found.broken);
    assert!(found.is_cut && found.depth >= 6, "{} deep", found.depth);
}

/// A rollout with two signatures, until one stands alone.
fn migrating() -> Bounds {
    let (beginnings, outcomes) = (vec![Beginning::Migration], vec![PASS, FAIL]);
    Bounds { beginnings, outcomes, horizon: 13, ..quiet() }
}

#[test]
fn a_rollout_with_two_signatures_keeps_every_property() {
    let stage = |name| Goal::Stage(0, name);
    let ends = [Goal::Withdrawing(0), Goal::RolledBack(0), Goal::Paused(0)];
    let goals = [stage(StageName::Ramp), stage(StageName::Full)];
    check(migrating(), 100_000, &[&goals[..], &ends[..]].concat());
}

/// Bounds in which a fault shows, and no others.
fn bounds_of(fault: Fault) -> Bounds {
    let compromise = vec![Beginning::Compromise];
    let with = |outcomes: &[Sight]| Bounds { outcomes: outcomes.to_vec(), ..quiet() };
    match fault {
        Fault::StaleAcknowledgement => {
            Bounds { beginnings: vec![Beginning::CompromiseWithStandby], ..quiet() }
        }
        Fault::NobodyIsTold => migrating(),
        Fault::ReasonForgotten => Bounds { beginnings: compromise, ..quiet() },
        Fault::RollBackToCompromised | Fault::Revive | Fault::Overtaken => {
            Bounds { events: 1, horizon: 5, ..quiet() }
        }
        Fault::AdvanceOnNotANumber => with(&[NOT_A_NUMBER]),
        Fault::AdvanceOnNoData => with(&[NO_DATA]),
        Fault::LoneReporter => with(&[Sight::FailureOfOne]),
        Fault::TwoRollouts => Bounds { is_contested: true, horizon: 4, ..quiet() },
        Fault::EpochReused => Bounds { others: 1, horizon: 4, ..quiet() },
        Fault::NamelessOverride => Bounds { orders: 1, ordered: Vec::new(), ..quiet() },
        _ => quiet(),
    }
}

#[test]
fn each_planted_fault_breaks_the_property_that_it_is_planted_for() {
    for (fault, property) in Fault::ALL {
        let bounds = bounds_of(fault);
        let control =
            search(&Rollouts { bounds: bounds.clone(), fault: None }, STATES_MAX, THREADS);
        assert!(control.broken.is_none() && !control.is_cut, "{fault:?}: {:?}", control.broken);
        let found = search(&Rollouts { bounds, fault: Some(fault) }, STATES_MAX, THREADS);
        let Some(broken) = found.broken else { panic!("{fault:?} breaks nothing") };
        eprintln!(
            "{fault:?} breaks {}: {}; {:?}",
            broken.what.property, broken.what.what, broken.trace
        );
        assert_eq!(broken.what.property, property, "{fault:?}: {broken:?}");
    }
}
