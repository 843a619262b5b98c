//! The commands that README promises, as others run them.
//!
//! README marks a command with an HTML comment before a fenced block: `run` for the
//! one that starts the service, `test` for the one that checks everything. `.ci/run`
//! executes what stands under `test`; the tests below hold it to that.

use crate::workspace::{Finding, Workspace};

const DOCUMENT: &str = "README.md";

/// The command that starts the service, as the end-to-end tests start it.
const RUN: Promise =
    Promise { marker: "<!-- run -->", command: "cargo run --release --locked -- serve" };
/// The command that runs every check: this program.
const TEST: Promise = Promise { marker: "<!-- test -->", command: "cargo xtask ci" };

/// A command that README gives, and what marks its block.
struct Promise {
    marker: &'static str,
    command: &'static str,
}

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let text = workspace.file(DOCUMENT).map_or("", |file| file.text.as_str());
    let broken = [RUN, TEST].into_iter().filter(|promise| !is_kept(promise, text));
    broken
        .map(|Promise { marker, command }| {
            let advice = format!("give `{command}` in a fenced block right after `{marker}`");
            Finding::new(workspace.place(DOCUMENT, marker), advice)
        })
        .collect()
}

/// Whether the marked block is that command, whatever arguments follow.
fn is_kept(promise: &Promise, text: &str) -> bool {
    let rest = block_after(text, promise.marker).and_then(|it| it.strip_prefix(promise.command));
    rest.is_some_and(|rest| !rest.contains('\n') && (rest.is_empty() || rest.starts_with(' ')))
}

/// The fenced block that comes right after `marker`, without its fences.
fn block_after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(marker)?;
    let (_, rest) = rest.trim_start().strip_prefix("```")?.split_once('\n')?;
    let (block, _) = rest.split_once("\n```")?;
    Some(block)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::workspace::sample::{files, places};

    fn checkout() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    fn readme() -> String {
        std::fs::read_to_string(checkout().join(DOCUMENT)).unwrap()
    }

    #[test]
    fn a_block_is_found_right_after_its_own_marker() {
        let text = "```\nno\n```\n<!-- test -->\n\n```sh\nyes\nand more\n```\n```\nno\n```\n";
        assert_eq!(block_after(text, TEST.marker), Some("yes\nand more"));
        assert_eq!(block_after(text, RUN.marker), None);
        assert_eq!(block_after("<!-- run -->\nwords\n```\nx\n```\n", RUN.marker), None);
    }

    #[test]
    fn a_readme_without_its_commands_is_a_finding() {
        let other = "<!-- run -->\n```\ncargo run\n```\n<!-- test -->\n```\ncargo xtask ci\n```\n";
        assert_eq!(places(&check(&files([(DOCUMENT, other)]))), ["README.md:1"]);
        assert_eq!(check(&files([])).len(), 2);
    }

    #[test]
    fn our_readme_gives_both_commands() {
        assert_eq!(check(&files([(DOCUMENT, &readme())])), []);
    }

    #[test]
    fn the_ci_script_executes_the_test_command_of_our_readme() {
        let script = checkout().join(".ci/run");
        let output = Command::new("bash").arg(script).arg("--print").output().unwrap();
        assert!(output.status.success());
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(Some(printed.trim_end()), block_after(&readme(), TEST.marker));
    }
}
