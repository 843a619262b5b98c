//! What can be done with a handle, and sets of that.
//!
//! Numbers are bits in a handle and stand in records for good. An operation suits the usage of a key or it
//! does not; whether a handle carries the right to it is another question.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::purpose::Usage;

/// Something done with a key's handle. The number is its bit in [`Operations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Operation {
    /// Apply a signature.
    #[n(0)]
    Sign,
    /// Verify a signature.
    #[n(1)]
    Verify,
    /// Apply a MAC.
    #[n(2)]
    Mac,
    /// Verify a MAC.
    #[n(3)]
    VerifyMac,
    /// Encrypt data.
    #[n(4)]
    Encrypt,
    /// Decrypt data.
    #[n(5)]
    Decrypt,
    /// Derive a key; gives key bytes out by nature.
    #[n(6)]
    Derive,
    /// Make a data key, in clear and wrapped; gives key bytes out by nature.
    #[n(7)]
    GenerateDataKey,
    /// Unwrap a data key; gives key bytes out by nature.
    #[n(8)]
    Unwrap,
    /// Encrypt again under the scheduled version, without showing the plaintext.
    #[n(9)]
    Rewrap,
    /// Draw random bytes.
    #[n(10)]
    Random,
}

/// The table of operations: spelling, and the usage a key must have.
const OPERATIONS: [(Operation, &str, Option<Usage>); 11] = [
    (Operation::Sign, "sign", Some(Usage::Sign)),
    (Operation::Verify, "verify", Some(Usage::Sign)),
    (Operation::Mac, "mac", Some(Usage::Mac)),
    (Operation::VerifyMac, "verify-mac", Some(Usage::Mac)),
    (Operation::Encrypt, "encrypt", Some(Usage::Encrypt)),
    (Operation::Decrypt, "decrypt", Some(Usage::Encrypt)),
    (Operation::Derive, "derive", Some(Usage::Derive)),
    (Operation::GenerateDataKey, "generate-data-key", Some(Usage::Wrap)),
    (Operation::Unwrap, "unwrap", Some(Usage::Wrap)),
    (Operation::Rewrap, "rewrap", None),
    (Operation::Random, "random", None),
];

impl Operation {
    /// Every operation, in the order of their bits.
    pub const ALL: [Self; 11] = [
        Self::Sign,
        Self::Verify,
        Self::Mac,
        Self::VerifyMac,
        Self::Encrypt,
        Self::Decrypt,
        Self::Derive,
        Self::GenerateDataKey,
        Self::Unwrap,
        Self::Rewrap,
        Self::Random,
    ];

    /// Its name in the API and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        OPERATIONS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// The operation of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        OPERATIONS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Its number in frames and records.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether a key of `usage` can do it.
    #[must_use]
    pub fn suits(self, usage: Usage) -> bool {
        let row = OPERATIONS.iter().find(|row| row.0 == self);
        match row.and_then(|row| row.2) {
            Some(needed) => needed == usage,
            None if self == Self::Rewrap => matches!(usage, Usage::Encrypt | Usage::Wrap),
            None => true,
        }
    }

    /// Whether it applies protection, and so takes the scheduled version.
    #[must_use]
    pub fn protects(self) -> bool {
        matches!(
            self,
            Self::Sign | Self::Mac | Self::Encrypt | Self::Derive | Self::GenerateDataKey
        )
    }
}

/// A set of operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operations(u16);

impl Operations {
    /// Every operation there is.
    const KNOWN: u16 = (1 << Operation::ALL.len()) - 1;

    /// The set of these.
    #[must_use]
    pub fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().fold(0, |bits, operation| bits | 1 << operation.number()))
    }

    /// All that a key of `usage` is for. Random bytes need no key and are not among it.
    #[must_use]
    pub fn usual(usage: Usage) -> Self {
        let all = Operation::ALL
            .into_iter()
            .filter(|operation| operation.suits(usage) && *operation != Operation::Random);
        Self::of(&all.collect::<Vec<_>>())
    }

    /// Whether it contains the operation.
    #[must_use]
    pub const fn contains(self, operation: Operation) -> bool {
        self.0 & 1 << operation.number() != 0
    }

    /// What both contain.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it contains nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The operations in it, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(move |operation| self.contains(*operation))
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Operation::name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<C> Encode<C> for Operations {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u16(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Operations {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        match decoder.u16()? {
            bits if bits & !Self::KNOWN == 0 => Ok(Self(bits)),
            _ => Err(minicbor::decode::Error::message("unknown operation")),
        }
    }
}
