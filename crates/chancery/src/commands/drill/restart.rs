//! The command that restarts the service, run for as long as it may take, and whether the log says that it did.
//!
//! **Invariant:** a drill goes on after a restart only if the log has a record of a start that it did not have before: what
//! the command's own status says is not enough.

use std::process::{Child, Command as Program, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use chancery_api::http::replies::AnswerObject;
use chancery_client::Client;
use chancery_core::command::{AuditQuery, Command};

use super::scratch::read_patiently;
use crate::commands::{read, unexpected};
use crate::exit::Failure;

/// How long the restart command may take: a minute. What restarts a service is done in seconds, but for a long log to recover.
pub(super) const RESTART_MAX: Duration = Duration::from_mins(1);

/// How often it is looked whether it has ended: ten times a second.
const POLL: Duration = Duration::from_millis(100);

/// How long the log is asked for what a start leaves in it: 30 s, where the service is just back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many records the log has.
pub(super) fn log_size(client: &Client) -> Result<u64, Failure> {
    match read(client, &Command::ReadStatus)? {
        AnswerObject::Status(status) => Ok(status.log_size),
        _ => Err(unexpected()),
    }
}

/// Fails unless the log has a record of a start behind those that it had.
pub(super) fn was_restarted(client: &Client, size: u64) -> Result<(), Failure> {
    let action = "start".parse().map_err(|_| unexpected())?;
    let query = AuditQuery {
        action: Some(action),
        after: size.checked_sub(1),
        limit: 1,
        ..AuditQuery::default()
    };
    let answer = read_patiently(client, &Command::QueryAudit(query), Instant::now() + PATIENCE)?;
    let AnswerObject::Records(records) = answer else { return Err(unexpected()) };
    if records.is_empty() {
        return Err(Failure::Failed(anyhow!("the restart command did not restart the service")));
    }
    Ok(())
}

/// Runs the command by `sh -c` until it ends. It is killed when it takes too long, or once the drill is to stop.
pub(super) fn run(command: &str, stop: &AtomicBool) -> Result<()> {
    let child = Program::new("sh").args(["-c", command]).spawn();
    let mut child = child.context("`sh` cannot be started")?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("the restart command is lost")? {
            return ended(status);
        }
        if stop.load(Ordering::Relaxed) {
            kill(&mut child);
            bail!("the drill was interrupted");
        }
        if began.elapsed() > RESTART_MAX {
            kill(&mut child);
            let limit = RESTART_MAX.as_secs();
            bail!(
                "the restart command had not ended after {limit} s; have it end, and not wait for the service"
            );
        }
        std::thread::sleep(POLL);
    }
}

fn ended(status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("the restart command ended with {status}");
}

/// Kills the shell alone: what it began may be the service.
fn kill(shell: &mut Child) {
    let _ = shell.kill();
    let _ = shell.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_a_failure_and_one_that_goes_on_is_killed_once_the_drill_stops() {
        let said = |command, is_stopped| {
            let stop = AtomicBool::new(is_stopped);
            run(command, &stop).map_err(|error| error.to_string())
        };
        assert_eq!(said("true", false), Ok(()));
        assert!(said("exit 7", false).unwrap_err().contains("ended with"));
        assert_eq!(said("exec sleep 600", true).unwrap_err(), "the drill was interrupted");
    }
}
