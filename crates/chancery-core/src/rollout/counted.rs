//! What a verdict rests on, in a form that can be kept: counts of both versions over the trigger's windows, and their
//! course within the long one.
//!
//! A verdict can be made again from it ([`Counted::judge`]). It is bounded: two numbers of each version for a window, a
//! histogram of two classes for each power of two for latencies, and [`POINTS_MAX`] points.
//!
//! What is *not* here: counting itself ([`Series`]), and whose word the counts are.

use minicbor::{Decode, Encode};

use super::analysis::{Finding, Latency, Pair, Series, Tally, judge};
use super::plan::{Metric, Trigger};
use crate::clock::Served;

/// The most points that are kept of a window: 17, a sixteenth of it each and the one that has just begun.
pub const POINTS_MAX: usize = 17;

/// What was counted of one version, in the terms of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Count {
    /// How many failed; of a latency the 99th percentile in nanoseconds, 0 where too few answers are there.
    #[n(0)]
    pub part: u64,
    /// Of how many.
    #[n(1)]
    pub of: u64,
}

/// What was counted of both versions over one window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Window {
    /// Of the version that comes in.
    #[n(0)]
    pub new: Count,
    /// Of the version there was.
    #[n(1)]
    pub old: Count,
    /// How long answers of the one and the other took, where the metric is of that.
    #[n(2)]
    pub latency: Option<(Latency, Latency)>,
}

/// A part of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Point {
    /// When it began, in time served.
    #[n(0)]
    pub at: Served,
    /// Of the version that comes in.
    #[n(1)]
    pub new: Count,
    /// Of the version there was.
    #[n(2)]
    pub old: Count,
}

/// What the verdict on one trigger rests on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Counted {
    /// The trigger's place in the stage.
    #[n(0)]
    pub trigger: u8,
    /// Over its window.
    #[n(1)]
    pub long: Window,
    /// Over its short one, if it has one.
    #[n(2)]
    pub short: Option<Window>,
    /// The course of the long one, the oldest point first.
    #[n(3)]
    pub points: Vec<Point>,
}

impl Count {
    fn of(metric: Metric, tally: &Tally) -> Self {
        let of = |part, of| Self { part, of };
        let shown = tally.verified.saturating_add(tally.rejected);
        match metric {
            Metric::VerifyFailureRate => of(tally.rejected, shown),
            Metric::UnknownKeyRate => of(tally.unknown, shown.saturating_add(tally.unknown)),
            Metric::ErrorRate | Metric::BudgetBurn => of(tally.errors, tally.requests),
            Metric::LatencyRatio => {
                of(tally.latency.p99().unwrap_or_default(), tally.latency.samples())
            }
            Metric::SelfVerifyFailures => of(tally.faults, tally.requests),
            Metric::ProbeFailures => of(tally.probe_failures, tally.probes),
        }
    }

    /// A tally of which the metric says the same.
    fn tally(self, metric: Metric) -> Tally {
        let Self { part, of } = self;
        let none = Tally::default();
        match metric {
            Metric::VerifyFailureRate => {
                Tally { rejected: part, verified: of.saturating_sub(part), ..none }
            }
            Metric::UnknownKeyRate => {
                Tally { unknown: part, verified: of.saturating_sub(part), ..none }
            }
            Metric::ErrorRate | Metric::BudgetBurn => Tally { errors: part, requests: of, ..none },
            Metric::LatencyRatio => none,
            Metric::SelfVerifyFailures => Tally { faults: part, requests: of, ..none },
            Metric::ProbeFailures => Tally { probe_failures: part, probes: of, ..none },
        }
    }
}

impl Window {
    /// What a metric says of what was counted.
    #[must_use]
    pub fn of(metric: Metric, pair: &Pair) -> Self {
        let is_latency = metric == Metric::LatencyRatio;
        let latency = is_latency.then(|| (pair.new.latency.clone(), pair.old.latency.clone()));
        let (new, old) = (Count::of(metric, &pair.new), Count::of(metric, &pair.old));
        Self { new, old, latency }
    }

    fn pair(&self, metric: Metric) -> Pair {
        let mut pair = Pair { new: self.new.tally(metric), old: self.old.tally(metric) };
        if let Some((new, old)) = self.latency.clone() {
            (pair.new.latency, pair.old.latency) = (new, old);
        }
        pair
    }
}

impl Counted {
    /// What the counts say of the trigger.
    #[must_use]
    pub fn judge(&self, trigger: &Trigger) -> Finding {
        let metric = trigger.metric;
        let short = self.short.as_ref().map(|short| short.pair(metric));
        judge(trigger, &self.long.pair(metric), short.as_ref())
    }

