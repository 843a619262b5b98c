//! How what a record says is told.

use chancery_core::reason::Reason;
use chancery_core::retirement::Cause;
use chancery_core::rollout::Why;

use crate::record::Kind;

/// What came of it.
#[must_use]
pub fn outcome(number: u8) -> &'static str {
    if number == 0 { "committed" } else { "refused" }
}

/// Why it was refused, or done; or nothing.
#[must_use]
pub fn reason(number: u16) -> &'static str {
    let cause = || Cause::from_number(number).map(Cause::code);
    let why = || Why::from_number(number).map(Why::code);
    Reason::from_number(number).map(Reason::code).or_else(cause).or_else(why).unwrap_or_default()
}

/// Whether a record of that kind says how many there are, and not the how-manieth it is.
#[must_use]
pub fn is_a_number(kind: Kind) -> bool {
    matches!(kind, Kind::Refusals | Kind::Count)
}
