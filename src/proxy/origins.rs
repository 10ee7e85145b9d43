//! The connections to origins of one client connection, and what is sent on them.
//!
//! They are never shared between client connections, and between requests only for the same purpose (threat P1):
//!
//! | part of the purpose | why |
//! |---|---|
//! | the sandbox | one client connection may show the tokens of several |
//! | host and port | that is where it leads |
//! | the network | there is no way from one to another |
//! | the name that was verified | in the clear nobody was |
//! | the secrets in use | what one request may show, another must not be taken for |
//!
//! HTTP/1.1 carries one exchange at a time, so there are as many connections as a client has streams under way. HTTP/2
//! carries all of them on one, which is opened once however many ask for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::arriving::Arriving;
use super::exchange::{Call, Exchange};
use super::origin::{Fate, Lease, Origin, Unanswered};
use super::origin_io::OriginStream;
use super::reach::by;
use super::refusal::Refusal;
use super::session::Session;
use super::shape::{to_http1, to_http2};
use super::upload::ClientBody;
use crate::addr::{Host, Target};
use crate::live::Snapshot;
use crate::policy::{AddressPermit, Denial, Reason, Route, TargetPermit, Way};
use crate::upstream::{Alpn, Negotiated};
use crate::wire::head::{Version, framing};

/// How often a request is sent at most.
const TRIES: usize = 3;
/// How many connections are kept for a client that speaks HTTP/2.
const KEPT: usize = 8;
/// For how many purposes it is remembered that an origin speaks no HTTP/2.
const REMEMBERED: usize = 16;

/// The connections to origins of one client connection.
#[derive(Debug)]
pub(super) struct Origins {
    /// What they may speak: what the client does, or less.
    alpn: Alpn,
    pool: Mutex<Pool>,
    /// Held while one is opened that several requests may wait for; how that failed last.
    opening: tokio::sync::Mutex<Option<Failure>>,
    /// There is one clone of this for each connection.
    count: Arc<()>,
}

/// What is open, and what is known.
#[derive(Debug, Default)]
struct Pool {
    /// The oldest first.
    kept: Vec<(Purpose, Origin)>,
    /// Those purposes for which an origin speaks HTTP/1.1.
    single: Vec<Purpose>,
}

/// Why a connection could not be opened.
#[derive(Debug)]
struct Failure {
    purpose: Purpose,
    at: Instant,
    refusal: Refusal,
}

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Purpose {
    sandbox: Arc<str>,
    target: Target,
    route: Route,
    /// Who must prove to be there.
    proven: Option<Host>,
    /// In order, each once.
    secrets: Vec<Arc<str>>,
}

/// Where a request goes, and on whose behalf.
pub(super) struct Errand<'a> {
    pub(super) session: &'a Arc<Session>,
    pub(super) call: &'a Call,
    /// Subscribed before `call` was made.
    pub(super) changes: &'a Receiver<Arc<Snapshot>>,
    pub(super) permit: &'a TargetPermit,
    /// Whom the origin's certificate must be for; None: it is reached in the clear.
    pub(super) proven: Option<&'a Host>,
    /// The names of the secrets that the request shows.
    pub(super) secrets: &'a [Arc<str>],
}

impl Errand<'_> {
    /// What a connection for it is for.
    fn purpose(&self) -> Purpose {
        let mut secrets = self.secrets.to_vec();
        secrets.sort_unstable();
        secrets.dedup();
        Purpose {
            sandbox: Arc::clone(&self.call.sandbox.id),
            target: self.permit.target().clone(),
            route: self.permit.route().clone(),
            proven: self.proven.cloned(),
            secrets,
        }
    }

    /// Whether an open connection's address may be used for this request too.
    fn still_permits(&self, origin: &Origin, exchange: &mut Exchange) -> bool {
        let judged = self.call.policy.admit_way(self.permit, &origin.way);
        judged.is_ok_and(|judged| {
            exchange.would_deny(judged.as_ref().and_then(AddressPermit::would_deny));
            exchange.note(|event| {
                by(event, &origin.way.route);
                event.address = judged.map(|judged| judged.address());
            });
            true
        })
    }
}

impl Origins {
    /// None yet; `alpn` is what the client speaks.
    pub(super) fn new(alpn: Alpn) -> Self {
        Self { alpn, pool: Mutex::default(), opening: tokio::sync::Mutex::default(), count: Arc::default() }
    }

    /// Keeps a connection in the clear that is open already.
    ///
    /// # Errors
    /// It failed at once.
    pub(super) async fn adopt(
        &self,
        stream: TcpStream,
        way: Way,
        (sandbox, target): (Arc<str>, Target),
        session: &Session,
    ) -> hyper::Result<()> {
        let route = way.route.clone();
        let purpose = Purpose { sandbox, target, route, proven: None, secrets: Vec::new() };
        let (stream, lease) = (OriginStream::Plain(stream), Lease::new(&self.count, None));
        let tasks = &session.gateway.tasks;
        let origin = Origin::new(stream, Negotiated::Http1, way, lease, tasks).await?;
        self.pool().kept.push((purpose, origin));
        Ok(())
    }

