//! The log is verified from its files while the service writes to them, from one segment to the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chancery_audit::verify::verify;

use crate::harness::{Options, Service, committed, fresh, key_and_handle, sign};

/// Callers at once.
const CALLERS: usize = 4;

/// Small, so that segments end often: 256 KiB, some hundred signatures.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// How many segments are filled meanwhile.
const SEGMENTS: u64 = 12;

#[test]
fn a_log_that_grows_holds_at_every_moment() {
    let options = Options { segment_bytes: Some(SEGMENT_BYTES), ..Options::default() };
    let service = Service::start_with(options);
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let stop = AtomicBool::new(false);
    let is_full = || service.data().join(format!("audit/{SEGMENTS:016x}.seg")).exists();
    let looks = std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let client = service.client();
                while !stop.load(Ordering::SeqCst) {
                    committed(sign(&client, &handle, b"message", fresh()));
                }
            });
        }
        let mut looks = Vec::new();
        while !is_full() && looks.iter().all(Result::is_ok) {
            looks.push(verify(&service.data(), || std::thread::sleep(Duration::from_millis(50))));
        }
        stop.store(true, Ordering::SeqCst);
        looks
    });
    let sizes: Vec<u64> = looks.into_iter().map(|look| look.unwrap().size).collect();
    assert!(sizes.len() > 3 && sizes.is_sorted(), "{sizes:?}");
}
