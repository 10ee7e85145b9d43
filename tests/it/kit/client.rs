//! A client that writes raw bytes and reads them back; every wait is bounded.
//!
//! ```ignore
//! let mut tunnel = Client::tunnel(proxy, "www.example.com:443").await;
//! tunnel.send("ping").await;
//! tunnel.expect("ping").await;
//! tunnel.finish().await;
//! tunnel.expect_end().await;
//!
//! let refused = Client::connect(proxy).await.ask("CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n").await;
//! assert_eq!(refused.status, 403);
//! assert_eq!(refused.header("x-deny-reason"), Some("guard_metadata"));
//! ```

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::http::{chunked_end, find};
use super::http2::Http2;
use super::within;

/// A connection of a test, plain or inside TLS.
pub struct Client<S = TcpStream> {
    /// The connection.
    stream: S,
    /// Received and not yet asked for.
    buffer: Vec<u8>,
}

/// An HTTP/1.1 answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The head as it came, blank line included.
    pub head: String,
    /// The body, chunks joined; trailers are in [`Self::raw_body`].
    pub body: String,
    /// The body as it came.
    pub raw_body: Vec<u8>,
}

impl Response {
    /// The value of the first header field of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).into_iter().next()
    }

    /// The values of every header field of this name (lower case).
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let connected = within("a connection", TcpStream::connect(address)).await;
        Self::over(connected.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}")))
    }

    /// Connects from this source address.
    pub async fn connect_from(source: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(source.parse().expect("an IP address"), 0)).expect("a source address");
        Self::over(within("a connection", socket.connect(address)).await.expect("a connection"))
    }

    /// Asks the proxy for a tunnel to `target` and fails unless it is opened.
    pub async fn tunnel(proxy: SocketAddr, target: &str) -> Self {
        match Self::try_tunnel(proxy, target).await {
            Ok(tunnel) => tunnel,
            Err(refused) => panic!("no tunnel to {target}: {}{}", refused.head, refused.body),
        }
    }

    /// Asks the proxy for a tunnel to `target`; the answer is given back when it is refused.
    pub async fn try_tunnel(proxy: SocketAddr, target: &str) -> Result<Self, Response> {
        Self::connect(proxy).await.into_tunnel(target).await
    }

    /// The same on a connection that is open, as from one source address.
    pub async fn into_tunnel(self, target: &str) -> Result<Self, Response> {
        let mut client = self;
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        let head = client.head().await;
        if status_of(&head) == 200 { Ok(client) } else { Err(client.response_of(head, false).await) }
    }

    /// Wraps an open connection.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream, buffer: Vec::new() }
    }

    /// Speaks TLS inside, with this server name and trusting this certificate only.
    pub async fn tls(
        self,
        name: &str,
        trusted: CertificateDer<'static>,
    ) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
        let tls = self.try_tls(name, trusted).await;
        tls.unwrap_or_else(|error| panic!("no TLS to {name}: {error}"))
    }

    /// The same; the failure is given back.
    pub async fn try_tls(
        self,
        name: &str,
        trusted: CertificateDer<'static>,
    ) -> std::io::Result<Client<tokio_rustls::client::TlsStream<TcpStream>>> {
        self.try_tls_with(name, trusted, &[]).await
    }

    /// The same, offering these protocols (ALPN).
    pub async fn try_tls_with(
        self,
        name: &str,
        trusted: CertificateDer<'static>,
        protocols: &[&str],
    ) -> std::io::Result<Client<tokio_rustls::client::TlsStream<TcpStream>>> {
        assert!(self.buffer.is_empty(), "bytes before TLS: {:?}", String::from_utf8_lossy(&self.buffer));
        let mut roots = RootCertStore::empty();
        roots.add(trusted).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, self.stream);
        Ok(Client { stream: within("a TLS handshake", handshake).await?, buffer: Vec::new() })
    }

    /// Closes with a reset instead of a FIN.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
    }

    /// Waits until the connection has failed, also one whose FIN was read already.
    pub async fn expect_failure(&self) {
        let failed = within("the connection to fail", self.stream.ready(tokio::io::Interest::ERROR)).await;
        assert!(failed.expect("a connection").is_error());
    }

    /// The connection itself.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.buffer.is_empty(), "bytes were read ahead: {:?}", self.text());
        self.stream
    }

    /// The address it came from.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connection")
    }
}

impl Client<tokio_rustls::client::TlsStream<TcpStream>> {
    /// The protocol that both sides agreed on.
    pub fn protocol(&self) -> Option<&str> {
        let protocol = self.stream.get_ref().1.alpn_protocol()?;
        Some(std::str::from_utf8(protocol).expect("the name of a protocol"))
    }

