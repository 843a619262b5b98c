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

registry! {
    /// Why a rollout took a step, where neither a cause nor a halt says it.
    Ground:
    /// Every gate of its stage was open.
    GatesOpen = 2_201, "gates-open";
    /// A person let it go on.
    Resumed = 2_202, "resumed";
    /// A person ended the stage.
    Advanced = 2_203, "advanced";
    /// A person went past what verifiers had not acknowledged.
    OverriddenAcknowledgement = 2_204, "overridden-acknowledged";
    /// A person went past the quiet window.
    OverriddenQuiet = 2_205, "overridden-quiet";
    /// A person went past what is encrypted under the old version.
    OverriddenRemaining = 2_206, "overridden-counted";
    /// Verifiers that asked for both signatures had been told that one is enough.
    Told = 2_207, "verifiers-told";
    /// A trigger on this metric fired.
    VerifyFailureRate = 2_211, "verify-failure-rate";
    /// Likewise.
    UnknownKeyRate = 2_212, "unknown-key-rate";
    /// Likewise.
    ErrorRate = 2_213, "error-rate";
    /// Likewise.
    BudgetBurn = 2_214, "budget-burn";
    /// Likewise.
    LatencyRatio = 2_215, "latency-ratio";
    /// Likewise.
    SelfVerifyFailures = 2_216, "self-verify-failures";
    /// Likewise.
    ProbeFailures = 2_217, "probe-failures";
}

/// Why a rollout took a step: of one of the three registries, whose numbers are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It began for this cause.
    Cause(Cause),
    /// It stopped, or went back.
    Halt(Halt),
    /// Anything else, and which trigger fired.
    Ground(Ground),
}

impl Why {
    /// Its number in records and rows.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Cause(cause) => cause.number(),
            Self::Halt(halt) => halt.number(),
            Self::Ground(ground) => ground.number(),
        }
    }

    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Cause(cause) => cause.code(),
            Self::Halt(halt) => halt.code(),
            Self::Ground(ground) => ground.code(),
        }
    }

    /// The one of a number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        let cause = Cause::from_number(number).map(Self::Cause);
        let halt = Halt::from_number(number).map(Self::Halt);
        cause.or(halt).or_else(|| Ground::from_number(number).map(Self::Ground))
    }
}

impl<C> minicbor::Encode<C> for Why {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u16(self.number())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Why {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        let error = || minicbor::decode::Error::message("unknown reason of a step");
        Self::from_number(decoder.u16()?).ok_or_else(error)
    }
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
        let grounds = Ground::ALL.iter().map(|ground| (ground.number(), ground.code()));
        let all: Vec<_> = causes.chain(halts).chain(grounds).collect();
        for (position, (number, code)) in all.iter().enumerate() {
            assert_eq!(Reason::from_number(*number), None);
            assert_eq!(retirement::Cause::from_number(*number), None);
            assert!(all[..position].iter().all(|(other, of)| other != number && of != code));
            let why = Why::from_number(*number).unwrap();
            assert_eq!((why.number(), why.code()), (*number, *code));
        }
        for cause in Cause::ALL {
            assert_eq!(cause.code().parse(), Ok(*cause));
        }
        assert_eq!("because".parse::<Cause>(), Err(CauseError));
    }
}
