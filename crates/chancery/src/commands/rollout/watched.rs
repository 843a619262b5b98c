//! `rollout watch`: a rollout as it goes, until it is over.
//!
//! On a terminal the view is drawn anew each second in the same place; elsewhere a line is printed when something changes.
//! While no answer comes it says so and asks again: a rollout lasts longer than a connection.

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use anyhow::{Result, anyhow};
use chancery_api::http::replies::{GateObject, RolloutObject};
use chancery_client::{Client, Next};
use chancery_core::id::RolloutId;

use super::{show, shown};
use crate::cli::Shared;
use crate::commands::{Unexpected, answer_json};
use crate::exit::Failure;
use crate::render::{Format, View, print, remark};

/// How often it is asked for.
const EVERY: Duration = Duration::from_secs(1);

/// How a rollout ends that did what it was made for.
const DONE: &str = "done";

/// Ends that are none of those.
const OTHERS: [&str; 3] = ["rolled-back", "aborted", "on-standby"];

/// Goes on showing a rollout until it is over. It fails if the new version did not come to stay.
pub(super) fn run(shared: &Shared, client: &Client, id: RolloutId) -> Result<(), Failure> {
    let mut screen = Screen::new(shared.format);
    loop {
        match show(client, id) {
            Ok(rollout) => {
                screen.draw(&rollout)?;
                if rollout.status == DONE {
                    return Ok(());
                }
                if OTHERS.contains(&rollout.status.as_str()) {
                    let what = format!("the rollout is over: {}", shown::standing(&rollout));
                    return Err(Failure::Failed(anyhow!("{what}")));
                }
            }
            Err(failure) => screen.lost(&passing(failure)?)?,
        }
        std::thread::sleep(EVERY);
    }
}

/// Why it is to be asked again: nobody is there, or nobody has time. What stays as it is ends the watch: a refusal, and a
/// service of another version, which answers the same each time.
fn passing(failure: Failure) -> Result<anyhow::Error, Failure> {
    match failure {
        Failure::Failed(error) if !error.is::<Unexpected>() => Ok(error),
        Failure::Refused(refusal) if matches!(refusal.next(), Next::TryLater | Next::AskAgain) => {
            Ok(refusal.into())
        }
        lasting => Err(lasting),
    }
}

/// What was drawn last.
struct Screen {
    format: Format,
    is_terminal: bool,
    lines: usize,
    last: String,
}

impl Screen {
    fn new(format: Format) -> Self {
        let is_terminal = stdout().is_terminal() && format == Format::Table;
        Self { format, is_terminal, lines: 0, last: String::new() }
    }

    fn draw(&mut self, rollout: &RolloutObject) -> Result<()> {
        if self.is_terminal {
            let text = View::Fields(shown::fields(rollout)).to_text();
            return self.redraw(&text);
        }
        let line = line(rollout);
        if line == self.last {
            return Ok(());
        }
        self.last = line;
        match self.format {
            Format::Json => print(format!("{}\n", answer_json(rollout)?).as_bytes()),
            _ => print(format!("{}\n", self.last).as_bytes()),
        }
    }

    fn lost(&mut self, error: &anyhow::Error) -> Result<()> {
        let text = format!("no answer, asked again each second: {error:#}\n");
        if self.is_terminal {
            return self.redraw(&text);
        }
        if self.last != text {
            remark(&format!("chancery: {}", text.trim_end()));
            self.last = text;
        }
        Ok(())
    }

    /// Draws over what was drawn before (ECMA-48: CUU, ED).
    fn redraw(&mut self, text: &str) -> Result<()> {
        let up = if self.lines == 0 { String::new() } else { format!("\x1b[{}A", self.lines) };
        self.lines = text.lines().count();
        print(format!("{up}\x1b[J{text}").as_bytes())
    }
}

/// What changes when something does: not the time that is left.
fn line(rollout: &RolloutObject) -> String {
    let closed = rollout.gates.iter().filter(|gate| !gate.open);
    let name = |gate: &GateObject| match (gate.gate.as_str(), gate.have) {
        ("counted", Some(left)) => format!("counted ({left} left)"),
        (name, _) => name.to_owned(),
    };
    let closed: Vec<_> = closed.map(name).collect();
    let waits = if closed.is_empty() {
        String::new()
    } else {
        format!(", waits for {}", closed.join(", "))
    };
    format!(
        "{} {}: {} {}{waits}",
        rollout.key,
        rollout.id,
        shown::stage_name(rollout),
        shown::standing(rollout)
    )
}

#[cfg(test)]
mod tests {
    use chancery_client::Refusal;
    use chancery_core::reason::Reason;

    use super::*;
    use crate::commands::unexpected;

    #[test]
    fn a_service_of_another_version_is_not_asked_for_ever() {
        let refused = |reason| Failure::Refused(Refusal::new(reason, "no"));
        assert!(passing(Failure::Failed(anyhow!("no answer came"))).is_ok());
        assert!(passing(refused(Reason::Unavailable)).is_ok());
        assert!(passing(refused(Reason::Forbidden)).is_err());
        assert!(passing(unexpected()).is_err());
    }
}
