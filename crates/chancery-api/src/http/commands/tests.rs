//! Commands over HTTP and back, one case a variant.

use chancery_core::automatic::{Automatic, Rule, RuleFor};
use chancery_core::campaign::{CampaignOrder, Progress};
use chancery_core::census::{Declaration, Found, Scan, VersionCount, Vouched};
use chancery_core::command::{AuditQuery, PruneAudit};
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::epoch::Epoch;
use chancery_core::id::{CampaignId, KeyId, ProposalId, RolloutId};
use chancery_core::proposal::Proposed;
use chancery_core::purpose::Usage;
use chancery_core::reason::Reason;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_core::rollout::{Builtin, Cause, Order, Overridable, Rotation};
use chancery_core::verifier::{NewVerifier, Report, VersionCounts};

use super::*;
use crate::http::routes::{ROUTES, RequestLine, find};

fn part(text: &str) -> Name {
    text.parse().unwrap()
}

fn new_key() -> NewKey {
    NewKey {
        name: part("invoices"),
        purpose: "sign.bound:invoice;context=audited".parse().unwrap(),
        suite: Suite::Ed25519,
        scope: Scope {
            environment: part("production"),
            region: part("local"),
            service: part("billing"),
        },
        witnessed: false,
    }
}

fn handle(pins: &[&str]) -> Command {
    Command::IssueHandle(NewHandle {
        key: part("invoices"),
        operations: Operations::of(&[Operation::Sign, Operation::Verify]),
        ttl_ms: 60_000,
        pins: pins.iter().map(|pin| Pair::parse(pin).unwrap()).collect(),
        holder: vec![3; if pins.is_empty() { 0 } else { 32 }],
        subject: (!pins.is_empty()).then(|| PrincipalId::from_bytes([5; 16])),
        max_uses: (!pins.is_empty()).then_some(6),
    })
}

fn query() -> AuditQuery {
    AuditQuery {
        key: Some(part("invoices")),
        actor: Some(PrincipalId::from_bytes([1; 16])),
        outcome: Some(1),
        operation: Some(OperationId::from_bytes([2; 16])),
        since_ms: Some(3),
        before: Some(9),
        limit: 4,
        after: Some(1),
        version: Some(2),
        handle: Some(HandleId::from_bytes([4; 16])),
        reason: Some(Reason::Forbidden.number()),
        action: Some("sign".parse().unwrap()),
        until_ms: Some(6),
        output: Some([7; 32]),
    }
}

fn disclose(what: Disclosed) -> Command {
    Command::Disclose(Disclosure { what, recipient: [9; 32] })
}

const PROPOSAL: ProposalId = ProposalId::from_bytes([7; 16]);

fn proposed() -> Proposed {
    let what = Disclosed::Everything { first: 682, last: 683, second: [8; 32] };
    Proposed::Disclose(Disclosure { what, recipient: [9; 32] })
}

fn newcomer() -> Proposed {
    Proposed::CreatePrincipal { name: part("ada"), role: Role::Approver, public: [6; 32] }
}

const ROLLOUT: RolloutId = RolloutId::from_bytes([8; 16]);

fn order(order: Order) -> Command {
    Command::OrderRollout { rollout: ROLLOUT, order }
}

/// With selectors and two windows besides what the plan says.
fn rotate(plan: Builtin, suite: Option<Suite>, version: Option<u32>) -> Command {
    let mut plan = plan.plan().unwrap();
    for stage in &mut plan.stages {
        stage.selector.regions = vec![part("eu"), part("us")];
        stage.selector.environments = vec![part("staging")];
        stage.selector.services = vec![part("billing")];
    }
    let (key, cause) = (part("invoices"), Cause::Finding);
    Command::Rotate(Rotation { key, plan, cause, suite, version })
}

fn rule(rule_for: RuleFor, suite: Option<Suite>) -> Command {
    let automatic = Automatic {
        every_ms: 7_776_000_000,
        spread_ms: 86_400_000,
        uses: suite.map(|_| 1_000_000),
        suite,
        replaces_imported: suite.is_some(),
        stands_by: suite.is_none(),
        plan: Builtin::Standard.plan().unwrap(),
    };
    Command::SetRule { rule_for, rule: Rule::Automatic(Box::new(automatic)) }
}

fn report() -> Report {
    let epoch = |number| Epoch { generation: 1, number };
    let counts = |version| VersionCounts {
        key: KeyId::from_bytes([5; 16]),
        version,
        verified: u64::MAX,
        failed: 1,
        unknown: 0,
    };
    let (bundle, as_of, digest) = (epoch(2), epoch(9), [4; 32]);
    Report { bundle, as_of, digest, sequence: 3, since_ms: 7, counts: vec![counts(1), counts(2)] }
}

