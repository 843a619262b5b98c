//! Randomness and clocks: the only places where the signer draws either.

use std::time::{SystemTime, UNIX_EPOCH};

use chancery_core::clock::Sample;
use chancery_crypto::primitive::{PrimitiveError, random};
use rustix::time::{ClockId, clock_gettime};

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], PrimitiveError> {
    let mut bytes = [0; N];
    random(&mut bytes)?;
    Ok(bytes)
}

/// What the machine's clocks say now.
pub(crate) fn sample() -> Sample {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let boot = clock_gettime(ClockId::Boottime);
    let boot_ms = boot.tv_sec.unsigned_abs() * 1_000 + boot.tv_nsec.unsigned_abs() / 1_000_000;
    Sample { wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), boot_ms }
}
