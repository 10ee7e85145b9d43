use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason as Code;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use tokio::net::TcpStream as Tcp;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;

use super::kit::{Payload, Rig, Server, nothing, read, request, within};
use super::*;
use crate::audit::Outcome;
use crate::policy::{Limit, Limits};

mod bodies;
mod connections;

/// Protocols that an origin speaks.
const BOTH: &[&str] = &["h2", "http/1.1"];
const ONE: &[&str] = &["http/1.1"];

/// A text as a body.
fn text(text: impl Into<Bytes>) -> Payload {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A body whose frames come one by one.
fn frames() -> (mpsc::UnboundedSender<Frame<Bytes>>, Payload) {
    let (send, receive) = mpsc::unbounded_channel();
    (send, StreamBody::new(Frames(receive)).boxed())
}

/// Frames as they come.
struct Frames(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl tokio_stream::Stream for Frames {
    type Item = std::io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Sends back what it gets, trailers included.
async fn echo(request: Request<Incoming>) -> Response<Payload> {
    Response::new(request.into_body().map_err(std::io::Error::other).boxed())
}

/// Says hello.
async fn hello(_: Request<Incoming>) -> Response<Payload> {
    Response::new(text("hello"))
}

/// An origin that does this with each stream of HTTP/2; it is told how many came before.
async fn streams<A>(rig: &Rig, answer: A) -> Server
where
    A: Fn(h2::server::SendResponse<Bytes>, h2::RecvStream, usize) + Clone + Send + Sync + 'static,
{
    let count = Arc::<AtomicUsize>::default();
    let serve = move |stream: TlsStream<Tcp>, _| {
        let (answer, count) = (answer.clone(), Arc::clone(&count));
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                answer(respond, request.into_body(), count.fetch_add(1, Ordering::SeqCst));
            }
        }
    };
    Server::raw(rig, rig.ca.server("good.test", &["h2"]), serve).await
}

/// The head of a response.
fn head(status: StatusCode) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}
