//! Policies in files: whose signatures count (C2SP tlog-policy).

use std::path::Path;

use anyhow::{Context as _, Result};
use chancery_audit::proof::Trust;
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

/// Reads a policy with the keys that it names.
pub(crate) fn trust(path: &Path) -> Result<Trust> {
    let text = read_text(path, POLICY_BYTES_MAX)?;
    Trust::parse(&text).with_context(|| format!("`{}`", path.display()))
}
