//! A client connection with origins behind it, and origins that speak HTTP/1.1 or HTTP/2 inside TLS.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::body::Body;
use super::super::entry::Entry;
use super::super::outlet::Outlet;
use super::super::session::{Listener, Session};
use super::super::upload::Upload;
use super::super::{Gateway, Limits};
use super::*;
use crate::audit::{self, Audit, Event, FileSettings, Kind, Observe, Writer};
use crate::drain::{Drain, Tasks};
use crate::identity::Registry;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::policy::category::CategoryLists;
use crate::policy::{Guards, Limits as ShareLimits, PolicySet, document};
use crate::secrets::{Allowed, Secrets};
use crate::share::{Newcomers, Shares};
use crate::upstream::tls_kit::Ca;
use crate::upstream::{DialSettings, DnsSettings, Fetcher, Resolver, Tls, TlsSettings, Uplink, Uplinks};

/// A body of tests.
pub(super) type Payload = BoxBody<Bytes, std::io::Error>;

/// Passes on every event.
struct Tell(mpsc::UnboundedSender<Event>);

impl Observe for Tell {
    fn observe(&self, event: &Event) {
        let _ = self.0.send(event.clone());
    }
}

/// A gateway of which there is nothing but the outward side.
pub(super) struct Rig {
    pub(super) ca: Ca,
    pub(super) gateway: Arc<Gateway>,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    _writer: Writer,
    _drain: Drain,
    _directory: TempDir,
}

/// A client connection.
pub(super) struct Client {
    session: Arc<Session>,
    origins: Arc<Origins>,
    alpn: Alpn,
    /// What the next requests show.
    pub(super) secrets: Vec<Arc<str>>,
}

impl Rig {
    /// A gateway that lets everything pass to the origins of tests.
    pub(super) fn new() -> Self {
        Self::limited(ShareLimits::NONE)
    }

    /// The same, within limits for each sandbox.
    pub(super) fn limited(limits: ShareLimits) -> Self {
        let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
        let roots = vec![ca.path()];
        let tls = TlsSettings { system: false, roots, timeout: Duration::from_secs(10) };
        let text = "kind: EgressPolicy\nmetadata: {name: all}\nspec: {mode: Unrestricted}\n";
        let documents = document::parse(&"p.yaml".into(), text).documents.into_iter().map(Arc::new);
        let guards = Guards { exempt: vec!["127.0.0.8/29".parse().unwrap()], ..Guards::default() };
        let documents: Vec<_> = documents.collect();
        let (policies, _) =
            PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::new(guards), None, None);
        let (tell, events) = mpsc::unbounded_channel();
        let path = directory.path().join("audit.jsonl");
        let file = audit::SinkSettings::File(FileSettings { path, max_bytes: 1 << 30, keep: 1 });
        let settings = audit::Settings { sinks: vec![file], ..audit::Settings::default() };
        let (audit, writer) = Audit::start(settings, vec![Arc::new(Tell(tell))]).unwrap();
        let (drain, _) = Drain::new();
        let servers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))];
        let tls = Tls::new(&tls).unwrap();
        let resolver = Resolver::new(&DnsSettings { servers, ..DnsSettings::default() }).unwrap();
        let managed = Uplink::new("managed", resolver, DialSettings::default());
        let uplinks = Arc::new(Uplinks::new(managed, Vec::new()));
        let fetch = Fetcher::new(Arc::clone(&uplinks), &tls.client_config());
        let gateway = Gateway {
            live: Live::new(Snapshot { generation: 1, policies, registry: Arc::new(Registry::default()) }),
            audit,
            metrics: Metrics::new().unwrap(),
            uplinks,
            intercept: None,
            secrets: Secrets::new(Allowed::default(), None, Arc::new(fetch)),
            tls,
            limits: Limits {
                header_bytes: 65_536,
                header_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_mins(1),
            },
            shares: Shares::new(limits, Arc::new(|_| {})),
            newcomers: Newcomers::new(10),
            tasks: drain.tasks(|panicked| panic!("{panicked:?}")),
        };
        let events = tokio::sync::Mutex::new(events);
        Self { ca, gateway: Arc::new(gateway), events, _writer: writer, _drain: drain, _directory: directory }
    }

    /// Where tasks run.
    pub(super) fn tasks(&self) -> &Tasks {
        &self.gateway.tasks
    }

    /// A connection of a client that speaks this.
    pub(super) fn client(&self, alpn: Alpn) -> Client {
        let listener =
            Listener { name: Arc::from("test"), entry: Entry::Explicit, sandbox: None, peers: Vec::new() };
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4));
        let session = Session::new(Arc::clone(&self.gateway), peer, Arc::new(listener), None);
        let origins = Arc::new(Origins::new(alpn));
        Client { session: Arc::new(session), origins, alpn, secrets: Vec::new() }
    }

    /// The next record.
    pub(super) async fn event(&self) -> Event {
        within(self.events.lock().await.recv()).await.unwrap()
    }
}

