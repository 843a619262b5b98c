//! Purposes: what one key is for, `usage.format:domain`.
//!
//! A key has one purpose for life. The usage says what the key does, the format says how the bytes that
//! it protects are built, and the domain keeps apart what two services protect with keys of one format.
//! A purpose may end in `;context=audited`: then a context that the format cannot bind in its bytes is
//! committed to in the audit record, by its digest; without it such a context is refused.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::limits::DOMAIN_BYTES_MAX;
use crate::suite::Suite;

/// What a key does (NIST SP 800-57 Part 1, section 5.1.1). In the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Usage {
    /// Sign and verify.
    #[n(0)]
    Sign,
    /// Encrypt and decrypt.
    #[n(1)]
    Encrypt,
    /// MAC and verify a MAC.
    #[n(2)]
    Mac,
    /// Derive keys.
    #[n(3)]
    Derive,
    /// Wrap and unwrap data keys.
    #[n(4)]
    Wrap,
}

/// No usage has that spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a usage is one of `sign`, `encrypt`, `mac`, `derive` and `wrap`")]
pub struct UsageError;

impl Usage {
    /// Every usage, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Sign, Self::Encrypt, Self::Mac, Self::Derive, Self::Wrap];

    /// Its spelling: the first part of a purpose.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Encrypt => "encrypt",
            Self::Mac => "mac",
            Self::Derive => "derive",
            Self::Wrap => "wrap",
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Usage {
    type Err = UsageError;

    fn from_str(name: &str) -> Result<Self, UsageError> {
        Self::ALL.into_iter().find(|usage| usage.name() == name).ok_or(UsageError)
    }
}

/// How the bytes that a key protects are built. In the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Our frame of label, suite, key, version, posture epoch, purpose, context and digest.
    Bound,
    /// A compact JWS whose header is built here (RFC 7515).
    Jws,
    /// The pre-authentication encoding of DSSE.
    Dsse,
    /// A `COSE_Sign1`, or a `COSE_Sign` (RFC 9052).
    Cose,
    /// A signature of OpenSSH, in a namespace.
    SshSig,
    /// A C2SP signed note.
    Note,
    /// Bytes as they come; only where posture names it.
    Raw,
    /// The committing envelope over AES-256-GCM.
    Aead,
    /// HKDF with the purpose and the context in its info (RFC 5869).
    Hkdf,
    /// The claims and headers of `jws` in the JSON serialization (RFC 7515, 7.2), which holds two signatures.
    JwsJson,
}

/// Usages with the formats each may have, and their spellings: the whole table.
const FORMATS: [(Usage, Format, &str); 12] = [
    (Usage::Sign, Format::Bound, "sign.bound"),
    (Usage::Sign, Format::Jws, "sign.jws"),
    (Usage::Sign, Format::JwsJson, "sign.jws-json"),
    (Usage::Sign, Format::Dsse, "sign.dsse"),
    (Usage::Sign, Format::Cose, "sign.cose"),
    (Usage::Sign, Format::SshSig, "sign.sshsig"),
    (Usage::Sign, Format::Note, "sign.note"),
    (Usage::Sign, Format::Raw, "sign.raw"),
    (Usage::Encrypt, Format::Aead, "encrypt.aead"),
    (Usage::Mac, Format::Bound, "mac.bound"),
    (Usage::Derive, Format::Hkdf, "derive.hkdf"),
    (Usage::Wrap, Format::Aead, "wrap.aead"),
];

impl Format {
    /// Whether what is signed is carried by the signature, so that it is verified without it.
    #[must_use]
    pub const fn carries_payload(self) -> bool {
        matches!(self, Self::Jws | Self::JwsJson | Self::Dsse | Self::Cose | Self::Note)
    }

    /// Whether the digest of a message stands for it.
    #[must_use]
    pub const fn takes_digest(self) -> bool {
        matches!(self, Self::Bound | Self::SshSig)
    }

