//! The client: what is asked of a proxy in one turn, with every response compared.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::origin::KNOWN;
use super::wire::{PIECE, Wire, matches, pattern};

/// How long a turn may take longer than it should.
const GRACE: Duration = Duration::from_mins(1);
/// The body of a small answer.
const SMALL: usize = 128;
/// After how many failures a client of a turn gives up.
const ENOUGH: u64 = 20;
/// How many streams of HTTP/2 are under way on a connection.
const STREAMS: usize = 8;

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Requests on connections that stay.
    Kept,
    /// The same in streams of HTTP/2.
    Streams,
    /// A connection for each request, and a full handshake.
    New,
    /// The same with the ticket of the one before.
    Resumed,
    /// A host that was never asked for, each time.
    Cold,
    /// Answers of this many bytes.
    Down(usize),
    /// Bodies of this many bytes.
    Up(usize),
}

/// Where the work goes.
#[derive(Clone)]
pub struct Way {
    pub proxy: Option<SocketAddr>,
    pub origin: SocketAddr,
    pub roots: Arc<RootCertStore>,
}

/// What came of a turn.
#[derive(Default)]
pub struct Turn {
    pub done: u64,
    pub failed: u64,
    /// Handshakes that were resumed.
    pub resumed: u64,
    pub took: Duration,
    pub error: Option<String>,
}

/// A number for each cold host.
static COLD: AtomicUsize = AtomicUsize::new(0);

type Tls = TlsStream<TcpStream>;

/// One client of a turn.
struct Client {
    way: Way,
    tls: Arc<ClientConfig>,
    resumed: u64,
}

impl Client {
    fn new(way: &Way, work: Work) -> Self {
        let config = ClientConfig::builder().with_root_certificates(Arc::clone(&way.roots));
        let mut tls = config.with_no_client_auth();
        let protocol: &[u8] = if work == Work::Streams { b"h2" } else { b"http/1.1" };
        tls.alpn_protocols = vec![protocol.to_vec()];
        tls.resumption =
            if work == Work::Resumed { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
        Self { way: way.clone(), tls: Arc::new(tls), resumed: 0 }
    }

    /// A connection to the origin by this name.
    async fn connect(&mut self, name: &str) -> io::Result<Tls> {
        let origin = self.way.origin;
        let mut stream = TcpStream::connect(self.way.proxy.unwrap_or(origin)).await?;
        stream.set_nodelay(true)?;
        if self.way.proxy.is_some() {
            let ask = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
            stream.write_all(ask.as_bytes()).await?;
            let (mut head, mut byte) = (Vec::new(), [0; 512]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut byte).await? {
                    0 => return Err(io::Error::other("the proxy closed in answer to CONNECT")),
                    length => head.extend_from_slice(&byte[..length]),
                }
            }
            if !head.starts_with(b"HTTP/1.1 200") && !head.starts_with(b"HTTP/1.0 200") {
                return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
            }
        }
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        self.resumed += u64::from(tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
        Ok(tls)
    }

    /// Asks for so many bytes, and compares them.
    async fn get(&self, wire: &mut Wire<Tls>, name: &str, length: usize) -> io::Result<()> {
        let port = self.way.origin.port();
        let ask = format!(
            "GET /{length} HTTP/1.1\r\nHost: {name}:{port}\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n"
        );
        wire.inner.write_all(ask.as_bytes()).await?;
        let mut good = true;
        expect(wire, length, |at, bytes| good &= matches(at, bytes)).await?;
        if good { Ok(()) } else { Err(io::Error::other("a byte of the answer is wrong")) }
    }

    /// Sends so many bytes; the origin compares them.
    async fn post(&self, wire: &mut Wire<Tls>, length: usize) -> io::Result<()> {
        let port = self.way.origin.port();
        let ask = format!(
            "POST /up HTTP/1.1\r\nHost: {KNOWN}:{port}\r\nUser-Agent: load/1\r\nContent-Length: {length}\r\n\r\n"
        );
        wire.inner.write_all(ask.as_bytes()).await?;
        let mut at = 0;
        while at < length {
            let piece = (length - at).min(PIECE);
            wire.inner.write_all(pattern(at, piece)).await?;
            at += piece;
        }
        wire.inner.flush().await?;
        let (mut said, right) = (Vec::new(), length.to_string());
        expect(wire, right.len(), |_, bytes| said.extend_from_slice(bytes)).await?;
        if said == right.as_bytes() { Ok(()) } else { Err(io::Error::other("a byte of the body is wrong")) }
    }
}

/// Reads an answer of this length.
async fn expect(wire: &mut Wire<Tls>, length: usize, part: impl FnMut(usize, &[u8])) -> io::Result<()> {
    let head = wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if !head.first.starts_with("HTTP/1.1 200") || head.length != length {
        return Err(io::Error::other(format!("{} with {} bytes", head.first, head.length)));
    }
    wire.body(length, part).await
}

/// A client's work of a turn.
struct Share {
    client: Client,
    work: Work,
    kept: Option<Wire<Tls>>,
    streams: Option<SendRequest<Empty<Bytes>>>,
}

impl Share {
    /// Connects, where that is not part of the work.
    async fn prepare(&mut self) -> io::Result<()> {
        match self.work {
            Work::Kept | Work::Down(_) | Work::Up(_) if self.kept.is_none() => {
                self.kept = Some(Wire::new(self.client.connect(KNOWN).await?));
            }
            Work::Streams if self.streams.is_none() => {
                let tls = self.client.connect(KNOWN).await?;
                if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(io::Error::other("it speaks no HTTP/2"));
                }
                let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
                let (sender, connection) = shaken.await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                self.streams = Some(sender);
            }
            Work::Kept
            | Work::Down(_)
            | Work::Up(_)
            | Work::Streams
            | Work::New
            | Work::Resumed
            | Work::Cold => {}
        }
        Ok(())
    }

