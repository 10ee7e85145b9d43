//! What happens inside CONNECT after the 200.
//!
//! The client's first bytes are looked at before any of them goes to the origin; the origin's bytes are never
//! held back meanwhile, so protocols in which the server speaks first work.
//!
//! | the client's first bytes | then |
//! |---|---|
//! | TLS whose server name is the CONNECT name | tunnelled, once the server asks for no [other hello](super::handshake) |
//! | TLS with another name, or none where one is needed | closed: `authority_mismatch`, `sni_missing` |
//! | TLS that does not parse, or does not end in time | closed: `bad_request` |
//! | HTTP/1, in any spelling | each request is judged, [`super::forward`] |
//! | an HTTP/2 preface | closed: `bad_request` |
//! | anything else | tunnelled |

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use hyper::upgrade::OnUpgrade;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::exchange::Exchange;
use super::explicit;
use super::handshake::{Gate, Handshake};
use super::refusal::Refusal;
use super::relay::{RelayError, failed, relay, reset};
use super::session::{Session, Standing};
use super::strict::StrictIo;
use crate::addr::Host;
use crate::audit::{Ingress, Outcome, Scheme, Text};
use crate::live::Snapshot;
use crate::policy::{Denial, Reason};
use crate::wire::client_hello::{self, ClientHello, Hello};
use crate::wire::protocol::{Sniff, Sniffer, sniff};

/// How long a client may take from its first byte to a complete `ClientHello` or request line.
pub(super) const FIRST_BYTES: Duration = Duration::from_secs(5);
/// The most that is looked at: a `ClientHello` of 64 KiB in records, or a request line.
const MOST: usize = 68 * 1024;
/// The most of the origin's bytes that wait for the client meanwhile.
pub(super) const AHEAD: usize = 16 * 1024;
/// The fatal TLS alert `access_denied` (RFC 8446 §6).
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// A granted CONNECT.
pub(super) struct Tunnel {
    pub(super) session: Arc<Session>,
    pub(super) exchange: Exchange,
    pub(super) standing: Standing,
    pub(super) origin: TcpStream,
    /// Subscribed before the decision.
    pub(super) changes: watch::Receiver<Arc<Snapshot>>,
}

/// What the client turned out to speak.
enum Inside {
    /// To be carried as it is.
    Opaque,
    /// TLS whose hello was judged: its records are the first bytes, this many.
    Tls(ClientHello, usize),
    /// To be judged request by request.
    Http,
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
    Overruled(Denial),
    /// Nothing moved for too long.
    Idle,
}

impl Tunnel {
    /// Carries the tunnel from the 200 to its end.
    ///
    /// A tunnel is idle for most of its life: what it holds is boxed once, and its phases only borrow it.
    pub(super) async fn run(self, upgrade: OnUpgrade) {
        let mut tunnel = Box::new(self);
        let client = match client_side(upgrade).await {
            Ok(client) => client,
            Err(outcome) => return tunnel.exchange.finish(outcome),
        };
        let mut client = Box::new(client);
        let _active = tunnel.session.gateway.metrics.active(Ingress::Connect);
        tunnel.exchange.count();
        let end = tunnel.carry(&mut client).await;
        let tunnel = *tunnel;
        match end {
            Some(end) => tunnel.close(client.stream, end),
            None => Box::pin(tunnel.serve(*client)).await,
        }
    }

    /// Carries bytes to the end of the tunnel; `None` when it turned out to be HTTP, of which nothing was sent yet.
    async fn carry(&mut self, client: &mut Client) -> Option<End> {
        let Self { session, exchange, standing, origin, changes } = self;
        session.stand(Some(standing.clone()));
        let mut peek = Peek { session, exchange, standing, held: Vec::new() };
        tokio::select! {
            biased;
            denial = session.overruled(changes) => Some(End::Overruled(denial)),
            () = session.meter.idle(session.gateway.limits.idle_timeout) => Some(End::Idle),
            end = peek.carry(client, origin) => end,
        }
    }

    /// Serves the HTTP inside; each request leaves its own record.
    async fn serve(self, client: Client) {
        let Self { session, exchange, standing, origin, changes } = self;
        session.enter(standing.clone());
        let origin = standing.address.map(|address| (origin, address));
        let tunnel = explicit::Inner { sandbox: standing.sandbox, target: standing.target };
        let Client { stream, first } = client;
        let outcome =
            explicit::serve_tunnel(Arc::clone(&session), stream, first, tunnel, origin, changes).await;
        exchange.finish(outcome);
    }

