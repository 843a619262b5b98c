//! Trust bundles: signed heads, the tree over their entries, and what a verifier does with them.
//!
//! ```text
//! digest    = SHA-256(head)                                   what ETags, chains and reports name a bundle by
//! signature = Sign[key](TRUST_BUNDLE ‖ head)                  Ed25519 (RFC 8032) and ML-DSA-44 (FIPS 204)
//! key       = HKDF-SHA-512[TRUST_BUNDLE_KEY ‖ tenant (16) ‖ suite (2)](root key, 32)      a seed
//! root      = MTH(entries)                                    RFC 6962, 2.1; entries as they are encoded
//! ```
//!
//! The head and an entry are canonical CBOR of [`chancery_core::bundle`]. A head is signed by several keys; who takes it
//! has pinned some of them and says how many must have signed ([`Pins`]).
//!
//! **Invariant:** a [`TrustBundle`] was signed by enough pinned keys, and holds every entry that its head counts, in the
//! one order that there is. Nothing of a bundle is used before that.
//!
//! What is *not* here: whether a bundle is newer than another, which is for whoever keeps one to say; any clock; any file.

mod assembly;
mod pins;
mod trusted;

use std::borrow::Borrow;

use chancery_core::bundle::{BundleSigner, Entry, Head, KeyEntry, revoked_of};
use chancery_core::cbor;
use chancery_core::epoch::Epoch;
use chancery_core::id::TenantId;
use chancery_core::key::Key;
use chancery_core::suite::Suite;
use chancery_log::{Frontier, leaf_hash};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

pub use self::assembly::Assembly;
pub use self::pins::{PINS_BYTES_MAX, Pins, PinsError};
pub use self::trusted::{Accepted, Expected, Named, Rejected, TrustBundle};
use crate::key::{KeyError, PrivateKey, PublicKey, SignError};
use crate::labels;
use crate::primitive::sha256;
use crate::seal::SealingKey;

/// The version of the forms in which heads, pages and files leave.
const FORMAT: u8 = 1;

/// The longest signed head, in bytes: 16 KiB. With two signers it has under 5.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How many bytes of entries a page has, if it has more than one: 1 MiB, half of what a frame holds. The longest entry,
/// 256 versions of ML-DSA-87, has under 0.7 MiB.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// The longest page, in bytes: what a page may have, the longest entry besides, and 64 KiB around them.
pub const PAGE_BYTES_MAX: usize = PAGE_BYTES + 64 * 1024;

/// The algorithms that sign bundles.
const SIGNERS: [Suite; 2] = [Suite::Ed25519, Suite::MlDsa44];

/// A bundle is not to be trusted. It does not say why where the reason is an attacker's to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes are no signed head, page or file of a bundle.
    #[error("not a trust bundle in its one encoding")]
    Malformed,
    /// Too few pinned keys have signed it.
    #[error(
        "{have} of the pinned keys have signed the bundle, and {need} must; check the pins, or whose bundle it is"
    )]
    Signatures {
        /// How many have.
        have: usize,
        /// How many must.
        need: usize,
    },
    /// It says that it is longer than a bundle is.
    #[error("the bundle is longer than one may be")]
    TooLarge,
    /// The page is not the next one, or of another bundle.
    #[error("the page is not the next one of this bundle")]
    OtherPage,
    /// Entries and head do not go together.
    #[error("the entries are not those that the bundle's head was signed over")]
    OtherEntries,
}

/// The keys that sign a tenant's bundles.
#[derive(Debug)]
pub struct BundleKeys(Vec<PrivateKey>);

impl BundleKeys {
    /// Those of a tenant, which are derived from the root key: they outlast every log.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the provider cannot.
    pub fn derive(root: &SealingKey, tenant: TenantId) -> Result<Self, KeyError> {
        let seed = |suite: Suite| {
            let info = [tenant.as_bytes().as_slice(), &suite.number().to_be_bytes()].concat();
            root.subkey(labels::TRUST_BUNDLE_KEY, &info)
        };
        let [ed25519, ml_dsa_44] = SIGNERS;
        Self::from_seeds(&*seed(ed25519)?, &*seed(ml_dsa_44)?)
    }

    /// Those of these seeds, of the Ed25519 key and of the ML-DSA-44 key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the provider cannot.
    pub fn from_seeds(ed25519: &[u8; 32], ml_dsa_44: &[u8; 32]) -> Result<Self, KeyError> {
        let keys = SIGNERS.into_iter().zip([ed25519, ml_dsa_44]);
        let keys = keys.map(|(suite, seed)| PrivateKey::from_secret(suite, seed));
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// Their public halves.
    #[must_use]
    pub fn signers(&self) -> Vec<BundleSigner> {
        let publics = self.0.iter().filter_map(PrivateKey::public);
        publics
            .map(|key| BundleSigner { suite: key.suite(), public: key.spki().to_vec() })
            .collect()
    }

    /// Signs a head: its digest, and the bytes that are handed out.
    ///
    /// # Errors
    ///
    /// [`SignError`] if the provider cannot, or a fresh signature does not verify.
    pub fn sign(&self, head: &Head) -> Result<([u8; 32], Vec<u8>), SignError> {
        let head = cbor::encode(head);
        let message = signed_bytes(&head);
        let signatures = self.0.iter().map(|key| {
            let signer = key.public().map(PublicKey::fingerprint).unwrap_or_default();
            let signature = key.sign_and_verify(&message)?.into();
            Ok(HeadSignature { signer, signature })
        });
        let signatures = signatures.collect::<Result<Vec<_>, SignError>>()?;
        let digest = sha256(&[&head]);
        Ok((digest, cbor::encode(&SignedHead { format: FORMAT, head: head.into(), signatures })))
    }
}

fn signed_bytes(head: &[u8]) -> Vec<u8> {
    [labels::TRUST_BUNDLE, head].concat()
}

/// A head with its signatures, as it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct SignedHead {
    #[n(0)]
    format: u8,
    /// The canonical CBOR of a [`Head`].
    #[n(1)]
    head: ByteVec,
    #[n(2)]
    signatures: Vec<HeadSignature>,
}

