//! Bytes between two sides of which one at least is inside TLS, both ways, as the peers meant them.
//!
//! [`super::relay`] does the same for two sockets, and better: it needs no buffer of its own while nothing moves.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use super::relay::{Meter, RelayError};
use crate::share::Share;

/// The most that one direction holds.
const BUFFER: usize = 16 * 1024;

/// Which end of one direction failed.
enum Failed {
    Read(io::Error),
    Write(io::Error),
}

/// Carries bytes both ways until both sides have closed; `held` was read from the origin before.
///
/// What one side has closed is closed on the other, which can go on the other way.
///
/// # Errors
/// The side whose connection failed first.
pub(super) async fn carry<C, O>(client: C, origin: O, held: Vec<u8>, meter: &Meter) -> Result<(), RelayError>
where
    C: AsyncRead + AsyncWrite,
    O: AsyncRead + AsyncWrite,
{
    let (client_read, client_write) = split(client);
    let (origin_read, origin_write) = split(origin);
    let payer = meter.account.share();
    let up = async {
        let done =
            one_way(client_read, origin_write, &[], payer.as_deref(), |bytes| meter.add_up(bytes)).await;
        done.map_err(|failed| match failed {
            Failed::Read(error) => RelayError::Client(error),
            Failed::Write(error) => RelayError::Origin(error),
        })
    };
    let down = async {
        let done = one_way(origin_read, client_write, &held, None, |bytes| meter.add_down(bytes)).await;
        done.map_err(|failed| match failed {
            Failed::Read(error) => RelayError::Origin(error),
            Failed::Write(error) => RelayError::Client(error),
        })
    };
    tokio::try_join!(up, down).map(drop)
}

/// Carries bytes one way, `held` first, until `from` closes, then closes `to`. What `payer` pays for goes at its pace.
async fn one_way<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    held: &[u8],
    payer: Option<&Share>,
    count: impl Fn(usize),
) -> Result<(), Failed> {
    write(&mut to, held).await.map_err(Failed::Write)?;
    count(held.len());
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await.map_err(Failed::Read)?;
        let mut rest = buffer.get(..read).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        while !rest.is_empty() {
            let room = match payer.filter(|payer| payer.is_paced()) {
                Some(payer) => payer.upload(rest.len()).await.bytes.clamp(1, rest.len()),
                None => rest.len(),
            };
            let (part, more) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            write(&mut to, part).await.map_err(Failed::Write)?;
            count(part.len());
            rest = more;
        }
    }
    // Whoever is gone already has nothing to be told.
    let _ = to.shutdown().await;
    Ok(())
}

/// Writes all of it out.
async fn write<W: AsyncWrite>(to: &mut WriteHalf<W>, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_and_each_side_closes_by_itself() {
        let ((mut client, ours), (theirs, mut origin)) = (duplex(64), duplex(64));
        let meter = Meter::new();
        let sent = vec![7; 100_000];
        let carried = carry(ours, theirs, b"held".to_vec(), &meter);
        let at_client = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        };
        let at_origin = async {
            let mut got = Vec::new();
            origin.read_to_end(&mut got).await.unwrap();
            // The client has closed, and still gets this.
            origin.write_all(b" and more").await.unwrap();
            origin.shutdown().await.unwrap();
            got
        };
        let (carried, down, up) = tokio::join!(carried, at_client, at_origin);
        carried.unwrap();
        assert_eq!((down.as_slice(), &up), (&b"held and more"[..], &sent));
        assert_eq!((meter.up(), meter.down()), (100_000, 13));
    }

    #[tokio::test]
    async fn the_side_that_failed_is_named() {
        /// A side whose reads fail.
        struct Broken;
        impl AsyncRead for Broken {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                _: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
        }
        let broken = || tokio::io::join(Broken, tokio::io::sink());
        let meter = Meter::new();
        let (_held, side) = duplex(64);
        assert!(matches!(carry(side, broken(), Vec::new(), &meter).await, Err(RelayError::Origin(_))));
        let (_held, side) = duplex(64);
        assert!(matches!(carry(broken(), side, Vec::new(), &meter).await, Err(RelayError::Client(_))));
    }
}
