//! The abuse that HTTP/2 makes possible, or makes anew: each is refused or ended, at a bounded cost, and others go on.

use std::thread;
use std::time::{Duration, Instant};

use chancery_api::http::uses::authorization_field;
use chancery_client::{Client, KeyHandle, Outcome};
use chancery_core::limits::{MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX};

use super::frames::{
    END_HEADERS, END_STREAM, FRAME_BYTES, Fate, Http2, INITIAL_WINDOW, REFUSED_STREAM, block,
    frame, kind,
};
use super::meters::{peak_kib, refusals};
use crate::harness::{Process, Service, committed, eventually, fresh, key_and_handle, sign};
use crate::wire::Wire;

/// A gibibyte, in bytes.
const GIB: usize = 1 << 30;

/// What a process may grow by for one abuser: 16 MiB.
const GROWTH_KIB: u64 = 16 * 1024;

/// A large answer has more bytes than this, and one connection may leave so many untaken: 1 MiB, and 16 MiB.
const LARGE: usize = 1024 * 1024;
const OF_ONE_CONNECTION: usize = 16 * LARGE;

/// The longest that a good caller may wait meanwhile.
const OTHERS_WAIT: Duration = Duration::from_secs(1);

/// Between two calls of a good caller.
const PAUSE: Duration = Duration::from_millis(10);

/// When whoever dawdles over a body must have been answered: its deadline is 15 s.
const TURNED_OUT: Duration = Duration::from_secs(25);

/// When whoever takes no answer, or begins no request, must have been cut off: after 60 s, and 5 s of grace.
const HELD_BACK: Duration = Duration::from_secs(75);

/// The most requests of a flood, and how long it lasts.
const PAIRS: u32 = 200_000;
const FLOOD: Duration = Duration::from_secs(5);

/// `CANCEL`: the answer is not wanted any more (RFC 9113, 7).
const CANCEL: u32 = 8;

/// The streams that one connection may have.
const STREAMS: u32 = 128;

/// A service with a good caller, watched while somebody abuses it.
struct Scene {
    service: Service,
    client: Client,
    handle: KeyHandle,
    wire: Wire,
    before: [u64; 2],
}

const WATCHED: [Process; 2] = [Process::Front, Process::Signer];

impl Scene {
    fn new() -> Self {
        let service = Service::start();
        let client = service.client();
        let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
        committed(sign(&client, &handle, b"before", fresh()));
        let before = WATCHED.map(|process| peak_kib(&service, process));
        let wire = Wire::to(&service);
        Self { service, client, handle, wire, before }
    }

    /// The header block of a use.
    fn post(&self, more: &[(&str, &str)]) -> Vec<u8> {
        Self::post_to("/v1/sign", &self.handle, more)
    }

    fn post_to(path: &str, handle: &KeyHandle, more: &[(&str, &str)]) -> Vec<u8> {
        let authorization = authorization_field(handle.expose_bytes());
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", path),
            (":authority", "localhost"),
            ("authorization", &authorization),
            ("content-type", "application/json"),
        ];
        block(&[&fields[..], more].concat())
    }

    /// Lets `abuse` go on while a good caller signs; it must not wait, and memory must not grow.
    fn bear<T: Send>(&self, abuse: impl FnOnce() -> T + Send) -> T {
        self.bear_within(GROWTH_KIB, abuse)
    }

    /// As [`Self::bear`], where memory may grow by so much.
    fn bear_within<T: Send>(&self, growth_kib: u64, abuse: impl FnOnce() -> T + Send) -> T {
        let (given, longest) = thread::scope(|scope| {
            let abuser = scope.spawn(abuse);
            let mut longest = Duration::ZERO;
            while !abuser.is_finished() {
                let one = Instant::now();
                committed(sign(&self.client, &self.handle, b"meanwhile", fresh()));
                longest = longest.max(one.elapsed());
                thread::sleep(PAUSE);
            }
            (abuser.join().unwrap(), longest)
        });
        assert!(longest < OTHERS_WAIT, "a good caller waited {longest:?}");
        self.check_growth(growth_kib);
        committed(sign(&self.client, &self.handle, b"after", fresh()));
        given
    }

    fn check_growth(&self, most_kib: u64) {
        for (process, before) in WATCHED.into_iter().zip(self.before) {
            let grown = peak_kib(&self.service, process) - before;
            println!("{process:?} grew by {grown} KiB");
            assert!(grown < most_kib, "{process:?} grew by {grown} KiB");
        }
    }
}

fn get(path: &str) -> Vec<u8> {
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", "localhost")];
    block(&fields)
}

