//! What happens inside CONNECT after the 200, and inside what was redirected and is no HTTP.
//!
//! The client's first bytes are looked at before any of them goes to the origin; the origin's bytes are never
//! held back meanwhile, so protocols in which the server speaks first work. Where the policy wants to see what is inside
//! before anything leaves, there is no origin until then.
//!
//! | the client's first bytes | then |
//! |---|---|
//! | TLS whose server name is the CONNECT name | decrypted, [`super::inspect`], or tunnelled, once the server asks for no [other hello](super::handshake) |
//! | TLS with another name, or none where one is needed | closed: `authority_mismatch`, `sni_missing` |
//! | TLS that does not parse, or does not end in time | closed: `bad_request` |
//! | HTTP/1, in any spelling | each request is judged, [`super::forward`] |
//! | an HTTP/2 preface | closed: `bad_request` |
//! | anything else | tunnelled, or closed: `not_http` |

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::exchange::Exchange;
use super::explicit;
use super::handshake::{Gate, Handshake};
use super::peek::{Inside, Peek, first_bytes};
use super::refusal::Refusal;
use super::relay::{RelayError, failed, finished, relay, reset, unfinished};
use super::session::{Content, Overruling, Session, Standing};
use super::side::Side;
use super::socket::Socket;
use super::strict::StrictIo;
use super::whence::Inner;
use crate::addr::Target;
use crate::audit::{Ingress, Outcome};
use crate::live::Snapshot;
use crate::policy::Reason;
use crate::wire::client_hello::ClientHello;

/// The fatal TLS alert `access_denied` (RFC 8446 §6).
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// How long a client may be silent before it is taken to wait for the origin to speak first.
pub(super) const QUIET: Duration = Duration::from_millis(250);

/// A granted CONNECT, or what was redirected and granted.
pub(super) struct Tunnel {
    pub(super) session: Arc<Session>,
    pub(super) exchange: Exchange,
    pub(super) standing: Standing,
    /// Where it leads, unless that waits for what is inside.
    pub(super) origin: Option<TcpStream>,
    /// How it came in, and how the HTTP inside did.
    pub(super) ingress: (Ingress, Ingress),
    /// Subscribed before the decision.
    pub(super) changes: watch::Receiver<Arc<Snapshot>>,
}

/// How a tunnel ended.
pub(super) enum End {
    /// Both sides closed.
    Done,
    /// One side failed.
    Failed(RelayError),
    /// It may not go on.
    Refused(Refusal),
    /// The policy denies it now.
    Overruled(Overruling),
    /// Nothing moved for too long.
    Idle,
}

impl End {
    /// Ends the record of a connection that ended so, and says how it does; what `target` is for see [`Exchange::refuse`].
    pub(super) fn record(
        self,
        session: &Session,
        mut exchange: Exchange,
        target: Option<&Target>,
    ) -> Outcome {
        let outcome = match self {
            Self::Done => Outcome::Ok,
            Self::Idle => Outcome::Idle,
            Self::Failed(error) => {
                let (outcome, error) = error.told();
                exchange.note(|event| event.error = Some(error));
                outcome
            }
            Self::Overruled(denial) => {
                session.end(Outcome::PolicyChange, Some(denial));
                Outcome::PolicyChange
            }
            Self::Refused(refusal) => {
                exchange.refuse(&refusal, target, None);
                return refusal.outcome();
            }
        };
        exchange.finish(outcome);
        outcome
    }
}

/// What becomes of a tunnel.
enum Next {
    /// It has ended.
    End(End),
    /// It turned out to be HTTP, of which nothing was sent yet.
    Http,
    /// It turned out to be TLS that is to be decrypted, of which nothing was sent.
    Decrypt,
}

impl Tunnel {
    /// Carries the tunnel from the 200 to its end.
    pub(super) async fn run(self, upgrade: OnUpgrade) {
        let tunnel = Box::new(self);
        match client_side(upgrade).await {
            Ok(client) => tunnel.go_on(Box::new(client), None).await,
            Err(outcome) => tunnel.exchange.finish(outcome),
        }
    }

