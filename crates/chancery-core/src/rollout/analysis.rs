//! The analysis: what was counted of two versions at the same time, and what that says of a trigger.
//!
//! It holds no power. It counts, compares, and yields verdicts that the engine consumes. A rate is held against its
//! threshold by the score test at 95 % (Wilson 1927; NIST/SEMATECH e-Handbook 7.2.4.1), in whole numbers: it *fails* if a
//! true rate at the threshold would make what was seen too unlikely, it *passes* if a true rate above it would, and in
//! between the analysis cannot tell. So one failure of one fails a threshold of a thousandth, and no failure passes it
//! from 2 996 on. Where the version there was fails the same trigger at the same time, the new one is not to blame.
//!
//! **Invariant:** nothing seen is [`Outcome::NoData`], and too little is [`Outcome::Inconclusive`]; neither passes.

use std::collections::BTreeMap;

use super::observed::Outcome;
use super::plan::{Comparator, Metric, Stage, Trigger};
use crate::clock::Served;

/// Parts of the whole: rates are in millionths.
const MILLION: u128 = 1_000_000;

/// The square of the 95th percentile of the normal distribution, 1.6449², in ten-thousandths.
const SCORE_SQUARED: u128 = 27_055;

/// -ln 0.05, in millionths: as many times a threshold's inverse without a failure bound the rate at 95 %.
const NO_FAILURE: u128 = 2_995_733;

/// The error budget that burn rates are multiples of: a thousandth of the requests (an objective of 99.9 %).
const ERROR_BUDGET_PPM: u128 = 1_000;

/// Answers of each version that a 99th percentile rests on: 100, of which one is above it.
const PERCENTILE_SAMPLES_MIN: u64 = 100;

/// Spans of time that a window is counted in: 16, so that what leaves it leaves by a sixteenth.
const SPANS_OF_A_WINDOW: u64 = 16;

/// The shortest span: 50 ms.
const SPAN_MS_MIN: u64 = 50;

/// The most spans that are kept of one rollout: 4 096; a pair of windows of three days and six hours takes 192.
const SPANS_MAX: usize = 4_096;

/// Which of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The version that comes in.
    New,
    /// The version there was: the control.
    Old,
}

/// What was counted of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers that were asked of it.
    pub requests: u64,
    /// Those that failed in the service.
    pub errors: u64,
    /// What verifiers took.
    pub verified: u64,
    /// What did not verify at them.
    pub rejected: u64,
    /// What they could not look up.
    pub unknown: u64,
    /// Fresh signatures that did not verify in the signer.
    pub faults: u64,
    /// Probes.
    pub probes: u64,
    /// Probes that failed.
    pub probe_failures: u64,
    /// How long answers took.
    pub latency: Latency,
}

impl Tally {
    /// Adds another one's counts.
    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.verified = self.verified.saturating_add(other.verified);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.faults = self.faults.saturating_add(other.faults);
        self.probes = self.probes.saturating_add(other.probes);
        self.probe_failures = self.probe_failures.saturating_add(other.probe_failures);
        self.latency.add(&other.latency);
    }

    /// How many were answered.
    #[must_use]
    pub const fn answered(&self) -> u64 {
        self.requests.saturating_sub(self.errors)
    }

    /// How many of how many failed, by a metric that is a rate.
    fn rate(&self, metric: Metric) -> (u64, u64) {
        // What verifiers report is their word, however large.
        let shown = self.verified.saturating_add(self.rejected);
        match metric {
            Metric::VerifyFailureRate => (self.rejected, shown),
            Metric::UnknownKeyRate => (self.unknown, shown.saturating_add(self.unknown)),
            _ => (self.errors, self.requests),
        }
    }
}

/// How long answers took: counts by powers of two of a microsecond, halved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    counts: BTreeMap<u8, u64>,
}

impl Latency {
    /// Counts an answer that took so many nanoseconds.
    pub fn count(&mut self, nanoseconds: u64) {
        *self.counts.entry(Self::class(nanoseconds)).or_default() += 1;
    }

    /// Two classes for each power of two: the exponent, and the bit below the highest.
    fn class(nanoseconds: u64) -> u8 {
        let value = nanoseconds.max(2);
        let exponent = value.ilog2();
        let half = (value >> (exponent - 1)) & 1;
        u8::try_from(u64::from(exponent) * 2 + half).unwrap_or(u8::MAX)
    }

