//! A client that speaks HTTP/2; every wait is bounded.
//!
//! ```ignore
//! let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
//! assert_eq!(client.get("https://api.test/").await.status, 200);
//!
//! let mut stream = client.open(Http2::request("POST", "https://api.test/")).await;
//! stream.send("part").await;
//! stream.finish();
//! let answer = stream.answer().await.unwrap();
//! ```

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Seen, background, within};

/// A connection of a client.
#[derive(Clone)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    /// Why it ended, once it has; none for a clean end.
    ended: Arc<Seen<Option<Reason>>>,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// What came behind its body.
    pub trailers: HeaderMap,
}

/// A stream under way.
pub struct Stream {
    response: Option<ResponseFuture>,
    send: SendStream<Bytes>,
    body: Option<RecvStream>,
}

impl Answer {
    /// A field of the head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// A field behind the body.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Http2 {
    /// Speaks it on a connection; nothing is sent but the preface and settings.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let shaken = within("an HTTP/2 preface", h2::client::handshake(io)).await;
        let (send, connection) = shaken.expect("an HTTP/2 connection");
        let ended = Arc::new(Seen::new());
        let log = Arc::clone(&ended);
        background().spawn(async move {
            let end = connection.await;
            // A connection that is lost has no reason of its own.
            log.push(end.err().map(|error| error.reason().unwrap_or(Reason::CONNECT_ERROR)));
        });
        Self { send, ended }
    }

    /// A request without a body.
    pub fn request(method: &str, uri: &str) -> Request<()> {
        Request::builder().method(method).uri(uri).body(()).expect("a request")
    }

    /// Opens a stream, the body of which is open too.
    pub async fn open(&self, request: Request<()>) -> Stream {
        self.start(request, false).await.unwrap_or_else(|error| panic!("no stream: {error}"))
    }

    /// Opens a stream; `end`: it has no body.
    pub async fn start(&self, request: Request<()>, end: bool) -> Result<Stream, h2::Error> {
        let mut ready = within("room for a stream", self.send.clone().ready()).await?;
        let (response, send) = ready.send_request(request, end)?;
        Ok(Stream { response: Some(response), send, body: None })
    }

    /// Asks for this without a body.
    pub async fn get(&self, uri: &str) -> Answer {
        self.ask(Self::request("GET", uri)).await
    }

    /// Asks this without a body.
    pub async fn ask(&self, request: Request<()>) -> Answer {
        self.try_ask(request).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same; a stream that is broken off is given back as an error.
    pub async fn try_ask(&self, request: Request<()>) -> Result<Answer, h2::Error> {
        self.start(request, true).await?.answer().await
    }

    /// Asks this with a body.
    pub async fn send(&self, request: Request<()>, body: impl Into<Bytes>) -> Answer {
        let mut stream = self.open(request).await;
        let sent = stream.try_send(body).await;
        if sent.is_ok() {
            stream.finish();
        }
        stream.answer().await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Waits until the connection has ended, and says why; none for a clean end.
    pub async fn wait_for_end(&self) -> Option<Reason> {
        self.ended.wait_until("the end of an HTTP/2 connection", |ends| !ends.is_empty()).await[0]
    }
}

impl Stream {
    /// Sends a part of the body, as the other side takes it.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) {
        self.try_send(bytes).await.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// The same; a stream that is broken off is given back as an error.
    pub async fn try_send(&mut self, bytes: impl Into<Bytes>) -> Result<(), h2::Error> {
        within("the other side to take a body", send_all(&mut self.send, bytes.into())).await
    }

    /// Ends the body.
    pub fn finish(&mut self) {
        // One that was broken off meanwhile has an end.
        let _ = self.send.send_data(Bytes::new(), true);
    }

    /// Ends the body with trailers.
    pub fn finish_with(&mut self, trailers: HeaderMap) {
        self.send.send_trailers(trailers).expect("a stream");
    }

    /// Breaks the stream off.
    pub fn reset(mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// The head of the answer.
    pub async fn head(&mut self) -> Result<(StatusCode, HeaderMap), h2::Error> {
        let response = self.response.take().expect("a head that nobody took");
        let (head, body) = within("the head of an answer", response).await?.into_parts();
        self.body = Some(body);
        Ok((head.status, head.headers))
    }

    /// The next part of the answer's body; none at its end.
    pub async fn part(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let body = self.body.as_mut().expect("the head was taken");
        let Some(part) = within("a part of an answer", body.data()).await.transpose()? else {
            return Ok(None);
        };
        body.flow_control().release_capacity(part.len())?;
        Ok(Some(part))
    }

    /// The whole answer.
    pub async fn answer(mut self) -> Result<Answer, h2::Error> {
        let (status, headers) = self.head().await?;
        let mut body = Vec::new();
        while let Some(part) = self.part().await? {
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, headers, body, trailers: self.trailers().await? })
    }

    /// What comes behind the answer's body.
    pub async fn trailers(&mut self) -> Result<HeaderMap, h2::Error> {
        let body = self.body.as_mut().expect("the head was taken");
        Ok(within("trailers", body.trailers()).await?.unwrap_or_default())
    }
}

/// Sends a part of a body as far as the other side lets it.
pub(super) async fn send_all(send: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| send.poll_capacity(cx)).await;
        let room = room.ok_or_else(|| h2::Error::from(Reason::STREAM_CLOSED))??;
        send.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}
