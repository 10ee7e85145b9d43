//! A socket for what is spoken inside TLS with a parent proxy: relays work on sockets.
//!
//! A pair of sockets of this process is joined to the TLS connection by a task. One end is closed for writing when the
//! other is; a connection that breaks, or ends without saying so, resets the other side, so that nothing which is cut
//! short looks whole.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::drain::Tasks;
use crate::upstream::dial::connect;

/// The socket whose peer is that connection.
pub(super) async fn carried(covered: TlsStream<TcpStream>, tasks: &Tasks) -> io::Result<TcpStream> {
    let (ours, theirs) = pair().await?;
    tasks.spawn("parent proxy", carry(covered, theirs));
    Ok(ours)
}

/// Carries bytes both ways to the end.
async fn carry(mut covered: TlsStream<TcpStream>, mut near: TcpStream) {
    if copy_bidirectional(&mut near, &mut covered).await.is_err() {
        for socket in [&near, covered.get_ref().0] {
            // Where it fails the end looks like any other, and there is nothing else to be done.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Two sockets that are each other's peer.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ours = connect(TcpSocket::new_v4()?, listener.local_addr()?).await?;
    loop {
        let (theirs, peer) = listener.accept().await?;
        // SECURITY: another process of this host may have connected first.
        if peer == ours.local_addr()? {
            ours.set_nodelay(true)?;
            theirs.set_nodelay(true)?;
            return Ok((ours, theirs));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_two_sockets_are_each_others_peer() {
        let (ours, theirs) = pair().await.unwrap();
        assert_eq!(ours.local_addr().unwrap(), theirs.peer_addr().unwrap());
        assert_eq!(theirs.local_addr().unwrap(), ours.peer_addr().unwrap());
    }
}
