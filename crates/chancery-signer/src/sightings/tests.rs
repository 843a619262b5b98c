//! What is kept of what was counted, where verifiers report it.

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
    assert_eq!(sum, super::sum(&said.within(1_600)).new.rejected);
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
