//! Transactions: comparisons, and the writes that happen if all of them hold.
//!
//! Comparisons see the store as it was before the transaction. The bounds are those of etcd, the
//! strictest driver: 128 operations (it limits comparisons and writes each, we limit their sum)
//! and well under its 1.5 MiB for a request.
//!
//! Building never fails; [`Transaction::validate`] says whether the result may be committed, and
//! every driver asks it first.

use std::collections::BTreeSet;
use std::fmt;

use crate::row::{Length, ROW_NAME_BYTES_MAX, ROW_VALUE_BYTES_MAX, Revision, RowName};

/// The most comparisons and writes, together, in one transaction (etcd's `--max-txn-ops`).
pub const TRANSACTION_OPERATIONS_MAX: usize = 128;

/// The most bytes of names and values in one transaction: 1 MiB, under etcd's 1.5 MiB.
pub const TRANSACTION_BYTES_MAX: usize = 1024 * 1024;

// The largest row fits, and so do the longest names in the largest transaction.
const _: () = assert!(ROW_NAME_BYTES_MAX + ROW_VALUE_BYTES_MAX <= TRANSACTION_BYTES_MAX);
const _: () = assert!(ROW_NAME_BYTES_MAX * TRANSACTION_OPERATIONS_MAX <= TRANSACTION_BYTES_MAX);

/// What a row must be for the transaction to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is no such row.
    Absent,
    /// The row was last written by this transaction.
    At(Revision),
}

impl Expected {
    /// Whether a row last written at `found`, or no row, is what is expected.
    #[must_use]
    pub fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::At(revision) => found == Some(revision),
        }
    }
}

/// A condition on one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The row.
    pub name: RowName,
    /// What it must be.
    pub expected: Expected,
}

/// A change to one row.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Removes the row; a row that does not exist stays so.
    Delete {
        /// The row.
        name: RowName,
    },
    /// Creates or replaces the row.
    Put {
        /// The row.
        name: RowName,
        /// Its sealed bytes.
        value: Vec<u8>,
    },
}

impl Write {
    /// The row that is changed.
    #[must_use]
    pub fn name(&self) -> &RowName {
        match self {
            Self::Delete { name } | Self::Put { name, .. } => name,
        }
    }

    /// The new value, unless the row is deleted.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Delete { .. } => None,
            Self::Put { value, .. } => Some(value),
        }
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete { name } => f.debug_struct("Delete").field("name", name).finish(),
            Self::Put { name, value } => {
                f.debug_struct("Put").field("name", name).field("value", &Length(value)).finish()
            }
        }
    }
}

/// Comparisons and writes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Transaction {
    compares: Vec<Compare>,
    writes: Vec<Write>,
}

/// The transaction breaks a bound. The caller is at fault, and nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionInvalid {
    /// Two writes name the same row.
    #[error("row `{name}` is written twice")]
    DuplicateWrite {
        /// The row.
        name: RowName,
    },
    /// There is nothing to write, so there is no revision to give.
    #[error("the transaction writes nothing")]
    NoWrites,
    /// Names and values together are too long.
    #[error("{found} bytes are more than {TRANSACTION_BYTES_MAX}")]
    TooManyBytes {
        /// How many there are.
        found: usize,
    },
    /// There are too many comparisons and writes.
    #[error("{found} operations are more than {TRANSACTION_OPERATIONS_MAX}")]
    TooManyOperations {
        /// How many there are.
        found: usize,
    },
    /// One value is too long.
    #[error("the value of row `{name}` has {found} bytes, more than {ROW_VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// The row.
        name: RowName,
        /// The length of its value, in bytes.
        found: usize,
    },
}

impl Transaction {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the condition that the row does not exist.
    pub fn expect_absent(self, name: RowName) -> Self {
        self.expect(name, Expected::Absent)
    }

    /// Adds the condition that the row was last written at `revision`.
    pub fn expect_at(self, name: RowName, revision: Revision) -> Self {
        self.expect(name, Expected::At(revision))
    }

    /// Adds a condition on the row.
    pub fn expect(mut self, name: RowName, expected: Expected) -> Self {
        self.compares.push(Compare { name, expected });
        self
    }

    /// Adds a write that creates or replaces the row.
    pub fn put(mut self, name: RowName, value: Vec<u8>) -> Self {
        self.writes.push(Write::Put { name, value });
        self
    }

    /// Adds a write that removes the row.
    pub fn delete(mut self, name: RowName) -> Self {
        self.writes.push(Write::Delete { name });
        self
    }

    /// The conditions, in the order they were added.
    #[must_use]
    pub fn compares(&self) -> &[Compare] {
        &self.compares
    }

    /// The writes, in the order they were added.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The writes alone, for a driver that has made the comparisons.
    #[must_use]
    pub fn into_writes(self) -> Vec<Write> {
        self.writes
    }

    /// Checks every bound of a transaction.
    ///
    /// # Errors
    ///
    /// The first bound that is broken.
    pub fn validate(&self) -> Result<(), TransactionInvalid> {
        let found = self.compares.len() + self.writes.len();
        if found > TRANSACTION_OPERATIONS_MAX {
            return Err(TransactionInvalid::TooManyOperations { found });
        }
        if self.writes.is_empty() {
            return Err(TransactionInvalid::NoWrites);
        }
        self.writes.iter().try_for_each(value_fits)?;
        let found = self.bytes();
        if found > TRANSACTION_BYTES_MAX {
            return Err(TransactionInvalid::TooManyBytes { found });
        }
        self.writes_differ()
    }

    fn bytes(&self) -> usize {
        let compared = self.compares.iter().map(|compare| compare.name.as_bytes().len());
        let written = self
            .writes
            .iter()
            .map(|write| write.name().as_bytes().len() + write.value().map_or(0, <[u8]>::len));
        compared.chain(written).sum()
    }

    fn writes_differ(&self) -> Result<(), TransactionInvalid> {
        let mut names = BTreeSet::new();
        match self.writes.iter().map(Write::name).find(|name| !names.insert(*name)) {
            Some(name) => Err(TransactionInvalid::DuplicateWrite { name: name.clone() }),
            None => Ok(()),
        }
    }
}

fn value_fits(write: &Write) -> Result<(), TransactionInvalid> {
    match write.value().map(<[u8]>::len) {
        Some(found) if found > ROW_VALUE_BYTES_MAX => {
            Err(TransactionInvalid::ValueTooLong { name: write.name().clone(), found })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_holds_for_exactly_what_it_names() {
        let (one, two) = (Revision::new(1), Revision::new(2));
        assert!(Expected::Absent.holds(None));
        assert!(!Expected::Absent.holds(Some(one)));
        assert!(Expected::At(one).holds(Some(one)));
        assert!(!Expected::At(one).holds(Some(two)));
        assert!(!Expected::At(one).holds(None));
    }

    #[test]
    fn debug_shows_no_value_byte() {
        let name = RowName::new(*b"n").unwrap();
        let shown = format!("{:?}", Transaction::new().put(name, b"planted".to_vec()));
        assert!(shown.contains("7 bytes") && !shown.contains("112"), "{shown}");
    }
}
