//! Bytes between two sockets, both ways, as the peers meant them.
//!
//! * A half-close is passed on and the other direction goes on.
//! * A reset stays a reset, and what is dropped in the middle ends with one: see [`unfinished`].
//! * Nothing is held while nothing is under way: one scratch buffer a thread serves every tunnel, and only
//!   what the receiver did not take at once is kept, so an idle tunnel holds no buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::account::Account;
use super::side::Side;
use crate::audit::{Outcome, Text};
use crate::share::Share;

/// The size of the scratch buffer, and so the most that one direction ever holds.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    /// Where bytes are between `read` and `write`; nothing stays in it across an await.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Payload bytes of one connection, when one last moved, and on whose account.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) account: Account,
    up: AtomicU64,
    down: AtomicU64,
    start: Instant,
    /// Milliseconds after `start` of the last movement.
    last: AtomicU64,
}

impl Meter {
    /// A meter at zero.
    pub(super) fn new() -> Self {
        Self {
            account: Account::default(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// Bytes from the client.
    pub(super) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Bytes to the client.
    pub(super) fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Counts bytes from the client that moved outside of [`relay`].
    pub(super) fn add_up(&self, bytes: usize) {
        self.add(&self.up, bytes);
    }

    /// Counts bytes to the client that moved outside of [`relay`].
    pub(super) fn add_down(&self, bytes: usize) {
        self.add(&self.down, bytes);
    }

    /// Counts bytes and notes the time.
    fn add(&self, counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// Resolves once nothing has moved for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last.elapsed() >= limit {
                return;
            }
            sleep_until(last + limit).await;
        }
    }
}

/// Which side ended a tunnel the hard way.
#[derive(Debug)]
pub(super) enum RelayError {
    /// The client's connection failed.
    Client(io::Error),
    /// The origin's connection failed.
    Origin(io::Error),
}

impl RelayError {
    /// How a record ends for it, and what it says of it.
    pub(super) fn told(&self) -> (Outcome, Text) {
        let (outcome, error) = match self {
            Self::Client(error) => (Outcome::ClientFailed, error),
            Self::Origin(error) => (Outcome::UpstreamFailed, error),
        };
        (outcome, Text::new(&error.to_string()))
    }
}

/// Carries bytes both ways until both sides have closed; `held` was read from the origin before.
///
/// # Errors
/// The side whose connection failed first. The caller passes the failure on with [`reset`].
pub(super) async fn relay(
    client: &TcpStream,
    origin: &TcpStream,
    held: Vec<u8>,
    meter: &Meter,
) -> Result<(), RelayError> {
    // Pinned where they stand and polled by hand: combinators that take futures by value would each reserve their
    // size again, for every idle tunnel.
    let payer = meter.account.share();
    let mut up = pin!(carry(client, origin, Vec::new(), payer.as_deref(), |bytes| meter.add_up(bytes)));
    let mut down = pin!(carry(origin, client, held, None, |bytes| meter.add_down(bytes)));
    let mut client_failed = pin!(failed(client));
    let mut origin_failed = pin!(failed(origin));
    let (mut up_goes_on, mut down_goes_on) = (true, true);
    poll_fn(|cx| {
        if up_goes_on && let Poll::Ready(done) = up.as_mut().poll(cx) {
            done.map_err(|error| error.sided(RelayError::Client, RelayError::Origin))?;
            up_goes_on = false;
        }
        if down_goes_on && let Poll::Ready(done) = down.as_mut().poll(cx) {
            done.map_err(|error| error.sided(RelayError::Origin, RelayError::Client))?;
            down_goes_on = false;
        }
        if !up_goes_on && !down_goes_on {
            return Poll::Ready(Ok(()));
        }
        // A side that is no longer read from, or blocks the other, can still be reset.
        if let Poll::Ready(error) = client_failed.as_mut().poll(cx) {
            return Poll::Ready(Err(RelayError::Client(error)));
        }
        origin_failed.as_mut().poll(cx).map(|error| Err(RelayError::Origin(error)))
    })
    .await
}

/// Carries bytes both ways between any two sides, as [`relay`] does between sockets.
///
/// # Errors
/// The side whose connection failed first.
pub(super) async fn relay_sides(
    client: &mut Side,
    origin: &mut Side,
    held: Vec<u8>,
    meter: &Meter,
) -> Result<(), RelayError> {
    if let (Side::Plain(client), Side::Plain(origin)) = (&*client, &*origin) {
        return relay(client, origin, held, meter).await;
    }
    // Boxed: most tunnels carry bytes as they are, and none of those is to reserve room for this.
    Box::pin(relay_sealed(client, origin, held, meter)).await
}

/// The same, where one side at least is TLS.
async fn relay_sealed(
    client: &mut Side,
    origin: &mut Side,
    held: Vec<u8>,
    meter: &Meter,
) -> Result<(), RelayError> {
    let payer = meter.account.share();
    let (from_client, to_client) = split(client);
    let (from_origin, to_origin) = split(origin);
    let up = pour(from_client, to_origin, Vec::new(), payer.as_deref(), |bytes| meter.add_up(bytes));
    let down = pour(from_origin, to_client, held, None, |bytes| meter.add_down(bytes));
    let up = async { up.await.map_err(|error| error.sided(RelayError::Client, RelayError::Origin)) };
    let down = async { down.await.map_err(|error| error.sided(RelayError::Origin, RelayError::Client)) };
    tokio::try_join!(up, down).map(|_| ())
}

/// Carries bytes one way, as [`carry`] does.
async fn pour(
    mut from: ReadHalf<&mut Side>,
    mut to: WriteHalf<&mut Side>,
    mut rest: Vec<u8>,
    payer: Option<&Share>,
    count: impl Fn(usize),
) -> Result<(), CarryError> {
    loop {
        if !rest.is_empty() {
            to.write_all(&rest).await.map_err(CarryError::Write)?;
            to.flush().await.map_err(CarryError::Write)?;
            count(rest.len());
            rest = Vec::new();
        }
        let grant = match payer.filter(|payer| payer.is_paced()) {
            None => None,
            Some(payer) => Some((payer, Box::pin(payer.upload(SCRATCH)).await)),
        };
        let room = grant.as_ref().map_or(SCRATCH, |(_, grant)| grant.bytes.min(SCRATCH));
        let read = poll_fn(|cx| poll_pour(&mut from, &mut rest, room, cx)).await;
        if let Some((payer, grant)) = grant {
            payer.put_back(grant, rest.len());
        }
        read.map_err(CarryError::Read)?;
        if rest.is_empty() {
            // A side that is gone already has nothing to be told.
            let _ = to.shutdown().await;
            return Ok(());
        }
    }
}

/// Reads at most `room` bytes into `rest`, which holds no memory until something has come.
fn poll_pour(
    from: &mut ReadHalf<&mut Side>,
    rest: &mut Vec<u8>,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut read = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        rest.extend_from_slice(read.filled());
        Poll::Ready(Ok(()))
    })
}

