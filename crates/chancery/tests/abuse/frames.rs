//! HTTP/2 by hand (RFC 9113), so that a test can send what no honest client sends.
//!
//! Header blocks are literals without indexing and without Huffman code (RFC 7541, 6.2.2). Of answers the status
//! is read, which stands first, and the data. What it deliberately does not do: keep to the other side's windows
//! or settings, unless a test does.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use crate::wire::{Stream, Wire};

/// The types of frames (RFC 9113, 6).
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags (RFC 9113, 6.1 and 6.2).
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// The window of a new stream, by the setting of that number (RFC 9113, 6.5.2).
pub(super) const INITIAL_WINDOW: u16 = 4;

/// `REFUSED_STREAM`: nothing was done (RFC 9113, 7).
pub(super) const REFUSED_STREAM: u32 = 7;

/// The longest payload of a frame (RFC 9113, 4.2).
pub(super) const FRAME_BYTES: usize = 16 * 1024;

/// The window of a connection at first, in bytes (RFC 9113, 6.9.2).
const WINDOW_BYTES: i64 = 65_535;

/// What every client begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) status: Option<u16>,
    pub(super) body: Vec<u8>,
    pub(super) is_whole: bool,
    pub(super) reset: Option<u32>,
}

impl Fate {
    /// Whether nothing more comes.
    pub(super) fn is_settled(&self) -> bool {
        self.is_whole || self.reset.is_some()
    }

    /// The code in a problem's body.
    pub(super) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json["code"].as_str().unwrap_or("no code").into()
    }
}

/// A connection.
pub(super) struct Http2 {
    stream: Stream,
    unread: Vec<u8>,
    /// What is known of each stream.
    pub(super) fates: BTreeMap<u32, Fate>,
    /// Why the other side goes away, if it does.
    pub(super) gone: Option<u32>,
    /// What may still be sent by the other side's windows: of the connection, and of its streams.
    windows: BTreeMap<u32, i64>,
    stream_window: i64,
}

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            put_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn put_length(out: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return out.push(u8::try_from(length).unwrap());
    }
    out.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

