//! Carrying out uses: from the decision to the finished record.
//!
//! Lanes and the slow pool do this alike, each with a [`Worker`] of its own. A worker computes the result,
//! makes its record, and hands both to the sequencer; it never waits for the disk.

use std::sync::Arc;

use chancery_api::message::{InputForm, Receipt, UseResult};
use chancery_audit::record::{Authentication, Counted, Facts, Kind, LinkLife};
use chancery_audit::sealer::{Kept, Prepared, Sealer, SealerError};
use chancery_core::authority::{Permit, Routing, Use};
use chancery_core::cbor;
use chancery_core::clock::Reading;
use chancery_core::context::Context;
use chancery_core::handle::{Handle, Operation};
use chancery_core::id::{HandleId, OperationId, TenantId};
use chancery_core::idempotency::Place;
use chancery_core::key::Key;
use chancery_core::reason::Reason;
use chancery_core::sequencer::{Claim, Counted as CountedUse, Counting, Mark};
use chancery_core::step::{Claimed, Proof, UseDecision};
use chancery_core::suite::Suite;
use chancery_crypto::primitive::{PrimitiveError, RandomPool, sha256};
use chancery_crypto::rollout::Sha256Cohorts;

use crate::counters::{Counters, lock};
use crate::entropy;
use crate::held::Room;
use crate::inbox::{Finished, ItemWay, Submission, Way};
use crate::others::Others;
use crate::outlet::{Answer, Assembly};
use crate::service::Shared;

mod compute;
mod repeat;
mod taken;

use compute::Computed;
use repeat::KeptAnswer;
pub(crate) use taken::{check_form, own_request};

/// A request that outlives the frame it came in.
pub(crate) struct OwnedRequest {
    pub(crate) handle: Handle,
    pub(crate) proofs: Vec<Proof>,
    pub(crate) operation: Operation,
    pub(crate) receipt: Receipt,
    pub(crate) items: Vec<OwnedItem>,
    pub(crate) assembly: Arc<Assembly>,
}

/// One use of a request.
pub(crate) struct OwnedItem {
    pub(crate) id: Option<OperationId>,
    pub(crate) context: Context,
    pub(crate) form: InputForm,
    pub(crate) input: Vec<u8>,
    /// SHA-256 of the message, which is the input, or what the input says it is.
    pub(crate) digest: [u8; 32],
    pub(crate) against: Vec<u8>,
    pub(crate) length: u32,
    /// What it is routed by, if its caller says that.
    pub(crate) routing: Vec<u8>,
    pub(crate) claimed: Option<Claimed>,
    /// The versions that what is processed says it was protected by.
    pub(crate) versions: [Option<u32>; 2],
}

/// A use that has to be decided again.
pub(crate) struct Redo {
    pub(crate) request: Arc<OwnedRequest>,
    pub(crate) position: usize,
    /// Where the operation stands, if it was carried out before and only its answer is given again.
    pub(crate) place: Option<Place>,
    /// Where its answer waits for witnesses: room for that.
    pub(crate) room: Option<Room>,
}

/// A use that was decided.
pub(crate) struct Job {
    pub(crate) request: Arc<OwnedRequest>,
    pub(crate) position: usize,
    pub(crate) permit: Permit,
    /// Where it stands, if it was carried out before.
    pub(crate) place: Option<Place>,
    /// Where its answer waits for witnesses: room for that.
    room: Option<Room>,
}

impl Job {
    /// What a failure is called. One that was carried out before is not refused for what ails us now: that
    /// would be proof of no effect.
    fn failure(&self, reason: Reason) -> Reason {
        match (self.place, reason) {
            (
                Some(_),
                Reason::AuditFull | Reason::Unwitnessed | Reason::Unavailable | Reason::Overloaded,
            ) => Reason::AnswerUnreadable,
            _ => reason,
        }
    }
}

