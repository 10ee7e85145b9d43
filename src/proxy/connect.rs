//! CONNECT: one tunnel to one target (RFC 9110 §9.3.6).

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch::Receiver;

use super::body::Body;
use super::exchange::{Call, Exchange};
use super::refusal::Refusal;
use super::session::{Content, Session, Standing};
use super::tunnel::Tunnel;
use super::whence::target_of;
use crate::addr::Target;
use crate::audit::{Ingress, Scheme};
use crate::live::Snapshot;
use crate::policy::agreement::admit_named;
use crate::upstream::Dialed;
use crate::wire::head::Head;

/// Opens a tunnel: judges, dials unless what is inside is to be seen first, answers 200 and leaves the rest to a [`Tunnel`]
/// task.
///
/// # Errors
/// What the client is refused with; the record is still open then.
pub(super) async fn connect(
    session: &Arc<Session>,
    request: Request<Incoming>,
    head: &Head,
    target: &Target,
    call: Call,
    changes: Receiver<Arc<Snapshot>>,
    slot: &mut Option<Exchange>,
) -> Result<Response<Body>, Refusal> {
    let Some(exchange) = slot.as_mut() else { return Err(Refusal::malformed("the request has no record")) };
    exchange.note(|event| event.scheme = Some(Scheme::Tcp));
    agree(head, target)?;
    let permit = exchange.decide(|| call.policy.admit(target))?;
    exchange.allowed(permit.cause(), permit.would_deny(), permit.is_skipped());
    let standing = Standing {
        sandbox: call.sandbox,
        target: target.clone(),
        alias: None,
        nameless_tls: false,
        content: Content::Unseen,
        way: None,
    };
    let dialed = if call.policy.passes_unread(&permit) {
        Some(session.gateway.reach(&call.policy, &permit, exchange).await?)
    } else {
        // What is inside is seen first, and may lead elsewhere, or nowhere.
        None
    };
    // A tunnel sends nothing before its record is certain: one that would only wait for that is refused while it can
    // still be told why.
    session.gateway.audit.expect_certainty()?;
    let Some(mut exchange) = slot.take() else { return Err(Refusal::malformed("the request has no record")) };
    exchange.note(|event| event.status = Some(StatusCode::OK.as_u16()));
    exchange.open();
    let tasks = &session.gateway.tasks;
    let way = dialed.as_ref().map(Dialed::way);
    let content = if dialed.is_some() { Content::Opaque } else { Content::Unseen };
    let standing = Standing { content, way, ..standing };
    let origin = dialed.map(|dialed| dialed.stream);
    let ingress = (Ingress::Connect, Ingress::Http);
    let session = Arc::clone(session);
    let tunnel = Tunnel { session, exchange, standing, origin, ingress, changes };
    tasks.spawn("tunnel", tunnel.run(hyper::upgrade::on(request)));
    Ok(Response::new(Body::empty()))
}

/// The `Host` of a CONNECT names what its target names.
fn agree(head: &Head, target: &Target) -> Result<(), Refusal> {
    let Some(host) = head.host() else { return Ok(()) };
    Ok(admit_named(target, &target_of(host, target.port())?)?)
}
