//! What was seen in a drill, and what of it was supposed to be seen.

use std::time::Duration;

use chancery_core::rollout::{Metric, StageName};

use super::fault::Fault;
use super::traffic::Counts;

/// How soon a person's order takes effect: within a second.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How soon the new version signs nothing more, once failures are shown: 10 s, of which the reports of two verifiers take one.
const TAKEN_BACK: Duration = Duration::from_secs(10);

/// Requests of the canary's consumers that are watched after a rollback: 10, as many as one round of all consumers has.
pub(super) const WATCHED_OF_CANARY: u64 = 10;

/// Something that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It stayed in `ready` while it was watched, and the new version signed nothing.
    Waited,
    /// It went on after a person's override.
    WentOn,
    /// It stayed where it was while nobody looked, though its gates were open.
    StoodStill,
    /// It stayed paused while it was watched.
    StayedPaused,
    /// After a restart it was found where the record says, or further.
    Resumed,
}

/// What was seen. Nothing of it was seen by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// How the rollout stands at the end, and why if it stopped.
    pub(super) status: String,
    pub(super) halt: Option<&'static str>,
    /// What was waited for and seen.
    pub(super) seen: Vec<Seen>,
    /// How long a person's rollback took.
    pub(super) order_took: Option<Duration>,
    /// What its evidence shows, if that holds.
    pub(super) on_record: Option<OnRecord>,
    /// What came of the traffic.
    pub(super) counts: Counts,
}

/// What the evidence of a rollout shows of its steps.
#[derive(Clone, Debug, Default)]
pub(super) struct OnRecord {
    /// Why they were taken.
    pub(super) whys: Vec<&'static str>,
    /// The stages that they led to, each once where several steps stayed in it.
    pub(super) stages: Vec<StageName>,
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
        expect("the evidence verifies without the service", facts.on_record.is_some()),
    ];
    // Whoever asks while the service is restarted has to ask again.
    if hypothesis != Fault::Restart {
        all.push(expect("no request had to be asked again", facts.counts.repeated == 0));
    }
    all.extend(of(hypothesis, facts));
    all
}

fn expect(what: &'static str, holds: bool) -> Expectation {
    Expectation { what, holds }
}

fn of(hypothesis: Fault, facts: &Facts) -> Vec<Expectation> {
    let because = |why| facts.on_record.as_ref().is_some_and(|shown| shown.whys.contains(&why));
    let is_back = facts.status == "rolled-back";
    let saw = |what| facts.seen.contains(&what);
    let came_to = |so: fn(&[StageName]) -> bool| {
        facts.on_record.as_ref().is_some_and(|shown| so(&shown.stages))
    };
    match hypothesis {
        Fault::None => vec![
            expect("it went through to its end", facts.status == "done"),
            expect("both versions signed", facts.counts.by_old > 0 && facts.counts.by_new > 0),
            expect("no trigger fired", has_no_trigger(facts)),
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
            signs_nothing_more(facts),
        ],
        Fault::SlowVersion => vec![
            expect("it went back by itself", is_back && facts.halt == Some("trigger")),
            expect("the trigger on latency is on record", because("latency-ratio")),
            signs_nothing_more(facts),
        ],
        Fault::MissingTelemetry => vec![
            expect("it paused", facts.halt == Some("no-data")),
            expect("it stayed paused", saw(Seen::StayedPaused)),
            expect("the pause for want of data is on record", because("no-data")),
        ],
        Fault::AnalyserDead => vec![
            expect("nothing went on while nobody looked", saw(Seen::StoodStill)),
            expect("a person's rollback took it back", is_back && facts.halt == Some("person")),
            expect(
                "it did so within a second",
                facts.order_took.is_some_and(|took| took <= AT_ONCE),
            ),
            signs_nothing_more(facts),
        ],
        Fault::Restart => vec![
            expect("it was found where the record says", saw(Seen::Resumed)),
            expect("it went on to `full`", came_to(|stages| stages.contains(&StageName::Full))),
            expect("no stage was skipped", came_to(skips_none)),
        ],
    }
}

