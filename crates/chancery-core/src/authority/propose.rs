//! What takes other people: proposals, their approval, and how many it takes.

use std::collections::BTreeSet;

use super::{Authority, Contradiction, Decided, Effect, Fresh, Refusal, Row, Tenant, TenantRow};
use crate::clock::{Reading, millis};
use crate::command::{Answer, Command};
use crate::disclosure::{Disclosed, Disclosure};
use crate::id::{PrincipalId, ProposalId};
use crate::limits::{APPROVALS_MAX, PROPOSAL_TTL_MAX, PROPOSALS_MAX, PROPOSALS_OF_ONE_MAX};
use crate::principal::{Principal, Right};
use crate::proposal::{Ending, Proposal, Proposed};
use crate::reason::Reason;

impl Tenant {
    /// How many people besides the proposer approve a command before it is carried out; 0 for what one does alone.
    fn approvals_for(&self, command: &Command) -> u8 {
        match command {
            // Two people whatever is asked for elsewhere.
            Command::Disclose(disclosure) if disclosure.is_everything() => {
                self.row.approvals.max(1)
            }
            // What an auditor is shown record by record as well.
            Command::Disclose(Disclosure { what: Disclosed::Events { .. }, .. }) => 0,
            // Who could make a principal alone could make the people who approve.
            Command::CreatePrincipal { .. } | Command::Disclose(_) => self.row.approvals,
            _ => 0,
        }
    }

    /// Refuses what nobody does alone.
    pub(super) fn check_alone(&self, command: &Command) -> Result<(), Refusal> {
        match self.approvals_for(command) {
            0 => Ok(()),
            _ if self.row.approvals == 0 => Err(solo()),
            needed => {
                let detail = format!(
                    "this takes {needed} other {}: propose it (`--propose`)",
                    people(needed)
                );
                Err(Refusal::new(Reason::NeedsApproval, detail))
            }
        }
    }

    /// Applies a proposal's row.
    pub(super) fn apply_proposal(&mut self, proposal: Proposal) -> Result<(), Contradiction> {
        let before = self.proposals.get(&proposal.place);
        let goes_on = before.filter(|before| before.id == proposal.id).is_none_or(|before| {
            before.ending.is_none_or(|ending| proposal.ending == Some(ending))
                && before.proposed == proposal.proposed
                && proposal.approvals.starts_with(&before.approvals)
        });
        if !goes_on {
            return Err(Contradiction);
        }
        self.proposals.insert(proposal.place, proposal);
        Ok(())
    }

    fn open(&self, id: ProposalId, now: Reading) -> Result<&Proposal, Refusal> {
        let found = self.proposals.values().find(|proposal| proposal.id == id);
        let unknown = || Refusal::new(Reason::Forbidden, format!("there is no proposal `{id}`"));
        let proposal = found.ok_or_else(unknown)?;
        let over = match proposal.ending {
            Some(Ending::CarriedOut) => "the proposal was carried out",
            Some(Ending::Withdrawn) => "the proposal was withdrawn",
            None if proposal.is_open(now.unix_ms) => return Ok(proposal),
            None => "the proposal has run out; make another",
        };
        Err(Refusal::new(Reason::IllegalTransition, over))
    }

    /// The open proposal, if it is what is named with it.
    fn open_as(
        &self,
        id: ProposalId,
        proposed: &Proposed,
        now: Reading,
    ) -> Result<&Proposal, Refusal> {
        let proposal = self.open(id, now)?;
        if proposal.proposed == *proposed {
            return Ok(proposal);
        }
        Err(Refusal::new(Reason::Forbidden, format!("the proposal `{id}` proposes something else")))
    }

    fn free_place(&self, proposer: PrincipalId, now: Reading) -> Result<u8, Refusal> {
        let is_open = |proposal: &&Proposal| proposal.is_open(now.unix_ms);
        let open: Vec<_> = self.proposals.values().filter(is_open).collect();
        let own = open.iter().filter(|proposal| proposal.proposer == proposer).count();
        let taken: BTreeSet<u8> = open.iter().map(|proposal| proposal.place).collect();
        let free = (0..PROPOSALS_MAX).find(|place| !taken.contains(place));
        free.filter(|_| own < PROPOSALS_OF_ONE_MAX).ok_or_else(|| {
            let detail = format!(
                "{PROPOSALS_OF_ONE_MAX} proposals of one principal may be open, {PROPOSALS_MAX} in all: withdraw some"
            );
            Refusal::new(Reason::QuotaExhausted, detail)
        })
    }

    /// Its approvals that count now: of people who may still approve.
    fn counted(&self, proposal: &Proposal) -> usize {
        let may = |id: &&PrincipalId| {
            self.principals.get(id).is_some_and(|principal| principal.role.may(Right::Approve))
        };
        proposal.approvals.iter().filter(may).count()
    }

    fn approve(&self, approver: &Principal, proposal: &Proposal) -> Result<Decided, Refusal> {
        let refusal = |detail| Err(Refusal::new(Reason::Forbidden, detail));
        if proposal.proposer == approver.id {
            return refusal("nobody approves what they propose");
        }
        if proposal.approvals.contains(&approver.id) {
            return refusal("you have approved it");
        }
        let mut proposal = proposal.clone();
        proposal.approvals.push(approver.id);
        Ok(self.moved(proposal))
    }

    fn withdraw(&self, proposal: &Proposal) -> Decided {
        self.moved(Proposal { ending: Some(Ending::Withdrawn), ..proposal.clone() })
    }

