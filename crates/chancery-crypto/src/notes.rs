//! Keys that sign a log's checkpoints, and keys that verify them (C2SP signed-note v1.0.0, tlog-cosignature).
//!
//! A log signs each checkpoint twice: with Ed25519 over the note's text (type 1), and with ML-DSA-44 as the
//! cosigner whose name is the log's origin (type 6). Both keys are for checkpoints alone. A witness signs with
//! a [`Cosigner`].
//!
//! **Invariant:** a [`CheckpointSigner`] signs no tree that is smaller than one it has signed, and no other
//! tree of the same size. That the larger one continues the smaller is for its caller to know.

mod cosigner;

use chancery_core::suite::Suite;
use chancery_log::TreeHead;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::cosignature::{ed25519_message, ml_dsa_44_message, split_time, with_time};
use chancery_log::note::{KeyName, Note, NoteError, NoteVerifier, SignatureType, VerifierKey};

use crate::key::{PrivateKey, PublicKey};
pub use cosigner::{CosignError, Cosigner};

/// What `SubjectPublicKeyInfo` puts before an Ed25519 key (RFC 8410, 4).
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// What it puts before an ML-DSA-44 key (RFC 9881, 4): `id-ml-dsa-44`, and a bit string of 1 312 bytes.
const ML_DSA_44_SPKI: &[u8] = &[
    0x30, 0x82, 0x05, 0x32, 0x30, 0x0b, 6, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 3, 4, 3, 0x11, 3, 0x82,
    0x05, 0x21, 0,
];

/// A checkpoint is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointSignError {
    /// It is of another log.
    #[error("the checkpoint is of another log")]
    Origin,
    /// The provider failed, or the keys are none.
    #[error("the checkpoint cannot be signed")]
    Provider,
    /// A later tree was signed, or another of this size.
    #[error("a tree of {signed} records was signed; one of {asked} does not follow it")]
    Regress {
        /// The size that was signed.
        signed: u64,
        /// The size that was to be signed.
        asked: u64,
    },
}

impl From<NoteError> for CheckpointSignError {
    fn from(_: NoteError) -> Self {
        Self::Provider
    }
}

/// Verifies the notes of one key.
#[derive(Clone)]
pub struct NoteKey {
    key: VerifierKey,
    public: PublicKey,
}

impl NoteKey {
    /// The key that a verifier key names.
    ///
    /// # Errors
    ///
    /// [`NoteError::NotAVerifierKey`] if its bytes are no public key.
    pub fn new(key: VerifierKey) -> Result<Self, NoteError> {
        let (suite, prefix) = match key.kind() {
            SignatureType::Ed25519 | SignatureType::Ed25519Cosignature => {
                (Suite::Ed25519, ED25519_SPKI)
            }
            SignatureType::MlDsa44Cosignature => (Suite::MlDsa44, ML_DSA_44_SPKI),
        };
        let public = PublicKey::from_spki(suite, &[prefix, key.public()].concat());
        Ok(Self { key, public: public.map_err(|_| NoteError::NotAVerifierKey)? })
    }

    fn verifies_checkpoint(&self, text: &str, signature: &[u8]) -> Option<()> {
        let checkpoint: Checkpoint = text.parse().ok()?;
        let (time_s, signature) = split_time(signature)?;
        let message = match self.key.kind() {
            SignatureType::Ed25519 => return None,
            SignatureType::Ed25519Cosignature => ed25519_message(&checkpoint, time_s),
            SignatureType::MlDsa44Cosignature => {
                ml_dsa_44_message(self.key.name(), &checkpoint, time_s)?
            }
        };
        self.public.verify(&message, signature).ok()
    }
}

impl NoteVerifier for NoteKey {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        match self.key.kind() {
            SignatureType::Ed25519 => self.public.verify(text.as_bytes(), signature).is_ok(),
            SignatureType::Ed25519Cosignature | SignatureType::MlDsa44Cosignature => {
                self.verifies_checkpoint(text, signature).is_some()
            }
        }
    }
}

/// The seeds of the two keys of a log, or of a witness: Ed25519 and ML-DSA-44 (FIPS 204, the seed ξ).
pub struct CheckpointSeeds<'s> {
    /// Ed25519.
    pub ed25519: &'s [u8; 32],
    /// ML-DSA-44.
    pub ml_dsa_44: &'s [u8; 32],
}

/// Signs the checkpoints of one log.
pub struct CheckpointSigner {
    origin: KeyName,
    ed25519: (PrivateKey, VerifierKey),
    ml_dsa_44: (PrivateKey, VerifierKey),
    signed: Option<TreeHead>,
}

impl CheckpointSigner {
    /// The signer of the log `origin`, which has signed `signed` last.
    ///
    /// # Errors
    ///
    /// [`CheckpointSignError::Provider`] if the seeds make no keys.
    pub fn new(
        origin: KeyName,
        seeds: &CheckpointSeeds<'_>,
        signed: Option<TreeHead>,
    ) -> Result<Self, CheckpointSignError> {
        let key = |suite, seed, kind| {
            let key = PrivateKey::from_secret(suite, seed);
            let key = key.map_err(|_| CheckpointSignError::Provider)?;
            let public = key.public().ok_or(CheckpointSignError::Provider)?;
            let verifier = VerifierKey::new(origin.clone(), kind, public.subject_public_key())?;
            Ok::<_, CheckpointSignError>((key, verifier))
        };
        let ed25519 = key(Suite::Ed25519, seeds.ed25519, SignatureType::Ed25519)?;
        let ml_dsa = SignatureType::MlDsa44Cosignature;
        let ml_dsa_44 = key(Suite::MlDsa44, seeds.ml_dsa_44, ml_dsa)?;
        Ok(Self { origin, ed25519, ml_dsa_44, signed })
    }

