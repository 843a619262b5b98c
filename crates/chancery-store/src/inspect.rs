//! Looking at a store from outside: a listing and a check.
//!
//! Both page through the rows and see sealed bytes alone, so they need no key and prove nothing
//! about what the rows mean; that is the signer's check. Neither sees one snapshot if somebody
//! writes meanwhile.

use std::fmt;

use crate::contract::{RANGE_ROWS_MAX, Store, StoreError};
use crate::row::{Hex, ROW_VALUE_BYTES_MAX, Revision, Row, RowName};

/// How many sealed bytes of a row a listing shows: enough for its header, and no plaintext.
pub const DUMP_VALUE_BYTES: usize = 16;

/// The most findings that a report lists; beyond, they are counted.
pub const FINDINGS_MAX: usize = 100;

/// One row of a listing. Its text is name in hexadecimal, revision, length, and the first sealed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Vec<u8>,
    /// Its revision.
    pub revision: u64,
    /// The length of its value, in bytes.
    pub bytes: usize,
    /// The first [`DUMP_VALUE_BYTES`] of the value.
    pub head: Vec<u8>,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, revision, bytes, head } = self;
        write!(f, "{} revision={revision} bytes={bytes} sealed={}", Hex(name), Hex(head))
    }
}

/// Something about a row that no driver writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A name does not lie behind the one before.
    #[error("row `{name}` is out of order")]
    OutOfOrder {
        /// The row.
        name: RowName,
    },
    /// A row claims a transaction that the store has not reached, or revision zero.
    #[error("row `{name}` has revision {revision}, which the store has not given")]
    RevisionOutside {
        /// The row.
        name: RowName,
        /// Its revision.
        revision: Revision,
    },
    /// A value is longer than [`ROW_VALUE_BYTES_MAX`].
    #[error("row `{name}` has {found} bytes, more than {ROW_VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// The row.
        name: RowName,
        /// The length of its value, in bytes.
        found: usize,
    },
}

/// What [`check`] saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The store's revision at the end of the walk.
    pub revision: Revision,
    /// How many rows there are.
    pub rows: u64,
    /// The bytes of all names.
    pub name_bytes: u64,
    /// The bytes of all values.
    pub value_bytes: u64,
    /// What is wrong, at most the first [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub findings_count: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings_count == 0
    }

    fn find(&mut self, finding: Finding) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// Every row, in order.
///
/// # Errors
///
/// [`StoreError`] if a row cannot be read.
pub fn dump(store: &dyn Store) -> Result<Vec<Listed>, StoreError> {
    let mut listed = Vec::new();
    walk(store, |row| {
        let head = row.value.get(..DUMP_VALUE_BYTES).unwrap_or(&row.value).to_vec();
        let (name, revision) = (row.name.as_bytes().to_vec(), row.revision.get());
        listed.push(Listed { name, revision, bytes: row.value.len(), head });
        Ok::<(), StoreError>(())
    })?;
    Ok(listed)
}

/// Walks all rows and compares them with what a driver may have written.
///
/// # Errors
///
/// [`StoreError`] if a row cannot be read.
pub fn check(store: &dyn Store) -> Result<CheckReport, StoreError> {
    let mut report = CheckReport::default();
    let mut last: Option<RowName> = None;
    let mut revisions = RevisionCheck { reached: store.revision()?, store };
    report.rows = walk(store, |row| {
        report.name_bytes += row.name.as_bytes().len() as u64;
        report.value_bytes += row.value.len() as u64;
        if last.as_ref().is_some_and(|last| *last >= row.name) {
            report.find(Finding::OutOfOrder { name: row.name.clone() });
        }
        if !revisions.admits(row.revision)? {
            let (name, revision) = (row.name.clone(), row.revision);
            report.find(Finding::RevisionOutside { name, revision });
        }
        if row.value.len() > ROW_VALUE_BYTES_MAX {
            let (name, found) = (row.name.clone(), row.value.len());
            report.find(Finding::ValueTooLong { name, found });
        }
        last = Some(row.name.clone());
        Ok::<(), StoreError>(())
    })?;
    report.revision = store.revision()?;
    Ok(report)
}

/// The revision that the store is known to have reached; asks again when a row is newer, because
/// somebody may write meanwhile.
struct RevisionCheck<'a> {
    store: &'a dyn Store,
    reached: Revision,
}

