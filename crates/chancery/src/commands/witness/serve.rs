//! `witness serve`: a witness, until it is told to stop.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chancery_log::note::{KeyName, NoteError, VerifierKey};
use chancery_memory::process::harden;
use chancery_memory::{Arena, hooks, wiping};
use chancery_witness::logs::Logs;
use chancery_witness::witness::Witness;
use chancery_witness::{home, serve};
use clap::Args;

use crate::exit::Failure;
use crate::policy;
use crate::render::print;

/// The locked memory of a witness, in bytes: 1 MiB, for two keys and what signing with them takes.
const ARENA_BYTES: usize = 1024 * 1024;

/// Be a witness: cosign the checkpoints of the logs in a policy, as long as each continues the last.
///
/// The first start makes two keys and the state in DIR. What is printed goes into the policy of those who are to
/// rely on this witness: its two keys, and a group that asks for both.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery witness serve --data w1 --listen 127.0.0.1:8441 --policy log.policy --name witness.example/w1

The policy's `log` lines say whose checkpoints are cosigned; the service writes those of its log to DIR/log/policy.
Keep DIR, and never an older copy of it: a witness that has forgotten what it cosigned would cosign another history.
A lost DIR is the end of a witness: begin another, of another name, and have policies changed.

It speaks HTTP in clear, for nothing that is said is secret, and cosignatures prove themselves. A proxy in front can give
it TLS, and is then one source, of which 16 connections are taken. `GET /HEX/checkpoint`, HEX being the SHA-256 of a
log's origin, shows what it cosigned last. SIGTERM or Ctrl-C stops it.")]
pub(super) struct ServeArgs {
    /// The directory of its keys and of what it has cosigned.
    #[arg(long, value_name = "DIR", default_value = "chancery-witness")]
    data: PathBuf,
    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8441")]
    listen: SocketAddr,
    /// Whose checkpoints are cosigned: the `log` lines of a policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// What the witness calls itself, for good: no space and no `+`, such as a host name and a path.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: KeyName,
    /// Where others reach it, if not at the address that it listens on; it comes into what is printed.
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<String>,
}

fn name(text: &str) -> Result<KeyName, String> {
    if text == "none" {
        return Err("in a policy `none` is nobody's name".into());
    }
    text.parse().map_err(|error: NoteError| error.to_string())
}

/// What stands behind a key in a line of a policy.
fn url(text: &str) -> Result<String, String> {
    let is_url = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    let is_word = text.chars().all(|c| c.is_ascii_graphic());
    if is_url && is_word { Ok(text.into()) } else { Err("not an http:// or https:// URL".into()) }
}

/// Carries `witness serve` out.
pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let _arena = close()?;
    let what = || format!("`{}`", args.policy.display());
    let logs = Logs::of(&policy::read(&args.policy)?).with_context(what)?;
    let (store, cosigner) = home::open(&args.data, &args.name).with_context(|| {
        format!("`{}` cannot be the directory of this witness", args.data.display())
    })?;
    let witness = Witness::new(store, logs, cosigner).context("the witness cannot go on")?;
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let url = args.url.clone().unwrap_or_else(|| format!("http://{address}"));
    print(policy_lines(&args.name, witness.verifier_keys(), &url).as_bytes())?;
    eprintln!("chancery: witness `{}` listens on {address}", args.name);
    Ok(serve(witness, listener).map_err(anyhow::Error::from)?)
}

/// Closes the process to others, and has the crypto library keep the keys in locked memory.
fn close() -> Result<Arena> {
    harden().context("the process cannot be closed to others")?;
    wiping::begin();
    let arena =
        Arena::with_capacity(ARENA_BYTES).context("no memory can be locked for the keys")?;
    hooks::install(&arena)?;
    Ok(arena)
}

/// What goes into a policy.
fn policy_lines(name: &KeyName, keys: [&VerifierKey; 2], url: &str) -> String {
    let [ed25519, ml_dsa_44] = keys;
    format!(
        "witness {name}/ed25519 {ed25519} {url}\n\
         witness {name}/ml-dsa-44 {ml_dsa_44} {url}\n\
         group {name} all {name}/ed25519 {name}/ml-dsa-44\n"
    )
}
