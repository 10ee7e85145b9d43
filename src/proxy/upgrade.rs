//! A WebSocket after its 101: bytes both ways, under the record of the request that opened it.
//!
//! It is a tunnel, and the connection that it was asked for on lasts as long, and so does a tunnel around that: the task of
//! the connection carries it once HTTP has ended there.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch::Receiver;

use super::exchange::Exchange;
use super::origin_io::{OriginIo, OriginStream};
use super::relay::{RelayError, finished, relay_sides, reset_side, unfinished};
use super::session::Session;
use super::side::Side;
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
            reset_side(client);
            exchange.finish(Outcome::UpstreamClosed);
            return Outcome::UpstreamClosed;
        };
        exchange.count();
        unfinished(client.socket());
        unfinished(origin.socket());
        let end = tokio::select! {
            biased;
            denial = session.overruled(&mut changes, None) => End::Overruled(denial),
            () = session.meter.idle(session.gateway.limits.idle_timeout) => End::Idle,
            end = carry(&session, &mut client, &mut origin, sent, received) => end,
        };
        let outcome = end.record(&session, exchange, None);
        if outcome == Outcome::Ok {
            finished(client.socket());
            finished(origin.socket());
        }
        outcome
    }
}

/// Sends what was read ahead on either side, then relays.
///
/// The `open` record is out before the first byte goes upstream, so that a kill cannot hide the tunnel.
async fn carry(
    session: &Session,
    client: &mut Side,
    origin: &mut Side,
    sent: Vec<u8>,
    received: Bytes,
) -> End {
    if let Err(full) = session.gateway.audit.certain().await {
        return End::Refused(full.into());
    }
    session.meter.account.pay(sent.len()).await;
    let wrote = async {
        origin.write_all(&sent).await?;
        origin.flush().await
    };
    if let Err(error) = wrote.await {
        return End::Failed(RelayError::Origin(error));
    }
    session.meter.add_up(sent.len());
    drop(sent);
    match relay_sides(client, origin, received.into(), &session.meter).await {
        Ok(()) => End::Done,
        Err(error) => End::Failed(error),
    }
}

/// The client's socket and what it sent after the request.
async fn client_side(upgrade: OnUpgrade) -> Option<(Side, Vec<u8>)> {
    let parts = upgrade.await.ok()?.downcast::<StrictIo>().ok()?;
    let (side, rest) = parts.io.into_inner()?;
    Some((side, [parts.read_buf.as_ref(), rest.as_ref()].concat()))
}

/// The origin's socket and what it sent after the 101.
async fn origin_side(upgrade: OnUpgrade) -> Option<(Side, Bytes)> {
    let parts = upgrade.await.ok()?.downcast::<OriginIo>().ok()?;
    let side = match parts.io.into_inner() {
        OriginStream::Plain(stream) => Side::Plain(stream),
        OriginStream::Tls(stream) => Side::Origin(stream),
    };
    Some((side, parts.read_buf))
}
