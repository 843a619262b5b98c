//! Decisions on uses and commands, one case a line.

use super::*;
use crate::clock::{Quality, Reading, Served, millis};
use crate::command::{
    Answer, AuditQuery, Command, LIST_PAGE, NewHandle, NewKey, QUERY_RECORDS_MAX,
};
use crate::context::{Context, Pair};
use crate::handle::tests::Mixer;
use crate::handle::{self, Caveat, Handle, HandleKeyId, Operation, Operations, Root};
use crate::id::{CampaignId, HandleId, NodeId, ProposalId, RolloutId};
use crate::key::tests::sample;
use crate::limits::{HANDLE_TTL_MAX, REVOCATIONS_MAX};
use crate::name::Scope;
use crate::principal::Role;
use crate::reason::Reason;
use crate::rollout::Cohorts;
use crate::state::{KeyEvent, KeyState};
use crate::suite::Suite;

mod automatic;
mod campaigns;
mod proposals;
mod rotation;
mod verifiers;

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const NOW: u64 = 1_000_000;

/// Consumers in the order of their routing keys' first byte.
#[derive(Debug)]
struct ByFirstByte;

impl Cohorts for ByFirstByte {
    fn digest(&self, _: &RolloutId, routing_key: &[u8]) -> [u8; 32] {
        [routing_key[0]; 32]
    }
}

const ROUTING: Routing<'static> = Routing { key: &[], cohorts: &ByFirstByte };

fn now() -> Reading {
    Reading { unix_ms: NOW, quality: Quality::Plausible, served: Served::default(), wall_ms: NOW }
}

fn principal(role: Role) -> Principal {
    Principal {
        id: PrincipalId::from_bytes([role as u8 + 1; 16]),
        tenant: TENANT,
        name: role.name().parse().unwrap(),
        role,
        public: [role as u8; 32],
        min_issue_epoch: Epoch::default(),
    }
}