    /// Carries the tunnel to its end; `inside` when that is known already.
    ///
    /// A tunnel is idle for most of its life: what it holds is boxed once, and its phases only borrow it.
    pub(super) async fn go_on(mut self: Box<Self>, mut client: Box<Client>, inside: Option<Inside>) {
        let _active = self.session.gateway.metrics.active(self.ingress.0);
        self.exchange.count();
        unfinished(&client.stream);
        self.origin.iter().for_each(unfinished);
        let next = self.carry(&mut client, inside).await;
        if matches!(next, Next::End(End::Done) | Next::Http | Next::Decrypt) {
            finished(&client.stream);
            self.origin.iter().for_each(finished);
        }
        let tunnel = *self;
        match next {
            Next::End(end) => tunnel.close(client.stream, end),
            Next::Http => Box::pin(tunnel.serve(*client)).await,
            Next::Decrypt => Box::pin(tunnel.decrypt(*client)).await,
        }
    }

    /// Carries bytes until it is known what becomes of the tunnel, and to its end if it stays one.
    async fn carry(&mut self, client: &mut Client, inside: Option<Inside>) -> Next {
        let Self { session, exchange, standing, origin, changes, .. } = self;
        exchange.stand(standing.clone());
        let mut peek = Peek { session, exchange, standing, held: Vec::new() };
        tokio::select! {
            biased;
            denial = session.overruled(changes, None) => Next::End(End::Overruled(denial)),
            () = session.meter.idle(session.gateway.limits.idle_timeout) => Next::End(End::Idle),
            next = peek.carry(client, origin, inside) => next.unwrap_or_else(Next::End),
        }
    }

    /// Serves the HTTP inside; each request leaves its own record.
    async fn serve(self, client: Client) {
        let Self { session, mut exchange, standing, origin, ingress, changes } = self;
        exchange.holds_requests();
        exchange.stand(Standing { content: Content::Requests, ..standing.clone() });
        let origin = origin.zip(standing.way);
        let Standing { sandbox, target, .. } = standing;
        let tunnel = Inner { sandbox, target, outer: None, ingress: ingress.1 };
        let Client { stream, first } = client;
        let socket = Socket::plain(stream);
        let outcome =
            explicit::serve_tunnel(Arc::clone(&session), socket, first, tunnel, origin, changes).await;
        exchange.finish(outcome);
    }

    /// Closes both sides the way the tunnel ended, and ends its record.
    pub(super) fn close(self, client: TcpStream, end: End) {
        let Self { session, exchange, standing, origin, .. } = self;
        if let End::Refused(refusal) = end {
            origin.into_iter().for_each(reset);
            return refuse(exchange, client, &refusal, Some(&standing.target));
        }
        let done = matches!(end, End::Done);
        end.record(&session, exchange, Some(&standing.target));
        if !done {
            reset(client);
            origin.into_iter().for_each(reset);
        }
    }
}

/// Ends the record of a connection that may not go on, and tells the client in the way that it can be told.
pub(super) fn refuse(mut exchange: Exchange, client: TcpStream, refusal: &Refusal, target: Option<&Target>) {
    // Who is not refused by a policy is not told so: an origin that cannot be reached looks like one.
    let refused =
        !matches!(refusal.denial().reason(), Reason::BadRequest | Reason::DnsFailed | Reason::UpstreamFailed);
    let is_tls = exchange.is_tls() && refused;
    exchange.refuse(refusal, target, None);
    if is_tls { alert(client) } else { reset(client) }
}

/// The client's side of a tunnel.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    /// What came from it and was not sent on.
    pub(super) first: BytesMut,
}

/// The client's socket after the 200, and what came from it already.
///
/// What hyper held for the connection is given back here: a tunnel lives long.
async fn client_side(upgrade: OnUpgrade) -> Result<Client, Outcome> {
    let upgraded = upgrade.await.map_err(|_| Outcome::ClientClosed)?;
    let parts = upgraded.downcast::<StrictIo>().map_err(|_| Outcome::Failed)?;
    let (side, rest) = parts.io.into_inner().ok_or(Outcome::Failed)?;
    // INVARIANT: a CONNECT inside TLS is refused.
    let Side::Plain(stream) = side else { return Err(Outcome::Failed) };
    // hyper reads nothing beyond a CONNECT head: StrictIo holds it back.
    let first = [parts.read_buf.as_ref(), rest.as_ref()].concat();
    Ok(Client { stream, first: BytesMut::from(first.as_slice()) })
}