/// Fails a test that waits for something that does not come.
pub(super) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
}

/// Where the requests of a client go.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    pub(super) address: SocketAddr,
    pub(super) proven: &'static str,
}

/// What a client asks on.
pub(super) enum Asker {
    One(client1::SendRequest<Payload>),
    Many(client2::SendRequest<Payload>),
}

impl Client {
    /// Opens it toward this origin.
    pub(super) async fn connect(self, goal: Goal) -> Asker {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (alpn, tasks) = (self.alpn, self.session.gateway.tasks.clone());
        let client = Arc::new(self);
        let service = service_fn(move |request| {
            let (client, goal) = (Arc::clone(&client), goal.clone());
            async move { Ok::<_, Infallible>(client.forward(&goal, request).await) }
        });
        let (near, far) = (TokioIo::new(near), TokioIo::new(far));
        let parts = super::super::origin::Parts(tasks.clone());
        if alpn == Alpn::Http1 {
            tasks.spawn("client", async move {
                let _ = http1::Builder::new().serve_connection(far, service).await;
            });
            let (sender, connection) = client1::handshake(near).await.unwrap();
            tasks.spawn("client", async move { drop(connection.await) });
            return Asker::One(sender);
        }
        tasks.spawn("client", {
            let parts = parts.clone();
            async move { drop(http2::Builder::new(parts).serve_connection(far, service).await) }
        });
        let (sender, connection) = client2::handshake(parts, near).await.unwrap();
        tasks.spawn("client", async move { drop(connection.await) });
        Asker::Many(sender)
    }

    /// Does with a request what there is to do besides judging it.
    async fn forward(&self, goal: &Goal, request: Request<Incoming>) -> Response<Body> {
        let (session, changes) = (&self.session, self.session.gateway.live.subscribe());
        let mut exchange = Exchange::admitted(session, Kind::Request).await.unwrap();
        let call = exchange.call(session.identify(None).unwrap());
        let target: Target = goal.address.to_string().parse().unwrap();
        let permit = call.policy.admit(&target).unwrap();
        let upload = Arc::new(Upload::default());
        exchange.carry(Arc::clone(&upload));
        let (parts, body) = request.into_parts();
        let body = ClientBody::new(Arriving::new(body, parts.version), Arc::clone(session), upload);
        let mut outward = Request::new(body);
        *outward.method_mut() = parts.method;
        *outward.uri_mut() = Uri::from(parts.uri.path_and_query().unwrap().clone());
        *outward.headers_mut() = parts.headers;
        outward.headers_mut().insert(HOST, HeaderValue::from_static(goal.proven));
        let proven = goal.proven.parse().unwrap();
        let errand = Errand {
            session,
            call: &call,
            changes: &changes,
            permit: &permit,
            proven: Some(&proven),
            secrets: &self.secrets,
        };
        match self.origins.send(&errand, outward, &mut exchange).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                exchange.note(|event| event.status = Some(parts.status.as_u16()));
                parts.version = http::Version::HTTP_11;
                crate::wire::headers::strip_response(
                    &mut parts.headers,
                    crate::wire::headers::KeepUpgrade::No,
                );
                let outlet = Arc::new(Outlet::windowed());
                Response::from_parts(parts, Body::origin(body, exchange, outlet, None))
            }
            Err(refusal) => {
                exchange.refuse(&refusal, Some(&target), Some(refusal.status().as_u16()));
                refusal.response("", Some(&target))
            }
        }
    }
}

