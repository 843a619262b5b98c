//! The store thread: carries commands out, one at a time, and has them recorded and answered.
//!
//! State, head and outbox row commit in one transaction. The outbox row is the operation's row too: it holds
//! what its record will say and what its caller is answered, until the record is in the log.
//!
//! **Invariant:** a command is decided on the state that the ones before it left.

mod bundle;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use chancery_api::message::CommandReply;
use chancery_audit::journal::Entry;
use chancery_audit::record::{Facts, Kind};
use chancery_audit::sealer::{Sealer, month_of};
use chancery_audit::wal::{Address, read_frame};
use chancery_core::authority::{Decided, Effect, Fresh, Refusal, Row};
use chancery_core::automatic::Rule;
use chancery_core::cbor;
use chancery_core::clock::Reading;
use chancery_core::command::{Answer, Command, PruneAudit};
use chancery_core::epoch::Epoch;
use chancery_core::handle;
use chancery_core::id::{
    CampaignId, HandleId, KeyId, PrincipalId, ProposalId, RolloutId, TenantId,
};
use chancery_core::idempotency::{Place, Reservation, Room};
use chancery_core::proposal::Proposed;
use chancery_core::reason::Reason;
use chancery_core::sequencer::{Claim, Counting, Mark};
use chancery_crypto::primitive::sha256;
use chancery_crypto::rollout::plan_digest;
use chancery_memory::wiping;

use crate::aside::{Afterwards, Aside};
use crate::called;
use crate::commands::{Asker, CommandJob, Verified};
use crate::config::{EXIT_AUDIT_FAILED, SignerError};
use crate::counters::lock;
use crate::disclosures;
use crate::entropy;
use crate::inbox::{CommandWay, Finished, Submission, Way};
use crate::jobs::Job;
use crate::outbox::{KeptEntry, OutboxEntry};
use crate::outlet::Answer as OutAnswer;
use crate::prunes;
use crate::rollouts;
use crate::sequencer::halt;
use crate::service::Shared;
use crate::vault::{Change, Material};

mod by_itself;
mod material;
mod steps;

pub(crate) use self::bundle::BundleJob;
pub(crate) use self::by_itself::{ROWS_BYTES_MAX, bytes_of};
use material::NewMaterial;

/// The most changes that the service makes by itself in one transaction: 16. Each writes up to six rows, and a
/// transaction has room for 128.
const TOGETHER_MAX: usize = 16;

/// Carries commands out, one at a time.
pub(crate) struct StoreThread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) aside: Aside,
    sealer: Sealer,
    last_command: u64,
    drained: Vec<u64>,
    /// How many changes of its own it makes one by one yet.
    singly: usize,
}

/// What becomes of a command's operation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    /// A repeat is answered the same.
    Kept,
    /// It is another operation's, or too old to be asked for again.
    Passed,
}

