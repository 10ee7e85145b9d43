//! What an HTTP/2 origin answers, stream by stream.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Seen;
use super::http2::send_all;

/// What an HTTP/2 origin does with a stream.
#[derive(Debug, Clone)]
pub struct Stream {
    status: StatusCode,
    headers: HeaderMap,
    /// What is sent, part by part.
    parts: Vec<Bytes>,
    trailers: HeaderMap,
    /// Whether each part after the first, and the end, waits for [`Origin::step`](super::origin::Origin::step).
    gated: bool,
    /// Whether the answer is sent before the body is read.
    early: bool,
    then: Then,
}

/// How a stream goes on after its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It ends.
    End,
    /// It sends back what comes.
    Echo,
    /// It is reset, before the head where there are no parts.
    Reset(Reason),
    /// It stays open.
    Open,
    /// The whole connection ends, without a word.
    Lost,
}

/// One stream as the origin saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// On which connection.
    pub connection: usize,
    /// Its head.
    pub head: request::Parts,
    /// Its body so far.
    pub body: Vec<u8>,
    /// What came behind it.
    pub trailers: HeaderMap,
    /// How it ended: none while it has not, then whether it was whole.
    pub whole: Option<bool>,
}

impl Asked {
    /// The path and the query.
    pub fn path(&self) -> &str {
        self.head.uri.path_and_query().map_or("", |path| path.as_str())
    }

    /// A field of the head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

impl Stream {
    /// `200` with this body.
    pub fn ok(body: &str) -> Self {
        Self::parts([body])
    }

    /// `200` with these, each in a frame of its own.
    pub fn parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            parts: parts.into_iter().map(|part| Bytes::from(part.to_owned())).collect(),
            trailers: HeaderMap::new(),
            gated: false,
            early: false,
            then: Then::End,
        }
    }

    /// A body of this many bytes.
    pub fn large(length: usize) -> Self {
        Self { parts: vec![Bytes::from(vec![b'x'; length])], ..Self::parts([]) }
    }

    /// Sends back what comes, as it comes.
    pub fn echo() -> Self {
        Self { then: Then::Echo, early: true, ..Self::parts([]) }
    }

    /// The same with this status.
    pub fn status(self, status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).expect("a status"), ..self }
    }

    /// The same with this field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(
            HeaderName::try_from(name).expect("a name"),
            HeaderValue::try_from(value).expect("a value"),
        );
        self
    }

    /// The same with this field behind its body.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.append(
            HeaderName::try_from(name).expect("a name"),
            HeaderValue::try_from(value).expect("a value"),
        );
        self
    }

    /// The same, without waiting for the request's body.
    pub fn early(self) -> Self {
        Self { early: true, ..self }
    }

    /// The same, each part after the first, and the end, held until [`Origin::step`](super::origin::Origin::step).
    pub fn step_by_step(self) -> Self {
        Self { gated: true, ..self }
    }

    /// The same, and then a reset in place of the end; it takes back what the other side has not got, unless that is stepped.
    pub fn then_reset(self, reason: Reason) -> Self {
        Self { then: Then::Reset(reason), ..self }
    }

    /// The same, and then nothing, but the stream stays open.
    pub fn then_open(self) -> Self {
        Self { then: Then::Open, ..self }
    }

    /// The same, and then the connection is gone, with what the other side has not got.
    pub fn then_lost(self) -> Self {
        Self { then: Then::Lost, ..self }
    }
}

/// Answers streams in turn.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    streams: &[Stream],
    asked: &Arc<Seen<Asked>>,
    steps: &Arc<Semaphore>,
) -> std::io::Result<()> {
    let mut connection = h2::server::handshake(io).await.map_err(std::io::Error::other)?;
    let number = asked.all().last().map_or(0, |last| last.connection + 1);
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else {
                    // What is under way has yet to notice.
                    under_way.detach_all();
                    return Ok(());
                };
                let (head, body) = request.into_parts();
                let at = asked.count();
                let stream = streams.get(at).or(streams.last()).expect("at least one stream").clone();
                asked.push(Asked { connection: number, head, body: Vec::new(), trailers: HeaderMap::new(), whole: None });
                let playing = Playing { stream, at, asked: Arc::clone(asked), steps: Arc::clone(steps) };
                under_way.spawn(playing.play(body, respond));
            }
            Some(ended) = under_way.join_next() => {
                // Dropping the connection ends it without a word.
                if matches!(ended, Ok(Ok(Then::Lost))) {
                    return Ok(());
                }
            }
        }
    }
}

/// A stream under way.
struct Playing {
    stream: Stream,
    at: usize,
    asked: Arc<Seen<Asked>>,
    steps: Arc<Semaphore>,
}

impl Playing {
    /// Reads and answers; says how it is to go on with the connection.
    async fn play(self, mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Result<Then, h2::Error> {
        if !self.stream.early {
            self.read(&mut body, None).await?;
        }
        let Stream { then, .. } = self.stream;
        if let (Then::Reset(reason), true) = (then, self.stream.parts.is_empty()) {
            respond.send_reset(reason);
            return Ok(then);
        }
        let mut response = Response::new(());
        *response.status_mut() = self.stream.status;
        response.headers_mut().clone_from(&self.stream.headers);
        let bodiless = self.stream.parts.iter().all(Bytes::is_empty)
            && self.stream.trailers.is_empty()
            && then == Then::End
            && !self.stream.gated;
        let mut send = respond.send_response(response, bodiless)?;
        if bodiless {
            return Ok(then);
        }
        for (number, part) in self.stream.parts.iter().enumerate() {
            if number > 0 {
                self.step().await;
            }
            send_all(&mut send, part.clone()).await?;
        }
        self.step().await;
        match then {
            Then::End if self.stream.trailers.is_empty() => send.send_data(Bytes::new(), true)?,
            Then::End => send.send_trailers(self.stream.trailers.clone())?,
            Then::Reset(reason) => send.send_reset(reason),
            Then::Echo => {
                let trailers = self.read(&mut body, Some(&mut send)).await?;
                if trailers.is_empty() {
                    send.send_data(Bytes::new(), true)?;
                } else {
                    send.send_trailers(trailers)?;
                }
            }
            Then::Open => std::future::pending().await,
            Then::Lost => {}
        }
        if self.stream.early && then == Then::End {
            self.read(&mut body, None).await?;
        }
        Ok(then)
    }

    /// Waits for a step, where the stream is held.
    async fn step(&self) {
        if self.stream.gated {
            self.steps.acquire().await.expect("open").forget();
        }
    }

    /// Reads the body to its end, and sends it back where that is wanted; gives the trailers.
    async fn read(
        &self,
        body: &mut RecvStream,
        mut back: Option<&mut SendStream<Bytes>>,
    ) -> Result<HeaderMap, h2::Error> {
        let read = async {
            while let Some(part) = body.data().await {
                let part = part?;
                self.asked.modify(|all| all[self.at].body.extend_from_slice(&part));
                body.flow_control().release_capacity(part.len())?;
                if let Some(send) = back.as_deref_mut() {
                    send_all(send, part).await?;
                }
            }
            Ok(body.trailers().await?.unwrap_or_default())
        };
        let read: Result<HeaderMap, h2::Error> = read.await;
        self.asked.modify(|all| {
            all[self.at].whole = Some(read.is_ok());
            if let Ok(trailers) = &read {
                all[self.at].trailers.clone_from(trailers);
            }
        });
        read
    }
}
