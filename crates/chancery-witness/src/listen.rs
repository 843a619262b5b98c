//! The accept loop of a witness, and its end.
//!
//! One thread for connections and a few for what waits for the disk. HTTP/1.1 alone, in clear: nothing that is
//! said is secret, and a cosignature proves itself.
//!
//! A store that fails ends the witness: its next start finds out what is durable.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admission::Admission;
use crate::limits::{
    ACCEPT_REST, BUFFER_BYTES_MAX, CONNECTION_MAX, HEAD_MAX, HEADERS_MAX, STOP_MAX, THREADS_MAX,
};
use crate::service::Service;
use crate::witness::{AddError, Witness};

/// The witness does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What it needs cannot be had from the system.
    #[error("the witness cannot serve")]
    Io(#[from] io::Error),
    /// It could not keep what it was to cosign, or not read what it had cosigned.
    #[error("the witness does not go on")]
    Failed(#[source] AddError),
}

/// Serves on `listener` until the process is told to end by SIGTERM or SIGINT.
///
/// # Errors
///
/// [`ServeError`]. What was answered until then is durable.
pub fn serve(witness: Witness, listener: TcpListener) -> Result<(), ServeError> {
    listener.set_nonblocking(true)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(THREADS_MAX).build()?;
    let result = runtime.block_on(govern(witness, listener));
    // A disk that hangs does not keep the process; what it holds up was answered to nobody.
    runtime.shutdown_timeout(STOP_MAX);
    result
}

async fn govern(witness: Witness, listener: TcpListener) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (failed, mut failures) = mpsc::channel(1);
    let service = Arc::new(Service { witness: Arc::new(witness), failed });
    let (stopper, stop) = watch::channel(false);
    let admission = Admission::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let result = tokio::select! {
        never = accept(&listener, &service, &admission, &stop) => match never {},
        Some(error) = failures.recv() => Err(ServeError::Failed(error)),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    drop(listener);
    stopper.send_replace(true);
    let _ = tokio::time::timeout(STOP_MAX, admission.empty()).await;
    result
}

async fn accept(
    listener: &tokio::net::TcpListener,
    service: &Arc<Service>,
    admission: &Arc<Admission>,
    stop: &watch::Receiver<bool>,
) -> std::convert::Infallible {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Without a free descriptor the next attempt would fail at once too.
            tokio::time::sleep(ACCEPT_REST).await;
            continue;
        };
        // What there is no room for is closed at once.
        let Some(admitted) = admission.admit(peer.ip()) else { continue };
        let connection = connection(stream, Arc::clone(service), stop.clone());
        tokio::spawn(async move {
            connection.await;
            drop(admitted);
        });
    }
}

/// Serves one connection until it ends, has lasted as long as one may, or the witness is to stop.
async fn connection(stream: TcpStream, service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(CONNECTION_MAX) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(STOP_MAX, connection).await;
}
