//! Inside TLS: a connection that the policy wants to see the requests of.
//!
//! ```text
//! hello, judged ─► leaf for the outer name ─► TLS with the client ─┬─► HTTP/1.1 ─► explicit ─┐
//!                                                                  ├─► HTTP/2 ───► streams ──┴─► forward, request by request
//!                                                                  └─► anything else ─► TLS with the origin, or `not_http`
//! ```
//! No origin is reached before a request was judged, and none by another name than the one that the client's TLS was opened
//! for.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::{AlertDescription, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::exchange::Exchange;
use super::peek::{AHEAD, FIRST_BYTES, Inside, Peek, tell, until};
use super::refusal::Refusal;
use super::relay::{RelayError, finished, relay_sides, reset_side, unfinished};
use super::session::{Content, Session, Standing};
use super::side::{Ahead, Served, Side};
use super::socket::Socket;
use super::tunnel::{Client, End, QUIET, Tunnel};
use super::whence::Inner;
use super::{explicit, streams};
use crate::addr::Host;
use crate::audit::Ingress;
use crate::intercept::LeafError;
use crate::policy::{Denial, Reason};
use crate::upstream::Alpn;
use crate::wire::protocol::Sniffer;

/// The name of HTTP/2 in TLS (RFC 9113 §3.2).
const HTTP2: &[u8] = b"h2";

/// What became of a connection whose TLS is decrypted.
enum Found {
    /// HTTP/1.1, of which this was read.
    Http1(Served, BytesMut),
    /// HTTP/2.
    Http2(Served),
    /// It has ended; what is still open of it.
    End(End, Option<Side>),
}

impl Tunnel {
    /// Decrypts what the client sends, and carries it to its end; each request leaves its own record.
    pub(super) async fn decrypt(mut self, client: Client) {
        self.exchange.note(|event| event.inspected = Some(true));
        self.standing.way = None;
        // A connection that was opened while the client was silent leads nowhere.
        self.origin = None;
        let config = match self.config() {
            Ok(config) => config,
            Err(refusal) => return self.close(client.stream, End::Refused(refusal)),
        };
        let found = tokio::select! {
            biased;
            denial = self.session.overruled(&mut self.changes, None) => Found::End(End::Overruled(denial), None),
            () = self.session.meter.idle(self.session.gateway.limits.idle_timeout) => Found::End(End::Idle, None),
            found = Box::pin(find_out(config, client, &self.session, &mut self.exchange, &mut self.standing)) => found,
        };
        self.serve_inside(found).await;
    }

    /// What to shake hands with.
    fn config(&self) -> Result<Arc<ServerConfig>, Refusal> {
        let Some(authority) = &self.session.gateway.intercept else {
            let detail = "the policy wants to see inside this TLS, and there is no `intercept` authority";
            return Err(Denial::new(Reason::PolicyError, detail).into());
        };
        let share = self.session.meter.account.share();
        let may_mint = || share.is_some_and(|share| share.mint());
        authority.accept(self.standing.outer(), true, may_mint).map_err(|error| {
            let reason = match error {
                LeafError::Refused => Reason::Limit,
                LeafError::Constrained(_) | LeafError::Expired | LeafError::Own(_) => Reason::PolicyError,
            };
            Denial::new(reason, format!("no certificate for {}: {error}", self.standing.outer())).into()
        })
    }

    /// Serves the requests inside, or ends the connection.
    async fn serve_inside(self, found: Found) {
        let Self { session, mut exchange, standing, changes, .. } = self;
        let outer = Some(standing.outer().clone());
        let (sandbox, target) = (standing.sandbox.clone(), standing.target.clone());
        let inner = Inner { sandbox, target, outer, ingress: Ingress::Inspected };
        if matches!(found, Found::Http1(..) | Found::Http2(_)) {
            exchange.holds_requests();
        }
        let outcome = match found {
            Found::Http1(tls, first) => {
                let socket = Socket::decrypted(tls);
                explicit::serve_tunnel(Arc::clone(&session), socket, first, inner, None, changes).await
            }
            Found::Http2(tls) => streams::serve(Arc::clone(&session), tls, inner, changes).await,
            Found::End(end, side) => {
                match &end {
                    End::Done => side.iter().for_each(|side| finished(side.socket())),
                    End::Failed(_) | End::Refused(_) | End::Overruled(_) | End::Idle => {
                        side.into_iter().for_each(reset_side);
                    }
                }
                end.record(&session, exchange, Some(&standing.target));
                return;
            }
        };
        exchange.finish(outcome);
    }
}

