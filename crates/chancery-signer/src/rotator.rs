//! Automatic rotation: keys are looked at in turn, and what their rules make due is handed to the store thread.
//!
//! A look begins nothing by itself: the store thread decides again. New versions' material is made here, off the store
//! thread, since the longest takes seconds. Whether rotation keeps up is nobody's word here: the alarm for keys past their
//! cryptoperiod looks by itself ([`crate::overdue`]).

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery_core::action::STAND_BY;
use chancery_core::authority::{DueRotation, Found, Refusal, UseCounts};
use chancery_core::id::{KeyId, TenantId};
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use chancery_crypto::key::PrivateKey;

use crate::counters::lock;
use crate::entropy;
use crate::inbox::Submission;
use crate::jobs::{Job, RotateJob};
use crate::service::Shared;

/// How often keys are looked at: each second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many keys are looked at under the core's lock at once: 1 000, some tenths of a millisecond.
const LOOKED_AT_ONCE: usize = 1_000;

/// How long a key is left alone whose rotation was refused: ten minutes, so that no version of it is made for nothing each
/// second.
const REFUSED_REST: Duration = Duration::from_mins(10);

/// How long the sequencer is waited for when it is asked how often versions were used: a second, after which nobody knows.
const COUNT_PATIENCE: Duration = Duration::from_secs(1);

/// How long versions are made for a tenant in one look: 5 s, after which only keys are looked at that need none. Thousands of
/// keys of RSA, each of a second, keep no other tenant's waiting.
const MAKING_MAX: Duration = Duration::from_secs(5);

/// Looks at keys for as long as the process lives.
pub(crate) fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LOOK_EVERY);
            if shared.uses_no_key().is_none() {
                let tenants: Vec<_> = lock(&shared.core).authority.tenants().collect();
                for tenant in tenants {
                    look(&shared, tenant);
                }
            }
        }
    });
}

/// Looks at every key of a tenant, some at a time.
fn look(shared: &Shared, tenant: TenantId) {
    let (mut after, makes_until) = (None, Instant::now() + MAKING_MAX);
    loop {
        let nothing = UseCounts::new();
        let mut found = look_at_some(shared, (tenant, after.as_ref()), &nothing);
        let uses = Arc::new(counted(shared, std::mem::take(&mut found.counted)));
        if !uses.is_empty() {
            found = look_at_some(shared, (tenant, after.as_ref()), &uses);
        }
        for due in found.due {
            if due.makes.is_none() || Instant::now() < makes_until {
                begin(shared, due, &uses);
            }
        }
        after = found.last;
        if after.is_none() {
            return;
        }
    }
}

fn look_at_some(
    shared: &Shared,
    (tenant, after): (TenantId, Option<&Name>),
    uses: &UseCounts,
) -> Found {
    let mut core = lock(&shared.core);
    let now = core.now(entropy::sample()).served;
    core.authority.due_rotations((tenant, after), LOOKED_AT_ONCE, uses, now)
}

/// How often versions were used, as the sequencer counts.
fn counted(shared: &Shared, versions: Vec<(KeyId, u32)>) -> UseCounts {
    if versions.is_empty() {
        return UseCounts::new();
    }
    let (asker, answer) = sync_channel(1);
    shared.inbox.send(Submission::Asked(versions, asker));
    answer.recv_timeout(COUNT_PATIENCE).unwrap_or_default()
}

/// Makes what is to be made, and hands it on. A full queue is tried again next time.
fn begin(shared: &Shared, due: DueRotation, uses: &Arc<UseCounts>) {
    let waits = shared.jobs.holds_rotation_of(due.key) || shared.rotations.rests(due.key);
    if waits || !shared.jobs.has_room() {
        return;
    }
    let made = due.makes.map(PrivateKey::generate).transpose();
    let Ok(made) = made else {
        let detail = "the new version's material could not be made".to_owned();
        return shared.rotations.refused(due, Refusal { reason: Reason::Unavailable, detail });
    };
    let job = RotateJob { due, made, uses: Arc::clone(uses) };
    let _ = shared.jobs.send(Job::Rotate(Box::new(job)));
}

/// What came of it since the start.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    begun: u64,
    stood_by: u64,
    refused: u64,
    /// Keys whose rotation was refused of late, and why.
    resting: BTreeMap<KeyId, Resting>,
}

#[derive(Debug)]
struct Resting {
    tenant: TenantId,
    detail: String,
    since: Instant,
}

impl Rotations {
    /// Something that was due was done, by its number in records.
    pub(crate) fn count(&self, operation: u8) {
        let mut counts = lock(&self.counts);
        let count = if operation == STAND_BY { &mut counts.stood_by } else { &mut counts.begun };
        *count += 1;
    }

    /// Something that was due cannot be done. It is tried again after a rest.
    pub(crate) fn refused(&self, due: DueRotation, refusal: Refusal) {
        let mut counts = lock(&self.counts);
        counts.refused += 1;
        counts.resting.retain(|_, resting| resting.since.elapsed() < REFUSED_REST);
        let (tenant, detail, since) = (due.tenant, refusal.detail, Instant::now());
        counts.resting.insert(due.key, Resting { tenant, detail, since });
    }

    /// Whether a key's rotation was refused of late.
    fn rests(&self, key: KeyId) -> bool {
        let counts = lock(&self.counts);
        counts.resting.get(&key).is_some_and(|resting| resting.since.elapsed() < REFUSED_REST)
    }

    /// What was done, named as Prometheus names it.
    pub(crate) fn exposition(&self) -> Vec<(String, u64)> {
        let counts = lock(&self.counts);
        let all =
            [("begun", counts.begun), ("standbys", counts.stood_by), ("refused", counts.refused)];
        let named = |(name, count)| (format!("chancery_automatic_rotations_{name}_total"), count);
        all.map(named).into()
    }

    /// What a tenant is told of it.
    pub(crate) fn advice(&self, shared: &Shared, of: TenantId) -> Option<String> {
        let (key, many, detail) = {
            let counts = lock(&self.counts);
            let mut resting = counts.resting.iter().filter(|(_, resting)| {
                resting.tenant == of && resting.since.elapsed() < REFUSED_REST
            });
            let (key, first) = resting.next()?;
            (*key, 1 + resting.count(), first.detail.clone())
        };
        let core = lock(&shared.core);
        let name = &core.authority.key(of, key)?.name;
        Some(format!(
            "rotations that rules ask for and that are refused: {many}; that of key `{name}`: {detail}"
        ))
    }
}
