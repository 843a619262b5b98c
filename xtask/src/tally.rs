//! Counting tests from what a test runner prints.
//!
//! The summary line of cargo-nextest is `Summary [ 1.234s] 12 tests run: 11 passed,
//! 1 failed, 0 skipped`; `cargo test` prints one `test result:` line for each binary.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// The program whose output is read.
///
/// The two are kept apart because cargo-nextest repeats what a failed test printed,
/// libtest's own result line included.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runner {
    Libtest,
    Nextest,
}

impl Runner {
    /// What one line of output counts; most lines count nothing.
    pub(crate) fn tally(self, line: &str) -> Option<Tally> {
        let counts = match self {
            Self::Libtest => line.strip_prefix("test result:")?.split_once(". ")?.1,
            Self::Nextest => line.trim_start().strip_prefix("Summary [")?.split_once("run:")?.1,
        };
        Some(Tally::of_counts(counts))
    }
}

impl Tally {
    /// Reads `11 passed (1 slow), 1 failed, 0 skipped`, or the same with semicolons.
    fn of_counts(counts: &str) -> Self {
        let mut tally = Self::default();
        // A parenthesis tells more of a count, and may hold commas of its own.
        for count in without_parentheses(counts).split([',', ';']) {
            let Some((number, what)) = count.trim().split_once(' ') else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            match what.trim() {
                "passed" => tally.passed += number,
                "failed" | "timed out" | "exec failed" => tally.failed += number,
                _ => {}
            }
        }
        tally
    }
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|c| match c {
            '(' => {
                depth += 1;
                false
            }
            ')' => {
                depth = depth.saturating_sub(1);
                false
            }
            _ => depth == 0,
        })
        .collect()
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(runner: Runner, line: &str, expected: Option<(u64, u64)>) {
        let expected = expected.map(|(passed, failed)| Tally { passed, failed });
        assert_eq!(runner.tally(line), expected, "{line}");
    }

    #[test]
    fn nextest_summaries_are_counted() {
        let check = |line, passed, failed| check(Runner::Nextest, line, Some((passed, failed)));
        check("     Summary [   0.005s] 3 tests run: 3 passed, 0 skipped", 3, 0);
        check("     Summary [   1.2s] 9 tests run: 7 passed (2 slow), 2 failed, 1 skipped", 7, 2);
        check("  Summary [  1s] 3/5 tests run: 1 passed, 1 failed, 1 timed out, 2 skipped", 1, 2);
        check("  Summary [  1s] 4 tests run: 3 passed (1 slow, 1 flaky), 1 exec failed", 3, 1);
    }

    #[test]
    fn libtest_results_are_counted() {
        let check = |line, passed, failed| check(Runner::Libtest, line, Some((passed, failed)));
        check("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", 5, 0);
        check("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured", 4, 2);
    }

    #[test]
    fn other_lines_count_nothing() {
        check(Runner::Nextest, "        PASS [   0.005s] xtask tally::tests::x", None);
        check(Runner::Nextest, "test result: FAILED. 0 passed; 1 failed; 0 ignored", None);
        check(Runner::Libtest, "12 passed, 3 failed", None);
    }

    #[test]
    fn a_tally_is_printed_as_one_plain_line() {
        assert_eq!(Tally { passed: 12, failed: 0 }.to_string(), "12 passed, 0 failed");
    }
}
