//! The situation that a step was decided on, as it is kept, and as the engine is given it again.
//!
//! **Invariant:** the engine says the same of what was kept as of what was there: what is left out, it does not look at.

use minicbor::{Decode, Encode};

use super::{StepRow, Unsound};
use crate::clock::Served;
use crate::epoch::Epoch;
use crate::id::VerifierId;
use crate::key::{Key, KeyVersion, Provenance, Published};
use crate::name::{Name, Scope};
use crate::purpose::Purpose;
use crate::rollout::{Observed, Outcome, Paths, Rollout, Situation, Verdict, Verifier};
use crate::schedule::Schedule;
use crate::state::KeyState;
use crate::suite::Suite;

/// A version of the key, as the engine looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VersionSeen {
    /// Its number.
    #[n(0)]
    pub number: u32,
    /// Its state.
    #[n(1)]
    pub state: KeyState,
    /// When its material is destroyed.
    #[n(2)]
    pub destruction: Option<Served>,
    /// Since when verifiers can know it.
    #[n(3)]
    pub published: Option<Published>,
    /// Since when it could protect.
    #[n(4)]
    pub active_from: Option<Epoch>,
    /// Its algorithm.
    #[n(5)]
    pub suite: Suite,
    /// Since when it is given up.
    #[n(6)]
    pub given_up: Option<Epoch>,
}

/// The key, as the engine looks at it: of its versions the two of the rollout, those that are scheduled, and the first
/// that could take over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KeySeen {
    /// Its name.
    #[n(0)]
    pub name: Name,
    /// What it is for.
    #[n(1)]
    pub purpose: Purpose,
    /// The epoch at which its authority last changed.
    #[n(2)]
    pub authority_epoch: Epoch,
    /// Which versions protected, and for whom.
    #[n(3)]
    pub schedule: Schedule,
    /// Those versions, in the order of their numbers.
    #[n(4)]
    pub versions: Vec<VersionSeen>,
}

/// A verdict, with its reporters as places in the list of verifiers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VerdictSeen {
    /// The trigger's place in the stage.
    #[n(0)]
    pub trigger: u8,
    /// What was found.
    #[n(1)]
    pub outcome: Outcome,
    /// The value, in millionths, where there is one.
    #[n(2)]
    pub value: Option<u64>,
    /// When it was found.
    #[n(3)]
    pub at: Served,
    /// Which registered verifiers' reports it rests on.
    #[n(4)]
    pub reporters: Vec<u16>,
}

/// The situation that a step was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Seen {
    /// The time served.
    #[n(0)]
    pub now: Served,
    /// The tenant's epoch before it.
    #[n(1)]
    pub epoch: Epoch,
    /// The key before it.
    #[n(2)]
    pub key: KeySeen,
    /// Every registered verifier, with the epoch that it had acknowledged.
    #[n(3)]
    pub verifiers: Vec<Verifier>,
    /// Under which schedule the rest was seen.
    #[n(4)]
    pub schedule: Epoch,
    /// How many answers the new version gave.
    #[n(5)]
    pub samples: u64,
    /// Which paths were gone.
    #[n(6)]
    pub exercised: Paths,
    /// The verdicts.
    #[n(7)]
    pub verdicts: Vec<VerdictSeen>,
    /// Versions whose signatures did not verify in the signer.
    #[n(8)]
    pub broken: Vec<u32>,
    /// When anything of the old version was last seen.
    #[n(9)]
    pub old_seen: Option<Served>,
    /// How many ciphertexts of the old version are left.
    #[n(10)]
    pub remaining: Option<u64>,
}

impl Seen {
    pub(super) fn of(rollout: &Rollout, at: &Situation<'_>) -> Self {
        let observed = at.observed;
        Self {
            now: at.now,
            epoch: at.epoch,
            key: KeySeen::of(rollout, at),
            verifiers: at.verifiers.to_vec(),
            schedule: observed.schedule,
            samples: observed.samples,
            exercised: observed.exercised,
            verdicts: observed
                .verdicts
                .iter()
                .map(|it| VerdictSeen::of(it, at.verifiers))
                .collect(),
            broken: observed.broken.to_vec(),
            old_seen: observed.old_seen,
            remaining: observed.remaining,
        }
    }