    /// The least value of a class.
    fn floor(class: u8) -> u64 {
        let power = 1_u64 << (class / 2).min(62);
        if class % 2 == 1 { power + power / 2 } else { power }
    }

    fn add(&mut self, other: &Self) {
        for (class, count) in &other.counts {
            let sum = self.counts.entry(*class).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// How many answers there are.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The 99th percentile, in nanoseconds; nothing if too few answers are there.
    #[must_use]
    pub fn p99(&self) -> Option<u64> {
        let samples = self.samples();
        let rank = samples.checked_sub(samples.div_ceil(100))?;
        let mut seen = 0;
        let class = self.counts.iter().find_map(|(class, count)| {
            seen = count.saturating_add(seen);
            (seen > rank).then_some(*class)
        });
        class.filter(|_| samples >= PERCENTILE_SAMPLES_MIN).map(Self::floor)
    }
}

/// The highest class: that of the longest time there is.
const CLASS_MAX: u8 = 127;

/// As pairs of class and count, in the order of classes, without those of which there is none.
impl<C> minicbor::Encode<C> for Latency {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let counts: Vec<(u8, u64)> = self.counts.iter().map(|(class, n)| (*class, *n)).collect();
        counts.encode(encoder, context)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Latency {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        context: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        let counts: Vec<(u8, u64)> = minicbor::Decode::decode(decoder, context)?;
        let is_one = counts.is_sorted_by(|one, next| one.0 < next.0)
            && counts.iter().all(|(class, count)| *class <= CLASS_MAX && *count > 0);
        let error = || minicbor::decode::Error::message("no counts of latencies");
        is_one.then(|| Self { counts: counts.into_iter().collect() }).ok_or_else(error)
    }
}

/// Both versions over the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The version that comes in.
    pub new: Tally,
    /// The version there was.
    pub old: Tally,
}

impl Pair {
    /// Adds another one's counts.
    pub(super) fn add(&mut self, other: &Self) {
        self.new.add(&other.new);
        self.old.add(&other.old);
    }

    /// What was counted of one of them.
    pub fn side_mut(&mut self, side: Side) -> &mut Tally {
        match side {
            Side::New => &mut self.new,
            Side::Old => &mut self.old,
        }
    }
}

/// Counts of one stage, in spans of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    span_ms: u64,
    keep_ms: u64,
    spans: BTreeMap<u64, Pair>,
    all: Pair,
}

impl Series {
    /// For the windows of a stage.
    #[must_use]
    pub fn of(stage: &Stage) -> Self {
        let windows = stage.triggers.iter().flat_map(|it| [Some(it.window_ms), it.short_window_ms]);
        let windows: Vec<u64> = windows.flatten().collect();
        let keep_ms = windows.iter().copied().max().unwrap_or_default();
        let shortest = windows.iter().copied().min().unwrap_or_default();
        let most = u64::try_from(SPANS_MAX / 2).unwrap_or(u64::MAX);
        let span_ms = (shortest / SPANS_OF_A_WINDOW).max(SPAN_MS_MIN).max(keep_ms / most);
        Self { span_ms, keep_ms, ..Self::default() }
    }

    /// Counts something of one version.
    pub fn count(&mut self, now: Served, side: Side, count: impl Fn(&mut Tally)) {
        count(self.all.side_mut(side));
        let span = now.as_ms() / self.span_ms.max(SPAN_MS_MIN);
        count(self.spans.entry(span).or_default().side_mut(side));
        let oldest = now.as_ms().saturating_sub(self.keep_ms) / self.span_ms.max(SPAN_MS_MIN);
        while let Some(first) = self.spans.first_entry() {
            if *first.key() + 1 >= oldest && self.spans.len() <= SPANS_MAX {
                break;
            }
            self.spans.pop_first();
        }
    }

    /// All that was counted in the stage.
    #[must_use]
    pub fn all(&self) -> &Pair {
        &self.all
    }

    /// What was counted in the last so many milliseconds, and up to a span more.
    #[must_use]
    pub fn window(&self, now: Served, window_ms: u64) -> Pair {
        let mut sum = Pair::default();
        for (_, pair) in self.spans(now, window_ms) {
            sum.add(pair);
        }
        sum
    }

