//! How the export stands, for people and for Prometheus.
//!
//! **Invariant:** no label comes from a record, a sink's answer or the command line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::files::{Lasting, replace};

/// How far behind the export may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagBound {
    /// So long, by the time of the oldest record that was not acknowledged.
    Age(Duration),
    /// So many records.
    Records(u64),
}

/// How the export stands now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many records the sink acknowledged in this run.
    pub exported: u64,
    /// How many went to the dead-letter file in this run.
    pub dead_letters: u64,
    /// Failed attempts in this run, by what failed.
    pub failures: BTreeMap<&'static str, u64>,
    /// What failed last, in this run.
    pub last_failure: Option<&'static str>,
    /// What is away now.
    pub lost: Lost,
    /// The index that the next record has or is above.
    pub next: u64,
    /// How many records the log had when it was last asked.
    pub log_size: u64,
    /// The time of the oldest record that is known and was not acknowledged, in milliseconds since 1970.
    pub oldest_ms: Option<u64>,
}

/// What is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The service.
    pub service: bool,
    /// The sink.
    pub sink: bool,
}

impl Standing {
    /// How many records of the log are not acknowledged; those of other tenants between them count as well.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        self.log_size.saturating_sub(self.next)
    }

    /// How old the oldest record is that was not acknowledged.
    #[must_use]
    pub fn lag(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest)))
    }

    /// Whether the export is further behind than it may be.
    #[must_use]
    pub fn is_beyond(&self, bound: LagBound, now_ms: u64) -> bool {
        match bound {
            LagBound::Age(age) => self.lag(now_ms) > age,
            LagBound::Records(records) => self.lag_records() > records,
        }
    }

    /// In the text format of Prometheus.
    #[must_use]
    pub fn to_prometheus(&self, bound: Option<LagBound>, now_ms: u64) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let one = |value: u64| vec![(String::new(), value.to_string())];
        let (exported, dead) = (one(self.exported), one(self.dead_letters));
        family(
            "chancery_export_records_total",
            "counter",
            "Records that the sink acknowledged.",
            &exported,
        );
        family(
            "chancery_export_dead_letters_total",
            "counter",
            "Records that it refused for good.",
            &dead,
        );
        let labelled =
            |(kind, count): (&&str, &u64)| (format!("{{kind=\"{kind}\"}}"), count.to_string());
        let failures: Vec<_> = self.failures.iter().map(labelled).collect();
        family(
            "chancery_export_failures_total",
            "counter",
            "Attempts that failed, by what failed.",
            &failures,
        );
        let last: Vec<_> = self.last_failure.iter().map(|kind| labelled((kind, &1))).collect();
        family("chancery_export_last_failure", "gauge", "What failed last.", &last);
        family(
            "chancery_export_next_index",
            "gauge",
            "The index that is exported next.",
            &one(self.next),
        );
        family(
            "chancery_export_lag_records",
            "gauge",
            "Records behind the log.",
            &one(self.lag_records()),
        );
        let lag = vec![(String::new(), format!("{:.3}", self.lag(now_ms).as_secs_f64()))];
        family(
            "chancery_export_lag_seconds",
            "gauge",
            "Age of the oldest record that is not exported.",
            &lag,
        );
        let beyond = bound.is_some_and(|bound| self.is_beyond(bound, now_ms));
        family(
            "chancery_export_lag_beyond_bound",
            "gauge",
            "1 if further behind than --max-lag.",
            &one(beyond.into()),
        );
        family(
            "chancery_export_sink_up",
            "gauge",
            "0 while the sink is lost.",
            &one((!self.lost.sink).into()),
        );
        family(
            "chancery_export_service_up",
            "gauge",
            "0 while the service is lost.",
            &one((!self.lost.service).into()),
        );
        text
    }

    /// Replaces a file by these metrics.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn write(&self, path: &Path, bound: Option<LagBound>, now_ms: u64) -> io::Result<()> {
        replace(path, self.to_prometheus(bound, now_ms).as_bytes(), Lasting::Process)
    }
}

/// The standing, as the export changes it and others read it.
#[derive(Clone, Debug, Default)]
pub struct Gauges(Arc<Mutex<Standing>>);

impl Gauges {
    /// How the export stands now.
    #[must_use]
    pub fn read(&self) -> Standing {
        self.lock().clone()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.lock());
    }

    pub(crate) fn failed(&self, kind: &'static str) {
        self.set(|standing| {
            *standing.failures.entry(kind).or_default() += 1;
            standing.last_failure = Some(kind);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Every change is whole by itself, so that a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_say_how_it_stands() {
        let gauges = Gauges::default();
        gauges.set(|standing| {
            (standing.exported, standing.next, standing.log_size) = (7, 90, 100);
            (standing.oldest_ms, standing.lost.sink) = (Some(1_000), true);
        });
        gauges.failed("server");
        gauges.failed("timeout");
        gauges.failed("server");
        let text = gauges.read().to_prometheus(Some(LagBound::Records(9)), 3_500);
        for line in [
            "# TYPE chancery_export_records_total counter",
            "chancery_export_records_total 7",
            "chancery_export_dead_letters_total 0",
            "chancery_export_failures_total{kind=\"server\"} 2",
            "chancery_export_failures_total{kind=\"timeout\"} 1",
            "chancery_export_last_failure{kind=\"server\"} 1",
            "chancery_export_next_index 90",
            "chancery_export_lag_records 10",
            "chancery_export_lag_seconds 2.500",
            "chancery_export_lag_beyond_bound 1",
            "chancery_export_sink_up 0",
            "chancery_export_service_up 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_bound_is_where_it_says() {
        let standing =
            Standing { next: 90, log_size: 100, oldest_ms: Some(1_000), ..Standing::default() };
        let beyond = |bound| standing.is_beyond(bound, 3_000);
        assert!(!beyond(LagBound::Records(10)) && beyond(LagBound::Records(9)));
        assert!(!beyond(LagBound::Age(Duration::from_secs(2))));
        assert!(beyond(LagBound::Age(Duration::from_millis(1_999))));
    }
}
