//! The front's counters, and how Prometheus reads them.
//!
//! Labels come from closed sets: groups of routes, classes of status, codes and operations. Nothing that a
//! caller sends becomes a label.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery_api::chancery_core::handle::Operation;
use chancery_api::http::problem::Code;
use chancery_api::http::routes::Target;

use crate::admission::Full;

/// Upper bounds of the latency buckets, in microseconds. Around what a durable answer takes, 1 to 5 ms, they lie close.
const BUCKETS_US: [u64; 11] =
    [500, 1_000, 2_000, 3_000, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// Routes that are counted together.
const GROUPS: [&str; 5] = ["batch", "command", "none", "service", "use"];

/// Classes of status.
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// The counters, for all runtimes.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; CLASSES.len()]; GROUPS.len()],
    refusals: Vec<AtomicU64>,
    latencies: [Latency; Operation::ALL.len()],
    connections: AtomicU64,
    turned_away: [AtomicU64; 2],
    handshakes_failed: AtomicU64,
    links_up: AtomicU64,
    links_lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Latency {
    buckets: [AtomicU64; BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// One request that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// What it asked for, if anything.
    pub target: Option<Target>,
    /// The status of its answer.
    pub status: u16,
    /// Why it was refused, if it was.
    pub code: Option<Code>,
    /// How long it took.
    pub took: Duration,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Default::default(),
            refusals: Code::all().map(|_| AtomicU64::default()).collect(),
            latencies: Default::default(),
            connections: AtomicU64::default(),
            turned_away: Default::default(),
            handshakes_failed: AtomicU64::default(),
            links_up: AtomicU64::default(),
            links_lost: AtomicU64::default(),
        }
    }

    /// Counts a request.
    pub(crate) fn answered(&self, answered: Answered) {
        let group = self.requests.get(group(answered.target));
        count(group.and_then(|classes| classes.get(class(answered.status))));
        if let Some(code) = answered.code {
            let position = Code::all().position(|other| other == code);
            count(position.and_then(|position| self.refusals.get(position)));
        }
        if let Some(Target::Use(operation) | Target::Batch(operation)) = answered.target
            && let Some(latency) = self.latencies.get(usize::from(operation.number()))
        {
            latency.observe(answered.took);
        }
    }

    /// Counts a connection.
    pub(crate) fn connected(&self) {
        count(Some(&self.connections));
    }

    /// Counts a connection that was turned away.
    pub(crate) fn turned_away(&self, why: Full) {
        let [all, source] = &self.turned_away;
        count(Some(match why {
            Full::All => all,
            Full::Source => source,
        }));
    }

    /// Counts a TLS handshake that failed or took too long.
    pub(crate) fn handshake_failed(&self) {
        count(Some(&self.handshakes_failed));
    }

    /// A stream to the signer came up.
    pub(crate) fn link_opened(&self) {
        count(Some(&self.links_up));
    }

    /// A stream to the signer was lost.
    pub(crate) fn link_closed(&self) {
        self.links_up.fetch_sub(1, Ordering::Relaxed);
        count(Some(&self.links_lost));
    }

    /// The text that Prometheus reads; `open` is how many connections there are.
    pub(crate) fn exposition(&self, open: usize) -> String {
        let mut text = String::with_capacity(8 * 1024);
        // Writing to a `String` cannot fail.
        let _ = self.write_requests(&mut text);
        let _ = self.write_refusals(&mut text);
        let _ = self.write_latencies(&mut text);
        let _ = self.write_connections(&mut text, open);
        text
    }

    fn write_requests(&self, text: &mut String) -> fmt::Result {
        let name = "chancery_front_requests_total";
        head(text, name, "counter")?;
        for (group, classes) in GROUPS.iter().zip(&self.requests) {
            for (class, counter) in CLASSES.iter().zip(classes) {
                let value = counter.load(Ordering::Relaxed);
                writeln!(text, "{name}{{routes=\"{group}\",status=\"{class}\"}} {value}")?;
            }
        }
        Ok(())
    }

    fn write_refusals(&self, text: &mut String) -> fmt::Result {
        let name = "chancery_front_refusals_total";
        head(text, name, "counter")?;
        for (code, counter) in Code::all().zip(&self.refusals) {
            writeln!(text, "{name}{{code=\"{code}\"}} {}", counter.load(Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn write_latencies(&self, text: &mut String) -> fmt::Result {
        let name = "chancery_front_request_seconds";
        head(text, name, "histogram")?;
        for (operation, latency) in Operation::ALL.iter().zip(&self.latencies) {
            latency.write(text, name, operation.name())?;
        }
        Ok(())
    }

    fn write_connections(&self, text: &mut String, open: usize) -> fmt::Result {
        let [all, source] = &self.turned_away;
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        single(
            text,
            ("chancery_front_connections", "gauge"),
            u64::try_from(open).unwrap_or(u64::MAX),
        )?;
        single(text, ("chancery_front_connections_total", "counter"), value(&self.connections))?;
        let name = "chancery_front_connections_refused_total";
        head(text, name, "counter")?;
        writeln!(text, "{name}{{limit=\"all\"}} {}", value(all))?;
        writeln!(text, "{name}{{limit=\"source\"}} {}", value(source))?;
        single(
            text,
            ("chancery_front_handshakes_failed_total", "counter"),
            value(&self.handshakes_failed),
        )?;
        single(text, ("chancery_front_signer_links", "gauge"), value(&self.links_up))?;
        single(text, ("chancery_front_signer_links_lost_total", "counter"), value(&self.links_lost))
    }
}

impl Latency {
    fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        count(Some(&self.count));
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        let position = BUCKETS_US.iter().position(|bound| us <= *bound);
        count(position.and_then(|position| self.buckets.get(position)));
    }

    fn write(&self, text: &mut String, name: &str, operation: &str) -> fmt::Result {
        let mut below = 0;
        for (bound, bucket) in BUCKETS_US.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let bound = Seconds(*bound);
            writeln!(text, "{name}_bucket{{operation=\"{operation}\",le=\"{bound}\"}} {below}")?;
        }
        let total = self.count.load(Ordering::Relaxed);
        let sum = Seconds(self.sum_us.load(Ordering::Relaxed));
        writeln!(text, "{name}_bucket{{operation=\"{operation}\",le=\"+Inf\"}} {total}")?;
        writeln!(text, "{name}_sum{{operation=\"{operation}\"}} {sum}")?;
        writeln!(text, "{name}_count{{operation=\"{operation}\"}} {total}")
    }
}

/// Microseconds, written as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

fn head(text: &mut String, name: &str, kind: &str) -> fmt::Result {
    writeln!(text, "# TYPE {name} {kind}")
}

fn single(text: &mut String, (name, kind): (&str, &str), value: u64) -> fmt::Result {
    head(text, name, kind)?;
    writeln!(text, "{name} {value}")
}

fn count(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The position in [`GROUPS`].
fn group(target: Option<Target>) -> usize {
    match target {
        Some(Target::Batch(_)) => 0,
        Some(Target::Command(_)) => 1,
        None => 2,
        Some(
            Target::Health
            | Target::Log
            | Target::Metrics
            | Target::OpenApi
            | Target::Public(_)
            | Target::Ready,
        ) => 3,
        Some(Target::Use(_)) => 4,
    }
}

/// The position in [`CLASSES`].
fn class(status: u16) -> usize {
    match status {
        ..400 => 0,
        400..500 => 1,
        500.. => 2,
    }
}

/// Appends the signer's counters, each on a line of its own; one that would break a line is left out.
pub(crate) fn append(text: &mut String, counters: &[(String, u64)]) {
    for (name, value) in counters {
        if !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            let _ = writeln!(text, "{name} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_api::chancery_core::reason::Reason;

    fn answered(metrics: &Metrics, took: Duration) {
        metrics.answered(Answered {
            target: Some(Target::Use(Operation::Sign)),
            status: 409,
            code: Some(Code::Reason(Reason::KeyUnusable)),
            took,
        });
    }

    #[test]
    fn what_was_counted_is_written() {
        let metrics = Metrics::new();
        answered(&metrics, Duration::from_millis(2));
        answered(&metrics, Duration::from_mins(1));
        let text = metrics.exposition(7);
        for line in [
            "chancery_front_requests_total{routes=\"use\",status=\"4xx\"} 2",
            "chancery_front_refusals_total{code=\"key-unusable\"} 2",
            "chancery_front_request_seconds_bucket{operation=\"sign\",le=\"0.001000\"} 0",
            "chancery_front_request_seconds_bucket{operation=\"sign\",le=\"0.002000\"} 1",
            "chancery_front_request_seconds_bucket{operation=\"sign\",le=\"10.000000\"} 1",
            "chancery_front_request_seconds_bucket{operation=\"sign\",le=\"+Inf\"} 2",
            "chancery_front_request_seconds_sum{operation=\"sign\"} 60.002000",
            "chancery_front_connections 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}");
        }
    }

    #[test]
    fn every_name_has_its_type_once() {
        let text = Metrics::new().exposition(0);
        let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            assert_eq!(
                types.iter().filter(|kind| kind.split(' ').next() == Some(name)).count(),
                1,
                "{line}"
            );
        }
    }

    #[test]
    fn a_counter_that_would_break_a_line_is_left_out() {
        let mut text = String::new();
        append(
            &mut text,
            &[("good{a=\"b\"}".into(), 1), ("bad\nname".into(), 2), (String::new(), 3)],
        );
        assert_eq!(text, "good{a=\"b\"} 1\n");
    }
}
