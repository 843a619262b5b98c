//! Commands: verified where they arrive, decided and stored one at a time, answered when they are on record.
//!
//! The principal's signature is checked here, over what the signer itself builds from the command: nothing
//! that a front says about who is calling is used. Changes go through one thread, so a command is always
//! decided on the state that the ones before it left.
//!
//! State, head and outbox row commit in one transaction. The outbox row is the operation's row too: it holds
//! what its record will say and what its caller is answered, until the record is in the log.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use chancery_api::frame::Kind as FrameKind;
use chancery_api::message::{CommandReply, CommandRequest};
use chancery_audit::record::{Authentication, Facts, Kind};
use chancery_audit::sealer::Sealer;
use chancery_audit::wal::{Address, read_frame};
use chancery_core::authority::{Decided, DueDestruction, Effect, Fresh, Refusal, Row};
use chancery_core::cbor;
use chancery_core::clock::{Reading, millis};
use chancery_core::command::{Answer, Command, SignatureParameters};
use chancery_core::epoch::Epoch;
use chancery_core::handle;
use chancery_core::id::{HandleId, KeyId, PrincipalId};
use chancery_core::idempotency::{Place, Reservation};
use chancery_core::limits::{CLOCK_DRIFT_MAX, COMMAND_VALIDITY_MAX};
use chancery_core::name::Scope;
use chancery_core::principal::Principal;
use chancery_core::reason::Reason;
use chancery_core::sequencer::{Claim, Mark};
use chancery_core::step::Claimed;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels;
use chancery_crypto::primitive::sha256;
use zeroize::Zeroizing;

use crate::config::SignerError;
use crate::counters::lock;
use crate::entropy;
use crate::outbox::{KeptEntry, OutboxEntry};
use crate::outlet::{Answer as OutAnswer, Outlet};
use crate::query;
use crate::sequencer::{CommandWay, Finished, Submission, Way, halt};
use crate::service::Shared;
use crate::vault::Change;

/// The number in records of a version's destruction, which no principal commands at its moment.
pub(crate) const DESTROY_VERSION: u8 = 11;

/// The most commands that wait for the store thread: 256, about a second of the embedded store.
const COMMANDS_MAX: usize = 256;

/// A command whose signature holds.
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) command: Command,
    pub(crate) parameters: SignatureParameters,
    pub(crate) claimed: Claimed,
}

/// Checks a command's signature and life.
pub(crate) fn verify(shared: &Shared, request: &CommandRequest<'_>) -> Result<Verified, Reason> {
    let command: Command =
        cbor::decode(request.command, "command").map_err(|_| Reason::Malformed)?;
    let parameters = request.parameters.clone();
    let (principal, now) = {
        let mut core = lock(&shared.core);
        let now = core.now(entropy::sample());
        let principal = core.authority.principal(parameters.principal).cloned();
        (principal.ok_or(Reason::SignatureInvalid)?, now)
    };
    check_life(&parameters, now)?;
    let digest = base64(&sha256(&[request.command]));
    let base = parameters.base(&command, &digest);
    let key = crate::lane::ed25519(&principal.public).ok_or(Reason::SignatureInvalid)?;
    key.verify(base.as_bytes(), &request.signature).map_err(|_| Reason::SignatureInvalid)?;
    let id_ms = parameters.operation.unix_ms().ok_or(Reason::Malformed)?;
    let parts: [&[u8]; 2] = [principal.id.as_bytes(), request.command];
    let claimed = Claimed {
        name: shared.entry_name(principal.tenant, principal.id, parameters.operation),
        digest: shared.operation_key.of(labels::REQUEST_DIGEST, &parts),
        id_ms,
    };
    Ok(Verified { principal, command, parameters, claimed })
}

