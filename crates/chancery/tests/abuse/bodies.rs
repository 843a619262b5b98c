//! Bodies: too long, too deep, and whatever is not the one JSON object that a route takes.

use std::io::Write as _;

use chancery_api::http::uses::authorization_field;
use chancery_core::limits::{JSON_DEPTH_MAX, REQUEST_BYTES_MAX};

use super::meters::{peak_kib, refusals};
use crate::harness::{Process, Service, committed, fresh, key_and_handle, sign};
use crate::wire::{Answer, Request, Wire, exchange, read};

/// A gibibyte, in bytes.
const GIB: usize = 1 << 30;

/// What is written at once: 64 KiB.
const PIECE: usize = 64 * 1024;

/// What a process may grow by for one request: 16 MiB, ten times the longest body.
const GROWTH_KIB: u64 = 16 * 1024;

/// Sends a head and then pieces until the other side has had enough; how many bytes it took, and its answer.
fn pour(wire: &Wire, head: &str, piece: &[u8]) -> (usize, Option<Answer>) {
    let mut stream = wire.connect();
    stream.write_all(head.as_bytes()).unwrap();
    // As much as is taken at most, and half as much again: then the answer is there.
    let mut taken = 0;
    while taken < REQUEST_BYTES_MAX * 3 / 2 && stream.write_all(piece).is_ok() {
        taken += piece.len();
    }
    let answer = read(&mut stream);
    while taken < GIB && stream.write_all(piece).is_ok() {
        taken += piece.len();
    }
    (taken, answer)
}

#[test]
fn a_body_of_a_gibibyte_is_refused_and_not_kept() {
    let service = Service::start();
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    committed(sign(&client, &handle, b"before", fresh()));
    let wire = Wire::to(&service);
    let before = [Process::Front, Process::Signer].map(|process| peak_kib(&service, process));
    let authorization = authorization_field(handle.expose_bytes());
    let head = format!(
        "POST /v1/sign HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\
         content-type: application/json\r\n"
    );
    let mut chunk = format!("{PIECE:x}\r\n").into_bytes();
    chunk.extend(vec![b' '; PIECE]);
    chunk.extend(b"\r\n");
    let declared = format!("{head}content-length: {GIB}\r\n\r\n");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    for (head, piece) in [(declared, vec![b' '; PIECE]), (chunked, chunk)] {
        let (taken, answer) = pour(&wire, &head, &piece);
        assert!(taken < GIB / 16, "{taken} bytes were taken");
        // The answer may be lost with a connection that is closed on a sender who does not stop.
        if let Some(answer) = answer {
            assert_eq!((answer.status, answer.outcome().as_str()), (413, "too-large"));
        }
    }
    assert_eq!(refusals(&wire, "too-large"), 2);
    for (process, before) in [Process::Front, Process::Signer].into_iter().zip(before) {
        let grown = peak_kib(&service, process) - before;
        assert!(grown < GROWTH_KIB, "{process:?} grew by {grown} KiB");
    }
    committed(sign(&client, &handle, b"after", fresh()));
}

