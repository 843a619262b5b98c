//! The report of a drill: hypothesis, what was done and seen, evidence, verdict; for people and for programs.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::facts::{Expectation, Facts, OnRecord, taken_back};
use super::fault::Fault;

/// What a drill came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was supposed to happen happened.
    Holds,
    /// It did not.
    DoesNotHold(String),
    /// It could not be tried.
    NotTried(String),
}

impl Verdict {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::DoesNotHold(_) => "does not hold",
            Self::NotTried(_) => "could not be tried",
        }
    }

    /// Why it does not.
    pub(super) fn because(&self) -> &str {
        match self {
            Self::Holds => "",
            Self::DoesNotHold(why) | Self::NotTried(why) => why,
        }
    }
}

/// Everything that is reported.
pub(super) struct Report<'a> {
    pub(super) name: &'a str,
    pub(super) began: String,
    pub(super) fault: Fault,
    pub(super) expected: Fault,
    pub(super) rollout: Option<String>,
    pub(super) diary: Vec<(u64, String)>,
    pub(super) facts: Facts,
    pub(super) expectations: Vec<Expectation>,
    pub(super) evidence: Option<String>,
    pub(super) taken_down: Vec<String>,
    pub(super) verdict: Verdict,
}

impl Report<'_> {
    /// Writes `report.md` and `report.json` into a directory.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("`{}`", path.display()))
        };
        write("report.md", self.markdown())?;
        write("report.json", format!("{:#}\n", self.json()))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let counts = &self.facts.counts;
        json!({
            "drill": self.name,
            "began": self.began,
            "fault": self.fault.code(),
            "expected": self.expected.code(),
            "hypothesis": self.expected.hypothesis(),
            "verdict": self.verdict.code(),
            "because": self.verdict.because(),
            "rollout": self.rollout,
            "steps": self.diary.iter().map(|(ms, what)| json!({"after_ms": ms, "what": what})).collect::<Vec<_>>(),
            "expectations": self.expectations.iter().map(|it| json!({"what": it.what, "holds": self.is_so(it)})).collect::<Vec<_>>(),
            "evidence": self.evidence,
            "reasons_on_record": self.facts.on_record.as_ref().map(|shown| &shown.whys),
            "traffic": {
                "by_old": counts.by_old,
                "by_new": counts.by_new,
                "refused": counts.refused,
                "last_refusal": counts.code,
                "unanswered": counts.unanswered,
                "asked_again": counts.repeated,
                "last_asked_again_for": counts.repeated_for,
                "misjudged": counts.misjudged,
                "after_the_end": {
                    "signed": counts.after.signed,
                    "of_canary": counts.after.of_canary,
                    "by_new": counts.after.by_new,
                },
                "taken_back_after_ms": taken_back(counts).map(|took| took.as_millis().to_string()),
            },
            "taken_down": self.taken_down,
        })
    }

    /// Whether an expectation holds; nothing of a drill that could not be tried, in which no harm is no merit.
    const fn is_so(&self, expectation: &Expectation) -> Option<bool> {
        match self.verdict {
            Verdict::NotTried(_) => None,
            Verdict::Holds | Verdict::DoesNotHold(_) => Some(expectation.holds),
        }
    }

    fn markdown(&self) -> String {
        let parts = [self.head(), self.expected_lines(), self.step_lines(), self.evidence_lines()];
        let taken = self.taken_down.iter().map(|said| format!("- {said}"));
        let taken = ["## Taken down".to_owned(), String::new()].into_iter().chain(taken);
        let lines: Vec<String> = parts.into_iter().flatten().chain(taken).collect();
        lines.join("\n") + "\n"
    }

    fn head(&self) -> Vec<String> {
        let (fault, expected) = (self.fault.code(), self.expected.code());
        let mut lines = vec![
            format!("# Drill of a rotation: {fault}"),
            String::new(),
            format!("`{}`, begun {}. Fault: {fault}.", self.name, self.began),
            String::new(),
            "## Hypothesis".into(),
            String::new(),
            self.expected.hypothesis().into(),
            String::new(),
            "## Verdict".into(),
            String::new(),
            format!("The hypothesis {}.", verdict_text(&self.verdict)),
            String::new(),
        ];
        if expected != fault {
            let what = "this drill was to show that it can fail";
            lines.push(format!("The expectation is that of the fault `{expected}`: {what}."));
            lines.push(String::new());
        }
        lines
    }

    fn expected_lines(&self) -> Vec<String> {
        let word = |it| match self.is_so(it) {
            Some(true) => "holds",
            Some(false) => "**does not hold**",
            None => "not tried",
        };
        let rows = self.expectations.iter().map(|it| format!("| {} | {} |", it.what, word(it)));
        table("## What was expected", "expectation", rows.collect())
    }

    fn step_lines(&self) -> Vec<String> {
        let rows = self.diary.iter().map(|(ms, what)| {
            let what = what.replace('|', "\\|");
            format!("| {}.{:03} s | {what} |", ms / 1_000, ms % 1_000)
        });
        table("## Steps", "after", rows.collect())
    }

    fn evidence_lines(&self) -> Vec<String> {
        let counts = &self.facts.counts;
        let mut lines = vec![
            "## Evidence".to_owned(),
            String::new(),
            format!(
                "- {} signatures by the version there was, {} by the one that came in; {} requests refused, {} never answered, {} \
                 signatures misjudged by a verifier.",
                counts.by_old, counts.by_new, counts.refused, counts.unanswered, counts.misjudged
            ),
            format!(
                "- After the end {} signatures, {} of them for consumers of the canary, {} by the version that came in.",
                counts.after.signed, counts.after.of_canary, counts.after.by_new
            ),
        ];
        lines.extend(counts.repeated_for.as_ref().map(|told| {
            let repeated = counts.repeated;
            format!("- {repeated} requests had to be asked again, the last of them for: {told}.")
        }));
        lines.extend(taken_back(counts).map(|took| {
            let took = took.as_secs_f64();
            format!("- {took:.2} s from the first altered signature that was shown to the last by the new version.")
        }));
        lines.push(match (&self.evidence, &self.facts.on_record) {
            (Some(file), Some(OnRecord { whys, .. })) => format!(
                "- `{file}` verifies against `policy`: {} steps, taken for {}. Check it with `chancery rollout verify-evidence {file} \
                 --policy policy`.",
                whys.len(),
                whys.join(", ")
            ),
            _ => "- There is no evidence of its steps that verifies.".into(),
        });
        lines.push(String::new());
        lines
    }
}

