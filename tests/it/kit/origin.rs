//! Origins on loopback, inside the prefix that tests exempt from the guards (127.0.0.8/29).
//!
//! ```ignore
//! let origin = Origin::http([Reply::ok("hello"), Reply::chunked(["a", "b"]).trailer("x-sum", "2")]).await;
//! let origin = Origin::tls("www.example.com", Behaviour::Echo).await;
//! assert_eq!(origin.connections(), 0);
//! origin.wait_for_bytes(0, b"GET /").await;
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::http::{self, Reply};
use super::http2_origin::{self, Asked, Stream};
use super::tls::Secure;
use super::{Seen, background};

mod tapped;

use tapped::{Io, Tapped};

/// What an origin does with a connection.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Sends back what it gets, and its FIN after the client's.
    Echo,
    /// Speaks first, then echoes.
    Banner(Vec<u8>),
    /// Answers HTTP/1.1 requests with these, in turn; the last one stays.
    Http(Vec<Reply>),
    /// Answers the streams of HTTP/2 with these, in turn over all connections; the last one stays.
    Http2(Vec<Stream>),
    /// Says this once the client has sent its FIN.
    AfterFin(Vec<u8>),
    /// Sends this and its FIN at once, then goes on reading.
    FinFirst(Vec<u8>),
    /// Resets once it has got this many bytes.
    Reset(usize),
    /// Reads and counts.
    Sink,
    /// Reads nothing until [`Origin::step`], then everything.
    SlowReader,
    /// Sends this many bytes as fast as they are taken, then its FIN.
    Flood(usize),
}

/// How a connection ended, seen from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has not.
    Open,
    /// The other side sent its FIN.
    Fin,
    /// The other side reset it.
    Reset,
}

/// One connection as the origin saw it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Who connected.
    pub peer: SocketAddr,
    /// Every byte received (inside TLS where there is TLS).
    pub received: Vec<u8>,
    /// How many bytes were received.
    pub count: usize,
    /// How it ended.
    pub end: End,
}

/// An origin; it stops when dropped.
pub struct Origin {
    /// Where it listens.
    address: SocketAddr,
    /// Every connection, in order.
    seen: Arc<Seen<Connection>>,
    /// Steps a test has granted.
    steps: Arc<Semaphore>,
    /// Every stream, where it speaks HTTP/2, in the order of their heads.
    asked: Arc<Seen<Asked>>,
    /// Its certificate, where it speaks TLS.
    certificate: Option<CertificateDer<'static>>,
    /// Its loop.
    _tasks: JoinSet<()>,
}

impl Origin {
    /// An origin that behaves like this, on 127.0.0.8 and a free port.
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at((Ipv4Addr::new(127, 0, 0, 8), 0).into(), behaviour, None).await
    }

    /// The same on this address; port 0 is a free one.
    pub async fn start_on(address: SocketAddr, behaviour: Behaviour) -> Self {
        Self::start_at(address, behaviour, None).await
    }

    /// An origin that echoes.
    pub async fn echo() -> Self {
        Self::start(Behaviour::Echo).await
    }

    /// An HTTP/1.1 origin.
    pub async fn http(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start(Behaviour::Http(replies.into_iter().collect())).await
    }

    /// An origin inside TLS, with a certificate for `name` signed by itself.
    pub async fn tls(name: &str, behaviour: Behaviour) -> Self {
        Self::secure(Secure::new(name), behaviour).await
    }

    /// The same, knowing these groups and versions only.
    pub async fn tls_with(
        name: &str,
        behaviour: Behaviour,
        kx_groups: Vec<&'static dyn SupportedKxGroup>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self::secure(Secure::new(name).knowing(kx_groups, versions), behaviour).await
    }

    /// An origin inside TLS that speaks HTTP/2, and answers streams with these, in turn.
    pub async fn http2(name: &str, streams: impl IntoIterator<Item = Stream>) -> Self {
        let behaviour = Behaviour::Http2(streams.into_iter().collect());
        Self::secure(Secure::new(name).speaking(&["h2"]), behaviour).await
    }

    /// An origin inside TLS.
    pub async fn secure(secure: Secure, behaviour: Behaviour) -> Self {
        Self::start_at((Ipv4Addr::new(127, 0, 0, 8), 0).into(), behaviour, Some(secure)).await
    }

    /// An origin inside TLS on this address.
    pub async fn tls_on(address: SocketAddr, name: &str, behaviour: Behaviour) -> Self {
        Self::start_at(address, behaviour, Some(Secure::new(name))).await
    }

    /// Binds and runs.
    async fn start_at(address: SocketAddr, behaviour: Behaviour, secure: Option<Secure>) -> Self {
        let listener = {
            let _on_background = background().enter();
            TcpListener::bind(address).await.expect("a free port")
        };
        let address = listener.local_addr().expect("a bound socket");
        let (acceptor, certificate) = secure.map(Secure::make).unzip();
        let (seen, asked) = (Arc::new(Seen::new()), Arc::new(Seen::new()));
        let steps = Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        let serving = Serving {
            behaviour,
            seen: Arc::clone(&seen),
            asked: Arc::clone(&asked),
            steps: Arc::clone(&steps),
        };
        tasks.spawn_on(serve(listener, acceptor, serving), background());
        Self { address, seen, steps, asked, certificate, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its certificate, for clients to trust.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone().expect("an origin that speaks TLS")
    }

    /// Its certificate, where it speaks TLS.
    pub fn try_certificate(&self) -> Option<CertificateDer<'static>> {
        self.certificate.clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.seen.count()
    }

    /// Connection number `at` as it is.
    pub fn connection(&self, at: usize) -> Connection {
        self.seen.all().get(at).cloned().unwrap_or_else(|| panic!("there is no connection {at}"))
    }

    /// Everything received on connection number `at` so far, as text.
    pub fn received(&self, at: usize) -> String {
        String::from_utf8_lossy(&self.connection(at).received).into_owned()
    }

    /// Every stream of HTTP/2, as far as it came.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.all()
    }

    /// Waits until stream number `at`, over all connections, is as wanted, and gives it.
    pub async fn wait_for_stream(&self, at: usize, what: &str, enough: impl Fn(&Asked) -> bool) -> Asked {
        let all = self.asked.wait_until(what, |all| all.get(at).is_some_and(&enough)).await;
        all[at].clone()
    }

    /// Lets one held piece go out, or a slow reader read.
    pub fn step(&self) {
        self.steps.add_permits(1);
    }

    /// Waits until this many connections were accepted.
    pub async fn wait_for_connections(&self, count: usize) {
        let what = format!("{count} connections to the origin");
        self.seen.wait_until(&what, |all| all.len() >= count).await;
    }

    /// Waits until connection number `at` has received `part`, and gives all of it.
    pub async fn wait_for_bytes(&self, at: usize, part: &[u8]) -> Vec<u8> {
        let what = format!("{:?} at the origin", String::from_utf8_lossy(part));
        let has = |connection: &Connection| connection.received.windows(part.len().max(1)).any(|w| w == part);
        self.seen.wait_until(&what, |all| all.get(at).is_some_and(has)).await;
        self.connection(at).received
    }

    /// Waits until connection number `at` has received this many bytes.
    pub async fn wait_for_count(&self, at: usize, count: usize) {
        let what = format!("{count} bytes at the origin");
        self.seen.wait_until(&what, |all| all.get(at).is_some_and(|one| one.count >= count)).await;
    }

    /// Waits until connection number `at` is ended by the other side, and says how.
    pub async fn wait_for_end(&self, at: usize) -> End {
        let ended = |all: &[Connection]| all.get(at).is_some_and(|one| one.end != End::Open);
        self.seen.wait_until("the end of a connection to the origin", ended).await;
        self.connection(at).end
    }
}

