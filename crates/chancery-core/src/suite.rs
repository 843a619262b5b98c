//! The suite table: every algorithm a key may have, in one place.
//!
//! A key version has one [`Suite`] for life, and verifiers take it from the key, never from the message.
//! Strengths follow NIST SP 800-57 Part 1, section 5.6.1; post-quantum categories FIPS 204, section 4. Where a
//! suite stands in time follows NIST SP 800-131A Rev. 2 and the initial public draft of NIST IR 8547 (November
//! 2024), section 4.1.1, table 2: a draft, whose years may still move. Nothing refuses a suite for its dates.
//!
//! `docs/suites.md` is written from this table, and a test holds it to that.

use std::fmt;
use std::str::FromStr;

use crate::purpose::Usage;

/// An algorithm with its parameters. The number is the one in stored and signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
#[non_exhaustive]
pub enum Suite {
    /// Ed25519 (RFC 8032, 5.1).
    Ed25519 = 1,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5), fixed-length signature.
    EcdsaP256 = 2,
    /// ECDSA on P-384 with SHA-384 (FIPS 186-5), fixed-length signature.
    EcdsaP384 = 3,
    /// RSASSA-PSS with SHA-256, modulus of 3072 bits (RFC 8017, 8.1).
    RsaPss3072 = 4,
    /// RSASSA-PSS with SHA-256, modulus of 4096 bits (RFC 8017, 8.1).
    RsaPss4096 = 5,
    /// RSASSA-PKCS1-v1_5 with SHA-256, modulus of 3072 bits (RFC 8017, 8.2).
    RsaPkcs1Sha256With3072 = 6,
    /// RSASSA-PKCS1-v1_5 with SHA-256, modulus of 4096 bits (RFC 8017, 8.2).
    RsaPkcs1Sha256With4096 = 7,
    /// ML-DSA-44 (FIPS 204).
    MlDsa44 = 8,
    /// ML-DSA-65 (FIPS 204).
    MlDsa65 = 9,
    /// ML-DSA-87 (FIPS 204).
    MlDsa87 = 10,
    /// HMAC-SHA-256 (RFC 2104).
    HmacSha256 = 16,
    /// HMAC-SHA-384 (RFC 2104).
    HmacSha384 = 17,
    /// HMAC-SHA-512 (RFC 2104).
    HmacSha512 = 18,
    /// HKDF-SHA-256 (RFC 5869).
    HkdfSha256 = 24,
    /// AES-256-GCM in the committing envelope (NIST SP 800-38D).
    Aes256Gcm = 32,
}

/// What an attacker with a large quantum computer makes of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostQuantum {
    /// Broken.
    None,
    /// Holds while one of its two components does. No suite is of this kind yet.
    Hybrid,
    /// Holds.
    Pure,
}

/// What NIST SP 800-131A Rev. 2 (March 2019) says of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Acceptable at this strength, without a date, by the section of that number.
    Acceptable(u8),
    /// Nothing: it was standardized later, or elsewhere.
    Unnamed,
}

/// The years after which a use is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// Deprecated after the end of this year.
    pub deprecated_after: Option<u16>,
    /// Disallowed after the end of this year.
    pub disallowed_after: Option<u16>,
}

impl Dates {
    /// NIST IR 8547, initial public draft, 4.1.1, table 2: signatures that a quantum computer breaks are
    /// disallowed after 2035, and those of 112 bits deprecated after 2030.
    const fn of_signature(strength_bits: u16, post_quantum: PostQuantum) -> Self {
        match post_quantum {
            PostQuantum::Hybrid | PostQuantum::Pure => Self::NEVER,
            PostQuantum::None => Self {
                deprecated_after: if strength_bits < 128 { Some(2030) } else { None },
                disallowed_after: Some(2035),
            },
        }
    }

