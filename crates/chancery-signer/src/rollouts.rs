//! The clock of rollouts: every rollout is looked at several times a second, and what a look changes is the store thread's.
//!
//! A look counts nothing by itself and moves nothing: it judges what was seen, asks the engine, and where that says that
//! something changes, the store thread looks again and carries it out. So a look that was overtaken comes to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery_core::authority::{Authority, Decided, Effect, Moving, Refusal};
use chancery_core::clock::{Reading, Served};
use chancery_core::command::Answer;
use chancery_core::context::Context;
use chancery_core::id::{KeyId, RolloutId, TenantId, VerifierId};
use chancery_core::key::Key;
use chancery_core::principal::Principal;
use chancery_core::purpose::Purpose;
use chancery_core::rollout::{Metric, Order, Pair, Rollout, RolloutView, Side, Stage, Status};
use chancery_crypto::envelope::{self, Binding, Origin};
use chancery_crypto::formats::KeyVersion;
use chancery_crypto::key::{DeriveKey, EnvelopeKey};
use chancery_crypto::labels;

use crate::counters::lock;
use crate::entropy;
use crate::jobs::Job;
use crate::service::Shared;
use crate::sightings::{Detail, Looked, Reports};
use crate::store_thread::{ROWS_BYTES_MAX, bytes_of};
use crate::verifiers;

/// How often rollouts are looked at: four times a second, so that a trigger acts within one.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long one round looks at most at what may have something to do: 25 ms, a tenth of a core. A look takes some 10 µs.
const FIRST_MAX: Duration = Duration::from_millis(25);

/// How long it looks at the others at most: 5 ms, a fiftieth of a core. Of ten thousand each has its turn in some five
/// seconds, of two hundred in each round.
const OTHERS_MAX: Duration = Duration::from_millis(5);

/// Every how many rounds what was seen of rollouts that are over is forgotten: 40, ten seconds.
const FORGETS_EVERY: u64 = 40;

/// How much a probe derives, in bytes: 32, a key.
const PROBE_BYTES: usize = 32;

/// How often a new version is probed in a stage that asks for samples: every 5 s. In others, four times in the window that
/// its verdict looks back over.
const PROBE_EVERY_MS: u64 = 5_000;

/// Looks at rollouts, in turn, for as long as the process lives.
pub(crate) fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut turns = Turns::default();
        loop {
            std::thread::sleep(LOOK_EVERY);
            turns.round(&shared);
        }
    });
}

/// Whose turn it is. What a person asked for, and that of which something was seen since the last look, comes first: thousands
/// that wait for days keep nobody waiting, and cost little.
#[derive(Debug, Default)]
struct Turns {
    first: Turn,
    others: Turn,
    rounds: u64,
}

/// Which of some rollouts was looked at last.
#[derive(Debug, Default)]
struct Turn(Option<(TenantId, KeyId)>);

impl Turns {
    fn round(&mut self, shared: &Shared) {
        let (first, others) = under_way(shared);
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds.is_multiple_of(FORGETS_EVERY) {
            let keys: BTreeSet<_> = first.iter().chain(&others).map(|moving| moving.key).collect();
            shared.sightings.keep(|key| keys.contains(&key));
        }
        self.first.round(&first, FIRST_MAX, |moving| look_once(shared, moving));
        self.others.round(&others, OTHERS_MAX, |moving| look_once(shared, moving));
    }
}

/// The rollouts that are under way: those that come first, and the others.
fn under_way(shared: &Shared) -> (Vec<Moving>, Vec<Moving>) {
    let fresh = shared.sightings.fresh();
    let core = lock(&shared.core);
    let (first, others): (Vec<_>, Vec<_>) = core
        .authority
        .under_way()
        .partition(|rollout| rollout.by.is_some() || fresh.contains(&rollout.key));
    let movings = |all: Vec<&Rollout>| all.into_iter().map(Moving::by).collect();
    (movings(first), movings(others))
}