fn table(title: &str, head: &str, rows: Vec<String>) -> Vec<String> {
    let begin = [title.to_owned(), String::new(), format!("| {head} | |"), "|---|---|".to_owned()];
    begin.into_iter().chain(rows).chain([String::new()]).collect()
}

fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Holds => "**holds**".to_owned(),
        other => format!("**{}**: {}", other.code(), other.because()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report<'static> {
        Report {
            name: "drill-20261201-abcdef",
            began: "2026-12-01T00:00:00Z".into(),
            fault: Fault::VerifyFailures,
            expected: Fault::None,
            rollout: None,
            diary: vec![(1_234, "it goes back".into())],
            facts: Facts::default(),
            expectations: vec![
                Expectation { what: "it went through to its end", holds: false },
                Expectation { what: "no request was refused", holds: true },
            ],
            evidence: None,
            taken_down: vec!["verifier removed".into()],
            verdict,
        }
    }

    #[test]
    fn a_report_says_what_was_expected_what_happened_and_what_that_comes_to() {
        let mut report = report(Verdict::DoesNotHold("it went through to its end".into()));
        report.facts.counts.repeated_for = Some("overloaded".into());
        let text = report.markdown();
        for part in [
            "goes through every stage",
            "**does not hold**: it went through to its end",
            "| no request was refused | holds |",
            "| 1.234 s | it goes back |",
            "was to show that it can fail",
            "had to be asked again, the last of them for: overloaded",
            "- verifier removed",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(report.json()["verdict"], "does not hold");
        assert_eq!(report.json()["expectations"][1]["holds"], true);
    }

    #[test]
    fn of_what_could_not_be_tried_nothing_is_said_to_hold() {
        let report = report(Verdict::NotTried("no answer came".into()));
        let text = report.markdown();
        assert!(text.contains("| no request was refused | not tried |"), "{text}");
        assert!(!text.contains("holds |"), "{text}");
        assert_eq!(report.json()["expectations"][1]["holds"], Value::Null);
    }
}
