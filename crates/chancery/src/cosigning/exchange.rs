//! One request to a witness over HTTP, and its answer.
//!
//! What is said is no secret and a cosignature proves itself, so that HTTP in clear does. Over TLS the authorities
//! are those of a file; none of the system's are known here.
//!
//! **Invariant:** an answer comes before its deadline, is of a bounded length, and is one that a witness gives.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chancery_log::note::{NOTE_BYTES_MAX, Note, NoteError};
use chancery_log::witness::{
    ADD_CHECKPOINT_PATH, ANSWER_BYTES_MAX, AddCheckpoint, Answer, AnswerError,
};
use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::files::read_text;

/// The longest file of authorities, in bytes: 1 MiB, more than a system's whole list.
const CA_BYTES_MAX: usize = 1024 * 1024;

/// How long a connection is kept for the next request: 5 s. Our witness closes it after 10 s, and a request may not
/// meet that.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// No answer came, or one that no witness gives.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The answer is none of a witness.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// What is published is no note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The request could not be sent, or no answer came in time.
    #[error("{0}")]
    Http(#[from] ureq::Error),
}

/// How witnesses are reached.
pub(crate) struct Exchange {
    agent: Agent,
}

impl Exchange {
    /// Over HTTP, and over HTTPS as far as the authorities in `ca` vouch for it.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self> {
        let authorities = ca.map(authorities).transpose()?.unwrap_or_default();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .root_certs(RootCerts::new_with_certs(&authorities))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_idle_age(IDLE_MAX)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .build();
        Ok(Self { agent: config.new_agent() })
    }

    /// Asks the witness at `url`.
    pub(crate) fn ask(
        &self,
        url: &str,
        request: &AddCheckpoint,
        deadline: Instant,
    ) -> Result<Answer, ExchangeError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let url = format!("{}{ADD_CHECKPOINT_PATH}", url.trim_end_matches('/'));
        let asking = self.agent.post(url).config().timeout_global(Some(left)).build();
        let asking = asking.content_type("text/plain; charset=utf-8");
        let mut response = asking.send(request.to_string())?;
        let most = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
        let body = response.body_mut().with_config().limit(most).read_to_vec()?;
        let media = response.headers().get("content-type").and_then(|media| media.to_str().ok());
        Ok(Answer::parse(response.status().as_u16(), media, &body)?)
    }

    /// Reads a note that somebody publishes.
    pub(crate) fn note(&self, url: &str, deadline: Instant) -> Result<Note, ExchangeError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut response =
            self.agent.get(url).config().timeout_global(Some(left)).build().call()?;
        if response.status().as_u16() != 200 {
            return Err(AnswerError::Status { status: response.status().as_u16() }.into());
        }
        let most = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX);
        let body = response.body_mut().with_config().limit(most).read_to_vec()?;
        Ok(Note::parse(&body)?)
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let what = || format!("`{}` is no list of certificates in PEM", path.display());
    let text = read_text(path, CA_BYTES_MAX)?;
    let items = parse_pem(text.as_bytes()).collect::<Result<Vec<_>, _>>().with_context(what)?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        bail!(what());
    }
    Ok(certificates)
}
