//! What a refusal means, in words, where the service says its code alone; and what its caller may do next.
//!
//! `docs/errors.md` is written from both and from the table of codes, and a test holds it to them.

use chancery_api::http::problem::{Code, FrontCode};
use chancery_core::reason::Reason;

/// A code in words, with what to do where that is plain.
pub(crate) fn words(code: Code) -> &'static str {
    match code {
        Code::Front(code) => front_words(code),
        Code::Reason(reason) => reason_words(reason),
    }
}

/// What whoever was answered so may do next. Exhaustive on purpose: a program decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Have another handle issued; this one has no use left.
    AnotherHandle,
    /// Ask again with the same operation id, until the outcome is known.
    AskAgain,
    /// Send something else; the same is refused again.
    Change,
    /// Take what was verified as not genuine.
    Distrust,
    /// Look the operation up in the audit before it is done under another id.
    LookUp,
    /// Have whoever administers the service look; repeating mends nothing.
    Operator,
    /// Try again later, with the same operation id: this request did nothing.
    TryLater,
}

/// What may be done about a code.
pub(crate) fn next(code: Code) -> Next {
    match code {
        Code::Front(FrontCode::BodyTimeout) => Next::TryLater,
        // Refused or unknown, as the answer says: the same id is right for both.
        Code::Front(FrontCode::SignerUnavailable | FrontCode::Timeout) => Next::AskAgain,
        Code::Front(
            FrontCode::MethodNotAllowed | FrontCode::UnknownRoute | FrontCode::UnsupportedMediaType,
        ) => Next::Change,
        Code::Reason(reason) => reason_next(reason),
    }
}

fn reason_next(reason: Reason) -> Next {
    use Reason as R;
    match reason {
        R::HandleExpired | R::HandleInvalid | R::UsesExhausted => Next::AnotherHandle,
        R::AnswerUnreadable | R::OperationInFlight => Next::AskAgain,
        R::IllegalTransition
        | R::Malformed
        | R::NameTaken
        | R::NeedsApproval
        | R::NotAuthorized
        | R::OperationIdReused
        | R::PayloadRefused
        | R::ProofInvalid
        | R::PurposeRefused
        | R::SignatureExpired
        | R::SignatureInvalid
        | R::ReportStale
        | R::TooLarge => Next::Change,
        R::VerificationFailed => Next::Distrust,
        R::OperationIdStale | R::ResultWithheld => Next::LookUp,
        R::AuditFailed
        | R::AuditFull
        | R::ClockSuspect
        | R::Forbidden
        | R::KeyUnusable
        | R::QuotaExhausted
        | R::Unwitnessed => Next::Operator,
        // Budget, load, what is down for a moment, and a reason of a newer core.
        _ => Next::TryLater,
    }
}

fn front_words(code: FrontCode) -> &'static str {
    match code {
        FrontCode::BodyTimeout => "the request did not arrive in time",
        FrontCode::MethodNotAllowed | FrontCode::UnknownRoute | FrontCode::UnsupportedMediaType => {
            "the service does not take such requests; is it of another version?"
        }
        FrontCode::SignerUnavailable => "the signer is not there; try again in a moment",
        FrontCode::Timeout => "the signer did not answer in time",
    }
}

fn reason_words(reason: Reason) -> &'static str {
    match reason {
        Reason::AuditBudget => "the tenant's audit bytes for today are spent",
        Reason::AuditFailed => {
            "audit or store cannot be written; only what takes authority away is taken until the disk is seen to"
        }
        Reason::AuditFull => "the audit log has no room; only reductions are taken until it has",
        Reason::BundleUnknown => {
            "no such trust bundle is remembered; fetch the latest one, and ask about that"
        }
        Reason::ClockSuspect => "the service's clock is suspect, and this format carries time",
        Reason::Forbidden => "your role does not allow this, or there is no such thing",
        Reason::HandleExpired => "the handle has run out or was revoked; have another one issued",
        Reason::HandleInvalid => "the handle is none of this service, or was altered",
        Reason::IllegalTransition => "the state of what it is about does not admit this",
        Reason::KeyUnusable => "no version of the key may do this now",
        Reason::Malformed => "the request is not of the form that the operation takes",
        Reason::NameTaken => "the name is taken",
        Reason::NeedsApproval => "it takes the approval of other people; propose it",
        Reason::NotAuthorized => "the handle does not allow this operation, or not in this context",
        Reason::OperationIdReused => "the operation id was used with another request",
        Reason::OperationIdStale => {
            "the operation id is too old, or dated ahead of the service's time"
        }
        Reason::OperationInFlight => {
            "an operation with this id is being carried out; ask again in a moment"
        }
        Reason::AnswerUnreadable => {
            "the operation was carried out; its answer cannot be read back now; ask again with its id"
        }
        Reason::Overloaded => "the service has too much to do; try again in a moment",
        Reason::PayloadRefused => "the payload is not what the key's purpose takes",
        Reason::ProofInvalid => "the proof of a holder's key is missing, wrong or stale",
        Reason::PurposeRefused => {
            "purpose and algorithm do not go together, or the posture does not allow it"
        }
        Reason::ReportStale => "a later report of this verifier was heard",
        Reason::QuotaExhausted => "a limit of the tenant is reached",
        Reason::ResultWithheld => {
            "an earlier request with this id was carried out; its answer may no longer be given to this handle"
        }
        Reason::SignatureExpired => "the command's signature has run out; do the clocks agree?",
        Reason::SignatureInvalid => {
            "the service does not know the principal of this profile, or its key"
        }
        Reason::TooLarge => "something is longer, deeper or more than its limit",
        Reason::Unwitnessed => {
            "no quorum of witnesses has cosigned the log since the start; only reductions are taken until one has"
        }
        Reason::UsesExhausted => {
            "the handle was used as often as it may be; have another one issued"
        }
        Reason::VerificationFailed => "it does not verify",
        // A reason of a newer core, and what needs no explanation.
        _ => "the service cannot do this now; nothing was done",
    }
}

#[cfg(test)]
mod document;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_but_unavailable_has_words_of_its_own() {
        let fallback = reason_words(Reason::Unavailable);
        for code in Code::all().filter(|code| *code != Code::Reason(Reason::Unavailable)) {
            assert_ne!(words(code), fallback, "{code}");
        }
    }
}
