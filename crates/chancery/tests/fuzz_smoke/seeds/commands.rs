//! Seeds of commands: one of each shape.

use chancery_core::automatic::{Automatic, Rule, RuleFor};

use super::*;

fn new_key() -> NewKey {
    let part = |text: &str| text.parse().unwrap();
    NewKey {
        name: part("invoices"),
        purpose: "sign.bound:invoice;context=audited".parse().unwrap(),
        suite: Suite::Ed25519,
        scope: Scope { environment: part("e"), region: part("r"), service: part("s") },
        witnessed: false,
    }
}

/// No proposal has it.
const PROPOSAL: ProposalId = ProposalId::from_bytes([6; 16]);

fn proposed() -> Proposed {
    let what = Disclosed::Everything { first: 682, last: 683, second: [8; 32] };
    Proposed::Disclose(Disclosure { what, recipient: [9; 32] })
}

fn newcomer() -> Proposed {
    let name = "ada".parse().unwrap();
    Proposed::CreatePrincipal { name, role: Role::Approver, public: [4; 32] }
}

/// No campaign has it.
const CAMPAIGN: CampaignId = CampaignId::from_bytes([5; 16]);

const PROGRESS: Progress = Progress { total: 1_000_000, done: 300, failed: 1 };

fn scan() -> Scan {
    let counts = vec![VersionCount { version: 1, ciphertexts: 1_000_000, uses: 300 }];
    Scan { as_of: Epoch { generation: 1, number: 9 }, counts, others: 1, vouched: None }
}

fn declared(found: Found) -> Command {
    let part = |text: &str| text.parse().unwrap();
    Command::DeclareInventory(Declaration { key: part("cards"), inventory: part("files"), found })
}

/// No rollout has it.
const ROLLOUT: RolloutId = RolloutId::from_bytes([7; 16]);

fn rotation() -> Rotation {
    Rotation {
        key: "invoices".parse().unwrap(),
        plan: Builtin::Emergency.plan().unwrap(),
        cause: Cause::Compromise,
        suite: Some(Suite::MlDsa65),
        version: None,
    }
}

/// One command of each shape.
pub(super) fn all_commands() -> impl Iterator<Item = (&'static str, Command)> {
    each_command().into_iter().chain(of_campaigns()).chain(of_rules())
}

