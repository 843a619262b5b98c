//! Every bound of a witness, each with its unit and its reason.

use std::time::Duration;

/// The most connections at once: 64. A log asks once in some seconds, and is answered in some milliseconds.
pub const CONNECTIONS_MAX: usize = 64;

/// The most connections of one source, an IPv4 address or 64 bits of an IPv6 address: 16, a quarter of all.
pub const CONNECTIONS_OF_SOURCE_MAX: usize = 16;

// Several sources share the whole without a rest.
const _: () = assert!(
    CONNECTIONS_OF_SOURCE_MAX < CONNECTIONS_MAX
        && CONNECTIONS_MAX.is_multiple_of(CONNECTIONS_OF_SOURCE_MAX)
);

/// How long the head of a request may take, and a connection may be without one: 10 s.
pub const HEAD_MAX: Duration = Duration::from_secs(10);

/// How long the body of a request may take: 10 s for 67 KiB.
pub const BODY_MAX: Duration = Duration::from_secs(10);

/// How long a connection may last: a minute, so that none is held for ever.
pub const CONNECTION_MAX: Duration = Duration::from_mins(1);

/// How long what is under way may take once a connection, or the witness, is to end: 5 s.
pub const STOP_MAX: Duration = Duration::from_secs(5);

/// How long the accept loop rests after an error such as no free descriptor.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);

/// The most bytes that a connection buffers: 16 KiB, the longest head; a witness' clients send under 1 KiB.
pub const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// The most header fields of a request: 32; ours and a proxy's are under 20.
pub const HEADERS_MAX: usize = 32;

/// The most keys of one log: 8. One signature of each is kept with its latest checkpoint.
pub const KEYS_OF_LOG_MAX: usize = 8;

/// How often a request is decided anew because another one was first: 8 times, more than threads compete.
pub const TURNS_MAX: usize = 8;

/// How many requests are decided at once: 4. The store commits one at a time.
pub const THREADS_MAX: usize = 4;
