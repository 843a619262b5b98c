//! Keys and their versions: metadata alone, never key bytes.
//!
//! **Invariant:** version numbers begin at 1, grow by one, and are never used again. A key's purpose never changes,
//! nor does the algorithm of a version. What was published once stays published, whatever becomes of it.

use minicbor::{Decode, Encode};

use crate::clock::Served;
use crate::epoch::Epoch;
use crate::id::{KeyId, RolloutId, TenantId};
use crate::limits::{KEY_PUBLIC_BYTES_MAX, KEY_VERSIONS_MAX};
use crate::name::{Name, Scope};
use crate::purpose::Purpose;
use crate::schedule::{Moving, Schedule};
use crate::state::{KeyEvent, KeyState, TransitionError};
use crate::suite::Suite;

/// Where a version's material came from. Permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Provenance {
    /// Made in the signer.
    #[n(0)]
    Generated,
    /// Brought in from outside, where copies may remain.
    #[n(1)]
    Imported,
}

/// Since when verifiers can know a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Published {
    /// The first epoch whose trust bundle holds it.
    #[n(0)]
    pub epoch: Epoch,
    /// When that was, in time served.
    #[n(1)]
    pub at: Served,
}

/// One generation of key material.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KeyVersion {
    /// Its number, from 1.
    #[n(0)]
    pub number: u32,
    /// Its state.
    #[n(1)]
    pub state: KeyState,
    /// When it was made, in milliseconds since 1970.
    #[n(2)]
    pub created_ms: u64,
    /// Where its material came from.
    #[n(3)]
    pub provenance: Provenance,
    /// The public half as SubjectPublicKeyInfo in DER; empty where there is none.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub public: Vec<u8>,
    /// When its material is destroyed, in time served; from scheduling on it neither protects nor processes.
    #[n(5)]
    pub destruction: Option<Served>,
    /// Since when its verifying half is in the trust bundle. Never taken back.
    #[n(6)]
    pub published: Option<Published>,
    /// The epoch at which it was first allowed to protect.
    #[n(7)]
    pub active_from: Option<Epoch>,
    /// Its algorithm, where that is not the key's: after a migration.
    #[n(8)]
    pub suite: Option<Suite>,
    /// When it was first allowed to protect, in time served.
    #[n(9)]
    pub active_at: Option<Served>,
    /// Since when it is given up: a rollout went back from it. Never taken back; a person may name it all the same.
    #[n(10)]
    pub given_up: Option<Epoch>,
}

impl KeyVersion {
    /// Whether it may apply protection now.
    #[must_use]
    pub fn protects(&self) -> bool {
        self.state.protects() && self.destruction.is_none()
    }

    /// Whether it may handle what it protected.
    #[must_use]
    pub fn processes(&self) -> bool {
        self.state.processes() && self.destruction.is_none()
    }

    /// Since when it is there for protecting, in time served: since it was first allowed to, or was published.
    #[must_use]
    pub fn since(&self) -> Option<Served> {
        self.active_at.or(self.published.map(|published| published.at))
    }
}

/// A named lineage of versions with one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Key {
    /// What names it everywhere but on the command line.
    #[n(0)]
    pub id: KeyId,
    /// Whose it is.
    #[n(1)]
    pub tenant: TenantId,
    /// Its name, unique in its tenant for ever.
    #[n(2)]
    pub name: Name,
    /// Environment, region and service.
    #[n(3)]
    pub scope: Scope,
    /// What it is for.
    #[n(4)]
    pub purpose: Purpose,
    /// Its algorithm, but for versions that have one of their own.
    #[n(5)]
    pub suite: Suite,
    /// Which version protects, outside the share. Moved by rollouts, apart from state.
    #[n(6)]
    pub scheduled: u32,
    /// The tenant's epoch at which this key's authority last changed.
    #[n(7)]
    pub authority_epoch: Epoch,
    /// Handles issued before this epoch are void.
    #[n(8)]
    pub min_issue_epoch: Epoch,
    /// The versions, in the order of their numbers.
    #[n(9)]
    pub versions: Vec<KeyVersion>,
    /// Whether an answer leaves only when a quorum of witnesses has cosigned its record. Permanent.
    #[n(10)]
    pub witnessed: bool,
    /// The rollout that moves the schedule, and what the version that it brings in has of the protecting.
    #[n(11)]
    pub moving: Option<Box<Moving>>,
}

