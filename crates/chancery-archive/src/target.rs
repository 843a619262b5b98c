//! How an archive is named, `file:DIRECTORY` or `s3://BUCKET/PREFIX`, and what an object store of the S3 kind is asked
//! with.
//!
//! Credentials are in a file and nowhere else: others see the arguments of a process, and its children its environment.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// An archive, as it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory.
    Directory(PathBuf),
    /// A bucket, and what the names of objects begin with there.
    Bucket {
        /// Its name.
        bucket: String,
        /// The prefix; may be empty.
        prefix: String,
    },
}

/// The text names no archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no archive is named so; there are file:DIRECTORY and s3://BUCKET/PREFIX")]
pub struct TargetError;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::Directory(path.into()));
        }
        let rest = text.strip_prefix("s3://").ok_or(TargetError)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name =
            |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c));
        let prefix = prefix.trim_end_matches('/');
        let is_prefix = prefix.is_empty()
            || prefix.split('/').all(|part| !part.is_empty() && part != ".." && is_name(part));
        let is_one = !bucket.is_empty() && is_name(bucket) && is_prefix;
        let target = || Self::Bucket { bucket: bucket.into(), prefix: prefix.into() };
        is_one.then(target).ok_or(TargetError)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "file:{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Where an object store of the S3 kind is, and who asks it.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Its URL: `https://…`, or `http://…` to this machine.
    pub endpoint: String,
    /// The region that requests are signed for.
    #[serde(default = "usual_region")]
    pub region: String,
    /// The name of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What comes with a key that is lent.
    pub session_token: Option<String>,
}

/// The file does not say how the store is asked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It is not what it must be; what stands in it is secret and is not repeated.
    #[error(
        "it must have endpoint, access_key_id and secret_access_key, and may have region and session_token, as TOML"
    )]
    Form,
    /// In clear, and not to this machine.
    #[error("HTTP in clear goes to this machine alone; name an https:// endpoint")]
    Clear,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// [`AccessError`], which repeats nothing of it.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        let access: Self = toml::from_str(text).map_err(|_| AccessError::Form)?;
        let is_safe = access.endpoint.starts_with("https://") || access.is_to_this_machine();
        is_safe.then_some(access).ok_or(AccessError::Clear)
    }

    /// Whether requests go in clear, and so to this machine.
    #[must_use]
    pub fn is_to_this_machine(&self) -> bool {
        let Some(rest) = self.endpoint.strip_prefix("http://") else { return false };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn usual_region() -> String {
    "us-east-1".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_named_in_two_ways_and_no_other() {
        for name in ["file:/var/archive", "file:archive", "s3://bucket", "s3://bucket/a/b"] {
            assert_eq!(name.parse::<Target>().unwrap().to_string(), name);
        }
        for name in [
            "",
            "file:",
            "archive",
            "s3://",
            "s3:///a",
            "s3://b/a//c",
            "s3://b/..",
            "s3://b/a b",
            "http://b",
        ] {
            assert!(name.parse::<Target>().is_err(), "{name}");
        }
        assert_eq!("s3://b/a/".parse::<Target>().unwrap().to_string(), "s3://b/a");
    }

    #[test]
    fn a_store_is_asked_in_clear_on_this_machine_alone_and_nothing_secret_is_shown() {
        let text = |endpoint: &str| {
            format!(
                "endpoint = \"{endpoint}\"\naccess_key_id = \"a\"\nsecret_access_key = \"hush\"\n"
            )
        };
        for endpoint in
            ["https://s3.example", "http://127.0.0.1:8333", "http://[::1]:1/", "http://localhost"]
        {
            let access = Access::parse(&text(endpoint)).unwrap();
            assert_eq!(access.region, "us-east-1");
            assert!(!format!("{access:?}").contains("hush"));
        }
        for endpoint in ["http://s3.example", "http://127.0.0.1.example", "ftp://127.0.0.1"] {
            assert!(
                matches!(Access::parse(&text(endpoint)), Err(AccessError::Clear)),
                "{endpoint}"
            );
        }
        let more = text("https://s3.example") + "acess_key = \"a\"\n";
        let error = Access::parse(&more).unwrap_err();
        assert!(matches!(error, AccessError::Form) && !error.to_string().contains("hush"));
    }
}
