//! Starting and stopping.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::FrontConfig;
use crate::admission::Admission;
use crate::certificate::{Issued, Wanted};
use crate::limits::{CERTIFICATE_CHECK, RECONNECT_MIN};
use crate::link::longer;
use crate::listen::{self, Seat};
use crate::metrics::Metrics;
use crate::report::Reporter;
use crate::service::Shared;
use crate::tls::{self, Current};

/// The front cannot run.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The system refused a thread, a runtime, a signal handler or the listener.
    #[error("the system refused what the front needs")]
    Io(#[from] io::Error),
    /// There is to be no runtime.
    #[error("a front has at least one runtime")]
    Nothing,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Runs the front until the process is told to end (`SIGTERM` or `SIGINT`). `listens` is told once, when the
/// front has its certificate and takes connections.
///
/// The signer need not be there yet: connections wait in the listener until it has issued the certificate.
///
/// # Errors
///
/// [`FrontError`]; nothing was served.
pub fn run(
    config: FrontConfig,
    listener: TcpListener,
    listens: impl FnOnce(),
) -> Result<(), FrontError> {
    run_until(config, listener, listens, ended())
}

/// As [`run`], until `stop` is ready; then finishes what is in flight.
///
/// # Errors
///
/// [`FrontError`]; nothing was served.
pub fn run_until(
    config: FrontConfig,
    listener: TcpListener,
    listens: impl FnOnce(),
    stop: impl Future<Output = io::Result<()>>,
) -> Result<(), FrontError> {
    if config.runtimes == 0 {
        return Err(FrontError::Nothing);
    }
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(govern(config, listener, listens, stop))
}

/// Ready when the process is told to end.
async fn ended() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Gets the certificate, starts the runtimes, renews the certificate, and stops them.
async fn govern(
    config: FrontConfig,
    listener: TcpListener,
    listens: impl FnOnce(),
    stop: impl Future<Output = io::Result<()>>,
) -> Result<(), FrontError> {
    let mut stop = std::pin::pin!(stop);
    let shared = Arc::new(shared(&config));
    let issued = tokio::select! {
        issued = issue(&config, &shared.reporter) => issued,
        result = stop.as_mut() => return Ok(result?),
    };
    let current = Current::new(issued.certified.clone());
    let (stopper, seen) = watch::channel(false);
    let tls = TlsAcceptor::from(tls::config(Arc::clone(&current))?);
    let (ending, mut ended) = mpsc::unbounded_channel();
    let seat = Seat { shared: Arc::clone(&shared), tls, stop: seen };
    let threads = start(&seat, &listener, &Runtimes { count: config.runtimes, ending })?;
    drop(listener);
    listens();
    let result = tokio::select! {
        never = renew(&config, &shared.reporter, &current, issued) => match never {},
        // Its error comes out below; the others are not left alone with the work.
        _ = ended.recv() => Ok(()),
        result = stop.as_mut() => result,
    };
    stopper.send_replace(true);
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a runtime's thread ended badly"))??;
    }
    Ok(result?)
}

fn shared(config: &FrontConfig) -> Shared {
    Shared {
        signer_socket: config.signer_socket.clone(),
        limits: config.limits,
        admission: Admission::new(&config.limits),
        metrics: Arc::new(Metrics::new()),
        reporter: Arc::new(Reporter::new()),
        log: config.log.clone(),
        openapi: chancery_api::http::openapi::document().to_string().into(),
    }
}

/// How many runtimes there are to be, and where the end of one is told.
struct Runtimes {
    count: usize,
    ending: mpsc::UnboundedSender<()>,
}

/// Tells the end of a runtime's thread, also when it ends badly.
struct Ending(mpsc::UnboundedSender<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens any more once the front is to stop.
        let _ = self.0.send(());
    }
}

fn start(
    seat: &Seat,
    listener: &TcpListener,
    runtimes: &Runtimes,
) -> io::Result<Vec<thread::JoinHandle<io::Result<()>>>> {
    let thread = |number| {
        let (seat, listener) = (seat.clone(), listener.try_clone()?);
        let ending = Ending(runtimes.ending.clone());
        let builder = thread::Builder::new().name(format!("front-{number}"));
        builder.spawn(move || {
            let result = listen::run(&seat, listener);
            drop(ending);
            result
        })
    };
    (0..runtimes.count).map(thread).collect()
}

/// Asks for a certificate until there is one.
async fn issue(config: &FrontConfig, reporter: &Reporter) -> Issued {
    let mut wait = RECONNECT_MIN;
    loop {
        let issued = match Wanted::new() {
            Ok(wanted) => wanted.issue(&config.signer_socket).await,
            Err(error) => Err(error),
        };
        match issued {
            Ok(issued) => return issued,
            Err(error) => reporter.report(&error),
        }
        tokio::time::sleep(wait).await;
        wait = longer(wait);
    }
}

/// Renews the certificate whenever it is due, for ever.
async fn renew(
    config: &FrontConfig,
    reporter: &Reporter,
    current: &Current,
    mut issued: Issued,
) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(CERTIFICATE_CHECK).await;
        if issued.is_due() {
            issued = issue(config, reporter).await;
            current.replace(issued.certified.clone());
        }
    }
}
