//! Each assumption names its check.
//!
//! `docs/assumptions.md` has one row for each, `A1` and on without a gap. A row
//! names at least one item, test or file between backticks, and every name in it
//! must be found in the sources.

use super::evidence::{exists, names};
use crate::text::cells;
use crate::workspace::{Finding, Workspace};

const DOCUMENT: &str = "docs/assumptions.md";

/// The assumptions that the design itself rests on, `A1` to this.
const ASSUMPTIONS_MIN: usize = 8;

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Some(document) = workspace.file(DOCUMENT) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut count = 0;
    for (line, text) in document.lines() {
        let Some((number, rest)) = row(text) else { continue };
        count += 1;
        if number != count {
            findings.push(at(line, format!("A{number} stands where A{count} belongs")));
        }
        findings.extend(check_row(workspace, line, &rest));
    }
    if count < ASSUMPTIONS_MIN {
        findings.push(at(
            1,
            format!("{count} assumptions, but the design has A1 to A{ASSUMPTIONS_MIN}"),
        ));
    }
    findings
}

fn row(text: &str) -> Option<(usize, String)> {
    let cells = cells(text)?;
    let (number, rest) = cells.split_first()?;
    Some((number.strip_prefix('A')?.parse().ok()?, rest.join(" | ")))
}

fn check_row(workspace: &Workspace, line: usize, rest: &str) -> Vec<Finding> {
    let names = names(rest);
    if names.is_empty() {
        return vec![at(
            line,
            "names no check: name an item, test or file between backticks".into(),
        )];
    }
    let gone = names.into_iter().filter(|name| !exists(workspace, name));
    gone.map(|name| {
        at(line, format!("names `{name}`, which no source has: follow it or remove it"))
    })
    .collect()
}

fn at(line: usize, advice: String) -> Finding {
    Finding::new((DOCUMENT, line), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    fn check_rows(rows: &[&str]) -> Vec<Finding> {
        let source = "fn disk_honours_sync() {}\n";
        check(&files([("crates/a/src/lib.rs", source), (DOCUMENT, &rows.join("\n"))]))
    }

    fn good() -> Vec<String> {
        let row = |number| format!("| A{number} | The disk | `disk_honours_sync` |");
        (1..=ASSUMPTIONS_MIN).map(row).collect()
    }

    #[test]
    fn a_list_without_gaps_whose_checks_exist_passes() {
        let rows = good();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        assert_eq!(check_rows(&rows), []);
    }

    #[test]
    fn a_gap_a_short_list_and_a_missing_check_fail() {
        let rows = good();
        let mut rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        rows[1] = "| A2 | The kernel | words alone |";
        rows[2] = "| A3 | Entropy | `no_such_check` |";
        assert_eq!(places(&check_rows(&rows)), ["docs/assumptions.md:2", "docs/assumptions.md:3"]);
        assert_eq!(places(&check_rows(&rows[..1])), ["docs/assumptions.md:1"]);
        rows.remove(3);
        assert!(check_rows(&rows).iter().any(|it| it.advice == "A5 stands where A4 belongs"));
    }
}