    /// Closes both sides the way the tunnel ended, and ends its record.
    fn close(self, client: TcpStream, end: End) {
        let Self { session, mut exchange, standing, origin, .. } = self;
        match end {
            End::Done => return exchange.finish(Outcome::Ok),
            End::Idle => exchange.finish(Outcome::Idle),
            End::Failed(error) => {
                let (outcome, error) = error.told();
                exchange.note(|event| event.error = Some(error));
                exchange.finish(outcome);
            }
            End::Overruled(denial) => {
                session.end(Outcome::PolicyChange, Some(denial));
                exchange.finish(Outcome::PolicyChange);
            }
            End::Refused(refusal) => {
                let is_tls = exchange.is_tls() && refusal.denial().reason() != Reason::BadRequest;
                exchange.refuse(&refusal, Some(&standing.target), None);
                reset(origin);
                return if is_tls { alert(client) } else { reset(client) };
            }
        }
        reset(client);
        reset(origin);
    }
}

/// The client's side of a tunnel.
struct Client {
    stream: TcpStream,
    /// What came from it and was not sent on.
    first: BytesMut,
}

/// The client's socket after the 200, and what came from it already.
///
/// What hyper held for the connection is given back here: a tunnel lives long.
async fn client_side(upgrade: OnUpgrade) -> Result<Client, Outcome> {
    let upgraded = upgrade.await.map_err(|_| Outcome::ClientClosed)?;
    let parts = upgraded.downcast::<StrictIo>().map_err(|_| Outcome::Failed)?;
    let (stream, rest) = parts.io.into_inner().ok_or(Outcome::Failed)?;
    // hyper reads nothing beyond a CONNECT head: StrictIo holds it back.
    let first = [parts.read_buf.as_ref(), rest.as_ref()].concat();
    Ok(Client { stream, first: BytesMut::from(first.as_slice()) })
}

/// Looks into a tunnel before anything from the client leaves.
struct Peek<'a> {
    session: &'a Session,
    exchange: &'a mut Exchange,
    standing: &'a mut Standing,
    /// What the origin has sent and the client not yet taken.
    held: Vec<u8>,
}

