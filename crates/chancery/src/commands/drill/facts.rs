//! What was seen in a drill, and what of it was supposed to be seen.

use std::time::Duration;

use chancery_core::rollout::StageName;

use super::fault::Fault;
use super::traffic::Counts;

/// How soon a person's order takes effect: within a second.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How soon the new version signs nothing more, once failures are shown: 10 s, of which the reports of two verifiers take one.
const TAKEN_BACK: Duration = Duration::from_secs(10);

/// Something that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It stayed in `ready` while it was watched, and the new version signed nothing.
    Waited,
    /// It went on after a person's override.
    WentOn,
    /// It stayed where it was while nobody looked, though its gates were open.
    StoodStill,
    /// After a restart it was found where the record says, or further.
    Resumed,
}

/// What was seen. Nothing of it was seen by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// How the rollout stands at the end, and why if it stopped.
    pub(super) status: String,
    pub(super) halt: Option<&'static str>,
    /// Every stage that it was seen in, in order.
    pub(super) stages: Vec<StageName>,
    /// What was waited for and seen.
    pub(super) seen: Vec<Seen>,
    /// How long a person's rollback took.
    pub(super) order_took: Option<Duration>,
    /// Why its steps were taken, by its evidence, if that holds.
    pub(super) whys: Option<Vec<&'static str>>,
    /// What came of the traffic.
    pub(super) counts: Counts,
}

/// One thing that was supposed to be so.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    pub(super) what: &'static str,
    pub(super) holds: bool,
}

/// What a hypothesis expects, held against what was seen.
pub(super) fn judge(hypothesis: Fault, facts: &Facts) -> Vec<Expectation> {
    let mut all = vec![
        expect("no request was refused", facts.counts.refused == 0),
        expect("every request was answered", facts.counts.unanswered == 0),
        expect(
            "no verifier that follows refused a good signature, or took an altered one",
            facts.counts.misjudged == 0,
        ),
        expect("the evidence verifies without the service", facts.whys.is_some()),
    ];
    all.extend(of(hypothesis, facts));
    all
}

fn expect(what: &'static str, holds: bool) -> Expectation {
    Expectation { what, holds }
}

fn of(hypothesis: Fault, facts: &Facts) -> Vec<Expectation> {
    let because = |why| facts.whys.as_ref().is_some_and(|whys| whys.contains(&why));
    let is_back = facts.status == "rolled-back";
    let saw = |what| facts.seen.contains(&what);
    match hypothesis {
        Fault::None => vec![
            expect("it went through to its end", facts.status == "done"),
            expect("both versions signed", facts.counts.by_old > 0 && facts.counts.by_new > 0),
            expect("it was begun for no trigger and none fired", !because("error-rate")),
        ],
        Fault::BadVerifier => vec![
            expect("it waited in `ready`, and the new version signed nothing", saw(Seen::Waited)),
            expect("a person's override let it go on", saw(Seen::WentOn)),
            expect("the override is on record", because("overridden-acknowledged")),
        ],
        Fault::VerifyFailures => vec![
            expect("it went back by itself", is_back && facts.halt == Some("trigger")),
            expect("the trigger on verify failures is on record", because("verify-failure-rate")),
            expect(
                "the new version signed nothing more within ten seconds",
                taken_back(&facts.counts).is_some_and(|took| took <= TAKEN_BACK),
            ),
        ],
        Fault::SlowVersion => vec![
            expect("it went back by itself", is_back && facts.halt == Some("trigger")),
            expect("the trigger on latency is on record", because("latency-ratio")),
        ],
        Fault::MissingTelemetry => vec![
            expect("it paused", facts.halt == Some("no-data")),
            expect("the pause for want of data is on record", because("no-data")),
        ],
        Fault::AnalyserDead => vec![
            expect("nothing went on while nobody looked", saw(Seen::StoodStill)),
            expect("a person's rollback took it back", is_back && facts.halt == Some("person")),
            expect(
                "it did so within a second",
                facts.order_took.is_some_and(|took| took <= AT_ONCE),
            ),
        ],
        Fault::Restart => vec![
            expect("it was found where the record says", saw(Seen::Resumed)),
            expect("it went on to `full`", facts.stages.contains(&StageName::Full)),
            expect("no stage was skipped", skips_none(&facts.stages)),
        ],
    }
}

/// From the first altered signature that was shown to the last by the new version.
pub(super) fn taken_back(counts: &Counts) -> Option<Duration> {
    let (first, last) = (counts.first_altered?, counts.last_new?);
    Some(last.saturating_duration_since(first))
}

/// Whether stages were come to in their order, and both before the new version stands alone were.
fn skips_none(stages: &[StageName]) -> bool {
    let has = |stage| stages.contains(&stage);
    stages.is_sorted() && has(StageName::Canary) && has(StageName::Ramp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        let counts = Counts { by_old: 1, by_new: 1, ..Counts::default() };
        Facts { status: "done".into(), whys: Some(vec!["gates-open"]), counts, ..Facts::default() }
    }

    fn holds(hypothesis: Fault, facts: &Facts) -> bool {
        judge(hypothesis, facts).iter().all(|it| it.holds)
    }

    #[test]
    fn what_was_not_seen_holds_for_no_hypothesis() {
        for fault in Fault::ALL {
            assert!(!holds(fault, &Facts::default()), "{fault:?}");
        }
    }

    #[test]
    fn a_rotation_that_went_through_is_what_none_expects_and_nothing_else() {
        let expected = |fault| holds(fault, &good());
        assert_eq!(Fault::ALL.map(expected), [true, false, false, false, false, false, false]);
        for spoilt in [
            |it: &mut Facts| it.counts.refused = 1,
            |it| it.counts.unanswered = 1,
            |it| it.counts.misjudged = 1,
            |it| it.whys = None,
            |it| it.counts.by_new = 0,
            |it| it.status = "aborted".into(),
        ] as [fn(&mut Facts); 6]
        {
            let mut facts = good();
            spoilt(&mut facts);
            assert!(!holds(Fault::None, &facts));
        }
    }

    #[test]
    fn who_went_back_too_late_did_not_go_back_in_time() {
        let now = std::time::Instant::now();
        let facts = |after_ms| {
            let mut facts = good();
            (facts.status, facts.halt) = ("rolled-back".into(), Some("trigger"));
            facts.whys = Some(vec!["verify-failure-rate"]);
            facts.counts.first_altered = Some(now);
            facts.counts.last_new = Some(now + Duration::from_millis(after_ms));
            facts
        };
        assert!(holds(Fault::VerifyFailures, &facts(900)));
        assert!(!holds(Fault::VerifyFailures, &facts(10_001)));
    }
}
