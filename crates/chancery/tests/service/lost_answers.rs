//! Every command that changes or uses something loses its answer once, and is resolved by the same command
//! with the operation id that it printed: done once, whether the service had been asked or not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::json::all;
use super::middleman::{Lost, Middleman};
use crate::harness::{Service, binary, text};

/// A command line by itself, and how many exchanges it makes before the one that counts.
pub(super) type Row = (&'static str, usize);

/// In an order in which each is possible.
pub(super) const COMMANDS: &[Row] = &[
    ("key create invoices --purpose sign.bound:invoice --algorithm ecdsa-p256", 0),
    ("key create cards --purpose encrypt.aead:card --algorithm aes-256-gcm", 0),
    ("key create backups --purpose wrap.aead:backup --algorithm aes-256-gcm", 0),
    ("key create hooks --purpose mac.bound:hook --algorithm hmac-sha-256", 0),
    ("key create users --purpose derive.hkdf:user --algorithm hkdf-sha-256", 0),
    (
        "key import release --purpose sign.bound:release --algorithm ecdsa-p256 --pkcs8 release.p8",
        1,
    ),
    ("handle issue invoices --ttl 1h --out sign.h", 1),
    ("handle issue cards --operations encrypt,decrypt,rewrap --out cards.h", 0),
    ("handle issue backups --out backups.h", 1),
    ("handle issue hooks --out hooks.h", 1),
    ("handle issue users --out users.h", 1),
    ("sign --handle sign.h message --out m.sig --receipt m.receipt", 0),
    ("verify --handle sign.h message --signature m.sig", 0),
    ("encrypt --handle cards.h message --out m.enc", 0),
    ("decrypt --handle cards.h m.enc --out m.dec", 0),
    ("rewrap --handle cards.h m.enc --out m.enc2", 0),
    ("encrypt --handle backups.h message --out m.file", 0),
    ("decrypt --handle backups.h m.file --out m.again", 0),
    ("generate-data-key --handle backups.h --out data.key --wrapped data.wrapped", 0),
    ("unwrap --handle backups.h data.wrapped --out data.key2", 0),
    ("mac --handle hooks.h message --out m.mac", 0),
    ("verify-mac --handle hooks.h message --mac m.mac", 0),
    ("derive --handle users.h --length 32 --out user.key", 0),
    (
        "audit disclose --level case --record 0 --out lost.disclosure --recipient \
         0900000000000000000000000000000000000000000000000000000000000000",
        0,
    ),
    ("rotation set invoices --every 90d", 0),
    ("rotation never --all-of mac", 0),
    ("rotation unset invoices", 0),
    ("rotate release", 0),
    ("rollout pause release", 1),
    ("rollout resume release", 1),
    ("rollout override release quiet", 1),
    ("rollout rollback release", 1),
    ("handle revoke hooks.h", 0),
    ("handle revoke --key cards --issued-before-now", 0),
    ("key suspend invoices", 0),
    ("key resume invoices", 0),
    ("key deactivate invoices", 0),
    ("key destroy invoices --version 1", 0),
    ("key cancel-destroy invoices --version 1", 0),
    ("key compromise invoices", 0),
    ("rotate hooks --plan emergency", 0),
    ("rollout abort hooks", 1),
    ("principal create ada --role auditor --out ada.toml", 0),
];

/// Those whose bytes differ each time they are made, and which keep what they sent.
const KEPT: [&str; 2] = ["key import", "principal create"];

/// Uses without an effect to do once, and those whose answers are secret keys: nothing is kept of them, they run
/// again and are recorded again, under the same id.
const RUN_AGAIN: [&str; 7] = [
    "verify ",
    "verify-mac",
    "decrypt",
    "unwrap",
    "derive",
    "generate-data-key",
    "encrypt --handle backups.h",
];

pub(super) fn prepared() -> Service {
    let service = Service::start();
    fs::write(service.path("message"), "what is signed").unwrap();
    fs::write(service.path("none.ndjson"), "").unwrap();
    let key = rcgen::KeyPair::generate().unwrap().serialize_der();
    fs::write(service.path("release.p8"), key).unwrap();
    service
}

/// The operation id that an unknown outcome prints, in the text that says what to run.
fn printed_id(stderr: &str) -> String {
    let line = stderr.lines().find_map(|line| line.strip_prefix("operation id: "));
    let id = line.unwrap_or_else(|| panic!("no operation id in {stderr}")).to_owned();
    assert!(stderr.contains(&format!("--operation-id {id}\n")), "{stderr}");
    id
}

fn kept(service: &Service) -> Vec<fs::DirEntry> {
    let entries = fs::read_dir(service.path("state/chancery/pending"));
    entries.map_or_else(|_| Vec::new(), |entries| entries.map(Result::unwrap).collect())
}

/// Loses one exchange of a command and resolves it; what it wrote is there, and its record alone.
fn lose_and_repeat(middleman: &Middleman<'_>, service: &Service, lost: Lost, row: Row) {
    let (line, passed) = row;
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = middleman.lose(lost, passed, &arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{line}: {stderr}");
    let id = printed_id(&stderr);
    let is_kept = KEPT.iter().any(|kept| line.starts_with(kept));
    assert_eq!(kept(service).len(), usize::from(is_kept), "{line}");
    for file in kept(service) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(stderr.contains(file.path().to_str().unwrap()), "{stderr}");
    }
    service.done(&[&arguments[..], &["--operation-id", &id]].concat());
    assert!(kept(service).is_empty(), "{line}");
    let query = ["audit", "query", "--operation", &id, "--format", "json"];
    let records: Value = serde_json::from_str(&service.done(&query)).unwrap();
    let outcomes: Vec<_> =
        records.as_array().unwrap().iter().map(|record| record["outcome"].clone()).collect();
    let runs_again = RUN_AGAIN.iter().any(|again| line.starts_with(again));
    let expected = if runs_again && lost == Lost::Answer { 2 } else { 1 };
    assert_eq!(outcomes, vec!["committed"; expected], "{line}: {records}");
}

fn lose_each(lost: Lost) {
    let service = prepared();
    let middleman = Middleman::before(&service);
    for row in COMMANDS {
        lose_and_repeat(&middleman, &service, lost, *row);
    }
    for decrypted in ["m.dec", "m.again"] {
        assert_eq!(fs::read(service.path(decrypted)).unwrap(), b"what is signed");
    }
    // The key of the principal that was made is the one that was kept.
    let ada = service.cli_with(&service.path("ada.toml"), &["audit", "query", "--limit", "1"]);
    assert!(ada.status.success(), "{}", text(&ada.stderr));
    assert!(service.done(&["key", "show", "release"]).contains("imported"));
}

#[test]
fn every_command_that_can_be_repeated_is_among_them() {
    for command in all() {
        let help = binary().args(command.split(' ')).arg("--help").output().unwrap();
        // What is pruned has to be archived and old first, what is approved to be proposed, who is registered to be there,
        // what is paused to be begun, and a stage to wait for nothing else: the tests of that have them.
        let is_elsewhere = ["audit prune", "rollout advance"].contains(&command.as_str())
            || ["proposal ", "posture ", "reprotect ", "verifier "]
                .iter()
                .any(|group| command.starts_with(group));
        if text(&help.stdout).contains("--operation-id <") && !is_elsewhere {
            let is_there =
                COMMANDS.iter().any(|(line, _)| line.starts_with(&format!("{command} ")));
            assert!(is_there, "`{command}` is not among those that lose an answer");
        }
    }
}

#[test]
fn whose_answer_was_lost_is_resolved_by_the_same_command() {
    lose_each(Lost::Answer);
}

#[test]
fn what_never_arrived_is_done_by_the_same_command() {
    lose_each(Lost::Request);
}

/// An id of another command, and one of another principal, send nothing and change nothing.
#[test]
fn what_is_kept_serves_its_own_command_and_principal_alone() {
    let service = prepared();
    let middleman = Middleman::before(&service);
    let create = ["principal", "create", "ada", "--role", "auditor", "--out", "ada.toml"];
    let id = printed_id(&text(&middleman.lose(Lost::Request, 0, &create).stderr));
    for other in [
        &["principal", "create", "bob", "--role", "auditor", "--out", "bob.toml"][..],
        &["principal", "create", "ada", "--role", "operator", "--out", "ada.toml"],
        &"key import k --purpose sign.bound:x --algorithm ecdsa-p256 --pkcs8 release.p8"
            .split(' ')
            .collect::<Vec<_>>(),
    ] {
        let output = service.cli(&[other, &["--operation-id", &id]].concat());
        assert_eq!(output.status.code(), Some(2), "{other:?}: {}", text(&output.stderr));
    }
    service.done(&["principal", "create", "eve", "--role", "operator", "--out", "eve.toml"]);
    let repeat = [&create[..], &["--operation-id", &id]].concat();
    let output = service.cli_with(&service.path("eve.toml"), &repeat);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(kept(&service).len(), 1);
    service.done(&repeat);
}

/// What was sealed cannot be looked into, so the file is opened again, and its key compared.
#[test]
fn an_import_is_repeated_with_the_key_of_the_first_attempt_alone() {
    let service = prepared();
    let other = rcgen::KeyPair::generate().unwrap().serialize_der();
    fs::write(service.path("other.p8"), other).unwrap();
    let import = "key import release --purpose sign.bound:release --algorithm ecdsa-p256 --pkcs8";
    let import: Vec<&str> = import.split(' ').collect();
    let with = |file| [&import[..], &[file]].concat();
    let lost = Middleman::before(&service).lose(Lost::Answer, 1, &with("release.p8"));
    let id = printed_id(&text(&lost.stderr));
    let repeat = |file| service.cli(&[&with(file)[..], &["--operation-id", &id]].concat());
    let output = repeat("other.p8");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("another command"), "{}", text(&output.stderr));
    assert_eq!(repeat("missing.p8").status.code(), Some(1));
    assert_eq!(kept(&service).len(), 1);
    assert!(repeat("release.p8").status.success());
    assert!(kept(&service).is_empty());
}

