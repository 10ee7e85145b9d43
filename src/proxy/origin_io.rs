//! The socket to an origin under the HTTP engine: read in small parts, and it tells when all was written.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::outlet::{Outlet, PART};
use super::socket::poll_receive;

/// The bytes of a connection to an origin.
#[derive(Debug)]
pub(super) enum OriginStream {
    /// In the clear.
    Plain(TcpStream),
    /// Inside TLS, which was verified.
    Tls(Box<TlsStream<TcpStream>>),
}

impl OriginStream {
    /// The socket itself.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// A connection to an origin as HTTP sees it.
pub(super) struct OriginIo {
    stream: OriginStream,
    outlet: Arc<Outlet>,
    heard: Arc<AtomicU64>,
}

impl OriginIo {
    /// Counts into `heard` what comes, and tells `outlet` when all is written.
    pub(super) const fn new(stream: OriginStream, outlet: Arc<Outlet>, heard: Arc<AtomicU64>) -> Self {
        Self { stream, outlet, heard }
    }

    /// The connection itself.
    pub(super) fn into_inner(self) -> OriginStream {
        self.stream
    }

    /// What is written to.
    fn writer(self: Pin<&mut Self>) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match &mut self.get_mut().stream {
            OriginStream::Plain(stream) => Pin::new(stream),
            OriginStream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl Read for OriginIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut dst: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); PART];
        let most = dst.remaining().min(PART);
        let mut read = ReadBuf::uninit(space.get_mut(..most).unwrap_or_default());
        match &mut self.stream {
            OriginStream::Plain(stream) => ready!(poll_receive(stream, cx, &mut read))?,
            OriginStream::Tls(stream) => ready!(Pin::new(stream.as_mut()).poll_read(cx, &mut read))?,
        }
        self.heard.fetch_add(read.filled().len() as u64, Ordering::Relaxed);
        dst.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for OriginIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, src: &[u8]) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, src)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let OriginStream::Tls(stream) = &mut self.stream {
            // What TLS made of it may wait for the socket.
            ready!(Pin::new(stream.as_mut()).poll_flush(cx))?;
        }
        self.outlet.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write_vectored(cx, parts)
    }
}
