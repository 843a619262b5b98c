//! A real process, killed at random moments.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Dir, name, open, put};
use crate::contract::Store;
use crate::embedded::{Embedded, OpenError, OpenMode};
use crate::transaction::Transaction;

/// Names the store file, and makes this test the child.
const CHILD: &str = "CHANCERY_STORE_TEST_KILL";

const ROUNDS: u64 = 20;

/// A child that has not committed by then is stuck.
const ROUND_MAX: Duration = Duration::from_secs(30);

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    if let Ok(path) = std::env::var(CHILD) {
        commit_until_killed(Path::new(&path));
        return;
    }
    let dir = Dir::new();
    open(&dir.file(), OpenMode::Create).commit(count_to(1)).unwrap();
    let mut last = 1;
    for round in 0..ROUNDS {
        // From at once, while the child still opens and repairs, to some commits later.
        let acknowledged = kill_after(&dir.file(), (round * 7) % 23).unwrap_or(last);
        let store = open(&dir.file(), OpenMode::ReadWrite);
        last = store.revision().unwrap().get();
        assert!((acknowledged..=acknowledged + 1).contains(&last), "{acknowledged}, found {last}");
        assert_counted(&store, last);
    }
    assert!(last > ROUNDS, "the children committed {last} times in all");
}

/// The number in two rows, and in one of seven rows in turn.
fn count_to(count: u64) -> Transaction {
    put("count", &count.to_string()).put(name("twin"), count.to_string().into_bytes()).put(
        name(&format!("turn {}", count % 7)),
        vec![b'.'; usize::try_from(count % 5000).unwrap()],
    )
}

fn assert_counted(store: &dyn Store, count: u64) {
    for name in [name("count"), name("twin"), name(&format!("turn {}", count % 7))] {
        assert_eq!(store.get(&name).unwrap().unwrap().revision.get(), count);
    }
    assert_eq!(store.get(&name("twin")).unwrap().unwrap().value, count.to_string().into_bytes());
    for earlier in count.saturating_sub(6).max(1)..=count {
        let row = store.get(&name(&format!("turn {}", earlier % 7))).unwrap().unwrap();
        assert_eq!((row.revision.get(), row.value.len() as u64), (earlier, earlier % 5000));
    }
    assert!(crate::check(store).unwrap().is_sound());
}

fn commit_until_killed(path: &Path) {
    let store = open(path, OpenMode::ReadWrite);
    let mut out = std::io::stdout();
    loop {
        let next = store.revision().unwrap().get() + 1;
        let revision = store.commit(count_to(next)).unwrap();
        writeln!(out, "committed {revision}").unwrap();
        out.flush().unwrap();
    }
}

/// Starts a child, kills it after that many commits, and says what it last acknowledged.
#[expect(clippy::disallowed_methods, reason = "a real process is waited for and killed")]
fn kill_after(path: &Path, commits: u64) -> Option<u64> {
    let mut child = start(path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = Instant::now();
    let mut acknowledged = None;
    for _ in 0..commits {
        acknowledged = next_revision(&mut lines);
        assert!(acknowledged.is_some() && started.elapsed() < ROUND_MAX, "the child is stuck");
    }
    if commits > 0 {
        assert!(matches!(Embedded::open(path, OpenMode::ReadWrite), Err(OpenError::Locked)));
        assert!(matches!(Embedded::open(path, OpenMode::ReadOnly), Err(OpenError::Locked)));
    }
    // Somewhere within the commits that follow.
    std::thread::sleep(Duration::from_micros(commits * 613 % 5000));
    child.kill().unwrap();
    child.wait().unwrap();
    while let Some(revision) = next_revision(&mut lines) {
        acknowledged = Some(revision);
    }
    acknowledged
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("embedded::tests::kill::a_killed_process_loses_nothing_acknowledged")
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The next revision that the child printed among the lines of the test runner.
fn next_revision(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<u64> {
    lines.find_map(|line| line.ok()?.rsplit_once("committed ")?.1.parse().ok())
}
