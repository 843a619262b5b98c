//! A progress bar on standard error, where that is a terminal; of long counts plain lines elsewhere.

use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a long command has come.
pub(crate) struct Progress {
    bar: ProgressBar,
    lines: Option<Lines>,
}

/// What is printed where there is no bar.
struct Lines {
    what: &'static str,
    of: Option<u64>,
    began: Instant,
    said: Cell<Duration>,
}

/// With a known length, and without one.
const BAR: &str = "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const COUNTER: &str = "{msg} {bytes} {bytes_per_sec}";

/// The same of things that are counted.
const COUNTED_BAR: &str = "{msg} [{bar:40}] {human_pos}/{human_len} {per_sec} {eta}";
const COUNTED: &str = "{msg} {human_pos} {per_sec}";

/// How often a line is printed: every 5 s.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// Begins at nothing, in bytes.
    pub(crate) fn new(what: &'static str, length: Option<u64>) -> Self {
        let template = if length.is_some() { BAR } else { COUNTER };
        Self { bar: bar(what, length, template), lines: None }
    }

    /// Begins at nothing, in things.
    pub(crate) fn counting(what: &'static str, of: Option<u64>) -> Self {
        let template = if of.is_some() { COUNTED_BAR } else { COUNTED };
        let (began, said) = (Instant::now(), Cell::new(Duration::ZERO));
        let lines = (!io::stderr().is_terminal()).then_some(Lines { what, of, began, said });
        Self { bar: bar(what, of, template), lines }
    }

    /// So many are done.
    pub(crate) fn at(&self, done: u64) {
        self.bar.set_position(done);
        if let Some(lines) = &self.lines {
            lines.at(done);
        }
    }
}

impl Lines {
    fn at(&self, done: u64) {
        let took = self.began.elapsed();
        if took < self.said.get() + LINE_EVERY {
            return;
        }
        self.said.set(took);
        eprintln!("chancery: {}", line((self.what, self.of), done, took));
    }
}

/// A line of progress: how far it is, how fast it was, and how long the rest takes at that.
fn line((what, of): (&str, Option<u64>), done: u64, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = done.saturating_mul(1_000) / millis;
    let of_all = of.map(|of| {
        let left = of.saturating_sub(done).checked_div(per_second);
        let left = left.map_or_else(String::new, |left| format!(", {left} s left"));
        (format!(" of {of}"), left)
    });
    let (of, left) = of_all.unwrap_or_default();
    format!("{what}: {done}{of}, {per_second} a second{left}")
}

fn bar(what: &'static str, length: Option<u64>, template: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(length, target).with_style(style).with_message(what)
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let line = |of, done, ms| line(("re-protecting", of), done, Duration::from_millis(ms));
        assert_eq!(
            line(Some(1_000), 200, 2_000),
            "re-protecting: 200 of 1000, 100 a second, 8 s left"
        );
        assert_eq!(line(Some(1_000), 0, 2_000), "re-protecting: 0 of 1000, 0 a second");
        assert_eq!(line(None, 5, 0), "re-protecting: 5, 5000 a second");
    }
}