    /// Its public keys, for whoever verifies its checkpoints.
    #[must_use]
    pub fn verifier_keys(&self) -> [&VerifierKey; 2] {
        [&self.ed25519.1, &self.ml_dsa_44.1]
    }

    /// Signs a checkpoint at `time_s`, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`CheckpointSignError`]; then nothing was signed.
    pub fn sign(
        &mut self,
        checkpoint: &Checkpoint,
        time_s: u64,
    ) -> Result<Note, CheckpointSignError> {
        if checkpoint.origin != self.origin {
            return Err(CheckpointSignError::Origin);
        }
        let tree = checkpoint.tree;
        if let Some(signed) = self.signed.filter(|signed| !follows(signed, &tree)) {
            return Err(CheckpointSignError::Regress { signed: signed.size, asked: tree.size });
        }
        let text = checkpoint.to_string();
        let message = ml_dsa_44_message(&self.origin, checkpoint, time_s);
        let message = message.ok_or(CheckpointSignError::Origin)?;
        let signed = self.ed25519.0.sign(text.as_bytes());
        let cosigned = self.ml_dsa_44.0.sign(&message);
        let (Ok(signed), Ok(cosigned)) = (signed, cosigned) else {
            return Err(CheckpointSignError::Provider);
        };
        let mut note = Note::new(&text)?;
        note.add(self.ed25519.1.signature(&signed));
        note.add(self.ml_dsa_44.1.signature(&with_time(time_s, &cosigned)));
        self.signed = Some(tree);
        Ok(note)
    }
}

/// Whether a tree may be signed after another.
fn follows(signed: &TreeHead, next: &TreeHead) -> bool {
    next.size > signed.size || next == signed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: CheckpointSeeds<'static> =
        CheckpointSeeds { ed25519: &[1; 32], ml_dsa_44: &[2; 32] };

    fn origin() -> KeyName {
        "example.org/log".parse().unwrap()
    }

    fn checkpoint(size: u64, root: u8) -> Checkpoint {
        Checkpoint { origin: origin(), tree: TreeHead { size, root: [root; 32].into() } }
    }

    fn signer() -> CheckpointSigner {
        CheckpointSigner::new(origin(), &SEEDS, None).unwrap()
    }

    fn keys(signer: &CheckpointSigner) -> [NoteKey; 2] {
        signer.verifier_keys().map(|key| NoteKey::new(key.clone()).unwrap())
    }

    #[test]
    fn both_signatures_of_a_checkpoint_verify_by_themselves() {
        let mut signer = signer();
        let note = signer.sign(&checkpoint(5, 1), 1_800_000_000).unwrap();
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        for key in keys(&signer) {
            let verified = read.clone().verify(&[&key]).unwrap();
            assert_eq!(verified.text(), checkpoint(5, 1).to_string());
        }
    }

    #[test]
    fn a_signature_is_of_its_own_text_time_and_name() {
        let mut signer = signer();
        let note = signer.sign(&checkpoint(5, 1), 1_800_000_000).unwrap();
        let [ed25519, ml_dsa] = note.signatures() else { panic!("{note}") };
        for (key, signature) in keys(&signer).iter().zip([ed25519, ml_dsa]) {
            let bytes = signature.bytes();
            assert!(key.verifies(&checkpoint(5, 1).to_string(), bytes));
            assert!(!key.verifies(&checkpoint(5, 2).to_string(), bytes));
            assert!(!key.verifies(&checkpoint(6, 1).to_string(), bytes));
            for position in [0, 7, 8, bytes.len() - 1] {
                let mut altered = bytes.to_vec();
                altered[position] ^= 1;
                assert!(!key.verifies(&checkpoint(5, 1).to_string(), &altered), "{position}");
            }
        }
        let named = |name: &str| {
            let key = signer.verifier_keys()[1];
            let key = VerifierKey::new(name.parse().unwrap(), key.kind(), key.public()).unwrap();
            NoteKey::new(key).unwrap().verifies(&checkpoint(5, 1).to_string(), ml_dsa.bytes())
        };
        assert!(named("example.org/log") && !named("example.org/other"));
    }

    #[test]
    fn a_signer_does_not_go_back_and_signs_one_tree_of_a_size() {
        let mut signer = signer();
        signer.sign(&checkpoint(5, 1), 1).unwrap();
        signer.sign(&checkpoint(5, 1), 2).unwrap();
        for (size, root) in [(5, 2), (4, 1), (0, 1)] {
            let refused = signer.sign(&checkpoint(size, root), 3).unwrap_err();
            assert_eq!(refused, CheckpointSignError::Regress { signed: 5, asked: size });
        }
        signer.sign(&checkpoint(6, 2), 4).unwrap();
        let mut other = checkpoint(7, 1);
        other.origin = "example.org/other".parse().unwrap();
        assert_eq!(signer.sign(&other, 5), Err(CheckpointSignError::Origin));
        let last = Some(TreeHead { size: 9, root: [3; 32].into() });
        let mut later = CheckpointSigner::new(origin(), &SEEDS, last).unwrap();
        assert!(later.sign(&checkpoint(8, 1), 6).is_err());
        later.sign(&checkpoint(9, 3), 7).unwrap();
    }

    #[test]
    fn the_example_of_the_specification_verifies() {
        let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let note = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let key = NoteKey::new(key.parse().unwrap()).unwrap();
        let signed = Note::parse(note.as_bytes()).unwrap().verify(&[&key]).unwrap();
        assert_eq!(signed.text(), "This is an example message.\n");
    }
}
