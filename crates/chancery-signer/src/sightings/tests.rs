//! What is counted and seen of a key, and what verifiers' reports come to.

use chancery_core::id::TenantId;
use chancery_core::rollout::{
    Builtin, Cause, Comparator, Moment, Outcome, Response, Rollout, StageName, Status, Tally,
};

use super::*;

/// Reports of one verifier: when, and how many of the new version did not verify.
struct Said(Vec<(u64, u64)>, Served);

impl Reports for Said {
    fn within(&self, window_ms: u64) -> Vec<(VerifierId, Pair)> {
        let since = self.1.as_ms().saturating_sub(window_ms);
        let mut pair = Pair::default();
        for (_, rejected) in self.0.iter().filter(|(at, _)| *at >= since) {
            pair.new.rejected = pair.new.rejected.saturating_add(*rejected);
            pair.new.verified = pair.new.verified.saturating_add(1);
        }
        vec![(VerifierId::from_bytes([1; 16]), pair)]
    }

    fn old_seen(&self) -> Option<Served> {
        None
    }
}

fn rejected(spans: &[(Served, Pair)]) -> Vec<(u64, u64)> {
    spans.iter().map(|(at, pair)| (at.as_ms(), pair.new.rejected)).collect()
}

#[test]
fn the_course_of_reports_has_each_of_them_once_and_in_its_part() {
    let now = Served::from_ms(10_000);
    // Parts of 100 ms: the last, the one before it, the first, and one that is too old.
    let said = Said(vec![(8_399, 1), (8_400, 2), (9_850, 4), (9_950, 8), (10_000, 16)], now);
    let spans = course(&said, 1_600, now);
    assert_eq!(rejected(&spans), [(8_400, 2), (9_800, 4), (9_900, 24)]);
    let sum: u64 = spans.iter().map(|(_, pair)| pair.new.rejected).sum();
    assert_eq!(sum, reported::sum(&said.within(1_600)).new.rejected);
    assert!(course(&Said(Vec::new(), now), 1_600, now).is_empty());
}

#[test]
fn a_window_shorter_than_its_parts_has_one_point_for_each_millisecond() {
    let now = Served::from_ms(100);
    let spans = course(&Said(vec![(95, 1), (99, 2)], now), 5, now);
    assert_eq!(rejected(&spans).iter().map(|(_, count)| count).sum::<u64>(), 3);
}

#[test]
fn numbers_as_large_as_numbers_are_come_to_no_overflow() {
    let now = Served::from_ms(10_000);
    let spans = course(&Said(vec![(9_000, u64::MAX), (9_990, u64::MAX)], now), 1_600, now);
    // The sum was cut off, so that nothing is left for the earlier part.
    assert_eq!(rejected(&spans).last(), Some(&(9_900, u64::MAX)));
}

fn trigger(metric: Metric) -> Trigger {
    Trigger {
        metric,
        comparator: Comparator::Above,
        threshold: 5_000,
        window_ms: 60_000,
        short_window_ms: None,
        stale_ms: 1_000,
        response: Response::RollBack,
        reporters: 2,
    }
}

fn verifier(number: u8) -> VerifierId {
    VerifierId::from_bytes([number; 16])
}

/// What verifiers report of the new version: how many were rejected of how many.
fn reports(counts: &[(u64, u64)]) -> Vec<(VerifierId, Pair)> {
    let pair = |(rejected, of): (u64, u64)| {
        let new = Tally { rejected, verified: of - rejected, ..Tally::default() };
        Pair { new, ..Pair::default() }
    };
    (1..).zip(counts).map(|(number, counts)| (verifier(number), pair(*counts))).collect()
}

fn check(counts: &[(u64, u64)], expected: Outcome, by: &[u8]) {
    let trigger = trigger(Metric::VerifyFailureRate);
    let (pair, found) = reported::decisive(&trigger, &reports(counts));
    assert_eq!(judge(&trigger, &pair, None).outcome, expected, "{counts:?}");
    let by: Vec<_> = by.iter().map(|number| verifier(*number)).collect();
    assert_eq!(found, by, "{counts:?}");
}

#[test]
fn no_verifier_alone_makes_a_trigger_fire_or_keeps_it_from_firing() {
    check(&[], Outcome::NoData, &[]);
    check(&[(0, 10_000), (0, 10_000)], Outcome::Pass, &[]);
    // Both see it.
    check(&[(200, 10_000), (200, 10_000)], Outcome::Fail, &[1, 2]);
    // One says so, however often: there are not two of it.
    check(&[(u64::MAX / 4, u64::MAX / 2), (0, 10_000), (0, 10_000)], Outcome::Fail, &[1]);
    // A stray one at another does not make it two.
    check(&[(u64::MAX / 4, u64::MAX / 2), (1, 10_000), (0, 10_000)], Outcome::Fail, &[1]);
    // One that takes everything does not outvote two that see it.
    check(&[(0, u64::MAX / 2), (200, 10_000), (200, 10_000)], Outcome::Fail, &[2, 3]);
    // Nor many of which each has seen too little to tell.
    let few = [(1, 100); 20];
    let by: Vec<u8> = (1..=20).collect();
    check(&few, Outcome::Fail, &by);
    let with_one = [&few[..], &[(0, u64::MAX / 2)]].concat();
    check(&with_one, Outcome::Fail, &by);
}

