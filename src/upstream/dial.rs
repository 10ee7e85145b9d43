//! Connects to permitted addresses, and to nothing else (RFC 8305, "happy eyeballs").
//!
//! An attempt starts every [`DialSettings::stagger`], and at once when one fails; the first
//! connection wins and the others are closed. Only the addresses of the permits are tried, in their
//! order, so there is nothing to fall back to that was not judged.

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
    mut waiting: impl ExactSizeIterator<Item = SocketAddr>,
    settings: &DialSettings,
) -> Result<Dialed, DialFailure> {
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
                    running.start(attempts.len(), address, settings);
                    attempts.push((address, DialError::Timeout));
                }
                None if running.0.is_empty() => return Err(DialFailure::new(failure, attempts)),
                None => {}
            }
            next = Instant::now() + settings.stagger;
        }
        tokio::select! {
            biased;
            ended = running.any() => match ended {
                Ok(dialed) => return Ok(dialed),
                Err((at, error)) => {
                    if let Some(attempt) = attempts.get_mut(at) {
                        attempt.1 = error;
                    }
                    failure = failure.or(error);
                    next = Instant::now();
                }
            },
            () = sleep_until(deadline) => {
                return Err(DialFailure::new(failure.or(DialError::Timeout), attempts));
            }
            () = sleep_until(next), if waiting.len() > 0 => {}
        }
    }
}

/// One attempt under way; it fails with its number.
type Attempt = Pin<Box<dyn Future<Output = Result<Dialed, (usize, DialError)>> + Send>>;

/// The attempts under way.
struct Running(Vec<Attempt>);

impl Running {
    /// Starts attempt number `at`, at an address whose permit was used up.
    fn start(&mut self, at: usize, address: SocketAddr, settings: &DialSettings) {
        let socket = open(address, settings).map_err(|error| (at, error));
        self.0.push(Box::pin(async move {
            let stream = connect(socket?, address).await.map_err(|error| (at, DialError::from(&error)))?;
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
mod tests;
