//! The wall clock and fresh operation ids.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chancery_core::id::OperationId;
use chancery_crypto::primitive::{PrimitiveError, random};

/// The time since 1970 by this machine's clock; zero if the clock stands before that.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

/// A fresh operation id: the time and 80 random bits (RFC 9562, 5.7).
///
/// # Errors
///
/// [`PrimitiveError`] if the generator fails.
pub fn operation_id() -> Result<OperationId, PrimitiveError> {
    let mut entropy = [0; 10];
    random(&mut entropy)?;
    Ok(OperationId::v7(unix_ms(), entropy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_carry_the_time_and_differ() {
        let before = unix_ms();
        let one = operation_id().unwrap();
        assert_ne!(one, operation_id().unwrap());
        assert!(one.unix_ms().unwrap() >= before);
    }
}