/// Bodies, and the code that each gets at `/v1/sign`.
fn bodies() -> Vec<(Vec<u8>, &'static str)> {
    let deep = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    let nested = |depth: usize| [b"{\"context\":".to_vec(), deep(depth), b"}".to_vec()].concat();
    let mut bodies = vec![
        (deep(10_000), "too-large"),
        (nested(JSON_DEPTH_MAX), "too-large"),
        (nested(JSON_DEPTH_MAX - 1), "malformed"),
        (b",".repeat(40_000), "too-large"),
        (vec![0xff, 0xfe], "malformed"),
        (b"\xef\xbb\xbf{\"message\":\"AAAA\"}".to_vec(), "malformed"),
        (b"{\"message\":\"AAAA\"}\0".to_vec(), "malformed"),
        (b"{\"message\":\"\xed\xa0\x80\"}".to_vec(), "malformed"),
    ];
    let malformed = [
        "",
        "{}",
        "[]",
        "null",
        "\"AAAA\"",
        "[\"AAAA\"]",
        r#"{"message":"AAAA"}{"message":"AAAA"}"#,
        r#"{"message":"AAAA"} x"#,
        r#"{"message":"AAAA",}"#,
        r"{'message':'AAAA'}",
        r#"{"message":null}"#,
        r#"{"message":["AAAA"]}"#,
        r#"{"message":{"bytes":"AAAA"}}"#,
        r#"{"message":0}"#,
        r#"{"message":"AAAA","extra":1}"#,
        r#"{"message":"AAAA","Message":"AAAA"}"#,
        r#"{"message":"AAAA","message":"AAAA"}"#,
        r#"{"message":"AAAA","context":{"a":"1","a":"1"}}"#,
        r#"{"message":"AAAA","context":{"a":1}}"#,
        r#"{"message":"AAAA","context":[["a","1"]]}"#,
        r#"{"message":"AAAA","digest":"AAAA"}"#,
        r#"{"message":"AAAA","length":1}"#,
        r#"{"message":"AAAA","receipt":"true"}"#,
        r#"{"message":"AAAA","operation_id":"0"}"#,
        r#"{"digest":"AAAA"}"#,
        // Other spellings of bytes.
        r#"{"message":"AAA"}"#,
        r#"{"message":"AB=="}"#,
        r#"{"message":"AAB="}"#,
        r#"{"message":"AA=A"}"#,
        r#"{"message":"AAAA===="}"#,
        r#"{"message":"AA AA"}"#,
        r#"{"message":"AAAA\n"}"#,
        r#"{"message":"__-_"}"#,
    ];
    bodies.extend(malformed.map(|body| (body.as_bytes().to_vec(), "malformed")));
    // Numbers that no field holds.
    for number in ["1e400", "-1", "1.5", "4294967296", "99999999999999999999", "0x10", "01"] {
        bodies.push((format!("{{\"length\":{number}}}").into_bytes(), "malformed"));
    }
    bodies
}

#[test]
fn a_body_that_is_not_the_one_object_is_refused_and_counted() {
    let service = Service::start();
    let (_, handle) =
        key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
    let wire = Wire::to(&service);
    let mut stream = wire.connect();
    let (mut malformed, mut too_large) = (0, 0);
    for (body, code) in bodies() {
        let request = Request::post("/v1/sign", body.clone()).with_handle(&handle);
        let answer = exchange(&mut stream, &request.to_bytes()).unwrap_or_else(|| {
            stream = wire.connect();
            exchange(&mut stream, &request.to_bytes()).expect("an answer")
        });
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(answer.outcome(), code, "{shown}");
        // What was sent is not sent back.
        assert!(!answer.body.contains("AAAA"), "{}", answer.body);
        *if code == "malformed" { &mut malformed } else { &mut too_large } += 1;
    }
    assert_eq!(refusals(&wire, "malformed"), malformed);
    assert_eq!(refusals(&wire, "too-large"), too_large);
}

#[test]
fn a_head_that_is_too_long_or_says_two_things_is_refused() {
    let service = Service::start();
    let (_, handle) =
        key_and_handle(&service.client(), "invoices", "sign.bound:invoice", "ed25519");
    let wire = Wire::to(&service);
    let body = r#"{"message":"AAAA"}"#;
    let sign = || Request::post("/v1/sign", body).with_handle(&handle);
    let refused = |request: Request| {
        exchange(&mut wire.connect(), &request.to_bytes())
            .map(|answer| (answer.status, answer.outcome()))
    };
    assert_eq!(refused(sign()).unwrap(), (200, "ok".into()));
    for (name, value, status) in [
        ("authorization", "Handle x", 400),
        ("content-type", "application/json", 400),
        ("content-encoding", "gzip", 415),
        ("handle-proof", "AAAA", 401),
        ("idempotency-key", "1", 400),
        ("transfer-encoding", "chunked", 400),
        ("expect", "200-maybe", 200),
    ] {
        let found = refused(sign().with(name, value));
        let is_expected = found.as_ref().is_none_or(|(found, _)| *found == status);
        assert!(is_expected, "{name}: {value}: {found:?}");
    }
    let long = refused(sign().with("x-long", &"a".repeat(20 * 1024)));
    assert!(long.as_ref().is_none_or(|(status, _)| *status == 431 || *status == 413), "{long:?}");
    let many = (0..80).fold(sign(), |request, _| request.with("x-many", "1"));
    let many = refused(many);
    assert!(many.as_ref().is_none_or(|(status, _)| *status == 431 || *status == 413), "{many:?}");
    assert_eq!(refused(sign()).unwrap(), (200, "ok".into()));
}