impl Http2 {
    /// Connects, with these settings of ours.
    pub(super) fn connect(wire: &Wire, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (setting, value) in settings {
            payload.extend(setting.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut http2 = Self {
            stream: wire.over_http2().connect(),
            unread: Vec::new(),
            fates: BTreeMap::new(),
            gone: None,
            windows: BTreeMap::from([(0, WINDOW_BYTES)]),
            stream_window: WINDOW_BYTES,
        };
        // What waits for a window to open waits for no acknowledgement besides.
        http2.stream.sock.set_nodelay(true).unwrap();
        let first = [PREFACE, &frame(kind::SETTINGS, 0, 0, &payload)].concat();
        http2.send(&first).unwrap();
        http2
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// How long a read waits.
    pub(super) fn patience(&self, most: Duration) {
        self.stream.sock.set_read_timeout(Some(most)).unwrap();
    }

    /// Begins a request; with `END_STREAM` among the flags it is whole.
    pub(super) fn request(&mut self, stream: u32, flags: u8, block: &[u8]) -> io::Result<()> {
        self.send(&frame(kind::HEADERS, flags | END_HEADERS, stream, block))
    }

    /// Sends as much of `data` as the windows allow, and says how much that was.
    pub(super) fn send_in_windows(&mut self, stream: u32, data: &[u8]) -> io::Result<usize> {
        let first = self.stream_window;
        let of_stream = *self.windows.entry(stream).or_insert(first);
        let allowed = usize::try_from(of_stream.min(self.windows[&0])).unwrap_or(0).min(data.len());
        if allowed > 0 {
            self.send(&frame(kind::DATA, 0, stream, &data[..allowed]))?;
            for window in [0, stream] {
                *self.windows.get_mut(&window).unwrap() -= i64::try_from(allowed).unwrap();
            }
        }
        Ok(allowed)
    }

    /// Sends a request with its body, as fast as the windows allow.
    pub(super) fn put(&mut self, stream: u32, block: &[u8], mut body: &[u8]) -> io::Result<()> {
        self.request(stream, 0, block)?;
        while !body.is_empty() {
            match self.send_in_windows(stream, &body[..body.len().min(FRAME_BYTES)])? {
                0 if self.read()?.is_none() => return Err(io::ErrorKind::UnexpectedEof.into()),
                sent => body = &body[sent..],
            }
        }
        self.send(&frame(kind::DATA, END_STREAM, stream, &[]))
    }

    /// The status of an answer, of which no more may have come.
    pub(super) fn status(&mut self, stream: u32) -> Option<u16> {
        while self.fates.get(&stream).and_then(|fate| fate.status).is_none() {
            self.read().expect("an answer in time")?;
        }
        self.fates[&stream].status
    }

    /// Reads one frame and takes note of it. `None` at the end of the connection.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if none comes for as long as [`Self::patience`] says.
    pub(super) fn read(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take() {
                self.note(&frame)?;
                return Ok(Some(frame));
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(count @ 1..) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }

    /// Reads until nothing more comes on a stream, or the connection ends.
    pub(super) fn fate(&mut self, stream: u32) -> Fate {
        while !self.fates.get(&stream).is_some_and(Fate::is_settled) {
            if self.read().expect("an answer in time").is_none() {
                break;
            }
        }
        self.fates.get(&stream).cloned().unwrap_or_default()
    }

    /// Waits for the end of the connection and answers nothing that comes before.
    pub(super) fn wait_for_end(&mut self) {
        while matches!(self.stream.read(&mut [0; 1_024]), Ok(1..)) {}
    }

    fn take(&mut self) -> Option<Frame> {
        let head: [u8; 9] = *self.unread.first_chunk()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if self.unread.len() < 9 + length {
            return None;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.unread[9..9 + length].to_vec();
        self.unread.drain(..9 + length);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn note(&mut self, frame: &Frame) -> io::Result<()> {
        let number = |at: usize| {
            frame.payload.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap()))
        };
        match frame.kind {
            kind::DATA | kind::HEADERS => {
                let fate = self.fates.entry(frame.stream).or_default();
                fate.is_whole |= frame.flags & END_STREAM != 0;
                if frame.kind == kind::HEADERS {
                    fate.status = fate.status.or(status(&frame.payload));
                } else {
                    fate.body.extend_from_slice(&frame.payload);
                }
            }
            kind::RST_STREAM => {
                self.fates.entry(frame.stream).or_default().reset = number(0);
            }
            kind::GOAWAY => self.gone = number(4),
            kind::SETTINGS if frame.flags & ACK == 0 => {
                for setting in frame.payload.chunks_exact(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    if u16::from_be_bytes([setting[0], setting[1]]) == INITIAL_WINDOW {
                        self.stream_window = value.into();
                    }
                }
                self.answer(kind::SETTINGS, &[])?;
            }
            kind::PING if frame.flags & ACK == 0 => self.answer(kind::PING, &frame.payload)?,
            kind::WINDOW_UPDATE => {
                let first = if frame.stream == 0 { WINDOW_BYTES } else { self.stream_window };
                *self.windows.entry(frame.stream).or_insert(first) +=
                    i64::from(number(0).unwrap_or(0));
            }
            _ => {}
        }
        Ok(())
    }

    /// Acknowledges; one that has closed by then need not hear it.
    fn answer(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        match self.send(&frame(kind, ACK, 0, payload)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// The status in a header block, where it stands first (RFC 7541, 6.1, 6.2 and Appendix A).
fn status(block: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // Changes of the table's size may stand before (RFC 7541, 6.3).
    let first = block.iter().position(|byte| byte >> 5 != 1)?;
    let (byte, rest) = block[first..].split_first()?;
    if byte & 0x80 != 0 {
        return INDEXED.get(usize::from(byte & 0x7f).checked_sub(8)?).copied();
    }
    let (length, text) = rest.split_first()?;
    let text = text.get(..usize::from(length & 0x7f))?;
    let digits = if length & 0x80 == 0 { text.to_vec() } else { huffman_digits(text)? };
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Three digits in Huffman code: `0` to `2` have five bits, the others six (RFC 7541, Appendix B).
fn huffman_digits(text: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<u8> =
        text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let mut at = 0;
    let mut digits = Vec::new();
    for _ in 0..3 {
        let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
        let five = value(bits.get(at..at + 5)?);
        if five < 3 {
            digits.push(b'0' + five);
            at += 5;
        } else {
            digits.push(value(bits.get(at..at + 6)?).checked_sub(0x19)? + b'3');
            at += 6;
        }
    }
    Some(digits)
}

#[test]
fn a_status_is_read_in_each_of_its_forms() {
    assert_eq!(status(&[0x88]), Some(200));
    assert_eq!(status(&[0x20, 0x8c]), Some(400));
    assert_eq!(status(&[0x48, 3, b'4', b'1', b'3']), Some(413));
    // `302` as in RFC 7541, C.6.1.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
}
