//! For how long a version protects before it should not any more, by what its key is for.
//!
//! The defaults are the upper ends that NIST SP 800-57 Part 1 Revision 5, section 5.3.6, suggests for originators: a
//! private signature key 3 years (type 1), a symmetric authentication key 2 (type 3), a data-encryption key 2 (type 5), a
//! key-wrapping key 2 (type 6), a master key for derivation 1 (type 8).
//!
//! What is *not* here: doing anything about it. A version that is overdue goes on protecting, and is told.

use std::time::Duration;

use crate::automatic::Automatic;
use crate::clock::{Reading, Served, millis};
use crate::key::{Key, KeyVersion};
use crate::purpose::Usage;

const YEAR: Duration = Duration::from_hours(366 * 24);

/// How long a version of a key for this protects.
#[must_use]
pub fn cryptoperiod(usage: Usage) -> Duration {
    match usage {
        Usage::Sign => 3 * YEAR,
        Usage::Mac | Usage::Encrypt | Usage::Wrap => 2 * YEAR,
        Usage::Derive => YEAR,
    }
}

/// By how much the version that protects is past its cryptoperiod, in milliseconds; nothing if it is within it, or does not
/// protect.
///
/// The cryptoperiod is the default for what the key is for, or that of the plan by which a rule rotates it, whichever is
/// shorter. The version's age is the longer of what the clocks say: since it was made by the wall clock, less the time that
/// it stood by; since it was allowed to protect by time served. An alarm that comes too early costs a look.
#[must_use]
pub fn overdue_ms(key: &Key, rule: Option<&Automatic>, now: Reading) -> Option<u64> {
    let version = key.scheduled_version().filter(|version| version.protects())?;
    let default_ms = millis(cryptoperiod(key.purpose.usage()));
    let period_ms =
        rule.map_or(default_ms, |rule| rule.plan.bounds.cryptoperiod_ms.min(default_ms));
    age_ms(version, now).checked_sub(period_ms).filter(|over| *over > 0)
}

fn age_ms(version: &KeyVersion, now: Reading) -> u64 {
    let (published, since) = (version.published.map(|it| it.at), version.since());
    let between =
        |from: Option<Served>, to: u64| from.map_or(0, |from| to.saturating_sub(from.as_ms()));
    let stood_by = since.map_or(0, |since| between(published, since.as_ms()));
    let by_wall = now.unix_ms.saturating_sub(version.created_ms).saturating_sub(stood_by);
    by_wall.max(between(since, now.served.as_ms()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automatic::tests::rule;
    use crate::clock::Quality;
    use crate::epoch::Epoch;
    use crate::key::tests::sample;
    use crate::state::KeyEvent;

    fn at(unix_ms: u64, served_ms: u64) -> Reading {
        let (quality, served) = (Quality::Plausible, Served::from_ms(served_ms));
        Reading { unix_ms, quality, served, wall_ms: unix_ms }
    }

    #[test]
    fn a_version_is_overdue_when_either_clock_says_so() {
        let key = sample("k");
        let period_ms = millis(cryptoperiod(key.purpose.usage()));
        let made_ms = key.versions[0].created_ms;
        let published = key.versions[0].published.map_or(0, |published| published.at.as_ms());
        assert_eq!(overdue_ms(&key, None, at(made_ms + period_ms, published)), None);
        assert_eq!(overdue_ms(&key, None, at(made_ms + period_ms + 7, published)), Some(7));
        let by_service = overdue_ms(&key, None, at(made_ms, published + period_ms + 9));
        assert_eq!(by_service, key.versions[0].published.map(|_| 9));
    }

    #[test]
    fn the_time_that_a_version_stood_by_is_none_of_its_age() {
        let mut key = sample("k");
        let period_ms = millis(cryptoperiod(key.purpose.usage()));
        key.versions[0].active_at = None;
        key.activate(1, Epoch::default(), Served::from_ms(1_000)).unwrap();
        let made_ms = key.versions[0].created_ms;
        assert_eq!(overdue_ms(&key, None, at(made_ms + period_ms + 1_000, 0)), None);
        assert_eq!(overdue_ms(&key, None, at(made_ms + period_ms + 1_007, 0)), Some(7));
        assert_eq!(overdue_ms(&key, None, at(made_ms, period_ms + 1_009)), Some(9));
    }

    #[test]
    fn a_rule_makes_the_period_shorter_and_never_longer() {
        let (mut rule, key) = (rule(), sample("k"));
        let (of_rule, made_ms) = (rule.plan.bounds.cryptoperiod_ms, key.versions[0].created_ms);
        assert_eq!(overdue_ms(&key, Some(&rule), at(made_ms + of_rule + 3, 0)), Some(3));
        rule.plan.bounds.cryptoperiod_ms = u64::MAX;
        let period_ms = millis(cryptoperiod(key.purpose.usage()));
        assert_eq!(overdue_ms(&key, Some(&rule), at(made_ms + period_ms + 5, 0)), Some(5));
    }

    #[test]
    fn what_does_not_protect_is_not_overdue() {
        let mut key = sample("k");
        key.apply(1, KeyEvent::Suspend).unwrap();
        assert_eq!(overdue_ms(&key, None, at(u64::MAX, u64::MAX)), None);
    }
}
