//! A log of which others remember more than is here: it is retired, and another one begins in its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_audit::disk::DirectoryDisk;
use chancery_audit::gap::SignedGap;
use chancery_audit::journal::{Entry, Journal, JournalError};
use chancery_audit::recovery::read_origin;
use chancery_audit::verify::verify;
use chancery_audit::witnessed::seen_file;
use chancery_client::{Client, KeyHandle};
use chancery_core::cbor;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::OperationId;
use chancery_core::principal::Role;
use chancery_core::state::{KeyEvent, KeyState};
use chancery_signer::Step;

use super::lying_front::{request, signed_at};
use super::people::{Person, query};
use crate::harness::{
    Service, ask, committed, copy, fresh, handle_of, key_and_handle, name, new_handle, refused,
    sign, text,
};

/// How far ahead of ours a caller's clock may be, less a part of the time that a start takes: an id that is dated so is none
/// that the retired log can have taken.
const AHEAD_MS: u64 = 59_900;

/// A service whose data directory was taken back: the lock record remembers what came after.
struct Scene {
    service: Service,
    /// Of before.
    handle: KeyHandle,
    /// What was signed under that id is lost.
    lost: OperationId,
    /// The published checkpoint of after.
    checkpoint: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let mut service = Service::start();
        let (_, handle) =
            key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
        committed(sign(&service.client(), &handle, b"kept", fresh()));
        service.stop();
        let before = service.path("before");
        copy(&service.data(), &before);
        service.restart();
        let lost = fresh();
        committed(sign(&service.client(), &handle, b"lost", lost));
        service.stop();
        let checkpoint = fs::read(service.data().join("log/checkpoint")).unwrap();
        fs::remove_dir_all(service.data()).unwrap();
        copy(&before, &service.data());
        Self { service, handle, lost, checkpoint }
    }

    fn again(&self) -> Self {
        let service = Service::copy_of(&self.service);
        let handle = KeyHandle::parse(&self.handle.expose_text()).unwrap();
        Self { service, handle, lost: self.lost, checkpoint: self.checkpoint.clone() }
    }

    fn retire(&self, more: &[&str]) -> Output {
        retire(&self.service, more)
    }

    /// How many records the lock record remembers.
    fn remembered(&self) -> String {
        let record = fs::read_to_string(self.service.lock_record().unwrap()).unwrap();
        record.lines().nth(1).unwrap().to_owned()
    }

    /// Retires it, and gives the directory in which it is kept.
    fn retired(&self) -> PathBuf {
        let done = self.retire(&["--yes", &self.remembered()]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        self.kept()
    }

    fn kept(&self) -> PathBuf {
        let retired = fs::read_dir(self.service.data().join("retired")).unwrap();
        let all: Vec<_> = retired.map(|entry| entry.unwrap().path()).collect();
        let [one] = all.as_slice() else { panic!("not one log but {all:?}") };
        one.clone()
    }

    /// The service starts, and what was handed out before counts no more.
    fn goes_on(&mut self) {
        self.service.launch();
        self.service.wait_until_up();
        let client = self.service.client();
        assert_eq!(refused(sign(&client, &self.handle, b"m", ahead())), "handle-expired");
        let handle = reissued(&client);
        committed(sign(&client, &handle, b"m", ahead()));
        assert_eq!(refused(sign(&client, &handle, b"lost", self.lost)), "operation-id-stale");
        // Whether it was carried out nobody here can say, and nobody does.
        let read = Command::ReadOperation { id: self.lost };
        assert_eq!(refused(ask(&client, &read)), "operation-id-stale");
    }
}

fn retire(service: &Service, more: &[&str]) -> Output {
    let root_key = service.path("root.key");
    let root_key = root_key.to_str().unwrap();
    let base = ["audit", "retire", "--data", "d", "--root-key", root_key, "--reason", "lost"];
    service.cli(&[base.as_slice(), more].concat())
}

/// An operation id of a caller whose clock is ahead.
fn ahead() -> OperationId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let entropy = *fresh().as_bytes().last_chunk().unwrap();
    OperationId::v7(u64::try_from(now).unwrap() + AHEAD_MS, entropy)
}

