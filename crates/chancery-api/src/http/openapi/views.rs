//! The schemas of what is shown: keys, records, how the service stands.

use serde_json::Value;

use crate::http::replies::state_names;

use super::{boolean, list, number, object, reference, store_row_schema, string, time, word};

pub(super) fn views() -> Vec<(&'static str, Value)> {
    let bytes = || reference("Bytes");
    let id = || reference("Id");
    vec![
        ("Epoch", object(&[("generation", number()), ("number", time())], &[])),
        ("Key", key_schema()),
        ("Keys", object(&[("keys", list(&reference("Key"))), ("more", boolean())], &[])),
        ("OneTimeKey", object(&[("id", id()), ("public_key", bytes())], &[])),
        ("OperationView", object(&[("id", id()), ("state", string())], &[("log_index", time())])),
        ("Record", record_schema()),
        ("Status", status_schema()),
        ("StoreRow", store_row_schema()),
        (
            "StoreRows",
            object(
                &[("revision", time()), ("rows", list(&reference("StoreRow")))],
                &[("next", bytes())],
            ),
        ),
        ("Version", version_schema()),
    ]
}

fn key_schema() -> Value {
    object(
        &[
            ("id", reference("Id")),
            ("tenant", reference("Id")),
            ("name", reference("Name")),
            ("scope", reference("Scope")),
            ("purpose", reference("Purpose")),
            ("algorithm", reference("Algorithm")),
            ("scheduled_version", number()),
            ("authority_epoch", reference("Epoch")),
            ("min_issue_epoch", reference("Epoch")),
            ("versions", list(&reference("Version"))),
            ("witnessed", boolean()),
        ],
        &[("rollout", reference("Id"))],
    )
}

fn version_schema() -> Value {
    object(
        &[
            ("version", number()),
            ("state", word(&state_names())),
            ("created_ms", time()),
            ("provenance", word(&["generated", "imported"])),
        ],
        &[
            ("public_key", reference("Bytes")),
            ("destruction_served_ms", time()),
            ("algorithm", reference("Algorithm")),
            ("published_epoch", reference("Epoch")),
        ],
    )
}

fn record_schema() -> Value {
    object(
        &[
            ("log_index", time()),
            ("time_ms", time()),
            ("operation", string()),
            ("outcome", word(&["committed", "refused"])),
            ("leaf", reference("Bytes")),
        ],
        &[
            ("code", string()),
            ("key", string()),
            ("version", number()),
            ("use_index", time()),
            ("count", time()),
            ("handle", reference("Id")),
            ("actor", reference("Id")),
        ],
    )
}

fn status_schema() -> Value {
    object(
        &[
            ("mode", string()),
            ("posture", string()),
            ("origin", string()),
            ("log_size", time()),
            ("log_root", reference("Bytes")),
            ("frames", time()),
            ("incarnation", number()),
            ("keys", time()),
            ("epoch", reference("Epoch")),
            ("clock", string()),
            ("arena", string()),
            ("advice", list(&string())),
            ("node", reference("Id")),
            ("lock_record", string()),
            ("locked_size", time()),
            ("witnesses", string()),
            ("witnessed_size", time()),
            ("others", list(&object(&[("name", string()), ("standing", string())], &[]))),
        ],
        &[],
    )
}
