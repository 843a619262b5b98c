//! Commands as they arrive: verified, and handed on to who carries them out.
//!
//! The principal's signature is checked here, over what the signer itself builds from the command. Reads go
//! to the pool, changes to the store thread, one at a time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use chancery_api::frame::Kind as FrameKind;
use chancery_api::message::{CommandReply, CommandRequest};
use chancery_audit::record::Authentication;
use chancery_core::authority::DueDestruction;
use chancery_core::command::{Command, SignatureParameters};
use chancery_core::principal::Principal;
use chancery_core::reason::Reason;
use chancery_core::step::Claimed;
use chancery_crypto::labels;

use crate::counters::lock;
use crate::entropy;
use crate::outlet::Outlet;
use crate::query;
use crate::service::Shared;
use crate::signature;

/// The most commands that wait for the store thread: 256, about a second of the embedded store.
const COMMANDS_MAX: usize = 256;

/// A command whose signature holds.
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) command: Command,
    pub(crate) parameters: SignatureParameters,
    pub(crate) claimed: Claimed,
    encoded: Vec<u8>,
    signature: [u8; 64],
}

impl Verified {
    /// The request as it was signed.
    pub(crate) fn request(&self) -> CommandRequest<'_> {
        CommandRequest {
            command: &self.encoded,
            parameters: self.parameters.clone(),
            signature: self.signature,
        }
    }

    /// The command's canonical encoding.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

/// Who waits for a command's answer, and where.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) tag: u64,
}

impl Asker {
    /// Answers what needs no record of its own.
    pub(crate) fn say(&self, reply: &CommandReply) {
        self.outlet.say(FrameKind::CommandReply, self.tag, reply);
    }
}

/// Checks a command's signature and life.
pub(crate) fn verify(shared: &Shared, request: &CommandRequest<'_>) -> Result<Verified, Reason> {
    let (principal, now) = {
        let mut core = lock(&shared.core);
        let now = core.now(entropy::sample());
        let principal = core.authority.principal(request.parameters.principal).cloned();
        (principal.ok_or(Reason::SignatureInvalid)?, now)
    };
    verify_at(shared, request, principal, now.unix_ms)
}

/// Checks it against this principal, as of this time.
pub(crate) fn verify_at(
    shared: &Shared,
    request: &CommandRequest<'_>,
    principal: Principal,
    now_ms: u64,
) -> Result<Verified, Reason> {
    let command = signature::check(request, &principal, now_ms)?;
    let parameters = request.parameters.clone();
    let id_ms = parameters.operation.unix_ms().ok_or(Reason::Malformed)?;
    let parts: [&[u8]; 2] = [principal.id.as_bytes(), request.command];
    let claimed = Claimed {
        name: shared.entry_name(principal.tenant, principal.id, parameters.operation),
        digest: shared.operation_key.of(labels::REQUEST_DIGEST, &parts),
        id_ms,
    };
    let (encoded, signature) = (request.command.to_vec(), request.signature);
    Ok(Verified { principal, command, parameters, claimed, encoded, signature })
}

/// Hands a verified command on: reads to the pool, changes to the store thread.
pub(crate) fn take(shared: &Arc<Shared>, verified: Verified, asker: Asker) {
    let job = Box::new(CommandJob { verified, asker: Some(asker) });
    if job.verified.command.is_read() {
        let task = Box::new(move |shared: &Shared| query::answer(shared, &job));
        if let Err(task) = shared.pool.task(task) {
            // The queue is full; the read is cheap to refuse by doing it here and now.
            task(shared);
        }
        return;
    }
    let sent = shared.commands.try_send(Job::Command(job));
    if let Err(
        TrySendError::Full(Job::Command(job)) | TrySendError::Disconnected(Job::Command(job)),
    ) = sent
    {
        let reason = Reason::Overloaded;
        shared.counters.refused(reason);
        let detail = signature::early_detail(reason).to_owned();
        job.say(&CommandReply::Refused { reason, detail });
    }
}

/// What the store thread does.
pub(crate) enum Job {
    /// A principal's command.
    Command(Box<CommandJob>),
    /// A version whose time has come.
    Destroy(DueDestruction),
}

/// A verified command with who waits for its answer; nobody, for one from the reduction journal.
pub(crate) struct CommandJob {
    pub(crate) verified: Verified,
    pub(crate) asker: Option<Asker>,
}

impl CommandJob {
    /// How its principal is known.
    pub(crate) fn authentication(&self) -> Authentication {
        match self.asker {
            Some(_) => Authentication::Signature,
            None => Authentication::JournaledSignature,
        }
    }

    /// Answers what needs no record of its own.
    pub(crate) fn say(&self, reply: &CommandReply) {
        if let Some(asker) = &self.asker {
            asker.say(reply);
        }
    }
}

/// The channel to the store thread.
pub(crate) fn channel() -> (SyncSender<Job>, Receiver<Job>) {
    sync_channel(COMMANDS_MAX)
}