#[test]
fn a_body_of_a_gibibyte_over_http2_is_refused_and_not_kept() {
    let scene = Scene::new();
    let declared = scene.post(&[("content-length", &GIB.to_string())]);
    for head in [declared, scene.post(&[])] {
        let (taken, fate) = scene.bear(|| {
            let mut http2 = Http2::connect(&scene.wire, &[]);
            http2.request(1, 0, &head).unwrap();
            let mut taken = 0;
            // Whatever the windows allow, until the stream is settled.
            while taken < GIB && !http2.fates.get(&1).is_some_and(Fate::is_settled) {
                match http2.send_in_windows(1, &[b' '; FRAME_BYTES]) {
                    Ok(0) => assert!(http2.read().unwrap().is_some(), "{:?}", http2.gone),
                    Ok(sent) => taken += sent,
                    Err(_) => break,
                }
            }
            (taken, http2.fate(1))
        });
        assert!(taken <= 3 * REQUEST_BYTES_MAX, "{taken} bytes were taken");
        assert_eq!((fate.status, fate.code().as_str()), (Some(413), "too-large"), "{fate:?}");
    }
    assert_eq!(refusals(&scene.wire, "too-large"), 2);
}

#[test]
fn a_sender_who_keeps_to_no_window_is_cut_off() {
    let scene = Scene::new();
    let head = scene.post(&[]);
    let taken = scene.bear(|| {
        let mut http2 = Http2::connect(&scene.wire, &[]);
        http2.request(1, 0, &head).unwrap();
        let piece = frame(kind::DATA, 0, 1, &[b' '; FRAME_BYTES]);
        let mut taken = 0;
        while taken < GIB && http2.send(&piece).is_ok() {
            taken += FRAME_BYTES;
        }
        taken
    });
    assert!(taken < GIB / 16, "{taken} bytes were taken");
}