    /// Sends on a connection at hand when one is for the same, else on a new one.
    ///
    /// An origin may close a kept connection at any time, also at the moment in which a request is on its way. What
    /// took no byte is sent again on another connection, and so is what the origin says it did nothing about (RFC 9113
    /// §8.7), and what may be sent twice (RFC 9110 §9.2.2, RFC 9112 §9.3.1) and got no byte of an answer; a POST that
    /// may have arrived is a failure that its client must judge.
    ///
    /// # Errors
    /// What the client is refused with.
    pub(super) async fn send(
        &self,
        errand: &Errand<'_>,
        mut request: Request<ClientBody>,
        exchange: &mut Exchange,
    ) -> Result<Response<Arriving>, Refusal> {
        let purpose = errand.purpose();
        let mut origin = match self.kept(&purpose, errand, exchange).await {
            Some(origin) => origin,
            None => self.open(&purpose, errand, exchange).await?,
        };
        for left in (0..TRIES).rev() {
            exchange.stand_on(&origin.way, errand.changes)?;
            if origin.is_multiplexed() {
                to_http2(&mut request)?;
            } else {
                to_http1(&mut request, self.alpn == Alpn::Either)?;
            }
            let again = if origin.used { repeated(&request, origin.is_multiplexed()) } else { None };
            let fresh = !origin.used;
            // What was not sent is not in the record: whoever reads it would think that an origin has it.
            exchange.note(|event| event.secrets = errand.secrets.to_vec());
            match attempt(&mut origin, request, errand.session).await? {
                Ok(response) => {
                    check_framing(&response)?;
                    self.keep(purpose, origin);
                    return Ok(response);
                }
                Err(Unanswered { error, unsent, fate }) => {
                    self.forget(&origin);
                    let again = again.filter(|again| match fate {
                        Fate::Unprocessed => true,
                        Fate::Lost => again.method().is_idempotent(),
                        Fate::Failed => false,
                    });
                    let next = unsent.map(|unsent| *unsent).or(again).filter(|_| !fresh && left > 0);
                    request = next.ok_or_else(|| failed(&format!("the origin failed: {error}")))?;
                    drop(origin);
                    origin = self.open(&purpose, errand, exchange).await?;
                }
            }
        }
        Err(failed("the origin failed each time"))
    }

    /// A connection at hand that may be used.
    async fn kept(&self, purpose: &Purpose, errand: &Errand<'_>, exchange: &mut Exchange) -> Option<Origin> {
        loop {
            let mut origin = self.take(purpose)?;
            if origin.is_ready().await && errand.still_permits(&origin, exchange) {
                return Some(origin);
            }
            self.forget(&origin);
        }
    }

    /// A new connection, or the one that somebody else has opened for the same meanwhile.
    async fn open(
        &self,
        purpose: &Purpose,
        errand: &Errand<'_>,
        exchange: &mut Exchange,
    ) -> Result<Origin, Refusal> {
        if errand.proven.is_none() || self.alpn == Alpn::Http1 || self.is_single(purpose) {
            return self.dial(purpose, errand, exchange).await;
        }
        let since = Instant::now();
        let mut failure = self.opening.lock().await;
        if let Some(origin) = self.kept(purpose, errand, exchange).await {
            return Ok(origin);
        }
        if self.is_single(purpose) {
            drop(failure);
            return self.dial(purpose, errand, exchange).await;
        }
        // Whoever waited meanwhile does not wait for the same again.
        if let Some(known) = failure.as_ref().filter(|known| known.at >= since && known.purpose == *purpose) {
            return Err(known.refusal.clone());
        }
        let dialed = self.dial(purpose, errand, exchange).await;
        *failure = dialed.as_ref().err().filter(|refusal| is_of_the_origin(refusal)).map(|refusal| Failure {
            purpose: purpose.clone(),
            at: Instant::now(),
            refusal: refusal.clone(),
        });
        dialed
    }

    /// A new connection to the target.
    async fn dial(
        &self,
        purpose: &Purpose,
        errand: &Errand<'_>,
        exchange: &mut Exchange,
    ) -> Result<Origin, Refusal> {
        let (session, gateway) = (errand.session, &errand.session.gateway);
        // SECURITY: R2: a client has its seat, and one connection to an origin with it. Any more take seats of their own.
        let extra = Arc::strong_count(&self.count) > 1 && self.alpn == Alpn::Either;
        let seat = if extra { Some(session.one_more(errand.call)?) } else { None };
        let lease = Lease::new(&self.count, seat);
        let dialed = gateway.reach(&errand.call.policy, errand.permit, exchange).await?;
        let way = dialed.way();
        let (stream, spoken) = match errand.proven {
            None => (OriginStream::Plain(dialed.stream), Negotiated::Http1),
            Some(host) => {
                let started = Instant::now();
                let secured = gateway.tls.connect(dialed.stream, host, self.alpn).await;
                exchange.note(|event| event.tls = Some(started.elapsed()));
                let (stream, spoken) = secured?;
                (OriginStream::Tls(Box::new(stream)), spoken)
            }
        };
        let origin = Origin::new(stream, spoken, way, lease, &gateway.tasks)
            .await
            .map_err(|error| failed(&format!("the origin failed: {error}")))?;
        self.learn(purpose, &origin);
        Ok(origin)
    }

