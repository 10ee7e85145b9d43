//! TCP that was redirected here, from clients that do not know the proxy.
//!
//! ```text
//! record ─► identity ─► original destination ─► first bytes ─► judge ─► resolve ─► dial ─► tunnel
//!                                                         └─► HTTP ─► explicit, request by request
//! ```
//! | the first bytes | the target | then |
//! |---|---|---|
//! | TLS with a server name | that name on the original port, resolved here | [`Tunnel`] |
//! | TLS without | the original address, where that is enough | [`Tunnel`] |
//! | HTTP/1 | of each request: its `Host` on the original port, resolved here | [`explicit::serve_redirected`] |
//! | TLS that does not parse, an HTTP/2 preface, too much, too slow | | refused |
//! | anything else | the original address | [`Tunnel`] |
//! | none, and the address is allowed as it is | the original address: the origin may speak first | [`Tunnel`], as after a CONNECT |
//! | none, and it is not | the original address | refused, once a client that has something to say had time for it |
//!
//! SECURITY: no byte of the client leaves before the verdict and the `open` record, and no address of the client is
//! dialled but as itself: what has a name goes where that name leads.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::watch::Receiver;

use super::entry::{Original, original};
use super::exchange::{Call, Exchange};
use super::explicit;
use super::peek::{FIRST_BYTES, Inside, describe, first_bytes};
use super::refusal::Refusal;
use super::relay::{RelayError, failed, reset};
use super::session::{Content, Session, Standing};
use super::tunnel::{Client, End, QUIET, Tunnel, refuse};
use super::whence::{Inner, Whence};
use crate::addr::{Host, Target};
use crate::audit::{Ingress, Kind, Outcome, Scheme, Text};
use crate::identity::Identity;
use crate::live::Snapshot;
use crate::policy::hello::HelloFacts;
use crate::policy::{Denial, Policy, TargetPermit};
use crate::upstream::Dialed;

/// Serves one redirected connection to its end.
pub(super) async fn serve(session: Arc<Session>, stream: TcpStream) {
    // RACE: before the first decision.
    let changes = session.gateway.live.subscribe();
    let Ok(exchange) = Exchange::admitted(&session, Kind::Connection).await else {
        return reset(stream);
    };
    let client = Box::new(Client { stream, first: BytesMut::new() });
    let opening = Opening { session, exchange, client, changes };
    // Boxed: what it takes to open a connection is gone by the time that it idles.
    match Box::pin(opening.run()).await {
        Some(Opened::Tunnel(tunnel, client, inside)) => tunnel.go_on(client, inside).await,
        Some(Opened::Http(opening, whence)) => {
            let Opening { session, exchange, client, changes } = *opening;
            let Client { stream, first } = *client;
            // Boxed: a tunnel needs no room for it.
            let serving = explicit::serve_redirected(session, stream, first, whence, exchange, changes);
            Box::pin(serving).await;
        }
        None => {}
    }
}

/// A redirected connection that is not open yet.
struct Opening {
    session: Arc<Session>,
    exchange: Exchange,
    client: Box<Client>,
    /// Subscribed before the first decision.
    changes: Receiver<Arc<Snapshot>>,
}

/// A redirected connection that goes on.
enum Opened {
    /// As a tunnel; with what is inside, where that is known and judged.
    Tunnel(Box<Tunnel>, Box<Client>, Option<Inside>),
    /// As HTTP, of which nothing is judged.
    Http(Box<Opening>, Whence),
}

/// A connection of which it is known who made it, and to where.
struct Redirected {
    sandbox: Identity,
    address: Target,
}

/// What may be dialled for a connection.
struct Judged {
    call: Call,
    permit: TargetPermit,
    /// It carries TLS without a server name.
    nameless_tls: bool,
    /// What it carries.
    content: Content,
}

