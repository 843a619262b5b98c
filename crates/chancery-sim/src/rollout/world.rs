//! A state of the model: rows as they are stored, what was decided and is not durable, and what is known.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use chancery_core::cbor;
use chancery_core::clock::Served;
use chancery_core::key::Key;
use chancery_core::rollout::{Change, Moment, Rollout};

use super::Sight;
use super::books::{Books, Evidence};
use super::fixtures::{self, Beginning, FIRST_EPOCH, WAITS};

/// A row, shared among the states that have it, and known again by the hash of its encoding.
#[derive(Clone, Debug)]
pub(super) struct Row<T> {
    value: Arc<T>,
    digest: u64,
}

impl<T> Row<T> {
    fn new(value: T, identity: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        Self { value: Arc::new(value), digest: hasher.finish() }
    }
}

/// Of all in a row that changes; the plan of a slot is always the same.
fn digest_of(rollout: &Rollout) -> u64 {
    let Rollout { id, stage, entered, counted, status, epoch, .. } = rollout;
    let Rollout { acknowledged, alone, released, overrides, .. } = rollout;
    let mut hasher = DefaultHasher::new();
    (id, stage, entered, counted, status, epoch).hash(&mut hasher);
    (acknowledged, alone, released, overrides).hash(&mut hasher);
    hasher.finish()
}

impl Row<Key> {
    pub(super) fn of_key(key: Key) -> Self {
        let encoded = cbor::encode(&key);
        Self::new(key, encoded)
    }
}

impl Row<Rollout> {
    pub(super) fn of_rollout(rollout: Rollout) -> Self {
        let digest = digest_of(&rollout);
        Self::new(rollout, digest)
    }
}

impl Row<Decided> {
    pub(super) fn of_decided(decided: Decided) -> Self {
        let Decided { change, slot, evidence } = &decided;
        let digest = digest_of(&change.rollout);
        let of_change = (change.fence, change.epoch, change.decided, &change.schedule);
        let mut hasher = DefaultHasher::new();
        (digest, of_change, &change.versions, slot, evidence).hash(&mut hasher);
        let digest = hasher.finish();
        Self::new(decided, digest)
    }
}

impl<T> Deref for Row<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Row<T> {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl<T> Eq for Row<T> {}

impl<T> Hash for Row<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest.hash(hasher);
    }
}

/// Something that was decided and is not durable.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) change: Change,
    /// Of which rollout.
    pub(super) slot: usize,
    /// What was true when it was decided.
    pub(super) evidence: Evidence,
}

/// What a verifier said and has under way, as numbers of epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Heard {
    pub(super) acknowledged: Option<u64>,
    pub(super) under_way: Option<u64>,
}

/// The picture that the analysis has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Picture {
    /// The epoch of the schedule that it is of.
    pub(super) schedule: u64,
    /// What it says of the trigger, and when, in time served.
    pub(super) verdict: Option<(Sight, u64)>,
    pub(super) has_samples: bool,
    pub(super) has_paths: bool,
    /// When the old version was last seen, in time served.
    pub(super) old_seen: Option<u64>,
}

/// What has happened of what happens so often at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spent {
    pub(super) orders: u8,
    pub(super) events: u8,
    pub(super) crashes: u8,
    pub(super) others: u8,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The time as it is.
    pub(super) now: u64,
    /// How much of it the service lost count of.
    pub(super) lost: u64,
    /// The tenant's epoch.
    pub(super) epoch: u64,
    pub(super) key: Row<Key>,
    pub(super) rollouts: [Option<Row<Rollout>>; 2],
    pub(super) decided: Option<Row<Decided>>,
    pub(super) verifiers: [Heard; 3],
    pub(super) picture: Picture,
    /// A version whose signature did not verify.
    pub(super) broken: Option<u32>,
    pub(super) spent: Spent,
    pub(super) books: Books,
    pub(super) beginning: u8,
}

/// The beginnings, in the order of the number that a state keeps of its own.
const BEGINNINGS: [Beginning; 4] = [
    Beginning::Requested,
    Beginning::Compromise,
    Beginning::CompromiseWithStandby,
    Beginning::Migration,
];

impl World {
    /// Where a run begins.
    ///
    /// # Panics
    ///
    /// Never: what is read there are constants, which the tests begin with.
    pub(super) fn new(beginning: Beginning) -> Self {
        let Some(key) = fixtures::key(beginning) else { unreachable!("the key is a constant") };
        let mut verifiers = [Heard::default(); 3];
        if beginning == Beginning::CompromiseWithStandby {
            let acknowledged = Some(FIRST_EPOCH);
            verifiers = [Heard { acknowledged, under_way: None }; 3];
        }
        let number = BEGINNINGS.iter().position(|it| *it == beginning).unwrap_or_default();
        Self {
            now: 0,
            lost: 0,
            epoch: FIRST_EPOCH,
            books: Books::new(&key),
            key: Row::of_key(key),
            rollouts: [None, None],
            decided: None,
            verifiers,
            picture: Picture::default(),
            broken: None,
            spent: Spent::default(),
            beginning: u8::try_from(number).unwrap_or_default(),
        }
    }

    pub(super) fn beginning(&self) -> Beginning {
        BEGINNINGS.get(usize::from(self.beginning)).copied().unwrap_or(Beginning::Requested)
    }

    /// The time that the service has counted.
    pub(super) fn served(&self) -> u64 {
        self.now.saturating_sub(self.lost)
    }

    pub(super) fn rollout(&self, slot: usize) -> Option<&Rollout> {
        self.rollouts.get(slot)?.as_deref()
    }

    /// The rollout that moves the key.
    pub(super) fn live(&self) -> Option<&Rollout> {
        let id = self.key.rollout()?;
        self.rollouts.iter().flatten().map(|row| &**row).find(|rollout| rollout.id == id)
    }

    /// The epoch of the schedule there is.
    pub(super) fn schedule(&self) -> u64 {
        self.live().map_or(0, |rollout| rollout.entered.epoch.number)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { served: Served::from_ms(self.served()), epoch: fixtures::epoch(self.epoch) }
    }

    /// The first epoch whose bundle held what the latest does. Acknowledging that or a later one is the same.
    pub(super) fn bundle(&self) -> u64 {
        let published = self.key.versions.iter().filter_map(|version| version.published);
        published.map(|published| published.epoch.number).max().unwrap_or_default()
    }

    /// Makes equal what no decision tells apart: how long ago too long ago was, and which schedule before it was.
    pub(super) fn age(&mut self) {
        let (served, schedule) = (self.served(), self.schedule());
        let picture = &mut self.picture;
        if let Some((_, at)) = &mut picture.verdict {
            *at = (*at).max(served.saturating_sub(2));
        }
        if let Some(at) = &mut picture.old_seen {
            *at = (*at).max(served.saturating_sub(WAITS.quiet_ms));
        }
        if picture.schedule != 0 && picture.schedule != schedule {
            picture.schedule = FIRST_EPOCH;
        }
    }

    /// Whether the picture is of a schedule before.
    pub(super) fn sees_before(&self) -> bool {
        self.picture.schedule != self.schedule() && self.picture.schedule != 0
    }

    /// Whether what is decided is on a key that has changed since, or was decided too long ago.
    pub(super) fn is_overtaken(&self) -> bool {
        self.decided.as_ref().is_some_and(|decided| {
            let since = self.served().saturating_sub(decided.change.decided.as_ms());
            decided.change.fence != self.key.authority_epoch
                || decided.change.epoch.number <= self.epoch
                || since > WAITS.safety_ms
        })
    }
}
