//! What a drill makes on the service, and how it is taken down again: a scratch key, and registrations of verifiers.
//!
//! **Invariant:** what may have been made is noted before it is asked for, so that it is taken down also where the answer is
//! lost; and what could not be taken down is said. Keys and principals are never removed by the service: the key's versions
//! are scheduled for destruction, and a principal that was made is left with no registration and a key that nobody has.

use std::time::{Duration, Instant};

use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_client::Client;
use chancery_core::command::{Command, NewKey};
use chancery_core::id::{OperationId, PrincipalId};
use chancery_core::name::Name;
use chancery_core::rollout::Order;
use chancery_core::state::KeyState;
use chancery_core::verifier::NewVerifier;

use crate::commands::{command, fresh_operation, read, unexpected};
use crate::exit::Failure;
use crate::render::remark;

/// How long it is tried to take one thing down, where the service is away: 30 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long all of that is tried: two minutes. A person waits for it who has pressed Ctrl-C, and can do the rest by hand.
const TAKE_DOWN_MAX: Duration = Duration::from_mins(2);

/// How long it is waited before the service is asked again: 200 ms.
const REST: Duration = Duration::from_millis(200);

// One thing that cannot be taken down leaves time for others.
const _: () = assert!(PATIENCE.as_secs() * 2 < TAKE_DOWN_MAX.as_secs());

/// The code of a key that is not there, for whoever may see every key.
const NO_SUCH: &str = "forbidden";

/// What was made.
pub(super) struct Scratch {
    pub(super) client: Client,
    pub(super) key: Name,
    registered: Vec<PrincipalId>,
    /// Whether there may be something to take down.
    stands: bool,
}

impl Scratch {
    /// Nothing yet, under this name.
    pub(super) const fn new(client: Client, key: Name) -> Self {
        Self { client, key, registered: Vec::new(), stands: false }
    }

    /// Makes the key. One that was refused was not made.
    pub(super) fn make_key(&mut self, new: NewKey) -> Result<KeyObject, Failure> {
        let operation = fresh_operation()?;
        self.stands = true;
        match command(&self.client, &Command::CreateKey(new), operation) {
            Ok(answer) => match answer.answer {
                AnswerObject::Key(key) => Ok(key),
                _ => Err(unexpected()),
            },
            Err(failure) => {
                self.stands = !matches!(failure, Failure::Refused(_));
                Err(failure)
            }
        }
    }

    /// Registers a verifier for the key.
    pub(super) fn register(&mut self, principal: PrincipalId) -> Result<(), Failure> {
        let registration = NewVerifier { principal, keys: vec![self.key.clone()] };
        let (asked, operation) = (Command::RegisterVerifier(registration), fresh_operation()?);
        self.registered.push(principal);
        let done = command(&self.client, &asked, operation);
        if matches!(done, Err(Failure::Refused(_))) {
            self.registered.pop();
        }
        done.map(drop)
    }

    /// Takes it down, and says what was done and what could not be.
    pub(super) fn take_down(&mut self) -> Vec<String> {
        if !std::mem::replace(&mut self.stands, false) {
            return Vec::new();
        }
        let until = Instant::now() + TAKE_DOWN_MAX;
        let mut said = self.give_up(until);
        for principal in std::mem::take(&mut self.registered) {
            let asked = Command::RemoveVerifier { principal };
            let done = self.patiently(&asked, until);
            said.push(told(&format!("verifier {principal} removed"), done));
        }
        let revoked = self.patiently(&Command::RevokeIssued { key: self.key.clone() }, until);
        said.push(told(&format!("handles of `{}` revoked", self.key), revoked));
        said.extend(self.schedule_destruction(until));
        said
    }

    /// Gives the rollout up, if there is one under way. Past the point of no return there is no giving up.
    fn give_up(&self, until: Instant) -> Vec<String> {
        let rollout = match self.key_now(until) {
            Ok(key) => key.rollout,
            Err(why) => return vec![told("a rollout of the key given up", Err(why))],
        };
        let given_up = rollout.map(|rollout| {
            let order = Command::OrderRollout { rollout, order: Order::Abort };
            told(&format!("rollout {rollout} given up"), self.patiently(&order, until))
        });
        given_up.into_iter().collect()
    }