/// Resolves when the connection fails, whether or not anyone reads or writes.
pub(super) async fn failed(stream: &TcpStream) -> io::Error {
    match stream.ready(Interest::ERROR).await {
        Ok(_) => match stream.take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        },
        Err(error) => error,
    }
}

/// Which end of one direction failed.
enum CarryError {
    Read(io::Error),
    Write(io::Error),
}

impl CarryError {
    /// Names the side that a failed read or write belongs to.
    fn sided<E>(self, read: impl FnOnce(io::Error) -> E, write: impl FnOnce(io::Error) -> E) -> E {
        match self {
            Self::Read(error) => read(error),
            Self::Write(error) => write(error),
        }
    }
}

/// Carries bytes one way, `rest` first, until `from` closes, then closes `to` for writing. What `payer` pays for goes at
/// its pace.
async fn carry(
    from: &TcpStream,
    to: &TcpStream,
    mut rest: Vec<u8>,
    payer: Option<&Share>,
    count: impl Fn(usize),
) -> Result<(), CarryError> {
    let before = rest.len();
    if before > 0 {
        write_rest(to, &mut rest).await?;
        count(before);
    }
    loop {
        // Unlike `readable` and `writable`, these take no room in the tunnel: each socket has a place for both.
        poll_fn(|cx| from.poll_read_ready(cx)).await.map_err(CarryError::Read)?;
        let carried = match payer.filter(|payer| payer.is_paced()) {
            None => carry_once(from, to, &mut rest, SCRATCH),
            Some(payer) => {
                // Boxed: few wait here, and none while it idles.
                let grant = Box::pin(payer.upload(SCRATCH)).await;
                let carried = carry_once(from, to, &mut rest, grant.bytes);
                payer.put_back(grant, carried.as_ref().ok().copied().flatten().unwrap_or_default());
                carried
            }
        };
        match carried? {
            None => {}
            Some(0) => break,
            Some(bytes) => {
                write_rest(to, &mut rest).await?;
                count(bytes);
            }
        }
    }
    // An origin or client that is gone already has nothing to be told.
    let _ = SockRef::from(to).shutdown(std::net::Shutdown::Write);
    Ok(())
}

/// Reads what is there, at most `most`, and writes what is taken; what is not taken goes to `rest`. `None`: nothing was
/// there.
fn carry_once(
    from: &TcpStream,
    to: &TcpStream,
    rest: &mut Vec<u8>,
    most: usize,
) -> Result<Option<usize>, CarryError> {
    BUFFER.with_borrow_mut(|buffer| {
        let room = most.min(SCRATCH);
        let read = match from.try_read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(CarryError::Read(error)),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        let written = if bytes.is_empty() { 0 } else { try_write(to, bytes)? };
        rest.extend_from_slice(bytes.get(written..).unwrap_or_default());
        Ok(Some(read))
    })
}

/// Writes `rest` out and gives its memory back.
async fn write_rest(to: &TcpStream, rest: &mut Vec<u8>) -> Result<(), CarryError> {
    let mut done = 0;
    while let Some(bytes) = rest.get(done..).filter(|bytes| !bytes.is_empty()) {
        poll_fn(|cx| to.poll_write_ready(cx)).await.map_err(CarryError::Write)?;
        done += try_write(to, bytes)?;
    }
    if !rest.is_empty() {
        *rest = Vec::new();
    }
    Ok(())
}

/// Writes what the socket takes at once; 0 when it takes nothing.
fn try_write(to: &TcpStream, bytes: &[u8]) -> Result<usize, CarryError> {
    match to.try_write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(CarryError::Write(error)),
    }
}

/// Has the kernel end a connection with a reset from here on, whoever drops it, even by the end of this process: what came
/// so far is not all there is, and where only the end of the connection tells, it must not look as if it were.
pub(super) fn unfinished(stream: &TcpStream) {
    // A socket that cannot linger is closed all the same.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Takes [`unfinished`] back: what is still on its way arrives, and then the end.
pub(super) fn finished(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(None);
}

/// Ends a connection with a reset instead of an orderly close.
pub(super) fn reset(stream: TcpStream) {
    unfinished(&stream);
    drop(stream);
}

/// Ends a connection with a reset, without a word in the TLS on it.
pub(super) fn reset_side(side: Side) {
    unfinished(side.socket());
    drop(side);
}
