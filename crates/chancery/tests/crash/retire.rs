//! Power is lost at each call of a recorded retirement, and what may be left is looked at.
//!
//! Either the old log is still the log, the service does not start on it, and the command can be given again; or the
//! retirement was begun, the service does not start, and the command finishes it; or another log stands with its record of
//! the gap. There is no state in which the service starts under the old one, and once the command has said that it is done,
//! it is. That a missing sync would be noticed is shown by leaving it out.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_api::http::replies::AnswerObject;
use chancery_audit::verify::verify;
use chancery_client::{Client, KeyHandle, Outcome, Refusal};
use chancery_core::command::Command as Asked;
use chancery_core::id::OperationId;

use super::journal::Findings;
use super::points::sample;
use super::scene::{options, runs_all};
use super::supervisor::comes_up;
use super::traced::{Tracing, settled, trace_path};
use super::tree::{Call, Loss, Tree, calls};
use crate::harness::{
    Service, ask, binary, committed, copy, fresh, handle_of, key_and_handle, name, new_handle,
    sign, text,
};

/// So many points are tried, unless all are.
const POINTS_MAX: usize = 24;

/// States judged at once: one starts while another is asked.
const RUNNERS: usize = 2;

/// How far ahead of ours a caller's clock may be, less a part of the time that a start takes, in milliseconds: an id that is
/// dated so is none that the retired log can have taken.
const AHEAD_MS: u64 = 59_900;

/// A service whose data directory was taken back, and the retirement of its log.
struct Recording {
    template: Service,
    handle: KeyHandle,
    /// What was signed under that id is lost.
    lost: OperationId,
    /// How many records are remembered of the log.
    size: String,
    /// Its name, and how many records are here.
    old: (String, u64),
    start: Tree,
    calls: Vec<Call>,
}

/// What may be left at a point.
struct State {
    tree: Tree,
    point: usize,
    loss: Loss,
}

impl Recording {
    fn new() -> Self {
        let mut template = Service::start_with(options());
        let (_, handle) = key_and_handle(&template.client(), "k", "sign.bound:x", "ed25519");
        committed(sign(&template.client(), &handle, b"kept", fresh()));
        template.stop();
        let (before, data) = (template.path("before"), template.data());
        copy(&data, &before);
        template.restart();
        let lost = fresh();
        committed(sign(&template.client(), &handle, b"lost", lost));
        template.stop();
        fs::remove_dir_all(&data).unwrap();
        copy(&before, &data);
        let verified = verify(&data, || ()).unwrap();
        let record = fs::read_to_string(template.lock_record().unwrap()).unwrap();
        let size = record.lines().nth(1).unwrap().to_owned();
        let (start, calls) = traced(&template, &size);
        let old = (verified.origin.name(), verified.size);
        Self { template, handle, lost, size, old, start, calls }
    }

    /// The same retirement without some of its syncs.
    fn without(mut self, is_left_out: impl Fn(&Path) -> bool) -> Self {
        let before = self.calls.len();
        self.calls.retain(|call| !matches!(call, Call::Sync { path } if is_left_out(path)));
        assert!(self.calls.len() < before, "nothing was left out");
        self
    }

    /// What may be left at these points: all lost, nothing lost, and something in between.
    fn states(&self, points: &[usize]) -> Vec<State> {
        let (mut tree, mut states) = (self.start.clone(), Vec::new());
        for (point, call) in self.calls.iter().enumerate() {
            tree.apply(call);
            if points.contains(&point) {
                let torn = Loss::Torn(u64::try_from(point).unwrap() + 1);
                let losses = [Loss::All, Loss::Nothing, torn];
                states.extend(losses.map(|loss| State { tree: tree.clone(), point, loss }));
            }
        }
        states
    }

    /// Starts the service on what is left, retires the log if it does not start, and says what is wrong, if anything.
    fn judge(&self, state: &State) -> Findings {
        let mut service = Service::copy_of(&self.template);
        fs::remove_dir_all(service.data()).unwrap();
        state.tree.lay_out(state.loss, &service.data());
        let is_begun = service.data().join("retiring").exists();
        service.launch();
        if comes_up(&mut service) {
            service.stop();
            let too_early = is_begun.then(|| "it starts while a retirement is not finished".into());
            return too_early.into_iter().chain(self.judge_retired(service)).collect();
        }
        service.wait_for_end();
        let (said, why) = (service.log(), refusal(is_begun));
        if !said.contains(why) {
            return vec![format!("it does not start, and not because `{why}`: {said}")];
        }
        if state.point + 1 == self.calls.len() {
            return vec!["the retirement was reported done, and is not".into()];
        }
        let confirmed = ["--yes", &self.size];
        let done = retire(&service, if is_begun { &[] } else { &confirmed });
        if !done.status.success() {
            return vec![format!("it cannot be done again: {}", text(&done.stderr))];
        }
        self.judge_retired(service)
    }

