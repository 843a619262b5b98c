//! The traffic of a drill: one consumer after the other has something signed, and every verifier is shown it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery_client::{
    Client, Input, KeyHandle, Manner, Outcome, Receipt, Used, Wanted, operation_id,
};
use chancery_core::context::Context;
use chancery_core::name::{Name, Scope};
use chancery_core::purpose::Purpose;
use chancery_crypto::formats::Payload;

use super::restart::RESTART_MAX;
use super::scenario;
use super::stand::Stand;
use super::verifiers::Watcher;

/// Consumers: 100, of whom a canary has about ten.
const CONSUMERS: u64 = 100;

/// What is said of a request that was sent and not answered.
const NO_ANSWER: &str = "no answer";

/// One of so many signatures of the new version is altered, where that is the fault: 10.
const ALTERED_OF: u64 = 10;

/// How long a request that was not answered is asked again: 75 s, as long as the restart command may take, and a quarter of a
/// minute for the service to answer again.
const PATIENCE: Duration = Duration::from_secs(75);

// One that is never answered is known to be so while the drill still waits for it.
const _: () = assert!(RESTART_MAX.as_secs() < PATIENCE.as_secs());
const _: () = assert!(PATIENCE.as_secs() < scenario::PATIENCE.as_secs());

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Signatures by the version there was, and by the one that came in.
    pub(super) by_old: u64,
    pub(super) by_new: u64,
    /// Requests that the service refused, and the code of the last.
    pub(super) refused: u64,
    pub(super) code: Option<String>,
    /// Requests that never were answered.
    pub(super) unanswered: u64,
    /// Requests that were asked again, since no answer came or the service was away, and what the last was told.
    pub(super) repeated: u64,
    pub(super) repeated_for: Option<String>,
    /// Good signatures that a verifier which follows did not accept, and altered ones that one did.
    pub(super) misjudged: u64,
    /// When the first altered one was shown, and when the new version last signed.
    pub(super) first_altered: Option<Instant>,
    pub(super) last_new: Option<Instant>,
    /// Consumers whom the new version has signed for before the end.
    pub(super) canary: BTreeSet<u64>,
    /// Of requests that were begun after the end.
    pub(super) after: Afterwards,
}

/// What came of requests that were begun after the end was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Afterwards {
    /// All that were answered with a signature.
    pub(super) signed: u64,
    /// Of consumers whom the new version had signed for.
    pub(super) of_canary: u64,
    /// Signed by the new version all the same.
    pub(super) by_new: u64,
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Asked {
    consumer: u64,
    /// Whether the end had been seen when it was begun.
    is_after: bool,
}

/// What came of one request.
struct Came {
    /// A signature, or the code of a refusal; nothing if no answer came.
    answer: Option<Result<Used, String>>,
    /// What was said when it had to be asked again.
    repeated_for: Option<String>,
}

/// What is signed, and how it is judged.
pub(super) struct Traffic<'a> {
    pub(super) client: &'a Client,
    pub(super) handle: &'a KeyHandle,
    pub(super) key: &'a Name,
    pub(super) purpose: &'a Purpose,
    pub(super) scope: &'a Scope,
    pub(super) watchers: &'a [Watcher],
    pub(super) counts: Mutex<Counts>,
    /// Set by a signal.
    pub(super) interrupted: &'a AtomicBool,
    pub(super) stops: AtomicBool,
    pub(super) alters: AtomicBool,
    /// Set when the end was seen.
    pub(super) is_over: AtomicBool,
}

/// Stops the traffic when it goes, whatever the way: the thread is waited for even where a panic unwinds.
pub(super) struct Stops<'a>(pub(super) &'a Traffic<'a>);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.stops.store(true, Ordering::Relaxed);
    }
}

impl Counts {
    /// A request was answered, if at all, only when it had been asked again.
    fn repeat(&mut self, told: Option<String>) {
        if told.is_some() {
            self.repeated = self.repeated.saturating_add(1);
            self.repeated_for = told;
        }
    }

