//! A connection whose received bytes are recorded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Connection, End};
use crate::kit::Seen;

/// Any connection, plain or inside TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
/// A boxed connection.
pub(super) type Io = Box<dyn Duplex>;

/// A connection whose received bytes are recorded.
pub(super) struct Tapped {
    /// The connection.
    pub(super) io: Io,
    /// Where it is recorded.
    pub(super) seen: Arc<Seen<Connection>>,
    /// Its number.
    pub(super) at: usize,
    /// Whether the bytes are kept, or only counted.
    pub(super) keep: bool,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        let fresh = &buffer.filled()[before..];
        let (at, keep) = (self.at, self.keep);
        self.seen.modify(|all| {
            let connection = &mut all[at];
            match &read {
                Err(_) => connection.end = End::Reset,
                Ok(()) if fresh.is_empty() => connection.end = End::Fin,
                Ok(()) => {
                    connection.count += fresh.len();
                    if keep {
                        connection.received.extend_from_slice(fresh);
                    }
                }
            }
        });
        Poll::Ready(read)
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        if written.is_err() {
            let at = self.at;
            self.seen.modify(|all| all[at].end = End::Reset);
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