    /// Whether it is in the one form that counts of this trigger have: windows as the trigger has them, histograms where
    /// it looks at latencies and in agreement with their counts, and no more points than are kept, in their order.
    #[must_use]
    pub fn is_well_formed(&self, trigger: &Trigger) -> bool {
        let agrees =
            |window: &Window| *window == Window::of(trigger.metric, &window.pair(trigger.metric));
        self.points.len() <= POINTS_MAX
            && self.points.is_sorted_by(|one, next| one.at < next.at)
            && (self.short.is_none() || trigger.short_window_ms.is_some())
            && agrees(&self.long)
            && self.short.as_ref().is_none_or(agrees)
    }
}

/// Points of what was counted from one moment on to the next, so many of them that there are no more than are kept.
#[must_use]
pub fn points(metric: Metric, spans: &[(Served, &Pair)]) -> Vec<Point> {
    let together = spans.len().div_ceil(POINTS_MAX).max(1);
    let point = |spans: &[(Served, &Pair)]| {
        let at = spans.first()?.0;
        let mut sum = Pair::default();
        for (_, pair) in spans {
            sum.add(pair);
        }
        let Window { new, old, .. } = Window::of(metric, &sum);
        Some(Point { at, new, old })
    };
    spans.chunks(together).filter_map(point).collect()
}

impl Series {
    /// The course of a window.
    #[must_use]
    pub fn points(&self, metric: Metric, now: Served, window_ms: u64) -> Vec<Point> {
        points(metric, &self.spans(now, window_ms).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;
    use crate::rollout::{Comparator, Response, Side};

    fn trigger(metric: Metric) -> Trigger {
        Trigger {
            metric,
            comparator: Comparator::Above,
            threshold: 1_000,
            window_ms: 60_000,
            short_window_ms: Some(6_000),
            stale_ms: 1,
            response: Response::RollBack,
            reporters: 0,
        }
    }

    /// A pair in which each number is another.
    fn pair() -> Pair {
        let mut pair = Pair::default();
        for (side, by) in [(Side::New, 1_000), (Side::Old, 100)] {
            let tally = pair.side_mut(side);
            tally.requests = 90 * by;
            tally.errors = 2;
            tally.verified = 70 * by;
            tally.rejected = 3;
            tally.unknown = 4;
            tally.faults = 5;
            tally.probes = 60;
            tally.probe_failures = 6;
            (0..by).for_each(|nanoseconds| tally.latency.count(1_000 * nanoseconds));
        }
        pair
    }

    #[test]
    fn what_is_kept_of_a_verdict_comes_to_the_same_verdict() {
        for metric in Metric::ALL {
            let trigger = trigger(metric);
            let (long, short) = (pair(), Pair::default());
            let counted = Counted {
                trigger: 0,
                long: Window::of(metric, &long),
                short: Some(Window::of(metric, &short)),
                points: Vec::new(),
            };
            assert_eq!(counted.judge(&trigger), judge(&trigger, &long, Some(&short)), "{metric:?}");
            assert!(counted.is_well_formed(&trigger), "{metric:?}");
            let bytes = cbor::encode(&counted);
            assert_eq!(cbor::decode(&bytes, "counts"), Ok(counted));
        }
    }

    #[test]
    fn counts_that_contradict_their_histogram_are_none() {
        let trigger = trigger(Metric::LatencyRatio);
        let mut counted = Counted {
            trigger: 0,
            long: Window::of(Metric::LatencyRatio, &pair()),
            short: None,
            points: Vec::new(),
        };
        assert!(counted.is_well_formed(&trigger));
        counted.long.new.of += 1;
        assert!(!counted.is_well_formed(&trigger));
        counted.long = Window { latency: None, ..Window::of(Metric::LatencyRatio, &pair()) };
        assert!(!counted.is_well_formed(&trigger));
    }

    #[test]
    fn however_long_a_window_is_it_has_as_many_points_as_are_kept() {
        let one = Pair { new: Tally { requests: 1, ..Tally::default() }, old: Tally::default() };
        for (spans, expected) in [(0, 0), (1, 1), (17, 17), (18, 9), (4_096, 17)] {
            let spans: Vec<_> = (0..spans).map(|at| (Served::from_ms(at), &one)).collect();
            let points = points(Metric::ErrorRate, &spans);
            assert_eq!(points.len(), expected);
            let sum: u64 = points.iter().map(|point| point.new.of).sum();
            assert_eq!(usize::try_from(sum).unwrap(), spans.len());
            assert!(points.is_sorted_by_key(|point| point.at));
        }
    }
}
