//! How values on the command line are spelt.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use chancery_client::unix_ms;
use chancery_core::context::{Context, Pair};
use chancery_core::handle::{Operation, Operations};
use chancery_core::limits::HANDLE_TTL_MAX;
use chancery_signer::CHECKPOINT_EVERY_MAX;

use crate::exit::Misuse;

/// Units of a duration, in seconds.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];

/// Parses a whole number with a unit: `90s`, `15m`, `24h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("`{text}` is not a duration such as 90s, 15m, 24h or 1d");
    let unit = text.chars().last().ok_or_else(error)?;
    let &(_, seconds) = UNITS.iter().find(|row| row.0 == unit).ok_or_else(error)?;
    let number =
        text.strip_suffix(unit).filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()));
    let number: u64 = number.and_then(|digits| digits.parse().ok()).ok_or_else(error)?;
    let total = number.checked_mul(seconds).filter(|total| *total > 0).ok_or_else(error)?;
    Ok(Duration::from_secs(total))
}

/// Parses the life of a handle: a duration that the service allows.
pub(crate) fn life(text: &str) -> Result<Duration, String> {
    let life = duration(text)?;
    if life > HANDLE_TTL_MAX {
        return Err("a handle lives at most 24h".into());
    }
    Ok(life)
}

/// Parses how often checkpoints are made: a duration from a second to an hour.
pub(crate) fn checkpoint_every(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    if every > CHECKPOINT_EVERY_MAX {
        return Err("a checkpoint is made at least each hour".into());
    }
    Ok(every)
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Parses `sign,verify`.
pub(crate) fn operations(text: &str) -> Result<Operations, String> {
    let one = |name: &str| {
        let names = || Operation::ALL.map(Operation::name).join(", ");
        Operation::from_name(name)
            .ok_or_else(|| format!("`{name}` is no operation; there are {}", names()))
    };
    let operations = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(Operations::of(&operations))
}

/// Parses one `name=value` of a context.
pub(crate) fn pair(text: &str) -> Result<Pair, String> {
    if !text.contains('=') {
        return Err(format!("`{text}` is not of the form name=value"));
    }
    Pair::parse(text).map_err(|error| error.to_string())
}

/// The context of some pairs.
pub(crate) fn context(pairs: &[Pair]) -> Result<Context> {
    let what = "`--context` names a pair twice, or there are too many";
    Context::new(pairs.to_vec()).with_context(|| Misuse(what.into()))
}

/// Parses a time as [`since`] does, from now.
pub(crate) fn since_now(text: &str) -> Result<u64, String> {
    since(text, unix_ms()).map_err(|error| error.to_string())
}

/// Parses a time: RFC 3339 in UTC to the second (`2026-11-24T06:00:00Z`), a day, or a duration ago (`2h`).
fn since(text: &str, now_ms: u64) -> Result<u64> {
    if let Ok(ago) = duration(text) {
        return Ok(now_ms.saturating_sub(milliseconds(ago)));
    }
    let error = || anyhow!("`{text}` is not a time such as 2026-11-24T06:00:00Z, 2026-11-24 or 2h");
    crate::moment::parse(text).ok_or_else(error)
}

/// Parses 32 bytes in hexadecimal, such as a public key.
pub(crate) fn bytes32(text: &str) -> Result<[u8; 32], String> {
    let error = || "a key is 64 hexadecimal digits".to_owned();
    let pairs = text.as_bytes().as_chunks::<2>().0;
    let digits = text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().filter(|_| digits).map(byte).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(error)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("1d", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(life("24h").is_ok() && life("25h").is_err());
        assert!(checkpoint_every("1h").is_ok() && checkpoint_every("61m").is_err());
        for text in
            ["", "m", "15", "0m", "-1m", "+1m", "1.5h", "15 m", "15min", "99999999999999999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn operations_are_named_as_in_the_api() {
        let both = Operations::of(&[Operation::Sign, Operation::VerifyMac]);
        assert_eq!(operations("sign,verify-mac"), Ok(both));
        assert!(operations("sign,").unwrap_err().contains("generate-data-key"));
        assert!(operations("Sign").is_err());
    }

    #[test]
    fn a_pair_needs_its_equals_sign() {
        assert_eq!(pair("a=b=c").unwrap().value(), "b=c");
        assert!(pair("a").unwrap_err().contains("name=value"));
        assert!(pair("A=b").is_err());
    }

    #[test]
    fn a_key_is_64_digits() {
        assert_eq!(bytes32(&hex(&[0xab; 32])), Ok([0xab; 32]));
        for text in ["", "ab", &hex(&[0; 31]), &hex(&[0; 33]), &"+1".repeat(32), &"zz".repeat(32)] {
            assert!(bytes32(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_a_moment_a_day_or_a_while_ago() {
        assert_eq!(since("1970-01-02T00:00:01Z", 0).unwrap(), 86_401_000);
        assert_eq!(since("1970-01-02", 0).unwrap(), 86_400_000);
        assert_eq!(since("2s", 5_000).unwrap(), 3_000);
        assert!(since("yesterday", 0).is_err());
    }
}
