//! HTTP requests, each judged, forwarded and recorded by itself: absolute-form ones on the explicit proxy, and
//! those found in plain text inside a tunnel.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use http::header::{ALT_SVC, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch::Receiver;

use super::arriving::Arriving;
use super::body::{self, Body};
use super::cover::Cover;
use super::exchange::{Call, Exchange};
use super::onward::{Onward, misplaced};
use super::origins::{Errand, Origins, failed};
use super::outlet::Outlet;
use super::refusal::Refusal;
use super::session::{Content, Session, Standing};
use super::upgrade::{Handover, Upgraded};
use super::upload::{ClientBody, Upload};
use super::whence::target_of;
use crate::addr::{Host, Target};
use crate::audit::{Scheme, Text};
use crate::live::Snapshot;
use crate::policy::RequestFacts;
use crate::policy::agreement::{admit_beside, admit_inside, admit_named};
use crate::wire::head::{Head, Upgrade, Version};
use crate::wire::headers::{self, KeepUpgrade};
use crate::wire::request_target::Resource;

/// One request and where it goes.
pub(super) struct Forward<'a> {
    pub(super) session: &'a Arc<Session>,
    pub(super) head: &'a Head,
    pub(super) target: &'a Target,
    /// The target is that of a CONNECT around this request, not one of its own.
    pub(super) in_tunnel: bool,
    /// What the TLS around the request was opened for, where it was decrypted.
    pub(super) outer: Option<&'a Host>,
    pub(super) resource: &'a Resource,
    pub(super) call: Call,
    /// Subscribed before `call` was made.
    pub(super) changes: Receiver<Arc<Snapshot>>,
    pub(super) origins: &'a Origins,
    /// Where it goes on if both sides agree on something else than HTTP.
    pub(super) handover: &'a Handover,
    /// What is on its way to the client.
    pub(super) outlet: &'a Arc<Outlet>,
}