/// Shakes hands with the client, and finds out what it speaks inside.
async fn find_out(
    config: Arc<ServerConfig>,
    Client { stream, first }: Client,
    session: &Session,
    exchange: &mut Exchange,
    standing: &mut Standing,
) -> Found {
    let started = Instant::now();
    let limit = session.gateway.limits.header_timeout;
    let accepting = TlsAcceptor::from(config).accept(Ahead::new(stream, first));
    let accepted = match timeout(limit, accepting).await {
        Ok(accepted) => accepted,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake did not end in time")),
    };
    let tls = match accepted {
        Ok(tls) => Box::new(tls),
        Err(error) => {
            let error = io::Error::new(error.kind(), told(&error));
            return Found::End(End::Failed(RelayError::Client(error)), None);
        }
    };
    exchange.note(|event| event.tls = Some(started.elapsed()));
    match tls.get_ref().1.alpn_protocol() {
        Some(HTTP2) => Found::Http2(tls),
        Some(_) => Found::Http1(tls, BytesMut::new()),
        None => {
            let mut peek = Peek { session, exchange, standing, held: Vec::new() };
            peek.look_inside(tls).await
        }
    }
}

/// Why a client did not shake hands, and what to do about it.
fn told(error: &io::Error) -> String {
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match alert {
        Some(rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate),
        )) => format!(
            "the client does not take the certificate of the sandbox CA ({alert:?}): have it trust what `sluicegate ca export` \
             prints, or list the host under `intercept.exclude`"
        ),
        Some(error) => format!("the TLS handshake with the client failed: {error}"),
        None => match error.source() {
            Some(source) => format!("the TLS handshake with the client failed: {error}: {source}"),
            None => format!("the TLS handshake with the client failed: {error}"),
        },
    }
}