fn check_life(parameters: &SignatureParameters, now: Reading) -> Result<(), Reason> {
    let now_s = now.unix_ms / 1_000;
    let drift_s = millis(CLOCK_DRIFT_MAX) / 1_000;
    let lives_s = parameters.expires_s.checked_sub(parameters.created_s);
    let is_short =
        lives_s.is_some_and(|life| life > 0 && life <= millis(COMMAND_VALIDITY_MAX) / 1_000);
    let is_now = parameters.created_s <= now_s + drift_s && now_s < parameters.expires_s;
    if is_short && is_now { Ok(()) } else { Err(Reason::SignatureExpired) }
}

/// Base64 with padding (RFC 4648, 4), as digests stand in HTTP fields.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Of its final size, since what grows leaves what it outgrew behind, and some of it is secret.
    let mut text = String::with_capacity(4 * bytes.len().div_ceil(3));
    for chunk in bytes.chunks(3) {
        let byte = |position: usize| chunk.get(position).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * position) & 63).unwrap_or_default();
            let letter = ALPHABET.get(index).copied().unwrap_or_default();
            text.push(if position <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// What a caller is told who could not be authenticated.
pub(crate) fn early_detail(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "the command is not one, or its operation id is no UUID of version 7",
        Reason::SignatureExpired => {
            "the signature's life is over, too long, or begins in the future; check the clock and sign again"
        }
        Reason::SignatureInvalid => {
            "the signature does not verify under a principal of this service"
        }
        _ => "the command was not taken; try again later",
    }
}

/// Hands a verified command on: reads to the pool, changes to the store thread.
pub(crate) fn take(shared: &Arc<Shared>, verified: Verified, outlet: Arc<Outlet>, tag: u64) {
    let job = Box::new(CommandJob { verified, outlet, tag });
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
        let detail = early_detail(reason).to_owned();
        job.outlet.say(FrameKind::CommandReply, job.tag, &CommandReply::Refused { reason, detail });
    }
}

/// What the store thread does.
pub(crate) enum Job {
    /// A principal's command.
    Command(Box<CommandJob>),
    /// A version whose time has come.
    Destroy(DueDestruction),
}

/// A verified command with who waits for its answer.
pub(crate) struct CommandJob {
    pub(crate) verified: Verified,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) tag: u64,
}

/// The channel to the store thread.
pub(crate) fn channel() -> (SyncSender<Job>, Receiver<Job>) {
    sync_channel(COMMANDS_MAX)
}

/// Carries commands out, one at a time.
pub(crate) struct StoreThread {
    shared: Arc<Shared>,
    sealer: Sealer,
    last_command: u64,
    drained: Vec<u64>,
}

/// Material made or brought in for a new key.
struct NewMaterial {
    secret: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
    scope: Scope,
}

impl StoreThread {
    /// Starts the thread.
    pub(crate) fn start(shared: &Arc<Shared>, jobs: Receiver<Job>, last_command: u64) {
        let (shared, sealer) = (Arc::clone(shared), shared.sealer());
        let mut thread = Self { shared, sealer, last_command, drained: Vec::new() };
        std::thread::spawn(move || {
            while let Ok(job) = jobs.recv() {
                match job {
                    Job::Command(job) => thread.run(&job),
                    Job::Destroy(due) => thread.destroy(&due),
                }
            }
        });
    }

    fn run(&mut self, job: &CommandJob) {
        let verified = &job.verified;
        let (now, reserved) = {
            let mut core = lock(&self.shared.core);
            let now = core.now(entropy::sample());
            (now, core.reserve(&verified.claimed, now))
        };
        match reserved {
            Ok(Reservation::Done(place)) => self.repeat(job, place),
            Ok(Reservation::New) => {
                if let Err(refusal) = self.carry_out(job, now) {
                    let claimed = &verified.claimed;
                    lock(&self.shared.core)
                        .operations
                        .release_unfinished(&claimed.name, claimed.id_ms);
                    self.refuse(job, refusal, now);
                }
            }
            Err(reason) => {
                let detail = "use a fresh operation id for a new request".to_owned();
                self.refuse(job, Refusal { reason, detail }, now);
            }
        }
    }

