//! The machine: its cores, its clock, and what it says of itself.

use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// The core that servers run on, and the one that the load comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    server: usize,
    load: usize,
}

/// Where the calling thread is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// With the load generator.
    Load,
    /// With the servers.
    Server,
}

impl Cores {
    /// The first and the last core that this process may run on. They are found once, before anything is pinned.
    pub(crate) fn find() -> Result<Self> {
        static FOUND: OnceLock<Cores> = OnceLock::new();
        if let Some(cores) = FOUND.get() {
            return Ok(*cores);
        }
        let cores = Self::allowed()?;
        Ok(*FOUND.get_or_init(|| cores))
    }

    fn allowed() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("the cores cannot be asked for")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let load = cores.next().context("this process may run on no core")?;
        Ok(Self { server: cores.next_back().unwrap_or(load), load })
    }

    /// Moves the calling thread. What it spawns from now on, processes included, starts there and stays.
    pub(crate) fn enter(self, side: Side) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(match side {
            Side::Load => self.load,
            Side::Server => self.server,
        });
        sched_setaffinity(None, &set).context("this thread cannot be pinned")
    }

    /// What the report says about the cores.
    pub(crate) fn describe(self) -> String {
        if self.server == self.load {
            return format!("servers and load share core {}: throughput says little", self.server);
        }
        format!("servers on core {}, load on core {}", self.server, self.load)
    }
}

/// The machine as the report names it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) pinning: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
}

impl Machine {
    /// What this machine says of itself.
    pub(crate) fn here() -> Result<Self> {
        Ok(Self {
            processor: processor(&read("/proc/cpuinfo")).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            pinning: Cores::find()?.describe(),
            load_before: load_average(),
            load_after: String::new(),
        })
    }
}

/// The load averages of the last 1, 5 and 15 minutes: whether something else was running.
pub(crate) fn load_average() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn processor(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The date and time now, in UTC, to the minute.
pub(crate) fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date_of(since.as_secs())
}

fn date_of(unix_s: u64) -> String {
    // Civil date from days, after Hinnant's `civil_from_days`.
    let days = unix_s / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (unix_s / 3_600 % 24, unix_s / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil_dates() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59 UTC"),
        ] {
            assert_eq!(date_of(unix_s), expected);
        }
    }

    #[test]
    fn the_processor_is_named_once() {
        let text = "processor\t: 0\nmodel name\t: One 9000\nprocessor\t: 1\nmodel name\t: Two\n";
        assert_eq!(processor(text), "One 9000");
        assert_eq!(processor("processor\t: 0\n"), "unknown");
    }

    #[test]
    fn a_thread_stays_where_it_was_put() {
        let cores = Cores::find().unwrap();
        std::thread::spawn(move || {
            for side in [Side::Server, Side::Load] {
                cores.enter(side).unwrap();
                let now = sched_getaffinity(None).unwrap();
                assert_eq!(now.count(), 1);
            }
        })
        .join()
        .unwrap();
    }
}