    fn refuse(&mut self, code: &str) {
        self.refused = self.refused.saturating_add(1);
        self.code = Some(code.to_owned());
    }

    /// A version signed.
    fn sign(&mut self, asked: Asked, version: u32) {
        let is_new = is_new(version);
        if is_new {
            self.last_new = Some(Instant::now());
        }
        let by = if is_new { &mut self.by_new } else { &mut self.by_old };
        *by = by.saturating_add(1);
        if asked.is_after {
            let is_of_canary = self.canary.contains(&asked.consumer);
            let Afterwards { signed, of_canary, by_new } = &mut self.after;
            *signed = signed.saturating_add(1);
            *of_canary = of_canary.saturating_add(u64::from(is_of_canary));
            *by_new = by_new.saturating_add(u64::from(is_new));
        } else if is_new {
            self.canary.insert(asked.consumer);
        }
    }

    /// Whether the signature that was counted last is altered before it is shown: every tenth of the new version, whoever its
    /// consumers are.
    fn alter(&mut self, version: u32) -> bool {
        let is_altered = is_new(version) && self.by_new.is_multiple_of(ALTERED_OF);
        if is_altered && self.first_altered.is_none() {
            self.first_altered = Some(Instant::now());
        }
        is_altered
    }
}

/// Whether it is the version that comes in: the second of a key that had one.
const fn is_new(version: u32) -> bool {
    version > 1
}

impl<'a> Traffic<'a> {
    /// For what was set up.
    pub(super) fn of(stand: &'a Stand, interrupted: &'a AtomicBool) -> Self {
        let Stand { scratch, handle, purpose, scope, watchers, .. } = stand;
        Self {
            client: &scratch.client,
            handle,
            key: &scratch.key,
            purpose,
            scope,
            watchers,
            counts: Mutex::default(),
            interrupted,
            stops: AtomicBool::new(false),
            alters: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }
}

impl Traffic<'_> {
    /// Goes on until it is told to stop.
    pub(super) fn run(&self) {
        let mut number: u64 = 0;
        while !self.is_to_stop() {
            number = number.wrapping_add(1);
            self.once(number);
        }
    }

