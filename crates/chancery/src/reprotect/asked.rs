//! What a campaign asks the service: until it is answered, since repeating harms nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use chancery_api::http::problem::Code;
use chancery_api::http::replies::{AnswerObject, CommandAnswer, EpochObject, KeyCensusObject};
use chancery_client::{Client, KeyHandle, Next, Outcome, Receipt, Refusal, Used};
use chancery_core::command::{CensusQuery, Command};
use chancery_core::context::{Context, Pair};
use chancery_core::handle::Operation;
use chancery_core::id::OperationId;
use chancery_core::name::Name;
use chancery_core::reason::Reason;

use super::item::{Batch, Of, Todo, can_follow};
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
    deceived: AtomicBool,
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

    /// Has all end, since an answer cannot be what was asked for: nothing that was answered before is believed either.
    fn deceive(&self, key: &Name) {
        self.deceived.store(true, Ordering::Relaxed);
        self.fail(Failure::Failed(anyhow!(
            "the service, or whoever answers in its place, answered with something that is no ciphertext of `{key}` in the \
             place of one; it is not written. Find out who answers before the campaign is resumed"
        )));
    }

    /// Whether an answer was not what was asked for.
    pub(super) fn is_deceived(&self) -> bool {
        self.deceived.load(Ordering::Relaxed)
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
pub(super) enum Meaning {
    /// This ciphertext cannot be encrypted again.
    OfCiphertext,
    /// The version that it names, or the one that protects, may not be used.
    OfVersion,
    /// It can later.
    Later,
    /// None can.
    OfAll,
}

pub(super) fn meaning(refusal: &Refusal) -> Meaning {
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
    pub(super) of: &'c Of,
    pub(super) control: &'c Control,
}

impl Rewrapper<'_> {
    /// Has each ciphertext of a batch encrypted again, by its place in the batch; nothing if all are to end.
    pub(super) fn rewrap(&self, batch: &Batch) -> Option<Vec<Option<Answered>>> {
        let mut answers: Vec<Option<Answered>> = vec![None; batch.items.len()];
        let mut open: Vec<(usize, &[u8], &Context)> = Vec::new();
        for (place, item) in batch.items.iter().enumerate() {
            let Todo::Rewrap(bytes, context) = &item.todo else { continue };
            match fitting(&self.usage.handle, context.as_ref()) {
                Ok(()) => {
                    let context = context.as_ref().unwrap_or(&self.usage.context);
                    open.push((place, bytes, context));
                }
                Err(why) => {
                    let refused = Answered::Refused { code: Reason::NotAuthorized.code(), why };
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
                let (mut results, mut protects) = (results.into_iter(), None);
                let mut settled = |old: &[u8]| self.settled(old, results.next()?, &mut protects);
                open.retain(|(place, old, _)| match settled(old) {
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

    /// What an outcome comes to, if it is one for good. `protects` is whether a version does, once that was asked.
    fn settled(
        &self,
        old: &[u8],
        outcome: Outcome<Used>,
        protects: &mut Option<bool>,
    ) -> Option<Answered> {
        let refusal = match outcome {
            Outcome::Committed(used) => {
                return believed((self.of, self.key), self.control, old, used);
            }
            Outcome::Unknown(_) => return None,
            Outcome::Refused(refusal) => refusal,
        };
        let is_final = match meaning(&refusal) {
            Meaning::OfCiphertext => true,
            // If nothing protects now, that is no fault of this one.
            Meaning::OfVersion => *protects.get_or_insert_with(|| self.protects()),
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

/// An answer that can be what was asked for. Another ends the campaign: it would take the place of what can be read.
fn believed(
    (of, key): (&Of, &Name),
    control: &Control,
    old: &[u8],
    used: Used,
) -> Option<Answered> {
    if can_follow(of, (old, &used.output), used.version) {
        return Some(Answered::New(used.output, used.version));
    }
    control.deceive(key);
    None
}

/// Refuses an item whose own context a handle cannot be used with: that says nothing of the others.
fn fitting(handle: &KeyHandle, own: Option<&Context>) -> Result<(), String> {
    let Some(own) = own else { return Ok(()) };
    let completed = handle.complete(own).map_err(|error| error.to_string())?;
    let is_bound = |pin: &Pair| completed.pairs().contains(pin);
    if handle.constraints().pins.iter().all(is_bound) {
        return Ok(());
    }
    Err("its context says something else than the handle pins".into())
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
    of_one(read(client, &Command::ReadCensus(CensusQuery::Of(key.clone())))?)
}

/// The same, asked until it is answered.
pub(super) fn census_again(
    client: &Client,
    key: &Name,
) -> Result<(EpochObject, KeyCensusObject), Failure> {
    let asked = Command::ReadCensus(CensusQuery::Of(key.clone()));
    of_one(answered(client, &asked, &mut fresh_operation)?.answer)
}

/// A service that answers with something else is of another version, and stays so however often it is asked.
fn of_one(answer: AnswerObject) -> Result<(EpochObject, KeyCensusObject), Failure> {
    let AnswerObject::Census(mut census) = answer else { return Err(unexpected()) };
    let found = census.keys.pop().ok_or_else(unexpected)?;
    Ok((census.as_of, found))
}

/// Gives a command until it is answered, with one operation id.
pub(crate) fn given(client: &Client, command: &Command) -> Result<CommandAnswer, Failure> {
    let operation = fresh_operation()?;
    answered(client, command, &mut || Ok(operation))
}

fn answered(
    client: &Client,
    command: &Command,
    operation: &mut dyn FnMut() -> anyhow::Result<OperationId>,
) -> Result<CommandAnswer, Failure> {
    let (control, mut rest) = (Control::default(), REST_FIRST);
    loop {
        match client.command(command, operation()?) {
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
    use super::super::item::tests::{envelope, of};
    use super::*;

    fn check(reasons: &[Reason], expected: Meaning) {
        for reason in reasons {
            let refusal = Refusal { code: Code::Reason(*reason), detail: String::new() };
            assert_eq!(meaning(&refusal), expected, "{reason}");
        }
    }

    /// Whoever answers in the place of the service destroys nothing with what is no ciphertext.
    #[test]
    fn an_answer_that_is_no_ciphertext_of_the_key_ends_the_campaign() {
        let (of, key, old) = (of(), "cards".parse().unwrap(), envelope(2, 1));
        let answer = |output: &[u8], version| Used {
            operation: OperationId::from_bytes([1; 16]),
            output: output.to_vec(),
            version,
            log_index: 0,
            receipt: Vec::new(),
        };
        let control = Control::default();
        let good = believed((&of, &key), &control, &old, answer(&envelope(2, 2), 2));
        assert_eq!(good, Some(Answered::New(envelope(2, 2), 2)));
        assert!(!control.stops() && !control.is_deceived());
        for (output, version) in [(envelope(3, 2), 2), (envelope(2, 2), 1), (Vec::new(), 2)] {
            let control = Control::default();
            let bad = believed((&of, &key), &control, &old, answer(&output, version));
            assert_eq!(bad, None);
            assert!(control.stops() && control.is_deceived());
            let Some(Failure::Failed(said)) = control.failure() else { panic!("nothing is said") };
            assert!(said.to_string().contains("no ciphertext of `cards`"), "{said}");
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
