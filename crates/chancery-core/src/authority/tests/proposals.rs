//! What takes other people, one case a line.

use super::*;
use crate::clock::millis;
use crate::disclosure::{Disclosed, Disclosure};
use crate::id::ProposalId;
use crate::limits::{APPROVALS_MAX, PROPOSAL_TTL_MAX, PROPOSALS_MAX, PROPOSALS_OF_ONE_MAX};
use crate::proposal::{Ending, Proposed};

const DAY: u64 = 24 * 3_600_000;

fn id(number: u8) -> ProposalId {
    ProposalId::from_bytes([number; 16])
}

fn everything() -> Proposed {
    let what = Disclosed::Everything { first: 1, last: 2, second: [2; 32] };
    Proposed::Disclose(Disclosure { what, recipient: [1; 32] })
}

fn of_tenant() -> Proposed {
    let what = Disclosed::Months { first: 1, last: 2 };
    Proposed::Disclose(Disclosure { what, recipient: [1; 32] })
}

fn newcomer() -> Proposed {
    Proposed::CreatePrincipal { name: name("new"), role: Role::Operator, public: [77; 32] }
}

/// A second operator and a second approver.
fn more_people() -> [Principal; 2] {
    [Role::Operator, Role::Approver].map(|role| Principal {
        id: PrincipalId::from_bytes([role as u8 + 101; 16]),
        name: format!("other-{}", role.name()).parse().unwrap(),
        public: [role as u8 + 100; 32],
        ..principal(role)
    })
}

fn people() -> Authority {
    let mut authority = genesis();
    for other in more_people() {
        authority.apply(Row::Principal(other)).unwrap();
    }
    authority
}

fn with_approvals(approvals: u8) -> Authority {
    let mut authority = people();
    operator(&mut authority, &Command::RaiseApprovals { approvals }).unwrap();
    authority
}

/// Decides as somebody at some time, with an id for a new proposal, and applies it.
fn give(
    authority: &mut Authority,
    who: &Principal,
    asked: &Command,
    (number, at_ms): (u8, u64),
) -> Result<Answer, Reason> {
    let fresh = Fresh { proposal: id(number), ..fresh() };
    let now = Reading { unix_ms: at_ms, ..now() };
    let decided = authority.decide(who, asked, fresh, now).map_err(|refusal| refusal.reason)?;
    for row in decided.rows {
        authority.apply(row).unwrap();
    }
    Ok(decided.answer)
}

fn propose(authority: &mut Authority, proposed: Proposed, number: u8) -> Result<Answer, Reason> {
    let asked = Command::Propose { proposed, ttl_ms: DAY };
    give(authority, &principal(Role::Operator), &asked, (number, NOW))
}

fn approve(
    authority: &mut Authority,
    who: &Principal,
    proposed: Proposed,
    number: u8,
) -> Result<Answer, Reason> {
    give(authority, who, &Command::Approve { proposal: id(number), proposed }, (0, NOW))
}

fn carry_out(authority: &mut Authority, proposed: Proposed, number: u8) -> Result<Answer, Reason> {
    let asked = Command::CarryOut { proposal: id(number), proposed };
    give(authority, &principal(Role::Operator), &asked, (0, NOW))
}

#[test]
fn approvals_only_rise_and_never_above_who_could_give_them() {
    let raise = |authority: &mut Authority, approvals| {
        operator(authority, &Command::RaiseApprovals { approvals })
    };
    let mut authority = genesis();
    // An operator and an approver: one of them proposes, and one other approves.
    assert_eq!(raise(&mut authority, 2), Err(Reason::IllegalTransition));
    assert_eq!(raise(&mut authority, 0), Err(Reason::IllegalTransition));
    assert_eq!(raise(&mut authority, 1), Ok(Answer::Done));
    assert_eq!(raise(&mut authority, 1), Err(Reason::IllegalTransition));
    let mut authority = people();
    assert_eq!(raise(&mut authority, 3), Ok(Answer::Done));
    assert_eq!(authority.tenant(TENANT).unwrap().approvals, 3);
    assert_eq!(raise(&mut authority, APPROVALS_MAX + 1), Err(Reason::IllegalTransition));
    let row = TenantRow { approvals: 2, ..authority.tenant(TENANT).unwrap().clone() };
    assert!(authority.apply(Row::Tenant(row)).is_err(), "a row that lowers them contradicts");
    for role in [Role::Developer, Role::Auditor, Role::Approver] {
        let refused = command(&mut people(), role, &Command::RaiseApprovals { approvals: 1 });
        assert_eq!(refused, Err(Reason::Forbidden));
    }
}

