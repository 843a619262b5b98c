//! Keys with which a witness cosigns the checkpoints of others (C2SP tlog-cosignature v1.1.0).
//!
//! A witness has two, of one name: Ed25519 (type 4) and ML-DSA-44 (type 6). Each says by its signature that at
//! that time the checkpoint was the largest of its log that the witness had seen.
//!
//! Whether that is so is for the caller to know: this module signs what it is given.

use std::num::NonZeroU64;

use chancery_core::suite::Suite;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::cosignature::{TIME_MAX, ed25519_message, ml_dsa_44_message, with_time};
use chancery_log::note::{KeyName, NoteSignature, SignatureType, VerifierKey};

use super::CheckpointSeeds;
use crate::key::PrivateKey;

/// There is no cosigner, or a checkpoint is not cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignError {
    /// The name of the cosigner, or the origin, has more than 255 bytes.
    #[error("a name in a cosignature has at most 255 bytes")]
    Name,
    /// The provider failed, or the keys are none.
    #[error("the checkpoint cannot be cosigned")]
    Provider,
    /// The time is later than a cosignature can say.
    #[error("a cosignature is made at {TIME_MAX} s after 1970 at the latest")]
    Time,
}

/// Cosigns checkpoints.
pub struct Cosigner {
    name: KeyName,
    ed25519: (PrivateKey, VerifierKey),
    ml_dsa_44: (PrivateKey, VerifierKey),
}

impl Cosigner {
    /// The cosigner of that name.
    ///
    /// # Errors
    ///
    /// [`CosignError::Name`] if the name is too long; [`CosignError::Provider`] if the seeds make no keys.
    pub fn new(name: KeyName, seeds: &CheckpointSeeds<'_>) -> Result<Self, CosignError> {
        if u8::try_from(name.as_str().len()).is_err() {
            return Err(CosignError::Name);
        }
        let key = |suite, seed, kind| {
            let key = PrivateKey::from_secret(suite, seed).map_err(|_| CosignError::Provider)?;
            let public = key.public().ok_or(CosignError::Provider)?;
            let verifier = VerifierKey::new(name.clone(), kind, public.subject_public_key());
            Ok((key, verifier.map_err(|_| CosignError::Provider)?))
        };
        let ed25519 = key(Suite::Ed25519, seeds.ed25519, SignatureType::Ed25519Cosignature)?;
        let ml_dsa = SignatureType::MlDsa44Cosignature;
        let ml_dsa_44 = key(Suite::MlDsa44, seeds.ml_dsa_44, ml_dsa)?;
        Ok(Self { name, ed25519, ml_dsa_44 })
    }

    /// Its public keys, for whoever verifies its cosignatures.
    #[must_use]
    pub fn verifier_keys(&self) -> [&VerifierKey; 2] {
        [&self.ed25519.1, &self.ml_dsa_44.1]
    }

    /// Cosigns a checkpoint at `time_s`, in seconds since 1970. The time 0 has a meaning of its own in a
    /// cosignature, and is none here.
    ///
    /// # Errors
    ///
    /// [`CosignError`]; then there is no signature.
    pub fn cosign(
        &self,
        checkpoint: &Checkpoint,
        time_s: NonZeroU64,
    ) -> Result<[NoteSignature; 2], CosignError> {
        let time_s = time_s.get();
        if time_s > TIME_MAX {
            return Err(CosignError::Time);
        }
        let message = ml_dsa_44_message(&self.name, checkpoint, time_s).ok_or(CosignError::Name)?;
        let line = |(key, verifier): &(PrivateKey, VerifierKey), message: &[u8]| {
            let signature = key.sign(message).map_err(|_| CosignError::Provider)?;
            Ok(verifier.signature(&with_time(time_s, &signature)))
        };
        Ok([
            line(&self.ed25519, &ed25519_message(checkpoint, time_s))?,
            line(&self.ml_dsa_44, &message)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use chancery_log::TreeHead;
    use chancery_log::cosignature::split_time;
    use chancery_log::note::{Note, NoteVerifier as _};

    use super::*;
    use crate::notes::NoteKey;

    const SEEDS: CheckpointSeeds<'static> =
        CheckpointSeeds { ed25519: &[3; 32], ml_dsa_44: &[4; 32] };

    const NOW: u64 = 1_800_000_000;

    fn cosigner(name: &str) -> Result<Cosigner, CosignError> {
        Cosigner::new(name.parse().unwrap(), &SEEDS)
    }

    fn checkpoint(origin: &str, size: u64) -> Checkpoint {
        let tree = TreeHead { size, root: [1; 32].into() };
        Checkpoint { origin: origin.parse().unwrap(), tree }
    }

    fn at(time_s: u64) -> NonZeroU64 {
        NonZeroU64::new(time_s).unwrap()
    }

    #[test]
    fn both_cosignatures_verify_by_the_keys_that_are_told() {
        let cosigner = cosigner("witness.example/w1").unwrap();
        let checkpoint = checkpoint("example.org/log", 5);
        let lines = cosigner.cosign(&checkpoint, at(NOW)).unwrap();
        let mut note = Note::new(&checkpoint.to_string()).unwrap();
        for line in &lines {
            note.add(line.clone());
        }
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        for (told, line) in cosigner.verifier_keys().into_iter().zip(&lines) {
            // By what is written of the key, as in a policy.
            let key = NoteKey::new(told.to_string().parse().unwrap()).unwrap();
            let signed = read.clone().verify(&[&key]).unwrap();
            assert_eq!(signed.by(), std::slice::from_ref(told));
            assert_eq!(split_time(line.bytes()).unwrap().0, NOW);
        }
        let kinds = cosigner.verifier_keys().map(VerifierKey::kind);
        assert_eq!(kinds, [SignatureType::Ed25519Cosignature, SignatureType::MlDsa44Cosignature]);
    }

    #[test]
    fn a_cosignature_is_of_its_checkpoint_and_time_alone() {
        let cosigner = cosigner("w").unwrap();
        let signed = checkpoint("example.org/log", 5);
        for line in cosigner.cosign(&signed, at(NOW)).unwrap() {
            let [key] = cosigner
                .verifier_keys()
                .into_iter()
                .filter(|key| key.made(&line))
                .map(|key| NoteKey::new(key.clone()).unwrap())
                .collect::<Vec<_>>()
                .try_into()
                .ok()
                .unwrap();
            assert!(key.verifies(&signed.to_string(), line.bytes()));
            for other in [checkpoint("example.org/log", 6), checkpoint("example.org/other", 5)] {
                assert!(!key.verifies(&other.to_string(), line.bytes()));
            }
            for place in 0..8 {
                let mut bytes = line.bytes().to_vec();
                bytes[place] ^= 1;
                assert!(!key.verifies(&signed.to_string(), &bytes), "{place}");
            }
        }
    }

    #[test]
    fn names_and_times_that_no_cosignature_can_say_are_refused() {
        assert!(cosigner(&"w".repeat(255)).is_ok());
        assert_eq!(cosigner(&"w".repeat(256)).err(), Some(CosignError::Name));
        let cosigner = cosigner("w").unwrap();
        let long = checkpoint(&"o".repeat(256), 5);
        assert_eq!(cosigner.cosign(&long, at(NOW)), Err(CosignError::Name));
        let fits = checkpoint(&"o".repeat(255), 5);
        assert!(cosigner.cosign(&fits, at(TIME_MAX)).is_ok());
        assert_eq!(cosigner.cosign(&fits, at(TIME_MAX + 1)), Err(CosignError::Time));
    }
}