    /// The spans of that time in which something was counted, each with when it began.
    pub(super) fn spans(
        &self,
        now: Served,
        window_ms: u64,
    ) -> impl Iterator<Item = (Served, &Pair)> {
        let span_ms = self.span_ms.max(SPAN_MS_MIN);
        let from = now.as_ms().saturating_sub(window_ms) / span_ms;
        let began = move |span: &u64| Served::from_ms(span.saturating_mul(span_ms));
        self.spans.range(from..).map(move |(span, pair)| (began(span), pair))
    }
}

/// What one trigger comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub outcome: Outcome,
    /// The value of the new version, in the unit of the metric.
    pub value: Option<u64>,
    /// That of the old one.
    pub control: Option<u64>,
    /// On how many answers it rests.
    pub samples: u64,
}

/// What was counted says of a trigger: over its window, and over its short one if it has one.
#[must_use]
pub fn judge(trigger: &Trigger, long: &Pair, short: Option<&Pair>) -> Finding {
    match trigger.metric {
        Metric::ErrorRate | Metric::VerifyFailureRate | Metric::UnknownKeyRate => {
            let threshold = u128::from(trigger.threshold);
            compared(rate(trigger, threshold, &long.new), rate(trigger, threshold, &long.old))
        }
        Metric::BudgetBurn => burn(trigger, long, short),
        Metric::LatencyRatio => ratio(trigger, long),
        Metric::SelfVerifyFailures => counted(trigger, long.new.faults, long.new.requests),
        Metric::ProbeFailures => counted(trigger, long.new.probe_failures, long.new.probes),
    }
}

/// A rate of one version against a threshold, in millionths.
fn rate(trigger: &Trigger, threshold: u128, tally: &Tally) -> Finding {
    let (failed, of) = tally.rate(trigger.metric);
    let value = (of > 0).then(|| per_million(failed, of));
    let outcome = match value {
        None => Outcome::NoData,
        Some(_) => score(trigger.comparator, threshold, (failed, of)),
    };
    Finding { outcome, value, control: None, samples: of }
}

