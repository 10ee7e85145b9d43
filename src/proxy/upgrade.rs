//! A WebSocket after its 101: bytes both ways, under the record of the request that opened it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch::Receiver;

use super::exchange::Exchange;
use super::origin::OriginIo;
use super::relay::{RelayError, relay, reset};
use super::session::Session;
use super::strict::StrictIo;
use crate::audit::Outcome;
use crate::live::Snapshot;

/// A connection that both sides agreed to use for something else than HTTP.
pub(super) struct Upgraded {
    session: Arc<Session>,
    exchange: Exchange,
    changes: Receiver<Arc<Snapshot>>,
}

impl Upgraded {
    /// The rest of `exchange`; `changes` was subscribed before it was permitted.
    pub(super) fn new(session: Arc<Session>, exchange: Exchange, changes: Receiver<Arc<Snapshot>>) -> Self {
        Self { session, exchange, changes }
    }

    /// Carries bytes both ways to the end.
    pub(super) async fn run(mut self, client: OnUpgrade, origin: OnUpgrade) {
        let Some((client, sent)) = client_side(client).await else {
            return self.exchange.finish(Outcome::ClientClosed);
        };
        let Some((origin, received)) = origin_side(origin).await else {
            reset(client);
            return self.exchange.finish(Outcome::UpstreamClosed);
        };
        let (mut client, mut origin) = (client, origin);
        self.exchange.count();
        let limit = self.session.gateway.limits.idle_timeout;
        let outcome = tokio::select! {
            biased;
            denial = self.session.overruled(&mut self.changes) => {
                self.session.end(Outcome::PolicyChange, Some(denial));
                Outcome::PolicyChange
            }
            () = self.session.meter.idle(limit) => Outcome::Idle,
            outcome = carry(&self.session, &mut client, &mut origin, &sent, &received) => outcome,
        };
        self.exchange.finish(outcome);
        if outcome != Outcome::Ok {
            reset(client);
            reset(origin);
        }
        self.session.stand(None);
    }
}

/// Sends what was read ahead on either side, then relays.
async fn carry(
    session: &Session,
    client: &mut TcpStream,
    origin: &mut TcpStream,
    sent: &[u8],
    received: &[u8],
) -> Outcome {
    if origin.write_all(sent).await.is_err() {
        return Outcome::UpstreamFailed;
    }
    if client.write_all(received).await.is_err() {
        return Outcome::ClientFailed;
    }
    session.meter.add_up(sent.len());
    session.meter.add_down(received.len());
    match relay(client, origin, Vec::new(), &session.meter).await {
        Ok(()) => Outcome::Ok,
        Err(RelayError::Client(_)) => Outcome::ClientFailed,
        Err(RelayError::Origin(_)) => Outcome::UpstreamFailed,
    }
}

/// The client's socket and what it sent after the request.
async fn client_side(upgrade: OnUpgrade) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgrade.await.ok()?.downcast::<StrictIo>().ok()?;
    let (stream, rest) = parts.io.into_inner()?;
    Some((stream, [parts.read_buf.as_ref(), rest.as_ref()].concat()))
}

/// The origin's socket and what it sent after the 101.
async fn origin_side(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let parts = upgrade.await.ok()?.downcast::<OriginIo>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}