const CAMPAIGN: CampaignId = CampaignId::from_bytes([7; 16]);
const PROGRESS: Progress = Progress { total: u64::MAX, done: 2, failed: 1 };

fn scan() -> Scan {
    let count = |version| VersionCount { version, ciphertexts: u64::MAX, uses: 7 };
    Scan {
        as_of: Epoch { generation: 1, number: 9 },
        counts: vec![count(1), count(2)],
        others: 1,
        vouched: None,
    }
}

fn declared(found: Found) -> Command {
    Command::DeclareInventory(Declaration {
        key: part("invoices"),
        inventory: part("files"),
        found,
    })
}

fn every_command() -> Vec<Command> {
    let key = || part("invoices");
    let mut commands = vec![
        Command::CreateKey(new_key()),
        Command::ImportKey { new: new_key(), one_time: [9; 16], sealed: vec![1, 2] },
        Command::ScheduleDestruction { key: key(), version: 1 },
        Command::CancelDestruction { key: key(), version: 2 },
        handle(&[]),
        handle(&["b=2", "a=1=1", "b="]),
        Command::RevokeHandle { link: LinkId([7; 16]) },
        Command::RevokeIssued { key: key() },
        Command::RevokeIssuedOf { principal: PrincipalId::from_bytes([6; 16]) },
        Command::BeginImport,
        Command::ListKeys { after: None },
        Command::ListKeys { after: Some(key()) },
        Command::ShowKey { key: part("import") },
        Command::ReadStatus,
        Command::ReadOperation { id: OperationId::from_bytes([8; 16]) },
        Command::QueryAudit(AuditQuery::default()),
        Command::QueryAudit(query()),
        Command::InspectStore { after: Vec::new() },
        Command::InspectStore { after: vec![1, 2] },
        Command::CountUses { key: key(), version: 2 },
        disclose(Disclosed::Months { first: 682, last: 683 }),
        disclose(Disclosed::Records { indices: vec![1, 300] }),
        disclose(Disclosed::Everything { first: 682, last: 683, second: [8; 32] }),
        Command::Propose { proposed: proposed(), ttl_ms: 86_400_000 },
        Command::Approve { proposal: PROPOSAL, proposed: proposed() },
        Command::Approve { proposal: PROPOSAL, proposed: newcomer() },
        Command::Withdraw { proposal: PROPOSAL },
        Command::CarryOut { proposal: PROPOSAL, proposed: newcomer() },
        Command::RaiseApprovals { approvals: 2 },
        Command::ListProposals,
        rotate(Builtin::Careful, None, None),
        rotate(Builtin::Migration, Some(Suite::MlDsa65), None),
        rotate(Builtin::Emergency, None, Some(3)),
        order(Order::Pause),
        order(Order::Resume),
        order(Order::Advance),
        order(Order::RollBack),
        order(Order::Abort),
        order(Order::Override(Overridable::Acknowledgement)),
        order(Order::Override(Overridable::Quiet)),
        order(Order::Override(Overridable::Remaining)),
        rule(RuleFor::Key(key()), Some(Suite::MlDsa65)),
        rule(RuleFor::Usage(Usage::Encrypt), None),
        Command::SetRule { rule_for: RuleFor::Key(key()), rule: Rule::Never },
        Command::SetRule { rule_for: RuleFor::Usage(Usage::Sign), rule: Rule::Unset },
        Command::ListRotations { after: None },
        Command::ListRotations { after: Some(key()) },
        Command::ListRollouts { after: None },
        Command::ListRollouts { after: Some(key()) },
        Command::ShowRollout { rollout: ROLLOUT },
        Command::ReadSteps { rollout: ROLLOUT, from: 3 },
        Command::ListKeptRollouts { key: key() },
        Command::StillRollout { rollout: ROLLOUT, for_ms: 5_000 },
        Command::ListVerifiers,
        Command::RegisterVerifier(NewVerifier {
            principal: PrincipalId::from_bytes([6; 16]),
            keys: vec![key(), part("other")],
        }),
        Command::RemoveVerifier { principal: PrincipalId::from_bytes([6; 16]) },
        Command::Report(report()),
        declared(Found::Scanned(scan())),
        declared(Found::Scanned(Scan { vouched: Some(Vouched::OthersAreNone), ..scan() })),
        declared(Found::Scanned(Scan { vouched: Some(Vouched::Empty), ..scan() })),
        declared(Found::Withdrawn),
        Command::OrderCampaign(CampaignOrder::Start { key: key(), inventory: part("files") }),
        Command::OrderCampaign(CampaignOrder::Pause(CAMPAIGN)),
        Command::OrderCampaign(CampaignOrder::Resume(CAMPAIGN)),
        Command::OrderCampaign(CampaignOrder::End { campaign: CAMPAIGN, progress: PROGRESS }),
        Command::ReportCampaign { campaign: CAMPAIGN, progress: PROGRESS },
        Command::ReadCensus(CensusQuery::Of(key())),
        Command::ReadCensus(CensusQuery::After(None)),
        Command::ReadCensus(CensusQuery::After(Some(key()))),
        Command::PruneAudit(PruneAudit {
            segments: 3,
            entry: [5; 32],
            location: "s3://audit/é".into(),
        }),
        disclose(Disclosed::Events { month: 682 }),
        Command::ReadFrames { from: 7, skip: 0 },
        Command::OpenRecord { index: 7, groups: RecordGroups::of(&RecordGroup::ALL).unwrap() },
    ];
    for event in KeyEvent::ALL {
        commands.push(Command::ChangeVersion { key: key(), version: Some(1), event });
        commands.push(Command::ChangeVersion { key: key(), version: None, event });
    }
    commands.extend(Role::ALL.map(|role| Command::CreatePrincipal {
        name: key(),
        role,
        public: [6; 32],
    }));
    commands
}

