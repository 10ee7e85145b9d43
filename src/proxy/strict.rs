//! A client's bytes, checked before the HTTP engine sees them.
//!
//! hyper reads messages leniently where the RFCs allow it, and a lenient proxy in front of another lenient
//! parser is how requests are smuggled. [`StrictIo`] stands between the socket and hyper: it scans each
//! request head with [`crate::wire::head`], follows the body's framing, and hands over the bytes of one
//! message at a time.
//!
//! | the client sends | hyper reads |
//! |---|---|
//! | a well-formed head | the same fields under a neutral request line; the real one is in [`Control`] |
//! | a malformed head | a stand-in request; [`Control`] says what was wrong, and the refusal closes |
//! | a body | the same bytes, up to its end and not beyond |
//! | anything after CONNECT or `Upgrade` | nothing, until the answer is known |
//! | a FIN behind a complete request | nothing, until its answer is written: a half-close is no departure |
//! | a reset, while nothing is read | a failed flush, which ends the request under way |

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::outlet::Outlet;
use super::side::Side;
use super::socket::Socket;
use crate::wire::body::{BodyError, ChunkScanner};
use crate::wire::head::{Framing, Head, HeadError, Upgrade, Version};

/// What hyper reads in place of a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// What the service and the socket tell each other.
#[derive(Debug, Default)]
pub(super) struct Control {
    state: Mutex<State>,
    /// How much of an answer waits for the client.
    outlet: Arc<Outlet>,
}

/// The content of a [`Control`].
#[derive(Debug, Default)]
struct State {
    /// Heads handed to hyper and not yet taken by the service, in order.
    heads: VecDeque<Result<Head, HeadError>>,
    /// The service has answered CONNECT with a refusal: read on.
    resumed: bool,
    /// Whom to wake when it does.
    waker: Option<Waker>,
    /// Bytes of a head have come and its end has not.
    partial: bool,
    /// Why the body being read has no end.
    broken: Option<Broken>,
}

/// Why a request's body has no end. Nothing after it can be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    /// Its chunks are malformed.
    Malformed(BodyError),
    /// The client closed or lost the connection.
    Gone,
}

impl Control {
    /// The head of the request that hyper has just read.
    pub(super) fn next_head(&self) -> Option<Result<Head, HeadError>> {
        self.state().heads.pop_front()
    }

    /// Lets the connection go on with HTTP after a CONNECT that was not granted.
    pub(super) fn resume(&self) {
        let mut state = self.state();
        // RACE: a client that pipelines may have sent the next head already. This is the answer to an earlier one
        // then, and must not let go of what is held behind it.
        if !state.heads.is_empty() {
            return;
        }
        state.resumed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Whether the connection ended inside a request head.
    pub(super) fn is_partial(&self) -> bool {
        self.state().partial
    }

    /// Why the body of the request under way has no end, if that is known by now.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.state().broken
    }

    /// How much of an answer waits for the client.
    pub(super) const fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// The state; a panic elsewhere leaves it consistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the next byte from the client belongs.
#[derive(Debug)]
enum Stage {
    /// To a request head.
    Head,
    /// To a body with this many bytes left.
    Length(u64),
    /// To a chunked body.
    Chunked(ChunkScanner),
    /// To nothing yet: a CONNECT or `Upgrade` awaits its answer.
    Held,
    /// To nothing any more: a refused head came before it.
    Refused,
}

/// A client connection that hyper can read nothing ambiguous from.
pub(super) struct StrictIo {
    socket: Socket,
    /// Read and not yet checked.
    buffer: BytesMut,
    /// Checked and not yet read by hyper.
    ready: Bytes,
    stage: Stage,
    /// How much of `buffer` is known to hold no complete head.
    scanned: usize,
    max_head: usize,
    control: Arc<Control>,
}

impl StrictIo {
    /// Wraps a connection from which `prefix` has been read already; heads are at most `max_head` bytes.
    pub(super) fn new(socket: Socket, prefix: BytesMut, max_head: usize) -> (Self, Arc<Control>) {
        let control = Arc::<Control>::default();
        let io = Self {
            socket,
            buffer: prefix,
            ready: Bytes::new(),
            stage: Stage::Head,
            scanned: 0,
            max_head,
            control: Arc::clone(&control),
        };
        (io, control)
    }

    /// The connection itself and what was read from it and not used; always something, as nobody else holds it.
    pub(super) fn into_inner(self) -> Option<(Side, BytesMut)> {
        Some((self.socket.into_inner()?, self.buffer))
    }