#[test]
fn under_solo_one_person_does_all_but_what_takes_two() {
    let mut authority = people();
    for proposed in [of_tenant(), newcomer()] {
        assert!(operator(&mut authority, &proposed.command()).is_ok());
        assert_eq!(propose(&mut authority, proposed, 1), Err(Reason::IllegalTransition));
    }
    assert_eq!(operator(&mut authority, &everything().command()), Err(Reason::NeedsApproval));
    assert_eq!(propose(&mut authority, everything(), 1), Err(Reason::NeedsApproval));
}

#[test]
fn nobody_does_alone_what_takes_approvals() {
    let mut authority = with_approvals(1);
    for proposed in [of_tenant(), newcomer(), everything()] {
        let alone = operator(&mut authority, &proposed.command());
        assert_eq!(alone, Err(Reason::NeedsApproval));
    }
    // What one could undo, and what takes away, is still done by one.
    assert!(operator(&mut authority, &Command::CreateKey(new_key("k"))).is_ok());
    let suspend =
        Command::ChangeVersion { key: name("k"), version: None, event: KeyEvent::Suspend };
    assert!(operator(&mut authority, &suspend).is_ok());
}

#[test]
fn a_proposal_is_carried_out_once_by_its_proposer_when_others_have_approved_it() {
    let mut authority = with_approvals(2);
    let [other_operator, other_approver] = more_people();
    propose(&mut authority, newcomer(), 1).unwrap();
    assert_eq!(carry_out(&mut authority, newcomer(), 1), Err(Reason::NeedsApproval));
    let own = approve(&mut authority, &principal(Role::Operator), newcomer(), 1);
    assert_eq!(own, Err(Reason::Forbidden), "one's own");
    approve(&mut authority, &other_operator, newcomer(), 1).unwrap();
    let twice = approve(&mut authority, &other_operator, newcomer(), 1);
    assert_eq!(twice, Err(Reason::Forbidden), "twice");
    assert_eq!(carry_out(&mut authority, newcomer(), 1), Err(Reason::NeedsApproval), "one of two");
    let auditor = approve(&mut authority, &principal(Role::Auditor), newcomer(), 1);
    assert_eq!(auditor, Err(Reason::Forbidden), "who may not");
    approve(&mut authority, &other_approver, newcomer(), 1).unwrap();
    let asked = Command::CarryOut { proposal: id(1), proposed: newcomer() };
    let another = give(&mut authority, &other_operator, &asked, (0, NOW));
    assert_eq!(another, Err(Reason::Forbidden), "who did not propose it");
    assert_eq!(authority.approvals_of(&principal(Role::Operator), &asked), 2);
    assert!(matches!(carry_out(&mut authority, newcomer(), 1), Ok(Answer::Principal(_))));
    assert_eq!(carry_out(&mut authority, newcomer(), 1), Err(Reason::IllegalTransition));
    assert_eq!(authority.proposal(TENANT, id(1)).unwrap().ending, Some(Ending::CarriedOut));
}

#[test]
fn what_is_approved_and_carried_out_is_what_was_proposed() {
    let mut authority = with_approvals(1);
    let [other, _] = more_people();
    propose(&mut authority, of_tenant(), 1).unwrap();
    assert_eq!(approve(&mut authority, &other, everything(), 1), Err(Reason::Forbidden));
    approve(&mut authority, &other, of_tenant(), 1).unwrap();
    assert_eq!(carry_out(&mut authority, everything(), 1), Err(Reason::Forbidden));
    assert_eq!(carry_out(&mut authority, of_tenant(), 2), Err(Reason::Forbidden), "no such one");
    assert_eq!(carry_out(&mut authority, of_tenant(), 1), Ok(Answer::Done));
}

#[test]
fn break_glass_takes_another_person_and_two_keys() {
    let mut authority = with_approvals(1);
    propose(&mut authority, everything(), 1).unwrap();
    assert_eq!(carry_out(&mut authority, everything(), 1), Err(Reason::NeedsApproval));
    approve(&mut authority, &principal(Role::Approver), everything(), 1).unwrap();
    assert_eq!(carry_out(&mut authority, everything(), 1), Ok(Answer::Done));
    let what = Disclosed::Everything { first: 1, last: 2, second: [1; 32] };
    let one_key = Proposed::Disclose(Disclosure { what, recipient: [1; 32] });
    assert_eq!(propose(&mut authority, one_key, 2), Err(Reason::Malformed));
}

