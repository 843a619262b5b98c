//! Storage for sealed rows: the contract, its conformance suite and the embedded driver.
//!
//! The store is not trusted (DESIGN, section 3): it holds opaque bytes that its user sealed, and
//! it may lose, swap or roll back any of them. What it promises an honest user is in
//! [`contract`]; that its user notices a dishonest one is the user's concern.
//!
//! **Invariant:** every outcome of a commit is one of *committed*, *proof of no effect* or
//! *unknown*, and the types keep the three apart.
//!
//! There is deliberately no key, no sealing, no clock and no async runtime here.

#![deny(clippy::disallowed_methods)]

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod contract;
pub mod embedded;
#[cfg(any(test, feature = "conformance"))]
pub mod faulty;
pub mod inspect;
#[cfg(test)]
mod model;
pub mod row;
pub mod transaction;
pub mod watch;

pub use contract::{
    CommitError, RANGE_BYTES_MAX, RANGE_ROWS_MAX, ReadBack, Source, Store, StoreError, read_back,
};
pub use embedded::{
    Closed, Embedded, Examined, Integrity, OpenError, OpenMode, PrivateDirError, private_dir,
};
pub use inspect::{CheckReport, DUMP_VALUE_BYTES, Finding, Listed, check, dump};
pub use row::{ROW_NAME_BYTES_MAX, ROW_VALUE_BYTES_MAX, Revision, Row, RowName, RowNameError};
pub use transaction::{
    Compare, Expected, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX, Transaction,
    TransactionInvalid, Write,
};
pub use watch::{Change, Feed, Watch, WatchError, WatchesExhausted};
