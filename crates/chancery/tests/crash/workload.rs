//! The fixed workload: every kind of change, in at most fifty operations, one after the other.

use std::time::Duration;

use chancery_api::http::replies::{AnswerObject, CommandAnswer};
use chancery_client::{Client, KeyHandle, Outcome};
use chancery_core::command::{Command, NewHandle};
use chancery_core::handle::Operations;
use chancery_core::purpose::Usage;
use chancery_core::rollout::{Advance, Builtin, Cause, Lacking, Order, Plan, Rotation};
use chancery_core::state::KeyEvent;

use super::journal::{Answer, Journal, Request};
use super::written::Pen;
use crate::harness::{name, new_key};

/// The most operations of the fixed workload.
const OPERATIONS_MAX: usize = 50;

/// The emergency plan, each of whose stages a person ends, and which waits for nothing else until the new version stands
/// alone.
fn stepwise() -> Plan {
    let mut plan = Builtin::Emergency.plan().unwrap();
    for stage in &mut plan.stages {
        stage.advance = Advance::Person;
        if stage.name.is_trial() {
            stage.on_no_data = Lacking::Wait;
        }
    }
    assert_eq!(plan.check(), []);
    plan
}

/// Nobody answers any more: the rest of the workload is not asked.
pub(super) struct NobodyThere;

/// A client at work, that writes its journal.
pub(super) struct Worker<'c> {
    client: &'c Client,
    is_alive: &'c dyn Fn() -> bool,
    pen: Pen,
    pause: Duration,
}

impl<'c> Worker<'c> {
    /// `is_alive` says whether the service can still answer.
    pub(super) fn new(client: &'c Client, is_alive: &'c dyn Fn() -> bool) -> Self {
        Self { client, is_alive, pen: Pen::new(), pause: Duration::ZERO }
    }

