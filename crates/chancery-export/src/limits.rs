//! Every bound of the export, each with its unit and its reason.

use std::time::Duration;

/// The most records that a batch may have: 4 000, about four megabytes.
pub const BATCH_RECORDS_MAX: u32 = 4_000;

/// The records of a batch that is sent somewhere unless another number is said: 500, about half a megabyte.
pub const BATCH_RECORDS: u32 = 500;

/// Those of a batch that is written on this machine: as many as may be, since each is synced, and the cursor after it.
pub const BATCH_RECORDS_HERE: u32 = BATCH_RECORDS_MAX;

/// The shortest wait after a failed attempt: 1 s.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest wait after a failed attempt, whatever the sink asks for: 60 s.
pub const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// The shortest wait that a sink can ask for: 100 ms, so that one that says "at once" each time is not asked in a loop.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// How long one attempt may take unless another time is said: 10 s for half a megabyte.
pub const ATTEMPT: Duration = Duration::from_secs(10);

/// How often the service is asked whether there is more: once a second, as often as it makes checkpoints.
pub const POLL: Duration = Duration::from_secs(1);

/// How often it is looked whether to stop: 50 ms.
pub const STOP_POLL: Duration = Duration::from_millis(50);

/// The longest answer of a sink that is read, in bytes: 64 KiB; what is looked at is one number in it.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The longest cursor file, in bytes: 4 KiB. One has about 200.
pub const CURSOR_BYTES_MAX: u64 = 4 * 1024;

/// The most records that go to the dead-letter file in one run: 1 000. A sink that refuses more refuses whatever it is
/// sent, and the export ends before the whole log lies there.
pub const DEAD_LETTERS_MAX: u64 = 1_000;

/// The longest part of a sink's answer that is repeated to people, in characters: 200.
pub const DETAIL_CHARS_MAX: usize = 200;

const _: () = assert!(BATCH_RECORDS <= BATCH_RECORDS_HERE && BATCH_RECORDS > 0);
const _: () = assert!(BATCH_RECORDS_HERE <= BATCH_RECORDS_MAX);
const _: () = assert!(BACKOFF_MIN.as_millis() <= BACKOFF_MAX.as_millis());
const _: () = assert!(RETRY_AFTER_MIN.as_millis() <= BACKOFF_MIN.as_millis());
