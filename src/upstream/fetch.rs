//! Requests of the gateway itself, for tokens: one connection each, HTTP/1.1, over verified TLS.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::{Zeroize as _, Zeroizing};

use super::dial_error::DialFailure;
use super::own::{OwnPermit, dial_own, dial_own_name};
use super::uplink::Uplinks;
use crate::addr::{Endpoint, Host};
use crate::secrets::fetch::{Answer, Call, Fetch, FetchError, MAX_ANSWER, PATIENCE};

/// The longest head of an answer, but for the part that goes beyond it.
const HEAD: usize = 16 * 1024;

/// Sends the gateway's own requests.
pub struct Fetcher {
    uplinks: Arc<Uplinks>,
    tls: TlsConnector,
    /// Whose look-ups these are: no sandbox has this name.
    nobody: Arc<str>,
}

impl Fetcher {
    /// One that goes by the managed uplink, and verifies like this.
    #[must_use]
    pub fn new(uplinks: Arc<Uplinks>, tls: &ClientConfig) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { uplinks, tls: TlsConnector::from(Arc::new(tls)), nobody: "".into() }
    }

    /// Sends a request and reads its answer.
    async fn send(&self, call: Call) -> Result<Answer, FetchError> {
        let endpoint = call.endpoint().clone();
        let uplink = self.uplinks.managed();
        let dialed = if uplink.resolver.is_none() && is_remote(&endpoint) {
            dial_own_name(&endpoint, uplink).await
        } else {
            let addresses = self.addresses(&endpoint).await?;
            let permits: Option<Vec<_>> =
                addresses.into_iter().map(|address| OwnPermit::new(&endpoint, address)).collect();
            dial_own(permits.ok_or(FetchError::Plain)?, uplink).await
        };
        let stream = dialed.map_err(|failure| FetchError::Unreachable(told(&failure)))?.stream;
        if !endpoint.is_secure() {
            return exchange(stream, call).await;
        }
        let name = match endpoint.target().host() {
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
                .map_err(|_| FetchError::Tls("no certificate can have this name".to_owned()))?,
            Host::Ip(address) => ServerName::from(*address),
        };
        let stream = self.tls.connect(name, stream).await;
        exchange(stream.map_err(|error| FetchError::Tls(error.to_string()))?, call).await
    }

    /// The addresses of an endpoint.
    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<IpAddr>, FetchError> {
        let name = match endpoint.target().host() {
            Host::Ip(address) => return Ok(vec![*address]),
            // RFC 6761 §6.3: no server is asked for it.
            Host::Name(name) if name.as_str() == "localhost" => {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            Host::Name(_) if !endpoint.is_secure() => return Err(FetchError::Plain),
            Host::Name(name) => name,
        };
        let found = self.uplinks.managed().resolve(&self.nobody, name).await;
        found.map(|found| found.addresses).map_err(|error| FetchError::Unreachable(error.to_string()))
    }
}

impl Fetch for Fetcher {
    fn fetch(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Answer, FetchError>> + Send + '_>> {
        Box::pin(async { timeout(PATIENCE, self.send(call)).await.unwrap_or(Err(FetchError::Slow)) })
    }
}

/// A failure with what was tried.
fn told(failure: &DialFailure) -> String {
    if failure.network.is_some() { format!("{failure}: {}", failure.tried()) } else { failure.tried() }
}

/// Whether an endpoint is a name of elsewhere, reached over TLS.
fn is_remote(endpoint: &Endpoint) -> bool {
    let named = matches!(endpoint.target().host(), Host::Name(name) if name.as_str() != "localhost");
    named && endpoint.is_secure()
}

/// Speaks HTTP/1.1 once.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    call: Call,
) -> Result<Answer, FetchError> {
    let (host, path) = (call.endpoint().authority(), call.endpoint().path().to_owned());
    let (method, headers, body) = call.into_parts();
    let mut request = Request::builder().method(method).uri(path);
    if let Some(all) = request.headers_mut() {
        *all = headers;
        all.insert(HOST, HeaderValue::try_from(host).map_err(|_| FetchError::Request)?);
    }
    let request = request.body(Full::new(body)).map_err(|_| FetchError::Request)?;
    let builder = http1::Builder::new().max_buf_size(HEAD).clone();
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::Broken)?;
    let mut talk = pin!(async move {
        let response = sender.send_request(request).await.map_err(|_| FetchError::Broken)?;
        let status = response.status();
        Ok(Answer { status, body: read(response.into_body()).await? })
    });
    tokio::select! {
        biased;
        answer = &mut talk => answer,
        // What it read before it ended is there.
        _ended = connection => talk.await,
    }
}

/// Reads a body to its end.
async fn read(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, FetchError> {
    // SECURITY: room for everything at once, so that growing leaves no copy behind.
    let mut all = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| FetchError::Broken)?.into_data() else { continue };
        if all.len().saturating_add(data.len()) > MAX_ANSWER {
            return Err(FetchError::TooLarge);
        }
        all.extend_from_slice(&data);
        overwrite(data);
    }
    Ok(all)
}

/// Overwrites what the engine read, where nobody else holds it.
fn overwrite(data: Bytes) {
    if let Ok(mut data) = data.try_into_mut() {
        data.zeroize();
    }
}
