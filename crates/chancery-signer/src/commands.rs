//! Commands as they arrive: verified, and handed on to who carries them out.
//!
//! The principal's signature is checked here, over what the signer itself builds from the command. Reads and
//! new keys go to the pool, other changes to the store thread.

use std::sync::Arc;

use chancery_api::frame::Kind as FrameKind;
use chancery_api::message::{CommandReply, CommandRequest};
use chancery_audit::record::Authentication;
use chancery_core::authority::Authority;
use chancery_core::clock::millis;
use chancery_core::command::{Command, SignatureParameters};
use chancery_core::limits::OPERATION_RETENTION;
use chancery_core::principal::Principal;
use chancery_core::reason::Reason;
use chancery_core::step::Claimed;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels;

use crate::counters::lock;
use crate::entropy;
use crate::jobs::Job;
use crate::outlet::Outlet;
use crate::query;
use crate::service::Shared;
use crate::signature::{self, Checked, When};

/// The longest command, in bytes: 32 KiB, far more than the longest key that is brought in takes.
const COMMAND_BYTES_MAX: usize = 32 * 1024;

/// A command whose signature holds.
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) command: Command,
    pub(crate) parameters: SignatureParameters,
    pub(crate) claimed: Claimed,
    encoded: Vec<u8>,
    signature: [u8; 64],
    /// A time at which its signature is alive and which it may be now, in milliseconds since 1970.
    pub(crate) alive_ms: u64,
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
    let verified = verify_at(shared, request, principal, When::of(now))?;
    // Nothing remembers the id of a read, so its age is all that ends its use while a suspect clock lets an old
    // signature live. The id of anything else is looked at where it is reserved.
    let is_stale = verified.claimed.id_ms.saturating_add(millis(OPERATION_RETENTION)) < now.unix_ms;
    if verified.command.is_read() && is_stale {
        return Err(Reason::SignatureExpired);
    }
    Ok(verified)
}

/// Checks it against this principal, as of then.
pub(crate) fn verify_at(
    shared: &Shared,
    request: &CommandRequest<'_>,
    principal: Principal,
    when: When,
) -> Result<Verified, Reason> {
    if request.command.len() > COMMAND_BYTES_MAX {
        return Err(Reason::TooLarge);
    }
    let Checked { command, alive_ms } = signature::check(request, &principal, when)?;
    let parameters = request.parameters.clone();
    let id_ms = parameters.operation.unix_ms().ok_or(Reason::Malformed)?;
    let parts: [&[u8]; 2] = [principal.id.as_bytes(), request.command];
    let claimed = Claimed {
        name: shared.entry_name(principal.tenant, principal.id, parameters.operation),
        digest: shared.operation_key.of(labels::REQUEST_DIGEST, &parts),
        id_ms,
    };
    let (encoded, signature) = (request.command.to_vec(), request.signature);
    Ok(Verified { principal, command, parameters, claimed, encoded, signature, alive_ms })
}

/// Hands a verified command on: reads and new keys to the pool, other changes to the store thread.
pub(crate) fn take(shared: &Arc<Shared>, verified: Verified, asker: Asker) {
    let command = &verified.command;
    let makes = matches!(command, Command::CreateKey(_) | Command::Rotate(_));
    let is_for_the_pool = makes || command.is_read();
    let job = Box::new(CommandJob { verified, asker: Some(asker), made: None });
    if !is_for_the_pool {
        return hand_on(shared, job);
    }
    if let Err(job) = shared.pool.command(job) {
        turn_away(shared, &job);
    }
}

/// Does what the pool was given: answers a read, makes a new key's material.
pub(crate) fn from_the_pool(shared: &Shared, job: Box<CommandJob>) {
    if job.verified.command.is_read() {
        query::answer(shared, &job);
    } else {
        make_key(shared, job);
    }
}

/// Makes the material of a new key, which takes seconds for the longest, before the store thread is asked.
/// If the key will be refused anyway, that is for the store thread to say and to record.
fn make_key(shared: &Shared, mut job: Box<CommandJob>) {
    let Verified { principal, command, claimed, .. } = &job.verified;
    let wanted = {
        let core = lock(&shared.core);
        let is_new = core.operations.look_up(&claimed.name).is_none()
            && core.authority.admit(principal, command).is_ok();
        is_new.then(|| suite_to_make(&core.authority, principal, command)).flatten()
    };
    if let Some(suite) = wanted {
        job.made = PrivateKey::generate(suite).ok();
    }
    hand_on(shared, job);
}

fn suite_to_make(authority: &Authority, principal: &Principal, command: &Command) -> Option<Suite> {
    match command {
        Command::CreateKey(new) => authority.check_new_key(principal, new).ok().map(|()| new.suite),
        Command::Rotate(rotation) => {
            let wanted = authority.check_rotation(principal, rotation).ok().flatten();
            wanted.map(|(suite, _)| suite)
        }
        _ => None,
    }
}

fn hand_on(shared: &Shared, job: Box<CommandJob>) {
    if let Err(Job::Command(job)) = shared.jobs.send(Job::Command(job)) {
        turn_away(shared, &job);
    }
}

/// There is no room for a command, or it waited for so long that nobody waits for it any more. Nothing came of
/// it.
pub(crate) fn turn_away(shared: &Shared, job: &CommandJob) {
    let reason = Reason::Overloaded;
    shared.counters.refused(reason);
    let detail = signature::early_detail(reason).to_owned();
    job.say(&CommandReply::Refused { reason, detail });
}

/// A verified command with who waits for its answer; nobody, for one from the reduction journal.
pub(crate) struct CommandJob {
    pub(crate) verified: Verified,
    pub(crate) asker: Option<Asker>,
    /// The private key that was made for it, if it is to make one.
    pub(crate) made: Option<PrivateKey>,
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
