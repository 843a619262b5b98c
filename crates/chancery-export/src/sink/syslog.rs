//! Syslog (RFC 5424) over TLS (RFC 5425).
//!
//! ```text
//! 814 <110>1 2026-11-24T06:00:00.000Z host chancery - sign - {"class_uid":6003,…}
//! ```
//!
//! Each message has its length in front (RFC 5425, 4.3); facility 13 is the log audit, severity 6 or 4 by the outcome, and
//! the message id names what was done.
//!
//! The protocol has no acknowledgement. A connection carries one batch: the batch, `close_notify`, and then the end of what
//! the receiver says is waited for. A receiver ends its side when it has read to the end of ours, so that a batch which was
//! lost in buffers on the way is noticed and sent again. What the receiver does with it is not known here.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};

use super::{LossKind, Sink, SinkError};
use crate::event::Event;
use crate::moment;
use crate::record::Outcome;

/// The facility of audits (RFC 5424, 6.2.1).
const LOG_AUDIT: u8 = 13;

/// The longest host name (RFC 5424, 6).
const HOST_CHARS_MAX: usize = 255;

/// The longest message id (RFC 5424, 6).
const MESSAGE_ID_CHARS_MAX: usize = 32;

/// A receiver of syslog.
pub struct SyslogSink {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    attempt: Duration,
    /// What this machine is called.
    here: String,
}

impl SyslogSink {
    /// A receiver who is reached by that TLS; each attempt ends within `attempt`.
    ///
    /// # Errors
    ///
    /// [`rustls::Error`] if the host has no name that a certificate can have.
    pub fn new(
        host: String,
        port: u16,
        (tls, attempt): (Arc<ClientConfig>, Duration),
    ) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from(host.clone())
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self { host, port, name, tls, attempt, here: host_name() })
    }

    fn send(&self, frames: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + self.attempt;
        let mut socket = Bounded::connect(&self.host, self.port, deadline)?;
        let client = ClientConnection::new(Arc::clone(&self.tls), self.name.clone());
        let mut client = client.map_err(io::Error::other)?;
        let mut stream = Stream::new(&mut client, &mut socket);
        stream.write_all(frames)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        while stream.conn.wants_write() {
            stream.conn.write_tls(stream.sock)?;
        }
        read_to_end(&mut stream)
    }
}

/// Until the receiver has ended its side, with a `close_notify` or without.
fn read_to_end(stream: &mut Stream<'_, ClientConnection, Bounded>) -> io::Result<()> {
    let mut said = [0; 1024];
    loop {
        match stream.read(&mut said) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

impl Sink for SyslogSink {
    fn deliver(&mut self, batch: &[Event]) -> Result<(), SinkError> {
        let frames: String = batch.iter().map(|event| frame(event, &self.here)).collect();
        self.send(frames.as_bytes()).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => LossKind::Timeout,
                // What TLS refuses comes as invalid data.
                io::ErrorKind::InvalidData => LossKind::Tls,
                _ => LossKind::Connection,
            };
            SinkError::lost(kind, &error)
        })
    }
}

/// A message with its length in front.
fn frame(event: &Event, host: &str) -> String {
    let severity = match event.outcome {
        Outcome::Committed => 6,
        Outcome::Refused => 4,
    };
    let priority = LOG_AUDIT * 8 + severity;
    let (time, id) = (moment::text(event.time_ms), header(&event.action, MESSAGE_ID_CHARS_MAX));
    let message = format!("<{priority}>1 {time} {host} chancery - {id} - {}", event.body);
    format!("{} {message}", message.len())
}

/// A field of the head: printable ASCII of a bounded length, or a dash.
fn header(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if text.is_empty() { "-".into() } else { text }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    header(&name, HOST_CHARS_MAX)
}

/// A connection on which nothing lasts past a deadline.
struct Bounded {
    socket: TcpStream,
    deadline: Instant,
}

impl Bounded {
    fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(socket) => return Ok(Self { socket, deadline }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// What is left of the time; a wait of none would be one without end.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl io::Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.deadline)?))?;
        self.socket.read(buffer)
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.deadline)?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    #[test]
    fn a_frame_is_a_length_and_a_message_of_rfc_5424() {
        let event = event(7);
        let framed = frame(&event, "host");
        let (length, message) = framed.split_once(' ').unwrap();
        assert_eq!(length.parse(), Ok(message.len()));
        let head = "<110>1 2025-11-24T06:05:05.007Z host chancery - sign - {";
        assert!(message.starts_with(head), "{message}");
        let refused = frame(&Event { outcome: Outcome::Refused, ..event }, "host");
        assert!(refused.contains(" <108>1 "), "{refused}");
    }

    #[test]
    fn a_field_of_the_head_is_printable_and_bounded() {
        assert_eq!(header("a b\nc\u{e9}", 32), "abc");
        assert_eq!(header("", 32), "-");
        assert_eq!(header(&"x".repeat(40), 32).len(), 32);
    }
}