/// One signature over a head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct HeadSignature {
    /// SHA-256 of the signer's `SubjectPublicKeyInfo`.
    #[cbor(n(0), with = "minicbor::bytes")]
    signer: [u8; 32],
    #[n(1)]
    signature: ByteVec,
}

/// Entries that follow each other, as they leave.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct Page {
    #[n(0)]
    format: u8,
    /// Of the bundle with this number.
    #[n(1)]
    number: Epoch,
    /// The place of the first of them, from 0.
    #[n(2)]
    from: u64,
    /// Each the canonical CBOR of an [`Entry`].
    #[n(3)]
    entries: Vec<ByteVec>,
}

/// A whole bundle in one file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct BundleFile {
    #[n(0)]
    format: u8,
    #[n(1)]
    signed: ByteVec,
    #[n(2)]
    entries: Vec<ByteVec>,
}

/// What a head says of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How many are keys.
    pub keys: u64,
    /// How many are revoked versions.
    pub revoked: u64,
    /// Whether every version that was published is revoked, and there is one.
    pub revoke_all: bool,
    /// The root hash.
    pub root: [u8; 32],
    /// Their bytes.
    pub bytes: u64,
}

/// The entries of keys that have a public half and are in the order of their ids, encoded, from a place on.
fn entries<K: Borrow<Key>>(keys: &[K], from: u64) -> impl Iterator<Item = Vec<u8>> + '_ {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let rest = keys.get(from..).unwrap_or_default();
    let of_keys = rest.iter().filter_map(|key| KeyEntry::of(key.borrow())).map(Entry::Key);
    let revoked = keys.iter().flat_map(|key| revoked_of(key.borrow())).map(Entry::Revoked);
    let revoked = revoked.skip(from.saturating_sub(keys.len()));
    of_keys.chain(revoked).map(|entry| cbor::encode(&entry))
}

/// What a head says of the entries of these keys, which have a public half and are in the order of their ids.
#[must_use]
pub fn sum<K: Borrow<Key>>(keys: &[K]) -> Sum {
    let (mut frontier, mut bytes) = (Frontier::new(), 0_u64);
    for entry in entries(keys, 0) {
        frontier.append(leaf_hash(&entry));
        bytes = bytes.saturating_add(u64::try_from(entry.len()).unwrap_or(u64::MAX));
    }
    let revoked = keys.iter().flat_map(|key| revoked_of(key.borrow())).count();
    let versions = keys.iter().flat_map(|key| &key.borrow().versions);
    let published = versions.filter(|version| version.published.is_some()).count();
    let revoked_count = u64::try_from(revoked).unwrap_or(u64::MAX);
    Sum {
        keys: frontier.size().saturating_sub(revoked_count),
        revoked: revoked_count,
        revoke_all: published > 0 && revoked == published,
        root: *frontier.root().as_bytes(),
        bytes,
    }
}

/// Whether a signed head is over such entries. Its signatures are not looked at.
#[must_use]
pub fn is_over(signed: &[u8], sum: &Sum) -> bool {
    let head = decode::<SignedHead>(signed, HEAD_BYTES_MAX, "signed head")
        .and_then(|signed| decode::<Head>(&signed.head, HEAD_BYTES_MAX, "head"));
    head.is_ok_and(|head| {
        let Sum { keys, revoked, revoke_all, root, bytes } = *sum;
        let found = (head.keys, head.revoked, head.revoke_all, head.root, head.bytes);
        found == (keys, revoked, revoke_all, root, bytes)
    })
}

/// The page that begins with the entry at a place; nothing, if there is none there.
#[must_use]
pub fn page<K: Borrow<Key>>(number: Epoch, keys: &[K], from: u64) -> Option<Vec<u8>> {
    let (mut taken, mut bytes) = (Vec::<ByteVec>::new(), 0_usize);
    for entry in entries(keys, from) {
        bytes = bytes.saturating_add(entry.len());
        if bytes > PAGE_BYTES && !taken.is_empty() {
            break;
        }
        taken.push(entry.into());
    }
    let page = Page { format: FORMAT, number, from, entries: taken };
    (!page.entries.is_empty()).then(|| cbor::encode(&page))
}

/// The public keys that a signed head names as its signers. Nothing of it is verified: whoever pins them has them from
/// somewhere that is trusted.
///
/// # Errors
///
/// [`BundleError::Malformed`] if the bytes are no signed head.
pub fn claimed_signers(signed: &[u8]) -> Result<Vec<BundleSigner>, BundleError> {
    let signed: SignedHead = decode(signed, HEAD_BYTES_MAX, "signed head")?;
    Ok(decode::<Head>(&signed.head, HEAD_BYTES_MAX, "head")?.signers)
}

fn decode<T: for<'b> Decode<'b, ()> + Encode<()>>(
    bytes: &[u8],
    most: usize,
    what: &'static str,
) -> Result<T, BundleError> {
    if bytes.len() > most {
        return Err(BundleError::TooLarge);
    }
    cbor::decode(bytes, what).map_err(|_| BundleError::Malformed)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
