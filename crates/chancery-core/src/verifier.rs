//! Registered verifiers: whose word on bundles counts, and what they say.
//!
//! A verifier is a principal of the role `verifier`, registered by an operator for some keys or for all of a tenant. It
//! says which bundle it uses and what came of its verifying. Its counts are of everything since it was started, so that
//! a report that was lost is made good by the next one.
//!
//! **Invariant:** what a verifier has not said, nobody knows: it acknowledged nothing.

use minicbor::{Decode, Encode};

use crate::epoch::Epoch;
use crate::id::{KeyId, PrincipalId, TenantId, VerifierId};
use crate::limits::REPORT_COUNTS_MAX;
use crate::name::Name;

/// A registered verifier.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VerifierRow {
    /// In which tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// The principal that speaks for it.
    #[n(1)]
    pub principal: PrincipalId,
    /// The keys that it verifies for, in the order of their ids; all of the tenant, if there are none.
    #[n(2)]
    pub keys: Vec<KeyId>,
    /// Whether it is registered: one that was removed keeps its row.
    #[n(3)]
    pub standing: Standing,
}

/// Whether a verifier counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// It does.
    #[n(0)]
    Registered,
    /// It did.
    #[n(1)]
    Removed,
}

impl VerifierRow {
    /// What rollouts call it: the bytes of its principal.
    #[must_use]
    pub fn id(&self) -> VerifierId {
        VerifierId::from_bytes(*self.principal.as_bytes())
    }

    /// Whether it counts for a key.
    #[must_use]
    pub fn is_of(&self, key: KeyId) -> bool {
        self.standing == Standing::Registered
            && (self.keys.is_empty() || self.keys.binary_search(&key).is_ok())
    }
}

/// Who is to be registered, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct NewVerifier {
    /// The principal that speaks for it, of the role `verifier`.
    #[n(0)]
    pub principal: PrincipalId,
    /// The keys; all of the tenant, if none is named.
    #[n(1)]
    pub keys: Vec<Name>,
}

/// What a verifier says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Report {
    /// The number of the bundle that it uses.
    #[n(0)]
    pub bundle: Epoch,
    /// The tenant's epoch which that shows.
    #[n(1)]
    pub as_of: Epoch,
    /// Its digest.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// Grows with each report, across its starts too.
    #[n(3)]
    pub sequence: u64,
    /// When it was started, in milliseconds since 1970 by its own clock: counts begin there.
    #[n(4)]
    pub since_ms: u64,
    /// What came of its verifying, in the order of keys and versions.
    #[n(5)]
    pub counts: Vec<VersionCounts>,
}

/// What came of verifying signatures that name a version, since a verifier's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VersionCounts {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The version.
    #[n(1)]
    pub version: u32,
    /// How many were accepted.
    #[n(2)]
    pub verified: u64,
    /// How many were refused.
    #[n(3)]
    pub failed: u64,
    /// How many could not be judged: the verifier's bundle does not have the version.
    #[n(4)]
    pub unknown: u64,
}

impl Report {
    /// Whether it counts no more versions than it may, and each once.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let place = |counts: &VersionCounts| (counts.key, counts.version);
        self.counts.len() <= REPORT_COUNTS_MAX
            && self.counts.is_sorted_by(|one, next| place(one) < place(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(key: u8, version: u32) -> VersionCounts {
        let key = KeyId::from_bytes([key; 16]);
        VersionCounts { key, version, verified: 1, failed: 0, unknown: 0 }
    }

    #[test]
    fn a_version_is_counted_once_and_in_its_order() {
        let report = |counts| Report {
            bundle: Epoch::default(),
            as_of: Epoch::default(),
            digest: [0; 32],
            sequence: 1,
            since_ms: 1,
            counts,
        };
        assert!(report(vec![counts(1, 1), counts(1, 2), counts(2, 1)]).is_well_formed());
        assert!(!report(vec![counts(1, 1), counts(1, 1)]).is_well_formed());
        assert!(!report(vec![counts(2, 1), counts(1, 1)]).is_well_formed());
        let many = |n: usize| (0..n).map(|n| counts(1, u32::try_from(n).unwrap())).collect();
        assert!(report(many(REPORT_COUNTS_MAX)).is_well_formed());
        assert!(!report(many(REPORT_COUNTS_MAX + 1)).is_well_formed());
    }

    #[test]
    fn one_without_keys_is_of_all_and_a_removed_one_of_none() {
        let key = |n| KeyId::from_bytes([n; 16]);
        let (tenant, principal) = (TenantId::from_bytes([1; 16]), PrincipalId::from_bytes([2; 16]));
        let row = |keys| VerifierRow { tenant, principal, keys, standing: Standing::Registered };
        assert!(row(Vec::new()).is_of(key(1)));
        assert!(row(vec![key(1), key(3)]).is_of(key(3)));
        assert!(!row(vec![key(1), key(3)]).is_of(key(2)));
        let removed = VerifierRow { standing: Standing::Removed, ..row(Vec::new()) };
        assert!(!removed.is_of(key(1)));
    }
}
