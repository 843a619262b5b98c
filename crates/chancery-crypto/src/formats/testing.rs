//! What the tests of all formats share.

use std::sync::Arc;

use chancery_core::context::{Context, Pair};
use chancery_core::id::KeyId;
use chancery_core::purpose::Purpose;
use chancery_core::suite::Suite;

use super::{
    FormatError, KeyVersion, Payload, Signatures, Signing, ToBeSigned, Verified, Verifier,
    VerifyError, Verifying,
};
use crate::key::{PrivateKey, PublicKey};

/// The time of all tests, in milliseconds since 1970; 1 700 000 000 seconds.
pub(super) const NOW_MS: u64 = 1_700_000_000_000;

/// Claims that may be signed at [`NOW_MS`].
pub(super) const CLAIMS: &str = r#"{"iss":"https://issuer.example","aud":"api","iat":1700000000,"exp":1700000600,"tenant":"a"}"#;

/// One purpose of each signing format.
pub(super) const PURPOSES: [&str; 7] = [
    "sign.bound:invoice",
    "sign.jws:at+jwt",
    "sign.jws-json:grant+jwt",
    "sign.dsse:application/x",
    "sign.cose:application/x",
    "sign.sshsig:git",
    "sign.note:example.com/notes",
];

/// A key with everything that is signed with it.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) purpose: Purpose,
    pub(super) private: Arc<PrivateKey>,
    pub(super) key_version: KeyVersion,
    pub(super) context: Context,
    pub(super) now_ms: u64,
}

impl Case {
    pub(super) fn new(purpose: &str, suite: Suite) -> Self {
        let key_version = KeyVersion { key: KeyId::from_bytes([0x11; 16]), version: 3 };
        let (purpose, private, context) =
            (purpose.parse().unwrap(), Self::fresh(suite), Context::default());
        Self { purpose, private, key_version, context, now_ms: NOW_MS }
    }

    pub(super) fn fresh(suite: Suite) -> Arc<PrivateKey> {
        Arc::new(PrivateKey::generate(suite).unwrap())
    }

    pub(super) fn context(pairs: &[&str]) -> Context {
        Context::new(pairs.iter().map(|pair| Pair::parse(pair).unwrap()).collect()).unwrap()
    }

    pub(super) fn with_purpose(&self, purpose: &str) -> Self {
        Self { purpose: purpose.parse().unwrap(), ..self.clone() }
    }

    pub(super) fn signing(&self) -> Signing<'_> {
        Signing {
            purpose: &self.purpose,
            suite: self.private.suite(),
            key: self.key_version.key,
            version: self.key_version.version,
            public: self.private.public().map(PublicKey::spki).unwrap_or_default(),
            posture_epoch: 42,
            context: &self.context,
            payload: Payload::Message(b""),
            signatures: Signatures::One,
            now_ms: self.now_ms,
        }
    }

    /// Signs `message`, and returns what leaves.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, FormatError> {
        let signing = Signing { payload: Payload::Message(message), ..self.signing() };
        let bytes = super::to_be_signed(&signing)?;
        let signature = match self.private.mac_key() {
            Some(key) => key.mac(&[bytes.bytes()]),
            None => self.private.sign(bytes.bytes()).unwrap(),
        };
        Ok(bytes.assemble(&signature))
    }

    /// A payload that the purpose's format takes.
    pub(super) fn payload_of(purpose: &str) -> &'static [u8] {
        match purpose {
            _ if purpose.starts_with("sign.jws") => CLAIMS.as_bytes(),
            _ if purpose.starts_with("sign.note") => b"payload\n",
            _ => b"payload",
        }
    }

    /// Signs a payload that its format takes.
    pub(super) fn sign_any(&self) -> Result<Vec<u8>, FormatError> {
        self.sign(Self::payload_of(&self.purpose.to_string()))
    }

    pub(super) fn verifying(&self) -> Verifying<'_> {
        let public = self.private.public().map(Verifier::Public);
        Verifying {
            purpose: &self.purpose,
            key: self.key_version,
            verifier: public.unwrap_or_else(|| Verifier::Mac(self.private.mac_key().unwrap())),
            context: &self.context,
            payload: None,
            now_ms: self.now_ms,
        }
    }

    /// Verifies output that carries its payload.
    pub(super) fn verify_attached(&self, output: &[u8]) -> Result<Verified, VerifyError> {
        super::verify(output, &self.verifying())
    }

    /// Verifies output that does not carry its payload.
    pub(super) fn verify_detached(
        &self,
        output: &[u8],
        message: &[u8],
    ) -> Result<Verified, VerifyError> {
        super::verify(
            output,
            &Verifying { payload: Some(Payload::Message(message)), ..self.verifying() },
        )
    }

    /// `bytes` with each of its bits changed in turn.
    pub(super) fn one_bit_changes(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..bytes.len() * 8).map(|bit| {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        })
    }
}

/// Two versions of one key.
pub(super) struct TwoVersions {
    pub(super) outgoing: Case,
    pub(super) incoming: Case,
}

impl Case {
    pub(super) fn pair(purpose: &str, from: Suite, to: Suite) -> TwoVersions {
        let outgoing = Self::new(purpose, from);
        let version = outgoing.key_version.version + 1;
        let key_version = KeyVersion { version, ..outgoing.key_version };
        let incoming = Self { key_version, ..Self::new(purpose, to) };
        TwoVersions { outgoing, incoming }
    }
}

impl TwoVersions {
    pub(super) fn set_context(&mut self, pairs: &[&str]) {
        for case in [&mut self.outgoing, &mut self.incoming] {
            case.context = Case::context(pairs);
        }
    }

    fn to_be_signed(&self, message: &[u8]) -> [ToBeSigned; 2] {
        [&self.outgoing, &self.incoming].map(|case| {
            let (payload, signatures) = (Payload::Message(message), Signatures::Two);
            super::to_be_signed(&Signing { payload, signatures, ..case.signing() }).unwrap()
        })
    }

    /// What each version signs of a message.
    pub(super) fn signatures(&self, message: &[u8]) -> [Vec<u8>; 2] {
        let [one, other] = self.to_be_signed(message);
        let sign = |case: &Case, bytes: &ToBeSigned| case.private.sign(bytes.bytes()).unwrap();
        [sign(&self.outgoing, &one), sign(&self.incoming, &other)]
    }

    /// Signs `message` by both, if its format holds that.
    pub(super) fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, FormatError> {
        let ([one, other], [outgoing, incoming]) =
            (self.signatures(message), self.to_be_signed(message));
        super::assemble_both((outgoing, &one), (incoming, &other))
    }

    /// What leaves with these signatures.
    pub(super) fn assemble(&self, message: &[u8], [one, other]: [&[u8]; 2]) -> Vec<u8> {
        let [outgoing, incoming] = self.to_be_signed(message);
        super::assemble_both((outgoing, one), (incoming, other)).unwrap()
    }

    /// Signs `message` by both, and returns what leaves.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let [one, other] = self.signatures(message);
        self.assemble(message, [&one, &other])
    }
}