    /// Whether one output holds the signatures of two versions of a key.
    #[must_use]
    pub const fn holds_two(self) -> bool {
        matches!(self, Self::Bound | Self::JwsJson | Self::Dsse | Self::Cose | Self::Note)
    }

    /// Whether outputs can be made by keys of a suite that signs.
    fn admits(self, suite: Suite) -> bool {
        let row = suite.properties();
        match self {
            Self::Jws | Self::JwsJson => row.jose.is_some(),
            Self::Cose => row.cose.is_some(),
            Self::SshSig => matches!(
                suite,
                Suite::Ed25519
                    | Suite::EcdsaP256
                    | Suite::EcdsaP384
                    | Suite::RsaPkcs1Sha256With3072
                    | Suite::RsaPkcs1Sha256With4096
            ),
            // What C2SP has numbers for.
            Self::Note => matches!(suite, Suite::Ed25519 | Suite::MlDsa44),
            Self::Bound | Self::Dsse | Self::Raw | Self::Aead | Self::Hkdf => true,
        }
    }
}

/// The suffix by which a purpose keeps in the audit what its format cannot bind.
const CONTEXT_AUDITED: &str = ";context=audited";

/// What happens to a context that the format cannot bind in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unbound {
    /// It is refused.
    Refused,
    /// The audit record commits to its digest.
    Audited,
}

/// What one key is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Purpose {
    usage: Usage,
    format: Format,
    domain: String,
    unbound: Unbound,
}

/// The text is not a purpose, or does not go with the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurposeError {
    /// The domain is empty, too long, or has a character that domains do not have.
    #[error(
        "a purpose ends in `:` and a domain of 1 to 128 letters, digits, `.`, `_`, `+`, `/` or `-`"
    )]
    BadDomain,
    /// A note's key has a name that no key has.
    #[error("the domain of a `sign.note` purpose is the key's name, which has no `+`")]
    KeyName,
    /// The algorithm does not do what the purpose asks.
    #[error("an `{suite}` key cannot serve a purpose of `{usage}`")]
    SuiteMismatch {
        /// The algorithm.
        suite: Suite,
        /// What the purpose asks of it.
        usage: &'static str,
    },
    /// No such usage and format.
    #[error(
        "a purpose begins with one of sign.bound, sign.jws, sign.jws-json, sign.dsse, sign.cose, sign.sshsig, sign.note, sign.raw, encrypt.aead, mac.bound, derive.hkdf, wrap.aead"
    )]
    UnknownFormat,
}

impl Purpose {
    /// What the key does.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// How the bytes that it protects are built.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What keeps it apart from other keys of the same format.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What happens to a context that the format cannot bind.
    #[must_use]
    pub fn unbound(&self) -> Unbound {
        self.unbound
    }

    /// Whether `suite` can serve this purpose.
    ///
    /// # Errors
    ///
    /// [`PurposeError::SuiteMismatch`] if it cannot.
    pub fn admits(&self, suite: Suite) -> Result<(), PurposeError> {
        if suite.properties().usage.contains(&self.usage) && self.format.admits(suite) {
            Ok(())
        } else {
            Err(PurposeError::SuiteMismatch { suite, usage: self.prefix() })
        }
    }

    fn prefix(&self) -> &'static str {
        let row = FORMATS
            .iter()
            .find(|(usage, format, _)| (*usage, *format) == (self.usage, self.format));
        row.map_or("", |(_, _, text)| text)
    }

    /// Its one spelling, in parts.
    fn spelling(&self) -> [&str; 4] {
        let suffix = if self.unbound == Unbound::Audited { CONTEXT_AUDITED } else { "" };
        [self.prefix(), ":", &self.domain, suffix]
    }
}

impl FromStr for Purpose {
    type Err = PurposeError;