impl Opening {
    /// Opens the connection, or ends it.
    async fn run(mut self) -> Option<Opened> {
        let _active = self.session.gateway.metrics.active(Ingress::TransparentTcp);
        let original = arrived(&self.session, &self.client.stream, &mut self.exchange);
        let redirected = match self.find(original) {
            Ok(redirected) => redirected,
            Err(refusal) => return self.turn_away(refusal.redirected()).await,
        };
        let quiet = if self.is_allowed(&redirected) { QUIET } else { FIRST_BYTES };
        match first_bytes(&mut self.client, Some(quiet)).await {
            Ok(Some(Inside::Http)) => {
                self.is_http();
                let Redirected { sandbox, address } = redirected;
                let inner =
                    Inner { sandbox, target: address, outer: None, ingress: Ingress::TransparentHttp };
                Some(Opened::Http(Box::new(self), Whence::Redirected(inner)))
            }
            Ok(inside) => self.open(redirected, inside).await,
            Err(end) => self.close(end, Some(&redirected.address)),
        }
    }

    /// Refuses whatever the client says, in the form that it will understand. One that is no sandbox's goes without that
    /// where too many such are listened to.
    async fn turn_away(mut self, refusal: Refusal) -> Option<Opened> {
        let newcomer = self.session.newcomer();
        let heard = tokio::select! {
            biased;
            denial = self.session.crowded_out(newcomer) => {
                return self.close(End::Refused(denial.into()), None);
            }
            heard = first_bytes(&mut self.client, Some(QUIET)) => heard,
        };
        match heard {
            Ok(Some(Inside::Http)) => {
                self.is_http();
                return Some(Opened::Http(Box::new(self), Whence::Refused(refusal.closing())));
            }
            Ok(Some(Inside::Tls(hello, _))) => self.exchange.note(|event| describe(event, &hello)),
            Ok(Some(Inside::Opaque) | None) | Err(_) => {}
        }
        self.close(End::Refused(refusal), None)
    }

    /// Notes what the client speaks.
    fn is_http(&mut self) {
        self.exchange.note(|event| {
            event.ingress = Some(Ingress::TransparentHttp);
            event.scheme = Some(Scheme::Http);
        });
    }

    /// Finds out who made the connection, and whether it was going elsewhere.
    fn find(&mut self, original: io::Result<Original>) -> Result<Redirected, Refusal> {
        let call = self.exchange.call(self.session.identify(None)?);
        let original = original.map_err(|error| {
            Refusal::malformed(format!("the original destination cannot be had: {error}"))
        })?;
        let address = self.exchange.decide(|| call.policy.admit_redirected(original.elsewhere))?;
        self.exchange.asked(&address);
        Ok(Redirected { sandbox: call.sandbox, address })
    }

    /// Whether the address is allowed as it is, whatever is spoken there.
    fn is_allowed(&mut self, Redirected { sandbox, address }: &Redirected) -> bool {
        let Ok(known) = self.session.identify_again(sandbox) else { return false };
        let policy = known.snapshot.policy_for(&known.sandbox);
        self.exchange.decide(|| admit_literal(&policy, address)).is_ok()
    }

    /// Judges what is no HTTP, and opens the connection to where it may go.
    async fn open(mut self, redirected: Redirected, inside: Option<Inside>) -> Option<Opened> {
        let mut target = redirected.address.clone();
        let dialed = match self.judge(redirected, inside.as_ref(), &mut target) {
            Ok(judged) => self.dial(judged).await,
            Err(refusal) => Err(End::Refused(refusal)),
        };
        let (standing, origin) = match dialed {
            Ok(dialed) => dialed,
            Err(end) => return self.close(end, Some(&target)),
        };
        let Self { session, mut exchange, client, changes } = self;
        exchange.open();
        let ingress = match inside {
            Some(Inside::Tls(..)) => Ingress::TransparentTls,
            Some(_) | None => Ingress::TransparentTcp,
        };
        let ingress = (ingress, Ingress::TransparentHttp);
        let tunnel = Tunnel { session, exchange, standing, origin, ingress, changes };
        Some(Opened::Tunnel(Box::new(tunnel), client, inside))
    }

