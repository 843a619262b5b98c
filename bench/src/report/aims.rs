//! The aims of the design, looked up in what was measured. An aim whose figures are missing is not listed.

use super::{Aim, Comparison, Report, ratio};
use crate::options::Name;
use crate::order::Form;

/// The aims that can be looked up in a report.
pub(super) fn of(report: &Report) -> Vec<Aim> {
    let mut aims = Vec::new();
    if let Some(comparison) = &report.comparison {
        aims.extend(of_comparison(comparison));
    }
    if let Some(isolation) = &report.isolation {
        aims.push(at_least(
            "quick callers beside slow ones: share of the quiet rate",
            0.4,
            isolation.rate_kept,
        ));
        aims.push(at_most(
            "quick callers beside slow ones: times the quiet p99",
            5.0,
            isolation.p99_times,
        ));
    }
    if let Some(ablation) = &report.ablation {
        let budget = ablation.budget.iter().map(|budget| {
            let what = format!(
                "policy, handle and audit with {} records in a frame: µs of user CPU",
                budget.records
            );
            at_most(&what, 12.0, budget.us)
        });
        aims.extend(budget);
    }
    aims
}

/// A quotient of two contenders under one load, and the least it should be.
struct Quotient {
    over: Name,
    form: Form,
    connections: usize,
    least: f64,
}

fn of_comparison(comparison: &Comparison) -> Vec<Aim> {
    let quotient = |over, form, connections, least| Quotient { over, form, connections, least };
    let quotients = [
        quotient(Name::Bare, Form::Single, 16, 0.6),
        quotient(Name::Bare, Form::Single, 64, 0.6),
        quotient(Name::BareSync, Form::Single, 1, 0.7),
        quotient(Name::Raw, Form::Batch, 1, 0.5),
        quotient(Name::Raw, Form::Batch, 16, 0.5),
        quotient(Name::Openbao, Form::Single, 16, 6.0),
        quotient(Name::OpenbaoDefault, Form::Single, 16, 12.0),
        quotient(Name::Openbao, Form::Batch, 16, 4.0),
        quotient(Name::OpenbaoDefault, Form::Batch, 16, 4.0),
    ];
    quotients.iter().filter_map(|quotient| aim(comparison, quotient)).collect()
}

fn aim(comparison: &Comparison, quotient: &Quotient) -> Option<Aim> {
    let Quotient { over, form, connections, least } = quotient;
    let under = |name: Name| {
        comparison.figures.iter().find(|figure| {
            let is_load = figure.form == form.text() && figure.connections == *connections;
            figure.contender == name.text() && (is_load || name == Name::Raw)
        })
    };
    let seen = ratio(under(Name::Chancery)?.per_cpu_second, under(*over)?.per_cpu_second);
    let what = format!("chancery over {}: {}, {connections} connections", over.text(), form.text());
    Some(at_least(&what, *least, seen))
}

fn at_least(what: &str, least: f64, seen: f64) -> Aim {
    Aim { what: what.into(), bound: format!("at least {least}"), seen, met: seen >= least }
}

fn at_most(what: &str, most: f64, seen: f64) -> Aim {
    Aim { what: what.into(), bound: format!("at most {most}"), seen, met: seen <= most }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figure;

    fn figure(contender: Name, form: &str, connections: usize, per_cpu_second: f64) -> Figure {
        Figure {
            contender: contender.text(),
            form: form.into(),
            connections,
            per_cpu_second,
            user_us: 0.0,
            system_us: 0.0,
            per_second: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
        }
    }

    fn aims(figures: Vec<Figure>) -> Vec<Aim> {
        of_comparison(&Comparison { seconds: 1.0, rounds: 1, figures, skipped: Vec::new() })
    }

    #[test]
    fn an_aim_compares_the_same_load() {
        let found = aims(vec![
            figure(Name::Bare, "single", 1, 1.0),
            figure(Name::Bare, "single", 16, 100.0),
            figure(Name::Chancery, "single", 16, 59.0),
        ]);
        assert_eq!(found.len(), 1);
        assert!((found[0].seen - 0.59).abs() < 1e-9 && !found[0].met);
    }

    #[test]
    fn batches_are_held_against_the_raw_loop() {
        let found = aims(vec![
            figure(Name::Raw, "loop", 0, 100.0),
            figure(Name::Chancery, "batch of 100", 16, 50.0),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].met && found[0].what.contains("raw loop"));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert_eq!(aims(vec![figure(Name::Chancery, "single", 16, 59.0)]), []);
    }
}
