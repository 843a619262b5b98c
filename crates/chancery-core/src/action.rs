//! What an audit record says was done, by its name.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::handle::Operation;

/// The kind of a record and the number of an operation or a command, for which there is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Action {
    /// As in records: 1 a use, 2 a command, 3 and more what the service itself does.
    #[n(0)]
    pub kind: u8,
    /// Of the operation or the command; 0 for the rest.
    #[n(1)]
    pub number: u8,
}

/// No record says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no record names that as what was done")]
pub struct ActionError;

/// The kind of a record of a use.
const USE: u8 = 1;

/// The kind of a record of a command.
const COMMAND: u8 = 2;

/// The number of the retirement of a log's origin, which is no command of the API: an operator gives it while no service
/// runs.
pub const RETIRE_ORIGIN: u8 = 16;

/// The number of the beginning of a rollout: by a command, or by a rule of automatic rotation.
pub const ROTATE: u8 = 22;

/// The number of the issue of a trust bundle, which the service does by itself.
pub const ISSUE_BUNDLE: u8 = 26;

/// The number of a step of a rollout, which no principal commands.
pub const STEP_ROLLOUT: u8 = 27;

/// The first of the numbers that no command will have: 64. What the service does by itself has those from there on, but for
/// the few that were given out before.
pub const FIRST_OWN: u8 = 64;

/// The number of the making of a version that stands by, which a rule asks for and no principal commands.
pub const STAND_BY: u8 = FIRST_OWN;

/// What commands are called in records, by their numbers. 13 counts uses, which is a kind of its own.
const COMMANDS: [(u8, &str); 32] = [
    (0, "genesis"),
    (1, "create-key"),
    (2, "import-key"),
    (3, "change-version"),
    (4, "schedule-destruction"),
    (5, "cancel-destruction"),
    (6, "issue-handle"),
    (7, "revoke-handle"),
    (8, "revoke-issued"),
    (9, "create-principal"),
    (10, "begin-import"),
    (11, "destroy-version"),
    (12, "revoke-issued-of"),
    (14, "disclose"),
    (15, "prune-audit"),
    (RETIRE_ORIGIN, "retire-origin"),
    (17, "propose"),
    (18, "approve"),
    (19, "withdraw"),
    (20, "carry-out"),
    (21, "raise-approvals"),
    (ROTATE, "rotate"),
    (23, "order-rollout"),
    (24, "register-verifier"),
    (25, "remove-verifier"),
    (ISSUE_BUNDLE, "issue-bundle"),
    (STEP_ROLLOUT, "step-rollout"),
    (28, "set-rotation"),
    (29, "declare-inventory"),
    (30, "order-campaign"),
    (31, "still-rollout"),
    (STAND_BY, "stand-by"),
];

/// What the service itself records.
const OTHERS: [(u8, &str); 4] =
    [(3, "start"), (4, "refusals"), (5, "use-of-link"), (6, "count-uses")];

impl Action {
    /// All that have a name.
    pub fn all() -> impl Iterator<Item = (Self, &'static str)> {
        let uses = Operation::ALL
            .into_iter()
            .map(|operation| (Self { kind: USE, number: operation.number() }, operation.name()));
        let commands = COMMANDS.map(|(number, name)| (Self { kind: COMMAND, number }, name));
        let others = OTHERS.map(|(kind, name)| (Self { kind, number: 0 }, name));
        uses.chain(commands).chain(others)
    }

    /// Whether a key was used, or was to be.
    #[must_use]
    pub fn is_use(self) -> bool {
        self.kind == USE
    }

    /// The numbers that share its kind and name: its own alone, or any for what the service itself records.
    #[must_use]
    pub fn numbers(self) -> std::ops::RangeInclusive<u8> {
        match self.kind {
            USE | COMMAND => self.number..=self.number,
            _ => 0..=u8::MAX,
        }
    }

    /// Its name: `read` for a command without one, which changes nothing, and nothing for what no record has.
    #[must_use]
    pub fn name(self) -> &'static str {
        let others = OTHERS.iter().find(|(kind, _)| *kind == self.kind);
        let found = match others {
            Some((_, name)) => Some(*name),
            None => Self::all().find(|(action, _)| *action == self).map(|(_, name)| name),
        };
        found.unwrap_or(if self.kind == COMMAND { "read" } else { "" })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(name: &str) -> Result<Self, ActionError> {
        let mut all = Self::all();
        all.find(|(_, known)| *known == name).map(|(action, _)| action).ok_or(ActionError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_for_one_action() {
        for (action, name) in Action::all() {
            assert_eq!((name.parse(), action.name()), (Ok(action), name));
        }
        assert!("".parse::<Action>().is_err() && "read".parse::<Action>().is_err());
        assert_eq!(Action { kind: COMMAND, number: 200 }.name(), "read");
        assert_eq!(Action { kind: 4, number: 7 }.name(), "refusals");
    }
}
