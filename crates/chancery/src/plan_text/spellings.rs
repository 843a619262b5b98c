//! How durations and numbers of a plan are spelt.

use chancery_core::duration::UNITS;
pub(crate) use chancery_core::duration::duration_text;

/// A duration in milliseconds: `0s`, `500ms`, `90s`, `15m`, `24h`, `7d`.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = text.strip_prefix(digits).and_then(|unit| UNITS.iter().find(|it| it.0 == unit));
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = digits.parse().ok().filter(|_| is_number);
    let ms = number.zip(unit).and_then(|(number, (_, unit))| number.checked_mul(*unit));
    ms.ok_or_else(|| format!("`{text}` is not a duration such as 500ms, 90s, 15m, 24h or 7d"))
}

/// The decimals of fractions and thresholds, which are counted in millionths.
const DECIMALS: usize = 6;

/// Millionths as a decimal number.
pub(super) fn millionths_text(millionths: u64) -> String {
    let (whole, part) = (millionths / 1_000_000, millionths % 1_000_000);
    let part = format!("{part:0DECIMALS$}");
    let part = part.trim_end_matches('0');
    format!("{whole}.{}", if part.is_empty() { "0" } else { part })
}

/// A decimal number in millionths, exactly, out of its text in the plan.
pub(super) fn millionths(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is not a number from 0 up with at most {DECIMALS} decimals");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > DECIMALS {
        return Err(error());
    }
    let part: u64 = format!("{part:0<DECIMALS$}").parse().map_err(|_| error())?;
    let whole: u64 = whole.parse().map_err(|_| error())?;
    whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(part)).ok_or_else(error)
}
