//! Claims that a token may have, and tokens that do not verify.

use chancery_core::id::KeyId;

use super::super::Payload;
use super::super::testing::{CLAIMS, Case, NOW_MS, PURPOSES};
use super::*;
use crate::key::BadSignature;

const BAD: Result<Verified, VerifyError> = Err(VerifyError::Signature(BadSignature));

fn case() -> Case {
    Case::new("sign.jws:at+jwt", Suite::Ed25519)
}

/// The claims of [`CLAIMS`], as they are signed.
const SIGNED: &str = r#"{"aud":"api","exp":1700000600,"iat":1700000000,"iss":"https://issuer.example","tenant":"a"}"#;

fn refused(claims: &str) -> ClaimsError {
    match case().sign(claims.as_bytes()).unwrap_err() {
        FormatError::Claims(error) => error,
        other => panic!("{other}"),
    }
}

/// [`CLAIMS`] with one part replaced.
fn with(from: &str, to: &str) -> String {
    assert!(CLAIMS.contains(from), "{from}");
    CLAIMS.replacen(from, to, 1)
}

#[test]
fn a_token_has_the_documented_form() {
    let case = case();
    let token = String::from_utf8(case.sign(CLAIMS.as_bytes()).unwrap()).unwrap();
    let parts: Vec<_> =
        token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    assert_eq!(parts.len(), 3);
    let header = r#"{"alg":"EdDSA","kid":"11111111-1111-1111-1111-111111111111.3","typ":"at+jwt"}"#;
    assert_eq!(String::from_utf8_lossy(&parts[0]), header);
    assert_eq!(String::from_utf8_lossy(&parts[1]), SIGNED);
    assert_eq!(parts[2].len(), 64);
    assert_eq!(key_version(token.as_bytes()), Ok(case.key_version));
}

#[test]
fn what_was_signed_verifies_and_gives_back_its_claims() {
    for suite in [Suite::Ed25519, Suite::EcdsaP256, Suite::EcdsaP384, Suite::MlDsa44] {
        let case = Case::new("sign.jws:at+jwt", suite);
        let token = case.sign(CLAIMS.as_bytes()).unwrap();
        assert_eq!(
            case.verify_attached(&token),
            Ok(Verified::Jws { claims: SIGNED.into() }),
            "{suite}"
        );
    }
}

