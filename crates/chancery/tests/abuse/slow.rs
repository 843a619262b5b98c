//! Those who dawdle: in the handshake, in the head, in the body. All of it at once, and a good client goes on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::meters::{counter, refusals};
use crate::harness::{Service, committed, fresh, key_and_handle, sign};
use crate::wire::{Request, Wire, read};

/// How often a slow sender sends a byte.
const PACE: Duration = Duration::from_millis(500);

/// When everyone who dawdles must have been turned out: the longest deadline, of a body, is 15 s.
const TURNED_OUT: Duration = Duration::from_secs(25);

/// The first bytes of a handshake message that never comes (RFC 8446, 5.1): a record of 512 bytes.
const HALF_A_RECORD: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// Waits until the other side closes.
fn closed_after(mut stream: TcpStream, said: &[u8]) -> Duration {
    let began = Instant::now();
    stream.write_all(said).unwrap();
    let _ = stream.read(&mut [0; 64]);
    // What was a word of farewell is followed by the end.
    while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
    began.elapsed()
}

/// Sends a head, and then a byte now and then, until that fails or an answer is there.
fn slowly(wire: &Wire, head: &[u8]) -> (Duration, Option<u16>) {
    let began = Instant::now();
    let mut stream = wire.connect();
    stream.write_all(head).unwrap();
    stream.sock.set_read_timeout(Some(PACE)).unwrap();
    let mut first = [0; 1];
    while began.elapsed() < TURNED_OUT {
        match stream.read(&mut first) {
            Ok(1) => {
                stream.sock.set_read_timeout(Some(TURNED_OUT)).unwrap();
                let status = read(&mut stream).map(|answer| answer.status);
                return (began.elapsed(), status);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return (began.elapsed(), None),
        }
        if stream.write_all(b"a").and_then(|()| stream.flush()).is_err() {
            return (began.elapsed(), None);
        }
    }
    (began.elapsed(), None)
}

#[test]
fn slow_senders_are_turned_out_and_others_do_not_wait_for_them() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let wire = Wire::to(&service);
    let body = Request::post("/v1/sign", vec![b' '; 1_000]).with_handle(&handle).to_bytes();
    let head_only = body[..body.len() - 1_000].to_vec();
    let half_a_head = b"POST /v1/sign HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
    let failed = "chancery_front_handshakes_failed_total";
    let failed_before = counter(&wire, failed);
    thread::scope(|scope| {
        let mute: Vec<_> = (0..20).map(|_| scope.spawn(|| closed_after(wire.tcp(), b""))).collect();
        let half: Vec<_> =
            (0..20).map(|_| scope.spawn(|| closed_after(wire.tcp(), HALF_A_RECORD))).collect();
        let no_tls = scope.spawn(|| closed_after(wire.tcp(), b"GET / HTTP/1.1\r\n\r\n"));
        let heads: Vec<_> = (0..20).map(|_| scope.spawn(|| slowly(&wire, half_a_head))).collect();
        let bodies: Vec<_> = (0..20).map(|_| scope.spawn(|| slowly(&wire, &head_only))).collect();
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(5) {
            let one = Instant::now();
            committed(sign(&client, &handle, b"meanwhile", fresh()));
            longest = longest.max(one.elapsed());
        }
        assert!(longest < Duration::from_secs(1), "a good client waited {longest:?}");
        assert!(no_tls.join().unwrap() < Duration::from_secs(2));
        for closed in mute.into_iter().chain(half) {
            let after = closed.join().unwrap();
            assert!(after < Duration::from_secs(10), "a half-open handshake lived {after:?}");
        }
        for slow in heads {
            let (after, status) = slow.join().unwrap();
            assert!(after < TURNED_OUT, "a slow head lived {after:?}, {status:?}");
        }
        for slow in bodies {
            let (after, _) = slow.join().unwrap();
            assert!(after < TURNED_OUT, "a slow body lived {after:?}");
        }
    });
    assert_eq!(counter(&wire, failed) - failed_before, 41);
    assert_eq!(refusals(&wire, "body-timeout"), 20);
    committed(sign(&client, &handle, b"after", fresh()));
}
