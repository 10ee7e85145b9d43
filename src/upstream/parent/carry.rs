//! A socket for what is spoken inside TLS with a parent proxy: relays work on sockets.
//!
//! A pair of sockets of this process is joined to the TLS connection by a task. One end is closed for writing when the
//! other is; a connection that breaks, or ends without saying so, resets the other side, so that nothing which is cut
//! short looks whole.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::drain::Tasks;
use crate::upstream::dial::connect;

/// How often it is asked whether the socket at the other end of a pair is still there.
const PROBE: Duration = Duration::from_secs(15);

/// The socket whose peer is that connection.
pub(super) async fn carried(covered: TlsStream<TcpStream>, tasks: &Tasks) -> io::Result<TcpStream> {
    let (ours, theirs) = pair().await?;
    tasks.spawn("parent proxy", carry(covered, theirs));
    Ok(ours)
}

/// Carries bytes both ways to the end.
async fn carry(mut covered: TlsStream<TcpStream>, near: TcpStream) {
    if join(&near, &mut covered).await.is_err() {
        for socket in [&near, covered.get_ref().0] {
            // Where it fails the end looks like any other, and there is nothing else to be done.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// The same, until either side fails.
///
/// SECURITY: whoever has the other end of `near` may give it up while nothing is read from here, as that has ended, or as
/// the parent takes or says nothing. A parent, or an origin behind it, must not keep this alive then.
async fn join(near: &TcpStream, covered: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut both = Both(near);
    tokio::select! {
        biased;
        ended = copy_bidirectional(&mut both, covered) => ended.map(drop),
        failed = near.ready(Interest::ERROR) => Err(failed.err().unwrap_or(io::ErrorKind::ConnectionReset.into())),
    }
}

/// A socket that is looked at while it is in use.
struct Both<'s>(&'s TcpStream);

impl AsyncRead for Both<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|bytes| buf.advance(bytes))),
            }
        }
    }
}

impl AsyncWrite for Both<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(self.0).shutdown(std::net::Shutdown::Write))
    }
}

/// The next address of loopback to meet at. The port of a listener is its connection's for as long as that lives, so at one
/// address there would be no more pairs than ports.
fn meeting() -> Ipv4Addr {
    /// How many addresses there have been.
    static USED: AtomicU32 = AtomicU32::new(0);
    // 127.64.0.1 and so on, which nobody else is likely to use.
    let number = USED.fetch_add(1, Ordering::Relaxed) & 0x001f_ffff;
    Ipv4Addr::from_bits(0x7f40_0001 | number << 1)
}

/// Two sockets that are each other's peer.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((meeting(), 0)).await?;
    let ours = connect(TcpSocket::new_v4()?, listener.local_addr()?).await?;
    loop {
        let (theirs, peer) = listener.accept().await?;
        // SECURITY: another process of this host may have connected first.
        if peer == ours.local_addr()? {
            ours.set_nodelay(true)?;
            theirs.set_nodelay(true)?;
            // One that was closed in good order says so once, and no more; what is sent to it then is refused.
            SockRef::from(&theirs)
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE).with_interval(PROBE))?;
            return Ok((ours, theirs));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_two_sockets_are_each_others_peer() {
        let (ours, theirs) = pair().await.unwrap();
        assert_eq!(ours.local_addr().unwrap(), theirs.peer_addr().unwrap());
        assert_eq!(theirs.local_addr().unwrap(), ours.peer_addr().unwrap());
    }

    #[tokio::test]
    async fn r2_no_two_pairs_meet_at_one_address_whose_ports_they_would_use_up() {
        let (_one, first) = pair().await.unwrap();
        let (_other, second) = pair().await.unwrap();
        let at = |socket: &TcpStream| socket.local_addr().unwrap().ip();
        assert_ne!(at(&first), at(&second));
        assert!(at(&first).is_loopback() && at(&second).is_loopback());
        let all = (0..1000).map(|_| meeting()).collect::<std::collections::BTreeSet<_>>();
        assert!(all.len() == 1000 && all.iter().all(Ipv4Addr::is_loopback));
    }

    /// What is at the other side of a parent that keeps its end open and says nothing, until it is dropped.
    async fn ends(more: &[u8], close: impl AsyncFnOnce(TcpStream)) -> io::Result<()> {
        let (mut ours, theirs) = pair().await.unwrap();
        let (mut covered, _silent) = tokio::io::duplex(16);
        let given_up = async {
            ours.write_all(more).await.unwrap();
            close(ours).await;
        };
        let ended = tokio::time::timeout(Duration::from_secs(10), join(&theirs, &mut covered));
        tokio::join!(ended, given_up).0.unwrap()
    }

    /// Drops a socket with a reset.
    fn reset(socket: TcpStream) {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        drop(socket);
    }

    #[tokio::test]
    async fn r6_what_is_given_up_does_not_live_on_because_the_other_side_is_silent() {
        let closed = ends(b"", async |mut ours| {
            ours.shutdown().await.unwrap();
            reset(ours);
        });
        assert!(closed.await.is_err(), "closed for writing first");
        assert!(ends(&[0; 4096], async |ours| reset(ours)).await.is_err(), "the other side takes nothing");
    }

    #[tokio::test]
    async fn r6_the_kernel_tells_when_a_socket_that_was_closed_in_good_order_is_gone() {
        let (_ours, theirs) = pair().await.unwrap();
        assert!(SockRef::from(&theirs).keepalive().unwrap());
    }
}
