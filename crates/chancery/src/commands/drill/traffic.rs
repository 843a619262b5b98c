//! The traffic of a drill: one consumer after the other has something signed, and every verifier is shown it.

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

use super::stand::Stand;
use super::verifiers::Watcher;

/// Consumers: 100, of whom a canary has about ten.
const CONSUMERS: u64 = 100;

/// One of so many signatures of the new version is altered, where that is the fault: 10.
const ALTERED_OF: u64 = 10;

/// How long a request that was not answered is asked again: 30 s, as long as a restart may take.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// Good signatures that a verifier which follows did not accept, and altered ones that one did.
    pub(super) misjudged: u64,
    /// When the first altered one was shown, and when the new version last signed.
    pub(super) first_altered: Option<Instant>,
    pub(super) last_new: Option<Instant>,
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
    pub(super) stops: AtomicBool,
    pub(super) alters: AtomicBool,
}

impl<'a> Traffic<'a> {
    /// For what was set up.
    pub(super) fn of(stand: &'a Stand) -> Self {
        let Stand { client, handle, key, purpose, scope, watchers, .. } = stand;
        Self {
            client,
            handle,
            key,
            purpose,
            scope,
            watchers,
            counts: Mutex::default(),
            stops: AtomicBool::new(false),
            alters: AtomicBool::new(false),
        }
    }
}

impl Traffic<'_> {
    /// Goes on until it is told to stop.
    pub(super) fn run(&self) {
        let mut number: u64 = 0;
        while !self.stops.load(Ordering::Relaxed) {
            number = number.wrapping_add(1);
            self.once(number);
        }
    }

    /// Whether every verifier that follows knows the key, by a signature that counts for nothing.
    pub(super) fn is_known(&self) -> bool {
        let message = b"drill";
        let Some(Ok(used)) = self.sign("consumer-0", message) else { return false };
        let mut followers = self.watchers.iter().filter(|it| it.follows());
        followers.all(|watcher| self.is_judged(watcher, "drill", &used, true))
    }

    /// What came of it so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn once(&self, number: u64) {
        let consumer = format!("consumer-{}", number % CONSUMERS);
        let message = format!("drill message {number}");
        match self.sign(&consumer, message.as_bytes()) {
            // Whoever stopped it did not wait for the answer.
            None if self.stops.load(Ordering::Relaxed) => {}
            None => self.count(|counts| counts.unanswered = counts.unanswered.saturating_add(1)),
            Some(Err(code)) => self.count(|counts| {
                counts.refused = counts.refused.saturating_add(1);
                counts.code = Some(code);
            }),
            Some(Ok(used)) => self.judge(number, &message, &used),
        }
    }

    /// Signs, and asks again under the same operation id where no answer came.
    fn sign(&self, consumer: &str, message: &[u8]) -> Option<Result<Used, String>> {
        let context = Context::default();
        let manner = Manner {
            operation: operation_id().ok()?,
            context: &context,
            receipt: Receipt::Unwanted,
            holders: &[],
            routing_key: Some(consumer),
        };
        let began = Instant::now();
        loop {
            let outcome = self.client.sign_with(self.handle, Input::Message(message), &manner);
            let is_away = match &outcome {
                Outcome::Unknown(_) => true,
                Outcome::Refused(refusal) => may_pass(refusal.code.text()),
                Outcome::Committed(_) => false,
            };
            if !is_away {
                return match outcome {
                    Outcome::Committed(used) => Some(Ok(used)),
                    Outcome::Refused(refusal) => Some(Err(refusal.code.text().to_owned())),
                    Outcome::Unknown(_) => None,
                };
            }
            if began.elapsed() > PATIENCE || self.stops.load(Ordering::Relaxed) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Shows a signature to every verifier that follows; to some altered, if that is asked for.
    fn judge(&self, number: u64, message: &str, used: &Used) {
        let is_new = used.version > 1;
        let now = Instant::now();
        self.count(|counts| {
            let (by, last) = if is_new {
                (&mut counts.by_new, Some(now))
            } else {
                (&mut counts.by_old, counts.last_new)
            };
            *by = by.saturating_add(1);
            counts.last_new = last;
        });
        let is_altered =
            is_new && self.alters.load(Ordering::Relaxed) && number.is_multiple_of(ALTERED_OF);
        if is_altered {
            self.count(|counts| counts.first_altered = counts.first_altered.or(Some(now)));
        }
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
