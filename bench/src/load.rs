//! The load generator: callers in closed loops, over HTTP/1.1 on kept connections under TLS 1.3.
//!
//! Each caller has one connection and asks again as soon as it is answered, until the time is up. Requests
//! are rendered beforehand. The first answer and the last of every caller are verified, both outside the
//! time that is measured; the ones between must have the status 200.
//!
//! It talks to the loopback interface alone, and stops by itself.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

use crate::machine::{Cores, Side};
use crate::order::Order;
use crate::process::Cpu;
use crate::tls;

/// What each caller asks before anything is measured: enough to have buffers and caches filled.
const WARM_UP: usize = 4;

/// How long a caller rests that was refused for want of room.
const REFUSED_REST: Duration = Duration::from_millis(5);

/// How long one answer may take: a minute, far over what any contender needs.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// Where a server listens, and how it is known.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) port: u16,
    pub(crate) tls: Arc<ClientConfig>,
}

/// Looks at an answer to messages, and says what is wrong with it.
pub(crate) type Check = Box<dyn Fn(&[Vec<u8>], &[u8]) -> Result<()>>;

/// What is asked of a server.
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) orders: Vec<Order>,
    pub(crate) check: Check,
}

/// What a refusal for want of room means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// It is counted.
    Counted,
    /// It ends the measurement.
    Fatal,
}

/// Callers of one target.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) target: Rc<Target>,
    pub(crate) callers: usize,
    pub(crate) refusals: Refusals,
}

/// What became of the requests of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) elapsed: Duration,
    /// Of each answered request, in order.
    latencies: Vec<Duration>,
}

impl Run {
    /// The latency that this share of the requests, in hundredths, kept.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
        self.latencies.get(rank).copied().unwrap_or_default()
    }

    fn add(&mut self, tally: Tally) {
        self.refused += tally.refused;
        self.latencies.extend(tally.latencies);
    }

    fn close(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        self.latencies.sort_unstable();
        self.answered = u64::try_from(self.latencies.len()).unwrap_or(u64::MAX);
    }
}

/// Runs callers, all on one core.
pub(crate) struct Generator {
    runtime: Runtime,
}

impl Generator {
    /// Moves the calling thread to the load's core.
    pub(crate) fn new() -> Result<Self> {
        Cores::find()?.enter(Side::Load)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime })
    }

    /// Runs groups of callers beside each other, and measures the server's processor time meanwhile.
    pub(crate) fn run(
        &self,
        groups: &[Group],
        duration: Duration,
        cpu: impl Fn() -> Result<Cpu>,
    ) -> Result<(Vec<Run>, Cpu)> {
        self.block_on(async {
            let callers = ready(groups).await?;
            let before = cpu()?;
            let start = Instant::now();
            let (mut runs, last) = drive(groups, callers, start + duration).await?;
            let elapsed = start.elapsed();
            let cpu = cpu()? - before;
            for run in &mut runs {
                run.close(elapsed);
            }
            for Last { target, order, body } in last {
                target.check(order, &body)?;
            }
            Ok((runs, cpu))
        })
    }

    /// Asks once, on a connection of its own.
    pub(crate) fn once(
        &self,
        address: &Address,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes)> {
        self.block_on(async {
            let mut sender = connect(address).await?;
            exchange(&mut sender, request).await
        })
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        LocalSet::new().block_on(&self.runtime, work)
    }
}

impl Target {
    fn request(&self, order: &Order) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(order.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.parse()?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(HOST, HeaderValue::from_static(tls::HOST));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    fn check(&self, order: usize, body: &[u8]) -> Result<()> {
        let order = self.orders.get(order).context("there is no such order")?;
        (self.check)(&order.messages, body).context("an answer does not hold")
    }
}

struct Caller {
    group: usize,
    target: Rc<Target>,
    refusals: Refusals,
    sender: SendRequest<Full<Bytes>>,
    next: usize,
}

/// What one caller saw.
struct Tally {
    group: usize,
    refused: u64,
    latencies: Vec<Duration>,
    last: Option<Last>,
}

/// The last answer of a caller.
struct Last {
    target: Rc<Target>,
    order: usize,
    body: Bytes,
}

impl Caller {
    /// Sends the next order, and says which it was.
    async fn ask(&mut self) -> Result<(usize, StatusCode, Bytes)> {
        let number = self.next % self.target.orders.len().max(1);
        self.next += 1;
        let order = self.target.orders.get(number).context("a target has orders")?;
        let request = self.target.request(order)?;
        let (status, body) = exchange(&mut self.sender, request).await?;
        Ok((number, status, body))
    }