/// Whether its evidence shows no step that a trigger had taken, and it stands where none put it.
fn has_no_trigger(facts: &Facts) -> bool {
    let is_of_trigger = |why: &&str| Metric::ALL.iter().any(|metric| metric.code() == *why);
    let has_one = |shown: &OnRecord| shown.whys.iter().any(is_of_trigger);
    facts.halt != Some("trigger") && facts.on_record.as_ref().is_some_and(|shown| !has_one(shown))
}

/// That it was seen to be back says what is declared; who signs then, what is so.
fn signs_nothing_more(facts: &Facts) -> Expectation {
    let after = facts.counts.after;
    expect(
        "of the requests after that, the canary's consumers' included, the new version signed none",
        after.of_canary >= WATCHED_OF_CANARY && after.by_new == 0,
    )
}

/// From the first altered signature that was shown to the last by the new version.
pub(super) fn taken_back(counts: &Counts) -> Option<Duration> {
    let (first, last) = (counts.first_altered?, counts.last_new?);
    Some(last.saturating_duration_since(first))
}

/// Whether stages were come to in their order, from the first on, and none before the last was left out.
fn skips_none(stages: &[StageName]) -> bool {
    !stages.is_empty() && StageName::ALL.starts_with(stages)
}

#[cfg(test)]
mod tests {
    use super::super::traffic::Afterwards;
    use super::*;

