//! One HTTP/1.1 connection to an origin, used by one client connection only.
//!
//! It is never shared between clients, so no pool key can be wrong. It is used again for the same sandbox and target as
//! long as both sides keep it open and the address is still permitted.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::body::ClientBody;
use super::outlet::{Outlet, PART};
use super::socket::poll_receive;
use crate::addr::Target;
use crate::drain::Tasks;

/// How long a kept connection may take to be ready for the next request.
const READY: Duration = Duration::from_millis(100);
/// The longest head of a response, but for the part that goes beyond it.
const HEAD: usize = 64 * 1024;

/// An open connection to an origin.
#[derive(Debug)]
pub(super) struct Origin {
    sender: SendRequest<ClientBody>,
    /// What is on its way to it.
    outlet: Arc<Outlet>,
    /// How many bytes have come from it.
    heard: Arc<AtomicU64>,
    /// Whose requests it carries: one client connection may show the tokens of several.
    sandbox: Arc<str>,
    target: Target,
    pub(super) address: IpAddr,
    /// Whether a request went over it already, so that it may have been closed meanwhile.
    pub(super) used: bool,
}

impl Origin {
    /// Speaks HTTP on a fresh connection.
    ///
    /// # Errors
    /// The connection failed at once.
    pub(super) async fn new(
        stream: TcpStream,
        sandbox: Arc<str>,
        target: Target,
        address: IpAddr,
        tasks: &Tasks,
    ) -> hyper::Result<Self> {
        let outlet = Arc::<Outlet>::default();
        let heard = Arc::<AtomicU64>::default();
        let io = OriginIo { stream, outlet: Arc::clone(&outlet), heard: Arc::clone(&heard) };
        let (sender, connection) = http1::Builder::new().max_buf_size(HEAD).handshake(io).await?;
        tasks.spawn("origin", async move {
            // Its failure reaches whoever awaits the response or reads the body.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, outlet, heard, sandbox, target, address, used: false })
    }

    /// Whether it may carry requests of this sandbox, and leads to this target.
    pub(super) fn fits(&self, sandbox: &str, target: &Target) -> bool {
        *self.sandbox == *sandbox && self.target == *target
    }

    /// Whether another request can be sent on it: the response before is read to its end, and it is still open.
    pub(super) async fn is_ready(&mut self) -> bool {
        !self.used || matches!(timeout(READY, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// The failure, and what is known of the request then.
    pub(super) async fn send(
        &mut self,
        mut request: Request<ClientBody>,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.used = true;
        request.body_mut().by(&self.outlet);
        let before = self.heard.load(Ordering::Relaxed);
        self.sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message().map(Box::new);
            let begun = self.heard.load(Ordering::Relaxed) != before;
            Unanswered { error: error.into_error(), unsent, begun }
        })
    }
}

/// A request that got no response.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// The request itself, when no byte of it was sent.
    pub(super) unsent: Option<Box<Request<ClientBody>>>,
    /// Some bytes of a response have come.
    pub(super) begun: bool,
}

/// The socket to an origin under the HTTP engine: read in small parts, and it tells when all was written.
pub(super) struct OriginIo {
    stream: TcpStream,
    outlet: Arc<Outlet>,
    heard: Arc<AtomicU64>,
}

impl OriginIo {
    /// The connection itself.
    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }
}

impl Read for OriginIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut dst: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); PART];
        let most = dst.remaining().min(PART);
        let mut read = ReadBuf::uninit(space.get_mut(..most).unwrap_or_default());
        ready!(poll_receive(&self.stream, cx, &mut read))?;
        self.heard.fetch_add(read.filled().len() as u64, Ordering::Relaxed);
        dst.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for OriginIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, src: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, src)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outlet.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }
}