    async fn warm_up(&mut self) -> Result<()> {
        for _ in 0..WARM_UP {
            let (order, status, body) = self.ask().await?;
            if !is_refusal(status) {
                ensure!(status == StatusCode::OK, "answered {status}: {}", shown(&body));
                self.target.check(order, &body)?;
            }
        }
        Ok(())
    }

    async fn drive(mut self, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally { group: self.group, refused: 0, latencies: Vec::new(), last: None };
        while Instant::now() < deadline {
            let asked = Instant::now();
            let (order, status, body) = self.ask().await?;
            let took = asked.elapsed();
            if status == StatusCode::OK {
                tally.latencies.push(took);
                tally.last = Some(Last { target: Rc::clone(&self.target), order, body });
            } else if is_refusal(status) && self.refusals == Refusals::Counted {
                tally.refused += 1;
                tokio::time::sleep(REFUSED_REST).await;
            } else {
                bail!("answered {status}: {}", shown(&body));
            }
        }
        Ok(tally)
    }
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// The start of an answer, for an error.
fn shown(body: &Bytes) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}

/// Connects every caller, and has each answered a few times.
async fn ready(groups: &[Group]) -> Result<Vec<Caller>> {
    let mut callers = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        for first in 0..group.callers {
            let sender = connect(&group.target.address).await?;
            let target = Rc::clone(&group.target);
            let refusals = group.refusals;
            let mut caller = Caller { group: number, target, refusals, sender, next: first };
            caller.warm_up().await?;
            callers.push(caller);
        }
    }
    Ok(callers)
}

async fn drive(
    groups: &[Group],
    callers: Vec<Caller>,
    deadline: Instant,
) -> Result<(Vec<Run>, Vec<Last>)> {
    let mut running = JoinSet::new();
    for caller in callers {
        running.spawn_local(caller.drive(deadline));
    }
    let mut runs = vec![Run::default(); groups.len()];
    let mut last = Vec::new();
    while let Some(tally) = running.join_next().await {
        let mut tally = tally.context("a caller ended badly")??;
        last.extend(tally.last.take());
        if let Some(run) = runs.get_mut(tally.group) {
            run.add(tally);
        }
    }
    Ok((runs, last))
}

async fn connect(address: &Address) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, address.port))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(tls::HOST)?;
    let stream = TlsConnector::from(Arc::clone(&address.tls)).connect(name, stream).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes)> {
    let answered = async {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    let answered = tokio::time::timeout(ANSWER_MAX, answered).await;
    Ok(answered.context("no answer came in time")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(latencies_ms: &[u64]) -> Run {
        let latencies = latencies_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let mut run = Run { latencies, ..Run::default() };
        run.close(Duration::from_secs(1));
        run
    }

    #[test]
    fn a_percentile_is_the_least_latency_that_so_many_kept() {
        let all: Vec<u64> = (1..=200).rev().collect();
        let run = run(&all);
        assert_eq!(run.percentile(50), Duration::from_millis(100));
        assert_eq!(run.percentile(99), Duration::from_millis(198));
        assert_eq!(run.answered, 200);
    }

    #[test]
    fn one_request_is_its_own_percentiles_and_none_has_none() {
        assert_eq!(run(&[7]).percentile(50), Duration::from_millis(7));
        assert_eq!(run(&[7]).percentile(99), Duration::from_millis(7));
        assert_eq!(run(&[]).percentile(99), Duration::ZERO);
    }
}