    fn from_str(text: &str) -> Result<Self, PurposeError> {
        let (text, unbound) = match text.strip_suffix(CONTEXT_AUDITED) {
            Some(rest) => (rest, Unbound::Audited),
            None => (text, Unbound::Refused),
        };
        let (prefix, domain) = text.split_once(':').ok_or(PurposeError::BadDomain)?;
        let row = FORMATS.iter().find(|(_, _, spelling)| *spelling == prefix);
        let &(usage, format, _) = row.ok_or(PurposeError::UnknownFormat)?;
        let is_inner = |c: u8| c.is_ascii_alphanumeric() || b"._+/-".contains(&c);
        if domain.is_empty() || domain.len() > DOMAIN_BYTES_MAX || !domain.bytes().all(is_inner) {
            return Err(PurposeError::BadDomain);
        }
        if format == Format::Note && domain.contains('+') {
            return Err(PurposeError::KeyName);
        }
        Ok(Self { usage, format, domain: domain.into(), unbound })
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spelling().iter().try_for_each(|part| f.write_str(part))
    }
}

impl<C> Encode<C> for Purpose {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.spelling().concat())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Purpose {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        decoder.str()?.parse().map_err(|_| minicbor::decode::Error::message("not a purpose"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_has_one_spelling() {
        for text in [
            "sign.jws:at+jwt",
            "sign.jws-json:grant+jwt",
            "encrypt.aead:card-number",
            "sign.dsse:application/x;context=audited",
            "sign.cose:application/x+cbor",
            "sign.sshsig:git",
            "sign.note:example.com/log",
        ] {
            assert_eq!(text.parse::<Purpose>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_purpose_is_refused() {
        for text in [
            "",
            "sign",
            "sign.bound",
            "sign.bound:",
            "Sign.bound:x",
            "sign.bound: x",
            "sign.aead:x",
            "encrypt.bound:x",
            "sign.bound:x;context=audited;context=audited",
            "sign.bound:x;context=bound",
            "sign.bound:é",
            "sign.note:example.com+log",
            "mac.cose:x",
            "sign.jws_json:x",
            "mac.jws-json:x",
            "sign.sshSig:git",
        ] {
            assert!(text.parse::<Purpose>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_domain_is_taken_and_one_longer_is_not() {
        let of = |n: usize| format!("sign.bound:{}", "d".repeat(n)).parse::<Purpose>();
        assert!(of(DOMAIN_BYTES_MAX).is_ok());
        assert_eq!(of(DOMAIN_BYTES_MAX + 1), Err(PurposeError::BadDomain));
    }

    #[test]
    fn an_algorithm_serves_its_own_usage_alone() {
        let sign: Purpose = "sign.bound:x".parse().unwrap();
        assert_eq!(sign.admits(Suite::Ed25519), Ok(()));
        assert!(sign.admits(Suite::Aes256Gcm).is_err());
        let wrap: Purpose = "wrap.aead:x".parse().unwrap();
        assert_eq!(wrap.admits(Suite::Aes256Gcm), Ok(()));
        assert!(wrap.admits(Suite::HmacSha256).is_err());
    }

    /// What each format is made of, suite by suite.
    #[test]
    fn a_format_admits_the_suites_that_its_verifiers_know() {
        let admitted = |text: &str| {
            let purpose: Purpose = text.parse().unwrap();
            let suites = crate::suite::SUITES.iter().map(|row| row.suite);
            suites
                .filter(|suite| purpose.admits(*suite).is_ok())
                .map(Suite::number)
                .collect::<Vec<_>>()
        };
        assert_eq!(admitted("sign.bound:x"), (1..=10).collect::<Vec<_>>());
        assert_eq!(admitted("sign.jws:x"), (1..=10).collect::<Vec<_>>());
        assert_eq!(admitted("sign.jws-json:x"), admitted("sign.jws:x"));
        assert_eq!(admitted("sign.cose:x"), [1, 2, 3, 4, 5, 8, 9, 10]);
        assert_eq!(admitted("sign.sshsig:x"), [1, 2, 3, 6, 7]);
        assert_eq!(admitted("sign.note:x"), [1, 8]);
    }
}
