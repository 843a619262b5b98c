//! The signature under a command, checked against what the signer itself builds from the command.
//!
//! Nothing that a front says about who is calling is used. The same check serves commands as they arrive,
//! the process that only takes reductions, and reductions that are merged from its journal.

use chancery_api::message::CommandRequest;
use chancery_core::cbor;
use chancery_core::clock::millis;
use chancery_core::command::{Command, SignatureParameters};
use chancery_core::limits::{CLOCK_DRIFT_MAX, COMMAND_VALIDITY_MAX};
use chancery_core::principal::Principal;
use chancery_core::reason::Reason;
use chancery_core::suite::Suite;
use chancery_crypto::key::PublicKey;
use chancery_crypto::primitive::sha256;

/// Checks that `principal` signed the request, and that the signature is alive at `now_ms`.
pub(crate) fn check(
    request: &CommandRequest<'_>,
    principal: &Principal,
    now_ms: u64,
) -> Result<Command, Reason> {
    let command: Command =
        cbor::decode(request.command, "command").map_err(|_| Reason::Malformed)?;
    check_life(&request.parameters, now_ms)?;
    let digest = base64(&sha256(&[request.command]));
    let base = request.parameters.base(&command, &digest);
    let key = ed25519(&principal.public).ok_or(Reason::SignatureInvalid)?;
    key.verify(base.as_bytes(), &request.signature).map_err(|_| Reason::SignatureInvalid)?;
    Ok(command)
}

fn check_life(parameters: &SignatureParameters, unix_ms: u64) -> Result<(), Reason> {
    let now_s = unix_ms / 1_000;
    let drift_s = millis(CLOCK_DRIFT_MAX) / 1_000;
    let lives_s = parameters.expires_s.checked_sub(parameters.created_s);
    let is_short =
        lives_s.is_some_and(|life| life > 0 && life <= millis(COMMAND_VALIDITY_MAX) / 1_000);
    let is_now = parameters.created_s <= now_s + drift_s && now_s < parameters.expires_s;
    if is_short && is_now { Ok(()) } else { Err(Reason::SignatureExpired) }
}

/// What a caller is told who could not be authenticated.
pub(crate) fn early_detail(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "the command is not one, or its operation id is no UUID of version 7",
        Reason::TooLarge => "the command is longer than 32 KiB",
        Reason::SignatureExpired => {
            "the signature's life is over, too long, or begins in the future; check the clock and sign again"
        }
        Reason::SignatureInvalid => {
            "the signature does not verify under a principal of this service"
        }
        _ => "the command was not taken; try again later",
    }
}

/// An Ed25519 key from its 32 bytes (RFC 8410, 4).
pub(crate) fn ed25519(raw: &[u8; 32]) -> Option<PublicKey> {
    const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    PublicKey::from_spki(Suite::Ed25519, &[SPKI_PREFIX.as_slice(), raw].concat()).ok()
}

/// Base64 with padding (RFC 4648, 4), as digests stand in HTTP fields.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Of its final size, since what grows leaves what it outgrew behind, and some of it is secret.
    let mut text = String::with_capacity(4 * bytes.len().div_ceil(3));
    for chunk in bytes.chunks(3) {
        let byte = |position: usize| chunk.get(position).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * position) & 63).unwrap_or_default();
            let letter = ALPHABET.get(index).copied().unwrap_or_default();
            text.push(if position <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
