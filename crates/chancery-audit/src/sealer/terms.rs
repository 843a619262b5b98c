//! By what records are found: terms of the index, under the keys of a tenant and month.

use std::collections::BTreeMap;

use chancery_core::action::Action;

use super::{MonthKeys, NameClass, Pseudonym};
use crate::frame::ItemView;
use crate::index::{Term, Terms, term};

/// The terms of what only a few records differ in, which are computed once.
#[derive(Debug, Default)]
pub struct FewTerms {
    known: BTreeMap<NameClass, BTreeMap<Vec<u8>, Term>>,
    /// Room for a section.
    room: Vec<u8>,
}

impl FewTerms {
    /// The term of a name, computed by `keys` if it is a new one.
    fn of(&mut self, keys: &MonthKeys, class: NameClass, name: &[u8]) -> Term {
        let known = self.known.entry(class).or_default();
        if let Some(found) = known.get(name) {
            return *found;
        }
        let made = term(&keys.pseudonym(class, name));
        known.insert(name.to_vec(), made);
        made
    }
}

impl MonthKeys {
    /// The term of a version of a key.
    #[must_use]
    pub fn version_term(&self, key: &Pseudonym, version: u32) -> Term {
        term(&self.pseudonym(NameClass::Version, &version_name(key, version)))
    }

    /// The term of what was done.
    #[must_use]
    pub fn action_term(&self, action: Action) -> Term {
        term(&self.pseudonym(NameClass::Action, &[action.kind, action.number]))
    }

    /// The term of an outcome.
    #[must_use]
    pub fn outcome_term(&self, outcome: u8) -> Term {
        term(&self.pseudonym(NameClass::Outcome, &[outcome]))
    }

    /// The term of a reason.
    #[must_use]
    pub fn reason_term(&self, reason: u16) -> Term {
        term(&self.pseudonym(NameClass::Reason, &reason.to_be_bytes()))
    }

    /// The term of the digest of an output.
    #[must_use]
    pub fn output_term(&self, digest: &[u8; 32]) -> Term {
        term(&self.pseudonym(NameClass::Output, digest))
    }

    /// By what an item is found, if these keys open it.
    #[must_use]
    pub fn terms(&self, item: &ItemView<'_>, few: &mut FewTerms) -> Option<Terms> {
        let (section, payload) = self.open_unproved(item, &mut few.room)?;
        let operation = &section.operation;
        let mut often = |class, name: &[u8]| few.of(self, class, name);
        let key = &section.key;
        let named = |pseudonym: &Pseudonym| (*pseudonym != [0; 16]).then(|| term(pseudonym));
        Some([
            named(&key.key),
            named(&key.key)
                .map(|_| often(NameClass::Version, &version_name(&key.key, key.version))),
            named(&section.actor.actor),
            named(&section.actor.credential),
            Some(often(NameClass::Action, &[item.kind.number(), operation.operation])),
            Some(often(NameClass::Outcome, &[operation.outcome])),
            (operation.reason != 0)
                .then(|| often(NameClass::Reason, &operation.reason.to_be_bytes())),
            named(&operation.operation_id),
            (payload.output != [0; 32]).then(|| self.output_term(&payload.output)),
        ])
    }
}

fn version_name(key: &Pseudonym, version: u32) -> [u8; 20] {
    let mut name = [0; 20];
    let (start, end) = name.split_at_mut(16);
    start.copy_from_slice(key);
    end.copy_from_slice(&version.to_be_bytes());
    name
}
