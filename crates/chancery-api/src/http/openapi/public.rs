//! What anybody may know of keys, as the document describes it, and the queries that routes take.

use serde_json::{Value, json};

use crate::http::routes::{CommandKind, PublicKind, Route, Target};
use crate::http::{MEDIA_BYTES, MEDIA_JSON};

use super::{list, number, object, reference, time};

/// The query that a route takes.
pub(super) fn query(route: &Route) -> Option<Value> {
    match route.target {
        Target::Command(CommandKind::ListKeys | CommandKind::ReadCensus) => {
            Some(json!({"name": "after", "in": "query", "schema": reference("Name")}))
        }
        Target::Public(PublicKind::Bundle) => Some(
            json!({"name": "wait", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 25}}),
        ),
        _ => None,
    }
}

pub(super) fn answer(kind: PublicKind) -> (&'static str, Value) {
    match kind {
        PublicKind::Bundle | PublicKind::BundleEntries => (MEDIA_BYTES, json!({"type": "string"})),
        PublicKind::Jwks | PublicKind::KeyJwks => (MEDIA_JSON, json!({"type": "object"})),
    }
}

pub(super) fn summary(kind: PublicKind) -> &'static str {
    match kind {
        PublicKind::Bundle => {
            "The signed head of the latest trust bundle; its digest is its ETag. With `wait` and If-None-Match the answer \
             comes when there is another, or after so many seconds."
        }
        PublicKind::BundleEntries => {
            "Entries of a trust bundle: GENERATION.NUMBER/FROM; slashes stay as they are."
        }
        PublicKind::Jwks => "The versions of keys that verify tokens, as a JWK Set (RFC 7517).",
        PublicKind::KeyJwks => "Those of one key.",
    }
}

/// The schemas of verifiers.
pub(super) fn verifiers() -> Vec<(&'static str, Value)> {
    let epochs = || [("bundle", reference("Epoch")), ("as_of", reference("Epoch"))];
    let counts = || [("verified", time()), ("failed", time()), ("unknown", time())];
    let all = |parts: &[&[(&'static str, Value)]]| object(&parts.concat(), &[]);
    let digest = ("digest", reference("Bytes"));
    let listed = ("counts", list(&reference("VersionCounts")));
    let keys = ("keys", list(&reference("Name")));
    let principal = || ("principal", reference("Id"));
    let rest = [digest, ("sequence", time()), ("since_ms", time()), listed];
    vec![
        ("Heard", all(&[&epochs(), &[("ago_ms", time())], &counts()])),
        ("RegisterVerifierBody", all(&[&[principal(), keys.clone()]])),
        ("ReportBody", all(&[&epochs(), &rest])),
        (
            "Verifier",
            object(
                &[principal(), ("name", reference("Name")), keys],
                &[("heard", reference("Heard"))],
            ),
        ),
        ("VersionCounts", all(&[&[("key", reference("Id")), ("version", number())], &counts()])),
    ]
}
