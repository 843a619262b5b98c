//! Proofs that a leaf is in a log, as one text with the checkpoint that it leads to (C2SP tlog-proof v1).
//!
//! ```text
//! "c2sp.org/tlog-proof@v1\n"
//! "extra " base64 "\n"                   only if there is something
//! "index " index "\n"
//! base64(hash) "\n" …                    from the leaf's sibling up
//! "\n"
//! the checkpoint's note, as it is
//! ```
//!
//! What stands behind `extra` is not authenticated: the application makes the leaf of it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, encode_hash, parse_decimal, parse_hash};
use crate::hash::Hash;
use crate::note::{NOTE_BYTES_MAX, Note, NoteError, NoteVerifier, Signed};
use crate::proof::{InclusionError, Leaf, PROOF_HASHES_MAX, verify_inclusion};

/// The first line.
pub const TLOG_PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The most opaque bytes a proof may carry: 16 KiB.
pub const EXTRA_BYTES_MAX: usize = 16 * 1024;

/// The longest proof: opaque bytes in base64, hashes, checkpoint.
pub const TLOG_PROOF_BYTES_MAX: usize =
    EXTRA_BYTES_MAX / 3 * 4 + PROOF_HASHES_MAX * 45 + NOTE_BYTES_MAX + 128;

/// A proof that was not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What the application needs to make the leaf; empty if nothing.
    pub extra: Vec<u8>,
    /// The leaf's place in the log.
    pub index: u64,
    /// The hashes from the leaf's sibling up.
    pub path: Vec<Hash>,
    /// The checkpoint with its signatures.
    pub checkpoint: Note,
}

/// What a proof shows, once it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The checkpoint that the leaf is under.
    pub checkpoint: Checkpoint,
    /// Who signed that.
    pub signed: Signed,
}

/// The proof is none, or shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// What is signed is no checkpoint.
    #[error("what is signed is not a checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// The leaf is not under the checkpoint.
    #[error("the leaf is not in the tree of the checkpoint")]
    Inclusion(#[from] InclusionError),
    /// The text is not of the form of a proof.
    #[error("not a proof of a transparency log")]
    NotAProof,
    /// The checkpoint is not signed as it must be.
    #[error("the checkpoint is not signed as it must be")]
    Note(#[from] NoteError),
}

impl TlogProof {
    /// Reads a proof.
    ///
    /// # Errors
    ///
    /// [`TlogProofError::NotAProof`], or what is wrong with the note in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        let refused = TlogProofError::NotAProof;
        if bytes.len() > TLOG_PROOF_BYTES_MAX {
            return Err(refused);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| refused)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(refused)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(TLOG_PROOF_HEADER) {
            return Err(refused);
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.map_or(Some(Vec::new()), parse_extra).ok_or(refused)?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(parse_decimal).ok_or(refused)?;
        let path: Option<Vec<Hash>> = lines.map(parse_hash).collect();
        let path = path.filter(|path| path.len() <= PROOF_HASHES_MAX).ok_or(refused)?;
        Ok(Self { extra, index, path, checkpoint: Note::parse(checkpoint.as_bytes())? })
    }

    /// Checks that `leaf` is in the tree of the checkpoint, and that one of `logs` signed that.
    ///
    /// # Errors
    ///
    /// [`TlogProofError`], which says what does not hold.
    pub fn verify(self, leaf: Hash, logs: &[&dyn NoteVerifier]) -> Result<Proven, TlogProofError> {
        let signed = self.checkpoint.verify(logs)?;
        let checkpoint: Checkpoint = signed.text().parse()?;
        verify_inclusion(&Leaf { index: self.index, hash: leaf }, &checkpoint.tree, &self.path)?;
        Ok(Proven { checkpoint, signed })
    }
}

fn parse_extra(line: &str) -> Option<Vec<u8>> {
    let extra = STANDARD.decode(line.strip_prefix("extra ")?).ok()?;
    (!extra.is_empty() && extra.len() <= EXTRA_BYTES_MAX).then_some(extra)
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TLOG_PROOF_HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", STANDARD.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", encode_hash(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use crate::note::{SignatureType, VerifierKey};
    use crate::proof::{TreeHead, inclusion_proof};
    use crate::tree::root_of;

    /// Takes every signature for good.
    struct Trusts(VerifierKey);

    impl NoteVerifier for Trusts {
        fn key(&self) -> &VerifierKey {
            &self.0
        }

        fn verifies(&self, _: &str, signature: &[u8]) -> bool {
            signature == [1; 64]
        }
    }

    fn log() -> Trusts {
        let name = "example.org/log".parse().unwrap();
        Trusts(VerifierKey::new(name, SignatureType::Ed25519, &[5; 32]).unwrap())
    }

    fn leaves() -> Vec<Hash> {
        (0..7_u8).map(|n| leaf_hash(&[n])).collect()
    }

    fn proof(extra: &[u8]) -> TlogProof {
        let tree = TreeHead { size: 7, root: root_of(&leaves()) };
        let checkpoint = Checkpoint { origin: "example.org/log".parse().unwrap(), tree };
        let mut checkpoint = Note::new(&checkpoint.to_string()).unwrap();
        checkpoint.add(log().0.signature(&[1; 64]));
        let path = inclusion_proof(&leaves(), 3).unwrap();
        TlogProof { extra: extra.to_vec(), index: 3, path, checkpoint }
    }

    #[test]
    fn a_proof_is_read_as_it_was_written_and_holds() {
        for extra in [b"".as_slice(), b"opening"] {
            let text = proof(extra).to_string();
            let read = TlogProof::parse(text.as_bytes()).unwrap();
            assert_eq!(read, proof(extra));
            let proven = read.verify(leaves()[3], &[&log()]).unwrap();
            assert_eq!(proven.checkpoint.tree.size, 7);
        }
    }

    #[test]
    fn another_leaf_another_place_and_another_signature_show_nothing() {
        assert!(matches!(
            proof(b"").verify(leaves()[2], &[&log()]),
            Err(TlogProofError::Inclusion(_))
        ));
        let mut moved = proof(b"");
        moved.index = 2;
        assert!(matches!(moved.verify(leaves()[3], &[&log()]), Err(TlogProofError::Inclusion(_))));
        assert_eq!(
            proof(b"").verify(leaves()[3], &[]),
            Err(TlogProofError::Note(NoteError::Unsigned))
        );
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let text = proof(b"x").to_string();
        for (from, to) in [
            ("@v1", "@v2"),
            ("extra eA==\n", "extra \n"),
            ("extra eA==\n", "extra eA=\n"),
            ("extra eA==\n", "extra eA==\nextra eA==\n"),
            ("index 3", "index 03"),
            ("index 3", "index -3"),
            ("index 3\n", ""),
            ("\n\nexample", "\nexample"),
        ] {
            assert!(text.contains(from));
            let altered = text.replacen(from, to, 1);
            assert!(TlogProof::parse(altered.as_bytes()).is_err(), "{from:?} as {to:?}");
        }
        let long = proof(&vec![7; EXTRA_BYTES_MAX + 1]).to_string();
        assert_eq!(TlogProof::parse(long.as_bytes()), Err(TlogProofError::NotAProof));
    }
}
