//! What a running verifier is asked, a JSON object on each line, and what it answers.

use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use chancery_api::http::commands::ScopeObject;
use chancery_api::http::fields::Base64;
use chancery_client::Wanted;
use chancery_core::context::Pair;
use chancery_core::name::{Name, Scope};
use chancery_core::purpose::Purpose;
use chancery_crypto::bundle::Accepted;
use chancery_crypto::formats::Payload;
use serde::Deserialize;
use serde_json::{Value, json};

use super::run::Ours;
use crate::parse;

/// The longest line that is read, in bytes: 512 KiB, room for the longest envelope and message in base64.
const LINE_BYTES_MAX: u64 = 512 * 1024;

/// The most connections at once: 64; one more is closed.
const CONNECTIONS_MAX: usize = 64;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    id: Option<String>,
    key: String,
    purpose: String,
    #[serde(default)]
    scope: Option<ScopeObject>,
    #[serde(default)]
    context: Vec<String>,
    #[serde(default)]
    message: Option<Base64>,
    #[serde(default)]
    digest: Option<Base64>,
    signature: Base64,
}

/// Answers on a socket until the process ends.
pub(super) fn listen(verifier: &Arc<Ours>, path: &Path) -> Result<()> {
    // One of an earlier run is in the way; anything else that is there stays.
    if std::os::unix::net::UnixStream::connect(path).is_err() && is_socket(path) {
        std::fs::remove_file(path).with_context(|| format!("`{}`", path.display()))?;
    }
    let listener = UnixListener::bind(path);
    let listener = listener.with_context(|| format!("cannot listen on `{}`", path.display()))?;
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = stream.context("the socket cannot be listened on")?;
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (verifier, open) = (Arc::clone(verifier), Arc::clone(&open));
        std::thread::spawn(move || {
            // Whoever goes away amid its line has heard what it wanted to.
            let _ = stream.try_clone().map(|to| answer(&verifier, BufReader::new(stream), to));
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Answers line by line, until there are no more.
pub(super) fn answer(verifier: &Ours, mut from: impl BufRead, mut to: impl Write) -> Result<()> {
    loop {
        let mut line = Vec::new();
        let read = (&mut from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.context("a line cannot be read")? == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        let answer = if is_whole { answered(verifier, &line) } else { too_long(&line) };
        let written = writeln!(to, "{answer}").and_then(|()| to.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("an answer cannot be written")?,
        }
        if !is_whole {
            return Ok(());
        }
    }
}

fn too_long(line: &[u8]) -> Value {
    let length = line.len();
    let because =
        format!("a line of {length} bytes without an end; a line has at most {LINE_BYTES_MAX}");
    json!({ "accepted": false, "because": because })
}

fn answered(verifier: &Ours, line: &[u8]) -> Value {
    let asked: Asked = match serde_json::from_slice(line) {
        Ok(asked) => asked,
        Err(error) => {
            return json!({ "accepted": false, "because": format!("no question: {error}") });
        }
    };
    let mut answer = match verified(verifier, &asked) {
        Ok(accepted) => json!({ "accepted": true, "versions": accepted.versions }),
        Err(error) => json!({ "accepted": false, "because": format!("{error:#}") }),
    };
    if let (Some(id), Some(fields)) = (asked.id, answer.as_object_mut()) {
        fields.insert("id".into(), id.into());
    }
    answer
}

fn verified(verifier: &Ours, asked: &Asked) -> Result<Accepted> {
    let key: Name = asked.key.parse().context("`key` is no name")?;
    let purpose: Purpose = asked.purpose.parse().context("`purpose` is none")?;
    let pairs = asked.context.iter().map(|pair| Pair::parse(pair).context("a pair is NAME=VALUE"));
    let context = parse::context(&pairs.collect::<Result<Vec<_>>>()?)?;
    let scope = scope(asked)?;
    let payload = match (&asked.message, &asked.digest) {
        (Some(message), None) => Some(Payload::Message(&message.0)),
        (None, Some(digest)) => {
            let digest = digest.0.as_slice().try_into();
            Some(Payload::Digest(digest.context("`digest` is a SHA-256 of 32 bytes")?))
        }
        (None, None) => None,
        (Some(_), Some(_)) => anyhow::bail!("give `message` or `digest`"),
    };
    let wanted = Wanted { key: &key, purpose: &purpose, scope: &scope, context: &context, payload };
    Ok(verifier.verify(&asked.signature.0, &wanted)?)
}

fn scope(asked: &Asked) -> Result<Scope> {
    if let Some(scope) = &asked.scope {
        return Ok(scope.clone().into());
    }
    let part = || "default".parse().context("no name");
    Ok(Scope { environment: part()?, region: part()?, service: part()? })
}
