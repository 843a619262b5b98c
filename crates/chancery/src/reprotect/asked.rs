//! What a campaign asks the service: until it is answered, since repeating harms nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chancery_api::http::problem::Code;
use chancery_api::http::replies::{AnswerObject, CommandAnswer, EpochObject, KeyCensusObject};
use chancery_client::{Client, Next, Outcome, Receipt, Refusal};
use chancery_core::command::{CensusQuery, Command};
use chancery_core::context::Context;
use chancery_core::handle::Operation;
use chancery_core::name::Name;
use chancery_core::reason::Reason;

use super::item::{Batch, Todo};
use crate::commands::{Use, fresh_operation, read, unexpected};
use crate::exit::Failure;

/// The first wait before something is asked again: 100 ms. Each is twice the one before.
const REST_FIRST: Duration = Duration::from_millis(100);

/// The longest: 5 s.
const REST_MAX: Duration = Duration::from_secs(5);

/// What the threads of a campaign have in common.
#[derive(Default)]
pub(super) struct Control {
    stop: AtomicBool,
    failure: Mutex<Option<Failure>>,
    said: Mutex<String>,
}

impl Control {
    /// Whether all are to end.
    pub(super) fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Has all end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Has all end, since this went wrong; the first that did is told.
    pub(super) fn fail(&self, failure: Failure) {
        locked(&self.failure).get_or_insert(failure);
        self.stop();
    }

    /// What went wrong, if anything did.
    pub(super) fn failure(&self) -> Option<Failure> {
        locked(&self.failure).take()
    }

    /// Says why it waits, once for as long as it is the same.
    fn say(&self, why: &str) {
        let mut said = locked(&self.said);
        if *said != why {
            eprintln!("chancery: {why}; asked again until it is answered");
            why.clone_into(&mut said);
        }
    }

    fn is_answered(&self) {
        locked(&self.said).clear();
    }

    /// Waits, unless all are to end.
    fn rest(&self, rest: &mut Duration) {
        let mut left = *rest;
        while !self.stops() && !left.is_zero() {
            let part = left.min(REST_FIRST);
            std::thread::sleep(part);
            left = left.saturating_sub(part);
        }
        *rest = REST_MAX.min(rest.saturating_mul(2));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is to be made of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// This ciphertext cannot be encrypted again.
    OfCiphertext,
    /// The version that it names, or the one that protects, may not be used.
    OfVersion,
    /// It can later.
    Later,
    /// None can.
    OfAll,
}

fn meaning(refusal: &Refusal) -> Meaning {
    match refusal.code {
        Code::Reason(
            Reason::VerificationFailed
            | Reason::PayloadRefused
            | Reason::Malformed
            | Reason::TooLarge,
        ) => Meaning::OfCiphertext,
        Code::Reason(Reason::KeyUnusable) => Meaning::OfVersion,
        Code::Reason(
            Reason::AuditFailed | Reason::AuditFull | Reason::ClockSuspect | Reason::Unwitnessed,
        ) => Meaning::Later,
        _ if matches!(refusal.next(), Next::TryLater | Next::AskAgain) => Meaning::Later,
        _ => Meaning::OfAll,
    }
}

/// What became of a ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It was encrypted again, under that version.
    New(Vec<u8>, u32),
    /// It cannot be.
    Refused {
        /// The code of the refusal.
        code: &'static str,
        /// Why.
        why: String,
    },
}

/// Encrypts ciphertexts again, through one connection.
pub(super) struct Rewrapper<'c> {
    pub(super) client: Client,
    pub(super) usage: &'c Use,
    pub(super) key: &'c Name,
    pub(super) control: &'c Control,
}