#[test]
fn a_proposal_ends_when_it_runs_out_or_is_withdrawn() {
    let mut authority = with_approvals(1);
    let [other, _] = more_people();
    propose(&mut authority, newcomer(), 1).unwrap();
    let asked = Command::Approve { proposal: id(1), proposed: newcomer() };
    let late = give(&mut authority, &other, &asked, (0, NOW + DAY));
    assert_eq!(late, Err(Reason::IllegalTransition));
    assert!(give(&mut authority, &other, &asked, (0, NOW + DAY - 1)).is_ok());
    let asked = Command::CarryOut { proposal: id(1), proposed: newcomer() };
    let late = give(&mut authority, &principal(Role::Operator), &asked, (0, NOW + DAY));
    assert_eq!(late, Err(Reason::IllegalTransition));
    let withdraw = Command::Withdraw { proposal: id(1) };
    assert_eq!(command(&mut authority, Role::Developer, &withdraw), Err(Reason::Forbidden));
    assert!(command(&mut authority, Role::Approver, &withdraw).is_ok());
    assert_eq!(carry_out(&mut authority, newcomer(), 1), Err(Reason::IllegalTransition));
    let row = authority.proposal(TENANT, id(1)).unwrap().clone();
    for altered in [
        Proposal { ending: None, ..row.clone() },
        Proposal { ending: Some(Ending::CarriedOut), ..row.clone() },
        Proposal { approvals: Vec::new(), ..row.clone() },
        Proposal { proposed: everything(), ..row },
    ] {
        assert!(authority.apply(Row::Proposal(altered)).is_err());
    }
}

#[test]
fn an_approval_counts_as_long_as_who_gave_it_may() {
    let mut authority = with_approvals(1);
    let [other, _] = more_people();
    propose(&mut authority, newcomer(), 1).unwrap();
    approve(&mut authority, &other, newcomer(), 1).unwrap();
    let demoted = Principal { role: Role::Developer, ..other };
    authority.apply(Row::Principal(demoted)).unwrap();
    assert_eq!(carry_out(&mut authority, newcomer(), 1), Err(Reason::NeedsApproval));
}

#[test]
fn proposals_are_bounded_and_places_are_taken_again() {
    let mut authority = with_approvals(1);
    let [other, _] = more_people();
    let asked = |ttl_ms| Command::Propose { proposed: of_tenant(), ttl_ms };
    for ttl_ms in [0, millis(PROPOSAL_TTL_MAX) + 1] {
        let refused = give(&mut authority, &other, &asked(ttl_ms), (1, NOW));
        assert_eq!(refused, Err(Reason::Malformed));
    }
    let of_one = u8::try_from(PROPOSALS_OF_ONE_MAX).unwrap();
    for number in 0..of_one {
        propose(&mut authority, of_tenant(), number).unwrap();
    }
    assert_eq!(propose(&mut authority, of_tenant(), 90), Err(Reason::QuotaExhausted));
    assert!(give(&mut authority, &other, &asked(millis(PROPOSAL_TTL_MAX)), (91, NOW)).is_ok());
    operator(&mut authority, &Command::Withdraw { proposal: id(3) }).unwrap();
    propose(&mut authority, of_tenant(), 92).unwrap();
    assert_eq!(authority.proposal(TENANT, id(92)).unwrap().place, 3);
    assert!(authority.proposal(TENANT, id(3)).is_none());
    let Ok(Answer::Proposals(all)) = operator(&mut authority, &Command::ListProposals) else {
        panic!("no list")
    };
    assert_eq!(all.len(), usize::from(of_one) + 1);
    assert!(all.is_sorted_by_key(|proposal| proposal.id) && all.len() < usize::from(PROPOSALS_MAX));
}

#[test]
fn what_would_be_refused_is_not_proposed() {
    let mut authority = with_approvals(1);
    let taken =
        Proposed::CreatePrincipal { name: name("auditor"), role: Role::Auditor, public: [9; 32] };
    assert_eq!(propose(&mut authority, taken, 1), Err(Reason::NameTaken));
    let asked = Command::Propose { proposed: of_tenant(), ttl_ms: DAY };
    for role in [Role::Developer, Role::Auditor, Role::Approver] {
        assert_eq!(command(&mut authority, role, &asked), Err(Reason::Forbidden));
    }
}
