//! The format `note`: a text with the signature lines of one key, or of two versions of it.
//!
//! Follows C2SP signed-note v1.0.0, and for ML-DSA-44 tlog-cosignature v1.1.0; `chancery_log::note` has the form. The text is
//! UTF-8, ends in a line feed, and has no other control character; the key's name is the domain of the purpose.
//!
//! | suite | type | what is signed |
//! |---|---|---|
//! | `ed25519` | `0x01` | the text |
//! | `ml-dsa-44` | `0x06` | of a checkpoint alone, whose origin is the key's name: its subtree with the time, as a log signs its own |
//!
//! There is no type of ML-DSA signatures over other texts. A line names the public half by four bytes of a hash, and no
//! version; [`is_by`] says whose it is. Neither context nor posture epoch is in a note.

use chancery_core::suite::Suite;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::cosignature::{ml_dsa_44_message, with_time};
use chancery_log::note::{KeyName, NOTE_BYTES_MAX, Note, NoteError, SignatureType, VerifierKey};

use super::{
    Assembly, FormatError, Signing, ToBeSigned, Verified, VerifyError, Verifying, unbound,
};
use crate::der;
use crate::key::BadSignature;
use crate::notes::NoteKey;

/// The longest text, in bytes: a note less 8 KiB, for two lines of ML-DSA-44, which take 3 300 each and a name.
pub const NOTE_TEXT_BYTES_MAX: usize = NOTE_BYTES_MAX - 8 * 1024;

/// What an output is assembled from.
#[derive(Clone, Debug)]
pub(super) struct Line {
    text: Note,
    key: VerifierKey,
    /// Where the signature has a time: when, in seconds since 1970.
    time_s: Option<u64>,
}

/// What is no text of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It is no UTF-8, does not end in a line feed, or has control characters.
    #[error("the text of a note is UTF-8, ends in a line feed and has no other control character")]
    NotAText,
    /// It is longer than a note's.
    #[error("the text of a note has at most {NOTE_TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// An ML-DSA key signs checkpoints alone.
    #[error(
        "an `ml-dsa-44` key signs notes that are checkpoints, whose first line is the key's name; sign others with `ed25519`"
    )]
    NotACheckpoint,
}

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let text = std::str::from_utf8(signing.payload.message()?);
    let text = text.map_err(|_| TextError::NotAText)?;
    if text.len() > NOTE_TEXT_BYTES_MAX {
        return Err(TextError::TooLong.into());
    }
    let note = Note::new(text).map_err(|_| TextError::NotAText)?;
    let context = unbound(signing.purpose, signing.context)?;
    let key = verifier_key(signing.purpose.domain(), signing.suite, signing.public);
    let key = key.ok_or(FormatError::NoPublicKey)?;
    let (bytes, time_s) = match key.kind() {
        SignatureType::MlDsa44Cosignature => {
            let time_s = signing.now_ms / 1_000;
            (subtree(key.name(), text, time_s).ok_or(TextError::NotACheckpoint)?, Some(time_s))
        }
        SignatureType::Ed25519 | SignatureType::Ed25519Cosignature => (text.into(), None),
    };
    let line = Line { text: note, key, time_s };
    Ok(ToBeSigned { bytes, context, assembly: Assembly::Note(line) })
}

/// What ML-DSA-44 signs of a log's own checkpoint.
fn subtree(name: &KeyName, text: &str, time_s: u64) -> Option<Vec<u8>> {
    let checkpoint: Checkpoint = text.parse().ok()?;
    (checkpoint.origin == *name).then(|| ml_dsa_44_message(name, &checkpoint, time_s))?
}

/// The key as verifiers of notes know it.
///
/// `None` if the suite signs no notes, the name is none of a key, or the bytes are no public half.
#[must_use]
pub fn verifier_key(name: &str, suite: Suite, spki: &[u8]) -> Option<VerifierKey> {
    let kind = match suite {
        Suite::Ed25519 => SignatureType::Ed25519,
        Suite::MlDsa44 => SignatureType::MlDsa44Cosignature,
        _ => return None,
    };
    VerifierKey::new(name.parse().ok()?, kind, der::subject_public_key(spki)?).ok()
}

impl Line {
    pub(super) fn assemble(mut self, signature: &[u8]) -> Vec<u8> {
        self.sign(signature);
        self.text.to_string().into_bytes()
    }

    /// What leaves with another version's line under this one's.
    pub(super) fn assemble_both(mut self, signature: &[u8], mut other: (Self, &[u8])) -> Vec<u8> {
        self.sign(signature);
        other.0.sign(other.1);
        other.0.text.signatures().iter().for_each(|line| self.text.add(line.clone()));
        self.text.to_string().into_bytes()
    }

    fn sign(&mut self, signature: &[u8]) {
        let line = match self.time_s {
            Some(time_s) => self.key.signature(&with_time(time_s, signature)),
            None => self.key.signature(signature),
        };
        self.text.add(line);
    }
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    expected.no_payload()?;
    let (suite, spki) = expected.verifier.public().ok_or(VerifyError::OtherOrigin)?;
    let key = verifier_key(expected.purpose.domain(), suite, spki);
    let key = NoteKey::new(key.ok_or(FormatError::NoPublicKey)?);
    let key = key.map_err(|_| FormatError::NoPublicKey)?;
    let note = Note::parse(output).map_err(|_| VerifyError::Malformed)?;
    let signed = note.verify(&[&key]).map_err(|error| match error {
        NoteError::Unsigned => VerifyError::OtherOrigin,
        _ => BadSignature.into(),
    })?;
    Ok(Verified::Note { text: signed.text().to_owned() })
}

/// Whether a line of a note names this public half as its signer's. Nothing is verified.
#[must_use]
pub fn is_by(output: &[u8], name: &str, suite: Suite, spki: &[u8]) -> bool {
    let (note, key) = (Note::parse(output).ok(), verifier_key(name, suite, spki));
    let named = note.zip(key);
    named.is_some_and(|(note, key)| note.signatures().iter().any(|line| key.made(line)))
}

#[cfg(test)]
mod tests;
