//! Fuzzes `harness::dense_segment`.

#![no_main]

#[path = "../harness.rs"]
#[expect(dead_code, reason = "each target takes one harness of the file")]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::dense_segment(bytes));
