//! The key, the plan and the rollouts that a run begins with. A moment of the model's time is a millisecond.

use chancery_core::clock::Served;
use chancery_core::epoch::Epoch;
use chancery_core::id::{KeyId, RolloutId, TenantId, VerifierId};
use chancery_core::key::{Key, KeyVersion, Provenance, Published};
use chancery_core::name::{Name, Scope};
use chancery_core::rollout::{
    Advance, Bounds, Cause, Comparator, Kind, Lacking, Metric, NewRollout, Paths, Plan, Response,
    Stage, StageName, Trigger,
};
use chancery_core::schedule::{Accept, Fraction, Mode, Selector};
use chancery_core::state::KeyState;
use chancery_core::suite::Suite;

use super::PERSON;

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// A rotation, with nothing published but the first version.
    Requested,
    /// The same because the first version is compromised, which it is not reported as yet.
    Compromise,
    /// The same, and the third version is published and acknowledged.
    CompromiseWithStandby,
    /// A rotation in which both versions sign for a while, and verifiers ask for both for a part of that.
    Migration,
}

/// The tenant's epoch at the beginning.
pub(super) const FIRST_EPOCH: u64 = 1;

/// The verifiers; the last one lies.
pub(super) const VERIFIERS: [VerifierId; 3] = [
    VerifierId::from_bytes([1; 16]),
    VerifierId::from_bytes([2; 16]),
    VerifierId::from_bytes([3; 16]),
];

/// What the model waits for: three moments from publication, four until retirement, each with one for a step to become
/// durable; one of quiet.
pub(super) const WAITS: Bounds = Bounds {
    propagation_ms: 1,
    verifier_cache_ms: 1,
    reprotect_ms: 0,
    artefact_life_ms: 2,
    safety_ms: 1,
    quiet_ms: 1,
    cryptoperiod_ms: 100,
};

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch { generation: 0, number }
}

/// Reads what is a constant of this file.
fn name(text: &str) -> Option<Name> {
    text.parse().ok()
}

pub(super) fn new_rollout(slot: usize, beginning: Beginning) -> Option<NewRollout> {
    let cause = match beginning {
        Beginning::Requested => Cause::Requested,
        Beginning::Migration => Cause::Migration,
        Beginning::Compromise | Beginning::CompromiseWithStandby => Cause::Compromise,
    };
    let (id, to) = if slot == 0 { ([1; 16], 2) } else { ([2; 16], 3) };
    let (id, plan) = (RolloutId::from_bytes(id), plan(beginning)?);
    let (by, plan_digest, remaining_ms) = (Some(PERSON), [0; 32], None);
    Some(NewRollout { id, to, cause, by, plan, plan_digest, remaining_ms })
}

/// Both sign, for all, until nothing alive has one signature; then verifiers ask for both; then they are told that one
/// is enough.
fn dual() -> Vec<Stage> {
    let both = |stage: Stage| Stage { mode: Mode::DualSign, ..stage };
    let all = |min_ms| both(stage(StageName::Ramp, 1_000_000, min_ms));
    vec![
        both(stage(StageName::Canary, 50_000, 1)),
        all(WAITS.retirement_ms()),
        Stage { accept: Accept::AllOf, ..all(1) },
        all(WAITS.publication_ms()),
    ]
}

fn plan(beginning: Beginning) -> Option<Plan> {
    let by_person = |stage: Stage| Stage { advance: Advance::Person, ..stage };
    let ready = Stage { acknowledged: Fraction::WHOLE, ..stage(StageName::Ready, 0, 2) };
    let tried = match beginning {
        Beginning::Migration => dual(),
        _ => vec![stage(StageName::Canary, 50_000, 1)],
    };
    let before = vec![stage(StageName::Publish, 0, 1), ready];
    let after = vec![
        stage(StageName::Full, 1_000_000, 3),
        by_person(stage(StageName::Soak, 1_000_000, 1)),
        by_person(stage(StageName::Retire, 0, 0)),
        by_person(stage(StageName::Destroy, 0, 0)),
    ];
    let stages = [before, tried, after].concat();
    Some(Plan { name: name("model")?, kind: Kind::Routine, bounds: WAITS, stages })
}

fn stage(name: StageName, ppm: u32, min_ms: u64) -> Stage {
    let is_trial = name.is_trial();
    let trigger = Trigger {
        metric: Metric::VerifyFailureRate,
        comparator: Comparator::Above,
        threshold: 1_000,
        window_ms: 1,
        short_window_ms: None,
        stale_ms: 1,
        response: Response::RollBack,
        reporters: 2,
    };
    Stage {
        name,
        fraction: Fraction::from_ppm(ppm).unwrap_or_default(),
        mode: if is_trial { Mode::NewOnly } else { Mode::PublishOnly },
        accept: Accept::AnyOf,
        selector: Selector::default(),
        min_ms,
        max_ms: min_ms.saturating_add(2).max(4),
        min_samples: u64::from(is_trial),
        exercised: if is_trial { Paths::ALL } else { Paths::NONE },
        acknowledged: Fraction::NONE,
        triggers: if is_trial { vec![trigger] } else { Vec::new() },
        on_deadline: Response::Pause,
        on_no_data: Lacking::Pause,
        on_inconclusive: Lacking::Wait,
        advance: Advance::Automatic,
    }
}

pub(super) fn key(beginning: Beginning) -> Option<Key> {
    let published = Published { epoch: epoch(FIRST_EPOCH), at: Served::default() };
    let first = KeyVersion {
        number: 1,
        state: KeyState::Active,
        created_ms: 0,
        provenance: Provenance::Generated,
        public: Vec::new(),
        destruction: None,
        published: Some(published),
        active_from: Some(epoch(FIRST_EPOCH)),
        active_at: Some(Served::default()),
        given_up: None,
        suite: None,
    };
    let new = |number| KeyVersion {
        number,
        state: KeyState::PreActivation,
        published: None,
        active_from: None,
        active_at: None,
        given_up: None,
        ..first.clone()
    };
    let mut third = new(3);
    if beginning == Beginning::CompromiseWithStandby {
        third.published = Some(published);
    }
    let scope = Scope {
        environment: name("production")?,
        region: name("local")?,
        service: name("default")?,
    };
    Some(Key {
        id: KeyId::from_bytes([7; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        name: name("model")?,
        scope,
        purpose: "sign.bound:model".parse().ok()?,
        suite: Suite::Ed25519,
        scheduled: 1,
        authority_epoch: epoch(FIRST_EPOCH),
        min_issue_epoch: Epoch::default(),
        versions: vec![first.clone(), new(2), third],
        witnessed: false,
        moving: None,
    })
}
