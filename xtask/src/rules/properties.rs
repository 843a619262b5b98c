//! Each property of the service names what keeps it.
//!
//! `docs/properties.md` has one row for each, in order:
//! `| n | property | enforced by | runtime check | model | tests |`. A row names at
//! least one enforcing item and one test between backticks, says where the model
//! checks it, and every name in it must be found in the sources.

use super::evidence::{Name, exists, is_test, names};
use crate::text::cells;
use crate::workspace::{Finding, Workspace};

const DOCUMENT: &str = "docs/properties.md";

/// How many properties the service has.
const PROPERTIES: usize = 14;

/// One row of the table, its cells still as written.
struct Row<'a> {
    line: usize,
    number: usize,
    enforced: &'a str,
    check: &'a str,
    model: &'a str,
    tests: &'a str,
}

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Some(document) = workspace.file(DOCUMENT) else { return Vec::new() };
    let rows: Vec<Row<'_>> = document.lines().filter_map(|(line, text)| row(line, text)).collect();
    let mut findings: Vec<Finding> = rows.iter().flat_map(|it| check_row(workspace, it)).collect();
    for number in 1..=PROPERTIES {
        if rows.iter().filter(|row| row.number == number).count() != 1 {
            findings.push(at(1, format!("property {number} needs exactly one row of six cells")));
        }
    }
    findings
}

fn row(line: usize, text: &str) -> Option<Row<'_>> {
    let cells = cells(text)?;
    let [number, _, enforced, check, model, tests] = cells.as_slice() else { return None };
    let number = number.parse().ok()?;
    Some(Row { line, number, enforced, check, model, tests })
}

fn check_row(workspace: &Workspace, row: &Row<'_>) -> Vec<Finding> {
    let number = row.number;
    let mut findings = Vec::new();
    for (column, cell) in [("enforcing item", row.enforced), ("test", row.tests)] {
        if names(cell).is_empty() {
            findings.push(at(
                row.line,
                format!("property {number} names no {column}: name one between backticks"),
            ));
        }
    }
    for (column, cell) in [("runtime check", row.check), ("model", row.model)] {
        if !cell.contains(char::is_alphabetic) {
            findings.push(at(row.line, format!("property {number} says nothing of its {column}")));
        }
    }
    let items = [row.enforced, row.check, row.model].into_iter().flat_map(names);
    let gone = items.filter(|name| !exists(workspace, name));
    let tests_gone = names(row.tests).into_iter().filter(|name| !is_test(workspace, name));
    findings.extend(gone.chain(tests_gone).map(|name| missing(row, &name)));
    findings
}

fn missing(row: &Row<'_>, name: &Name<'_>) -> Finding {
    let number = row.number;
    at(
        row.line,
        format!("property {number} names `{name}`, which no source has: follow it or remove it"),
    )
}

fn at(line: usize, advice: String) -> Finding {
    Finding::new((DOCUMENT, line), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    const SOURCE: &str =
        "struct Sealed;\nfn release() {}\nfn it_holds() {}\nconst VIOLATIONS: u8 = 0;\n";
    const GOOD: &str = "| `audit::Sealed` | `VIOLATIONS` | model `Sealed` | `it_holds` |";

    /// The findings on a table whose first row ends in `row` and whose others are good.
    fn check_first(row: &str) -> Vec<Finding> {
        let others =
            (2..=PROPERTIES).map(|number| format!("| {number} | Other | {} \n", &GOOD[2..]));
        let table = format!(
            "| n | property |\n|---|---|\n| 1 | First {row}\n{}",
            others.collect::<String>()
        );
        check(&files([("crates/a/src/lib.rs", SOURCE), (DOCUMENT, &table)]))
    }

    #[test]
    fn a_table_whose_names_are_all_found_passes() {
        assert_eq!(check_first(GOOD), []);
    }

    #[test]
    fn a_property_without_item_test_check_or_model_fails() {
        for row in [
            "| words alone | `VIOLATIONS` | `Sealed` | `it_holds` |",
            "| `Sealed` | - | `Sealed` | `it_holds` |",
            "| `Sealed` | `VIOLATIONS` |  | `it_holds` |",
            "| `Sealed` | `VIOLATIONS` | `Sealed` | none yet |",
        ] {
            assert_eq!(places(&check_first(row)), ["docs/properties.md:3"], "{row}");
        }
    }

    #[test]
    fn a_name_that_no_source_has_fails() {
        let items = check_first("| `Unsealed` | `VIOLATIONS` | `Sealed` | `it_holds` |");
        assert!(items[0].advice.contains("`Unsealed`"));
        let tests = check_first("| `Sealed` | `VIOLATIONS` | `Sealed` | `Sealed` |");
        assert_eq!(places(&tests), ["docs/properties.md:3"]);
    }

    #[test]
    fn a_property_without_its_row_fails() {
        let findings = check_first("| `Sealed` |");
        assert_eq!(places(&findings), ["docs/properties.md:1"]);
    }
}
