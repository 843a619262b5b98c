//! What a witness answers.
//!
//! What it refuses has a status of its own for each reason, and a body that a program reads only where that is
//! the size to go on from.

use std::fmt::Write as _;

use crate::checkpoint::parse_decimal;
use crate::note::{NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX, NoteSignature};
use crate::tree::TREE_SIZE_MAX;

/// The media type of the size in a 409.
pub const MEDIA_SIZE: &str = "text/x.tlog.size";

/// The longest answer that is read: as long as a note, since its lines go under one.
pub const ANSWER_BYTES_MAX: usize = NOTE_BYTES_MAX;

/// The witness does not cosign. In the order of their statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: it is no request, or its old size is above that of its checkpoint.
    #[error("the request is malformed, or its old size is above the checkpoint's")]
    Request,
    /// 403: no log that the witness knows by that origin signed it.
    #[error("no key that is known for the origin signed the checkpoint")]
    Unsigned,
    /// 404: the witness does not know the origin.
    #[error("the origin is unknown")]
    UnknownOrigin,
    /// 409: the old size is not that of the checkpoint that was cosigned last.
    #[error("the checkpoint that was cosigned last has {latest} records")]
    OldSize {
        /// The size that was cosigned last, or 0.
        latest: u64,
    },
    /// 422: the checkpoint does not continue the one that was cosigned last.
    #[error("the checkpoint is not proved to continue the one that was cosigned last")]
    Inconsistent,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was cosigned; whether the signatures hold was not looked at.
    Cosigned(Vec<NoteSignature>),
    /// It was refused.
    Refused(Refusal),
}

/// The answer is none that a witness gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The body is not what its status asks for.
    #[error("the body of the answer with status {status} is not of the form it must be")]
    Body {
        /// The status.
        status: u16,
    },
    /// No witness answers with that status.
    #[error("the answer has status {status}")]
    Status {
        /// The status.
        status: u16,
    },
}

impl Refusal {
    /// Its status in HTTP.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Request => 400,
            Self::Unsigned => 403,
            Self::UnknownOrigin => 404,
            Self::OldSize { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

impl Answer {
    /// Its status in HTTP.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Cosigned(_) => 200,
            Self::Refused(refusal) => refusal.status(),
        }
    }

    /// The media type of its body.
    #[must_use]
    pub fn media(&self) -> &'static str {
        match self {
            Self::Refused(Refusal::OldSize { .. }) => MEDIA_SIZE,
            Self::Cosigned(_) | Self::Refused(_) => "text/plain; charset=utf-8",
        }
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Cosigned(lines) => lines.iter().fold(String::new(), |mut body, line| {
                // Writing to a `String` cannot fail.
                let _ = write!(body, "{line}");
                body
            }),
            Self::Refused(Refusal::OldSize { latest }) => format!("{latest}\n"),
            Self::Refused(refusal) => format!("{refusal}\n"),
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if no witness answers so.
    pub fn parse(status: u16, media: Option<&str>, body: &[u8]) -> Result<Self, AnswerError> {
        let refused = AnswerError::Body { status };
        Ok(match status {
            200 => Self::Cosigned(parse_lines(body).ok_or(refused)?),
            400 => Self::Refused(Refusal::Request),
            403 => Self::Refused(Refusal::Unsigned),
            404 => Self::Refused(Refusal::UnknownOrigin),
            409 => {
                let latest = (media == Some(MEDIA_SIZE)).then(|| parse_size(body)).flatten();
                Self::Refused(Refusal::OldSize { latest: latest.ok_or(refused)? })
            }
            422 => Self::Refused(Refusal::Inconsistent),
            status => return Err(AnswerError::Status { status }),
        })
    }
}

fn parse_size(body: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    parse_decimal(line).filter(|size| *size <= TREE_SIZE_MAX)
}

fn parse_lines(body: &[u8]) -> Option<Vec<NoteSignature>> {
    if body.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let lines = std::str::from_utf8(body).ok()?.strip_suffix('\n')?.split('\n');
    // One more than may be there is enough to refuse them.
    let lines: Option<Vec<_>> =
        lines.take(NOTE_SIGNATURES_MAX + 1).map(NoteSignature::parse).collect();
    lines.filter(|lines| lines.len() <= NOTE_SIGNATURES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the example of the specification.
    const LINE: &str = "\u{2014} witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==\n";

    const REFUSALS: [Refusal; 5] = [
        Refusal::Request,
        Refusal::Unsigned,
        Refusal::UnknownOrigin,
        Refusal::OldSize { latest: 20_852_163 },
        Refusal::Inconsistent,
    ];

    fn again(answer: &Answer) -> Result<Answer, AnswerError> {
        Answer::parse(answer.status(), Some(answer.media()), answer.body().as_bytes())
    }

    #[test]
    fn every_answer_is_read_as_it_is_written() {
        for refusal in REFUSALS {
            let answer = Answer::Refused(refusal);
            assert_eq!(again(&answer), Ok(answer));
        }
        for count in [1, 2, NOTE_SIGNATURES_MAX] {
            let body = LINE.repeat(count);
            let answer = Answer::parse(200, None, body.as_bytes()).unwrap();
            assert_eq!((answer.body(), again(&answer)), (body, Ok(answer)));
        }
    }

    #[test]
    fn every_reason_has_its_status() {
        assert_eq!(REFUSALS.map(Refusal::status), [400, 403, 404, 409, 422]);
        let size = Answer::Refused(Refusal::OldSize { latest: 0 });
        assert_eq!((size.body().as_str(), size.media()), ("0\n", "text/x.tlog.size"));
    }

    #[test]
    fn signature_lines_of_another_form_are_refused() {
        let beyond = LINE.repeat(NOTE_SIGNATURES_MAX + 1);
        let long = format!("\u{2014} w {}\n", "A".repeat(ANSWER_BYTES_MAX));
        for body in
            ["", "\n", "cosigned\n", LINE.trim_end(), &format!("\n{LINE}"), &format!("{LINE}\n")]
                .into_iter()
                .chain([LINE.trim_start_matches('\u{2014}'), &beyond, &long])
        {
            let refused = Answer::parse(200, None, body.as_bytes());
            assert_eq!(refused, Err(AnswerError::Body { status: 200 }), "{body:?}");
        }
        assert!(Answer::parse(200, None, b"\xff\n").is_err());
    }

    #[test]
    fn a_size_of_another_form_is_refused() {
        for body in ["", "7", "07\n", "+7\n", " 7\n", "7\n\n", "7\r\n", "9223372036854775808\n"] {
            let refused = Answer::parse(409, Some(MEDIA_SIZE), body.as_bytes());
            assert_eq!(refused, Err(AnswerError::Body { status: 409 }), "{body:?}");
        }
        for media in [None, Some("text/plain"), Some("text/x.tlog.size; charset=utf-8")] {
            assert!(Answer::parse(409, media, b"7\n").is_err(), "{media:?}");
        }
    }

    #[test]
    fn no_witness_answers_with_another_status() {
        for status in [0, 100, 201, 204, 301, 401, 413, 500, 503] {
            let refused = Answer::parse(status, None, LINE.as_bytes());
            assert_eq!(refused, Err(AnswerError::Status { status }));
        }
    }
}
