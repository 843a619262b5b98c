//! What truly happened, and the properties that are held against it.
//!
//! The numbers are those of `docs/properties.md`. The table of states is written out here once more, from SP 800-57 and
//! not from the code that it judges.

use chancery_core::key::{Key, KeyVersion};
use chancery_core::rollout::{Halt, Outcome, Rollout, StageName, Status};
use chancery_core::schedule::{Accept, Fraction, Mode, Schedule};
use chancery_core::state::KeyState;

use super::Sight;
use super::fixtures::WAITS;
use super::step::way_back;
use super::world::{Decided, World};

/// A property that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub property: u8,
    /// What happened.
    pub what: &'static str,
}

fn holds(property: u8, it_does: bool, what: &'static str) -> Result<(), Broken> {
    if it_does { Ok(()) } else { Err(Broken { property, what }) }
}

/// The service would not load such a row.
pub(super) const UNFOLLOWED: Broken =
    Broken { property: 6, what: "a decision does not follow the row before it" };

/// What does not apply must have been overtaken.
pub(super) fn applies(is_overtaken: bool) -> Result<(), Broken> {
    holds(9, is_overtaken, "a decision does not apply to the key that it was made on")
}

/// What is kept of the past, by the time as it was. A version's place is its number less one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Books {
    /// When each version was published.
    published: [Option<u64>; 3],
    /// When each version last protected.
    protected: [Option<u64>; 3],
    /// When a bundle last asked for both signatures.
    asked_both: Option<u64>,
    /// When something last had one signature.
    had_one: Option<u64>,
    /// Whether a version was compromised, or the reason of a rollout away from it.
    is_burnt: [bool; 3],
}

/// What was true when something was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Evidence {
    /// Whether a person ordered it, by name.
    pub(super) is_ordered: bool,
    /// Which versions every verifier had acknowledged.
    pub(super) acknowledged: [bool; 3],
    /// Whether the picture was good: fresh, of this schedule, enough of it, and passing.
    pub(super) is_good: bool,
    /// Whether two verifiers reported failures under this schedule, and lately.
    pub(super) is_failing: bool,
}

/// What a state may become (SP 800-57 Part 1, section 7, narrowed as `docs/properties.md` says).
const LEGAL: [(KeyState, &[KeyState]); 6] = {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, PreActivation, Suspended};
    [
        (PreActivation, &[Active, Compromised, Destroyed]),
        (Active, &[Suspended, Deactivated, Compromised]),
        (Suspended, &[Active, Deactivated, Compromised]),
        (Deactivated, &[Compromised, Destroyed]),
        (Compromised, &[Destroyed]),
        (Destroyed, &[]),
    ]
};

fn is_legal(from: KeyState, to: KeyState) -> bool {
    let row = LEGAL.iter().find(|(state, _)| *state == from);
    from == to || row.is_some_and(|(_, to_states)| to_states.contains(&to))
}

fn place(version: u32) -> usize {
    usize::try_from(version).unwrap_or(usize::MAX).wrapping_sub(1)
}

/// For how many of a million a version protects by a schedule. The model has no shares by region.
fn part(schedule: &Schedule, version: u32) -> u32 {
    let share = schedule.share().filter(|share| share.mode != Mode::PublishOnly);
    let of_incoming = share.map_or(0, |share| share.fraction.ppm());
    let incoming = share.filter(|share| share.version == version).map_or(0, |_| of_incoming);
    let alone = share.filter(|share| share.mode == Mode::NewOnly).map_or(0, |_| of_incoming);
    let scheduled = Fraction::WHOLE.ppm() - alone;
    if schedule.version == version { scheduled + incoming } else { incoming }
}

/// Whether everything that is made by a schedule has two signatures.
fn is_both(schedule: &Schedule) -> bool {
    schedule
        .share()
        .is_some_and(|share| share.mode == Mode::DualSign && share.fraction == Fraction::WHOLE)
}

impl Books {
    pub(super) fn new(key: &Key) -> Self {
        let mut books = Self {
            published: [None; 3],
            protected: [None; 3],
            asked_both: None,
            had_one: None,
            is_burnt: [false; 3],
        };
        books.keep(key, 0);
        books
    }

    /// Takes down what is so at a time.
    pub(super) fn keep(&mut self, key: &Key, now: u64) {
        for version in &key.versions {
            let at = place(version.number);
            if let Some(published) = self.published.get_mut(at)
                && version.published.is_some()
            {
                published.get_or_insert(now);
            }
            if let Some(is_burnt) = self.is_burnt.get_mut(at) {
                *is_burnt |= version.state == KeyState::Compromised;
            }
        }
        let schedule = key.schedule();
        if schedule.accept() == Accept::AllOf {
            self.asked_both = Some(now);
        }
        if !is_both(&schedule) {
            self.had_one = Some(now);
        }
        for (version, protected) in (1..).zip(&mut self.protected) {
            if part(&schedule, version) > 0 {
                *protected = Some(now);
            }
        }
    }

