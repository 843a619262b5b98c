//! The one place where a request is decided.
//!
//! [`Core`] is the whole of what decisions depend on: authority, remembered operation ids, remembered
//! proofs, the clock. It is behind one lock in the signer, and each call here is short, allocates little
//! and does no cryptography.

use std::collections::{BTreeMap, BTreeSet};

use crate::authority::{Authority, Permit, Use};
use crate::budget::AuditBudget;
use crate::clock::{Clock, Quality, Reading, Sample, latest_reduction_ms, millis};
use crate::counts::Counts;
use crate::handle::Handle;
use crate::id::HandleId;
use crate::idempotency::{
    Attempt, Dated, EntryName, Index, Place, RequestDigest, Reservation, Room,
};
use crate::limits::{
    OPERATION_RETENTION, PROOF_AHEAD_MAX, PROOF_NONCES_MAX, PROOF_NONCES_OF_ONE_HANDLE_MAX,
    PROOF_VALIDITY_MAX,
};
use crate::reason::Reason;

/// A caller's operation id, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The keyed hash of tenant, principal and id.
    pub name: EntryName,
    /// The keyed hash of the request.
    pub digest: RequestDigest,
    /// The time in the id, in milliseconds since 1970.
    pub id_ms: u64,
}

/// A holder's proof, whose signature was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whose possession it proves.
    pub holder: [u8; 32],
    /// What makes it unique.
    pub nonce: [u8; 16],
    /// When it was made, in milliseconds since 1970.
    pub made_ms: u64,
}

/// What is decided about one use.
#[derive(Debug)]
pub enum UseDecision {
    /// Go ahead.
    Permitted(Permit),
    /// It was carried out before: its answer stands there. The caller was authorised anew.
    Repeat(Place, Permit),
    /// It was carried out before, and this caller may no longer have its answer.
    Withheld(Reason),
    /// Nothing is done.
    Refused(Reason),
}

/// What decisions depend on.
#[derive(Debug)]
pub struct Core {
    /// Who may do what.
    pub authority: Authority,
    /// Which operation ids were used.
    pub operations: Index,
    /// What time it is.
    pub clock: Clock,
    /// What each tenant may still write into the audit today.
    pub budget: AuditBudget,
    /// How often handles were used that are not for any number of uses.
    pub counts: Counts,
    /// The latest date of an operation id that a retired log can have taken before this one was begun, in milliseconds
    /// since 1970; 0 if there was none.
    pub unknown_to_ms: u64,
    proofs: Proofs,
}

impl Core {
    /// Begins with what was loaded, at the clock's mark.
    #[must_use]
    pub fn new(authority: Authority, operations: Index, counts: Counts, clock: Clock) -> Self {
        let (budget, proofs) = (AuditBudget::default(), Proofs::since(clock.mark_ms()));
        Self { authority, operations, clock, budget, counts, unknown_to_ms: 0, proofs }
    }

    /// Reads the time.
    pub fn now(&mut self, sample: Sample) -> Reading {
        self.clock.read(sample)
    }

    /// Takes the proofs shown with a handle, each of which counts once. A void handle's are not remembered.
    ///
    /// # Errors
    ///
    /// [`Reason::HandleExpired`] if the handle is void; [`Reason::ProofInvalid`] if a proof is stale, of
    /// before this start, or was seen; [`Reason::Overloaded`] if no more can be remembered.
    pub fn take_proofs(
        &mut self,
        handle: &Handle,
        proofs: &[Proof],
        now: Reading,
    ) -> Result<(), Reason> {
        if proofs.is_empty() {
            return Ok(());
        }
        self.authority.check_live(handle, now)?;
        self.proofs.take(handle.root().id, proofs, now.unix_ms)
    }