impl RevisionCheck<'_> {
    fn admits(&mut self, revision: Revision) -> Result<bool, StoreError> {
        if revision > self.reached {
            self.reached = self.store.revision()?;
        }
        Ok(revision > Revision::ZERO && revision <= self.reached)
    }
}

fn walk<E: From<StoreError>>(
    store: &dyn Store,
    mut visit: impl FnMut(&Row) -> Result<(), E>,
) -> Result<u64, E> {
    let mut count = 0;
    let mut after: Option<RowName> = None;
    loop {
        let rows = store.range(&[], after.as_ref(), RANGE_ROWS_MAX)?;
        rows.iter().try_for_each(&mut visit)?;
        count += rows.len() as u64;
        match rows.last() {
            // A store that goes back would be walked forever.
            Some(last) if after.as_ref().is_none_or(|after| *after < last.name) => {
                after = Some(last.name.clone());
            }
            _ => return Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contract::CommitError;
    use crate::model::Model;
    use crate::transaction::Transaction;
    use crate::watch::{Feed, Watch};

    fn name(bytes: &[u8]) -> RowName {
        RowName::new(bytes).unwrap()
    }

    #[test]
    fn a_dump_has_one_line_for_each_row() {
        let store = Model::new();
        store.commit(Transaction::new().put(name(b"\x02"), vec![0xab; 17])).unwrap();
        store.commit(Transaction::new().put(name(b"\x01\xff"), vec![1, 2])).unwrap();
        let lines: Vec<_> = dump(&store).unwrap().iter().map(ToString::to_string).collect();
        let expected = [
            "01ff revision=2 bytes=2 sealed=0102",
            "02 revision=1 bytes=17 sealed=abababababababababababababababab",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_dump_and_a_check_page_through_all_rows() {
        let store = Model::new();
        let count = RANGE_ROWS_MAX + 1;
        for numbers in (0..count).collect::<Vec<_>>().chunks(100) {
            let put = |transaction: Transaction, number: &usize| {
                transaction.put(name(&number.to_be_bytes()), vec![7; 3])
            };
            store.commit(numbers.iter().fold(Transaction::new(), put)).unwrap();
        }
        let report = check(&store).unwrap();
        assert!(report.is_sound());
        assert_eq!((report.rows, report.name_bytes, report.value_bytes), (1025, 8200, 3075));
        assert_eq!(report.revision, store.revision().unwrap());
        assert_eq!(dump(&store).unwrap().len(), count);
    }

    /// A store that answers with whatever it was given.
    struct Crooked(Vec<Row>);

    impl Store for Crooked {
        fn get(&self, _: &RowName) -> Result<Option<Row>, StoreError> {
            Ok(None)
        }

        fn range(&self, _: &[u8], _: Option<&RowName>, _: usize) -> Result<Vec<Row>, StoreError> {
            Ok(self.0.clone())
        }

        fn commit(&self, _: Transaction) -> Result<Revision, CommitError> {
            Err(CommitError::Failed { source: "it is crooked".into() })
        }

        fn revision(&self) -> Result<Revision, StoreError> {
            Ok(Revision::new(5))
        }

        fn watch(&self, from: Revision) -> Result<Watch, StoreError> {
            Feed::new(from)
                .subscribe(from)
                .map_err(|source| StoreError::Unavailable { source: source.into() })
        }
    }

    #[test]
    fn a_check_finds_what_no_driver_writes() {
        let row = |bytes: &[u8], revision: u64, length: usize| Row {
            name: name(bytes),
            value: vec![0; length],
            revision: Revision::new(revision),
        };
        let store = Crooked(vec![
            row(b"b", 5, ROW_VALUE_BYTES_MAX),
            row(b"c", 6, 0),
            row(b"a", 0, 0),
            row(b"d", 1, ROW_VALUE_BYTES_MAX + 1),
        ]);
        let report = check(&store).unwrap();
        let found = ROW_VALUE_BYTES_MAX + 1;
        // The second answer repeats the first, which the walk notices too.
        assert_eq!(
            report.findings[..5],
            [
                Finding::RevisionOutside { name: name(b"c"), revision: Revision::new(6) },
                Finding::OutOfOrder { name: name(b"a") },
                Finding::RevisionOutside { name: name(b"a"), revision: Revision::ZERO },
                Finding::ValueTooLong { name: name(b"d"), found },
                Finding::OutOfOrder { name: name(b"b") },
            ]
        );
        assert!(!report.is_sound());
        let ended = store.watch(Revision::ZERO).unwrap().next(Duration::ZERO);
        assert!(ended.is_err());
    }
}
