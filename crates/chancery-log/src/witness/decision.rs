//! Whether a checkpoint is cosigned.
//!
//! In the order of the specification: the origin is known (404), a key that is known for it signed (403), the
//! old size is not above the new one (400) and is the one that was cosigned last (409), and the new tree
//! continues the old one (422).
//!
//! What a witness sees first of a log, it believes: it has nothing to hold it against.

use crate::checkpoint::Checkpoint;
use crate::hash::EMPTY_ROOT;
use crate::note::{Note, NoteSignature, NoteVerifier, VerifierKey};
use crate::proof::{TreeHead, verify_consistency};
use crate::witness::answer::Refusal;
use crate::witness::request::AddCheckpoint;

/// A request whose checkpoint a log signed that the witness knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    request: AddCheckpoint,
    by: Vec<VerifierKey>,
}

/// A checkpoint that continues what the witness holds: it becomes what it holds, and then is cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Accepted {
    checkpoint: Checkpoint,
}

impl AddCheckpoint {
    /// Checks the signatures of the keys that the witness knows for the checkpoint's origin.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownOrigin`] if there are none; [`Refusal::Unsigned`] if none signed it, or a signature
    /// of one does not hold.
    pub fn signed_by(self, keys: &[&dyn NoteVerifier]) -> Result<SignedCheckpoint, Refusal> {
        if keys.is_empty() {
            return Err(Refusal::UnknownOrigin);
        }
        let signed = self.note().clone().verify(keys).map_err(|_| Refusal::Unsigned)?;
        Ok(SignedCheckpoint { request: self, by: signed.by().to_vec() })
    }
}

impl SignedCheckpoint {
    /// The checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        self.request.unverified_checkpoint()
    }

    /// The note with one signature of each key that is known and signed it, and no others.
    ///
    /// A stranger's signatures, of which there may be many, are nothing to keep.
    #[must_use]
    pub fn known_note(&self) -> Note {
        let note = self.request.note();
        let of = |key: &VerifierKey| note.signatures().iter().find(|one| key.made(one)).cloned();
        let known: Vec<NoteSignature> = self.by.iter().filter_map(of).collect();
        note.with_signatures(known)
    }

    /// Decides by what the witness holds of this origin.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; then the state stays as it is, and nothing is cosigned.
    pub fn after(&self, held: Option<TreeHead>) -> Result<Accepted, Refusal> {
        let (old, new) = (self.request.old, self.checkpoint().tree);
        if old > new.size {
            return Err(Refusal::Request);
        }
        let latest = held.map_or(0, |held| held.size);
        if old != latest {
            return Err(Refusal::OldSize { latest });
        }
        let is_continued = match held.filter(|held| held.size > 0) {
            None => self.request.proof.is_empty() && (new.size > 0 || new.root == EMPTY_ROOT),
            Some(held) => verify_consistency(&held, &new, &self.request.proof).is_ok(),
        };
        if is_continued {
            Ok(Accepted { checkpoint: self.checkpoint().clone() })
        } else {
            Err(Refusal::Inconsistent)
        }
    }
}

impl Accepted {
    /// What was accepted.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{Hash, leaf_hash};
    use crate::note::SignatureType;
    use crate::proof::consistency_proof;
    use crate::tree::root_of;

    /// Takes one signature for good.
    struct Knows(VerifierKey);

    impl NoteVerifier for Knows {
        fn key(&self) -> &VerifierKey {
            &self.0
        }

        fn verifies(&self, _: &str, signature: &[u8]) -> bool {
            signature == [1; 64]
        }
    }

    fn key(byte: u8) -> Knows {
        let name = "example.org/log".parse().unwrap();
        Knows(VerifierKey::new(name, SignatureType::Ed25519, &[byte; 32]).unwrap())
    }

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn head(size: u64) -> TreeHead {
        TreeHead { size, root: root_of(&leaves(size)) }
    }

    fn proof(old: u64, new: u64) -> Vec<Hash> {
        consistency_proof(&leaves(new), old).unwrap_or_default()
    }

    fn note(tree: TreeHead, signatures: &[(u8, u8)]) -> Note {
        let checkpoint = Checkpoint { origin: "example.org/log".parse().unwrap(), tree };
        let mut note = Note::new(&checkpoint.to_string()).unwrap();
        for (by, byte) in signatures {
            note.add(key(*by).0.signature(&[*byte; 64]));
        }
        note
    }

