//! A sink that is asked by HTTP, and answers as its test says.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Nothing, and the connection stays.
    Hang,
    /// A status, with more lines in its head, and a body.
    Say(u16, &'static str, &'static str),
    /// The connection is cut.
    Reset,
    /// 200, but late.
    Slow(Duration),
}

/// What is acknowledged.
pub(super) const OK: Answer = Answer::Say(200, "", "");

/// A request that was acknowledged, or not.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: String,
    pub(super) is_acknowledged: bool,
}

#[derive(Default)]
struct Plan {
    first: VecDeque<Answer>,
    always: Option<Answer>,
    /// A text in a body for which it is refused.
    poison: Option<String>,
    seen: Vec<Request>,
    is_over: bool,
}

/// The sink.
pub(super) struct HttpSink {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

impl HttpSink {
    /// Answers as it is told first, and then acknowledges.
    pub(super) fn answering(first: &[Answer]) -> Self {
        Self::of(Plan { first: first.iter().copied().collect(), ..Plan::default() })
    }

    /// Answers always the same.
    pub(super) fn always(answer: Answer) -> Self {
        Self::of(Plan { always: Some(answer), ..Plan::default() })
    }

    /// Refuses what has a text in it.
    pub(super) fn refusing(poison: &str) -> Self {
        Self::of(Plan { poison: Some(poison.into()), ..Plan::default() })
    }

    fn of(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, plan) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(plan)));
        let shared = Arc::clone(&plan);
        std::thread::spawn(move || serve(&listener, &shared));
        Self { address, plan }
    }

    /// From now on everything is acknowledged.
    pub(super) fn recover(&self) {
        let mut plan = self.plan.lock().unwrap();
        (plan.always, plan.first) = (None, VecDeque::new());
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    pub(super) fn otlp(&self) -> String {
        format!("otlp+http://{}/v1/logs", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.plan.lock().unwrap().seen.clone()
    }

    /// The index in each event that was acknowledged, in the order of arrival.
    pub(super) fn acknowledged(&self) -> Vec<u64> {
        let requests = self.requests();
        let batches = requests.iter().filter(|request| request.is_acknowledged);
        let events =
            batches.flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.body).unwrap());
        super::scene::indices_of(&events.collect::<Vec<_>>())
    }
}

impl Drop for HttpSink {
    fn drop(&mut self) {
        self.plan.lock().unwrap().is_over = true;
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(listener: &TcpListener, plan: &Mutex<Plan>) {
    let mut hanging = Vec::new();
    for socket in listener.incoming() {
        if plan.lock().unwrap().is_over {
            return;
        }
        let socket = socket.unwrap();
        let Some((head, body)) = read(&socket) else { continue };
        let answer = next(&mut plan.lock().unwrap(), &body);
        let is_acknowledged = matches!(answer, Answer::Say(200, ..) | Answer::Slow(_));
        plan.lock().unwrap().seen.push(Request { head, body, is_acknowledged });
        match answer {
            Answer::Hang => hanging.push(socket),
            Answer::Reset => reset(&socket),
            Answer::Say(status, more, body) => say(&socket, status, more, body),
            Answer::Slow(wait) => {
                sleep(wait);
                say(&socket, 200, "", "");
            }
        }
    }
}

fn next(plan: &mut Plan, body: &str) -> Answer {
    if plan.poison.as_ref().is_some_and(|poison| body.contains(poison)) {
        return Answer::Say(400, "", "one of these is not to my taste");
    }
    plan.always.or_else(|| plan.first.pop_front()).unwrap_or(OK)
}

/// Head and body of one request; none of a connection without.
fn read(socket: &TcpStream) -> Option<(String, String)> {
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut reader = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

fn say(mut socket: &TcpStream, status: u16, more: &str, body: &str) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n"
    );
    // Whoever was killed meanwhile does not hear it.
    let _ = socket.write_all(format!("{head}{body}").as_bytes());
}

/// Cuts a connection off: with nothing to linger for, closing it sends a reset.
pub(super) fn reset(socket: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}
