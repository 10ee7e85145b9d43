//! What happens inside CONNECT after the 200.
//!
//! The client's first bytes are looked at before any of them goes to the origin; the origin's bytes are never
//! held back meanwhile, so protocols in which the server speaks first work.
//!
//! | the client's first bytes | then |
//! |---|---|
//! | TLS whose server name is the CONNECT name | tunnelled |
//! | TLS with another name, or none where one is needed | closed: `authority_mismatch`, `sni_missing` |
//! | TLS that does not parse, or does not end in time | closed: `bad_request` |
//! | HTTP/1, in any spelling | each request is judged, [`super::forward`] |
//! | an HTTP/2 preface | closed: `bad_request` |
//! | anything else | tunnelled |

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::explicit;
use super::refusal::Refusal;
use super::relay::{RelayError, relay, reset};
use super::session::{Exchange, Session, Standing};
use super::strict::StrictIo;
use crate::addr::{Host, Target};
use crate::audit::{Ingress, Outcome, Scheme, Text};
use crate::live::Snapshot;
use crate::policy::{Denial, Reason, TargetPermit};
use crate::wire::client_hello::{self, ClientHello, Hello};
use crate::wire::protocol::{Sniff, sniff};

/// How long a client may take from its first byte to a complete `ClientHello` or request line.
const FIRST_BYTES: Duration = Duration::from_secs(5);
/// The most that is looked at: a `ClientHello` of 64 KiB in records, or a request line.
const MOST: usize = 68 * 1024;
/// The fatal TLS alert `access_denied` (RFC 8446 §6).
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// A granted CONNECT.
pub(super) struct Tunnel {
    session: Arc<Session>,
    exchange: Exchange,
    permit: TargetPermit,
    origin: TcpStream,
    standing: Standing,
    changes: watch::Receiver<Arc<Snapshot>>,
}

/// What the client turned out to speak.
enum Inside {
    /// To be carried as it is.
    Opaque,
    /// To be judged request by request.
    Http,
}

/// How a tunnel ended.
enum End {
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
    /// A tunnel to `origin`, which `permit` allowed; `changes` was subscribed before that.
    pub(super) const fn new(
        session: Arc<Session>,
        exchange: Exchange,
        permit: TargetPermit,
        origin: TcpStream,
        standing: Standing,
        changes: watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        Self { session, exchange, permit, origin, standing, changes }
    }

    /// Carries the tunnel from the 200 to its end.
    ///
    /// A block, because an `async fn` would hold `self` twice.
    pub(super) fn run(self, upgrade: OnUpgrade) -> impl Future<Output = ()> + Send {
        let Self { session, mut exchange, permit, mut origin, mut standing, mut changes } = self;
        async move {
            let Ok(upgraded) = upgrade.await else { return exchange.finish(Outcome::ClientClosed) };
            let Some((mut client, mut first)) = client_side(upgraded) else {
                return exchange.finish(Outcome::Failed);
            };
            let _active = session.gateway.metrics.active(Ingress::Connect);
            session.stand(Some(standing.clone()));
            let before = (session.meter.up(), session.meter.down());
            let mut peek = Peek {
                session: &session,
                exchange: &mut exchange,
                target: permit.target(),
                standing: &mut standing,
            };
            let end = tokio::select! {
                biased;
                denial = session.overruled(&mut changes) => Some(End::Overruled(denial)),
                () = session.meter.idle(session.gateway.limits.idle_timeout) => Some(End::Idle),
                end = Box::pin(peek.carry(&mut client, &mut origin, &mut first)) => end,
            };
            if let Some(end) = end {
                count(&mut exchange, &session, before);
                close(&session, exchange, permit.target(), (client, origin), end).await;
                return;
            }
            session.stand(None);
            let origin = standing.address.map(|address| (origin, address));
            let tunnel = explicit::Inner { sandbox: standing.sandbox, target: standing.target };
            let outcome =
                explicit::serve_tunnel(Arc::clone(&session), client, first, tunnel, origin, changes).await;
            count(&mut exchange, &session, before);
            exchange.finish(outcome);
        }
    }
}

/// The client's socket and what it sent after the CONNECT; hyper's buffers end here.
fn client_side(upgraded: Upgraded) -> Option<(TcpStream, BytesMut)> {
    let parts = upgraded.downcast::<StrictIo>().ok()?;
    let (stream, rest) = parts.io.into_inner();
    // hyper reads nothing beyond a CONNECT head: StrictIo holds it back.
    let mut first = BytesMut::from(parts.read_buf.as_ref());
    first.unsplit(rest);
    Some((stream, first))
}

/// Looks into a tunnel before anything from the client leaves.
struct Peek<'a> {
    session: &'a Session,
    exchange: &'a mut Exchange,
    target: &'a Target,
    standing: &'a mut Standing,
}

