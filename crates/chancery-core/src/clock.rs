//! Time, when no clock is believed.
//!
//! At a start, and when an operator resumes it, the clock is anchored: from there on the wall clock may
//! differ from the time elapsed by the boot clock by the drift bound, and no more however often it is read.
//! A larger jump, or a wall clock behind the mark, is *suspect*: time goes on by the boot clock so that
//! handles still expire, and formats that carry time are refused. That ends when the wall clock is back
//! where the boot clock says it must be.
//!
//! In a new boot the elapsed time is unknown: a wall clock ahead of the mark by at most [`OFFLINE_MAX`] is
//! taken, be it that of the start or, where that one was not to be believed, one that was set right later.
//!
//! **Invariant:** [`Reading::unix_ms`] never goes back, whatever the wall clock does.

use minicbor::{Decode, Encode};

use crate::limits::{CLOCK_DRIFT_MAX, OFFLINE_MAX, REDUCTION_AHEAD_MAX};

/// Time for which the service has run, in milliseconds over all its starts. Destruction waits count this alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Served(#[n(0)] u64);

impl Served {
    /// Takes milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// The milliseconds.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This much later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// How good a reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Quality {
    /// The wall clock agrees with the boot clock and the mark.
    #[n(0)]
    Plausible,
    /// It does not; the reading goes by the boot clock.
    #[n(1)]
    Suspect,
}

/// The time, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// How good that is.
    pub quality: Quality,
    /// Time served so far.
    pub served: Served,
    /// What the wall clock says, believed or not, in milliseconds since 1970.
    pub wall_ms: u64,
}

impl Reading {
    /// The latest that it can be, as far as any clock here says: what is dated after that is dated ahead.
    #[must_use]
    pub fn latest_ms(&self) -> u64 {
        match self.quality {
            Quality::Plausible => self.unix_ms,
            Quality::Suspect => self.unix_ms.max(self.wall_ms),
        }
    }
}

/// The latest date that a reduction may bear while the clock is suspect: nobody is kept from taking authority away
/// because clocks here are behind, and nothing is remembered for ever because of a date.
#[must_use]
pub fn latest_reduction_ms(mark_ms: u64, wall_ms: u64) -> u64 {
    mark_ms.max(wall_ms).saturating_add(millis(REDUCTION_AHEAD_MAX))
}

/// What a machine's clocks say at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
    /// The monotonic clock, suspension included, in milliseconds since this boot.
    pub boot_ms: u64,
}

/// The high-water mark, and the instant that elapsed time counts from.
#[derive(Clone, Debug)]
pub struct Clock {
    mark_ms: u64,
    anchor_ms: u64,
    anchor_boot_ms: u64,
    start_boot_ms: u64,
    served_before: Served,
    /// Whether the anchor is a wall clock that was believed, and not the mark of an earlier start.
    anchor: Anchor,
}

/// What elapsed time counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    /// The mark of an earlier start: how long the machine was off is not known.
    Mark,
    /// A wall clock that was believed.
    Wall,
}

impl Clock {
    /// Starts from what was persisted: the mark, if there is one, and the time served.
    #[must_use]
    pub fn start(mark_ms: Option<u64>, served: Served, now: Sample) -> Self {
        let (mark, anchor) = match mark_ms {
            Some(mark) if !may_follow(mark, now.wall_ms) => (mark, Anchor::Mark),
            _ => (now.wall_ms, Anchor::Wall),
        };
        Self {
            mark_ms: mark,
            anchor_ms: mark,
            anchor_boot_ms: now.boot_ms,
            start_boot_ms: now.boot_ms,
            served_before: served,
            anchor,
        }
    }

    /// Reads the time.
    pub fn read(&mut self, now: Sample) -> Reading {
        if self.anchor == Anchor::Mark && may_follow(self.expected(now), now.wall_ms) {
            self.resume(now);
        }
        let expected = self.expected(now);
        let is_near = now.wall_ms.abs_diff(expected) <= millis(CLOCK_DRIFT_MAX);
        let (told, quality) = if is_near && self.anchor == Anchor::Wall {
            (now.wall_ms, Quality::Plausible)
        } else {
            (expected, Quality::Suspect)
        };
        self.mark_ms = self.mark_ms.max(told);
        let ran = now.boot_ms.saturating_sub(self.start_boot_ms);
        let served = self.served_before.plus_ms(ran);
        Reading { unix_ms: self.mark_ms, quality, served, wall_ms: now.wall_ms }
    }

    /// What time it is by the boot clock alone.
    fn expected(&self, now: Sample) -> u64 {
        let elapsed = now.boot_ms.saturating_sub(self.anchor_boot_ms);
        self.anchor_ms.saturating_add(elapsed)
    }

    /// An operator, or signed time, says that the wall clock is right; whether it was taken. Time is not taken back
    /// for it: one that is behind the mark stays suspect until it has caught up.
    pub fn resume(&mut self, now: Sample) -> bool {
        if now.wall_ms < self.mark_ms {
            return false;
        }
        self.mark_ms = now.wall_ms;
        self.anchor_ms = now.wall_ms;
        self.anchor_boot_ms = now.boot_ms;
        self.anchor = Anchor::Wall;
        true
    }

    /// The mark, to be persisted: no later start takes time back behind it. A suspect clock moves it by the
    /// boot clock alone.
    #[must_use]
    pub fn mark_ms(&self) -> u64 {
        self.mark_ms
    }
}

