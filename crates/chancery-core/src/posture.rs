//! Posture: the typed settings that say how strong things must be.
//!
//! How many people a change takes is a tenant's own setting ([`crate::authority::TenantRow`]); genesis has `solo`, where one
//! person runs the service, approvals are 0, and every status says so.

use minicbor::{Decode, Encode};

/// How strong things must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Posture {
    /// Grows with each change of posture; bound in signed frames.
    #[n(0)]
    pub epoch: u64,
    /// Whether keys may sign bytes as they come.
    #[n(1)]
    pub raw: RawSigning,
}

/// Whether `sign.raw` is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RawSigning {
    /// Keys of purpose `sign.raw` are refused.
    #[n(0)]
    Refused,
    /// They are made and used; every record says so.
    #[n(1)]
    Named,
}

impl Posture {
    /// The posture of a first start.
    pub const SOLO: Self = Self { epoch: 1, raw: RawSigning::Refused };
}
