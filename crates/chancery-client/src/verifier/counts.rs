//! What came of verifying, by version.

use std::collections::BTreeMap;

use chancery_core::id::KeyId;
use chancery_core::limits::REPORT_COUNTS_MAX;
use chancery_core::verifier::VersionCounts;
use chancery_crypto::bundle::Accepted;

use super::NotAccepted;

/// The most versions that are counted as unknown: 64. Whoever makes up signatures can name as many as they like; what the
/// bundle has is bounded by itself.
const UNKNOWN_MAX: usize = 64;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    versions: BTreeMap<(KeyId, u32), VersionCounts>,
    unknown: usize,
    sequence: u64,
}

impl Counts {
    /// Counts what came of one output.
    pub(super) fn count(&mut self, result: &Result<Accepted, NotAccepted>) {
        match result {
            Ok(accepted) => {
                for version in &accepted.versions {
                    let counts = self.of((accepted.key, *version));
                    counts.verified = counts.verified.saturating_add(1);
                }
            }
            Err(NotAccepted::Rejected(rejected)) => {
                let Some(named) = rejected.named() else { return };
                let place = (named.key, named.version);
                if rejected.is_unknown() {
                    self.count_unknown(place);
                } else {
                    let counts = self.of(place);
                    counts.failed = counts.failed.saturating_add(1);
                }
            }
            // Without a bundle that may be used nothing was looked at.
            Err(NotAccepted::NoBundle | NotAccepted::Stale) => {}
        }
    }

    fn count_unknown(&mut self, place: (KeyId, u32)) {
        if !self.versions.contains_key(&place) {
            if self.unknown >= UNKNOWN_MAX {
                return;
            }
            self.unknown += 1;
        }
        let counts = self.of(place);
        counts.unknown = counts.unknown.saturating_add(1);
    }

    fn of(&mut self, (key, version): (KeyId, u32)) -> &mut VersionCounts {
        let none = VersionCounts { key, version, verified: 0, failed: 0, unknown: 0 };
        self.versions.entry((key, version)).or_insert(none)
    }

    /// What is reported: as many versions as may be, those with the most to say.
    pub(super) fn reported(&self) -> Vec<VersionCounts> {
        let mut all: Vec<_> = self.versions.values().copied().collect();
        let weight =
            |it: &VersionCounts| it.verified.saturating_add(it.failed).saturating_add(it.unknown);
        all.sort_by_key(|counts| std::cmp::Reverse(weight(counts)));
        all.truncate(REPORT_COUNTS_MAX);
        all.sort_by_key(|counts| (counts.key, counts.version));
        all
    }

    /// A number above every one before. It begins with the time, so that a start goes on above the one before it.
    pub(super) fn next_sequence(&mut self, now_ms: u64) -> u64 {
        self.sequence = self.sequence.saturating_add(1).max(now_ms);
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_crypto::bundle::{Named, Rejected};
    use chancery_crypto::formats::Verified;

    const KEY: KeyId = KeyId::from_bytes([1; 16]);

    fn named(version: u32) -> Named {
        Named { key: KEY, version }
    }

    fn rejected(rejected: Rejected) -> Result<Accepted, NotAccepted> {
        Err(NotAccepted::Rejected(rejected))
    }

    #[test]
    fn each_version_has_its_own_counts() {
        let mut counts = Counts::default();
        let versions = vec![1, 2];
        counts.count(&Ok(Accepted { key: KEY, versions, verified: Verified::Raw }));
        counts.count(&rejected(Rejected::Revoked(named(2))));
        counts.count(&rejected(Rejected::UnknownVersion(named(3))));
        counts.count(&rejected(Rejected::Expired));
        counts.count(&Err(NotAccepted::Stale));
        let found: Vec<_> = counts
            .reported()
            .iter()
            .map(|it| (it.version, it.verified, it.failed, it.unknown))
            .collect();
        assert_eq!(found, [(1, 1, 0, 0), (2, 1, 1, 0), (3, 0, 0, 1)]);
    }

    #[test]
    fn made_up_versions_keep_no_other_out() {
        let mut counts = Counts::default();
        for version in 0..10_000 {
            counts.count(&rejected(Rejected::UnknownVersion(named(version))));
        }
        assert_eq!(counts.reported().len(), UNKNOWN_MAX);
        counts.count(&rejected(Rejected::Revoked(named(20_000))));
        assert!(counts.reported().iter().any(|it| it.version == 20_000));
    }

    #[test]
    fn a_report_counts_as_many_as_it_may_in_their_order() {
        let mut counts = Counts::default();
        for version in (0..300).rev() {
            counts.count(&rejected(Rejected::Revoked(named(version))));
        }
        let reported = counts.reported();
        assert_eq!(reported.len(), REPORT_COUNTS_MAX);
        assert!(reported.is_sorted_by_key(|it| it.version));
    }

    #[test]
    fn a_sequence_grows_whatever_the_clock_does() {
        let mut counts = Counts::default();
        let numbers = [1_000, 1_000, 500, 2_000].map(|now_ms| counts.next_sequence(now_ms));
        assert_eq!(numbers, [1_000, 1_001, 1_002, 2_000]);
    }
}
