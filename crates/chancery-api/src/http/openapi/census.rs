//! The schemas of inventories and campaigns.

use chancery_core::campaign::CampaignState;
use chancery_core::census::Vouched;
use serde_json::{Value, json};

use super::{boolean, list, number, object, reference, time, word};
use crate::http::replies::state_names;

/// The schemas of inventories and campaigns.
pub(super) fn census() -> Vec<(&'static str, Value)> {
    let (name, id) = (|| reference("Name"), || reference("Id"));
    let progress = [("total", time()), ("done", time()), ("failed", time())];
    let counts = ("counts", list(&reference("VersionCount")));
    let scan = [("as_of", reference("Epoch")), counts, ("others", time())];
    let found = json!({"oneOf": [
        object(&[("scan", reference("Scan"))], &[]),
        {"const": "withdrawn"},
    ]});
    let count = [("version", number()), ("ciphertexts", time()), ("uses", time())];
    vec![
        ("Campaign", campaign(&progress)),
        ("CampaignProgressBody", object(&progress, &[])),
        (
            "Census",
            object(
                &[
                    ("as_of", reference("Epoch")),
                    ("keys", list(&reference("KeyCensus"))),
                    ("more", boolean()),
                ],
                &[],
            ),
        ),
        ("DeclareInventoryBody", object(&[("inventory", name()), ("found", found)], &[])),
        (
            "Inventory",
            object(
                &[("inventory", name()), ("declared_ms", time()), ("by", id())],
                &[("scan", reference("Scan"))],
            ),
        ),
        ("KeyCensus", key_census()),
        ("Scan", object(&scan, &[("vouched", word(&Vouched::ALL.map(Vouched::code)))])),
        ("StartCampaignBody", object(&[("key", name()), ("inventory", name())], &[])),
        ("VersionCount", object(&count, &[])),
        ("VersionUse", version_use()),
    ]
}

fn campaign(progress: &[(&'static str, Value)]) -> Value {
    let states = CampaignState::ALL.map(CampaignState::code);
    let (name, id) = (|| reference("Name"), || reference("Id"));
    let own = [
        ("id", id()),
        ("key", name()),
        ("inventory", name()),
        ("state", word(&states)),
        ("by", id()),
        ("began_ms", time()),
        ("moved_by", id()),
        ("moved_ms", time()),
    ];
    let late = [("target", number()), ("heard_ago_ms", time()), ("per_second", time())];
    object(&[&own, progress].concat(), &late)
}

fn key_census() -> Value {
    object(
        &[
            ("id", reference("Id")),
            ("key", reference("Name")),
            ("versions", list(&reference("VersionUse"))),
            ("inventories", list(&reference("Inventory"))),
            ("campaigns", list(&reference("Campaign"))),
        ],
        &[
            ("target", number()),
            ("rollout", reference("Id")),
            ("leaving", number()),
            ("remaining", time()),
        ],
    )
}

fn version_use() -> Value {
    object(
        &[
            ("version", number()),
            ("state", word(&state_names())),
            ("share_ppm", number()),
            ("uses", time()),
        ],
        &[],
    )
}
