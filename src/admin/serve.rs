//! The admin server's connections: how many, how long, and how they end.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep};

use super::access::Peer;
use super::stream::Lease;
use super::{State, UnixSocket, routes};

/// The pause after accepting failed, as it does when no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of a request's head.
const HEAD: usize = 16 * 1024;

/// What slow clients can take from one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; half of them may follow the audit log.
    pub connections: usize,
    /// How long a head, a body or a reader's next byte may take, and how long the end waits.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 64, patience: Duration::from_secs(10) }
    }
}

/// Where clients come from.
#[derive(Debug)]
pub enum Listener {
    /// By TCP: they are nobody in particular without a token.
    Tcp(TcpListener),
    /// By the unix socket: they are its owner.
    Unix(UnixSocket),
}

/// The work of one connection.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves a listener until `shutdown` is done; then waits a little for the requests that are being answered.
///
/// `spawn` runs the work of one connection.
pub async fn serve(
    listener: Listener,
    state: Arc<State>,
    spawn: impl Fn(Task),
    shutdown: impl Future<Output = ()>,
) {
    let Limits { connections, patience } = state.limits;
    let slots = Arc::new(Semaphore::new(connections));
    let (stop, stopping) = watch::channel(false);
    let lease = Lease { stopping, streams: Arc::new(Semaphore::new((connections / 2).max(1))) };
    let router = routes::router(&state).layer(Extension(lease.clone()));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the limit a connection is closed at once: it would only wait behind slow ones.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let router = router.clone().layer(Extension(peer));
        let stopping = lease.stopping.clone();
        spawn(Box::pin(async move {
            connection(Patient::new(stream, patience), router, patience, stopping).await;
            drop(slot);
        }));
    }
    drop(listener);
    stop.send_replace(true);
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(patience, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("the admin server did not wait for its last connections");
    }
}

/// Serves one connection.
async fn connection(
    stream: Patient<Box<dyn Duplex>>,
    router: Router,
    patience: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It also bounds how long a connection may be silent between two requests.
        .header_read_timeout(patience)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

/// Waits until the server stops.
pub(super) async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error says that the server itself is gone.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

impl Listener {
    /// Waits for a client.
    async fn accept(&self) -> io::Result<(Box<dyn Duplex>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Peer::Tcp))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok((Box::new(stream), Peer::Unix))
            }
        }
    }
}

/// A connection's bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A stream whose reader must take bytes within a time.
pub(super) struct Patient<S> {
    /// The stream.
    stream: S,
    /// How long one write may take.
    patience: Duration,
    /// The end of that time, while a write waits.
    deadline: Pin<Box<Sleep>>,
    /// Whether a write waits.
    waiting: bool,
}

impl<S> Patient<S> {
    /// A stream with that much patience for its reader.
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, deadline: Box::pin(tokio::time::sleep(patience)), waiting: false }
    }

    /// Lets what a write says pass, unless it has waited too long.
    fn judge<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = false;
            return poll;
        }
        if !self.waiting {
            self.waiting = true;
            self.deadline.as_mut().reset(Instant::now() + self.patience);
        }
        self.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(poll, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(poll, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(poll, cx)
    }
}
