//! One connection to an origin, in the clear or inside TLS, used by one client connection only.
//!
//! It is never shared between clients, so what it is chosen by cannot be wrong for another one. It is used again for the
//! same purpose as long as both sides keep it open and the address is still permitted: [`super::origins`].

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use h2::Reason;
use http::{Request, Response};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use tokio::time::timeout;

use super::arriving::Arriving;
use super::origin_io::{OriginIo, OriginStream};
use super::outlet::Outlet;
use super::upload::ClientBody;
use crate::drain::Tasks;
use crate::policy::Way;
use crate::share::Seat;
use crate::upstream::Negotiated;

/// How long a kept connection may take to be ready for the next request.
const READY: Duration = Duration::from_millis(100);
/// The longest head of a response, but for the part that goes beyond it.
const HEAD: usize = 64 * 1024;
/// The same of HTTP/2, where it is counted as a list.
const HEADER_LIST: u32 = 64 * 1024;
/// How much of one response of HTTP/2 may wait for its client.
const STREAM_WINDOW: u32 = 256 * 1024;
/// How much of all responses of one connection may.
const WINDOW: u32 = 512 * 1024;
/// How much of one request of HTTP/2 may wait for its origin.
const SEND_BUFFER: usize = 64 * 1024;
/// How many streams that were reset here are remembered.
const RESETS: usize = 32;
/// How many of an origin's faults on single streams its connection outlives.
const FAULTS: usize = 64;

/// An open connection to an origin.
#[derive(Debug)]
pub(super) struct Origin {
    sender: Sender,
    /// What is on its way to it.
    outlet: Arc<Outlet>,
    /// How many bytes have come from it.
    heard: Arc<AtomicU64>,
    pub(super) way: Way,
    /// Whether a request went over it already, so that it may have been closed meanwhile.
    pub(super) used: bool,
    lease: Arc<Lease>,
}

/// What a connection to an origin takes of its sandbox's share: held by the connection, and by each body that comes on it.
#[derive(Debug)]
pub(super) struct Lease {
    /// It is counted by this.
    _count: Arc<()>,
    /// Its seat, where the client's own is not enough.
    _seat: Option<Seat>,
}

/// Where requests are handed over.
enum Sender {
    /// One exchange at a time.
    Http1(http1::SendRequest<ClientBody>),
    /// Any number of them.
    Http2(http2::SendRequest<ClientBody>),
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http1(_) => "Http1",
            Self::Http2(_) => "Http2",
        })
    }
}

/// Runs the parts of an HTTP/2 connection as tasks of the gateway.
#[derive(Clone)]
pub(super) struct Parts(pub(super) Tasks);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Parts {
    fn execute(&self, part: F) {
        self.0.spawn("origin", part);
    }
}

impl Lease {
    /// One more among those that `count` counts.
    pub(super) fn new(count: &Arc<()>, seat: Option<Seat>) -> Arc<Self> {
        Arc::new(Self { _count: Arc::clone(count), _seat: seat })
    }
}

impl Origin {
    /// Speaks HTTP on a fresh connection.
    ///
    /// # Errors
    /// The connection failed at once.
    pub(super) async fn new(
        stream: OriginStream,
        spoken: Negotiated,
        way: Way,
        lease: Arc<Lease>,
        tasks: &Tasks,
    ) -> hyper::Result<Self> {
        let heard = Arc::<AtomicU64>::default();
        let outlet = Arc::new(match spoken {
            Negotiated::Http1 => Outlet::default(),
            Negotiated::Http2 => Outlet::windowed(),
        });
        let io = OriginIo::new(stream, Arc::clone(&outlet), Arc::clone(&heard));
        let sender = match spoken {
            Negotiated::Http1 => http1(io, tasks).await?,
            // Boxed: its state is large, and nothing of it is left afterwards.
            Negotiated::Http2 => Box::pin(http2(io, tasks)).await?,
        };
        Ok(Self { sender, outlet, heard, way, used: false, lease })
    }

    /// Whether it carries any number of exchanges at a time.
    pub(super) const fn is_multiplexed(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// The same connection for one more exchange, if it carries several.
    pub(super) fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        Some(Self {
            sender: Sender::Http2(sender.clone()),
            outlet: Arc::clone(&self.outlet),
            heard: Arc::clone(&self.heard),
            way: self.way.clone(),
            used: self.used,
            lease: Arc::clone(&self.lease),
        })
    }

    /// Whether these are one connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lease, &other.lease)
    }

    /// Whether nothing is under way on it, as far as is known here.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.lease) == 1
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Whether another request can be sent on it: it is still open, and what came before has ended where that must be.
    pub(super) async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => !self.used || matches!(timeout(READY, sender.ready()).await, Ok(Ok(()))),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// The failure, and what is known of the request then.
    pub(super) async fn send(
        &mut self,
        mut request: Request<ClientBody>,
    ) -> Result<Response<Arriving>, Unanswered> {
        self.used = true;
        request.body_mut().by(&self.outlet);
        let before = self.heard.load(Ordering::Relaxed);
        let (sent, multiplexed) = match &mut self.sender {
            Sender::Http1(sender) => (sender.try_send_request(request).await, false),
            Sender::Http2(sender) => (sender.try_send_request(request).await, true),
        };
        let response = sent.map_err(|mut error| {
            let unsent = error.take_message().map(Box::new);
            let error = error.into_error();
            // On a connection with several exchanges, what was heard may belong to any.
            let begun = !multiplexed && self.heard.load(Ordering::Relaxed) != before;
            let fate = if is_unprocessed(&error) {
                Fate::Unprocessed
            } else if !begun && ends_without_answer(&error) {
                Fate::Lost
            } else {
                Fate::Failed
            };
            Unanswered { error, unsent, fate }
        })?;
        let (parts, body) = response.into_parts();
        let body = Arriving::new(body, parts.version).holding(Arc::clone(&self.lease));
        Ok(Response::from_parts(parts, body))
    }
}

/// Speaks HTTP/1.1 on a connection.
async fn http1(io: OriginIo, tasks: &Tasks) -> hyper::Result<Sender> {
    let (sender, connection) = http1::Builder::new().max_buf_size(HEAD).handshake(io).await?;
    tasks.spawn("origin", async move {
        // Its failure reaches whoever awaits the response or reads the body.
        let _ = connection.with_upgrades().await;
    });
    Ok(Sender::Http1(sender))
}

/// Speaks HTTP/2 on a connection, within limits that are all said (threats R3, R4).
async fn http2(io: OriginIo, tasks: &Tasks) -> hyper::Result<Sender> {
    let (sender, connection) = http2::Builder::new(Parts(tasks.clone()))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESETS)
        .max_local_error_reset_streams(FAULTS)
        .keep_alive_interval(None)
        .handshake(io)
        .await?;
    tasks.spawn("origin", async move {
        // Its failure reaches whoever awaits a response or reads a body.
        let _ = connection.await;
    });
    Ok(Sender::Http2(sender))
}

/// A request that got no response.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// The request itself, when no byte of it was sent.
    pub(super) unsent: Option<Box<Request<ClientBody>>>,
    pub(super) fate: Fate,
}

/// What became of a request that got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The origin says that it did nothing about it (RFC 9113 §8.7).
    Unprocessed,
    /// The connection ended before any byte of a response.
    Lost,
    /// Anything else.
    Failed,
}

/// Whether the origin says that it did nothing about the request.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
    })
}

/// Whether the connection ended before a response did, as far as is known.
fn ends_without_answer(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}
