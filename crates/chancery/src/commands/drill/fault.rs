//! Which fault a drill induces, and what is supposed to happen then.

use std::str::FromStr;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// None: a rotation goes through.
    None,
    /// One of three verifiers never acknowledges.
    BadVerifier,
    /// Verifiers are shown signatures of the canary that were altered.
    VerifyFailures,
    /// The new version is really slower.
    SlowVersion,
    /// Verifiers stop reporting.
    MissingTelemetry,
    /// The service does not look at the rollout any more.
    AnalyserDead,
    /// The service is killed in the middle.
    Restart,
}

impl Fault {
    /// Every one.
    pub(super) const ALL: [Self; 7] = [
        Self::None,
        Self::BadVerifier,
        Self::VerifyFailures,
        Self::SlowVersion,
        Self::MissingTelemetry,
        Self::AnalyserDead,
        Self::Restart,
    ];

    /// Its spelling on the command line and in reports.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::BadVerifier => "bad-verifier",
            Self::VerifyFailures => "verify-failures",
            Self::SlowVersion => "slow-version",
            Self::MissingTelemetry => "missing-telemetry",
            Self::AnalyserDead => "analyser-dead",
            Self::Restart => "restart",
        }
    }

    /// Whether the schedule is supposed to go back to the version there was.
    pub(super) const fn goes_back(self) -> bool {
        matches!(self, Self::VerifyFailures | Self::SlowVersion | Self::AnalyserDead)
    }

    /// What is supposed to happen, in a sentence.
    pub(super) const fn hypothesis(self) -> &'static str {
        match self {
            Self::None => {
                "Without a fault the rotation goes through every stage to its end, and no request fails."
            }
            Self::BadVerifier => {
                "While one of three verifiers never acknowledges, the rotation waits in `ready` and the new version protects for \
                 nobody; a person's override, on record, lets it go on."
            }
            Self::VerifyFailures => {
                "When two verifiers report that what the new version signed does not verify, the schedule goes back by itself, and \
                 the new version signs nothing more."
            }
            Self::SlowVersion => {
                "When the new version takes many times as long as the old one, the latency trigger takes the schedule back by itself."
            }
            Self::MissingTelemetry => {
                "When verifiers stop reporting, the rotation pauses for want of data and does not go on."
            }
            Self::AnalyserDead => {
                "While the service does not look at the rollout, nothing goes on and nothing is lost, and a person's rollback works at \
                 once."
            }
            Self::Restart => {
                "A service that is killed in the middle resumes where the record says: no gate is skipped, no request is answered \
                 wrongly, and the steps before and after are one chain."
            }
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::ALL.map(Self::code).join(", ");
        let found = Self::ALL.into_iter().find(|fault| fault.code() == text);
        found.ok_or_else(|| format!("a fault is one of {all}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_one_spelling() {
        for fault in Fault::ALL {
            assert_eq!(fault.code().parse(), Ok(fault));
        }
        assert!("fire".parse::<Fault>().is_err());
    }
}