impl StoreThread {
    /// Takes over the journal's entries of an earlier start, then starts the thread.
    ///
    /// # Errors
    ///
    /// [`SignerError`] if an entry is no reduction of a principal of this service, or cannot be recorded.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        last_command: u64,
        (aside, entries): (Aside, Vec<Entry>),
    ) -> Result<(), SignerError> {
        let (shared, sealer) = (Arc::clone(shared), shared.sealer());
        let mut thread =
            Self { shared, sealer, last_command, drained: Vec::new(), aside, singly: 0 };
        thread.merge(&entries)?;
        std::thread::spawn(move || {
            loop {
                match thread.shared.jobs.next() {
                    Job::Bundle(job) => thread.issue_bundle(*job),
                    Job::Command(job) => thread.run(&job),
                    Job::Destroy(due) => thread.destroy(&due),
                    Job::Step(moving) => {
                        let most = thread.together_max();
                        let more = thread.shared.jobs.more_steps(moving.tenant, most - 1);
                        thread.step(vec![moving].into_iter().chain(more).collect());
                    }
                    Job::Rotate(job) => {
                        let tenant = job.due.tenant;
                        let mut jobs = vec![*job];
                        let most = thread.together_max();
                        jobs.extend(thread.shared.jobs.more_rotations(tenant, most - 1));
                        thread.rotate(jobs);
                    }
                }
            }
        });
        Ok(())
    }

    fn run(&mut self, job: &CommandJob) {
        let Verified { principal, parameters, .. } = &job.verified;
        let known = self.aside.reply(principal.id, parameters.operation, job.verified.encoded());
        if let Some(reply) = known {
            return job.say(&reply);
        }
        let now = lock(&self.shared.core).now(entropy::sample());
        self.run_at(job, now);
    }

    /// Decides and carries out a command as of `now`.
    pub(crate) fn run_at(&mut self, job: &CommandJob, now: Reading) {
        let verified = &job.verified;
        let is_reduction = verified.command.is_reduction();
        let room = if is_reduction { Room::Reduction } else { Room::Command };
        let reserved = {
            let mut core = lock(&self.shared.core);
            match job.asker {
                Some(_) => core.reserve(&verified.claimed, now, room),
                None => core.reserve_again(&verified.claimed, now),
            }
        };
        match reserved {
            Ok(Reservation::Done(place)) => self.repeat(job, place),
            Ok(Reservation::New) => {
                if let Err(refusal) = self.carry_out(job, now, Id::Kept) {
                    let claimed = &verified.claimed;
                    lock(&self.shared.core)
                        .operations
                        .release_unfinished(&claimed.name, claimed.id_ms);
                    self.refuse(job, refusal, now);
                }
            }
            // What was acknowledged is carried out, however late it is and whatever its id meets.
            Err(_) if job.asker.is_none() => {
                if let Err(refusal) = self.carry_out(job, now, Id::Passed) {
                    self.refuse(job, refusal, now);
                }
            }
            Err(reason) => {
                let detail = "use a fresh operation id for a new request".to_owned();
                self.refuse(job, Refusal { reason, detail }, now);
            }
        }
    }

    fn carry_out(&mut self, job: &CommandJob, now: Reading, id: Id) -> Result<(), Refusal> {
        let Verified { principal, command, .. } = &job.verified;
        if let Some(reason) = self.shared.uses_no_key().filter(|_| !command.is_reduction()) {
            let why = match reason {
                Reason::AuditFull => "the audit log has no room",
                _ => "no quorum of witnesses has cosigned the log since the start",
            };
            let detail = format!("{why}; only what takes authority away is taken");
            return Err(Refusal { reason, detail });
        }
        lock(&self.shared.core).authority.admit(principal, command)?;
        let material = self.material(job)?;
        let decided = self.decide(job, material.as_ref(), now)?;
        let decided = self.complete(job, decided, now)?;
        if let Command::PruneAudit(prune) = command {
            return self.prune(job, (prune, &decided), now);
        }
        match decided.effect {
            Effect::None => self.issue(job, &decided, now),
            Effect::Reduction | Effect::Barrier | Effect::Recorded => match &job.asker {
                Some(asker) if decided.effect == Effect::Reduction && self.puts_aside() => {
                    self.put_aside((&job.verified, asker), decided, Afterwards::Merge)
                }
                _ => self.store(job, decided, material, (now, id)),
            },
        }
    }

    fn decide(
        &self,
        job: &CommandJob,
        material: Option<&NewMaterial>,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let Verified { principal, command, .. } = &job.verified;
        if let Command::OrderRollout { rollout, order } = command {
            return rollouts::order(&self.shared, principal, (*rollout, *order), now);
        }
        let fresh = Fresh { plan_digest: plan_digest_of(command), ..self.fresh(now, material)? };
        lock(&self.shared.core).authority.decide(principal, command, fresh, now)
    }

    /// What was decided, with the answer that only the shell can give.
    fn complete(
        &self,
        job: &CommandJob,
        decided: Decided,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let Verified { principal, command, .. } = &job.verified;
        let (Command::Disclose(disclosure)
        | Command::CarryOut { proposed: Proposed::Disclose(disclosure), .. }) = command
        else {
            return Ok(decided);
        };
        // The keys that are disclosed come by there.
        let answer = wiping::on_wiped_stack(|| {
            disclosures::make(&self.shared, principal.tenant, disclosure, now.unix_ms)
        })?;
        Ok(Decided { answer, ..decided })
    }

    fn fresh(&self, now: Reading, material: Option<&NewMaterial>) -> Result<Fresh, Refusal> {
        let entropy = || entropy::bytes::<10>().map_err(|_| unavailable());
        Ok(Fresh {
            node: self.shared.origin.node(),
            key: KeyId::v7(now.unix_ms, entropy()?),
            handle: HandleId::v7(now.unix_ms, entropy()?),
            principal: PrincipalId::v7(now.unix_ms, entropy()?),
            proposal: ProposalId::v7(now.unix_ms, entropy()?),
            rollout: RolloutId::v7(now.unix_ms, entropy()?),
            campaign: CampaignId::v7(now.unix_ms, entropy()?),
            plan_digest: [0; 32],
            public: material.map(|material| material.public.clone()).unwrap_or_default(),
        })
    }

    fn entry(
        &self,
        job: &CommandJob,
        decided: &Decided,
        reply: &CommandReply,
        now: Reading,
    ) -> OutboxEntry {
        let Verified { principal, command, parameters, claimed, .. } = &job.verified;
        let (posture_epoch, approvals) = {
            let authority = &lock(&self.shared.core).authority;
            (authority.posture().epoch, authority.approvals_of(principal, command))
        };
        OutboxEntry {
            approvals,
            operation: command.number(),
            suite: suite_of(command),
            key: decided.key,
            actor: Some(principal.id),
            operation_id: Some(parameters.operation),
            message: sha256(&[&cbor::encode(command)]),
            credential: decided.handle.as_ref().map(|(root, _)| root.id),
            authentication: job.authentication(),
            kept: Some(KeptEntry {
                name: claimed.name,
                digest: claimed.digest,
                id_ms: claimed.id_ms,
                answer: cbor::encode(reply),
            }),
            ..OutboxEntry::of_service(principal.tenant, now, posture_epoch)
        }
    }

    /// Has archived segments removed, once that is recorded. The answer leaves with the record, and they go right after;
    /// if the process ends in between, they stay, and the command is given again.
    fn prune(
        &mut self,
        job: &CommandJob,
        (prune, decided): (&PruneAudit, &Decided),
        now: Reading,
    ) -> Result<(), Refusal> {
        let permitted = prunes::permit(&self.shared, prune, now)?;
        let reply = CommandReply::Committed { answer: decided.answer.clone(), index: None };
        let entry = self.entry(job, decided, &reply, now);
        let (done, recorded) = sync_channel(1);
        let way =
            CommandWay { asker: job.asker.clone(), done: Some(done), ..CommandWay::default() };
        let submission = entry.submission(&mut self.sealer, 0, OutAnswer::Command(reply), way);
        self.shared.inbox.send(submission.map_err(|_| unavailable())?);
        if recorded.recv().is_ok()
            && let Some(permitted) = permitted
        {
            permitted.carry_out(&self.shared).unwrap_or_else(|error| halt(&error));
        }
        Ok(())
    }

    /// Issues a handle or a one-time key, states a count, or discloses: recorded, but nothing is stored and no epoch moves.
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
            (None, Command::StillRollout { rollout, for_ms }) => {
                self.shared.stilled.begin(*rollout, *for_ms, now.served);
                decided.answer.clone()
            }
            _ => decided.answer.clone(),
        };
        let reply = CommandReply::Committed { answer, index: None };
        let entry = self.entry(job, decided, &reply, now);
        let way = CommandWay { asker: job.asker.clone(), ..CommandWay::default() };
        let answer = OutAnswer::Command(reply);
        let submission = match (&job.verified.command, decided.key) {
            (Command::CountUses { .. }, Some(version)) => {
                let of = (job.verified.principal.tenant, version.0);
                let names = called::before(&*self.shared, of, month_of(now.unix_ms));
                let names = names.map_err(|_| unavailable())?;
                entry.count(&mut self.sealer, (version, names), answer, way)
            }
            _ => entry.submission(&mut self.sealer, 0, answer, way),
        };
        self.shared.inbox.send(submission.map_err(|_| unavailable())?);
        Ok(())
    }

    /// Stores a change, puts it into effect, and has it recorded and answered.
    fn store(
        &mut self,
        job: &CommandJob,
        mut decided: Decided,
        material: Option<NewMaterial>,
        (now, id): (Reading, Id),
    ) -> Result<(), Refusal> {
        let step = self.keep_step(&mut decided);
        let tenant = job.verified.principal.tenant;
        let reply = CommandReply::Committed { answer: decided.answer.clone(), index: None };
        let mut entry = self.entry(job, &decided, &reply, now);
        entry.kept = entry.kept.filter(|_| id == Id::Kept);
        if let Some(step) = &step {
            entry.say(step);
        }
        let number = self.last_command + 1;
        let epoch = epoch_of(&decided.rows);
        let change = Change {
            tenant,
            epoch: epoch.ok_or_else(unavailable)?,
            rows: decided.rows.clone(),
            materials: material_of(material, &decided).into_iter().collect(),
            erased: None,
            command: number,
        };
        if let Err(error) = self.commit(&change, std::slice::from_mut(&mut entry)) {
            return match &job.asker {
                Some(asker)
                    if decided.effect == Effect::Reduction
                        && error.exit_status() == EXIT_AUDIT_FAILED =>
                {
                    say(&error);
                    self.put_aside((&job.verified, asker), decided, Afterwards::Halt)
                }
                _ => Err(refused_by_store(&error)),
            };
        }
        self.take_effect(decided, &entry, OutAnswer::Command(reply), job.asker.clone());
        if let Command::RaiseApprovals { approvals } = job.verified.command {
            let raised = lock(&self.shared.checkpoints).raise_approvals(approvals);
            raised.unwrap_or_else(|error| halt(&error));
        }
        if let Command::CarryOut { proposal, proposed } = &job.verified.command
            && proposed.is_everything()
        {
            let by = job.verified.principal.id;
            eprintln!("chancery signer: break-glass: proposal {proposal} of {by} was carried out");
        }
        if makes_principal(&job.verified.command) {
            // Without it the new principal's reductions are not taken while the log fails; it says so itself.
            self.shared.write_roots().unwrap_or_else(|error| halt(&error));
        }
        Ok(())
    }

    /// Makes a change durable, with the entries of its commands, which learn the head that they left.
    fn commit(&mut self, change: &Change, entries: &mut [OutboxEntry]) -> Result<(), SignerError> {
        let outbox = |head| entries.iter().map(|entry| entry.with_head(head)).collect();
        let committed = lock(&self.shared.vault).commit(change, outbox, &self.drained)?;
        for entry in entries {
            entry.head_digest = committed.head_hash;
        }
        self.last_command = change.command;
        self.drained.clear();
        Ok(())
    }

    fn take_effect(
        &mut self,
        decided: Decided,
        entry: &OutboxEntry,
        answer: OutAnswer,
        asker: Option<Asker>,
    ) {
        let number = self.last_command;
        let recorded = self.submit(decided, (entry, number), answer, asker);
        self.await_records(vec![(number, recorded)]);
    }

    /// Has a change recorded that is durable; what only takes authority away is in effect before.
    fn submit(
        &mut self,
        decided: Decided,
        (entry, number): (&OutboxEntry, u64),
        answer: OutAnswer,
        asker: Option<Asker>,
    ) -> Receiver<()> {
        let tenant = entry.tenant;
        let mut rows = decided.rows;
        let is_barrier = matches!(decided.effect, Effect::Reduction | Effect::Barrier);
        let reduces = is_barrier.then_some(tenant);
        if reduces.is_some() {
            self.reduce(tenant, std::mem::take(&mut rows));
        }
        let (done, recorded) = sync_channel(1);
        let way =
            CommandWay { asker, rows, head: Some(entry.head_hash()), done: Some(done), reduces };
        let submission = entry.submission(&mut self.sealer, number, answer, way);
        self.shared.inbox.send(submission.unwrap_or_else(|error| halt(&error)));
        recorded
    }

    /// Waits until commands are on record: the next one is decided on the state that they leave.
    fn await_records(&mut self, recorded: Vec<(u64, Receiver<()>)>) {
        for (number, recorded) in recorded {
            let _ = recorded.recv();
            self.drained.push(number);
        }
    }

    /// Puts a reduction into effect, before it is on record.
    pub(crate) fn reduce(&self, tenant: TenantId, rows: Vec<Row>) {
        let mut core = lock(&self.shared.core);
        for row in rows {
            core.authority.apply(row).unwrap_or_else(|error| halt(&error));
        }
        let mark = core.authority.move_mark(tenant);
        // Still under the lock: whatever is decided from here on is decided on the reduced state, and
        // whatever was decided before and has not joined a batch yet is decided again.
        self.shared.inbox.send(Submission::Moved(tenant, mark));
    }

    fn repeat(&self, job: &CommandJob, place: Place) {
        let reply = self.recall(job, place).unwrap_or_else(|| CommandReply::Refused {
            reason: Reason::AnswerUnreadable,
            detail: "the operation was carried out; its answer cannot be read back now".to_owned(),
        });
        job.say(&reply);
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
        if job.asker.is_none() && refusal.reason == Reason::Unavailable {
            // What was acknowledged is not forgotten because it could not be done today.
            halt(&SignerError::Reductions("a journaled reduction cannot be carried out now"));
        }
        self.shared.counters.refused(refusal.reason);
        let Verified { principal, command, parameters, .. } = &job.verified;
        let Refusal { reason, detail } = refusal;
        let reply = CommandReply::Refused { reason, detail };
        let mut facts = Facts::new(principal.tenant, now, Kind::Command);
        facts.operation = command.number();
        facts.suite = suite_of(command);
        facts.refused = Some(reason);
        facts.actor = Some(principal.id);
        facts.authentication = job.authentication();
        facts.operation_id = Some(parameters.operation);
        let is_journaled = job.asker.is_none();
        let prepared = self.sealer.prepare(&facts, None).ok();
        let Some(prepared) = prepared.filter(|_| is_journaled || !self.shared.spare.is_full())
        else {
            if is_journaled {
                // What is forgotten in the journal is on record first.
                halt(&SignerError::Reductions("a journaled reduction cannot be recorded"));
            }
            return job.say(&reply);
        };
        let (done, recorded) = sync_channel(1);
        let way =
            CommandWay { asker: job.asker.clone(), done: Some(done), ..CommandWay::default() };
        self.shared.inbox.send(Submission::Finished(Box::new(Finished {
            claim: Claim {
                tenant: principal.tenant,
                decided: Mark::STANDING,
                counting: Counting::Nothing,
            },
            prepared,
            beside: Vec::new(),
            command: 0,
            entry: None,
            answer: OutAnswer::Command(reply),
            way: Way::Command(way),
        })));
        if is_journaled {
            let _ = recorded.recv();
        }
    }
}

