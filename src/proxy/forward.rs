//! HTTP requests, each judged, forwarded and recorded by itself: absolute-form ones on the explicit proxy, and
//! those found in plain text inside a tunnel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::sync::Mutex;

use super::body::{Body, ClientBody};
use super::origin::Origin;
use super::refusal::Refusal;
use super::session::{Call, Exchange, Session, Standing};
use super::upgrade::Upgraded;
use crate::addr::Target;
use crate::audit::{Scheme, Text};
use crate::policy::{Denial, Policy, Reason, RequestFacts, TargetPermit};
use crate::wire::head::{Head, Upgrade, Version};
use crate::wire::headers::{self, KeepUpgrade};
use crate::wire::request_target::Resource;

/// The port of `http://` without one.
const HTTP: u16 = 80;

/// The origin connection that one client connection keeps between requests.
pub(super) type Slot = Mutex<Option<Origin>>;

/// One request and where it goes.
pub(super) struct Forward<'a> {
    pub(super) session: &'a Arc<Session>,
    pub(super) head: &'a Head,
    pub(super) target: &'a Target,
    pub(super) resource: &'a Resource,
    pub(super) call: Call,
    pub(super) slot: &'a Slot,
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
            event.scheme = Some(Scheme::Http);
            event.path = Some(Text::new(self.resource.path()));
        });
        let (permit, authority, by_request) = self.judge(exchange)?;
        let websocket = self.upgrade()?;
        let uri = origin_form(self.resource)?;
        let client = websocket.then(|| hyper::upgrade::on(&mut request));
        let up = Arc::new(AtomicU64::new(0));
        let (parts, body) = request.into_parts();
        let mut outward = Request::new(ClientBody::new(body, Arc::clone(self.session), Arc::clone(&up)));
        *outward.method_mut() = parts.method;
        *outward.uri_mut() = uri;
        *outward.headers_mut() = self.headers(parts.headers, &authority, by_request)?;

        let started = Instant::now();
        let response = self.send(&permit, outward, exchange).await?;
        let Some(mut exchange) = pending.take() else {
            return Err(Refusal::malformed("the request has no record"));
        };
        exchange.note(|event| {
            event.ttfb = Some(started.elapsed());
            event.status = Some(response.status().as_u16());
        });
        match (response.status(), client) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => self.switch(client, response, exchange),
            (StatusCode::SWITCHING_PROTOCOLS, None) => {
                let refusal = failed("the origin switched protocols without being asked");
                exchange.note(|event| event.bytes_up = Some(up.load(Ordering::Relaxed)));
                *pending = Some(exchange);
                Err(refusal)
            }
            (_, client) => {
                let (mut parts, body) = response.into_parts();
                headers::strip_response(&mut parts.headers, KeepUpgrade::No);
                if client.is_some() {
                    // Bytes after a declined upgrade belong to no message that is known yet.
                    parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
                let body = Body::origin(body, Arc::clone(self.session), exchange, up);
                Ok(Response::from_parts(parts, body))
            }
        }
    }

    /// Asks A for the target and its `Host`, then C for the request.
    ///
    /// Answers the permit, what the origin's `Host` is to name, and whether rules decided on path or method.
    fn judge(&self, exchange: &mut Exchange) -> Result<(TargetPermit, Target, bool), Refusal> {
        let policy = &self.call.policy;
        let mut permit = policy.admit(self.target)?;
        let host = self.head.host().ok_or_else(|| Refusal::malformed("the request has no Host"));
        let alias = match host {
            Ok(host) => Some(self.alias(host)?),
            Err(_) if self.head.version() == Version::Http10 => None,
            Err(refusal) => return Err(refusal),
        };
        if let Some(alias) = &alias {
            permit = policy.admit_alias(permit, alias)?;
        }
        // Inside a tunnel to an IP literal the `Host` is the name that was judged besides it.
        let named = alias.as_ref().unwrap_or(self.target.host());
        let authority = Target::new(named.clone(), self.target.port());
        let (method, path) = (self.head.method().as_str(), self.resource.path());
        let facts = RequestFacts { method, path };
        let request = policy.admit_request(&permit, &facts)?;
        exchange.allowed(request.cause(), request.would_deny().or(permit.would_deny()));
        self.session.stand(Some(Standing {
            sandbox: self.call.sandbox.clone(),
            target: self.target.clone(),
            alias,
            nameless_tls: false,
            request: Some((method.to_owned(), path.to_owned())),
            address: None,
        }));
        Ok((permit, authority, request.decides_by_request()))
    }

    /// The host that `Host` names; its port, if any, must be the target's, and so must the host where the
    /// request target names one itself.
    fn alias(&self, host: &str) -> Result<crate::addr::Host, Refusal> {
        let named = Target::parse_or(host, self.target.port())
            .map_err(|error| Refusal::malformed(format!("the Host header is malformed: {error}")))?;
        let in_full = !self.head.target().starts_with('/');
        if named.port() != self.target.port() || in_full && named != *self.target {
            return Err(super::mismatch(host, self.target));
        }
        Ok(named.host().clone())
    }

    /// Whether this asks for a WebSocket; any other upgrade is refused.
    fn upgrade(&self) -> Result<bool, Refusal> {
        match self.head.upgrade() {
            Upgrade::None => Ok(false),
            Upgrade::WebSocket => Ok(true),
            Upgrade::H2c | Upgrade::Other => Err(Refusal::malformed(
                "only `Upgrade: websocket` passes: HTTP/2 in the clear is not supported",
            )
            .closing()),
        }
    }

    /// The headers that the origin gets.
    fn headers(
        &self,
        mut fields: HeaderMap,
        authority: &Target,
        by_request: bool,
    ) -> Result<HeaderMap, Refusal> {
        let websocket = self.head.upgrade() == Upgrade::WebSocket;
        headers::strip_request(&mut fields, if websocket { KeepUpgrade::WebSocket } else { KeepUpgrade::No });
        if by_request {
            headers::remove_overrides(&mut fields);
        }
        let authority =
            if authority.port().get() == HTTP { authority.host().to_string() } else { authority.to_string() };
        let host = HeaderValue::from_str(&authority)
            .map_err(|_| Refusal::malformed("the target cannot stand in a Host header"))?;
        fields.insert(HOST, host);
        Ok(fields)
    }

    /// Sends on the connection at hand when it leads to the same place, else on a new one.
    async fn send(
        &self,
        permit: &TargetPermit,
        mut request: Request<ClientBody>,
        exchange: &mut Exchange,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut slot = self.slot.lock().await;
        let mut kept = slot.take().filter(|origin| origin.target == *self.target);
        if let Some(origin) = &mut kept {
            let ready = origin.is_ready().await;
            kept = kept.filter(|origin| ready && self.still_permits(permit, origin, exchange));
        }
        let mut origin = match kept {
            Some(origin) => origin,
            None => self.dial(permit, exchange).await?,
        };
        loop {
            self.session.stand_on(origin.address);
            let fresh = !origin.used;
            match origin.send(request).await {
                Ok(response) => {
                    *slot = Some(origin);
                    return Ok(response);
                }
                // A kept connection that the origin closed meanwhile took nothing of the request.
                Err((_, Some(unsent))) if !fresh => {
                    request = *unsent;
                    origin = self.dial(permit, exchange).await?;
                }
                Err((error, _)) => return Err(failed(&format!("the origin failed: {error}"))),
            }
        }
    }

    /// Whether the kept connection's address may be used for this request too.
    fn still_permits(&self, permit: &TargetPermit, origin: &Origin, exchange: &mut Exchange) -> bool {
        let policy: &Policy = &self.call.policy;
        policy.admit_address(permit, origin.address).is_ok_and(|judged| {
            exchange.would_deny(judged.would_deny());
            exchange.note(|event| event.address = Some(judged.address()));
            true
        })
    }

    /// A new connection to the target.
    async fn dial(&self, permit: &TargetPermit, exchange: &mut Exchange) -> Result<Origin, Refusal> {
        let gateway = &self.session.gateway;
        let dialed = gateway.reach(&self.call.policy, permit, exchange).await?;
        Origin::new(dialed.stream, self.target.clone(), dialed.address.ip(), &gateway.tasks)
            .await
            .map_err(|error| failed(&format!("the origin failed: {error}")))
    }

    /// Hands both sides over to a relay once the origin has agreed to WebSocket.
    fn switch(
        &self,
        client: hyper::upgrade::OnUpgrade,
        mut response: Response<Incoming>,
        exchange: Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let protocol = response.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
        if !protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
            exchange.finish(crate::audit::Outcome::UpstreamFailed);
            return Err(failed("the origin switched to another protocol than WebSocket"));
        }
        let origin = hyper::upgrade::on(&mut response);
        let (parts, _) = response.into_parts();
        let mut answer = Response::from_parts(parts, Body::empty());
        headers::strip_response(answer.headers_mut(), KeepUpgrade::WebSocket);
        let upgraded = Upgraded::new(Arc::clone(self.session), exchange);
        self.session.gateway.tasks.spawn("websocket", upgraded.run(client, origin));
        Ok(answer)
    }
}

/// The target of the forwarded request: canonical path, query as sent.
fn origin_form(resource: &Resource) -> Result<Uri, Refusal> {
    let target = PathAndQuery::try_from(resource.to_string())
        .map_err(|error| Refusal::malformed(format!("the request target is malformed: {error}")))?;
    Ok(Uri::from(target))
}

/// The origin did not do its part.
fn failed(detail: &str) -> Refusal {
    Denial::new(Reason::UpstreamFailed, detail.to_owned()).into()
}
