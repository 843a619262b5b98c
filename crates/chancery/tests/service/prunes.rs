//! Archived segments are taken out of the data directory where that was declared, and nowhere else; what asks for them is
//! told where they are; everything else goes on, over starts too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_api::http::replies::{AnswerObject, RecordObject};
use chancery_audit::verify::{Report, verify};
use chancery_client::KeyHandle;
use chancery_core::command::{AuditQuery, Command, PruneAudit};
use chancery_core::record_group::{RecordGroup, RecordGroups};

use super::people::query;
use crate::harness::{
    Options, Service, ask, committed, eventually, fresh, key_and_handle, sign, text,
};

/// As short as a segment may be.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// A service whose log has closed segments in an archive, all of them dense.
struct Scene {
    service: Service,
    handle: KeyHandle,
}

impl Scene {
    fn keeping(retention: &[&str]) -> Self {
        let more = retention.iter().map(|&part| part.to_owned()).collect();
        let options = Options { segment_bytes: Some(SEGMENT_BYTES), more, ..Options::default() };
        let service = Service::start_with(options);
        let (_, handle) = key_and_handle(&service.client(), "k", "sign.bound:x", "ed25519");
        let scene = Self { service, handle };
        scene.write_more();
        fs::copy(scene.service.data().join("log/policy"), scene.path("policy")).unwrap();
        fs::copy(scene.service.data().join("log/checkpoint"), scene.path("checkpoint")).unwrap();
        scene.service.done(&["audit", "archive", "--to", &scene.archive(), "--data", "d"]);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.service.path(name)
    }

    fn archive(&self) -> String {
        format!("file:{}", self.path("archive").display())
    }

    fn write_more(&self) {
        let client = self.service.client();
        for _ in 0..50 {
            committed(sign(&client, &self.handle, b"m", fresh()));
        }
        eventually("closed segments are dense", || self.files(".seg").len() == 1);
    }

    /// The files of the log with this ending.
    fn files(&self, ending: &str) -> Vec<String> {
        let names = fs::read_dir(self.service.data().join("audit")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(ending)).collect()
    }