fn shown(client: &Client) -> KeyObject {
    match committed(ask(client, &Command::ShowKey { key: name("invoices") })).answer {
        AnswerObject::Key(key) => key,
        other => panic!("no key but {other:?}"),
    }
}

fn reissued(client: &Client) -> KeyHandle {
    let issue = Command::IssueHandle(new_handle(&shown(client)));
    handle_of(committed(client.command(&issue, ahead())))
}

/// Every file below a directory, but for those of processes, and what is in it.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("run") {
            found.extend(contents(&path));
        } else if path.is_file() {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_log_that_is_lost_is_retired_and_another_one_begins() {
    let mut scene = Scene::new();
    scene.service.launch();
    assert_eq!(scene.service.wait_for_end().code(), Some(1));
    let log = scene.service.log();
    assert!(log.contains("it was taken back") && log.contains("chancery audit retire"), "{log}");

    let (before, remembered) = (contents(&scene.service.data()), scene.remembered());
    let shown = scene.retire(&[]);
    assert_eq!(shown.status.code(), Some(2));
    assert!(text(&shown.stdout).contains(&format!("{remembered} by lock-record: not here")));
    assert!(text(&shown.stderr).contains(&format!("--yes {remembered}")));
    let other = scene.retire(&["--yes", "1"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(contents(&scene.service.data()) == before, "nothing is changed before it is confirmed");

    let old = verify(&scene.service.data(), || ()).unwrap();
    let kept = scene.retired();
    let still = verify(&kept, || ()).unwrap();
    assert_eq!((still.origin.name(), still.size), (old.origin.name(), old.size));
    for (path, bytes) in &before {
        let path = path.strip_prefix(scene.service.data()).unwrap();
        if ["audit", "log", "index"].iter().any(|directory| path.starts_with(directory)) {
            assert!(fs::read(kept.join(path)).unwrap() == *bytes, "{}", path.display());
        }
    }

    scene.goes_on();
    let client = scene.service.client();
    let records = query(&client, AuditQuery { limit: 100, ..AuditQuery::default() });
    let retired = records.iter().find(|record| record.operation == "retire-origin").unwrap();
    assert_eq!((retired.outcome.as_str(), retired.code.as_str()), ("committed", "lost"));
    assert_eq!(retired.actor, Some(scene.service.profile().principal));
    let status = scene.service.done(&["status"]);
    let told = format!(
        "this log follows {}, which was retired (lost) with {} records here, of {remembered} remembered",
        old.origin.name(),
        old.size
    );
    assert!(status.contains(&told), "{status}");
    scene.service.stop();
    let new = verify(&scene.service.data(), || ()).unwrap();
    assert_ne!(new.origin, old.origin);
    assert_eq!(new.follows.unwrap().origin, old.origin.name());
    assert_eq!(scene.service.lock_record().into_iter().count(), 1);

    // Again a start, and again all that holds.
    scene.goes_on();
    assert!(scene.service.done(&["status"]).contains(&told));
}

#[test]
fn the_statement_is_published_by_the_log_behind_the_gap_and_is_what_its_records_hold() {
    let mut scene = Scene::new();
    let kept = scene.retired();
    scene.goes_on();
    let data = scene.service.data();
    let origin = read_origin(&DirectoryDisk::open(&data.join("audit")).unwrap()).unwrap();
    let published = fs::read(data.join("log/gap")).unwrap();
    let signed = SignedGap::parse_published(&published, &origin).unwrap();
    assert_eq!(fs::read(kept.join("gap")).unwrap(), signed.text().as_bytes());
    assert_eq!(signed.gap().operator, scene.service.profile().principal);
    assert_eq!(signed.gap().largest().size.to_string(), scene.remembered_of(signed.gap()));
    scene.service.stop();
    // What is gone of it is published again, and what is altered is found.
    for altered in [true, false] {
        if altered {
            let mut bytes = published.clone();
            bytes[60] ^= 1;
            fs::write(data.join("log/gap"), bytes).unwrap();
            assert!(verify(&data, || ()).is_err());
        } else {
            fs::remove_file(data.join("log/gap")).unwrap();
        }
        scene.service.restart();
        scene.service.stop();
        assert_eq!(fs::read(data.join("log/gap")).unwrap(), published);
        verify(&data, || ()).unwrap();
    }
}

impl Scene {
    /// How many records the lock record of a retired log remembers.
    fn remembered_of(&self, gap: &chancery_audit::gap::Gap) -> String {
        let record = self.service.path(&format!("{}.lock", gap.short_name()));
        fs::read_to_string(record).unwrap().lines().nth(1).unwrap().to_owned()
    }
}

#[test]
fn a_retirement_that_is_cut_short_behind_any_step_is_finished_by_doing_it_again() {
    let template = Scene::new();
    let size = template.remembered();
    for step in Step::ALL {
        let mut scene = template.again();
        let cut = scene.retire(&["--yes", &size, "--stop-behind", step.name()]);
        assert_eq!(cut.status.code(), None, "{}: {}", step.name(), text(&cut.stderr));
        scene.service.launch();
        assert_eq!(scene.service.wait_for_end().code(), Some(1), "{}", step.name());
        let log = scene.service.log();
        assert!(log.contains("a retirement of the log was begun"), "{}: {log}", step.name());
        let done = scene.retire(&[]);
        assert!(done.status.success(), "{}: {}", step.name(), text(&done.stderr));
        assert!(!scene.service.data().join("retiring").exists());
        verify(&scene.kept(), || ()).unwrap();
        scene.goes_on();
        let client = scene.service.client();
        let records = query(&client, AuditQuery { limit: 100, ..AuditQuery::default() });
        let retired = records.iter().filter(|record| record.operation == "retire-origin");
        assert_eq!(retired.count(), 1, "{}", step.name());
        scene.service.stop();
        verify(&scene.service.data(), || ()).unwrap();
    }
}

#[test]
fn only_an_operator_retires_a_log_of_which_something_is_lost_while_no_service_runs() {
    let mut service = Service::start();
    let developer = Person::new(&service, "developer", Role::Developer, 7);
    let runs = retire(&service, &["--yes", "1"]);
    assert_eq!(runs.status.code(), Some(1));
    assert!(text(&runs.stderr).contains("another `chancery serve` runs"), "{runs:?}");
    service.stop();
    let before = contents(&service.data());
    let whole = retire(&service, &[]);
    assert_eq!(whole.status.code(), Some(1));
    assert!(text(&whole.stderr).contains("--whole"), "{whole:?}");

    let shown = retire(&service, &["--whole"]);
    let (said, mark) = (text(&shown.stderr), "--yes ");
    let size = said.split(mark).nth(1).unwrap().lines().next().unwrap().to_owned();
    let profile = service.path("developer.toml");
    let text_of_operator = fs::read_to_string(service.data().join("admin.toml")).unwrap();
    let of_developer: String = text_of_operator
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("principal", _)) => format!("principal = \"{}\"\n", developer.id),
            Some(("signing_key", _)) => {
                use base64::Engine as _;
                let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
                format!("signing_key = \"{key}\"\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&profile, of_developer).unwrap();
    fs::set_permissions(&profile, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let root_key = service.path("root.key");
    let root_key = root_key.to_str().unwrap();
    let arguments = ["audit", "retire", "--data", "d", "--root-key", root_key, "--reason", "other"];
    let confirmed = [arguments.as_slice(), &["--whole", "--yes", &size]].concat();
    let refused = service.cli_with(&profile, &confirmed);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("no operator of this service"), "{refused:?}");
    let unknown =
        service.cli(&[&arguments[..6], &["--reason", "because", "--yes", &size]].concat());
    assert_eq!(unknown.status.code(), Some(2));
    assert!(contents(&service.data()) == before, "what is refused changes nothing");

    service.done(&confirmed);
    service.restart();
    assert!(service.done(&["status"]).contains("which was retired (other)"));
}

/// What becomes of the files of a data directory.
type Damage = fn(&Path);

#[test]
fn a_log_whose_files_are_lost_or_damaged_is_retired_up_to_where_it_holds() {
    let template = Scene::new();
    let lost: [(&str, Damage); 2] = [
        ("`audit`", |data| fs::remove_dir_all(data.join("audit")).unwrap()),
        ("at offset", |data| {
            let mut files = fs::read_dir(data.join("audit")).unwrap();
            let segment = files.find_map(|file| {
                let path = file.unwrap().path();
                path.extension().is_some_and(|name| name == "seg").then_some(path)
            });
            let segment = segment.unwrap();
            let mut bytes = fs::read(&segment).unwrap();
            bytes[4_096 + 200] ^= 1;
            fs::write(&segment, bytes).unwrap();
        }),
    ];
    for (finding, damage) in lost {
        let mut scene = template.again();
        damage(&scene.service.data());
        let shown = scene.retire(&[]);
        assert!(text(&shown.stdout).contains(finding), "{shown:?}");
        scene.retired();
        scene.goes_on();
    }
}

#[test]
fn a_log_that_went_on_elsewhere_is_retired() {
    let mut scene = Scene::new();
    let (record, kept) = (scene.service.lock_record().unwrap(), scene.service.path("kept"));
    fs::rename(&record, &kept).unwrap();
    scene.service.serve_with(vec!["--new-lock-record".into()]);
    scene.service.restart();
    for _ in 0..8 {
        committed(sign(&scene.service.client(), &scene.handle, b"other", fresh()));
    }
    scene.service.stop();
    scene.service.serve_with(Vec::new());
    fs::rename(&kept, &record).unwrap();
    let shown = scene.retire(&[]);
    let (said, remembered) = (text(&shown.stdout), scene.remembered());
    assert!(said.contains(&format!("{remembered} by lock-record: not here")), "{said}");
    // Its own checkpoint is larger than what others remember, and is here.
    let size =
        text(&shown.stderr).split("--yes ").nth(1).unwrap().lines().next().unwrap().to_owned();
    assert!(said.contains(&format!("{size} by checkpoint: here")), "{said}");
    let done = scene.retire(&["--yes", &size]);
    assert!(done.status.success(), "{done:?}");
    verify(&scene.kept(), || ()).unwrap();
    scene.goes_on();
}

#[test]
fn what_others_have_shown_is_remembered_without_a_lock_record() {
    let mut scene = Scene::new();
    let (size, answers) = (scene.remembered(), scene.service.data().join("witness/answers"));
    fs::create_dir_all(&answers).unwrap();
    fs::write(answers.join(seen_file(0)), &scene.checkpoint).unwrap();
    fs::remove_file(scene.service.lock_record().unwrap()).unwrap();
    let shown = text(&scene.retire(&[]).stdout);
    assert!(shown.contains(&format!("{size} by seen-0: not here")), "{shown}");
    let done = scene.retire(&["--yes", &size]);
    assert!(done.status.success(), "{done:?}");
    scene.goes_on();
}

/// The journal in a directory of reductions, as that of a log.
fn journal(directory: &Path, audit: &Path) -> Result<(Journal, Vec<Entry>), JournalError> {
    let log_id = read_origin(&DirectoryDisk::open(audit).unwrap()).unwrap().log_id;
    Journal::open(&DirectoryDisk::open(directory).unwrap(), log_id)
}

#[test]
fn a_reduction_that_waits_in_the_journal_takes_effect_behind_the_gap() {
    let mut scene = Scene::new();
    let (data, profile) = (scene.service.data(), scene.service.profile());
    let suspend =
        Command::ChangeVersion { key: name("invoices"), version: None, event: KeyEvent::Suspend };
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (signed, encoded) = (signed_at(&profile, &suspend, now_s), cbor::encode(&suspend));
    let alive_ms = now_s * 1_000;
    let entry = Entry { alive_ms, request: cbor::encode(&request(&encoded, &signed)) };
    let (mut waiting, _) = journal(&data.join("reductions"), &data.join("audit")).unwrap();
    waiting.append(&entry).unwrap();
    let kept = scene.retired();
    let (_, of_before) = journal(&kept.join("reductions"), &kept.join("audit")).unwrap();
    assert_eq!(of_before, [entry]);
    scene.service.launch();
    scene.service.wait_until_up();
    let client = scene.service.client();
    assert_eq!(shown(&client).versions[0].state, KeyState::Suspended);
    let (_, left) = journal(&data.join("reductions"), &data.join("audit")).unwrap();
    assert_eq!(left, []);
}
