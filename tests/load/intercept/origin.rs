//! The origin: TLS with a certificate for whatever name is asked for, HTTP/1.1 by hand and HTTP/2 by hyper.
//!
//! | asked | answer |
//! |---|---|
//! | `GET /N` | N bytes of the pattern |
//! | `POST` | how many bytes came, each of them compared with the pattern |

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, sign};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::wire::{PIECE, Wire, matches, pattern};

/// The name that is asked for again and again.
pub const KNOWN: &str = "known.test";

/// A certificate for each name; that of [`KNOWN`] is kept.
struct Names {
    issuer: CertifiedIssuer<'static, KeyPair>,
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    known: Arc<CertifiedKey>,
}

impl Names {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "load root");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let signing = sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
        let known = Arc::new(made(&issuer, &key, &signing, KNOWN));
        Self { issuer, key, signing, known }
    }
}

/// A certificate for a name.
fn made(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    key: &KeyPair,
    signing: &Arc<dyn SigningKey>,
    name: &str,
) -> CertifiedKey {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    // Squid shows a copy of what it sees, and takes those of the same subject for the same.
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(key, issuer).unwrap();
    CertifiedKey::new(vec![certificate.der().clone()], Arc::clone(signing))
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            None | Some(KNOWN) => Some(Arc::clone(&self.known)),
            Some(name) => Some(Arc::new(made(&self.issuer, &self.key, &self.signing, name))),
        }
    }
}

/// Listens; answers where, and the certificate that vouches for every name, in PEM.
pub async fn start() -> (SocketAddr, String) {
    let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names = Names::new();
    let root = names.issuer.pem();
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(names));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, acceptor.clone()));
        }
    });
    (address, root)
}

/// One connection.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = acceptor.accept(stream).await?;
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        let service = service_fn(answer);
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        return serving.serve_connection(TokioIo::new(tls), service).await.map_err(io::Error::other);
    }
    http1(Wire::new(tls)).await
}

/// A stream of HTTP/2.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let length = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
    Ok(Response::new(Full::new(Bytes::copy_from_slice(pattern(0, length)))))
}

/// Requests of HTTP/1.1, until there are no more.
async fn http1<S: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<S>) -> io::Result<()> {
    let mut out = Vec::new();
    while let Some(head) = wire.head().await? {
        out.clear();
        let Some(path) = head.first.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()) else {
            let mut came = 0;
            wire.body(head.length, |at, bytes| {
                came += bytes.len() * usize::from(matches(at, bytes));
            })
            .await?;
            let text = came.to_string();
            out.extend(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).bytes());
            wire.inner.write_all(&out).await?;
            continue;
        };
        let length: usize = path.parse().map_err(io::Error::other)?;
        out.extend(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").bytes());
        let mut at = length.min(PIECE);
        out.extend_from_slice(pattern(0, at));
        wire.inner.write_all(&out).await?;
        while at < length {
            let piece = (length - at).min(PIECE);
            wire.inner.write_all(pattern(at, piece)).await?;
            at += piece;
        }
        wire.inner.flush().await?;
    }
    Ok(())
}
