//! What a drill does, fault by fault, and what it sees.

use std::cell::RefCell;
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use chancery_api::http::replies::{AnswerObject, RolloutObject};
use chancery_core::command::Command;
use chancery_core::id::RolloutId;
use chancery_core::rollout::{Cause, Order, Overridable, Plan, Rotation, StageName};
use chancery_core::suite::Suite;

use super::facts::{Facts, Seen};
use super::fault::Fault;
use super::stand::Stand;
use super::traffic::Traffic;
use crate::commands::{command, fresh_operation, read, unexpected};
use crate::exit::Failure;

/// How often the rollout is looked at: ten times a second.
const POLL: Duration = Duration::from_millis(100);

/// How long a stage may take to come: 90 s; the longest wait of a drill's plan is a few.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long something is watched that should stay as it is: 3 s, twelve looks of the service.
const WATCHED: Duration = Duration::from_secs(3);

/// For how long the service is told not to look: a minute, longer than the drill watches.
const STILL_MS: u64 = 60_000;

/// How long the traffic goes on after the end, to see who signs then: 1 s.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The slow version: what it takes to sign is a hundred times that of Ed25519.
const SLOW: Suite = Suite::RsaPss4096;

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
        eprintln!("chancery drill: {:>7.2} s  {what}", after.as_secs_f64());
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
    let (key, cause) = (stand.key.clone(), Cause::Drill);
    let rotation = Rotation { key, plan, cause, suite, version: None };
    let answer = command(&stand.client, &Command::Rotate(rotation), fresh_operation()?)?.answer;
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
        self.end()
    }

    fn goes_through(&self) -> Result<(), Failure> {
        self.reach(StageName::Soak)?;
        for _ in [StageName::Retire, StageName::Destroy] {
            self.wait("it waits for a person alone", PATIENCE, |it| {
                it.gates.iter().all(|gate| gate.open || gate.gate == "person")
            })?;
            let shown = self.order(Order::Advance)?;
            self.diary.note(format!("a person has it go on: {}", told(&shown)));
        }
        Ok(())
    }

    fn waits_for_a_verifier(&self) -> Result<(), Failure> {
        self.reach(StageName::Ready)?;
        self.wait("all but one have the new version", PATIENCE, |it| have(it) == Some((2, 3)))?;
        let is_ready = |it: &RolloutObject| stage(it) == Some(StageName::Ready);
        let stayed = self.stays(WATCHED, is_ready)?;
        let signed_nothing = self.traffic.counts().by_new == 0;
        self.saw(Seen::Waited, stayed && signed_nothing);
        let shown = self.order(Order::Override(Overridable::Acknowledgement))?;
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
        Ok(())
    }

    fn is_not_looked_at(&self) -> Result<(), Failure> {
        self.reach_canary_in_use()?;
        let still = Command::StillRollout { rollout: self.rollout, for_ms: STILL_MS };
        command(&self.stand.client, &still, fresh_operation()?)?;
        let before = self.shown()?;
        self.diary.note(format!("the service looks at it no more: {}", told(&before)));
        self.wait("its gates are open", PATIENCE, |it| it.gates.iter().all(|gate| gate.open))?;
        let stayed =
            self.stays(WATCHED, |it| (it.stage, it.epoch) == (before.stage, before.epoch))?;
        self.saw(Seen::StoodStill, stayed);
        let began = Instant::now();
        let shown = self.order(Order::RollBack)?;
        let took = began.elapsed();
        self.diary.note(format!("a person takes it back in {took:.2?}: {}", told(&shown)));
        self.facts.borrow_mut().order_took = Some(took);
        Ok(())
    }

    fn is_killed(&self) -> Result<(), Failure> {
        self.reach_canary_in_use()?;
        let before = self.shown()?;
        let restart = self.restart_command.unwrap_or_default();
        self.diary.note(format!("`{restart}` is run: {}", told(&before)));
        let status = Program::new("sh").args(["-c", restart]).status();
        let status = status.map_err(|error| Failure::Failed(anyhow!(error)))?;
        if !status.success() {
            let what = format!("the restart command ended with {status}");
            return Err(Failure::Failed(anyhow!(what)));
        }
        let mut found = None;
        self.wait("the service answers", PATIENCE, |it| {
            found.get_or_insert_with(|| it.clone());
            true
        })?;
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
        std::thread::sleep(AFTERWARDS);
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
        let AnswerObject::Rollout(shown) = read(&self.stand.client, &asked)? else {
            return Err(unexpected());
        };
        let mut facts = self.facts.borrow_mut();
        if let Some(stage) = stage(&shown).filter(|stage| facts.stages.last() != Some(stage)) {
            facts.stages.push(stage);
        }
        Ok(*shown)
    }

    fn order(&self, order: Order) -> Result<RolloutObject, Failure> {
        let asked = Command::OrderRollout { rollout: self.rollout, order };
        let answer = command(&self.stand.client, &asked, fresh_operation()?)?.answer;
        let AnswerObject::Rollout(shown) = answer else { return Err(unexpected()) };
        Ok(*shown)
    }
}

fn stage(rollout: &RolloutObject) -> Option<StageName> {
    rollout.plan.stages.get(usize::from(rollout.stage)).map(|stage| stage.name)
}

/// Whether it goes nowhere by itself.
fn is_stopped(rollout: &RolloutObject) -> bool {
    rollout.status != "running"
}

/// How many verifiers of how many have the new version.
fn have(rollout: &RolloutObject) -> Option<(u64, u64)> {
    let gate = rollout.gates.iter().find(|gate| gate.gate == "acknowledged")?;
    gate.have.zip(gate.of)
}

/// How it stands, in a few words.
fn told(rollout: &RolloutObject) -> String {
    let stage = stage(rollout).map_or("", StageName::code);
    let halt = rollout.halt.map(|halt| format!(" ({halt})")).unwrap_or_default();
    format!("{}{halt} in `{stage}`, epoch {}", rollout.status, rollout.epoch.number)
}
