//! Every command that prints something prints one JSON document when asked to, and its failure is one too.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::lost_answers::{COMMANDS, prepared};
use crate::harness::{Service, binary, fresh, text};

/// Commands that read or work offline, in an order in which each is possible after [`COMMANDS`].
const READS: &[&str] = &[
    "status",
    "key list",
    "key show release",
    "handle issue release --operations sign,verify --out release.h",
    "handle narrow release.h --ttl 1m --out narrow.h",
    "handle show narrow.h",
    "bench --handle release.h --connections 1 --seconds 1",
    "audit query",
    "proposal list",
    "plan check standard",
    "rotation list",
    "rollout advance-waiting --stage soak",
    "rollout list",
    "rollout show release",
    "rollout steps release",
    "rollout history release",
    "rollout evidence release --out release.evidence",
    "rollout verify-evidence release.evidence --policy d/log/policy",
    "bundle pin --out bundle.pins",
    "bundle fetch --pins bundle.pins --out tenant.bundle",
    "bundle show tenant.bundle --pins bundle.pins",
    "verifier list",
    "handle issue cards --operations rewrap --out again.h",
    "census cards --inventory none none.ndjson",
    "reprotect start cards --inventory none --handle again.h none.ndjson",
    "reprotect status",
    "audit timeline release",
    "audit export --to file:audit.jsonl --once",
    "audit recipient --out recipient.key",
    "audit verify --data d",
    "store check --data d",
    "store dump --data d",
];

/// `serve` prints no result, `plan show` a text, and a witness lines for policies. `key public`, `random`, `rollout watch` and `advance` and, among the tests of witnesses
/// and of archives, `witness submit`, `audit archive`, `audit restore` and `audit prune` are checked by themselves, as are
/// proposals, and there is no fork to prove.
/// A verifier that runs answers its own questions, and drills have tests of their own.
const OTHERS: [&str; 24] = [
    "drill rotation",
    "serve",
    "key public",
    "random",
    "audit approve-gap",
    "audit archive",
    "audit prove-fork",
    "audit prune",
    "audit restore",
    "plan show",
    "posture raise-approvals",
    "proposal approve",
    "proposal carry-out",
    "proposal show",
    "proposal withdraw",
    "reprotect pause",
    "reprotect resume",
    "rollout advance",
    "rollout watch",
    "verifier register",
    "verifier remove",
    "verifier run",
    "witness serve",
    "witness submit",
];

/// The names under `Commands:` in the help of a command.
fn subcommands(path: &str) -> Vec<String> {
    let output = binary().args(path.split_whitespace()).arg("--help").output().unwrap();
    let help = text(&output.stdout);
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = section.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(|name| format!("{path} {name}").trim().to_owned())
        .collect()
}

/// Every command without subcommands.
pub(super) fn all() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for command in subcommands("") {
        let inner = subcommands(&command);
        all.extend(if inner.is_empty() { vec![command] } else { inner });
    }
    all
}

fn document(service: &Service, line: &str) -> Value {
    let arguments: Vec<&str> = line.split(' ').chain(["--format", "json"]).collect();
    let printed = service.done(&arguments);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{line}: {error}:\n{printed}"))
}

#[test]
fn every_command_prints_one_json_document() {
    let mut service = prepared();
    let mut lines: Vec<String> = COMMANDS.iter().map(|(line, _)| (*line).to_owned()).collect();
    lines.extend(READS.iter().map(|&line| line.to_owned()));
    lines.push("audit recipient --out auditor.key".into());
    // The base point of X25519, which is a public key like any other.
    let recipient = format!("09{}", "00".repeat(31));
    let case = "audit disclose --level case --record 1";
    lines.push(format!("{case} --recipient {recipient} --out case.disclosure"));
    for line in &lines {
        let document = document(&service, line);
        assert!(document.is_object() || document.is_array(), "{line}: {document}");
    }
    let id = fresh().to_string();
    service.done(&[&["handle", "revoke", "release.h"][..], &["--operation-id", &id]].concat());
    lines.push(format!("operation show {id}"));
    document(&service, lines.last().unwrap());
    document(&service, "handle issue release --operations random --out random.h");
    document(&service, "random --handle random.h --out bytes");
    let public = ["key", "public", "release", "--format", "jwk"];
    serde_json::from_str::<Value>(&service.done(&public)).unwrap();
    service.stop();
    for line in ["store check --data d", "store dump --data d", "audit verify --data d"] {
        document(&service, line);
    }
    for line in proofs(&service) {
        document(&service, &line);
    }
    lines.extend(proofs(&service));
    // Whole as it is, it is retired because somebody says so, and says first what that comes to.
    let size: Value = document(&service, "audit verify --data d");
    let retire = "audit retire --data d --root-key root.key --reason other --whole --yes";
    let retired = format!("{retire} {}", size["records"]);
    assert_eq!(document(&service, &retired)["outcome"], "retired");
    lines.push(retired);
    let is_done = |command: &String| {
        OTHERS.contains(&command.as_str()) || lines.iter().any(|line| line.starts_with(command))
    };
    let missing: Vec<_> = all().into_iter().filter(|command| !is_done(command)).collect();
    assert!(missing.is_empty(), "not asked for JSON: {missing:?}");
}

/// What is proved from files alone, once there is a receipt.
fn proofs(service: &Service) -> Vec<String> {
    let log = service.data().join("log");
    let (log, checkpoint, policy) = (log.display(), log.join("checkpoint"), log.join("policy"));
    let (checkpoint, policy) = (checkpoint.display(), policy.display());
    vec![
        format!("audit prove --receipt m.receipt --log {log} --out m.proof"),
        format!("audit verify-proof m.proof --policy {policy} --artifact message"),
        format!("audit prove-consistent {checkpoint} --log {log} --out since.proof"),
    ]
}

#[test]
fn a_failure_is_one_json_document_on_standard_error() {
    let service = prepared();
    fs::write(service.path("h"), "no handle").unwrap();
    for line in [
        "key show no-such-key",
        "handle show h",
        "store check --data no-such-directory",
        "audit verify --data no-such-directory",
        "handle issue no-such-key --operations sign --out x",
    ] {
        let arguments: Vec<&str> = line.split(' ').chain(["--format", "json"]).collect();
        let output = service.cli(&arguments);
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(failure["outcome"].is_string() && failure["detail"].is_string(), "{failure}");
    }
}
