//! Every bound of the front that is not one of the API, each with its unit and its reason.

use std::time::Duration;

use chancery_api::chancery_core::limits::{BATCH_ITEMS_MAX, FRAME_BYTES_MAX, REQUEST_BYTES_MAX};
use chancery_api::token::TOKEN_BYTES_MAX;

/// The longest head of a request, in bytes: 16 KiB. The longest handle takes 5.5 KiB of it, sixteen proofs 3 KiB.
pub(crate) const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// The most header fields of a request: 64; ours and a proxy's are under 30.
pub(crate) const HEADERS_MAX: usize = 64;

/// The most requests at once on one HTTP/2 connection: 128, as many as RFC 9113, 6.5.2, advises at least.
pub(crate) const STREAMS_MAX: u32 = 128;

/// The most streams that a peer may reset before they were served (CVE-2023-44487): 20.
pub(crate) const PENDING_RESETS_MAX: usize = 20;

/// The most streams that may be reset for a peer's own faults on one connection: 64.
pub(crate) const ERROR_RESETS_MAX: usize = 64;

/// The window of one HTTP/2 stream, in bytes: 64 KiB, the longest message.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// The window of an HTTP/2 connection, in bytes: 256 KiB, which bounds what one peer makes us buffer.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// What one HTTP/1.1 connection buffers of a request, in bytes: 32 KiB, twice the longest head.
pub(crate) const READ_BUFFER_BYTES: usize = 32 * 1024;

/// The most bytes of bodies in memory in one runtime: 64 MiB; beyond, requests are answered 429.
pub(crate) const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most bytes of answers that are not sent yet in one runtime: 64 MiB, as many as of the bodies that they answer;
/// beyond, requests are answered 429. A peer that takes no answer holds them for as long as a connection may rest.
pub(crate) const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The longest answer, in bytes: 4 MiB. The longest frame takes 2.7 in base64, and the JSON around 256 items less than
/// one. A request that would not find room for it is refused before it is begun.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many connections it takes to fill a runtime's room for bodies or for answers: 4. So one has 16 MiB, ten of the
/// longest bodies at once.
pub(crate) const CONNECTIONS_TO_FILL_A_ROOM: usize = 4;

/// The most bytes of a refused request that are read and thrown away: twice the longest request.
pub(crate) const DISCARD_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;

/// How long they are read: 2 seconds, time for a sender to notice the answer.
pub(crate) const DISCARD_DEADLINE: Duration = Duration::from_secs(2);

/// The most bytes that wait to be written to the signer in one runtime: 8 MiB; beyond, 429.
pub(crate) const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The first and the longest wait before the signer is tried again.
pub(crate) const RECONNECT_MIN: Duration = Duration::from_millis(50);

/// See [`RECONNECT_MIN`]: short enough that a signer that came back serves within two seconds.
pub(crate) const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// How long the signer may take to say how it is.
pub(crate) const HEALTH_DEADLINE: Duration = Duration::from_secs(1);

/// How long the signer may take to certify a key.
pub(crate) const CERTIFICATE_DEADLINE: Duration = Duration::from_secs(10);

/// How often it is looked whether the certificate is due: hourly, against a life of days.
pub(crate) const CERTIFICATE_CHECK: Duration = Duration::from_hours(1);

/// How long the accept loop rests after an error such as no free descriptor.
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How many TLS sessions are remembered for resumption, in memory alone: one for each connection there may be.
pub(crate) const SESSIONS_MAX: usize = 4_096;

/// The most lines to standard error in one second.
pub(crate) const REPORTS_PER_SECOND: u32 = 10;

/// How long a front waits for its peers, and how many it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontLimits {
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of a request may take, from its first byte.
    pub head: Duration,
    /// How long the body of a request may take.
    pub body: Duration,
    /// How long a connection may be without a request.
    pub idle: Duration,
    /// How long a request may take as a whole.
    pub request: Duration,
    /// How long requests in flight may take after the front was told to stop.
    pub stop: Duration,
    /// The most connections.
    pub connections: usize,
    /// The most connections of one source: an IPv4 address, or 64 bits of an IPv6 address.
    pub connections_per_source: usize,
}

impl FrontLimits {
    /// What a front runs with.
    pub const STANDARD: Self = Self {
        // A handshake over a bad line takes two round trips and retransmissions.
        handshake: Duration::from_secs(5),
        head: Duration::from_secs(10),
        // 1.5 MiB at 1 Mbit/s.
        body: Duration::from_secs(15),
        // Longer than the usual keep-alive of pools, shorter than that of middleboxes.
        idle: Duration::from_mins(1),
        request: Duration::from_secs(30),
        stop: Duration::from_secs(5),
        // At 4 descriptors each this is far under the usual limit of 65 536.
        connections: 4_096,
        // A source behind one address of a cluster still leaves room for seven more.
        connections_per_source: 512,
    };
}

// A handle, sixteen proofs of 136 bytes in base64, and 4 KiB of other fields fit in a head.
const _: () = assert!(TOKEN_BYTES_MAX + 16 * 136 / 3 * 4 + 4_096 <= HEAD_BYTES_MAX as usize);
// One longest body fits in a connection's room for bodies, and one longest frame in the queue.
const _: () = assert!(
    REQUEST_BYTES_MAX <= BODIES_BYTES_MAX / CONNECTIONS_TO_FILL_A_ROOM
        && FRAME_BYTES_MAX <= QUEUE_BYTES_MAX
);
// One longest answer holds a frame in base64, and fits in a connection's room with others.
const _: () = assert!(
    FRAME_BYTES_MAX / 3 * 4 + BATCH_ITEMS_MAX * 4_096 <= ANSWER_BYTES_MAX
        && 2 * ANSWER_BYTES_MAX <= ANSWERS_BYTES_MAX / CONNECTIONS_TO_FILL_A_ROOM
);
