//! Records that a sink refuses for good, kept in a file.
//!
//! Each is a line of JSON: when, why, and the event. **Invariant:** a line is durable before the cursor moves past
//! its record; the number of lines in one run has a bound.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::event::Event;
use crate::files::Lines;
use crate::limits::DEAD_LETTERS_MAX;
use crate::moment;

/// A record cannot be put there.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There are as many as may be.
    #[error("the sink refused {DEAD_LETTERS_MAX} records: it may refuse whatever it is sent")]
    Full,
    /// The system refused.
    #[error("the dead-letter file cannot be written")]
    Io(#[from] io::Error),
}

/// The file.
#[derive(Debug)]
pub struct DeadLetters {
    lines: Lines,
    count: u64,
}

impl DeadLetters {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError::Io`] if it cannot be written.
    pub fn open(path: &Path) -> Result<Self, DeadLetterError> {
        Ok(Self { lines: Lines::open(path.into())?, count: 0 })
    }

    /// Appends an event with why it was refused; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError`] if it cannot be written, or there are as many as may be.
    pub fn put(&mut self, event: &Event, why: &str, now_ms: u64) -> Result<(), DeadLetterError> {
        if self.count >= DEAD_LETTERS_MAX {
            return Err(DeadLetterError::Full);
        }
        let line =
            json!({ "refused_at": moment::text(now_ms), "why": why, "event": event.value() });
        self.lines.append(&format!("{line}\n"))?;
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::{Scratch, event};

    #[test]
    fn a_dead_letter_has_the_event_and_why_and_there_are_so_many() {
        let scratch = Scratch::new("dead");
        let path = scratch.path("d");
        let mut letters = DeadLetters::open(&path).unwrap();
        letters.put(&event(7), "no such field", 0).unwrap();
        let line: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(line["refused_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!((&line["why"], &line["event"]), (&"no such field".into(), &event(7).value()));
        letters.count = DEAD_LETTERS_MAX - 1;
        letters.put(&event(8), "", 0).unwrap();
        assert!(matches!(letters.put(&event(9), "", 0), Err(DeadLetterError::Full)));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
