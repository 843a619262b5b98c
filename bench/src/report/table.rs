//! The report for people.

use std::fmt::Write as _;

use super::{Ablation, Aim, Belongs, Comparison, Isolation, Report};

/// Renders a report.
pub(super) fn render(report: &Report) -> String {
    let mut out = head(report);
    if let Some(comparison) = &report.comparison {
        out += &compared(comparison);
    }
    if let Some(isolation) = &report.isolation {
        out += &isolated(isolation);
    }
    if let Some(ablation) = &report.ablation {
        out += &ablated(ablation);
    }
    out + &aims(&report.aims)
}

/// Adds a line. Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {
        let _ = writeln!($out, $($text)*);
    };
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let mut out = String::new();
    line!(out, "command   {}", report.command);
    line!(out, "date      {} to {}", report.began, report.ended);
    line!(
        out,
        "machine   {}, {} cores, Linux {}",
        machine.processor,
        machine.cores,
        machine.kernel
    );
    line!(out, "pinning   {}", machine.pinning);
    line!(out, "load      {} before, {} after", machine.load_before, machine.load_after);
    out
}

fn compared(comparison: &Comparison) -> String {
    let mut out = String::new();
    line!(
        out,
        "\nEd25519 signatures: medians of {} rounds of {} s; a CPU-second is of all server processes",
        comparison.rounds,
        comparison.seconds
    );
    line!(
        out,
        "{:<26} {:<12} {:>5} {:>10} {:>9} {:>9} {:>10} {:>9} {:>9}",
        "contender",
        "form",
        "conns",
        "per CPU-s",
        "user µs",
        "sys µs",
        "per s",
        "p50 µs",
        "p99 µs"
    );
    for it in &comparison.figures {
        line!(
            out,
            "{:<26} {:<12} {:>5} {:>10.0} {:>9.1} {:>9.1} {:>10.0} {:>9.0} {:>9.0}",
            it.contender,
            it.form,
            it.connections,
            it.per_cpu_second,
            it.user_us,
            it.system_us,
            it.per_second,
            it.p50_us,
            it.p99_us
        );
    }
    for skipped in &comparison.skipped {
        line!(out, "{skipped}");
    }
    out
}

fn isolated(isolation: &Isolation) -> String {
    let mut out = String::new();
    line!(
        out,
        "\n16 callers of Ed25519, alone and beside 32 of RSA-4096: medians of {} rounds of {} s",
        isolation.rounds,
        isolation.seconds
    );
    line!(out, "{:<8} {:>10} {:>10}", "", "per s", "p99 µs");
    let rows = [
        ("quiet", isolation.quiet_rate, isolation.quiet_p99_us),
        ("loaded", isolation.loaded_rate, isolation.loaded_p99_us),
        ("ratio", isolation.rate_kept, isolation.p99_times),
    ];
    for (name, rate, p99) in rows {
        let digits = if name == "ratio" { 2 } else { 0 };
        line!(out, "{name:<8} {rate:>10.digits$} {p99:>10.digits$}");
    }
    line!(
        out,
        "RSA-4096: {:.0} per s, {} refused for want of room",
        isolation.slow_rate,
        isolation.slow_refused
    );
    out
}

fn ablated(ablation: &Ablation) -> String {
    let mut out = String::new();
    line!(out, "\nParts of a signature, in this process: user CPU for each");
    line!(out, "{:<46} {:<10} {:>8} {:>8}", "part", "of", "records", "µs");
    for part in &ablation.parts {
        let of = match part.belongs {
            Belongs::Budget => "budget",
            Belongs::Front => "front",
            Belongs::Link => "link",
            Belongs::Signature => "signature",
        };
        let records = part.records.map(|records| records.to_string()).unwrap_or_default();
        line!(out, "{:<46} {of:<10} {records:>8} {:>8.2}", part.name, part.us);
    }
    for budget in &ablation.budget {
        line!(
            out,
            "{:<46} {:<10} {:>8} {:>8.2}",
            "policy, handle and audit together",
            "budget",
            budget.records,
            budget.us
        );
    }
    out
}

fn aims(aims: &[Aim]) -> String {
    let mut out = String::new();
    if aims.is_empty() {
        return out;
    }
    line!(out, "\n{:<72} {:<14} {:>8}", "aim", "", "seen");
    for aim in aims {
        let met = if aim.met { "met" } else { "not met" };
        line!(out, "{:<72} {:<14} {:>8.2}  {met}", aim.what, aim.bound, aim.seen);
    }
    out
}
