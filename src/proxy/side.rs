//! One side of a connection: a socket as it is, or TLS on one.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use super::socket::poll_receive;

/// TLS that is served to a client.
pub(super) type Served = Box<server::TlsStream<Ahead>>;
/// TLS that is spoken with an origin.
pub(super) type Spoken = Box<client::TlsStream<TcpStream>>;

/// One side of a connection.
#[derive(Debug)]
pub(super) enum Side {
    /// As it is.
    Plain(TcpStream),
    /// A client, decrypted.
    Client(Served),
    /// An origin, encrypted.
    Origin(Spoken),
}

/// A client's socket, from which something was read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    stream: Arc<TcpStream>,
    first: BytesMut,
}

impl Ahead {
    /// A socket, and what was read from it ahead.
    pub(super) fn new(stream: TcpStream, first: BytesMut) -> Self {
        Self { stream: Arc::new(stream), first }
    }

    /// The socket.
    pub(super) const fn socket(&self) -> &Arc<TcpStream> {
        &self.stream
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return poll_receive(&self.stream, cx, read);
        }
        let here = self.first.len().min(read.remaining());
        read.put_slice(self.first.get(..here).unwrap_or_default());
        self.first.advance(here);
        if self.first.is_empty() {
            self.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_send(&self.stream, cx, |stream| stream.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A client that is gone already has nothing to be told.
        let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_send(&self.stream, cx, |stream| stream.try_write_vectored(parts))
    }
}

/// Writes by one of the `try_write` calls.
pub(super) fn poll_send(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    send: impl Fn(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match send(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

impl Side {
    /// The socket under it.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Client(tls) => &tls.get_ref().0.stream,
            Self::Origin(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Side {
    /// The end of an origin's TLS that it did not announce is a failure: what came may not be all (RFC 8446 §6.1).
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, read: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, read),
            Self::Client(tls) => Pin::new(tls).poll_read(cx, read).map(unannounced),
            Self::Origin(tls) => Pin::new(tls).poll_read(cx, read),
        }
    }
}

/// Takes the end of a client's TLS that it did not announce for its end: many do not.
pub(super) fn unannounced(read: io::Result<()>) -> io::Result<()> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        done => done,
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Client(tls) => Pin::new(tls).poll_write(cx, bytes),
            Self::Origin(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Client(tls) => Pin::new(tls).poll_flush(cx),
            Self::Origin(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Client(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Origin(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
