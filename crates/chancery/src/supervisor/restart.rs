//! When a child that died is started again.
//!
//! | death | next start |
//! |---|---|
//! | the signer exits with 74: a write or a sync failed | after 1, 5 and 25 s; a fourth failure within ten minutes is the last |
//! | any other exit before the service was ever up: it cannot run as it was told to | never |
//! | five other exits of the signer in a row: likewise | never |
//! | any other exit, or a signal | after 100 ms, doubling to 5 s; from the start again after 10 s of running |
//!
//! The process that only takes reductions is judged as the signer is. The front is what callers reach, and may be
//! in other hands: once the service was up, no way in which it ends has a say in whether the signer goes on.

use std::time::{Duration, Instant};

use chancery_signer::EXIT_AUDIT_FAILED;

/// The delays after the first, the second and the third failure of storage.
const STORAGE_DELAYS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

/// How long a failure of storage counts: 10 minutes.
const STORAGE_WINDOW: Duration = Duration::from_mins(10);

/// The first delay after any other death: 100 ms, shorter than a caller's patience.
const DELAY_MIN: Duration = Duration::from_millis(100);

/// The longest delay after any other death: 5 s.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// After running for so long, a child counts as well: 10 s.
const STEADY: Duration = Duration::from_secs(10);

/// So many exits in a row, none after a steady run, are a signer that cannot run: 5, after 3 s of trying.
const EXITS_MAX: u32 = 5;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// By itself, with this code.
    Exit(i32),
    /// By a signal.
    Signal,
}

/// Whether the service was ever up: signer and front serving at once, by their own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet.
    Starting,
    /// It was.
    Serving,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: it cannot run as it was told to.
    CannotRun,
    /// Start it after this delay.
    Start(Duration),
    /// Nothing: its disk fails again and again.
    StorageKeepsFailing,
}

/// Whose exit codes are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Front,
    Signer,
}

/// The history that decides.
#[derive(Debug)]
pub(super) struct Restarts {
    kind: Kind,
    started: Option<Instant>,
    delay: Option<Duration>,
    exits: u32,
    storage_failures: Vec<Instant>,
}

impl Restarts {
    /// Of a front.
    pub(super) fn of_front() -> Self {
        Self::of(Kind::Front)
    }

    /// Of a signer, or of the process in its place.
    pub(super) fn of_signer() -> Self {
        Self::of(Kind::Signer)
    }

    fn of(kind: Kind) -> Self {
        Self { kind, started: None, delay: None, exits: 0, storage_failures: Vec::new() }
    }