/// From the first bytes on.
impl Peek<'_> {
    /// Carries the tunnel until it is known what becomes of it, and to its end if it stays one.
    async fn carry(
        &mut self,
        client: &mut Client,
        origin: &mut Option<TcpStream>,
        inside: Option<Inside>,
    ) -> Result<Next, End> {
        let judged = origin.is_some() && inside.is_some();
        // Boxed: they are gone by the time the tunnel idles.
        let inside = match inside {
            Some(inside) => inside,
            None => Box::pin(self.look(client, origin)).await?,
        };
        match &inside {
            Inside::Http => return Ok(Next::Http),
            Inside::Tls(hello, _) if !judged && self.judge_hello(hello).map_err(End::Refused)? => {
                return Ok(Next::Decrypt);
            }
            Inside::Opaque if !judged => self.judge_opaque().map_err(End::Refused)?,
            Inside::Tls(..) | Inside::Opaque => {}
        }
        let origin = match origin {
            Some(origin) => origin,
            None => origin.insert(Box::pin(self.dial(client)).await?),
        };
        if let Inside::Tls(hello, length) = inside {
            Box::pin(self.shake_hands(hello, length, client, origin)).await?;
        }
        Ok(Next::End(carry(self.session, client, origin, std::mem::take(&mut self.held)).await))
    }

    /// Waits for what the client says. Where it waits for the origin to speak first, and that may speak whatever it likes,
    /// the origin is reached.
    async fn look(&mut self, client: &mut Client, origin: &mut Option<TcpStream>) -> Result<Inside, End> {
        if origin.is_none() {
            let quiet = Some(QUIET).filter(|_| self.judge_opaque().is_ok());
            if let Some(inside) = first_bytes(client, quiet).await? {
                return Ok(inside);
            }
        }
        let origin = match origin {
            Some(origin) => origin,
            None => origin.insert(self.dial(client).await?),
        };
        self.enter(client, origin).await
    }

    /// Reaches the origin for what is known to be inside by now, unless the client fails meanwhile.
    async fn dial(&mut self, client: &Client) -> Result<TcpStream, End> {
        let (call, permit) = self.admit().map_err(End::Refused)?;
        let gateway = &self.session.gateway;
        let dialed = tokio::select! {
            biased;
            dialed = gateway.reach(&call.policy, &permit, self.exchange) => dialed.map_err(End::Refused)?,
            error = failed(&client.stream) => return Err(End::Failed(RelayError::Client(error))),
        };
        unfinished(&dialed.stream);
        self.standing.way = Some(dialed.way());
        let stood = self.exchange.stand_since(self.standing, call.generation);
        stood.map_err(|denial| End::Refused(denial.into()))?;
        Ok(dialed.stream)
    }

    /// Sends the hello on, and what follows it as far as it may, until the server has answered.
    async fn shake_hands(
        &mut self,
        hello: ClientHello,
        length: usize,
        Client { stream: client, first }: &mut Client,
        origin: &TcpStream,
    ) -> Result<(), End> {
        self.session.gateway.audit.certain().await.map_err(|full| End::Refused(full.into()))?;
        let gate = Gate::new(hello, length, &std::mem::take(first));
        let (meter, down) = (&self.session.meter, std::mem::take(&mut self.held));
        let handshake = Handshake { client, origin, meter, exchange: self.exchange, gate, down };
        self.held = handshake.run().await?;
        Ok(())
    }
}

/// Sends what was read first, then relays; `held` is on its way to the client.
///
/// The `open` record is out before the first byte goes upstream, so that a kill cannot hide the tunnel.
async fn carry(session: &Session, client: &mut Client, origin: &mut TcpStream, held: Vec<u8>) -> End {
    let first = std::mem::take(&mut client.first);
    if !first.is_empty() {
        if let Err(full) = session.gateway.audit.certain().await {
            return End::Refused(full.into());
        }
        session.meter.account.pay(first.len()).await;
        if let Err(error) = origin.write_all(&first).await {
            return End::Failed(RelayError::Origin(error));
        }
        session.meter.add_up(first.len());
    }
    drop(first);
    match relay(&client.stream, origin, held, &session.meter).await {
        Ok(()) => End::Done,
        Err(error) => End::Failed(error),
    }
}

/// Tells a TLS client that it may not, and closes.
fn alert(client: TcpStream) {
    finished(&client);
    // A client that is gone needs no alert, and one that does not read is not waited for.
    match client.try_write(&ACCESS_DENIED) {
        Ok(_) => drop(client),
        Err(_) => reset(client),
    }
}