/// Inside the TLS of a client that does not say what it speaks.
impl Peek<'_> {
    /// Waits for its first bytes. What is no HTTP is carried to its end, where that may pass.
    async fn look_inside(&mut self, tls: Served) -> Found {
        let mut client = Side::Client(tls);
        let (mut first, mut sniffer) = (BytesMut::new(), Sniffer::default());
        let silent = self.judge_opaque().is_ok().then(|| Instant::now() + QUIET);
        let (mut origin, mut spoke, mut deadline) = (None, false, None);
        loop {
            match tell(&first, &mut sniffer, spoke) {
                Ok(None) => {}
                Ok(Some(Inside::Http)) => {
                    self.standing.content = Content::Requests;
                    self.exchange.stand(self.standing.clone());
                    return match client {
                        Side::Client(tls) => Found::Http1(tls, first),
                        Side::Plain(_) | Side::Origin(_) => Found::End(End::Done, None),
                    };
                }
                Ok(Some(Inside::Opaque | Inside::Tls(..))) => return self.pass(client, origin, first).await,
                Err(refusal) => return Found::End(End::Refused(refusal), Some(client)),
            }
            if !first.is_empty() {
                deadline.get_or_insert_with(|| Instant::now() + FIRST_BYTES);
            }
            let quiet = silent.filter(|_| origin.is_none());
            let step = tokio::select! {
                biased;
                read = client.read_buf(&mut first) => match read {
                    Ok(0) if first.is_empty() => return Found::End(End::Done, Some(client)),
                    Ok(0) => Err(End::Refused(Refusal::malformed("the first message inside TLS ends in the middle"))),
                    Ok(_) => Ok(()),
                    Err(error) => Err(End::Failed(RelayError::Client(error))),
                },
                ahead = hear(&mut origin) => match ahead {
                    Ok(bytes) => {
                        spoke = true;
                        self.session.meter.add_down(bytes.len());
                        let told = async {
                            client.write_all(&bytes).await?;
                            client.flush().await
                        };
                        told.await.map_err(|error| End::Failed(RelayError::Client(error)))
                    }
                    Err(error) => Err(End::Failed(RelayError::Origin(error))),
                },
                () = until(deadline.or(quiet)) => match (deadline, &origin) {
                    (None, None) => self.reach().await.map(|side| origin = Some(side)),
                    _ => Err(End::Refused(Refusal::malformed("the first bytes inside TLS formed no message in time"))),
                },
            };
            if let Err(end) = step {
                return Found::End(end, Some(client));
            }
        }
    }

    /// Carries what is no HTTP to its end, where that may pass.
    async fn pass(&mut self, mut client: Side, origin: Option<Side>, first: BytesMut) -> Found {
        if let Err(refusal) = self.judge_opaque() {
            return Found::End(End::Refused(refusal), Some(client));
        }
        let origin = match origin {
            Some(origin) => Ok(origin),
            None => self.reach().await,
        };
        let mut origin = match origin {
            Ok(origin) => origin,
            Err(end) => return Found::End(end, Some(client)),
        };
        unfinished(client.socket());
        unfinished(origin.socket());
        let end = self.pour(&mut client, &mut origin, &first).await;
        match end {
            End::Done => finished(origin.socket()),
            End::Failed(_) | End::Refused(_) | End::Overruled(_) | End::Idle => reset_side(origin),
        }
        Found::End(end, Some(client))
    }

    /// Sends what was read first, then carries both ways.
    async fn pour(&mut self, client: &mut Side, origin: &mut Side, first: &[u8]) -> End {
        if let Err(full) = self.session.gateway.audit.certain().await {
            return End::Refused(full.into());
        }
        let meter = &self.session.meter;
        meter.account.pay(first.len()).await;
        let sent = async {
            origin.write_all(first).await?;
            origin.flush().await
        };
        if let Err(error) = sent.await {
            return End::Failed(RelayError::Origin(error));
        }
        meter.add_up(first.len());
        match relay_sides(client, origin, Vec::new(), meter).await {
            Ok(()) => End::Done,
            Err(error) => End::Failed(error),
        }
    }

    /// Reaches the origin, and verifies that it is who the client's TLS was opened for.
    async fn reach(&mut self) -> Result<Side, End> {
        let (call, permit) = self.admit().map_err(End::Refused)?;
        let gateway = &self.session.gateway;
        let dialed = gateway.reach(&call.policy, &permit, self.exchange).await.map_err(End::Refused)?;
        self.standing.way = Some(dialed.way());
        let stood = self.exchange.stand_since(self.standing, call.generation);
        stood.map_err(|denial| End::Refused(denial.into()))?;
        let connected = gateway.tls.connect(dialed.stream, self.standing.outer(), Alpn::Nothing).await;
        let (tls, _) = connected
            .map_err(|error| End::Refused(Denial::new(Reason::UpstreamFailed, error.to_string()).into()))?;
        Ok(Side::Origin(Box::new(tls)))
    }
}

/// What an origin says before the client does; nothing while there is none.
async fn hear(origin: &mut Option<Side>) -> io::Result<Vec<u8>> {
    let Some(origin) = origin else { return std::future::pending().await };
    let mut bytes = Vec::with_capacity(AHEAD);
    match origin.read_buf(&mut bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(bytes),
    }
}

impl Standing {
    /// What TLS inside it was opened for: the name in the hello, or where there is none the target itself.
    pub(super) fn outer(&self) -> &Host {
        self.alias.as_ref().unwrap_or_else(|| self.target.host())
    }
}
