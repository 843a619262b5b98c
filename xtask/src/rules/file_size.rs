//! No Rust file grows past the point where a second thing hides in it.

use crate::workspace::{Finding, Workspace};

/// The most lines a Rust file may have, tests included: tests that outgrow their code
/// move to a sibling file.
const LINES_MAX: usize = 600;

/// A file that may be longer, with the reason.
struct Exception {
    path: &'static str,
    lines_max: usize,
    reason: &'static str,
}

/// Every exception there is.
const EXCEPTIONS: &[Exception] = &[];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    check_with(workspace, EXCEPTIONS)
}

fn check_with(workspace: &Workspace, exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust_files() {
        let exception = exceptions.iter().find(|exception| exception.path == file.path);
        let limit = exception.map_or(LINES_MAX, |exception| exception.lines_max);
        let lines = file.text.lines().count();
        if lines > limit {
            let advice = format!(
                "{lines} lines, over {limit}: find the second thing in here and give it a file"
            );
            findings.push(Finding::new((&file.path, limit + 1), advice));
        }
    }
    findings.extend(exceptions.iter().filter(|it| is_stale(workspace, it)).map(stale));
    findings
}

fn is_stale(workspace: &Workspace, exception: &Exception) -> bool {
    let file = workspace.file(exception.path);
    file.is_none_or(|file| file.text.lines().count() <= LINES_MAX)
}

fn stale(exception: &Exception) -> Finding {
    let Exception { path, reason, .. } = exception;
    Finding::new(
        (path, 1),
        format!("no longer needs its exception ({reason}): remove it from xtask"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    const TABLE: Exception = Exception { path: "table.rs", lines_max: 610, reason: "one table" };

    #[test]
    fn the_limit_itself_passes_and_one_line_more_fails() {
        let (full, over) = ("x\n".repeat(LINES_MAX), "x\n".repeat(LINES_MAX + 1));
        let workspace = files([("a.rs", &full), ("b.rs", &over), ("c.md", &over)]);
        assert_eq!(places(&check_with(&workspace, &[])), ["b.rs:601"]);
    }

    #[test]
    fn an_exception_has_a_limit_of_its_own() {
        let within = files([("table.rs", &"x\n".repeat(610))]);
        assert_eq!(check_with(&within, &[TABLE]), []);
        let over = files([("table.rs", &"x\n".repeat(611))]);
        assert_eq!(places(&check_with(&over, &[TABLE])), ["table.rs:611"]);
    }

    #[test]
    fn an_exception_that_nothing_needs_is_a_finding() {
        let findings = check_with(&files([("table.rs", "x\n")]), &[TABLE]);
        assert!(findings[0].advice.contains("one table"));
        assert_eq!(check_with(&files([]), &[TABLE]).len(), 1);
    }
}
