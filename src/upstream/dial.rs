//! Connects to permitted addresses, and to nothing else (RFC 8305, "happy eyeballs").
//!
//! An attempt starts every [`DialSettings::stagger`], and at once when one fails; the first
//! connection wins and the others are closed. Through a parent proxy it is the same, a little slower.
//! Only the addresses of the permits are tried, in their order, so there is nothing to fall back to
//! that was not judged.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

pub use super::dial_error::{DialError, DialFailure};
use super::options::SocketOptions;
use crate::policy::{Route, Way};

/// How connections are opened.
#[derive(Debug, Clone)]
pub struct DialSettings {
    /// How long all attempts together may take.
    pub connect_timeout: Duration,
    /// After how long the next attempt starts while one is pending.
    pub stagger: Duration,
    /// When an idle connection is probed; `None`: never.
    pub keepalive: Option<Duration>,
    /// What makes a connection leave by its network.
    pub options: SocketOptions,
}

impl Default for DialSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stagger: Duration::from_millis(250),
            keepalive: Some(Duration::from_mins(1)),
            options: SocketOptions::default(),
        }
    }
}

/// An open connection and the address it leads to.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub stream: TcpStream,
    /// The judged address that answered; None: a parent proxy was given the name.
    pub address: Option<SocketAddr>,
    /// The path that it takes.
    pub route: Route,
}

impl Dialed {
    /// The way that it took.
    #[must_use]
    pub fn way(&self) -> Way {
        Way { route: self.route.clone(), address: self.address.map(|address| address.ip()) }
    }
}

/// Opens one connection to one of these addresses, all of them from permits that were used up, whichever answers first.
///
/// # Errors
/// [`DialFailure`] when every attempt failed or the time is up.
pub(super) async fn race(
    waiting: impl ExactSizeIterator<Item = SocketAddr>,
    settings: &DialSettings,
) -> Result<Dialed, DialFailure> {
    let rules = Rules { stagger: settings.stagger, late: DialError::Timeout, is_final: |_: DialError| false };
    race_by(waiting, settings, &rules, |address| one(address, settings)).await
}

/// How attempts follow each other.
pub(super) struct Rules<F> {
    /// After how long the next one starts while one is pending.
    pub(super) stagger: Duration,
    /// What it is when the time is up.
    pub(super) late: DialError,
    /// Whether a failure leaves no hope for any address.
    pub(super) is_final: F,
}

/// The same by other means than a socket of this host.
pub(super) async fn race_by<'a, A>(
    mut waiting: impl ExactSizeIterator<Item = SocketAddr>,
    settings: &DialSettings,
    rules: &Rules<impl Fn(DialError) -> bool>,
    attempt: impl Fn(SocketAddr) -> A,
) -> Result<Dialed, DialFailure>
where
    A: Future<Output = Result<TcpStream, DialError>> + Send + 'a,
{
    let deadline = Instant::now() + settings.connect_timeout;
    let mut running = Running(Vec::new());
    // Whatever has not failed otherwise in the end was too slow.
    let mut attempts: Vec<(SocketAddr, DialError)> = Vec::new();
    let mut failure = DialError::NoAddress;
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next || running.0.is_empty() {
            match waiting.next() {
                Some(address) => {
                    running.start(attempts.len(), address, attempt(address));
                    attempts.push((address, rules.late));
                }
                None if running.0.is_empty() => return Err(DialFailure::new(failure, attempts)),
                None => {}
            }
            next = Instant::now() + rules.stagger;
        }
        tokio::select! {
            biased;
            ended = running.any() => match ended {
                Ok(dialed) => return Ok(dialed),
                Err((at, error)) => {
                    if let Some(attempt) = attempts.get_mut(at) {
                        attempt.1 = error;
                    }
                    if (rules.is_final)(error) {
                        return Err(DialFailure::new(error, attempts));
                    }
                    failure = failure.or(error);
                    next = Instant::now();
                }
            },
            () = sleep_until(deadline) => {
                return Err(DialFailure::new(failure.or(rules.late), attempts));
            }
            () = sleep_until(next), if waiting.len() > 0 => {}
        }
    }
}

/// One attempt under way; it fails with its number.
type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Dialed, (usize, DialError)>> + Send + 'a>>;

/// The attempts under way.
struct Running<'a>(Vec<Attempt<'a>>);

impl<'a> Running<'a> {
    /// Starts attempt number `at`, at an address whose permit was used up.
    fn start(
        &mut self,
        at: usize,
        address: SocketAddr,
        attempt: impl Future<Output = Result<TcpStream, DialError>> + Send + 'a,
    ) {
        self.0.push(Box::pin(async move {
            let stream = attempt.await.map_err(|error| (at, error))?;
            Ok(Dialed { stream, address: Some(address), route: Route::default() })
        }));
    }

    /// Completes when one attempt has ended, and takes it out.
    fn any(&mut self) -> impl Future<Output = Result<Dialed, (usize, DialError)>> {
        poll_fn(|cx: &mut Context<'_>| {
            let ended =
                self.0.iter_mut().enumerate().find_map(|(at, attempt)| match attempt.as_mut().poll(cx) {
                    Poll::Ready(outcome) => Some((at, outcome)),
                    Poll::Pending => None,
                });
            let Some((at, outcome)) = ended else { return Poll::Pending };
            drop(self.0.swap_remove(at));
            Poll::Ready(outcome)
        })
    }
}

/// Opens one connection to this address.
pub(super) async fn one(address: SocketAddr, settings: &DialSettings) -> Result<TcpStream, DialError> {
    let socket = open(address, settings)?;
    connect(socket, address).await.map_err(|error| DialError::from(&error))
}

/// A socket with every option set before it is connected.
fn open(address: SocketAddr, settings: &DialSettings) -> Result<TcpSocket, DialError> {
    let socket = settings.options.stream(address)?;
    let configured = || -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if let Some(idle) = settings.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle / 4))?;
        }
        Ok(())
    };
    configured().map_err(|error| DialError::from(&error))?;
    Ok(TcpSocket::from_std_stream(StdStream::from(socket)))
}

/// Connects, and refuses a connection of the socket to itself.
#[expect(clippy::disallowed_methods, reason = "this is the one place that opens outward connections")]
pub(super) async fn connect(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = socket.connect(address).await?;
    // SECURITY: a free local port can be "connected" to itself by a simultaneous open.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests;
