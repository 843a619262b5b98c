//! The census: where ciphertexts of a key lie, and how many of them each version encrypted.
//!
//! Chancery keeps no ciphertexts; their owners do. An owner declares an *inventory*, a place where they lie, with the
//! counts that a scan of their headers came to. The service adds what it sees by itself: how often each version was used.
//!
//! **Invariant:** an inventory counts as free of a version only while nothing was done with that version since its scan
//! began, and only if that was when the version protected nothing any more. Both are held by what never goes back, an epoch
//! and a count on record, and not by a time. What nobody has looked through is not empty.
//!
//! This module is pure, and believes what owners declare: who may declare is [`crate::authority`]'s to say, and that they
//! did is on record.

use minicbor::{Decode, Encode};

use crate::epoch::Epoch;
use crate::id::{KeyId, PrincipalId, TenantId};
use crate::limits::KEY_VERSIONS_MAX;
use crate::name::Name;

/// What a scan of an inventory found of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VersionCount {
    /// The version.
    #[n(0)]
    pub version: u32,
    /// How many ciphertexts name it in their headers.
    #[n(1)]
    pub ciphertexts: u64,
    /// How often the version was used until the scan began, as [`Command::ReadCensus`](crate::command::Command) said.
    #[n(2)]
    pub uses: u64,
}

/// What a scan of an inventory came to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Scan {
    /// The tenant's epoch when it began.
    #[n(0)]
    pub as_of: Epoch,
    /// By version, in the order of their numbers; every version that the key had when the scan began.
    #[n(1)]
    pub counts: Vec<VersionCount>,
    /// How many things there are that are no ciphertexts of the key.
    #[n(2)]
    pub others: u64,
}

impl Scan {
    /// Whether it counts each version once, in their order, and no more than a key may have.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.counts.len() <= KEY_VERSIONS_MAX
            && self.counts.is_sorted_by(|one, next| one.version < next.version)
    }
}

/// What is declared of an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Found {
    /// It was scanned.
    #[n(0)]
    Scanned(#[n(0)] Scan),
    /// It is no more: it does not count.
    #[n(1)]
    Withdrawn,
}

/// A declaration that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Declaration {
    /// The key.
    #[n(0)]
    pub key: Name,
    /// What people call the place.
    #[n(1)]
    pub inventory: Name,
    /// What was found there.
    #[n(2)]
    pub found: Found,
}

/// An inventory as it is stored: its latest declaration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Inventory {
    /// In which tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// The key.
    #[n(1)]
    pub key: KeyId,
    /// What people call the place.
    #[n(2)]
    pub name: Name,
    /// What was found there.
    #[n(3)]
    pub found: Found,
    /// When that was declared, in milliseconds since 1970.
    #[n(4)]
    pub declared_ms: u64,
    /// By whom.
    #[n(5)]
    pub by: PrincipalId,
    /// The epoch of this row.
    #[n(6)]
    pub epoch: Epoch,
}

impl Inventory {
    /// The latest scan; nothing if it was withdrawn.
    #[must_use]
    pub fn scan(&self) -> Option<&Scan> {
        match &self.found {
            Found::Scanned(scan) => Some(scan),
            Found::Withdrawn => None,
        }
    }

    /// Whether `self` may stand where `before` stood: a declaration is followed by a later one, never by an earlier scan.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let as_of = |it: &Self| it.scan().map(|scan| scan.as_of);
        let goes_on = as_of(self).zip(as_of(before)).is_none_or(|(next, last)| next >= last);
        goes_on && self.epoch > before.epoch
    }

    /// What it holds of a version, if a scan of it began under that epoch or a later one.
    fn count(&self, version: u32, since: Epoch) -> Option<VersionCount> {
        let scan = self.scan().filter(|scan| scan.as_of >= since)?;
        scan.counts.iter().find(|count| count.version == version).copied()
    }
}

/// The version that a rollout retires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Which.
    pub version: u32,
    /// The epoch since which it protects nothing any more.
    pub since: Epoch,
    /// How often it was used so far.
    pub uses: u64,
}