    /// No date.
    pub const NEVER: Self = Self { deprecated_after: None, disallowed_after: None };
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The suite.
    pub suite: Suite,
    /// Its name on the command line and in the API.
    pub name: &'static str,
    /// What a key of this suite is for.
    pub usage: &'static [Usage],
    /// Strength in bits against a classical attacker.
    pub strength_bits: u16,
    /// Strength against a quantum attacker.
    pub post_quantum: PostQuantum,
    /// What SP 800-131A Rev. 2 says of it.
    pub standing: Standing,
    /// When the draft of IR 8547 would end its use.
    pub ir_8547_draft: Dates,
    /// Its `alg` in JOSE (RFC 7518, RFC 8037, RFC 9964), where it has one.
    pub jose: Option<&'static str>,
    /// Its algorithm in COSE (RFC 9053, RFC 8230, RFC 9964), where it has one; that of RSASSA-PKCS1-v1_5 is not
    /// recommended (RFC 8812, 2).
    pub cose: Option<i64>,
    /// Whether making or using a private key takes long enough to go to the slow pool.
    pub is_slow: bool,
}

const SIGN: &[Usage] = &[Usage::Sign];
const MAC: &[Usage] = &[Usage::Mac];

const fn row(
    suite: Suite,
    name: &'static str,
    usage: &'static [Usage],
    strength_bits: u16,
) -> Properties {
    let post_quantum = PostQuantum::None;
    Properties {
        suite,
        name,
        usage,
        strength_bits,
        post_quantum,
        standing: Standing::Unnamed,
        ir_8547_draft: Dates::of_signature(strength_bits, post_quantum),
        jose: None,
        cose: None,
        is_slow: false,
    }
}

impl Properties {
    const fn jose(mut self, alg: &'static str) -> Self {
        self.jose = Some(alg);
        self
    }

    const fn cose(mut self, alg: i64) -> Self {
        self.cose = Some(alg);
        self
    }

    const fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    const fn post_quantum(mut self) -> Self {
        self.post_quantum = PostQuantum::Pure;
        self.ir_8547_draft = Dates::of_signature(self.strength_bits, self.post_quantum);
        self
    }

    const fn acceptable_by(mut self, section: u8) -> Self {
        self.standing = Standing::Acceptable(section);
        self
    }
}

/// Sections of SP 800-131A Rev. 2.
const ENCRYPTION: u8 = 2;
const SIGNATURES: u8 = 3;
const AUTHENTICATION_CODES: u8 = 10;

/// The table, in the order of the suites' numbers.
pub const SUITES: [Properties; 15] = [
    row(Suite::Ed25519, "ed25519", SIGN, 128).jose("EdDSA").cose(-8),
    row(Suite::EcdsaP256, "ecdsa-p256", SIGN, 128).jose("ES256").cose(-7).acceptable_by(SIGNATURES),
    row(Suite::EcdsaP384, "ecdsa-p384", SIGN, 192)
        .jose("ES384")
        .cose(-35)
        .acceptable_by(SIGNATURES),
    row(Suite::RsaPss3072, "rsa-pss-3072", SIGN, 128)
        .jose("PS256")
        .cose(-37)
        .slow()
        .acceptable_by(SIGNATURES),
    row(Suite::RsaPss4096, "rsa-pss-4096", SIGN, 140)
        .jose("PS256")
        .cose(-37)
        .slow()
        .acceptable_by(SIGNATURES),
    row(Suite::RsaPkcs1Sha256With3072, "rsa-pkcs1-3072", SIGN, 128)
        .jose("RS256")
        .slow()
        .acceptable_by(SIGNATURES),
    row(Suite::RsaPkcs1Sha256With4096, "rsa-pkcs1-4096", SIGN, 140)
        .jose("RS256")
        .slow()
        .acceptable_by(SIGNATURES),
    row(Suite::MlDsa44, "ml-dsa-44", SIGN, 128).jose("ML-DSA-44").cose(-48).slow().post_quantum(),
    row(Suite::MlDsa65, "ml-dsa-65", SIGN, 192).jose("ML-DSA-65").cose(-49).slow().post_quantum(),
    row(Suite::MlDsa87, "ml-dsa-87", SIGN, 256).jose("ML-DSA-87").cose(-50).slow().post_quantum(),
    row(Suite::HmacSha256, "hmac-sha-256", MAC, 256)
        .post_quantum()
        .acceptable_by(AUTHENTICATION_CODES),
    row(Suite::HmacSha384, "hmac-sha-384", MAC, 384)
        .post_quantum()
        .acceptable_by(AUTHENTICATION_CODES),
    row(Suite::HmacSha512, "hmac-sha-512", MAC, 512)
        .post_quantum()
        .acceptable_by(AUTHENTICATION_CODES),
    row(Suite::HkdfSha256, "hkdf-sha-256", &[Usage::Derive], 256).post_quantum(),
    row(Suite::Aes256Gcm, "aes-256-gcm", &[Usage::Encrypt, Usage::Wrap], 256)
        .post_quantum()
        .acceptable_by(ENCRYPTION),
];