    /// Moves checked bytes from `buffer` to `ready`, as far as the current stage allows.
    ///
    /// Answers false when more bytes are needed first.
    fn advance(&mut self) -> io::Result<bool> {
        match &mut self.stage {
            Stage::Head => Ok(self.scan_head()),
            Stage::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left -= here as u64;
                if *left == 0 {
                    self.stage = Stage::Head;
                }
                self.ready = self.buffer.split_to(here).freeze();
                Ok(here > 0)
            }
            Stage::Chunked(scanner) => {
                let scan = scanner.advance(&self.buffer).map_err(|error| {
                    self.control.state().broken = Some(Broken::Malformed(error));
                    io::Error::new(io::ErrorKind::InvalidData, error)
                })?;
                if scan.done {
                    self.stage = Stage::Head;
                }
                self.ready = self.buffer.split_to(scan.consumed).freeze();
                Ok(scan.consumed > 0)
            }
            Stage::Held | Stage::Refused => Ok(false),
        }
    }

    /// Looks for a complete head; answers false while there is none.
    fn scan_head(&mut self) -> bool {
        let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
        // A head can only end at a line feed: without a new one there is nothing new to find.
        let worthwhile = self.scanned == 0 || fresh.contains(&b'\n') || self.buffer.len() > self.max_head;
        self.scanned = self.buffer.len();
        if self.buffer.is_empty() || !worthwhile {
            return false;
        }
        match Head::scan(&self.buffer, self.max_head) {
            Ok(None) => {
                self.control.state().partial = true;
                false
            }
            Ok(Some((head, len))) => {
                self.release(head, len);
                true
            }
            Err(error) => {
                self.stage = Stage::Refused;
                self.ready = Bytes::from_static(STAND_IN);
                self.put(Err(error));
                true
            }
        }
    }

    /// Hands a checked head of `len` bytes over, under a request line that hyper cannot stumble over.
    fn release(&mut self, head: Head, len: usize) {
        self.buffer.advance(len);
        let connects = head.method() == Method::CONNECT;
        let mut text = BytesMut::with_capacity(len + 64);
        text.extend_from_slice(head.method().as_str().as_bytes());
        text.extend_from_slice(if connects { b" connect:1" } else { b" /" });
        text.extend_from_slice(if head.version() == Version::Http10 {
            b" HTTP/1.0\r\n"
        } else {
            b" HTTP/1.1\r\n"
        });
        for (name, value) in head.headers() {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        self.ready = text.freeze();
        self.stage = match head.framing() {
            _ if connects || head.upgrade() != Upgrade::None => Stage::Held,
            Framing::None | Framing::Length(0) => Stage::Head,
            Framing::Length(length) => Stage::Length(length),
            Framing::Chunked => Stage::Chunked(ChunkScanner::new()),
        };
        self.put(Ok(head));
    }

    /// Queues a head for the service.
    fn put(&mut self, head: Result<Head, HeadError>) {
        self.scanned = 0;
        let mut state = self.control.state();
        state.partial = false;
        state.resumed = false;
        state.heads.push_back(head);
    }

    /// Notes that what is written belongs to an answer whose end is the end of the connection, if so. Only what was
    /// flushed takes that back: the last part of it may still wait.
    fn owe(&mut self) {
        if self.control.outlet.owes() {
            self.socket.owe(true);
        }
    }

    /// Whether a held connection may read on.
    fn poll_resumed(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.control.state();
        if state.resumed {
            Poll::Ready(())
        } else {
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        }
    }
}

impl Read for StrictIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut dst: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let len = this.ready.len().min(dst.remaining());
                dst.put_slice(this.ready.get(..len).unwrap_or_default());
                this.ready.advance(len);
                return Poll::Ready(Ok(()));
            }
            if this.advance()? {
                continue;
            }
            match this.stage {
                Stage::Held => {
                    ready!(this.poll_resumed(cx));
                    this.stage = Stage::Head;
                    continue;
                }
                Stage::Refused => return Poll::Pending,
                Stage::Head | Stage::Length(_) | Stage::Chunked(_) => {}
            }
            let filled = ready!(this.socket.poll_fill(cx, &mut this.buffer));
            if !matches!(filled, Ok(1..)) {
                if !matches!(this.stage, Stage::Head) {
                    this.control.state().broken = Some(Broken::Gone);
                }
                return Poll::Ready(filled.map(|_| ()));
            }
        }
    }
}

impl Write for StrictIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, src: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.owe();
        this.socket.poll_write(cx, src)
    }

    /// hyper asks in every round, also in those in which it does not read.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.socket.poll_sent(cx)?.is_pending() {
            return this.socket.check(cx).map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending);
        }
        this.control.outlet.flushed();
        this.socket.owe(this.control.outlet.owes());
        Poll::Ready(this.socket.check(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.poll_close(cx).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.owe();
        this.socket.poll_write_vectored(cx, parts)
    }
}