    fn on_record(whys: &[&'static str]) -> OnRecord {
        OnRecord { whys: whys.to_vec(), stages: StageName::ALL.to_vec() }
    }

    /// Facts of which the fault's hypothesis expects every one.
    fn good(fault: Fault) -> Facts {
        let after = Afterwards { signed: 100, of_canary: WATCHED_OF_CANARY, by_new: 0 };
        let now = std::time::Instant::now();
        let counts = Counts {
            by_old: 1,
            by_new: 1,
            first_altered: Some(now),
            last_new: Some(now + TAKEN_BACK),
            after,
            ..Counts::default()
        };
        let base =
            Facts { counts, on_record: Some(on_record(&["gates-open"])), ..Facts::default() };
        let back = |halt, why| Facts {
            status: "rolled-back".into(),
            halt: Some(halt),
            on_record: Some(on_record(&[why])),
            ..base.clone()
        };
        match fault {
            Fault::None => Facts { status: "done".into(), ..base },
            Fault::BadVerifier => Facts {
                seen: vec![Seen::Waited, Seen::WentOn],
                on_record: Some(on_record(&["overridden-acknowledged"])),
                ..base
            },
            Fault::VerifyFailures => back("trigger", "verify-failure-rate"),
            Fault::SlowVersion => back("trigger", "latency-ratio"),
            Fault::MissingTelemetry => Facts {
                halt: Some("no-data"),
                seen: vec![Seen::StayedPaused],
                on_record: Some(on_record(&["no-data"])),
                ..base
            },
            Fault::AnalyserDead => Facts {
                seen: vec![Seen::StoodStill],
                order_took: Some(AT_ONCE),
                ..back("person", "person")
            },
            Fault::Restart => Facts { seen: vec![Seen::Resumed], ..base },
        }
    }

    fn holds(hypothesis: Fault, facts: &Facts) -> bool {
        judge(hypothesis, facts).iter().all(|it| it.holds)
    }

    /// A way in which facts are not what was expected.
    type Spoilt = fn(&mut Facts);

    /// What was expected holds, and no longer once one of these is so.
    #[track_caller]
    fn check(fault: Fault, spoilt: &[Spoilt]) {
        assert!(holds(fault, &good(fault)), "{fault:?}: {:?}", judge(fault, &good(fault)));
        for (place, spoil) in spoilt.iter().enumerate() {
            let mut facts = good(fault);
            spoil(&mut facts);
            assert!(!holds(fault, &facts), "{fault:?}: {place}");
        }
    }

    fn whys(facts: &mut Facts, whys: &[&'static str]) {
        facts.on_record = Some(on_record(whys));
    }

    #[test]
    fn what_was_not_seen_holds_for_no_hypothesis() {
        for fault in Fault::ALL {
            assert!(!holds(fault, &Facts::default()), "{fault:?}");
        }
    }

    #[test]
    fn a_rotation_that_went_through_is_what_none_expects_and_nothing_else() {
        let facts = good(Fault::None);
        let expected = |fault| holds(fault, &facts);
        assert_eq!(Fault::ALL.map(expected), [true, false, false, false, false, false, false]);
    }

    #[test]
    fn whatever_the_fault_requests_are_answered_and_judged_rightly_and_evidence_verifies() {
        for fault in Fault::ALL {
            check(
                fault,
                &[
                    |it| it.counts.refused = 1,
                    |it| it.counts.unanswered = 1,
                    |it| it.counts.misjudged = 1,
                    |it| it.on_record = None,
                ],
            );
        }
    }

    #[test]
    fn requests_are_asked_again_during_a_restart_alone() {
        for fault in Fault::ALL {
            let mut facts = good(fault);
            facts.counts.repeated = 1;
            assert_eq!(holds(fault, &facts), fault == Fault::Restart, "{fault:?}");
        }
    }

    #[test]
    fn without_a_fault_both_versions_sign_it_is_done_and_no_trigger_fires() {
        check(
            Fault::None,
            &[
                |it| it.counts.by_new = 0,
                |it| it.counts.by_old = 0,
                |it| it.status = "aborted".into(),
                |it| it.halt = Some("trigger"),
            ],
        );
        for metric in Metric::ALL {
            let mut facts = good(Fault::None);
            whys(&mut facts, &["gates-open", metric.code()]);
            assert!(!holds(Fault::None, &facts), "{metric:?}");
        }
    }

    #[test]
    fn after_a_rollback_the_new_version_signs_for_none_of_the_canarys_consumers() {
        for fault in [Fault::VerifyFailures, Fault::SlowVersion, Fault::AnalyserDead] {
            check(
                fault,
                &[
                    |it| it.counts.after.by_new = 1,
                    // Too few were watched to say so.
                    |it| it.counts.after.of_canary = WATCHED_OF_CANARY - 1,
                    |it| it.status = "aborted".into(),
                    |it| it.halt = Some("deadline"),
                ],
            );
        }
    }

    #[test]
    fn who_went_back_too_late_or_for_another_reason_did_not_go_back_as_declared() {
        check(
            Fault::VerifyFailures,
            &[
                |it| it.counts.last_new = it.counts.last_new.map(|at| at + AT_ONCE),
                |it| it.counts.first_altered = None,
                |it| whys(it, &["error-rate"]),
            ],
        );
        check(Fault::SlowVersion, &[|it| whys(it, &["error-rate"])]);
        check(
            Fault::AnalyserDead,
            &[|it| it.order_took = Some(AT_ONCE + AT_ONCE), |it| it.seen.clear()],
        );
    }

    #[test]
    fn what_waits_is_seen_to_wait_and_says_why_on_record() {
        check(
            Fault::BadVerifier,
            &[
                |it| it.seen = vec![Seen::WentOn],
                |it| it.seen = vec![Seen::Waited],
                |it| whys(it, &["gates-open"]),
            ],
        );
        check(
            Fault::MissingTelemetry,
            &[|it| it.halt = Some("person"), |it| it.seen.clear(), |it| whys(it, &["gates-open"])],
        );
    }

    #[test]
    fn a_restart_skips_no_stage_on_record() {
        let stages = |facts: &mut Facts, stages: &[StageName]| {
            facts.on_record = Some(OnRecord { stages: stages.to_vec(), ..OnRecord::default() });
        };
        check(Fault::Restart, &[|it| it.seen.clear()]);
        let up_to = |last: usize| StageName::ALL.get(..last).unwrap_or_default().to_vec();
        let without = |left_out| {
            let mut stages = StageName::ALL.to_vec();
            stages.retain(|stage| *stage != left_out);
            stages
        };
        let mut facts = good(Fault::Restart);
        stages(&mut facts, &up_to(5));
        assert!(holds(Fault::Restart, &facts));
        for wrong in [
            up_to(4),
            without(StageName::Publish),
            without(StageName::Ready),
            without(StageName::Canary),
            without(StageName::Ramp),
        ] {
            stages(&mut facts, &wrong);
            assert!(!holds(Fault::Restart, &facts), "{wrong:?}");
        }
    }
}
