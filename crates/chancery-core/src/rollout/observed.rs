//! What the engine is told about the world, and what it makes of it.
//!
//! It is told the whole picture at each step and no events, so that nothing is lost with a message that is. A picture
//! carries the epoch of the schedule under which it was made: what was seen under another schedule is no evidence of
//! this one, however late it comes. The analysis holds no power: it says what it saw.
//!
//! **Invariant:** what is missing, old, dated ahead, not a number, or reported by too few, is never [`Standing::Pass`].

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::plan::{Paths, Trigger};
use crate::clock::Served;
use crate::epoch::Epoch;
use crate::id::VerifierId;

/// A registered verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Verifier {
    /// Which.
    #[n(0)]
    pub id: VerifierId,
    /// The epoch of the latest bundle that it says it uses.
    #[n(1)]
    pub acknowledged: Option<Epoch>,
}

/// What the analysis says of one trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// The value does not fire it.
    #[n(0)]
    Pass,
    /// The value fires it.
    #[n(1)]
    Fail,
    /// It cannot tell.
    #[n(2)]
    Inconclusive,
    /// There was nothing to look at.
    #[n(3)]
    NoData,
    /// It came to no number.
    #[n(4)]
    NotANumber,
}

/// A verdict of the analysis on one trigger of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict<'a> {
    /// The trigger's place in the stage.
    pub trigger: u8,
    /// What was found.
    pub outcome: Outcome,
    /// The value, in millionths, where there is one.
    pub value: Option<u64>,
    /// When it was found.
    pub at: Served,
    /// Which verifiers' reports it rests on.
    pub reporters: &'a [VerifierId],
}

/// What was seen under one schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Observed<'a> {
    /// The epoch of the schedule that it was seen under: the rollout's `entered.epoch`.
    pub schedule: Epoch,
    /// How many answers the new version gave.
    pub samples: u64,
    /// Which paths were gone.
    pub exercised: Paths,
    /// The latest verdicts.
    pub verdicts: &'a [Verdict<'a>],
    /// Versions whose signatures did not verify in the signer.
    pub broken: &'a [u32],
    /// When anything of the old version was last seen; nothing if nobody looked.
    pub old_seen: Option<Served>,
    /// How many ciphertexts of the old version are left; nothing if nobody counted.
    pub remaining: Option<u64>,
}

impl Observed<'_> {
    /// Nothing was seen.
    pub const NOTHING: Self = Observed {
        schedule: Epoch { generation: 0, number: 0 },
        samples: 0,
        exercised: Paths::NONE,
        verdicts: &[],
        broken: &[],
        old_seen: None,
        remaining: None,
    };
}

/// How a trigger stands, once age and origin of its verdict are taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Standing {
    /// It does not fire, and somebody looked.
    #[n(0)]
    Pass,
    /// It fires.
    #[n(1)]
    Fail,
    /// It would, but too few verifiers reported it: neither evidence for nor against.
    #[n(2)]
    FewReporters {
        /// How many did.
        #[n(0)]
        have: u16,
        /// How many must.
        #[n(1)]
        need: u16,
    },
    /// The analysis cannot tell.
    #[n(3)]
    Inconclusive,
    /// There is no verdict.
    #[n(4)]
    NoData,
    /// It is too old, or dated ahead.
    #[n(5)]
    Stale,
    /// The analysis came to no number.
    #[n(6)]
    NotANumber,
}

/// Since when a stage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) schedule: Epoch,
    pub(super) served: Served,
}

/// How the trigger at a place of its stage stands.
pub(super) fn standing(
    (place, trigger): (usize, &Trigger),
    observed: &Observed<'_>,
    verifiers: &[Verifier],
    since: Since,
    now: Served,
) -> Standing {
    if observed.schedule != since.schedule {
        return Standing::NoData;
    }
    let of_trigger = observed.verdicts.iter().filter(|it| usize::from(it.trigger) == place);
    // Of two at one time, the one that comes later in the list.
    let Some(latest) = of_trigger.max_by_key(|verdict| verdict.at) else { return Standing::NoData };
    if latest.at < since.served {
        return Standing::NoData;
    }
    let age = now.as_ms().checked_sub(latest.at.as_ms());
    if age.is_none_or(|age| age > trigger.stale_ms) {
        return Standing::Stale;
    }
    match latest.outcome {
        // The verdict contradicts the value that it rests on.
        Outcome::Pass if latest.value.is_some_and(|value| trigger.fires(value)) => {
            Standing::Inconclusive
        }
        Outcome::Pass => Standing::Pass,
        Outcome::Fail => failing(trigger, latest.reporters, verifiers),
        Outcome::Inconclusive => Standing::Inconclusive,
        Outcome::NoData => Standing::NoData,
        Outcome::NotANumber => Standing::NotANumber,
    }
}