    /// The reporters of each verdict, by their ids.
    pub(super) fn reporters(&self) -> Result<Vec<Vec<VerifierId>>, Unsound> {
        let id = |place: &u16| {
            let verifier = self.verifiers.get(usize::from(*place));
            verifier.map(|verifier| verifier.id).ok_or(Unsound::Form)
        };
        let of = |verdict: &VerdictSeen| verdict.reporters.iter().map(id).collect();
        self.verdicts.iter().map(of).collect()
    }

    pub(super) fn verdicts<'s>(
        &'s self,
        reporters: &'s [Vec<VerifierId>],
    ) -> impl Iterator<Item = Verdict<'s>> {
        self.verdicts.iter().zip(reporters).map(|(verdict, reporters)| {
            let VerdictSeen { trigger, outcome, value, at, .. } = *verdict;
            Verdict { trigger, outcome, value, at, reporters }
        })
    }

    pub(super) fn observed<'s>(&'s self, verdicts: &'s [Verdict<'s>]) -> Observed<'s> {
        let Self { schedule, samples, exercised, old_seen, remaining, .. } = *self;
        Observed {
            schedule,
            samples,
            exercised,
            verdicts,
            broken: &self.broken,
            old_seen,
            remaining,
        }
    }

    pub(super) fn situation<R>(
        &self,
        key: &Key,
        observed: &Observed<'_>,
        decide: impl FnOnce(&Situation<'_>) -> R,
    ) -> R {
        let Self { now, epoch, .. } = *self;
        decide(&Situation { key, verifiers: &self.verifiers, observed, now, epoch })
    }
}

impl VerdictSeen {
    fn of(verdict: &Verdict<'_>, verifiers: &[Verifier]) -> Self {
        let Verdict { trigger, outcome, value, at, reporters } = *verdict;
        // There are 256 verifiers at most.
        let reporters = (0..).zip(verifiers).filter(|(_, it)| reporters.contains(&it.id));
        let reporters = reporters.map(|(place, _)| place).collect();
        Self { trigger, outcome, value, at, reporters }
    }
}

impl KeySeen {
    fn of(rollout: &Rollout, at: &Situation<'_>) -> Self {
        let key = at.key;
        let schedule = key.schedule();
        let looked_at = [
            Some(rollout.from),
            Some(rollout.to),
            Some(schedule.version),
            schedule.incoming(),
            rollout.standby(at),
        ];
        let versions = key.versions.iter().filter(|it| looked_at.contains(&Some(it.number)));
        let versions = versions.map(|version| VersionSeen::of(key, version)).collect();
        let (name, purpose) = (key.name.clone(), key.purpose.clone());
        Self { name, purpose, authority_epoch: key.authority_epoch, schedule, versions }
    }

    /// A key of which the engine says the same. What it does not look at is made up.
    pub(super) fn key(&self, row: &StepRow) -> Result<Key, Unsound> {
        let Schedule { version, moving } = self.schedule.clone();
        let suite = self.versions.first().map(|version| version.suite).ok_or(Unsound::Form)?;
        if !self.versions.is_sorted_by(|one, next| one.number < next.number) {
            return Err(Unsound::Form);
        }
        let name = &self.name;
        let scope =
            Scope { environment: name.clone(), region: name.clone(), service: name.clone() };
        Ok(Key {
            id: row.key,
            tenant: row.tenant,
            name: name.clone(),
            scope,
            purpose: self.purpose.clone(),
            suite,
            scheduled: version,
            authority_epoch: self.authority_epoch,
            min_issue_epoch: self.authority_epoch,
            versions: self.versions.iter().map(|version| version.version(suite)).collect(),
            witnessed: false,
            moving: moving.map(Box::new),
        })
    }
}

impl VersionSeen {
    fn of(key: &Key, version: &KeyVersion) -> Self {
        let KeyVersion { number, state, destruction, published, active_from, given_up, .. } =
            *version;
        let suite = key.suite_of(version);
        Self { number, state, destruction, published, active_from, suite, given_up }
    }

    fn version(&self, suite: Suite) -> KeyVersion {
        let Self { number, state, destruction, published, active_from, given_up, .. } = *self;
        KeyVersion {
            number,
            state,
            created_ms: 0,
            provenance: Provenance::Generated,
            public: Vec::new(),
            destruction,
            published,
            active_from,
            suite: (self.suite != suite).then_some(self.suite),
            active_at: None,
            given_up,
        }
    }
}
