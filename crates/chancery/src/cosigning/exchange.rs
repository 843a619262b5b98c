//! One request to a witness over HTTP, and its answer.
//!
//! What is said is no secret and a cosignature proves itself, so that HTTP in clear does. Over TLS the authorities
//! are those of a file; none of the system's are known here.
//!
//! **Invariant:** an answer comes before its deadline, is of a bounded length, and is one that a witness gives.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use chancery_log::note::{NOTE_BYTES_MAX, Note, NoteError};
use chancery_log::witness::{
    ADD_CHECKPOINT_PATH, ANSWER_BYTES_MAX, AddCheckpoint, Answer, AnswerError,
};
use ureq::Agent;

use crate::authorities::Authorities;

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
        let config = Agent::config_builder()
            .tls_config(Authorities::load(ca)?.of_http())
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