    /// The old log is whole, aside; the new one follows it, has the record of the gap once, and nothing from before counts.
    fn judge_retired(&self, mut service: Service) -> Findings {
        let retired = fs::read_dir(service.data().join("retired")).unwrap();
        let retired: Vec<_> = retired.map(|entry| entry.unwrap().path()).collect();
        let [kept] = retired.as_slice() else { return vec![format!("not one log: {retired:?}")] };
        let still = match verify(kept, || ()) {
            Ok(still) => (still.origin.name(), still.size),
            Err(error) => return vec![format!("the retired log does not hold: {error}")],
        };
        service.launch();
        if !comes_up(&mut service) {
            return vec![format!("it does not start behind the gap: {}", service.log())];
        }
        let mut findings = self.judge_running(&service);
        service.stop();
        findings.extend((still != self.old).then(|| format!("the retired log is {still:?}")));
        match verify(&service.data(), || ()) {
            Ok(new) => {
                let follows = new.follows.map(|gap| gap.origin);
                let is_new =
                    new.origin.name() != self.old.0 && follows.as_ref() == Some(&self.old.0);
                findings.extend((!is_new).then(|| format!("it follows {follows:?}")));
            }
            Err(error) => findings.push(format!("the new log does not hold: {error}")),
        }
        findings
    }

    fn judge_running(&self, service: &Service) -> Findings {
        let client = service.client();
        let query = ["audit", "query", "--action", "retire-origin", "--format", "json"];
        let records: serde_json::Value = serde_json::from_str(&service.done(&query)).unwrap();
        let records = records.as_array().unwrap().len();
        let before = sign(&client, &self.handle, b"m", ahead());
        let after = sign(&client, &reissued(&client), b"m", ahead());
        let lost = sign(&client, &reissued(&client), b"lost", self.lost);
        let checks = [
            (records != 1, format!("{records} records of the gap")),
            (code(&before) != "handle-expired", format!("a handle from before: {before:?}")),
            (code(&after) != "committed", format!("a new handle: {after:?}")),
            (code(&lost) != "operation-id-stale", format!("what is lost: {lost:?}")),
        ];
        checks.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, what)| what).collect()
    }

    /// The findings when all that may be lost is, right after the command has said that it is done.
    fn at_the_end(&self) -> Findings {
        self.judge(&self.states(&[self.calls.len() - 1])[0])
    }
}

/// What a service says that does not start.
fn refusal(is_begun: bool) -> &'static str {
    if is_begun { "a retirement of the log was begun" } else { "it was taken back" }
}

fn code<T>(outcome: &Outcome<T>) -> String {
    match outcome {
        Outcome::Committed(_) => "committed".into(),
        Outcome::Refused(Refusal { code, .. }) => code.to_string(),
        Outcome::Unknown { .. } => "unknown".into(),
    }
}

/// The retirement of a copy of this service: what it began with, and every call of it on the data directory.
fn traced(template: &Service, size: &str) -> (Tree, Vec<Call>) {
    let service = Service::copy_of(template);
    let start = Tree::of(&service.data());
    let tracing = Tracing::Whole.command(&service);
    let (program, options) = tracing.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(options).arg(binary().get_program());
    command.arg("--context-file").arg(service.data().join("admin.toml"));
    command.args(arguments(&service, &["--yes", size])).current_dir(service.directory());
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let calls = calls(&settled(&trace_path(&service)), &service.data());
    (start, calls)
}

fn arguments(service: &Service, more: &[&str]) -> Vec<String> {
    let root_key = service.path("root.key");
    let base = ["audit", "retire", "--data", "d", "--reason", "lost", "--root-key"];
    let all = base.iter().copied().chain([root_key.to_str().unwrap()]).chain(more.iter().copied());
    all.map(str::to_owned).collect()
}

fn retire(service: &Service, more: &[&str]) -> Output {
    let arguments = arguments(service, more);
    service.cli(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// An operation id of a caller whose clock is ahead.
fn ahead() -> OperationId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let entropy = *fresh().as_bytes().last_chunk().unwrap();
    OperationId::v7(u64::try_from(now).unwrap() + AHEAD_MS, entropy)
}

fn reissued(client: &Client) -> KeyHandle {
    let shown = committed(ask(client, &Asked::ShowKey { key: name("k") })).answer;
    let AnswerObject::Key(key) = shown else { panic!("no key but {shown:?}") };
    let issue = Asked::IssueHandle(new_handle(&key));
    handle_of(committed(client.command(&issue, ahead())))
}

#[test]
fn a_retirement_that_loses_power_at_any_call_leaves_one_log_and_never_two() {
    let recording = Recording::new();
    let count = recording.calls.len();
    let most = if runs_all() { usize::MAX } else { POINTS_MAX };
    let mut points = sample((0..count).collect(), most);
    points.push(count - 1);
    let states = recording.states(&points);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let runner = || {
            while let Some(state) = states.get(next.fetch_add(1, Ordering::SeqCst)) {
                let (point, loss) = (state.point, state.loss);
                let findings = recording.judge(state);
                let call = &recording.calls[point];
                assert_eq!(findings, Findings::new(), "{point}, {loss:?}, {call:.200?}");
            }
        };
        (0..RUNNERS).for_each(|_| drop(scope.spawn(runner)));
    });
    println!("{} states at {} points of {count}", states.len(), points.len());
}

#[test]
fn a_retirement_whose_names_are_not_synced_is_noticed() {
    let is_directory = |path: &Path| path.as_os_str().is_empty() || path.starts_with("retired");
    let findings = Recording::new().without(is_directory).at_the_end();
    assert!(!findings.is_empty());
}

#[test]
fn a_retirement_whose_store_is_not_synced_is_noticed() {
    let is_store = |path: &Path| path == Path::new("store.redb");
    let findings = Recording::new().without(is_store).at_the_end();
    assert!(!findings.is_empty());
}