impl Turn {
    /// Looks at those that come after the one that was looked at last, for so long.
    fn round(&mut self, moved: &[Moving], most: Duration, mut look: impl FnMut(&Moving)) {
        let place = |moving: &Moving| (moving.tenant, moving.key);
        let next = self.0.map_or(0, |last| moved.partition_point(|it| place(it) <= last));
        let began = Instant::now();
        for moving in moved.iter().cycle().skip(next).take(moved.len()) {
            look(moving);
            self.0 = Some(place(moving));
            if began.elapsed() >= most {
                return;
            }
        }
    }
}

fn look_once(shared: &Shared, moving: &Moving) {
    probe_if_due(shared, moving);
    if changes(shared, moving) {
        // A full queue is tried again next time.
        let _ = shared.jobs.send(Job::Step(*moving));
    }
}

fn changes(shared: &Shared, moving: &Moving) -> bool {
    let mut core = lock(&shared.core);
    let now = core.now(entropy::sample());
    step(shared, &core.authority, (moving, 0), (now, Detail::Verdicts)).is_some()
}

/// The steps of that effect which looks at rollouts of one tenant come to now, each decided after the ones before; as many
/// as fit in one transaction. The rest is looked at again.
pub(crate) fn steps(
    shared: &Shared,
    movings: &[Moving],
    effect: Effect,
) -> Option<(Reading, Vec<(Moving, Decided)>)> {
    let mut core = lock(&shared.core);
    let now = core.now(entropy::sample());
    let (mut steps, mut bytes) = (Vec::new(), 0);
    for moving in movings {
        let ahead = steps.len();
        let decided = step(shared, &core.authority, (moving, ahead), (now, Detail::Counts));
        let Some(decided) = decided.filter(|it| it.effect == effect) else { continue };
        bytes += bytes_of(&decided);
        steps.push((*moving, decided));
        if bytes >= ROWS_BYTES_MAX {
            break;
        }
    }
    (!steps.is_empty()).then_some((now, steps))
}

/// What a look at a rollout changes, decided `ahead` changes of its tenant from now. One that is stilled is not looked at.
fn step(
    shared: &Shared,
    authority: &Authority,
    (moving, ahead): (&Moving, usize),
    (now, detail): (Reading, Detail),
) -> Option<Decided> {
    if shared.stilled.has(moving.rollout, now.served) {
        return None;
    }
    let looked = look(shared, authority, moving, (now, detail))?;
    looked.show(|sight| authority.decide_step((moving, ahead), sight, now)).ok().flatten()
}

/// What a person's order comes to now.
pub(crate) fn order(
    shared: &Shared,
    principal: &Principal,
    (id, order): (RolloutId, Order),
    now: Reading,
) -> Result<Decided, Refusal> {
    let core = lock(&shared.core);
    let authority = &core.authority;
    let looked = look_at(shared, authority, (principal, id), (now, Detail::Counts));
    let mut decided =
        looked.show(|sight| authority.decide_order(principal, (id, order), sight, now))?;
    if let Answer::Rollout(view) = &mut decided.answer {
        view.measured = looked.measured();
    }
    Ok(decided)
}

/// What a principal is shown of a rollout now.
pub(crate) fn view(
    shared: &Shared,
    principal: &Principal,
    id: RolloutId,
    now: Reading,
) -> Result<RolloutView, Refusal> {
    let core = lock(&shared.core);
    let authority = &core.authority;
    let looked = look_at(shared, authority, (principal, id), (now, Detail::Verdicts));
    let mut view = looked.show(|sight| authority.show_rollout(principal, id, sight, now))?;
    view.measured = looked.measured();
    Ok(view)
}

/// A look at the rollout of that id; at nothing, if there is none, or it is over.
fn look_at(
    shared: &Shared,
    authority: &Authority,
    (principal, id): (&Principal, RolloutId),
    now: (Reading, Detail),
) -> Looked {
    let moving = authority.moving(principal.tenant, id);
    moving.and_then(|moving| look(shared, authority, &moving, now)).unwrap_or_default()
}

