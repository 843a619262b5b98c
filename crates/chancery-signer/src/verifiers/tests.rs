//! What is taken of reports, what they add, and what is kept of them.

use chancery_core::epoch::Epoch;

use super::*;

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const WHO: (TenantId, PrincipalId) = (TENANT, PrincipalId::from_bytes([2; 16]));
const KEY: KeyId = KeyId::from_bytes([3; 16]);

fn epoch(number: u64) -> Epoch {
    Epoch { generation: 0, number }
}

fn at(ms: u64) -> Served {
    Served::from_ms(ms)
}

/// Three bundles were issued.
fn row() -> BundleRow {
    let issued = |number: u8| Issued {
        number: epoch(number.into()),
        as_of: epoch(u64::from(number) + 10),
        digest: [number; 32],
    };
    BundleRow { tenant: TENANT, issued: [1, 2, 3].map(issued).to_vec(), made_ms: 0, signed: vec![] }
}

fn counts(verified: u64, failed: u64) -> VersionCounts {
    VersionCounts { key: KEY, version: 1, verified, failed, unknown: 0 }
}

fn said(bundle: u8, sequence: u64, counts: Vec<VersionCounts>) -> Report {
    Report {
        bundle: epoch(bundle.into()),
        as_of: epoch(u64::from(bundle) + 10),
        digest: [bundle; 32],
        sequence,
        since_ms: 7,
        counts,
    }
}

fn take(verifiers: &Verifiers, now: u64, report: &Report) -> Result<(), Reason> {
    let taken = verifiers.take(Some(&row()), (WHO, at(now)), report);
    taken.map_err(|refusal| refusal.reason)
}

fn added(verifiers: &Verifiers) -> Vec<(u64, u64, u64)> {
    let heard = lock(&verifiers.heard);
    let added = heard[&WHO].added.iter();
    added.map(|it| (it.at.as_ms(), it.counts.verified, it.counts.failed)).collect()
}

#[test]
fn a_report_that_is_repeated_or_goes_back_is_refused() {
    let verifiers = Verifiers::default();
    assert_eq!(take(&verifiers, 0, &said(2, 5, vec![])), Ok(()));
    for stale in [said(2, 5, vec![]), said(2, 4, vec![]), said(1, 6, vec![])] {
        assert_eq!(take(&verifiers, 0, &stale), Err(Reason::ReportStale));
    }
    assert_eq!(take(&verifiers, 0, &said(2, 6, vec![])), Ok(()));
    assert_eq!(take(&verifiers, 0, &said(3, 7, vec![])), Ok(()));
    let counted = verifiers.exposition();
    assert_eq!(counted.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [3, 3, 0, 0]);
}

#[test]
fn a_bundle_that_was_not_issued_so_acknowledges_nothing() {
    let verifiers = Verifiers::default();
    let other_digest = Report { digest: [9; 32], ..said(2, 5, vec![]) };
    let other_epoch = Report { as_of: epoch(99), ..said(2, 5, vec![]) };
    for wrong in [said(4, 5, vec![]), other_digest, other_epoch] {
        assert_eq!(take(&verifiers, 0, &wrong), Err(Reason::BundleUnknown));
    }
    assert!(lock(&verifiers.heard).is_empty());
    let none = verifiers.take(None, (WHO, at(0)), &said(1, 1, vec![]));
    assert_eq!(none.map_err(|refusal| refusal.reason), Err(Reason::BundleUnknown));
    let counted = verifiers.exposition();
    assert_eq!(counted.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [0, 0, 2, 2]);
}

#[test]
fn what_is_heard_first_adds_nothing_and_then_the_difference_does() {
    let verifiers = Verifiers::default();
    take(&verifiers, 0, &said(1, 1, vec![counts(1_000, 900)])).unwrap();
    assert_eq!(added(&verifiers), []);
    take(&verifiers, 1, &said(1, 2, vec![counts(1_003, 901)])).unwrap();
    assert_eq!(added(&verifiers), [(1, 3, 1)]);
    // Counts that fell are none.
    take(&verifiers, 20_000, &said(1, 3, vec![counts(2, 901)])).unwrap();
    assert_eq!(added(&verifiers), [(1, 3, 1)]);
    // It was started anew, and counts from nothing.
    let anew = Report { since_ms: 8, ..said(1, 4, vec![counts(4, 0)]) };
    take(&verifiers, 20_000, &anew).unwrap();
    assert_eq!(added(&verifiers), [(1, 3, 1), (20_000, 4, 0)]);
}