    fn moved(&self, proposal: Proposal) -> Decided {
        Decided {
            rows: vec![Row::Tenant(self.advanced()), Row::Proposal(proposal.clone())],
            effect: Effect::Recorded,
            answer: Answer::Proposal(proposal),
            key: None,
            handle: None,
            step: None,
        }
    }

    pub(super) fn raise_approvals(&self, approvals: u8) -> Result<Decided, Refusal> {
        let may = |principal: &&Principal| principal.role.may(Right::Approve);
        let people = self.principals.values().filter(may).count();
        if approvals <= self.row.approvals || approvals > APPROVALS_MAX {
            let detail = format!(
                "approvals rise, up to {APPROVALS_MAX}; there are {} now",
                self.row.approvals
            );
            return Err(Refusal::new(Reason::IllegalTransition, detail));
        }
        if people <= usize::from(approvals) {
            let detail = format!(
                "principals who may approve: {people}; whoever proposes needs {approvals} besides: make approvers first \
                 (`chancery principal create --role approver`)"
            );
            return Err(Refusal::new(Reason::IllegalTransition, detail));
        }
        let row = TenantRow { approvals, ..self.advanced() };
        Ok(Decided {
            rows: vec![Row::Tenant(row)],
            effect: Effect::Recorded,
            ..Decided::read(Answer::Done)
        })
    }
}

impl Authority {
    /// Decides what concerns proposals.
    pub(super) fn decide_proposal(
        &self,
        principal: &Principal,
        command: &Command,
        fresh: Fresh,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let tenant = self.home(principal)?;
        match command {
            Command::Propose { proposed, ttl_ms } => {
                self.propose(principal, (proposed, *ttl_ms), fresh, now)
            }
            Command::Approve { proposal, proposed } => {
                tenant.approve(principal, tenant.open_as(*proposal, proposed, now)?)
            }
            Command::Withdraw { proposal } => Ok(tenant.withdraw(tenant.open(*proposal, now)?)),
            Command::CarryOut { proposal, proposed } => {
                let proposal = tenant.open_as(*proposal, proposed, now)?;
                self.carry_out(principal, proposal, fresh, now)
            }
            _ => {
                let mut proposals: Vec<_> = tenant.proposals.values().cloned().collect();
                proposals.sort_by_key(|proposal| proposal.id);
                Ok(Decided::read(Answer::Proposals(proposals)))
            }
        }
    }

    fn propose(
        &self,
        principal: &Principal,
        (proposed, ttl_ms): (&Proposed, u64),
        fresh: Fresh,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        let tenant = self.home(principal)?;
        let command = proposed.command();
        if tenant.row.approvals == 0 {
            let is_needed = tenant.approvals_for(&command) > 0;
            return Err(if is_needed { solo() } else { alone() });
        }
        if ttl_ms == 0 || ttl_ms > millis(PROPOSAL_TTL_MAX) {
            return Err(Refusal::new(Reason::Malformed, "a proposal lives from 1 ms to 7 days"));
        }
        let (id, place) = (fresh.proposal, tenant.free_place(principal.id, now)?);
        // What would be refused when it is carried out is not put before others.
        self.admit(principal, &command)?;
        self.decide_alone(principal, &command, fresh, now)?;
        Ok(tenant.moved(Proposal {
            id,
            tenant: principal.tenant,
            place,
            proposer: principal.id,
            proposed: proposed.clone(),
            expires_ms: now.unix_ms.saturating_add(ttl_ms),
            approvals: Vec::new(),
            ending: None,
        }))
    }

    fn carry_out(
        &self,
        proposer: &Principal,
        proposal: &Proposal,
        fresh: Fresh,
        now: Reading,
    ) -> Result<Decided, Refusal> {
        if proposal.proposer != proposer.id {
            let detail = "a proposal is carried out by who has proposed it";
            return Err(Refusal::new(Reason::Forbidden, detail));
        }
        let tenant = self.home(proposer)?;
        let command = proposal.proposed.command();
        let (has, needed) = (tenant.counted(proposal), tenant.approvals_for(&command));
        if has < usize::from(needed) {
            let detail = format!("{has} of {needed} {} have approved it", people(needed));
            return Err(Refusal::new(Reason::NeedsApproval, detail));
        }
        self.admit(proposer, &command)?;
        let mut decided = self.decide_alone(proposer, &command, fresh, now)?;
        if decided.rows.is_empty() {
            decided.rows.push(Row::Tenant(tenant.advanced()));
        }
        let ending = Some(Ending::CarriedOut);
        decided.rows.push(Row::Proposal(Proposal { ending, ..proposal.clone() }));
        decided.effect = Effect::Recorded;
        Ok(decided)
    }

    /// How many people have approved what a command carries out: those whose approval counts now.
    #[must_use]
    pub fn approvals_of(&self, principal: &Principal, command: &Command) -> u8 {
        let Command::CarryOut { proposal, .. } = command else { return 0 };
        let found = self.tenants.get(&principal.tenant).and_then(|tenant| {
            let proposal = self.proposal(principal.tenant, *proposal)?;
            u8::try_from(tenant.counted(proposal)).ok()
        });
        found.unwrap_or_default()
    }
}

fn people(number: u8) -> &'static str {
    if number == 1 { "person" } else { "people" }
}

/// It takes two people, and there is one.
fn solo() -> Refusal {
    let detail = "this takes two people, and under `solo` nobody could tell one person's two principals from two people: \
                  make an approver, then raise the approvals (`chancery posture raise-approvals 1`)";
    Refusal::new(Reason::NeedsApproval, detail)
}

/// It takes nobody else.
fn alone() -> Refusal {
    let detail = "under `solo` nobody approves: give the command itself";
    Refusal::new(Reason::IllegalTransition, detail)
}
