//! Server processes: started on their core, watched, counted as a tree, and ended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{Cores, Side};

/// How long a server may take to end before it is killed: 10 seconds.
const END_MAX: Duration = Duration::from_secs(10);

/// How long a server may take until it answers: 30 seconds.
pub(crate) const START_MAX: Duration = Duration::from_secs(30);

/// How often it is looked again.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Processor time, user and system.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    /// All of it.
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// A server with all the processes that it started. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server on the core of servers; what it prints goes to `log`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        log: PathBuf,
    ) -> Result<Self> {
        let cores = Cores::find()?;
        cores.enter(Side::Server)?;
        let started = Self::start_here(program, arguments, log);
        cores.enter(Side::Load)?;
        started
    }

    /// As [`Self::start`], on the cores that the calling thread may run on.
    pub(crate) fn start_here(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        log: PathBuf,
    ) -> Result<Self> {
        let out = File::options().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("cannot make `{}`", log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start `{}`", program.display()))?;
        Ok(Self { child, log })
    }

    /// Waits until `ready` gives something, and says what the server printed if it never does.
    pub(crate) fn wait_for<T>(&mut self, mut ready: impl FnMut() -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let error = match ready() {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let ended = self.child.try_wait()?.is_some();
            if ended || Instant::now() >= deadline {
                return Err(error.context(format!("a server did not start; {}", self.said())));
            }
            std::thread::sleep(POLL);
        }
    }

    /// What the server printed, for an error: its files are gone when that is read.
    pub(crate) fn said(&self) -> String {
        format!("it printed:\n{}", fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Ends it with SIGTERM, and waits until it is gone.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(self.pid()?, Signal::TERM)?;
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "a server ended with {status}; {}", self.said());
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("a server does not end; {}", self.said())
    }

    /// Ends it with SIGKILL. What it started dies with it, if it was made to.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.context("a server has no process id")
    }

    /// The processor time that the server's processes have taken so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        cpu_of_tree(self.child.id())
    }

    /// The processor time that threads of a name have taken so far in any of the server's processes.
    pub(crate) fn cpu_of_threads(&self, name: &str) -> Result<Duration> {
        let mut total = Duration::ZERO;
        for process in tree(&entries()?, self.child.id()) {
            total += cpu_of_threads(process, name)?;
        }
        Ok(total)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Ok(pid) = self.pid() else { return };
        // Its number may be another's already.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of one contender. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes an empty directory.
    pub(crate) fn make(scratch: &Path, name: &str) -> Result<Self> {
        let path = scratch.join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port of the loopback interface that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

/// One line of `/proc`: a process, its parent, and its time in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: u32,
    parent: u32,
    user: u64,
    system: u64,
}

/// The processor time of a process' threads of a name, user and system.
fn cpu_of_threads(process: u32, name: &str) -> Result<Duration> {
    // A process that has ended meanwhile has none.
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Ok(Duration::ZERO);
    };
    let mut total = 0;
    for thread in threads {
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { continue };
        if stat.split_once(" (").is_some_and(|(_, rest)| rest.starts_with(&format!("{name}) "))) {
            total += parse(&stat).map_or(0, |entry| entry.user + entry.system);
        }
    }
    Ok(ticks(total))
}

/// A process and all that it started, and they.
fn tree(entries: &[Entry], root: u32) -> Vec<u32> {
    let mut tree = vec![root];
    // A process is listed after its parent or before it, so the search goes on until nothing is added.
    loop {
        let known = |pid| tree.contains(&pid);
        let more = entries.iter().filter(|entry| known(entry.parent) && !known(entry.pid));
        let more: Vec<u32> = more.map(|entry| entry.pid).collect();
        if more.is_empty() {
            break;
        }
        tree.extend(more);
    }
    tree
}

fn cpu_of_tree(root: u32) -> Result<Cpu> {
    let entries = entries()?;
    let tree = tree(&entries, root);
    let own = entries.iter().filter(|entry| tree.contains(&entry.pid));
    let (user, system) =
        own.fold((0, 0), |(user, system), own| (user + own.user, system + own.system));
    if !entries.iter().any(|entry| entry.pid == root) {
        bail!("a server has ended");
    }
    Ok(Cpu { user: ticks(user), system: ticks(system) })
}

fn ticks(ticks: u64) -> Duration {
    let each = Duration::from_secs(1)
        / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    each * u32::try_from(ticks).unwrap_or(u32::MAX)
}

fn entries() -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for directory in fs::read_dir("/proc").context("`/proc` cannot be read")? {
        // A process that has ended meanwhile is none of ours.
        let Ok(text) = fs::read_to_string(directory?.path().join("stat")) else { continue };
        entries.extend(parse(&text));
    }
    Ok(entries)
}

/// Reads a line of `/proc/PID/stat` (proc(5)). The name stands in brackets and may hold anything.
fn parse(stat: &str) -> Option<Entry> {
    let pid = stat.split_once(' ')?.0.parse().ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let user = fields.nth(9)?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some(Entry { pid, parent, user, system })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn the_times_of_a_process_are_found_behind_any_name() {
        let stat = "7 (a) b ( c) S 3 7 7 0 -1 4194304 1 2 3 4 150 50 9 9 20 0 1 0 5";
        assert_eq!(parse(stat), Some(Entry { pid: 7, parent: 3, user: 150, system: 50 }));
        assert_eq!(parse("7 (a) S 3"), None);
    }

    #[test]
    fn the_time_of_a_child_counts() {
        let script = "sh -c 'while :; do :; done' & wait";
        let mut shell = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let deadline = Instant::now() + START_MAX;
        let counted = loop {
            let cpu = cpu_of_tree(shell.id()).unwrap();
            if cpu.total() >= Duration::from_millis(50) || Instant::now() > deadline {
                break cpu.total();
            }
            std::thread::sleep(POLL);
        };
        let group = Pid::from_raw(i32::try_from(shell.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(counted >= Duration::from_millis(50), "{counted:?}");
    }

    #[test]
    fn the_time_of_a_thread_is_found_by_its_name() {
        let busy = std::thread::Builder::new().name("busy one".into()).spawn(|| {
            let begun = Instant::now();
            while begun.elapsed() < START_MAX {
                let taken = cpu_of_threads(std::process::id(), "busy one").unwrap();
                if taken >= Duration::from_millis(50) {
                    return taken;
                }
            }
            Duration::ZERO
        });
        assert!(busy.unwrap().join().unwrap() >= Duration::from_millis(50));
        assert_eq!(cpu_of_threads(std::process::id(), "busy").unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_time() {
        assert!(cpu_of_tree(u32::MAX).is_err());
        assert_eq!(cpu_of_threads(u32::MAX, "busy").unwrap(), Duration::ZERO);
    }
}