#[test]
fn a_slow_body_over_http2_is_answered_in_time() {
    let scene = Scene::new();
    let head = scene.post(&[]);
    let slow = || {
        let began = Instant::now();
        let mut http2 = Http2::connect(&scene.wire, &[]);
        http2.patience(Duration::from_millis(500));
        http2.request(1, 0, &head).unwrap();
        while began.elapsed() < TURNED_OUT {
            match http2.read() {
                Err(_) => drop(http2.send(&frame(kind::DATA, 0, 1, b" "))),
                Ok(Some(_)) if http2.fates.get(&1).is_some_and(Fate::is_settled) => break,
                Ok(Some(_)) => {}
                Ok(None) => break,
            }
        }
        (began.elapsed(), http2.fates.remove(&1).unwrap_or_default())
    };
    let turned_out = scene.bear(|| {
        thread::scope(|scope| {
            let all: Vec<_> = (0..20).map(|_| scope.spawn(slow)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        })
    });
    for (after, fate) in turned_out {
        assert!(after < TURNED_OUT, "a slow body lived {after:?}");
        assert_eq!(fate.code(), "body-timeout", "{fate:?}");
    }
    assert_eq!(refusals(&scene.wire, "body-timeout"), 20);
}

/// While a header block is open nothing else may be sent (RFC 9113, 6.10), so its sender counts as idle.
#[test]
fn a_head_over_http2_that_never_ends_is_cut_off() {
    let scene = Scene::new();
    let head = scene.post(&[]);
    let lived = scene.bear(|| {
        let began = Instant::now();
        let mut http2 = Http2::connect(&scene.wire, &[]);
        // What is asked of a client at first is answered before; then it answers nothing more.
        http2.patience(Duration::from_secs(1));
        while http2.read().is_ok_and(|frame| frame.is_some()) {}
        http2.send(&frame(kind::HEADERS, END_STREAM, 1, &head)).unwrap();
        http2.patience(HELD_BACK);
        http2.wait_for_end();
        began.elapsed()
    });
    println!("a head without end lived {lived:?}");
    assert!(lived > Duration::from_secs(5) && lived < HELD_BACK, "it lived {lived:?}");
}

#[test]
fn a_stream_beyond_those_allowed_is_refused_and_the_next_is_served_when_there_is_room() {
    let scene = Scene::new();
    let (open, health) = (scene.post(&[]), get("/healthz"));
    let (refused, served) = scene.bear(|| {
        let mut http2 = Http2::connect(&scene.wire, &[]);
        let mut stream = 1;
        for _ in 0..STREAMS {
            http2.request(stream, 0, &open).unwrap();
            stream += 2;
        }
        http2.request(stream, END_STREAM, &health).unwrap();
        let refused = http2.fate(stream);
        // One makes room; its body is no JSON.
        http2.send(&frame(kind::DATA, END_STREAM, 1, b"x")).unwrap();
        assert_eq!(http2.fate(1).code(), "malformed");
        stream += 2;
        http2.request(stream, END_STREAM, &health).unwrap();
        (refused, http2.fate(stream))
    });
    assert_eq!((refused.status, refused.reset), (None, Some(REFUSED_STREAM)));
    assert_eq!(served.status, Some(200));
}

/// Requests that are reset right after they were begun, so many in one write: how many were sent, and whether
/// that ended the connection.
fn reset_at_once(scene: &Scene, (head, flags): (&[u8], u8), together: u32) -> (u32, bool) {
    let mut http2 = Http2::connect(&scene.wire, &[]);
    http2.patience(Duration::from_millis(1));
    let (began, mut sent) = (Instant::now(), 0);
    let pair = |number: u32| {
        let stream = 2 * number + 1;
        let reset = frame(kind::RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        [frame(kind::HEADERS, flags | END_HEADERS, stream, head), reset].concat()
    };
    while sent < PAIRS && began.elapsed() < FLOOD {
        let pairs: Vec<u8> = (sent..sent + together).flat_map(pair).collect();
        sent += together;
        // A look now and then: each takes a while when there is nothing to read.
        if http2.send(&pairs).is_err() || sent % 64 == 0 && matches!(http2.read(), Ok(None)) {
            return (sent, true);
        }
    }
    (sent, false)
}

#[test]
fn a_flood_of_resets_ends_its_connection() {
    let scene = Scene::new();
    for head in [(&get("/healthz")[..], END_STREAM), (&scene.post(&[]), 0)] {
        let (sent, is_ended) = scene.bear(|| reset_at_once(&scene, head, 64));
        assert!(is_ended && sent < 64 * 20, "{sent} pairs were taken");
    }
}

/// Each may be looked at before it is reset, so that nothing is wrong with any of them.
#[test]
fn resets_one_by_one_keep_nobody_waiting() {
    let scene = Scene::new();
    for head in [(&get("/healthz")[..], END_STREAM), (&scene.post(&[]), 0)] {
        let (sent, is_ended) = scene.bear(|| reset_at_once(&scene, head, 1));
        println!("{sent} pairs, ended by the front: {is_ended}");
    }
}

#[test]
fn a_header_block_over_the_limit_is_refused_and_one_without_end_is_cut_off() {
    let scene = Scene::new();
    let long = "a".repeat(FRAME_BYTES - 200);
    let fields = [("x-long", long.as_str())];
    let (one, two) = (scene.post(&[]), block(&fields));
    let (long, taken) = scene.bear(|| {
        let mut http2 = Http2::connect(&scene.wire, &[]);
        let first = frame(kind::HEADERS, END_STREAM, 1, &one);
        http2.send(&[first, frame(kind::CONTINUATION, END_HEADERS, 1, &two)].concat()).unwrap();
        let long = http2.fate(1);
        let mut http2 = Http2::connect(&scene.wire, &[]);
        http2.send(&frame(kind::HEADERS, END_STREAM, 1, &one)).unwrap();
        let piece = frame(kind::CONTINUATION, 0, 1, &two);
        let mut taken = 0;
        while taken < GIB && http2.send(&piece).is_ok() {
            taken += piece.len();
        }
        (long, taken)
    });
    assert!(long.status == Some(431) || long.reset.is_some(), "{long:?}");
    assert!(taken < GIB / 16, "{taken} bytes were taken");
}

#[test]
fn a_header_block_that_unpacks_to_more_than_the_limit_is_refused() {
    let scene = Scene::new();
    let value = "a".repeat(3_900);
    // Put into the table (RFC 7541, 6.2.1), and named by one byte from then on.
    let field = block(&[("x-bomb", value.as_str())]);
    let mut bomb = scene.post(&[]);
    bomb.push(0x40);
    bomb.extend_from_slice(&field[1..]);
    bomb.extend(vec![0xbe; 8_000]);
    let fate = scene.bear(|| {
        let mut http2 = Http2::connect(&scene.wire, &[]);
        http2.request(1, END_STREAM, &bomb).unwrap();
        // The connection ends, or the stream does.
        http2.fate(1)
    });
    assert!(fate.status.is_none_or(|status| status == 431), "{fate:?}");
}

/// A peer that takes no answer and asks on, for an answer that it takes: is its connection ended?
#[test]
fn answers_that_a_window_of_zero_holds_back_take_little_and_are_dropped_in_time() {
    let scene = Scene::new();
    let paths = ["/metrics", "/openapi.json", "/healthz"].map(get);
    let lived = scene.bear(|| {
        let began = Instant::now();
        let mut http2 = Http2::connect(&scene.wire, &[(INITIAL_WINDOW, 0)]);
        http2.patience(Duration::from_millis(500));
        let held = (0..STREAMS - 8).map(|number| 2 * number + 1);
        for (stream, path) in held.zip(paths[..2].iter().cycle()) {
            http2.request(stream, END_STREAM, path).unwrap();
        }
        let mut stream = 2 * STREAMS + 1;
        while began.elapsed() < Duration::from_secs(90) {
            match http2.read() {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(_) => {
                    let opened = frame(kind::WINDOW_UPDATE, 0, stream, &1_000_u32.to_be_bytes());
                    let asked = http2.request(stream, END_STREAM, &paths[2]);
                    if asked.and_then(|()| http2.send(&opened)).is_err() {
                        break;
                    }
                    stream += 2;
                }
            }
        }
        let taken = http2.fates.values().filter(|fate| fate.is_whole).count();
        assert!(taken > 50, "{taken} answers were taken");
        began.elapsed()
    });
    assert!(lived < HELD_BACK, "it lived {lived:?}");
}

/// Asks for answers of a megabyte and more, and takes none.
struct Untaken {
    head: Vec<u8>,
    body: String,
    wire: Wire,
}

impl Untaken {
    fn new(scene: &Scene) -> Self {
        let (_, handle) =
            key_and_handle(&scene.client, "cards", "encrypt.aead:card", "aes-256-gcm");
        let item = format!(r#"{{"message":"{}"}}"#, "a".repeat(MESSAGE_BYTES_MAX));
        let body = format!(r#"{{"items":[{}]}}"#, vec![item; 16].join(","));
        assert!(body.len() > LARGE);
        let head = Scene::post_to("/v1/encrypt/batch", &handle, &[]);
        Self { head, body, wire: scene.wire.clone() }
    }

    /// A connection that takes no answer.
    fn connect(&self) -> Http2 {
        Http2::connect(&self.wire, &[(INITIAL_WINDOW, 0)])
    }

    /// Asks until it is refused; how often it was not, and the status of the refusal.
    fn ask(&self, http2: &mut Http2) -> (usize, Option<u16>) {
        for number in 0..STREAMS - 8 {
            let stream = 2 * number + 1;
            http2.put(stream, &self.head, self.body.as_bytes()).unwrap();
            match http2.status(stream) {
                Some(200) => {}
                other => return (usize::try_from(number).unwrap(), other),
            }
        }
        panic!("never refused");
    }
}

#[test]
fn answers_that_one_connection_does_not_take_have_a_bound() {
    let scene = Scene::new();
    let untaken = Untaken::new(&scene);
    let (taken, refused, alive) = scene.bear_within(2 * GROWTH_KIB, || {
        let mut http2 = untaken.connect();
        let (taken, refused) = untaken.ask(&mut http2);
        // It is refused before anything is done, and others go on.
        let next = 2 * STREAMS + 1;
        http2.request(next, END_STREAM, &get("/healthz")).unwrap();
        (taken, refused, http2.status(next))
    });
    assert_eq!((refused, alive), (Some(429), Some(200)));
    assert!(taken > 1 && taken * LARGE <= OF_ONE_CONNECTION, "{taken} answers are held");
    assert_eq!(refusals(&scene.wire, "answer-unreadable"), 0);
}

#[test]
fn answers_that_nobody_takes_have_a_bound_over_all_connections() {
    let scene = Scene::new();
    let untaken = Untaken::new(&scene);
    let runtimes = thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    let mut held = Vec::new();
    // Twice as many as fill all the room there is.
    for _ in 0..8 * runtimes {
        let mut http2 = untaken.connect();
        let (taken, refused) = untaken.ask(&mut http2);
        assert_eq!(refused, Some(429), "after {taken}");
        held.push((http2, taken));
    }
    let taken: usize = held.iter().map(|(_, taken)| taken).sum();
    assert!(taken * LARGE <= runtimes * 4 * OF_ONE_CONNECTION, "{taken} answers are held");
    let most = u64::try_from(4 * runtimes).unwrap() * GROWTH_KIB;
    scene.check_growth(most + 2 * GROWTH_KIB);
    drop(held);
    eventually("there is room again", || {
        matches!(sign(&scene.client, &scene.handle, b"after", fresh()), Outcome::Committed(_))
    });
}
