//! Rules of automatic rotation: by which a key is rotated, and what keeps a rollout from beginning.

use super::*;
use crate::authority::{DueRotation, Moving, UseCounts};
use crate::automatic::tests::rule;
use crate::automatic::{Automatic, Due, Held, RETRY_AFTER, RotationView, Rule, RuleFor, RuleOf};
use crate::clock::millis;
use crate::limits::{AUTOMATIC_HALTED_MAX, AUTOMATIC_UNDER_WAY_MAX};
use crate::purpose::Usage;
use crate::rollout::{Cause, Halt, Order, Sight, Status};

const DAY_MS: u64 = 86_400_000;

fn of_key() -> RuleFor {
    RuleFor::Key(name("k"))
}

fn set(authority: &mut Authority, rule_for: RuleFor, rule: Rule) -> Result<Answer, Reason> {
    operator(authority, &Command::SetRule { rule_for, rule })
}

fn automatic(rule: Automatic) -> Rule {
    Rule::Automatic(Box::new(rule))
}

fn days(days: u64) -> Reading {
    Reading { served: Served::from_ms(days * DAY_MS), ..now() }
}

fn due(authority: &Authority, at: Reading) -> Vec<DueRotation> {
    authority.due_rotations((TENANT, None), 100, &UseCounts::new(), at.served).due
}