    fn is_to_stop(&self) -> bool {
        self.stops.load(Ordering::Relaxed) || self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether every verifier that follows knows the key, by a signature that counts for nothing.
    pub(super) fn is_known(&self) -> bool {
        let message = b"drill";
        let Some(Ok(used)) = self.sign("consumer-0", message).answer else { return false };
        let mut followers = self.watchers.iter().filter(|it| it.follows());
        followers.all(|watcher| self.is_judged(watcher, "drill", &used, true))
    }

    /// What came of it so far.
    pub(super) fn counts(&self) -> Counts {
        self.count(|counts| counts.clone())
    }

    fn count<T>(&self, count: impl FnOnce(&mut Counts) -> T) -> T {
        count(&mut self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn once(&self, number: u64) {
        let is_after = self.is_over.load(Ordering::Relaxed);
        let asked = Asked { consumer: number % CONSUMERS, is_after };
        let message = format!("drill message {number}");
        let Came { answer, repeated_for } =
            self.sign(&format!("consumer-{}", asked.consumer), message.as_bytes());
        // Whoever stopped it did not wait for the answer.
        let is_given_up = answer.is_none() && self.is_to_stop();
        self.count(|counts| {
            counts.repeat(repeated_for);
            match &answer {
                None if is_given_up => {}
                None => counts.unanswered = counts.unanswered.saturating_add(1),
                Some(Err(code)) => counts.refuse(code),
                Some(Ok(used)) => counts.sign(asked, used.version),
            }
        });
        if let Some(Ok(used)) = answer {
            self.judge(&message, &used);
        }
    }

    /// Signs, and asks again under the same operation id where no answer came.
    fn sign(&self, consumer: &str, message: &[u8]) -> Came {
        let context = Context::default();
        let mut repeated_for = None;
        let Ok(operation) = operation_id() else { return Came { answer: None, repeated_for } };
        let manner = Manner {
            operation,
            context: &context,
            receipt: Receipt::Unwanted,
            holders: &[],
            routing_key: Some(consumer),
        };
        let began = Instant::now();
        loop {
            let outcome = self.client.sign_with(self.handle, Input::Message(message), &manner);
            let told = match outcome {
                Outcome::Committed(used) => return Came { answer: Some(Ok(used)), repeated_for },
                Outcome::Refused(refusal) if may_pass(refusal.code.text()) => refusal.code.text(),
                Outcome::Refused(refusal) => {
                    let code = refusal.code.text().to_owned();
                    return Came { answer: Some(Err(code)), repeated_for };
                }
                Outcome::Unknown(_) => NO_ANSWER,
            };
            if began.elapsed() > PATIENCE || self.is_to_stop() {
                return Came { answer: None, repeated_for };
            }
            repeated_for = Some(told.to_owned());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Shows a signature to every verifier that follows; to some altered, if that is asked for.
    fn judge(&self, message: &str, used: &Used) {
        let alters = self.alters.load(Ordering::Relaxed);
        let is_altered = alters && self.count(|counts| counts.alter(used.version));
        let shown = if is_altered { "something else" } else { message };
        for watcher in self.watchers.iter().filter(|it| it.follows() && it.is_ready()) {
            if !self.is_judged(watcher, shown, used, !is_altered) {
                self.count(|counts| counts.misjudged = counts.misjudged.saturating_add(1));
            }
        }
    }

    fn is_judged(&self, watcher: &Watcher, shown: &str, used: &Used, is_good: bool) -> bool {
        let context = Context::default();
        let wanted = Wanted {
            key: self.key,
            purpose: self.purpose,
            scope: self.scope,
            context: &context,
            payload: Some(Payload::Message(shown.as_bytes())),
        };
        watcher.accepts(&used.output, &wanted) == is_good
    }
}

/// Whether a refusal says that the service is away, or that the same request is under way.
pub(super) fn may_pass(code: &str) -> bool {
    matches!(
        code,
        "unavailable" | "overloaded" | "operation-in-flight" | "signer-unavailable" | "timeout"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn asked(consumer: u64, is_after: bool) -> Asked {
        Asked { consumer, is_after }
    }

    #[test]
    fn what_the_new_version_signs_after_the_end_is_counted_apart() {
        let mut counts = Counts::default();
        counts.sign(asked(1, false), 1);
        counts.sign(asked(2, false), 2);
        // Begun before the end was seen, and answered later: that is no fault.
        counts.sign(asked(3, false), 2);
        let after = |counts: &Counts| {
            let Afterwards { signed, of_canary, by_new } = counts.after;
            (signed, of_canary, by_new)
        };
        assert_eq!(after(&counts), (0, 0, 0));
        counts.sign(asked(1, true), 1);
        counts.sign(asked(2, true), 1);
        assert_eq!(after(&counts), (2, 1, 0));
        counts.sign(asked(3, true), 2);
        assert_eq!(after(&counts), (3, 2, 1));
        assert_eq!((counts.by_old, counts.by_new), (3, 3));
    }

    #[test]
    fn one_in_ten_of_the_new_version_is_altered_whoever_its_consumers_are() {
        let mut counts = Counts::default();
        let mut altered = 0;
        for number in 0..100 {
            // No consumer's number ends with a nought.
            counts.sign(asked(number * 10 + 7, false), 2);
            altered += u32::from(counts.alter(2));
        }
        assert_eq!(altered, 10);
        assert!(counts.first_altered.is_some());
        counts.sign(asked(0, false), 1);
        assert!(!counts.alter(1));
    }

    #[test]
    fn a_request_that_was_asked_again_is_counted_once_with_what_was_said() {
        let mut counts = Counts::default();
        counts.repeat(None);
        assert_eq!(counts.repeated, 0);
        counts.repeat(Some("overloaded".into()));
        assert_eq!((counts.repeated, counts.repeated_for.as_deref()), (1, Some("overloaded")));
    }
}
