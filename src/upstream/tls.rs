//! TLS toward origins, always verified: there is no switch that turns that off.
//!
//! | what | is |
//! |---|---|
//! | whom to trust | the system's authorities and the operator's (`intercept.upstreamRoots`), nobody else |
//! | the name | the canonical one, sent as SNI; an IP literal is verified as an address and sent nowhere |
//! | versions | 1.3 and 1.2 |
//! | resumption | none: a session that one sandbox opened would tell the origin about another |

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, IpAddr as Literal, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use super::tls_error::TlsError;
use crate::addr::Host;

/// The name of HTTP/1.1 in ALPN (RFC 7301 §6).
const HTTP1: &[u8] = b"http/1.1";
/// The name of HTTP/2 over TLS (RFC 9113 §3.2).
const HTTP2: &[u8] = b"h2";

/// Whom origins are trusted by, and how long a handshake may take.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Whether the system's authorities count.
    pub system: bool,
    /// Files with more of them, as PEM.
    pub roots: Vec<PathBuf>,
    /// How long a handshake may take.
    pub timeout: Duration,
}

/// Opens verified TLS. A clone is cheap and the same.
#[derive(Debug, Clone)]
pub struct Tls {
    http1: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
    timeout: Duration,
    /// Nobody is trusted, so nothing can be verified.
    trustless: bool,
}

/// What may be spoken inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 before HTTP/1.1, as the origin likes.
    Either,
}

/// What is spoken inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Negotiated {
    /// HTTP/1.1, also where the origin said nothing.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why the authorities of an operator cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("{}: the certificates cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was in the way.
        error: std::io::Error,
    },
    /// The file is not PEM.
    #[error("{}: this is no file of PEM certificates: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// There is no certificate in the file.
    #[error("{}: there is no certificate in this file", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up in this process.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

impl Tls {
    /// Reads whom to trust.
    ///
    /// # Errors
    /// A file of the operator that is not there, or holds anything but certificates.
    pub fn new(settings: &TlsSettings) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        for path in &settings.roots {
            read(path, &mut roots)?;
        }
        if settings.system {
            // One that this system has and that cannot be read vouches for nobody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let (trustless, roots) = (roots.is_empty(), Arc::new(roots));
        let config = |protocols: &[&[u8]]| client(&roots, protocols).map_err(RootsError::Setup);
        Ok(Self {
            http1: config(&[HTTP1])?,
            either: config(&[HTTP2, HTTP1])?,
            timeout: settings.timeout,
            trustless,
        })
    }

    /// Whether nobody is trusted, so that every handshake fails.
    #[must_use]
    pub const fn is_trustless(&self) -> bool {
        self.trustless
    }

    /// What a client needs that speaks HTTP/1.1 by itself.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http1)
    }

    /// Speaks TLS on a connection to `host`, and verifies that it is who is there.
    ///
    /// # Errors
    /// What is wrong with the origin's certificate, or with the handshake.
    pub async fn connect<S>(
        &self,
        stream: S,
        host: &Host,
        alpn: Alpn,
    ) -> Result<(TlsStream<S>, Negotiated), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.trustless {
            return Err(TlsError::Trustless);
        }
        let config = match alpn {
            Alpn::Http1 => &self.http1,
            Alpn::Either => &self.either,
        };
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name(host)?, stream);
        // Boxed: its state is large, and nothing of it is left afterwards.
        let shaken = timeout(self.timeout, Box::pin(handshake)).await;
        let stream = shaken.map_err(|_| TlsError::Timeout)?.map_err(|error| TlsError::of(&error))?;
        let chosen = stream.get_ref().1.alpn_protocol();
        let negotiated = if chosen == Some(HTTP2) { Negotiated::Http2 } else { Negotiated::Http1 };
        Ok((stream, negotiated))
    }
}

/// How a client speaks that trusts these, and these protocols inside.
fn client(roots: &Arc<RootCertStore>, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // SECURITY: P1: a ticket belongs to the connection that it came on, and so to one sandbox.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Adds the certificates of one file.
fn read(path: &Path, roots: &mut RootCertStore) -> Result<(), RootsError> {
    let text =
        std::fs::read(path).map_err(|error| RootsError::Unreadable { path: path.to_owned(), error })?;
    let malformed = |detail: String| RootsError::Malformed { path: path.to_owned(), detail };
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| malformed(error.to_string()))?;
        roots.add(certificate).map_err(|error| malformed(error.to_string()))?;
    }
    if roots.len() == before { Err(RootsError::Empty { path: path.to_owned() }) } else { Ok(()) }
}

/// What the certificate must be for.
fn name(host: &Host) -> Result<ServerName<'static>, TlsError> {
    match host {
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).map_err(|_| TlsError::Nameless),
        Host::Ip(ip) => Ok(ServerName::IpAddress(Literal::from(*ip))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
