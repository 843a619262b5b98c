//! The contract in its plainest form: a map behind a lock.
//!
//! It persists nothing. It is the oracle that the embedded driver is compared with, and it takes
//! the conformance suite itself; its flaws show that the suite notices a driver that has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::contract::{CommitError, Page, Store, StoreError};
use crate::row::{Revision, Row, RowName};
use crate::transaction::{Transaction, Write};
use crate::watch::{Change, Feed, Watch};

/// What a wrong driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    AppliesDespiteConflict,
    ChecksNoBounds,
    ComparesPresenceAlone,
    CountsWritesAsRevisions,
    FailsAfterPersisting,
    ForgetsRevisionWhenReopened,
    ForgetsRowsWhenReopened,
    IgnoresAfter,
    KeepsDeletedRows,
    KeepsFirstRevision,
    PagesWithoutBound,
    RangesBackwards,
    WatchRepeatsChanges,
    WatchTellsOfConflicts,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<RowName, (Revision, Vec<u8>)>,
    revision: Revision,
}

pub(crate) struct Model {
    state: Arc<Mutex<State>>,
    feed: Feed,
    flaw: Option<Flaw>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), feed: Feed::new(Revision::ZERO), flaw: None }
    }

    pub(crate) fn with_flaw(flaw: Flaw) -> Self {
        Self { flaw: Some(flaw), ..Self::new() }
    }

    /// What opening the same store again gives.
    pub(crate) fn reopened(&self) -> Self {
        let mut state = self.state.lock().unwrap();
        if self.flaw == Some(Flaw::ForgetsRevisionWhenReopened) {
            state.revision = Revision::ZERO;
        }
        if self.flaw == Some(Flaw::ForgetsRowsWhenReopened) {
            state.rows.clear();
        }
        let feed = Feed::new(state.revision);
        Self { state: Arc::clone(&self.state), feed, flaw: self.flaw }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn compare(&self, state: &State, transaction: &Transaction) -> Result<(), CommitError> {
        for compare in transaction.compares() {
            let found = state.rows.get(&compare.name).map(|(revision, _)| *revision);
            let holds = if self.has(Flaw::ComparesPresenceAlone) {
                found.is_none() == (compare.expected == crate::transaction::Expected::Absent)
            } else {
                compare.expected.holds(found)
            };
            if !holds {
                let (name, expected) = (compare.name.clone(), compare.expected);
                return Err(CommitError::Conflict { name, expected, found });
            }
        }
        Ok(())
    }

    fn apply(&self, state: &mut State, transaction: Transaction) -> (Revision, Vec<Change>) {
        let grows = match self.flaw {
            Some(Flaw::CountsWritesAsRevisions) => transaction.writes().len() as u64,
            _ => 1,
        };
        state.revision = Revision::new(state.revision.get() + grows);
        let revision = state.revision;
        let mut changes = Vec::new();
        for write in transaction.into_writes() {
            match write {
                Write::Delete { .. } if self.has(Flaw::KeepsDeletedRows) => {}
                Write::Delete { name } => {
                    if state.rows.remove(&name).is_some() {
                        changes.push(Change { revision, name, value: None });
                    }
                }
                Write::Put { name, value } => {
                    let old = state.rows.get(&name).map(|(old, _)| *old);
                    let kept = old.filter(|_| self.has(Flaw::KeepsFirstRevision));
                    state.rows.insert(name.clone(), (kept.unwrap_or(revision), value.clone()));
                    changes.push(Change { revision, name, value: Some(value) });
                }
            }
        }
        (revision, changes)
    }
}

impl Store for Model {
    fn get(&self, name: &RowName) -> Result<Option<Row>, StoreError> {
        let state = self.state.lock().unwrap();
        let row = |(revision, value): &(Revision, Vec<u8>)| Row {
            name: name.clone(),
            value: value.clone(),
            revision: *revision,
        };
        Ok(state.rows.get(name).map(row))
    }