/// A key's version cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// A destruction stands scheduled.
    #[error(
        "version {0} is scheduled for destruction; `chancery key cancel-destroy` takes that back"
    )]
    DestructionScheduled(u32),
    /// No destruction stands scheduled.
    #[error("version {0} is not scheduled for destruction")]
    DestructionNotScheduled(u32),
    /// It does not protect, and the schedule is not moved onto it.
    #[error("version {0} does not protect now; no schedule is moved onto it")]
    NotProtecting(u32),
    /// It does not have the number after the last one, or is not of a new version's state.
    #[error("a new version has the number after the last one, and starts as PreActivation")]
    NotNew,
    /// There are as many as a key may have.
    #[error(
        "a key has at most {KEY_VERSIONS_MAX} versions, with {KEY_PUBLIC_BYTES_MAX} bytes of public keys; create another key"
    )]
    TooMany,
    /// The state does not admit the event.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// There is no such version.
    #[error("there is no version {0}")]
    Unknown(u32),
}

impl Key {
    /// The version of a number.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&KeyVersion> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// The version that protects by schedule, whatever its state.
    #[must_use]
    pub fn scheduled_version(&self) -> Option<&KeyVersion> {
        self.version(self.scheduled)
    }

    /// The algorithm of a version.
    #[must_use]
    pub fn suite_of(&self, version: &KeyVersion) -> Suite {
        version.suite.unwrap_or(self.suite)
    }

