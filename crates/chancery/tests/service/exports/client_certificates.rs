//! Sinks that ask who is there.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::scene::Scene;
use super::syslog::{Identity, Manner, Receiver};
use crate::harness::text;

/// A sink by HTTPS that takes what comes, if it knows from whom.
struct HttpsSink {
    port: u16,
    bodies: Arc<Mutex<Vec<String>>>,
    refused: Arc<AtomicUsize>,
}

impl HttpsSink {
    fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (bodies, refused) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
        let sink = Self { port, bodies: Arc::clone(&bodies), refused: Arc::clone(&refused) };
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let server = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = BufReader::new(StreamOwned::new(server, socket.unwrap()));
                match body(&mut stream) {
                    Some(body) => bodies.lock().unwrap().push(body),
                    None => drop(refused.fetch_add(1, Ordering::SeqCst)),
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.get_mut().write_all(answer);
                stream.get_mut().conn.send_close_notify();
                let _ = stream.get_mut().flush();
            }
        });
        sink
    }
}

/// The body of a request; nothing of a connection that does not come about.
fn body(
    stream: &mut BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>,
) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let value = line.to_lowercase();
        let value = value.strip_prefix("content-length:").map(|value| value.trim().parse());
        length = value.map_or(length, |value| value.unwrap());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    (length > 0).then(|| text(&body))
}

#[test]
fn a_sink_that_asks_who_is_there_gets_events_of_whoever_has_a_certificate_that_it_takes() {
    let scene = Scene::with(2);
    let (server, client, stranger) = (Identity::new(), Identity::new(), Identity::new());
    fs::write(scene.path("ca.pem"), &server.authority).unwrap();
    client.write(&scene.path("client.pem"), &scene.path("client.key"));
    stranger.write(&scene.path("stranger.pem"), &scene.path("stranger.key"));
    let config = server.asking(Some(&client.authority));
    let receiver = Receiver::with(Arc::clone(&config), Manner::Reads);
    let sink = HttpsSink::start(config);
    let syslog = format!("syslog+tls://127.0.0.1:{}", receiver.port);
    let https = format!("https://127.0.0.1:{}/intake", sink.port);
    let files_of = |name: &str| {
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        ["--client-cert".to_owned(), pem, "--client-key".to_owned(), key]
    };
    for to in [&syslog, &https] {
        for shown in [Vec::new(), files_of("stranger").to_vec()] {
            let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
            let usual = ["--once", "--ca", "ca.pem", "--give-up", "1s"];
            let output = scene.export(to, &[&usual[..], &shown].concat());
            assert_eq!(output.status.code(), Some(1), "{to}: {}", text(&output.stderr));
        }
        let shown = files_of("client");
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        // Each export has a record of its own, of the keys that it is given.
        let records = scene.indices().len();
        scene.exported(to, &[&["--ca", "ca.pem"], &shown[..]].concat());
        let of_one = |body: &String| serde_json::from_str::<Vec<Value>>(body).unwrap().len();
        let arrived = if *to == syslog {
            receiver.messages().len()
        } else {
            sink.bodies.lock().unwrap().iter().map(of_one).sum()
        };
        assert!((records..=records + 1).contains(&arrived), "{to}: {arrived} of {records}");
    }
    assert!(sink.refused.load(Ordering::SeqCst) > 0);
    // A key that is another's is said before anything is sent.
    let output = scene.export(
        &https,
        &[
            "--once",
            "--ca",
            "ca.pem",
            "--client-cert",
            "client.pem",
            "--client-key",
            "stranger.key",
        ],
    );
    assert!(text(&output.stderr).contains("is not the key of"), "{}", text(&output.stderr));
}
