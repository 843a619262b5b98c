//! One connection: handshake, then HTTP/1.1 or HTTP/2 as was agreed, under its clocks.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::{
    CONNECTION_WINDOW_BYTES, ERROR_RESETS_MAX, FrontLimits, HEAD_BYTES_MAX, HEADERS_MAX,
    PENDING_RESETS_MAX, READ_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::service::{Front, Rooms, answer};
use crate::watched::{Activity, Between, Unsent, Watched};

/// How often a quiet HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// Serves one connection to its end.
pub(crate) async fn serve(
    front: Rc<Front>,
    stream: TcpStream,
    tls: TlsAcceptor,
    stop: watch::Receiver<bool>,
) {
    // Answers are small and whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(front.limits.handshake, tls.accept(stream));
    let Ok(Ok(stream)) = handshake.await else {
        front.metrics.handshake_failed();
        return;
    };
    front.metrics.connected();
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_http2(front, stream, stop).await;
    } else {
        serve_http1(front, stream, stop).await;
    }
}

async fn serve_http1(front: Rc<Front>, stream: TlsStream<TcpStream>, stop: watch::Receiver<bool>) {
    let activity = Activity::new();
    let io = TokioIo::new(Watched::new(stream, Rc::clone(&activity), Between::Heads));
    let limits = front.limits;
    let service = service(front, &activity);
    let connection = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_header_size(usize::try_from(HEAD_BYTES_MAX).unwrap_or(usize::MAX))
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(io, service_fn(service));
    drive(connection, http1::Connection::graceful_shutdown, Clock { activity, limits, stop }).await;
}

async fn serve_http2(front: Rc<Front>, stream: TlsStream<TcpStream>, stop: watch::Receiver<bool>) {
    let activity = Activity::new();
    let io = TokioIo::new(Watched::new(stream, Rc::clone(&activity), Between::Frames));
    let limits = front.limits;
    let service = service(front, &activity);
    let connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(io, service_fn(service));
    drive(connection, http2::Connection::graceful_shutdown, Clock { activity, limits, stop }).await;
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Full<Unsent>>, Infallible>>>>;

fn service(
    front: Rc<Front>,
    activity: &Rc<Activity>,
) -> impl Fn(Request<Incoming>) -> Answer + use<> {
    let activity = Rc::clone(activity);
    let rooms = Rc::new(Rooms::of_connection(&front));
    move |request| {
        let in_flight = activity.begin();
        let (front, rooms) = (Rc::clone(&front), Rc::clone(&rooms));
        let activity = Rc::clone(&activity);
        Box::pin(async move {
            let (response, taken) = answer(&front, &rooms, request).await;
            drop(in_flight);
            Ok(response.map(|body| Full::new(activity.unsent(body, taken))))
        })
    }
}

/// What ends a connection from our side.
struct Clock {
    activity: Rc<Activity>,
    limits: FrontLimits,
    stop: watch::Receiver<bool>,
}

/// Runs a connection until it ends, its peer dawdles, or the front is to stop.
async fn drive<C: Future>(connection: C, shut_down: fn(Pin<&mut C>), mut clock: Clock) {
    let mut connection = pin!(connection);
    let mut ticks = tokio::time::interval(clock.limits.head.min(clock.limits.idle) / 4);
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = clock.stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        if clock.activity.is_overdue(&clock.limits) {
            return;
        }
        if clock.activity.is_idle(&clock.limits) {
            break;
        }
    }
    shut_down(connection.as_mut());
    let _ = tokio::time::timeout(clock.limits.stop, connection).await;
}

/// Runs the tasks of HTTP/2 connections on the runtime's own thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
