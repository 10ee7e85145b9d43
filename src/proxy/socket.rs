//! The client's connection under the HTTP engine, as it is or decrypted. It notices a reset also while nothing is read from
//! it.

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::relay::{finished, unfinished};
use super::side::{Served, Side, poll_send, unannounced};

/// How much is read from the socket at once while a head or a chunk is expected.
const READ: usize = 8 * 1024;
/// How long a closing connection listens on, so that a reset does not overtake the refusal.
const LINGER: Duration = Duration::from_secs(1);
/// How much a closing connection reads and throws away.
const LINGER_BYTES: usize = 256 * 1024;

/// A connection to a client.
pub(super) struct Socket {
    /// Shared with `failure` and `tls` alone.
    stream: Arc<TcpStream>,
    /// What is spoken on it, unless that is HTTP itself.
    tls: Option<Served>,
    /// Resolves when the connection fails; hyper reads nothing while a response is under way, and would not see it.
    failure: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Something was written since the last look at `failure`.
    wrote: bool,
    /// What was written is not all there is, and only the end of the connection would tell.
    owes: bool,
    /// A read has failed already, and taken the error with it.
    failed: bool,
    /// The write side is shut; until when to listen on, and for how many bytes.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Socket {
    /// The socket of an accepted connection.
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self::on(Arc::new(stream), None)
    }

    /// The inside of a client's TLS.
    pub(super) fn decrypted(tls: Served) -> Self {
        Self::on(Arc::clone(tls.get_ref().0.socket()), Some(tls))
    }

    /// What is spoken on a socket.
    fn on(stream: Arc<TcpStream>, tls: Option<Served>) -> Self {
        Self { stream, tls, failure: None, wrote: false, owes: false, failed: false, linger: None }
    }

    /// The connection itself; always something, as nobody else holds it.
    pub(super) fn into_inner(self) -> Option<Side> {
        drop(self.failure);
        match self.tls {
            Some(tls) => Some(Side::Client(tls)),
            None => Arc::into_inner(self.stream).map(Side::Plain),
        }
    }

    /// Has the connection end with a reset from here on, should it be dropped, or no longer.
    pub(super) fn owe(&mut self, owes: bool) {
        if owes != self.owes {
            self.owes = owes;
            if owes { unfinished(&self.stream) } else { finished(&self.stream) }
        }
    }

    /// Appends some bytes to `buffer`; 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut space);
        let received = ready!(match &mut self.tls {
            Some(tls) => Pin::new(tls).poll_read(cx, &mut read).map(unannounced),
            None => poll_receive(&self.stream, cx, &mut read),
        });
        self.failed = received.is_err();
        buffer.extend_from_slice(read.filled());
        Poll::Ready(received.map(|()| read.filled().len()))
    }

    /// Writes what is taken.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
        match &mut self.tls {
            Some(tls) => Pin::new(tls).poll_write(cx, bytes),
            None => poll_send(&self.stream, cx, |stream| stream.try_write(bytes)),
        }
    }

    /// Writes what is taken of these, in their order.
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote = true;
        match &mut self.tls {
            Some(tls) => Pin::new(tls).poll_write_vectored(cx, parts),
            None => poll_send(&self.stream, cx, |stream| stream.try_write_vectored(parts)),
        }
    }

    /// Whether everything that was taken has gone to the socket.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            Some(tls) => Pin::new(tls).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Fails once the connection has, also while nothing is read from it; wakes `cx` then.
    ///
    /// # Errors
    /// `ConnectionReset`.
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let wrote = std::mem::take(&mut self.wrote);
        if self.failed {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.linger.is_some() {
            return Ok(());
        }
        let failure = self.failure.get_or_insert_with(|| {
            let stream = Arc::clone(&self.stream);
            Box::pin(async move {
                let _failed = stream.ready(Interest::ERROR).await;
            })
        });
        match failure.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                self.failure = None;
                if wrote {
                    // RACE: the client may have answered what was just written, such as the 200 to its CONNECT. hyper
                    // goes first; the error stays in the socket for whoever holds it then.
                    cx.waker().wake_by_ref();
                    return Ok(());
                }
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }

    /// Shuts the write side and reads on for a moment, so that unread bytes do not turn the close into a reset that
    /// destroys the answer on its way.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.linger.is_none() {
            if let Some(tls) = &mut self.tls {
                // It announces the end; a client that does not take that is not waited for longer than below.
                let _announced = Pin::new(tls).poll_shutdown(cx);
            }
            // A client that is gone already has nothing to be told.
            let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        }
        let (timer, left) = self.linger.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [MaybeUninit::uninit(); READ];
        loop {
            let mut read = ReadBuf::uninit(&mut space);
            match ready!(poll_receive(&self.stream, cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() && *left > read.filled().len() => {
                    *left -= read.filled().len();
                }
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Reads what is there, at the end of the stream nothing.
pub(super) fn poll_receive(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    read: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let mut received = None;
        let tried = stream.try_io(Interest::READABLE, || {
            let space = read.initialize_unfilled();
            let room = space.len();
            let (_, length) = recv(stream, space, RecvFlags::empty())?;
            received = Some(length);
            // What leaves room was all there is: to ask again would tell just that.
            if (1..room).contains(&length) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (received, tried) {
            (Some(length), _) => {
                read.advance(length);
                return Poll::Ready(Ok(()));
            }
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            (None, done) => return Poll::Ready(done),
        }
    }
}