    fn carry_out(&mut self, job: &CommandJob, now: Reading) -> Result<(), Refusal> {
        let Verified { principal, command, .. } = &job.verified;
        if self.shared.spare.is_full() && !is_reduction(command) {
            let detail =
                "the audit log has no room; only what takes authority away is taken".to_owned();
            return Err(Refusal { reason: Reason::AuditFull, detail });
        }
        lock(&self.shared.core).authority.admit(principal, command)?;
        let material = self.material(principal, command)?;
        let fresh = Self::fresh(now, material.as_ref())?;
        let decided = lock(&self.shared.core).authority.decide(principal, command, fresh, now)?;
        match decided.effect {
            Effect::None => self.issue(job, &decided, now),
            Effect::Reduction | Effect::Recorded => self.store(job, decided, material, now),
        }
    }

    fn fresh(now: Reading, material: Option<&NewMaterial>) -> Result<Fresh, Refusal> {
        let entropy = || entropy::bytes::<10>().map_err(|_| unavailable());
        Ok(Fresh {
            key: KeyId::v7(now.unix_ms, entropy()?),
            handle: HandleId::v7(now.unix_ms, entropy()?),
            principal: PrincipalId::v7(now.unix_ms, entropy()?),
            public: material.map(|material| material.public.clone()).unwrap_or_default(),
        })
    }

    /// Makes or opens key material, after it was checked that there is a use for it.
    fn material(
        &self,
        principal: &Principal,
        command: &Command,
    ) -> Result<Option<NewMaterial>, Refusal> {
        let (new, key) = match command {
            Command::CreateKey(new) => {
                lock(&self.shared.core).authority.check_new_key(principal, new)?;
                (new, PrivateKey::generate(new.suite).map_err(|_| unavailable())?)
            }
            Command::ImportKey { new, one_time, sealed } => {
                lock(&self.shared.core).authority.check_new_key(principal, new)?;
                (new, self.shared.imports.open(new, one_time, sealed)?)
            }
            _ => return Ok(None),
        };
        let secret = key.expose_secret().map_err(|_| unavailable())?;
        let public = key.public().map(|public| public.spki().to_vec()).unwrap_or_default();
        Ok(Some(NewMaterial { secret, public, scope: new.scope.clone() }))
    }

    fn entry(
        &self,
        job: &CommandJob,
        decided: &Decided,
        reply: &CommandReply,
        now: Reading,
    ) -> OutboxEntry {
        let Verified { principal, command, parameters, claimed } = &job.verified;
        let posture_epoch = lock(&self.shared.core).authority.posture().epoch;
        OutboxEntry {
            operation: command.number(),
            suite: suite_of(command),
            key: decided.key,
            actor: Some(principal.id),
            operation_id: Some(parameters.operation),
            message: sha256(&[&cbor::encode(command)]),
            kept: Some(KeptEntry {
                name: claimed.name,
                digest: claimed.digest,
                id_ms: claimed.id_ms,
                answer: cbor::encode(reply),
            }),
            ..OutboxEntry::of_service(principal.tenant, now, posture_epoch)
        }
    }

    /// Issues a handle, or a one-time key: recorded, but nothing is stored and no epoch moves.
    fn issue(&mut self, job: &CommandJob, decided: &Decided, now: Reading) -> Result<(), Refusal> {
        let answer = match (&decided.handle, &job.verified.command) {
            (Some((root, caveats)), _) => {
                let minted = handle::mint(self.shared.handle_key, root, &self.shared.mac);
                let narrowed =
                    minted.and_then(|minted| handle::narrow(&minted, caveats, &self.shared.mac));
                Answer::Handle(narrowed.map_err(|_| unavailable())?)
            }
            (None, Command::BeginImport) => {
                self.shared.imports.begin().map_err(|_| unavailable())?
            }
            _ => decided.answer.clone(),
        };
        let reply = CommandReply::Committed { answer, index: None };
        let entry = self.entry(job, decided, &reply, now);
        let way = CommandWay {
            outlet: Some((Arc::clone(&job.outlet), job.tag)),
            ..CommandWay::default()
        };
        let submission = entry.submission(&mut self.sealer, 0, OutAnswer::Command(reply), way);
        self.shared.inbox.send(submission.map_err(|_| unavailable())?);
        Ok(())
    }

