//! Connects to permitted addresses, and to nothing else (RFC 8305, "happy eyeballs").
//!
//! An attempt starts every [`DialSettings::stagger`], and at once when one fails; the first
//! connection wins and the others are closed. Only the addresses of the permits are tried, in their
//! order, so there is nothing to fall back to that was not judged.

use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::policy::{AddressPermit, Route, Way};

/// How connections are opened.
#[derive(Debug, Clone)]
pub struct DialSettings {
    /// How long all attempts together may take.
    pub connect_timeout: Duration,
    /// After how long the next attempt starts while one is pending.
    pub stagger: Duration,
    /// When an idle connection is probed; `None`: never.
    pub keepalive: Option<Duration>,
    /// The interface every connection leaves by.
    pub interface: Option<Arc<str>>,
    /// The address connections of its family leave from.
    pub source: Option<IpAddr>,
    /// The packet mark for the host's routing rules.
    pub mark: Option<u32>,
}

impl Default for DialSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stagger: Duration::from_millis(250),
            keepalive: Some(Duration::from_mins(1)),
            interface: None,
            source: None,
            mark: None,
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

/// Why no connection could be opened. Of several attempts, the most telling failure is given:
/// the last variant in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DialError {
    /// There was no permitted address to try.
    #[error("there is no permitted address to connect to")]
    NoAddress,
    /// There is no way to the origin.
    #[error("the origin cannot be reached from this host")]
    Unreachable,
    /// Another failure of the network.
    #[error("connecting to the origin failed: {0}")]
    Failed(io::ErrorKind),
    /// Nothing answered in time.
    #[error("the origin did not answer in time")]
    Timeout,
    /// The origin refused or reset.
    #[error("the origin refused the connection")]
    Refused,
    /// This host forbids it: a local firewall, or a missing capability for the interface or mark.
    #[error("this host does not permit the gateway to connect")]
    NotPermitted,
    /// The gateway is out of descriptors or memory for sockets.
    #[error("the gateway has no descriptor left")]
    NoDescriptor,
}

impl DialError {
    /// The short code of this failure, for records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Unreachable => "unreachable",
            Self::Failed(_) => "failed",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::NotPermitted => "not_permitted",
            Self::NoDescriptor => "no_descriptor",
        }
    }
}

/// The most attempts that a [`DialFailure`] names.
const NAMED: usize = 8;

/// Why no connection could be opened, and what was tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct DialFailure {
    /// The most telling of the failures.
    pub error: DialError,
    /// Each address that was tried, in this order, and its failure.
    pub attempts: Vec<(SocketAddr, DialError)>,
}

impl DialFailure {
    /// The attempts in words, for records: an address is not for the client to know.
    #[must_use]
    pub fn tried(&self) -> String {
        let mut text = String::new();
        for (at, (address, error)) in self.attempts.iter().take(NAMED).enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{address} {}", if at == 0 { "" } else { ", " }, error.as_str());
        }
        if let more @ 1.. = self.attempts.len().saturating_sub(NAMED) {
            let _ = write!(text, " and {more} more");
        }
        text
    }
}

/// Opens one connection to one of the permitted addresses, whichever answers first.
///
/// # Errors
/// [`DialFailure`] when every attempt failed or the time is up.
pub(super) async fn dial(
    permits: Vec<AddressPermit>,
    settings: &DialSettings,
) -> Result<Dialed, DialFailure> {
    race(permits.into_iter().map(|permit| permit.address()), settings).await
}

/// Opens one connection to one of these addresses, all of them from permits that were used up.
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
                None if running.0.is_empty() => return Err(DialFailure { error: failure, attempts }),
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
                    failure = failure.max(error);
                    next = Instant::now();
                }
            },
            () = sleep_until(deadline) => {
                return Err(DialFailure { error: failure.max(DialError::Timeout), attempts });
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
            let stream = connect(socket?, address).await.map_err(|error| (at, classify(&error)))?;
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

/// A socket with every option set before it is connected.
fn open(address: SocketAddr, settings: &DialSettings) -> Result<TcpSocket, DialError> {
    let configured = || -> io::Result<TcpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(idle) = settings.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle / 4))?;
        }
        if let Some(interface) = &settings.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        if let Some(mark) = settings.mark {
            socket.set_mark(mark)?;
        }
        if let Some(source) = settings.source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        Ok(TcpSocket::from_std_stream(StdStream::from(socket)))
    };
    configured().map_err(|error| classify(&error))
}

