//! The fields that sign a command (RFC 9421, narrowed to one form).
//!
//! The front checks their form and hands them on; it verifies nothing. The signer builds the signature
//! base from the command itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::command::SignatureParameters;
use chancery_core::id::OperationId;

use crate::http::uses::parse_idempotency_key;
use crate::http::{COMMAND_DIGEST, HttpError, IDEMPOTENCY_KEY, SIGNATURE, SIGNATURE_INPUT};

/// What stands before the parameters and before the signature.
const LABEL: &str = "chancery=";

/// The values of the fields that sign a command.
#[derive(Clone, Copy, Debug)]
pub struct SignatureFields<'f> {
    /// `Idempotency-Key`.
    pub idempotency_key: &'f str,
    /// `Chancery-Command-Digest`.
    pub command_digest: &'f str,
    /// `Signature-Input`.
    pub signature_input: &'f str,
    /// `Signature`.
    pub signature: &'f str,
}

/// The fields, name and value, of a command that was signed.
///
/// `digest` is the SHA-256 digest of the command's canonical encoding.
#[must_use]
pub fn signature_fields(
    parameters: &SignatureParameters,
    digest: &[u8; 32],
    signature: &[u8; 64],
) -> [(&'static str, String); 4] {
    [
        (IDEMPOTENCY_KEY, parameters.operation.to_string()),
        (COMMAND_DIGEST, format!("sha-256=:{}:", STANDARD.encode(digest))),
        (SIGNATURE_INPUT, format!("{LABEL}{}", parameters.to_field())),
        (SIGNATURE, format!("{LABEL}:{}:", STANDARD.encode(signature))),
    ]
}

/// What the fields say.
///
/// # Errors
///
/// [`HttpError`] if one is not exactly as [`signature_fields`] writes it.
pub fn parse_signature(
    fields: SignatureFields<'_>,
) -> Result<(SignatureParameters, [u8; 64]), HttpError> {
    let operation = parse_idempotency_key(fields.idempotency_key)?;
    parse_digest(fields.command_digest).ok_or(HttpError::SignatureMalformed(COMMAND_DIGEST))?;
    let parameters = parse_parameters(fields.signature_input, operation)
        .ok_or(HttpError::SignatureMalformed(SIGNATURE_INPUT))?;
    let signature =
        parse_value(fields.signature).ok_or(HttpError::SignatureMalformed(SIGNATURE))?;
    Ok((parameters, signature))
}

fn parse_digest(field: &str) -> Option<[u8; 32]> {
    let text = field.strip_prefix("sha-256=:")?.strip_suffix(':')?;
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn parse_value(field: &str) -> Option<[u8; 64]> {
    let text = field.strip_prefix(LABEL)?.strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Takes the numbers and the name out, writes the field again and compares: there is one form.
fn parse_parameters(field: &str, operation: OperationId) -> Option<SignatureParameters> {
    let field = field.strip_prefix(LABEL)?;
    let created_s = between(field, ";created=", ";")?.parse().ok()?;
    let expires_s = between(field, ";expires=", ";")?.parse().ok()?;
    let principal = between(field, ";keyid=\"", "\"")?.parse().ok()?;
    let parameters = SignatureParameters { principal, operation, created_s, expires_s };
    (parameters.to_field() == field).then_some(parameters)
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::id::PrincipalId;

    fn parameters() -> SignatureParameters {
        SignatureParameters {
            principal: PrincipalId::from_bytes([1; 16]),
            operation: OperationId::from_bytes([2; 16]),
            created_s: 100,
            expires_s: 160,
        }
    }

    fn parse(
        fields: &[(&'static str, String); 4],
    ) -> Result<(SignatureParameters, [u8; 64]), HttpError> {
        parse_signature(SignatureFields {
            idempotency_key: &fields[0].1,
            command_digest: &fields[1].1,
            signature_input: &fields[2].1,
            signature: &fields[3].1,
        })
    }

    #[test]
    fn what_was_written_is_read() {
        let fields = signature_fields(&parameters(), &[3; 32], &[4; 64]);
        assert_eq!(parse(&fields), Ok((parameters(), [4; 64])));
    }

    #[test]
    fn every_cut_and_every_other_form_is_refused() {
        let fields = signature_fields(&parameters(), &[3; 32], &[4; 64]);
        for field in 0..fields.len() {
            for length in 0..fields[field].1.len() {
                let mut cut = fields.clone();
                cut[field].1.truncate(length);
                assert!(parse(&cut).is_err(), "{} {length}", fields[field].0);
            }
            let mut longer = fields.clone();
            longer[field].1.push(' ');
            assert!(parse(&longer).is_err());
        }
    }

    #[test]
    fn another_spelling_of_the_parameters_is_refused() {
        let fields = signature_fields(&parameters(), &[3; 32], &[4; 64]);
        for (from, to) in [
            ("created=100", "created=0100"),
            ("created=100", "created=+100"),
            ("created=100", "created=-1"),
            (";alg=\"ed25519\"", ""),
            ("ed25519", "hmac-sha256"),
            ("\"@method\" ", ""),
            ("\"@method\" \"@path\"", "\"@path\" \"@method\""),
            ("tag=\"chancery\"", "tag=\"other\""),
            (";expires=160", ";expires=160;expires=170"),
            (";expires=160", " ;expires=160"),
            ("chancery=(", "sig1=("),
        ] {
            let mut other = fields.clone();
            other[2].1 = other[2].1.replacen(from, to, 1);
            assert_ne!(other[2].1, fields[2].1, "{from}");
            assert_eq!(parse(&other), Err(HttpError::SignatureMalformed(SIGNATURE_INPUT)), "{to}");
        }
    }
}
