//! Why a rollout is made, and why one stops, as closed registries.
//!
//! Numbers stand in audit records and stored rows for good; codes are what people read. None is a refusal's reason
//! (below 1 000) or a retirement's (from 1 001).

use std::fmt;
use std::str::FromStr;

/// The text is of no such code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rollout has that reason; `chancery rotate --help` lists those there are")]
pub struct CauseError;

macro_rules! registry {
    ($(#[$doc:meta])* $type:ident: $($(#[$each:meta])* $name:ident = $number:literal, $code:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum $type { $($(#[$each])* $name = $number,)* }

        impl $type {
            /// Every one, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its number in records and rows.
            #[must_use]
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// Its stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The one of a number.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.number() == number)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.code())
            }
        }

        impl FromStr for $type {
            type Err = CauseError;

            fn from_str(code: &str) -> Result<Self, CauseError> {
                Self::ALL.iter().copied().find(|one| one.code() == code).ok_or(CauseError)
            }
        }

        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.u16(self.number())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(
                decoder: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let error = || minicbor::decode::Error::message("unknown reason of a rollout");
                Self::from_number(decoder.u16()?).ok_or_else(error)
            }
        }
    };
}

registry! {
    /// Why a rollout is made.
    Cause:
    /// The cryptoperiod ends.
    Cryptoperiod = 2_001, "cryptoperiod";
    /// The version was used as often as it may be.
    UseCount = 2_002, "use-count";
    /// Something was found about the key or its algorithm; nobody is known to have it.
    Finding = 2_003, "finding";
    /// The key moves to another algorithm.
    Migration = 2_004, "migration";
    /// A person asked for it.
    Requested = 2_005, "requested";
    /// The version is known or suspected to be in other hands: there is no way back to it.
    Compromise = 2_006, "compromise";
    /// The version's material is lost or cannot be used; nobody else has it.
    Inoperable = 2_007, "inoperable";
    /// A rehearsal on a scratch key.
    Drill = 2_008, "drill";
}

registry! {
    /// Why a rollout does not go on.
    Halt:
    /// A person said so.
    Person = 2_101, "person";
    /// A trigger fired.
    Trigger = 2_102, "trigger";
    /// A stage took longer than it may.
    Deadline = 2_103, "deadline";
    /// There is no verdict on a trigger.
    NoData = 2_104, "no-data";
    /// The last verdict on a trigger is too old.
    Stale = 2_105, "stale";
    /// The analysis came to no number.
    NotANumber = 2_106, "not-a-number";
    /// The analysis cannot tell.
    Inconclusive = 2_107, "inconclusive";
    /// What the new version made did not verify in the signer itself.
    SelfVerification = 2_108, "self-verification";
    /// The new version may no longer protect: it was suspended, reported compromised, or scheduled for destruction.
    VersionUnusable = 2_109, "version-unusable";
}

impl Cause {
    /// Whether the version there was may never protect again, whatever its state says yet.
    #[must_use]
    pub const fn forbids_return(self) -> bool {
        matches!(self, Self::Compromise)
    }

    /// Whether what is protected must be rescued: then nothing else is changed with it, the algorithm least of all.
    #[must_use]
    pub const fn is_recovery(self) -> bool {
        matches!(self, Self::Compromise | Self::Inoperable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::retirement;

    #[test]
    fn each_has_a_code_and_a_number_that_nothing_else_in_records_has() {
        let causes = Cause::ALL.iter().map(|cause| (cause.number(), cause.code()));
        let halts = Halt::ALL.iter().map(|halt| (halt.number(), halt.code()));
        let all: Vec<_> = causes.chain(halts).collect();
        for (position, (number, code)) in all.iter().enumerate() {
            assert_eq!(Reason::from_number(*number), None);
            assert_eq!(retirement::Cause::from_number(*number), None);
            assert!(all[..position].iter().all(|(other, of)| other != number && of != code));
        }
        for cause in Cause::ALL {
            assert_eq!(cause.code().parse(), Ok(*cause));
        }
        assert_eq!("because".parse::<Cause>(), Err(CauseError));
    }
}
