//! What each operation computes with a key, once it is permitted.

use chancery_api::message::InputForm;
use chancery_audit::record::{CONTEXT_AUDITED, RAW};
use chancery_core::authority::Permit;
use chancery_core::handle::Operation;
use chancery_core::key::{Key, KeyVersion as Version};
use chancery_core::purpose::Format;
use chancery_core::reason::Reason;
use chancery_core::schedule::Fraction;
use chancery_core::suite::Suite;
use chancery_crypto::envelope::{self, Binding, DecryptError, Origin};
use chancery_crypto::formats::{
    self, ContextBinding, FormatError, KeyVersion, Payload, Signing, Verifier, VerifyError,
    Verifying,
};
use chancery_crypto::key::{PrivateKey, PublicKey, SignError};
use zeroize::Zeroizing;

use super::{Job, OwnedItem, suite_of};
use crate::entropy;
use crate::materials::First;
use crate::service::Shared;

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
    operation: Operation,
    permit: &Permit,
) -> Result<Computed, Reason> {
    let use_of = KeyUse { shared, item, permit };
    match operation {
        Operation::Sign | Operation::Mac => use_of.sign(),
        Operation::Verify | Operation::VerifyMac => use_of.verify().map(|()| Computed::bare()),
        Operation::Encrypt => use_of.encrypt(&item.input).map(Computed::public),
        Operation::Decrypt | Operation::Unwrap => use_of.decrypt().map(Computed::secret),
        Operation::Derive => use_of.derive().map(Computed::secret),
        Operation::GenerateDataKey => use_of.generate_data_key(),
        Operation::Rewrap => use_of.rewrap(),
        Operation::Random => use_of.random().map(Computed::secret),
    }
}

impl Computed {
    fn public(output: Vec<u8>) -> Self {
        Self { output: Zeroizing::new(output), version: None, flags: 0, keeps: Keeps::From(0) }
    }

    fn bare() -> Self {
        Self::secret(Zeroizing::default())
    }

    fn secret(output: Zeroizing<Vec<u8>>) -> Self {
        Self { output, version: None, flags: 0, keeps: Keeps::Nothing }
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
    Some(Computed { output, version: Some(version), flags: 0, keeps: Keeps::From(key.len()) })
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

    fn version(&self) -> Result<&Version, Reason> {
        self.key().version(self.permit.version()).ok_or(Reason::KeyUnusable)
    }

    fn payload(&self) -> Payload<'_> {
        // What is bound of a message is its digest, which was computed for the record.
        let is_bound = self.key().purpose.format() == Format::Bound;
        if is_bound || self.item.form == InputForm::Digest {
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

    fn sign(&self) -> Result<Computed, Reason> {
        let version = self.permit.version();
        let signing = Signing {
            purpose: &self.key().purpose,
            suite: suite_of(self.key(), version),
            key: self.key().id,
            version,
            posture_epoch: self.permit.posture().epoch,
            context: &self.item.context,
            payload: self.payload(),
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
        let flags = self.flags(to_be_signed.context_binding());
        let output = to_be_signed.assemble(&signature.map_err(|_| Reason::Unavailable)?);
        Ok(Computed { flags, ..Computed::public(output) })
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

    fn verify(&self) -> Result<(), Reason> {
        let version = self.version()?;
        let key = KeyVersion { key: self.key().id, version: version.number };
        let has_payload = !self.item.input.is_empty() || self.item.form == InputForm::Digest;
        let carries_payload = matches!(self.key().purpose.format(), Format::Jws | Format::Dsse);
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
        Ok(Computed { output, version: None, flags: 0, keeps: Keeps::From(key.len()) })
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