/// Connects, and refuses a connection of the socket to itself.
#[expect(clippy::disallowed_methods, reason = "this is the one place that opens outward connections")]
async fn connect(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = socket.connect(address).await?;
    // SECURITY: a free local port can be "connected" to itself by a simultaneous open.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Which failure an attempt's error is.
fn classify(error: &io::Error) -> DialError {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return DialError::NoDescriptor,
        Some(Errno::ACCESS | Errno::PERM) => return DialError::NotPermitted,
        Some(Errno::NETDOWN | Errno::HOSTDOWN | Errno::NODEV | Errno::AFNOSUPPORT) => {
            return DialError::Unreachable;
        }
        _ => {}
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the list of the standard library is open")]
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => DialError::Refused,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => DialError::Unreachable,
        io::ErrorKind::TimedOut => DialError::Timeout,
        kind => DialError::Failed(kind),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A listener on a loopback address.
    async fn listener(host: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address on which nothing listens: its port is held without listening.
    fn closed() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.14:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// A listener whose queue is full, so that connecting to it hangs.
    fn silent() -> (Socket, Vec<Socket>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.14:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap();
        let fill = |_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            #[expect(clippy::disallowed_methods, reason = "tests")]
            let _in_progress = client.connect(&address);
            client
        };
        let fillers = (0..8).map(fill).collect();
        let address = address.as_socket().unwrap();
        (socket, fillers, address)
    }

    /// Dials these addresses.
    async fn try_dial(addresses: &[SocketAddr], settings: &DialSettings) -> Result<SocketAddr, DialError> {
        let permits = addresses.iter().copied().map(AddressPermit::for_test).collect();
        let dialed = dial(permits, settings).await.map_err(|failure| {
            let tried: Vec<_> = failure.attempts.iter().map(|(address, _)| *address).collect();
            assert!(addresses.starts_with(&tried), "{tried:?}");
            failure.error
        })?;
        assert_eq!(dialed.stream.peer_addr().ok(), dialed.address);
        assert!(dialed.stream.nodelay().unwrap());
        Ok(dialed.address.unwrap())
    }

    #[tokio::test]
    async fn the_first_permitted_address_that_answers_is_used() {
        let (_held, refusing) = closed();
        let (_listener, address) = listener("127.0.0.15").await;
        let settings = DialSettings { stagger: Duration::from_mins(1), ..DialSettings::default() };
        assert_eq!(try_dial(&[address], &settings).await, Ok(address));
        // The second attempt does not wait for the stagger once the first has failed.
        assert_eq!(try_dial(&[refusing, refusing, address], &settings).await, Ok(address));
    }

    #[tokio::test]
    async fn a_silent_address_is_overtaken_after_the_stagger() {
        let (_socket, _fillers, silent) = silent();
        let (_listener, address) = listener("127.0.0.15").await;
        let settings = DialSettings { stagger: Duration::from_millis(20), ..DialSettings::default() };
        assert_eq!(try_dial(&[silent, silent, address], &settings).await, Ok(address));
    }

    #[tokio::test]
    async fn d2_only_permitted_addresses_are_ever_dialled() {
        let (_held, refusing) = closed();
        let (bystander, _) = listener("127.0.0.15").await;
        assert_eq!(try_dial(&[refusing], &DialSettings::default()).await, Err(DialError::Refused));
        assert_eq!(try_dial(&[], &DialSettings::default()).await, Err(DialError::NoAddress));
        let untouched = tokio::time::timeout(Duration::ZERO, bystander.accept()).await;
        assert!(untouched.is_err(), "nobody came to the address without a permit");
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let (_socket, _fillers, silent) = silent();
        let (_held, refusing) = closed();
        let short = DialSettings { connect_timeout: Duration::from_millis(50), ..DialSettings::default() };
        assert_eq!(try_dial(&[silent], &short).await, Err(DialError::Timeout));
        assert_eq!(try_dial(&[silent, refusing], &short).await, Err(DialError::Timeout));
        let permits = Vec::from([silent, refusing].map(AddressPermit::for_test));
        let both = DialSettings { stagger: Duration::from_millis(5), ..short.clone() };
        let failure = dial(permits, &both).await.unwrap_err();
        assert_eq!(failure.error, DialError::Refused);
        assert_eq!(failure.tried(), format!("{silent} timeout, {refusing} refused"));
        let many =
            DialFailure { error: DialError::Refused, attempts: vec![(refusing, DialError::Refused); 64] };
        assert!(many.tried().ends_with(" refused and 56 more"), "{}", many.tried());
        let not_ours = DialSettings { source: "192.0.2.1".parse().ok(), ..DialSettings::default() };
        assert_eq!(try_dial(&[refusing], &not_ours).await, Err(DialError::Unreachable));
        for (code, error) in [
            (Errno::MFILE, DialError::NoDescriptor),
            (Errno::NFILE, DialError::NoDescriptor),
            (Errno::CONNREFUSED, DialError::Refused),
            (Errno::CONNRESET, DialError::Refused),
            (Errno::NETUNREACH, DialError::Unreachable),
            (Errno::HOSTUNREACH, DialError::Unreachable),
            (Errno::TIMEDOUT, DialError::Timeout),
            (Errno::PERM, DialError::NotPermitted),
        ] {
            assert_eq!(classify(&code.into()), error, "{code:?}");
        }
    }

    #[tokio::test]
    async fn connections_leave_from_the_source_address_of_their_family() {
        let (listener, address) = listener("127.0.0.15").await;
        let settings = DialSettings { source: "127.0.0.13".parse().ok(), ..DialSettings::default() };
        let only = [address];
        let (dialed, accepted) = tokio::join!(try_dial(&only, &settings), listener.accept());
        assert_eq!(dialed, Ok(address));
        assert_eq!(accepted.unwrap().1.ip(), settings.source.unwrap());
        let v6_source = DialSettings { source: "::1".parse().ok(), ..DialSettings::default() };
        assert_eq!(try_dial(&[address], &v6_source).await, Ok(address));
    }
}
