//! Frames between front and signer.
//!
//! ```text
//! offset  size  field
//! 0       1     format version, 1
//! 1       1     kind
//! 2       2     reserved, 0
//! 4       4     length of the body, big-endian, at most 2 MiB
//! 8       8     tag, big-endian: chosen by the front, repeated in the answer
//! 16      …     body, canonical CBOR
//! ```
//!
//! **Invariant:** a frame is refused by its header before a byte of its body is kept, and a stream that
//! has sent one bad header is closed: there is no way back into step.

use chancery_core::cbor;
use chancery_core::limits::FRAME_BYTES_MAX;

/// The bytes of a header.
pub const HEADER_BYTES: usize = 16;

/// The version of the frame format.
const FORMAT: u8 = 1;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A [`crate::message::UseRequest`], from the front.
    Use = 1,
    /// A [`crate::message::UseReply`].
    UseReply = 2,
    /// A [`crate::message::CommandRequest`], from the front.
    Command = 3,
    /// A [`crate::message::CommandReply`].
    CommandReply = 4,
    /// A [`crate::message::HealthRequest`], from the front.
    Health = 5,
    /// A [`crate::message::HealthReply`].
    HealthReply = 6,
    /// A [`crate::message::CertificateRequest`], from the front.
    Certificate = 7,
    /// A [`crate::message::CertificateReply`].
    CertificateReply = 8,
    /// A [`crate::message::PublicRequest`], from the front.
    Public = 9,
    /// A [`crate::message::PublicReply`].
    PublicReply = 10,
}

/// Reserved for sealed sessions (HPKE to the signer's pinned key); no frame of these kinds is taken yet.
pub const KINDS_SEALED_SESSION: std::ops::RangeInclusive<u8> = 32..=35;

/// A header, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame carries.
    pub kind: Kind,
    /// The bytes of its body.
    pub length: u32,
    /// What ties an answer to its request.
    pub tag: u64,
}

/// The bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The version or the reserved bytes are others.
    #[error("not a frame of version {FORMAT}")]
    BadHeader,
    /// The body would be longer than a frame may be.
    #[error("a frame of {found} bytes; the most is {FRAME_BYTES_MAX}")]
    TooLong {
        /// The length in the header.
        found: u32,
    },
    /// The kind is unknown, or reserved.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Use,
        Self::UseReply,
        Self::Command,
        Self::CommandReply,
        Self::Health,
        Self::HealthReply,
        Self::Certificate,
        Self::CertificateReply,
        Self::Public,
        Self::PublicReply,
    ];

    fn from_number(number: u8) -> Result<Self, FrameError> {
        let kind = Self::ALL.into_iter().find(|kind| *kind as u8 == number);
        kind.ok_or(FrameError::UnknownKind(number))
    }
}

impl Header {
    /// Parses a header.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream is of no more use.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [version, kind, 0, 0, l0, l1, l2, l3, t0, t1, t2, t3, t4, t5, t6, t7] = *bytes else {
            return Err(FrameError::BadHeader);
        };
        if version != FORMAT {
            return Err(FrameError::BadHeader);
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if usize::try_from(length).unwrap_or(usize::MAX) > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { found: length });
        }
        let tag = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        Ok(Self { kind: Kind::from_number(kind)?, length, tag })
    }

    /// The sixteen bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (head, tag) = bytes.split_at_mut(8);
        let (start, length) = head.split_at_mut(4);
        start.copy_from_slice(&[FORMAT, self.kind as u8, 0, 0]);
        length.copy_from_slice(&self.length.to_be_bytes());
        tag.copy_from_slice(&self.tag.to_be_bytes());
        bytes
    }
}

/// Appends a frame to `out`: header, then the canonical encoding of `body`.
///
/// # Errors
///
/// [`FrameError::TooLong`] if the body is longer than a frame may be; `out` is as it was.
pub fn write<T: minicbor::Encode<()>>(
    out: &mut Vec<u8>,
    kind: Kind,
    tag: u64,
    body: &T,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    cbor::append(out, body);
    let length = u32::try_from(out.len() - start - HEADER_BYTES).unwrap_or(u32::MAX);
    if usize::try_from(length).unwrap_or(usize::MAX) > FRAME_BYTES_MAX {
        out.truncate(start);
        return Err(FrameError::TooLong { found: length });
    }
    let header = Header { kind, length, tag }.to_bytes();
    if let Some(place) = out.get_mut(start..start + HEADER_BYTES) {
        place.copy_from_slice(&header);
    }
    Ok(())
}

/// Takes the frames out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
}

impl Decoder {
    /// Adds bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed == self.buffer.len() {
            self.buffer.clear();
        } else if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
        }
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<(Header, &[u8])>, FrameError> {
        let rest = self.buffer.get(self.consumed..).unwrap_or_default();
        let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::parse(header)?;
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let Some(body) = body.get(..length) else { return Ok(None) };
        self.consumed += HEADER_BYTES + length;
        Ok(Some((header, body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, Kind::Use, tag, &vec![1_u64, 2, 3]).unwrap();
        out
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let bytes = [frame(1), frame(2), frame(3)].concat();
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut tags = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some((header, body)) = decoder.next_frame().unwrap() {
                    assert_eq!(body, [0x83, 1, 2, 3]);
                    tags.push(header.tag);
                }
            }
            assert_eq!(tags, [1, 2, 3], "pieces of {size}");
        }
    }

    #[test]
    fn the_longest_frame_is_taken_and_one_byte_more_is_not() {
        let header = |length: usize| {
            let length = u32::try_from(length).unwrap();
            Header::parse(&Header { kind: Kind::Use, length, tag: 0 }.to_bytes())
        };
        assert!(header(FRAME_BYTES_MAX).is_ok());
        assert!(matches!(header(FRAME_BYTES_MAX + 1), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn unknown_versions_kinds_and_reserved_bytes_are_refused() {
        let mut decoder = Decoder::default();
        decoder.push(&[2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decoder.next_frame().unwrap_err(), FrameError::BadHeader);
        for kind in (0..=255).filter(|kind| !(1..=10).contains(kind)) {
            let bytes = [1, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(Header::parse(&bytes), Err(FrameError::UnknownKind(kind)));
        }
        let reserved = [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Header::parse(&reserved), Err(FrameError::BadHeader));
    }
}