    /// Which versions protect, and for whom.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule { version: self.scheduled, moving: self.moving.as_deref().cloned() }
    }

    /// The version that everything new is protected by, whomever it is for; nothing while that differs, or it may not.
    #[must_use]
    pub fn protects_for_all(&self) -> Option<u32> {
        let version = self.version(self.schedule().sole()?)?;
        version.protects().then_some(version.number)
    }

    /// The rollout that moves the schedule.
    #[must_use]
    pub fn rollout(&self) -> Option<RolloutId> {
        self.moving.as_ref().map(|moving| moving.rollout)
    }

    /// Moves the schedule. What protects by it for more than before must be able to.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if there is no such version, or it does not protect.
    pub fn reschedule(&mut self, schedule: Schedule) -> Result<(), VersionError> {
        let before = self.schedule();
        for number in [Some(schedule.version), schedule.incoming()].into_iter().flatten() {
            let version = self.version(number).ok_or(VersionError::Unknown(number))?;
            if !version.protects() && schedule.gives_more_than(&before, number) {
                return Err(VersionError::NotProtecting(number));
            }
        }
        self.scheduled = schedule.version;
        self.moving = schedule.moving.map(Box::new);
        Ok(())
    }

    /// Adds a version, which neither protects nor is published yet.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if it is not the next one, is anything but new, or is one too many.
    pub fn add(&mut self, version: KeyVersion) -> Result<(), VersionError> {
        let public: usize = self.versions.iter().map(|version| version.public.len()).sum();
        let is_long = public.saturating_add(version.public.len()) > KEY_PUBLIC_BYTES_MAX;
        if is_long || self.versions.len() >= KEY_VERSIONS_MAX {
            return Err(VersionError::TooMany);
        }
        let last = self.versions.last().map_or(0, |version| version.number);
        let is_new = version.state == KeyState::PreActivation
            && version.destruction.is_none()
            && version.published.is_none()
            && version.active_from.is_none()
            && version.active_at.is_none()
            && version.given_up.is_none();
        if !is_new || Some(version.number) != last.checked_add(1) {
            return Err(VersionError::NotNew);
        }
        self.versions.push(version);
        Ok(())
    }

    /// Puts a version into the trust bundle, from an epoch on. One that is there stays as it is.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if there is no such version.
    pub fn publish(&mut self, number: u32, published: Published) -> Result<(), VersionError> {
        self.version_mut(number)?.published.get_or_insert(published);
        Ok(())
    }

    /// Allows a version to protect from an epoch on, and from then on: a new one is activated.
    ///
    /// # Errors
    ///
    /// [`VersionError`] as [`Self::apply`].
    pub fn activate(&mut self, number: u32, epoch: Epoch, at: Served) -> Result<(), VersionError> {
        let version = self.version(number).ok_or(VersionError::Unknown(number))?;
        if version.state == KeyState::PreActivation {
            self.apply(number, KeyEvent::Activate)?;
        }
        let version = self.version_mut(number)?;
        version.active_from.get_or_insert(epoch);
        version.active_at.get_or_insert(at);
        Ok(())
    }

    /// Gives a version up, as of an epoch: no rule takes it again, and none stands by to take over.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if there is no such version.
    pub fn give_up(&mut self, number: u32, epoch: Epoch) -> Result<(), VersionError> {
        self.version_mut(number)?.given_up.get_or_insert(epoch);
        Ok(())
    }

    /// Whether the key after `self` keeps what may not be taken back: its versions, their numbers, algorithms and
    /// provenance, what was published, and what was given up.
    #[must_use]
    pub fn is_kept_by(&self, next: &Self) -> bool {
        let keeps = |(before, after): (&KeyVersion, &KeyVersion)| {
            let lasting =
                |version: &KeyVersion| (version.number, version.suite, version.provenance);
            let kept = |before: bool, same: bool| !before || same;
            lasting(before) == lasting(after)
                && kept(before.published.is_some(), before.published == after.published)
                && kept(before.active_from.is_some(), before.active_from == after.active_from)
                && kept(before.active_at.is_some(), before.active_at == after.active_at)
                && kept(before.given_up.is_some(), before.given_up == after.given_up)
        };
        next.versions.len() >= self.versions.len()
            && self.versions.iter().zip(&next.versions).all(keeps)
    }

    /// Moves one version along the state table.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if there is no such version, its state does not admit the event, or it is being
    /// brought back while its destruction stands scheduled.
    pub fn apply(&mut self, number: u32, event: KeyEvent) -> Result<(), VersionError> {
        let version = self.version_mut(number)?;
        if version.destruction.is_some() && matches!(event, KeyEvent::Resume | KeyEvent::Activate) {
            return Err(VersionError::DestructionScheduled(number));
        }
        version.state = version.state.after(event)?;
        if version.state == KeyState::Destroyed {
            version.destruction = None;
        }
        Ok(())
    }

    /// Schedules a version's destruction. An Active or Suspended version is deactivated first.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if there is no such version, it is scheduled already, or it is destroyed.
    pub fn schedule_destruction(&mut self, number: u32, due: Served) -> Result<(), VersionError> {
        let version = self.version_mut(number)?;
        if version.destruction.is_some() {
            return Err(VersionError::DestructionScheduled(number));
        }
        if matches!(version.state, KeyState::Active | KeyState::Suspended) {
            version.state = version.state.after(KeyEvent::Deactivate)?;
        }
        // The state must admit destruction when the time comes.
        version.state.after(KeyEvent::Destroy)?;
        version.destruction = Some(due);
        Ok(())
    }

    /// Takes a scheduled destruction back; the state stays as it is.
    ///
    /// # Errors
    ///
    /// [`VersionError`] if there is no such version or nothing was scheduled.
    pub fn cancel_destruction(&mut self, number: u32) -> Result<(), VersionError> {
        let version = self.version_mut(number)?;
        version.destruction.take().map(|_| ()).ok_or(VersionError::DestructionNotScheduled(number))
    }

    fn version_mut(&mut self, number: u32) -> Result<&mut KeyVersion, VersionError> {
        let mut versions = self.versions.iter_mut();
        versions.find(|version| version.number == number).ok_or(VersionError::Unknown(number))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::schedule::{Accept, Fraction, Mode, Selector, Share};

    pub(crate) fn sample(name: &str) -> Key {
        let version = KeyVersion {
            number: 1,
            state: KeyState::Active,
            created_ms: 1,
            provenance: Provenance::Generated,
            public: vec![1, 2, 3],
            destruction: None,
            published: Some(Published { epoch: Epoch::default(), at: Served::default() }),
            active_from: Some(Epoch::default()),
            suite: None,
            active_at: Some(Served::default()),
            given_up: None,
        };
        let part = |text: &str| text.parse().unwrap();
        Key {
            id: KeyId::from_bytes([7; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            name: part(name),
            scope: Scope {
                environment: part("production"),
                region: part("local"),
                service: part("default"),
            },
            purpose: "sign.bound:invoice".parse().unwrap(),
            suite: Suite::Ed25519,
            scheduled: 1,
            authority_epoch: Epoch::default(),
            min_issue_epoch: Epoch::default(),
            versions: vec![version],
            witnessed: false,
            moving: None,
        }
    }

    pub(crate) fn next_version(key: &Key) -> KeyVersion {
        let last = key.versions.last().unwrap();
        KeyVersion {
            number: last.number + 1,
            state: KeyState::PreActivation,
            published: None,
            active_from: None,
            active_at: None,
            given_up: None,
            ..last.clone()
        }
    }

    fn moving(version: u32, mode: Mode) -> Moving {
        let (accept, selector) = (Accept::AnyOf, Selector::default());
        let share = Share { version, fraction: Fraction::WHOLE, mode, accept, selector };
        Moving { rollout: RolloutId::from_bytes([3; 16]), share: Some(share) }
    }

    fn with_second() -> Key {
        let mut key = sample("k");
        key.add(next_version(&key)).unwrap();
        key
    }

    #[test]
    fn a_new_version_has_the_next_number_and_nothing_of_an_old_one() {
        let mut key = sample("k");
        let next = next_version(&key);
        for refused in [
            KeyVersion { number: 3, ..next.clone() },
            KeyVersion { number: 1, ..next.clone() },
            KeyVersion { state: KeyState::Active, ..next.clone() },
            KeyVersion { published: key.versions[0].published, ..next.clone() },
            KeyVersion { active_from: Some(Epoch::default()), ..next.clone() },
            KeyVersion { active_at: Some(Served::default()), ..next.clone() },
            KeyVersion { given_up: Some(Epoch::default()), ..next.clone() },
            KeyVersion { destruction: Some(Served::default()), ..next.clone() },
        ] {
            assert_eq!(key.add(refused), Err(VersionError::NotNew));
        }
        assert_eq!(key.add(next), Ok(()));
        assert_eq!(key.versions.len(), 2);
    }

    #[test]
    fn a_key_has_as_many_versions_as_it_may_and_no_more() {
        let mut key = sample("k");
        while key.versions.len() < KEY_VERSIONS_MAX {
            key.add(next_version(&key)).unwrap();
        }
        assert_eq!(key.add(next_version(&key)), Err(VersionError::TooMany));
    }

    /// A row holds 64 KiB (`ROW_VALUE_BYTES_MAX` of the store), of which a seal and the name take some hundred bytes. Else a key
    /// with as many versions as it may have could not be reported compromised.
    #[test]
    fn the_longest_key_fits_into_a_row() {
        // Four billion changes, in the 24th generation; times of this century.
        let epoch = Epoch { generation: 23, number: u64::from(u32::MAX) };
        let at = Served::from_ms(u64::MAX);
        // Public halves: Ed25519, P-256, P-384, RSA of 2048 to 4096 bits, ML-DSA-44 to 87.
        for bytes in [44, 91, 120, 294, 422, 550, 1_334, 1_974, 2_614] {
            let mut key = sample("k");
            key.name = "n".repeat(64).parse().unwrap();
            key.versions[0].public = vec![1; bytes];
            while key.add(next_version(&key)).is_ok() {}
            for version in &mut key.versions {
                version.created_ms = u64::MAX;
                version.destruction = Some(at);
                version.published = Some(Published { epoch, at });
                (version.active_from, version.active_at) = (Some(epoch), Some(at));
                (version.given_up, version.suite) = (Some(epoch), Some(Suite::RsaPss4096));
            }
            let length = crate::cbor::encode(&key).len();
            assert!(length < 63 * 1024, "{bytes}: {length} with {}", key.versions.len());
        }
    }

    #[test]
    fn no_schedule_is_moved_onto_a_version_that_does_not_protect() {
        let mut key = with_second();
        let share = |mode| Schedule { version: 1, moving: Some(moving(2, mode)) };
        let refused = Err(VersionError::NotProtecting(2));
        assert_eq!(key.reschedule(share(Mode::PublishOnly)), Ok(()));
        assert_eq!(key.reschedule(share(Mode::NewOnly)), refused);
        assert_eq!(key.reschedule(Schedule::settled(2)), refused);
        key.activate(2, Epoch { generation: 0, number: 9 }, Served::default()).unwrap();
        assert_eq!(key.reschedule(share(Mode::NewOnly)), Ok(()));
        key.apply(1, KeyEvent::ReportCompromise).unwrap();
        assert_eq!(key.reschedule(share(Mode::NewOnly)), Ok(()));
        assert_eq!(key.reschedule(Schedule::settled(1)), Err(VersionError::NotProtecting(1)));
        assert_eq!(key.reschedule(share(Mode::DualSign)), Err(VersionError::NotProtecting(1)));
        assert_eq!(key.reschedule(Schedule::settled(2)), Ok(()));
        assert_eq!(key.reschedule(Schedule::settled(1)), Err(VersionError::NotProtecting(1)));
        assert_eq!(key.reschedule(Schedule::settled(3)), Err(VersionError::Unknown(3)));
    }

    #[test]
    fn what_was_published_stays_so_and_keeps_its_epoch() {
        let mut key = with_second();
        let at = |number| Published {
            epoch: Epoch { generation: 0, number },
            at: Served::from_ms(number),
        };
        key.publish(2, at(5)).unwrap();
        key.publish(2, at(7)).unwrap();
        assert_eq!(key.version(2).unwrap().published, Some(at(5)));
        let mut withdrawn = key.clone();
        withdrawn.versions[1].published = None;
        assert!(key.is_kept_by(&key) && !key.is_kept_by(&withdrawn));
        withdrawn.versions.pop();
        assert!(!key.is_kept_by(&withdrawn));
    }

    #[test]
    fn a_key_without_a_rollout_is_encoded_as_if_there_were_none() {
        let mut key = sample("k");
        key.versions[0].published = None;
        key.versions[0].active_from = None;
        let bytes = crate::cbor::encode(&key);
        assert_eq!(bytes.first(), Some(&0x8b), "an array of the eleven fields before");
    }

    #[test]
    fn a_version_scheduled_for_destruction_does_nothing() {
        let mut key = sample("k");
        key.schedule_destruction(1, Served::from_ms(9)).unwrap();
        let version = key.version(1).unwrap();
        assert_eq!(version.state, KeyState::Deactivated);
        assert!(!version.protects() && !version.processes());
    }

    #[test]
    fn cancelling_leaves_the_state_and_cannot_be_repeated() {
        let mut key = sample("k");
        key.schedule_destruction(1, Served::from_ms(9)).unwrap();
        key.cancel_destruction(1).unwrap();
        assert_eq!(key.version(1).unwrap().state, KeyState::Deactivated);
        assert_eq!(key.cancel_destruction(1), Err(VersionError::DestructionNotScheduled(1)));
    }

    #[test]
    fn a_destroyed_version_is_not_scheduled_again() {
        let mut key = sample("k");
        key.apply(1, KeyEvent::Deactivate).unwrap();
        key.apply(1, KeyEvent::Destroy).unwrap();
        assert!(key.schedule_destruction(1, Served::from_ms(9)).is_err());
    }

    #[test]
    fn a_key_survives_its_encoding() {
        let mut key = sample("k");
        key.schedule_destruction(1, Served::from_ms(9)).unwrap();
        let next =
            KeyVersion { suite: Some(Suite::MlDsa65), destruction: None, ..next_version(&key) };
        key.add(next).unwrap();
        key.moving = Some(Box::new(moving(2, Mode::DualSign)));
        assert_eq!(crate::cbor::decode(&crate::cbor::encode(&key), "key"), Ok(key));
    }
}