/// Whether a wall clock may be right at a time when the machine was off since `mark_ms` for an unknown time.
fn may_follow(mark_ms: u64, wall_ms: u64) -> bool {
    wall_ms >= mark_ms && wall_ms - mark_ms <= millis(OFFLINE_MAX)
}

/// A bound in milliseconds. Our bounds are days at most, far inside 64 bits.
#[must_use]
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn at(wall_ms: u64, boot_ms: u64) -> Sample {
        Sample { wall_ms, boot_ms }
    }

    #[test]
    fn a_jump_ahead_is_suspect_and_time_goes_on_by_the_boot_clock() {
        let mut clock = Clock::start(None, Served::default(), at(1_000_000, 0));
        let reading = clock.read(at(1_000_000 + 10 * DAY, 500));
        assert_eq!((reading.unix_ms, reading.quality), (1_000_500, Quality::Suspect));
        assert_eq!(clock.mark_ms(), 1_000_500);
        assert_eq!(clock.read(at(1_000_000 + 10 * DAY, 2_000)).unix_ms, 1_002_000);
    }

    #[test]
    fn a_jump_back_never_takes_time_back() {
        let mut clock = Clock::start(None, Served::default(), at(1_000_000, 0));
        assert_eq!(clock.read(at(999_000, 10)).unix_ms, 1_000_000);
        let reading = clock.read(at(0, 20));
        assert_eq!((reading.unix_ms, reading.quality), (1_000_020, Quality::Suspect));
    }

    #[test]
    fn small_steps_do_not_add_up_to_a_clock_that_races_or_stands_still() {
        let drift = millis(CLOCK_DRIFT_MAX);
        for step in [1_000 + drift / 4, 1_000 - 1_000] {
            let mut clock = Clock::start(None, Served::default(), at(DAY, 0));
            let readings = (1..=1_000).map(|n| clock.read(at(DAY + n * step, n * 1_000)));
            let (n, last) = (1..=1_000_u64).zip(readings).last().unwrap();
            assert_eq!(last.quality, Quality::Suspect, "{step}");
            assert!(last.unix_ms.abs_diff(DAY + n * 1_000) <= drift, "{step}: {}", last.unix_ms);
        }
    }

    #[test]
    fn a_suspect_clock_is_no_way_to_take_time_back_by_a_restart() {
        let mut clock = Clock::start(None, Served::default(), at(DAY, 0));
        clock.read(at(DAY - DAY / 2, 10));
        let restarted = Clock::start(Some(clock.mark_ms()), Served::default(), at(DAY / 2, 20));
        assert_eq!(restarted.anchor, Anchor::Mark);
        assert!(restarted.mark_ms() >= DAY);
    }

    #[test]
    fn a_jump_that_is_taken_back_is_over() {
        let mut clock = Clock::start(None, Served::default(), at(DAY, 0));
        assert_eq!(clock.read(at(3 * DAY, 10)).quality, Quality::Suspect);
        let reading = clock.read(at(DAY + 25, 20));
        assert_eq!((reading.unix_ms, reading.quality), (DAY + 25, Quality::Plausible));
    }

    #[test]
    fn a_clock_that_is_set_right_after_the_start_is_believed_as_at_a_start() {
        let start = || Clock::start(Some(10 * DAY), Served::default(), at(0, 0));
        let mut clock = start();
        assert_eq!(clock.read(at(1, 1)).quality, Quality::Suspect);
        let reading = clock.read(at(11 * DAY, 5));
        assert_eq!((reading.unix_ms, reading.quality), (11 * DAY, Quality::Plausible));
        // From there on it is held to the boot clock.
        assert_eq!(clock.read(at(12 * DAY, 6)).quality, Quality::Suspect);
        assert_eq!(start().read(at(20 * DAY, 5)).quality, Quality::Suspect);
    }

    #[test]
    fn a_restart_takes_a_wall_clock_up_to_the_offline_bound() {
        let bound = millis(OFFLINE_MAX);
        let start = |wall| {
            Clock::start(Some(1_000), Served::default(), at(wall, 5)).read(at(wall, 5)).quality
        };
        assert_eq!(start(1_000 + bound), Quality::Plausible);
        assert_eq!(start(1_001 + bound), Quality::Suspect);
        assert_eq!(start(999), Quality::Suspect);
    }

    #[test]
    fn time_served_counts_running_alone() {
        let mut clock = Clock::start(Some(0), Served::from_ms(100), at(DAY, 50));
        assert_eq!(clock.read(at(DAY + 7, 57)).served, Served::from_ms(107));
    }

    #[test]
    fn an_operator_resumes_a_suspect_clock() {
        let mut clock = Clock::start(Some(1_000), Served::default(), at(1_000 + 30 * DAY, 0));
        assert!(clock.resume(at(1_000 + 30 * DAY, 1)));
        assert_eq!(clock.read(at(1_000 + 30 * DAY, 1)).quality, Quality::Plausible);
        let mut ahead = Clock::start(Some(30 * DAY), Served::default(), at(DAY, 0));
        assert!(!ahead.resume(at(DAY, 1)));
        let reading = ahead.read(at(DAY, 2));
        assert_eq!((reading.unix_ms, reading.quality), (30 * DAY + 2, Quality::Suspect));
    }
}