#[test]
fn the_algorithm_in_the_header_is_that_of_the_key() {
    for (suite, alg) in
        [(Suite::EcdsaP256, "ES256"), (Suite::EcdsaP384, "ES384"), (Suite::MlDsa65, "ML-DSA-65")]
    {
        let header = encode_header(suite, case().key_version, &case().purpose);
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        assert!(String::from_utf8(header).unwrap().contains(&format!(r#""alg":"{alg}""#)));
    }
}

#[test]
fn claims_that_a_token_must_have_are_checked() {
    let missing = |claims: String, name: &str| match refused(&claims) {
        ClaimsError::Missing { claim, .. } => assert_eq!(claim, name, "{claims}"),
        other => panic!("{other}: {claims}"),
    };
    missing(with(r#""iss":"https://issuer.example","#, ""), "iss");
    missing(with(r#""https://issuer.example""#, r#""""#), "iss");
    missing(with(r#""https://issuer.example""#, "1"), "iss");
    missing(with(r#""aud":"api","#, ""), "aud");
    missing(with(r#""api""#, r#""""#), "aud");
    missing(with(r#""api""#, "[]"), "aud");
    missing(with(r#""api""#, r#"["a",1]"#), "aud");
    missing(with(r#""api""#, r#"["a",""]"#), "aud");
    missing(with(r#""iat":1700000000,"#, ""), "iat");
    missing(with("1700000000", r#""1700000000""#), "iat");
    missing(with("1700000000", "-1"), "iat");
    missing(with("1700000600", "null"), "exp");
    missing(with("{", r#"{"nbf":"now","#), "nbf");
    assert!(case().sign(with(r#""api""#, r#"["a","b"]"#).as_bytes()).is_ok());
}

#[test]
fn a_token_lives_at_most_a_day_and_is_in_force() {
    let times = |issued: u64, expires: u64| {
        with("1700000000", &issued.to_string()).replacen("1700000600", &expires.to_string(), 1)
    };
    let (now, day) = (NOW_MS / 1_000, LIFETIME_MAX.as_secs());
    let taken = |issued, expires| case().sign(times(issued, expires).as_bytes()).is_ok();
    assert!(taken(now, now + 1));
    assert!(taken(now, now + day));
    assert!(taken(now + 60, now + 61));
    assert!(taken(now - day + 1, now + 1));
    assert_eq!(refused(&times(now, now + day + 1)), ClaimsError::Lifetime);
    assert_eq!(refused(&times(now, now)), ClaimsError::Lifetime);
    assert_eq!(refused(&times(now, now - 1)), ClaimsError::Lifetime);
    assert_eq!(refused(&times(0, u64::MAX)), ClaimsError::Lifetime);
    assert_eq!(refused(&times(now - 10, now)), ClaimsError::Expired);
    assert_eq!(refused(&times(now + 61, now + 62)), ClaimsError::InTheFuture);
    let not_before = with("{", &format!(r#"{{"nbf":{},"#, now + 61));
    assert_eq!(refused(&not_before), ClaimsError::InTheFuture);
}

#[test]
fn claims_are_json_with_one_meaning() {
    assert_eq!(refused("not json"), ClaimsError::Json(JsonError::Malformed));
    assert_eq!(refused("[]"), ClaimsError::NotAnObject);
    assert_eq!(refused(&with("{", r#"{"iss":"x","#)), ClaimsError::Json(JsonError::RepeatedName));
    assert_eq!(
        refused(&with(r#""a""#, r#"{"b":1,"b":2}"#)),
        ClaimsError::Json(JsonError::RepeatedName)
    );
    assert_eq!(
        refused(&with(r#""a""#, &"[".repeat(JSON_DEPTH_MAX))),
        ClaimsError::Json(JsonError::TooDeep)
    );
    assert_eq!(refused(&with(r#""a""#, "0.5")), ClaimsError::Fraction);
    assert_eq!(refused(&with(r#""a""#, "[1e3]")), ClaimsError::Fraction);
    assert_eq!(refused(&with(r#""a""#, r#"{"b":18446744073709551616}"#)), ClaimsError::Fraction);
}

#[test]
fn a_pair_with_an_equal_claim_is_bound() {
    let mut case = case();
    case.context = Case::context(&["tenant=a"]);
    let signing = Signing { payload: Payload::Message(CLAIMS.as_bytes()), ..case.signing() };
    assert_eq!(
        super::super::to_be_signed(&signing).unwrap().context_binding(),
        ContextBinding::Bound
    );
    let token = case.sign(CLAIMS.as_bytes()).unwrap();
    assert!(case.verify_attached(&token).is_ok());
    case.context = Case::context(&["tenant=b"]);
    assert_eq!(case.verify_attached(&token), Err(VerifyError::OtherContext));
    case.context = Case::context(&["tenant=a", "user=c"]);
    assert_eq!(case.verify_attached(&token), Err(VerifyError::OtherContext));
}

#[test]
fn a_pair_without_a_claim_is_refused_or_audited() {
    let mut case = case();
    case.context = Case::context(&["tenant=a", "user=c"]);
    assert_eq!(case.sign(CLAIMS.as_bytes()).unwrap_err(), FormatError::ContextUnbound);
    let case = case.with_purpose("sign.jws:at+jwt;context=audited");
    let signing = Signing { payload: Payload::Message(CLAIMS.as_bytes()), ..case.signing() };
    assert_eq!(
        super::super::to_be_signed(&signing).unwrap().context_binding(),
        ContextBinding::Audited
    );
}

#[test]
fn a_claim_that_differs_from_its_pair_is_refused_even_when_audited() {
    for purpose in ["sign.jws:at+jwt", "sign.jws:at+jwt;context=audited"] {
        for context in ["tenant=b", "iat=1700000000"] {
            let mut case = case().with_purpose(purpose);
            case.context = Case::context(&[context]);
            assert_eq!(
                case.sign(CLAIMS.as_bytes()).unwrap_err(),
                FormatError::ContextMismatch,
                "{context}"
            );
        }
    }
}

#[test]
fn a_digest_is_refused() {
    let case = case();
    let signing = Signing { payload: Payload::Digest([0; 32]), ..case.signing() };
    assert_eq!(super::super::to_be_signed(&signing).unwrap_err(), FormatError::DigestRefused);
}

#[test]
fn an_algorithm_without_a_name_in_jose_is_refused() {
    let case = Case::new("sign.jws:at+jwt", Suite::HmacSha256);
    assert!(matches!(case.sign(CLAIMS.as_bytes()), Err(FormatError::Purpose(_))));
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let case = case();
    let token = case.sign(CLAIMS.as_bytes()).unwrap();
    for changed in Case::one_bit_changes(&token) {
        assert!(case.verify_attached(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
    }
}

#[test]
fn another_origin_is_refused() {
    let case = case();
    let token = case.sign(CLAIMS.as_bytes()).unwrap();
    let other = |change: fn(&mut Case)| {
        let mut other = case.clone();
        change(&mut other);
        other.verify_attached(&token)
    };
    let origin = Err(VerifyError::OtherOrigin);
    assert_eq!(other(|case| case.purpose = "sign.jws:id+jwt".parse().unwrap()), origin);
    assert_eq!(other(|case| case.key_version.version += 1), origin);
    assert_eq!(other(|case| case.key_version.key = KeyId::from_bytes([9; 16])), origin);
    assert_eq!(other(|case| case.private = Case::fresh(Suite::EcdsaP256)), origin);
    assert_eq!(other(|case| case.private = Case::fresh(Suite::Ed25519)), BAD);
}

#[test]
fn a_header_of_another_algorithm_or_with_more_members_is_refused() {
    let case = case();
    let token = String::from_utf8(case.sign(CLAIMS.as_bytes()).unwrap()).unwrap();
    let (header, rest) = token.split_once('.').unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    for (from, to) in [
        ("EdDSA", "none"),
        ("EdDSA", "HS256"),
        ("EdDSA", "ES256"),
        ("{", "{ "),
        ("{", r#"{"crit":["exp"],"#),
        ("{", r#"{"jwk":{},"#),
        ("at+jwt", "AT+JWT"),
    ] {
        let changed = URL_SAFE_NO_PAD.encode(header.replacen(from, to, 1));
        let token = format!("{changed}.{rest}");
        assert_eq!(case.verify_attached(token.as_bytes()), Err(VerifyError::OtherOrigin), "{to}");
    }
}

#[test]
fn a_token_out_of_force_is_refused() {
    let mut case = case();
    let token = case.sign(CLAIMS.as_bytes()).unwrap();
    let at = |case: &mut Case, seconds: u64| {
        case.now_ms = seconds * 1_000;
        case.verify_attached(&token)
    };
    assert!(at(&mut case, 1_700_000_599).is_ok());
    assert_eq!(at(&mut case, 1_700_000_600), Err(VerifyError::Claims(ClaimsError::Expired)));
    assert!(at(&mut case, 1_700_000_000 - 60).is_ok());
    assert_eq!(
        at(&mut case, 1_700_000_000 - 61),
        Err(VerifyError::Claims(ClaimsError::InTheFuture))
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let case = case();
    let token = String::from_utf8(case.sign(CLAIMS.as_bytes()).unwrap()).unwrap();
    for other in [
        String::new(),
        "..".into(),
        ".".into(),
        format!("{token}."),
        format!("{token}.e30"),
        format!("{token}="),
        format!(" {token}"),
        token.replacen('.', "", 1),
        "a".repeat(TOKEN_BYTES_MAX + 1),
    ] {
        assert!(case.verify_attached(other.as_bytes()).is_err(), "{other}");
        assert!(
            key_version(other.as_bytes()).is_err() || other.starts_with(&token[..20]),
            "{other}"
        );
    }
    assert_eq!(case.verify_attached(b"\xff.\xff.\xff"), Err(VerifyError::Malformed));
}

#[test]
fn a_signature_of_another_format_is_none_of_this_one() {
    let case = case();
    for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.jws:")) {
        let output = case.with_purpose(purpose).sign_any().unwrap();
        assert_eq!(case.verify_attached(&output), Err(VerifyError::Malformed), "{purpose}");
    }
}

#[test]
fn the_longest_claims_fit_in_a_token() {
    let case = Case::new("sign.jws:at+jwt", Suite::MlDsa87);
    let filler = "x".repeat(MESSAGE_BYTES_MAX - CLAIMS.len() + 1);
    let claims = with(r#""a""#, &format!("\"{filler}\""));
    assert_eq!(claims.len(), MESSAGE_BYTES_MAX);
    let token = case.sign(claims.as_bytes()).unwrap();
    assert!(case.verify_attached(&token).is_ok());
}
