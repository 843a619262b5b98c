//! The three outcomes of whatever is asked of the service.
//!
//! **Invariant:** [`Outcome::Refused`] is proof that the request had no effect; with `result-withheld` an
//! earlier one with the same operation id had. Whatever might have had an effect and was not
//! answered is [`Outcome::Unknown`]; the same call with the same operation id resolves it.

use std::fmt;

use chancery_api::http::problem::Code;
use chancery_core::id::OperationId;
use chancery_core::reason::Reason;

use crate::hints::{self, Next};

/// What became of an operation. Exhaustive on purpose: callers decide on each of the three.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an operation that was refused or is unknown has not been done"]
pub enum Outcome<T> {
    /// It was done, and its record is durable.
    Committed(T),
    /// It was not done, and never will be by this request.
    Refused(Refusal),
    /// No answer came. The same call with this operation id resolves it.
    Unknown(OperationId),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} (`{code}`)")]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What was wrong and what to do, for people.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its explanation.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Self { code: Code::Reason(reason), detail: detail.to_string() }
    }

    /// What may be done about it.
    #[must_use]
    pub fn next(&self) -> Next {
        hints::next(self.code)
    }

    /// Whether the service looked at a signature, MAC or ciphertext and found that it does not hold.
    #[must_use]
    pub fn is_failed_verification(&self) -> bool {
        self.code == Code::Reason(Reason::VerificationFailed)
    }
}

impl<T> Outcome<T> {
    /// Applies `change` to what was committed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Committed(value) => Outcome::Committed(change(value)),
            Self::Refused(refusal) => Outcome::Refused(refusal),
            Self::Unknown(operation) => Outcome::Unknown(operation),
        }
    }

    /// Goes on with what was committed.
    pub fn and_then<U>(self, next: impl FnOnce(T) -> Outcome<U>) -> Outcome<U> {
        match self {
            Self::Committed(value) => next(value),
            Self::Refused(refusal) => Outcome::Refused(refusal),
            Self::Unknown(operation) => Outcome::Unknown(operation),
        }
    }

    /// What was committed.
    ///
    /// # Errors
    ///
    /// [`NotCommitted`] for the other two outcomes.
    pub fn committed(self) -> Result<T, NotCommitted> {
        match self {
            Self::Committed(value) => Ok(value),
            Self::Refused(refusal) => Err(NotCommitted::Refused(refusal)),
            Self::Unknown(operation) => Err(NotCommitted::Unknown(operation)),
        }
    }
}

/// The two outcomes other than Committed, as an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// It was not done.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// No answer came.
    #[error("the outcome of operation {0} is unknown")]
    Unknown(OperationId),
}

impl<T> From<NotCommitted> for Outcome<T> {
    fn from(not_committed: NotCommitted) -> Self {
        match not_committed {
            NotCommitted::Refused(refusal) => Self::Refused(refusal),
            NotCommitted::Unknown(operation) => Self::Unknown(operation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_committed_stays_so() {
        let unknown = OperationId::from_bytes([7; 16]);
        let refusal = Refusal::new(Reason::NotAuthorized, "no");
        assert_eq!(Outcome::<u8>::Unknown(unknown).map(|n| n + 1), Outcome::Unknown(unknown));
        let refused =
            Outcome::<u8>::Refused(refusal.clone()).and_then(|n| Outcome::Committed(n + 1));
        assert_eq!(refused, Outcome::Refused(refusal));
        assert_eq!(Outcome::Committed(1_u8).map(|n| n + 1).committed(), Ok(2));
    }

    #[test]
    fn an_outcome_survives_the_way_through_an_error() {
        let unknown = Outcome::<u8>::Unknown(OperationId::from_bytes([7; 16]));
        assert_eq!(Outcome::from(unknown.clone().committed().unwrap_err()), unknown);
    }
}
