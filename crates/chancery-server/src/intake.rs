//! Heads and bodies of requests, within their bounds.

use std::rc::Rc;

use bytes::Bytes;
use chancery_api::chancery_core::limits::REQUEST_BYTES_MAX;
use chancery_api::chancery_core::reason::Reason;
use chancery_api::http::problem::{Code, FrontCode, Problem};
use chancery_api::http::{HttpError, MEDIA_JSON};
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::limits::{DISCARD_BYTES_MAX, DISCARD_DEADLINE, FrontLimits, HEADERS_MAX};
use crate::reply::Refusal;
use crate::room::{Room, Taken};

const BODY_TOO_LONG: HttpError = HttpError::TooLarge("a request has at most 1.5 MiB");

/// The one value of a field.
///
/// # Errors
///
/// [`HttpError::Malformed`] if it occurs twice or is not plain text.
pub(crate) fn field<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, HttpError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HttpError::Malformed(
            "a field that says something about the request occurs twice",
        ));
    }
    value.to_str().map(Some).map_err(|_| HttpError::Malformed("a field is not plain text"))
}

/// Checks what every request must keep to.
///
/// # Errors
///
/// A [`Refusal`] if there are too many fields.
pub(crate) fn check_head(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.len() > HEADERS_MAX {
        return Err(HttpError::TooLarge("a request has at most 64 header fields").into());
    }
    Ok(())
}

/// Checks that the body is declared as plain JSON.
///
/// # Errors
///
/// A [`Refusal`] if it is declared as anything else, or not at all.
pub(crate) fn check_media(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_json = field(headers, CONTENT_TYPE.as_str())? == Some(MEDIA_JSON);
    let is_plain = matches!(field(headers, CONTENT_ENCODING.as_str())?, None | Some("identity"));
    if is_json && is_plain {
        return Ok(());
    }
    let problem = Problem::refused(Code::Front(FrontCode::UnsupportedMediaType));
    Err(problem
        .because("`Content-Type` must be `application/json`, without `Content-Encoding`")
        .into())
}

/// Checks that there is no body.
///
/// # Errors
///
/// A [`Refusal`] if there is one.
pub(crate) fn check_no_body(body: &Incoming) -> Result<(), Refusal> {
    if body.is_end_stream() {
        Ok(())
    } else {
        Err(HttpError::Malformed("this route takes no body").into())
    }
}

/// A body in memory; gives its room back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    taken: Taken,
}

impl Held {
    fn nothing(room: &Rc<Room>) -> Self {
        Self { bytes: Vec::new(), taken: room.nothing() }
    }

    /// The body.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn add(&mut self, piece: &Bytes) -> Result<(), Refusal> {
        if self.bytes.len() + piece.len() > REQUEST_BYTES_MAX {
            return Err(BODY_TOO_LONG.into());
        }
        if !self.taken.add(piece.len()) {
            return Err(Problem::refused(Code::Reason(Reason::Overloaded)).into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// Reads a body. One that says that it is too long is refused unread.
///
/// # Errors
///
/// A [`Refusal`] if it is too long, comes too slowly or breaks off, or there is no room for it.
pub(crate) async fn read(
    body: &mut Incoming,
    room: &Rc<Room>,
    limits: &FrontLimits,
) -> Result<Held, Refusal> {
    let longest = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    if body.size_hint().lower() > longest {
        return Err(BODY_TOO_LONG.into());
    }
    let held = Held::nothing(room);
    let read = tokio::time::timeout(limits.body, read_on(body, held));
    read.await.unwrap_or_else(|_| Err(Problem::refused(Code::Front(FrontCode::BodyTimeout)).into()))
}

async fn read_on(body: &mut Incoming, mut held: Held) -> Result<Held, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| HttpError::Malformed("the body broke off"))?;
        if let Ok(piece) = frame.into_data() {
            held.add(&piece)?;
        }
    }
    Ok(held)
}

/// Takes what is left of a refused request's body and keeps none of it, so that its sender comes to read
/// the refusal: a stream that is closed with bytes unread is reset, and the answer is lost with it.
///
/// What says that it is longer than [`DISCARD_BYTES_MAX`] is dropped at once.
pub(crate) async fn discard(mut body: Incoming) {
    let mut left = DISCARD_BYTES_MAX;
    if body.size_hint().lower() > u64::try_from(left).unwrap_or(u64::MAX) {
        return;
    }
    let deadline = tokio::time::Instant::now() + DISCARD_DEADLINE;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(deadline, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_room_and_gives_it_back() {
        let room = Room::of_runtime(3);
        let mut held = Held::nothing(&room);
        held.add(&Bytes::from_static(b"abc")).unwrap();
        assert_eq!(held.bytes(), b"abc");
        assert!(!room.has(1));
        drop(held);
        assert!(room.has(3));
    }

    #[test]
    fn without_room_a_body_is_refused_and_may_come_again() {
        let mut held = Held::nothing(&Room::of_runtime(1));
        held.add(&Bytes::from_static(b"a")).unwrap();
        let problem = held.add(&Bytes::from_static(b"b")).unwrap_err();
        assert!(problem.status == 429 && problem.retry_after_ms.is_some());
    }

    #[test]
    fn the_longest_body_is_taken_and_one_byte_more_is_not() {
        let mut held = Held::nothing(&Room::of_runtime(2 * REQUEST_BYTES_MAX));
        held.add(&vec![b' '; REQUEST_BYTES_MAX].into()).unwrap();
        assert_eq!(held.add(&Bytes::from_static(b" ")).unwrap_err().status, 413);
    }

    #[test]
    fn a_field_that_occurs_twice_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append("a", "1".parse().unwrap());
        assert_eq!(field(&headers, "a"), Ok(Some("1")));
        assert_eq!(field(&headers, "b"), Ok(None));
        headers.append("a", "1".parse().unwrap());
        assert!(field(&headers, "a").is_err());
    }
}