    /// Stores a change, puts it into effect, and has it recorded and answered.
    fn store(
        &mut self,
        job: &CommandJob,
        decided: Decided,
        material: Option<NewMaterial>,
        now: Reading,
    ) -> Result<(), Refusal> {
        let tenant = job.verified.principal.tenant;
        let reply = CommandReply::Committed { answer: decided.answer.clone(), index: None };
        let mut entry = self.entry(job, &decided, &reply, now);
        let number = self.last_command + 1;
        let epoch = epoch_of(&decided.rows);
        let change = Change {
            tenant,
            epoch: epoch.ok_or_else(unavailable)?,
            rows: decided.rows.clone(),
            material: material
                .zip(decided.key)
                .map(|(material, (key, version))| (key, version, material.scope, material.secret)),
            erased: None,
            command: number,
        };
        self.commit(&change, &mut entry)?;
        let outlet = Some((Arc::clone(&job.outlet), job.tag));
        self.take_effect(decided, &entry, OutAnswer::Command(reply), outlet);
        Ok(())
    }

    /// Destroys a version whose scheduled time has come: its material leaves the store, its metadata stays.
    fn destroy(&mut self, due: &DueDestruction) {
        let (now, decided) = {
            let mut core = lock(&self.shared.core);
            let now = core.now(entropy::sample());
            (now, core.authority.decide_destruction(due, now))
        };
        // It was cancelled meanwhile, or there is no room to record it: it stays scheduled.
        let Ok(decided) = decided else { return };
        let posture_epoch = lock(&self.shared.core).authority.posture().epoch;
        let mut entry = OutboxEntry::of_service(due.tenant, now, posture_epoch);
        entry.operation = DESTROY_VERSION;
        entry.key = Some((due.key, due.version));
        let epoch = epoch_of(&decided.rows);
        let Some(epoch) = epoch else { return };
        let change = Change {
            tenant: due.tenant,
            epoch,
            rows: decided.rows.clone(),
            material: None,
            erased: Some((due.key, due.version)),
            command: self.last_command + 1,
        };
        if self.commit(&change, &mut entry).is_ok() {
            self.shared.materials.forget((due.key, due.version));
            self.take_effect(decided, &entry, OutAnswer::None, None);
        }
    }

    fn commit(&mut self, change: &Change, entry: &mut OutboxEntry) -> Result<(), Refusal> {
        let outbox = |head| entry.with_head(head);
        let committed = lock(&self.shared.vault).commit(change, outbox, &self.drained);
        entry.head_digest = committed.map_err(|error| refused_by_store(&error))?.head_hash;
        self.last_command = change.command;
        self.drained.clear();
        Ok(())
    }

    fn take_effect(
        &mut self,
        decided: Decided,
        entry: &OutboxEntry,
        answer: OutAnswer,
        outlet: Option<(Arc<Outlet>, u64)>,
    ) {
        let tenant = entry.tenant;
        let mut rows = decided.rows;
        let reduces = (decided.effect == Effect::Reduction).then_some(tenant);
        if reduces.is_some() {
            let mut core = lock(&self.shared.core);
            for row in rows.drain(..) {
                core.authority.apply(row).unwrap_or_else(|error| halt(&error));
            }
            let mark = core.authority.move_mark(tenant);
            // Still under the lock: whatever is decided from here on is decided on the reduced state, and
            // whatever was decided before and has not joined a batch yet is decided again.
            self.shared.inbox.send(Submission::Moved(tenant, mark));
        }
        let (done, recorded) = sync_channel(1);
        let way =
            CommandWay { outlet, rows, head: Some(entry.head_hash()), done: Some(done), reduces };
        let submission = entry.submission(&mut self.sealer, self.last_command, answer, way);
        self.shared.inbox.send(submission.unwrap_or_else(|error| halt(&error)));
        // The next command is decided on the state that this one leaves.
        let _ = recorded.recv();
        self.drained.push(self.last_command);
    }

