//! A store that fails on command, for tests of drivers and of their callers.
//!
//! The faults are every pair of answer and effect that the contract admits for a commit that goes
//! wrong. After an unknown outcome the wrapper answers nothing, as the embedded driver does, until
//! its store is taken out and opened again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::contract::{CommitError, Store, StoreError};
use crate::row::{Revision, Row, RowName};
use crate::transaction::Transaction;
use crate::watch::Watch;

/// How a commit goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It reports failure, and had no effect.
    Failed,
    /// It reports an unknown outcome, and had its effect.
    FailedButPersisted,
    /// It reports an unknown outcome, and had no effect.
    UnknownAndLost,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 3] = [Self::Failed, Self::FailedButPersisted, Self::UnknownAndLost];
}

/// Which commits go wrong, counted from zero over all that are tried.
pub type Plan = BTreeMap<u64, Fault>;

/// A store whose commits go wrong as planned.
pub struct Faulty {
    inner: Box<dyn Store>,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    tried: u64,
    ended: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("injected fault")]
struct Injected;

impl Faulty {
    /// Wraps `inner`, of which `tried` commits have been tried already.
    #[must_use]
    pub fn new(inner: Box<dyn Store>, plan: Plan, tried: u64) -> Self {
        Self { inner, state: Mutex::new(State { plan, tried, ended: false }) }
    }

    /// How many commits have been tried, with those of earlier wrappers.
    #[must_use]
    pub fn tried(&self) -> u64 {
        self.state().tried
    }

    /// Takes the wrapper off, so that the store can be opened again.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Store> {
        self.inner
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.state().ended {
            Err(StoreError::Unavailable { source: Injected.into() })
        } else {
            Ok(())
        }
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut state = self.state();
        let fault = state.plan.get(&state.tried).copied();
        state.tried += 1;
        state.ended |= matches!(fault, Some(Fault::FailedButPersisted | Fault::UnknownAndLost));
        fault
    }
}

impl Store for Faulty {
    fn get(&self, name: &RowName) -> Result<Option<Row>, StoreError> {
        self.alive()?;
        self.inner.get(name)
    }

    fn range(
        &self,
        prefix: &[u8],
        after: Option<&RowName>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.alive()?;
        self.inner.range(prefix, after, limit)
    }

    fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        self.alive().map_err(|error| CommitError::Failed { source: error.into() })?;
        match self.next_fault() {
            None => self.inner.commit(transaction),
            Some(Fault::Failed) => Err(CommitError::Failed { source: Injected.into() }),
            Some(Fault::FailedButPersisted) => {
                // A transaction that the store refuses has no effect to persist.
                self.inner.commit(transaction)?;
                Err(CommitError::Unknown { source: Injected.into() })
            }
            Some(Fault::UnknownAndLost) => Err(CommitError::Unknown { source: Injected.into() }),
        }
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        self.alive()?;
        self.inner.revision()
    }

    fn watch(&self, from: Revision) -> Result<Watch, StoreError> {
        self.alive()?;
        self.inner.watch(from)
    }
}
