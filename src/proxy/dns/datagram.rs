//! Queries that come as datagrams, each a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::{Door, LONGEST, answer};
use crate::metrics::DnsAnswer;
use crate::proxy::Gateway;
use crate::proxy::session::Session;

/// How long receiving pauses when this host cannot do it for lack of memory.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers the datagrams of `socket` until the gateway drains.
pub async fn serve(gateway: Arc<Gateway>, socket: UdpSocket, door: Arc<Door>) {
    let (watcher, socket) = (gateway.tasks.watcher().clone(), Arc::new(socket));
    // One byte more than is read, to tell what is longer.
    let mut buffer = vec![0; LONGEST + 1];
    loop {
        let received = tokio::select! {
            biased;
            () = watcher.draining() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((length, client)) => {
                let message = buffer.get(..length).unwrap_or_default();
                take(&gateway, &socket, &door, message, client);
            }
            Err(error) => {
                tracing::warn!(%error, listener = %door.listener.name, "cannot receive a query; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one datagram, if there is a place for it.
fn take(
    gateway: &Arc<Gateway>,
    socket: &Arc<UdpSocket>,
    door: &Arc<Door>,
    message: &[u8],
    client: SocketAddr,
) {
    let place = Arc::clone(&door.places).try_acquire_owned();
    let Some(place) = place.ok().filter(|_| message.len() <= LONGEST) else {
        gateway.metrics.dns_answer(DnsAnswer::Dropped);
        return;
    };
    let (socket, door, message) = (Arc::clone(socket), Arc::clone(door), message.to_vec());
    let session = Session::new(Arc::clone(gateway), client, Arc::clone(&door.listener), Some(place));
    let session = Arc::new(session);
    gateway.tasks.spawn("query", async move {
        if let Some(reply) = answer(&session, &door, &message, false).await {
            // A client that cannot be reached asks again.
            let _ = socket.send_to(&reply, client).await;
        }
    });
}
