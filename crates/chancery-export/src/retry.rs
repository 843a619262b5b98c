//! How long to wait after a failed attempt, and how a wait ends early.
//!
//! The wait doubles from [`BACKOFF_MIN`] to [`BACKOFF_MAX`], and a part of it is by chance, so that many exporters that
//! lost one sink do not come back at once. What a sink asks for is kept within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, RETRY_AFTER_MIN, STOP_POLL};

/// The waits of one sink.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: what the sink asks for, else from half of the present step to all of it.
    pub fn after_failure(&mut self, asked: Option<Duration>, chance: u32) -> Duration {
        let step = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        match asked {
            Some(asked) => asked.clamp(RETRY_AFTER_MIN, BACKOFF_MAX),
            None => step / 2 + (step / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX)),
        }
    }

    /// Begins anew after a success.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }
}

/// What a sink asks for in `Retry-After` (RFC 9110, 10.2.3): seconds. A date is taken for nothing.
#[must_use]
pub fn retry_after(value: &str) -> Option<Duration> {
    let digits = value.trim_matches([' ', '\t']);
    let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    // More digits than a number holds are more than any bound.
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

/// A number by chance; the middle one where the system has none.
pub(crate) fn chance() -> u32 {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(4) => u32::from_ne_bytes(bytes),
        _ => u32::MAX / 2,
    }
}

/// Says that the export is to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// By a flag that a signal sets.
    #[must_use]
    pub fn by(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Whether it is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, but no longer than until it is to end.
    pub fn wait(&self, duration: Duration) {
        let begun = Instant::now();
        while !self.is_set() {
            let left = duration.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            sleep(STOP_POLL.min(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let least = |chance| {
            let mut backoff = Backoff::default();
            (0..9).map(|_| backoff.after_failure(None, chance).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(least(0), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(
            least(u32::MAX),
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
        );
        for _ in 0..100 {
            backoff.after_failure(None, 0);
        }
        backoff.succeed();
        assert_eq!(backoff.after_failure(None, 0), BACKOFF_MIN / 2);
    }

    #[test]
    fn what_a_sink_asks_for_is_kept_within_bounds() {
        let wait = |asked| Backoff::default().after_failure(Some(Duration::from_secs(asked)), 0);
        assert_eq!(wait(0), RETRY_AFTER_MIN);
        assert_eq!(wait(7), Duration::from_secs(7));
        assert_eq!(wait(100_000), BACKOFF_MAX);
    }

    #[test]
    fn retry_after_is_a_number_of_seconds() {
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ] {
            assert_eq!(retry_after(value), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_wait_ends_when_it_is_to_end() {
        let stop = Stop::default();
        stop.0.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        stop.wait(Duration::from_mins(1));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
