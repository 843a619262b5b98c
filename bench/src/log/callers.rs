//! Callers in this process: they hand records over one by one, keep so many outstanding, and come again when they are told
//! that theirs is on the disk.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::report::{float, ratio};

/// A record that waits, since when.
pub(super) struct Handed<T> {
    pub(super) came: Instant,
    pub(super) record: T,
}

/// The callers, on a thread of their own.
pub(super) struct Callers<T> {
    handed: Receiver<Handed<T>>,
    waiting: VecDeque<Handed<T>>,
    telling: Sender<usize>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Callers<T> {
    /// Callers of these records, of which `outstanding` are handed over at once.
    pub(super) fn start(
        mut records: impl Iterator<Item = T> + Send + 'static,
        outstanding: usize,
    ) -> Result<Self> {
        let (handing, handed) = channel();
        let (telling, told) = channel();
        let thread = std::thread::spawn(move || {
            for more in told {
                for record in records.by_ref().take(more) {
                    if handing.send(Handed { came: Instant::now(), record }).is_err() {
                        return;
                    }
                }
            }
        });
        telling.send(outstanding)?;
        Ok(Self { handed, waiting: VecDeque::new(), telling, thread })
    }

    /// The records that wait: at least `least`, and at most `most`, the first first.
    pub(super) fn take(&mut self, least: usize, most: usize) -> Result<Vec<Handed<T>>> {
        while self.waiting.len() < least {
            self.waiting.push_back(self.handed.recv().context("no caller is left")?);
        }
        self.waiting.extend(self.handed.try_iter());
        let taken = self.waiting.len().min(most);
        Ok(self.waiting.drain(..taken).collect())
    }

    /// Tells so many that theirs is on the disk.
    pub(super) fn tell(&self, records: usize) -> Result<()> {
        Ok(self.telling.send(records)?)
    }

    /// Ends them.
    pub(super) fn end(self) -> Result<()> {
        drop((self.telling, self.handed));
        self.thread.join().map_err(|_| anyhow!("the callers ended badly"))
    }
}

/// What a loop came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Looped {
    pub(super) records: u64,
    pub(super) elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Looped {
    /// Takes down that a record was waited for so long.
    pub(super) fn note(&mut self, took: Duration) {
        self.latencies.push(took);
    }

    /// Nothing more comes. Each that was waited for was of so many records.
    pub(super) fn close(mut self, elapsed: Duration, each: u64) -> Self {
        self.latencies.sort_unstable();
        self.records = u64::try_from(self.latencies.len()).unwrap_or(u64::MAX) * each;
        Self { elapsed, ..self }
    }

    /// The rate.
    pub(super) fn per_second(&self) -> f64 {
        ratio(float(self.records), self.elapsed.as_secs_f64())
    }

    /// The latency that this share, in hundredths, kept.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
        self.latencies.get(rank).copied().unwrap_or_default()
    }
}
