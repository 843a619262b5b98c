//! The contract between the signer and whatever keeps its rows.
//!
//! A store is a map from names to sealed bytes that changes by transactions alone
//! (DESIGN, sections 3 and 13). Its words are etcd's: revision, compare-and-set, watch.
//!
//! **Invariants** that every driver keeps and the `conformance` module checks:
//!
//! - The revision starts at zero and grows by one with each committed transaction, also across
//!   restarts. A row carries the revision of the transaction that last wrote it.
//! - A transaction happens as a whole or not at all; its comparisons see the store before it.
//! - [`CommitError::Conflict`], [`CommitError::Failed`] and [`CommitError::Invalid`] are proof of
//!   no effect. Whatever is in doubt is [`CommitError::Unknown`], and [`read_back`] settles it.
//! - A committed transaction is durable when `commit` returns.
//!
//! The store is synchronous and knows neither keys nor sealing; it does not detect that somebody
//! rolled its files back.

use crate::row::{Revision, Row, RowName};
use crate::transaction::{Expected, TRANSACTION_BYTES_MAX, Transaction, TransactionInvalid};
use crate::watch::Watch;

/// The most rows in one answer of [`Store::range`].
pub const RANGE_ROWS_MAX: usize = 1024;

/// The most bytes of names and values in one answer of [`Store::range`], unless its first row
/// alone is longer: 1 MiB, so that an answer fits in one message of a remote store.
pub const RANGE_BYTES_MAX: usize = TRANSACTION_BYTES_MAX;

/// The error of the layer below.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Untrusted storage of sealed rows.
pub trait Store: Send + Sync {
    /// The row of that name, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot say.
    fn get(&self, name: &RowName) -> Result<Option<Row>, StoreError>;

    /// The rows whose names start with `prefix` and lie behind `after`, in order of their names.
    ///
    /// An answer holds at most `limit` rows, [`RANGE_ROWS_MAX`] rows and [`RANGE_BYTES_MAX`]
    /// bytes, so it may be shorter than `limit` before the end. The end is an empty answer to a
    /// `limit` above zero. Each answer is one snapshot; several are not.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot say.
    fn range(
        &self,
        prefix: &[u8],
        after: Option<&RowName>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// Commits `transaction` durably if all its comparisons hold.
    ///
    /// # Errors
    ///
    /// [`CommitError`]; all but [`CommitError::Unknown`] prove that nothing happened.
    fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError>;

    /// The revision of the last committed transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot say.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// Watches what is committed after `from`.
    ///
    /// A `from` whose successors the store no longer holds shows as
    /// [`WatchError::Compacted`](crate::WatchError::Compacted) at the first wait. Changes at or
    /// before `from` are never given, also where `from` lies in the future.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store has failed, or has too many watches.
    fn watch(&self, from: Revision) -> Result<Watch, StoreError>;
}

/// A question to the store was not answered.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is stored is not what a driver stored. The medium, or whoever can write to it, is at
    /// fault; asking again does not help.
    #[error("the store is corrupt")]
    Corrupt {
        /// What was found.
        source: Source,
    },
    /// The store cannot be reached, has failed and must be opened again, or has all the watches
    /// it admits. The world is at fault; asking again is safe.
    #[error("the store is unavailable")]
    Unavailable {
        /// What failed.
        source: Source,
    },
}

/// A transaction was not committed, or perhaps it was.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A comparison did not hold: somebody else was first. Proof of no effect; the caller reads
    /// again and decides anew.
    #[error("row `{name}` is not as expected")]
    Conflict {
        /// The first row whose comparison did not hold.
        name: RowName,
        /// What the transaction expected.
        expected: Expected,
        /// The revision of the row that was found, if any.
        found: Option<Revision>,
    },
    /// The store failed before anything could happen. Proof of no effect; the caller may try
    /// again, once the store answers.
    #[error("the transaction failed and had no effect")]
    Failed {
        /// What failed.
        source: Source,
    },
    /// The transaction breaks a bound. Proof of no effect; the caller is at fault.
    #[error("the transaction is invalid")]
    Invalid(#[from] TransactionInvalid),
    /// The store failed while committing: the transaction may have happened. The caller neither
    /// repeats it nor reports it refused before [`read_back`] has settled it.
    ///
    /// The embedded driver answers nothing more until it is opened again. With a remote store the
    /// request may still be on its way: the caller first moves a row that the transaction
    /// compares, and then reads back.
    #[error("the outcome of the transaction is unknown")]
    Unknown {
        /// What failed.
        source: Source,
    },
}