    /// One that waits so long before each operation.
    pub(super) fn with_pauses(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The fixed workload.
    pub(super) fn run(mut self) -> Journal {
        // Where it ends is in the journal.
        let _ = self.everything();
        self.journal()
    }

    /// What was written down so far.
    pub(super) fn journal(&self) -> Journal {
        self.pen.read_back()
    }

    fn everything(&mut self) -> Result<(), NobodyThere> {
        let signing = self.key("signing", "sign.bound:invoice", "ecdsa-p256")?;
        self.sign(signing.as_ref(), 6)?;
        let cards = self.key("cards", "encrypt.aead:card", "aes-256-gcm")?;
        self.encrypt(cards.as_ref(), 5)?;
        let suspended = self.key("suspended", "sign.bound:invoice", "ed25519")?;
        self.sign(suspended.as_ref(), 2)?;
        self.suspend("suspended", suspended)?;
        self.sign(signing.as_ref(), 4)?;
        let revoked = self.issue("signing", Usage::Sign)?;
        self.sign(revoked.as_ref(), 2)?;
        self.revoke(revoked)?;
        self.encrypt(cards.as_ref(), 4)?;
        self.key("another", "mac.bound:webhook", "hmac-sha-256")?;
        self.rotate("signing", signing.as_ref())?;
        self.sign(signing.as_ref(), 4)?;
        assert!(self.journal().acknowledged() <= OPERATIONS_MAX);
        Ok(())
    }

    /// Asks, and goes on for as long as somebody answers.
    fn ask(&mut self, request: &Request) -> Result<Option<Answer>, NobodyThere> {
        std::thread::sleep(self.pause);
        match self.pen.ask(self.client, request) {
            Outcome::Committed(answer) => Ok(Some(answer)),
            Outcome::Refused(_) | Outcome::Unknown(_) if (self.is_alive)() => Ok(None),
            Outcome::Refused(_) | Outcome::Unknown(_) => Err(NobodyThere),
        }
    }

    /// Asks, whoever is there.
    pub(super) fn ask_anyway(&mut self, request: &Request) -> Outcome<Answer> {
        self.pen.ask(self.client, request)
    }

    /// Makes a key and issues a handle for it; none if that was refused.
    pub(super) fn key(
        &mut self,
        key: &str,
        purpose: &'static str,
        suite: &'static str,
    ) -> Result<Option<KeyHandle>, NobodyThere> {
        let made = self.ask(&Request::Command(new_key(key, purpose, suite)))?;
        let Some(Answer::Command(CommandAnswer { answer: AnswerObject::Key(made), .. })) = made
        else {
            return Ok(None);
        };
        self.issue(key, made.purpose.usage())
    }

    /// Issues a handle for an hour.
    pub(super) fn issue(
        &mut self,
        key: &str,
        usage: Usage,
    ) -> Result<Option<KeyHandle>, NobodyThere> {
        let new = NewHandle {
            key: name(key),
            operations: Operations::usual(usage),
            ttl_ms: 3_600_000,
            pins: Vec::new(),
            holder: Vec::new(),
            subject: None,
            max_uses: None,
        };
        let issued = self.ask(&Request::Command(Command::IssueHandle(new)))?;
        Ok(match issued {
            Some(Answer::Command(CommandAnswer {
                answer: AnswerObject::Handle(token), ..
            })) => Some(KeyHandle::parse(&token.0).unwrap()),
            _ => None,
        })
    }

    /// Signs some messages.
    pub(super) fn sign(
        &mut self,
        handle: Option<&KeyHandle>,
        times: u32,
    ) -> Result<(), NobodyThere> {
        for n in 0..times {
            let Some(handle) = handle else { return Ok(()) };
            self.ask(&Request::Sign(handle.clone(), n.to_be_bytes().to_vec()))?;
        }
        Ok(())
    }

    /// Encrypts some plaintexts.
    pub(super) fn encrypt(
        &mut self,
        handle: Option<&KeyHandle>,
        times: u32,
    ) -> Result<(), NobodyThere> {
        for n in 0..times {
            let Some(handle) = handle else { return Ok(()) };
            self.ask(&Request::Encrypt(handle.clone(), n.to_be_bytes().to_vec()))?;
        }
        Ok(())
    }

    /// Suspends a key.
    pub(super) fn suspend(
        &mut self,
        key: &str,
        handle: Option<KeyHandle>,
    ) -> Result<(), NobodyThere> {
        let Some(handle) = handle else { return Ok(()) };
        let event = KeyEvent::Suspend;
        let command = Command::ChangeVersion { key: name(key), version: None, event };
        self.ask(&Request::Reduction(command, handle)).map(drop)
    }

    /// Begins a rotation, takes it a stage on, and back: each step by an order, so that none comes by itself.
    fn rotate(&mut self, key: &str, handle: Option<&KeyHandle>) -> Result<(), NobodyThere> {
        let (plan, cause) = (stepwise(), Cause::Requested);
        let rotation = Rotation { key: name(key), plan, cause, suite: None, version: None };
        let begun = self.ask(&Request::Command(Command::Rotate(rotation)))?;
        let Some(Answer::Command(CommandAnswer { answer: AnswerObject::Rollout(begun), .. })) =
            begun
        else {
            return Ok(());
        };
        let rollout = begun.id;
        for order in [Order::Advance, Order::Pause, Order::Resume, Order::Advance] {
            self.ask(&Request::Command(Command::OrderRollout { rollout, order }))?;
        }
        // By the new version, and then by the one before again.
        self.sign(handle, 2)?;
        let order = Order::RollBack;
        self.ask(&Request::Command(Command::OrderRollout { rollout, order })).map(drop)
    }

    /// Revokes a handle.
    pub(super) fn revoke(&mut self, handle: Option<KeyHandle>) -> Result<(), NobodyThere> {
        let Some(handle) = handle else { return Ok(()) };
        let link = handle.revocation_id().unwrap();
        self.ask(&Request::Reduction(Command::RevokeHandle { link }, handle)).map(drop)
    }
}
