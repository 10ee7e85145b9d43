//! The explicit proxy: one HTTP/1.1 connection, request by request.
//!
//! ```text
//! StrictIo ── head ──► record ─► identity ─► CONNECT ──► connect ─► tunnel
//!                                        └─► GET http:// ─► forward ─► origin
//! ```
//! HTTP in plain text inside a tunnel is served by the same code, and so is what was redirected: [`super::whence`] says
//! what its targets are.
//!
//! A client that sends its FIN behind a request has said all it has to say and still gets its answer. One that is gone
//! is known by its reset: at once where it sends one itself, else in answer to the first bytes written to it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use http::header::{CONNECTION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::Body;
use super::connect::connect;
use super::exchange::{Call, Exchange};
use super::forward::Forward;
use super::origins::Origins;
use super::outlet::Outlet;
use super::refusal::Refusal;
use super::session::{Identified, Overruling, Session};
use super::silence::{Opened, Silence};
use super::socket::Socket;
use super::strict::{Broken, Control, StrictIo};
use super::upgrade::Handover;
use super::whence::{Inner, Whence};
use crate::addr::Target;
use crate::audit::{Ingress, Kind, Outcome, Text};
use crate::live::Snapshot;
use crate::policy::{Reason, Way};
use crate::upstream::Alpn;
use crate::wire::head::{Head, HeadError, Upgrade};
use crate::wire::request_target::RequestTarget;

/// The least that hyper may buffer. A head that [`StrictIo`] lets through, which adds a space to each of its fields, must
/// fit: hyper would refuse it without a record.
const BUFFER: usize = 400 * 1024;

/// One HTTP connection from a client.
pub(super) struct Connection {
    session: Arc<Session>,
    /// What the socket tells; there is nothing where each request is a stream of HTTP/2.
    control: Option<Arc<Control>>,
    /// What is on its way to the client.
    outlet: Arc<Outlet>,
    whence: Whence,
    /// The record that a redirected connection was opened with, until its first request takes it.
    opened: Opened,
    pub(super) origins: Origins,
    /// What it goes on as after HTTP.
    handover: Handover,
}

/// Serves a connection to the explicit proxy until it ends.
pub(super) async fn serve(session: Arc<Session>, stream: TcpStream) {
    let changes = session.gateway.live.subscribe();
    serve_client(session, stream, BytesMut::new(), Whence::Client, Opened::default(), changes).await;
}

/// Serves the HTTP of a client that was redirected, with the record that its connection was opened with.
pub(super) async fn serve_redirected(
    session: Arc<Session>,
    stream: TcpStream,
    first: BytesMut,
    whence: Whence,
    opened: Exchange,
    changes: watch::Receiver<Arc<Snapshot>>,
) {
    let opened = Arc::new(Mutex::new(Some(opened)));
    serve_client(session, stream, first, whence, opened, changes).await;
}

/// Serves a connection whose only records are those of its requests.
async fn serve_client(
    session: Arc<Session>,
    stream: TcpStream,
    first: BytesMut,
    whence: Whence,
    opened: Opened,
    changes: watch::Receiver<Arc<Snapshot>>,
) {
    let (io, control) = StrictIo::new(Socket::plain(stream), first, session.gateway.limits.header_bytes);
    let opened = Arc::clone(&opened);
    let connection = Connection {
        opened: Arc::clone(&opened),
        ..Connection::new(Arc::clone(&session), Some(Arc::clone(&control)), whence)
    };
    let newcomer = session.newcomer();
    let mut silence = Silence::new(&session, control, opened);
    tokio::select! {
        biased;
        denial = session.crowded_out(newcomer) => {
            session.end(Outcome::Refused, Some(Overruling { denial, record: None, generation: None }));
        }
        _outcome = run(Arc::new(connection), io, changes) => {}
    }
    silence.tell().await;
}

/// Serves the HTTP found inside a tunnel, whose `origin` may be open already; answers how it ended.
///
/// Boxed, because a connection holds tunnels and a tunnel may hold a connection.
pub(super) fn serve_tunnel(
    session: Arc<Session>,
    socket: Socket,
    first: BytesMut,
    tunnel: Inner,
    origin: Option<(TcpStream, Way)>,
    changes: watch::Receiver<Arc<Snapshot>>,
) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    Box::pin(async move {
        let origins = Origins::new(Alpn::Http1);
        if let Some((stream, way)) = origin {
            let (sandbox, target) = (Arc::clone(&tunnel.sandbox.id), tunnel.target.clone());
            if origins.adopt(stream, way, (sandbox, target), &session).await.is_err() {
                return Outcome::UpstreamFailed;
            }
        }
        let (io, control) = StrictIo::new(socket, first, session.gateway.limits.header_bytes);
        let connection =
            Connection { origins, ..Connection::new(session, Some(control), Whence::Tunnel(tunnel)) };
        run(Arc::new(connection), io, changes).await
    })
}

