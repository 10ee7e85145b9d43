//! A parent proxy: HTTP CONNECT or SOCKS5, in the clear or inside TLS, that does as a test says.
//!
//! ```ignore
//! let parent = Parent::start(Speaks::Connect).await;
//! assert_eq!(parent.asked(), ["127.0.0.8:443"]);
//! ```
//! A name leads to 127.0.0.8, on the port that was asked for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::tls::Secure;
use super::{Seen, background};

/// What it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP CONNECT.
    Connect,
    /// SOCKS5.
    Socks,
}

/// How it behaves.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// What its clients must show: `user:password`, in base64 too.
    pub wants: Option<[&'static str; 2]>,
    /// Whether it waits for the first bytes of the origin, and sends them with its answer.
    pub eager: bool,
    /// What it answers instead of connecting, before it closes.
    pub says: Option<Vec<u8>>,
    /// Whether it never answers.
    pub silent: bool,
    /// The host for which it never answers.
    pub silent_for: Option<&'static str>,
}

/// A parent proxy; it stops when dropped.
pub struct Parent {
    address: SocketAddr,
    asked: Arc<Seen<String>>,
    certificate: Option<CertificateDer<'static>>,
    _tasks: JoinSet<()>,
}

impl Parent {
    /// One that connects whatever it is asked for, on 127.0.0.20.
    pub async fn start(speaks: Speaks) -> Self {
        Self::with(speaks, Manner::default(), None).await
    }

    /// One of these manners; inside TLS with this certificate.
    pub async fn with(speaks: Speaks, manner: Manner, secure: Option<Secure>) -> Self {
        Self::on((Ipv4Addr::new(127, 0, 0, 20), 0).into(), speaks, manner, secure).await
    }

    /// The same at this address.
    pub async fn on(address: SocketAddr, speaks: Speaks, manner: Manner, secure: Option<Secure>) -> Self {
        let listener = {
            let _runtime = background().enter();
            TcpListener::bind(address).await.expect("a free port")
        };
        let address = listener.local_addr().expect("a bound socket");
        let (acceptor, certificate) = secure.map(Secure::make).unzip();
        let asked = Arc::new(Seen::new());
        let mut tasks = JoinSet::new();
        let seen = Arc::clone(&asked);
        let serve = async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, manner, acceptor) = (Arc::clone(&seen), manner.clone(), acceptor.clone());
                connections.spawn(async move {
                    stream.set_nodelay(true).expect("TCP_NODELAY");
                    let Some(acceptor) = acceptor else { return serve(stream, speaks, &manner, &seen).await };
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, speaks, &manner, &seen).await;
                    }
                });
            }
        };
        tasks.spawn_on(serve, background());
        Self { address, asked, certificate, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked to connect to, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.all()
    }

    /// The certificate that it shows.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone().expect("a parent inside TLS")
    }
}

/// One connection; whatever breaks it ends it.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    speaks: Speaks,
    manner: &Manner,
    seen: &Seen<String>,
) {
    let met = match speaks {
        Speaks::Connect => connect(&mut stream, manner).await,
        Speaks::Socks => socks(&mut stream, manner).await,
    };
    let Some(target) = met else { return };
    seen.push(target.clone());
    let silent_for = |host: &str| target.strip_prefix(host).is_some_and(|rest| rest.starts_with(':'));
    if manner.silent || manner.silent_for.is_some_and(silent_for) {
        return std::future::pending().await;
    }
    if let Some(text) = &manner.says {
        let _gone = stream.write_all(text).await;
        let _gone = stream.shutdown().await;
        return;
    }
    let (name, port) = target.rsplit_once(':').expect("a port");
    let place = target.parse().unwrap_or_else(|_| {
        assert!(name.parse::<std::net::IpAddr>().is_err());
        SocketAddr::from(([127, 0, 0, 8], port.parse().expect("a port")))
    });
    let answers: [&[u8]; 2] = match speaks {
        Speaks::Connect => [b"HTTP/1.1 200 Connection established\r\n\r\n", b"HTTP/1.1 503 No\r\n\r\n"],
        Speaks::Socks => [b"\x05\0\0\x01\0\0\0\0\0\0", b"\x05\x05\0\x01\0\0\0\0\0\0"],
    };
    let Ok(mut origin) = TcpStream::connect(place).await else {
        let _gone = stream.write_all(answers[1]).await;
        return;
    };
    origin.set_nodelay(true).expect("TCP_NODELAY");
    let mut answer = answers[0].to_vec();
    if manner.eager {
        let mut first = [0; 64];
        let length = origin.read(&mut first).await.expect("an origin that speaks first");
        answer.extend(&first[..length]);
    }
    let _gone = stream.write_all(&answer).await;
    let _ended = copy_bidirectional(&mut stream, &mut origin).await;
}

/// Reads a CONNECT; its target.
async fn connect(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), manner: &Manner) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("text");
    if let Some([_, encoded]) = manner.wants
        && !head.contains(&format!("\r\nProxy-Authorization: Basic {encoded}\r\n"))
    {
        stream.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").await.ok()?;
        return None;
    }
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
    Some(target)
}

/// Reads a SOCKS5 request; its target.
async fn socks(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), manner: &Manner) -> Option<String> {
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.ok()?;
    let wanted = if manner.wants.is_some() { 2 } else { 0 };
    if greeting != [5, 1, wanted] {
        stream.write_all(&[5, 0xff]).await.ok()?;
        return None;
    }
    stream.write_all(&[5, wanted]).await.ok()?;
    if let Some([plain, _]) = manner.wants {
        assert_eq!(stream.read_u8().await.ok()?, 1);
        let (user, password) = (text(stream).await?, text(stream).await?);
        let right = format!("{user}:{password}") == plain;
        stream.write_all(&[1, u8::from(!right)]).await.ok()?;
        if !right {
            return None;
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.ok()?;
    let host = match request {
        [5, 1, 0, 1] => Ipv4Addr::from(stream.read_u32().await.ok()?).to_string(),
        [5, 1, 0, 4] => format!("[{}]", std::net::Ipv6Addr::from(stream.read_u128().await.ok()?)),
        [5, 1, 0, 3] => text(stream).await?,
        other => panic!("{other:?}"),
    };
    Some(format!("{host}:{}", stream.read_u16().await.ok()?))
}

/// Text behind its length.
async fn text(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await.ok()?)];
    stream.read_exact(&mut bytes).await.ok()?;
    String::from_utf8(bytes).ok()
}
