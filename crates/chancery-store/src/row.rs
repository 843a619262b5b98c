//! Rows: a name, sealed bytes, and the revision that last wrote them.
//!
//! A name is opaque here and ordered bytewise; the signer builds it from tenant, kind and id, so
//! that one prefix is one kind of one tenant. A revision counts the committed transactions of the
//! whole store, from zero.
//!
//! **Invariant:** a [`RowName`] is never empty and never longer than [`ROW_NAME_BYTES_MAX`].
//!
//! `Debug` shows names in hexadecimal and values as a length alone.

use std::fmt;

/// The longest row name, in bytes.
///
/// A tenant (16), a kind and an id (16) take under 64; the rest is room for composed ids. Short
/// names keep many rows on one page of the embedded store.
pub const ROW_NAME_BYTES_MAX: usize = 128;

/// The longest row value, in bytes: 64 KiB.
///
/// The largest sealed row is a policy or a rollout plan, and etcd advises small values.
pub const ROW_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Names a row: 1 to [`ROW_NAME_BYTES_MAX`] opaque bytes, ordered bytewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowName(Vec<u8>);

/// The bytes are no row name. The caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowNameError {
    /// A name has at least one byte.
    #[error("a row name is not empty")]
    Empty,
    /// A name has at most [`ROW_NAME_BYTES_MAX`] bytes.
    #[error("a row name of {found} bytes is longer than {ROW_NAME_BYTES_MAX}")]
    TooLong {
        /// The length that was given, in bytes.
        found: usize,
    },
}

impl RowName {
    /// Makes a name out of its bytes.
    ///
    /// # Errors
    ///
    /// [`RowNameError`] if there are none, or more than [`ROW_NAME_BYTES_MAX`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, RowNameError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(RowNameError::Empty),
            found if found > ROW_NAME_BYTES_MAX => Err(RowNameError::TooLong { found }),
            _ => Ok(Self(bytes)),
        }
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowName({self})")
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

/// How many transactions the store had committed; zero means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a store in which nothing was committed.
    pub const ZERO: Self = Self(0);

    /// The revision after `count` committed transactions.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The number of committed transactions.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision of the next transaction, unless the count is exhausted.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(count) => Some(Self(count)),
            None => None,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored row.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The row's name.
    pub name: RowName,
    /// The sealed bytes, at most [`ROW_VALUE_BYTES_MAX`].
    pub value: Vec<u8>,
    /// The transaction that last wrote this row.
    pub revision: Revision,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("name", &self.name)
            .field("value", &Length(&self.value))
            .field("revision", &self.revision)
            .finish()
    }
}

/// Shows bytes in hexadecimal.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Shows how many bytes there are, and none of them.
pub(crate) struct Length<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Length<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_from_one_byte_to_its_limit() {
        assert_eq!(RowName::new([]), Err(RowNameError::Empty));
        assert!(RowName::new([0]).is_ok());
        assert!(RowName::new(vec![0; ROW_NAME_BYTES_MAX]).is_ok());
        let found = ROW_NAME_BYTES_MAX + 1;
        assert_eq!(RowName::new(vec![0; found]), Err(RowNameError::TooLong { found }));
    }

    #[test]
    fn names_are_ordered_by_their_bytes() {
        let name = |bytes: &[u8]| RowName::new(bytes).unwrap();
        assert!(name(b"a") < name(b"a\0"));
        assert!(name(b"a\xff") < name(b"b"));
    }

    #[test]
    fn debug_shows_no_value_byte() {
        let row = Row {
            name: RowName::new(*b"\x01\xab").unwrap(),
            value: b"planted".to_vec(),
            revision: Revision::new(3),
        };
        assert_eq!(
            format!("{row:?}"),
            "Row { name: RowName(01ab), value: 7 bytes, revision: Revision(3) }"
        );
    }

    #[test]
    fn the_last_revision_has_no_next() {
        assert_eq!(Revision::ZERO.next(), Some(Revision::new(1)));
        assert_eq!(Revision::new(u64::MAX).next(), None);
    }
}
