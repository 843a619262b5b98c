//! Who is registered, who reports, and that bundles go on.

use super::*;
use crate::bundle::{BundleRow, Issued};
use crate::limits::{REPORT_COUNTS_MAX, VERIFIER_KEYS_MAX, VERIFIERS_MAX};
use crate::verifier::{NewVerifier, Report, Standing, VerifierRow};

fn register(authority: &mut Authority, keys: Vec<Name>) -> Result<Answer, Reason> {
    let principal = principal(Role::Verifier).id;
    operator(authority, &Command::RegisterVerifier(NewVerifier { principal, keys }))
}

fn report(sequence: u64) -> Command {
    Command::Report(Report {
        bundle: Epoch::default(),
        as_of: Epoch::default(),
        digest: [0; 32],
        sequence,
        since_ms: 0,
        counts: Vec::new(),
    })
}

#[test]
fn only_a_registered_verifier_reports() {
    let mut authority = with_key();
    let asked = |authority: &mut Authority, role| command(authority, role, &report(1));
    assert_eq!(asked(&mut authority, Role::Verifier), Err(Reason::Forbidden));
    register(&mut authority, Vec::new()).unwrap();
    assert!(asked(&mut authority, Role::Verifier).is_ok());
    for role in [Role::Operator, Role::Developer, Role::Auditor, Role::Approver] {
        assert_eq!(asked(&mut authority, role), Err(Reason::Forbidden), "{role:?}");
    }
    let principal = principal(Role::Verifier).id;
    let remove = Command::RemoveVerifier { principal };
    operator(&mut authority, &remove).unwrap();
    assert_eq!(asked(&mut authority, Role::Verifier), Err(Reason::Forbidden));
    assert_eq!(operator(&mut authority, &remove), Err(Reason::Forbidden));
}

#[test]
fn a_verifier_is_a_principal_of_that_role_and_its_keys_are_there() {
    let mut authority = with_key();
    let named = |principal, key: &str| {
        Command::RegisterVerifier(NewVerifier { principal, keys: vec![name(key)] })
    };
    let (auditor, verifier) = (principal(Role::Auditor).id, principal(Role::Verifier).id);
    assert_eq!(operator(&mut authority, &named(auditor, "k")), Err(Reason::Forbidden));
    assert_eq!(operator(&mut authority, &named(verifier, "none")), Err(Reason::Forbidden));
    assert!(operator(&mut authority, &named(verifier, "k")).is_ok());
    let key = authority.key_named(TENANT, &name("k")).unwrap().id;
    assert!(authority.verifiers(TENANT).all(|row| row.is_of(key)));
    for role in [Role::Developer, Role::Auditor, Role::Approver, Role::Verifier] {
        let refused = command(&mut authority, role, &named(verifier, "k"));
        assert_eq!(refused, Err(Reason::Forbidden), "{role:?}");
    }
}

#[test]
fn as_many_verifiers_and_keys_as_may_be_and_no_more() {
    let mut authority = with_key();
    assert!(register(&mut authority, vec![name("k"); VERIFIER_KEYS_MAX]).is_ok());
    let too_many = vec![name("k"); VERIFIER_KEYS_MAX + 1];
    assert_eq!(register(&mut authority, too_many), Err(Reason::TooLarge));
    for n in 1..VERIFIERS_MAX {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let row = VerifierRow {
            tenant: TENANT,
            principal: PrincipalId::from_bytes(id),
            keys: Vec::new(),
            standing: Standing::Registered,
        };
        authority.apply(Row::Verifier(row)).unwrap();
    }
    assert_eq!(authority.verifiers(TENANT).count(), VERIFIERS_MAX);
    // One that is there already is registered anew.
    assert!(register(&mut authority, Vec::new()).is_ok());
    operator(&mut authority, &Command::RemoveVerifier { principal: principal(Role::Verifier).id })
        .unwrap();
    let row = VerifierRow {
        tenant: TENANT,
        principal: PrincipalId::from_bytes([8; 16]),
        keys: Vec::new(),
        standing: Standing::Registered,
    };
    authority.apply(Row::Verifier(row)).unwrap();
    assert_eq!(register(&mut authority, Vec::new()), Err(Reason::QuotaExhausted));
}

#[test]
fn a_report_that_counts_too_much_is_malformed() {
    let mut authority = with_key();
    register(&mut authority, Vec::new()).unwrap();
    let Command::Report(mut report) = report(1) else { unreachable!() };
    let key = authority.key_named(TENANT, &name("k")).unwrap().id;
    let counts = |version| crate::verifier::VersionCounts {
        key,
        version,
        verified: 0,
        failed: 0,
        unknown: 0,
    };
    report.counts = (0..=u32::try_from(REPORT_COUNTS_MAX).unwrap()).map(counts).collect();
    let asked = command(&mut authority, Role::Verifier, &Command::Report(report));
    assert_eq!(asked, Err(Reason::Malformed));
}

#[test]
fn a_bundle_that_goes_back_contradicts_the_state() {
    let mut authority = with_key();
    let issued = |number, digest| Issued {
        number: Epoch { generation: 0, number },
        as_of: Epoch::default(),
        digest: [digest; 32],
    };
    let row =
        |issued| Row::Bundle(BundleRow { tenant: TENANT, issued, made_ms: 1, signed: vec![1] });
    authority.apply(row(vec![issued(1, 1)])).unwrap();
    authority.apply(row(vec![issued(1, 1), issued(2, 2)])).unwrap();
    assert!(authority.apply(row(vec![issued(1, 1), issued(2, 3)])).is_err());
    assert!(authority.apply(row(vec![issued(1, 9), issued(2, 2), issued(3, 3)])).is_err());
    assert!(authority.apply(row(vec![issued(1, 1), issued(2, 2), issued(3, 3)])).is_ok());
}
