//! How a command ends when it is not done: one printed chain, one exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | refused by the service, or failed here |
//! | 2 | the command line is wrong; its parser gives it as well |
//! | 3 | no answer came: the operation id is printed |
//! | 4 | a signature, MAC, ciphertext or the audit does not verify |
//! | 74 | of `serve` and its signer alone: writes or syncs fail |

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use chancery_client::{NotCommitted, Outcome, Refusal};
use chancery_core::id::OperationId;
use serde_json::json;

use crate::render::{Format, remark};

/// The option that names an earlier attempt.
const OPERATION_ID: &str = "--operation-id";

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A child process cannot go on, and its supervisor decides by the code; or the supervisor itself.
    Child {
        /// The exit code.
        code: u8,
        /// Why.
        error: anyhow::Error,
    },
    /// Something failed on this side.
    Failed(anyhow::Error),
    /// Something was looked at and does not hold.
    NotVerified(String),
    /// The service refused.
    Refused(Refusal),
    /// No answer came.
    Unknown {
        /// What was asked for.
        operation: OperationId,
        /// The file that keeps what was sent, of a command that would send something else the next time.
        kept: Option<PathBuf>,
    },
    /// The command line asks for what cannot be.
    Usage(anyhow::Error),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.number())
    }

    fn number(&self) -> u8 {
        match self {
            Self::Child { code, .. } => *code,
            Self::Failed(_) | Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unknown { .. } => 3,
            Self::NotVerified(_) => 4,
        }
    }

    /// Says on standard error what happened and what to do.
    pub(crate) fn report(&self, format: Format) {
        if format == Format::Json {
            remark(&self.to_json().to_string());
        } else {
            remark(&format!("chancery: {}", self.to_text()));
        }
    }

    /// What happened and what to do, for people.
    pub(crate) fn to_text(&self) -> String {
        match self {
            // The alternate form prints the whole chain of causes.
            Self::Child { error, .. } | Self::Failed(error) | Self::Usage(error) => {
                format!("{error:#}")
            }
            Self::NotVerified(what) => what.clone(),
            Self::Refused(refusal) => format!("refused: {refusal}"),
            Self::Unknown { operation, kept } => {
                let kept = kept.as_ref().map(|path| {
                    format!("\nWhat was sent is kept in `{}` until then.", path.display())
                });
                let again = again(&arguments(), *operation).unwrap_or_else(|| {
                    format!(
                        "what was given, with `{OPERATION_ID} {operation}` before any `--` (it is not UTF-8, and \
                         printed it would be another command)"
                    )
                });
                format!(
                    "outcome unknown: no answer came\n\
                     operation id: {operation}\n\
                     Whatever happened, the same command with this id has its effect once:\n  {again}\n\
                     `chancery operation show {operation}` tells without doing it.{}",
                    kept.unwrap_or_default()
                )
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Child { error, .. } | Self::Failed(error) | Self::Usage(error) => {
                json!({ "outcome": "failed", "detail": format!("{error:#}") })
            }
            Self::NotVerified(what) => json!({ "outcome": "not-verified", "detail": what }),
            Self::Refused(refusal) => {
                json!({ "outcome": "refused", "code": refusal.code.text(), "detail": refusal.detail })
            }
            Self::Unknown { operation, kept } => json!({
                "outcome": "unknown",
                "operation_id": operation.to_string(),
                "again": again(&arguments(), *operation),
                "kept": kept,
            }),
        }
    }
}

/// How this process was called.
fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// The command line that asks for the same again, as a shell takes it; none if it is not UTF-8, since a word that
/// is printed otherwise than it was given may name another file.
fn again(arguments: &[OsString], operation: OperationId) -> Option<String> {
    let arguments = arguments.iter().map(|argument| argument.to_str());
    let arguments = arguments.collect::<Option<Vec<&str>>>()?;
    // What stands behind is no option, whatever it looks like.
    let options = arguments.iter().take_while(|argument| **argument != "--").count();
    let (before, behind) = arguments.split_at_checked(options)?;
    let is_named = before.iter().any(|argument| argument.starts_with(OPERATION_ID));
    let named = (!is_named).then(|| format!("{OPERATION_ID} {operation}"));
    let quoted = |words: &[&str]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>();
    Some([quoted(before), Vec::from_iter(named), quoted(behind)].concat().join(" "))
}

/// The command line of this process with an option more, as a shell takes it; none if it is not UTF-8.
pub(crate) fn this_with(option: &str) -> Option<String> {
    with(&arguments(), option)
}

fn with(arguments: &[OsString], option: &str) -> Option<String> {
    let words = arguments.iter().map(|argument| argument.to_str().map(quoted));
    let words = words.collect::<Option<Vec<_>>>()?;
    Some(format!("{} {option}", words.join(" ")))
}

fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,:/@%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// The command line asks for what cannot be. Wherever in a chain of causes it stands, the command ends as one
/// that its parser refused: the files and the service have no part in it.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