fn shown(authority: &mut Authority) -> RotationView {
    let list = Command::ListRotations { after: None };
    match operator(authority, &list).unwrap() {
        Answer::Rotations { keys, .. } => keys.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Begins what is due at a time.
fn begin(authority: &mut Authority, at: Reading) -> Option<Moving> {
    let due = due(authority, at).pop()?;
    let uses = UseCounts::new();
    let decided = authority.decide_due(&due, (&uses, 0), fresh(), at).unwrap().unwrap();
    for row in decided.rows {
        authority.apply(row).unwrap();
    }
    authority.moved().pop()
}

#[test]
fn a_key_is_rotated_by_its_own_rule_or_that_of_its_usage() {
    let mut authority = with_key();
    assert_eq!(shown(&mut authority).rule, None);
    assert!(due(&authority, days(1_000)).is_empty());
    set(&mut authority, RuleFor::Usage(Usage::Sign), automatic(rule())).unwrap();
    assert_eq!(shown(&mut authority).rule, Some(RuleOf::Usage(Usage::Sign)));
    assert_eq!(due(&authority, days(90)).len(), 1);
    let own = Automatic { every_ms: 300 * DAY_MS, ..rule() };
    set(&mut authority, of_key(), automatic(own)).unwrap();
    assert!(due(&authority, days(90)).is_empty());
    assert_eq!(due(&authority, days(300)).len(), 1);
    set(&mut authority, of_key(), Rule::Never).unwrap();
    assert!(due(&authority, days(300)).is_empty());
    set(&mut authority, of_key(), Rule::Unset).unwrap();
    assert_eq!(due(&authority, days(90)).len(), 1);
}

#[test]
fn rules_that_cannot_be_kept_or_are_of_nothing_are_refused() {
    let mut authority = with_key();
    let of_another_kind = Automatic { suite: Some(Suite::HmacSha256), ..rule() };
    let refused = set(&mut authority, of_key(), automatic(of_another_kind));
    assert_eq!(refused, Err(Reason::PurposeRefused));
    let often = Automatic { every_ms: 0, ..rule() };
    assert_eq!(set(&mut authority, of_key(), automatic(often)), Err(Reason::Malformed));
    let missing = RuleFor::Key(name("other"));
    assert_eq!(set(&mut authority, missing, automatic(rule())), Err(Reason::Forbidden));
    assert_eq!(shown(&mut authority).rule, None);
}

#[test]
fn what_is_due_begins_a_rollout_that_nobody_asked_for() {
    let mut authority = with_key();
    set(&mut authority, of_key(), automatic(rule())).unwrap();
    let moving = begin(&mut authority, days(90)).unwrap();
    let (rollout, key) = authority.rollout_of(&moving).unwrap();
    assert_eq!((rollout.by, rollout.cause), (None, Cause::Cryptoperiod));
    assert_eq!((rollout.from, rollout.to, key.versions.len()), (1, 2, 2));
    assert_eq!(rollout.plan, rule().plan);
    assert!(due(&authority, days(1_000)).is_empty());
    assert_eq!(shown(&mut authority).held, Some(Held::UnderWay));
}

#[test]
fn a_version_stands_by_and_comes_in_without_another_being_made() {
    let mut authority = with_key();
    let stands_by = Automatic { stands_by: true, ..rule() };
    set(&mut authority, of_key(), automatic(stands_by)).unwrap();
    let found = due(&authority, days(0)).pop().unwrap();
    assert_eq!((found.due, found.makes), (Due::Standby, Some(Suite::Ed25519)));
    assert_eq!(begin(&mut authority, days(0)), None);
    let key = authority.key_named(TENANT, &name("k")).unwrap();
    assert!(key.version(2).unwrap().published.is_some());
    assert_eq!((key.scheduled, key.version(2).unwrap().state), (1, KeyState::PreActivation));
    assert_eq!(shown(&mut authority).standby, Some(2));
    assert!(due(&authority, days(1)).is_empty());
    let found = due(&authority, days(90)).pop().unwrap();
    assert_eq!((found.due, found.makes), (Due::Rollout(Cause::Cryptoperiod), None));
    let moving = begin(&mut authority, days(90)).unwrap();
    let (rollout, key) = authority.rollout_of(&moving).unwrap();
    assert_eq!((rollout.to, key.versions.len()), (2, 2));
}

#[test]
fn what_is_not_due_any_more_or_misses_its_version_comes_to_nothing() {
    let mut authority = with_key();
    set(&mut authority, of_key(), automatic(rule())).unwrap();
    let found = due(&authority, days(90)).pop().unwrap();
    let (uses, of_standby) = (UseCounts::new(), DueRotation { makes: None, ..found });
    let decide = |authority: &Authority, due: &DueRotation| {
        authority.decide_due(due, (&uses, 0), fresh(), days(90)).unwrap().is_some()
    };
    assert!(decide(&authority, &found) && !decide(&authority, &of_standby));
    set(&mut authority, of_key(), Rule::Never).unwrap();
    assert!(!decide(&authority, &found));
}

#[test]
fn several_are_decided_at_once_each_under_an_epoch_of_its_own() {
    let mut authority = with_key();
    set(&mut authority, of_key(), automatic(rule())).unwrap();
    let found = due(&authority, days(90)).pop().unwrap();
    let uses = UseCounts::new();
    let before = authority.tenant(TENANT).unwrap().epoch;
    let decided = authority.decide_due(&found, (&uses, 3), fresh(), days(90)).unwrap().unwrap();
    let Row::Tenant(row) = &decided.rows[0] else { panic!() };
    assert_eq!(row.epoch.number, before.number + 4);
    let Row::Key(key) = &decided.rows[1] else { panic!() };
    assert_eq!(key.authority_epoch, row.epoch);
    assert_eq!(key.version(2).unwrap().published.unwrap().epoch, row.epoch);
}

#[test]
fn after_a_rollout_that_went_back_a_key_is_left_alone_for_a_day() {
    let mut authority = with_key();
    set(&mut authority, of_key(), automatic(rule())).unwrap();
    let moving = begin(&mut authority, days(90)).unwrap();
    let order = (moving.rollout, Order::RollBack);
    let by = principal(Role::Operator);
    let decided = authority.decide_order(&by, order, &Sight::NOTHING, days(91)).unwrap();
    for row in decided.rows {
        authority.apply(row).unwrap();
    }
    let ended = authority.rollout_of(&moving).unwrap().0.ended;
    assert_eq!(ended, Some(days(91).served));
    let later = |ms: u64| {
        let served = Served::from_ms(days(91).served.as_ms() + millis(RETRY_AFTER) + ms);
        Reading { served, ..now() }
    };
    let before = Reading { served: Served::from_ms(later(0).served.as_ms() - 1), ..now() };
    assert!(due(&authority, before).is_empty());
    assert_eq!(due(&authority, later(0)).len(), 1);
    // The version that it went back from is no standby, and stays given up.
    assert_eq!(due(&authority, later(0))[0].makes, Some(Suite::Ed25519));
}

#[test]
fn many_that_stand_paused_keep_more_from_beginning() {
    let mut authority = with_key();
    set(&mut authority, RuleFor::Usage(Usage::Sign), automatic(rule())).unwrap();
    let found = due(&authority, days(90)).pop().unwrap();
    for number in 0..AUTOMATIC_HALTED_MAX {
        let begun = authority.clone();
        let mut probe = begun;
        let moving = begin(&mut probe, days(90)).unwrap();
        let (rollout, key) = probe.rollout_of(&moving).unwrap();
        let number = u8::try_from(number).unwrap();
        let id = KeyId::from_bytes([100 + number; 16]);
        let mut paused = rollout.clone();
        (paused.key, paused.id) = (id, RolloutId::from_bytes([100 + number; 16]));
        paused.status = Status::Paused(Halt::Trigger);
        let mut moved = key.clone();
        (moved.id, moved.name) = (id, name(&format!("other-{number}")));
        moved.moving.as_mut().unwrap().rollout = paused.id;
        assert_eq!(due(&authority, days(90)).len(), 1, "{number}");
        authority.apply(Row::Key(moved)).unwrap();
        authority.apply(Row::Rollout(Box::new(paused))).unwrap();
    }
    assert!(due(&authority, days(90)).is_empty());
    assert_eq!(shown(&mut authority).held, Some(Held::TooManyHalted));
    // Nor does what was found before that.
    let uses = UseCounts::new();
    assert!(authority.decide_due(&found, (&uses, 0), fresh(), days(90)).unwrap().is_none());
}

#[test]
fn what_is_decided_before_it_in_one_transaction_takes_room_as_well() {
    let mut authority = with_key();
    set(&mut authority, of_key(), automatic(rule())).unwrap();
    let due = due(&authority, days(90)).pop().unwrap();
    let begins = |ahead| {
        let uses = UseCounts::new();
        authority.decide_due(&due, (&uses, ahead), fresh(), days(90)).unwrap().is_some()
    };
    assert!(begins(0) && begins(AUTOMATIC_UNDER_WAY_MAX - 1));
    assert!(!begins(AUTOMATIC_UNDER_WAY_MAX));
}

#[test]
fn a_key_whose_purpose_refuses_the_algorithm_of_its_usages_rule_is_left_as_it_is() {
    let mut authority = genesis();
    let mut new = new_key("k");
    new.purpose = "sign.sshsig:git".parse().unwrap();
    operator(&mut authority, &Command::CreateKey(new)).unwrap();
    let rule = Automatic { suite: Some(Suite::MlDsa65), ..rule() };
    set(&mut authority, RuleFor::Usage(Usage::Sign), automatic(rule.clone())).unwrap();
    assert_eq!(shown(&mut authority).held, Some(Held::AlgorithmRefused));
    assert!(due(&authority, days(1_000)).is_empty());
    let of_key = set(&mut authority, of_key(), automatic(rule));
    assert_eq!(of_key, Err(Reason::PurposeRefused));
}

#[test]
fn uses_are_asked_for_where_a_rule_counts_them() {
    let mut authority = with_key();
    set(&mut authority, of_key(), automatic(rule())).unwrap();
    let look = |authority: &Authority, uses: &UseCounts| {
        authority.due_rotations((TENANT, None), 100, uses, Served::default())
    };
    assert!(look(&authority, &UseCounts::new()).counted.is_empty());
    let counted = Automatic { uses: Some(10), ..rule() };
    set(&mut authority, of_key(), automatic(counted)).unwrap();
    let found = look(&authority, &UseCounts::new());
    let [version] = found.counted[..] else { panic!("{found:?}") };
    assert!(found.due.is_empty() && look(&authority, &[(version, 9)].into()).due.is_empty());
    let worn = look(&authority, &[(version, 10)].into()).due.pop().unwrap();
    assert_eq!(worn.due, Due::Rollout(Cause::UseCount));
}

#[test]
fn a_look_goes_on_behind_the_last_key_until_there_are_no_more() {
    let mut authority = with_key();
    set(&mut authority, of_key(), automatic(rule())).unwrap();
    let look = |after: Option<&Name>, most| {
        authority.due_rotations((TENANT, after), most, &UseCounts::new(), days(90).served)
    };
    assert_eq!((look(None, 1).last, look(None, 2).last), (Some(name("k")), None));
    assert!(look(Some(&name("k")), 1).due.is_empty());
}