impl Peek<'_> {
    /// Carries the tunnel to its end; `None` when it turned out to be HTTP, of which nothing was sent yet.
    async fn carry(
        &mut self,
        client: &mut TcpStream,
        origin: &mut TcpStream,
        first: &mut BytesMut,
    ) -> Option<End> {
        match self.enter(client, origin, first).await {
            Ok(Inside::Http) => None,
            Ok(Inside::Opaque) => Some(carry(self.session, client, origin, std::mem::take(first)).await),
            Err(end) => Some(end),
        }
    }

    /// Looks at the client's first bytes, while the origin's are passed on.
    async fn enter(
        &mut self,
        client: &mut TcpStream,
        origin: &TcpStream,
        first: &mut BytesMut,
    ) -> Result<Inside, End> {
        let (mut spoke, mut done) = (false, false);
        let mut space = Vec::new();
        let mut deadline = None;
        loop {
            if let Some(inside) = self.judge(first, spoke || done).map_err(End::Refused)? {
                return Ok(inside);
            }
            if !first.is_empty() {
                deadline.get_or_insert_with(|| Instant::now() + FIRST_BYTES);
            }
            tokio::select! {
                biased;
                read = client.read_buf(first) => match read {
                    Err(error) => return Err(End::Failed(RelayError::Client(error))),
                    Ok(0) => return closed(first),
                    Ok(_) => {}
                },
                ready = origin.readable(), if !done => {
                    let carried = async { ready?; pass_on(origin, client, &mut space).await };
                    match carried.await.map_err(|error| End::Failed(RelayError::Origin(error)))? {
                        Some(0) => done = true,
                        Some(bytes) => {
                            spoke = true;
                            self.session.meter.add_down(bytes);
                        }
                        None => {}
                    }
                }
                () = until(deadline) => {
                    let late = "the first bytes formed no TLS or HTTP message in time";
                    return Err(End::Refused(Refusal::malformed(late)));
                }
            }
        }
    }

    /// What the first bytes are, once they tell.
    fn judge(&mut self, first: &[u8], origin_spoke: bool) -> Result<Option<Inside>, Refusal> {
        match sniff(first) {
            _ if first.is_empty() => Ok(None),
            Sniff::Tls => match client_hello::parse(first) {
                Hello::NeedMore if first.len() < MOST => Ok(None),
                Hello::NeedMore => Err(Refusal::malformed("the TLS ClientHello is longer than 64 KiB")),
                Hello::Invalid(error) => {
                    Err(Refusal::malformed(format!("the TLS ClientHello is malformed: {error}")))
                }
                Hello::Complete(hello) => self.judge_hello(&hello).map(|()| Some(Inside::Opaque)),
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
            let permit = policy.admit(self.target)?;
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

/// Notes the bytes that moved since the meter showed `before`.
fn count(exchange: &mut Exchange, session: &Session, before: (u64, u64)) {
    let (up, down) = (session.meter.up() - before.0, session.meter.down() - before.1);
    exchange.note(|event| {
        event.bytes_up = Some(up);
        event.bytes_down = Some(down);
    });
}

/// Closes both sides the way the tunnel ended, and ends its record.
async fn close(
    session: &Session,
    mut exchange: Exchange,
    target: &Target,
    (client, origin): (TcpStream, TcpStream),
    end: End,
) {
    match end {
        End::Done => return exchange.finish(Outcome::Ok),
        End::Idle => exchange.finish(Outcome::Idle),
        End::Failed(error) => {
            let (outcome, error) = match error {
                RelayError::Client(error) => (Outcome::ClientFailed, error),
                RelayError::Origin(error) => (Outcome::UpstreamFailed, error),
            };
            exchange.note(|event| event.error = Some(Text::new(&error.to_string())));
            exchange.finish(outcome);
        }
        End::Overruled(denial) => {
            session.end(Outcome::PolicyChange, Some(denial));
            exchange.finish(Outcome::PolicyChange);
        }
        End::Refused(refusal) => {
            let is_tls = refusal.denial().reason() != Reason::BadRequest;
            exchange.refuse(&refusal, Some(target), None);
            reset(origin);
            return if is_tls { alert(client).await } else { reset(client) };
        }
    }
    reset(client);
    reset(origin);
}

/// Resolves at `deadline`; never without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Sends what was read first, then relays.
///
/// The `open` record is out before the first byte goes upstream, so that a kill cannot hide the tunnel.
async fn carry(session: &Session, client: &TcpStream, origin: &mut TcpStream, first: BytesMut) -> End {
    session.gateway.audit.certain().await;
    if let Err(error) = origin.write_all(&first).await {
        return End::Failed(RelayError::Origin(error));
    }
    session.meter.add_up(first.len());
    drop(first);
    match relay(client, origin, &session.meter).await {
        Ok(()) => End::Done,
        Err(error) => End::Failed(error),
    }
}

/// The client closed its side: what it said until then is all there is to judge.
fn closed(first: &[u8]) -> Result<Inside, End> {
    if first.is_empty() {
        return Ok(Inside::Opaque);
    }
    match sniff(first) {
        Sniff::Tls => Err(End::Refused(Refusal::malformed("the TLS ClientHello ends in the middle"))),
        Sniff::NeedMore | Sniff::Http1 | Sniff::Http2Preface | Sniff::Other => Ok(Inside::Opaque),
    }
}

/// Passes on what the origin has sent, its end included; `None` when nothing was there after all.
async fn pass_on(
    origin: &TcpStream,
    client: &mut TcpStream,
    space: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    space.resize(16 * 1024, 0);
    match origin.try_read(space) {
        Ok(0) => {
            client.shutdown().await?;
            Ok(Some(0))
        }
        Ok(read) => {
            client.write_all(space.get(..read).unwrap_or_default()).await?;
            Ok(Some(read))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells a TLS client that it may not, and closes.
async fn alert(mut client: TcpStream) {
    // A client that is gone needs no alert.
    let _ = client.write_all(&ACCESS_DENIED).await;
    let _ = client.shutdown().await;
}
