//! A bundle that is trusted, and the one call that verifies against it.
//!
//! [`TrustBundle::verify`] asks everything at once: the key, its purpose and scope, the version, what became of it, the
//! floors, the signature and what is signed. There is no call that answers a part of that, so that none is left out.
//!
//! **Invariant:** what is verified says which version to look up, and nothing else: algorithm, key, purpose and scope are
//! the bundle's and the caller's.

use std::collections::{BTreeMap, BTreeSet};

use chancery_core::bundle::{Entry, Head, KeyEntry, Revoked, VersionEntry};
use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::id::KeyId;
use chancery_core::name::{Name, Scope};
use chancery_core::purpose::{Format, Purpose};
use chancery_core::schedule::Accept;
use chancery_core::state::KeyState;

use super::{BundleFile, FORMAT};
use crate::formats::bound::BoundSignature;
use crate::formats::{
    self, KeyVersion, Payload, Verified, Verifier, VerifyError, Verifying, cose, dsse, jws,
    jws_json,
};
use crate::key::PublicKey;

/// A bundle that enough pinned keys have signed, with every entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    signed: Vec<u8>,
    head: Head,
    digest: [u8; 32],
    keys: Vec<KeyEntry>,
    revoked: BTreeSet<Revoked>,
    names: BTreeMap<Name, usize>,
}

/// What a verifier expects of an output; all of it.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The key, by the name that it has for good.
    pub key: &'a Name,
    /// What the key is for.
    pub purpose: &'a Purpose,
    /// Where the key belongs: a key of another environment, region or service is another key.
    pub scope: &'a Scope,
    /// The context that must be bound.
    pub context: &'a Context,
    /// The payload, for the formats whose output does not carry it.
    pub payload: Option<Payload<'a>>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// An output that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The key.
    pub key: KeyId,
    /// The versions whose signatures hold, in their order in the output.
    pub versions: Vec<u32>,
    /// What was verified.
    pub verified: Verified,
}

/// The version that an output names.
pub type Named = KeyVersion;

/// An output that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The bundle is past its end.
    #[error("the trust bundle has expired; fetch a newer one")]
    Expired,
    /// Everything is revoked.
    #[error("the trust bundle revokes every key")]
    RevokedAll,
    /// The bundle has no key of that name.
    #[error("the trust bundle has no key `{0}`")]
    UnknownKey(Name),
    /// The key is for something else.
    #[error("the key is for `{0}`, which is not what is expected")]
    OtherPurpose(Purpose),
    /// The key belongs elsewhere.
    #[error("the key belongs to another environment, region or service than is expected")]
    OtherScope,
    /// The output names a version that the bundle does not have.
    #[error("the trust bundle does not have `{0}`")]
    UnknownVersion(Named),
    /// The version is revoked.
    #[error("`{0}` is revoked")]
    Revoked(Named),
    /// The version verifies nothing now.
    #[error("`{0}` is {1:?} and verifies nothing")]
    NotVerifying(Named, KeyState),
    /// The algorithm, or the posture that is bound, is under what the bundle asks for.
    #[error("`{0}`, or what it signed, is below a floor that the trust bundle sets")]
    BelowFloor(Named),
    /// The output does not hold.
    #[error("the signature does not hold: {1}")]
    NotHeld(Option<Named>, #[source] VerifyError),
}

impl Rejected {
    /// The version that the output named, if there is one to blame.
    #[must_use]
    pub fn named(&self) -> Option<Named> {
        match self {
            Self::UnknownVersion(named)
            | Self::Revoked(named)
            | Self::NotVerifying(named, _)
            | Self::BelowFloor(named)
            | Self::NotHeld(Some(named), _) => Some(*named),
            _ => None,
        }
    }

    /// Whether a newer bundle may say otherwise because this one does not know what is named.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::UnknownKey(_) | Self::UnknownVersion(_))
    }
}

impl TrustBundle {
    pub(super) fn new(
        signed: Vec<u8>,
        head: Head,
        digest: [u8; 32],
        (keys, revoked): (Vec<KeyEntry>, Vec<Revoked>),
    ) -> Option<Self> {
        let places = keys.iter().enumerate().map(|(at, key)| (key.name.clone(), at));
        let names: BTreeMap<_, _> = places.collect();
        // A name stands for one key.
        let is_unique = names.len() == keys.len();
        let revoked = revoked.into_iter().collect();
        is_unique.then_some(Self { signed, head, digest, keys, revoked, names })
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The digest, by which it is named.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The head with its signatures, as it came.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The keys, in the order of their ids.
    #[must_use]
    pub fn keys(&self) -> &[KeyEntry] {
        &self.keys
    }

    /// The key of a name.
    #[must_use]
    pub fn key(&self, name: &Name) -> Option<&KeyEntry> {
        self.keys.get(*self.names.get(name)?)
    }

    /// The whole bundle as one file.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let keys = self.keys.iter().map(|key| cbor::encode(&Entry::Key(key.clone())));
        let revoked = self.revoked.iter().map(|revoked| cbor::encode(&Entry::Revoked(*revoked)));
        let entries = keys.chain(revoked).map(Into::into).collect();
        cbor::encode(&BundleFile { format: FORMAT, signed: self.signed.clone().into(), entries })
    }

