//! The command line by itself: help, usage errors, and what needs no service.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_api::token;
use chancery_core::epoch::Epoch;
use chancery_core::handle::{HandleKeyId, Operation, Operations, Root, mint};
use chancery_core::id::{HandleId, KeyId, PrincipalId, TenantId};
use chancery_crypto::mac::HandleMac;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A directory of one test's own, in which commands run.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chancery-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command.args(arguments).current_dir(&self.0).env_remove("CHANCERY_CONTEXT");
        command.env("XDG_STATE_HOME", self.path("state"));
        command.output().unwrap()
    }

    /// Runs a command line, in words apart by spaces, with a file as its standard input.
    fn run_with(&self, input: fs::File, before: &[&str], line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        // A line may name a context of its own.
        let before = if line.contains("--context-file") { &[] } else { before };
        command.args(before).args(line.split(' ')).current_dir(&self.0).stdin(input);
        command.env("XDG_STATE_HOME", self.path("state")).env_remove("CHANCERY_CONTEXT");
        command.output().unwrap()
    }

    fn profile(&self, name: &str, profile: &str) {
        fs::write(self.path(name), profile).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn handle(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, minted()).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn minted() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let issued_ms = u64::try_from(now).unwrap();
    let root = Root {
        id: HandleId::from_bytes([9; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        key: KeyId::from_bytes([7; 16]),
        purpose: "sign.bound:invoice".parse().unwrap(),
        issuer: PrincipalId::from_bytes([5; 16]),
        subject: PrincipalId::from_bytes([5; 16]),
        issue_epoch: Epoch::default(),
        issued_ms,
        expires_ms: issued_ms + 3_600_000,
        operations: Operations::of(&[Operation::Sign, Operation::Verify]),
    };
    let mac = HandleMac::new([(HandleKeyId(1), &[3; 32])]);
    format!("{}\n", token::encode(&mint(HandleKeyId(1), &root, &mac).unwrap()))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The names under `Commands:` in a help text.
fn subcommands(help: &str) -> Vec<String> {
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = section.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(Into::into)
        .collect()
}

/// Every command without subcommands, with its help.
fn leaves(scratch: &Scratch, path: &[String]) -> Vec<(String, String)> {
    let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
    arguments.push("--help");
    let output = scratch.run(&arguments);
    assert_eq!(code(&output), 0, "{path:?}");
    let names = subcommands(&stdout(&output));
    if names.is_empty() {
        return vec![(path.join(" "), stdout(&output))];
    }
    names.into_iter().flat_map(|name| leaves(scratch, &[path, &[name]].concat())).collect()
}

/// Every command, in the order of the help.
const COMMANDS: [&str; 90] = [
    "serve",
    "status",
    "key create",
    "key import",
    "key list",
    "key show",
    "key public",
    "key suspend",
    "key resume",
    "key deactivate",
    "key compromise",
    "key destroy",
    "key cancel-destroy",
    "handle issue",
    "handle narrow",
    "handle show",
    "handle revoke",
    "sign",
    "verify",
    "encrypt",
    "decrypt",
    "rewrap",
    "mac",
    "verify-mac",
    "derive",
    "generate-data-key",
    "unwrap",
    "random",
    "operation show",
    "audit query",
    "audit timeline",
    "audit export",
    "audit archive",
    "audit restore",
    "audit prune",
    "audit retire",
    "audit approve-gap",
    "audit disclose",
    "audit recipient",
    "audit verify",
    "audit prove",
    "audit prove-consistent",
    "audit prove-fork",
    "audit verify-proof",
    "principal create",
    "proposal list",
    "proposal show",
    "proposal approve",
    "proposal withdraw",
    "proposal carry-out",
    "posture raise-approvals",
    "plan check",
    "plan show",
    "rotate",
    "rotation set",
    "rotation never",
    "rotation unset",
    "rotation list",
    "rollout list",
    "rollout show",
    "rollout watch",
    "rollout pause",
    "rollout resume",
    "rollout advance",
    "rollout advance-waiting",
    "rollout rollback",
    "rollout abort",
    "rollout override",
    "rollout steps",
    "rollout history",
    "rollout evidence",
    "rollout verify-evidence",
    "census",
    "reprotect start",
    "reprotect status",
    "reprotect pause",
    "reprotect resume",
    "drill rotation",
    "bundle pin",
    "bundle fetch",
    "bundle show",
    "verifier register",
    "verifier remove",
    "verifier list",
    "verifier run",
    "store check",
    "store dump",
    "witness serve",
    "witness submit",
    "bench",
];

#[test]
fn every_command_has_a_help_text_with_an_example_of_itself() {
    let scratch = Scratch::new("help");
    let leaves = leaves(&scratch, &[]);
    for (command, help) in &leaves {
        assert!(help.contains("Example"), "{command}");
        assert!(help.contains(&format!("  chancery {command}")), "{command}:\n{help}");
    }
    let names: Vec<_> = leaves.iter().map(|(command, _)| command.as_str()).collect();
    assert_eq!(names, COMMANDS);
}

#[test]
fn usage_errors_exit_with_2() {
    let scratch = Scratch::new("usage");
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["key"],
        &["key", "create", "Invoices", "--purpose", "sign.bound:x", "--algorithm", "ed25519"],
        &["key", "create", "invoices", "--purpose", "sign.bound", "--algorithm", "ed25519"],
        &["key", "create", "invoices", "--purpose", "sign.bound:x", "--algorithm", "ed448"],
        &["key", "public", "invoices", "--format", "table"],
        &["key", "destroy", "invoices"],
        &["handle", "issue", "invoices"],
        &["handle", "issue", "invoices", "--ttl", "soon", "--out", "x"],
        &["handle", "issue", "invoices", "--operations", "everything", "--out", "x"],
        &["handle", "narrow", "x", "--context", "customer", "--out", "y"],
        &["handle", "revoke"],
        &["handle", "revoke", "--key", "invoices"],
        &["handle", "revoke", "x", "--issued-before-now"],
        &["handle", "revoke", "x", "--id", "01990000-0000-7000-8000-000000000000"],
        &["sign", "--handle", "x", "input"],
        &["verify", "input", "--signature", "s"],
        &["verify", "--handle", "x", "--bundle", "b", "input", "--signature", "s"],
        &["verify", "--bundle", "b", "--key", "k", "input", "--signature", "s"],
        &["verifier", "register", "gateway"],
        &["sign", "--handle", "x", "input", "--out", "y", "--operation-id", "1"],
        &[
            "random",
            "--handle",
            "x",
            "--out",
            "y",
            "--operation-id",
            "01990000-0000-7000-8000-000000000000",
        ],
        &["audit", "query", "--limit", "0"],
        &["audit", "export"],
        &["audit", "export", "--to", "a.jsonl"],
        &["audit", "export", "--to", "http://198.51.100.1/"],
        &["audit", "export", "--to", "syslog+tls://log.example"],
        &["audit", "export", "--to", "stdout", "--batch", "4001"],
        &["audit", "export", "--to", "stdout", "--timeout", "61s"],
        &["audit", "export", "--to", "stdout", "--max-lag", "far"],
        &["serve", "--listen", "localhost"],
        &["witness"],
        &["witness", "serve", "--policy", "p"],
        &["witness", "serve", "--policy", "p", "--name", "a b"],
        &["witness", "serve", "--policy", "p", "--name", "none"],
        &["witness", "serve", "--policy", "p", "--name", "w", "--url", "witness.example"],
        &["witness", "serve", "--policy", "p", "--name", "w", "--url", "http://w\nquorum none"],
        &["witness", "submit", "--policy", "p"],
        &["witness", "submit", "--policy", "p", "--out", "x", "--every", "often"],
        &["--format", "yaml", "status"],
    ] {
        let output = scratch.run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
    }
}

/// What the parser cannot see by itself is found before a file is read or written, or the service asked.
#[test]
fn usage_errors_that_are_found_late_exit_with_2_as_well() {
    let scratch = Scratch::new("late-usage");
    scratch.handle("h");
    scratch.profile("admin.toml", &profile());
    for line in [
        "key create k --purpose sign.bound:x --algorithm aes-256-gcm",
        "key create k --purpose encrypt.aead:x --algorithm ed25519",
        "key import k --purpose mac.bound:x --algorithm hmac-sha-256 --pkcs8 h",
        "key import k --purpose sign.bound:x --algorithm hmac-sha-256 --pkcs8 h",
        "handle narrow h --out out",
        "handle narrow h --max-uses 1 --out out",
        "handle issue k --ttl 25h --out out",
        "audit query --since yesterday",
        "audit export --to stdout --ca h",
        "audit export --to stdout --header-file h",
        "audit export --to file:out --body ndjson",
        "derive --handle h --length 65 --out out",
        "derive --handle h --length 0 --out out",
        "random --handle h --length 1025 --out out",
        "sign --handle h --context a=1 --context a=2 h --out out",
        "sign --handle - - --out out",
        "sign --handle - h --out out --context-file -",
        "verify --handle h - --signature -",
        "sign --handle h h --out out --receipt out",
        "generate-data-key --handle h --out - --wrapped -",
    ] {
        let input = fs::File::open(scratch.path("h")).unwrap();
        let output = scratch.run_with(input, &["--context-file", "admin.toml"], line);
        assert_eq!(code(&output), 2, "{line}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && !scratch.path("out").exists(), "{line}");
    }
}

#[test]
fn the_context_comes_from_standard_input_too() {
    let scratch = Scratch::new("stdin-context");
    scratch.profile("admin.toml", &profile());
    let input = |name| fs::File::open(scratch.path(name)).unwrap();
    let named = ["--context-file", "-"];
    // It is read and used: nobody listens where it says.
    let output =
        scratch.run_with(input("admin.toml"), &named, "handle issue k --operations sign --out o");
    assert!(stderr(&output).contains("unavailable"), "{}", stderr(&output));
    fs::write(scratch.path("other"), profile().replace("role = ", "role = = ")).unwrap();
    let output = scratch.run_with(input("other"), &named, "status");
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(said.contains("standard input is not a profile") && !said.contains("BwcH"), "{said}");
}

#[test]
fn a_front_user_that_cannot_be_is_a_usage_error_and_nothing_is_made() {
    let scratch = Scratch::new("front-user");
    let is_root = rustix::process::geteuid().is_root();
    for (user, of_root) in [
        ("root", "neither root nor in root's group"),
        ("0", "neither root nor in root's group"),
        ("no-such-user", "no such name or number"),
        ("4294967295", "no such name or number"),
        ("", "no such name or number"),
    ] {
        let output = scratch.run(&["serve", "--data", "d", "--front-user", user]);
        let expected = if is_root { of_root } else { "only root can start" };
        assert_eq!(code(&output), 2, "`{user}`");
        assert!(stderr(&output).contains(expected), "`{user}`: {}", stderr(&output));
        assert!(!scratch.path("d").exists(), "`{user}`");
    }
}

#[test]
fn a_handle_is_narrowed_and_shown_without_a_service() {
    let scratch = Scratch::new("narrow");
    let (whole, narrow) = (scratch.handle("whole.handle"), scratch.path("narrow.handle"));
    let narrowed = scratch.run(&[
        "handle",
        "narrow",
        text(&whole),
        "--ttl",
        "5m",
        "--operations",
        "sign",
        "--context",
        "customer=7",
        "--out",
        text(&narrow),
    ]);
    assert_eq!(code(&narrowed), 0, "{}", stderr(&narrowed));
    assert_eq!(fs::metadata(&narrow).unwrap().permissions().mode() & 0o777, 0o600);
    let show = |path: &Path| -> serde_json::Value {
        let output = scratch.run(&["handle", "show", text(path), "--format", "json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (before, after) = (show(&whole), show(&narrow));
    assert_eq!(before["operations"], serde_json::json!(["sign", "verify"]));
    assert_eq!(after["operations"], serde_json::json!(["sign"]));
    assert_eq!(after["context"], serde_json::json!(["customer=7"]));
    assert_eq!(after["handle"], before["handle"]);
    assert_ne!(after["revocation_id"], before["revocation_id"]);
    assert!(after["expires_ms"].as_u64() < before["expires_ms"].as_u64());
}

#[test]
fn a_handle_comes_from_standard_input_and_goes_to_standard_output() {
    let scratch = Scratch::new("pipe");
    scratch.handle("whole.handle");
    let pipe = format!(
        "'{0}' handle narrow - --ttl 1m --out - < whole.handle | '{0}' handle show -",
        env!("CARGO_BIN_EXE_chancery")
    );
    let output = Command::new("sh").args(["-c", &pipe]).current_dir(&scratch.0).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("sign.bound:invoice"));
}

#[test]
fn an_output_that_is_there_is_overwritten_by_force_alone() {
    let scratch = Scratch::new("force");
    let (whole, out) = (scratch.handle("whole.handle"), scratch.path("out"));
    fs::write(&out, "old").unwrap();
    let arguments = ["handle", "narrow", text(&whole), "--ttl", "1m", "--out", text(&out)];
    let refused = scratch.run(&arguments);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    assert_eq!(fs::read_to_string(&out).unwrap(), "old");
    let forced = scratch.run(&[&arguments[..], &["--force"]].concat());
    assert_eq!(code(&forced), 0, "{}", stderr(&forced));
    assert!(fs::read_to_string(&out).unwrap().starts_with(token::PREFIX));
}

#[test]
fn what_is_no_handle_is_refused_by_name() {
    let scratch = Scratch::new("nohandle");
    let good = minted();
    for (name, content) in
        [("empty", ""), ("short", "chancery-handle-1.AA"), ("cut", &good[..good.len() - 9])]
    {
        fs::write(scratch.path(name), content).unwrap();
        let output = scratch.run(&["handle", "show", name]);
        assert_eq!(code(&output), 1, "{name}");
        assert!(stderr(&output).contains(&format!("`{name}`")), "{}", stderr(&output));
    }
}

#[test]
fn nothing_to_narrow_is_said_so() {
    let scratch = Scratch::new("nothing");
    let whole = scratch.handle("whole.handle");
    let output = scratch.run(&["handle", "narrow", text(&whole), "--out", "out"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--ttl"), "{}", stderr(&output));
    assert!(!scratch.path("out").exists());
}

#[test]
fn a_file_that_is_missing_is_named() {
    let scratch = Scratch::new("missing");
    let whole = scratch.handle("whole.handle");
    let handle = text(&whole);
    for (arguments, name) in [
        (&["handle", "show", "no.handle"][..], "no.handle"),
        (&["sign", "--handle", "no.handle", "in", "--out", "out"], "no.handle"),
        (&["sign", "--handle", handle, "no.input", "--out", "out"], "no.input"),
        (&["sign", "--handle", handle, "--holder", "no.pem", handle, "--out", "out"], "no.pem"),
        (&["verify", "--handle", handle, handle, "--signature", "no.sig"], "no.sig"),
        (&["audit", "verify", "--data", "no-data"], "no-data"),
        (&["status", "--context-file", "no.toml"], "no.toml"),
        (
            &["handle", "narrow", handle, "--ttl", "1m", "--out", "no-directory/out"],
            "no-directory/out",
        ),
    ] {
        let output = scratch.run(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}");
        assert!(stderr(&output).contains(name), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn without_an_admin_file_the_message_says_how_to_name_one() {
    let scratch = Scratch::new("context");
    let output = scratch.run(&["status"]);
    assert_eq!(code(&output), 1);
    for hint in ["--context-file", "CHANCERY_CONTEXT", "chancery-data/admin.toml", "chancery serve"]
    {
        assert!(stderr(&output).contains(hint), "{hint}: {}", stderr(&output));
    }
}

/// A profile whose endpoint is a port on which nobody listens.
fn profile() -> String {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    profile_of(
        &unused.to_string(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
}

fn profile_of(endpoint: &str, ca: &str) -> String {
    format!(
        "endpoint = \"https://{endpoint}\"\ntenant = \"default\"\n\
         principal = \"11111111-1111-1111-1111-111111111111\"\nrole = \"operator\"\n\
         signing_key = \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"\n\
         ca = \"\"\"\n{ca}\"\"\"\n"
    )
}

#[test]
fn an_admin_file_that_others_can_read_is_not_used() {
    let scratch = Scratch::new("mode");
    let path = scratch.path("admin.toml");
    fs::write(&path, profile()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let output = scratch.run(&["status", "--context-file", text(&path)]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("chmod 600"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("BwcH"));
}

#[test]
fn a_service_that_is_not_there_has_done_nothing() {
    let scratch = Scratch::new("down");
    let (admin, whole) = (scratch.path("admin.toml"), scratch.handle("whole.handle"));
    fs::write(&admin, profile()).unwrap();
    fs::set_permissions(&admin, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = [
        "sign",
        "--context-file",
        text(&admin),
        "--handle",
        text(&whole),
        text(&whole),
        "--out",
        "out",
    ];
    let output = scratch.run(&arguments);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("unavailable"), "{}", stderr(&output));
    assert!(!scratch.path("out").exists());
    let json = scratch.run(&[&arguments[..], &["--format", "json"]].concat());
    let failure: serde_json::Value = serde_json::from_slice(&json.stderr).unwrap();
    assert_eq!(failure["outcome"], "refused");
    assert_eq!(failure["code"], "unavailable");
}

/// A service that takes the request and falls silent: the admin file for it, and the thread that it is.
fn silent_service() -> (String, std::thread::JoinHandle<()>) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap();
    let service = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"}") {
            let length = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(buffer.get(..length).unwrap());
        }
    });
    (profile_of(&endpoint.to_string(), &pem), service)
}

#[test]
fn a_service_that_falls_silent_leaves_an_unknown_outcome_with_its_operation_id() {
    let scratch = Scratch::new("silent");
    let (admin, whole) = (scratch.path("admin.toml"), scratch.handle("whole.handle"));
    let (profile, service) = silent_service();
    fs::write(&admin, profile).unwrap();
    fs::set_permissions(&admin, fs::Permissions::from_mode(0o600)).unwrap();
    let id = "01990000-0000-7000-8000-000000000000";
    let output = scratch.run(&[
        "sign",
        "--context-file",
        text(&admin),
        "--handle",
        text(&whole),
        text(&whole),
        "--out",
        "out",
        "--operation-id",
        id,
    ]);
    service.join().unwrap();
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("--operation-id {id}")), "{}", stderr(&output));
    assert!(!scratch.path("out").exists());
}
