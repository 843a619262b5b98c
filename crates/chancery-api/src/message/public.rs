//! What anybody may ask: trust bundles, and the keys of them as JWKS.
//!
//! Whoever asks shows nothing, so that an answer holds nothing but public halves and what is said of them; and what is
//! asked is bounded before the signer looks at it.

use chancery_core::epoch::Epoch;
use chancery_core::id::PrincipalId;
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use minicbor::{Decode, Encode};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PublicRequest {
    /// The head of the latest bundle.
    #[n(0)]
    Bundle {
        /// The digest of the one that is known: another is wanted.
        #[cbor(n(0), with = "minicbor::bytes")]
        known: Option<[u8; 32]>,
        /// How long to wait for another, in milliseconds.
        #[n(1)]
        wait_ms: u32,
    },
    /// Entries of a bundle.
    #[n(1)]
    Entries {
        /// The number of the bundle.
        #[n(0)]
        number: Epoch,
        /// The place of the first, from 0.
        #[n(1)]
        from: u64,
    },
    /// The versions that verify tokens, as a JWK Set.
    #[n(2)]
    Jwks {
        /// Of this key; of every key, if none is named.
        #[n(0)]
        key: Option<Name>,
        /// The digest of the one that is known.
        #[cbor(n(1), with = "minicbor::bytes")]
        known: Option<[u8; 32]>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PublicReply {
    /// What was asked for.
    #[n(0)]
    Found {
        /// Its digest.
        #[cbor(n(0), with = "minicbor::bytes")]
        digest: [u8; 32],
        /// It.
        #[cbor(n(1), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// It is the one that is known.
    #[n(1)]
    Known {
        /// Its digest.
        #[cbor(n(0), with = "minicbor::bytes")]
        digest: [u8; 32],
    },
    /// It is not to be had.
    #[n(2)]
    Refused {
        /// Why.
        #[n(0)]
        reason: Reason,
        /// What was wrong and what to do.
        #[n(1)]
        detail: String,
    },
}

/// A registered verifier, and what it said last since the signer was started.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VerifierView {
    /// The principal that speaks for it.
    #[n(0)]
    pub principal: PrincipalId,
    /// The principal's name.
    #[n(1)]
    pub name: Name,
    /// The keys that it is registered for; all, if there are none.
    #[n(2)]
    pub keys: Vec<Name>,
    /// What it said.
    #[n(3)]
    pub heard: Option<HeardView>,
}

/// What a verifier said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct HeardView {
    /// The number of the bundle that it uses.
    #[n(0)]
    pub bundle: Epoch,
    /// The tenant's epoch which that shows.
    #[n(1)]
    pub as_of: Epoch,
    /// How long ago it said so, in milliseconds of time served.
    #[n(2)]
    pub ago_ms: u64,
    /// How many signatures it has accepted since it was started.
    #[n(3)]
    pub verified: u64,
    /// How many it has refused.
    #[n(4)]
    pub failed: u64,
    /// How many it could not judge.
    #[n(5)]
    pub unknown: u64,
}
