//! Proposals, for people and for programs.

use anyhow::Result;
use chancery_api::http::commands::{DiscloseBody, ProposedObject};
use chancery_api::http::replies::{EndingName, ProposalObject};
use chancery_client::unix_ms;
use chancery_core::proposal::Proposed;
use serde_json::json;

use crate::cli::Shared;
use crate::commands::{answer_json, unexpected};
use crate::exit::Failure;
use crate::moment;
use crate::parse;
use crate::render::{View, show};

/// Lists proposals.
pub(super) fn list(shared: &Shared, proposals: &[ProposalObject]) -> Result<(), Failure> {
    let rows = proposals.iter().map(|proposal| {
        vec![
            proposal.id.to_string(),
            standing(proposal).to_owned(),
            proposal.approvals.len().to_string(),
            moment::text(proposal.expires_ms),
            what(&proposal.proposed),
        ]
    });
    let head = vec!["id", "state", "approvals", "until", "what"];
    let view = View::Rows { head, rows: rows.collect() };
    Ok(show(shared.format, &view, &answer_json(&proposals)?)?)
}

/// Shows one, and how it is approved.
pub(super) fn one(
    shared: &Shared,
    proposal: &ProposalObject,
    log_index: Option<u64>,
) -> Result<(), Failure> {
    let proposed: Proposed = proposal.proposed.clone().try_into().map_err(|_| unexpected())?;
    let digest = parse::hex(&super::digest(&proposed));
    let mut fields = vec![
        ("proposal", proposal.id.to_string()),
        ("state", standing(proposal).to_owned()),
        ("what", what(&proposal.proposed)),
    ];
    fields.extend(details(&proposal.proposed));
    fields.extend([
        ("proposed by", proposal.proposer.to_string()),
        ("approved by", names(&proposal.approvals)),
        ("until", moment::text(proposal.expires_ms)),
        ("digest", digest.clone()),
    ]);
    if standing(proposal) == OPEN {
        let id = proposal.id;
        fields.push(("to approve", format!("chancery proposal approve {id} --digest {digest}")));
    }
    fields.extend(log_index.map(|index| ("on record as", index.to_string())));
    let json = json!({
        "proposal": answer_json(&proposal)?,
        "digest": digest,
        "log_index": log_index,
    });
    Ok(show(shared.format, &View::Fields(fields), &json)?)
}

/// A proposal that can be approved and carried out.
const OPEN: &str = "open";

fn standing(proposal: &ProposalObject) -> &'static str {
    match proposal.ending {
        Some(EndingName::CarriedOut) => "carried out",
        Some(EndingName::Withdrawn) => "withdrawn",
        None if proposal.expires_ms > unix_ms() => OPEN,
        None => "run out",
    }
}

fn names(ids: &[String]) -> String {
    if ids.is_empty() { "nobody".into() } else { ids.join(", ") }
}

/// What is proposed, in a few words.
fn what(proposed: &ProposedObject) -> String {
    match proposed {
        ProposedObject::CreatePrincipal(body) => {
            format!("make the {} `{}`", body.role.name(), body.name)
        }
        ProposedObject::Disclose(body) => format!("disclose {}", disclosed(body)),
    }
}

fn disclosed(body: &DiscloseBody) -> String {
    if let Some(indices) = &body.log_indices {
        return format!("{} records", indices.len());
    }
    let month = |month: Option<u16>| month.map(moment::month).unwrap_or_default();
    if body.event_month.is_some() {
        return format!("what events say of {}", month(body.event_month));
    }
    let months = format!("{} to {}", month(body.first_month), month(body.last_month));
    match &body.second_recipient {
        Some(_) => format!("everything of {months}, for two people"),
        None => format!("the tenant's records of {months}"),
    }
}

fn details(proposed: &ProposedObject) -> Vec<(&'static str, String)> {
    match proposed {
        ProposedObject::CreatePrincipal(body) => vec![("its key", parse::hex(&body.public_key.0))],
        ProposedObject::Disclose(body) => {
            let mut details = vec![("for", parse::hex(&body.recipient.0))];
            details.extend(body.second_recipient.iter().map(|key| ("and for", parse::hex(&key.0))));
            let indices = body.log_indices.iter();
            details.extend(indices.map(|indices| {
                ("records", indices.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
            }));
            details
        }
    }
}
