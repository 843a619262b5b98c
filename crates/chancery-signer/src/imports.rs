//! Keys brought in: sealed to a one-time key that never leaves the signer and opens one import.
//!
//! ```text
//! sealed = enc (32) ‖ HPKE.Seal[DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM](
//!              info = "chancery/key-import/v1\0" ‖ one-time key's id (16), aad = CBOR new key, PKCS#8)
//! ```
//!
//! RFC 9180, base mode, single shot. The wrapped key is tied to what the new key is to be: name, purpose,
//! algorithm and scope are associated data.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chancery_core::authority::Refusal;
use chancery_core::cbor;
use chancery_core::command::{Answer, NewKey};
use chancery_core::reason::Reason;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels::KEY_IMPORT;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey};
use zeroize::Zeroizing;

use crate::counters::lock;
use crate::entropy;

/// How long a one-time key waits for its import: 10 minutes.
const LIFE: Duration = Duration::from_mins(10);

/// The most one-time keys that wait: 64.
const WAITING_MAX: usize = 64;

/// The bytes of an encapsulated X25519 key (RFC 9180, 7.1).
const ENC_BYTES: usize = 32;

/// The one-time keys that wait for their imports. They do not survive the process.
#[derive(Default)]
pub(crate) struct Imports {
    waiting: Mutex<BTreeMap<[u8; 16], (HpkePrivateKey, Instant)>>,
}

/// No one-time key is to be had.
pub(crate) struct NoOneTimeKey;

impl Imports {
    /// Makes a one-time key.
    pub(crate) fn begin(&self) -> Result<Answer, NoOneTimeKey> {
        let id: [u8; 16] = entropy::bytes().map_err(|_| NoOneTimeKey)?;
        let pair =
            DH_KEM_X25519_HKDF_SHA256_AES_256.generate_key_pair().map_err(|_| NoOneTimeKey)?;
        let (public, private) = pair;
        self.forget_old();
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING_MAX {
            return Err(NoOneTimeKey);
        }
        waiting.insert(id, (private, Instant::now()));
        Ok(Answer::OneTimeKey { id, public: public.0 })
    }

    /// Forgets the one-time keys that waited too long: what nobody can use any more is not to be read from memory either.
    pub(crate) fn forget_old(&self) {
        lock(&self.waiting).retain(|_, (_, made)| made.elapsed() < LIFE);
    }

    /// Opens an import. The one-time key is spent, whatever comes of it.
    pub(crate) fn open(
        &self,
        new: &NewKey,
        id: &[u8; 16],
        sealed: &[u8],
    ) -> Result<PrivateKey, Refusal> {
        let refused =
            |detail: &str| Refusal { reason: Reason::PayloadRefused, detail: detail.into() };
        let taken = lock(&self.waiting).remove(id).filter(|(_, made)| made.elapsed() < LIFE);
        let (private, _) = taken
            .ok_or_else(|| refused("the one-time key is unknown, spent or too old; begin again"))?;
        let (enc, ciphertext) = sealed
            .split_at_checked(ENC_BYTES)
            .ok_or_else(|| refused("the wrapped key is too short"))?;
        let info = [KEY_IMPORT, id].concat();
        let enc = EncapsulatedSecret(enc.to_vec());
        let opened = DH_KEM_X25519_HKDF_SHA256_AES_256
            .open(&enc, &info, &cbor::encode(new), ciphertext, &private)
            .map_err(|_| refused("the wrapped key does not open under its one-time key"))?;
        let opened = Zeroizing::new(opened);
        PrivateKey::from_pkcs8(new.suite, &opened).map_err(|error| refused(&error.to_string()))
    }
}