fn split(request: &CommandHttp) -> CommandParts<'_> {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target.as_str(), None),
    };
    let found = find(RequestLine { method: request.method, path }).unwrap();
    CommandParts { found, query, body: request.body.as_deref().unwrap_or_default() }
}

#[test]
fn every_command_comes_back_from_its_request() {
    for command in every_command() {
        let request = request_of(&command).unwrap();
        assert_eq!(command_from_request(split(&request)), Ok(command));
        if let Some(body) = &request.body {
            crate::http::openapi::tests::assert_body_described(
                split(&request).found.route.target,
                body,
            );
        }
    }
}

#[test]
fn every_command_route_is_one_of_some_command() {
    let requests: Vec<_> =
        every_command().iter().map(|command| request_of(command).unwrap()).collect();
    let found: Vec<_> = requests.iter().map(|request| split(request).found.route).collect();
    for route in ROUTES.iter().filter(|route| matches!(route.target, Target::Command(_))) {
        assert!(found.contains(&route), "{}", route.path);
    }
}

#[test]
fn a_field_more_a_field_less_and_a_repeated_field_are_refused() {
    for command in every_command() {
        let request = request_of(&command).unwrap();
        let Some(body) = &request.body else { continue };
        let text = std::str::from_utf8(body).unwrap();
        let more = text.replacen('{', "{\"zz\":1,", 1).replace(",}", "}");
        let twice = text.replacen('{', &format!("{{{},", &text[1..text.len() - 1]), 1);
        for other in [more, twice, format!("{text}{text}"), format!("[{text}]"), String::new()] {
            let parts = CommandParts { body: other.as_bytes(), ..split(&request) };
            assert!(command_from_request(parts).is_err(), "{other}");
        }
    }
}

#[test]
fn an_object_written_as_a_list_is_refused() {
    let request = request_of(&Command::CreateKey(new_key())).unwrap();
    let with = |scope: &str| {
        let rest = r#""name":"a","purpose":"sign.bound:a","algorithm":"ed25519""#;
        let body = format!("{{{rest},\"scope\":{scope}}}");
        command_from_request(CommandParts { body: body.as_bytes(), ..split(&request) })
    };
    assert!(with(r#"{"environment":"a","region":"b","service":"c"}"#).is_ok());
    assert!(with(r#"["a","b","c"]"#).is_err());
}

#[test]
fn queries_and_bodies_where_a_route_has_none_are_refused() {
    let request = |command| request_of(&command).unwrap();
    let list = request(Command::ListKeys { after: None });
    for query in ["", "after", "after=", "after=A", "after=a&after=b", "before=a", "after=%61"] {
        let parts = CommandParts { query: Some(query), ..split(&list) };
        assert!(command_from_request(parts).is_err(), "{query}");
    }
    assert!(command_from_request(CommandParts { body: b"{}", ..split(&list) }).is_err());
    let status = request(Command::ReadStatus);
    assert!(
        command_from_request(CommandParts { query: Some("after=a"), ..split(&status) }).is_err()
    );
}

#[test]
fn an_operation_named_twice_or_unknown_is_refused() {
    let names =
        |names: &[&str]| operations(&names.iter().map(|name| (*name).into()).collect::<Vec<_>>());
    assert_eq!(
        names(&["verify", "sign"]),
        Ok(Operations::of(&[Operation::Sign, Operation::Verify]))
    );
    assert!(names(&["sign", "sign"]).is_err());
    assert!(names(&["Sign"]).is_err());
}

#[test]
fn an_outcome_that_json_has_no_word_for_is_no_request() {
    let query = Command::QueryAudit(AuditQuery { outcome: Some(2), ..AuditQuery::default() });
    assert!(matches!(request_of(&query), Err(HttpError::Malformed(_))));
}
