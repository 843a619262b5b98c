//! The life of a key version, from generation to destruction.
//!
//! [`KeyState`] follows NIST SP 800-57 Part 1 Rev. 5, section 7, with one narrowing: a version is
//! deactivated or reported compromised before it is destroyed, whatever its type. Scheduled destruction
//! is a field of the version, not a state.
//!
//! This module is pure. It reads no clock and writes no record: the caller says what happened,
//! [`KeyState::after`] says what the version becomes, and the caller persists that before acting on it.

use minicbor::{Decode, Encode};

/// What a key version may be used for right now. In the order of SP 800-57.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyState {
    /// Generated, not yet authorized for use (SP 800-57, 7.1).
    #[n(0)]
    PreActivation,
    /// Protects and processes (SP 800-57, 7.2).
    #[n(1)]
    Active,
    /// Set aside, perhaps for a while; neither protects nor processes (SP 800-57, 7.3).
    #[n(2)]
    Suspended,
    /// Past its originator-usage period; only processes (SP 800-57, 7.4).
    #[n(3)]
    Deactivated,
    /// Known or suspected to be in other hands (SP 800-57, 7.5).
    #[n(4)]
    Compromised,
    /// The key material is gone; the metadata remains (SP 800-57, 7.6).
    #[n(5)]
    Destroyed,
}

/// Something that happened to a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyEvent {
    /// The version was authorized for use.
    #[n(0)]
    Activate,
    /// Use was withheld, reversibly.
    #[n(1)]
    Suspend,
    /// A suspension was lifted.
    #[n(2)]
    Resume,
    /// The originator-usage period ended.
    #[n(3)]
    Deactivate,
    /// The version is known or suspected to be compromised.
    #[n(4)]
    ReportCompromise,
    /// The key material was erased.
    #[n(5)]
    Destroy,
}

/// The version's state does not admit the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version in state `{from:?}` does not admit `{event:?}`")]
pub struct TransitionError {
    /// The state it is in.
    pub from: KeyState,
    /// What was to happen.
    pub event: KeyEvent,
}

impl KeyState {
    /// Every state, in the order of SP 800-57.
    pub const ALL: [Self; 6] = [
        Self::PreActivation,
        Self::Active,
        Self::Suspended,
        Self::Deactivated,
        Self::Compromised,
        Self::Destroyed,
    ];

    /// The state that follows `self` once `event` has happened.
    ///
    /// # Errors
    ///
    /// [`TransitionError`] if `self` does not admit `event`. Repeating an event is an error too;
    /// idempotency is the caller's concern, by operation id.
    pub fn after(self, event: KeyEvent) -> Result<Self, TransitionError> {
        use KeyEvent as E;
        use KeyState as S;
        Ok(match (self, event) {
            (S::PreActivation, E::Activate) | (S::Suspended, E::Resume) => S::Active,
            (S::Active, E::Suspend) => S::Suspended,
            (S::Active | S::Suspended, E::Deactivate) => S::Deactivated,
            (S::PreActivation | S::Active | S::Suspended | S::Deactivated, E::ReportCompromise) => {
                S::Compromised
            }
            (S::PreActivation | S::Deactivated | S::Compromised, E::Destroy) => S::Destroyed,
            (from, event) => return Err(TransitionError { from, event }),
        })
    }

    /// Whether a version in this state applies protection.
    #[must_use]
    pub fn protects(self) -> bool {
        self == Self::Active
    }

    /// Whether a version in this state handles what it protected.
    #[must_use]
    pub fn processes(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated)
    }
}

impl KeyEvent {
    /// Every event, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Activate,
        Self::Suspend,
        Self::Resume,
        Self::Deactivate,
        Self::ReportCompromise,
        Self::Destroy,
    ];

    /// Whether the event only takes authority away.
    #[must_use]
    pub fn is_reduction(self) -> bool {
        matches!(self, Self::Suspend | Self::Deactivate | Self::ReportCompromise | Self::Destroy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state against every event. A change to the life cycle is a change to this table, and is
    /// reviewed as one.
    #[test]
    fn transition_table() {
        let row = |state: KeyState| {
            let nexts = KeyEvent::ALL
                .map(|event| state.after(event).map_or("-".into(), |next| format!("{next:?}")));
            format!("{state:?}: {}", nexts.join(" "))
        };
        assert_eq!(
            KeyState::ALL.map(row).join("\n"),
            "\
PreActivation: Active - - - Compromised Destroyed
Active: - Suspended - Deactivated Compromised -
Suspended: - - Active Deactivated Compromised -
Deactivated: - - - - Compromised Destroyed
Compromised: - - - - - Destroyed
Destroyed: - - - - - -"
        );
    }

    #[test]
    fn only_an_active_version_protects_and_no_compromised_one_processes() {
        let may = KeyState::ALL.map(|state| (state.protects(), state.processes()));
        assert_eq!(
            may,
            [
                (false, false),
                (true, true),
                (false, false),
                (false, true),
                (false, false),
                (false, false)
            ]
        );
    }
}
