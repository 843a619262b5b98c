//! For how long a version protects before it should not any more, by what its key is for.
//!
//! The defaults are the upper ends that NIST SP 800-57 Part 1 Revision 5, section 5.3.6, suggests for originators: a
//! private signature key 3 years (type 1), a symmetric authentication key 2 (type 3), a data-encryption key 2 (type 5), a
//! key-wrapping key 2 (type 6), a master key for derivation 1 (type 8).
//!
//! What is *not* here: doing anything about it. A version that is overdue goes on protecting, and is told.

use std::time::Duration;

use crate::clock::{Reading, millis};
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
/// Its age is the longer of what the clocks say: since it was made by the wall clock, since it was published by time
/// served. An alarm that comes too early costs a look.
#[must_use]
pub fn overdue_ms(key: &Key, now: Reading) -> Option<u64> {
    let version = key.scheduled_version().filter(|version| version.protects())?;
    let period_ms = millis(cryptoperiod(key.purpose.usage()));
    age_ms(version, now).checked_sub(period_ms).filter(|over| *over > 0)
}

fn age_ms(version: &KeyVersion, now: Reading) -> u64 {
    let by_wall = now.unix_ms.saturating_sub(version.created_ms);
    let published = version.published.map(|published| published.at.as_ms());
    let by_service = published.map_or(0, |at| now.served.as_ms().saturating_sub(at));
    by_wall.max(by_service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Quality, Served};
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
        assert_eq!(overdue_ms(&key, at(made_ms + period_ms, published)), None);
        assert_eq!(overdue_ms(&key, at(made_ms + period_ms + 7, published)), Some(7));
        let by_service = overdue_ms(&key, at(made_ms, published + period_ms + 9));
        assert_eq!(by_service, key.versions[0].published.map(|_| 9));
    }

    #[test]
    fn what_does_not_protect_is_not_overdue() {
        let mut key = sample("k");
        key.apply(1, KeyEvent::Suspend).unwrap();
        assert_eq!(overdue_ms(&key, at(u64::MAX, u64::MAX)), None);
    }
}
