//! Replies as JSON, against the schemas and back.

use super::*;
use crate::message::{
    CensusPage, CensusView, HeardView, KeptRollout, StepsPage, StoreRow, VerifierView, VersionUse,
};
use chancery_core::campaign::{Campaign, CampaignState, CampaignView, Progress};
use chancery_core::census::{Found, Inventory, Scan, VersionCount, Vouched};
use chancery_core::clock::Served;
use chancery_core::id::CampaignId;
use chancery_core::name::Scope;
use chancery_core::reason::Reason;
use chancery_core::rollout::{Cause, Halt, Lasting};
use chancery_core::schedule::Fraction;

fn version(number: u32, state: KeyState) -> KeyVersion {
    KeyVersion {
        number,
        state,
        created_ms: 5,
        provenance: Provenance::Imported,
        public: if number == 1 { Vec::new() } else { vec![1, 2, 3] },
        destruction: (number == 2).then(|| Served::from_ms(9)),
        published: None,
        active_from: None,
        active_at: None,
        given_up: None,
        suite: None,
    }
}

fn key() -> Key {
    let part = |text: &str| text.parse::<Name>().unwrap();
    Key {
        id: KeyId::from_bytes([7; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        name: part("invoices"),
        scope: Scope {
            environment: part("production"),
            region: part("local"),
            service: part("billing"),
        },
        purpose: "sign.bound:invoice".parse().unwrap(),
        suite: Suite::Ed25519,
        scheduled: 1,
        authority_epoch: Epoch { generation: 1, number: 2 },
        min_issue_epoch: Epoch::default(),
        versions: (1..).zip(KeyState::ALL).map(|(number, state)| version(number, state)).collect(),
        witnessed: true,
        moving: None,
    }
}

fn status() -> Status {
    Status {
        mode: "normal".into(),
        posture: "solo".into(),
        origin: "example.org/log".into(),
        log_size: 1,
        log_root: vec![2; 32],
        frames: 3,
        incarnation: 4,
        keys: 5,
        generation: 6,
        epoch: 7,
        clock: "plausible".into(),
        arena: "secret".into(),
        advice: vec!["move the recovery key".into()],
        node: NodeId::from_bytes([4; 16]),
        lock_record: "/keys/log.lock".into(),
        locked_size: 1,
        witnesses: "kept".into(),
        witnessed_size: 1,
        others: vec![OtherView { name: "w1".into(), standing: "cosigned".into() }],
    }
}

fn record(key: &str, version: u32) -> RecordView {
    RecordView {
        index: 1,
        unix_ms: 2,
        operation: "sign".into(),
        outcome: "committed".into(),
        reason: String::new(),
        key: key.into(),
        version,
        use_index: Some(0),
        actor: None,
        leaf: vec![4; 32],
        count: None,
        handle: None,
    }
}

fn committed(answer: Answer) -> CommandReply {
    CommandReply::Committed { answer, index: Some(7) }
}

fn heard() -> HeardView {
    let epoch = |number| Epoch { generation: 1, number };
    HeardView { bundle: epoch(2), as_of: epoch(9), ago_ms: 5, verified: 3, failed: 2, unknown: 1 }
}

fn verifier(heard: Option<HeardView>) -> VerifierView {
    let name = |text: &str| text.parse().unwrap();
    let principal = PrincipalId::from_bytes([2; 16]);
    VerifierView { principal, name: name("gateway"), keys: vec![name("invoices")], heard }
}

fn campaign(target: Option<u32>) -> CampaignView {
    let by = PrincipalId::from_bytes([2; 16]);
    let campaign = Campaign {
        id: CampaignId::from_bytes([3; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        key: KeyId::from_bytes([4; 16]),
        inventory: "files".parse().unwrap(),
        state: CampaignState::Paused,
        progress: Progress { total: 9, done: 5, failed: 1 },
        by,
        began_ms: 6,
        moved_by: by,
        moved_ms: 7,
        epoch: Epoch::default(),
    };
    let key = "cards".parse().unwrap();
    CampaignView { key, campaign, target, heard_ago_ms: target.map(u64::from), per_second: None }
}

fn census() -> CensusPage {
    let inventory = |found| Inventory {
        tenant: TenantId::from_bytes([1; 16]),
        key: KeyId::from_bytes([4; 16]),
        name: "files".parse().unwrap(),
        found,
        declared_ms: 5,
        by: PrincipalId::from_bytes([2; 16]),
        epoch: Epoch::default(),
    };
    let counts = vec![VersionCount { version: 1, ciphertexts: 5, uses: 7 }];
    let (as_of, vouched) = (Epoch { generation: 1, number: 9 }, Some(Vouched::OthersAreNone));
    let scan = Scan { as_of, counts, others: 1, vouched };
    let used = VersionUse { version: 1, state: KeyState::Active, share: Fraction::WHOLE, uses: 7 };
    let view = CensusView {
        id: KeyId::from_bytes([4; 16]),
        key: "cards".parse().unwrap(),
        versions: vec![used],
        target: Some(1),
        rollout: Some(RolloutId::from_bytes([5; 16])),
        leaving: Some(1),
        remaining: Some(5),
        inventories: vec![inventory(Found::Scanned(scan)), inventory(Found::Withdrawn)],
        campaigns: vec![campaign(Some(1))],
    };
    let bare = CensusView {
        rollout: None,
        leaving: None,
        remaining: None,
        target: None,
        inventories: Vec::new(),
        campaigns: Vec::new(),
        ..view.clone()
    };
    CensusPage { as_of: Epoch { generation: 1, number: 9 }, keys: vec![view, bare], more: true }
}

fn kept_rollout() -> KeptRollout {
    let lasting =
        Lasting { from: 1, to: 2, cause: Cause::Cryptoperiod, by: None, plan_digest: [4; 32] };
    let status = chancery_core::rollout::Status::RolledBack(Halt::Trigger);
    let id = RolloutId::from_bytes([9; 16]);
    KeptRollout { id, lasting, first: 0, first_ms: 1_000, last: 5, last_ms: 9_000, status }
}

fn every_reply() -> Vec<CommandReply> {
    let view = OperationView {
        id: OperationId::from_bytes([3; 16]),
        state: "in-flight".into(),
        index: None,
    };
    vec![
        committed(Answer::Done),
        committed(Answer::Key(key())),
        committed(Answer::Handle(vec![1, 2])),
        committed(Answer::Principal(PrincipalId::from_bytes([2; 16]))),
        CommandReply::Committed {
            answer: Answer::Keys { keys: vec![key()], more: true },
            index: None,
        },
        committed(Answer::OneTimeKey { id: [1; 16], public: vec![5; 32] }),
        CommandReply::Pending,
        CommandReply::Verifiers(vec![verifier(None), verifier(Some(heard()))]),
        CommandReply::Steps(StepsPage { steps: vec![vec![1, 2].into()], more: true }),
        CommandReply::KeptRollouts(vec![kept_rollout()]),
        committed(Answer::Campaign(Box::new(campaign(None)))),
        CommandReply::Census(Box::new(census())),
        CommandReply::StoreRows(StorePage {
            revision: 3,
            rows: vec![StoreRow { name: vec![1], revision: 2, bytes: 60, head: vec![4; 16] }],
            next: vec![1],
        }),
        CommandReply::Opening(vec![1, 2, 3]),
        CommandReply::Status(Box::new(status())),
        CommandReply::Operation(view),
        CommandReply::Records(vec![record("", 0), record("invoices", 1)]),
    ]
}

#[test]
fn every_answer_reads_as_it_was_written_and_as_it_is_described() {
    for reply in every_reply() {
        let answer = CommandAnswer::of(reply).unwrap();
        let text = serde_json::to_vec(&answer).unwrap();
        crate::http::openapi::tests::assert_described("CommandAnswer", &text);
        assert_eq!(serde_json::from_slice::<CommandAnswer>(&text).unwrap(), answer);
    }
}

#[test]
fn answers_are_spelt_so() {
    let spelt = |reply| serde_json::to_string(&CommandAnswer::of(reply).unwrap()).unwrap();
    assert_eq!(
        spelt(committed(Answer::Done)),
        r#"{"outcome":"committed","log_index":7,"answer":"done"}"#
    );
    let handle = CommandReply::Committed { answer: Answer::Handle(vec![0]), index: None };
    assert_eq!(
        spelt(handle),
        r#"{"outcome":"committed","answer":{"handle":"chancery-handle-1.AA"}}"#
    );
    let key = spelt(committed(Answer::Key(key())));
    for state in
        ["pre-activation", "active", "suspended", "deactivated", "compromised", "destroyed"]
    {
        assert!(key.contains(&format!("\"state\":\"{state}\"")), "{state}");
    }
}

#[test]
fn a_refusal_is_a_problem_with_its_code_and_detail() {
    let reply = CommandReply::Refused { reason: Reason::NameTaken, detail: "another name".into() };
    let problem = CommandAnswer::of(reply).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (409, "name-taken"));
    assert_eq!(problem.detail.as_deref(), Some("another name"));
}

#[test]
fn a_handle_does_not_show_itself() {
    let answer = CommandAnswer::of(committed(Answer::Handle(vec![0x41; 9]))).unwrap();
    assert!(!format!("{answer:?}").contains("QUFB"));
}
