//! HTTP/2 with a client whose TLS is decrypted: each stream a request (RFC 9113).
//!
//! What the HTTP engine and [`Head::of_stream`] do not take for a request ends with `PROTOCOL_ERROR`, and no byte of it goes
//! on. Floods end with the connection: the bounds below are all explicit (threat R3).

use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch::Receiver;

use super::body::Body;
use super::explicit::Connection;
use super::relay::unfinished;
use super::session::Session;
use super::side::Served;
use super::whence::{Inner, Whence};
use crate::audit::Outcome;
use crate::drain::Tasks;
use crate::live::Snapshot;
use crate::wire::head::Head;

/// The most streams at once.
const STREAMS: u32 = 100;
/// How much of one body may come before it is taken (RFC 9113 §5.2), and of all together.
const WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of answers waits for the client.
const UNSENT: usize = 64 * 1024;
/// The most streams that a client reset before they were looked at.
const RESETS: usize = 20;
/// The most streams that were reset for what the client did.
const ERRORS: usize = 1024;

/// Serves the streams of a connection until it ends; answers how.
pub(super) async fn serve(
    session: Arc<Session>,
    tls: Served,
    tunnel: Inner,
    mut changes: Receiver<Arc<Snapshot>>,
) -> Outcome {
    let whence = Whence::Tunnel(tunnel);
    let _active = session.gateway.metrics.active(whence.ingress());
    let connection = Arc::new(Connection::new(Arc::clone(&session), None, whence));
    let socket = Arc::clone(tls.get_ref().0.socket());
    let service = service_fn(|request| answer(Arc::clone(&connection), request));
    let longest = u32::try_from(session.gateway.limits.header_bytes).unwrap_or(u32::MAX);
    let serving = http2::Builder::new(Streams(session.gateway.tasks.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(longest)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(UNSENT)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(tls), service);
    let mut serving = Box::pin(serving);
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            denial = session.overruled(&mut changes, Some(&connection.origins)) => {
                session.end(Outcome::PolicyChange, Some(denial));
                // What is under way is not whole.
                unfinished(&socket);
                return Outcome::PolicyChange;
            }
            ended = serving.as_mut() => {
                if ended.is_ok() {
                    return Outcome::Ok;
                }
                session.leave();
                return Outcome::ClientClosed;
            }
            () = session.meter.idle(session.gateway.limits.idle_timeout) => {
                session.end(Outcome::Idle, None);
                unfinished(&socket);
                return Outcome::Idle;
            }
            () = session.gateway.tasks.watcher().draining(), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers one stream.
///
/// # Errors
/// `PROTOCOL_ERROR`: it is no request (RFC 9113 §8.1.1).
///
/// Boxed, because a connection holds tunnels and a tunnel may hold a connection.
fn answer(connection: Arc<Connection>, request: Request<Incoming>) -> Answer {
    let ended = request.body().is_end_stream();
    let head = Head::of_stream(request.method(), request.uri(), request.headers(), ended);
    Box::pin(async move {
        let malformed = head.is_err();
        let answer = connection.handle(Some(head), request).await;
        if malformed { Err(h2::Error::from(h2::Reason::PROTOCOL_ERROR)) } else { Ok(answer) }
    })
}

/// An answer under way.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, h2::Error>> + Send>>;

/// Runs what the HTTP engine does beside the connection itself.
#[derive(Debug, Clone)]
struct Streams(Tasks);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn("stream", stream);
    }
}
