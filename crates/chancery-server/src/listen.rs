//! One runtime: its accept loop, its stream to the signer, and its end.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::admission::Admission;
use crate::limits::ACCEPT_REST;
use crate::link::Link;
use crate::report::Reporter;
use crate::service::{Front, Shared};

/// What one runtime is started with.
#[derive(Clone)]
pub(crate) struct Seat {
    /// What all runtimes share.
    pub shared: Arc<Shared>,
    /// TLS.
    pub tls: TlsAcceptor,
    /// Whether to stop.
    pub stop: watch::Receiver<bool>,
}

/// Runs on the calling thread until the front is to stop.
pub(crate) fn run(seat: &Seat, listener: TcpListener) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One thread beside each runtime's own is enough for files that are read now and then; more waits.
    let runtime = runtime.enable_all().max_blocking_threads(1).build()?;
    LocalSet::new().block_on(&runtime, serve(seat, listener))
}

async fn serve(seat: &Seat, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let shared = &seat.shared;
    let link = Link::new(
        shared.signer_socket.clone(),
        Arc::clone(&shared.metrics),
        Arc::clone(&shared.reporter),
    );
    let lost = tokio::task::spawn_local(Rc::clone(&link).run());
    let front = Rc::new(Front::new(shared, link));
    let mut stop = seat.stop.clone();
    let open = watch::Sender::new(());
    tokio::select! {
        () = accept(seat, &listener, &front, &open) => {}
        _ = lost => return Err(io::Error::other("the signer's link ended")),
        _ = stop.wait_for(|stop| *stop) => {}
    }
    drop(listener);
    // Each connection holds a receiver: when none is left, all are closed.
    let _ = tokio::time::timeout(shared.limits.stop, open.closed()).await;
    Ok(())
}

async fn accept(
    seat: &Seat,
    listener: &tokio::net::TcpListener,
    front: &Rc<Front>,
    open: &watch::Sender<()>,
) {
    let Shared { admission, reporter, .. } = &*seat.shared;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                rest(reporter, &error).await;
                continue;
            }
        };
        let admitted = match Admission::admit(admission, peer.ip()) {
            Ok(admitted) => admitted,
            Err(full) => {
                front.metrics.turned_away(full);
                continue;
            }
        };
        let connection =
            crate::connection::serve(Rc::clone(front), stream, seat.tls.clone(), seat.stop.clone());
        let held = open.subscribe();
        tokio::task::spawn_local(async move {
            connection.await;
            drop((admitted, held));
        });
    }
}

/// Waits a little after an error: without a free descriptor the next attempt would fail at once too.
async fn rest(reporter: &Reporter, error: &io::Error) {
    reporter.report(&format_args!("accepting a connection: {error}"));
    tokio::time::sleep(ACCEPT_REST).await;
}
