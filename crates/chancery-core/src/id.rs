//! Identifiers: one type for each thing that is named by a number.
//!
//! All are UUIDs (RFC 9562); those made here are of version 7, so that they sort by the time they were
//! made. Text is accepted in the one canonical form alone: lower case, with hyphens.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// The text is not a UUID in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in lower case with hyphens")]
pub struct IdError;

/// The bytes of a UUID.
type Bytes = [u8; 16];

/// The length of the text form (RFC 9562, 4).
const TEXT_BYTES: usize = 36;

/// The hyphens of the text form stand before these bytes (RFC 9562, 4).
const HYPHENS: [usize; 4] = [4, 6, 8, 10];

fn write_uuid(bytes: &Bytes, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = String::with_capacity(TEXT_BYTES);
    for (position, byte) in bytes.iter().enumerate() {
        if HYPHENS.contains(&position) {
            text.push('-');
        }
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0x0f));
    }
    f.write_str(&text)
}

/// The hexadecimal digit of a number below 16.
fn digit(number: u8) -> char {
    char::from(if number < 10 { b'0' + number } else { b'a' - 10 + number })
}

fn parse_uuid(text: &str) -> Result<Bytes, IdError> {
    if text.len() != TEXT_BYTES {
        return Err(IdError);
    }
    let mut characters = text.bytes();
    let mut bytes = Bytes::default();
    for (position, byte) in bytes.iter_mut().enumerate() {
        if HYPHENS.contains(&position) && characters.next() != Some(b'-') {
            return Err(IdError);
        }
        let high = nibble(characters.next())?;
        *byte = high << 4 | nibble(characters.next())?;
    }
    Ok(bytes)
}

fn nibble(character: Option<u8>) -> Result<u8, IdError> {
    match character {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(letter @ b'a'..=b'f') => Ok(letter - b'a' + 10),
        _ => Err(IdError),
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] Bytes);

        impl $name {
            /// Takes sixteen bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// A UUID of version 7: `unix_ms`, then `entropy` (RFC 9562, 5.7).
            #[must_use]
            pub fn v7(unix_ms: u64, entropy: [u8; 10]) -> Self {
                Self(v7(unix_ms, entropy))
            }

            /// The sixteen bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The time in it, in milliseconds since 1970, if it is of version 7.
            #[must_use]
            pub fn unix_ms(&self) -> Option<u64> {
                unix_ms(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_uuid(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// Names a campaign: the work of encrypting one inventory again.
    CampaignId;
    /// Names a handle: the first link of its chain.
    HandleId;
    /// Names a key, whatever its version.
    KeyId;
    /// Names a node: the one that counts the uses of a handle.
    NodeId;
    /// Names one operation; resolves an unknown outcome, and makes a repeat harmless.
    OperationId;
    /// Names a principal.
    PrincipalId;
    /// Names a proposal.
    ProposalId;
    /// Names a rollout: one staged change of a key's schedule.
    RolloutId;
    /// Names a tenant.
    TenantId;
    /// Names a registered verifier: who acknowledges trust bundles and reports on what it verifies.
    VerifierId;
}

impl TenantId {
    /// The tenant of the service's own records, which has no keys and no principals.
    pub const SYSTEM: Self = Self([0; 16]);
}

impl PrincipalId {
    /// Whether it names nobody: the id of zeros, which no principal has.
    #[must_use]
    pub fn is_nobody(self) -> bool {
        self.0 == Bytes::default()
    }
}

fn v7(unix_ms: u64, entropy: [u8; 10]) -> Bytes {
    let mut bytes = Bytes::default();
    let (time, rest) = bytes.split_at_mut(6);
    time.copy_from_slice(unix_ms.to_be_bytes().split_at(2).1);
    rest.copy_from_slice(&entropy);
    bytes[6] = 0x70 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    bytes
}

fn unix_ms(bytes: &Bytes) -> Option<u64> {
    let (time, rest) = bytes.split_first_chunk::<6>()?;
    let is_v7 = rest.first()? >> 4 == 7 && rest.get(2)? >> 6 == 0b10;
    is_v7.then(|| time.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = KeyId::v7(0x0188_1234_5678, [0xab; 10]);
        assert_eq!(id.to_string(), "01881234-5678-7bab-abab-abababababab");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.unix_ms(), Some(0x0188_1234_5678));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for text in [
            "",
            "01881234-5678-7BAB-abab-abababababab",
            "0188123456787bababababababababab",
            "{01881234-5678-7bab-abab-abababababab}",
            "01881234-5678-7bab-abab-abababababa",
            "01881234-5678-7bab-abab-abababababab ",
            "01881234-5678-7bab_abab-abababababab",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(IdError), "{text}");
        }
    }

    #[test]
    fn only_version_7_has_a_time() {
        assert_eq!(OperationId::from_bytes([0x44; 16]).unix_ms(), None);
    }
}