    pub(super) fn burn(&mut self, version: u32) {
        if let Some(is_burnt) = self.is_burnt.get_mut(place(version)) {
            *is_burnt = true;
        }
    }

    fn of<T: Copy>(all: [T; 3], version: u32) -> Option<T> {
        all.get(place(version)).copied()
    }
}

impl World {
    /// What is true now, whatever anybody is told.
    pub(super) fn evidence(&self, is_ordered: bool) -> Evidence {
        let has = |version: &KeyVersion| {
            let published = version.published.map(|published| published.epoch.number);
            let knows = |said: Option<u64>| {
                said.zip(published).is_some_and(|(said, by)| by <= said && said <= self.epoch)
            };
            self.verifiers.iter().all(|verifier| knows(verifier.acknowledged))
        };
        let acknowledged = [1, 2, 3].map(|number| self.key.version(number).is_some_and(has));
        let is_current = self.picture.schedule == self.schedule();
        let is_fresh = |at: u64| at <= self.served() && self.served() - at <= 1;
        let says = |sight| {
            let verdict = self.picture.verdict.filter(|(_, at)| is_current && is_fresh(*at));
            verdict.is_some_and(|(said, _)| said == sight)
        };
        let is_good =
            says(Sight::Plain(Outcome::Pass)) && self.picture.has_samples && self.picture.has_paths;
        let is_failing = says(Sight::Plain(Outcome::Fail));
        Evidence { is_ordered, acknowledged, is_good, is_failing }
    }
}

/// A step that became durable.
pub(super) struct Step<'a> {
    pub(super) before: &'a World,
    pub(super) after: &'a World,
    pub(super) decided: &'a Decided,
}

impl Step<'_> {
    fn rollouts(&self) -> (Option<&Rollout>, Option<&Rollout>) {
        let slot = self.decided.slot;
        (self.before.rollout(slot), self.after.rollout(slot))
    }

    /// Holds every property of a step.
    pub(super) fn check(&self) -> Result<(), Broken> {
        check_key(&self.before.key, &self.after.key)?;
        self.check_epochs()?;
        self.check_protecting()?;
        self.check_both()?;
        self.check_retiring()?;
        self.check_return()?;
        self.check_evidence()
    }

    fn check_epochs(&self) -> Result<(), Broken> {
        let rises = self.after.epoch > self.before.epoch
            && self.after.key.authority_epoch > self.before.key.authority_epoch;
        holds(6, rises, "an epoch was used twice")?;
        let (before, after) = self.rollouts();
        let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
        holds(6, after.epoch > before.epoch, "a row's epoch did not rise")?;
        holds(6, after.stage >= before.stage, "a rollout went back to a stage")?;
        holds(6, !before.status.is_over(), "a rollout that was over went on")
    }

    /// Property 8: nothing protects that verifiers do not know. Property 9: nor for more than before what may not.
    fn check_protecting(&self) -> Result<(), Broken> {
        let (before, after) = (self.before.key.schedule(), self.after.key.schedule());
        let gains = |version: &u32| part(&after, *version) > part(&before, *version);
        for version in [1, 2, 3].into_iter().filter(gains) {
            let state = self.after.key.version(version).map(|version| version.state);
            holds(9, state == Some(KeyState::Active), "a version protects that is not Active")?;
            let is_burnt = Books::of(self.before.books.is_burnt, version) == Some(true);
            holds(9, !is_burnt, "a version protects that is compromised")?;
            let is_return = Books::of(self.before.books.protected, version).flatten().is_some();
            if !is_return {
                self.check_known(version)?;
            }
        }
        Ok(())
    }

    /// Property 8: what has one signature is taken by whoever asks for what an earlier bundle said.
    fn check_both(&self) -> Result<(), Broken> {
        let after = self.after.key.schedule();
        let books = &self.before.books;
        let since = |at: Option<u64>| at.map_or(u64::MAX, |at| self.before.now - at);
        let asks = after.accept() == Accept::AllOf;
        let is_alive = since(books.had_one) < WAITS.retirement_ms() - WAITS.safety_ms;
        let begins = asks && self.before.key.schedule().accept() != Accept::AllOf;
        holds(8, !begins || !is_alive, "verifiers ask for both while something alive has one")?;
        // What does not verify cannot be one of two; there is no better way then.
        let (_, rollout) = self.rollouts();
        let is_broken = rollout.is_some_and(|rollout| {
            let version = self.before.key.version(rollout.to);
            self.before.broken == Some(rollout.to)
                || rollout.status == Status::Aborted(Halt::SelfVerification)
                || !version.is_some_and(KeyVersion::protects)
        });
        let is_asked = since(books.asked_both) < WAITS.publication_ms() - WAITS.safety_ms;
        let fits = is_both(&after) || !is_asked || is_broken;
        holds(8, fits, "something has one signature while verifiers ask for both")
    }

    fn check_known(&self, version: u32) -> Result<(), Broken> {
        let is_acknowledged =
            Books::of(self.decided.evidence.acknowledged, version).unwrap_or_default();
        let (_, rollout) = self.rollouts();
        let is_overridden = rollout.is_some_and(|it| it.to == version && !it.overrides.is_empty());
        let is_known = is_acknowledged || is_overridden;
        holds(8, is_known, "a version protects that verifiers have not acknowledged")?;
        let published = Books::of(self.before.books.published, version).flatten();
        let waited = published.map(|at| self.before.now - at);
        let is_there =
            waited.is_some_and(|waited| waited >= WAITS.publication_ms() - WAITS.safety_ms);
        holds(8, is_there, "a version protects before every verifier can have it")
    }

    /// Property 8: what was made lives out its life. Property 9: only people go past the point of no return.
    fn check_retiring(&self) -> Result<(), Broken> {
        let (before, after) = self.rollouts();
        let has_return = |rollout: Option<&Rollout>| rollout.is_some_and(Rollout::has_return);
        let (Some(rollout), false) = (after, has_return(after)) else { return Ok(()) };
        let is_person = self.decided.evidence.is_ordered;
        let is_same = before.is_some_and(|before| before.stage == rollout.stage);
        holds(9, is_person || is_same, "nobody went past the point of no return")?;
        if !has_return(before) {
            return Ok(());
        }
        let last = Books::of(self.before.books.protected, rollout.from).flatten();
        let is_over = last
            .is_some_and(|last| self.before.now - last >= WAITS.retirement_ms() - WAITS.safety_ms);
        holds(8, is_over, "a version was retired while what it made lives")
    }

    fn check_return(&self) -> Result<(), Broken> {
        let (before, Some(after)) = self.rollouts() else { return Ok(()) };
        let schedule = self.after.key.schedule();
        let goes_back = matches!(after.status, Status::RolledBack(_) | Status::Aborted(_));
        let is_back = schedule == Schedule::settled(after.from);
        holds(9, !goes_back || is_back, "going back did not restore the schedule before")?;
        let names = after.overrides.iter().all(|it| !it.by.is_nobody());
        holds(8, names, "a gate was overridden and nobody is named")?;
        let is_going =
            before.is_some_and(|before| matches!(before.status, Status::Withdrawing { .. }));
        let by_trigger = !is_going
            && matches!(
                after.status,
                Status::RolledBack(Halt::Trigger) | Status::Withdrawing { halt: Halt::Trigger, .. }
            );
        let is_true = !by_trigger || self.decided.evidence.is_failing;
        holds(14, is_true, "a rollout went back on what too few reported")
    }

    /// Property 14: a stage in which the new version protects is left on evidence alone.
    fn check_evidence(&self) -> Result<(), Broken> {
        let (before, Some(after)) = self.rollouts() else { return Ok(()) };
        let untriggered = after
            .plan
            .stages
            .iter()
            .find(|stage| stage.name.is_trial() && stage.triggers.is_empty());
        holds(14, untriggered.is_none(), "a stage protects that nothing stops")?;
        let Some(before) = before else { return Ok(()) };
        let goes_on = after.stage > before.stage && before.is_trial();
        holds(14, !goes_on || self.decided.evidence.is_good, "a stage was left without evidence")
    }
}

