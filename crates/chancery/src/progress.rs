//! A progress bar on standard error, where that is a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a long command has come.
pub(crate) struct Progress(ProgressBar);

/// With a known length, and without one.
const BAR: &str = "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const COUNTER: &str = "{msg} {bytes} {bytes_per_sec}";

impl Progress {
    /// Begins at nothing.
    pub(crate) fn new(what: &'static str, length: Option<u64>) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = if length.is_some() { BAR } else { COUNTER };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar =
            ProgressBar::with_draw_target(length, target).with_style(style).with_message(what);
        Self(bar)
    }

    /// So many bytes are done.
    pub(crate) fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