    /// What is decided of a signed request.
    fn decided(
        held: Option<TreeHead>,
        (old, proof): (u64, Vec<Hash>),
        new: TreeHead,
    ) -> Result<(), Refusal> {
        let request = AddCheckpoint::new(old, proof, note(new, &[(5, 1)])).unwrap();
        let signed = request.signed_by(&[&key(5)]).unwrap();
        signed.after(held).map(|accepted| assert_eq!(accepted.checkpoint().tree, new))
    }

    #[test]
    fn what_continues_the_state_is_accepted_whatever_the_sizes() {
        for new in 0..40 {
            assert_eq!(decided(None, (0, vec![]), head(new)), Ok(()));
            for old in 0..=new {
                let held = Some(head(old));
                assert_eq!(decided(held, (old, proof(old, new)), head(new)), Ok(()), "{old} {new}");
            }
        }
    }

    #[test]
    fn an_old_size_that_is_not_the_latest_is_told_the_latest() {
        let latest = |latest| Err(Refusal::OldSize { latest });
        assert_eq!(decided(None, (3, proof(3, 7)), head(7)), latest(0));
        assert_eq!(decided(Some(head(5)), (0, vec![]), head(7)), latest(5));
        assert_eq!(decided(Some(head(5)), (3, proof(3, 7)), head(7)), latest(5));
        assert_eq!(decided(Some(head(5)), (7, vec![]), head(7)), latest(5));
        // A log that was taken back: the witness holds more than there is.
        assert_eq!(decided(Some(head(9)), (7, vec![]), head(7)), latest(9));
    }

    #[test]
    fn an_old_size_above_the_new_one_is_no_request() {
        assert_eq!(decided(Some(head(9)), (9, vec![]), head(7)), Err(Refusal::Request));
        assert_eq!(decided(None, (8, vec![]), head(7)), Err(Refusal::Request));
    }

    #[test]
    fn what_does_not_continue_the_state_is_inconsistent() {
        let other = TreeHead { size: 5, root: leaf_hash(b"other") };
        let empty = TreeHead { size: 0, root: leaf_hash(b"not nothing") };
        let mut altered = proof(5, 7);
        altered[0] = leaf_hash(b"altered");
        for (held, request, new) in [
            (Some(other), (5, proof(5, 7)), head(7)),
            (Some(head(5)), (5, vec![]), head(7)),
            (Some(head(5)), (5, altered), head(7)),
            (Some(head(5)), (5, [proof(5, 7), vec![other.root]].concat()), head(7)),
            // The same size with another root, and with hashes where none belong.
            (Some(head(5)), (5, vec![]), other),
            (Some(head(5)), (5, vec![other.root]), head(5)),
            // Nothing is proved from nothing.
            (None, (0, vec![other.root]), head(7)),
            (Some(head(0)), (0, vec![other.root]), head(7)),
            (None, (0, vec![]), empty),
            (Some(head(0)), (0, vec![]), empty),
        ] {
            assert_eq!(decided(held, request, new), Err(Refusal::Inconsistent), "{held:?} {new:?}");
        }
    }

    #[test]
    fn only_keys_that_are_known_count_and_all_of_their_signatures_hold() {
        let (one, two) = (key(5), key(6));
        let known: [&dyn NoteVerifier; 2] = [&one, &two];
        let signed = |signatures: &[(u8, u8)]| {
            let request = AddCheckpoint::new(0, vec![], note(head(3), signatures)).unwrap();
            request.signed_by(&known).map(|signed| signed.known_note().signatures().len())
        };
        assert_eq!(signed(&[(5, 1)]), Ok(1));
        assert_eq!(signed(&[(6, 1), (7, 9), (5, 1), (5, 1)]), Ok(2));
        assert_eq!(signed(&[(7, 1)]), Err(Refusal::Unsigned));
        assert_eq!(signed(&[(5, 1), (6, 2)]), Err(Refusal::Unsigned));
        assert_eq!(signed(&[]), Err(Refusal::Unsigned));
        let request = AddCheckpoint::new(0, vec![], note(head(3), &[(5, 1)])).unwrap();
        assert_eq!(request.signed_by(&[]), Err(Refusal::UnknownOrigin));
    }
}
