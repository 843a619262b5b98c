//! What each operation computes with a key, once it is permitted.
//!
//! Where two versions of a key sign, or are to verify, each is computed by itself with its own suite; one answer holds
//! both or there is none.

use std::time::Instant;

use chancery_api::message::InputForm;
use chancery_audit::record::{BOTH_VERSIONS, CONTEXT_AUDITED, RAW};
use chancery_core::authority::Permit;
use chancery_core::handle::Operation;
use chancery_core::key::Key;
use chancery_core::purpose::Format;
use chancery_core::reason::Reason;
use chancery_core::schedule::Fraction;
use chancery_core::suite::Suite;
use chancery_crypto::envelope::{self, Binding, DecryptError, Origin};
use chancery_crypto::formats::{
    self, ContextBinding, FormatError, KeyVersion, Payload, Signatures, Signing, ToBeSigned,
    Verifier, VerifyError, Verifying,
};
use chancery_crypto::key::{PrivateKey, PublicKey, SignError};
use zeroize::Zeroizing;

use super::{Job, OwnedItem, suite_of};
use crate::entropy;
use crate::materials::First;
use crate::service::Shared;
use crate::sightings::Done;

/// The bytes of a data key: AES-256.
const DATA_KEY_BYTES: usize = 32;

/// The most random bytes drawn at once: 1 KiB.
const RANDOM_BYTES_MAX: u32 = 1_024;

/// A result.
pub(crate) struct Computed {
    /// What leaves.
    pub(crate) output: Zeroizing<Vec<u8>>,
    /// The version it came from, if that is not the one that the decision chose.
    pub(crate) version: Option<u32>,
    /// The version that was used beside it.
    pub(crate) beside: Option<u32>,
    /// What the record says of how it was made.
    pub(crate) flags: u8,
    keeps: Keeps,
}

/// What of a result is kept for a repeat.
enum Keeps {
    /// Its end from there on: all of it, or a data key's wrapping.
    From(usize),
    /// Nothing: the operation runs again.
    Nothing,
}

/// Whether a repeat is computed again rather than answered from the log: nothing secret is kept there.
pub(crate) fn runs_again(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Decrypt
            | Operation::Derive
            | Operation::Unwrap
            | Operation::Verify
            | Operation::VerifyMac
    )
}

/// Computes a permitted use.
pub(crate) fn compute(
    shared: &Shared,
    item: &OwnedItem,
    permit: &Permit,
) -> Result<Computed, Reason> {
    let use_of = KeyUse { shared, item, permit };
    match (permit.operation(), permit.second()) {
        (Operation::Sign | Operation::Mac, Some(incoming)) => use_of.sign_by_both(incoming),
        (Operation::Verify, Some(incoming)) => use_of.verify_by_both(incoming),
        _ => use_of.counted(permit.version(), || use_of.by_one()),
    }
}

/// Whether a use asks more of its versions' suites than a lane has time for.
pub(crate) fn is_slow(permit: &Permit) -> bool {
    let is_slow = |version| suite_of(permit.key(), version).properties().is_slow;
    permit.operation() != Operation::Verify
        && (is_slow(permit.version()) || permit.second().is_some_and(is_slow))
}

impl Computed {
    fn public(output: Vec<u8>) -> Self {
        let output = Zeroizing::new(output);
        Self { output, version: None, beside: None, flags: 0, keeps: Keeps::From(0) }
    }

    fn bare() -> Self {
        Self::secret(Zeroizing::default())
    }

    fn secret(output: Zeroizing<Vec<u8>>) -> Self {
        Self { output, version: None, beside: None, flags: 0, keeps: Keeps::Nothing }
    }

    /// What is kept for a repeat; empty where the operation runs again.
    pub(crate) fn kept(&self) -> &[u8] {
        match self.keeps {
            Keeps::From(start) => self.output.get(start..).unwrap_or_default(),
            Keeps::Nothing => &[],
        }
    }
}

