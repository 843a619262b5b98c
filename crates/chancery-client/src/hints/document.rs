//! `docs/errors.md` is what the tables say.

use chancery_api::http::problem::{Code, FrontCode, Outcome};

use super::{Next, next, words};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");

const BEFORE: &str = "\
# Errors

Every code that the service answers with. Written from the codes in `crates/chancery-api/src/http/problem.rs` and
`crates/chancery-core/src/reason.rs` and the words in `crates/chancery-client/src/hints.rs`, and held to them by the
test `the_document_is_the_tables`. Codes are stable: one may come, none changes its meaning.

An answer that is not 200 is `application/problem+json`: `code`, `outcome`, and `operation_id` if the request brought
one. `outcome` decides what may be done, before the code does: *refused* is proof that this request had no effect,
*unknown* is resolved by the same request with the same operation id, *committed* was done before. The table gives
the outcome that goes with a code; where the answer says another, the answer is right. A refusal does not say
whether a key exists.

| code | status | outcome | meaning | what to do |
|---|---|---|---|---|
";

const AFTER: &str = "
On the command line a refusal is exit code 1, an unknown outcome 3, and `verification-failed` 4. In Rust,
`Refusal::next` gives the last column.
";

fn advice(next: Next) -> &'static str {
    match next {
        Next::AnotherHandle => "Have another handle issued; this one has no use left.",
        Next::AskAgain => "Ask again with the same operation id, until the outcome is known.",
        Next::Change => "Send something else; the same is refused again.",
        Next::Distrust => "Take what was verified as not genuine.",
        Next::LookUp => {
            "Look the operation up, `chancery audit query --operation ID`, before it is done under another id."
        }
        Next::Operator => "Have whoever administers the service look; repeating mends nothing.",
        Next::TryLater => "Try again later, with the same operation id: this request did nothing.",
    }
}

fn outcome(code: Code) -> &'static str {
    match (code, code.outcome()) {
        // The front answers so before and after it has passed a request on.
        (Code::Front(FrontCode::SignerUnavailable), _) => "refused or unknown",
        (Code::Front(FrontCode::Timeout), _) | (_, Outcome::Unknown) => "unknown",
        (_, Outcome::Committed) => "committed",
        (_, Outcome::Refused) => "refused",
    }
}

fn row(code: Code) -> String {
    let (status, outcome) = (code.status(), outcome(code));
    format!("| `{code}` | {status} | {outcome} | {} | {} |\n", words(code), advice(next(code)))
}

#[test]
fn the_document_is_the_tables() {
    let document = [BEFORE, &Code::all().map(row).collect::<String>(), AFTER].concat();
    if std::env::var_os("CHANCERY_WRITE_ERRORS").is_some() {
        std::fs::write(FILE, &document).unwrap();
    }
    let file = std::fs::read_to_string(FILE).unwrap();
    assert_eq!(file, document, "set CHANCERY_WRITE_ERRORS to write the file anew");
}

/// Whoever may not know whether it was done is never told that nothing was, nor to begin anew.
#[test]
fn what_may_have_been_done_is_asked_about_or_looked_up() {
    for code in Code::all().filter(|&code| outcome(code) != "refused") {
        assert!(matches!(next(code), Next::AskAgain | Next::LookUp), "{code}");
    }
}
