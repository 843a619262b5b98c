//! Which rules can be kept, and when they make something due.

use super::*;
use crate::epoch::Epoch;
use crate::key::Published;
use crate::key::tests::{next_version, sample};
use crate::rollout::Builtin;
use crate::state::KeyEvent;

const DAY_MS: u64 = 86_400_000;

pub(crate) fn rule() -> Automatic {
    let mut plan = Builtin::Standard.plan().unwrap();
    plan.bounds.cryptoperiod_ms = 365 * DAY_MS;
    Automatic {
        every_ms: 90 * DAY_MS,
        spread_ms: 10 * DAY_MS,
        uses: None,
        suite: None,
        replaces_imported: false,
        stands_by: false,
        plan,
    }
}

fn at(days: u64) -> Served {
    Served::from_ms(days * DAY_MS)
}

fn due(rule: &Automatic, key: &Key, now: Served) -> Option<Due> {
    rule.due(key, &Known::default(), now)
}

#[test]
fn rules_that_cannot_be_kept_are_refused() {
    let refused = |change: &dyn Fn(&mut Automatic)| {
        let mut rule = rule();
        change(&mut rule);
        rule.check()
    };
    assert_eq!(rule().check(), Ok(()));
    assert_eq!(refused(&|it| it.every_ms = 999), Err(RuleError::Every));
    assert_eq!(refused(&|it| it.every_ms = u64::MAX), Err(RuleError::Every));
    assert_eq!(refused(&|it| it.uses = Some(0)), Err(RuleError::Uses));
    let plan = refused(&|it| it.plan.stages.clear());
    assert!(matches!(plan, Err(RuleError::Plan(_))));
    let often = refused(&|it| (it.every_ms, it.spread_ms) = (it.plan.shortest_ms(), 0));
    assert!(matches!(often, Err(RuleError::TooOften { .. })));
    let spread = refused(&|it| it.spread_ms = it.every_ms - it.plan.shortest_ms());
    assert!(matches!(spread, Err(RuleError::TooOften { .. })));
    let seldom = refused(&|it| it.every_ms = it.plan.bounds.cryptoperiod_ms);
    assert!(matches!(seldom, Err(RuleError::TooSeldom { .. })));
}

#[test]
fn a_rollout_is_due_within_the_spread_before_the_time_is_over_and_not_before() {
    let (rule, key) = (rule(), sample("k"));
    let moment = rule.due_at(&key, &key.versions[0]);
    assert!((at(80)..=at(90)).contains(&moment));
    assert_eq!(due(&rule, &key, Served::from_ms(moment.as_ms() - 1)), None);
    assert_eq!(due(&rule, &key, moment), Some(Due::Rollout(Cause::Cryptoperiod)));
}

#[test]
fn moments_of_many_keys_lie_evenly_in_the_spread() {
    const KEYS: u64 = 10_000;
    const PARTS: usize = 10;
    let (rule, mut counts) = (rule(), [0_u32; PARTS]);
    for number in 0..KEYS {
        let mut key = sample("k");
        // As ids are made: a time that is the same, and ten bytes of which the last are random.
        let random = mixed(number.wrapping_mul(7)).to_be_bytes();
        let mut id = [1; 16];
        id[8..].copy_from_slice(&random);
        key.id = KeyId::from_bytes(id);
        let moment = rule.due_at(&key, &key.versions[0]).as_ms();
        let part = (moment - 80 * DAY_MS) / DAY_MS;
        counts[usize::try_from(part).unwrap()] += 1;
    }
    // A thousand each, and a deviation of 30: 4.5 of them are passed by one in 150 000.
    assert!(counts.iter().all(|count| (865..=1_135).contains(count)), "{counts:?}");
}

#[test]
fn a_version_that_stood_by_is_as_old_as_its_protecting() {
    let (rule, mut key) = (rule(), sample("k"));
    key.add(next_version(&key)).unwrap();
    key.publish(2, Published { epoch: Epoch::default(), at: at(1) }).unwrap();
    assert_eq!(key.versions[1].since(), Some(at(1)));
    key.activate(2, Epoch::default(), at(85)).unwrap();
    key.scheduled = 2;
    assert_eq!(key.versions[1].since(), Some(at(85)));
    assert_eq!(due(&rule, &key, at(164)), None);
    assert_eq!(due(&rule, &key, at(175)), Some(Due::Rollout(Cause::Cryptoperiod)));
}