/// As a trace shows it: whatever directory was made, the one above it was synced before anything was sent.
#[test]
fn what_is_kept_lies_in_directories_that_are_durable() {
    let service = prepared();
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-e", "trace=mkdir,fsync,connect", "-o", "trace"]);
    command.arg(env!("CARGO_BIN_EXE_chancery")).arg("--context-file");
    command.arg(service.data().join("admin.toml"));
    command.args(["principal", "create", "ada", "--role", "auditor", "--out", "ada.toml"]);
    // Four levels are to be made.
    command.env("XDG_STATE_HOME", service.path("home/state")).current_dir(service.directory());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace = fs::read_to_string(service.path("trace")).unwrap();
    let trace = trace.split_once(" connect(").unwrap().0;
    let made: Vec<_> = trace
        .lines()
        .filter_map(|line| line.split_once("mkdir(\"")?.1.split_once("\", 0700) = 0"))
        .map(|(path, _)| Path::new(path))
        .collect();
    assert_eq!(made.len(), 4, "{trace}");
    for directory in made.iter().map(|path| path.parent().unwrap()).chain([made[3]]) {
        let synced = format!("<{}>)", directory.display());
        let is_synced = |line: &str| line.contains("fsync(") && line.contains(&synced);
        assert!(trace.lines().any(is_synced), "{}: {trace}", directory.display());
    }
}