    /// Decides one use. The proofs behind `asked.proven` were taken before.
    pub fn step_use(&mut self, asked: &Use<'_>, claimed: Option<&Claimed>) -> UseDecision {
        let within = self.budget.check(asked.handle.root().tenant, asked.now.unix_ms);
        let permitted = within.and_then(|()| self.authority.permit(asked));
        match (permitted, claimed) {
            (Ok(permit), None) => self.take(asked, permit, None),
            (Ok(permit), Some(claimed)) => match self.reserve(claimed, asked.now, Room::Use) {
                Ok(Reservation::New) => self.take(asked, permit, Some(claimed)),
                Ok(Reservation::Done(place)) => UseDecision::Repeat(place, permit),
                Err(reason) => UseDecision::Refused(reason),
            },
            (Err(reason), claimed) => self.refuse(reason, claimed),
        }
    }

    /// Takes a use of the handle. What was carried out before is none: its repeat takes nothing.
    fn take(&mut self, asked: &Use<'_>, permit: Permit, claimed: Option<&Claimed>) -> UseDecision {
        match self.counts.take(asked.handle, asked.now.unix_ms) {
            Ok(()) => UseDecision::Permitted(permit),
            Err(reason) => {
                if let Some(claimed) = claimed {
                    self.operations.release_unfinished(&claimed.name, claimed.id_ms);
                }
                UseDecision::Refused(reason)
            }
        }
    }

    /// A use that was permitted comes to nothing: its operation id is free again, and its handle was not used.
    pub fn give_back(&mut self, handle: &Handle, claimed: Option<&Claimed>) {
        self.counts.give_back(handle);
        if let Some(claimed) = claimed {
            self.operations.release_unfinished(&claimed.name, claimed.id_ms);
        }
    }

    /// A refusal, unless an earlier attempt under this id was carried out or is about to be: that a use was
    /// refused is proof that it had no effect.
    #[must_use]
    pub fn refuse(&self, reason: Reason, claimed: Option<&Claimed>) -> UseDecision {
        match claimed.and_then(|claimed| self.operations.attempt(&claimed.name, &claimed.digest)) {
            Some(Attempt::Done) => UseDecision::Withheld(reason),
            Some(Attempt::InFlight) => UseDecision::Refused(Reason::OperationInFlight),
            None => UseDecision::Refused(reason),
        }
    }

    /// Reserves an operation id.
    ///
    /// # Errors
    ///
    /// The [`Reason`] for which it is not to be had.
    pub fn reserve(
        &mut self,
        claimed: &Claimed,
        now: Reading,
        room: Room,
    ) -> Result<Reservation, Reason> {
        let latest_ms = match (room, now.quality) {
            (Room::Reduction, Quality::Suspect) => latest_reduction_ms(now.unix_ms, now.wall_ms),
            // Uses are many, and each is remembered until the mark has passed its date and a day: a wall clock
            // that is years ahead must not fill the index for years.
            (Room::Use, Quality::Suspect) => {
                now.latest_ms().min(now.unix_ms.saturating_add(millis(OPERATION_RETENTION)))
            }
            _ => now.latest_ms(),
        };
        let (id_ms, now_ms, unknown_to_ms) = (claimed.id_ms, now.unix_ms, self.unknown_to_ms);
        let dated = Dated { id_ms, now_ms, latest_ms, unknown_to_ms };
        self.operations.reserve(claimed.name, claimed.digest, dated, room)
    }

    /// Reserves an id that was taken before, and whose command is stored or in the reduction journal. It is not
    /// asked again whether it is dated ahead, nor whether there is room: it would be forgotten, and apply twice.
    ///
    /// # Errors
    ///
    /// The [`Reason`] if it is stale by now, or another request's.
    pub fn reserve_again(
        &mut self,
        claimed: &Claimed,
        now: Reading,
    ) -> Result<Reservation, Reason> {
        // Of a log that was retired, no command that waits here was on record.
        let (id_ms, now_ms) = (claimed.id_ms, now.unix_ms);
        let dated = Dated { id_ms, now_ms, latest_ms: u64::MAX, unknown_to_ms: 0 };
        self.operations.reserve(claimed.name, claimed.digest, dated, Room::Reduction)
    }
}

