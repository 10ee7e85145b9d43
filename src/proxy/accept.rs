//! Takes connections from a listening socket and gives each a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::entry::{Entry, canonical};
use super::exchange::Exchange;
use super::refusal::Refusal;
use super::relay::reset;
use super::session::{Identified, Listener, Session};
use super::{Gateway, introduction, transparent};
use crate::audit::Kind;
use crate::policy::{Denial, Reason};

/// How long accepting pauses when this host has no descriptor or memory left for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts on `socket` until the gateway drains.
pub async fn accept(
    gateway: Arc<Gateway>,
    socket: TcpListener,
    listener: Arc<Listener>,
    slots: Arc<Semaphore>,
) {
    let take = |stream: TcpStream, client| {
        let slot = Arc::clone(&slots).try_acquire_owned().ok();
        let welcome = slot.is_some();
        let session = Session::new(Arc::clone(&gateway), canonical(client), Arc::clone(&listener), slot);
        let session = Arc::new(session);
        // A socket without this option is only slower.
        let _ = stream.set_nodelay(true);
        if welcome {
            gateway.tasks.spawn("connection", introduction::serve(session, stream));
        } else {
            turn_away(&session, stream, None, &full());
            gateway.newcomers.make_room();
        }
    };
    each(&gateway, &socket, &listener, take).await;
}

/// Gives every connection to `take`, until the gateway drains.
pub(super) async fn each(
    gateway: &Gateway,
    socket: &TcpListener,
    listener: &Listener,
    take: impl Fn(TcpStream, SocketAddr),
) {
    let watcher = gateway.tasks.watcher();
    loop {
        let accepted = tokio::select! {
            biased;
            () = watcher.draining() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => take(stream, client),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                tracing::warn!(%error, listener = %listener.name, "cannot accept a connection; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Tells a client that there is no room for it, and leaves the record. Nothing waits here, as nothing bounds how many
/// come: the answer is what the socket takes at once, and a full audit queue takes the count alone. Who does not know the
/// proxy may speak anything, and gets a reset.
pub(super) fn turn_away(
    session: &Arc<Session>,
    stream: TcpStream,
    known: Option<Identified>,
    refusal: &Refusal,
) {
    let mut exchange = Exchange::unadmitted(session, Kind::Connection);
    if let Some(known) = known {
        exchange.call(known);
    }
    if session.listener.entry == Entry::Explicit {
        // RACE: past tokio, which tries nothing on a new socket before it was told that something can be done.
        let _ = SockRef::from(&stream).send(refusal.text(&exchange.id()).as_bytes());
        exchange.refuse(refusal, None, Some(refusal.status().as_u16()));
    } else {
        // Where it was going is in the record if the kernel still knows.
        let _ = transparent::arrived(session, &stream, &mut exchange);
        reset(stream);
        exchange.refuse(refusal, None, None);
    }
}

/// The whole gateway has no room.
fn full() -> Refusal {
    let detail = "the gateway has as many connections as `limits.connections` allows";
    Denial::new(Reason::Limit, detail).into()
}

/// Whether an accept failed only for the connection that was to be accepted.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