/// Property 5: states move along the table. Properties 6 and 8: nothing that is there for good goes.
pub(super) fn check_key(before: &Key, after: &Key) -> Result<(), Broken> {
    for (old, new) in before.versions.iter().zip(&after.versions) {
        holds(5, is_legal(old.state, new.state), "a version moved where no transition leads")?;
        let is_kept = old.published.is_none() || old.published == new.published;
        holds(8, is_kept, "a version was taken out of the trust bundle")?;
        holds(6, old.number == new.number, "a version's number changed")?;
    }
    holds(6, before.versions.len() == after.versions.len(), "a version came or went")
}

impl World {
    /// Holds every property of a state.
    pub(super) fn check(&self) -> Result<(), Broken> {
        let live = self.rollouts.iter().flatten().filter(|row| !row.status.is_over());
        let count = live.count();
        holds(9, count <= 1, "two rollouts move one key")?;
        let moved = self.key.rollout();
        let is_named = self.live().map(|rollout| rollout.id) == moved;
        holds(9, is_named, "the key is moved by no rollout that is stored")?;
        holds(
            9,
            moved.is_some() == (count == 1),
            "a rollout is under way and does not move its key",
        )?;
        self.check_way_back()
    }

    /// Property 9: until the point of no return there is a way back, whatever else is so.
    fn check_way_back(&self) -> Result<(), Broken> {
        let Some(rollout) = self.live().filter(|rollout| rollout.is_trial()) else {
            return Ok(());
        };
        let old = self.key.version(rollout.from);
        let may_return = old.is_some_and(KeyVersion::protects) && !rollout.cause.forbids_return();
        let is_trial = rollout.current().is_some_and(|stage| stage.name < StageName::Retire);
        let is_going = matches!(rollout.status, Status::Withdrawing { .. });
        if !may_return || !is_trial || is_going {
            return Ok(());
        }
        let is_back = way_back(self, rollout);
        holds(9, is_back, "there was no way back before the point of no return")
    }
}