/// A holder and the nonce of its proof.
type Seen = ([u8; 32], [u8; 16]);

/// Proofs seen within their validity; each counts once.
#[derive(Debug)]
struct Proofs {
    /// What was shown to an earlier start is not known: nothing that was made before this one is taken.
    since_ms: u64,
    seen: BTreeSet<Seen>,
    by_time: BTreeMap<u64, Vec<(HandleId, Seen)>>,
    by_handle: BTreeMap<HandleId, usize>,
}

impl Proofs {
    fn since(since_ms: u64) -> Self {
        let (by_time, by_handle) = (BTreeMap::new(), BTreeMap::new());
        Self { since_ms, seen: BTreeSet::new(), by_time, by_handle }
    }

    fn take(&mut self, handle: HandleId, proofs: &[Proof], now_ms: u64) -> Result<(), Reason> {
        self.expire(now_ms);
        for proof in proofs {
            self.check(proof, now_ms)?;
            let of_the_handle = self.by_handle.get(&handle).copied().unwrap_or_default();
            if self.seen.len() >= PROOF_NONCES_MAX
                || of_the_handle >= PROOF_NONCES_OF_ONE_HANDLE_MAX
            {
                return Err(Reason::Overloaded);
            }
            let unique = (proof.holder, proof.nonce);
            if !self.seen.insert(unique) {
                return Err(Reason::ProofInvalid);
            }
            self.by_time.entry(proof.made_ms).or_default().push((handle, unique));
            self.by_handle.insert(handle, of_the_handle + 1);
        }
        Ok(())
    }

    fn check(&self, proof: &Proof, now_ms: u64) -> Result<(), Reason> {
        let is_ahead = proof.made_ms > now_ms.saturating_add(millis(PROOF_AHEAD_MAX));
        let is_stale = proof.made_ms.saturating_add(millis(PROOF_VALIDITY_MAX)) < now_ms;
        let is_ours = proof.made_ms >= self.since_ms;
        if is_ahead || is_stale || !is_ours { Err(Reason::ProofInvalid) } else { Ok(()) }
    }