/// The name or number is of no suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown algorithm; `chancery key create --help` lists those there are")]
pub struct SuiteError;

impl Suite {
    /// Its row in the table.
    #[must_use]
    pub fn properties(self) -> &'static Properties {
        // Invariant: every suite has a row; the test below holds the table to it.
        SUITES.iter().find(|row| row.suite == self).unwrap_or(&SUITES[0])
    }

    /// Its number in stored and signed bytes.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The suite of a number.
    ///
    /// # Errors
    ///
    /// [`SuiteError`] if no suite has that number.
    pub fn from_number(number: u16) -> Result<Self, SuiteError> {
        SUITES.iter().map(|row| row.suite).find(|suite| suite.number() == number).ok_or(SuiteError)
    }

    /// Whether keys of this suite have a public half.
    #[must_use]
    pub fn is_asymmetric(self) -> bool {
        self.properties().usage == SIGN
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.properties().name)
    }
}

impl FromStr for Suite {
    type Err = SuiteError;

    fn from_str(text: &str) -> Result<Self, SuiteError> {
        SUITES.iter().find(|row| row.name == text).map(|row| row.suite).ok_or(SuiteError)
    }
}

impl<C> minicbor::Encode<C> for Suite {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u16(self.number())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Suite {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        Self::from_number(decoder.u16()?)
            .map_err(|_| minicbor::decode::Error::message("unknown suite"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_its_number() {
        for row in SUITES {
            assert_eq!(row.suite.properties(), &row);
            assert_eq!(row.name.parse(), Ok(row.suite));
            assert_eq!(Suite::from_number(row.suite.number()), Ok(row.suite));
        }
    }

    /// What the dates are derived from is held here to what they are to be, suite by suite.
    #[test]
    fn signatures_that_a_quantum_computer_breaks_end_with_2035_and_nothing_else_ends() {
        for row in SUITES {
            let ends = row.usage == SIGN && row.post_quantum == PostQuantum::None;
            assert_eq!(row.ir_8547_draft.disallowed_after, ends.then_some(2035), "{}", row.name);
            assert_eq!(row.ir_8547_draft.deprecated_after, None, "{}", row.name);
            assert!(row.strength_bits >= 128, "{}", row.name);
        }
        let rsa_2048 = Dates::of_signature(112, PostQuantum::None);
        assert_eq!(rsa_2048.deprecated_after, Some(2030));
    }

    #[test]
    fn names_and_numbers_are_unique() {
        for (position, row) in SUITES.iter().enumerate() {
            let rest = &SUITES[position + 1..];
            assert!(rest.iter().all(|other| other.name != row.name && other.suite > row.suite));
        }
    }

    #[test]
    fn another_spelling_names_no_suite() {
        for text in ["Ed25519", "ed25519 ", "", "none", "rsa-pss-2048"] {
            assert_eq!(text.parse::<Suite>(), Err(SuiteError), "{text}");
        }
    }
}