    /// The certificate that was shown.
    pub fn shown(&self) -> CertificateDer<'static> {
        let chain = self.stream.get_ref().1.peer_certificates().expect("a certificate");
        chain[0].clone().into_owned()
    }

    /// The address it came from.
    pub fn source(&self) -> SocketAddr {
        self.stream.get_ref().0.local_addr().expect("a connection")
    }

    /// Breaks the connection off with a reset under the TLS.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.stream.get_ref().0);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
    }

    /// Speaks HTTP/2 from here on.
    pub async fn http2(self) -> Http2 {
        assert!(self.buffer.is_empty(), "bytes before HTTP/2: {:?}", self.text());
        Http2::over(self.stream).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Sends all of this.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends all of this; a connection that is closed meanwhile is given back as an error.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("the other side to take bytes", self.stream.write_all(bytes.as_ref())).await?;
        within("the other side to take bytes", self.stream.flush()).await
    }

    /// Sends this in segments of `size` bytes.
    pub async fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece).await;
            tokio::task::yield_now().await;
        }
    }

    /// Sends the FIN and goes on reading.
    pub async fn finish(&mut self) {
        within("the FIN to be sent", self.stream.shutdown()).await.expect("a connection to finish");
    }

    /// Sends the FIN, unless the connection is closed already.
    pub async fn finish_if_open(&mut self) {
        let _may_be_closed_already = within("the FIN to be sent", self.stream.shutdown()).await;
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request.as_ref()).await;
        self.response(request.as_ref().starts_with(b"HEAD ")).await
    }

    /// Reads an answer; one to a HEAD request has no body.
    pub async fn response(&mut self, to_head: bool) -> Response {
        let head = self.head().await;
        self.response_of(head, to_head).await
    }

    /// Reads the head of an answer, blank line included.
    pub async fn head(&mut self) -> String {
        let end =
            self.fill_until("the head of an answer", |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await;
        String::from_utf8(self.buffer.drain(..end).collect()).expect("a head in UTF-8")
    }

    /// Reads the next `length` bytes.
    pub async fn take(&mut self, length: usize) -> Vec<u8> {
        let what = format!("{length} bytes");
        let end = self.fill_until(&what, |bytes| (bytes.len() >= length).then_some(length)).await;
        self.buffer.drain(..end).collect()
    }

    /// The next byte; none when the connection ends, by FIN or reset.
    pub async fn next_byte(&mut self) -> Option<u8> {
        if self.buffer.is_empty() {
            let read = within("a byte or the end", self.stream.read_buf(&mut self.buffer)).await;
            read.ok().filter(|length| *length > 0)?;
        }
        Some(self.buffer.remove(0))
    }

    /// Reads as many bytes as `text` has and fails unless they are the same.
    pub async fn expect(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let got = self.take(text.len()).await;
        assert!(
            got == text,
            "expected {:?}, got {:?}",
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(&got)
        );
    }

    /// Reads up to the other side's FIN.
    pub async fn rest(&mut self) -> Vec<u8> {
        let read = within("the end of the connection", self.stream.read_to_end(&mut self.buffer)).await;
        read.unwrap_or_else(|error| panic!("expected a FIN, got {error}"));
        std::mem::take(&mut self.buffer)
    }

    /// Fails unless the other side sends its FIN and nothing before it.
    pub async fn expect_end(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "expected the end, got {:?}", String::from_utf8_lossy(&rest));
    }

    /// Fails unless the other side resets the connection; what comes before is given back.
    pub async fn expect_reset(&mut self) -> Vec<u8> {
        match within("a reset", self.stream.read_to_end(&mut self.buffer)).await {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => std::mem::take(&mut self.buffer),
            Err(error) => panic!("expected a reset, got {error}"),
            Ok(_) => panic!("expected a reset, got a FIN after {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Fails unless the connection ends, by FIN or reset; what comes before is given back.
    pub async fn expect_closed(&mut self) -> Vec<u8> {
        let _either = within("the end of the connection", self.stream.read_to_end(&mut self.buffer)).await;
        std::mem::take(&mut self.buffer)
    }

    /// Reads the head of an answer, or what comes before the connection ends without one.
    pub async fn expect_closed_or_head(&mut self) -> String {
        let reading = async {
            while find(&self.buffer, b"\r\n\r\n").is_none() {
                if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                    break;
                }
            }
        };
        within("the head of an answer or the end", reading).await;
        self.text()
    }

    /// The answer with this head.
    async fn response_of(&mut self, head: String, to_head: bool) -> Response {
        let status = status_of(&head);
        let mut response = Response { status, head, body: String::new(), raw_body: Vec::new() };
        if to_head || status < 200 || [204, 304].contains(&status) {
            return response;
        }
        if response.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            let end = self.fill_until("a chunked body", chunked_end).await;
            response.raw_body = self.buffer.drain(..end).collect();
            response.body = unchunk(&response.raw_body);
            return response;
        }
        let length = response.header("content-length").map(|value| value.parse().expect("a length"));
        response.raw_body = match length {
            Some(length) => self.take(length).await,
            None => self.rest().await,
        };
        response.body = String::from_utf8_lossy(&response.raw_body).into_owned();
        response
    }

    /// Reads until `enough` finds an end, and gives it.
    async fn fill_until(&mut self, what: &str, enough: impl Fn(&[u8]) -> Option<usize>) -> usize {
        loop {
            if let Some(end) = enough(&self.buffer) {
                return end;
            }
            let so_far = self.buffer.len();
            match within(what, self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) => panic!("the connection ended {so_far} bytes before {what}: {:?}", self.text()),
                Ok(_) => {}
                Err(error) => panic!("{error} instead of {what}, after {:?}", self.text()),
            }
        }
    }

    /// What was received and not asked for, as text.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// The status code of a head.
fn status_of(head: &str) -> u16 {
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status line: {head:?}"))
}

/// The chunks of a complete chunked body, joined.
fn unchunk(mut raw: &[u8]) -> String {
    let mut body = Vec::new();
    while let Some(line) = find(raw, b"\r\n") {
        let size = String::from_utf8_lossy(&raw[..line]);
        let size =
            usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).expect("a size");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&raw[line + 2..line + 2 + size]);
        raw = &raw[line + 4 + size..];
    }
    String::from_utf8_lossy(&body).into_owned()
}
