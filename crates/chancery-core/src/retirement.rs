//! Why a log's origin is retired, as a closed registry.
//!
//! The number stands in the audit record of the retirement, in the place of a refusal's reason, whose numbers are below
//! 1 000; the code stands in the statement of the gap. Neither leaves room for words of the caller's.

use std::fmt;
use std::str::FromStr;

/// Why an origin is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The files were altered or damaged, and nobody has them whole.
    Damaged,
    /// The log went on from an older state, and others hold another one.
    Forked,
    /// The keys that sign the log may be known to others.
    KeysExposed,
    /// The files are lost.
    Lost,
    /// None of these; whoever decided it has it elsewhere.
    Other,
    /// The data directory was taken back, and what came after is lost.
    TakenBack,
}

/// No retirement has that cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no retirement has that reason; there are {}", names())]
pub struct CauseError;

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 6] =
        [Self::Damaged, Self::Forked, Self::KeysExposed, Self::Lost, Self::Other, Self::TakenBack];

    /// Its number in records.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Lost => 1_001,
            Self::TakenBack => 1_002,
            Self::Forked => 1_003,
            Self::Damaged => 1_004,
            Self::KeysExposed => 1_005,
            Self::Other => 1_006,
        }
    }

    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Forked => "forked",
            Self::KeysExposed => "keys-exposed",
            Self::Lost => "lost",
            Self::Other => "other",
            Self::TakenBack => "taken-back",
        }
    }

    /// The cause of a number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.number() == number)
    }
}

fn names() -> String {
    Cause::ALL.map(Cause::code).join(", ")
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Cause {
    type Err = CauseError;

    fn from_str(code: &str) -> Result<Self, CauseError> {
        Self::ALL.into_iter().find(|cause| cause.code() == code).ok_or(CauseError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn each_cause_has_a_code_and_a_number_that_no_refusal_has() {
        for cause in Cause::ALL {
            assert_eq!(cause.code().parse(), Ok(cause));
            assert_eq!(Cause::from_number(cause.number()), Some(cause));
            assert_eq!(Reason::from_number(cause.number()), None);
            assert!(Reason::ALL.iter().all(|reason| reason.code() != cause.code()));
        }
        assert_eq!("because".parse::<Cause>(), Err(CauseError));
    }
}
