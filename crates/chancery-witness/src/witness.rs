//! A request, from its bytes to its answer.
//!
//! Clock and store are handed in. A request is decided on what was cosigned last, and what it leads to replaces
//! exactly that; one that was overtaken meanwhile is decided anew.
//!
//! What anybody can send, a checkpoint that is cosigned already, costs at most one commit a second for each log:
//! within the second the answer is the one that was given.
//!
//! **Invariant:** the times of an origin's cosignatures never go back, whatever the clock does.

#[cfg(test)]
pub(crate) mod testing;

use std::num::NonZeroU64;

use chancery_crypto::notes::{CosignError, Cosigner};
use chancery_log::note::{Note, VerifierKey};
use chancery_log::witness::{AddCheckpoint, Answer, Refusal, SignedCheckpoint};
use chancery_store::Store;

use crate::latest::{Latest, LatestError, OriginHash, Rows, origin_hash};
use crate::limits::TURNS_MAX;
use crate::logs::Logs;

/// A witness.
pub struct Witness {
    rows: Rows,
    logs: Logs,
    cosigner: Cosigner,
}

/// There is no answer. The caller may ask again; what is durable then decides.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The clock stands before 1970, and nothing was cosigned at a later time.
    #[error("the clock stands before 1970")]
    Clock,
    /// No cosignature is to be had.
    #[error(transparent)]
    Cosign(#[from] CosignError),
    /// The state cannot be read or replaced.
    #[error(transparent)]
    State(#[from] LatestError),
}

impl AddError {
    /// Whether the next request may fare better without anybody's doing.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::State(LatestError::Overtaken))
    }
}

impl Witness {
    /// A witness of `logs`, which keeps what it knows of them in `store`.
    ///
    /// # Errors
    ///
    /// [`LatestError`] if what is there of one of the logs is not what this witness cosigned.
    pub fn new(store: Box<dyn Store>, logs: Logs, cosigner: Cosigner) -> Result<Self, LatestError> {
        let rows = Rows::new(store, &cosigner)?;
        for origin in logs.origins() {
            rows.read(&origin_hash(origin))?;
        }
        Ok(Self { rows, logs, cosigner })
    }

    /// Its public keys.
    #[must_use]
    pub fn verifier_keys(&self) -> [&VerifierKey; 2] {
        self.cosigner.verifier_keys()
    }

    /// The note that was cosigned last of an origin.
    ///
    /// # Errors
    ///
    /// [`LatestError`].
    pub fn latest(&self, origin: &OriginHash) -> Result<Option<Note>, LatestError> {
        Ok(self.rows.read(origin)?.map(|latest| latest.note))
    }

    /// Answers `add-checkpoint` at `now_s`, in seconds since 1970. What is in the answer is durable.
    ///
    /// # Errors
    ///
    /// [`AddError`]; then no cosignature leaves, though the checkpoint may have become the latest.
    pub fn add(&self, body: &[u8], now_s: u64) -> Result<Answer, AddError> {
        let Ok(request) = AddCheckpoint::parse(body) else {
            return Ok(Answer::Refused(Refusal::Request));
        };
        let keys = self.logs.keys(&request.unverified_checkpoint().origin);
        let signed = match request.signed_by(&keys) {
            Ok(signed) => signed,
            Err(refusal) => return Ok(Answer::Refused(refusal)),
        };
        for _ in 0..TURNS_MAX {
            match self.decide(&signed, now_s) {
                Err(AddError::State(LatestError::Overtaken)) => {}
                decided => return decided,
            }
        }
        Err(LatestError::Overtaken.into())
    }

    /// Decides once, on what is the latest now.
    fn decide(&self, signed: &SignedCheckpoint, now_s: u64) -> Result<Answer, AddError> {
        let origin = origin_hash(signed.checkpoint().origin.as_str());
        let held = self.rows.read(&origin)?;
        let accepted = match signed.after(held.as_ref().map(|latest| latest.tree)) {
            Ok(accepted) => accepted,
            Err(refusal) => return Ok(Answer::Refused(refusal)),
        };
        let time_s = not_before(held.as_ref(), now_s).ok_or(AddError::Clock)?;
        if let Some(held) = held.as_ref().filter(|held| held.says(accepted.checkpoint(), time_s)) {
            return Ok(Answer::Cosigned(held.cosignatures.to_vec()));
        }
        let cosignatures = self.cosigner.cosign(accepted.checkpoint(), time_s)?;
        let mut note = signed.known_note();
        for cosignature in &cosignatures {
            note.add(cosignature.clone());
        }
        let cosignatures = self.rows.replace(&origin, held.as_ref(), &note, cosignatures)?;
        Ok(Answer::Cosigned(cosignatures.into()))
    }
}

