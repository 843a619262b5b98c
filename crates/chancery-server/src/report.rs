//! Lines to standard error, at a bounded rate.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::limits::REPORTS_PER_SECOND;

/// Writes lines, at most [`REPORTS_PER_SECOND`]; says afterwards how many it left out.
#[derive(Debug)]
pub(crate) struct Reporter(Mutex<Window>);

#[derive(Debug)]
struct Window {
    began: Instant,
    written: u32,
    left_out: u32,
}

impl Reporter {
    /// A reporter that has written nothing.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Window { began: Instant::now(), written: 0, left_out: 0 }))
    }

    /// Writes one line, if there is room.
    pub(crate) fn report(&self, line: &dyn fmt::Display) {
        let taken = self.0.lock().map(|mut window| window.take(Instant::now()));
        let Ok(Some(left_out)) = taken else { return };
        if left_out > 0 {
            eprintln!("chancery front: {left_out} lines left out");
        }
        eprintln!("chancery front: {line}");
    }
}

impl Window {
    /// Takes room for one line; how many were left out before it, or `None` if there is no room.
    fn take(&mut self, now: Instant) -> Option<u32> {
        if now.duration_since(self.began) >= Duration::from_secs(1) {
            *self = Self { began: now, written: 0, left_out: self.left_out };
        }
        if self.written >= REPORTS_PER_SECOND {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let start = Instant::now();
        let mut window = Window { began: start, written: 0, left_out: 0 };
        let taken = (0..REPORTS_PER_SECOND + 5).filter(|_| window.take(start).is_some());
        assert_eq!(taken.count(), 10);
        assert_eq!(window.take(start + Duration::from_secs(1)), Some(5));
        assert_eq!(window.take(start + Duration::from_secs(1)), Some(0));
    }
}