    /// One piece of work.
    async fn once(&mut self) -> io::Result<()> {
        self.prepare().await?;
        match self.work {
            Work::Kept => self.on_kept(SMALL, true).await,
            Work::Down(length) => self.on_kept(length, true).await,
            Work::Up(length) => self.on_kept(length, false).await,
            Work::Streams => {
                let Some(sender) = &self.streams else { return Ok(()) };
                let done = ask_stream(sender.clone(), self.client.way.origin.port()).await;
                if done.is_err() {
                    self.streams = None;
                }
                done
            }
            Work::New | Work::Resumed => self.fresh(KNOWN).await,
            Work::Cold => {
                let number = COLD.fetch_add(1, Ordering::Relaxed);
                self.fresh(&format!("cold-{number}.test")).await
            }
        }
    }

    /// One exchange on the connection that stays.
    async fn on_kept(&mut self, length: usize, down: bool) -> io::Result<()> {
        let Some(mut wire) = self.kept.take() else { return Ok(()) };
        if down {
            self.client.get(&mut wire, KNOWN, length).await?;
        } else {
            self.client.post(&mut wire, length).await?;
        }
        self.kept = Some(wire);
        Ok(())
    }

    /// A connection, one request, the end.
    async fn fresh(&mut self, name: &str) -> io::Result<()> {
        let mut wire = Wire::new(self.client.connect(name).await?);
        self.client.get(&mut wire, name, SMALL).await?;
        wire.inner.shutdown().await
    }
}

/// One request as a stream.
async fn ask_stream(mut sender: SendRequest<Empty<Bytes>>, port: u16) -> io::Result<()> {
    let request = Request::get(format!("https://{KNOWN}:{port}/{SMALL}"))
        .header("user-agent", "load/1")
        .header("accept", "*/*")
        .body(Empty::new())
        .map_err(io::Error::other)?;
    sender.ready().await.map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let good = status == 200 && body == pattern(0, SMALL);
    if good { Ok(()) } else { Err(io::Error::other(format!("{status} with {} bytes", body.len()))) }
}

/// Has so many clients work as long, and at most so many times each; `connected` runs once all are.
pub async fn turn(
    way: &Way,
    work: Work,
    (clients, most): (usize, u64),
    long: Duration,
    connected: impl FnOnce(),
) -> Turn {
    let start = Arc::new(Barrier::new(clients + 1));
    let (done, failed, resumed) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut all = JoinSet::new();
    let mut streams = None;
    for number in 0..clients {
        let start = Arc::clone(&start);
        let (done, failed, resumed) = (Arc::clone(&done), Arc::clone(&failed), Arc::clone(&resumed));
        let mut share = Share { client: Client::new(way, work), work, kept: None, streams: None };
        let mut error = None;
        if work == Work::Streams {
            if number % STREAMS == 0 {
                error = share.prepare().await.err();
                streams.clone_from(&share.streams);
            }
            share.streams.clone_from(&streams);
        }
        all.spawn(async move {
            if error.is_none() {
                error = share.prepare().await.err();
            }
            start.wait().await;
            let (mut own, mut bad, until) = (0, u64::from(error.is_some()), Instant::now() + long);
            while own < most && Instant::now() < until && bad < ENOUGH {
                match share.once().await {
                    Ok(()) => own += 1,
                    Err(why) => (bad, error) = (bad + 1, Some(why)),
                }
            }
            done.fetch_add(own, Ordering::Relaxed);
            failed.fetch_add(bad, Ordering::Relaxed);
            resumed.fetch_add(share.client.resumed, Ordering::Relaxed);
            error.map(|error| error.to_string())
        });
    }
    let mut ended = Turn::default();
    let waited = async {
        start.wait().await;
        connected();
        let begun = Instant::now();
        while let Some(one) = all.join_next().await {
            let error = one.unwrap_or_else(|error| Some(error.to_string()));
            ended.error = ended.error.take().or(error);
        }
        ended.took = begun.elapsed();
    };
    if tokio::time::timeout(long + GRACE, waited).await.is_err() {
        ended.error = Some("it hangs".to_owned());
        ended.took = long + GRACE;
        failed.fetch_add(1, Ordering::Relaxed);
    }
    [ended.done, ended.failed, ended.resumed] =
        [done, failed, resumed].map(|all| all.load(Ordering::Relaxed));
    ended
}