impl From<Misuse> for Failure {
    fn from(misuse: Misuse) -> Self {
        Self::Usage(misuse.into())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if error.is::<Misuse>() { Self::Usage(error) } else { Self::Failed(error) }
    }
}

/// What was committed, or how the command ends.
pub(crate) fn settle<T>(outcome: Outcome<T>) -> Result<T, Failure> {
    outcome.committed().map_err(|not_committed| match not_committed {
        NotCommitted::Refused(refusal) => Failure::Refused(refusal),
        NotCommitted::Unknown(operation) => Failure::Unknown { operation, kept: None },
    })
}

/// As [`settle`], for what verifies: a refused verification is a result of its own.
pub(crate) fn settle_verification<T>(outcome: Outcome<T>, what: &str) -> Result<T, Failure> {
    settle(outcome).map_err(|failure| match failure {
        Failure::Refused(refusal) if refusal.is_failed_verification() => {
            Failure::NotVerified(format!("verification failed: the {what} does not hold"))
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;
    use chancery_core::reason::Reason;

    fn refused(reason: Reason) -> Outcome<()> {
        Outcome::Refused(Refusal::new(reason, "no"))
    }

    #[test]
    fn every_outcome_has_its_code() {
        let operation = OperationId::from_bytes([7; 16]);
        let code = |outcome| settle(outcome).map_err(|failure| failure.number());
        assert_eq!(code(Outcome::Committed(())), Ok(()));
        assert_eq!(code(refused(Reason::NotAuthorized)), Err(1));
        assert_eq!(code(Outcome::Unknown(operation)), Err(3));
        assert_eq!(Failure::from(anyhow::anyhow!("x")).number(), 1);
        let misuse = anyhow::Error::from(Misuse("x".into())).context("y");
        assert_eq!(Failure::from(misuse).number(), 2);
        let misuse = anyhow::anyhow!("x").context(Misuse("y".into())).context("z");
        assert_eq!(Failure::from(misuse).number(), 2);
    }

    #[test]
    fn a_verification_that_failed_is_told_apart_from_one_that_was_refused() {
        let code =
            |reason| settle_verification(refused(reason), "signature").map_err(|f| f.number());
        assert_eq!(code(Reason::VerificationFailed), Err(4));
        assert_eq!(code(Reason::NotAuthorized), Err(1));
    }

    #[test]
    fn an_unknown_outcome_prints_its_operation_id_in_both_formats() {
        let operation = OperationId::from_bytes([7; 16]);
        let failure = Failure::Unknown { operation, kept: Some("f".into()) };
        assert!(failure.to_text().contains(&format!("--operation-id {operation}")));
        assert!(failure.to_text().contains("kept in `f`"));
        assert_eq!(failure.to_json()["operation_id"], operation.to_string());
        assert_eq!(failure.to_json()["kept"], "f");
    }

    #[test]
    fn what_to_run_again_is_said_as_a_shell_takes_it() {
        let operation = OperationId::from_bytes([7; 16]);
        let again = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|&argument| argument.into()).collect();
            again(&arguments, operation).unwrap()
        };
        assert_eq!(
            again(&["chancery", "sign", "it's one", "--out", "a.sig"]),
            format!(r"chancery sign 'it'\''s one' --out a.sig --operation-id {operation}")
        );
        let id = operation.to_string();
        let named = ["chancery", "sign", "-", "--operation-id", &id];
        assert_eq!(again(&named), named.join(" "));
        // Behind `--` nothing is an option, and nothing that looks like one was said.
        assert_eq!(
            again(&["chancery", "sign", "--", "-file"]),
            format!("chancery sign --operation-id {operation} -- -file")
        );
        assert_eq!(
            again(&["chancery", "sign", "--", "--operation-id"]),
            format!("chancery sign --operation-id {operation} -- --operation-id")
        );
    }

    #[test]
    fn what_is_confirmed_is_the_command_with_an_option_more() {
        let arguments = ["chancery", "audit", "retire", "--data", "a b"].map(OsString::from);
        assert_eq!(
            with(&arguments, "--yes 7").unwrap(),
            "chancery audit retire --data 'a b' --yes 7"
        );
    }

    #[test]
    fn what_is_not_utf_8_is_not_printed_as_another_command() {
        let operation = OperationId::from_bytes([7; 16]);
        let file = OsString::from_vec(b"caf\xe9".to_vec());
        assert_eq!(again(&["chancery".into(), "sign".into(), file], operation), None);
    }

    #[test]
    fn a_failure_is_printed_with_all_of_its_causes() {
        use anyhow::Context as _;
        let error =
            Err::<(), _>(std::io::Error::other("disk")).context("cannot read `x`").unwrap_err();
        assert_eq!(Failure::from(error).to_text(), "cannot read `x`: disk");
    }
}
