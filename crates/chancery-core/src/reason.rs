//! Reason codes: why something was refused, as a closed registry.
//!
//! The code is what a caller sees, what the audit record holds (as a number) and what metrics count.
//! Several facts share one code where telling them apart would say whether a key exists.

/// At what point of the path a refusal happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the caller showed a valid handle or signature: counted and summarised.
    BeforeAuthentication,
    /// After: each has a record of its own.
    AfterAuthentication,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $code:literal, $status:literal, $stage:ident;)*) => {
        /// Why something was refused. In the order of their numbers, which are in audit records for good.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code that callers see.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Where on the path it happens.
            #[must_use]
            pub const fn stage(self) -> Stage {
                match self { $(Self::$name => Stage::$stage,)* }
            }
        }
    };
}

reasons! {
    /// The request is not of the form that the operation takes.
    Malformed = 1, "malformed", 400, BeforeAuthentication;
    /// Something is longer, deeper or more than its limit.
    TooLarge = 2, "too-large", 413, BeforeAuthentication;
    /// The handle does not open: unknown, altered, truncated, or not canonical.
    HandleInvalid = 3, "handle-invalid", 401, BeforeAuthentication;
    /// The handle has run out, was revoked, or was issued before the minimum epoch.
    HandleExpired = 4, "handle-expired", 401, AfterAuthentication;
    /// The handle does not carry the right, or the context does not carry its pins.
    NotAuthorized = 5, "not-authorized", 403, AfterAuthentication;
    /// The holder's proof is missing, wrong, stale, or was seen before.
    ProofInvalid = 6, "proof-invalid", 401, AfterAuthentication;
    /// No version of the key may do this now.
    KeyUnusable = 7, "key-unusable", 409, AfterAuthentication;
    /// The payload is not what the purpose's format takes.
    PayloadRefused = 8, "payload-refused", 422, AfterAuthentication;
    /// The signature, MAC or ciphertext does not verify.
    VerificationFailed = 9, "verification-failed", 422, AfterAuthentication;
    /// The operation id was used with another request.
    OperationIdReused = 10, "operation-id-reused", 409, AfterAuthentication;
    /// An operation with this id is being carried out.
    OperationInFlight = 11, "operation-in-flight", 409, AfterAuthentication;
    /// The operation id is older than ids are remembered, or dated ahead of the service's time.
    OperationIdStale = 12, "operation-id-stale", 409, AfterAuthentication;
    /// The operation was carried out; its answer may no longer be given to this caller.
    ResultWithheld = 13, "result-withheld", 403, AfterAuthentication;
    /// The command's signature does not verify, or its principal is unknown.
    SignatureInvalid = 14, "signature-invalid", 401, BeforeAuthentication;
    /// The command's signature has run out or lives too long.
    SignatureExpired = 15, "signature-expired", 401, BeforeAuthentication;
    /// The principal's role does not include this, or there is no such thing.
    Forbidden = 16, "forbidden", 403, AfterAuthentication;
    /// The name is taken.
    NameTaken = 17, "name-taken", 409, AfterAuthentication;
    /// The state of what it is about does not admit this.
    IllegalTransition = 18, "illegal-transition", 409, AfterAuthentication;
    /// Purpose and algorithm do not go together, or posture does not name the purpose.
    PurposeRefused = 19, "purpose-refused", 422, AfterAuthentication;
    /// A limit on counts in the tenant is reached.
    QuotaExhausted = 20, "quota-exhausted", 429, AfterAuthentication;
    /// The tenant's audit bytes for the day are spent.
    AuditBudget = 21, "audit-budget", 429, AfterAuthentication;
    /// More operations are outstanding than are taken at once.
    Overloaded = 22, "overloaded", 429, BeforeAuthentication;
    /// The audit stream has no room; only reductions are taken.
    AuditFull = 23, "audit-full", 503, AfterAuthentication;
    /// The clock is suspect and the format carries time.
    ClockSuspect = 24, "clock-suspect", 503, AfterAuthentication;
    /// The service failed; no effect left it.
    Unavailable = 25, "unavailable", 503, AfterAuthentication;
    /// The operation was carried out; its answer cannot be read back now.
    AnswerUnreadable = 26, "answer-unreadable", 503, AfterAuthentication;
    /// Audit or store cannot be written; only reductions are taken, into the reduction journal.
    AuditFailed = 27, "audit-failed", 503, BeforeAuthentication;
    /// The handle was used as often as it may be.
    UsesExhausted = 28, "uses-exhausted", 403, AfterAuthentication;
    /// No quorum of witnesses has cosigned the log since the start, for longer than posture allows; only reductions
    /// are taken.
    Unwitnessed = 29, "unwitnessed", 503, AfterAuthentication;
    /// It takes the approval of other people, and there are too few.
    NeedsApproval = 30, "needs-approval", 403, AfterAuthentication;
    /// No such trust bundle is remembered: it was never issued so, or is superseded.
    BundleUnknown = 32, "bundle-unknown", 409, AfterAuthentication;
    /// A verifier's report comes after a later one of its own.
    ReportStale = 33, "report-stale", 409, AfterAuthentication;
}

impl Reason {
    /// The number in audit records.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The reason of a number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.number() == number)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl<C> minicbor::Encode<C> for Reason {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u16(self.number())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Reason {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        Self::from_number(decoder.u16()?).ok_or(minicbor::decode::Error::message("unknown reason"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_unique() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
            assert!(Reason::ALL[..position].iter().all(|other| other.code() != reason.code()));
        }
    }
}