/// What the connections of an origin share.
#[derive(Clone)]
struct Serving {
    behaviour: Behaviour,
    seen: Arc<Seen<Connection>>,
    asked: Arc<Seen<Asked>>,
    steps: Arc<Semaphore>,
}

/// Accepts until the origin is dropped, and every connection with it.
async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, serving: Serving) {
    let mut connections = JoinSet::new();
    for at in 0.. {
        let Ok((stream, peer)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        serving.seen.push(Connection { peer, received: Vec::new(), count: 0, end: End::Open });
        let (tls, serving) = (tls.clone(), serving.clone());
        connections.spawn(async move {
            let Serving { behaviour, seen, asked, steps } = serving;
            let keep = !matches!(behaviour, Behaviour::Sink | Behaviour::SlowReader | Behaviour::Http2(_));
            let tap = move |io| Tapped { io, seen, at, keep };
            let _ = match (tls, behaviour) {
                (None, Behaviour::Reset(after)) => reset(stream, after, tap).await,
                (Some(tls), behaviour) => match tls.accept(stream).await {
                    Ok(stream) => behave(tap(Box::new(stream) as Io), behaviour, &asked, &steps).await,
                    Err(_) => Ok(()),
                },
                (None, behaviour) => behave(tap(Box::new(stream) as Io), behaviour, &asked, &steps).await,
            };
        });
    }
}

/// Reads `after` bytes, then closes with a reset.
async fn reset(stream: TcpStream, after: usize, tap: impl FnOnce(Io) -> Tapped) -> std::io::Result<()> {
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
    let mut tapped = tap(Box::new(stream));
    tapped.read_exact(&mut vec![0; after]).await?;
    Ok(())
}

/// Does what the origin is to do, until the connection ends.
async fn behave(
    mut io: Tapped,
    behaviour: Behaviour,
    asked: &Arc<Seen<Asked>>,
    steps: &Arc<Semaphore>,
) -> std::io::Result<()> {
    match behaviour {
        Behaviour::Echo => return echo(io).await,
        Behaviour::Banner(banner) => {
            io.write_all(&banner).await?;
            return echo(io).await;
        }
        Behaviour::Http(replies) => return http::serve(io, &replies, steps).await,
        Behaviour::Http2(streams) => return http2_origin::serve(io, &streams, asked, steps).await,
        Behaviour::AfterFin(answer) => {
            drain(&mut io).await?;
            io.write_all(&answer).await?;
        }
        Behaviour::FinFirst(bytes) => {
            io.write_all(&bytes).await?;
            io.shutdown().await?;
            return drain(&mut io).await;
        }
        Behaviour::Reset(after) => {
            io.read_exact(&mut vec![0; after]).await?;
            return Ok(());
        }
        Behaviour::Sink => drain(&mut io).await?,
        Behaviour::SlowReader => {
            steps.acquire().await.expect("open").forget();
            drain(&mut io).await?;
        }
        Behaviour::Flood(total) => {
            let piece = vec![b'x'; 16 * 1024];
            let mut left = total;
            while left > 0 {
                let now = left.min(piece.len());
                io.write_all(&piece[..now]).await?;
                left -= now;
            }
        }
    }
    io.shutdown().await
}

/// Reads to the end.
pub(super) async fn drain(io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    while io.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Sends back what comes, then the FIN.
pub(super) async fn echo(mut io: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match io.read(&mut buffer).await? {
            0 => return io.shutdown().await,
            length => io.write_all(&buffer[..length]).await?,
        }
    }
}