impl Asker {
    /// Sends a request and waits for the head of its response.
    pub(super) async fn ask(&mut self, request: Request<Payload>) -> Response<Incoming> {
        within(self.begin(request)).await.unwrap()
    }

    /// The same, without waiting yet.
    pub(super) fn begin(
        &mut self,
        mut request: Request<Payload>,
    ) -> std::pin::Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>> {
        match self {
            Self::One(sender) => Box::pin(sender.send_request(request)),
            Self::Many(sender) => {
                let uri = format!("https://good.test{}", request.uri());
                *request.uri_mut() = uri.parse().unwrap();
                Box::pin(sender.send_request(request))
            }
        }
    }
}

/// A request.
pub(super) fn request(method: &str, path: &str, body: Payload) -> Request<Payload> {
    Request::builder().method(method).uri(path).body(body).unwrap()
}

/// No body.
pub(super) fn nothing() -> Payload {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed()
}

/// All of a body, and its trailers.
pub(super) async fn read(response: Response<Incoming>) -> (String, http::HeaderMap) {
    let whole = within(response.into_body().collect()).await.unwrap();
    let trailers = whole.trailers().cloned().unwrap_or_default();
    (String::from_utf8(whole.to_bytes().to_vec()).unwrap(), trailers)
}

/// An origin inside TLS.
pub(super) struct Server {
    pub(super) goal: Goal,
    connections: Arc<AtomicUsize>,
    /// What it was asked: the number of the connection, and the head.
    asked: Arc<Mutex<Vec<(usize, http::request::Parts)>>>,
}

impl Server {
    /// One that answers with this, by any of these protocols.
    pub(super) async fn start<A, F>(rig: &Rig, protocols: &[&str], answer: A) -> Self
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Payload>> + Send + 'static,
    {
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let (seen, tasks) = (Arc::clone(&asked), rig.tasks().clone());
        let serve = move |stream: TlsStream<TcpStream>, number: usize| {
            let (seen, answer, tasks) = (Arc::clone(&seen), answer.clone(), tasks.clone());
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    seen.lock().unwrap().push((number, parts.clone()));
                    let answering = answer(Request::from_parts(parts, body));
                    async move { Ok::<_, Infallible>(answering.await) }
                });
                let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(stream);
                if multiplexed {
                    let parts = super::super::origin::Parts(tasks);
                    drop(http2::Builder::new(parts).serve_connection(io, service).await);
                } else {
                    drop(http1::Builder::new().serve_connection(io, service).await);
                }
            }
        };
        Self { asked, ..Self::raw(rig, rig.ca.server("good.test", protocols), serve).await }
    }

    /// One that does this with each connection.
    pub(super) async fn raw<A, F>(rig: &Rig, tls: TlsAcceptor, serve: A) -> Self
    where
        A: Fn(TlsStream<TcpStream>, usize) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
        let goal = Goal { address: listener.local_addr().unwrap(), proven: "good.test" };
        let connections = Arc::<AtomicUsize>::default();
        let (count, tasks) = (Arc::clone(&connections), rig.tasks().clone());
        rig.tasks().spawn("origin of a test", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (tls, serve) = (tls.clone(), serve.clone());
                tasks.spawn("origin of a test", async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, number).await;
                    }
                });
            }
        });
        Self { goal, connections, asked: Arc::default() }
    }

    /// How many connections came.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What it was asked: the number of the connection, and the head.
    pub(super) fn asked(&self) -> Vec<(usize, http::request::Parts)> {
        self.asked.lock().unwrap().clone()
    }
}
