//! Time, loss, and the end.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chancery_api::frame::Kind;
use chancery_server::{FrontConfig, FrontError, FrontLimits, run_until};

use super::client::{connect, exchange, get, problem, put, read, use_bytes};
use super::signer::{Act, Site, committed};

const SHORT: Duration = Duration::from_millis(300);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_head_that_comes_too_slowly_is_cut() {
    let site = Site::with(FrontLimits { head: SHORT, ..FrontLimits::STANDARD }, committed);
    let mut stream = connect(&site);
    let began = Instant::now();
    // A byte now and then does not help.
    for byte in b"GET /healthz HTTP/1.1\r\nhost: front.test\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(read(&mut stream).is_none());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_connection_that_rests_is_kept_longer_than_a_slow_head() {
    let site = Site::with(FrontLimits { head: SHORT, ..FrontLimits::STANDARD }, committed);
    let mut stream = connect(&site);
    let request = use_bytes("/v1/sign", "", r#"{"message":""}"#);
    assert_eq!(exchange(&mut stream, &request).status, 200);
    thread::sleep(SHORT * 3);
    assert_eq!(exchange(&mut stream, &request).status, 200);
}

#[test]
fn a_connection_that_rests_too_long_is_closed() {
    let site = Site::with(FrontLimits { idle: SHORT, ..FrontLimits::STANDARD }, committed);
    let mut stream = connect(&site);
    assert_eq!(exchange(&mut stream, &use_bytes("/v1/sign", "", r#"{"message":""}"#)).status, 200);
    assert!(read(&mut stream).is_none());
}

#[test]
fn a_handshake_that_does_not_come_is_given_up() {
    let site = Site::with(FrontLimits { handshake: SHORT, ..FrontLimits::STANDARD }, committed);
    let mut stream = std::net::TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_body_that_comes_too_slowly_is_refused() {
    let site = Site::with(FrontLimits { body: SHORT, ..FrontLimits::STANDARD }, committed);
    let request = use_bytes("/v1/sign", "", r#"{"message":""}"#);
    let answer = exchange(&mut connect(&site), &request[..request.len() - 1]);
    assert_eq!(answer.problem(), problem(408, "body-timeout", "refused"));
    assert_eq!(site.frames(), 0);
}

#[test]
fn a_silent_signer_leaves_an_unknown_outcome() {
    let limits = FrontLimits { request: SHORT, ..FrontLimits::STANDARD };
    let site = Site::with(limits, |_, _| Act::Silence);
    let answer = put(
        &site,
        "/v1/sign",
        r#"{"message":"","operation_id":"01010101-0101-0101-0101-010101010101"}"#,
    );
    assert_eq!(answer.problem(), problem(504, "timeout", "unknown"));
    assert_eq!(answer.json()["operation_id"], "01010101-0101-0101-0101-010101010101");
    assert_eq!(get(&site, "/readyz").problem(), problem(503, "signer-unavailable", "refused"));
}

#[test]
fn a_front_that_is_there_before_its_signer_waits_for_it() {
    let site = Site::asleep(FrontLimits::STANDARD, committed);
    thread::scope(|scope| {
        let first = scope.spawn(|| get(&site, "/healthz").status);
        thread::sleep(SHORT);
        assert!(!first.is_finished());
        site.signer.start();
        assert_eq!(first.join().unwrap(), 200);
    });
}

#[test]
fn a_lost_signer_leaves_an_unknown_outcome_then_refusals_then_service() {
    let dies = Arc::new(AtomicBool::new(true));
    let script = Arc::clone(&dies);
    let site = Site::new(move |header, _| {
        if header.kind == Kind::Use && script.load(Ordering::Relaxed) {
            Act::Die
        } else {
            Act::Commit
        }
    });
    let send = || put(&site, "/v1/sign", r#"{"message":""}"#);
    until("the signer is there", || get(&site, "/readyz").status == 200);
    let lost = send();
    assert_eq!(lost.problem(), problem(503, "signer-unavailable", "unknown"));
    assert_eq!(send().problem(), problem(503, "signer-unavailable", "refused"));
    assert_eq!(get(&site, "/readyz").problem(), problem(503, "signer-unavailable", "refused"));
    assert_eq!(get(&site, "/healthz").status, 200);
    dies.store(false, Ordering::Relaxed);
    site.signer.start();
    until("the signer is there again", || get(&site, "/readyz").status == 200);
    assert_eq!(send().status, 200);
    assert_eq!(site.frames(), 2);
}

#[test]
fn one_source_has_no_more_connections_than_its_share() {
    let limits = FrontLimits { connections_per_source: 2, ..FrontLimits::STANDARD };
    let site = Site::with(limits, committed);
    let request = b"GET /healthz HTTP/1.1\r\nhost: front.test\r\n\r\n";
    let mut held = [connect(&site), connect(&site)];
    for stream in &mut held {
        assert_eq!(exchange(stream, request).status, 200);
    }
    let mut third = connect(&site);
    assert!(third.write_all(request).is_err() || read(&mut third).is_none());
    drop(held);
    until("there is room again", || {
        let mut stream = connect(&site);
        stream.write_all(request).is_ok()
            && read(&mut stream).is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn what_is_in_flight_is_finished_before_the_end() {
    let mut site = Site::new(|header, _| {
        if header.kind == Kind::Use {
            thread::sleep(SHORT);
        }
        Act::Commit
    });
    let mut stream = connect(&site);
    stream.write_all(&use_bytes("/v1/sign", "", r#"{"message":"AQI="}"#)).unwrap();
    until("the use is in flight", || site.frames() == 1);
    site.stop();
    let answer = read(&mut stream).unwrap();
    assert_eq!((answer.status, answer.json()["output"].as_str()), (200, Some("AQI=")));
    site.ended().unwrap();
    assert!(std::net::TcpStream::connect(site.address).is_err());
}

#[test]
fn a_front_without_runtimes_does_not_start() {
    let start = |runtimes| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let limits = FrontLimits::STANDARD;
        let config = FrontConfig { signer_socket: "nowhere".into(), runtimes, limits, log: None };
        run_until(config, listener, || {}, async { Ok(()) })
    };
    assert!(matches!(start(0), Err(FrontError::Nothing)));
    // Told to stop while it waits for its certificate, it stops.
    assert!(start(1).is_ok());
}