fn look(
    shared: &Shared,
    authority: &Authority,
    moving: &Moving,
    (now, detail): (Reading, Detail),
) -> Option<Looked> {
    let (rollout, key) = authority.rollout_of(moving)?;
    if rollout.status.is_over() {
        return None;
    }
    let verifiers = shared.verifiers.acknowledged(authority, (key.tenant, key.id));
    let reports = Reported::of(shared, authority, rollout, now.served);
    let at = (now.served, detail);
    let looked = shared.sightings.look(rollout, (verifiers, &reports), at);
    let looked = looked.with_remaining(shared.used.remaining(authority, rollout));
    let can_return = looked.show(|sight| authority.can_return(moving, sight, now));
    Some(if can_return { looked.with_return_probed() } else { looked })
}

/// Tries the new version of a rollout whose plan asks for that, if it is time.
fn probe_if_due(shared: &Shared, moving: &Moving) {
    let (key, to, now) = {
        let mut core = lock(&shared.core);
        let now = core.now(entropy::sample()).served;
        let Some((rollout, key)) = core.authority.rollout_of(moving) else { return };
        let Some(every_ms) = rollout.current().and_then(probe_every_ms) else { return };
        if !rollout.is_trial() || !shared.sightings.is_probe_due(rollout, now, every_ms) {
            return;
        }
        (key.clone(), rollout.to, now)
    };
    let is_good = is_good(shared, &key, to);
    shared.sightings.probed(moving, is_good, now);
}

/// How often the new version is probed in a stage, if its triggers ask for that.
fn probe_every_ms(stage: &Stage) -> Option<u64> {
    let probes = stage.triggers.iter().filter(|it| it.metric == Metric::ProbeFailures);
    let window_ms = probes.map(|it| it.window_ms.min(it.stale_ms)).min()?;
    let asked_ms = if stage.min_samples > 0 { PROBE_EVERY_MS } else { u64::MAX };
    Some(asked_ms.min(window_ms / 4))
}

/// Whether a version does what it is for, and undoes it: what comes of that leaves for nobody.
fn is_good(shared: &Shared, key: &Key, version: u32) -> bool {
    let Ok((material, _)) = shared.materials.get(&shared.vault, key, version) else { return false };
    if material.public().is_some() {
        return material.sign_and_verify(labels::PROBE).is_ok();
    }
    if let Some(envelope) = material.envelope_key() {
        return opens_what_it_seals(envelope, KeyVersion { key: key.id, version }, &key.purpose);
    }
    let of_mac = material.mac_key().map(|mac| !mac.mac(&[labels::PROBE]).is_empty());
    let derives =
        |derive: &DeriveKey| derive.derive(&key.purpose, &Context::default(), PROBE_BYTES).is_ok();
    of_mac.or_else(|| material.derive_key().map(derives)).unwrap_or_default()
}

fn opens_what_it_seals(envelope: &EnvelopeKey, version: KeyVersion, purpose: &Purpose) -> bool {
    let context = Context::default();
    let binding = Binding { purpose, context: &context };
    let origin = Origin { key: version, posture_epoch: 0 };
    let opened = entropy::bytes().ok().and_then(|salt| {
        let sealed = envelope::encrypt(envelope, origin, binding, salt, labels::PROBE).ok()?;
        envelope::decrypt(envelope, version, binding, &sealed).ok()
    });
    opened.is_some_and(|opened| *opened == labels::PROBE)
}

/// Rollouts of scratch keys at which the service does not look for a while. A restart looks at them again, and orders are
/// carried out as ever.
#[derive(Debug, Default)]
pub(crate) struct Stilled {
    until: Mutex<BTreeMap<RolloutId, Served>>,
}

impl Stilled {
    /// From now on for so long. Those whose time is over are forgotten.
    pub(crate) fn begin(&self, rollout: RolloutId, for_ms: u64, now: Served) {
        let mut until = lock(&self.until);
        until.retain(|_, until| *until > now);
        until.insert(rollout, now.plus_ms(for_ms));
    }

    /// Whether a rollout is not looked at now.
    pub(crate) fn has(&self, rollout: RolloutId, now: Served) -> bool {
        lock(&self.until).get(&rollout).is_some_and(|until| *until > now)
    }
}

/// How often rollouts came to stand so, by steps that the service took by itself.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Steps {
    /// A rollout stands so after a step.
    pub(crate) fn count(&self, status: Status) {
        *lock(&self.counts).entry(status.code()).or_default() += 1;
    }
}

