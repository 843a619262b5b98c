//! Reductions that store or log cannot take: put aside in the journal, and recorded by the next start.
//!
//! A reduction goes into the journal where the store fails under it, and where the log has neither room nor
//! a next segment. It is in effect in memory, passes the barrier like any other, and is answered as
//! committed with its audit pending. Until a start has recorded it, no key is used: the process ends after a
//! failure, or keeps the mode *audit full* until there is room and then ends in order.
//!
//! **Invariant:** an entry leaves the journal only after its record, or the record of its refusal, is durable.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};

use chancery_api::message::{CommandReply, CommandRequest};
use chancery_audit::journal::{Entry, Journal, JournalError};
use chancery_core::authority::{Decided, Refusal};
use chancery_core::cbor;
use chancery_core::id::{OperationId, PrincipalId, TenantId};
use chancery_core::reason::Reason;
use chancery_crypto::primitive::sha256;

use crate::commands::{Asker, CommandJob, Verified, verify_at};
use crate::config::{EXIT_AUDIT_FAILED, SignerError};
use crate::counters::lock;
use crate::entropy;
use crate::inbox::Submission;
use crate::sequencer::halt;
use crate::signature::When;
use crate::store_thread::StoreThread;

/// The journal, and what is in it.
pub(crate) struct Aside {
    journal: Journal,
    known: BTreeMap<(PrincipalId, OperationId), [u8; 32]>,
}

/// What happens after a reduction in the journal was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// The process ends: the store failed.
    Halt,
    /// The process goes on until there is room, and uses no key until then.
    Merge,
}

/// A reduction in the journal, on its way to its answer.
pub(crate) struct PutAside {
    asker: Asker,
    pub(crate) tenant: TenantId,
    afterwards: Afterwards,
    done: SyncSender<()>,
}

impl PutAside {
    /// Answers it; what came before it is out.
    pub(crate) fn answer(self) {
        self.asker.say(&CommandReply::Pending);
        if self.afterwards == Afterwards::Halt {
            eprintln!("chancery signer: the store failed; a reduction is in the reduction journal");
            std::process::exit(i32::from(EXIT_AUDIT_FAILED));
        }
        let _ = self.done.send(());
    }
}

impl Aside {
    /// Takes a journal over, with the entries that it holds.
    ///
    /// # Errors
    ///
    /// [`SignerError::Reductions`] if an entry is no signed request.
    pub(crate) fn new(journal: Journal, entries: &[Entry]) -> Result<Self, SignerError> {
        let mut known = BTreeMap::new();
        for entry in entries {
            let request = parse(entry)?;
            let parameters = &request.parameters;
            known.insert((parameters.principal, parameters.operation), sha256(&[request.command]));
        }
        Ok(Self { journal, known })
    }

    /// Whether reductions wait to be recorded.
    pub(crate) fn holds_any(&self) -> bool {
        !self.journal.is_empty()
    }

    /// What an operation id that is in the journal is answered.
    pub(crate) fn reply(
        &self,
        principal: PrincipalId,
        operation: OperationId,
        command: &[u8],
    ) -> Option<CommandReply> {
        let known = self.known.get(&(principal, operation))?;
        Some(if *known == sha256(&[command]) {
            CommandReply::Pending
        } else {
            CommandReply::Refused {
                reason: Reason::OperationIdReused,
                detail: "use a fresh operation id for a new request".to_owned(),
            }
        })
    }

    /// Puts a signed request into the journal. When this returns, it is durable.
    pub(crate) fn append(
        &mut self,
        request: &CommandRequest<'_>,
        alive_ms: u64,
    ) -> Result<(), JournalError> {
        self.journal.append(&Entry { alive_ms, request: cbor::encode(request) })?;
        let parameters = &request.parameters;
        self.known.insert((parameters.principal, parameters.operation), sha256(&[request.command]));
        Ok(())
    }

    fn clear(&mut self) -> Result<(), JournalError> {
        self.known.clear();
        self.journal.clear()
    }
}

/// The request of an entry.
pub(crate) fn parse(entry: &Entry) -> Result<CommandRequest<'_>, SignerError> {
    cbor::decode(&entry.request, "journaled request")
        .map_err(|_| SignerError::Reductions("the reduction journal holds what is no request"))
}

impl StoreThread {
    /// Records what an earlier start, or the process that only takes reductions, has put aside.
    ///
    /// # Errors
    ///
    /// [`SignerError`] if an entry is no reduction that a principal of this service signed, or the journal
    /// fails. A failure of store or log ends the process.
    pub(crate) fn merge(&mut self, entries: &[Entry]) -> Result<(), SignerError> {
        for entry in entries {
            let verified = self.authenticate(entry)?;
            let now = lock(&self.shared.core).now(entropy::sample());
            self.run_at(&CommandJob { verified, asker: None, made: None }, now);
        }
        if !entries.is_empty() {
            eprintln!("chancery signer: {} journaled reductions are on record", entries.len());
            self.aside.clear()?;
        }
        Ok(())
    }

    /// Whoever can write to the disk can write to the journal; only what a principal signed counts.
    fn authenticate(&self, entry: &Entry) -> Result<Verified, SignerError> {
        const NOT_OURS: SignerError = SignerError::Reductions(
            "the reduction journal holds what no principal of this service signed",
        );
        let request = parse(entry)?;
        let principal = {
            let core = lock(&self.shared.core);
            core.authority.principal(request.parameters.principal).cloned().ok_or(NOT_OURS)?
        };
        let verified = verify_at(&self.shared, &request, principal, When::Known(entry.alive_ms));
        verified.ok().filter(|verified| verified.command.is_reduction()).ok_or(NOT_OURS)
    }

    /// Whether reductions go into the journal rather than into store and log.
    pub(crate) fn puts_aside(&self) -> bool {
        self.aside.holds_any() || self.shared.spare.is_full() && lock(&self.shared.progress).is_low
    }

    /// Puts a reduction into the journal, into effect, and on its way to its answer.
    pub(crate) fn put_aside(
        &mut self,
        (verified, asker): (&Verified, &Asker),
        decided: Decided,
        afterwards: Afterwards,
    ) -> Result<(), Refusal> {
        match self.aside.append(&verified.request(), verified.alive_ms) {
            Ok(()) => {}
            Err(error @ JournalError::Io(_)) => halt(&error),
            Err(error) if afterwards == Afterwards::Halt => halt(&error),
            Err(error) => {
                let detail = error.to_string();
                return Err(Refusal { reason: Reason::Unavailable, detail });
            }
        }
        let tenant = verified.principal.tenant;
        match afterwards {
            Afterwards::Merge => self.shared.spare.hold_until_restart(),
            Afterwards::Halt => self.shared.spare.hold_for_good(),
        }
        self.reduce(tenant, decided.rows);
        let (done, answered) = sync_channel(1);
        let aside = PutAside { asker: asker.clone(), tenant, afterwards, done };
        self.shared.inbox.send(Submission::Aside(Box::new(aside)));
        // After a failure of the store this never comes: the process ends.
        let _ = answered.recv();
        Ok(())
    }
}
