//! The first of a start: the thread that writes the log, and the records by which the log goes on.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use chancery_audit::partner::Partner;
use chancery_audit::record::{Facts, Kind};
use chancery_audit::wal::{Chain, Wal};
use chancery_core::id::TenantId;
use chancery_core::sequencer::{Claim, Counting, Mark, Sequencer};
use chancery_core::step::Claimed;

use super::Shared;
use crate::barrier::Barrier;
use crate::config::SignerError;
use crate::counters::lock;
use crate::entropy;
use crate::held::HeldAnswers;
use crate::inbox::{CommandWay, Finished, Submission, Way};
use crate::outbox::OutboxEntry;
use crate::outlet::Answer;
use crate::resumes::Resumes;
use crate::sequencer::Thread;
use crate::summaries::Summaries;

/// The start's record must be durable within this time: 30 s, or the disk is no disk.
const START_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn start_sequencer(
    shared: &Arc<Shared>,
    sequencer: Sequencer,
    (chain, wal): (Chain, Wal),
    resumes: Resumes,
) {
    let thread = Thread {
        inbox: Arc::clone(&shared.inbox),
        core: Arc::clone(&shared.core),
        sequencer,
        chain,
        wal,
        log_id: shared.origin.log_id,
        receipt_key: Arc::clone(&shared.receipt_key),
        keyring: Arc::clone(&shared.keyring),
        counters: Arc::clone(&shared.counters),
        pool: Arc::clone(&shared.pool),
        spare: Arc::clone(&shared.spare),
        progress: Arc::clone(&shared.progress),
        summaries: Summaries::new(shared.sealer()),
        resumes,
        barrier: Barrier::default(),
        held: HeldAnswers::new(Arc::clone(&shared.waiting)),
        partner: start_partner(),
        used: Arc::clone(&shared.used),
    };
    std::thread::spawn(move || thread.run());
}

/// The thread that takes its part of large frames, where two can run at once.
fn start_partner() -> Partner {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        return Partner::none();
    }
    let (partner, jobs) = Partner::new();
    std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
    partner
}

/// Records the start and drains the outbox; when this returns, both are durable.
pub(super) fn open_log(
    shared: &Arc<Shared>,
    kept: Option<[u8; 32]>,
    outbox: &[(u64, OutboxEntry)],
) -> Result<(), SignerError> {
    let mut sealer = shared.sealer();
    let now = lock(&shared.core).now(entropy::sample());
    let mut facts = Facts::new(TenantId::SYSTEM, now, Kind::Start);
    facts.head_digest = kept.unwrap_or_default();
    let missing = SignerError::Inconsistent("a month's audit keys are missing");
    let prepared = sealer.prepare(&facts, None).map_err(|_| missing)?;
    let (done, durable) = sync_channel(1 + outbox.len());
    shared.inbox.send(Submission::Finished(Box::new(Finished {
        claim: Claim {
            tenant: TenantId::SYSTEM,
            decided: Mark::STANDING,
            counting: Counting::Nothing,
        },
        prepared,
        beside: Vec::new(),
        command: 0,
        entry: None,
        answer: Answer::None,
        way: Way::Command(CommandWay { done: Some(done.clone()), ..CommandWay::default() }),
    })));
    for (number, entry) in outbox {
        if let Some(kept) = &entry.kept {
            // In flight until its record is durable; from then on a repeat gets the answer. An id that is
            // stale by now is refused as such.
            let claimed = Claimed { name: kept.name, digest: kept.digest, id_ms: kept.id_ms };
            let _ = lock(&shared.core).reserve_again(&claimed, now);
        }
        let head = Some(entry.head_hash());
        let way = CommandWay { done: Some(done.clone()), head, ..CommandWay::default() };
        shared.inbox.send(entry.submission(&mut sealer, *number, Answer::None, way)?);
    }
    for _ in 0..=outbox.len() {
        let waited = durable.recv_timeout(START_PATIENCE);
        waited.map_err(|_| SignerError::Inconsistent("the start cannot be recorded"))?;
    }
    let numbers: Vec<u64> = outbox.iter().map(|(number, _)| *number).collect();
    lock(&shared.vault).delete_outbox(&numbers)
}