    /// Asks A for what the first bytes say the connection is for; that is also left in `target`.
    fn judge(
        &mut self,
        Redirected { sandbox, address }: Redirected,
        inside: Option<&Inside>,
        target: &mut Target,
    ) -> Result<Judged, Refusal> {
        let call = self.exchange.call(self.session.identify_again(&sandbox)?);
        self.session.admit_request(&call)?;
        let hello = match inside {
            Some(Inside::Tls(hello, _)) => Some(hello),
            Some(Inside::Opaque | Inside::Http) | None => None,
        };
        let name = hello.and_then(|hello| hello.server_name.as_ref());
        if let Some(hello) = hello {
            self.exchange.note(|event| describe(event, hello));
        }
        if let Some(name) = name {
            *target = Target::new(Host::Name(name.clone()), address.port());
            self.exchange.asked(target);
        }
        let policy = &call.policy;
        let permit = self.exchange.decide(|| match hello {
            Some(hello) => {
                policy.admit_redirected_hello(&address, HelloFacts { server_name: name, ech: hello.ech })
            }
            None => admit_literal(policy, &address),
        })?;
        self.exchange.allowed(permit.cause(), permit.would_deny(), permit.is_skipped());
        let content = match hello {
            Some(_) if policy.decrypts(&permit) => Content::Requests,
            Some(_) => Content::Sealed,
            None => Content::Opaque,
        };
        Ok(Judged { call, permit, nameless_tls: hello.is_some() && name.is_none(), content })
    }

    /// Opens the connection to the origin, unless the client fails meanwhile, or what is inside its TLS comes first.
    async fn dial(&mut self, judged: Judged) -> Result<(Standing, Option<TcpStream>), End> {
        let Judged { call, permit, nameless_tls, content } = judged;
        let gateway = &self.session.gateway;
        let dialed = if content == Content::Requests {
            None
        } else {
            tokio::select! {
                biased;
                dialed = gateway.reach(&call.policy, &permit, &mut self.exchange) => {
                    Some(dialed.map_err(End::Refused)?)
                }
                error = failed(&self.client.stream) => return Err(End::Failed(RelayError::Client(error))),
            }
        };
        // It sends nothing before its record is certain: one that would only wait for that is refused at once.
        gateway.audit.expect_certainty().map_err(|full| End::Refused(full.into()))?;
        let standing = Standing {
            sandbox: call.sandbox,
            target: permit.target().clone(),
            alias: None,
            nameless_tls,
            content,
            way: dialed.as_ref().map(Dialed::way),
        };
        Ok((standing, dialed.map(|dialed| dialed.stream)))
    }

    /// Ends a connection that was not opened.
    fn close(self, end: End, target: Option<&Target>) -> Option<Opened> {
        let Self { session, exchange, client, .. } = self;
        match end {
            End::Refused(refusal) => refuse(exchange, client.stream, &refusal, target),
            End::Failed(_) => {
                end.record(&session, exchange, target);
                reset(client.stream);
            }
            End::Done | End::Idle | End::Overruled(_) => {
                exchange.finish(Outcome::Failed);
                reset(client.stream);
            }
        }
        None
    }
}

/// Where a connection was going, which its record tells with the way it came in.
///
/// # Errors
/// The connection is gone, or the kernel cannot tell.
pub(super) fn arrived(
    session: &Session,
    stream: &TcpStream,
    exchange: &mut Exchange,
) -> io::Result<Original> {
    let original = match session.proxied {
        Some(proxied) => Ok(Original::told(proxied.destination)),
        None => original(stream, session.listener.entry),
    };
    exchange.note(|event| {
        event.ingress = Some(Ingress::TransparentTcp);
        event.scheme = Some(Scheme::Tcp);
        if let Ok(Original { asked, .. }) = &original {
            event.host = Some(Text::new(&Host::Ip(asked.ip()).to_string()));
            event.port = Some(asked.port());
        }
    });
    original
}

/// Question A for the original address itself, whatever is spoken there.
fn admit_literal(policy: &Policy, address: &Target) -> Result<TargetPermit, Denial> {
    let permit = policy.admit(address)?;
    policy.admit_opaque(&permit)?;
    Ok(permit)
}
