//! A WebSocket after its 101: bytes both ways, under the record of the request that opened it.
//!
//! It is a tunnel, and the connection that it was asked for on lasts as long, and so does a tunnel around that: the task of
//! the connection carries it once HTTP has ended there.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch::Receiver;

use super::exchange::Exchange;
use super::origin_io::{OriginIo, OriginStream};
use super::relay::{RelayError, finished, relay, reset, unfinished};
use super::session::Session;
use super::strict::StrictIo;
use super::tunnel::End;
use crate::audit::Outcome;
use crate::live::Snapshot;

/// Where a connection that is about to be upgraded waits for HTTP to end on it.
pub(super) type Handover = Mutex<Option<Upgraded>>;

/// A connection that both sides agreed to use for something else than HTTP.
pub(super) struct Upgraded {
    pub(super) session: Arc<Session>,
    /// The rest of it; its `open` record is on its way.
    pub(super) exchange: Exchange,
    /// Subscribed before it was permitted.
    pub(super) changes: Receiver<Arc<Snapshot>>,
    pub(super) client: OnUpgrade,
    pub(super) origin: OnUpgrade,
}

impl Upgraded {
    /// Carries bytes both ways to the end, and answers how it ended.
    pub(super) async fn run(self) -> Outcome {
        let Self { session, mut exchange, mut changes, client, origin } = self;
        let Some((mut client, sent)) = client_side(client).await else {
            exchange.finish(Outcome::ClientClosed);
            return Outcome::ClientClosed;
        };
        let Some((mut origin, received)) = origin_side(origin).await else {
            reset(client);
            exchange.finish(Outcome::UpstreamClosed);
            return Outcome::UpstreamClosed;
        };
        exchange.count();
        unfinished(&client);
        unfinished(origin.socket());
        let end = tokio::select! {
            biased;
            denial = session.overruled(&mut changes) => End::Overruled(denial),
            () = session.meter.idle(session.gateway.limits.idle_timeout) => End::Idle,
            end = carry(&session, &mut client, &mut origin, sent, received) => end,
        };
        let outcome = match end {
            End::Done => Outcome::Ok,
            End::Idle => Outcome::Idle,
            End::Failed(error) => {
                let (outcome, error) = error.told();
                exchange.note(|event| event.error = Some(error));
                outcome
            }
            End::Overruled(denial) => {
                session.end(Outcome::PolicyChange, Some(denial));
                Outcome::PolicyChange
            }
            End::Refused(refusal) => {
                exchange.refuse(&refusal, None, None);
                // Both end with a reset.
                return refusal.outcome();
            }
        };
        exchange.finish(outcome);
        if outcome == Outcome::Ok {
            finished(&client);
            finished(origin.socket());
        }
        session.stand(None);
        outcome
    }
}

/// Sends what was read ahead on either side, then relays.
///
/// The `open` record is out before the first byte goes upstream, so that a kill cannot hide the tunnel.
async fn carry(
    session: &Session,
    client: &mut TcpStream,
    origin: &mut OriginStream,
    sent: Vec<u8>,
    received: Bytes,
) -> End {
    if let Err(full) = session.gateway.audit.certain().await {
        return End::Refused(full.into());
    }
    session.meter.account.pay(sent.len()).await;
    let written = match origin {
        OriginStream::Plain(origin) => origin.write_all(&sent).await,
        OriginStream::Tls(origin) => origin.write_all(&sent).await,
    };
    if let Err(error) = written {
        return End::Failed(RelayError::Origin(error));
    }
    session.meter.add_up(sent.len());
    drop(sent);
    let carried = match origin {
        OriginStream::Plain(origin) => relay(client, origin, received.into(), &session.meter).await,
        // Boxed: few are inside TLS, and none of the others is to reserve its size.
        OriginStream::Tls(origin) => {
            Box::pin(super::carry::carry(client, origin, received.into(), &session.meter)).await
        }
    };
    match carried {
        Ok(()) => End::Done,
        Err(error) => End::Failed(error),
    }
}

/// The client's socket and what it sent after the request.
async fn client_side(upgrade: OnUpgrade) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgrade.await.ok()?.downcast::<StrictIo>().ok()?;
    let (stream, rest) = parts.io.into_inner()?;
    Some((stream, [parts.read_buf.as_ref(), rest.as_ref()].concat()))
}

/// The connection to the origin and what it sent after the 101.
async fn origin_side(upgrade: OnUpgrade) -> Option<(OriginStream, Bytes)> {
    let parts = upgrade.await.ok()?.downcast::<OriginIo>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}