/// The time of a cosignature: now, or when the last one was made if the clock went back since.
fn not_before(held: Option<&Latest>, now_s: u64) -> Option<NonZeroU64> {
    held.map(|latest| latest.time_s).max(NonZeroU64::new(now_s))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use chancery_log::cosignature::split_time;
    use chancery_log::note::NoteVerifier;
    use chancery_store::faulty::{Fault, Faulty, Plan};

    use super::testing::{Log, NOW, Scratch, keys, status, witness};
    use super::*;

    /// The size in a 409.
    fn latest(answer: &Answer) -> Option<u64> {
        match answer {
            Answer::Refused(Refusal::OldSize { latest }) => Some(*latest),
            _ => None,
        }
    }

    fn time_s(answer: &Answer) -> u64 {
        let Answer::Cosigned(lines) = answer else { panic!("{answer:?}") };
        let times: Vec<_> = lines.iter().map(|line| split_time(line.bytes()).unwrap().0).collect();
        assert_eq!((times.len(), times[0]), (2, times[1]));
        times[0]
    }

    #[test]
    fn a_log_that_grows_is_cosigned_and_the_cosignatures_hold() {
        let scratch = Scratch::new();
        let (witness, log) = (scratch.witness(), Log::new("example.org/log"));
        for (old, new) in [(0, 3), (3, 3), (3, 7), (7, 300)] {
            let answer = witness.add(&log.request(old, new), NOW).unwrap();
            let Answer::Cosigned(lines) = answer else { panic!("{answer:?}") };
            let mut note = log.note(new);
            for line in lines {
                note.add(line);
            }
            let keys = keys();
            let known: Vec<&dyn NoteVerifier> = keys.iter().map(|key| key as _).collect();
            assert_eq!(note.verify(&known).unwrap().by().len(), 2);
        }
        let kept = witness.latest(&origin_hash("example.org/log")).unwrap().unwrap();
        assert_eq!(kept.unverified_text(), log.note(300).unverified_text());
        assert_eq!(kept.signatures().len(), 4);
        assert!(witness.latest(&origin_hash("example.org/other")).unwrap().is_none());
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let scratch = Scratch::new();
        let (witness, log) = (scratch.witness(), Log::new("example.org/log"));
        assert_eq!(status(&witness, &log.request(0, 5)), 200);
        let fork = Log::forked("example.org/log");
        let stranger = Log::new("example.org/stranger");
        for (request, expected) in [
            (b"old 5\n".to_vec(), 400),
            (log.request(5, 4), 400),
            (stranger.request(0, 5), 404),
            (log.unsigned_request(5, 7), 403),
            (log.request(4, 7), 409),
            (fork.request(5, 5), 422),
            (fork.request(5, 7), 422),
        ] {
            assert_eq!(
                status(&witness, &request),
                expected,
                "{}",
                String::from_utf8_lossy(&request)
            );
        }
        assert_eq!(latest(&witness.add(&log.request(0, 7), NOW).unwrap()), Some(5));
        assert_eq!(status(&witness, &log.request(5, 7)), 200);
    }

    #[test]
    fn of_two_requests_at_once_exactly_one_is_cosigned_and_the_other_is_told_its_size() {
        let scratch = Scratch::new();
        let (witness, log) = (scratch.witness(), Log::new("example.org/log"));
        for old in (0..40).step_by(2) {
            let barrier = Barrier::new(2);
            let ask = |new: u64| {
                barrier.wait();
                witness.add(&log.request(old, new), NOW).unwrap()
            };
            let (one, other) = thread::scope(|scope| {
                let one = scope.spawn(|| ask(old + 1));
                let other = scope.spawn(|| ask(old + 2));
                (one.join().unwrap(), other.join().unwrap())
            });
            let mut statuses = [one.status(), other.status()];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409]);
            let winner = if one.status() == 200 { old + 1 } else { old + 2 };
            assert_eq!(latest(&one).or(latest(&other)), Some(winner));
            if winner == old + 1 {
                assert_eq!(status(&witness, &log.request(old + 1, old + 2)), 200);
            }
        }
    }

    #[test]
    fn a_clock_that_went_back_makes_no_older_cosignature() {
        let scratch = Scratch::new();
        let (witness, log) = (scratch.witness(), Log::new("example.org/log"));
        let at = |old, new, now_s| time_s(&witness.add(&log.request(old, new), now_s).unwrap());
        assert_eq!(at(0, 1, NOW), NOW);
        assert_eq!(at(1, 2, NOW - 500), NOW);
        assert_eq!(at(2, 2, 0), NOW);
        assert_eq!(at(2, 3, NOW + 1), NOW + 1);
        // Another origin has a time of its own; and none is 0.
        let other = Log::new("example.org/second");
        let answer = witness.add(&other.request(0, 1), 0);
        assert!(matches!(answer, Err(AddError::Clock)), "{answer:?}");
        assert_eq!(time_s(&witness.add(&other.request(0, 1), 7).unwrap()), 7);
    }

    #[test]
    fn within_a_second_the_same_checkpoint_is_answered_the_same_and_nothing_is_written() {
        let scratch = Scratch::new();
        let (witness, log) = (scratch.witness(), Log::new("example.org/log"));
        let add = |old, new, now_s| witness.add(&log.request(old, new), now_s).unwrap();
        let (first, again, later) = (add(0, 5, NOW), add(5, 5, NOW), add(5, 5, NOW + 1));
        assert_eq!(first, again);
        assert_eq!(time_s(&later), NOW + 1);
        assert_eq!(time_s(&add(5, 6, NOW + 1)), NOW + 1, "another tree is cosigned at once");
        drop(witness);
        assert_eq!(scratch.store().revision().unwrap().get(), 3);
    }

    #[test]
    fn what_was_answered_is_there_after_another_start() {
        let scratch = Scratch::new();
        let log = Log::new("example.org/log");
        assert_eq!(status(&scratch.witness(), &log.request(0, 5)), 200);
        let again = scratch.witness();
        assert_eq!(latest(&again.add(&log.request(0, 7), NOW).unwrap()), Some(5));
        assert_eq!(time_s(&again.add(&log.request(5, 7), 3).unwrap()), NOW);
    }

    #[test]
    fn no_cosignature_leaves_when_a_commit_fails_whatever_became_of_it() {
        for fault in Fault::ALL {
            let scratch = Scratch::new();
            let log = Log::new("example.org/log");
            let store = Box::new(Faulty::new(scratch.store(), Plan::from([(1, fault)]), 0));
            let witness = witness(store);
            assert_eq!(status(&witness, &log.request(0, 5)), 200);
            let failed = witness.add(&log.request(5, 7), NOW).unwrap_err();
            assert!(!failed.is_passing(), "{fault:?}: {failed}");
            drop(witness);
            // The next start knows what became of it, and the log goes on from there.
            let again = scratch.witness();
            let held = if fault == Fault::FailedButPersisted { 7 } else { 5 };
            let told = latest(&again.add(&log.request(0, 7), NOW).unwrap());
            assert_eq!(told, Some(held), "{fault:?}");
            assert_eq!(status(&again, &log.request(held, 7)), 200);
        }
    }

    #[test]
    fn a_row_that_this_witness_did_not_cosign_is_not_taken() {
        let scratch = Scratch::new();
        let (log, other) = (Log::new("example.org/log"), Log::new("example.org/second"));
        let witness = scratch.witness();
        assert_eq!(status(&witness, &log.request(0, 5)), 200);
        assert_eq!(status(&witness, &other.request(0, 5)), 200);
        drop(witness);
        let kept = scratch.row("example.org/log");
        let text = String::from_utf8(kept.clone()).unwrap();
        let without_a_line = text.lines().take(7).collect::<Vec<_>>().join("\n") + "\n";
        for altered in [
            text.replacen("\n5\n", "\n4\n", 1).into_bytes(),
            without_a_line.into_bytes(),
            scratch.row("example.org/second"),
            log.note(5).to_string().into_bytes(),
            b"\xff".to_vec(),
        ] {
            scratch.put_row("example.org/log", altered);
            assert!(matches!(scratch.opened().err(), Some(LatestError::Forged)));
        }
        scratch.put_row("example.org/log", kept);
        assert!(scratch.opened().is_ok());
    }
}