/// Decides and carries out uses, and hands what they come to to the sequencer.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    sealer: Sealer,
    /// For the operation ids of callers who name none; every answer shows its own.
    ids: RandomPool<10>,
    out: Vec<Submission>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let sealer = shared.sealer();
        Self { shared, sealer, ids: RandomPool::default(), out: Vec::new() }
    }

    /// Decides every item of every request under one lock, then carries out what is quick.
    pub(crate) fn run(&mut self, requests: &[Arc<OwnedRequest>]) {
        let decided = self.decide(requests);
        for (request, position, decision, now) in decided {
            self.carry_out(request, position, decision, now);
        }
        self.shared.inbox.send_all(&mut self.out);
    }

    fn decide(
        &self,
        requests: &[Arc<OwnedRequest>],
    ) -> Vec<(Arc<OwnedRequest>, usize, UseDecision, Reading)> {
        let mut decided =
            Vec::with_capacity(requests.iter().map(|request| request.items.len()).sum());
        let mut core = lock(&self.shared.core);
        let now = core.now(entropy::sample());
        for request in requests {
            let admitted = match core.take_proofs(&request.handle, &request.proofs, now) {
                Ok(()) => self.shared.uses_no_key().map_or(Ok(()), Err),
                refused => refused,
            };
            let holders = holders(request);
            for (position, item) in request.items.iter().enumerate() {
                let claimed = item.claimed.as_ref();
                let decision = match admitted {
                    Err(reason) => core.refuse(reason, claimed),
                    Ok(()) => {
                        core.step_use(&asked(&self.shared, request, item, (&holders, now)), claimed)
                    }
                };
                decided.push((Arc::clone(request), position, decision, now));
            }
        }
        decided
    }

    fn carry_out(
        &mut self,
        request: Arc<OwnedRequest>,
        position: usize,
        decision: UseDecision,
        now: Reading,
    ) {
        match decision {
            UseDecision::Permitted(permit) => {
                let mut job = Job { request, position, permit, place: None, room: None };
                if !self.has_room(&mut job) {
                    return self.turn_away(&job);
                }
                self.start(job);
            }
            UseDecision::Repeat(place, permit) => {
                let mut job = Job { request, position, permit, place: Some(place), room: None };
                if !self.has_room(&mut job) {
                    return self.refuse(&job.request, position, Reason::OperationInFlight, now);
                }
                if compute::runs_again(job.request.operation) {
                    return self.start(job);
                }
                // A frame is read for it, which is not for a lane.
                if let Err(job) = self.shared.pool.repeat(job, place) {
                    self.refuse(&job.request, position, Reason::OperationInFlight, now);
                }
            }
            UseDecision::Withheld(_) => {
                self.refuse(&request, position, Reason::ResultWithheld, now);
            }
            UseDecision::Refused(reason) => self.refuse(&request, position, reason, now),
        }
    }

    /// Whether there is room for its answer, which is taken; one that waits for nobody needs none.
    fn has_room(&self, job: &mut Job) -> bool {
        if !job.permit.key().witnessed {
            return true;
        }
        job.room = self.shared.waiting.take(job.request.handle.root().subject);
        job.room.is_some()
    }

    /// Slow algorithms go to the pool, so that nothing quick waits behind them.
    fn start(&mut self, job: Job) {
        if !compute::is_slow(&job.permit) {
            return self.finish(job);
        }
        if let Err(job) = self.shared.pool.submit(job) {
            self.turn_away(&job);
        }
    }

    /// Computes a permitted use and makes its record.
    pub(crate) fn finish(&mut self, job: Job) {
        let Some(item) = job.request.items.get(job.position) else { return };
        // Decided before the mode began, it would use a key while reductions wait to be recorded.
        let computed = match self.shared.uses_no_key() {
            Some(reason) => Err(reason),
            None => compute::compute(&self.shared, item, &job.permit),
        };
        match computed {
            Ok(computed) => self.commit(job, computed),
            Err(reason) => {
                self.give_back(&job);
                self.refuse(&job.request, job.position, job.failure(reason), job.permit.now());
            }
        }
    }

    fn commit(&mut self, mut job: Job, mut computed: Computed) {
        let room = job.room.take();
        let job = &job;
        let Job { request, permit, .. } = job;
        let position = job.position;
        let Some(item) = request.items.get(position) else { return };
        let Ok(id) = item.id.map_or_else(|| self.fresh_id(permit.now()), Ok) else {
            self.give_back(job);
            return self.refuse(request, position, Reason::Unavailable, permit.now());
        };
        let mut facts = facts_of(request, item, permit.now());
        facts.operation_id = Some(id);
        let version = computed.version.unwrap_or(permit.version());
        facts.suite = suite_of(permit.key(), version).number();
        facts.key = Some((permit.key().id, version));
        facts.counted = Counted::Yes;
        facts.posture_epoch = permit.posture().epoch;
        facts.output = sha256(&[&computed.output]);
        facts.flags = computed.flags;
        let kept = item.claimed.as_ref().map(|claimed| {
            let output = computed.kept().to_vec();
            (claimed, cbor::encode(&KeptAnswer { version, output }))
        });
        let kept = kept.as_ref().map(|(claimed, answer)| Kept {
            name: claimed.name,
            digest: claimed.digest,
            id_ms: claimed.id_ms,
            answer,
        });
        let prepared = self.sealer.prepare(&facts, kept.as_ref());
        let Ok((prepared, beside)) =
            prepared.and_then(|use_| Ok((use_, self.uses_beside(job, &facts, computed.beside)?)))
        else {
            self.give_back(job);
            request.assembly.refuse_early(position, job.failure(Reason::Unavailable));
            return request.assembly.outlet().flush();
        };
        self.shared.counters.used(request.operation);
        self.out.push(Submission::Finished(Box::new(Finished {
            claim: Claim {
                tenant: facts.tenant,
                decided: permit.decided(),
                counting: Counting::Use(CountedUse::Version(permit.key().id, version)),
            },
            prepared,
            beside,
            command: 0,
            entry: item.claimed.map(|claimed| claimed.name),
            answer: Answer::Use(UseResult::Committed {
                id,
                output: std::mem::take(&mut *computed.output),
                version,
                index: 0,
                receipt: Vec::new(),
            }),
            way: Way::Item(ItemWay {
                assembly: Arc::clone(&request.assembly),
                position,
                tenant: facts.tenant,
                receipt: request.receipt,
                redo: Some(Redo { request: Arc::clone(request), position, place: job.place, room }),
            }),
        })));
    }

    /// What stands in the same frame as the record of a use: a record for each link of the handle whose uses are counted,
    /// and one for the other version where two were used. What was carried out before is counted for links already.
    fn uses_beside(
        &mut self,
        job: &Job,
        facts: &Facts,
        version: Option<u32>,
    ) -> Result<Vec<(CountedUse, Prepared)>, SealerError> {
        let bounds = match job.place {
            Some(_) => &[],
            None => job.request.handle.bounds(),
        };
        let mut records = Vec::with_capacity(bounds.len() + 1);
        for bound in bounds {
            let mut facts = facts.clone();
            facts.kind = Kind::LinkUse;
            facts.flags = 0;
            facts.credential = Some(HandleId::from_bytes(bound.link.0));
            let life = LinkLife { handle: job.request.handle.root().id, until_ms: bound.until_ms };
            facts.head_digest = life.to_bytes();
            records.push((CountedUse::Link(bound.link), self.sealer.prepare(&facts, None)?));
        }
        if let Some(version) = version {
            let key = job.permit.key();
            let mut facts = facts.clone();
            facts.suite = suite_of(key, version).number();
            facts.key = Some((key.id, version));
            let counted = CountedUse::Version(key.id, version);
            records.push((counted, self.sealer.prepare(&facts, None)?));
        }
        Ok(records)
    }

    /// An operation id for a caller who named none.
    fn fresh_id(&mut self, now: Reading) -> Result<OperationId, PrimitiveError> {
        Ok(OperationId::v7(now.unix_ms, self.ids.next_value()?))
    }

    /// A refusal after authentication: it has a record, and leaves when that is durable.
    fn refuse(
        &mut self,
        request: &Arc<OwnedRequest>,
        position: usize,
        reason: Reason,
        now: Reading,
    ) {
        self.shared.counters.refused(reason);
        let Some(item) = request.items.get(position) else { return };
        let mut facts = facts_of(request, item, now);
        facts.operation_id = item.id;
        let [version, _] = item.versions;
        facts.key = Some((request.handle.root().key, version.unwrap_or_default()));
        facts.refused = Some(reason);
        let is_recorded = !self.shared.spare.is_full() && self.is_within_budget(facts.tenant, now);
        let prepared = is_recorded.then(|| self.sealer.prepare(&facts, None).ok()).flatten();
        let Some(prepared) = prepared else {
            // Counted, and in the next summary of refusals.
            self.shared.counters.unsummarised(reason);
            request.assembly.refuse_early(position, reason);
            return request.assembly.outlet().flush();
        };
        self.out.push(Submission::Finished(Box::new(Finished {
            claim: Claim {
                tenant: facts.tenant,
                decided: Mark::STANDING,
                counting: Counting::Nothing,
            },
            prepared,
            beside: Vec::new(),
            command: 0,
            entry: None,
            answer: Answer::Use(UseResult::Refused { id: item.id, reason }),
            way: Way::Item(ItemWay {
                assembly: Arc::clone(&request.assembly),
                position,
                tenant: facts.tenant,
                receipt: Receipt::Unwanted,
                redo: None,
            }),
        })));
    }

    /// Once a tenant's bytes of the day are spent, its refusals do not go on writing.
    fn is_within_budget(&self, tenant: TenantId, now: Reading) -> bool {
        lock(&self.shared.core).budget.check(tenant, now.unix_ms).is_ok()
    }

    /// Decides again what was overtaken by a change of authority.
    pub(crate) fn redo(&mut self, redo: Redo) {
        Counters::add(&self.shared.counters.redecided, 1);
        let Some(item) = redo.request.items.get(redo.position) else { return };
        let mut core = lock(&self.shared.core);
        let now = core.now(entropy::sample());
        // The id is still reserved and the proofs still taken: only authority is asked again.
        let permitted = core.authority.permit(&asked(
            &self.shared,
            &redo.request,
            item,
            (&holders(&redo.request), now),
        ));
        drop(core);
        let Redo { request, position, place, room } = redo;
        let is_given_again = place.filter(|_| !compute::runs_again(request.operation));
        match (permitted, place) {
            (Ok(permit), place) => {
                let job = Job { request, position, permit, place, room };
                match is_given_again {
                    Some(place) => self.repeat(job, place),
                    None => self.finish(job),
                }
            }
            (Err(_), Some(_)) => self.refuse(&request, position, Reason::ResultWithheld, now),
            (Err(reason), None) => {
                self.give_back_item(&request, position);
                self.refuse(&request, position, reason, now);
            }
        }
    }

    /// There is no room for a use, or it waited for so long that nobody waits for it any more.
    pub(crate) fn turn_away(&mut self, job: &Job) {
        self.give_back(job);
        let reason = job.failure(Reason::Overloaded);
        self.refuse(&job.request, job.position, reason, job.permit.now());
    }

    /// Hands everything over that is finished.
    pub(crate) fn hand_over(&mut self) {
        self.shared.inbox.send_all(&mut self.out);
    }

    /// A use came to nothing. What was carried out before took nothing this time.
    fn give_back(&self, job: &Job) {
        if job.place.is_none() {
            self.give_back_item(&job.request, job.position);
        }
    }

    fn give_back_item(&self, request: &OwnedRequest, position: usize) {
        let claimed = request.items.get(position).and_then(|item| item.claimed.as_ref());
        if claimed.is_some() || !request.handle.bounds().is_empty() {
            lock(&self.shared.core).give_back(&request.handle, claimed);
        }
    }
}