    /// Remembers what an origin speaks; a connection for several requests is there for all of them at once.
    fn learn(&self, purpose: &Purpose, origin: &Origin) {
        let mut pool = self.pool();
        if let Some(mut shared) = origin.share() {
            shared.used = true;
            pool.single.retain(|single| single != purpose);
            pool.kept.push((purpose.clone(), shared));
        } else if self.alpn == Alpn::Either && !pool.single.contains(purpose) {
            if pool.single.len() >= REMEMBERED {
                pool.single.remove(0);
            }
            pool.single.push(purpose.clone());
        }
    }

    /// Whether it is known that one connection is not enough for several requests.
    fn is_single(&self, purpose: &Purpose) -> bool {
        self.pool().single.contains(purpose)
    }

    /// A connection for this purpose on which a request can be sent: one that carries several, or the last one in use.
    fn take(&self, purpose: &Purpose) -> Option<Origin> {
        let mut pool = self.pool();
        pool.kept.retain(|(_, origin)| !origin.is_closed());
        let mut fitting = pool.kept.iter().filter(|(known, _)| known == purpose);
        if let Some(shared) = fitting.find_map(|(_, origin)| origin.share()) {
            return Some(shared);
        }
        let idle = |(known, origin): &(Purpose, Origin)| known == purpose && origin.is_idle();
        let at = pool.kept.iter().rposition(idle)?;
        Some(pool.kept.remove(at).1)
    }

    /// Keeps a connection for the next request, and no more than a client needs.
    fn keep(&self, purpose: Purpose, origin: Origin) {
        let most = if self.alpn == Alpn::Http1 { 1 } else { KEPT };
        let mut pool = self.pool();
        // One that is shared is kept already.
        if !origin.is_multiplexed() {
            pool.kept.push((purpose, origin));
        }
        while pool.kept.len() > most {
            let Some(at) = pool.kept.iter().position(|(_, origin)| origin.is_idle()) else { return };
            pool.kept.remove(at);
        }
    }

    /// Sends nothing more on any connection; what is under way goes on, and what waits for its next use is closed.
    pub(super) fn close(&self) {
        self.pool().kept.clear();
    }

    /// Sends nothing more on a connection; what is under way on it goes on.
    fn forget(&self, origin: &Origin) {
        self.pool().kept.retain(|(_, kept)| !kept.is(origin));
    }

    /// The pool; a panic elsewhere leaves it consistent.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a request once, and waits for the head of its response as long as the client's connection may be idle.
async fn attempt(
    origin: &mut Origin,
    request: Request<ClientBody>,
    session: &Session,
) -> Result<Result<Response<Arriving>, Unanswered>, Refusal> {
    tokio::select! {
        biased;
        sent = origin.send(request) => Ok(sent),
        () = session.meter.idle(session.gateway.limits.idle_timeout) => {
            // The connection to the client has not been idle for that long: it gets an answer.
            session.meter.add_down(0);
            Err(failed("the origin did not answer in time").late())
        }
    }
}

/// Checks that the body of a response has one end only, so that nobody after this reads another message from it.
fn check_framing(response: &Response<Arriving>) -> Result<(), Refusal> {
    let version =
        if response.version() == http::Version::HTTP_10 { Version::Http10 } else { Version::Http11 };
    framing(response.headers(), version)
        .map(drop)
        .map_err(|error| failed(&format!("the origin's answer is ambiguous: {error}")))
}

/// The same request once more, if it has no body and could be sent twice: as it is idempotent, or as an origin that speaks
/// HTTP/2 may say that it did nothing about it.
fn repeated(request: &Request<ClientBody>, multiplexed: bool) -> Option<Request<ClientBody>> {
    let body = request.body().repeated().filter(|_| multiplexed || request.method().is_idempotent())?;
    let mut again = Request::new(body);
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    Some(again)
}

/// Whether it is the origin's fault, and so the same for whoever asks for the same.
fn is_of_the_origin(refusal: &Refusal) -> bool {
    matches!(refusal.denial().reason(), Reason::UpstreamFailed | Reason::DnsFailed)
}

/// The origin did not do its part.
pub(super) fn failed(detail: &str) -> Refusal {
    Denial::new(Reason::UpstreamFailed, detail.to_owned()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod kit;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
