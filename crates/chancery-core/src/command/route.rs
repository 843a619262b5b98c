//! Where a command is given: the method and the path that its signature is over.

use super::{CensusQuery, Command};
use crate::campaign::CampaignOrder;
use crate::state::KeyEvent;

impl Command {
    /// The method and the canonical path of its route.
    #[must_use]
    pub fn route(&self) -> (&'static str, String) {
        match self {
            Self::CreateKey(_) => ("POST", "/v1/keys".into()),
            Self::ImportKey { .. } => ("POST", "/v1/keys/import".into()),
            Self::BeginImport => ("POST", "/v1/imports".into()),
            Self::ChangeVersion { key, event, .. } => {
                ("POST", format!("/v1/keys/{key}/{}", event_name(*event)))
            }
            Self::ScheduleDestruction { key, .. } => ("POST", format!("/v1/keys/{key}/destroy")),
            Self::CancelDestruction { key, .. } => {
                ("POST", format!("/v1/keys/{key}/cancel-destroy"))
            }
            Self::IssueHandle(_) => ("POST", "/v1/handles".into()),
            Self::RevokeHandle { .. } => ("POST", "/v1/handles/revoke".into()),
            Self::RevokeIssued { key } => ("POST", format!("/v1/keys/{key}/revoke-handles")),
            Self::CreatePrincipal { .. } => ("POST", "/v1/principals".into()),
            Self::RevokeIssuedOf { principal } => {
                ("POST", format!("/v1/principals/{principal}/revoke-handles"))
            }
            Self::ListKeys { .. } => ("GET", "/v1/keys".into()),
            Self::ShowKey { key } => ("GET", format!("/v1/keys/{key}")),
            Self::ReadStatus => ("GET", "/v1/status".into()),
            Self::ReadOperation { id } => ("GET", format!("/v1/operations/{id}")),
            Self::CountUses { .. } => ("POST", "/v1/audit/count".into()),
            Self::Disclose(_) => ("POST", "/v1/audit/disclose".into()),
            Self::PruneAudit(_) => ("POST", "/v1/audit/prune".into()),
            Self::Propose { .. } => ("POST", "/v1/proposals".into()),
            Self::Approve { proposal, .. } => ("POST", format!("/v1/proposals/{proposal}/approve")),
            Self::Withdraw { proposal } => ("POST", format!("/v1/proposals/{proposal}/withdraw")),
            Self::CarryOut { proposal, .. } => {
                ("POST", format!("/v1/proposals/{proposal}/carry-out"))
            }
            Self::RaiseApprovals { .. } => ("POST", "/v1/posture/approvals".into()),
            Self::ListProposals => ("GET", "/v1/proposals".into()),
            Self::Rotate(rotation) => ("POST", format!("/v1/keys/{}/rotate", rotation.key)),
            Self::OrderRollout { rollout, order } => {
                ("POST", format!("/v1/rollouts/{rollout}/{}", order.code()))
            }
            Self::ListRollouts { .. } => ("GET", "/v1/rollouts".into()),
            Self::ShowRollout { rollout } => ("GET", format!("/v1/rollouts/{rollout}")),
            Self::QueryAudit(_) => ("POST", "/v1/audit/query".into()),
            Self::InspectStore { .. } => ("POST", "/v1/store/inspect".into()),
            Self::OpenRecord { .. } => ("POST", "/v1/audit/open".into()),
            Self::ReadFrames { .. } => ("POST", "/v1/audit/frames".into()),
            Self::RegisterVerifier(_) => ("POST", "/v1/verifiers".into()),
            Self::RemoveVerifier { principal } => {
                ("POST", format!("/v1/verifiers/{principal}/remove"))
            }
            Self::Report(_) => ("POST", "/v1/verifiers/report".into()),
            Self::ListVerifiers => ("GET", "/v1/verifiers".into()),
            Self::StillRollout { rollout, .. } => ("POST", format!("/v1/rollouts/{rollout}/still")),
            Self::SetRule { .. } => ("POST", "/v1/rotations".into()),
            Self::ListRotations { .. } => ("GET", "/v1/rotations".into()),
            Self::ReadSteps { rollout, .. } => ("POST", format!("/v1/rollouts/{rollout}/steps")),
            Self::ListKeptRollouts { key } => ("GET", format!("/v1/keys/{key}/rollouts")),
            Self::DeclareInventory(declaration) => {
                ("POST", format!("/v1/keys/{}/inventories", declaration.key))
            }
            Self::OrderCampaign(order) => ("POST", campaign_path(order)),
            Self::ReadCensus(CensusQuery::Of(key)) => ("GET", format!("/v1/keys/{key}/census")),
            Self::ReadCensus(CensusQuery::After(_)) => ("GET", "/v1/census".into()),
            Self::ReportCampaign { campaign, .. } => {
                ("POST", format!("/v1/campaigns/{campaign}/report"))
            }
        }
    }
}

fn campaign_path(order: &CampaignOrder) -> String {
    match order {
        CampaignOrder::Start { .. } => "/v1/campaigns".into(),
        CampaignOrder::Pause(campaign)
        | CampaignOrder::Resume(campaign)
        | CampaignOrder::End { campaign, .. } => {
            format!("/v1/campaigns/{campaign}/{}", order.code())
        }
    }
}

/// The last part of the path by which an event is asked for.
#[must_use]
pub fn event_name(event: KeyEvent) -> &'static str {
    match event {
        KeyEvent::Activate => "activate",
        KeyEvent::Suspend => "suspend",
        KeyEvent::Resume => "resume",
        KeyEvent::Deactivate => "deactivate",
        KeyEvent::ReportCompromise => "compromise",
        KeyEvent::Destroy => "destroy-now",
    }
}