/// What is under way, and what was done, named as Prometheus names it.
pub(crate) fn exposition(shared: &Shared) -> Vec<(String, u64)> {
    let mut under_way: BTreeMap<&'static str, u64> =
        ["running", "paused", "withdrawing"].map(|word| (word, 0)).into();
    {
        let authority = &lock(&shared.core).authority;
        for rollout in authority.under_way() {
            *under_way.entry(rollout.status.code()).or_default() += 1;
        }
    }
    let gauge = |(word, count)| (format!("chancery_rollouts{{status=\"{word}\"}}"), count);
    let mut all: Vec<_> = under_way.into_iter().map(gauge).collect();
    let steps = lock(&shared.steps.counts);
    let total = |(word, count): (&&str, &u64)| {
        (format!("chancery_rollout_steps_total{{status=\"{word}\"}}"), *count)
    };
    all.extend(steps.iter().map(total));
    all
}

/// What verifiers reported of the two versions of a rollout since its stage began.
struct Reported {
    new: Vec<verifiers::Reported>,
    old: Vec<verifiers::Reported>,
    now: Served,
}

impl Reported {
    fn of(shared: &Shared, authority: &Authority, rollout: &Rollout, now: Served) -> Self {
        let (tenant, key, since) = (rollout.tenant, rollout.key, rollout.entered.served);
        let of = |version| shared.verifiers.reports(authority, (tenant, key, version), since);
        Self { new: of(rollout.to), old: of(rollout.from), now }
    }
}

impl Reports for Reported {
    fn old_seen(&self) -> Option<Served> {
        let added = self.old.iter().flat_map(|one| &one.added);
        let shown = added.filter(|added| added.counts.verified > 0 || added.counts.failed > 0);
        shown.map(|added| added.at).max()
    }

    fn within(&self, window_ms: u64) -> Vec<(VerifierId, Pair)> {
        let since = Served::from_ms(self.now.as_ms().saturating_sub(window_ms));
        let mut pairs: BTreeMap<VerifierId, Pair> = BTreeMap::new();
        for (side, reported) in [(Side::New, &self.new), (Side::Old, &self.old)] {
            for one in reported {
                let tally = pairs.entry(one.verifier).or_default().side_mut(side);
                for added in one.added.iter().filter(|added| added.at >= since) {
                    tally.verified = tally.verified.saturating_add(added.counts.verified);
                    tally.rejected = tally.rejected.saturating_add(added.counts.failed);
                    tally.unknown = tally.unknown.saturating_add(added.counts.unknown);
                }
            }
        }
        pairs.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moving(number: u8) -> Moving {
        let (tenant, key) = (TenantId::from_bytes([1; 16]), KeyId::from_bytes([number; 16]));
        Moving { tenant, key, rollout: RolloutId::from_bytes([number; 16]) }
    }

    /// Which are looked at in one round that has time for so many.
    fn looked(turn: &mut Turn, moved: &[Moving], count: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        // Time is over when the last of them takes longer than there is.
        let most = Duration::from_millis(20);
        turn.round(moved, most, |moving| {
            seen.push(moving.key.as_bytes()[0]);
            if seen.len() == count {
                std::thread::sleep(most);
            }
        });
        seen
    }

    #[test]
    fn each_has_its_turn_however_many_there_are_and_whichever_come_and_go() {
        let mut turn = Turn::default();
        let all: Vec<_> = (1..=5).map(moving).collect();
        assert_eq!(looked(&mut turn, &all, 2), [1, 2]);
        assert_eq!(looked(&mut turn, &all, 2), [3, 4]);
        assert_eq!(looked(&mut turn, &all, 2), [5, 1]);
        assert_eq!(looked(&mut turn, &all, 9), [2, 3, 4, 5, 1]);
        let without: Vec<_> = [1, 3, 4].map(moving).into();
        assert_eq!(looked(&mut turn, &without, 1), [3]);
        assert!(looked(&mut turn, &[], 1).is_empty());
        assert_eq!(looked(&mut turn, &all, 1), [4]);
    }
}
