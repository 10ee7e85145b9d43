//! Queries that come over TCP, each with its length before it (RFC 1035 §4.2.2), answered in turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Door, LONGEST, answer};
use crate::audit::{Ingress, Kind};
use crate::metrics::DnsAnswer;
use crate::policy::query::beyond_limit;
use crate::proxy::Gateway;
use crate::proxy::accept::each;
use crate::proxy::exchange::Exchange;
use crate::proxy::refusal::Refusal;
use crate::proxy::session::Session;

/// How long a connection may be without a query.
const IDLE: Duration = Duration::from_secs(10);
/// How long a message may take once it has begun, and an answer until it is taken.
const MESSAGE: Duration = Duration::from_secs(5);

/// Accepts on `socket` until the gateway drains; `slots` are those of all connections.
pub async fn serve(gateway: Arc<Gateway>, socket: TcpListener, door: Arc<Door>, slots: Arc<Semaphore>) {
    let take = |stream, client| take(&gateway, &door, &slots, stream, client);
    each(&gateway, &socket, &door.listener, take).await;
}

/// Serves one connection, if there is a place for it, here and among those of its sandbox.
fn take(
    gateway: &Arc<Gateway>,
    door: &Arc<Door>,
    slots: &Arc<Semaphore>,
    stream: TcpStream,
    client: SocketAddr,
) {
    let slot = Arc::clone(slots).try_acquire_owned().ok();
    let full = slot.is_none();
    let session = Session::new(Arc::clone(gateway), client, Arc::clone(&door.listener), slot);
    let session = Arc::new(session);
    match place(&session, door, full) {
        Ok(place) => {
            let door = Arc::clone(door);
            gateway.tasks.spawn("queries", async move {
                let _place = place;
                // A client that breaks its connection off has nothing more to be told.
                let _ = converse(&session, &door, stream).await;
            });
        }
        Err(refusal) => {
            // Nothing waits here, as nothing bounds how many come: a full audit queue takes the count alone.
            let mut exchange = Exchange::unadmitted(&session, Kind::Connection);
            exchange.note(|event| event.ingress = Some(Ingress::Dns));
            exchange.refuse(&refusal, None, None);
        }
    }
}

/// A place among the connections of its sandbox.
fn place(session: &Session, door: &Door, full: bool) -> Result<OwnedSemaphorePermit, Refusal> {
    if full {
        let detail = "the gateway has as many connections as `limits.connections` allows";
        return Err(beyond_limit(detail).into());
    }
    let known = session.identify(None)?;
    let account = door.accounts.of(&known.sandbox.id, Instant::now());
    let detail = "this sandbox has as many TCP connections to this DNS listener as one may have";
    account.connect().ok_or_else(|| beyond_limit(detail).into())
}

/// Answers the queries of one connection.
async fn converse(session: &Arc<Session>, door: &Door, mut stream: TcpStream) -> io::Result<()> {
    let watcher = session.gateway.tasks.watcher();
    loop {
        let first = tokio::select! {
            biased;
            () = watcher.draining() => return Ok(()),
            first = timeout(IDLE, stream.read_u8()) => first??,
        };
        let Some(message) = timeout(MESSAGE, rest(&mut stream, first)).await?? else {
            session.gateway.metrics.dns_answer(DnsAnswer::Dropped);
            return Ok(());
        };
        let Some(reply) = answer(session, door, &message, true).await else { return Ok(()) };
        let Ok(length) = u16::try_from(reply.len()) else { return Ok(()) };
        let framed = [length.to_be_bytes().as_slice(), &reply].concat();
        timeout(MESSAGE, stream.write_all(&framed)).await??;
    }
}

/// What follows the first byte of a message; nothing when it is too long to be a query.
async fn rest(stream: &mut TcpStream, first: u8) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(u16::from_be_bytes([first, stream.read_u8().await?]));
    if length > LONGEST {
        return Ok(None);
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}
