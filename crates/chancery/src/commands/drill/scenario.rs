//! What a drill does, fault by fault, and what it sees.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use chancery_api::http::replies::{AnswerObject, GateObject, RolloutObject};
use chancery_core::command::Command;
use chancery_core::id::RolloutId;
use chancery_core::rollout::{Cause, Order, Overridable, Plan, Rotation, StageName};
use chancery_core::suite::Suite;

use super::facts::{Facts, Seen, WATCHED_OF_CANARY};
use super::fault::Fault;
use super::restart;
use super::stand::Stand;
use super::traffic::Traffic;
use crate::commands::{command, fresh_operation, read, unexpected};
use crate::exit::Failure;
use crate::render::remark;

/// How often the rollout is looked at: ten times a second.
const POLL: Duration = Duration::from_millis(100);

/// How long a stage may take to come: 90 s; the longest wait of a drill's plan is a few.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// How long something is watched that should stay as it is: 3 s, twelve looks of the service.
const WATCHED: Duration = Duration::from_secs(3);

/// For how long the service is told not to look: a minute, longer than the drill watches.
const STILL_MS: u64 = 60_000;

/// How long the traffic goes on at least after the end, to see who signs then: 1 s, four looks of the service.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The slow version: what it takes to sign is a hundred times that of Ed25519.
const SLOW: Suite = Suite::RsaPss4096;

/// How a rollout stands that goes on when its gates open.
const RUNNING: &str = "running";

/// The gate that waits for a person.
const PERSON: &str = "person";

/// What happened, and when.
#[derive(Debug)]
pub(super) struct Diary {
    began: Instant,
    entries: RefCell<Vec<(u64, String)>>,
}

impl Diary {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), entries: RefCell::default() }
    }

    /// Notes something, and says it.
    pub(super) fn note(&self, what: impl Into<String>) {
        let (what, after) = (what.into(), self.began.elapsed());
        remark(&format!("chancery drill: {:>7.2} s  {what}", after.as_secs_f64()));
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.entries.borrow_mut().push((after_ms, what));
    }

    /// All of it: after so many milliseconds, and what.
    pub(super) fn entries(&self) -> Vec<(u64, String)> {
        self.entries.borrow().clone()
    }
}

/// A drill under way.
pub(super) struct Scenario<'a> {
    pub(super) stand: &'a Stand,
    pub(super) traffic: &'a Traffic<'a>,
    pub(super) diary: &'a Diary,
    /// Set by a signal.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) restart_command: Option<&'a str>,
    pub(super) rollout: RolloutId,
    pub(super) facts: RefCell<Facts>,
}

/// Begins the rotation of a drill.
pub(super) fn begin(stand: &Stand, fault: Fault, plan: Plan) -> Result<RolloutId, Failure> {
    let suite = (fault == Fault::SlowVersion).then_some(SLOW);
    let (key, cause) = (stand.scratch.key.clone(), Cause::Drill);
    let rotation = Rotation { key, plan, cause, suite, version: None };
    let answer =
        command(&stand.scratch.client, &Command::Rotate(rotation), fresh_operation()?)?.answer;
    let AnswerObject::Rollout(rollout) = answer else { return Err(unexpected()) };
    Ok(rollout.id)
}