    /// Verifies an output: everything that is expected of it, at once.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if anything is not as expected.
    pub fn verify(&self, output: &[u8], expected: &Expected<'_>) -> Result<Accepted, Rejected> {
        let key = self.expected_key(expected)?;
        let named = named_in(output, expected.purpose, key)?;
        let results: Vec<_> =
            named.iter().map(|named| self.one(output, expected, (key, *named))).collect();
        let held = named.iter().zip(&results).filter(|(_, result)| result.is_ok());
        let versions: Vec<u32> = held.map(|(named, _)| named.version).collect();
        // What holds one signature holds under one version at most, whatever is asked of two.
        let is_enough = match key.accept {
            Accept::AllOf if expected.purpose.format().holds_two() => {
                let is_all = names_nothing(expected.purpose) || versions.len() == named.len();
                is_all && key.both.is_some_and(|both| are_both(both, &versions))
            }
            _ => !versions.is_empty(),
        };
        if !is_enough {
            return Err(most_telling(results));
        }
        let verified = results.into_iter().find_map(Result::ok);
        let verified = verified.ok_or(Rejected::NotHeld(None, VerifyError::OtherOrigin))?;
        Ok(Accepted { key: key.id, versions, verified })
    }

    fn expected_key(&self, expected: &Expected<'_>) -> Result<&KeyEntry, Rejected> {
        if expected.now_ms >= self.head.expires_ms {
            return Err(Rejected::Expired);
        }
        if self.head.revoke_all {
            return Err(Rejected::RevokedAll);
        }
        let unknown = || Rejected::UnknownKey(expected.key.clone());
        let key = self.key(expected.key).ok_or_else(unknown)?;
        if key.purpose != *expected.purpose {
            return Err(Rejected::OtherPurpose(key.purpose.clone()));
        }
        if key.scope != *expected.scope {
            return Err(Rejected::OtherScope);
        }
        Ok(key)
    }

    fn one(
        &self,
        output: &[u8],
        expected: &Expected<'_>,
        (key, named): (&KeyEntry, Named),
    ) -> Result<Verified, Rejected> {
        let version = key.version(named.version).ok_or(Rejected::UnknownVersion(named))?;
        let public = self.usable(version, named)?;
        let verifying = Verifying {
            purpose: expected.purpose,
            key: named,
            verifier: Verifier::Public(&public),
            context: expected.context,
            payload: expected.payload,
            now_ms: expected.now_ms,
        };
        let verified = formats::verify(output, &verifying)
            .map_err(|error| Rejected::NotHeld(Some(named), error))?;
        match verified {
            Verified::Bound { posture_epoch } if posture_epoch < self.head.floors.posture_epoch => {
                Err(Rejected::BelowFloor(named))
            }
            verified => Ok(verified),
        }
    }

    /// The public half of a version, if signatures of it are taken.
    fn usable(&self, version: &VersionEntry, named: Named) -> Result<PublicKey, Rejected> {
        let mark = Revoked { key: named.key, version: named.version };
        if self.revoked.contains(&mark) {
            return Err(Rejected::Revoked(named));
        }
        if !version.verifies() {
            return Err(Rejected::NotVerifying(named, version.state));
        }
        if version.suite.properties().strength_bits < self.head.floors.strength_bits {
            return Err(Rejected::BelowFloor(named));
        }
        // The service parsed it when it was made; one that does not parse was never anybody's.
        PublicKey::from_spki(version.suite, &version.public)
            .map_err(|_| Rejected::NotHeld(Some(named), VerifyError::OtherOrigin))
    }
}

/// The versions of this key that an output names, at least one.
fn named_in(output: &[u8], purpose: &Purpose, key: &KeyEntry) -> Result<Vec<Named>, Rejected> {
    let not_held = |error| Rejected::NotHeld(None, error);
    let named = match purpose.format() {
        Format::Bound => BoundSignature::decode(output)
            .map(|found| found.iter().map(|it| it.origin.key).collect()),
        Format::Cose => cose::key_versions(output),
        Format::Jws => jws::key_version(output).map(|found| vec![found]),
        Format::JwsJson => jws_json::key_versions(output),
        Format::Dsse => dsse::key_versions(output),
        // Bytes alone name nothing: each version that verifies may have made them, the newest first.
        _ => {
            let all = key.versions.iter().rev().filter(|version| version.verifies());
            Ok(all.map(|version| Named { key: key.id, version: version.number }).collect())
        }
    };
    let mut named = named.map_err(not_held)?;
    named.retain(|named| named.key == key.id);
    named.dedup();
    if named.is_empty() { Err(not_held(VerifyError::OtherOrigin)) } else { Ok(named) }
}

/// Whether an output says of no signature which version made it.
fn names_nothing(purpose: &Purpose) -> bool {
    matches!(purpose.format(), Format::Note | Format::Raw | Format::SshSig)
}

/// Whether the two versions that are asked for hold: two others are none of them, since one algorithm may be all that they
/// have.
fn are_both((one, other): (u32, u32), held: &[u32]) -> bool {
    one != other && held.contains(&one) && held.contains(&other)
}

/// Of several refusals the one that says most: that a version is unknown asks for a newer bundle.
fn most_telling(results: Vec<Result<Verified, Rejected>>) -> Rejected {
    let mut refusals: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    let unknown = refusals.iter().position(Rejected::is_unknown).unwrap_or_default();
    if refusals.is_empty() {
        return Rejected::NotHeld(None, VerifyError::OtherOrigin);
    }
    refusals.swap_remove(unknown)
}
