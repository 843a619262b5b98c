//! What verifiers report of a key that a rollout moves: how it is judged, and its course.
//!
//! Reports are their word, however large. So none decides alone, neither for the new version nor against it: each is judged
//! by itself, and what all others say is judged without the one that says most.

use chancery_core::clock::Served;
use chancery_core::id::VerifierId;
use chancery_core::rollout::{Metric, Outcome, Pair, Tally, Trigger, judge};

/// Parts of a window whose course is kept: 16.
const PARTS: u64 = 16;

/// What verifiers reported of both versions of a key.
pub(crate) trait Reports {
    /// In the last so many milliseconds: by verifier.
    fn within(&self, window_ms: u64) -> Vec<(VerifierId, Pair)>;

    /// When one last reported something of the old version, in this stage.
    fn old_seen(&self) -> Option<Served>;
}

/// The counts that a trigger is judged by, and whose reports hold what it looks for. The trigger fails by them
///
/// - if those of all verifiers do that do not fail by themselves, or of all of these but the one that reported most: else
///   one that reports millions would speak for all the others;
/// - else by the counts of one that fails by itself. It counts if there are as many of these as the trigger asks for.
///
/// It passes by the counts of all, if none fails by itself.
pub(super) fn decisive(trigger: &Trigger, all: &[(VerifierId, Pair)]) -> (Pair, Vec<VerifierId>) {
    let fails = |pair: &Pair| judge(trigger, pair, None).outcome == Outcome::Fail;
    let (failing, others): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|(_, pair)| fails(pair));
    let mut by: Vec<_> = failing.iter().map(|(id, _)| *id).collect();
    let without_most = without_most(trigger.metric, &others);
    for some in [&others, &without_most] {
        let counts = sum(some);
        if fails(&counts) {
            by.extend(who_report(trigger, some));
            return (counts, by);
        }
    }
    let of_one = failing.into_iter().next().map(|(_, pair)| pair);
    (of_one.unwrap_or_else(|| sum(&others)), by)
}

/// All but the one that reported most of the new version.
fn without_most(metric: Metric, all: &[(VerifierId, Pair)]) -> Vec<(VerifierId, Pair)> {
    let reported = |pair: &Pair| {
        let Tally { verified, rejected, unknown, .. } = pair.new;
        let shown = verified.saturating_add(rejected);
        if metric == Metric::UnknownKeyRate { shown.saturating_add(unknown) } else { shown }
    };
    let most = all.iter().max_by_key(|(_, pair)| reported(pair)).map(|(id, _)| *id);
    all.iter().filter(|(id, _)| Some(*id) != most).cloned().collect()
}

/// What some of them reported together.
pub(super) fn sum(reported: &[(VerifierId, Pair)]) -> Pair {
    let add = |mut sum: Tally, one: &Tally| {
        sum.verified = sum.verified.saturating_add(one.verified);
        sum.rejected = sum.rejected.saturating_add(one.rejected);
        sum.unknown = sum.unknown.saturating_add(one.unknown);
        sum
    };
    reported.iter().fold(Pair::default(), |sum, (_, pair)| Pair {
        new: add(sum.new, &pair.new),
        old: add(sum.old, &pair.old),
    })
}

/// What verifiers reported in each sixteenth of the time before now, in which they reported anything.
pub(super) fn course(reports: &dyn Reports, window_ms: u64, now: Served) -> Vec<(Served, Pair)> {
    let part_ms = (window_ms / PARTS).max(1);
    let since = |parts: u64| sum(&reports.within(parts.saturating_mul(part_ms)));
    let mut spans = Vec::new();
    let mut longer = since(PARTS);
    for parts in (0..PARTS).rev() {
        let shorter = if parts == 0 { Pair::default() } else { since(parts) };
        let between = less(&longer, &shorter);
        if between != Pair::default() {
            let ago_ms = part_ms.saturating_mul(parts + 1);
            spans.push((Served::from_ms(now.as_ms().saturating_sub(ago_ms)), between));
        }
        longer = shorter;
    }
    spans
}

/// What verifiers reported in the longer of two times and not in the shorter.
fn less(longer: &Pair, shorter: &Pair) -> Pair {
    let tally = |longer: &Tally, shorter: &Tally| Tally {
        verified: longer.verified.saturating_sub(shorter.verified),
        rejected: longer.rejected.saturating_sub(shorter.rejected),
        unknown: longer.unknown.saturating_sub(shorter.unknown),
        ..Tally::default()
    };
    Pair { new: tally(&longer.new, &shorter.new), old: tally(&longer.old, &shorter.old) }
}

/// The verifiers whose own reports hold what the trigger looks for.
fn who_report(trigger: &Trigger, reported: &[(VerifierId, Pair)]) -> Vec<VerifierId> {
    let fails = |pair: &Pair| match trigger.metric {
        Metric::UnknownKeyRate => pair.new.unknown > 0,
        _ => pair.new.rejected > 0,
    };
    reported.iter().filter(|(_, pair)| fails(pair)).map(|(id, _)| *id).collect()
}