/// How many ciphertexts of a version that leaves are left, over all inventories of its key.
///
/// Nothing if there is no inventory, or one was not scanned since the version protected last: then nobody knows. One that
/// was used since a scan began has ciphertexts somewhere, so at least one is left, whatever the scans say.
pub fn remaining<'i>(
    inventories: impl Iterator<Item = &'i Inventory>,
    leaving: Leaving,
) -> Option<u64> {
    let mut sum = None;
    let mut is_contradicted = false;
    for inventory in inventories.filter(|inventory| inventory.scan().is_some()) {
        let count = inventory.count(leaving.version, leaving.since)?;
        is_contradicted |= count.uses != leaving.uses;
        sum = Some(count.ciphertexts.saturating_add(sum.unwrap_or_default()));
    }
    sum.map(|sum| sum.max(u64::from(is_contradicted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVING: Leaving = Leaving { version: 1, since: epoch(100), uses: 7 };

    const fn epoch(number: u64) -> Epoch {
        Epoch { generation: 0, number }
    }

    fn scanned(as_of: u64, counts: &[(u32, u64, u64)]) -> Inventory {
        let count = |&(version, ciphertexts, uses): &_| VersionCount { version, ciphertexts, uses };
        let counts = counts.iter().map(count).collect();
        let scan = Scan { as_of: epoch(as_of), counts, others: 0 };
        Inventory { found: Found::Scanned(scan), ..withdrawn() }
    }

    fn withdrawn() -> Inventory {
        Inventory {
            tenant: TenantId::from_bytes([1; 16]),
            key: KeyId::from_bytes([2; 16]),
            name: "cards".parse().unwrap(),
            found: Found::Withdrawn,
            declared_ms: 0,
            by: PrincipalId::from_bytes([3; 16]),
            epoch: Epoch::default(),
        }
    }

    fn check(inventories: &[Inventory], expected: Option<u64>) {
        assert_eq!(remaining(inventories.iter(), LEAVING), expected, "{inventories:?}");
    }

    #[test]
    fn what_nobody_has_looked_through_is_not_empty() {
        check(&[], None);
        check(&[withdrawn()], None);
        // Before the version protected nothing any more, others could be made.
        check(&[scanned(99, &[(1, 0, 7)])], None);
        check(&[scanned(100, &[(1, 0, 7)])], Some(0));
        // One that says nothing of the version was not asked about it.
        check(&[scanned(100, &[(2, 9, 0)])], None);
        check(&[scanned(100, &[(1, 0, 7)]), scanned(99, &[(1, 0, 7)])], None);
        check(&[scanned(100, &[(1, 0, 7)]), withdrawn()], Some(0));
    }

    #[test]
    fn what_is_left_is_the_sum_over_all_places_and_of_that_version_alone() {
        check(&[scanned(100, &[(1, 2, 7), (2, 90, 1)]), scanned(200, &[(1, 3, 7)])], Some(5));
        check(&[scanned(100, &[(1, u64::MAX, 7)]), scanned(200, &[(1, 3, 7)])], Some(u64::MAX));
    }

    #[test]
    fn a_use_since_a_scan_began_contradicts_it() {
        check(&[scanned(100, &[(1, 0, 6)])], Some(1));
        check(&[scanned(100, &[(1, 0, 8)])], Some(1));
        check(&[scanned(100, &[(1, 4, 6)])], Some(4));
        check(&[scanned(100, &[(1, 0, 7)]), scanned(100, &[(1, 0, 6)])], Some(1));
    }

    #[test]
    fn a_scan_counts_each_version_once_and_in_their_order() {
        let is_well_formed = |counts: &[_]| scanned(0, counts).scan().unwrap().is_well_formed();
        assert!(is_well_formed(&[(1, 0, 0), (2, 0, 0)]));
        assert!(!is_well_formed(&[(1, 0, 0), (1, 0, 0)]));
        assert!(!is_well_formed(&[(2, 0, 0), (1, 0, 0)]));
        let versions = |n: usize| (1..=n).map(|n| (u32::try_from(n).unwrap(), 0, 0));
        assert!(is_well_formed(&versions(KEY_VERSIONS_MAX).collect::<Vec<_>>()));
        assert!(!is_well_formed(&versions(KEY_VERSIONS_MAX + 1).collect::<Vec<_>>()));
    }

    #[test]
    fn an_earlier_scan_does_not_take_the_place_of_a_later_one() {
        let at = |number, row: Inventory| Inventory { epoch: epoch(number), ..row };
        let (early, late) = (scanned(1, &[]), scanned(2, &[]));
        assert!(at(2, late.clone()).follows(&at(1, early.clone())));
        assert!(!at(2, early.clone()).follows(&at(1, late.clone())));
        assert!(!at(1, late.clone()).follows(&at(1, early.clone())));
        assert!(at(2, withdrawn()).follows(&at(1, late)));
        assert!(at(2, early).follows(&at(1, withdrawn())));
    }
}
