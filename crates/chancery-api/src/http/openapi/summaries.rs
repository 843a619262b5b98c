//! What each route does, in one sentence.

use chancery_core::handle::Operation;
use chancery_core::rollout::Order;

use crate::http::routes::{CampaignKind, CommandKind, OrderKind, Target};

pub(super) fn summary(target: Target) -> String {
    match target {
        Target::Batch(operation) => format!("Several uses of one handle: {}.", operation.name()),
        Target::Command(kind) => command_summary(kind).into(),
        Target::Health => "Whether the front is alive.".into(),
        Target::Log => {
            "A published file of the log (C2SP tlog-tiles): checkpoint, policy, tile/LEVEL/INDEX; slashes stay as they \
             are."
                .into()
        }
        Target::Metrics => "Counters, as Prometheus reads them.".into(),
        Target::OpenApi => "This document.".into(),
        Target::Public(kind) => super::public::summary(kind).into(),
        Target::Ready => "Whether the signer can serve, and in which mode.".into(),
        Target::Use(operation) => use_summary(operation).into(),
    }
}

fn use_summary(operation: Operation) -> &'static str {
    match operation {
        Operation::Sign => "Sign a message or its digest.",
        Operation::Verify => "Verify a signature.",
        Operation::Mac => "MAC a message.",
        Operation::VerifyMac => "Verify a MAC.",
        Operation::Encrypt => "Encrypt a message.",
        Operation::Decrypt => "Decrypt a ciphertext.",
        Operation::Derive => "Derive a key.",
        Operation::GenerateDataKey => "Make a data key, in clear and wrapped.",
        Operation::Unwrap => "Unwrap a data key.",
        Operation::Rewrap => {
            "Encrypt again under the version that protects, without showing the plaintext."
        }
        Operation::Random => "Draw random bytes.",
    }
}

fn command_summary(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::CreateKey => "Make a key and its first version.",
        CommandKind::ImportKey => "Bring a key in, sealed to a one-time key.",
        CommandKind::ChangeVersion(_) => "Move a version along the state table.",
        CommandKind::ScheduleDestruction => "Schedule a version's destruction.",
        CommandKind::CancelDestruction => "Take a scheduled destruction back.",
        CommandKind::IssueHandle => "Issue a handle.",
        CommandKind::RevokeHandle => {
            "Revoke one link of a handle, and all that was narrowed from it."
        }
        CommandKind::RevokeIssued => "Revoke every handle of a key that was issued before now.",
        CommandKind::RevokeIssuedOf => {
            "Revoke every handle that a principal issued, or was issued, before now."
        }
        CommandKind::CreatePrincipal => "Make a principal.",
        CommandKind::BeginImport => "Ask for a one-time key to seal an import to.",
        CommandKind::ListKeys => "Read the keys, in the order of their names.",
        CommandKind::ShowKey => "Read one key.",
        CommandKind::ReadStatus => "Read how the service stands.",
        CommandKind::ReadOperation => {
            "Read an operation of one's own whose id came with its request; of others only the audit knows."
        }
        CommandKind::QueryAudit => "Read audit records.",
        CommandKind::InspectStore => "Read the store's rows as they are sealed.",
        CommandKind::CountUses => "Put on record how many uses of a key version there are so far.",
        CommandKind::Disclose => "Hand out what opens audit records, sealed to its recipient.",
        CommandKind::PruneAudit => {
            "Remove archived segments of the audit log that are older than is kept."
        }
        CommandKind::Propose => "Propose what takes the approval of others.",
        CommandKind::Approve => "Approve what somebody else has proposed.",
        CommandKind::Withdraw => "Take a proposal off the table.",
        CommandKind::CarryOut => "Do what one has proposed and others have approved.",
        CommandKind::RaiseApprovals => {
            "Raise how many people besides the proposer approve; it cannot be lowered."
        }
        CommandKind::ListProposals => "Read the proposals that are remembered.",
        CommandKind::RegisterVerifier => "Register a verifier, whose word counts from now on.",
        CommandKind::RemoveVerifier => "Remove a verifier.",
        CommandKind::Report => {
            "Say which trust bundle a verifier uses, and what came of its verifying."
        }
        CommandKind::ListVerifiers => "Read the registered verifiers.",
        CommandKind::DeclareInventory => {
            "Declare what a scan of an inventory of a key's ciphertexts found, or that it is no more."
        }
        CommandKind::OrderCampaign(CampaignKind::Start) => {
            "Begin a campaign that encrypts an inventory again."
        }
        CommandKind::OrderCampaign(CampaignKind::Pause) => "Pause a campaign.",
        CommandKind::OrderCampaign(CampaignKind::Resume) => "Let a paused campaign go on.",
        CommandKind::OrderCampaign(CampaignKind::End) => {
            "End a campaign, with what a last scan of its inventory came to."
        }
        CommandKind::ReadCensus => {
            "Read what is known of the ciphertexts of keys that have inventories."
        }
        CommandKind::ReadKeyCensus => "Read what is known of the ciphertexts of one key.",
        CommandKind::ReportCampaign => "Say how far a campaign is.",
        CommandKind::Rotate => "Bring another version of a key in, by a rollout.",
        CommandKind::SetRule => {
            "Say by which rule a key, or every key of a usage, is rotated without anybody asking."
        }
        CommandKind::ListRotations => {
            "Read which keys are rotated without anybody asking, and when; in the order of names."
        }
        CommandKind::OrderRollout(order) => order_summary(order),
        CommandKind::ListRollouts => "Read the latest rollout of each key, in the order of names.",
        CommandKind::ShowRollout => "Read one rollout, and what it waits for.",
        CommandKind::StillRollout => {
            "Have the service not look at the rollout of a scratch key for a while, as in a drill."
        }
        CommandKind::ReadSteps => {
            "Read the steps of a rollout that are kept, as their records commit to them."
        }
        CommandKind::ListKeptRollouts => {
            "Read the rollouts of a key of which steps are kept, the latest first."
        }
        CommandKind::ReadFrames => "Read frames of the audit log as they are sealed.",
        CommandKind::OpenRecord => "Open groups of an audit record, to be shown to somebody else.",
    }
}

fn order_summary(order: OrderKind) -> &'static str {
    match order {
        OrderKind::Plain(Order::Pause) => "Pause a rollout; triggers go on acting.",
        OrderKind::Plain(Order::Resume) => "Let a paused rollout go on.",
        OrderKind::Plain(Order::Advance) => "End a stage that waits for nothing but a person.",
        OrderKind::Plain(Order::RollBack) => "Have the schedule be what it was before.",
        OrderKind::Plain(Order::Abort) => "Give a rollout up.",
        OrderKind::Plain(Order::Override(_)) | OrderKind::Override => {
            "Have a rollout go past a gate, on record."
        }
    }
}
