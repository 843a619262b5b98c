//! How a sink is named: `file:PATH`, `stdout`, `https://…`, `otlp+https://…`, `syslog+tls://HOST:PORT`.
//!
//! HTTP in clear is for this machine alone, and syslog in clear is not there: who did what is not for everybody on the way.
//! A name holds no password, since others see the arguments of a process.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A sink, as it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Lines of JSON in a file.
    File(PathBuf),
    /// Batches by POST.
    Http(String),
    /// OTLP logs by POST.
    Otlp(String),
    /// Lines of JSON on standard output.
    Stdout,
    /// Syslog over TLS.
    Syslog {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A text names no sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// In clear, and not to this machine.
    #[error("HTTP in clear goes to this machine alone; name an https:// URL")]
    Clear,
    /// A user or a password.
    #[error("others see arguments: put credentials into a file for --header-file")]
    Credentials,
    /// None of the forms.
    #[error(
        "no sink is named so; there are file:PATH, stdout, https://…, otlp+https://…/v1/logs and syslog+tls://HOST:PORT"
    )]
    Form,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if ["-", "stdout"].contains(&text) {
            return Ok(Self::Stdout);
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::File(path.into()));
        }
        if let Some(url) = text.strip_prefix("otlp+") {
            return http(url).map(Self::Otlp);
        }
        match text.strip_prefix("syslog+tls://") {
            Some(authority) => {
                let (host, port) = host_and_port(authority)?;
                let port = port.ok_or(TargetError::Form)?;
                Ok(Self::Syslog { host, port })
            }
            None => http(text).map(Self::Http),
        }
    }
}

impl Target {
    /// What the sink is called in messages: no path and no query, which may be confidential.
    #[must_use]
    pub fn name(&self) -> String {
        let site = |url: &str| {
            let end = url.match_indices(['/', '?']).nth(2).map_or(url.len(), |(end, _)| end);
            url.get(..end).unwrap_or_default().to_owned()
        };
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Http(url) => site(url),
            Self::Otlp(url) => format!("otlp+{}", site(url)),
            Self::Stdout => "stdout".into(),
            Self::Syslog { host, port } => format!("syslog+tls://{host}:{port}"),
        }
    }
}

fn http(url: &str) -> Result<String, TargetError> {
    let (is_clear, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err(TargetError::Form),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, _) = host_and_port(authority)?;
    if !url.chars().all(|c| c.is_ascii_graphic()) || url.contains('#') {
        return Err(TargetError::Form);
    }
    let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_clear && !is_here { Err(TargetError::Clear) } else { Ok(url.into()) }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), TargetError> {
    if authority.contains('@') {
        return Err(TargetError::Credentials);
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(TargetError::Form)?)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    let port = port.map(|port| port.parse().map_err(|_| TargetError::Form)).transpose()?;
    if is_host { Ok((host.into(), port)) } else { Err(TargetError::Form) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_names_its_sink() {
        let syslog = |host: &str| Target::Syslog { host: host.into(), port: 6514 };
        for (text, expected) in [
            ("-", Target::Stdout),
            ("stdout", Target::Stdout),
            ("file:a/b", Target::File("a/b".into())),
            ("https://siem.example/in?x=1", Target::Http("https://siem.example/in?x=1".into())),
            ("http://127.0.0.1:80/", Target::Http("http://127.0.0.1:80/".into())),
            ("http://localhost", Target::Http("http://localhost".into())),
            ("http://[::1]:80", Target::Http("http://[::1]:80".into())),
            ("otlp+https://c.example/v1/logs", Target::Otlp("https://c.example/v1/logs".into())),
            ("syslog+tls://log.example:6514", syslog("log.example")),
            ("syslog+tls://[::1]:6514", syslog("::1")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_goes_in_clear_to_others_or_shows_a_password_is_no_sink() {
        use TargetError as E;
        for (text, expected) in [
            ("http://siem.example/", E::Clear),
            ("http://10.0.0.1/", E::Clear),
            ("http://127.0.0.1.example/", E::Clear),
            ("otlp+http://c.example/v1/logs", E::Clear),
            ("https://u:p@siem.example/", E::Credentials),
            ("http://localhost@siem.example/", E::Credentials),
            ("syslog+tls://u@log.example:6514", E::Credentials),
            ("", E::Form),
            ("file:", E::Form),
            ("a.jsonl", E::Form),
            ("ftp://x/", E::Form),
            ("https://", E::Form),
            ("https://x y/", E::Form),
            ("https://x:99999/", E::Form),
            ("syslog+tls://log.example", E::Form),
            ("syslog://log.example:514", E::Form),
        ] {
            assert_eq!(text.parse::<Target>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_name_in_messages_has_no_path() {
        let name = |text: &str| text.parse::<Target>().unwrap().name();
        assert_eq!(name("https://siem.example:8/in?key=1"), "https://siem.example:8");
        assert_eq!(
            name("https://siem.example?key=1"),
            "https://siem.example?key=1".split('?').next().unwrap()
        );
        assert_eq!(name("otlp+http://localhost"), "otlp+http://localhost");
    }
}