fn fresh() -> Fresh {
    Fresh {
        node: NodeId::from_bytes([4; 16]),
        key: KeyId::from_bytes([7; 16]),
        handle: HandleId::from_bytes([9; 16]),
        principal: PrincipalId::from_bytes([8; 16]),
        proposal: ProposalId::from_bytes([6; 16]),
        rollout: RolloutId::from_bytes([5; 16]),
        campaign: CampaignId::from_bytes([3; 16]),
        plan_digest: [5; 32],
        public: vec![1],
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn new_key(text: &str) -> NewKey {
    NewKey {
        name: name(text),
        purpose: "sign.bound:invoice".parse().unwrap(),
        suite: Suite::Ed25519,
        scope: Scope { environment: name("e"), region: name("r"), service: name("s") },
        witnessed: false,
    }
}

fn genesis() -> Authority {
    let mut authority = Authority::default();
    let epoch = Epoch::default();
    let row = TenantRow {
        id: TENANT,
        name: name("default"),
        epoch,
        min_issue_epoch: epoch,
        approvals: 0,
    };
    authority.apply(Row::Tenant(row)).unwrap();
    for role in Role::ALL {
        authority.apply(Row::Principal(principal(role))).unwrap();
    }
    authority
}

/// Decides as `role` and applies what was decided.
fn command(authority: &mut Authority, role: Role, command: &Command) -> Result<Answer, Reason> {
    let decided = authority.decide(&principal(role), command, fresh(), now());
    let decided = decided.map_err(|refusal| refusal.reason)?;
    for row in decided.rows {
        authority.apply(row).unwrap();
    }
    if decided.effect == Effect::Reduction {
        authority.move_mark(TENANT);
    }
    Ok(decided.answer)
}

fn operator(authority: &mut Authority, asked: &Command) -> Result<Answer, Reason> {
    command(authority, Role::Operator, asked)
}

fn with_key() -> Authority {
    let mut authority = genesis();
    operator(&mut authority, &Command::CreateKey(new_key("k"))).unwrap();
    authority
}

fn issue(authority: &Authority, caveats: &[Caveat]) -> Handle {
    let new = NewHandle {
        key: name("k"),
        operations: Operations::of(&[Operation::Sign, Operation::Verify]),
        ttl_ms: 60_000,
        pins: Vec::new(),
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    };
    let asked = Command::IssueHandle(new);
    let decided = authority.decide(&principal(Role::Developer), &asked, fresh(), now()).unwrap();
    let (root, _) = decided.handle.unwrap();
    let bytes = handle::mint(HandleKeyId(1), &root, &Mixer).unwrap();
    Handle::open(&handle::narrow(&bytes, caveats, &Mixer).unwrap(), &Mixer).unwrap()
}

fn permit(authority: &Authority, handle: &Handle, operation: Operation) -> Result<u32, Reason> {
    let context = Context::default();
    let asked = Use {
        handle,
        operation,
        context: &context,
        version: None,
        also: None,
        routing: ROUTING,
        proven: &[],
        is_cosigned: false,
        now: now(),
    };
    authority.permit(&asked).map(|permit| permit.version())
}

fn event(event: KeyEvent) -> Command {
    Command::ChangeVersion { key: name("k"), version: None, event }
}

#[test]
fn a_handle_does_what_it_permits_and_nothing_else() {
    let authority = with_key();
    let handle = issue(&authority, &[]);
    assert_eq!(permit(&authority, &handle, Operation::Sign), Ok(1));
    assert_eq!(permit(&authority, &handle, Operation::Decrypt), Err(Reason::NotAuthorized));
}

#[test]
fn each_state_admits_what_the_standard_says() {
    for (events, sign, verify) in [
        (vec![], Ok(1), Ok(1)),
        (vec![KeyEvent::Suspend], Err(Reason::KeyUnusable), Err(Reason::KeyUnusable)),
        (vec![KeyEvent::Suspend, KeyEvent::Resume], Ok(1), Ok(1)),
        (vec![KeyEvent::Deactivate], Err(Reason::KeyUnusable), Ok(1)),
        (vec![KeyEvent::ReportCompromise], Err(Reason::KeyUnusable), Err(Reason::KeyUnusable)),
    ] {
        let mut authority = with_key();
        let handle = issue(&authority, &[]);
        for asked in &events {
            operator(&mut authority, &event(*asked)).unwrap();
        }
        assert_eq!(permit(&authority, &handle, Operation::Sign), sign, "{events:?}");
        assert_eq!(permit(&authority, &handle, Operation::Verify), verify, "{events:?}");
    }
}

#[test]
fn a_revoked_link_takes_everything_narrowed_from_it_along() {
    let mut authority = with_key();
    let parent = issue(&authority, &[]);
    let child = issue(&authority, &[Caveat::Expires(NOW + 1)]);
    let link = *child.links().last().unwrap();
    operator(&mut authority, &Command::RevokeHandle { link }).unwrap();
    assert_eq!(permit(&authority, &child, Operation::Sign), Err(Reason::HandleExpired));
    assert_eq!(permit(&authority, &parent, Operation::Sign), Ok(1));
    operator(&mut authority, &Command::RevokeHandle { link: parent.links()[0] }).unwrap();
    assert_eq!(permit(&authority, &parent, Operation::Sign), Err(Reason::HandleExpired));
}

#[test]
fn a_full_set_of_revocations_voids_all_that_was_issued_and_has_room_again() {
    let mut authority = with_key();
    let before = issue(&authority, &[]);
    let revoke = |n: usize| {
        let mut link = [0xee; 16];
        link[..8].copy_from_slice(&n.to_be_bytes());
        Command::RevokeHandle { link: handle::LinkId(link) }
    };
    for n in 0..REVOCATIONS_MAX {
        operator(&mut authority, &revoke(n)).unwrap();
    }
    assert_eq!(permit(&authority, &before, Operation::Sign), Ok(1));
    operator(&mut authority, &revoke(REVOCATIONS_MAX)).unwrap();
    assert_eq!(permit(&authority, &before, Operation::Sign), Err(Reason::HandleExpired));
    let after = issue(&authority, &[]);
    operator(&mut authority, &revoke(REVOCATIONS_MAX + 1)).unwrap();
    assert_eq!(permit(&authority, &after, Operation::Sign), Ok(1));
    operator(&mut authority, &Command::RevokeHandle { link: after.links()[0] }).unwrap();
    assert_eq!(permit(&authority, &after, Operation::Sign), Err(Reason::HandleExpired));
}

#[test]
fn handles_of_a_principal_are_void_whether_it_issued_them_or_was_issued_them() {
    let mut authority = with_key();
    // The developer issues to itself.
    let before = issue(&authority, &[]);
    let developer = principal(Role::Developer).id;
    let other = Command::RevokeIssuedOf { principal: principal(Role::Auditor).id };
    operator(&mut authority, &other).unwrap();
    assert!(permit(&authority, &before, Operation::Sign).is_ok());
    operator(&mut authority, &Command::RevokeIssuedOf { principal: developer }).unwrap();
    let refused = permit(&authority, &before, Operation::Sign);
    assert_eq!(refused.unwrap_err(), Reason::HandleExpired);
    let later = issue(&authority, &[]);
    assert!(permit(&authority, &later, Operation::Sign).is_ok());
    let nobody = Command::RevokeIssuedOf { principal: PrincipalId::from_bytes([77; 16]) };
    assert_eq!(operator(&mut authority, &nobody), Err(Reason::Forbidden));
}

#[test]
fn a_handle_of_one_tenant_is_of_no_use_with_a_key_of_another() {
    let mut authority = with_key();
    let ours = issue(&authority, &[]);
    let foreign = TenantId::from_bytes([2; 16]);
    let row = TenantRow {
        id: foreign,
        name: name("foreign"),
        epoch: Epoch::default(),
        min_issue_epoch: Epoch::default(),
        approvals: 0,
    };
    authority.apply(Row::Tenant(row)).unwrap();
    let elsewhere = |tenant, key| {
        let root = Root { tenant, key, ..ours.root().clone() };
        let bytes = handle::mint(HandleKeyId(1), &root, &Mixer).unwrap();
        permit(&authority, &Handle::open(&bytes, &Mixer).unwrap(), Operation::Sign)
    };
    assert!(elsewhere(TENANT, ours.root().key).is_ok());
    // As if the key, or the tenant, were not there at all.
    let absent = KeyId::from_bytes([99; 16]);
    for (tenant, key) in [
        (foreign, ours.root().key),
        (foreign, absent),
        (TenantId::from_bytes([3; 16]), ours.root().key),
        (TENANT, absent),
    ] {
        assert_eq!(elsewhere(tenant, key), Err(Reason::HandleExpired));
    }
}

#[test]
fn a_handle_is_issued_to_somebody_who_is_there() {
    let authority = with_key();
    let issued_to = |subject| {
        let new = NewHandle {
            key: name("k"),
            operations: Operations::of(&[Operation::Sign]),
            ttl_ms: 1_000,
            pins: Vec::new(),
            holder: Vec::new(),
            subject,
            max_uses: None,
        };
        let command = Command::IssueHandle(new);
        let decided = authority.decide(&principal(Role::Developer), &command, fresh(), now());
        decided.map(|_| ()).map_err(|refusal| refusal.reason)
    };
    assert_eq!(issued_to(None), Ok(()));
    assert_eq!(issued_to(Some(principal(Role::Auditor).id)), Ok(()));
    assert_eq!(issued_to(Some(PrincipalId::from_bytes([77; 16]))), Err(Reason::Forbidden));
}

#[test]
fn handles_issued_before_a_revocation_are_void_and_later_ones_are_not() {
    let mut authority = with_key();
    let before = issue(&authority, &[]);
    operator(&mut authority, &Command::RevokeIssued { key: name("k") }).unwrap();
    assert_eq!(permit(&authority, &before, Operation::Sign), Err(Reason::HandleExpired));
    assert_eq!(permit(&authority, &issue(&authority, &[]), Operation::Sign), Ok(1));
}

#[test]
fn an_expired_handle_is_refused_at_the_very_millisecond() {
    let authority = with_key();
    let at = |expires| {
        permit(&authority, &issue(&authority, &[Caveat::Expires(expires)]), Operation::Sign)
    };
    assert_eq!(at(NOW + 1), Ok(1));
    assert_eq!(at(NOW), Err(Reason::HandleExpired));
}

#[test]
fn a_holder_must_prove_possession() {
    let authority = with_key();
    let handle = issue(&authority, &[Caveat::Holder([3; 32])]);
    assert_eq!(permit(&authority, &handle, Operation::Sign), Err(Reason::ProofInvalid));
    let context = Context::default();
    let asked = Use {
        handle: &handle,
        operation: Operation::Sign,
        context: &context,
        version: None,
        also: None,
        routing: ROUTING,
        proven: &[[3; 32]],
        is_cosigned: false,
        now: now(),
    };
    assert!(authority.permit(&asked).is_ok());
}

#[test]
fn a_key_that_waits_for_witnesses_is_used_while_a_quorum_cosigns() {
    let new = NewKey { witnessed: true, ..new_key("k") };
    let mut authority = genesis();
    operator(&mut authority, &Command::CreateKey(new)).unwrap();
    let handle = issue(&authority, &[]);
    assert_eq!(permit(&authority, &handle, Operation::Sign), Err(Reason::Unwitnessed));
    let context = Context::default();
    let asked = Use {
        handle: &handle,
        operation: Operation::Sign,
        context: &context,
        version: None,
        also: None,
        routing: ROUTING,
        proven: &[],
        is_cosigned: true,
        now: now(),
    };
    assert!(authority.permit(&asked).is_ok_and(|permit| permit.key().witnessed));
}

#[test]
fn a_pinned_context_must_be_shown() {
    let authority = with_key();
    let handle = issue(&authority, &[Caveat::Pin(Pair::parse("a=1").unwrap())]);
    assert_eq!(permit(&authority, &handle, Operation::Sign), Err(Reason::NotAuthorized));
}

#[test]
fn roles_do_what_their_table_says() {
    let asked = [
        Command::CreateKey(new_key("other")),
        event(KeyEvent::Suspend),
        event(KeyEvent::Resume),
        Command::ScheduleDestruction { key: name("k"), version: 1 },
        Command::CancelDestruction { key: name("k"), version: 1 },
        Command::ShowKey { key: name("k") },
        Command::QueryAudit(crate::command::AuditQuery::default()),
        Command::Withdraw { proposal: ProposalId::from_bytes([6; 16]) },
        Command::RemoveVerifier { principal: principal(Role::Verifier).id },
    ];
    let row = |role: Role| {
        let may = asked.iter().map(|asked| {
            let decided = with_key().admit(&principal(role), asked);
            if decided.is_ok() { "yes" } else { "no" }
        });
        format!("{}: {}", role.name(), may.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(
        Role::ALL.map(row).join("\n"),
        "operator: yes yes yes yes yes yes yes yes yes\n\
         developer: yes yes no no no yes no no no\n\
         auditor: no no no no no yes yes no no\n\
         approver: no no no no no yes no yes no\n\
         verifier: no no no no no no no no no"
    );
}

#[test]
fn a_name_is_taken_for_ever() {
    let mut authority = with_key();
    let again = operator(&mut authority, &Command::CreateKey(new_key("k")));
    assert_eq!(again, Err(Reason::NameTaken));
}

#[test]
fn a_suspended_version_scheduled_for_destruction_is_not_resumed() {
    let mut authority = with_key();
    operator(&mut authority, &Command::ScheduleDestruction { key: name("k"), version: 1 }).unwrap();
    let resumed = operator(&mut authority, &event(KeyEvent::Resume));
    assert_eq!(resumed, Err(Reason::IllegalTransition));
    let Ok(Answer::Key(key)) =
        operator(&mut authority, &Command::CancelDestruction { key: name("k"), version: 1 })
    else {
        panic!("cancelling answers with the key");
    };
    assert_eq!(key.versions[0].state, KeyState::Deactivated);
}

#[test]
fn every_change_raises_the_epoch() {
    let mut authority = with_key();
    let before = authority.tenant(TENANT).unwrap().epoch;
    operator(&mut authority, &event(KeyEvent::Suspend)).unwrap();
    assert_eq!(authority.tenant(TENANT).unwrap().epoch, before.next());
}

#[test]
fn a_row_that_goes_back_is_a_contradiction() {
    let mut authority = with_key();
    let old = authority.tenant(TENANT).unwrap().clone();
    operator(&mut authority, &event(KeyEvent::Suspend)).unwrap();
    assert_eq!(authority.apply(Row::Tenant(old)), Err(Contradiction));
}

#[test]
fn a_handle_asks_no_more_than_its_key_does() {
    let authority = with_key();
    let new = NewHandle {
        key: name("k"),
        operations: Operations::of(&[Operation::Decrypt]),
        ttl_ms: 1,
        pins: Vec::new(),
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    };
    let decided =
        authority.decide(&principal(Role::Operator), &Command::IssueHandle(new), fresh(), now());
    assert_eq!(decided.unwrap_err().reason, Reason::PurposeRefused);
}

#[test]
fn a_version_is_destroyed_when_its_time_served_has_come_and_not_before() {
    let mut authority = with_key();
    operator(&mut authority, &Command::ScheduleDestruction { key: name("k"), version: 1 }).unwrap();
    let delay = crate::clock::millis(crate::limits::DESTRUCTION_DELAY);
    let at = |served| Reading { served: Served::from_ms(served), ..now() };
    assert!(authority.due_destructions(at(delay - 1)).is_empty());
    let due = authority.due_destructions(at(delay));
    assert_eq!(due.len(), 1);
    assert!(authority.decide_destruction(&due[0], at(delay - 1)).is_err());
    for row in authority.decide_destruction(&due[0], at(delay)).unwrap().rows {
        authority.apply(row).unwrap();
    }
    let key = authority.key_named(TENANT, &name("k")).unwrap();
    assert_eq!(key.versions[0].state, KeyState::Destroyed);
    assert!(authority.decide_destruction(&due[0], at(delay)).is_err());
}

#[test]
fn a_handle_lives_from_a_millisecond_to_a_day() {
    let authority = with_key();
    let issued_for = |ttl_ms| {
        let new = NewHandle {
            key: name("k"),
            operations: Operations::of(&[Operation::Sign]),
            ttl_ms,
            pins: Vec::new(),
            holder: Vec::new(),
            subject: None,
            max_uses: None,
        };
        let asked = Command::IssueHandle(new);
        authority.decide(&principal(Role::Developer), &asked, fresh(), now()).is_ok()
    };
    let most = millis(HANDLE_TTL_MAX);
    assert_eq!([0, 1, most, most + 1].map(issued_for), [false, true, true, false]);
}

#[test]
fn a_page_of_keys_is_full_before_there_is_another() {
    let mut authority = genesis();
    let page = |authority: &Authority, after: Option<&str>| {
        let asked = Command::ListKeys { after: after.map(name) };
        let decided = authority.decide(&principal(Role::Auditor), &asked, fresh(), now());
        match decided.unwrap().answer {
            Answer::Keys { keys, more } => (keys.len(), more),
            other => panic!("{other:?}"),
        }
    };
    for n in 0..=LIST_PAGE {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let key = Key { id: KeyId::from_bytes(id), ..sample(&format!("k{n:04}")) };
        if n == LIST_PAGE {
            assert_eq!(page(&authority, None), (LIST_PAGE, false));
        }
        authority.apply(Row::Key(key)).unwrap();
    }
    assert_eq!(page(&authority, None), (LIST_PAGE, true));
    assert_eq!(page(&authority, Some("k0199")), (1, false));
}

#[test]
fn a_query_asks_for_as_many_records_as_one_answer_holds() {
    let authority = genesis();
    let asks = |limit| {
        let asked = Command::QueryAudit(AuditQuery { limit, ..AuditQuery::default() });
        authority.decide(&principal(Role::Auditor), &asked, fresh(), now()).is_ok()
    };
    let most = QUERY_RECORDS_MAX;
    assert_eq!([0, 1, most, most + 1].map(asks), [false, true, true, false]);
    // Versions without their key would be looked for in every record there is.
    let of_version = |key: Option<&str>| {
        let key = key.map(|key| key.parse().unwrap());
        let asked = AuditQuery { key, version: Some(1), limit: 1, ..AuditQuery::default() };
        let asked = Command::QueryAudit(asked);
        authority.decide(&principal(Role::Auditor), &asked, fresh(), now()).is_ok()
    };
    assert_eq!([None, Some("k")].map(of_version), [false, true]);
}