fn per_million(part: u64, whole: u64) -> u64 {
    let value = u128::from(part) * MILLION / u128::from(whole.max(1));
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The score test of `failed` of `of` against a threshold.
fn score(comparator: Comparator, threshold: u128, (failed, of): (u64, u64)) -> Outcome {
    let seen = u128::from(failed) * MILLION;
    let expected = u128::from(of).saturating_mul(threshold);
    let variance = expected.saturating_mul(MILLION.saturating_sub(threshold));
    let distance = seen.abs_diff(expected);
    let squared = distance.saturating_mul(distance).saturating_mul(10_000);
    let is_far = squared > SCORE_SQUARED.saturating_mul(variance);
    let is_above = seen > expected;
    let is_enough = expected >= NO_FAILURE || threshold == 0;
    match comparator {
        Comparator::Above | Comparator::AtLeast if is_above => {
            if is_far {
                Outcome::Fail
            } else {
                Outcome::Inconclusive
            }
        }
        // A threshold of nothing is kept as long as there is nothing.
        Comparator::Above if threshold == 0 => Outcome::Pass,
        Comparator::Above | Comparator::AtLeast => {
            if is_far && is_enough {
                Outcome::Pass
            } else {
                Outcome::Inconclusive
            }
        }
        Comparator::Below if is_above => {
            if is_far {
                Outcome::Pass
            } else {
                Outcome::Inconclusive
            }
        }
        Comparator::Below => {
            if is_far && is_enough {
                Outcome::Fail
            } else {
                Outcome::Inconclusive
            }
        }
    }
}

/// What fails for the version there was as well is not the new one's fault.
fn compared(new: Finding, old: Finding) -> Finding {
    let is_shared = new.outcome == Outcome::Fail && old.outcome == Outcome::Fail;
    let outcome = if is_shared { Outcome::Inconclusive } else { new.outcome };
    Finding { outcome, control: old.value, ..new }
}

/// How fast the error budget burns: it does if it does over both windows.
fn burn(trigger: &Trigger, long: &Pair, short: Option<&Pair>) -> Finding {
    let threshold = u128::from(trigger.threshold) * ERROR_BUDGET_PPM / MILLION;
    let of = |pair: &Pair| {
        compared(rate(trigger, threshold, &pair.new), rate(trigger, threshold, &pair.old))
    };
    let found = of(long);
    let outcome = match short.map(of) {
        None => found.outcome,
        Some(short) => {
            let is_above = short.value.is_some_and(|value| u128::from(value) > threshold);
            both(found.outcome, (short.outcome, is_above))
        }
    };
    let as_burn =
        |ppm: u64| u64::try_from(u128::from(ppm) * MILLION / ERROR_BUDGET_PPM).unwrap_or(u64::MAX);
    let (value, control) = (found.value.map(as_burn), found.control.map(as_burn));
    Finding { outcome, value, control, samples: found.samples }
}

/// It burns if it burns over both, and not if it does not over one. In the short one it is enough that the rate is above the
/// threshold, however few answers that rests on: the long one has shown it.
fn both(long: Outcome, (short, is_above): (Outcome, bool)) -> Outcome {
    match (long, short) {
        (Outcome::Fail, Outcome::Fail) => Outcome::Fail,
        (Outcome::Fail, Outcome::Inconclusive) if is_above => Outcome::Fail,
        // What the long one says stands, but for a failure that is over.
        (Outcome::Fail, _) => Outcome::Inconclusive,
        (long, _) => long,
    }
}

/// The 99th percentile of the new version as a ratio to the old one's, in millionths.
fn ratio(trigger: &Trigger, pair: &Pair) -> Finding {
    let samples = pair.new.latency.samples();
    let ratio = pair.new.latency.p99().zip(pair.old.latency.p99());
    let value = ratio.map(|(new, old)| per_million(new, old));
    let outcome = match value {
        None if samples == 0 => Outcome::NoData,
        None => Outcome::Inconclusive,
        Some(value) if trigger.fires(value) => Outcome::Fail,
        Some(_) => Outcome::Pass,
    };
    let control = value.map(|_| 1_000_000);
    Finding { outcome, value, control, samples }
}

/// A plain count against a threshold, if anybody looked.
fn counted(trigger: &Trigger, count: u64, looked: u64) -> Finding {
    let outcome = match looked {
        0 => Outcome::NoData,
        _ if trigger.fires(count) => Outcome::Fail,
        _ => Outcome::Pass,
    };
    Finding { outcome, value: (looked > 0).then_some(count), control: None, samples: looked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Builtin, Response};

    fn trigger(metric: Metric, threshold: u64) -> Trigger {
        Trigger {
            metric,
            comparator: Comparator::Above,
            threshold,
            window_ms: 60_000,
            short_window_ms: None,
            stale_ms: 1,
            response: Response::RollBack,
            reporters: 0,
        }
    }

    fn errors(errors: u64, requests: u64) -> Tally {
        Tally { requests, errors, ..Tally::default() }
    }

    fn of_errors(new: (u64, u64), old: (u64, u64)) -> Outcome {
        let pair = Pair { new: errors(new.0, new.1), old: errors(old.0, old.1) };
        judge(&trigger(Metric::ErrorRate, 1_000), &pair, None).outcome
    }

    #[test]
    fn a_rate_passes_on_enough_without_failure_and_on_no_less() {
        assert_eq!(of_errors((0, 0), (0, 100)), Outcome::NoData);
        assert_eq!(of_errors((0, 2_995), (0, 0)), Outcome::Inconclusive);
        assert_eq!(of_errors((0, 2_996), (0, 0)), Outcome::Pass);
        assert_eq!(of_errors((1, 2_996), (0, 0)), Outcome::Inconclusive);
    }

    #[test]
    fn a_rate_fails_when_chance_does_not_explain_it() {
        assert_eq!(of_errors((1, 1), (0, 0)), Outcome::Fail);
        assert_eq!(of_errors((1, 1_000), (0, 0)), Outcome::Inconclusive);
        assert_eq!(of_errors((20, 1_000), (0, 1_000)), Outcome::Fail);
        assert_eq!(of_errors((2, 1_000), (0, 1_000)), Outcome::Inconclusive);
    }

    #[test]
    fn counts_of_any_size_are_judged() {
        let most = u64::MAX;
        assert_eq!(of_errors((0, most), (0, 0)), Outcome::Pass);
        assert_eq!(of_errors((most, most), (0, 0)), Outcome::Fail);
        let reported = |verified, rejected, unknown| {
            let new = Tally { verified, rejected, unknown, ..Tally::default() };
            let pair = Pair { new, old: Tally::default() };
            [Metric::VerifyFailureRate, Metric::UnknownKeyRate]
                .map(|metric| judge(&trigger(metric, 1_000), &pair, None).outcome)
        };
        assert_eq!(reported(most, most, most), [Outcome::Fail; 2]);
        assert_eq!(reported(most, 0, 0), [Outcome::Pass; 2]);
    }

    #[test]
    fn what_fails_for_both_versions_is_not_the_new_ones_fault() {
        assert_eq!(of_errors((20, 1_000), (30, 1_000)), Outcome::Inconclusive);
        assert_eq!(of_errors((20, 1_000), (0, 0)), Outcome::Fail);
    }

    #[test]
    fn the_budget_burns_if_it_does_over_both_windows() {
        let trigger = trigger(Metric::BudgetBurn, 14_400_000);
        let pair = |errors_of: u64| Pair { new: errors(errors_of, 1_000), old: errors(0, 1_000) };
        let judged = |long, short| judge(&trigger, &pair(long), Some(&pair(short))).outcome;
        assert_eq!(judged(30, 30), Outcome::Fail);
        assert_eq!(judged(30, 0), Outcome::Inconclusive);
        assert_eq!(judged(0, 30), Outcome::Pass);
        // In the short one a few answers are enough to say that it is over, or is not.
        let few = |errors_of| Pair { new: errors(errors_of, 20), old: errors(0, 20) };
        let short = |errors_of| judge(&trigger, &pair(30), Some(&few(errors_of))).outcome;
        assert_eq!([short(1), short(0)], [Outcome::Fail, Outcome::Inconclusive]);
        let found = judge(&trigger, &pair(30), None);
        assert_eq!((found.value, found.control), (Some(30_000_000), Some(0)));
    }

    #[test]
    fn counts_say_nothing_where_nobody_looked() {
        let probes = |failures, probes| {
            let new = Tally { probes, probe_failures: failures, ..Tally::default() };
            let pair = Pair { new, old: Tally::default() };
            judge(&trigger(Metric::ProbeFailures, 0), &pair, None).outcome
        };
        assert_eq!(probes(0, 0), Outcome::NoData);
        assert_eq!([probes(0, 1), probes(1, 9)], [Outcome::Pass, Outcome::Fail]);
    }

    #[test]
    fn latency_is_compared_with_the_control_of_the_same_time() {
        let of = |nanoseconds, count| {
            let mut tally = Tally::default();
            (0..count).for_each(|_| tally.latency.count(nanoseconds));
            tally
        };
        let judged =
            |new, old| judge(&trigger(Metric::LatencyRatio, 1_900_000), &Pair { new, old }, None);
        assert_eq!(judged(of(20_000, 100), of(20_000, 100)).outcome, Outcome::Pass);
        assert_eq!(judged(of(40_000, 100), of(20_000, 100)).outcome, Outcome::Fail);
        assert_eq!(judged(of(40_000, 99), of(20_000, 100)).outcome, Outcome::Inconclusive);
        assert_eq!(judged(of(40_000, 100), Tally::default()).outcome, Outcome::Inconclusive);
        assert_eq!(judged(Tally::default(), of(1, 100)).outcome, Outcome::NoData);
    }

    #[test]
    fn a_class_of_latency_begins_at_what_falls_into_it() {
        for nanoseconds in [2, 3, 4, 5, 6, 7, 1_000, 1_500_000, u64::MAX / 4] {
            let class = Latency::class(nanoseconds);
            let floor = Latency::floor(class);
            assert!(floor <= nanoseconds && nanoseconds < floor + floor, "{nanoseconds}: {floor}");
            assert_eq!(Latency::class(floor), class);
        }
    }

    #[test]
    fn what_is_older_than_the_longest_window_is_forgotten_and_the_stage_counts_on() {
        let plan = Builtin::Standard.plan().unwrap();
        let stage = plan.stages.iter().find(|stage| !stage.triggers.is_empty()).unwrap();
        let mut series = Series::of(stage);
        let hour = 3_600_000;
        for at in 0..100 {
            series.count(Served::from_ms(at * hour / 10), Side::New, |tally| tally.requests += 1);
        }
        let now = Served::from_ms(99 * hour / 10);
        assert_eq!(series.all().new.requests, 100);
        assert_eq!(series.window(now, hour).new.requests, 11);
        assert_eq!(series.window(now, hour).old.requests, 0);
        assert!(series.spans.len() < 16, "{}", series.spans.len());
    }
}
