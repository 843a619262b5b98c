//! Whose signatures count under a checkpoint.

use chancery_crypto::notes::NoteKey;
use chancery_crypto::primitive::sha256;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::cosignature::split_time;
use chancery_log::note::{Note, NoteError, NoteSignature, NoteVerifier, VerifierKey};
use chancery_log::policy::{Policy, PolicyError};

use super::ProofError;

/// A policy with the keys that it names.
pub struct Trust {
    digest: [u8; 32],
    policy: Policy,
    logs: Vec<NoteKey>,
    witnesses: Vec<NoteKey>,
}

/// A checkpoint that is signed as the policy asks.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The keys of the log that signed it.
    pub logs: Vec<VerifierKey>,
    /// The names, in the policy, of the witnesses that signed it.
    pub witnesses: Vec<String>,
    /// Whether the policy asks for witnesses at all.
    pub asks_for_witnesses: bool,
}

/// The text is no policy that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It names a key that is none.
    #[error("the policy names a key that is none: {0}")]
    Key(VerifierKey),
    /// It is no policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Trust {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// [`TrustError`], which names the line or the key.
    pub fn parse(policy: &str) -> Result<Self, TrustError> {
        let digest = sha256(&[Policy::plain(policy).as_bytes()]);
        let policy = Policy::parse(policy)?;
        let key =
            |key: &VerifierKey| NoteKey::new(key.clone()).map_err(|_| TrustError::Key(key.clone()));
        let logs = policy.logs().iter().map(|party| key(&party.key)).collect::<Result<_, _>>()?;
        let witnesses = policy.witnesses().iter().map(|(_, party)| key(&party.key));
        let witnesses = witnesses.collect::<Result<_, _>>()?;
        Ok(Self { digest, policy, logs, witnesses })
    }

    /// SHA-256 of the policy in its one spelling ([`Policy::plain`]), by which a proof names it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The witnesses: of each its name in the policy, where it is if that is said, and its key.
    pub fn witnesses(&self) -> impl Iterator<Item = (&str, Option<&str>, &NoteKey)> {
        let named = self.policy.witnesses().iter().zip(&self.witnesses);
        named.map(|((name, party), key)| (name.as_str(), party.url.as_deref(), key))
    }

    /// The keys of logs that it names.
    pub fn log_keys(&self) -> impl ExactSizeIterator<Item = &VerifierKey> {
        self.logs.iter().map(NoteVerifier::key)
    }

    /// A note with one signature of each key that is known, and no others: what strangers signed, of which there may
    /// be much, is nothing to keep.
    #[must_use]
    pub fn kept(&self, note: &Note) -> Note {
        let keys = self.logs.iter().chain(&self.witnesses).map(NoteVerifier::key);
        let of = |key: &VerifierKey| note.signatures().iter().find(|one| key.made(one)).cloned();
        note.with_signatures(keys.filter_map(of).collect())
    }

    /// The latest time, in seconds since 1970, at which a witness says that it cosigned. Of a note that was not vouched
    /// for it says nothing.
    #[must_use]
    pub fn cosigned_s(&self, note: &Note) -> Option<u64> {
        let of_witness = |signature: &&NoteSignature| {
            self.witnesses.iter().any(|witness| witness.key().made(signature))
        };
        let signatures = note.signatures().iter().filter(of_witness);
        signatures.filter_map(|signature| Some(split_time(signature.bytes())?.0)).max()
    }

    /// Checks that the log itself signed a checkpoint, whoever else did.
    ///
    /// # Errors
    ///
    /// [`ProofError`] if no log of the policy signed it under its own name, or a signature of one does not hold.
    pub fn signed_by_log(&self, note: Note) -> Result<Checkpoint, ProofError> {
        let known: Vec<&dyn NoteVerifier> =
            self.logs.iter().map(|key| key as &dyn NoteVerifier).collect();
        let signed = note.verify(&known).map_err(unsigned)?;
        let checkpoint: Checkpoint =
            signed.text().parse().map_err(|_| ProofError::NotACheckpoint)?;
        let is_own = signed.by().iter().any(|key| *key.name() == checkpoint.origin);
        if is_own { Ok(checkpoint) } else { Err(ProofError::Unsigned) }
    }

    /// Checks the signatures under a checkpoint.
    ///
    /// # Errors
    ///
    /// [`ProofError`] if no log of the policy signed it under its own name, too few witnesses did, or a
    /// signature of a key that is known does not hold.
    pub fn vouched(&self, note: Note) -> Result<Vouched, ProofError> {
        let keys = self.logs.iter().chain(&self.witnesses);
        let known: Vec<&dyn NoteVerifier> = keys.map(|key| key as &dyn NoteVerifier).collect();
        let signed = note.verify(&known).map_err(unsigned)?;
        let checkpoint: Checkpoint =
            signed.text().parse().map_err(|_| ProofError::NotACheckpoint)?;
        let logs: Vec<VerifierKey> = self
            .logs
            .iter()
            .map(NoteVerifier::key)
            .filter(|key| *key.name() == checkpoint.origin && signed.by().contains(key))
            .cloned()
            .collect();
        if logs.is_empty() {
            return Err(ProofError::Unsigned);
        }
        if !self.policy.is_met_by(&signed) {
            return Err(ProofError::Quorum);
        }
        let witnesses = self.policy.witnesses().iter();
        let witnesses = witnesses.filter(|(_, party)| signed.by().contains(&party.key));
        Ok(Vouched {
            checkpoint,
            logs,
            witnesses: witnesses.map(|(name, _)| name.clone()).collect(),
            asks_for_witnesses: self.policy.asks_for_witnesses(),
        })
    }
}

fn unsigned(error: NoteError) -> ProofError {
    match error {
        NoteError::Unsigned => ProofError::Unsigned,
        error => error.into(),
    }
}
