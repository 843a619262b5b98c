//! What was measured: figures, and the aims of the design beside them.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::machine::{Machine, date, load_average};
use crate::options::Format;
use crate::process::Cpu;

mod aims;
mod table;

/// All that one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) began: String,
    pub(crate) ended: String,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) isolation: Option<Isolation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ablation: Option<Ablation>,
    pub(crate) aims: Vec<Aim>,
}

/// What one contender did under one load, in one round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) items: u64,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Cpu,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// The contenders under the loads.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) seconds: f64,
    pub(crate) rounds: u32,
    pub(crate) figures: Vec<Figure>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
}

/// Medians of one contender under one load. Times are microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) contender: &'static str,
    pub(crate) form: String,
    pub(crate) connections: usize,
    pub(crate) per_cpu_second: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Quick callers alone and beside slow ones. Medians; times are microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Isolation {
    pub(crate) seconds: f64,
    pub(crate) rounds: u32,
    pub(crate) quiet_rate: f64,
    pub(crate) loaded_rate: f64,
    pub(crate) rate_kept: f64,
    pub(crate) quiet_p99_us: f64,
    pub(crate) loaded_p99_us: f64,
    pub(crate) p99_times: f64,
    pub(crate) slow_rate: f64,
    pub(crate) slow_refused: u64,
}

/// The parts of a signature, and what the budget counts of them, by records in a frame.
#[derive(Debug, Serialize)]
pub(crate) struct Ablation {
    pub(crate) parts: Vec<Part>,
    pub(crate) budget: Vec<Budget>,
}

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Belongs {
    /// To policy, handle and audit, which have a budget.
    Budget,
    /// To the front.
    Front,
    /// To the way between front and signer.
    Link,
    /// To the signature itself.
    Signature,
}

/// One part of a signature, in microseconds of user processor time for each signature.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) belongs: Belongs,
    /// The records in a frame, where the cost depends on that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records: Option<usize>,
    pub(crate) us: f64,
}

/// Policy, handle and audit together.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Budget {
    pub(crate) records: usize,
    pub(crate) us: f64,
}

/// An aim of the design and what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) bound: String,
    pub(crate) seen: f64,
    pub(crate) met: bool,
}

impl Report {
    /// Begins a report.
    pub(crate) fn begin() -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Ok(Self {
            began: date(),
            ended: String::new(),
            command: format!("chancery-bench {}", arguments.join(" ")),
            machine: Machine::here()?,
            comparison: None,
            isolation: None,
            ablation: None,
            aims: Vec::new(),
        })
    }

    /// Ends it: the aims are looked up.
    pub(crate) fn end(&mut self) {
        self.ended = date();
        self.machine.load_after = load_average();
        self.aims = aims::of(self);
    }

    /// Prints it on standard output.
    pub(crate) fn print(&self, format: Format) -> Result<()> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(self)? + "\n",
            Format::Table => table::render(self),
        };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }
}

impl Figure {
    /// The medians of samples.
    pub(crate) fn of(
        contender: &'static str,
        form: String,
        connections: usize,
        samples: &[Sample],
    ) -> Self {
        let median_of =
            |value: fn(&Sample) -> f64| median(&samples.iter().map(value).collect::<Vec<_>>());
        Self {
            contender,
            form,
            connections,
            per_cpu_second: median_of(|it| ratio(float(it.items), it.cpu.total().as_secs_f64())),
            user_us: median_of(|it| ratio(micros(it.cpu.user), float(it.items))),
            system_us: median_of(|it| ratio(micros(it.cpu.system), float(it.items))),
            per_second: median_of(|it| ratio(float(it.items), it.elapsed.as_secs_f64())),
            p50_us: median_of(|it| micros(it.p50)),
            p99_us: median_of(|it| micros(it.p99)),
        }
    }
}

/// The median; of an even number the lower of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// `part / whole`, and 0 where there is no whole: a run so short that no tick of the clock fell into it.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A count for arithmetic with measured values.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far under 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6
    }

    #[test]
    fn a_median_is_one_of_the_values() {
        assert!(is_near(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(is_near(median(&[4.0, 1.0, 2.0, 3.0]), 2.0));
        assert!(is_near(median(&[]), 0.0));
    }

    #[test]
    fn operations_for_a_cpu_second_count_user_and_system() {
        let sample = Sample {
            items: 1_000,
            elapsed: Duration::from_secs(2),
            cpu: Cpu { user: Duration::from_millis(300), system: Duration::from_millis(200) },
            ..Sample::default()
        };
        let figure = Figure::of("x", "single".into(), 1, &[sample]);
        assert!(is_near(figure.per_cpu_second, 2_000.0) && is_near(figure.per_second, 500.0));
        assert!(is_near(figure.user_us, 300.0) && is_near(figure.system_us, 200.0));
    }
}
