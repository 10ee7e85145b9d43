//! How connections come to a listener, and where redirected ones were going.
//!
//! | entry | the kernel | the original destination |
//! |---|---|---|
//! | [`Entry::Explicit`] | does nothing | none: the client says where to |
//! | [`Entry::Redirect`] | writes this listener over the destination (`REDIRECT`) | is remembered by connection tracking |
//! | [`Entry::TProxy`] | hands the connection over as it is (`TPROXY`) | is the local address of the socket |

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How connections come to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Entry {
    /// From clients that know the proxy, and speak HTTP to it.
    #[default]
    Explicit,
    /// Redirected, with another destination in the place of their own.
    Redirect,
    /// Redirected, with their own destination.
    TProxy,
}

/// Opens a listening socket for connections that come in this way.
///
/// # Errors
/// The address cannot be had, or this process may not take connections to foreign addresses (`TPROXY` needs
/// `CAP_NET_ADMIN`).
pub fn listen(address: SocketAddr, entry: Entry) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if entry == Entry::TProxy {
        if address.is_ipv4() {
            socket.set_ip_transparent_v4(true)?;
        } else {
            // The kernel keeps one flag for both families, so it holds for IPv4 on this socket too.
            socket.set_ip_transparent_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where a redirected connection was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Original {
    /// The address that the client connected to, as far as is known.
    pub(super) asked: SocketAddr,
    /// The same, unless it is an address of this host: then nothing had to be redirected.
    pub(super) elsewhere: Option<SocketAddr>,
}

impl Original {
    /// What a trusted peer says of a connection that it passes on.
    pub(super) fn told(destination: SocketAddr) -> Self {
        let asked = canonical(destination);
        Self { asked, elsewhere: Some(asked) }
    }
}

/// Where a connection was going before it came here.
///
/// # Errors
/// The connection is gone, or the kernel cannot tell.
pub(super) fn original(stream: &TcpStream, entry: Entry) -> io::Result<Original> {
    let local = canonical(stream.local_addr()?);
    match entry {
        Entry::Explicit => Ok(Original { asked: local, elsewhere: None }),
        Entry::TProxy => Ok(Original { asked: local, elsewhere: Some(local) }),
        Entry::Redirect => {
            let socket = SockRef::from(stream);
            let found = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
            remembered(found.map(|address| address.as_socket()), local)
        }
    }
}

/// What connection tracking remembers of a connection that ended at `local`.
///
/// SECURITY: without an entry nothing was redirected, and the local address is never taken for a destination. It is an
/// address of this host, also one that is newer than the list of the guards.
fn remembered(found: io::Result<Option<SocketAddr>>, local: SocketAddr) -> io::Result<Original> {
    let asked = match found {
        Ok(found) => found.map_or(local, canonical),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOPROTOOPT | Errno::OPNOTSUPP) => local,
            _ => return Err(error),
        },
    };
    Ok(Original { asked, elsewhere: Some(asked).filter(|asked| asked.ip() != local.ip()) })
}

/// The same address, IPv4 where it is IPv4 on a socket for both families.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Parses an address.
    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_was_rewritten_has_an_original_destination() {
        let local = at("10.0.0.1:15001");
        for (found, said) in [
            (Ok(Some(at("192.0.2.7:443"))), Some(at("192.0.2.7:443"))),
            (Ok(Some(at("[::ffff:192.0.2.7]:443"))), Some(at("192.0.2.7:443"))),
            (Ok(Some(at("10.0.0.2:15001"))), Some(at("10.0.0.2:15001"))),
            (Ok(Some(at("10.0.0.1:443"))), None),
            (Ok(Some(local)), None),
            (Ok(Some(at("[::ffff:10.0.0.1]:15001"))), None),
            (Ok(None), None),
            (Err(Errno::NOENT.into()), None),
            (Err(Errno::NOPROTOOPT.into()), None),
        ] {
            let shown = format!("{found:?}");
            assert_eq!(remembered(found, local).unwrap().elsewhere, said, "{shown}");
        }
        assert!(remembered(Err(Errno::NOTCONN.into()), local).is_err());
    }

    #[tokio::test]
    async fn a6_i4_a_connection_to_the_listener_itself_has_no_original_destination() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = listen(at(address), Entry::Redirect).unwrap();
            let port = listener.local_addr().unwrap().port();
            #[expect(clippy::disallowed_methods, reason = "tests")]
            let client = TcpStream::connect(("127.0.0.1", port));
            let (client, accepted) = tokio::join!(client, listener.accept());
            let (stream, _) = accepted.unwrap();
            let asked = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
            for (entry, elsewhere) in
                [(Entry::Explicit, None), (Entry::Redirect, None), (Entry::TProxy, Some(asked))]
            {
                let found = original(&stream, entry).unwrap();
                assert_eq!(found, Original { asked, elsewhere }, "{address} {entry:?}");
            }
            drop(client);
        }
    }
}