impl Rewrapper<'_> {
    /// Has each ciphertext of a batch encrypted again, by its place in the batch; nothing if all are to end.
    pub(super) fn rewrap(&self, batch: &Batch) -> Option<Vec<Option<Answered>>> {
        let mut answers: Vec<Option<Answered>> = vec![None; batch.items.len()];
        let mut open: Vec<(usize, &[u8], &Context)> = Vec::new();
        for (place, item) in batch.items.iter().enumerate() {
            let Todo::Rewrap(bytes, context) = &item.todo else { continue };
            let context = context.as_ref().unwrap_or(&self.usage.context);
            match self.usage.handle.complete(context) {
                Ok(_) => open.push((place, bytes, context)),
                Err(error) => {
                    let code = Reason::NotAuthorized.code();
                    let refused = Answered::Refused { code, why: error.to_string() };
                    set(&mut answers, place, refused);
                }
            }
        }
        let mut rest = REST_FIRST;
        while !open.is_empty() {
            if self.control.stops() {
                return None;
            }
            if !self.ask(&mut open, &mut answers) {
                self.control.rest(&mut rest);
            }
        }
        Some(answers)
    }

    /// Asks once for all that are open, and keeps those open that were not answered for good. Whether all were.
    fn ask(
        &self,
        open: &mut Vec<(usize, &[u8], &Context)>,
        answers: &mut [Option<Answered>],
    ) -> bool {
        let items: Vec<_> = open.iter().map(|(_, bytes, context)| (*bytes, *context)).collect();
        let manner = self.usage.manner(Receipt::Unwanted);
        let (handle, rewrap) = (&self.usage.handle, Operation::Rewrap);
        match self.client.batch_without_ids(handle, rewrap, &items, &manner) {
            Outcome::Committed(results) => {
                let mut results = results.into_iter();
                open.retain(|(place, _, _)| match results.next().and_then(|it| self.settled(it)) {
                    Some(answer) => {
                        set(answers, *place, answer);
                        false
                    }
                    None => true,
                });
                if open.is_empty() {
                    self.control.is_answered();
                }
                open.is_empty()
            }
            Outcome::Refused(refusal) => {
                match meaning(&refusal) {
                    Meaning::Later => self.control.say(&refusal.to_string()),
                    _ => self.control.fail(Failure::Refused(refusal)),
                }
                false
            }
            Outcome::Unknown(_) => {
                self.control.say("no answer came");
                false
            }
        }
    }

    /// What an outcome comes to, if it is one for good.
    fn settled(&self, outcome: Outcome<chancery_client::Used>) -> Option<Answered> {
        let refusal = match outcome {
            Outcome::Committed(used) => return Some(Answered::New(used.output, used.version)),
            Outcome::Unknown(_) => return None,
            Outcome::Refused(refusal) => refusal,
        };
        let is_final = match meaning(&refusal) {
            Meaning::OfCiphertext => true,
            // If nothing protects now, that is no fault of this one.
            Meaning::OfVersion => self.protects(),
            Meaning::Later => false,
            Meaning::OfAll => {
                self.control.fail(Failure::Refused(refusal.clone()));
                false
            }
        };
        if !is_final {
            self.control.say(&refusal.to_string());
            return None;
        }
        Some(Answered::Refused { code: refusal.code.text(), why: refusal.detail })
    }

    fn protects(&self) -> bool {
        census_of(&self.client, self.key).is_ok_and(|(_, census)| census.target.is_some())
    }
}

fn set(answers: &mut [Option<Answered>], place: usize, answer: Answered) {
    if let Some(slot) = answers.get_mut(place) {
        *slot = Some(answer);
    }
}

/// What is known of the ciphertexts of a key, and the tenant's epoch as of which it is.
pub(crate) fn census_of(
    client: &Client,
    key: &Name,
) -> Result<(EpochObject, KeyCensusObject), Failure> {
    match read(client, &Command::ReadCensus(CensusQuery::Of(key.clone())))? {
        AnswerObject::Census(mut census) => {
            let found = census.keys.pop().ok_or_else(unexpected)?;
            Ok((census.as_of, found))
        }
        _ => Err(unexpected()),
    }
}

/// The same, asked until it is answered.
pub(super) fn census_again(
    client: &Client,
    key: &Name,
) -> Result<(EpochObject, KeyCensusObject), Failure> {
    let (control, mut rest) = (Control::default(), REST_FIRST);
    loop {
        match census_of(client, key) {
            Err(Failure::Refused(refusal)) if meaning(&refusal) == Meaning::Later => {
                control.say(&refusal.to_string());
            }
            // A read that is not answered has failed and done nothing.
            Err(Failure::Failed(error)) => control.say(&format!("{error:#}")),
            answered => return answered,
        }
        control.rest(&mut rest);
    }
}

/// Gives a command until it is answered, with one operation id.
pub(crate) fn given(client: &Client, command: &Command) -> Result<CommandAnswer, Failure> {
    let operation = fresh_operation()?;
    let (control, mut rest) = (Control::default(), REST_FIRST);
    loop {
        match client.command(command, operation) {
            Outcome::Committed(answer) => return Ok(answer),
            Outcome::Unknown(_) => control.say("no answer came"),
            Outcome::Refused(refusal) if meaning(&refusal) == Meaning::Later => {
                control.say(&refusal.to_string());
            }
            Outcome::Refused(refusal) => return Err(Failure::Refused(refusal)),
        }
        control.rest(&mut rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reasons: &[Reason], expected: Meaning) {
        for reason in reasons {
            let refusal = Refusal { code: Code::Reason(*reason), detail: String::new() };
            assert_eq!(meaning(&refusal), expected, "{reason}");
        }
    }

    /// A ciphertext is given up for what is wrong with itself, and for nothing else.
    #[test]
    fn what_a_refusal_means_for_a_campaign() {
        use Reason as R;
        let of_ciphertext = [R::VerificationFailed, R::PayloadRefused, R::Malformed, R::TooLarge];
        let later = [
            R::Overloaded,
            R::Unavailable,
            R::AuditBudget,
            R::AuditFull,
            R::AuditFailed,
            R::ClockSuspect,
            R::Unwitnessed,
            R::AnswerUnreadable,
        ];
        let of_all = [
            R::HandleExpired,
            R::HandleInvalid,
            R::NotAuthorized,
            R::UsesExhausted,
            R::ProofInvalid,
            R::Forbidden,
        ];
        check(&of_ciphertext, Meaning::OfCiphertext);
        check(&[R::KeyUnusable], Meaning::OfVersion);
        check(&later, Meaning::Later);
        check(&of_all, Meaning::OfAll);
    }
}