impl Scenario<'_> {
    /// Induces a fault, and sees what comes of it.
    pub(super) fn induce(&self, fault: Fault) -> Result<(), Failure> {
        match fault {
            Fault::None => self.goes_through(),
            Fault::BadVerifier => self.waits_for_a_verifier(),
            Fault::VerifyFailures => self.is_shown_failures(),
            Fault::SlowVersion => self.is_slow(),
            Fault::MissingTelemetry => self.hears_nothing(),
            Fault::AnalyserDead => self.is_not_looked_at(),
            Fault::Restart => self.is_killed(),
        }?;
        self.end()?;
        self.watch_afterwards(fault)
    }

    fn goes_through(&self) -> Result<(), Failure> {
        self.reach(StageName::Soak)?;
        for _ in [StageName::Retire, StageName::Destroy] {
            self.wait("it waits for a person alone", PATIENCE, |it| {
                waits_for(&it.status, &it.gates, |gate| gate.gate == PERSON)
            })?;
            let shown = self.person("advance", Order::Advance)?;
            self.diary.note(format!("a person has it go on: {}", told(&shown)));
        }
        Ok(())
    }

    fn waits_for_a_verifier(&self) -> Result<(), Failure> {
        self.reach(StageName::Ready)?;
        // Verifiers that are registered for every key count as well.
        self.wait("all but one have the new version", PATIENCE, |it| lacks(&it.gates) == Some(1))?;
        let is_ready = |it: &RolloutObject| !is_stopped(it) && stage(it) == Some(StageName::Ready);
        let stayed = self.stays(WATCHED, is_ready)?;
        let signed_nothing = self.traffic.counts().by_new == 0;
        self.saw(Seen::Waited, stayed && signed_nothing);
        let order = Order::Override(Overridable::Acknowledgement);
        let shown = self.person("override", order)?;
        self.diary.note(format!("a person goes past the acknowledgement: {}", told(&shown)));
        self.reach(StageName::Canary)?;
        self.saw(Seen::WentOn, true);
        Ok(())
    }

    fn is_shown_failures(&self) -> Result<(), Failure> {
        self.reach_canary_in_use()?;
        self.traffic.alters.store(true, Ordering::Relaxed);
        self.diary
            .note("one in ten signatures of the new version is altered before verifiers see it");
        self.wait("it goes back", PATIENCE, |it| it.status == "rolled-back")?;
        Ok(())
    }

    fn is_slow(&self) -> Result<(), Failure> {
        self.reach_canary_in_use()?;
        self.diary.note(format!("the new version signs with {SLOW}, the old one with ed25519"));
        self.wait("it goes back", PATIENCE, |it| it.status == "rolled-back")?;
        Ok(())
    }

    fn hears_nothing(&self) -> Result<(), Failure> {
        self.reach_canary_in_use()?;
        self.wait("verifiers report", PATIENCE, |it| {
            let triggers = it.gates.iter().filter(|gate| gate.gate == "trigger");
            triggers.filter(|gate| gate.trigger == Some(1)).any(|gate| gate.open)
        })?;
        for watcher in &self.stand.watchers {
            watcher.mute();
        }
        self.diary.note("verifiers say nothing from now on");
        self.wait("it pauses", PATIENCE, |it| it.status == "paused")?;
        let halt = self.shown()?.halt.map(chancery_core::rollout::Halt::code);
        self.facts.borrow_mut().halt = halt;
        let stayed = self.stays(WATCHED, |it| it.status == "paused")?;
        self.saw(Seen::StayedPaused, stayed);
        Ok(())
    }

    fn is_not_looked_at(&self) -> Result<(), Failure> {
        self.reach_canary_in_use()?;
        let still = Command::StillRollout { rollout: self.rollout, for_ms: STILL_MS };
        command(&self.stand.scratch.client, &still, fresh_operation()?)?;
        let before = self.shown()?;
        self.diary.note(format!("the service looks at it no more: {}", told(&before)));
        self.wait("its gates are open", PATIENCE, |it| {
            waits_for(&it.status, &it.gates, |_| false)
        })?;
        let stayed =
            self.stays(WATCHED, |it| (it.stage, it.epoch) == (before.stage, before.epoch))?;
        self.saw(Seen::StoodStill, stayed);
        let began = Instant::now();
        let shown = self.person("rollback", Order::RollBack)?;
        let took = began.elapsed();
        self.diary.note(format!("a person takes it back in {took:.2?}: {}", told(&shown)));
        self.facts.borrow_mut().order_took = Some(took);
        Ok(())
    }

    fn is_killed(&self) -> Result<(), Failure> {
        self.reach_canary_in_use()?;
        let before = self.shown()?;
        let size = restart::log_size(&self.stand.scratch.client)?;
        let restart = self.restart_command.unwrap_or_default();
        self.diary.note(format!("`{restart}` is run: {}", told(&before)));
        restart::run(restart, &self.stop)?;
        let mut found = None;
        self.wait("the service answers", PATIENCE, |it| {
            found.get_or_insert_with(|| it.clone());
            true
        })?;
        restart::was_restarted(&self.stand.scratch.client, size)?;
        let resumed = found.is_some_and(|after| {
            self.diary.note(format!("it is found at: {}", told(&after)));
            after.epoch.number >= before.epoch.number
                && after.stage >= before.stage
                && after.plan == before.plan
        });
        self.saw(Seen::Resumed, resumed);
        self.reach(StageName::Full)
    }

    /// Ends it where that is left to do, and sees how it stands then.
    fn end(&self) -> Result<(), Failure> {
        self.traffic.is_over.store(true, Ordering::Relaxed);
        let shown = self.shown()?;
        let is_over =
            matches!(shown.status.as_str(), "done" | "rolled-back" | "aborted" | "on-standby");
        let end = if is_over { shown } else { self.order(Order::Abort)? };
        self.diary.note(format!("at the end: {}", told(&end)));
        let mut facts = self.facts.borrow_mut();
        // Where it paused is what was to be seen, and it was given up after that.
        if facts.halt.is_none() {
            facts.halt = end.halt.map(chancery_core::rollout::Halt::code);
        }
        facts.status = end.status;
        Ok(())
    }

    /// Lets traffic go on for a while, and sees who signs; until enough of the canary's consumers were signed for, where it
    /// was to go back.
    fn watch_afterwards(&self, fault: Fault) -> Result<(), Failure> {
        let needed = if fault.goes_back() { WATCHED_OF_CANARY } else { 0 };
        let began = Instant::now();
        loop {
            self.is_to_go_on()?;
            let after = self.traffic.counts().after;
            let is_enough = after.signed > 0 && after.of_canary >= needed;
            if is_enough && began.elapsed() >= AFTERWARDS {
                let (signed, by_new) = (after.signed, after.by_new);
                self.diary.note(format!("after that {by_new} of {signed} are by the new version"));
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let (limit, of_canary) = (PATIENCE.as_secs(), after.of_canary);
                return Err(Failure::NotVerified(format!(
                    "not within {limit} s: requests are answered after the end; {} were, {of_canary} of the canary's consumers",
                    after.signed
                )));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits for a canary in which the new version has signed something.
    fn reach_canary_in_use(&self) -> Result<(), Failure> {
        self.reach(StageName::Canary)?;
        self.wait("the new version signs", PATIENCE, |_| self.traffic.counts().by_new > 0)
    }

    fn reach(&self, name: StageName) -> Result<(), Failure> {
        let what = format!("`{}` comes", name.code());
        self.wait(&what, PATIENCE, |it| stage(it).is_some_and(|at| at >= name) || is_stopped(it))?;
        let shown = self.shown()?;
        if stage(&shown).is_some_and(|at| at >= name) {
            return Ok(());
        }
        let what = format!("it stopped before `{}`: {}", name.code(), told(&shown));
        Err(Failure::NotVerified(what))
    }

    /// Looks again and again until something is so. What does not come in time is against the hypothesis.
    fn wait(
        &self,
        what: &str,
        patience: Duration,
        mut is_so: impl FnMut(&RolloutObject) -> bool,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut last = String::new();
        while began.elapsed() < patience {
            self.is_to_go_on()?;
            // A service that is away is asked again.
            if let Ok(shown) = self.shown() {
                last = told(&shown);
                if is_so(&shown) {
                    self.diary.note(format!("{what}: {last}"));
                    return Ok(());
                }
            }
            std::thread::sleep(POLL);
        }
        let what = format!("not within {} s: {what}; it stood at: {last}", patience.as_secs());
        Err(Failure::NotVerified(what))
    }

    /// Whether something stays so.
    fn stays(
        &self,
        watched: Duration,
        is_so: impl Fn(&RolloutObject) -> bool,
    ) -> Result<bool, Failure> {
        let began = Instant::now();
        while began.elapsed() < watched {
            self.is_to_go_on()?;
            let shown = self.shown()?;
            if !is_so(&shown) {
                self.diary.note(format!("it did not stay so: {}", told(&shown)));
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
        self.diary.note(format!("it stayed so for {} s", watched.as_secs()));
        Ok(true)
    }

    fn saw(&self, what: Seen, is_so: bool) {
        self.facts.borrow_mut().seen.extend(is_so.then_some(what));
    }

    fn is_to_go_on(&self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Failed(anyhow!("the drill was interrupted")));
        }
        Ok(())
    }

    fn shown(&self) -> Result<RolloutObject, Failure> {
        let asked = Command::ShowRollout { rollout: self.rollout };
        let AnswerObject::Rollout(shown) = read(&self.stand.scratch.client, &asked)? else {
            return Err(unexpected());
        };
        Ok(*shown)
    }

    /// Gives an order that the hypothesis says is carried out.
    fn person(&self, what: &str, order: Order) -> Result<RolloutObject, Failure> {
        self.order(order).map_err(|failure| against(failure, what))
    }

    fn order(&self, order: Order) -> Result<RolloutObject, Failure> {
        let asked = Command::OrderRollout { rollout: self.rollout, order };
        let answer = command(&self.stand.scratch.client, &asked, fresh_operation()?)?.answer;
        let AnswerObject::Rollout(shown) = answer else { return Err(unexpected()) };
        Ok(*shown)
    }
}

fn stage(rollout: &RolloutObject) -> Option<StageName> {
    rollout.plan.stages.get(usize::from(rollout.stage)).map(|stage| stage.name)
}

/// Whether it goes nowhere by itself.
fn is_stopped(rollout: &RolloutObject) -> bool {
    rollout.status != RUNNING
}

/// A refusal of what should have been done speaks against the hypothesis; a service that is away says nothing of it.
fn against(failure: Failure, what: &str) -> Failure {
    match failure {
        Failure::Refused(refusal) if !super::may_pass(&refusal) => {
            Failure::NotVerified(format!("a person's {what} was refused: {refusal}"))
        }
        other => other,
    }
}

/// Whether it is under way and all its gates are open but those. One that is over has no gates.
fn waits_for(status: &str, gates: &[GateObject], may_wait: fn(&GateObject) -> bool) -> bool {
    let is_open = |gate: &GateObject| gate.open || may_wait(gate);
    status == RUNNING && !gates.is_empty() && gates.iter().all(is_open)
}

/// How many of its verifiers do not have the new version.
fn lacks(gates: &[GateObject]) -> Option<u64> {
    let gate = gates.iter().find(|gate| gate.gate == "acknowledged")?;
    gate.of?.checked_sub(gate.have?)
}

/// How it stands, in a few words.
fn told(rollout: &RolloutObject) -> String {
    let stage = stage(rollout).map_or("", StageName::code);
    let halt = rollout.halt.map(|halt| format!(" ({halt})")).unwrap_or_default();
    format!("{}{halt} in `{stage}`, epoch {}", rollout.status, rollout.epoch.number)
}

#[cfg(test)]
mod tests {
    use chancery_client::Refusal;
    use chancery_core::reason::Reason;

    use super::*;

    fn gate(name: &str, open: bool) -> GateObject {
        GateObject { gate: name.into(), open, ..GateObject::default() }
    }

    #[test]
    fn what_is_over_or_stopped_waits_for_nobody() {
        let gates = [gate("elapsed", true), gate(PERSON, false)];
        let for_a_person = |gate: &GateObject| gate.gate == PERSON;
        assert!(waits_for(RUNNING, &gates, for_a_person));
        assert!(!waits_for("done", &[], for_a_person));
        assert!(!waits_for(RUNNING, &[], for_a_person));
        assert!(!waits_for("paused", &gates, for_a_person));
        assert!(!waits_for(RUNNING, &gates, |_| false));
        let closed = [gate("elapsed", false), gate(PERSON, false)];
        assert!(!waits_for(RUNNING, &closed, for_a_person));
    }

    #[test]
    fn one_verifier_is_missing_however_many_there_are() {
        let acknowledged = |have, of| {
            let gate = GateObject { have: Some(have), of: Some(of), ..gate("acknowledged", false) };
            lacks(&[self::gate("elapsed", true), gate])
        };
        assert_eq!(acknowledged(2, 3), Some(1));
        assert_eq!(acknowledged(6, 7), Some(1));
        assert_eq!(acknowledged(5, 7), Some(2));
        assert_eq!(lacks(&[gate("elapsed", true)]), None);
    }

    #[test]
    fn a_persons_order_that_is_refused_speaks_against_the_hypothesis() {
        let refused = |reason| {
            let failure = against(Failure::Refused(Refusal::new(reason, "no")), "rollback");
            matches!(failure, Failure::NotVerified(_))
        };
        assert!(refused(Reason::Forbidden) && refused(Reason::IllegalTransition));
        assert!(!refused(Reason::Unavailable));
    }
}