    /// Each version that is left is retired, and its destruction scheduled.
    fn schedule_destruction(&self, until: Instant) -> Vec<String> {
        let key = match self.key_now(until) {
            Ok(key) => key,
            Err(why) => {
                let what = format!("destruction of the versions of `{}` scheduled", self.key);
                return vec![told(&what, Err(why))];
            }
        };
        let left = key.versions.iter().filter(|version| {
            version.state != KeyState::Destroyed && version.destruction_served_ms.is_none()
        });
        left.map(|version| {
            let (key, version) = (self.key.clone(), version.version);
            let asked = Command::ScheduleDestruction { key, version };
            let what = format!("destruction of version {version} of `{}` scheduled", self.key);
            told(&what, self.patiently(&asked, until))
        })
        .collect()
    }

    /// The key as it is now.
    fn key_now(&self, until: Instant) -> Result<KeyObject, String> {
        let asked = Command::ShowKey { key: self.key.clone() };
        match read_patiently(&self.client, &asked, patience(until)) {
            Ok(AnswerObject::Key(key)) => Ok(key),
            Ok(_) => Err(unexpected().to_text()),
            Err(Failure::Refused(refusal)) if refusal.code.text() == NO_SUCH => {
                Err(format!("there is no key `{}`: it was not made", self.key))
            }
            Err(failure) => Err(failure.to_text()),
        }
    }

    /// Gives a command until it is answered.
    fn patiently(&self, asked: &Command, until: Instant) -> Result<(), String> {
        if Instant::now() > until {
            return Err("there was no time left".into());
        }
        let operation = fresh_operation().map_err(|error| error.to_string())?;
        let done = again(patience(until), || command(&self.client, asked, operation));
        done.map(drop).map_err(|failure| short(&failure, operation))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for said in self.take_down() {
            remark(&format!("chancery drill: {said}"));
        }
    }
}

/// Reads something, again and again where the service is away.
pub(super) fn read_patiently(
    client: &Client,
    asked: &Command,
    until: Instant,
) -> Result<AnswerObject, Failure> {
    again(until, || read(client, asked))
}

/// Until when one thing is tried.
fn patience(until: Instant) -> Instant {
    until.min(Instant::now() + PATIENCE)
}

/// Asks once, and then again for as long as it may help.
fn again<T>(until: Instant, mut ask: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    loop {
        let failure = match ask() {
            Err(Failure::Refused(refusal)) if !super::may_pass(&refusal) => {
                return Err(Failure::Refused(refusal));
            }
            Err(failure) => failure,
            done => return done,
        };
        if Instant::now() + REST > until {
            return Err(failure);
        }
        std::thread::sleep(REST);
    }
}

/// Why a command was not done, without the advice to give it again.
fn short(failure: &Failure, operation: OperationId) -> String {
    match failure {
        Failure::Unknown { .. } => format!("no answer came to operation {operation}"),
        failure => failure.to_text(),
    }
}

fn told(what: &str, done: Result<(), String>) -> String {
    match done {
        Ok(()) => what.to_owned(),
        Err(why) => format!("NOT {what}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use chancery_client::Refusal;
    use chancery_core::reason::Reason;

    use super::*;

    #[test]
    fn what_may_pass_is_asked_again_and_what_was_refused_is_not() {
        let asked = |reason: Reason, until: Instant| {
            let mut left = [Ok(()), Err(reason)].to_vec();
            let mut ask = || match left.pop() {
                Some(Err(reason)) => Err(Failure::Refused(Refusal::new(reason, "no"))),
                _ => Ok(()),
            };
            again(until, &mut ask).is_ok()
        };
        let (now, later) = (Instant::now(), Instant::now() + PATIENCE);
        assert!(asked(Reason::Unavailable, later));
        assert!(!asked(Reason::Unavailable, now));
        assert!(!asked(Reason::Forbidden, later));
    }

    #[test]
    fn what_was_not_taken_down_is_said_to_be_not() {
        assert_eq!(told("it removed", Ok(())), "it removed");
        assert_eq!(told("it removed", Err("no answer".into())), "NOT it removed: no answer");
    }
}