/// A failure counts if enough different registered verifiers reported it.
fn failing(trigger: &Trigger, reporters: &[VerifierId], verifiers: &[Verifier]) -> Standing {
    let is_registered = |id: &VerifierId| verifiers.iter().any(|verifier| verifier.id == *id);
    let distinct: BTreeSet<_> = reporters.iter().filter(|id| is_registered(id)).collect();
    let have = u16::try_from(distinct.len()).unwrap_or(u16::MAX);
    if trigger.metric.is_reported() && have < trigger.reporters {
        return Standing::FewReporters { have, need: trigger.reporters };
    }
    Standing::Fail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::plan::{Comparator, Metric, Response};

    const SINCE: Since =
        Since { schedule: Epoch { generation: 0, number: 5 }, served: Served::from_ms(100) };
    const ONE: VerifierId = VerifierId::from_bytes([1; 16]);
    const TWO: VerifierId = VerifierId::from_bytes([2; 16]);
    const STRANGER: VerifierId = VerifierId::from_bytes([9; 16]);

    fn trigger(metric: Metric, reporters: u16) -> Trigger {
        Trigger {
            metric,
            comparator: Comparator::Above,
            threshold: 10,
            window_ms: 10,
            short_window_ms: None,
            stale_ms: 20,
            response: Response::RollBack,
            reporters,
        }
    }

    fn verdict(outcome: Outcome, at: u64) -> Verdict<'static> {
        Verdict { trigger: 0, outcome, value: None, at: Served::from_ms(at), reporters: &[] }
    }

    fn check(verdicts: &[Verdict<'_>], now: u64, trigger: &Trigger, expected: Standing) {
        let observed = Observed { schedule: SINCE.schedule, verdicts, ..Observed::NOTHING };
        let verifiers = [ONE, TWO].map(|id| Verifier { id, acknowledged: None });
        let found = standing((0, trigger), &observed, &verifiers, SINCE, Served::from_ms(now));
        assert_eq!(found, expected, "{verdicts:?} at {now}");
    }

    #[test]
    fn only_a_fresh_verdict_of_this_stage_counts() {
        let trigger = trigger(Metric::ErrorRate, 0);
        let pass = |at| verdict(Outcome::Pass, at);
        check(&[], 120, &trigger, Standing::NoData);
        check(&[Verdict { trigger: 1, ..pass(110) }], 120, &trigger, Standing::NoData);
        check(&[pass(99)], 100, &trigger, Standing::NoData);
        check(&[pass(100)], 120, &trigger, Standing::Pass);
        check(&[pass(100)], 121, &trigger, Standing::Stale);
        check(&[pass(121)], 120, &trigger, Standing::Stale);
        let late = Observed {
            schedule: Epoch { generation: 0, number: 4 },
            verdicts: &[pass(110)],
            ..Observed::NOTHING
        };
        let found = standing((0, &trigger), &late, &[], SINCE, Served::from_ms(110));
        assert_eq!(found, Standing::NoData);
    }

    #[test]
    fn the_latest_verdict_counts_whatever_the_order() {
        let trigger = trigger(Metric::ErrorRate, 0);
        let (pass, fail) = (verdict(Outcome::Pass, 110), verdict(Outcome::Fail, 112));
        check(&[pass, fail], 115, &trigger, Standing::Fail);
        check(&[fail, pass], 115, &trigger, Standing::Fail);
    }

    #[test]
    fn a_verdict_that_contradicts_its_value_tells_nothing() {
        let trigger = trigger(Metric::ErrorRate, 0);
        let pass = |value| Verdict { value: Some(value), ..verdict(Outcome::Pass, 110) };
        check(&[pass(10)], 110, &trigger, Standing::Pass);
        check(&[pass(11)], 110, &trigger, Standing::Inconclusive);
    }

    #[test]
    fn what_verifiers_report_takes_enough_different_registered_ones() {
        let trigger = trigger(Metric::VerifyFailureRate, 2);
        let fail = |reporters| Verdict { reporters, ..verdict(Outcome::Fail, 110) };
        let few = |have| Standing::FewReporters { have, need: 2 };
        check(&[fail(&[])], 110, &trigger, few(0));
        check(&[fail(&[ONE])], 110, &trigger, few(1));
        check(&[fail(&[ONE, ONE])], 110, &trigger, few(1));
        check(&[fail(&[ONE, STRANGER])], 110, &trigger, few(1));
        check(&[fail(&[ONE, STRANGER, TWO])], 110, &trigger, Standing::Fail);
    }
}
