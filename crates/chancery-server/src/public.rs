//! What anybody may ask of the signer: trust bundles, and the keys of them as JWKS.
//!
//! An answer's entity tag is its digest, as the signer gives it (RFC 9110, 8.8.3). A request that names it is answered 304 while
//! it holds; one that asks for a bundle may wait for another besides.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use chancery_api::chancery_core::cbor;
use chancery_api::chancery_core::epoch::Epoch;
use chancery_api::chancery_core::reason::Reason;
use chancery_api::http::problem::{Code, Problem};
use chancery_api::http::routes::PublicKind;
use chancery_api::http::{HttpError, MEDIA_BYTES};
use chancery_api::message::{PublicReply, PublicRequest};

use crate::reply::{Caching, Refusal, Reply};

/// The media type of a JWK Set (RFC 7517, 8.5.2).
const MEDIA_JWKS: &str = "application/jwk-set+json";

/// The longest that a request waits for a newer bundle: 25 s, as the signer does.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// What a request asks for.
pub(crate) struct Asked<'r> {
    /// The kind of its route.
    pub(crate) kind: PublicKind,
    /// What stands in its path where the route has a variable.
    pub(crate) variable: &'r str,
    /// Its query.
    pub(crate) query: Option<&'r str>,
    /// Its `If-None-Match`.
    pub(crate) known: Option<&'r str>,
}

impl Asked<'_> {
    /// As the signer is asked.
    pub(crate) fn request(&self) -> Result<PublicRequest, HttpError> {
        let known = self.known.and_then(digest);
        Ok(match self.kind {
            PublicKind::Bundle => PublicRequest::Bundle { known, wait_ms: wait_ms(self.query)? },
            PublicKind::BundleEntries => {
                let (number, from) = place(self.variable).ok_or(NO_PLACE)?;
                PublicRequest::Entries { number, from }
            }
            PublicKind::Jwks => PublicRequest::Jwks { key: None, known },
            PublicKind::KeyJwks => {
                let name = self.variable.parse();
                PublicRequest::Jwks { key: Some(name.map_err(|_| NO_PLACE)?), known }
            }
        })
    }

    /// As the signer's answer is handed on.
    pub(crate) fn reply(&self, bytes: &[u8]) -> Result<Reply, Refusal> {
        let unreadable = || Problem::refused(Code::Reason(Reason::Unavailable));
        let reply: PublicReply = cbor::decode(bytes, "public reply").map_err(|_| unreadable())?;
        let caching = match self.kind {
            PublicKind::Bundle => Caching::AskAgain,
            // Of one bundle they are the same for good; whose number that is may be another's in another generation.
            PublicKind::BundleEntries => Caching::Nothing,
            PublicKind::Jwks | PublicKind::KeyJwks => Caching::ForMinutes,
        };
        match reply {
            PublicReply::Found { digest, bytes } => {
                let reply = Reply::text(self.media(), Bytes::from(bytes)).cached(caching);
                Ok(reply.tagged(tag(&digest)))
            }
            PublicReply::Known { digest } => {
                Ok(Reply::not_modified(self.media()).cached(caching).tagged(tag(&digest)))
            }
            PublicReply::Refused { reason, detail } => {
                Err(Problem::refused(Code::Reason(reason)).because(detail).into())
            }
        }
    }

    fn media(&self) -> &'static str {
        match self.kind {
            PublicKind::Bundle | PublicKind::BundleEntries => MEDIA_BYTES,
            PublicKind::Jwks | PublicKind::KeyJwks => MEDIA_JWKS,
        }
    }
}

const NO_PLACE: HttpError =
    HttpError::Malformed("entries are asked for by GENERATION.NUMBER/FROM, in decimal");

/// The entity tag of a digest: its hexadecimal digits in quotes.
fn tag(digest: &[u8; 32]) -> String {
    let mut tag = String::with_capacity(66);
    tag.push('"');
    for byte in digest {
        // Writing to a `String` has no way to fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// The digest of an entity tag. One that is none of ours, and a list of them, is known to nobody.
fn digest(tag: &str) -> Option<[u8; 32]> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let mut digest = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

fn wait_ms(query: Option<&str>) -> Result<u32, HttpError> {
    let Some(query) = query else { return Ok(0) };
    let error = HttpError::Malformed("the query of a bundle is `wait=` and 0 to 25 seconds");
    let seconds = query.strip_prefix("wait=").and_then(number).ok_or(error)?;
    let wait = Duration::from_secs(seconds);
    if wait > WAIT_MAX {
        return Err(error);
    }
    Ok(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX))
}

/// A number in its one spelling.
fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

fn place(path: &str) -> Option<(Epoch, u64)> {
    let (bundle, from) = path.split_once('/')?;
    let (generation, of_it) = bundle.split_once('.')?;
    let generation = u32::try_from(number(generation)?).ok()?;
    Some((Epoch { generation, number: number(of_it)? }, number(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_back_as_its_digest_and_no_other_text_does() {
        let digest_of = |n: u8| [n; 32];
        assert_eq!(digest(&tag(&digest_of(0xa7))), Some(digest_of(0xa7)));
        assert_eq!(digest(&format!("W/{}", tag(&digest_of(1)))), Some(digest_of(1)));
        let other = ["", "*", "\"\"", "\"ab\"", "abc"].map(str::to_owned);
        let list = format!("{0}, {0}", tag(&digest_of(1)));
        let sign = format!("\"{}\"", "+1".repeat(32));
        let wide = format!("\"{}\"", "é".repeat(32));
        for text in other.into_iter().chain([list, wide]) {
            assert_eq!(digest(&text), None, "{text}");
        }
        // What has another spelling is another tag, and is answered whole.
        assert_ne!(digest(&sign).map(|it| tag(&it)), Some(sign));
    }

    #[test]
    fn one_waits_for_as_long_as_may_be_and_no_longer() {
        assert_eq!(wait_ms(None), Ok(0));
        assert_eq!(wait_ms(Some("wait=0")), Ok(0));
        assert_eq!(wait_ms(Some("wait=25")), Ok(25_000));
        for query in ["wait=26", "wait=", "wait=-1", "wait=01", "wait=1.5", "after=a", ""] {
            assert!(wait_ms(Some(query)).is_err(), "{query}");
        }
    }

    #[test]
    fn entries_have_one_spelling() {
        assert_eq!(place("0.17/1200"), Some((Epoch { generation: 0, number: 17 }, 1_200)));
        for text in ["0.17", "0.17/", "17/0", "0.017/0", "0.17/0/0", "4294967296.1/0", "a.1/0"] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
