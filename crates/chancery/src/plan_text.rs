//! Plans of rollouts as text: TOML, read with the line of whatever is wrong, and written.
//!
//! ```toml
//! name = "mine"
//! kind = "routine"
//!
//! [bounds]
//! propagation = "5m"
//! …
//!
//! [[stage]]
//! name = "canary"
//! fraction = 0.01
//! …
//!
//! [[stage.trigger]]
//! metric = "error-rate"
//! …
//! ```
//!
//! What is read has the right form; whether it holds, [`Plan::check`] says. `docs/plans.md` has every field.

mod form;
mod lines;
mod spellings;
mod written;

use std::fmt;

use chancery_core::rollout::{Finding, Plan};

use self::lines::Lines;
pub(crate) use self::spellings::duration_text;
pub(crate) use self::written::text;

/// The longest plan, in bytes: 64 KiB. One with every stage and trigger that a plan may have takes some 30 KiB.
pub(crate) const PLAN_BYTES_MAX: usize = 64 * 1024;

/// A plan, and where each part of it stands in its text.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) plan: Plan,
    lines: Lines,
}

/// What is wrong at a line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Written {
    /// Reads a plan.
    pub(crate) fn read(text: &str) -> Result<Self, Wrong> {
        let plan = form::read(text)?;
        Ok(Self { plan, lines: Lines::of(text)? })
    }

    /// The line of what a rule finds fault with; of the part that it is missing from, if it is not there.
    pub(crate) fn line(&self, finding: &Finding) -> usize {
        self.lines.at(finding.place)
    }
}

/// The line of an offset in a text.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