    fn range(
        &self,
        prefix: &[u8],
        after: Option<&RowName>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let state = self.state.lock().unwrap();
        let mut rows: Vec<Row> = state
            .rows
            .iter()
            .filter(|(name, _)| name.as_bytes().starts_with(prefix))
            .filter(|(name, _)| {
                self.has(Flaw::IgnoresAfter) || after.is_none_or(|after| *name > after)
            })
            .map(|(name, (revision, value))| Row {
                name: name.clone(),
                value: value.clone(),
                revision: *revision,
            })
            .collect();
        if self.has(Flaw::RangesBackwards) {
            rows.reverse();
        }
        if self.has(Flaw::PagesWithoutBound) {
            rows.truncate(limit);
            return Ok(rows);
        }
        let mut page = Page::new(limit);
        let _rest = rows.into_iter().try_for_each(|row| page.take(row));
        Ok(page.into_rows())
    }

    fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        if !self.has(Flaw::ChecksNoBounds) {
            transaction.validate()?;
        }
        let mut state = self.state.lock().unwrap();
        if let Err(conflict) = self.compare(&state, &transaction) {
            if self.has(Flaw::AppliesDespiteConflict) {
                self.apply(&mut state, transaction);
            } else if self.has(Flaw::WatchTellsOfConflicts) {
                let revision = state.revision.next().unwrap();
                let name = transaction.writes()[0].name().clone();
                self.feed.publish(revision, vec![Change { revision, name, value: None }]);
            }
            return Err(conflict);
        }
        let (revision, changes) = self.apply(&mut state, transaction);
        if self.has(Flaw::WatchRepeatsChanges) {
            self.feed.publish(revision, changes.clone());
        }
        self.feed.publish(revision, changes);
        if self.has(Flaw::FailsAfterPersisting) && revision.get() % 5 == 0 {
            return Err(CommitError::Failed { source: "flawed".into() });
        }
        Ok(revision)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.state.lock().unwrap().revision)
    }

    fn watch(&self, from: Revision) -> Result<Watch, StoreError> {
        self.feed
            .subscribe(from)
            .map_err(|source| StoreError::Unavailable { source: source.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::conformance::{Harness, run};

    fn suite(make: &dyn Fn() -> Model) -> Result<(), String> {
        // The suite owns a store that it cannot be asked to name; this shares its state.
        let current: RefCell<Model> = RefCell::new(make());
        let share = |model: &Model| Model {
            state: Arc::clone(&model.state),
            feed: Feed::new(model.state.lock().unwrap().revision),
            flaw: model.flaw,
        };
        let fresh = || -> Box<dyn Store> {
            *current.borrow_mut() = make();
            Box::new(share(&current.borrow()))
        };
        let reopen = |old: Box<dyn Store>| -> Box<dyn Store> {
            drop(old);
            Box::new(current.borrow().reopened())
        };
        let harness = Harness { fresh: &fresh, reopen: &reopen };
        match catch_unwind(AssertUnwindSafe(|| run(&harness))) {
            Ok(result) => result.map_err(|failure| failure.to_string()),
            Err(_panic) => Err("an assertion failed".into()),
        }
    }

    #[test]
    fn the_model_conforms() {
        assert_eq!(suite(&Model::new), Ok(()));
    }

    #[test]
    fn the_suite_notices_every_flaw() {
        let flaws = [
            Flaw::AppliesDespiteConflict,
            Flaw::ChecksNoBounds,
            Flaw::ComparesPresenceAlone,
            Flaw::CountsWritesAsRevisions,
            Flaw::FailsAfterPersisting,
            Flaw::ForgetsRevisionWhenReopened,
            Flaw::ForgetsRowsWhenReopened,
            Flaw::IgnoresAfter,
            Flaw::KeepsDeletedRows,
            Flaw::KeepsFirstRevision,
            Flaw::PagesWithoutBound,
            Flaw::RangesBackwards,
            Flaw::WatchRepeatsChanges,
            Flaw::WatchTellsOfConflicts,
        ];
        for flaw in flaws {
            assert!(suite(&|| Model::with_flaw(flaw)).is_err(), "{flaw:?} went unnoticed");
        }
    }
}