    /// Notes a start.
    pub(super) fn started(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// What to do after a death.
    pub(super) fn after(&mut self, death: Death, phase: Phase, now: Instant) -> Next {
        match (self.kind, death, phase) {
            (Kind::Signer, Death::Exit(code), _) if code == i32::from(EXIT_AUDIT_FAILED) => {
                self.after_storage_failure(now)
            }
            (_, Death::Exit(_), Phase::Starting) => Next::CannotRun,
            (Kind::Signer, Death::Exit(_), Phase::Serving) if self.keeps_exiting(now) => {
                Next::CannotRun
            }
            (_, Death::Exit(_) | Death::Signal, _) => Next::Start(self.next_delay(now)),
        }
    }

    /// For how long the child has been running.
    fn has_run(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    fn keeps_exiting(&mut self, now: Instant) -> bool {
        self.exits = if self.has_run(now) < STEADY { self.exits + 1 } else { 1 };
        self.exits >= EXITS_MAX
    }

    fn after_storage_failure(&mut self, now: Instant) -> Next {
        self.storage_failures.retain(|at| now.saturating_duration_since(*at) < STORAGE_WINDOW);
        self.storage_failures.push(now);
        let delay = STORAGE_DELAYS.get(self.storage_failures.len() - 1);
        delay.map_or(Next::StorageKeepsFailing, |delay| Next::Start(*delay))
    }

    fn next_delay(&mut self, now: Instant) -> Duration {
        let delay = match self.delay {
            Some(last) if self.has_run(now) < STEADY => (last * 2).min(DELAY_MAX),
            _ => DELAY_MIN,
        };
        self.delay = Some(delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn delays_double_to_their_most_and_begin_again_after_a_steady_run() {
        let start = Instant::now();
        let mut restarts = Restarts::of_signer();
        restarts.started(start);
        let mut delays = Vec::new();
        for _ in 0..8 {
            delays.push(restarts.after(Death::Signal, Phase::Serving, start));
        }
        let expected = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000];
        assert_eq!(delays, expected.map(|ms| Next::Start(Duration::from_millis(ms))));
        restarts.started(start);
        assert_eq!(
            restarts.after(Death::Exit(1), Phase::Serving, start + STEADY),
            Next::Start(DELAY_MIN)
        );
    }

    #[test]
    fn storage_gets_three_more_tries_in_ten_minutes() {
        let start = Instant::now();
        let mut restarts = Restarts::of_signer();
        let failed = Death::Exit(i32::from(EXIT_AUDIT_FAILED));
        assert_eq!(restarts.after(failed, Phase::Serving, start), Next::Start(seconds(1)));
        assert_eq!(
            restarts.after(failed, Phase::Serving, start + seconds(2)),
            Next::Start(seconds(5))
        );
        assert_eq!(
            restarts.after(failed, Phase::Serving, start + seconds(9)),
            Next::Start(seconds(25))
        );
        assert_eq!(
            restarts.after(failed, Phase::Serving, start + seconds(40)),
            Next::StorageKeepsFailing
        );
    }

    #[test]
    fn a_failure_of_storage_is_forgotten_after_ten_minutes() {
        let start = Instant::now();
        let mut restarts = Restarts::of_signer();
        let failed = Death::Exit(i32::from(EXIT_AUDIT_FAILED));
        for n in 0..3 {
            assert!(matches!(
                restarts.after(failed, Phase::Serving, start + seconds(n)),
                Next::Start(_)
            ));
        }
        assert_eq!(
            restarts.after(failed, Phase::Serving, start + STORAGE_WINDOW + seconds(2)),
            Next::Start(seconds(1))
        );
    }

    #[test]
    fn a_front_that_keeps_exiting_is_started_again_and_stops_nobody_else() {
        let now = Instant::now();
        for code in [1, i32::from(EXIT_AUDIT_FAILED)] {
            let mut restarts = Restarts::of_front();
            assert_eq!(restarts.after(Death::Exit(code), Phase::Starting, now), Next::CannotRun);
            for _ in 0..100 {
                restarts.started(now);
                let next = restarts.after(Death::Exit(code), Phase::Serving, now);
                assert!(matches!(next, Next::Start(delay) if delay <= DELAY_MAX), "{next:?}");
            }
        }
    }

    #[test]
    fn a_signer_that_keeps_exiting_is_given_up_and_one_that_keeps_being_killed_is_not() {
        let now = Instant::now();
        let mut restarts = Restarts::of_signer();
        let mut next = |death, at| {
            restarts.started(now);
            restarts.after(death, Phase::Serving, at)
        };
        for _ in 1..EXITS_MAX {
            assert!(matches!(next(Death::Exit(1), now), Next::Start(_)));
        }
        assert!(matches!(next(Death::Signal, now), Next::Start(_)));
        assert!(matches!(next(Death::Exit(1), now + STEADY), Next::Start(_)));
        for _ in 2..EXITS_MAX {
            assert!(matches!(next(Death::Exit(1), now), Next::Start(_)));
        }
        assert_eq!(next(Death::Exit(1), now), Next::CannotRun);
    }

    #[test]
    fn a_child_that_cannot_run_is_not_tried_again_and_one_that_was_killed_is() {
        let now = Instant::now();
        let next = |death| Restarts::of_signer().after(death, Phase::Starting, now);
        assert_eq!(next(Death::Exit(1)), Next::CannotRun);
        assert_eq!(next(Death::Signal), Next::Start(DELAY_MIN));
        assert_eq!(next(Death::Exit(i32::from(EXIT_AUDIT_FAILED))), Next::Start(seconds(1)));
    }
}
