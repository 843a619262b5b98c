//! Who is asked, and where: the witnesses of a policy, and peers.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};
use chancery_audit::witnessed::PARTIES_MAX;
use chancery_log::policy::Policy;

/// Who is asked.
pub(super) struct Places {
    /// The lines of a policy that name witnesses, or nothing.
    pub(super) lines: String,
    /// Where witnesses are.
    pub(super) witnesses: BTreeSet<String>,
    /// Where the log's files are published as well.
    pub(super) peers: Vec<String>,
}

impl Places {
    /// Checks that there is somebody to ask, and where.
    pub(super) fn new(lines: String, peers: Vec<String>) -> Result<Self> {
        let mut witnesses = BTreeSet::new();
        if !lines.is_empty() {
            let policy = Policy::parse(&lines)?;
            witnesses.extend(policy.witnesses().iter().filter_map(|(_, party)| party.url.clone()));
        }
        let places = Self { lines, witnesses, peers };
        for url in places.urls() {
            port(url)?;
        }
        if places.urls().count() > PARTIES_MAX {
            bail!("there are more than {PARTIES_MAX} witnesses and peers");
        }
        Ok(places)
    }

    fn urls(&self) -> impl Iterator<Item = &String> {
        self.witnesses.iter().chain(&self.peers)
    }

    /// The ports of all of them.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        self.urls().filter_map(|url| port(url).ok()).collect()
    }
}

/// The port of a URL.
fn port(url: &str) -> Result<u16> {
    let what = || anyhow!("`{url}` is not a URL such as https://witness.example/w1");
    let uri: ureq::http::Uri = url.parse().map_err(|_| what())?;
    match (uri.scheme_str(), uri.host(), uri.port_u16()) {
        (Some("http" | "https"), Some(_), Some(port)) => Ok(port),
        (Some("http"), Some(_), None) => Ok(80),
        (Some("https"), Some(_), None) => Ok(443),
        _ => Err(what()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_that_of_the_url_or_of_its_scheme() {
        for (url, expected) in [
            ("http://w.example", Some(80)),
            ("https://w.example/w1", Some(443)),
            ("http://127.0.0.1:9000/", Some(9000)),
            ("https://[::1]:8443", Some(8443)),
            ("ftp://w.example", None),
            ("w.example", None),
            ("https://", None),
            ("/w1", None),
        ] {
            assert_eq!(port(url).ok(), expected, "{url}");
        }
    }
}