/// A data key once more, out of the wrapped one that was kept.
pub(crate) fn data_key_again(
    shared: &Shared,
    job: &Job,
    version: u32,
    wrapped: &[u8],
) -> Option<Computed> {
    let item = job.request.items.get(job.position)?;
    let use_of = KeyUse { shared, item, permit: &job.permit };
    let key = use_of.open(version, wrapped).ok()?;
    let output = Zeroizing::new([key.as_slice(), wrapped].concat());
    let keeps = Keeps::From(key.len());
    Some(Computed { output, version: Some(version), beside: None, flags: 0, keeps })
}

struct KeyUse<'u> {
    shared: &'u Shared,
    item: &'u OwnedItem,
    permit: &'u Permit,
}

impl KeyUse<'_> {
    fn key(&self) -> &Key {
        self.permit.key()
    }

    fn material(&self, version: u32) -> Result<(std::sync::Arc<PrivateKey>, First), Reason> {
        let found = self.shared.materials.get(&self.shared.vault, self.key(), version);
        found.map_err(|_| Reason::Unavailable)
    }

    fn payload(&self) -> Payload<'_> {
        // What is bound of a message is its digest, which was computed for the record.
        if self.key().purpose.format().takes_digest() || self.item.form == InputForm::Digest {
            Payload::Digest(self.item.digest)
        } else {
            Payload::Message(&self.item.input)
        }
    }

    fn origin(&self, version: u32) -> Origin {
        let posture_epoch = self.permit.posture().epoch;
        Origin { key: KeyVersion { key: self.key().id, version }, posture_epoch }
    }

    fn binding(&self) -> Binding<'_> {
        Binding { purpose: &self.key().purpose, context: &self.item.context }
    }

    fn by_one(&self) -> Result<Computed, Reason> {
        match self.permit.operation() {
            Operation::Sign | Operation::Mac => self.sign(),
            Operation::Verify | Operation::VerifyMac => {
                self.verify_by(self.permit.version()).map(|()| Computed::bare())
            }
            Operation::Encrypt => self.encrypt(&self.item.input).map(Computed::public),
            Operation::Decrypt | Operation::Unwrap => self.decrypt().map(Computed::secret),
            Operation::Derive => self.derive().map(Computed::secret),
            Operation::GenerateDataKey => self.generate_data_key(),
            Operation::Rewrap => self.rewrap(),
            Operation::Random => self.random().map(Computed::secret),
        }
    }

    /// Does something with a version; and if a rollout moves the key, counts what came of it.
    fn counted<T>(
        &self,
        version: u32,
        perform: impl FnOnce() -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        if self.key().moving.is_none() {
            return perform();
        }
        let began = Instant::now();
        let performed = perform();
        let done = Done {
            operation: self.permit.operation(),
            version,
            took: began.elapsed(),
            failed: performed.as_ref().err().copied(),
            now: self.permit.now().served,
        };
        self.shared.sightings.count(self.key(), &done);
        performed
    }

    fn sign(&self) -> Result<Computed, Reason> {
        let (to_be_signed, signature) = self.sign_by(self.permit.version(), Signatures::One)?;
        let flags = self.flags(to_be_signed.context_binding());
        Ok(Computed { flags, ..Computed::public(to_be_signed.assemble(&signature)) })
    }

    /// Both sign the same request. If one cannot, the answer is not made with the other alone.
    fn sign_by_both(&self, incoming: u32) -> Result<Computed, Reason> {
        let sign = |version| self.counted(version, || self.sign_by(version, Signatures::Two));
        let (one, signature) = sign(self.permit.version())?;
        let (other, beside) = sign(incoming)?;
        let flags = self.flags(one.context_binding()) | BOTH_VERSIONS;
        let output = formats::assemble_both((one, &signature), (other, &beside));
        let output = output.map_err(|error| refused_payload(&error))?;
        Ok(Computed { flags, beside: Some(incoming), ..Computed::public(output) })
    }

    fn sign_by(
        &self,
        version: u32,
        signatures: Signatures,
    ) -> Result<(ToBeSigned, Vec<u8>), Reason> {
        let signing = Signing {
            purpose: &self.key().purpose,
            suite: suite_of(self.key(), version),
            key: self.key().id,
            version,
            public: self.key().version(version).map(|it| &*it.public).unwrap_or_default(),
            posture_epoch: self.permit.posture().epoch,
            context: &self.item.context,
            payload: self.payload(),
            signatures,
            now_ms: self.permit.now().unix_ms,
        };
        let to_be_signed =
            formats::to_be_signed(&signing).map_err(|error| refused_payload(&error))?;
        let (key, first) = self.material(version)?;
        let signature = match key.mac_key() {
            Some(mac) => Ok(mac.mac(&[to_be_signed.bytes()])),
            None if first == First::Yes || is_rsa(key.suite()) || self.is_tried(version) => {
                key.sign_and_verify(to_be_signed.bytes())
            }
            None => key.sign(to_be_signed.bytes()),
        };
        if matches!(signature, Err(SignError::Fault)) {
            self.shared.sightings.faulted(self.key(), version, self.permit.now().served);
        }
        Ok((to_be_signed, signature.map_err(|_| Reason::Unavailable)?))
    }

    /// Whether a rollout brings the version in, and for some only.
    fn is_tried(&self, version: u32) -> bool {
        let share = self.key().moving.as_ref().and_then(|moving| moving.share.as_ref());
        share.is_some_and(|share| share.version == version && share.fraction < Fraction::WHOLE)
    }

    fn flags(&self, context: ContextBinding) -> u8 {
        let raw = if self.key().purpose.format() == Format::Raw { RAW } else { 0 };
        match context {
            ContextBinding::Audited => raw | CONTEXT_AUDITED,
            ContextBinding::Bound => raw,
        }
    }

    /// Both versions are tried. One that holds is enough, unless verifiers ask for both.
    fn verify_by_both(&self, other: u32) -> Result<Computed, Reason> {
        let verify = |version| self.counted(version, || self.verify_by(version)).map(|()| version);
        let tried = [verify(self.permit.version()), verify(other)];
        match tried {
            [Ok(one), Ok(other)] => {
                let (version, beside, flags) = (Some(one), Some(other), BOTH_VERSIONS);
                Ok(Computed { version, beside, flags, ..Computed::bare() })
            }
            [Err(reason), _] | [_, Err(reason)] if self.asks_both() => Err(reason),
            [Ok(one), _] | [_, Ok(one)] => Ok(Computed { version: Some(one), ..Computed::bare() }),
            [Err(reason), _] => Err(reason),
        }
    }

    fn asks_both(&self) -> bool {
        self.key().moving.is_some() && self.key().schedule().asks_both().is_some()
    }

    fn verify_by(&self, version: u32) -> Result<(), Reason> {
        let version = self.key().version(version).ok_or(Reason::KeyUnusable)?;
        let key = KeyVersion { key: self.key().id, version: version.number };
        let has_payload = !self.item.input.is_empty() || self.item.form == InputForm::Digest;
        let carries_payload = self.key().purpose.format().carries_payload();
        let payload = (has_payload || !carries_payload).then(|| self.payload());
        let verify = |verifier: Verifier<'_>| {
            let expected = Verifying {
                purpose: &self.key().purpose,
                key,
                verifier,
                context: &self.item.context,
                payload,
                now_ms: self.permit.now().unix_ms,
            };
            formats::verify(&self.item.against, &expected).map(|_| ()).map_err(refused_output)
        };
        let suite = self.key().suite_of(version);
        if suite.is_asymmetric() {
            let public = PublicKey::from_spki(suite, &version.public);
            return verify(Verifier::Public(&public.map_err(|_| Reason::Unavailable)?));
        }
        let (material, _) = self.material(version.number)?;
        verify(Verifier::Mac(material.mac_key().ok_or(Reason::Unavailable)?))
    }

    fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, Reason> {
        self.seal(self.permit.version(), plaintext)
    }

    fn seal(&self, version: u32, plaintext: &[u8]) -> Result<Vec<u8>, Reason> {
        let (key, _) = self.material(version)?;
        let key = key.envelope_key().ok_or(Reason::Unavailable)?;
        let salt = entropy::bytes().map_err(|_| Reason::Unavailable)?;
        let sealed = envelope::encrypt(key, self.origin(version), self.binding(), salt, plaintext);
        sealed.map_err(|_| Reason::PayloadRefused)
    }

    fn decrypt(&self) -> Result<Zeroizing<Vec<u8>>, Reason> {
        self.open(self.permit.version(), &self.item.input)
    }

    fn open(&self, version: u32, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Reason> {
        let (key, _) = self.material(version)?;
        let key = key.envelope_key().ok_or(Reason::Unavailable)?;
        let expected = KeyVersion { key: self.key().id, version };
        envelope::decrypt(key, expected, self.binding(), sealed).map_err(|error| match error {
            DecryptError::Malformed => Reason::PayloadRefused,
            DecryptError::Provider(_) => Reason::Unavailable,
            _ => Reason::VerificationFailed,
        })
    }

    /// What protects it now is the version of its schedule, and the record names that.
    fn rewrap(&self) -> Result<Computed, Reason> {
        let protecting = self.permit.second().ok_or(Reason::KeyUnusable)?;
        let plaintext = self.decrypt()?;
        let sealed = self.seal(protecting, &plaintext)?;
        Ok(Computed { version: Some(protecting), ..Computed::public(sealed) })
    }

    fn derive(&self) -> Result<Zeroizing<Vec<u8>>, Reason> {
        let (key, _) = self.material(self.permit.version())?;
        let key = key.derive_key().ok_or(Reason::Unavailable)?;
        let length = usize::try_from(self.item.length).map_err(|_| Reason::TooLarge)?;
        let derived = key.derive(&self.key().purpose, &self.item.context, length);
        derived.map_err(|_| Reason::PayloadRefused)
    }

    fn generate_data_key(&self) -> Result<Computed, Reason> {
        let key: [u8; DATA_KEY_BYTES] = entropy::bytes().map_err(|_| Reason::Unavailable)?;
        let key = Zeroizing::new(key);
        let wrapped = self.encrypt(key.as_slice())?;
        let output = Zeroizing::new([key.as_slice(), &wrapped].concat());
        let keeps = Keeps::From(key.len());
        Ok(Computed { output, version: None, beside: None, flags: 0, keeps })
    }

    fn random(&self) -> Result<Zeroizing<Vec<u8>>, Reason> {
        let length = usize::try_from(self.item.length.min(RANDOM_BYTES_MAX)).unwrap_or_default();
        if self.item.length > RANDOM_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        let mut bytes = Zeroizing::new(vec![0; length]);
        let drawn = chancery_crypto::primitive::random(&mut bytes);
        drawn.map(|()| bytes).map_err(|_| Reason::Unavailable)
    }
}

fn is_rsa(suite: Suite) -> bool {
    matches!(
        suite,
        Suite::RsaPss3072
            | Suite::RsaPss4096
            | Suite::RsaPkcs1Sha256With3072
            | Suite::RsaPkcs1Sha256With4096
    )
}

fn refused_payload(error: &FormatError) -> Reason {
    match error {
        FormatError::ContextUnbound | FormatError::ContextMismatch => Reason::NotAuthorized,
        FormatError::MessageTooLong { .. } => Reason::TooLarge,
        _ => Reason::PayloadRefused,
    }
}

fn refused_output(error: VerifyError) -> Reason {
    match error {
        VerifyError::PayloadMissing | VerifyError::PayloadUnexpected => Reason::Malformed,
        VerifyError::Expectation(error) => refused_payload(&error),
        _ => Reason::VerificationFailed,
    }
}