impl Forward<'_> {
    /// Judges the request, sends it and answers with the origin's response.
    ///
    /// # Errors
    /// What the client is refused with; the record is still open then.
    pub(super) async fn run(
        self,
        mut request: Request<Incoming>,
        pending: &mut Option<Exchange>,
    ) -> Result<Response<Body>, Refusal> {
        let Some(exchange) = pending.as_mut() else {
            return Err(Refusal::malformed("the request has no record"));
        };
        exchange.note(|event| {
            event.scheme = Some(if self.is_secure() { Scheme::Https } else { Scheme::Http });
            event.inspected = self.is_secure().then_some(true);
            event.path = Some(Text::new(self.resource.path()));
        });
        if *self.head.method() == Method::TRACE {
            // SECURITY: S4: its answer is what the origin got, with all that was put into it.
            return Err(Refusal::malformed("TRACE is refused: it shows what was sent"));
        }
        let onward = self.judge(exchange)?;
        let websocket = self.upgrade()?;
        let client = websocket.then(|| hyper::upgrade::on(&mut request));
        let upload = Arc::new(Upload::default());
        exchange.carry(Arc::clone(&upload));
        let (parts, body) = request.into_parts();
        let (to, asked) = ((&*self.session.gateway, &self.call.policy), (self.head, self.resource));
        // SECURITY: what was judged is what is sent; `parts` is another reader's view of the same message.
        let dressed = onward.dress(to, asked, parts.headers, exchange).await?;
        let body = Arriving::new(body, parts.version);
        let body = ClientBody::new(body, Arc::clone(self.session), Arc::clone(&upload));
        let body = body.keeping_out(dressed.decided);
        let mut outward = Request::new(body);
        *outward.method_mut() = self.head.method().clone();
        *outward.uri_mut() = dressed.uri;
        *outward.headers_mut() = dressed.headers;

        // What a head says goes up too.
        self.session.meter.account.pay(size(&outward)).await;
        let started = Instant::now();
        let errand = Errand {
            session: self.session,
            call: &self.call,
            changes: &self.changes,
            permit: &onward.permit,
            proven: onward.proven.as_ref(),
            secrets: &dressed.secrets,
        };
        let sent = self.origins.send(&errand, outward, exchange).await;
        // An origin that gets half of a request has not failed.
        let mut response =
            sent.map_err(|refusal| upload.misplaced().map_or(refusal, |error| misplaced(&error).closing()))?;
        if self.is_secure() {
            // Another way to the origin would lead around this one (RFC 7838).
            response.headers_mut().remove(ALT_SVC);
        }
        let cover = dressed.cover;
        if let Some(cover) = &cover {
            cover.fields(response.headers_mut());
            // An origin says beside the status what it likes.
            response.extensions_mut().remove::<ReasonPhrase>();
        }
        exchange.note(|event| {
            event.ttfb = Some(started.elapsed());
            event.status = Some(response.status().as_u16());
        });
        self.pass_on(response, cover, client, pending)
    }

    /// Passes the origin's response on, or what both sides agree on to speak from here.
    fn pass_on(
        &self,
        response: Response<Arriving>,
        cover: Option<Cover>,
        client: Option<OnUpgrade>,
        pending: &mut Option<Exchange>,
    ) -> Result<Response<Body>, Refusal> {
        let take = |pending: &mut Option<Exchange>| {
            pending.take().ok_or_else(|| Refusal::malformed("the request has no record"))
        };
        match (response.status(), client) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) if agrees_to_websocket(&response) => {
                if cover.is_some_and(|cover| cover.reads_everything()) {
                    return Err(failed(
                        "the messages of a WebSocket cannot be searched for the secret that went there",
                    ));
                }
                // It sends nothing before its record is certain: one that would only wait for that is refused while it
                // can still be told why.
                self.session.gateway.audit.expect_certainty()?;
                Ok(self.switch(client, response, take(pending)?))
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                Err(failed("the origin switched to a protocol that it was not asked for"))
            }
            _ => {
                let cover =
                    cover.map(|cover| Ok::<_, Refusal>((cover.body(&response)?, cover))).transpose()?;
                let (mut parts, body) = response.into_parts();
                parts.version = http::Version::HTTP_11;
                headers::strip_response(&mut parts.headers, KeepUpgrade::No);
                if self.head.version() == Version::Http10 && body.size_hint().exact().is_none() {
                    self.outlet.owe();
                }
                let body = Body::origin(body, take(pending)?, Arc::clone(self.outlet), cover);
                Ok(Response::from_parts(parts, body))
            }
        }
    }

    /// Asks A for the target and its `Host`, then C for the request.
    fn judge(&self, exchange: &mut Exchange) -> Result<Onward, Refusal> {
        let alias = self.alias()?;
        let (method, path) = (self.head.method().as_str(), self.resource.path());
        let policy = &self.call.policy;
        let mut permit = exchange.decide(|| policy.admit(self.target))?;
        if let (Host::Ip(_), Some(Host::Name(name))) = (self.target.host(), &alias) {
            // From here on it is this name that is judged; the literal is the address.
            exchange.note(|event| event.host = Some(Text::new(name.as_str())));
        }
        let secure = self.is_secure();
        let (permit, request) = exchange.decide(|| {
            if let Some(alias) = &alias {
                permit = policy.admit_alias(permit, alias)?;
            }
            let request = policy.admit_request(&permit, &RequestFacts { method, path, secure })?;
            Ok((permit, request))
        })?;
        let would_deny = request.would_deny().or(permit.would_deny());
        exchange.allowed(request.cause(), would_deny, request.is_skipped());
        let named =
            Target::new(alias.clone().unwrap_or_else(|| self.target.host().clone()), self.target.port());
        let onward = Onward::new(permit, request, (named, path), self.outer);
        let (method, path, elsewhere) = (method.to_owned(), path.to_owned(), onward.elsewhere());
        exchange.stand(Standing {
            sandbox: self.call.sandbox.clone(),
            target: self.target.clone(),
            alias,
            nameless_tls: false,
            content: Content::Request { method, path, secure, elsewhere },
            way: None,
        });
        if onward.is_elsewhere {
            exchange.note(|event| event.sent = Some(onward.sent()));
        }
        Ok(onward)
    }

    /// Whether it came in TLS, and goes on in TLS.
    const fn is_secure(&self) -> bool {
        self.outer.is_some()
    }

    /// The host that `Host` names; its port, if any, must be the target's.
    ///
    /// The target of an absolute-form request must be named exactly. Inside a tunnel to an IP literal `Host` may
    /// give the literal a name, which is judged besides it.
    fn alias(&self) -> Result<Option<Host>, Refusal> {
        let Some(host) = self.head.host() else {
            let optional = self.head.version() == Version::Http10;
            // SECURITY: what the TLS was opened for is asked about all the same: the target may be its literal.
            let outer = self.outer.cloned();
            return if optional { Ok(outer) } else { Err(Refusal::malformed("the request has no Host")) };
        };
        let named = target_of(host, self.target.port())?;
        match self.outer {
            Some(outer) => admit_inside(outer, self.target, &named)
                .map_err(|denial| Refusal::from(denial).misdirected())?,
            None if self.in_tunnel => admit_beside(self.target, &named)?,
            None => admit_named(self.target, &named)?,
        }
        Ok(Some(named.host().clone()))
    }

    /// Whether this asks for a WebSocket; any other upgrade is refused.
    fn upgrade(&self) -> Result<bool, Refusal> {
        match self.head.upgrade() {
            Upgrade::None => Ok(false),
            Upgrade::WebSocket if self.head.version() == Version::Http11 => Ok(true),
            Upgrade::WebSocket => Err(Refusal::malformed("HTTP/1.0 has no Upgrade").closing()),
            Upgrade::H2c | Upgrade::Other => Err(Refusal::malformed(
                "only `Upgrade: websocket` passes: HTTP/2 in the clear is not supported",
            )
            .closing()),
        }
    }

    /// Hands both sides over, to be carried as a tunnel, once the origin has agreed to WebSocket.
    fn switch(
        &self,
        client: OnUpgrade,
        mut response: Response<Arriving>,
        mut exchange: Exchange,
    ) -> Response<Body> {
        let origin = hyper::upgrade::on(&mut response);
        let (parts, _) = response.into_parts();
        let mut answer = Response::from_parts(parts, Body::empty());
        headers::strip_response(answer.headers_mut(), KeepUpgrade::WebSocket);
        exchange.open();
        let (session, changes) = (Arc::clone(self.session), self.changes.clone());
        let upgraded = Upgraded { session, exchange, changes, client, origin };
        *self.handover.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgraded);
        answer
    }
}

/// Whether a 101 is to WebSocket and nothing else.
fn agrees_to_websocket(response: &Response<Arriving>) -> bool {
    let protocol = response.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// How many bytes the head of a request takes, about.
fn size(request: &Request<ClientBody>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    request.method().as_str().len() + target + body::size(request.headers())
}
