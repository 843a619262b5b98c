//! How an export is done.

use std::time::Duration;

/// How long an export goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Until it is told to stop.
    Endless,
    /// To the end that the log has when it begins.
    Once,
}

/// How an export is done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many records a batch has at most.
    pub batch: usize,
    /// How long it goes on.
    pub length: Length,
    /// How long sink or service may be away; for ever, if it is not said.
    pub patience: Option<Duration>,
    /// What events say of the product.
    pub version: String,
    /// The time, in milliseconds since 1970.
    pub now_ms: fn() -> u64,
}
