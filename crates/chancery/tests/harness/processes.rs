//! The three processes of a service, found through `/proc`.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// One of the three processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// Takes connections.
    Front,
    /// Holds the keys.
    Signer,
    /// Starts the other two.
    Supervisor,
}

/// The ids of those that run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pids {
    front: Option<u32>,
    signer: Option<u32>,
    supervisor: Option<u32>,
    courier: Option<u32>,
}

impl Pids {
    /// The processes of a supervisor.
    pub(crate) fn of(supervisor: Option<u32>) -> Self {
        let mut pids = Self { supervisor, ..Self::default() };
        let Some(supervisor) = supervisor else { return pids };
        for pid in children(supervisor) {
            match command_word(pid).as_deref() {
                Some("front") => pids.front = Some(pid),
                Some("courier") => pids.courier = Some(pid),
                Some("signer" | "reduce-only") => pids.signer = Some(pid),
                _ => {}
            }
        }
        pids
    }

    /// The id of one.
    pub(crate) fn get(&self, process: Process) -> Option<u32> {
        match process {
            Process::Front => self.front,
            Process::Signer => self.signer,
            Process::Supervisor => self.supervisor,
        }
    }

    /// The ids of all, the supervisor's first, so that it restarts none that is killed after it; and last, where others
    /// are asked about the log, the courier's.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> + use<> {
        [self.supervisor, self.signer, self.front, self.courier].into_iter().flatten()
    }
}

/// Whether a process runs; one that has ended and was not yet waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// Sends a signal; a process that has just ended is none to send to.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, signal);
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("this system has /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| stat(pid).is_some_and(|(state, of)| of == parent && state != "Z")).collect()
}

/// State and parent (proc(5)); the name before them stands in parentheses and may hold anything.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// The first argument of a process.
fn command_word(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8(line.split(|&byte| byte == 0).nth(1)?.to_vec()).ok()
}