#[test]
fn what_comes_close_together_is_added_up_and_forgotten_after_an_hour() {
    let verifiers = Verifiers::default();
    for n in 0..4 {
        take(&verifiers, n * 250, &said(1, n + 1, vec![counts(n, 0)])).unwrap();
    }
    assert_eq!(added(&verifiers), [(250, 3, 0)]);
    take(&verifiers, 250 + BUCKET_MS, &said(1, 10, vec![counts(4, 0)])).unwrap();
    assert_eq!(added(&verifiers), [(250, 3, 0), (250 + BUCKET_MS, 1, 0)]);
    take(&verifiers, 251 + KEPT_MS, &said(1, 11, vec![counts(4, 0)])).unwrap();
    assert_eq!(added(&verifiers), [(250 + BUCKET_MS, 1, 0)]);
}

#[test]
fn no_more_is_kept_of_a_verifier_than_may_be() {
    let verifiers = Verifiers::default();
    let of = |version, verified| VersionCounts { version, ..counts(verified, 0) };
    let mut sequence = 0;
    for round in 0..2 {
        for first in (0..2 * u32::try_from(VERSIONS_MAX).unwrap()).step_by(256) {
            sequence += 1;
            let listed = (first..first + 256).map(|version| of(version, round + 1)).collect();
            take(&verifiers, sequence, &said(1, sequence, listed)).unwrap();
        }
    }
    let heard = lock(&verifiers.heard);
    assert_eq!(heard[&WHO].totals.len(), VERSIONS_MAX);
    assert_eq!(heard[&WHO].added.len(), BUCKETS_MAX);
}

/// A tenant with this verifier, registered for one key, and another that says nothing.
fn authority() -> Authority {
    use chancery_core::authority::{Row, TenantRow};
    use chancery_core::verifier::Standing;
    let mut authority = Authority::default();
    let tenant = TenantRow {
        id: TENANT,
        name: "default".parse().unwrap(),
        epoch: epoch(1),
        min_issue_epoch: epoch(0),
        approvals: 0,
    };
    authority.apply(Row::Tenant(tenant)).unwrap();
    for (principal, keys) in [(WHO.1, vec![KEY]), (PrincipalId::from_bytes([9; 16]), vec![])] {
        let row = VerifierRow { tenant: TENANT, principal, keys, standing: Standing::Registered };
        authority.apply(Row::Verifier(row)).unwrap();
    }
    authority
}

#[test]
fn who_has_said_nothing_has_acknowledged_nothing() {
    let (verifiers, authority) = (Verifiers::default(), authority());
    let acknowledged = |key| {
        let all = verifiers.acknowledged(&authority, (TENANT, key));
        all.iter().map(|verifier| verifier.acknowledged).collect::<Vec<_>>()
    };
    assert_eq!(acknowledged(KEY), [None, None]);
    take(&verifiers, 0, &said(2, 1, vec![])).unwrap();
    assert_eq!(acknowledged(KEY), [Some(epoch(12)), None]);
    assert_eq!(acknowledged(KeyId::from_bytes([8; 16])), [None]);
    // What is not a later one is not one, and the latest stands.
    take(&verifiers, 0, &said(1, 2, vec![])).unwrap_err();
    assert_eq!(acknowledged(KEY), [Some(epoch(12)), None]);
}

#[test]
fn reports_are_of_the_version_and_the_time_that_is_asked_about() {
    let (verifiers, authority) = (Verifiers::default(), authority());
    take(&verifiers, 0, &said(1, 1, vec![counts(0, 0)])).unwrap();
    take(&verifiers, 1_000, &said(1, 2, vec![counts(1, 0)])).unwrap();
    take(&verifiers, 50_000, &said(1, 3, vec![counts(1, 2)])).unwrap();
    let failed = |version, since| {
        let all = verifiers.reports(&authority, (TENANT, KEY, version), at(since));
        let sum = |it: &Reported| it.added.iter().map(|added| added.counts.failed).collect();
        all.iter().map(|it| (it.verifier, sum(it))).collect::<Vec<(_, Vec<u64>)>>()
    };
    let id = VerifierId::from_bytes(*WHO.1.as_bytes());
    assert_eq!(failed(1, 0), [(id, vec![0, 2])]);
    assert_eq!(failed(1, 50_000), [(id, vec![2])]);
    assert_eq!(failed(1, 50_001), []);
    assert_eq!(failed(2, 0), []);
}