fn epoch_of(rows: &[Row]) -> Option<Epoch> {
    rows.iter().find_map(|row| match row {
        Row::Tenant(row) => Some(row.epoch),
        _ => None,
    })
}

fn plan_digest_of(command: &Command) -> [u8; 32] {
    match command {
        Command::Rotate(rotation) => plan_digest(&rotation.plan),
        Command::SetRule { rule: Rule::Automatic(rule), .. } => plan_digest(&rule.plan),
        _ => [0; 32],
    }
}

/// The material of the version that a change adds.
fn material_of(material: Option<NewMaterial>, decided: &Decided) -> Option<Material> {
    let (NewMaterial { secret, scope, .. }, (key, version)) = material.zip(decided.key)?;
    Some(Material { key, version, scope, secret })
}

fn makes_principal(command: &Command) -> bool {
    matches!(
        command,
        Command::CreatePrincipal { .. }
            | Command::CarryOut { proposed: Proposed::CreatePrincipal { .. }, .. }
    )
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

/// What the store found wrong with a transaction refuses it; a store that failed ends the process, to be
/// opened anew.
fn refused_by_store(error: &SignerError) -> Refusal {
    match error {
        SignerError::Commit(
            chancery_store::CommitError::Conflict { .. } | chancery_store::CommitError::Invalid(_),
        ) => unavailable(),
        _ => halt(error),
    }
}

/// Says what failed, with its cause.
fn say(error: &SignerError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    eprintln!("chancery signer: {error}: {cause}");
}
