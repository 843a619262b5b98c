//! Keys and their versions: metadata alone, never key bytes.
//!
//! **Invariant:** version numbers begin at 1, grow by one, and are never used again. A key's purpose and
//! algorithm never change.

use minicbor::{Decode, Encode};

use crate::clock::Served;
use crate::epoch::Epoch;
use crate::id::{KeyId, TenantId};
use crate::name::{Name, Scope};
use crate::purpose::Purpose;
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
}

/// A named lineage of versions with one purpose and one algorithm.
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
    /// Its algorithm.
    #[n(5)]
    pub suite: Suite,
    /// Which version protects. Moved by rollouts, apart from state.
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

    pub(crate) fn sample(name: &str) -> Key {
        let version = KeyVersion {
            number: 1,
            state: KeyState::Active,
            created_ms: 1,
            provenance: Provenance::Generated,
            public: vec![1, 2, 3],
            destruction: None,
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
        }
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
        assert_eq!(crate::cbor::decode(&crate::cbor::encode(&key), "key"), Ok(key));
    }
}
