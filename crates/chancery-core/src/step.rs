//! The one place where a request is decided.
//!
//! [`Core`] is the whole of what decisions depend on: authority, remembered operation ids, remembered
//! proofs, the clock. It is behind one lock in the signer, and each call here is short, allocates little
//! and does no cryptography.

use std::collections::{BTreeMap, BTreeSet};

use crate::authority::{Authority, Permit, Use};
use crate::budget::AuditBudget;
use crate::clock::{Clock, Reading, Sample, millis};
use crate::idempotency::{Dated, EntryName, Index, Place, RequestDigest, Reservation};
use crate::limits::{PROOF_NONCES_MAX, PROOF_VALIDITY_MAX};
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
    proofs: Proofs,
}

impl Core {
    /// Begins with what was loaded.
    #[must_use]
    pub fn new(authority: Authority, operations: Index, clock: Clock) -> Self {
        Self {
            authority,
            operations,
            clock,
            budget: AuditBudget::default(),
            proofs: Proofs::default(),
        }
    }

    /// Reads the time.
    pub fn now(&mut self, sample: Sample) -> Reading {
        self.clock.read(sample)
    }

    /// Takes proofs, each of which counts once.
    ///
    /// # Errors
    ///
    /// [`Reason::ProofInvalid`] if one is stale or was seen, [`Reason::Overloaded`] if no more can be
    /// remembered.
    pub fn take_proofs(&mut self, proofs: &[Proof], now: Reading) -> Result<(), Reason> {
        self.proofs.take(proofs, now.unix_ms)
    }

    /// Decides one use. The proofs behind `asked.proven` were taken before.
    pub fn step_use(&mut self, asked: &Use<'_>, claimed: Option<&Claimed>) -> UseDecision {
        let within = self.budget.check(asked.handle.root().tenant, asked.now.unix_ms);
        let permitted = within.and_then(|()| self.authority.permit(asked));
        match (permitted, claimed) {
            (Ok(permit), None) => UseDecision::Permitted(permit),
            (Ok(permit), Some(claimed)) => match self.reserve(claimed, asked.now) {
                Ok(Reservation::New) => UseDecision::Permitted(permit),
                Ok(Reservation::Done(place)) => UseDecision::Repeat(place, permit),
                Err(reason) => UseDecision::Refused(reason),
            },
            (Err(reason), Some(claimed)) if self.was_done(claimed) => UseDecision::Withheld(reason),
            (Err(reason), _) => UseDecision::Refused(reason),
        }
    }

    /// Reserves an operation id.
    ///
    /// # Errors
    ///
    /// The [`Reason`] for which it is not to be had.
    pub fn reserve(&mut self, claimed: &Claimed, now: Reading) -> Result<Reservation, Reason> {
        let dated = Dated { id_ms: claimed.id_ms, now_ms: now.unix_ms };
        self.operations.reserve(claimed.name, claimed.digest, dated)
    }

    fn was_done(&self, claimed: &Claimed) -> bool {
        self.operations.is_done(&claimed.name, &claimed.digest)
    }
}

/// A holder and the nonce of its proof.
type Seen = ([u8; 32], [u8; 16]);

/// Proofs seen within their validity; each counts once.
#[derive(Debug, Default)]
struct Proofs {
    seen: BTreeSet<Seen>,
    by_time: BTreeMap<u64, Vec<Seen>>,
}

impl Proofs {
    fn take(&mut self, proofs: &[Proof], now_ms: u64) -> Result<(), Reason> {
        self.expire(now_ms);
        for proof in proofs {
            if proof.made_ms.abs_diff(now_ms) > millis(PROOF_VALIDITY_MAX) {
                return Err(Reason::ProofInvalid);
            }
            if self.seen.len() >= PROOF_NONCES_MAX {
                return Err(Reason::Overloaded);
            }
            let unique = (proof.holder, proof.nonce);
            if !self.seen.insert(unique) {
                return Err(Reason::ProofInvalid);
            }
            self.by_time.entry(proof.made_ms).or_default().push(unique);
        }
        Ok(())
    }

    fn expire(&mut self, now_ms: u64) {
        // A proof is remembered for as long as it would be taken: while |made - now| <= validity.
        while let Some(entry) = self.by_time.first_entry() {
            if entry.key().saturating_add(millis(PROOF_VALIDITY_MAX)) >= now_ms {
                break;
            }
            for unique in entry.remove() {
                self.seen.remove(&unique);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(nonce: u8, made_ms: u64) -> Proof {
        Proof { holder: [1; 32], nonce: [nonce; 16], made_ms }
    }

    #[test]
    fn a_proof_counts_once() {
        let mut proofs = Proofs::default();
        assert_eq!(proofs.take(&[proof(1, 1_000)], 1_000), Ok(()));
        assert_eq!(proofs.take(&[proof(1, 1_000)], 1_001), Err(Reason::ProofInvalid));
        assert_eq!(proofs.take(&[proof(2, 1_000)], 1_001), Ok(()));
    }

    #[test]
    fn a_proof_is_remembered_as_long_as_it_would_be_taken() {
        let validity = millis(PROOF_VALIDITY_MAX);
        let mut proofs = Proofs::default();
        proofs.take(&[proof(1, 100_000)], 100_000).unwrap();
        assert_eq!(
            proofs.take(&[proof(1, 100_000)], 100_000 + validity),
            Err(Reason::ProofInvalid)
        );
        assert_eq!(proofs.seen.len(), 1);
        assert_eq!(
            proofs.take(&[proof(1, 100_000)], 100_001 + validity),
            Err(Reason::ProofInvalid)
        );
        assert_eq!(proofs.seen.len(), 0);
    }
}