    fn prune(&self, older_than: &str, more: &[&str]) -> (bool, String) {
        let (archive, policy) = (self.archive(), self.path("policy"));
        let policy = policy.to_str().unwrap();
        let named = ["audit", "prune", "--archive", &archive, "--policy", policy];
        let output = self.service.cli(&[&named[..], &["--older-than", older_than], more].concat());
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    /// Prunes what is archived, as soon as it is old enough.
    fn pruned(&self) -> Report {
        let before = self.report().pruned;
        let mut said = String::new();
        eventually("what is archived is old enough", || {
            let (is_done, now) = self.prune("1s", &[]);
            said = now;
            is_done
        });
        assert!(said.contains("segments pruned"), "{said}");
        eventually("segments are gone", || self.report().pruned > before);
        self.report()
    }

    fn report(&self) -> Report {
        verify(&self.service.data(), || std::thread::sleep(Duration::from_millis(50))).unwrap()
    }

    fn all(&self) -> Vec<RecordObject> {
        query(&self.service.client(), AuditQuery { limit: 1_000, ..AuditQuery::default() })
    }

    fn refusal(&self, command: &Command) -> String {
        match ask(&self.service.client(), command).committed() {
            Err(error) => error.to_string(),
            Ok(answer) => panic!("not refused: {answer:?}"),
        }
    }
}

fn open(index: u64) -> Command {
    let groups = RecordGroups::of(&[RecordGroup::Operation]).unwrap();
    Command::OpenRecord { index, groups }
}

/// An export that would begin with what is gone is told so, and one behind it goes on.
fn check_export(scene: &Scene, first: u64, told: &str) {
    let export = ["audit", "export", "--to", "stdout", "--once", "--cursor", "c"];
    let output = scene.service.cli(&export);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let status = scene.service.done(&["status", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let origin = status["origin"].as_str().unwrap();
    let cursor = format!("chancery-export-cursor 1\norigin {origin}\nnext {first}\n");
    let sum = crc32c::crc32c(cursor.as_bytes());
    fs::write(scene.path("c"), format!("{cursor}crc32c {sum:08x}\n")).unwrap();
    let shown = scene.all().len();
    let exported = scene.service.done(&export);
    assert_eq!(exported.lines().count(), shown);
}

#[test]
fn what_is_archived_and_old_is_pruned_and_whoever_asks_is_told_where_it_is() {
    let mut scene = Scene::keeping(&["--retention", "1s"]);
    let before = scene.report();
    let report = scene.pruned();
    let first = report.pruned.unwrap();
    assert!(first > 20 && report.size > before.size, "{report:?}");
    // The command is on record, and what is there is shown.
    let all = scene.all();
    assert!(all.iter().any(|record| record.operation == "prune-audit"));
    assert!(all.iter().all(|record| record.log_index >= first));
    // What is gone is denied, not left out.
    let told = format!("records below {first} were pruned on 2");
    let archived = scene.archive();
    let back = |query: AuditQuery| Command::QueryAudit(AuditQuery { limit: 10, ..query });
    for command in [
        open(1),
        back(AuditQuery { after: Some(0), ..AuditQuery::default() }),
        back(AuditQuery { before: Some(first), ..AuditQuery::default() }),
        back(AuditQuery { since_ms: Some(1), ..AuditQuery::default() }),
    ] {
        let said = scene.refusal(&command);
        assert!(said.contains(&told) && said.contains(&archived), "{command:?}: {said}");
    }
    let status = scene.service.done(&["status"]);
    assert!(status.contains(&told), "{status}");
    check_export(&scene, first, &told);
    let AnswerObject::Opening(_) = committed(ask(&scene.service.client(), &open(first))).answer
    else {
        panic!("a record that is there is not opened")
    };
    // Proofs hold: an earlier checkpoint is continued, by hashes that stay.
    let (checkpoint, out) = (scene.path("checkpoint"), scene.path("consistent"));
    let (checkpoint, out) = (checkpoint.to_str().unwrap(), out.to_str().unwrap());
    scene.service.done(&["audit", "prove-consistent", checkpoint, "--out", out]);
    let policy = scene.path("policy");
    scene.service.done(&["audit", "verify-proof", out, "--policy", policy.to_str().unwrap()]);
    // What was used once is not used again, and goes on being counted, over starts too: also without the resume file,
    // and without the index.
    for lost in [&[][..], &["audit/resume"], &["audit/resume", "index"]] {
        scene.service.stop();
        for file in lost {
            remove(&scene.service.data().join(file));
        }
        scene.service.restart();
        scene.write_more();
        assert_eq!(scene.report().pruned, Some(first));
        assert!(scene.all().len() > all.len());
    }
    // An archive that was not there then cannot begin in the middle.
    let other = format!("file:{}", scene.path("other").display());
    let output = scene.service.cli(&["audit", "archive", "--to", &other, "--data", "d"]);
    assert!(text(&output.stderr).contains("does not have them"), "{}", text(&output.stderr));
    // It goes on: more is archived, and more is pruned, and less is not.
    scene.service.done(&["audit", "archive", "--to", &archived, "--data", "d"]);
    assert!(scene.pruned().pruned.unwrap() > first);
    let (is_done, said) = scene.prune("1s", &["--format", "json"]);
    assert!(is_done && serde_json::from_str::<serde_json::Value>(&said).is_ok(), "{said}");
    let again = Command::PruneAudit(PruneAudit {
        segments: 1,
        entry: [0; 32],
        location: "file:elsewhere".into(),
    });
    committed(ask(&scene.service.client(), &again));
    assert!(scene.service.done(&["status"]).contains(&archived));
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

/// Without any resume file nothing here says what the pruned frames said: no key is used until they are back.
#[test]
fn what_was_pruned_comes_back_from_the_archive() {
    let mut scene = Scene::keeping(&["--retention", "1s"]);
    scene.pruned();
    scene.service.stop();
    let audit = scene.service.data().join("audit");
    for file in ["resume", "resume.base"] {
        fs::remove_file(audit.join(file)).unwrap();
    }
    scene.service.launch();
    assert!(!scene.service.wait_for_end().success());
    assert!(scene.service.log().contains("chancery audit restore"), "{}", scene.service.log());
    let policy = scene.path("policy");
    let policy = policy.to_str().unwrap();
    let archive = scene.archive();
    let restore = ["audit", "restore", "--from", &archive, "--policy", policy, "--data", "d"];
    scene.service.done(&restore);
    fs::remove_file(audit.join("pruned")).unwrap();
    scene.service.launch();
    scene.service.wait_until_up();
    assert_eq!(scene.report().pruned, None);
    assert_eq!(scene.all().first().map(|record| record.log_index), Some(0));
    committed(sign(&scene.service.client(), &scene.handle, b"m", fresh()));
}

#[test]
fn nothing_is_pruned_that_is_to_be_kept() {
    // Nothing was declared.
    let scene = Scene::keeping(&[]);
    std::thread::sleep(Duration::from_millis(1_100));
    let (is_done, said) = scene.prune("1s", &[]);
    assert!(!is_done && said.contains("--retention"), "{said}");
    drop(scene);
    let scene = Scene::keeping(&["--retention", "1d"]);
    let dense = scene.files(".dense");
    std::thread::sleep(Duration::from_millis(1_100));
    // The client names what the service still keeps.
    let (is_done, said) = scene.prune("1s", &[]);
    assert!(!is_done && said.contains("younger than what is kept"), "{said}");
    // Nothing is as old as that.
    let (is_done, said) = scene.prune("1d", &[]);
    assert!(!is_done && said.contains("old enough"), "{said}");
    // An export has sent one page of ten.
    let cursor = scene.path("cursor");
    let cursor = cursor.to_str().unwrap();
    let events = format!("file:{}", scene.path("events").display());
    scene.service.done(&["audit", "export", "--to", &events, "--cursor", cursor, "--once"]);
    let (is_done, said) = scene.prune("1s", &["--cursor", cursor]);
    assert!(!is_done && said.contains("younger than what is kept"), "{said}");
    let text_of = fs::read_to_string(cursor).unwrap();
    fs::remove_file(cursor).unwrap();
    let (is_done, said) = scene.prune("1s", &["--cursor", cursor]);
    assert!(!is_done && said.contains("no cursor"), "{said}");
    drop(text_of);
    // An archive that lost a segment, or has another one, is found before anything is asked of the service.
    let segment = fs::read_dir(scene.path("archive")).unwrap().next().unwrap().unwrap().path();
    let segment = segment.join("segments/0000000000000000.dense");
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, b"another").unwrap();
    let (is_done, said) = scene.prune("1s", &[]);
    assert!(!is_done && said.contains("segment 0 in the archive is altered"), "{said}");
    fs::remove_file(&segment).unwrap();
    let (is_done, said) = scene.prune("1s", &[]);
    assert!(!is_done && said.contains("is missing in the archive"), "{said}");
    fs::write(&segment, whole).unwrap();
    assert_eq!(scene.files(".dense"), dense);
    assert!(
        !scene
            .all()
            .iter()
            .any(|record| record.operation == "prune-audit" && record.outcome == "committed")
    );
}

/// A note that the service did not sign hides nothing.
#[test]
fn a_beginning_that_somebody_else_took_away_is_missed() {
    let scene = Scene::keeping(&["--retention", "1s"]);
    scene.pruned();
    let audit = scene.service.data().join("audit");
    let note = fs::read_to_string(audit.join("pruned")).unwrap();
    scene.write_more();
    let next = scene.files(".dense").into_iter().min().unwrap();
    let number = u64::from_str_radix(next.trim_end_matches(".dense"), 16).unwrap();
    // One segment more than was pruned.
    let forged =
        note.replacen(&format!("segments {number}"), &format!("segments {}", number + 1), 1);
    assert_ne!(forged, note);
    fs::write(audit.join("pruned"), forged).unwrap();
    let output = scene.service.cli(&["audit", "verify", "--data", "d"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("`pruned` at offset 0"), "{}", text(&output.stderr));
    fs::write(audit.join("pruned"), &note).unwrap();
    let taken = fs::read(audit.join(&next)).unwrap();
    fs::remove_file(audit.join(&next)).unwrap();
    let output = scene.service.cli(&["audit", "verify", "--data", "d"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("is missing"), "{}", text(&output.stderr));
    fs::write(audit.join(&next), taken).unwrap();
    scene.report();
    fs::remove_file(audit.join("pruned")).unwrap();
    let output = scene.service.cli(&["audit", "verify", "--data", "d"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stdout));
    fs::write(audit.join("pruned"), note).unwrap();
    scene.report();
}