    fn repeat(&self, job: &CommandJob, place: Place) {
        let reply = self.recall(job, place).unwrap_or_else(|| CommandReply::Refused {
            reason: Reason::AnswerUnreadable,
            detail: "the operation was carried out; its answer cannot be read back now".to_owned(),
        });
        job.outlet.say(FrameKind::CommandReply, job.tag, &reply);
    }

    fn recall(&self, job: &CommandJob, place: Place) -> Option<CommandReply> {
        let tenant = job.verified.principal.tenant;
        let frame = read_frame(&*self.shared.disk, Address::from_number(place.address)).ok()?;
        let item = frame.items.get(usize::try_from(place.item).ok()?)?;
        let keys = self.shared.month_keys(tenant, item.month, frame.boot_nonce)?;
        let kept = keys.open_answer(tenant, item)?;
        match cbor::decode(&kept, "answer").ok()? {
            CommandReply::Committed { answer, .. } => {
                let index = Some(frame.first_index + u64::from(place.item));
                Some(CommandReply::Committed { answer, index })
            }
            other => Some(other),
        }
    }

    fn refuse(&mut self, job: &CommandJob, refusal: Refusal, now: Reading) {
        self.shared.counters.refused(refusal.reason);
        let Verified { principal, command, parameters, .. } = &job.verified;
        let Refusal { reason, detail } = refusal;
        let reply = CommandReply::Refused { reason, detail };
        let mut facts = Facts::new(principal.tenant, now, Kind::Command);
        facts.operation = command.number();
        facts.suite = suite_of(command);
        facts.refused = Some(reason);
        facts.actor = Some(principal.id);
        facts.authentication = Authentication::Signature;
        facts.operation_id = Some(parameters.operation);
        let prepared =
            self.sealer.prepare(&facts, None).ok().filter(|_| !self.shared.spare.is_full());
        let Some(prepared) = prepared else {
            return job.outlet.say(FrameKind::CommandReply, job.tag, &reply);
        };
        let outlet = Some((Arc::clone(&job.outlet), job.tag));
        self.shared.inbox.send(Submission::Finished(Box::new(Finished {
            claim: Claim { tenant: principal.tenant, decided: Mark::STANDING, counted: None },
            prepared,
            command: 0,
            entry: None,
            answer: OutAnswer::Command(reply),
            way: Way::Command(CommandWay { outlet, ..CommandWay::default() }),
        })));
    }
}

fn epoch_of(rows: &[Row]) -> Option<Epoch> {
    rows.iter().find_map(|row| match row {
        Row::Tenant(row) => Some(row.epoch),
        _ => None,
    })
}

fn is_reduction(command: &Command) -> bool {
    match command {
        Command::ChangeVersion { event, .. } => event.is_reduction(),
        Command::RevokeHandle { .. }
        | Command::RevokeIssued { .. }
        | Command::ScheduleDestruction { .. } => true,
        _ => false,
    }
}

fn suite_of(command: &Command) -> u16 {
    match command {
        Command::CreateKey(new) | Command::ImportKey { new, .. } => new.suite.number(),
        _ => 0,
    }
}

fn unavailable() -> Refusal {
    let detail = "the service could not do this; nothing was changed".to_owned();
    Refusal { reason: Reason::Unavailable, detail }
}

/// A store that failed without effect refuses; one whose outcome is unknown ends the process, to be read again.
fn refused_by_store(error: &SignerError) -> Refusal {
    match error {
        SignerError::Commit(
            chancery_store::CommitError::Conflict { .. }
            | chancery_store::CommitError::Failed { .. }
            | chancery_store::CommitError::Invalid(_),
        ) => unavailable(),
        _ => halt(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