/// Runs hyper on the connection until it ends by itself or is ended by the idle limit, a policy change or a drain.
async fn run(
    connection: Arc<Connection>,
    io: StrictIo,
    mut changes: watch::Receiver<Arc<Snapshot>>,
) -> Outcome {
    let session = Arc::clone(&connection.session);
    let _active = session.gateway.metrics.active(connection.whence.ingress());
    let limits = &session.gateway.limits;
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move {
            let head = connection.control.as_ref().and_then(|control| control.next_head());
            Ok::<_, Infallible>(connection.handle(head, request).await)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(BUFFER) + 1024)
        .auto_date_header(false)
        // A client that has said all it has to say still reads; one that is gone resets what is written to it.
        .half_close(true)
        .serve_connection(io, service)
        .with_upgrades();
    let mut serving = Box::pin(serving);
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            denial = session.overruled(&mut changes, Some(&connection.origins)) => {
                session.end(Outcome::PolicyChange, Some(denial));
                return Outcome::PolicyChange;
            }
            ended = serving.as_mut() => {
                if ended.is_ok() {
                    break;
                }
                session.leave();
                return Outcome::ClientClosed;
            }
            () = session.meter.idle(limits.idle_timeout) => {
                session.end(Outcome::Idle, None);
                return Outcome::Idle;
            }
            () = session.gateway.tasks.watcher().draining(), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
    // What HTTP held is given back: a WebSocket lives long.
    drop(serving);
    let upgraded = connection.handover.lock().unwrap_or_else(PoisonError::into_inner).take();
    match upgraded {
        Some(upgraded) => Box::pin(upgraded.run()).await,
        None => Outcome::Ok,
    }
}