/// What an import is sealed to is asked for first; without it nothing was sent that could be unknown.
#[test]
fn an_import_that_got_no_one_time_key_has_imported_nothing() {
    let service = prepared();
    let line =
        "key import release --purpose sign.bound:release --algorithm ecdsa-p256 --pkcs8 release.p8";
    let import: Vec<&str> = line.split(' ').collect();
    for lost in [Lost::Answer, Lost::Request] {
        let output = Middleman::before(&service).lose(lost, 0, &import);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("nothing was imported"), "{}", text(&output.stderr));
        assert!(kept(&service).is_empty());
    }
    service.done(&import);
}

/// A one-time key does not survive the signer: the repetition is refused, and a new import goes through.
#[test]
fn an_import_that_never_arrived_is_begun_anew_after_a_restart() {
    let mut service = prepared();
    let line =
        "key import release --purpose sign.bound:release --algorithm ecdsa-p256 --pkcs8 release.p8";
    let import: Vec<&str> = line.split(' ').collect();
    let lost = Middleman::before(&service).lose(Lost::Request, 1, &import);
    let id = printed_id(&text(&lost.stderr));
    service.restart();
    let output = service.cli(&[&import[..], &["--operation-id", &id]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("begin again"), "{}", text(&output.stderr));
    service.done(&import);
}