impl Peek<'_> {
    /// Carries the tunnel to its end; `None` when it turned out to be HTTP, of which nothing was sent yet.
    async fn carry(&mut self, client: &mut Client, origin: &mut TcpStream) -> Option<End> {
        // Boxed: they are gone by the time the tunnel idles.
        match Box::pin(self.enter(client, origin)).await {
            Ok(Inside::Http) => return None,
            Ok(Inside::Opaque) => {}
            Ok(Inside::Tls(hello, length)) => {
                if let Err(end) = Box::pin(self.shake_hands(hello, length, client, origin)).await {
                    return Some(end);
                }
            }
            Err(end) => return Some(end),
        }
        Some(carry(self.session, client, origin, std::mem::take(&mut self.held)).await)
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

    /// Looks at the client's first bytes, while the origin's are passed on.
    async fn enter(
        &mut self,
        Client { stream: client, first }: &mut Client,
        origin: &TcpStream,
    ) -> Result<Inside, End> {
        let (mut spoke, mut done) = (false, false);
        let (mut deadline, mut sniffer) = (None, Sniffer::default());
        loop {
            if let Some(inside) = self.judge(first, &mut sniffer, spoke || done).map_err(End::Refused)? {
                return Ok(inside);
            }
            if !first.is_empty() {
                deadline.get_or_insert_with(|| Instant::now() + FIRST_BYTES);
            }
            let holds = !self.held.is_empty();
            if !holds {
                // A tunnel that waits holds no buffer.
                self.held = Vec::new();
            }
            tokio::select! {
                biased;
                ready = client.readable() => {
                    let read = ready.and_then(|()| client.try_read_buf(first));
                    if at_once(read).map_err(|error| End::Failed(RelayError::Client(error)))? == Some(0) {
                        return closed(first);
                    }
                }
                ready = client.writable(), if holds => {
                    let written = ready.and_then(|()| client.try_write(&self.held));
                    let written = at_once(written).map_err(|error| End::Failed(RelayError::Client(error)))?;
                    let written = written.unwrap_or_default();
                    self.held.drain(..written);
                    self.session.meter.add_down(written);
                }
                ready = origin.readable(), if !holds && !done => {
                    self.held.reserve_exact(AHEAD);
                    let read = ready.and_then(|()| origin.try_read_buf(&mut (&mut self.held).limit(AHEAD)));
                    match at_once(read).map_err(|error| End::Failed(RelayError::Origin(error)))? {
                        Some(0) => {
                            done = true;
                            // A client that is gone already has nothing to be told.
                            let _ = SockRef::from(&*client).shutdown(std::net::Shutdown::Write);
                        }
                        Some(_) => spoke = true,
                        None => {}
                    }
                }
                // A side that is not read from can still be reset.
                error = failed(origin), if holds || done => return Err(End::Failed(RelayError::Origin(error))),
                () = until(deadline) => {
                    let late = "the first bytes formed no TLS or HTTP message in time";
                    return Err(End::Refused(Refusal::malformed(late)));
                }
            }
        }
    }

    /// What the first bytes are, once they tell.
    fn judge(
        &mut self,
        first: &[u8],
        sniffer: &mut Sniffer,
        origin_spoke: bool,
    ) -> Result<Option<Inside>, Refusal> {
        match sniffer.sniff(first) {
            _ if first.is_empty() => Ok(None),
            Sniff::Tls => match client_hello::split(first) {
                (Hello::NeedMore, _) if first.len() < MOST => Ok(None),
                (Hello::NeedMore, _) => Err(Refusal::malformed("the TLS ClientHello is longer than 64 KiB")),
                (Hello::Invalid(error), _) => {
                    Err(Refusal::malformed(format!("the TLS ClientHello is malformed: {error}")))
                }
                (Hello::Complete(hello), length) => {
                    self.judge_hello(&hello)?;
                    Ok(Some(Inside::Tls(hello, length)))
                }
            },
            Sniff::NeedMore if first.len() < MOST => Ok(None),
            Sniff::NeedMore => Err(Refusal::malformed("the first line is longer than 64 KiB")),
            Sniff::Http2Preface => {
                Err(Refusal::malformed("HTTP/2 in the clear is not supported: use TLS or HTTP/1.1"))
            }
            Sniff::Http1 if origin_spoke => {
                Err(Refusal::malformed("the origin spoke before the HTTP request"))
            }
            Sniff::Http1 => Ok(Some(Inside::Http)),
            Sniff::Other => Ok(Some(Inside::Opaque)),
        }
    }

    /// Judges the name in a `ClientHello` as the second name of the call.
    fn judge_hello(&mut self, hello: &ClientHello) -> Result<(), Refusal> {
        let gateway = &self.session.gateway;
        self.exchange.note(|event| {
            event.scheme = Some(Scheme::Tls);
            event.sni = hello.server_name.as_ref().map(|name| Text::new(name.as_str()));
            event.ech = hello.ech;
        });
        if hello.ech && gateway.limits.deny_ech {
            let detail = "the ClientHello is encrypted, and the operator set `ech: Deny`";
            return Err(Denial::new(Reason::SniMissing, detail).into());
        }
        let policy = gateway.live.current().policy_for(&self.standing.sandbox);
        let alias = hello.server_name.clone().map(Host::Name);
        let permit = self.exchange.decide(|| {
            let permit = policy.admit(&self.standing.target)?;
            let Some(alias) = &alias else {
                policy.admit_nameless_tls(&permit)?;
                return Ok(permit);
            };
            let permit = policy.admit_alias(permit, alias)?;
            policy.admit_tunnel(&permit)?;
            Ok(permit)
        })?;
        self.standing.nameless_tls = alias.is_none();
        self.standing.alias = alias;
        self.exchange.would_deny(permit.would_deny());
        self.session.stand(Some(self.standing.clone()));
        Ok(())
    }
}

/// Resolves at `deadline`; never without one.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
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

/// The client closed its side: what it said until then is all there is to judge.
///
/// SECURITY: some servers take the end of the stream for the end of a line, so it ends one here too.
fn closed(first: &[u8]) -> Result<Inside, End> {
    if first.is_empty() {
        return Ok(Inside::Opaque);
    }
    match sniff(&[first, b"\n"].concat()) {
        Sniff::Tls => Err(End::Refused(Refusal::malformed("the TLS ClientHello ends in the middle"))),
        Sniff::Http1 | Sniff::Http2Preface => {
            Err(End::Refused(Refusal::malformed("the HTTP request ends in the middle")))
        }
        Sniff::NeedMore | Sniff::Other => Ok(Inside::Opaque),
    }
}

/// What a socket did at once; `None` when there was nothing to do after all.
pub(super) fn at_once(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells a TLS client that it may not, and closes.
fn alert(client: TcpStream) {
    // A client that is gone needs no alert, and one that does not read is not waited for.
    match client.try_write(&ACCESS_DENIED) {
        Ok(_) => drop(client),
        Err(_) => reset(client),
    }
}
