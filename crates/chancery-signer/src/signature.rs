//! The signature under a command, checked against what the signer itself builds from the command.
//!
//! Nothing that a front says about who is calling is used. The same check serves commands as they arrive,
//! the process that only takes reductions, and reductions that are merged from its journal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_api::message::CommandRequest;
use chancery_core::cbor;
use chancery_core::clock::{Quality, Reading, latest_reduction_ms, millis};
use chancery_core::command::{Command, SignatureParameters};
use chancery_core::limits::{CLOCK_DRIFT_MAX, COMMAND_VALIDITY_MAX};
use chancery_core::principal::Principal;
use chancery_core::reason::Reason;
use chancery_core::suite::Suite;
use chancery_crypto::key::PublicKey;
use chancery_crypto::primitive::sha256;

/// What is known of the time at which a signature is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// It is this time, in milliseconds since 1970.
    Known(u64),
    /// The clock is suspect: it may be either of these, or none.
    Suspect {
        /// The high-water mark.
        mark_ms: u64,
        /// The wall clock.
        wall_ms: u64,
    },
}

impl When {
    /// As a reading says.
    pub(crate) fn of(now: Reading) -> Self {
        match now.quality {
            Quality::Plausible => Self::Known(now.unix_ms),
            Quality::Suspect => Self::Suspect { mark_ms: now.unix_ms, wall_ms: now.wall_ms },
        }
    }
}

/// A command that its principal signed, and a time at which the signature is alive, in milliseconds since 1970.
pub(crate) struct Checked {
    pub(crate) command: Command,
    pub(crate) alive_ms: u64,
}

/// Checks that `principal` signed the request, and that the signature is alive.
pub(crate) fn check(
    request: &CommandRequest<'_>,
    principal: &Principal,
    when: When,
) -> Result<Checked, Reason> {
    let command: Command =
        cbor::decode(request.command, "command").map_err(|_| Reason::Malformed)?;
    let alive_ms = alive(&request.parameters, &command, when).ok_or(Reason::SignatureExpired)?;
    let digest = STANDARD.encode(sha256(&[request.command]));
    let base = request.parameters.base(&command, &digest);
    let key = ed25519(&principal.public).ok_or(Reason::SignatureInvalid)?;
    key.verify(base.as_bytes(), &request.signature).map_err(|_| Reason::SignatureInvalid)?;
    Ok(Checked { command, alive_ms })
}

/// A time at which the signature is alive and which it may be now. While the clock is suspect, a reduction may
/// also be dated after the mark, and up to a year ahead of every clock here: then they are wrong, and nobody is
/// kept from taking authority away.
fn alive(parameters: &SignatureParameters, command: &Command, when: When) -> Option<u64> {
    let drift_s = millis(CLOCK_DRIFT_MAX) / 1_000;
    let lives_s = parameters.expires_s.checked_sub(parameters.created_s)?;
    let is_short = lives_s > 0 && lives_s <= millis(COMMAND_VALIDITY_MAX) / 1_000;
    let is_alive = |at_ms: &u64| {
        let at_s = at_ms / 1_000;
        parameters.created_s <= at_s + drift_s && at_s < parameters.expires_s
    };
    let alive = match when {
        When::Known(now_ms) => Some(now_ms).filter(is_alive),
        When::Suspect { mark_ms, wall_ms } => {
            let created_ms = parameters.created_s.checked_mul(1_000)?;
            let is_ahead = command.is_reduction()
                && created_ms > mark_ms
                && created_ms <= latest_reduction_ms(mark_ms, wall_ms);
            let ahead = is_ahead.then_some(created_ms).filter(is_alive);
            [mark_ms, wall_ms].into_iter().find(is_alive).or(ahead)
        }
    };
    alive.filter(|_| is_short)
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

#[cfg(test)]
mod tests {
    use chancery_core::clock::Served;
    use chancery_core::handle::LinkId;
    use chancery_core::id::{OperationId, PrincipalId};
    use chancery_core::limits::REDUCTION_AHEAD_MAX;

    use super::*;

    fn signed(created_s: u64, expires_s: u64) -> SignatureParameters {
        SignatureParameters {
            principal: PrincipalId::from_bytes([1; 16]),
            operation: OperationId::from_bytes([2; 16]),
            created_s,
            expires_s,
        }
    }

    #[test]
    fn a_signature_lives_as_long_as_it_says_and_at_most_five_minutes() {
        let alive = |created, expires, now_s: u64| {
            let when = When::Known(now_s * 1_000);
            alive(&signed(created, expires), &Command::BeginImport, when).is_some()
        };
        assert!(alive(1_000, 1_300, 1_000) && !alive(1_000, 1_301, 1_000));
        assert!(alive(1_000, 1_300, 1_299) && !alive(1_000, 1_300, 1_300));
        assert!(alive(1_000, 1_300, 940) && !alive(1_000, 1_300, 939));
        assert!(!alive(1_000, 1_000, 1_000) && !alive(1_000, 999, 999));
    }

    #[test]
    fn with_a_suspect_clock_either_time_will_do_and_a_reduction_may_be_ahead_of_both() {
        let now = Reading {
            unix_ms: 500_000,
            quality: Quality::Suspect,
            served: Served::default(),
            wall_ms: 9_000_000,
        };
        let revoke = Command::RevokeHandle { link: LinkId([1; 16]) };
        let at = |command: &Command, created_s: u64| {
            alive(&signed(created_s, created_s + 60), command, When::of(now))
        };
        assert_eq!(at(&Command::BeginImport, 500), Some(500_000));
        assert_eq!(at(&Command::BeginImport, 9_000), Some(9_000_000));
        assert_eq!(at(&Command::BeginImport, 5_000), None);
        assert_eq!(at(&revoke, 5_000), Some(5_000_000));
        assert_eq!(at(&revoke, 99_000), Some(99_000_000));
        assert_eq!(at(&revoke, 400), None);
        assert_eq!(alive(&signed(99_000, 99_301), &revoke, When::of(now)), None);
        // What is put into the reduction journal must be alive at the time that stands beside it.
        let year_s = millis(REDUCTION_AHEAD_MAX) / 1_000;
        assert_eq!(at(&revoke, 9_000 + year_s), Some(9_000_000 + year_s * 1_000));
        for created_s in [9_001 + year_s, u64::MAX / 1_000 + 1, u64::MAX - 60] {
            assert_eq!(at(&revoke, created_s), None, "{created_s}");
        }
    }
}
