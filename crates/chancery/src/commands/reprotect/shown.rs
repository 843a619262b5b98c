//! Campaigns and the census, for people and for programs.

use chancery_api::http::replies::{
    CampaignObject, InventoryObject, KeyCensusObject, VersionUseObject, state_name,
};
use chancery_client::Client;
use chancery_core::census::{Doubt, Scan};
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{answer_json, rollout};
use crate::exit::Failure;
use crate::render::{View, show};
use crate::reprotect::Ended;

/// Shows a campaign.
pub(super) fn campaign(shared: &Shared, campaign: &CampaignObject) -> Result<(), Failure> {
    let fields = vec![
        ("campaign", campaign.id.to_string()),
        ("key", campaign.key.to_string()),
        ("inventory", campaign.inventory.to_string()),
        ("state", format!("{}, by {}", campaign.state.code(), campaign.moved_by)),
        ("progress", progress(campaign)),
    ];
    Ok(show(shared.format, &View::Fields(fields), &answer_json(campaign)?)?)
}

/// Says how a campaign ended.
pub(super) fn ended(shared: &Shared, ended: &Ended) -> Result<(), Failure> {
    let campaign = &ended.campaign;
    let millis = u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = ended.rewrapped.saturating_mul(1_000) / millis;
    let mut fields = vec![
        ("campaign", campaign.id.to_string()),
        ("state", campaign.state.code().to_owned()),
        ("under the version that protects", format!("{} of {}", campaign.done, campaign.total)),
        ("encrypted again here", ended.rewrapped.to_string()),
        ("took", rollout::about(millis)),
        ("a second", per_second.to_string()),
    ];
    if campaign.failed > 0 {
        fields.push(("failures", ended.failures.display().to_string()));
    }
    let json = json!({
        "campaign": answer_json(campaign)?,
        "rewrapped": ended.rewrapped,
        "took_ms": millis,
        "per_second": per_second,
        "failures": (campaign.failed > 0).then(|| ended.failures.display().to_string()),
    });
    Ok(show(shared.format, &View::Fields(fields), &json)?)
}

/// Shows what is known of the ciphertexts of keys: new use, what is left to encrypt again, and what retiring waits for, each
/// by itself.
pub(super) fn keys(
    shared: &Shared,
    client: &Client,
    keys: &[KeyCensusObject],
) -> Result<(), Failure> {
    let mut fields = Vec::new();
    for key in keys {
        fields.push(("key", key.key.to_string()));
        fields.extend(key.versions.iter().map(|version| ("new use", new_use(version))));
        fields.extend(key.inventories.iter().map(|it| ("re-protect", inventory(it))));
        fields.extend(key.campaigns.iter().map(|it| ("re-protect", line(it))));
        if key.inventories.is_empty() {
            fields.push(("re-protect", "no inventory is declared (`chancery census`)".into()));
        }
        fields.push(("retire", retire(client, key)?));
    }
    Ok(show(shared.format, &View::Fields(fields), &answer_json(&keys)?)?)
}

fn new_use(version: &VersionUseObject) -> String {
    let share = match version.share_ppm {
        0 => "nothing new".to_owned(),
        ppm => format!("{} % of what is new", f64::from(ppm) / 10_000.0),
    };
    let state = state_name(version.state);
    format!("version {} ({state}): {share}, used {} times", version.version, version.uses)
}

fn inventory(inventory: &InventoryObject) -> String {
    let Some(scan) = scan(inventory) else {
        return format!("{}: withdrawn by {}", inventory.inventory, inventory.by);
    };
    let counts = scan.counts.iter().filter(|count| count.ciphertexts > 0);
    let counts = counts.map(|count| format!("{} of version {}", count.ciphertexts, count.version));
    let mut parts: Vec<_> = counts.collect();
    if parts.is_empty() {
        parts.push("no ciphertexts".into());
    }
    if scan.others > 0 {
        parts.push(format!("{} things that are none of the key", scan.others));
    }
    let doubt = scan.doubt().map(|doubt| format!(" ({})", in_doubt(doubt))).unwrap_or_default();
    format!("{}: {}{doubt}", inventory.inventory, parts.join(", "))
}

fn scan(inventory: &InventoryObject) -> Option<Scan> {
    inventory.scan.clone().map(Scan::from)
}

/// Why a scan says too little, and what to do.
fn in_doubt(doubt: Doubt) -> String {
    match doubt {
        Doubt::Others(others) => format!(
            "{others} were not recognized: look at them, and scan again with `--others-are-none` if they hold no ciphertexts \
             of the key"
        ),
        Doubt::Nothing => {
            "nothing was found: see whether it is the right place, and scan again with `--empty` if it is".into()
        }
    }
}

fn line(campaign: &CampaignObject) -> String {
    let state = campaign.state.code();
    format!("{}: campaign {} is {state}, {}", campaign.inventory, campaign.id, progress(campaign))
}

/// How far it is, how fast of late, and whether somebody works on it.
fn progress(campaign: &CampaignObject) -> String {
    let failed = match campaign.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let pace = campaign.per_second.filter(|_| !campaign.state.is_over());
    let pace = pace.map(|pace| format!(", {pace} a second")).unwrap_or_default();
    let heard = campaign.heard_ago_ms.filter(|_| !campaign.state.is_over());
    let heard = heard.map(|ms| format!(", heard {} ago", rollout::about(ms))).unwrap_or_default();
    format!("{} of {}{failed}{pace}{heard}", campaign.done, campaign.total)
}

/// Whether a version is retired, and what that waits for.
fn retire(client: &Client, key: &KeyCensusObject) -> Result<String, Failure> {
    let Some((rollout, leaving)) = key.rollout.zip(key.leaving) else {
        return Ok("no rollout retires a version".into());
    };
    let left = key.remaining.map_or_else(
        || format!("nobody knows how many are left, since {}", why_unknown(&key.inventories)),
        |left| format!("{left} ciphertexts left"),
    );
    let waits = rollout::waits_for(client, rollout)?;
    let waits = if waits.is_empty() { "nothing".to_owned() } else { waits };
    Ok(format!("version {leaving}: {left}; the rollout waits for: {waits}"))
}

/// Why nobody knows how many ciphertexts are left.
fn why_unknown(inventories: &[InventoryObject]) -> String {
    let scans = || inventories.iter().filter_map(|it| Some((&it.inventory, scan(it)?)));
    if scans().next().is_none() {
        return "no inventory is declared (`chancery census`)".into();
    }
    let doubted = scans().find_map(|(name, scan)| Some((name, scan.doubt()?)));
    match doubted {
        Some((name, doubt)) => format!("of `{name}` {}", in_doubt(doubt)),
        None => {
            "not every inventory was scanned since it protected last (`chancery census`)".into()
        }
    }
}
