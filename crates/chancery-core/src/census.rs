//! The census: where ciphertexts of a key lie, and how many of them each version encrypted.
//!
//! Chancery keeps no ciphertexts; their owners do. An owner declares an *inventory*, a place where they lie, with the
//! counts that a scan of their headers came to. The service adds what it sees by itself: how often each version was used.
//!
//! **Invariant:** an inventory counts as free of a version only while no record names that version as used since its scan
//! began, and only if that was when the version protected nothing any more. Both are held by what never goes back, an epoch
//! and a count on record, and not by a time. What nobody has looked through is not empty; nor is a place whose scan did not
//! recognize all that lies there, or found nothing, unless its owner says so on record.
//!
//! To encrypt something again is recorded as a use of the version that it goes to. So a ciphertext of an older version that
//! is encrypted again, wherever it lay, contradicts no scan: it is none of that version from then on.
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
    /// How often the version was used until the scan began, as [`Command::ReadCensus`](crate::command::Command) said. To
    /// encrypt again is a use of the version that it goes to.
    #[n(2)]
    pub uses: u64,
}

/// What the owner of a place says of it that a scan cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Vouched {
    /// What the scan did not recognize as ciphertexts of the key is none, and holds none.
    #[n(0)]
    OthersAreNone,
    /// The place is the one that is meant, and there is nothing in it.
    #[n(1)]
    Empty,
}

impl Vouched {
    /// Both.
    pub const ALL: [Self; 2] = [Self::OthersAreNone, Self::Empty];

    /// The word that stands for it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::OthersAreNone => "others-are-none",
            Self::Empty => "empty",
        }
    }
}

/// Why a scan does not say how much a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// There are things that it did not recognize, and nobody says that they hold no ciphertexts of the key.
    Others(u64),
    /// It found nothing at all, and nobody says that it looked in the right place.
    Nothing,
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
    /// What its owner says besides. Absent in rows from before there was a word for it.
    #[n(3)]
    pub vouched: Option<Vouched>,
}

impl Scan {
    /// How many things there are, ciphertexts of the key and others.
    #[must_use]
    pub fn total(&self) -> u64 {
        let counted = self.counts.iter().map(|count| count.ciphertexts);
        counted.fold(self.others, u64::saturating_add)
    }

    /// Why it does not say how much the place holds; nothing if it does.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        match self.vouched {
            Some(Vouched::Empty) if self.total() == 0 => None,
            _ if self.total() == 0 => Some(Doubt::Nothing),
            Some(Vouched::OthersAreNone) => None,
            _ => (self.others > 0).then_some(Doubt::Others(self.others)),
        }
    }

    /// Whether it counts each version once, in their order, and no more than a key may have; and calls nothing empty that
    /// is not.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.counts.len() <= KEY_VERSIONS_MAX
            && (self.vouched != Some(Vouched::Empty) || self.total() == 0)
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

    /// What it holds of a version, if a scan of it began under that epoch or a later one, and there is no doubt about it.
    fn count(&self, version: u32, since: Epoch) -> Option<VersionCount> {
        let scan = self.scan().filter(|scan| scan.as_of >= since && scan.doubt().is_none())?;
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
    /// How often it was used so far, but to encrypt again.
    pub uses: u64,
}

/// How many ciphertexts of a version that leaves are left, over all inventories of its key.
///
/// Nothing if there is no inventory, or one was not scanned since the version protected last, or that scan is in
/// [`Doubt`]: then nobody knows. A version that something was decrypted with since a scan began has ciphertexts somewhere, so
/// at least one is left, whatever the scans say.
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
        let scan = Scan { as_of: epoch(as_of), counts, others: 0, vouched: None };
        Inventory { found: Found::Scanned(scan), ..withdrawn() }
    }

    /// A scan that found so many of version 1 and so many others, with what the owner says of it.
    fn seen(ciphertexts: u64, others: u64, vouched: Option<Vouched>) -> Inventory {
        let counts = vec![VersionCount { version: 1, ciphertexts, uses: 7 }];
        let scan = Scan { as_of: epoch(100), counts, others, vouched };
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
        check(&[scanned(99, &[(1, 0, 7), (2, 1, 0)])], None);
        check(&[scanned(100, &[(1, 0, 7), (2, 1, 0)])], Some(0));
        // One that says nothing of the version was not asked about it.
        check(&[scanned(100, &[(2, 9, 0)])], None);
        let free = |as_of| scanned(as_of, &[(1, 0, 7), (2, 1, 0)]);
        check(&[free(100), free(99)], None);
        check(&[free(100), withdrawn()], Some(0));
    }

    /// A link that leads away, a file in another form, a mistyped place: none of them is free of ciphertexts.
    #[test]
    fn what_a_scan_did_not_recognize_is_not_nothing_unless_its_owner_says_so() {
        use Vouched::{Empty, OthersAreNone};
        check(&[seen(0, 3, None)], None);
        check(&[seen(5, 3, None)], None);
        check(&[seen(0, 3, Some(OthersAreNone))], Some(0));
        check(&[seen(5, 3, Some(OthersAreNone))], Some(5));
        check(&[seen(0, 0, None)], None);
        check(&[seen(0, 0, Some(OthersAreNone))], None);
        check(&[seen(0, 0, Some(Empty))], Some(0));
        check(&[seen(0, 0, Some(Empty)), seen(0, 1, None)], None);
        for (ciphertexts, others) in [(0, 1), (1, 0)] {
            let false_word = seen(ciphertexts, others, Some(Empty));
            assert!(!false_word.scan().unwrap().is_well_formed());
        }
    }

    /// Declarations from before there was a word for it are three fields long, and are read as they were.
    #[test]
    fn a_scan_without_a_word_of_its_owner_is_encoded_as_before_there_was_one() {
        let plain = seen(5, 3, None).scan().unwrap().clone();
        let before = minicbor::to_vec(&plain).unwrap();
        assert_eq!(before[0], 0x83);
        assert_eq!(minicbor::decode::<Scan>(&before).unwrap(), plain);
        for vouched in Vouched::ALL {
            let scan = Scan { vouched: Some(vouched), ..plain.clone() };
            let bytes = minicbor::to_vec(&scan).unwrap();
            assert_eq!(bytes[0], 0x84);
            assert_eq!(minicbor::decode::<Scan>(&bytes).unwrap(), scan);
        }
    }

    #[test]
    fn what_is_left_is_the_sum_over_all_places_and_of_that_version_alone() {
        check(&[scanned(100, &[(1, 2, 7), (2, 90, 1)]), scanned(200, &[(1, 3, 7)])], Some(5));
        check(&[scanned(100, &[(1, u64::MAX, 7)]), scanned(200, &[(1, 3, 7)])], Some(u64::MAX));
    }

    #[test]
    fn a_use_since_a_scan_began_contradicts_it() {
        let used = |times| scanned(100, &[(1, 0, times), (2, 1, 0)]);
        check(&[used(6)], Some(1));
        check(&[used(8)], Some(1));
        check(&[scanned(100, &[(1, 4, 6)])], Some(4));
        check(&[used(7), used(6)], Some(1));
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