fn suite_of(key: &Key, version: u32) -> Suite {
    key.version(version).map_or(key.suite, |version| key.suite_of(version))
}

fn holders(request: &OwnedRequest) -> Vec<[u8; 32]> {
    request.proofs.iter().map(|proof| proof.holder).collect()
}

fn asked<'a>(
    shared: &Shared,
    request: &'a OwnedRequest,
    item: &'a OwnedItem,
    (proven, now): (&'a [[u8; 32]], Reading),
) -> Use<'a> {
    let [version, also] = item.versions;
    Use {
        handle: &request.handle,
        operation: request.operation,
        context: &item.context,
        version,
        also,
        routing: Routing { key: &item.routing, cohorts: &Sha256Cohorts },
        proven,
        is_cosigned: shared.others.as_ref().is_some_and(Others::is_cosigned),
        now,
    }
}

fn facts_of(request: &OwnedRequest, item: &OwnedItem, now: Reading) -> Facts {
    let root = request.handle.root();
    let mut facts = Facts::new(root.tenant, now, Kind::Use);
    facts.operation = request.operation.number();
    facts.input_bytes = item.input.len();
    facts.actor = Some(root.subject);
    facts.authentication = Authentication::Handle;
    facts.credential = Some(root.id);
    facts.message = item.digest;
    facts.context = sha256(&[&cbor::encode(&item.context)]);
    facts
}