/// What reading back says about a transaction whose outcome was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// It happened, as this revision.
    Applied(Revision),
    /// It did not happen.
    NotApplied,
    /// Others have since written every row that could tell.
    Unclear,
}

/// Finds out whether `transaction`, tried when the store was at `since`, happened.
///
/// The answer rests on the rows it puts: a row of its value newer than `since` is its work,
/// because sealed values do not repeat; a row still at or before `since` says that it did not
/// happen, and so does a store that has not moved. A transaction that is to be settled beyond
/// doubt puts a row that nobody rewrites, as every operation does with its operation row.
///
/// # Errors
///
/// [`StoreError`] if the store cannot say.
pub fn read_back(
    store: &dyn Store,
    transaction: &Transaction,
    since: Revision,
) -> Result<ReadBack, StoreError> {
    if store.revision()? <= since {
        return Ok(ReadBack::NotApplied);
    }
    for write in transaction.writes() {
        let Some(value) = write.value() else { continue };
        match store.get(write.name())? {
            Some(row) if row.revision <= since => return Ok(ReadBack::NotApplied),
            Some(row) if row.value == value => return Ok(ReadBack::Applied(row.revision)),
            _ => {}
        }
    }
    Ok(ReadBack::Unclear)
}

/// Collects rows into one answer of [`Store::range`] and says when it is full.
pub(crate) struct Page {
    rows: Vec<Row>,
    rows_max: usize,
    bytes: usize,
}

impl Page {
    pub(crate) fn new(limit: usize) -> Self {
        Self { rows: Vec::new(), rows_max: limit.min(RANGE_ROWS_MAX), bytes: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= self.rows_max
    }

    /// Takes the row, or says that it belongs to the next answer.
    pub(crate) fn take(&mut self, row: Row) -> Result<(), Row> {
        let bytes = self.bytes + row.name.as_bytes().len() + row.value.len();
        if self.is_full() || (bytes > RANGE_BYTES_MAX && !self.rows.is_empty()) {
            return Err(row);
        }
        self.bytes = bytes;
        self.rows.push(row);
        Ok(())
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    fn name(text: &str) -> RowName {
        RowName::new(text).unwrap()
    }

    fn put(text: &str, value: &str) -> Transaction {
        Transaction::new().put(name(text), value.into())
    }

    /// What `read_back` says of a put of rows `a` and `b`, tried at revision one, after `later`.
    fn after(later: &[Transaction]) -> ReadBack {
        let store = Model::new();
        store.commit(put("a", "old").put(name("b"), b"old".to_vec())).unwrap();
        for transaction in later {
            store.commit(transaction.clone()).unwrap();
        }
        read_back(&store, &ours(), Revision::new(1)).unwrap()
    }

    fn ours() -> Transaction {
        put("a", "ours").put(name("b"), b"ours".to_vec()).delete(name("c"))
    }

    #[test]
    fn reading_back_finds_what_happened_whoever_wrote_since() {
        let second = ReadBack::Applied(Revision::new(2));
        assert_eq!(after(&[ours()]), second);
        assert_eq!(after(&[ours(), put("x", "theirs")]), second);
        assert_eq!(after(&[ours(), put("a", "theirs")]), second);
        assert_eq!(after(&[put("x", "theirs"), ours()]), ReadBack::Applied(Revision::new(3)));
    }

    #[test]
    fn reading_back_finds_what_did_not_happen() {
        assert_eq!(after(&[]), ReadBack::NotApplied);
        assert_eq!(after(&[put("x", "theirs")]), ReadBack::NotApplied);
        assert_eq!(after(&[put("a", "theirs")]), ReadBack::NotApplied);
    }

    #[test]
    fn reading_back_does_not_guess() {
        let both = put("a", "theirs").put(name("b"), b"theirs".to_vec());
        assert_eq!(after(std::slice::from_ref(&both)), ReadBack::Unclear);
        assert_eq!(after(&[ours(), both]), ReadBack::Unclear);
        let gone = Transaction::new().delete(name("a")).delete(name("b"));
        assert_eq!(after(&[gone]), ReadBack::Unclear);
    }
}
