//! No file says on which machine it was written.
//!
//! Found are the checkout's own directory and any home directory. Paths that every
//! system has, such as those under `/etc` or `/var/lib`, are fine.

use crate::workspace::{Finding, Workspace};

// Split, so that this file does not find itself.
const HOMES: [&str; 3] = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let checkout = workspace.root.to_string_lossy();
    // A checkout at the top of the file system looks like any other absolute path.
    let checkout = (checkout.matches('/').count() > 1).then_some(checkout.as_ref());
    let paths: Vec<&str> = HOMES.into_iter().chain(checkout).collect();
    let mut findings = Vec::new();
    for file in &workspace.files {
        for (number, line) in file.lines() {
            if let Some(path) = paths.iter().find(|path| names_path(line, path)) {
                let advice = format!(
                    "`{path}` is a path of one machine: \
                     make it relative, or take it from the environment"
                );
                findings.push(Finding::new((&file.path, number), advice));
            }
        }
    }
    findings
}

/// Whether `line` holds `path` where a path begins, and not as the tail of another.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')');
        !before.is_some_and(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::{files, places};

    #[test]
    fn homes_and_the_checkout_are_found_and_other_paths_are_not() {
        let [home, _, root] = HOMES;
        let text = format!(
            "{home}ada/x\nsee `{root}.cargo`\n/builds/chancery/src\n\
             /etc/passwd\nGET /v1{root}key\n$DIR{root}key\n"
        );
        let mut workspace = files([("notes.md", &text)]);
        workspace.root = "/builds/chancery".into();
        assert_eq!(places(&check(&workspace)), ["notes.md:1", "notes.md:2", "notes.md:3"]);
    }

    #[test]
    fn a_checkout_at_the_top_is_not_searched_for() {
        let mut workspace = files([("notes.md", "POST /app/keys\n")]);
        workspace.root = "/app".into();
        assert_eq!(check(&workspace), []);
    }
}
