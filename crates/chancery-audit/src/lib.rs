//! The audit stream: records, write-ahead log, recovery and verification.