/// Those that concern automatic rotation, drills and earlier rollouts.
fn of_rules() -> [(&'static str, Command); 4] {
    let key = || "invoices".parse().unwrap();
    [
        (
            "set-rotation",
            Command::SetRule {
                rule_for: RuleFor::Key(key()),
                rule: Rule::Automatic(Box::new(Automatic {
                    every_ms: 7_776_000_000,
                    spread_ms: 86_400_000,
                    uses: Some(1_000_000),
                    suite: Some(Suite::Ed25519),
                    replaces_imported: true,
                    stands_by: false,
                    plan: rotation().plan,
                })),
            },
        ),
        ("list-rotations", Command::ListRotations { after: Some(key()) }),
        ("list-kept-rollouts", Command::ListKeptRollouts { key: key() }),
        ("still-rollout", Command::StillRollout { rollout: ROLLOUT, for_ms: 60_000 }),
    ]
}

/// Those that concern neither ciphertexts nor rules.
fn each_command() -> [(&'static str, Command); 24] {
    let key = || "invoices".parse().unwrap();
    [
        ("create-key", Command::CreateKey(new_key())),
        (
            "import-key",
            Command::ImportKey { new: new_key(), one_time: [1; 16], sealed: vec![2; 80] },
        ),
        (
            "suspend",
            Command::ChangeVersion { key: key(), version: Some(1), event: KeyEvent::Suspend },
        ),
        ("destroy", Command::ScheduleDestruction { key: key(), version: 3 }),
        (
            "issue-handle",
            Command::IssueHandle(NewHandle {
                key: key(),
                operations: Operations::of(&[Operation::Sign, Operation::Verify]),
                ttl_ms: 60_000,
                pins: vec![pair("customer=7")],
                holder: vec![3; 32],
                subject: Some(PRINCIPAL),
                max_uses: None,
            }),
        ),
        ("revoke-handle", Command::RevokeHandle { link: handle::LinkId([8; 16]) }),
        (
            "create-principal",
            Command::CreatePrincipal { name: key(), role: Role::Auditor, public: [4; 32] },
        ),
        ("propose", Command::Propose { proposed: proposed(), ttl_ms: 86_400_000 }),
        ("approve", Command::Approve { proposal: PROPOSAL, proposed: proposed() }),
        ("withdraw", Command::Withdraw { proposal: PROPOSAL }),
        ("carry-out", Command::CarryOut { proposal: PROPOSAL, proposed: newcomer() }),
        ("raise-approvals", Command::RaiseApprovals { approvals: 2 }),
        ("rotate", Command::Rotate(rotation())),
        (
            "override",
            Command::OrderRollout { rollout: ROLLOUT, order: Order::Override(Overridable::Quiet) },
        ),
        (
            "register-verifier",
            Command::RegisterVerifier(NewVerifier { principal: PRINCIPAL, keys: vec![key()] }),
        ),
        ("remove-verifier", Command::RemoveVerifier { principal: PRINCIPAL }),
        (
            "report",
            Command::Report(Report {
                bundle: Epoch { generation: 1, number: 2 },
                as_of: Epoch { generation: 1, number: 9 },
                digest: [4; 32],
                sequence: 3,
                since_ms: 7,
                counts: vec![VersionCounts {
                    key: KeyId::from_bytes([5; 16]),
                    version: 1,
                    verified: 300,
                    failed: 1,
                    unknown: 0,
                }],
            }),
        ),
        ("list-keys", Command::ListKeys { after: Some(key()) }),
        ("inspect-store", Command::InspectStore { after: vec![1; 17] }),
        (
            "prune-audit",
            Command::PruneAudit(PruneAudit {
                segments: 3,
                entry: [5; 32],
                location: "file:archive".into(),
            }),
        ),
        ("read-steps", Command::ReadSteps { rollout: ROLLOUT, from: 2 }),
        ("read-frames", Command::ReadFrames { from: 300, skip: 7 }),
        (
            "open-record",
            Command::OpenRecord {
                index: 300,
                groups: RecordGroups::of(&RecordGroup::ALL).unwrap(),
            },
        ),
        (
            "query-audit",
            Command::QueryAudit(AuditQuery {
                key: Some(key()),
                actor: Some(PRINCIPAL),
                outcome: Some(1),
                operation: Some(OPERATION),
                since_ms: Some(5),
                before: Some(9),
                limit: 9,
                after: Some(1),
                version: Some(2),
                handle: Some(HandleId::from_bytes([4; 16])),
                reason: Some(Reason::Forbidden.number()),
                action: Some("sign".parse().unwrap()),
                until_ms: Some(6),
                output: Some([7; 32]),
            }),
        ),
    ]
}

pub(super) fn commands() -> Vec<Seed> {
    let seed = |(name, command): (&'static str, Command)| {
        let command = cbor::encode(&command);
        let parameters = SignatureParameters {
            principal: PRINCIPAL,
            operation: OPERATION,
            created_s: 100,
            expires_s: 160,
        };
        let request = CommandRequest { command: &command, parameters, signature: [6; 64] };
        Seed {
            target: "command_request",
            name,
            bytes: cbor::encode(&request),
            is_taken: |bytes| {
                let request: Result<CommandRequest<'_>, _> = cbor::decode(bytes, "command request");
                request.is_ok_and(|it| cbor::decode::<Command>(it.command, "command").is_ok())
            },
        }
    };
    all_commands().map(seed).collect()
}

/// One of each shape that concerns ciphertexts.
fn of_campaigns() -> [(&'static str, Command); 6] {
    let key = || "cards".parse().unwrap();
    [
        ("declare-inventory", declared(Found::Scanned(scan()))),
        ("withdraw-inventory", declared(Found::Withdrawn)),
        (
            "start-campaign",
            Command::OrderCampaign(CampaignOrder::Start { key: key(), inventory: key() }),
        ),
        (
            "end-campaign",
            Command::OrderCampaign(CampaignOrder::End { campaign: CAMPAIGN, progress: PROGRESS }),
        ),
        ("report-campaign", Command::ReportCampaign { campaign: CAMPAIGN, progress: PROGRESS }),
        ("read-census", Command::ReadCensus(CensusQuery::After(Some(key())))),
    ]
}