/// What a target that is refused as malformed names as its host, for the record.
///
/// SECURITY: userinfo and query may hold secrets, and neither is part of a record.
fn named(target: &str) -> Option<&str> {
    let after_scheme = target.split_once("://").map_or(target, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    Some(host).filter(|host| !host.is_empty())
}

impl Connection {
    /// A connection on which nothing has been asked.
    pub(super) fn new(session: Arc<Session>, control: Option<Arc<Control>>, whence: Whence) -> Self {
        let (outlet, alpn) = match &control {
            Some(control) => (Arc::clone(control.outlet()), Alpn::Http1),
            None => (Arc::new(Outlet::windowed()), Alpn::Either),
        };
        let (opened, origins, handover) = (Opened::default(), Origins::new(alpn), Handover::default());
        Self { session, control, outlet, whence, opened, origins, handover }
    }

    /// Answers one request, come what may.
    pub(super) async fn handle(
        &self,
        head: Option<Result<Head, HeadError>>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        self.session.ask();
        let connects = matches!(&head, Some(Ok(head)) if head.method() == Method::CONNECT);
        let upgrades = matches!(&head, Some(Ok(head)) if head.upgrade() != Upgrade::None);
        let tunnels = connects && matches!(self.whence, Whence::Client);
        let kind = if tunnels { Kind::Connection } else { Kind::Request };
        let mut exchange = match self.record(kind).await {
            Ok(exchange) => Some(exchange),
            Err(refusal) => return refusal.closing().response("", None),
        };
        if let Some(exchange) = &mut exchange {
            if self.control.is_none() {
                exchange.is_on_a_stream();
            }
            let inside = self.whence.ingress();
            let redirected = inside == Ingress::TransparentHttp;
            let ingress = if connects && !redirected { Ingress::Connect } else { inside };
            exchange.note(|event| event.ingress = Some(ingress));
        }
        let mut target = None;
        let answer = self.answer(head, request, &mut exchange, &mut target).await;
        let mut response = answer.unwrap_or_else(|refusal| self.fail(refusal, exchange, target.as_ref()));
        let granted = if connects {
            response.status().is_success()
        } else {
            response.status() == StatusCode::SWITCHING_PROTOCOLS
        };
        // RACE: only the request that the connection is held for may let it go on; a later one may be read already.
        if connects && !granted {
            self.control.iter().for_each(|control| control.resume());
        } else if upgrades && !granted {
            // What comes after a declined upgrade belongs to no message that is known, so it is not read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The record of a request: the one that the connection was opened with, or a new one.
    async fn record(&self, kind: Kind) -> Result<Exchange, Refusal> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut exchange) = opened else { return Exchange::admitted(&self.session, kind).await };
        exchange.note(|event| event.kind = kind);
        Ok(exchange)
    }

    /// Judges one request and sends it where it may go.
    async fn answer(
        &self,
        head: Option<Result<Head, HeadError>>,
        request: Request<Incoming>,
        exchange: &mut Option<Exchange>,
        asked: &mut Option<Target>,
    ) -> Result<Response<Body>, Refusal> {
        if let Some(refusal) = self.whence.refusal() {
            return Err(refusal.clone());
        }
        let Some(record) = exchange.as_mut() else {
            return Err(Refusal::malformed("the request has no record"));
        };
        // RACE: subscribed before anything is asked, so that no change in between is missed.
        let changes = self.session.gateway.live.subscribe();
        // SECURITY: R2: where it is known who asks, what is malformed counts too.
        let known = self.whence.sandbox().map(|_| self.call(record, request.headers())).transpose()?;
        let head = head.ok_or_else(|| Refusal::malformed("the request has no head").closing())?;
        let head = head.map_err(|error| Refusal::malformed(error.to_string()).closing())?;
        record.note(|event| event.method = Some(Text::new(head.method().as_str())));
        if let Some(address) = self.whence.address() {
            record.asked(address);
        }
        let inside_tls = self.whence.outer().is_some();
        let parse = if inside_tls { RequestTarget::parse_inside_tls } else { RequestTarget::parse };
        let form = parse(head.method(), head.target()).map_err(|error| {
            if let Some(host) = named(head.target()) {
                record.note(|event| event.host = Some(Text::new(host)));
            }
            Refusal::malformed(error.to_string())
        })?;
        let (target, resource) = self.whence.target(&head, &form)?;
        let target = target.as_ref();
        record.asked(target);
        *asked = Some(target.clone());
        let call = known.map_or_else(|| self.call(record, request.headers()), Ok)?;
        match resource {
            None => connect(&self.session, request, &head, target, call, changes, exchange).await,
            Some(resource) => {
                let forward = Forward {
                    session: &self.session,
                    head: &head,
                    target,
                    in_tunnel: matches!(self.whence, Whence::Tunnel(_)),
                    outer: self.whence.outer(),
                    resource,
                    call,
                    changes,
                    origins: &self.origins,
                    handover: &self.handover,
                    outlet: &self.outlet,
                };
                forward.run(request, exchange).await
            }
        }
    }

    /// Finds out who asks, and takes the request from their share.
    fn call(&self, record: &mut Exchange, headers: &HeaderMap) -> Result<Call, Refusal> {
        let call = record.call(self.identify(headers)?);
        self.session.admit_request(&call)?;
        Ok(call)
    }

    /// Finds out who asks.
    fn identify(&self, headers: &HeaderMap) -> Result<Identified, Refusal> {
        if let Some(known) = self.whence.sandbox() {
            return Ok(self.session.identify_again(known)?);
        }
        let mut shown = headers.get_all(PROXY_AUTHORIZATION).iter();
        let credentials = shown.next().map(|value| value.to_str().unwrap_or_default());
        // SECURITY: a second one would be a sign that nobody looks at.
        let credentials = shown.next().map_or(credentials, |_| Some(""));
        self.session.identify(credentials)
    }

    /// Ends a request that failed. A body that has no end makes the origin fail too; then that is not its fault.
    fn fail(&self, refusal: Refusal, exchange: Option<Exchange>, target: Option<&Target>) -> Response<Body> {
        let of_origin = refusal.denial().reason() == Reason::UpstreamFailed;
        let read = || self.control.as_ref().and_then(|control| control.broken());
        // A stream tells that by its body alone.
        let gone = || exchange.as_ref().is_some_and(Exchange::is_broken_off).then_some(Broken::Gone);
        let broken = of_origin.then(|| read().or_else(gone)).flatten();
        match broken {
            Some(Broken::Malformed(error)) => {
                Self::refuse(&Refusal::malformed(error.to_string()).closing(), exchange, target)
            }
            Some(Broken::Gone) => {
                if let Some(exchange) = exchange {
                    exchange.finish(Outcome::ClientClosed);
                }
                Self::refuse(&refusal.closing(), None, target)
            }
            None => Self::refuse(&refusal, exchange, target),
        }
    }

    /// Ends the record of a refused request and says why.
    fn refuse(refusal: &Refusal, exchange: Option<Exchange>, target: Option<&Target>) -> Response<Body> {
        let id = exchange.as_ref().map(Exchange::id).unwrap_or_default();
        if let Some(exchange) = exchange {
            exchange.refuse(refusal, target, Some(refusal.status().as_u16()));
        }
        refusal.response(&id, target)
    }
}