fn rollout(entered: u64) -> Rollout {
    let plan = Builtin::Standard.plan().unwrap();
    let epoch = Epoch { generation: 0, number: 5 };
    let stage = plan.stages.iter().position(|stage| stage.name == StageName::Soak).unwrap();
    Rollout {
        id: RolloutId::from_bytes([9; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        key: KeyId::from_bytes([7; 16]),
        from: 1,
        to: 2,
        cause: Cause::Requested,
        by: None,
        plan,
        plan_digest: [0; 32],
        stage: u8::try_from(stage).unwrap(),
        entered: Moment { served: Served::from_ms(entered), epoch },
        counted: Served::from_ms(entered),
        status: Status::Running,
        acknowledged: None,
        alone: None,
        released: None,
        overrides: Vec::new(),
        epoch,
        ended: None,
        alone_epoch: None,
    }
}

/// Verifiers that last saw the old version then.
struct SawOld(Option<Served>);

impl Reports for SawOld {
    fn within(&self, _: u64) -> Vec<(VerifierId, Pair)> {
        Vec::new()
    }

    fn old_seen(&self) -> Option<Served> {
        self.0
    }
}

/// When the old version was last seen, by looks at these times with what verifiers saw until then.
fn old_seen(looks: &[(u64, Option<u64>)]) -> u64 {
    let (sightings, rollout) = (Sightings::default(), rollout(0));
    let looked = looks.iter().map(|(now, saw)| {
        let saw = SawOld(saw.map(Served::from_ms));
        sightings.look(&rollout, (Vec::new(), &saw), (Served::from_ms(*now), Detail::Verdicts))
    });
    looked.last().unwrap().old_seen.unwrap().as_ms()
}

#[test]
fn what_verifiers_saw_of_the_old_version_is_remembered_after_their_reports_are_gone() {
    assert_eq!(old_seen(&[(0, None), (50_000, None), (100_000, None)]), 0);
    assert_eq!(old_seen(&[(0, None), (50_000, Some(49_000)), (100_000, None)]), 49_000);
    assert_eq!(old_seen(&[(0, None), (50_000, Some(49_000)), (60_000, Some(2))]), 49_000);
}

#[test]
fn time_in_which_nobody_looked_is_not_quiet() {
    assert_eq!(old_seen(&[(0, None), (600_000, None), (1_200_000, None)]), 0);
    assert_eq!(old_seen(&[(0, None), (600_001, None), (1_200_000, None)]), 600_001);
}

fn key() -> Key {
    use chancery_core::{name::Scope, schedule::Moving as Moved, suite::Suite};
    let part = || "k".parse().unwrap();
    Key {
        id: KeyId::from_bytes([7; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        name: part(),
        scope: Scope { environment: part(), region: part(), service: part() },
        purpose: "sign.bound:a".parse().unwrap(),
        suite: Suite::Ed25519,
        scheduled: 1,
        authority_epoch: Epoch { generation: 0, number: 5 },
        min_issue_epoch: Epoch::default(),
        versions: Vec::new(),
        witnessed: false,
        moving: Some(Box::new(Moved { rollout: RolloutId::from_bytes([9; 16]), share: None })),
    }
}

#[test]
fn what_is_refused_for_what_was_asked_is_no_sample_and_what_is_seen_makes_it_fresh() {
    let (sightings, rollout, key) = (Sightings::default(), rollout(0), key());
    let look = |now| {
        let now = (Served::from_ms(now), Detail::Verdicts);
        sightings.look(&rollout, (Vec::new(), &SawOld(None)), now)
    };
    let count = |failed| {
        let (operation, version, took) = (Operation::Sign, 2, Duration::from_millis(1));
        sightings.count(&key, &Done { operation, version, took, failed, now: Served::from_ms(5) });
    };
    // In its stage for the first time, it is looked at again at once.
    assert_eq!((look(1).samples, sightings.fresh().len()), (0, 1));
    assert_eq!((look(2).samples, sightings.fresh().len()), (0, 0));
    count(Some(Reason::PayloadRefused));
    assert_eq!(sightings.fresh().len(), 1);
    assert_eq!((look(6).samples, sightings.fresh().len()), (0, 0));
    count(Some(Reason::Unavailable));
    count(None);
    let looked = look(7);
    assert_eq!(looked.samples, 1);
    let burn = looked.measured().into_iter().find(|it| it.metric == Metric::BudgetBurn).unwrap();
    assert_eq!(burn.samples, 2);
}