    fn expire(&mut self, now_ms: u64) {
        // A proof is remembered for as long as it would be taken: while now <= made + validity.
        while let Some(entry) = self.by_time.first_entry() {
            if entry.key().saturating_add(millis(PROOF_VALIDITY_MAX)) >= now_ms {
                break;
            }
            for (handle, unique) in entry.remove() {
                self.seen.remove(&unique);
                let count = self.by_handle.entry(handle).or_default();
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.by_handle.remove(&handle);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Served;
    use crate::id::NodeId;

    const NODE: NodeId = NodeId::from_bytes([1; 16]);

    fn proof(nonce: u8, made_ms: u64) -> Proof {
        Proof { holder: [1; 32], nonce: [nonce; 16], made_ms }
    }

    const ONE: HandleId = HandleId::from_bytes([1; 16]);
    const OTHER: HandleId = HandleId::from_bytes([2; 16]);

    #[test]
    fn a_proof_counts_once() {
        let mut proofs = Proofs::since(0);
        assert_eq!(proofs.take(ONE, &[proof(1, 1_000)], 1_000), Ok(()));
        assert_eq!(proofs.take(ONE, &[proof(1, 1_000)], 1_001), Err(Reason::ProofInvalid));
        assert_eq!(proofs.take(OTHER, &[proof(1, 1_000)], 1_001), Err(Reason::ProofInvalid));
        assert_eq!(proofs.take(ONE, &[proof(2, 1_000)], 1_001), Ok(()));
    }

    #[test]
    fn a_proof_is_remembered_as_long_as_it_would_be_taken() {
        let validity = millis(PROOF_VALIDITY_MAX);
        let mut proofs = Proofs::since(0);
        let again = proof(1, 100_000);
        proofs.take(ONE, &[again], 100_000).unwrap();
        assert_eq!(proofs.take(ONE, &[again], 100_000 + validity), Err(Reason::ProofInvalid));
        assert_eq!(proofs.seen.len(), 1);
        assert_eq!(proofs.take(ONE, &[again], 100_001 + validity), Err(Reason::ProofInvalid));
        assert_eq!((proofs.seen.len(), proofs.by_handle.len()), (0, 0));
    }

    #[test]
    fn a_proof_dated_ahead_or_made_before_this_start_is_refused() {
        let ahead = millis(PROOF_AHEAD_MAX);
        let mut proofs = Proofs::since(100_000);
        assert_eq!(proofs.take(ONE, &[proof(1, 99_999)], 100_000), Err(Reason::ProofInvalid));
        assert_eq!(proofs.take(ONE, &[proof(2, 100_000)], 100_000), Ok(()));
        assert_eq!(proofs.take(ONE, &[proof(3, 100_000 + ahead)], 100_000), Ok(()));
        let later = proof(4, 100_001 + ahead);
        assert_eq!(proofs.take(ONE, &[later], 100_000), Err(Reason::ProofInvalid));
    }

    #[test]
    fn one_handle_does_not_keep_anothers_proofs_out() {
        let mut proofs = Proofs::since(0);
        let many = |n: usize| {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&n.to_be_bytes());
            Proof { holder: [1; 32], nonce, made_ms: 1_000 }
        };
        for n in 0..PROOF_NONCES_OF_ONE_HANDLE_MAX {
            assert_eq!(proofs.take(ONE, &[many(n)], 1_000), Ok(()));
        }
        let next = many(PROOF_NONCES_OF_ONE_HANDLE_MAX);
        assert_eq!(proofs.take(ONE, &[next], 1_000), Err(Reason::Overloaded));
        assert_eq!(proofs.take(OTHER, &[next], 1_000), Ok(()));
    }

    #[test]
    fn a_clock_that_is_years_ahead_does_not_fill_the_index_for_years() {
        const DAY: u64 = 86_400_000;
        let at = |wall_ms| Sample { wall_ms, boot_ms: 0 };
        let mut clock = Clock::start(None, Served::default(), at(DAY));
        let now = clock.read(at(400 * DAY));
        let mut core = Core::new(Authority::default(), Index::default(), Counts::of(NODE), clock);
        let claimed = |n, id_ms| Claimed { name: [n; 32], digest: [0; 32], id_ms };
        let mut reserve = |n, id_ms, room| core.reserve(&claimed(n, id_ms), now, room);
        assert_eq!(reserve(1, 2 * DAY, Room::Use), Ok(Reservation::New));
        assert_eq!(reserve(2, 4 * DAY, Room::Use), Err(Reason::OperationIdStale));
        assert_eq!(reserve(3, 400 * DAY, Room::Command), Ok(Reservation::New));
        assert_eq!(reserve(4, 700 * DAY, Room::Command), Err(Reason::OperationIdStale));
        assert_eq!(reserve(5, 700 * DAY, Room::Reduction), Ok(Reservation::New));
        assert_eq!(reserve(6, 800 * DAY, Room::Reduction), Err(Reason::OperationIdStale));
    }

    #[test]
    fn an_id_that_was_taken_before_is_taken_again_whatever_the_clock_says() {
        const DAY: u64 = 86_400_000;
        let at = Sample { wall_ms: DAY, boot_ms: 0 };
        let mut clock = Clock::start(None, Served::default(), at);
        let now = clock.read(at);
        let mut core = Core::new(Authority::default(), Index::default(), Counts::of(NODE), clock);
        let claimed = Claimed { name: [1; 32], digest: [0; 32], id_ms: 3 * DAY };
        let refused = core.reserve(&claimed, now, Room::Reduction);
        assert_eq!(refused, Err(Reason::OperationIdStale));
        assert_eq!(core.reserve_again(&claimed, now), Ok(Reservation::New));
        assert_eq!(core.reserve_again(&claimed, now), Err(Reason::OperationInFlight));
    }
}