#[test]
fn uses_count_where_a_rule_counts_them_and_somebody_knows() {
    let (mut rule, key) = (rule(), sample("k"));
    let due = |rule: &Automatic, uses| rule.due(&key, &Known { uses, ..Known::default() }, at(1));
    assert_eq!(due(&rule, Some(u64::MAX)), None);
    rule.uses = Some(100);
    assert_eq!((due(&rule, None), due(&rule, Some(99))), (None, None));
    assert_eq!(due(&rule, Some(100)), Some(Due::Rollout(Cause::UseCount)));
}

#[test]
fn another_algorithm_and_an_import_are_found_each_in_its_turn() {
    let (mut rule, mut key) = (rule(), sample("k"));
    rule.suite = Some(Suite::MlDsa65);
    let turn = offset_ms(&key, &key.versions[0], rule.spread_ms);
    assert_eq!(due(&rule, &key, Served::from_ms(turn - 1)), None);
    assert_eq!(due(&rule, &key, Served::from_ms(turn)), Some(Due::Rollout(Cause::Migration)));
    rule.suite = None;
    key.versions[0].provenance = Provenance::Imported;
    assert_eq!(due(&rule, &key, Served::from_ms(turn)), None);
    rule.replaces_imported = true;
    assert_eq!(due(&rule, &key, Served::from_ms(turn)), Some(Due::Rollout(Cause::Finding)));
}

#[test]
fn a_version_that_stands_by_is_made_once_and_is_what_comes_in() {
    let (mut rule, mut key) = (rule(), sample("k"));
    assert_eq!(due(&rule, &key, at(0)), None);
    rule.stands_by = true;
    assert_eq!(due(&rule, &key, at(0)), Some(Due::Standby));
    key.add(next_version(&key)).unwrap();
    assert_eq!(due(&rule, &key, at(0)), Some(Due::Standby));
    key.publish(2, Published { epoch: Epoch::default(), at: at(0) }).unwrap();
    assert_eq!((due(&rule, &key, at(0)), rule.standby(&key).unwrap().number), (None, 2));
    let mut given_up = key.clone();
    given_up.give_up(2, Epoch::default()).unwrap();
    assert_eq!(due(&rule, &given_up, at(0)), Some(Due::Standby));
    key.apply(2, KeyEvent::ReportCompromise).unwrap();
    assert_eq!(due(&rule, &key, at(0)), Some(Due::Standby));
}

#[test]
fn after_three_versions_that_were_given_up_a_person_brings_the_next_one_in() {
    let (rule, mut key) = (rule(), sample("k"));
    for number in 2..=4 {
        assert_eq!(rule.held(&key), None, "{number}");
        key.add(next_version(&key)).unwrap();
        key.give_up(number, Epoch::default()).unwrap();
    }
    assert_eq!(rule.held(&key), Some(Held::GivenUp));
    let mut mended = key.clone();
    mended.scheduled = 2;
    assert_eq!(rule.held(&mended), None);
    key.apply(3, KeyEvent::Destroy).unwrap();
    assert_eq!(rule.held(&key), None);
}

#[test]
fn a_rule_brings_in_no_algorithm_that_the_keys_purpose_does_not_admit() {
    let mut key = sample("k");
    let rule = Automatic { suite: Some(Suite::MlDsa65), ..rule() };
    assert_eq!(rule.held(&key), None);
    key.purpose = "sign.sshsig:git".parse().unwrap();
    assert_eq!(rule.held(&key), Some(Held::AlgorithmRefused));
    assert_eq!(Automatic { suite: None, ..rule }.held(&key), None);
}

#[test]
fn what_does_not_protect_is_left_to_people() {
    let (mut rule, mut key) = (rule(), sample("k"));
    rule.stands_by = true;
    key.apply(1, KeyEvent::Suspend).unwrap();
    assert_eq!(due(&rule, &key, at(1_000)), None);
}
