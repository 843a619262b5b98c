//! What of the audit is disclosed, and to whom.
//!
//! A disclosure hands out what opens some records to somebody who has the log's files and no right at the service: the
//! keys of a tenant's months, or single records. It cannot be taken back, so it is a command, and on record before it
//! leaves. What an auditor's export opens records with is handed out likewise, a month at a time.

use minicbor::{Decode, Encode};

/// The most months of one disclosure: 120, ten years.
pub const DISCLOSED_MONTHS_MAX: u16 = 120;

/// The most records of one: 64, whose openings take some 100 KiB.
pub const DISCLOSED_RECORDS_MAX: usize = 64;

/// What is disclosed of one's own tenant.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Disclosed {
    /// Everything of these months, counted since January 1970.
    #[n(0)]
    Months {
        /// The first.
        #[n(0)]
        first: u16,
        /// The last.
        #[n(1)]
        last: u16,
    },
    /// The records with these indices in the log, ascending.
    #[n(1)]
    Records {
        /// Their indices.
        #[n(0)]
        indices: Vec<u64>,
    },
    /// What events say of this month, counted since January 1970: of one's own tenant and of the service itself.
    #[n(2)]
    Events {
        /// The month.
        #[n(0)]
        month: u16,
    },
    /// Everything of these months, the service's own records too, for two people who can open it together alone.
    #[n(3)]
    Everything {
        /// The first.
        #[n(0)]
        first: u16,
        /// The last.
        #[n(1)]
        last: u16,
        /// The X25519 key of the second person, which is another than the first one's.
        #[cbor(n(2), with = "minicbor::bytes")]
        second: [u8; 32],
    },
}

/// What is disclosed, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Disclosure {
    /// What.
    #[n(0)]
    pub what: Disclosed,
    /// The X25519 key of who may open it (RFC 7748, 5).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub recipient: [u8; 32],
}

impl Disclosure {
    /// Whether it is of everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self.what, Disclosed::Everything { .. })
    }

    /// Checks that it names something, no more than one disclosure may, and two people where it takes two.
    ///
    /// # Errors
    ///
    /// [`DisclosureError`].
    pub fn check(&self) -> Result<(), DisclosureError> {
        match self.what {
            Disclosed::Everything { second, .. } if second == self.recipient => {
                Err(DisclosureError::OnePerson)
            }
            _ => self.what.check(),
        }
    }
}

/// Nothing can be disclosed that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// The months are none, or too many.
    #[error("months are named from the first to the last, {DISCLOSED_MONTHS_MAX} at most")]
    Months,
    /// The two keys are one.
    #[error("it is sealed to two people, each with a key of their own")]
    OnePerson,
    /// The records are none, too many, or not in order.
    #[error("records are named once each, in ascending order, {DISCLOSED_RECORDS_MAX} at most")]
    Records,
}

impl Disclosed {
    fn check(&self) -> Result<(), DisclosureError> {
        match self {
            Self::Months { first, last } | Self::Everything { first, last, .. } => {
                let further = last.checked_sub(*first);
                let is_some = further.is_some_and(|further| further < DISCLOSED_MONTHS_MAX);
                is_some.then_some(()).ok_or(DisclosureError::Months)
            }
            Self::Records { indices } => {
                let is_some = (1..=DISCLOSED_RECORDS_MAX).contains(&indices.len());
                let is_ascending = indices.is_sorted_by(|one, next| one < next);
                (is_some && is_ascending).then_some(()).ok_or(DisclosureError::Records)
            }
            Self::Events { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_nothing_too_much_or_something_twice_is_refused() {
        let months = |first, last| Disclosed::Months { first, last }.check();
        assert_eq!([months(5, 5), months(0, 119)], [Ok(()); 2]);
        assert_eq!([months(5, 4), months(0, 120)], [Err(DisclosureError::Months); 2]);
        let records = |indices: Vec<u64>| Disclosed::Records { indices }.check();
        assert_eq!([records(vec![3]), records((0..64).collect())], [Ok(()); 2]);
        for refused in [vec![], vec![3, 3], vec![3, 2], (0..65).collect()] {
            assert_eq!(records(refused), Err(DisclosureError::Records));
        }
    }
}
