//! Policies in files: whose signatures count (C2SP tlog-policy).

use std::path::Path;

use anyhow::{Context as _, Result};
use chancery_audit::proof::Trust;
use chancery_log::note::Note;
use chancery_log::policy::Policy;

use crate::files::read_text;

/// The longest policy, in bytes: 1 MiB. One has at most 256 lines, and a line with a key of ML-DSA 2 KiB.
const POLICY_BYTES_MAX: usize = 1024 * 1024;

/// Reads the text of a policy.
pub(crate) fn text(path: &Path) -> Result<String> {
    let text = read_text(path, POLICY_BYTES_MAX)?;
    Policy::parse(&text).with_context(|| format!("`{}`", path.display()))?;
    Ok(text)
}

/// Reads a policy.
pub(crate) fn read(path: &Path) -> Result<Policy> {
    let text = read_text(path, POLICY_BYTES_MAX)?;
    Policy::parse(&text).with_context(|| format!("`{}`", path.display()))
}

/// The policy under which a proof is made, which must hold under it: the digest by which the proof names it.
pub(crate) fn named(
    policy: Option<&Path>,
    usual: impl FnOnce() -> Result<Option<String>>,
    checkpoints: &[&Note],
) -> Result<Option<[u8; 32]>> {
    let text = match policy {
        Some(path) => Some(text(path)?),
        None => usual()?,
    };
    let Some(text) = text else { return Ok(None) };
    let trust = Trust::parse(&text)?;
    for note in checkpoints {
        let vouched = trust.vouched((*note).clone());
        vouched
            .context("the checkpoint does not count under the policy that the proof is to name")?;
    }
    Ok(Some(trust.digest()))
}

/// Reads a policy with the keys that it names.
pub(crate) fn trust(path: &Path) -> Result<Trust> {
    let text = read_text(path, POLICY_BYTES_MAX)?;
    Trust::parse(&text).with_context(|| format!("`{}`", path.display()))
}
